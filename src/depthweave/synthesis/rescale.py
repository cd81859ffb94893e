"""From relative inverse depth, whose scale nobody knows, to disparities in px."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput

Rule = Literal["ours", "mfs", "zerostereo"]

FAR_QUANTILE, NEAR_QUANTILE = 0.005, 0.995
"""Of inverse depth, between which the rule `ours` stretches: single wild values do not decide on the scale."""


@dataclass(frozen=True)
class DisparityRange:
    """Disparities that the far and the near end of a picture get.

    Attributes:
        low_px: of the far end, 0 or more.
        high_px: of the near end, above low_px.
    """

    low_px: float | int
    high_px: float | int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.high_px) and 0 <= self.low_px < self.high_px):
            raise WrongInput(
                f"disparities from {self.low_px:g} to {self.high_px:g} px are no range; give 0 <= low_px < high_px."
            )


def draw_range(
    width: int, rule: str = "ours", *, rng: np.random.Generator, largest_px: float | int | None = None
) -> DisparityRange:
    """Draw the disparities of a picture's far and near end.

    - `mfs`: near ~ U(50, 192) px; one of 100 near ~ U(1.05, 1.15) 192 px, beyond what the network can answer. Far 0.
      Source: Watson et al., Learning Stereo from Single Images, ECCV 2020.
    - `zerostereo`: near ~ U(0.05, 0.15) W; one of ten U(0, 0.05) W, one of ten U(0.15, 0.20) W. Far 0.
      Source: Wang et al., ZeroStereo, ICCV 2025.
    - `ours`: near as `zerostereo`, but never below 0.01 W, where hardly any disparity would be left; far ~ U(0, 0.1)
      times near, since few pictures reach infinity.

    Args:
        width: W in px, of the picture in which disparities are counted.
        rule: see above.
        rng: one generator per picture makes it reproducible.
        largest_px: no disparity is larger, such as the network's largest less 1 px; None = no limit.

    Raises:
        WrongInput: an unknown rule, or a width or limit that leaves no disparity.
    """
    _check_rule(rule)
    if width < 1 or (largest_px is not None and not largest_px > 0):
        raise WrongInput(f"width {width} px and largest_px {largest_px} must be above 0 to leave room for disparities.")
    chance = rng.random()
    low_px = 0.0
    if rule == "mfs":
        high_px = rng.uniform(1.05, 1.15) * 192 if chance < 0.01 else rng.uniform(50, 192)
    else:
        least = 0.0 if rule == "zerostereo" else 0.01
        shares = (least, 0.05) if chance < 0.1 else (0.15, 0.20) if chance < 0.2 else (0.05, 0.15)
        high_px = width * rng.uniform(*shares)
    if largest_px is not None:
        high_px = min(high_px, float(largest_px))
    if rule == "ours":
        low_px = rng.uniform(0, 0.1) * high_px
    return DisparityRange(low_px, high_px)


def inverse_depth_bounds(
    inverse_depth: Float[Tensor, "*b h w"], valid: Bool[Tensor, "*b h w"] | None = None, *, rule: str = "ours"
) -> tuple[float, float]:
    """What counts as the far and as the near end of a picture, or of all frames of a clip together.

    `ours`: the quantiles of 0.5 % and 99.5 %; `zerostereo`: least and largest value; `mfs`: the smaller of 0 and the
    least value, and the largest.

    Args:
        inverse_depth: larger is nearer, any unit, scale and offset; what is not finite does not count.
        valid: pixels that count, None = all.
        rule: see above.

    Raises:
        WrongInput: an unknown rule, no usable pixel, or one value everywhere.
    """
    _check_rule(rule)
    usable = torch.isfinite(inverse_depth)
    values = inverse_depth[usable if valid is None else usable & valid]
    if not len(values):
        raise WrongInput("the inverse depth has no usable pixel; give a map with finite, valid values.")
    if rule == "ours":
        low, high = (float(_quantile(values, share)) for share in (FAR_QUANTILE, NEAR_QUANTILE))
    else:
        low, high = float(values.min()), float(values.max())
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        raise WrongInput(
            f"the inverse depth is {high:g} almost everywhere, which leaves no near and far; such a picture makes no "
            "stereo pair."
        )
    return (min(0.0, low), high) if rule == "mfs" else (low, high)


def to_range(
    inverse_depth: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"] | None = None,
    *,
    disparities: DisparityRange,
    bounds: tuple[float, float] | None = None,
) -> Float[Tensor, "*b h w"]:
    """Stretch inverse depth linearly to disparities: d = low_px + n (high_px - low_px), n = clip((m - a) / (b - a)).

    Linear, since disparity is proportional to inverse depth. Values that are not finite or not valid get what is
    inside: -inf and NaN the far end, +inf the near one, finite ones their own clipped value.

    Args:
        inverse_depth: m, larger is nearer, any unit, scale and offset.
        valid: pixels that decide on the bounds, None = all.
        disparities: of the far and near end in px.
        bounds: (a, b), what counts as far and near; None = `inverse_depth_bounds` of this map. A clip takes one pair.

    Raises:
        WrongInput: the map has no depth range, or bounds that are none.
    """
    low, high = inverse_depth_bounds(inverse_depth, valid) if bounds is None else bounds
    if not low < high:
        raise WrongInput(f"bounds from {low:g} to {high:g} are no range; give (far, near) with far < near.")
    finite = inverse_depth.nan_to_num(nan=low, posinf=high, neginf=low)
    nearness = ((finite - low) / (high - low)).clamp(0, 1)
    return disparities.low_px + nearness * (disparities.high_px - disparities.low_px)


def rescale_to_disparity(
    inverse_depth: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"] | None = None,
    *,
    width: int,
    rule: str = "ours",
    spread_px: float | int | None = None,
    largest_px: float | int | None = None,
    rng: np.random.Generator,
) -> Float[Tensor, "*b h w"]:
    """Disparity in px of relative inverse depth, by a rule of `draw_range` and `inverse_depth_bounds`.

    Everything in one call shares bounds and range; call once per picture to draw for each.

    Args:
        inverse_depth: larger is nearer, any unit, scale and offset.
        valid: pixels that decide on the bounds, None = all.
        width: of the picture in which disparities are counted, in px.
        rule: `ours`, `mfs` or `zerostereo`.
        spread_px: disparity of the near end, that of the far end being 0; None = drawn.
        largest_px: limit of what is drawn in px.
        rng: draws the range.

    Raises:
        WrongInput: an unknown rule, no depth range, or a width, spread or limit that leaves no disparity.
    """
    bounds = inverse_depth_bounds(inverse_depth, valid, rule=rule)
    if spread_px is None:
        disparities = draw_range(width, rule, rng=rng, largest_px=largest_px)
    else:
        disparities = DisparityRange(0.0, spread_px)
    return to_range(inverse_depth, valid, disparities=disparities, bounds=bounds)


def _quantile(values: Tensor, share: float) -> Tensor:
    """As torch.quantile with linear interpolation, which takes at most 16 million values."""
    place = share * (len(values) - 1)
    ordered = values.sort().values
    before = math.floor(place)
    return torch.lerp(ordered[before], ordered[min(before + 1, len(values) - 1)], place - before)


def _check_rule(rule: str) -> None:
    if rule not in get_args(Rule):
        raise WrongInput(f"{rule!r} is no rule of rescaling; choose one of {', '.join(get_args(Rule))}.")
