"""Both passes over clips: what is on disk, what is run again, what scores and reports say."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniature_clips import HEIGHT, WIDTH, SlopeModel, depth, sevenscenes_tree
from numpy.typing import NDArray

from depthweave import io
from depthweave.data import open_clips
from depthweave.errors import DifferentConfiguration, UnknownBenchmark, WrongFile, WrongInput
from depthweave.evaluation.clips_motion import MovingParts, moving
from depthweave.evaluation.clips_predict import ClipMaps, predict_clips
from depthweave.evaluation.clips_report import comparison_table, write_clip_report, write_comparison
from depthweave.evaluation.clips_score import ClipScores, score_clips
from depthweave.evaluation.predict import Run
from depthweave.models.mono.estimate import Estimate
from depthweave.pipelines.mono import MonoEstimator
from depthweave.types import Clip, DepthMap, Scale
from depthweave.worlds import render_pair, still_life

JITTER = (1.0, 1.2, 0.9, 1.1, 1.0, 0.8)


def half(found: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    return found / 2 + 1


def jitter(found: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    return found * JITTER[index]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sevenscenes_tree(tmp_path / "data", frames=6)
    return sevenscenes_tree(tmp_path / "data", "fire/seq-01")


def scored(data: Path, output: Path, change: Any, **how: Any) -> ClipScores:
    found = predict_clips(SlopeModel(change), "7scenes", data, output)
    assert found.failed == {}
    return score_clips(found.run, **how)


def test_a_run_is_kept_and_continued(data: Path, tmp_path: Path) -> None:
    model = SlopeModel(half)
    first = predict_clips(model, "7scenes", data, tmp_path / "run", limit=1)
    assert (first.done, first.reused, first.failed) == (1, 0, {})
    second = predict_clips(model, "7scenes", data, tmp_path / "run")
    assert (second.done, second.reused, model.calls) == (1, 1, 2)
    run = Run.read(tmp_path / "run")
    maps = ClipMaps(run, "fire/seq-01")
    assert len(maps) == 4
    found = maps(3)
    assert isinstance(found, DepthMap)
    np.testing.assert_allclose(found.values.numpy(), half(depth(3), 3))
    assert run.facts("chess/seq-01")["frames"] == 6
    # A clip that has lost a frame is predicted again.
    (tmp_path / "run/items/fire/seq-01/frames/000002.npz").unlink()
    with pytest.raises(WrongFile, match="to finish fire/seq-01"):
        maps(2)
    assert predict_clips(model, "7scenes", data, tmp_path / "run").done == 1
    with pytest.raises(DifferentConfiguration, match=r"model \(model\)"):
        predict_clips(SlopeModel(half, "other"), "7scenes", data, tmp_path / "run")


def test_a_clip_that_fails_costs_no_other(data: Path, tmp_path: Path) -> None:
    def fails_on_long_clips(found: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        if index == 5:
            raise RuntimeError("too long")
        return found

    found = predict_clips(SlopeModel(fails_on_long_clips), "7scenes", data, tmp_path / "run")
    assert found.failed == {"chess/seq-01": "RuntimeError: too long"}
    assert found.done == 1
    scores = score_clips(found.run)
    assert list(scores.failed) == ["chess/seq-01"]
    assert [clip.key for clip in scores.clips["7scenes/stereodiff"]] == ["fire/seq-01"]


def test_models_that_are_none_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"no facts\(\)"):
        predict_clips(lambda clip: clip, "7scenes", data, tmp_path / "run")
    model = SlopeModel(half)
    model.__class__ = type("Short", (SlopeModel,), {"__call__": lambda self, clip: "no depth"})
    found = predict_clips(model, "7scenes", data, tmp_path / "run")
    assert "gives a DepthVideo or a Reconstruction, not str" in found.failed["fire/seq-01"]


def test_a_missing_frame_of_a_model_is_reported(data: Path, tmp_path: Path) -> None:
    class Lazy(SlopeModel):
        def write(self, clip: Clip, folder: Path) -> None:
            DepthMap(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool)).save(folder / "frames/000000.npz")

    found = predict_clips(Lazy(half), "7scenes", data, tmp_path / "run")
    assert found.failed["fire/seq-01"] == "fire/seq-01 has 4 frames, but the model gave 1 maps."


def test_a_model_for_pictures_sees_frame_by_frame(data: Path, tmp_path: Path) -> None:
    class Brightness:
        config = DEFAULT = Estimate  # any dataclass

        def to(self, device: torch.device) -> None: ...

        def __call__(self, image: torch.Tensor) -> Estimate:
            return Estimate(image.mean(0) + 0.1, "inverse_depth", Scale.UNKNOWN_SCALE_AND_SHIFT)

    estimator = MonoEstimator(Brightness(), device="cpu")
    estimator.facts = lambda: {"model": "brightness"}  # type: ignore[method-assign]
    found = predict_clips(estimator, "7scenes", data, tmp_path / "run")
    assert found.failed == {}
    scores = score_clips(found.run)
    assert [p.name for p in scores.protocols] == ["7scenes/stereodiff", "7scenes/depthcrafter"]
    assert "shift of this inverse depth is unknown" in scores.left_out["7scenes/monst3r"]
    assert scores.clips["7scenes/stereodiff"][0].space == "disparity"
    with pytest.raises(WrongInput, match="7scenes/monst3r cannot be measured"):
        score_clips(found.run, protocols=["7scenes/monst3r"])


def test_scores_tell_a_clip_wide_change_from_jitter(data: Path, tmp_path: Path) -> None:
    steady, shaking = scored(data, tmp_path / "steady", half), scored(data, tmp_path / "shaking", jitter)
    assert [p.name for p in steady.protocols] == ["7scenes/stereodiff", "7scenes/depthcrafter", "7scenes/monst3r"]
    good, bad = (scores.averages["7scenes/stereodiff"]["all"] for scores in (steady, shaking))
    assert good.values["abs-rel"] < 1e-5
    assert good.values["delta-1"] == 1
    assert good.clips == 2
    assert bad.values["abs-rel"] > 0.03
    clips = {clip.key: clip for clip in shaking.clips["7scenes/stereodiff"]}
    assert clips["chess/seq-01"].flicker_percent > 10
    assert clips["chess/seq-01"].coverage_percent == 100
    assert bad.values["abs-rel"] == pytest.approx(
        sum(clip.regions["all"].values["abs-rel"].value for clip in clips.values()) / 2
    )
    for clip in clips.values():
        region = clip.regions["all"]
        assert region.bands["abs-rel"][0] == pytest.approx(region.values["abs-rel"].value)
    assert steady.seconds_per_frame is not None


def test_what_the_prediction_does_not_cover_is_counted(data: Path, tmp_path: Path) -> None:
    found = predict_clips(SlopeModel(half), "7scenes", data, tmp_path / "run", limit=1)
    path = tmp_path / "run/items/chess/seq-01/frames/000001.npz"
    content = io.read_npz(path)
    content.valid[:, : WIDTH // 2] = False
    content.values[:, : WIDTH // 2] = 99
    io.write_npz(path, content)
    # A frame of another component has a scale of its own.
    manifest = json.loads((tmp_path / "run/items/chess/seq-01/result.json").read_text())
    manifest["component"] = [0, 0, 0, 0, 0, 1]
    (tmp_path / "run/items/chess/seq-01/result.json").write_text(json.dumps(manifest))
    (tmp_path / "run/items/chess/seq-01/frames/000005.npz").write_bytes(path.read_bytes())
    scores = score_clips(found.run, protocols=["7scenes/stereodiff"])
    clip = scores.clips["7scenes/stereodiff"][0]
    assert clip.regions["all"].values["abs-rel"].value < 1e-5
    assert (clip.missing, clip.frames) == (1, 6)
    known = HEIGHT * WIDTH - 2
    assert clip.coverage_percent == pytest.approx(100 * (4 * known + HEIGHT * WIDTH // 2) / (6 * known))
    assert math.isnan(clip.regions["all"].series["abs-rel"][5])


def test_a_damaged_map_is_reported(data: Path, tmp_path: Path) -> None:
    found = predict_clips(SlopeModel(half), "7scenes", data, tmp_path / "run")
    (tmp_path / "run/items/chess/seq-01/frames/000001.npz").write_bytes(b"no zip")
    scores = score_clips(found.run)
    assert list(scores.failed) == ["chess/seq-01"]
    assert "000001.npz" in scores.failed["chess/seq-01"]


def test_masks_and_moved_data(data: Path, tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :8] = 255
    for index in range(6):
        io.write_image(tmp_path / f"masks/chess/seq-01/frame-{index:06d}.color.png", mask)
    options = {"masks": str(tmp_path / "masks"), "clips": "chess/seq-01"}
    found = predict_clips(SlopeModel(jitter), "7scenes", data, tmp_path / "run", benchmark_options=options)
    moved = Path(shutil.move(data, tmp_path / "moved"))
    scores = score_clips(Run.read(found.run.folder), root=moved, protocols=["7scenes/stereodiff"])
    regions = scores.averages["7scenes/stereodiff"]
    assert list(regions) == ["all", "static", "dynamic"]
    counts = scores.clips["7scenes/stereodiff"][0].regions
    assert counts["dynamic"].counts == [HEIGHT * 8 - 2] * 6


def test_wrong_protocols_are_named(data: Path, tmp_path: Path) -> None:
    found = predict_clips(SlopeModel(half), "7scenes", data, tmp_path / "run")
    with pytest.raises(WrongInput, match="bonn/stereodiff is a protocol of bonn"):
        score_clips(found.run, protocols=["bonn/stereodiff"])
    with pytest.raises(UnknownBenchmark, match="for clips"):
        score_clips(found.run, protocols=["7scenes/visible/per-image"])
    constant = SlopeModel(lambda found, index: np.ones_like(found), "constant")
    flat = predict_clips(constant, "7scenes", data, tmp_path / "flat", limit=1)
    scores = score_clips(flat.run)
    assert "same everywhere" in scores.failed["chess/seq-01"]
    assert scores.protocols == ()


def test_the_report(data: Path, tmp_path: Path) -> None:
    steady, shaking = scored(data, tmp_path / "steady", half), scored(data, tmp_path / "shaking", jitter)
    write_clip_report(Run.read(tmp_path / "shaking"), shaking)
    content = json.loads((tmp_path / "shaking/scores.json").read_text())
    clip = content["clips"]["7scenes/stereodiff"]["chess/seq-01"]
    series = clip["regions"]["all"]["series"]["abs-rel"]
    assert len(series) == 6
    assert clip["regions"]["all"]["values"]["abs-rel"]["value"] == pytest.approx(sum(series) / 6)
    assert len(clip["regions"]["all"]["bands"]["rmse"]) == 11
    text = (tmp_path / "shaking/scores.md").read_text()
    assert "## 7scenes/monst3r" in text
    assert "F10" in text
    lines = (tmp_path / "shaking/frames.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * (6 + 4)
    assert lines[1].startswith("7scenes/stereodiff,chess/seq-01,all,0,")
    assert float(lines[1].split(",")[4]) == series[0]
    plot = io.read_image(tmp_path / "shaking/plots/chess/seq-01.png")
    files = write_comparison(tmp_path / "compared", [steady, shaking])
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "compared/chess/seq-01.png",
        "compared/fire/seq-01.png",
    ]
    assert io.read_image(files[0]).shape[1] > plot.shape[1]  # one more column, the ratio
    header, rows = comparison_table([steady, shaking])
    assert [row[0] for row in rows] == ["steady", "shaking"] * 3
    for name in ("abs-rel", "delta-1", "flicker [%]", "F6 to F10"):
        column = header.index(name)
        assert rows[0][column].endswith(" *")
        assert not rows[1][column].endswith(" *")


def test_flow_finds_what_moves() -> None:
    pair = render_pair(still_life(width=96, height=64))
    left, right, camera = pair.left.image, pair.right.image, pair.camera
    assert camera.baseline_m is not None
    truth = torch.where(torch.isfinite(pair.left.depth), pair.left.depth, 50.0)
    known = torch.ones_like(truth, dtype=torch.bool)
    nothing = moving(left, left, truth, known, camera, torch.eye(4))
    assert not nothing.any()
    # The camera stands, and a block of the picture moves down by five pixels.
    second = left.clone()
    second[:, 25:45, 20:50] = left[:, 20:40, 20:50]
    found = moving(left, second, truth, known, camera, torch.eye(4))
    assert found[22:38, 24:46].float().mean() > 0.8
    assert found[:, 60:].float().mean() < 0.05
    assert not moving(left, second, truth, ~known, camera, torch.eye(4)).any()
    # What the pose says of the whole scene is no motion of its own.
    second_from_first = torch.eye(4)
    second_from_first[0, 3] = -camera.baseline_m
    assert moving(left, right, truth, known, camera, second_from_first).float().mean() < 0.2


def test_motion_of_a_benchmark_needs_poses(data: Path) -> None:
    item = open_clips("7scenes", data)[0]
    found = MovingParts(item)(5)
    assert found is not None
    assert found.shape == (HEIGHT, WIDTH)
    for path in data.rglob("*.pose.txt"):
        path.unlink()
    with pytest.raises(WrongInput, match="no poses or no camera"):
        MovingParts(open_clips("7scenes", data)[0])
