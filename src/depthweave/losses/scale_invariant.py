"""Losses that do not see scale and shift, for truth that is known only up to these: one number per map.

Sums over regions, medians and trimming leave no value per pixel, so that every map of a batch gives one number.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses.finite import on_finite

STATISTICS = ("mean", "mad")
"""What can measure the spread of a map."""


def normalise_affine(
    values: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    statistic: str = "mean",
    least_spread: float | int = 0.0,
) -> Float[Tensor, "*b h w"]:
    """N(x) = (x - median x) / spread x over the mask of each map: the same for a x + b with a > 0.

    0 in a map without spread (but for rounding), and then without a gradient; NaN outside of the mask, and in the
    whole mask of a map that has a value there which is not finite. Computed in float32 at least.

    Args:
        values: disparity or inverse depth, any unit.
        mask: the pixels that count and get a value; fillers elsewhere may be anything.
        statistic: "mean", the mean of |x - median|, or "mad", the median of it, which one side of an edge cannot move.
        least_spread: smaller spreads count as this one, in the unit of the values; above 0 the gradient stays below
            its inverse, but smaller maps are no longer brought to spread 1.

    Raises:
        WrongInput: an unknown statistic, or a negative least spread.

    Source: Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2020, eq. 5 ("mean").
    """
    return normalise_with_spread(values, mask, statistic=statistic, least_spread=least_spread)[0]


def normalise_with_spread(
    values: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    statistic: str = "mean",
    least_spread: float | int = 0.0,
) -> tuple[Float[Tensor, "*b h w"], Float[Tensor, "*b"]]:
    """`normalise_affine`, and the spread of each map before `least_spread`; arguments and errors are the same."""
    if statistic not in STATISTICS:
        raise WrongInput(f"there is no statistic {statistic!r}; there are {' and '.join(STATISTICS)}.")
    if least_spread < 0:
        raise WrongInput(f"the least spread is {least_spread}, but a spread cannot be negative; use 0 for no bound.")
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    broken = (mask & ~values.isfinite()).flatten(-2).any(-1)[..., None, None]
    inside = mask.flatten(-2)
    known = torch.where(mask, values, 0.0).flatten(-2)
    centred = known - masked_median(known, inside)[..., None]
    if statistic == "mean":
        spread = masked_sum(centred.abs(), inside) / inside.sum(-1).clamp_min(1)
    else:
        spread = masked_median(centred.abs(), inside)
    rounding = 16 * torch.finfo(known.dtype).eps * known.detach().abs().amax(-1)
    spread = torch.where(spread > rounding, spread, 0.0)
    divisor = spread.clamp_min(least_spread)[..., None]
    normalised = torch.where(divisor > 0, centred / torch.where(divisor > 0, divisor, 1.0), 0.0)
    normalised = torch.where(mask & ~broken, normalised.reshape(mask.shape), torch.nan)
    return normalised, spread


def scale_shift_invariant(
    prediction: Float[Tensor, "*b h w"],
    target: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    trim: float | int = 0.2,
) -> Float[Tensor, "*b"]:
    """Trimmed absolute error after normalisation, 1 / (2 M) sum |N(p) - N(g)|, one number per map.

    The sum leaves out the share `trim` of the M pixels, those with the largest errors. 0 in maps without a pixel; NaN
    where a prediction under the mask is not finite.

    Args:
        prediction: inverse depth or disparity, any unit.
        target: of any other scale and shift; pixels where it is not finite leave the mask.
        mask: the pixels that count.
        trim: in [0, 1).

    Raises:
        WrongInput: trim outside [0, 1).

    Source: Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2020, the trimmed absolute loss.
    """
    counted = mask & target.isfinite()
    error = on_finite(torch.abs, normalise_affine(prediction, counted) - normalise_affine(target, counted))
    total, _ = trimmed_sum(error.flatten(-2), counted.flatten(-2), trim)
    return total / (2 * counted.flatten(-2).sum(-1)).clamp_min(1)


def multi_scale_gradient(
    prediction: Float[Tensor, "*b h w"],
    target: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    scales: int = 4,
) -> Float[Tensor, "*b"]:
    """Differences of R = N(p) - N(g) at several scales, 1 / M sum_k sum |D_x R_k| + |D_y R_k|, one number per map.

    R_k takes every 2^k-th pixel of R, k from 0 on; D is the difference to the next pixel where both are in the mask,
    and M counts the mask. MiDaS adds it with weight 0.5 to `scale_shift_invariant`. 0 in maps without a pixel; NaN
    where a prediction under the mask is not finite.

    Args:
        prediction: inverse depth or disparity, any unit.
        target: of any other scale and shift; pixels where it is not finite leave the mask.
        mask: the pixels that count.
        scales: how many.

    Raises:
        WrongInput: scales is not positive.

    Source: Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2020, the multi-scale regulariser.
    """
    counted = mask & target.isfinite()
    residual = normalise_affine(prediction, counted) - normalise_affine(target, counted)
    total = residual.new_zeros(residual.shape[:-2])
    for at_scale, inside in halved(scales, residual, counted):
        for axis in (-1, -2):
            difference, both = differences(at_scale, inside, axis)
            total = total + masked_sum(difference.flatten(-2), both.flatten(-2))
    return total / counted.flatten(-2).sum(-1).clamp_min(1)


def scale_invariant_log(
    prediction: Float[Tensor, "*b h w"],
    target: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    weight: float | int = 0.5,
) -> Float[Tensor, "*b"]:
    """mean e^2 - weight (mean e)^2 with e = ln p - ln g, one number per map.

    0 in maps without a pixel; NaN where a prediction under the mask is not finite or not positive.

    Args:
        prediction: depth, disparity or inverse depth, positive, any unit.
        target: of the same quantity; pixels where it is not finite and positive leave the mask.
        mask: the pixels that count.
        weight: in [0, 1]; 1 does not see the scale at all, 0 is the mean squared error of the logarithms.

    Raises:
        WrongInput: a weight outside [0, 1].

    Source: Eigen, Puhrsch and Fergus, Depth Map Prediction from a Single Image, NIPS 2014, eq. 4 (training with 0.5).
    """
    if not 0 <= weight <= 1:
        raise WrongInput(f"the weight of the mean error is {weight}, outside of which errors could pay; take 0 to 1.")
    counted = (mask & target.isfinite() & (target > 0)).flatten(-2)
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    p, g = (torch.where(x > 0, x, torch.nan).to(dtype).flatten(-2) for x in (prediction, target))
    error = on_finite(lambda a, b: a.log() - b.log(), p, g)
    count = counted.sum(-1).clamp_min(1)
    square = on_finite(torch.square, error)
    return masked_sum(square, counted) / count - weight * (masked_sum(error, counted) / count).square()


def masked_sum(values: Float[Tensor, "*b n"], mask: Bool[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Sum of the values under the mask; fillers elsewhere may be anything."""
    return torch.where(mask, values, 0.0).sum(-1)


def masked_median(values: Float[Tensor, "*b n"], mask: Bool[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Median of the values under the mask, the mean of the middle two of an even number; 0 where there are none.

    Args:
        values: finite under the mask.
        mask: the values that count.
    """
    ordered = torch.where(mask, values, torch.inf).sort(-1).values
    count = mask.sum(-1, keepdim=True)
    middle = (ordered.gather(-1, ((count - 1) // 2).clamp_min(0)) + ordered.gather(-1, count // 2 * (count > 0))) / 2
    return torch.where(count > 0, middle, 0.0).squeeze(-1)


def trimmed_sum(
    values: Float[Tensor, "*b n"], mask: Bool[Tensor, "*b n"], trim: float | int
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Sum of the values under the mask without the largest ones, and how many are in it.

    Args:
        values: not negative; NaN under the mask gives NaN.
        mask: the values that count.
        trim: share of them that is left out, in [0, 1), rounded down.

    Raises:
        WrongInput: trim outside [0, 1).
    """
    if not 0 <= trim < 1:
        raise WrongInput(f"trim is {trim}, a share of the pixels; it is at least 0 and below 1.")
    ordered = torch.where(mask, values, torch.inf).sort(-1).values
    count = mask.sum(-1, keepdim=True)
    kept = count - (trim * count.double() + 1e-9).floor().long()
    rank = torch.arange(values.shape[-1], device=values.device)
    total = masked_sum(ordered, rank < kept)
    broken = (mask & values.isnan()).any(-1)
    return torch.where(broken, torch.nan, total), kept.squeeze(-1).to(values.dtype)


def halved(scales: int, *maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The maps (*b, h, w) themselves, every second pixel of each axis, every fourth, ..., as often as `scales` says.

    Raises:
        WrongInput: scales is not positive.
    """
    if scales < 1:
        raise WrongInput(f"there are {scales} scales; a loss has at least one.")
    for scale in range(scales):
        yield tuple(each[..., :: 2**scale, :: 2**scale] for each in maps)


def differences(
    values: Float[Tensor, "*b h w"], mask: Bool[Tensor, "*b h w"], axis: int
) -> tuple[Float[Tensor, "*b h2 w2"], Bool[Tensor, "*b h2 w2"]]:
    """|x_(i+1) - x_i| along an axis, and where both pixels are in the mask; NaN without a gradient if not finite."""
    size = values.shape[axis] - 1
    both = mask.narrow(axis, 1, size) & mask.narrow(axis, 0, size)
    return on_finite(torch.abs, values.diff(dim=axis)), both
