"""Rotary positions in the plane: what a token is matched by turns with its row and its column.

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021; the two-dimensional form is
that of Weinzaepfel et al., "CroCo v2", ICCV 2023.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Rotation(NamedTuple):
    """Cosines and sines of every token's angles: first those of its row, then those of its column."""

    cosine: Float[Tensor, "n 2 m"]
    sine: Float[Tensor, "n 2 m"]


@lru_cache(maxsize=8)
def rotation_table(rows: int, columns: int, width: int, base: float | int, device: torch.device) -> Rotation:
    """Angles position x base^(-2m / D) of a grid of tokens in reading order, D = width / 2 and m from 0 to D/2 - 1.

    Args:
        rows, columns: of the grid.
        width: of one attention head, a multiple of 4.
        base: of the frequencies.
        device: of the table; tables are kept.
    """
    # Under inference mode, the tensors kept here would be of no use to a training step later.
    with torch.inference_mode(False):
        half = width // 2
        frequencies = base ** (-torch.arange(0, half, 2, device=device, dtype=torch.float32) / half)
        y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
        angles = torch.stack((y, x), -1).reshape(-1, 2, 1) * frequencies
        return Rotation(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "b heads n c"], rotation: Rotation) -> Float[Tensor, "b heads n c"]:
    """Turn queries or keys: the first half of a head's channels by the row, the second by the column.

    Within a half of D channels, channel m turns with channel m + D/2, and not with its neighbour.
    """
    first, second = x.reshape(*x.shape[:-1], 2, 2, -1).unbind(-2)
    turned = torch.stack(
        (
            first * rotation.cosine - second * rotation.sine,
            second * rotation.cosine + first * rotation.sine,
        ),
        -2,
    )
    return turned.flatten(-3).to(x.dtype)
