"""Folders of pairs: manifests, resume, workers, failures."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import images, io
from depthweave.data import open_benchmark
from depthweave.errors import DepthweaveWarning, DifferentConfiguration, NotWritable
from depthweave.pipelines.depth_sources import AnyMap, FileDepth, Shot
from depthweave.pipelines.synthesize import Synthesizer
from depthweave.pipelines.synthetic_folder import Synthesized, Task, fit, synthesize_folder
from depthweave.synthesis.fill import make_filler
from depthweave.types import InverseDepthMap

HEIGHT, WIDTH = 36, 48
MAKER = Synthesizer(filler=make_filler("background"), device="cpu")


class Red:
    """Red is inverse depth."""

    def __init__(self, sentence: str | None = None) -> None:
        self.asked: list[str] = []
        self.sentence = sentence

    def facts(self) -> dict[str, Any]:
        return {"depth": "red"}

    def files(self, name: str) -> dict[str, Path]:
        return {}

    def __call__(self, shot: Shot) -> AnyMap:
        self.asked.append(shot.name)
        if self.sentence is not None:
            warnings.warn(self.sentence, DepthweaveWarning, stacklevel=1)
        return InverseDepthMap(shot.image[0].clone(), torch.ones(shot.image.shape[-2:], dtype=torch.bool))


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for number, name in enumerate("abc"):
        found[name] = tmp_path / "photos" / f"{name}.png"
        io.write_image(found[name], images.image_from_tensor(picture(number)))
    return found


def task(**changes: Any) -> Task:
    return replace(Task(Red(), MAKER), **changes)


def run(pictures: dict[str, Path], folder: Path, given: Task | None = None, **options: Any) -> Synthesized:
    return synthesize_folder(pictures, task() if given is None else given, folder, show_progress=False, **options)


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def manifest(folder: Path, name: str) -> dict[str, Any]:
    return io.read_manifest(folder / "manifest", name=f"{name}.json")


def test_pairs_with_manifests(pictures: dict[str, Path], tmp_path: Path) -> None:
    found = run(pictures, tmp_path / "pairs", also=("anaglyph",))
    assert found == Synthesized(3, 0, {})
    assert [item.key for item in open_benchmark("folder", tmp_path / "pairs")] == ["a", "b", "c"]
    said = manifest(tmp_path / "pairs", "b")
    assert said["inputs"]["image"]["path"] == str(pictures["b"].resolve())
    assert len(said["inputs"]["image"]["sha256"]) == 64
    assert said["inputs"]["image"]["bytes"] == pictures["b"].stat().st_size
    stated = {"depth": "red", "filler": "background", "edge_aware": True, "rule": "ours", "seed": 0, "warnings": []}
    stated |= {"width": WIDTH, "height": HEIGHT, "type": "stereo_pair", "camera": None}
    assert {key: said[key] for key in stated} == stated
    assert 0 <= said["rescaling"]["low_px"] < said["rescaling"]["high_px"] <= 0.2 * WIDTH
    assert 0 < said["inpainted_share"] < 1
    assert {"depthweave", "torch"} <= set(said["versions"])
    whole = io.read_manifest(tmp_path / "pairs")
    assert (whole["type"], whole["depth"], whole["per_image"]) == ("stereo_pairs", "red", 1)
    assert (tmp_path / "pairs" / "anaglyph" / "a.png").is_file()


def test_order_and_workers_change_nothing(pictures: dict[str, Path], tmp_path: Path) -> None:
    run(pictures, tmp_path / "one")
    run(dict(reversed(pictures.items())), tmp_path / "two", workers=2)
    run({"b": pictures["b"]}, tmp_path / "three")
    one, two, three = (bytes_of(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert three == {name: data for name, data in one.items() if name.endswith("b.png")}
    assert manifest(tmp_path / "one", "a") == manifest(tmp_path / "two", "a")
    drawn = {manifest(tmp_path / "one", name)["rescaling"]["high_px"] for name in "abc"}
    assert len(drawn) == 3
    run(pictures, tmp_path / "four", task(seed=1))
    assert manifest(tmp_path / "four", "a")["rescaling"]["high_px"] not in drawn


def test_finished_pairs_stay(pictures: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    run({name: pictures[name] for name in "ab"}, out)
    before = bytes_of(out)
    again = task()
    assert run(pictures, out, again) == Synthesized(1, 2, {})
    assert again.source.asked == ["c"]
    assert {name: data for name, data in bytes_of(out).items() if "c." not in name} == before
    # Without its manifest, with other bytes or without a view that is asked for, a pair is made again.
    (out / "manifest" / "a.json").unlink()
    io.write_image(pictures["b"], images.image_from_tensor(picture(9)))
    again = task()
    assert run(pictures, out, again) == Synthesized(2, 1, {})
    assert again.source.asked == ["a", "b"]
    assert run(pictures, out, also=("side-by-side",)) == Synthesized(3, 0, {})
    assert run(pictures, out, also=("side-by-side",)) == Synthesized(0, 3, {})
    assert run(pictures, out, overwrite=True) == Synthesized(3, 0, {})
    # The same picture at another place is the same picture.
    shutil.copytree(tmp_path / "photos", tmp_path / "moved")
    assert run({name: tmp_path / "moved" / f"{name}.png" for name in "abc"}, out).reused == 3


def test_an_interrupted_pair_is_no_pair(
    pictures: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pairs"
    genuine = io.write_manifest

    def stop(folder: Path, data: dict[str, Any], *, name: str) -> Path:
        if name == "b.json":
            raise KeyboardInterrupt
        return genuine(folder, data, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(io, "write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            run(pictures, out)
    assert [path.name for path in (out / "manifest").iterdir()] == ["a.json"]
    assert run(pictures, out) == Synthesized(2, 1, {})


def test_a_pair_that_fails_over_an_older_one_is_not_finished(
    pictures: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pairs"
    run(pictures, out)

    def full(path: Path, array: Any) -> None:
        if path.parent.name == "left" and path.stem == "b":
            raise ValueError("trouble")
        genuine(path, array)

    genuine = io.write_image
    with monkeypatch.context() as patch:
        patch.setattr(io, "write_image", full)
        assert run(pictures, out, overwrite=True).failed == {"b": "ValueError: trouble"}
    assert not (out / "manifest" / "b.json").exists()
    assert not (out / "left" / "b.png").exists()
    assert run(pictures, out) == Synthesized(1, 2, {})


def test_broken_pictures_do_not_cost_the_others(pictures: dict[str, Path], tmp_path: Path) -> None:
    pictures["b"].write_bytes(pictures["b"].read_bytes()[:60])
    pictures["d"] = tmp_path / "photos" / "d.png"
    pictures["e"] = tmp_path / "photos" / "e.png"
    io.write_image(pictures["e"], np.full((HEIGHT, WIDTH, 3), 80, np.uint8))
    for workers in (0, 2):
        found = run(pictures, tmp_path / f"pairs{workers}", workers=workers)
        assert (found.done, list(found.failed)) == (2, ["b", "d", "e"])
        assert "b.png" in found.failed["b"]
        assert "d.png does not exist" in found.failed["d"]
        assert "no near and far" in found.failed["e"]
        assert not (tmp_path / f"pairs{workers}" / "left" / "e.png").exists()
    io.write_image(pictures["b"], images.image_from_tensor(picture(5)))
    assert run(pictures, tmp_path / "pairs0").done == 1


def test_depth_of_another_size_is_named(pictures: dict[str, Path], tmp_path: Path) -> None:
    for name in "abc":
        size = (HEIGHT, WIDTH - 8) if name == "b" else (HEIGHT, WIDTH)
        InverseDepthMap(torch.rand(*size), torch.ones(*size, dtype=torch.bool)).save(tmp_path / "depth" / f"{name}.npz")
    given = task(source=FileDepth(tmp_path / "depth"))
    found = run(pictures, tmp_path / "pairs", given)
    assert found.done == 2
    assert f"the inverse depth is {WIDTH - 8}x{HEIGHT} px but the picture is {WIDTH}x{HEIGHT} px" in found.failed["b"]
    said = manifest(tmp_path / "pairs", "a")["inputs"]["depth"]
    assert said["path"].endswith("a.npz")
    # Other bytes of the depth, too, make the pair anew.
    InverseDepthMap(torch.rand(HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH, dtype=torch.bool)).save(
        tmp_path / "depth" / "a.npz"
    )
    assert run(pictures, tmp_path / "pairs", given).done == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 2}, r"seed 0 \(asked for: 2\)"),
        ({"per_image": 2}, r"per_image 1 \(asked for: 2\)"),
        ({"maker": replace(MAKER, rule="mfs")}, r"rule ours \(asked for: mfs\)"),
        ({"maker": replace(MAKER, max_disparity_px=9)}, r"max_disparity_px None \(asked for: 9\)"),
        ({"filler_settings": ("radius=4",)}, r"filler_settings \[\] \(asked for: \['radius=4'\]\)"),
    ],
)
def test_other_pairs_are_refused(
    pictures: dict[str, Path], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    io.claim_folder(tmp_path / "pairs", {"type": "stereo_pairs", **task().facts()})
    with pytest.raises(DifferentConfiguration, match=sentence):
        run(pictures, tmp_path / "pairs", task(**changes))


def test_several_pairs_of_a_picture(pictures: dict[str, Path], tmp_path: Path) -> None:
    given = task(per_image=2)
    assert run({"a": pictures["a"]}, tmp_path / "pairs", given).done == 2
    assert given.source.asked == ["a"]
    first, second = (manifest(tmp_path / "pairs", f"a-{number}") for number in (0, 1))
    assert first["rescaling"]["high_px"] != second["rescaling"]["high_px"]
    (tmp_path / "pairs" / "manifest" / "a-1.json").unlink()
    assert run({"a": pictures["a"]}, tmp_path / "pairs", given) == Synthesized(1, 1, {})


def test_large_pictures_are_shrunk(pictures: dict[str, Path], tmp_path: Path) -> None:
    run({"a": pictures["a"]}, tmp_path / "pairs", task(max_size=24))
    assert io.read_image(tmp_path / "pairs" / "left" / "a.png").shape == (18, 24, 3)
    assert manifest(tmp_path / "pairs", "a")["rescaling"]["high_px"] <= 0.2 * 24
    image = picture(0)
    assert fit(image, None) is image
    assert fit(image, WIDTH) is image
    assert fit(image, 12).shape == (3, 9, 12)


def test_a_calibration_is_of_the_files(pictures: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "K.txt").write_text("40 0 23.5 0 40 17.5 0 0 1\n0.1\n")
    given = task(calibration=tmp_path / "K.txt", max_size=24)
    run({"a": pictures["a"]}, tmp_path / "pairs", given)
    camera = manifest(tmp_path / "pairs", "a")["camera"]
    assert (camera["width"], camera["intrinsics"][0][0], camera["baseline_m"]) == (24, 20, None)
    (tmp_path / "K.txt").write_text("41 0 23.5 0 40 17.5 0 0 1\n0.1\n")
    with pytest.raises(DifferentConfiguration, match="calibration"):
        run({"a": pictures["a"]}, tmp_path / "pairs", given)


def test_warnings_are_kept_and_said_with_the_name(pictures: dict[str, Path], tmp_path: Path) -> None:
    with pytest.warns(DepthweaveWarning, match="^a: looks odd$"):
        run({"a": pictures["a"]}, tmp_path / "pairs", task(source=Red("looks odd")))
    assert manifest(tmp_path / "pairs", "a")["warnings"] == ["looks odd"]


def test_a_file_in_the_way_stops_everything(pictures: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    out.mkdir()
    (out / "right").write_text("a file")
    with pytest.raises(NotWritable, match="right"):
        run(pictures, out)
