"""From costs to a disparity map that can be trusted: winner, sub-pixel place, two-way check, filters and filling."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput

TIE = 1e-5
"""Costs closer than this are equal: float32 rounding of window means is smaller."""


@dataclass(frozen=True)
class Match:
    """Disparity of a rectified pair, on the left image.

    Attributes:
        disparity: px of the left image, (h, w), finite everywhere: filled from the background where nothing matched.
        valid: (h, w), true where the pixel was matched: in view of both cameras, the same from left to right as from
            right to left, and not a speckle.
        confidence: (h, w) in [0, 1], 0 where not valid; a heuristic, see `match_confidence`; None without a check.
    """

    disparity: Float[Tensor, "h w"]
    valid: Bool[Tensor, "h w"]
    confidence: Float[Tensor, "h w"] | None


def winner_take_all(
    volume: Float[Tensor, "*b d h w"], *, subpixel: bool = True
) -> tuple[Float[Tensor, "*b h w"], Float[Tensor, "*b h w"]]:
    """Take the disparity of lowest cost, d* = argmin_d C(d); of equal ones the smallest.

    Args:
        volume: costs, lower is better, ``inf`` out of view; disparity 0 is in view everywhere.
        subpixel: refine d* by `parabola_offset`.

    Returns:
        Disparity in px and its (unrefined) cost.

    Source: Scharstein and Szeliski, IJCV 2002, section 3.3.
    """
    last = volume.shape[-3] - 1
    cost, best = volume.min(-3, keepdim=True)
    disparity = best.to(volume.dtype)
    if subpixel:
        before = volume.gather(-3, (best - 1).clamp(min=0)).masked_fill(best == 0, torch.inf)
        after = volume.gather(-3, (best + 1).clamp(max=last)).masked_fill(best == last, torch.inf)
        disparity = disparity + parabola_offset(before, cost, after)
    return disparity.squeeze(-3), cost.squeeze(-3)


def rival_cost(volume: Float[Tensor, "*b d h w"], disparity: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Lowest cost away from the winner: over all d but the integer nearest to the disparity and its two neighbours.

    Args:
        volume: costs, lower is better, ``inf`` out of view.
        disparity: winners in px, see `winner_take_all`.

    Returns:
        Cost of the best rival. Where only neighbours of the winner are in view, theirs; where nothing else is, ``inf``.

    Source: Hu and Mordohai, "A quantitative evaluation of confidence measures for stereo vision", PAMI 2012 (the second
    lowest cost of the peak ratio, local minimum relaxed to "not next to the winner").
    """
    last = volume.shape[-3] - 1
    best = disparity.round().long().unsqueeze(-3)
    others = volume.scatter(-3, best.clamp(0, last), torch.inf)
    nearby = others.amin(-3)
    for step in (-1, 1):
        others.scatter_(-3, (best + step).clamp(0, last), torch.inf)
    farther = others.amin(-3)
    return torch.where(farther.isinf(), nearby, farther)


def parabola_offset(
    before: Float[Tensor, "*n"], at: Float[Tensor, "*n"], after: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """Place the minimum between samples, (C(d-1) - C(d+1)) / (2 (C(d-1) - 2 C(d) + C(d+1))), clamped to ±0.5 px.

    Args:
        before: costs at d - 1; ``inf`` where there is no such sample.
        at: costs at the integer minimum d.
        after: costs at d + 1; ``inf`` where there is no such sample.

    Returns:
        Offset in px to add to d; 0 where a neighbour is missing or the three costs are equal.

    Source: Scharstein and Szeliski, IJCV 2002, section 3.4.
    """
    curvature = before - 2 * at + after
    usable = torch.isfinite(curvature) & (curvature > 0)
    offset = (before - after) / (2 * curvature)
    return torch.where(usable, offset, torch.zeros_like(at)).clamp(-0.5, 0.5)


def right_cost_volume(volume: Float[Tensor, "*b d h w"]) -> Float[Tensor, "*b d h w"]:
    """Read a left cost volume as that of the right image: C_R(d, y, x) = C_L(d, y, x + d).

    Args:
        volume: costs of the left pixels.

    Returns:
        Costs of the right pixels, ``inf`` where x + d lies outside the left image.
    """
    count, _, width = volume.shape[-3:]
    right = torch.full_like(volume, torch.inf)
    for d in range(min(count, width)):
        right[..., d, :, : width - d] = volume[..., d, :, d:]
    return right


def left_right_difference(
    left_disparity: Float[Tensor, "*b h w"], right_disparity: Float[Tensor, "*b h w"]
) -> Float[Tensor, "*b h w"]:
    """Disagreement of the two directions, |d_L(x) - d_R(x - d_L(x))|, with x - d_L rounded to the nearest pixel.

    Args:
        left_disparity: disparity of the left image in px, x_right = x_left - d; negative or not finite = unmatched.
        right_disparity: disparity of the right image in px, x_left = x_right + d; negative or not finite = unmatched.

    Returns:
        Difference in px; ``inf`` where either is unmatched or the match lies outside the right image.

    Source: Fua, "A parallel stereo algorithm that produces dense depth maps and preserves image features", MVA 1993.
    """
    width = left_disparity.shape[-1]
    matched = torch.isfinite(left_disparity) & (left_disparity >= 0)
    d = torch.where(matched, left_disparity, torch.zeros_like(left_disparity))
    target = torch.arange(width, device=d.device) - d.round().long()
    back = right_disparity.gather(-1, target.clamp(0, width - 1))
    matched = matched & (target >= 0) & (target < width) & torch.isfinite(back) & (back >= 0)
    return torch.where(matched, (d - back).abs(), torch.full_like(d, torch.inf))


def left_right_check(
    left_disparity: Float[Tensor, "*b h w"], right_disparity: Float[Tensor, "*b h w"], threshold_px: float = 1.0
) -> Bool[Tensor, "*b h w"]:
    """Keep the pixels on which both directions agree, |d_L(x) - d_R(x - d_L)| <= threshold.

    Args:
        left_disparity: disparity of the left image in px.
        right_disparity: disparity of the right image in px.
        threshold_px: largest difference in px.

    Returns:
        True where the two agree; false where the match lies outside the right image.
    """
    return left_right_difference(left_disparity, right_disparity) <= threshold_px


def local_support(
    disparity: Float[Tensor, "*b h w"], valid: Bool[Tensor, "*b h w"], *, window: int, range_px: float = 1.0
) -> Float[Tensor, "*b h w"]:
    """Share of a pixel's window that is valid and lies within ``range_px`` of its disparity.

    A speckle is an island without such company; unlike connected components this runs on any device.

    Args:
        disparity: px.
        valid: pixels to count.
        window: side of the square window in px, odd.
        range_px: largest difference of disparity in px.

    Returns:
        Share in [0, 1] of the in-image pixels of the window, the pixel itself included; 0 where not valid.
    """
    height, width = disparity.shape[-2:]
    reach = window // 2
    alike, inside = torch.zeros_like(disparity), torch.zeros_like(disparity)
    for dy in range(-min(reach, height - 1), min(reach, height - 1) + 1):
        for dx in range(-min(reach, width - 1), min(reach, width - 1) + 1):
            here = (..., slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0)))
            there = (..., slice(max(dy, 0), height - max(-dy, 0)), slice(max(dx, 0), width - max(-dx, 0)))
            alike[here] += valid[there] & ((disparity[here] - disparity[there]).abs() <= range_px)
            inside[here] += 1
    return torch.where(valid, alike / inside, torch.zeros_like(alike))


def median_filter(disparity: Float[Tensor, "*b h w"], size: int) -> Float[Tensor, "*b h w"]:
    """Median of a size x size window, the border repeated outward.

    Args:
        disparity: any map.
        size: side of the window in px, odd; 1 changes nothing.

    Returns:
        Filtered map of the same shape.

    Raises:
        WrongInput: if the size is even or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise WrongInput(f"the median window is {size} px wide; it must be odd and positive")
    if size == 1:
        return disparity
    height, width = disparity.shape[-2:]
    flat = disparity.reshape(-1, 1, height, width)
    padded = F.pad(flat, (size // 2,) * 4, mode="replicate")
    windows = [padded[..., dy : dy + height, dx : dx + width] for dy in range(size) for dx in range(size)]
    return torch.stack(windows, -1).median(-1).values.reshape(disparity.shape)


def background_fill(disparity: Float[Tensor, "*b h w"], valid: Bool[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Give each invalid pixel the smaller of the nearest valid disparities to its left and right on the row.

    What one camera does not see lies behind what hides it, hence the smaller. A row without any valid pixel is taken
    from the nearest row that has one, the upper of two equally near ones; a map without any valid pixel becomes 0.

    Args:
        disparity: px.
        valid: pixels to keep and to fill from.

    Returns:
        Finite disparity in px, unchanged where valid.

    Source: KITTI stereo development kit (Geiger et al. 2012), interpolateBackground.
    """
    height = disparity.shape[-2]
    before, after = _nearest_set(valid)
    beside = F.pad(disparity, (1, 1), value=torch.inf)
    filled = torch.minimum(beside.gather(-1, before + 1), beside.gather(-1, after + 1))

    filled_rows = valid.any(-1)
    if filled_rows.all():
        return filled
    row = torch.arange(height, device=disparity.device)
    above, below = _nearest_set(filled_rows)
    nearer = torch.where((above >= 0) & ((below == height) | (row - above <= below - row)), above, below)
    source = nearer.clamp(max=height - 1)[..., None].expand(filled.shape)
    return filled.gather(-2, source).masked_fill(~filled_rows.any(-1)[..., None, None], 0)


def _nearest_set(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Indices along the last dim of the nearest true entry at or before (else -1) and at or after (else its length)."""
    length = mask.shape[-1]
    place = torch.arange(length, device=mask.device)
    before = torch.where(mask, place, -1).cummax(-1).values
    after = torch.where(mask, place, length).flip(-1).cummin(-1).values.flip(-1)
    return before, after


def match_confidence(
    difference_px: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"],
    distinctness: Float[Tensor, "*b h w"] | None = None,
) -> Float[Tensor, "*b h w"]:
    """Rate each match, exp(-difference / 1 px) times its distinctness.

    A heuristic that ranks matches; not a probability.

    Args:
        difference_px: disagreement of the two directions in px, see `left_right_difference`.
        valid: accepted matches; all others get 0.
        distinctness: 1 - (lowest cost) / (its best rival) in [0, 1]; the matcher may have none.

    Returns:
        Confidence in [0, 1].

    Source: the peak ratio and left-right difference of Hu and Mordohai, "A quantitative evaluation of confidence
    measures for stereo vision", PAMI 2012.
    """
    rating = torch.exp(-difference_px.masked_fill(~valid, torch.inf))
    return rating if distinctness is None else (rating * distinctness).clamp(0, 1)
