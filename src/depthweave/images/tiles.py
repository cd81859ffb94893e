"""Overlapping tiles, and their seamless return."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput


class Tile(NamedTuple):
    """A window of a picture: rows top to bottom, columns left to right, ends exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    def crop(self, image: Tensor) -> Tensor:
        """The window's part of ``image`` (..., h, w)."""
        return image[..., self.top : self.bottom, self.left : self.right]


def split_tiles(
    height: int, width: int, *, tile_height: int, tile_width: int, overlap: int | tuple[int, int]
) -> list[Tile]:
    """Tiles of one size that cover the picture, neighbours sharing at least ``overlap`` pixels.

    A picture smaller than a tile in one direction gets a tile of its own size there.

    Args:
        height, width: of the picture, px.
        tile_height, tile_width: px.
        overlap: px that neighbours share, or (rows that upper and lower ones, columns that left and right ones share).

    Raises:
        WrongInput: an overlap that leaves no progress.
    """
    rows_shared, columns_shared = overlap if isinstance(overlap, tuple) else (overlap, overlap)
    for shared, tile in ((rows_shared, tile_height), (columns_shared, tile_width)):
        if not 0 <= shared < tile:
            raise WrongInput(
                f"an overlap of {shared} px does not fit tiles of {tile_height}x{tile_width}; choose a smaller one."
            )
    rows = _starts(height, tile_height, rows_shared)
    columns = _starts(width, tile_width, columns_shared)
    return [
        Tile(top, min(top + tile_height, height), left, min(left + tile_width, width))
        for top in rows
        for left in columns
    ]


def blend_tiles(
    parts: Sequence[Float[Tensor, "*b _ _"]], tiles: Sequence[Tile], *, height: int, width: int
) -> Float[Tensor, "*b h w"]:
    """Put tiles together; where they overlap, weights fall linearly towards each tile's border.

    Tiles that agree with a common picture give that picture back exactly to rounding.
    """
    leading = parts[0].shape[:-2]
    total = torch.zeros(*leading, height, width, dtype=parts[0].dtype, device=parts[0].device)
    mass = torch.zeros(height, width, dtype=parts[0].dtype, device=parts[0].device)
    for part, tile in zip(parts, tiles, strict=True):
        weight = torch.minimum(_ramp(part.shape[-2], part)[:, None], _ramp(part.shape[-1], part)[None, :])
        tile.crop(total).add_(part * weight)
        tile.crop(mass).add_(weight)
    if bool((mass == 0).any()):
        raise WrongInput("the tiles leave part of the picture uncovered; make them with split_tiles.")
    return total / mass


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    if tile >= size:
        return [0]
    count = -(-(size - overlap) // (tile - overlap))
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def _ramp(size: int, like: Tensor) -> Tensor:
    steps = torch.arange(1, size + 1, dtype=like.dtype, device=like.device)
    return torch.minimum(steps, steps.flip(0))
