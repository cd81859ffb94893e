"""Bad input: one sentence that names the file and the way out, exit code 1 (2 for misuse), and nothing else is lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthweave import io

from .conftest import Cli


def stereo(cli: Cli, pair: Path, *extra: str | Path, left: str = "left.png", right: str = "right.png"):
    return cli("stereo", pair / left, pair / right, "-o", pair / "out", *extra)


def test_missing_file(cli: Cli, pair: Path) -> None:
    found = stereo(cli, pair, left="nowhere.png")
    assert found.code == 1
    assert "nowhere.png" in found.sentence
    assert "check the path" in found.sentence


def test_truncated_png(cli: Cli, pair: Path) -> None:
    data = (pair / "left.png").read_bytes()
    (pair / "left.png").write_bytes(data[: len(data) // 2])
    found = stereo(cli, pair)
    assert found.code == 1
    assert "left.png" in found.sentence


def test_sizes_that_differ(cli: Cli, pair: Path) -> None:
    Image.open(pair / "right.png").resize((60, 48)).save(pair / "right.png")
    found = stereo(cli, pair)
    assert found.code == 1
    assert "64x48" in found.sentence
    assert "60x48" in found.sentence
    assert "right.png" in found.sentence


def test_video_given_as_an_image(cli: Cli, pair: Path) -> None:
    io.write_video(pair / "left.mp4", (np.full((48, 64, 3), i * 20, np.uint8) for i in range(5)), fps=10)
    found = stereo(cli, pair, left="left.mp4")
    assert found.code == 1
    assert "left.mp4" in found.sentence
    assert "video" in found.sentence


def test_one_pixel(cli: Cli, pair: Path) -> None:
    for name in ("left.png", "right.png"):
        Image.new("RGB", (1, 1), (9, 9, 9)).save(pair / name)
    found = stereo(cli, pair)
    assert found.code == 1
    assert "1x1" in found.sentence
    assert "left.png" in found.sentence
    assert "at least" in found.sentence


def test_all_black(cli: Cli, pair: Path) -> None:
    Image.new("RGB", (64, 48)).save(pair / "right.png")
    found = stereo(cli, pair)
    assert found.code == 1
    assert "right.png" in found.sentence
    assert "black" in found.sentence
    assert "exposure" in found.sentence


def test_grey_beside_colour(cli: Cli, pair: Path) -> None:
    Image.open(pair / "right.png").convert("L").save(pair / "right.png")
    found = stereo(cli, pair)
    assert found.code == 1
    assert "right.png is grey" in found.sentence
    assert "--grey" in found.sentence
    assert stereo(cli, pair, "--grey").code == 0


def test_pfm_with_nan(cli: Cli, pair: Path) -> None:
    values = np.ones((4, 5), np.float32)
    io.write_pfm(pair / "truth.pfm", values)
    data = (pair / "truth.pfm").read_bytes()
    (pair / "truth.pfm").write_bytes(data[:-4] + np.float32(np.nan).tobytes())
    found = cli("info", pair / "truth.pfm")
    assert found.code == 1
    assert "truth.pfm" in found.sentence
    assert "inf" in found.sentence


def test_calibration_without_baseline(cli: Cli, pair: Path) -> None:
    (pair / "K.yaml").write_text(
        "%YAML:1.0\n---\nK: !!opencv-matrix\n  rows: 3\n  cols: 3\n  dt: d\n"
        "  data: [50., 0., 31.5, 0., 50., 23.5, 0., 0., 1.]\n"
    )
    found = stereo(cli, pair, "-c", pair / "K.yaml")
    assert found.code == 1
    assert "K.yaml" in found.sentence
    assert "baseline" in found.sentence


def test_output_that_cannot_be_written(cli: Cli, pair: Path) -> None:
    (pair / "file").write_text("a file, not a folder")
    found = cli("stereo", pair / "left.png", pair / "right.png", "-o", pair / "file" / "out")
    assert found.code == 1
    assert str(pair / "file") in found.sentence
    assert "choose another" in found.sentence


@pytest.mark.parametrize(
    "words",
    [
        ["stereo"],
        ["stereo", "left.png", "right.png", "--max-disparity", "many"],
        ["stereo", "left.png", "right.png", "--set", "cost"],
        ["nonsense"],
        ["score"],
    ],
)
def test_misuse_is_exit_code_2(cli: Cli, words: list[str]) -> None:
    assert cli(*words).code == 2


def test_unknown_names_propose_others(cli: Cli, pair: Path) -> None:
    found = stereo(cli, pair, "-m", "smg")
    assert found.code == 1
    assert "sgm" in found.sentence
    found = stereo(cli, pair, "-m", "block", "--set", "costs=zncc")
    assert found.code == 1
    assert "costs" in found.sentence
    assert "window" in found.sentence
    found = cli("predict", "sgm", "kitti2015", "--root", pair, "-o", pair / "run")
    assert found.code == 1
    assert "kitti-2015" in found.sentence


def test_other_pairs_of_a_folder_finish(cli: Cli, pair: Path) -> None:
    for side in ("left", "right"):
        (pair / side).mkdir()
        for name in ("a", "b", "c"):
            shutil.copy(pair / f"{side}.png", pair / side / f"{name}.png")
    broken = pair / "left" / "b.png"
    broken.write_bytes(broken.read_bytes()[:200])
    found = cli("stereo", pair / "left", pair / "right", "-o", pair / "out")
    assert found.code == 1
    assert "failed b:" in found.err
    assert "b.png" in found.err
    assert "2 of 3 pairs done" in found.out
    assert (pair / "out" / "a" / "result.json").is_file()
    assert (pair / "out" / "c" / "result.json").is_file()
    assert not (pair / "out" / "b").exists()


def test_debug_shows_the_traceback(cli: Cli, pair: Path) -> None:
    from depthweave.errors import WrongFile

    with pytest.raises(WrongFile):
        stereo(cli, pair, "--debug", left="nowhere.png")
