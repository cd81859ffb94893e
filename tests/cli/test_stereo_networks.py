"""`depthweave stereo` with a network: its options, and folders of consecutive frames."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import depthweave.pipelines.load
from depthweave import DisparityMap
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.worlds import RenderedPair
from tests.unit.stereo_networks import Echo, Search, SearchConfig

from .conftest import Cli

loaded: list[StereoMatcher] = []


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[StereoMatcher]:
    """Every name loads a search network that remembers its calls; the list holds what was loaded."""

    def load(name: str, *, task: str, device: str, **options: Any) -> StereoMatcher:
        assert task == "stereo"
        made: list[Search] = [Echo() if name == "echo" else Search(SearchConfig(largest_px=10, window=3))]
        loaded.append(StereoMatcher(made[0], device="cpu", **options))
        return loaded[-1]

    loaded.clear()
    monkeypatch.setattr(depthweave.pipelines.load, "load", load)
    return loaded


@pytest.fixture
def frames(pair: Path) -> Path:
    """Two folders of three frames."""
    for side in ("left", "right"):
        (pair / side).mkdir()
        for name in ("f1", "f2", "f10"):
            shutil.copy(pair / f"{side}.png", pair / side / f"{name}.png")
    return pair


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_options_reach_the_network_and_the_manifest(
    cli: Cli, pair: Path, network: list[StereoMatcher], world: RenderedPair
) -> None:
    words = ("--iterations", "5", "--consistency", "--dtype", "bfloat16", "--scale", "0.75", "--tile", "40x32")
    out = pair / "out"
    found = cli("stereo", pair / "left.png", pair / "right.png", "-o", out, *words, "--max-disparity", "12")
    assert (found.code, found.err) == (0, "")
    facts = manifest(out)
    assert facts["options"]["settings"]["iterations"] == 5
    assert facts["options"]["consistency"] is True
    size = {"scale": 0.75, "max_size": None, "tile": [32, 40], "overlap": None, "max_pixels": None}
    assert facts["resolution"] == size
    assert (facts["dtype"], facts["max_disparity"], facts["scale"]) == ("bfloat16", 12, None)
    calls = network[0].matching.network.calls
    assert {call["iterations"] for call in calls} == {5}
    # 48x64 px become 36x48: two rows and two columns of tiles, each matched both ways.
    assert len(calls) == 8
    assert {tuple(call["left"].shape[-2:]) for call in calls} == {(32, 40)}
    disparity = DisparityMap.read(out)
    assert disparity.confidence is not None
    error = (disparity.values - world.left_disparity.values).abs()
    assert error[disparity.valid].median() < 0.7


def test_max_size(cli: Cli, pair: Path, network: list[StereoMatcher]) -> None:
    assert cli("stereo", pair / "left.png", pair / "right.png", "-o", pair / "out", "--max-size", "32").code == 0
    assert network[0].matching.network.calls[0]["left"].shape[-2:] == (24, 32)
    assert manifest(pair / "out")["resolution"]["max_size"] == 32
    assert manifest(pair / "out")["height"] == 48


def test_a_search_range_without_use_is_said_once(cli: Cli, pair: Path, network: list[StereoMatcher]) -> None:
    found = cli("stereo", pair / "left.png", pair / "right.png", "-o", pair / "out", "--max-disparity", "12")
    assert found.code == 0
    assert found.err.count("changes nothing without tile") == 1
    assert manifest(pair / "out")["max_disparity"] is None


def test_frames_start_from_the_one_before(cli: Cli, frames: Path, network: list[StereoMatcher]) -> None:
    words = ("stereo", frames / "left", frames / "right", "-m", "echo", "-o", frames / "out", "--max-size", "64")
    assert cli(*words, "--warm-start").code == 0
    first, second, third = network[0].matching.network.calls
    assert first["initial"] is None
    # Frames come in natural order; what Echo finds in the first goes through all.
    start = DisparityMap.read(frames / "out" / "f1").values
    for call in (second, third):
        torch.testing.assert_close(call["initial"][0, 0], start)
    assert manifest(frames / "out" / "f10")["inputs"]["previous"]["path"].endswith("f2/disparity.npz")
    assert "previous" not in manifest(frames / "out" / "f1")["inputs"]


def test_warm_frames_resume_and_follow_what_changed(cli: Cli, frames: Path, network: list[StereoMatcher]) -> None:
    words = ("stereo", frames / "left", frames / "right", "-o", frames / "out", "--warm-start")

    def matched() -> int:
        assert cli(*words).code == 0
        return len(network[-1].matching.network.calls)

    assert matched() == 3
    assert matched() == 0
    (frames / "out" / "f10" / "result.json").unlink()
    assert matched() == 1
    # The same picture gives the same start for the next frame, another one another.
    (frames / "out" / "f2" / "result.json").unlink()
    assert matched() == 1
    shutil.copy(frames / "right.png", frames / "left" / "f2.png")
    assert matched() == 2
    words = words[:-1]
    # Without the start only the first frame is what it was.
    assert matched() == 2


def test_a_frame_after_a_broken_one_starts_cold(cli: Cli, frames: Path, network: list[StereoMatcher]) -> None:
    broken = frames / "left" / "f2.png"
    broken.write_bytes(broken.read_bytes()[:200])
    found = cli("stereo", frames / "left", frames / "right", "-o", frames / "out", "--warm-start")
    assert found.code == 1
    assert "failed f2:" in found.err
    assert [call["initial"] for call in network[0].matching.network.calls] == [None, None]


def test_warm_start_needs_folders_and_a_network(cli: Cli, frames: Path, network: list[StereoMatcher]) -> None:
    found = cli("stereo", frames / "left.png", frames / "right.png", "-o", frames / "out", "--warm-start")
    assert found.code == 2
    assert "two folders" in found.err


def test_classical_matchers_say_what_they_lack(cli: Cli, frames: Path) -> None:
    found = cli("stereo", frames / "left", frames / "right", "-m", "sgm", "-o", frames / "out", "--warm-start")
    assert found.code == 1
    assert "sgm does not start from an earlier disparity" in found.sentence
    assert not (frames / "out").exists()
    for words in (("--iterations", "5"), ("--consistency",)):
        found = cli("stereo", frames / "left.png", frames / "right.png", "-m", "sgm", "-o", frames / "out", *words)
        assert found.code == 1
        assert f"sgm has no option {words[0][2:]}" in found.sentence


def test_classical_matchers_scale_and_tile(cli: Cli, pair: Path, world: RenderedPair) -> None:
    words = ("stereo", pair / "left.png", pair / "right.png", "-m", "block", "-o", pair / "out")
    assert cli(*words, "--scale", "1.5", "--tile", "64x40", "--max-disparity", "12").code == 0
    assert manifest(pair / "out")["resolution"]["tile"] == [40, 64]
    found = DisparityMap.read(pair / "out")
    assert (found.values - world.left_disparity.values).abs()[found.valid].median() < 0.5


@pytest.mark.parametrize("size", ["512", "512x", "axb", "-5x20"])
def test_a_tile_that_is_no_size(cli: Cli, pair: Path, size: str) -> None:
    found = cli("stereo", pair / "left.png", pair / "right.png", "-o", pair / "out", f"--tile={size}")
    assert found.code == 2
    assert "WIDTHxHEIGHT" in found.err
