"""Rendered pairs in large files."""

import errno
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave.errors import DifferentConfiguration, NotWritable, SceneFailed, WrongFile, WrongInput
from depthweave.training import prerendered
from depthweave.training.prerendered import Prerendered, prerender
from depthweave.worlds import Match, PairStream, Scene, Worlds

COUNT = 3
NAMES = ["disparity_left", "disparity_right", "left", "match_left", "match_right", "right"]


class Failing(Worlds):
    """Stops at one scene, as a run that is cut does."""

    def __init__(self, at: int) -> None:
        super().__init__(height=32, width=48, pool=6)
        self.at = at

    def scene(self, index: int, *, duration_s: float | int | None = None) -> Scene:
        if index == self.at:
            raise SceneFailed("cut here")
        return super().scene(index, duration_s=duration_s)


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return Worlds(height=32, width=48, pool=6)


@pytest.fixture(scope="module")
def made(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "a"
    prerender(worlds, folder, count=COUNT, batch=2)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "pairs"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_hold_what_was_rendered(worlds: Worlds, made: Path) -> None:
    pairs = Prerendered(made)
    assert (len(pairs), pairs.height, pairs.width) == (COUNT, 32, 48)
    assert pairs.facts is not None
    assert pairs.facts["worlds"]["seed"] == 0
    for index in range(COUNT):
        expected, found = worlds[index], pairs[index]
        for side in ("left", "right"):
            view, raw = getattr(expected, side), getattr(found, side)
            disparity, known, visible = raw.truth()
            assert (raw.image.permute(2, 0, 1) / 255 - view.image).abs().max() <= 0.5 / 255 + 1e-6
            assert known.all()
            assert (disparity - view.disparity).abs().max() <= 0.5 / 128
            assert torch.equal(visible, view.match == Match.MATCHED)
    stored = np.load(made / "disparity_right.npy")
    assert stored.shape == (COUNT, 32, 48)
    assert stored.dtype == np.dtype("<u2")
    assert np.load(made / "left.npy").shape == (COUNT, 32, 48, 3)
    assert (made / "count").read_text().strip() == "3"
    with pytest.raises(IndexError):
        pairs[COUNT]


def test_views_are_maps_of_the_files_and_cannot_change_them(made: Path) -> None:
    before = contents(made)
    pairs = Prerendered(made)
    pairs[0].left.image.zero_()
    other = pickle.loads(pickle.dumps(pairs))
    assert contents(made) == before
    assert other[0].left.image.any()
    assert len(pickle.dumps(pairs)) < 20_000
    first, again = pairs[1].right.image, pairs[1].right.image
    assert first.data_ptr() == again.data_ptr()


@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (2, 2)])
def test_a_run_that_was_cut_goes_on_and_may_grow(made: Path, tmp_path: Path, workers: int, batch: int) -> None:
    place = tmp_path / "pairs"
    with pytest.raises(SceneFailed, match="cut here"):
        prerender(Failing(at=1), place, count=2, batch=1)
    assert (place / "count").read_text().strip() == "1"
    grown = prerender(Worlds(height=32, width=48, pool=6), place, count=COUNT, workers=workers, batch=batch)
    assert len(grown) == COUNT
    assert contents(place) == contents(made)


def test_finished_pairs_are_not_rendered_again(made: Path, worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(made)
    monkeypatch.setattr(PairStream, "__iter__", lambda self: pytest.fail("rendered again"))
    assert len(prerender(worlds, made, count=COUNT)) == COUNT
    assert len(prerender(worlds, made, count=1)) == COUNT
    assert contents(made) == before


def test_a_folder_that_still_grows_can_be_read(tmp_path: Path, worlds: Worlds) -> None:
    with pytest.raises(WrongFile, match="does not exist"):
        Prerendered(tmp_path / "none")
    with pytest.raises(SceneFailed):
        prerender(Failing(at=1), tmp_path / "a", count=4, batch=1)
    pairs = Prerendered(tmp_path / "a")
    assert len(pairs) == 1
    with pytest.raises(WrongFile, match="1 finished pairs, not 2"):
        Prerendered(tmp_path / "a", 2)
    with pytest.raises(SceneFailed):
        prerender(Failing(at=0), tmp_path / "b", count=4, batch=1)
    with pytest.raises(WrongFile, match="no finished pair"):
        Prerendered(tmp_path / "b")
    assert len(prerender(worlds, tmp_path / "b", count=1)) == 1


def test_other_worlds_are_refused(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(DifferentConfiguration, match="another seed"):
        prerender(Worlds(height=32, width=48, pool=6, seed=1), folder, count=4)
    with pytest.raises(DifferentConfiguration, match="width and height"):
        prerender(Worlds(height=40, width=64, pool=6), folder, count=4)
    assert contents(folder) == before
    (folder / "facts.json").unlink()
    with pytest.raises(DifferentConfiguration, match=r"no facts\.json"):
        prerender(Worlds(height=32, width=48, pool=6), folder, count=4)
    assert len(Prerendered(folder)) == COUNT  # reading asks for no facts
    assert Prerendered(folder).facts is None


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    path = folder / f"{name}.npy"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", b"no numpy" * 30):
        path.write_bytes(damaged)
        with pytest.raises(WrongFile, match=f"{name}.npy is damaged"):
            Prerendered(folder)
    np.save(path, np.load(folder / "match_left.npy").astype(np.float32) if name != "match_left" else np.zeros(3))
    with pytest.raises(WrongFile, match=f"{name}.npy holds"):
        Prerendered(folder)
    path.unlink()
    with pytest.raises(WrongFile, match=f"{name}.npy does not exist"):
        Prerendered(folder)


def test_files_that_do_not_fit_are_named(folder: Path) -> None:
    np.save(folder / "right.npy", np.zeros((COUNT, 32, 40, 3), np.uint8))
    with pytest.raises(WrongFile, match=r"right.npy holds \(3, 32, 40\)"):
        Prerendered(folder)


@pytest.mark.parametrize(
    ("text", "said"), [("many", "not a number"), ("", "not a number"), ("99", "99 pairs are to be")]
)
def test_a_wrong_count_is_named(folder: Path, text: str, said: str) -> None:
    (folder / "count").write_text(text)
    with pytest.raises(WrongFile, match=said):
        Prerendered(folder)


def test_damaged_facts_are_named(folder: Path) -> None:
    for text in ("{", "[]"):
        (folder / "facts.json").write_text(text)
        with pytest.raises(WrongFile, match=r"facts\.json is damaged"):
            Prerendered(folder)
    facts: dict[str, Any] = {"format": 2, "worlds": {}}
    (folder / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(DifferentConfiguration, match="format"):
        prerender(Worlds(height=32, width=48, pool=6), folder, count=4)


def test_a_full_disk_is_one_sentence_and_keeps_what_is_finished(
    made: Path, folder: Path, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prerendered.os, "fsync", full)
    with pytest.raises(NotWritable, match=r"npy cannot be written \(No space left on device\); free some space"):
        prerender(worlds, folder, count=COUNT + 1, batch=1)
    monkeypatch.undo()
    assert (folder / "count").read_text() == (made / "count").read_text()
    assert torch.equal(Prerendered(folder)[2].left.image, Prerendered(made)[2].left.image)
    with pytest.raises(NotWritable):
        prerender(worlds, made / "count" / "below", count=1)


def test_pairs_count_only_after_their_bytes_are_written(
    worlds: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment at which the count is written, the files hold that many pairs."""
    counted: list[int] = []
    rewrite = prerendered._commit

    def commit(place: Path, files: Any, written: int) -> None:
        rewrite(place, files, written)
        pairs = Prerendered(place)
        assert len(pairs) == written
        assert all(bool(pairs[index].left.image.any()) for index in range(written))
        counted.append(written)

    monkeypatch.setattr(prerendered, "_commit", commit)
    monkeypatch.setattr(prerendered, "SECONDS_BETWEEN_COUNTS", 0.0)
    prerender(worlds, tmp_path / "a", count=2, batch=1)
    assert counted == [1, 2, 2]


def test_disparities_that_do_not_fit_are_not_known() -> None:
    steps = prerendered._steps_of(torch.tensor([0.0, 1.0, 65534 / 128, 512.0, 900.0, -3.0, float("nan"), float("inf")]))
    assert steps.tolist() == [0, 128, 65535 - 1, *[65535] * 5]


def test_a_folder_needs_pairs(worlds: Worlds, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="at least 1"):
        prerender(worlds, tmp_path, count=0)
