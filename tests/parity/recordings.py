"""Outputs of originals: as they were recorded, and how far ours are from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_recording(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file, and what stands beside them."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(arrays.pop("meta").tobytes())


def views(arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    left, right = (torch.from_numpy(arrays[side]).permute(0, 3, 1, 2).float() for side in ("left", "right"))
    return left, right


def difference(found: Tensor, wanted: np.ndarray) -> float:
    assert tuple(found.shape) == wanted.shape
    assert bool(found.isfinite().all())
    return float((found - torch.from_numpy(wanted)).abs().max())


def statistics(t: Tensor) -> np.ndarray:
    """Mean, deviation, smallest, largest, and a projection that no permutation of the values leaves alone."""
    x = t.double().flatten()
    wave = torch.cos(0.37 * torch.arange(x.numel(), dtype=torch.float64) + 0.2)
    projection = (x * wave).sum() / x.numel() ** 0.5
    return torch.stack([x.mean(), x.std(unbiased=False), x.min(), x.max(), projection]).numpy()
