"""Holes of a right view: what a filler is given, where background continues, and what is kept of a filling."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from depthweave.errors import WrongInput


@dataclass(frozen=True, eq=False)
class Background:
    """What every hole continues, row by row.

    A run is what is unknown between two known pixels of a row. Its source is the known pixel at its end with the
    smaller disparity, the right one if both are equal; at the border of the picture, the only one. Rows without any
    known pixel have no runs.

    Attributes:
        pixel: wanted pixels (n) of these runs, numbered row after row.
        run: number of the run that each of them belongs to.
        edge: pixel that is the source of each run (r).
        step: 1 where the source is the right end, else -1: the way from the hole into the source (r).
        disparity: of the source (r), px.
    """

    pixel: Int64[Tensor, "n"]
    run: Int64[Tensor, "n"]
    edge: Int64[Tensor, "r"]
    step: Int64[Tensor, "r"]
    disparity: Float[Tensor, "r"]


def require_hole(
    image: Float[Tensor, "3 h w"],
    unknown: Bool[Tensor, "_ _"],
    wanted: Bool[Tensor, "_ _"],
    disparity: Float[Tensor, "_ _"],
) -> None:
    """Check what every filler is given.

    Args:
        image: right view in [0, 1].
        unknown: pixels that the filler may not look at.
        wanted: pixels whose new colours are kept.
        disparity: of the right view, px.

    Raises:
        WrongInput: sizes differ, a wanted pixel is not unknown, or nothing is known.
    """
    for name, values in (("unknown", unknown), ("wanted", wanted), ("the disparity", disparity)):
        if values.shape != image.shape[-2:]:
            raise WrongInput(
                f"the picture has {tuple(image.shape[-2:])} rows and columns, {name} {tuple(values.shape)}; give both "
                "the same size."
            )
    if bool((wanted & ~unknown).any()):
        raise WrongInput("a wanted pixel is not unknown; only unknown pixels get new colours.")
    if bool(unknown.all()):
        raise WrongInput("no pixel of the right view is known, so there is nothing to continue; check the disparity.")


def compose(
    image: Float[Tensor, "3 h w"], filled: Float[Tensor, "3 h w"], wanted: Bool[Tensor, "h w"]
) -> Float[Tensor, "3 h w"]:
    """Take the wanted pixels of ``filled``, in [0, 1], and leave every other pixel of ``image`` as it is."""
    return torch.where(wanted, filled.to(image).clamp(0, 1), image)


def find_background(
    unknown: Bool[Tensor, "h w"], wanted: Bool[Tensor, "h w"], disparity: Float[Tensor, "h w"]
) -> Background:
    """Find the background that every hole continues.

    A hole opened by a foreground has this foreground on its left and background on its right, so the end with the
    smaller disparity is the background.

    Args:
        unknown: what must not be looked at.
        wanted: the part of it that is to be filled.
        disparity: px; only read where known.

    Source: our reconstruction.
    """
    width = unknown.shape[1]
    partly = unknown & ~unknown.all(1, keepdim=True)
    sides = torch.nn.functional.pad(partly, (1, 1))
    starts = partly & ~sides[:, :-2]
    first, last = (each.flatten().nonzero()[:, 0] for each in (starts, partly & ~sides[:, 2:]))
    has_left, has_right = first % width > 0, last % width < width - 1
    from_left = disparity.take(first - has_left.long()).masked_fill(~has_left, torch.inf)
    from_right = disparity.take(last + has_right.long()).masked_fill(~has_right, torch.inf)
    is_right = from_right <= from_left
    pixel = (partly & wanted).flatten().nonzero()[:, 0]
    return Background(
        pixel,
        starts.flatten().cumsum(0).take(pixel) - 1,
        (last + 1).where(is_right, first - 1),
        torch.where(is_right, 1, -1),
        from_right.where(is_right, from_left),
    )


def nearest_known_row(unknown: Bool[Tensor, "h w"]) -> Int64[Tensor, "h"]:
    """For each row itself if it has a known pixel, else the nearest row that has one, the upper one of two.

    Args:
        unknown: at least one pixel is not.
    """
    has = ~unknown.all(1)
    rows = torch.arange(len(has), device=unknown.device)
    far = 2 * len(has)
    above = rows.where(has, -far).cummax(0).values
    below = rows.where(has, far).flip(0).cummin(0).values.flip(0)
    return below.where(below - rows < rows - above, above)
