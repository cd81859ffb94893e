"""Every command on a 64x48 pair."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import DepthMap, DisparityMap, Scale, io
from depthweave.worlds import RenderedPair

from .conftest import Cli


def test_stereo_writes_a_result_folder(cli: Cli, pair: Path, world: RenderedPair) -> None:
    out = pair / "out"
    words = ("stereo", pair / "left.png", pair / "right.png", "-c", pair / "calib.txt", "-m", "sgm", "-o", out)
    found = cli(*words)
    assert found.code == 0
    assert found.err == ""
    assert sorted(path.name for path in out.iterdir()) == [
        "cloud.ply",
        "depth.npz",
        "disparity.npz",
        "disparity.pfm",
        "preview.png",
        "result.json",
    ]
    manifest = json.loads((out / "result.json").read_text())
    assert manifest["type"] == "disparity"
    assert manifest["unit"] == "px"
    assert manifest["model"] == "sgm"
    assert manifest["camera"]["baseline_m"] == pytest.approx(0.12)
    assert manifest["inputs"]["left"]["path"].endswith("left.png")
    disparity, depth = DisparityMap.read(out), DepthMap.read(out / "depth.npz")
    assert depth.scale == Scale.METRIC
    truth = world.left_disparity.values
    assert float((disparity.values - truth).abs()[world.visible].median()) < 0.5
    torch.testing.assert_close(depth.values, disparity.to_depth().values)
    preview = io.read_image(out / "preview.png")
    assert preview.shape == (48, 128, 3)


def test_stereo_without_calibration_says_how_to_get_metres(cli: Cli, pair: Path) -> None:
    found = cli("stereo", pair / "left.png", pair / "right.png", "-o", pair / "out")
    assert found.code == 0
    assert "-c calib.txt" in found.out
    assert not (pair / "out" / "cloud.ply").exists()


def test_stereo_json_is_the_manifest(cli: Cli, pair: Path) -> None:
    found = cli("stereo", pair / "left.png", pair / "right.png", "-o", pair / "out", "-m", "block", "--json")
    assert json.loads(found.out) == json.loads((pair / "out" / "result.json").read_text())


def test_stereo_of_the_right_picture(cli: Cli, pair: Path, world: RenderedPair) -> None:
    words = ("stereo", pair / "left.png", pair / "right.png", "-m", "sgm", "-o", pair / "out")
    assert cli(*words, "--right").code == 0
    found = DisparityMap.read(pair / "out")
    error = (found.values - world.right_disparity.values).abs()
    assert float(error[found.valid].median()) < 0.5


def test_swapped_views_are_warned_of(cli: Cli, tmp_path: Path) -> None:
    from depthweave import images
    from depthweave.worlds import render_pair, still_life

    larger = render_pair(still_life(width=256, height=192))
    for name, view in (("l", larger.pair.left), ("r", larger.pair.right)):
        io.write_image(tmp_path / f"{name}.png", images.image_from_tensor(view))
    words = ("-m", "sgm", "-o", tmp_path / "out")
    found = cli("stereo", tmp_path / "r.png", tmp_path / "l.png", *words)
    assert found.code == 0
    assert "look swapped" in found.err
    assert "give the left picture first" in found.err
    assert json.loads((tmp_path / "out" / "result.json").read_text())["warnings"] != []
    assert cli("stereo", tmp_path / "l.png", tmp_path / "r.png", *words).err == ""


def test_a_second_result_leaves_nothing_of_the_first(cli: Cli, pair: Path) -> None:
    words = ("stereo", pair / "left.png", pair / "right.png", "-o", pair / "out")
    assert cli(*words, "-c", pair / "calib.txt").code == 0
    (pair / "out" / "notes.txt").write_text("mine")
    assert cli(*words).code == 0
    assert sorted(path.name for path in (pair / "out").iterdir()) == [
        "disparity.npz",
        "disparity.pfm",
        "notes.txt",
        "preview.png",
        "result.json",
    ]


def test_folder_resumes_and_does_changed_pairs_again(cli: Cli, pair: Path) -> None:
    for side in ("left", "right"):
        (pair / side).mkdir()
        for name in ("a", "b"):
            shutil.copy(pair / f"{side}.png", pair / side / f"{name}.png")
    words = ("stereo", pair / "left", pair / "right", "-o", pair / "out")
    assert cli(*words).code == 0
    before = {name: (pair / "out" / name / "disparity.npz").stat().st_mtime_ns for name in ("a", "b")}
    (pair / "out" / "b" / "result.json").unlink()
    assert cli(*words).code == 0
    after = {name: (pair / "out" / name / "disparity.npz").stat().st_mtime_ns for name in ("a", "b")}
    assert after["a"] == before["a"]
    assert after["b"] > before["b"]
    assert not (pair / "out" / "a" / "depth.npz").exists()
    assert cli(*words, "-c", pair / "calib.txt").code == 0
    assert (pair / "out" / "a" / "depth.npz").is_file()
    assert cli(*words, "--max-disparity", "32").code == 0
    assert (pair / "out" / "a" / "disparity.npz").stat().st_mtime_ns > after["a"]


def test_folders_need_the_same_names(cli: Cli, pair: Path) -> None:
    for side, name in (("left", "a"), ("right", "b")):
        (pair / side).mkdir()
        shutil.copy(pair / f"{side}.png", pair / side / f"{name}.png")
    found = cli("stereo", pair / "left", pair / "right", "-o", pair / "out")
    assert found.code == 1
    assert "a.png" in found.sentence


def test_predict_and_score(cli: Cli, pair: Path, world: RenderedPair) -> None:
    for side in ("left", "right"):
        (pair / "set" / side).mkdir(parents=True)
        shutil.copy(pair / f"{side}.png", pair / "set" / side / "a.png")
    io.write_pfm(pair / "set" / "disparity" / "a.pfm", world.left_disparity.values.numpy())
    runs = []
    for model in ("sgm", "block"):
        runs.append(pair / f"run-{model}")
        found = cli("predict", model, "folder", "--root", pair / "set", "-o", runs[-1], "--json")
        assert json.loads(found.out)["done"] == 1
    found = cli("score", *runs)
    assert found.code == 0
    assert "comparison" in found.out
    assert (runs[0] / "sheet.png").is_file()
    scores = json.loads(cli("score", runs[0], "--json").out)
    error = (DisparityMap.read(runs[0] / "items" / "a.npz").values - world.left_disparity.values).abs()
    assert scores[0]["averages"]["folder/all/per-image"]["epe"]["value"] == pytest.approx(float(error.mean()), rel=1e-4)


def test_models(cli: Cli) -> None:
    found = cli("models", "--json")
    cards = {card["name"]: card for card in json.loads(found.out)}
    assert {"sgm", "bm", "block"} <= set(cards)
    assert all(card["licence"] and card["training_data"] for card in cards.values())
    assert "sgm" in cli("models").out


def test_info(cli: Cli, pair: Path) -> None:
    assert json.loads(cli("info", "--json").out)["torch"] == torch.__version__
    assert "64x48" in cli("info", pair / "left.png").out
    assert "baseline_m" in cli("info", pair / "calib.txt").out
    io.write_pfm(pair / "d.pfm", np.full((3, 4), 2.5, np.float32))
    assert "4x3" in cli("info", pair / "d.pfm").out


def test_demo(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli("demo", "-o", tmp_path / "demo")
    assert found.code == 0
    assert "depthweave stereo" in found.out
    row = next(line for line in found.out.splitlines() if "visible in both views" in line)
    bad_2 = float(row.split("│")[4])
    assert bad_2 < 3.0
    assert (tmp_path / "demo" / "result" / "cloud.ply").is_file()


def test_help_is_quick_and_imports_are_light() -> None:
    command = [sys.executable, "-c", "from depthweave.cli.main import run; run()", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.6
    probe = "import sys, depthweave.cli.main; print([m for m in ('torch', 'cv2', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_version(cli: Cli) -> None:
    import depthweave

    assert cli("--version").out.strip() == f"depthweave {depthweave.__version__}"
