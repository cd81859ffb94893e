"""Depth edges: sharp ones in the left view, and what a filler may look at beside the holes of the right view.

Lengths in px are for pictures 640 px wide and grow with the width.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis.splat import SURFACE_STEP_PX, check_disparity

FLYING_PX = 3.0
"""Slope (Sobel) of disparity above which a map is between two surfaces."""
EDGE_PX = 2.0
"""Jump of disparity from one pixel to the next that opens a hole worth cleaning."""
RIM_PX = 4.0
"""How far colours of the foreground may reach beyond its depth edge."""
ISOLATION_PX = 12.0
"""Width of the band of foreground that a filler does not see, more than a cell of an 8 times coarser latent picture."""
_LARGEST_DROP = 0.3
_SHOULDER_PX = 2


def scaled_px(length_px: float | int, width: int) -> int:
    """A length that is meant for pictures 640 px wide, in whole px of a picture of this width, at least 1."""
    return max(1, round(length_px * width / 640))


def sharpen(
    disparity: Float[Tensor, "*b h w"], *, threshold_px: float | int | None = None, grow_px: int = 0
) -> Float[Tensor, "*b h w"]:
    """Remove flying pixels: ramps between two surfaces become steps, everything else stays as it is.

    Dropped are pixels within 2 px of a Sobel magnitude above the threshold that lie between their surroundings (by
    more than 1 px above the smallest and below the largest of the 3x3 neighbours); each takes the value of the nearest
    pixel that is kept, of equally near ones the largest disparity. The magnitude is that of scikit-image, the root
    mean square of the two axes' kernels over 4. Where more than 30 % of a picture would lie above the threshold it
    rises to that quantile. Steps, and thin things in front, are not between anything and stay.

    Args:
        disparity: px, 0 or more.
        threshold_px: of the magnitude; None = 3 px at a width of 640, in proportion at others.
        grow_px: first let near things grow by so many px along rows and columns; swallows a rim of their colour.

    Raises:
        WrongInput: a negative threshold or growth, or disparity that is negative or not finite.

    Source: Watson et al., Learning Stereo from Single Images, ECCV 2020, section 3.2 (Sobel above 3 px, nearest pixel);
    growth from Wang et al., ZeroStereo, ICCV 2025; that only pixels in between are dropped is ours.
    """
    height, width = disparity.shape[-2:]
    threshold = FLYING_PX * width / 640 if threshold_px is None else float(threshold_px)
    if threshold < 0 or grow_px < 0:
        raise WrongInput(f"threshold_px {threshold:g} and grow_px {grow_px} must be 0 or more.")
    check_disparity(disparity)
    maps = disparity.reshape(-1, height, width)
    for _ in range(grow_px):
        padded = _surrounded(maps)
        across = torch.maximum(padded[..., 1:-1, :-2], padded[..., 1:-1, 2:])
        maps = torch.maximum(maps, torch.maximum(across, torch.maximum(padded[..., :-2, 1:-1], padded[..., 2:, 1:-1])))
    dropped = _flying(maps, threshold)
    return _from_nearest(maps, dropped).reshape(disparity.shape)


def background_rim(
    disparity: Float[Tensor, "*b h w"], *, threshold_px: float | int | None = None, reach_px: int | None = None
) -> Bool[Tensor, "*b h w"]:
    """Background just right of a nearer thing, where monocular depth is background but colours are often foreground.

    An edge lies between x and x + 1 where d(x) - d(x + 1) exceeds the threshold: the side that opens a hole in the
    right view, whose far border the rim would become. The rim are the pixels up to reach_px right of it, and 1 px above
    and below those, that are farther than the edge's near side by more than the threshold.

    Args:
        disparity: of the left view in px.
        threshold_px: of the jump; None = 2 px at a width of 640, in proportion at others.
        reach_px: width of the rim; None = 4 px at a width of 640, in proportion at others.

    Raises:
        WrongInput: a negative threshold or reach.

    Source: our reconstruction of the Edge-Aware module of Mono2Stereo (arXiv 2411.09151), figure 3.
    """
    threshold, reach = _edge_and_reach(disparity, threshold_px, reach_px)
    height, width = disparity.shape[-2:]
    opening = disparity[..., :-1] - disparity[..., 1:] > threshold
    rim = torch.zeros_like(disparity, dtype=torch.bool)
    for dy in (0, -1, 1) if reach else ():
        upper, lower = slice(max(-dy, 0), height - max(dy, 0)), slice(max(dy, 0), height - max(-dy, 0))
        for dx in range(1, min(reach, width - 1) + 1):
            near = disparity[..., upper, : width - dx]
            rim[..., lower, dx:] |= opening[..., upper, : width - dx] & (near - disparity[..., lower, dx:] > threshold)
    return rim


def foreground_halo(
    disparity: Float[Tensor, "*b h w"], *, threshold_px: float | int | None = None, reach_px: int | None = None
) -> Bool[Tensor, "*b h w"]:
    """Background on any side of a nearer thing, whose colours may be the foreground's.

    An edge is a pixel with one of its four neighbours farther by more than the threshold; the halo is what lies up to
    reach_px from it along both axes and is farther than it by more than the threshold. `background_rim` is the part
    that borders on a hole of the right view; the rest stays in the picture and is only kept from the filler.

    Args:
        disparity: of the left view in px.
        threshold_px: of the jump; None = 2 px at a width of 640, in proportion at others.
        reach_px: width of the halo; None = 4 px at a width of 640, in proportion at others.

    Raises:
        WrongInput: a negative threshold or reach.

    Source: our reconstruction of the Edge-Aware module of Mono2Stereo (arXiv 2411.09151), figure 3.
    """
    threshold, reach = _edge_and_reach(disparity, threshold_px, reach_px)
    height, width = disparity.shape[-2:]
    padded = _surrounded(disparity.reshape(-1, height, width))
    across = torch.minimum(padded[..., 1:-1, :-2], padded[..., 1:-1, 2:])
    farthest = torch.minimum(across, torch.minimum(padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]))
    farthest = farthest.reshape(disparity.shape)
    edge = torch.where(disparity - farthest > threshold, -disparity, torch.inf)
    nearest = -_window_min(_window_min(edge, reach).mT, reach).mT
    return nearest - disparity > threshold


def close_holes(hole: Bool[Tensor, "*b h w"]) -> Bool[Tensor, "*b h w"]:
    """Morphological closing by 3x3: what is less than 3 px wide or high between holes becomes hole, too.

    Args:
        hole: True = no colour.
    """
    grown = _any_of_nine(torch.nn.functional.pad(hole, (2, 2, 2, 2)))
    return ~_any_of_nine(~grown)


def thin_holes(hole: Bool[Tensor, "*b h w"], disparity: Float[Tensor, "*b h w"]) -> Bool[Tensor, "*b h w"]:
    """Holes of one pixel's width on a row whose two neighbours differ by less than 1 px of disparity.

    They are cracks in one surface, to be interpolated and not to be filled by background.

    Args:
        hole: True = no colour.
        disparity: of the right view in px.
    """
    one_surface = (disparity[..., 2:] - disparity[..., :-2]).abs() < SURFACE_STEP_PX
    thin = hole[..., 1:-1] & ~hole[..., 2:] & ~hole[..., :-2] & one_surface
    return torch.nn.functional.pad(thin, (1, 1))


def isolate_foreground(
    hole: Bool[Tensor, "*b h w"],
    disparity: Float[Tensor, "*b h w"],
    *,
    suspect: Bool[Tensor, "*b h w"] | None = None,
    reach_px: int | None = None,
) -> Bool[Tensor, "*b h w"]:
    """Foreground beside holes of the right view, which a filler shall not see, so that it continues the background.

    The background of a hole is the farther of the two sides of its run on the row. Hidden are pixels whose disparity is
    larger than that of a hole's background by more than 1 px, up to reach_px from the hole along the row (or its own
    width, so that no colour from beyond is nearer than the background) and a third of reach_px above and below; so are
    suspect pixels within reach_px.

    Args:
        hole: True = no colour.
        disparity: of the right view in px; not read in holes.
        suspect: pixels of the right view whose colours may be those of a foreground, see `foreground_halo`.
        reach_px: None = 12 px at a width of 640, in proportion at others.

    Raises:
        WrongInput: a negative reach.

    Source: our reconstruction of the Edge-Aware module of Mono2Stereo (arXiv 2411.09151), figure 3.
    """
    width = disparity.shape[-1]
    reach = scaled_px(ISOLATION_PX, width) if reach_px is None else reach_px
    if reach < 0:
        raise WrongInput(f"reach_px is {reach}; it must be 0 or more.")
    values = disparity.flatten()
    pixel = hole.flatten().nonzero().squeeze(-1)
    column = pixel % width
    starts = torch.ones_like(pixel, dtype=torch.bool)
    starts[1:] = (pixel[1:] != pixel[:-1] + 1) | (column[1:] == 0)
    run = starts.cumsum(0) - 1
    ends = starts.roll(-1)
    first, last = pixel[starts][run], pixel[ends][run]
    sides = [
        torch.where(inside, values.take(side.clamp(0, len(values) - 1)), torch.inf)
        for side, inside in ((first - 1, first % width > 0), (last + 1, (last + 1) % width > 0))
    ]
    behind = torch.minimum(*sides)

    around = torch.full_like(values, torch.inf).scatter_(0, pixel, behind).view(disparity.shape)
    farthest = _window_min(_window_min(around, reach).mT, (reach + 2) // 3).mT
    hidden = disparity > farthest + SURFACE_STEP_PX
    row = pixel - column
    for mirrored in (2 * first - 1 - pixel, 2 * last + 1 - pixel):
        nearer = (mirrored >= row) & (mirrored < row + width)
        nearer &= values.take(mirrored.clamp(0, len(values) - 1)) > behind + SURFACE_STEP_PX
        hidden = hidden.flatten().index_fill_(0, mirrored[nearer], True).view(disparity.shape)
    if suspect is not None:
        hidden = hidden | (suspect & torch.isfinite(farthest))
    return hidden & ~hole


def least_of(values: Float[Tensor, "*b n"], count: int, *, stride: int = 1) -> Float[Tensor, "*b m"]:
    """Smallest of each so many values that follow each other, m = n - (count - 1) stride.

    Args:
        values: any.
        count: at least 1.
        stride: how far apart they stand.
    """
    least, covered = values, 1
    while 2 * covered <= count:
        shift = covered * stride
        least, covered = torch.minimum(least[..., :-shift], least[..., shift:]), 2 * covered
    shift = (count - covered) * stride
    return torch.minimum(least[..., : least.shape[-1] - shift], least[..., shift:])


def _edge_and_reach(disparity: Tensor, threshold_px: float | int | None, reach_px: int | None) -> tuple[float, int]:
    width = disparity.shape[-1]
    threshold = EDGE_PX * width / 640 if threshold_px is None else float(threshold_px)
    reach = scaled_px(RIM_PX, width) if reach_px is None else reach_px
    if threshold < 0 or reach < 0:
        raise WrongInput(f"threshold_px {threshold:g} and reach_px {reach} must be 0 or more.")
    return threshold, reach


def _flying(maps: Tensor, threshold: float) -> Tensor:
    padded = _surrounded(maps)
    along = padded[..., 2:] - padded[..., :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    horizontal = (along[..., :-2, :] + 2 * along[..., 1:-1, :] + along[..., 2:, :]) / 4
    vertical = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 4
    squared = (horizontal.square() + vertical.square()) / 2
    steep = squared > threshold**2
    for i in (steep.flatten(1).float().mean(-1) > _LARGEST_DROP).nonzero().squeeze(-1).tolist():
        kept = int(squared[i].numel() * (1 - _LARGEST_DROP))
        steep[i] = squared[i] > squared[i].flatten().kthvalue(kept).values
    for _ in range(_SHOULDER_PX):
        steep = _any_of_nine(torch.nn.functional.pad(steep, (1, 1, 1, 1)))
    rows = torch.maximum(torch.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    largest = torch.maximum(torch.maximum(rows[..., :-2, :], rows[..., 1:-1, :]), rows[..., 2:, :])
    rows = torch.minimum(torch.minimum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    smallest = torch.minimum(torch.minimum(rows[..., :-2, :], rows[..., 1:-1, :]), rows[..., 2:, :])
    return steep & (maps < largest - SURFACE_STEP_PX) & (maps > smallest + SURFACE_STEP_PX)


def _from_nearest(maps: Tensor, dropped: Tensor) -> Tensor:
    """Dropped pixels with the value of the nearest other pixel (Euclid), of equally near ones the largest value."""
    height, width = maps.shape[-2:]
    columns = torch.arange(width, device=maps.device)
    far = 4 * max(height, width)
    sides = (
        torch.where(dropped, -far, columns).cummax(-1).values,
        torch.where(dropped, far, columns).flip(-1).cummin(-1).values.flip(-1),
    )
    picture, row, column = dropped.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=maps.device)
    values = torch.full((len(row),), -torch.inf, dtype=maps.dtype, device=maps.device)
    distances = torch.full((len(row),), 2 * far**2, device=maps.device)
    # Row after row farther away, until no pixel can find anything nearer.
    for dy in range(height):
        value, distance = values[place], distances[place]
        for other in {row + dy, row - dy} if dy else (row,):
            there = (other >= 0) & (other < height)
            line = other.clamp(0, height - 1)
            for side in sides:
                found = side[picture, line, column]
                away = torch.where(there, (found - column).square() + dy * dy, 2 * far**2)
                offered = maps[picture, line, found.clamp(0, width - 1)]
                better = (away < distance) | ((away == distance) & (offered > value))
                value, distance = torch.where(better, offered, value), torch.where(better, away, distance)
        values[place], distances[place] = value, distance
        searching = distance >= (dy + 1) ** 2
        place, picture, row, column = place[searching], picture[searching], row[searching], column[searching]
        if not len(place):
            break
    filled = maps.clone()
    filled[dropped] = values
    return filled


def _surrounded(maps: Tensor) -> Tensor:
    """The border repeated once."""
    return torch.nn.functional.pad(maps.unsqueeze(0), (1, 1, 1, 1), mode="replicate").squeeze(0)


def _any_of_nine(mask: Tensor) -> Tensor:
    """Whether one of 3x3 is true, two rows and columns smaller."""
    rows = mask[..., :-2] | mask[..., 1:-1] | mask[..., 2:]
    return rows[..., :-2, :] | rows[..., 1:-1, :] | rows[..., 2:, :]


def _window_min(values: Tensor, radius: int) -> Tensor:
    """Smallest of the 2 radius + 1 values around each along the last dimension."""
    return least_of(torch.nn.functional.pad(values, (radius, radius), value=torch.inf), 2 * radius + 1)
