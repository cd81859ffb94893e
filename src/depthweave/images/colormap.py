"""Colour maps with ranges that are chosen once, stated, and kept."""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

INVALID_GREY = 128


class ColorRange(NamedTuple):
    """Values that get the first and the last colour."""

    low: float
    high: float


def color_range(
    values: Float[Tensor, "*b h w"], valid: Bool[Tensor, "*b h w"], *, low_percent: float = 2, high_percent: float = 98
) -> ColorRange:
    """Percentiles of the valid values, pooled over all leading dimensions: one range for a clip.

    A picture without valid pixels gets (0, 1); one without variation gets a range of width 1.
    """
    known = values[valid]
    if known.numel() == 0:
        return ColorRange(0.0, 1.0)
    # A stride bounds the sort; percentiles of a hundred thousand samples are exact enough for colours.
    known = known[:: max(1, known.numel() // 100_000)].double()
    low, high = torch.quantile(known, known.new_tensor([low_percent, high_percent]) / 100).tolist()
    return ColorRange(low, high) if high > low else ColorRange(low - 0.5, low + 0.5)


def colorize(
    values: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    limits: ColorRange,
    *,
    name: str = "turbo",
) -> NDArray[np.uint8]:
    """Picture (H, W, 3) of a map: matplotlib's colour map ``name`` over ``limits``, invalid pixels grey.

    Give disparity or inverse depth, so that near is warm in ``turbo``.
    """
    table = _table(name)
    span = (values - limits.low) / (limits.high - limits.low)
    index = (span * 255).round_().nan_to_num_(0.0).clamp_(0, 255).to(torch.uint8).cpu().numpy()
    picture = np.asarray(cv2.applyColorMap(index, table[:, None]), np.uint8)
    np.copyto(picture, INVALID_GREY, where=~valid.cpu().numpy()[..., None])
    return picture


@lru_cache(maxsize=8)
def _table(name: str) -> NDArray[np.uint8]:
    import matplotlib

    colors = matplotlib.colormaps[name](np.arange(256))[:, :3]
    return np.round(colors * 255).astype(np.uint8)
