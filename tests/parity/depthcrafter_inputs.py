"""Weights, clip and depth from names and rules, as the recordings of DepthCrafter were made with."""

import math
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FRAMES, HEIGHT, WIDTH = 12, 64, 96


def stream(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode("utf-8"))))


def value_for(key: str, shape: tuple[int, ...], prefix: str) -> np.ndarray:
    values = stream(prefix + key).standard_normal(shape)
    if key.endswith(("mix_factor", "class_embedding")):
        values = 0.5 * values
    elif len(shape) >= 2:
        values = values / math.sqrt(float(np.prod(shape[1:])))
    elif key.endswith("bias"):
        values = 0.05 * values
    else:
        values = 1.0 + 0.1 * values
    return np.ascontiguousarray(values, dtype=np.float32)


def fill_module(module: nn.Module, prefix: str) -> Any:
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.from_numpy(value_for(key, tuple(value.shape), prefix)))
    return module


def noise(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(stream("noise:" + name).standard_normal(shape), dtype=np.float32))


def pictures() -> Tensor:
    """A drifting plaid, a moving disc and faint grain: (12, 3, 64, 96) in [0, 1]."""
    generator = stream("video")
    t, y, x = _axes(4)
    phase, along_x, along_y = (generator.uniform(low, high, 3) for low, high in ((0, 6.28), (0.05, 0.2), (0.05, 0.2)))
    plaid = 0.5 + 0.25 * np.sin(along_x * (x - 1.5 * t) + phase) + 0.15 * np.sin(along_y * y + 0.2 * t + 2 * phase)
    colour = np.array([0.9, 0.2, 0.35]) + 0.05 * np.sin(0.4 * y)
    shown = np.where(_disc(t, y, x), colour, plaid)
    shown = shown + 0.02 * generator.standard_normal((FRAMES, HEIGHT, WIDTH, 3))
    return torch.from_numpy(np.clip(shown, 0, 1).astype(np.float32).transpose(0, 3, 1, 2).copy())


def stage_one_depth() -> Tensor:
    """A slanted floor at 2 to 8 m and a disc at 1.5 m, every frame with a scale of its own: (12, 64, 96)."""
    generator = stream("stage1")
    t, y, x = _axes(3)
    depth = 8.0 - 6.0 * y / (HEIGHT - 1) + 0.3 * np.sin(0.1 * (x - 1.5 * t))
    depth = np.where(_disc(t, y, x), 1.5 + 0.02 * t, depth)
    return torch.from_numpy((depth * (1 + 0.03 * generator.standard_normal((FRAMES, 1, 1)))).astype(np.float32))


def _axes(dimensions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ones = (1,) * (dimensions - 3)
    t = np.arange(FRAMES).reshape(-1, 1, 1, *ones)
    return t, np.arange(HEIGHT).reshape(1, -1, 1, *ones), np.arange(WIDTH).reshape(1, 1, -1, *ones)


def _disc(t: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    inside: np.ndarray = (x - 20 - 5 * t) ** 2 + (y - 30 - 6 * np.sin(0.6 * t)) ** 2 < 13**2
    return inside
