"""`depthweave video` on a small room, on a rendered clip, and its misuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from depthweave import DepthVideo, Scale, VideoDepth, io
from depthweave.cli.video import parse_memory
from depthweave.pipelines import load as loading
from depthweave.pipelines.reconstruct import Reconstructor
from tests.unit.exact_pairs import FOCAL_PX, HEIGHT, WIDTH, ExactPairs, picture_of
from tests.unit.video_stages import Neighbours

from .conftest import Cli

FRAMES = 6


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with the folder ``frames`` and the file ``K.txt``."""
    pictures = ((picture_of(frame).permute(1, 2, 0).numpy() * 255).astype(np.uint8) for frame in range(FRAMES))
    io.write_frames(tmp_path / "frames", pictures)
    k = np.array([[FOCAL_PX, 0, (WIDTH - 1) / 2], [0, FOCAL_PX, (HEIGHT - 1) / 2], [0, 0, 1]])
    io.write_calibration(tmp_path / "K.txt", io.StereoCalibration(k, None))
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of `load`, which then gives stages that know the room."""
    words: dict[str, Any] = {}

    def load(name: str, **how: Any) -> VideoDepth:
        words.update(name=name, **how)
        first = Reconstructor(ExactPairs(cuts=tuple(how.get("cuts", ()))))
        return VideoDepth(first, None if how.get("stage1_only") else Neighbours())

    monkeypatch.setattr(loading, "load", load)
    return words


def test_a_clip_becomes_a_result_folder(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    out = room / "out"
    found = cli("video", room / "frames", "-c", room / "K.txt", "-o", out, "-m", "some", "--formats", "npz,exr, clouds")
    assert (found.code, found.err) == (0, "")
    assert asked == {"name": "some", "task": "video", "device": "auto", "dtype": "auto"}
    assert "depth of 6 frames up to scale, 32x24, ExactPairs + neighbours on cpu" in found.out
    assert f"{out / 'exr'}" in found.out
    assert not (out / "png16").exists()
    result = DepthVideo.read(out)
    assert result.camera is not None
    assert result.camera.focal_px == pytest.approx(30)


def test_options_reach_the_model(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    words = ("--seed", "4", "--runs", "3", "--max-memory", "8GB", "--stage1-only", "--set", "window=20")
    assert cli("video", room / "frames", "-o", room / "out", *words).code == 0
    assert asked["name"] == "stereodiff-offline"
    stated = {"seed": 4, "runs": 3, "max_memory": 8.0, "stage1_only": True, "window": 20}
    assert {key: asked[key] for key in stated} == stated


def test_json_is_the_manifest(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    words = ("video", room / "frames", "-o", room / "out", "--start", "1", "--stop", "6", "--step", "2", "--json")
    said = json.loads(cli(*words).out)
    assert said == json.loads((room / "out" / "result.json").read_text())
    assert (said["frames"], said["inputs"]["selection"]) == (3, [1, 6, 2])
    assert json.loads(cli(*words).out) == said  # kept from before
    found = cli(*words, "--stage1-only")
    assert (found.code, "another configuration" in found.sentence) == (1, True)
    said = json.loads(cli(*words, "--stage1-only", "--overwrite").out)
    assert [stage["stage"] for stage in said["stages"]] == [1]


def test_a_cut_is_told(cli: Cli, room: Path, asked: dict[str, Any]) -> None:
    found = cli("video", room / "frames", "-o", room / "out", "--set", "cuts=(4,)")
    assert found.code == 0
    assert "up to scale for each of 2 parts of the clip" in found.out
    assert "warning: the clip falls into parts with a unit each (frames 0-3; 4-5)" in found.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("nowhere",), 1, "nowhere does not exist"),
        (("frames", "--formats", "exr,tiff"), 1, "no format tiff"),
        (("frames", "-m", "sgm"), 1, "sgm is a model for stereo, not for video"),
        (("frames", "--seed", "1"), 1, "geometric has no option seed"),
        (("frames", "--set", "radius=0"), 1, "radius >= 1"),
        (("frames", "-m", "stereodiff-ofline"), 1, "did you mean stereodiff-offline"),
        (("frames", "--quantity", "disparity"), 2, ""),
        (("frames", "--max-memory", "lots"), 2, ""),
    ],
)
def test_bad_input(
    cli: Cli, room: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, sentence: str
) -> None:
    monkeypatch.chdir(room)
    found = cli("video", *words, "-o", "out")
    assert found.code == code
    assert sentence == "" or sentence in found.sentence
    assert not (room / "out" / "result.json").exists()


def test_one_frame_says_what_to_do(cli: Cli, room: Path) -> None:
    found = cli("video", room / "frames", "--stop", "1", "-o", room / "out")
    assert found.code == 1
    assert "one frame" in found.sentence
    assert "depthweave video -m depth-anything-v2-small" in found.sentence


def test_memory_is_read_as_people_write_it() -> None:
    assert [parse_memory(text) for text in ("8GB", "8", "0.5 gb", "800MB")] == pytest.approx([8, 8, 0.5, 0.8])
    for text in ("lots", "-1GB", "0"):
        with pytest.raises(typer.BadParameter, match="no amount of memory"):
            parse_memory(text)


def test_the_default_needs_no_weights() -> None:
    found = loading.load(task="video", max_size=200, radius=2, stage1={"upsample": "edge-aware"})
    assert (type(found), found.name) == (VideoDepth, "stereodiff-offline")
    first, second = found.facts()["stages"]
    assert (first["model"], first["options"]["max_size"], first["options"]["upsample"]) == (
        "geometric",
        200,
        "edge-aware",
    )
    assert (second["model"], second["options"]["radius"]) == ("temporal", 2)
    assert loading.load("stereodiff-offline", stage1_only=True).second is None
    assert loading.load("geometric", task="video").facts()["stages"][1]["model"] == "temporal"
    with pytest.raises(Exception, match="not for mono"):
        loading.load("stereodiff-offline", task="mono")
    with pytest.raises(Exception, match="works in one stage"):
        loading.load("depthcrafter", stage1_only=True)


def test_a_rendered_clip_offline(cli: Cli, tmp_path: Path) -> None:
    """The real stages: geometry, then the temporal refiner."""
    from dataclasses import replace

    from depthweave import images
    from depthweave.worlds import render_clip, still_life
    from depthweave.worlds.motion import HandHeld

    scene = still_life(width=160, height=120)
    path = HandHeld(scene.path.position, scene.path.rotation, velocity_m_s=(0.2, 0.0, 0.0))
    world = render_clip(replace(scene, path=path), frames=8, fps=8, stereo=False)
    io.write_frames(tmp_path / "clip", [images.image_from_tensor(picture) for picture in world.left.image])
    k = world.camera.intrinsics.double().numpy()
    io.write_calibration(tmp_path / "K.txt", io.StereoCalibration(k, None))
    truth = world.left.depth
    flicker = {}
    for name, words in {"both": (), "stage1": ("--stage1-only",)}.items():
        found = cli("video", tmp_path / "clip", "-c", tmp_path / "K.txt", "-o", tmp_path / name, *words)
        assert found.code == 0, found.err
        assert ("geometric + temporal" if name == "both" else "geometric on cpu") in found.out
        depth = DepthVideo.read(tmp_path / name)
        assert depth.scale == Scale.UNKNOWN_SCALE
        both = depth.valid & truth.isfinite() & (truth > 0)
        assert float(both.float().mean()) > 0.9
        ratio = truth / depth.values.clamp_min(1e-6)
        # One factor for all frames.
        error = (ratio[both] / ratio[both].median() - 1).abs()
        assert float(error.median()) < 0.05
        scale = torch.stack([ratio[frame][both[frame]].median() for frame in range(8)]).log()
        flicker[name] = float(scale.diff(n=2).abs().mean())
    assert flicker["both"] < 0.5 * flicker["stage1"]
