"""Pairs by number, and streams of them."""

import pickle
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from depthweave.errors import SceneFailed, WrongFile, WrongInput
from depthweave.worlds import dataset
from depthweave.worlds.dataset import PairStream, Worlds
from depthweave.worlds.scene import Scene
from depthweave.worlds.views import PairBatch, RenderedPair, View


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return Worlds(height=48, width=64, pool=8)


@pytest.fixture(scope="module")
def pairs(worlds: Worlds) -> list[RenderedPair]:
    return [worlds[index] for index in range(5)]


def assert_same(found: RenderedPair, expected: RenderedPair) -> None:
    assert found.name == expected.name
    assert torch.equal(found.camera.intrinsics, expected.camera.intrinsics)
    assert found.camera.baseline_m == expected.camera.baseline_m
    for field in fields(View):
        for side in ("left", "right"):
            mine, theirs = (getattr(getattr(pair, side), field.name) for pair in (found, expected))
            assert torch.equal(mine, theirs), f"{field.name} of {found.name}, {side}"


def one_by_one(batches: list[PairBatch]) -> list[RenderedPair]:
    return [batch[place] for batch in batches for place in range(len(batch))]


def test_a_number_is_a_pair(worlds: Worlds, pairs: list[RenderedPair]) -> None:
    assert pairs[3].name == "000003"
    assert pairs[3].pair.left.shape == (3, 48, 64)
    assert_same(Worlds(height=48, width=64, pool=8)[3], pairs[3])
    assert not torch.equal(pairs[3].left.image, pairs[4].left.image)
    other = Worlds(height=48, width=64, pool=8, seed=1)[3]
    assert not torch.equal(pairs[3].left.disparity, other.left.disparity)


def test_iteration_ends_at_the_length() -> None:
    few = Worlds(height=48, width=64, pool=8, length=2)
    assert len(few) == 2
    assert [pair.name for pair in few] == ["000000", "000001"]
    with pytest.raises(IndexError):
        few[-1]


def test_textures_slide_along(worlds: Worlds) -> None:
    def textures(scene: Scene) -> set[int]:
        return {part.material.texture for thing in scene.things for part in thing.parts}

    assert textures(worlds.scene(0)) <= set(range(8))
    assert textures(worlds.scene(1000)) <= set(range(150, 158))


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 2), (0, 5), (1, 4), (2, 2)])
def test_the_sequence_does_not_depend_on_how_it_is_made(
    worlds: Worlds, pairs: list[RenderedPair], workers: int, batch_size: int
) -> None:
    before = torch.random.get_rng_state()
    stream = PairStream(worlds, batch_size=batch_size, device="cpu", workers=workers, count=5)
    batches = list(stream)
    assert [len(batch) for batch in batches] == {2: [2, 2, 1], 4: [4, 1], 5: [5]}[batch_size]
    for found, expected in zip(one_by_one(batches), pairs, strict=True):
        assert_same(found, expected)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(stream) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact(worlds: Worlds, pairs: list[RenderedPair], workers: int) -> None:
    stream = PairStream(worlds, batch_size=2, device="cpu", workers=workers)
    next(iter(stream))
    state = pickle.loads(pickle.dumps(stream.state_dict()))
    again = PairStream(worlds, batch_size=2, device="cpu")
    again.load_state_dict(state)
    for batch in (next(iter(again)), next(iter(stream))):
        for found, expected in zip(one_by_one([batch]), pairs[2:4], strict=True):
            assert_same(found, expected)


def test_scenes_that_workers_describe_for_an_accelerator(worlds: Worlds, pairs: list[RenderedPair]) -> None:
    batch = worlds.render(pickle.loads(dataset._describe(worlds, range(1, 3))))
    for found, expected in zip(one_by_one([batch]), pairs[1:3], strict=True):
        assert_same(found, expected)


def test_a_state_of_other_worlds_is_refused(worlds: Worlds) -> None:
    state = PairStream(Worlds(height=48, width=64, pool=9, seed=5), device="cpu").state_dict()
    with pytest.raises(WrongInput, match="another seed and pool"):
        PairStream(worlds, device="cpu").load_state_dict(state)


def test_a_stream_starts_where_it_is_told(worlds: Worlds, pairs: list[RenderedPair]) -> None:
    (batch,) = PairStream(worlds, batch_size=8, device="cpu", start=3, count=2)
    for found, expected in zip(one_by_one([batch]), pairs[3:], strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_names_the_scene(worlds: Worlds, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    genuine = dataset.render_pairs

    def failing(scenes: list[Scene], **options: object) -> PairBatch:
        if "000003" in [scene.name for scene in scenes]:
            raise ValueError("trouble")
        return genuine(scenes, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "render_pairs", failing)
    stream = iter(PairStream(worlds, batch_size=2, device="cpu", workers=workers))
    assert len(next(stream)) == 2
    with pytest.raises(SceneFailed, match=r"^scene 000003 of seed 0 failed: ValueError: trouble$"):
        next(stream)


def test_a_clip_moves(worlds: Worlds) -> None:
    clip = worlds.clip(2, frames=3, fps=5)
    assert clip.left.image.shape == (3, 3, 48, 64)
    assert clip.fps == 5
    assert clip.name == "000002"
    again = Worlds(height=48, width=64, pool=8).clip(2, frames=3, fps=5)
    assert torch.equal(clip.left.image, again.left.image)
    assert torch.equal(clip.flow_forward, again.flow_forward)
    flows = [worlds.clip(index, frames=2).flow_forward for index in range(3)]
    assert max(float(flow.abs().max()) for flow in flows) > 0


def test_photographs_are_looked_for_at_once(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="none"):
        Worlds(photos=tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"height": 8}, "768x8 px are too small"), ({"seed": -1}, "seed -1"), ({"pool": 0}, "pool 0")],
)
def test_refused_worlds(options: dict[str, int], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        Worlds(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -1}, {"start": -1}])
def test_refused_streams(worlds: Worlds, options: dict[str, int]) -> None:
    with pytest.raises(WrongInput, match="must be at least"):
        PairStream(worlds, **options)  # type: ignore[arg-type]
