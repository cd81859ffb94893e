"""Benchmark folders of a few 64x48 pairs with known disparity, and a matcher whose answer is known."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depthweave import io
from depthweave.classical import Match
from depthweave.evaluation.predict import Progress, predict
from depthweave.pipelines.stereo import StereoMatcher

HEIGHT, WIDTH = 48, 64
SCENES = {"Adirondack": 3, "Piano": 5, "PianoL": 8}
"""Middlebury scenes and their disparity in px; the last one counts half in the official average."""
FRAMES = {"000000_10": 5, "000001_10": 2}
TWO_VIEWS = {"delivery_area_1l": 4, "forest_1s": 7}

_CALIB = (
    "cam0=[100 0 31.5; 0 100 23.5; 0 0 1]\ncam1=[100 0 31.5; 0 100 23.5; 0 0 1]\n"
    "doffs=0\nbaseline=200\nwidth=64\nheight=48\nndisp=16\n"
)


def textured_pair(
    disparity: int, seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A random band-limited texture, seen by two cameras that are one disparity apart."""
    height, width = size
    noise = np.random.default_rng(seed).normal(size=(height, width + disparity, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    texture = np.uint8(np.clip(128 + 160 * smooth, 0, 255))
    return texture[:, :width].copy(), texture[:, disparity:].copy()


def truth(disparity: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The disparity, unknown in the first column."""
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, 0] = False
    return np.full((HEIGHT, WIDTH), disparity, np.float32), valid


def _write_scene(scene: Path, disparity: int, seed: int, truth_folder: Path) -> None:
    left, right = textured_pair(disparity, seed)
    io.write_image(scene / "im0.png", left)
    io.write_image(scene / "im1.png", right)
    (scene / "calib.txt").write_text(_CALIB)
    io.write_pfm(truth_folder / "disp0GT.pfm", *truth(disparity))
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, :disparity], mask[:, 0] = 128, 0
    io.write_image(truth_folder / "mask0nocc.png", mask)


def middlebury_tree(root: Path) -> Path:
    for seed, (name, disparity) in enumerate(SCENES.items()):
        scene = root / "MiddEval3" / "trainingQ" / name
        _write_scene(scene, disparity, seed, scene)
    return root


def eth3d_tree(root: Path) -> Path:
    for seed, (name, disparity) in enumerate(TWO_VIEWS.items()):
        _write_scene(root / "two_view_training" / name, disparity, seed, root / "two_view_training_gt" / name)
    return root


def kitti_tree(root: Path, pictures: tuple[str, str], truths: tuple[str, str]) -> Path:
    """Frames with truth below every second row only in the second one; `truths` are the noc and the occ folder."""
    folder = root / "training"
    for seed, (frame, disparity) in enumerate(FRAMES.items()):
        for side, picture in zip(pictures, textured_pair(disparity, seed), strict=True):
            io.write_image(folder / side / f"{frame}.png", picture)
        values, valid = truth(disparity)
        valid[: HEIGHT // 2] &= seed == 0
        visible = valid.copy()
        visible[:, :disparity] = False
        for name, mask in zip(truths, (visible, valid), strict=True):
            io.write_kitti_png(folder / name / f"{frame}.png", values, mask)
    return root


def kitti_2015_tree(root: Path) -> Path:
    return kitti_tree(root, ("image_2", "image_3"), ("disp_noc_0", "disp_occ_0"))


def kitti_2012_tree(root: Path) -> Path:
    return kitti_tree(root, ("colored_0", "colored_1"), ("disp_noc", "disp_occ"))


def folder_tree(root: Path, count: int = 3, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """Pairs 00, 01, ... with disparities 3, 4, ..."""
    for index in range(count):
        disparity = 3 + index % 6
        left, right = textured_pair(disparity, index, size)
        io.write_image(root / "left" / f"{index:02}.png", left)
        io.write_image(root / "right" / f"{index:02}.png", right)
        io.write_pfm(root / "disparity" / f"{index:02}.pfm", np.full(size, disparity, np.float32))
    return root


@dataclass(frozen=True)
class StepConfig:
    left_half_px: float = 4.0
    right_half_px: float = 6.0


class StepMatching:
    """Answers one disparity in the left half and another in the right half, and counts how often it is asked."""

    def __init__(self, left_half_px: float = 4.0, right_half_px: float = 6.0) -> None:
        self.config = StepConfig(left_half_px, right_half_px)
        self.calls = 0

    def __call__(self, left: Tensor, right: Tensor, *, max_disparity: int) -> Match:
        self.calls += 1
        disparity = torch.full(left.shape[1:], self.config.left_half_px)
        disparity[:, left.shape[2] // 2 :] = self.config.right_half_px
        valid = torch.ones_like(disparity, dtype=torch.bool)
        valid[:, :4] = False
        return Match(disparity, valid, valid.float())


def step_matcher(left_half_px: float = 4.0, right_half_px: float = 6.0) -> StereoMatcher:
    return StereoMatcher(StepMatching(left_half_px, right_half_px), device="cpu")


def step_run(
    benchmark: str, root: Path, output: Path, left_half_px: float = 4.0, right_half_px: float = 6.0
) -> Progress:
    """A finished run of the step matcher."""
    progress = predict(step_matcher(left_half_px, right_half_px), benchmark, root, output)
    assert progress.failed == {}
    return progress
