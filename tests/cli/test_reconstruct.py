"""`depthweave reconstruct` on a small room."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave import Reconstruction, Scale, io
from depthweave.errors import DepthweaveError
from depthweave.pipelines import load as loading
from depthweave.pipelines.reconstruct import Reconstructor
from tests.unit.exact_pairs import FOCAL_PX, HEIGHT, WIDTH, ExactPairs, picture_of, world_from_camera

from .conftest import Cli

FRAMES = 6


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with the folder ``frames`` and the files ``K.txt`` and ``poses.txt``."""
    pictures = ((picture_of(frame).permute(1, 2, 0).numpy() * 255).astype(np.uint8) for frame in range(FRAMES))
    io.write_frames(tmp_path / "frames", pictures)
    k = np.array([[FOCAL_PX, 0, (WIDTH - 1) / 2], [0, FOCAL_PX, (HEIGHT - 1) / 2], [0, 0, 1]])
    io.write_calibration(tmp_path / "K.txt", io.StereoCalibration(k, None))
    poses = torch.stack([world_from_camera(frame) for frame in range(FRAMES)]).numpy()
    io.write_trajectory(tmp_path / "poses.txt", np.arange(FRAMES), poses)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of `load`, which then gives an estimator that knows the room."""
    words: dict[str, Any] = {}

    def load(name: str, **how: Any) -> Reconstructor:
        words.update(name=name, **how)
        options = {key: value for key, value in how.items() if key in ("max_points", "average")}
        cuts = how.get("cuts", ())
        return Reconstructor(ExactPairs(known_camera=False, cuts=tuple(cuts)), **options)

    monkeypatch.setattr(loading, "load", load)
    return words


def test_a_folder_becomes_a_result_folder(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    out = room / "out"
    found = cli("reconstruct", room / "frames", "-c", room / "K.txt", "-o", out, "-m", "some", "--set", "max_points=90")
    assert (found.code, found.err) == (0, "")
    assert asked == {"name": "some", "task": "pointmap", "device": "auto", "dtype": "auto", "max_points": 90}
    assert "6 of 6 frames placed in one world, in one unknown unit" in found.out
    assert "90 points" in found.out
    assert "measurements disagree by 0.0 %" in found.out
    assert f"{out / 'cloud.ply'}" in found.out
    assert len(io.read_ply(out / "cloud.ply")[0]) == 90
    result = Reconstruction.read(out)
    assert result.camera is not None


def test_a_calibration_is_used(cli: Cli, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load", lambda name, **how: Reconstructor(ExactPairs()))
    found = cli("reconstruct", room / "frames", "-c", room / "K.txt", "-o", room / "out")
    assert found.code == 0
    assert "focal length 30 px" in found.out


def test_json_is_the_manifest(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    words = ("reconstruct", room / "frames", "-o", room / "out", "--start", "1", "--stop", "6", "--step", "2", "--json")
    found = cli(*words)
    assert asked["name"] == "geometric"
    said = json.loads(found.out)
    assert said == json.loads((room / "out" / "result.json").read_text())
    assert said["frames"] == 3
    assert said["inputs"]["selection"] == [1, 6, 2]
    assert json.loads(cli(*words).out) == said  # kept from before


def test_poses_give_metres(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    words = ("reconstruct", room / "frames", "-o", room / "out", "--poses", room / "poses.txt")
    found = cli(*words)
    assert found.code == 0
    assert "in metres" in found.out
    result = Reconstruction.read(room / "out")
    assert result.scale == Scale.METRIC
    np.testing.assert_allclose(result.world_from_camera[5].numpy(), world_from_camera(5).numpy(), atol=1e-3)
    found = cli(*words, "--poses-up-to-scale")
    assert found.code == 1
    assert "holds results of another configuration" in found.sentence
    assert "unknown unit" in cli(*words, "--poses-up-to-scale", "--overwrite").out


def test_a_cut_is_told(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    found = cli("reconstruct", room / "frames", "-o", room / "out", "--set", "cuts=(4,)")
    assert found.code == 0
    assert "4 of 6 frames placed" in found.out
    assert "warning: frames 4-5 could not be tied to the largest part" in found.err
    assert f"{room / 'out' / 'trajectory_1_tum.txt'}" in found.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere",), "nowhere does not exist"),
        (("K.txt",), "K.txt is not a video"),
        (("frames", "--start", "9"), "no pictures from number 9 on"),
        (("frames", "--poses", "K.txt"), "K.txt, line 1 is not eight numbers"),
        (("frames", "--stop", "4", "--poses", "poses.txt"), "6 poses for 4 frames of frames"),
        (("frames", "-c", "nowhere.txt"), "nowhere.txt does not exist"),
    ],
)
def test_bad_input(
    cli: Cli, room: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(room)
    found = cli("reconstruct", *words, "-o", "out")
    assert found.code == 1
    assert sentence in found.sentence
    assert not (room / "out" / "result.json").exists()


def test_misuse(cli: Cli, room: Path) -> None:
    assert cli("reconstruct").code == 2
    assert cli("reconstruct", room / "frames", "--step", "0").code == 2
    found = cli("reconstruct", room / "frames", "-m", "sgm", "-o", room / "out")
    assert (found.code, "sgm is a model for stereo, not for pointmap" in found.sentence) == (1, True)
    found = cli("reconstruct", room / "frames", "--set", "colour=1", "-o", room / "out")
    assert (found.code, "geometric has no option colour" in found.sentence) == (1, True)
    found = cli("reconstruct", room / "frames", "--dtype", "float16", "-o", room / "out")
    assert (found.code, "computes in float32" in found.sentence) == (1, True)


def test_the_default_loads_with_options_of_both_parts() -> None:
    found = loading.load(task="pointmap", max_size=200, upsample="edge-aware")
    assert found.name == "geometric"
    facts = found.facts()
    assert {key: facts["options"][key] for key in ("max_size", "upsample", "average")} == {
        "max_size": 200,
        "upsample": "edge-aware",
        "average": "median",
    }
    assert (facts["device"], facts["dtype"], facts["licence"]) == ("cpu", "float32", "Apache-2.0")
    with pytest.raises(DepthweaveError, match="not for mono"):
        loading.load("geometric", task="mono")


def test_one_frame_says_what_to_do(cli: Cli, room: Path) -> None:
    found = cli("reconstruct", room / "frames", "--stop", "1", "-o", room / "out")
    assert found.code == 1
    assert "one frame" in found.sentence
    assert not (room / "out" / "result.json").exists()
