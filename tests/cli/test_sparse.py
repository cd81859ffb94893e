"""`--sparse`: measured depth beside pictures and pairs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import DepthMap, InverseDepthMap, Scale, SparseDepth, fuse_sparse, io
from depthweave.models.mono.depth_anything import DepthAnythingConfig
from depthweave.models.mono.estimate import Estimate
from depthweave.pipelines import load as load_room
from depthweave.pipelines.mono import MonoEstimator
from depthweave.worlds import RenderedPair, render_pair, still_life

from .conftest import Cli


class Affine:
    """A model that sees the true inverse depth up to scale and shift."""

    config = DepthAnythingConfig()

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, image: Tensor) -> Estimate:
        return Estimate(3 / self.truth + 0.7, "inverse_depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


class Echo(Affine):
    """A model that answers with its prompt."""

    def prompt_shape(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def prompted(self, image: Tensor, prompt_m: Tensor) -> Estimate:
        return Estimate(prompt_m, "depth", Scale.METRIC)


@pytest.fixture(scope="session")
def walls() -> RenderedPair:
    """A scene without sky."""
    found = render_pair(still_life(width=64, height=48))
    assert found.left_depth.valid.all()
    return found


@pytest.fixture
def truth(walls: RenderedPair) -> Tensor:
    return walls.left_depth.values


@pytest.fixture
def mono(truth: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """`depthweave mono -m shape`; there is a model named prompted, too."""
    load = load_room.load

    def loaded(name: str, **how: Any) -> Any:
        made = {"shape": Affine, "prompted": Echo}.get(name)
        return load(name, **how) if made is None else MonoEstimator(made(truth), device="cpu")

    monkeypatch.setattr(load_room, "load", loaded)
    return ("mono", "-m", "shape")


@pytest.fixture
def points(truth: Tensor) -> SparseDepth:
    """Every eighth pixel."""
    known = torch.zeros(truth.shape, dtype=torch.bool)
    known[3::8, 3::8] = True
    return SparseDepth.from_map(DepthMap(truth, known, scale=Scale.METRIC))


def abs_rel(found: DepthMap, truth: Tensor) -> float:
    return float(((found.values - truth).abs() / truth)[found.valid].mean())


def write(points: SparseDepth, truth: Tensor, path: Path) -> Path:
    if path.suffix in (".csv", ".npz"):
        points.save(path)
        return path
    known = torch.zeros(truth.shape, dtype=torch.bool)
    known[points.points_px[:, 1].long(), points.points_px[:, 0].long()] = True
    DepthMap(truth, known, scale=Scale.METRIC).save(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".png", ".exr", ".pfm"])
def test_a_picture_and_a_file_of_points_become_metres(
    cli: Cli, pair: Path, mono: Any, points: SparseDepth, truth: Tensor, suffix: str
) -> None:
    file = write(points, truth, pair / f"points{suffix}")
    found = cli(*mono, pair / "left.png", "--sparse", file, "-c", pair / "calib.txt", "-o", pair / "out")
    assert (found.code, found.err) == (0, "")
    assert "depth in m, 64x48, Affine on cpu" in found.out
    assert "scale and shift fitted to 48 of 48 measurements" in found.out
    assert "take a metric model" not in found.out
    depth = DepthMap.read(pair / "out")
    assert depth.scale == Scale.METRIC
    assert abs_rel(depth, truth) < 0.02
    shape = InverseDepthMap(3 / truth + 0.7, torch.ones_like(depth.valid))
    torch.testing.assert_close(depth.values, fuse_sparse(shape, points).values, atol=2e-3, rtol=0)
    manifest = json.loads((pair / "out/result.json").read_text())
    assert (manifest["type"], manifest["unit"], manifest["files"]["cloud"]) == ("depth", "m", "cloud.ply")
    assert manifest["sparse_fit"]["used"] == 48
    assert set(manifest["timings_s"]) == {"read", "estimate", "fuse"}
    assert manifest["sparse_fit"]["scale"] == pytest.approx(1 / 3, rel=0.02)
    assert manifest["inputs"]["sparse"]["path"] == str(file.resolve())


def test_a_png_without_a_unit_needs_one(cli: Cli, pair: Path, mono: Any, points: SparseDepth, truth: Tensor) -> None:
    from PIL import Image

    file = write(points, truth, pair / "points.png")
    depth_m, valid = io.read_depth_png(file)
    Image.fromarray(np.where(valid, np.round(depth_m * 256), 0).astype(np.uint16)).save(file)
    words = (*mono, pair / "left.png", "--sparse", file, "-o", pair / "out")
    assert "does not say its unit; give unit_m (--sparse-unit)" in cli(*words).sentence
    assert cli(*words, "--sparse-unit", str(1 / 256)).code == 0
    assert abs_rel(DepthMap.read(pair / "out"), truth) < 0.02


def test_a_model_that_needs_a_prompt_gets_the_measurements(
    cli: Cli, pair: Path, mono: Any, points: SparseDepth
) -> None:
    points.save(pair / "points.csv")
    words = ("mono", "-m", "prompted", pair / "left.png", "-o", pair / "out")
    assert "needs measured depth beside every picture; give --sparse points.csv" in cli(*words).sentence
    assert cli(*words, "--sparse", pair / "points.csv").code == 0
    torch.testing.assert_close(DepthMap.read(pair / "out").values, points.upsampled().values)
    assert "sparse_fit" not in json.loads((pair / "out/result.json").read_text())


def test_a_folder_of_pictures_takes_a_folder_of_files(
    cli: Cli, pair: Path, mono: Any, points: SparseDepth, truth: Tensor
) -> None:
    pictures = pair / "pictures"
    pictures.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(pair / "left.png", pictures / f"{name}.png")
    points.save(pictures / "a.csv")  # beside the pictures: a.png is no measurement of itself
    points.save(pictures / "b.npz")
    write(points, truth, pictures / "c.pfm").write_bytes(b"damaged")
    words = (*mono, pictures, "--sparse", pictures, "-o", pair / "out", "--json")
    first = json.loads(cli(*words).out)
    assert (list(first["done"]), list(first["failed"])) == (["a", "b"], ["c"])
    assert "c.pfm" in first["failed"]["c"]
    before = {name: (pair / "out" / name / "result.json").stat().st_mtime_ns for name in ("a", "b")}
    # Another depth in a file of the same length: the finished result is of other measurements.
    farther = SparseDepth(points.points_px, 2 * points.depth_m, points.valid, points.height, points.width)
    size = (pictures / "b.npz").stat().st_size
    farther.save(pictures / "b.npz")
    assert (pictures / "b.npz").stat().st_size == size
    write(points, truth, pictures / "c.pfm")
    assert cli(*words).code == 0
    after = {name: (pair / "out" / name / "result.json").stat().st_mtime_ns for name in ("a", "b")}
    assert after["a"] == before["a"]
    assert after["b"] > before["b"]
    medians = {name: float(DepthMap.read(pair / "out" / name).values.median()) for name in ("a", "b", "c")}
    assert medians["b"] == pytest.approx(2 * medians["a"], rel=1e-3)
    assert medians["c"] == pytest.approx(medians["a"], rel=1e-3)


@pytest.mark.parametrize("view", ["left", "right"])
def test_a_pair_without_calibration_becomes_metres(cli: Cli, pair: Path, walls: RenderedPair, view: str) -> None:
    depth = walls.left_depth if view == "left" else walls.right_disparity.to_depth()
    known = torch.zeros_like(depth.valid)
    known[1::4, 1::4] = True
    SparseDepth.from_map(DepthMap(depth.values, known & depth.valid, scale=Scale.METRIC)).save(pair / "points.csv")
    words = ("stereo", pair / "left.png", pair / "right.png", "-m", "sgm", "--sparse", pair / "points.csv")
    found = cli(*words, "-o", pair / "out", *(("--right",) if view == "right" else ()))
    assert (found.code, found.err) == (0, "")
    assert "give -c calib.txt for a point cloud" in found.out
    assert "scale fitted to" in found.out
    error = (DepthMap.read(pair / "out").values - depth.values).abs() / depth.values
    assert float(error.median()) < 0.05
    manifest = json.loads((pair / "out/result.json").read_text())
    assert (manifest["type"], manifest["scale"], manifest["view"]) == ("depth", "metric", view)
    assert manifest["sparse_fit"]["domain"] == "inverse_depth"
    assert set(manifest["timings_s"]) == {"read", "match", "fuse"}
    assert not (pair / "out/disparity.npz").exists()


def test_intrinsics_alone_are_enough_for_a_cloud_of_a_pair(cli: Cli, pair: Path, points: SparseDepth) -> None:
    points.save(pair / "points.csv")
    (pair / "K.txt").write_text("60 0 31.5\n0 60 23.5\n0 0 1\n")
    words = ("stereo", pair / "left.png", pair / "right.png", "-m", "sgm", "-c", pair / "K.txt", "-o", pair / "out")
    assert "states no baseline" in cli(*words).sentence
    found = cli(*words, "--sparse", pair / "points.csv", "--json")
    assert json.loads(found.out)["files"]["cloud"] == "cloud.ply"


def test_folders_of_pairs_take_a_folder_of_files(cli: Cli, pair: Path, points: SparseDepth) -> None:
    for side in ("left", "right"):
        for name in ("0", "1"):
            (pair / side).mkdir(exist_ok=True)
            shutil.copy(pair / f"{side}.png", pair / side / f"{name}.png")
    (pair / "lidar").mkdir()
    points.save(pair / "lidar/0.csv")
    words = ("stereo", pair / "left", pair / "right", "-m", "sgm", "--sparse", pair / "lidar", "-o", pair / "out")
    assert "lidar holds no 1.csv|.npz|.pfm|.exr|.png, but" in cli(*words).sentence
    points.save(pair / "lidar/1.npz")
    done = json.loads(cli(*words, "--json").out)["done"]
    assert [done[name]["sparse_fit"]["measured"] for name in ("0", "1")] == [48, 48]
    assert [Path(done[name]["inputs"]["sparse"]["path"]).name for name in ("0", "1")] == ["0.csv", "1.npz"]
    points.save(pair / "lidar/1.csv")
    assert "lidar holds 1.csv and 1.npz, but" in cli(*words).sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("left.png", "--sparse", "gone.csv"), "gone.csv does not exist"),
        (("left.png", "right.png", "--sparse", "points.csv"), "points.csv is one file of measurements for 2 pictures"),
        (("left.png", "--sparse", "points.txt"), "--sparse reads .csv, .npz, .pfm, .exr, .png"),
        (("left.png", "--sparse", "large.npz"), "large.npz is for 128x96 px, but left.png has 64x48"),
        (("left.png", "--sparse", "outside.csv"), "1 of 4 points of outside.csv lie outside left.png (64x48 px)"),
        (("left.png", "--sparse", "none.csv"), "none.csv holds no measurement that counts"),
        (("left.png", "--sparse", "two.csv"), "2 measured regions lie on valid depth, and a fit needs 3"),
        (("left.png", "--sparse", "left.png"), "left.png holds 8-bit colour or alpha pixels"),
        (("left.png", "--sparse", "binary.csv"), "binary.csv is not text"),
        (("left.png", "--sparse", "nan.csv"), "1 of 4 points of nan.csv lie outside left.png"),
        (("left.png", "--sparse-unit", "0.001"), "belongs to the depth PNGs of --sparse"),
        (("left.png", "--sparse", "points.csv", "--sparse-unit", "-1"), "--sparse-unit -1 is not a length"),
    ],
)
def test_misuse_is_one_sentence(
    cli: Cli, pair: Path, mono: Any, points: SparseDepth, given: tuple[str, ...], sentence: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(pair)
    points.save("points.csv")
    points.resized(96, 128).save("large.npz")
    Path("points.txt").write_text("3 4 2.5\n")
    rows = ["63.4,1,2", "9,9,2", "20,30,3"]
    Path("outside.csv").write_text("\n".join(("x_px,y_px,depth_m", *rows, "63.6,1,2")))
    Path("nan.csv").write_text("\n".join(("x_px,y_px,depth_m", *rows, "nan,1,2")))
    Path("binary.csv").write_bytes(bytes(range(120, 256)))
    Path("none.csv").write_text("x_px,y_px,depth_m\n3,4,0\n")
    Path("two.csv").write_text("\n".join(("x_px,y_px,depth_m", *rows[:2])))
    found = cli(*mono, *given, "-o", "out")
    assert found.code == 1
    assert sentence in found.sentence


def test_a_warm_start_from_depth_is_refused(cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from depthweave.pipelines.stereo import StereoMatcher

    monkeypatch.setattr(StereoMatcher, "require_previous", lambda _: None)
    for side in ("l", "r"):
        (pair / side).mkdir()
    found = cli("stereo", pair / "l", pair / "r", "-m", "sgm", "--warm-start", "--sparse", pair, "-o", pair / "out")
    assert found.code == 2
    assert "--warm-start goes on from disparity" in found.err
