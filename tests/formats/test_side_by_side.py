"""3-D frames to pairs: packing, squeezed views, order, the command."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from depthweave import io
from depthweave.cli.main import app
from depthweave.data import open_benchmark
from depthweave.errors import WrongFile, WrongInput
from depthweave.io.side_by_side import Layout, guess_layout, open_views, split_views, write_views

HEIGHT, WIDTH = 36, 64


def views(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A texture seen with 2 px of disparity."""
    noise = np.random.default_rng(seed).random((size[0] // 4, size[1] // 4 + 4, 3)).astype(np.float32)
    wide = cv2.resize(noise, (size[1] + 2, size[0]), interpolation=cv2.INTER_CUBIC)
    texture = (wide.clip(0, 1) * 255).astype(np.uint8)
    return texture[:, :-2].copy(), texture[:, 2:].copy()


def packed(packing: str, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate((first, second), axis=1 if packing == "side-by-side" else 0)


@pytest.mark.parametrize("packing", ["side-by-side", "over-under"])
def test_full_frames_are_cut_without_a_change(packing: Any) -> None:
    left, right = views()
    frame = packed(packing, left, right)
    found = split_views(frame, Layout(packing))
    assert np.array_equal(found[0], left)
    assert np.array_equal(found[1], right)
    swapped = split_views(frame, Layout(packing, swapped=True))
    assert np.array_equal(swapped[0], right)
    deep = split_views(frame.astype(np.uint16)[..., 0] * 257, Layout(packing))
    assert deep[1].dtype == np.uint16
    assert np.array_equal(deep[1], right[..., 0].astype(np.uint16) * 257)


@pytest.mark.parametrize("packing", ["side-by-side", "over-under"])
def test_squeezed_views_are_stretched_back(packing: Any) -> None:
    x, y = np.meshgrid(np.arange(128), np.arange(72))
    left, right = (np.stack((x + start, y + start, x), -1).astype(np.uint8) for start in (10, 40))
    half = (64, 72) if packing == "side-by-side" else (128, 36)
    small = [cv2.resize(view, half, interpolation=cv2.INTER_AREA) for view in (left, right)]
    frame = packed(packing, *small)
    assert frame.shape == left.shape
    found = split_views(frame, Layout(packing, half=True))
    for view, truth in zip(found, (left, right), strict=True):
        assert view.shape == truth.shape
        assert np.abs(view[2:-2, 2:-2].astype(int) - truth[2:-2, 2:-2]).max() <= 1


def test_odd_sizes_and_unknown_packings_are_refused() -> None:
    with pytest.raises(WrongInput, match="63x36 px cannot be cut into two equal views side-by-side"):
        split_views(np.zeros((36, 63, 3), np.uint8), Layout())
    with pytest.raises(WrongInput, match="not 'diagonal'"):
        Layout("diagonal")
    with pytest.raises(WrongInput, match="no two equal views"):
        guess_layout(np.zeros((35, 63, 3), np.uint8))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("packing", ["side-by-side", "over-under"])
def test_the_layout_is_guessed(packing: Any, half: bool) -> None:
    left, right = views(size=(90, 160))
    if half:
        size = (80, 90) if packing == "side-by-side" else (160, 45)
        left, right = (cv2.resize(view, size, interpolation=cv2.INTER_AREA) for view in (left, right))
    assert guess_layout(packed(packing, left, right)) == Layout(packing, half=half)


def test_a_video_becomes_a_folder_of_pairs(tmp_path: Path) -> None:
    frames = [packed("side-by-side", *views(seed)) for seed in range(4)]
    io.write_frames(tmp_path / "film", frames)
    assert write_views(tmp_path / "pairs", tmp_path / "film", Layout(), start=1, step=2) == 2
    items = open_benchmark("folder", tmp_path / "pairs")
    assert [item.key for item in items] == ["000000", "000001"]
    assert np.array_equal(io.read_image(items[1].left), views(3)[0])
    assert np.array_equal(io.read_image(items[1].right), views(3)[1])
    io.write_video(tmp_path / "film.mp4", frames, fps=10)
    lossy = list(open_views(tmp_path / "film.mp4", Layout()))
    assert len(lossy) == 4
    assert lossy[0][1].shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(WrongFile):
        write_views(tmp_path / "none", tmp_path / "film.mp4", Layout(), start=9)


def test_the_command_guesses_and_obeys(tmp_path: Path) -> None:
    io.write_frames(tmp_path / "film", [packed("over-under", *views(seed)) for seed in range(2)])
    call = CliRunner().invoke(app, ["split", str(tmp_path / "film"), "-o", str(tmp_path / "a"), "--json"])
    assert json.loads(call.output) == {"pairs": 2, "packing": "over-under", "half": False, "swapped": False}
    assert np.array_equal(io.read_image(tmp_path / "a/right/000001.png"), views(1)[1])
    words = ["split", str(tmp_path / "film"), "-o", str(tmp_path / "b"), "--swapped", "--stop", "1"]
    printed = CliRunner().invoke(app, words).output
    assert printed.startswith("1 pairs, cut as over-under, full size, right first")
    assert np.array_equal(io.read_image(tmp_path / "b/left/000000.png"), views(0)[1])
