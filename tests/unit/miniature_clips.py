"""Benchmark folders of a few tiny frames with known depth, and a model for clips whose answer is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from depthweave import io
from depthweave.types import Clip, DepthVideo, Scale

HEIGHT, WIDTH = 24, 32
POSE = "1 0 0 {x}\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"


def picture(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def depth(index: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.float32]:
    """A slope from 1 m to 3 m that moves away by 5 cm per frame; whole millimetres."""
    slope = np.linspace(1, 3, size[1], dtype=np.float64)[None] + np.zeros((size[0], 1))
    return np.round(slope + 0.05 * index, 3).astype(np.float32)


def sevenscenes_tree(root: Path, scene: str = "chess/seq-01", frames: int = 4) -> Path:
    folder = root / scene
    for index in range(frames):
        stem = f"frame-{index:06d}"
        io.write_image(folder / f"{stem}.color.png", picture(index))
        codes = np.rint(1000 * depth(index)).astype(np.uint16)
        codes[0, 0], codes[0, 1] = 0, 65535
        io.write_image(folder / f"{stem}.depth.png", codes)
        (folder / f"{stem}.pose.txt").write_text(POSE.format(x=0.1 * index))
    return root


class SlopeModel:
    """Gives the depth of `sevenscenes_tree` under a known change per frame, and counts its calls."""

    def __init__(self, change: Callable[[NDArray[np.float32], int], NDArray[Any]], name: str = "slope") -> None:
        self.change = change
        self.name = name
        self.calls = 0

    def facts(self) -> dict[str, Any]:
        return {"model": self.name}

    def __call__(self, clip: Clip) -> DepthVideo:
        self.calls += 1
        count = sum(1 for _ in clip)
        maps = [np.asarray(self.change(depth(index), index), np.float32) for index in range(count)]
        values = torch.from_numpy(np.stack(maps))
        return DepthVideo(values, torch.ones_like(values, dtype=torch.bool), "depth", Scale.UNKNOWN_SCALE)
