"""`depthweave flow`: two pictures, a folder of frames, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from depthweave import FlowMap
from depthweave.io import read_flo, write_image

from .conftest import Cli


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three frames of a texture that moves by (2, 1) px each."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for t in range(3):
        write_image(tmp_path / "frames" / f"{t}.png", texture[8 - t : 72 - t, 8 - 2 * t : 88 - 2 * t])
    return tmp_path / "frames"


def test_two_pictures(cli: Cli, frames: Path, tmp_path: Path) -> None:
    outcome = cli("flow", frames / "0.png", frames / "1.png", "-m", "dis", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "flow in px, 80x64" in outcome.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("result.json", "flow.npz", "flow.flo", "flow_kitti.png", "preview.png")
    }
    flow, valid = read_flo(tmp_path / "out" / "flow.flo")
    np.testing.assert_allclose(np.median(flow[valid], axis=0), [2, 1], atol=0.1)
    facts = json.loads((tmp_path / "out" / "result.json").read_text())
    assert facts["model"] == "dis"
    assert facts["direction"] == "forward"
    assert set(facts["inputs"]) == {"first", "second"}


def test_backward_and_settings(cli: Cli, frames: Path, tmp_path: Path) -> None:
    words = ("flow", frames / "0.png", frames / "1.png", "-m", "dis", "--set", "preset=fast", "--backward", "--json")
    outcome = cli(*words, "--no-check", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["options"] == {"preset": "fast"}
    assert facts["check"] is False
    values = FlowMap.read(tmp_path / "out").values
    np.testing.assert_allclose(values.flatten(1).median(1).values.numpy(), [-2, -1], atol=0.1)


def test_frames_of_a_folder_are_kept(cli: Cli, frames: Path, tmp_path: Path) -> None:
    words = ("flow", frames, "-m", "dis", "-o", tmp_path / "out")
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    assert "2 of 2 frames done" in outcome.out
    files = [tmp_path / "out" / name / "result.json" for name in ("000000", "000001")]
    before = [file.stat().st_mtime_ns for file in files]
    write_image(frames / "2.png", np.zeros((64, 80, 3), np.uint8))
    assert cli(*words).code == 0
    after = [file.stat().st_mtime_ns for file in files]
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert cli(*words, "--overwrite").code == 0
    assert files[0].stat().st_mtime_ns > before[0]


def test_what_is_refused(cli: Cli, frames: Path, tmp_path: Path) -> None:
    outcome = cli("flow", frames / "0.png", "-m", "dis", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "give a second one" in outcome.err
    write_image(tmp_path / "small.png", np.zeros((64, 70, 3), np.uint8))
    outcome = cli("flow", frames / "0.png", tmp_path / "small.png", "-m", "dis", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "one size" in outcome.sentence
    outcome = cli("flow", frames / "0.png", frames / "1.png", "-m", "sgm", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "model for stereo, not for flow" in outcome.sentence
