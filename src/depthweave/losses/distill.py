"""What a monocular teacher tells a matcher: its dense inverse depth, of unknown scale and shift, beside sparse truth.

Mono2Stereo (arXiv:2411.09151) fine-tunes on sparse truth while the distribution of the predictions is aligned with
dense monocular depth. Its abstract and captions are all that we know of it: every formula here is our reconstruction,
built to fit them. Inverse depth and disparity are both affine in 1 / Z, so that nothing is inverted.

Nothing changes if the teacher m becomes a m + b with a > 0, all terms vanish at p = a m + b (up to rounding), and no
gradient flows into the teacher. Each function gives its values with a mask of those that count, the two arguments of
`masked_mean`; values that do not count are 0. Where the prediction is not finite under the mask of the teacher, the
values that it decides on are NaN.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.alignment import fit_scale_shift
from depthweave.errors import WrongInput
from depthweave.losses.finite import on_finite
from depthweave.losses.scale_invariant import (
    differences,
    halved,
    masked_sum,
    normalise_affine,
    normalise_with_spread,
    trimmed_sum,
)

Crop = tuple[int, int, int, int]
"""Top, left, height and width in px."""

FLAT = 1e-3
"""A teacher whose spread in a crop is a smaller share of its range in the map says nothing there."""
FEWEST = 8
"""A region with fewer pixels under the mask says nothing."""
_NEVER = -1e30
_FLOOR = 1e-3


def draw_crops(
    height: int,
    width: int,
    *,
    count: int = 32,
    side: tuple[float | int, float | int] = (0.125, 0.5),
    rng: np.random.Generator,
) -> list[Crop]:
    """Windows at random, each side a share of the map's side drawn evenly between two bounds.

    Args:
        height, width: of the map in px.
        count: how many.
        side: least and largest share, 12.5 to 50 % as in DMD3C.
        rng: decides.

    Raises:
        WrongInput: no crops, or shares that are not 0 < least <= largest <= 1.

    Source: our reconstruction; DMD3C (CVPR 2025), of the same group, compares 32 such crops in depth completion.
    """
    if count < 1 or not 0 < side[0] <= side[1] <= 1:
        raise WrongInput(f"{count} crops with sides from {side[0]} to {side[1]} cannot be; take 1 or more, in (0, 1].")
    crops = []
    for _ in range(count):
        h, w = (min(full, max(1, round(full * float(rng.uniform(*side))))) for full in (height, width))
        crops.append((int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w))
    return crops


def crop_alignment(
    prediction: Float[Tensor, "*b h w"],
    teacher: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    crops: Sequence[Crop],
    *,
    trim: float | int = 0.2,
    statistic: str = "mean",
    least_spread: float | int = 0.0,
) -> tuple[Float[Tensor, "*b k"], Bool[Tensor, "*b k"]]:
    """Mean over a crop of |N(p) - N(m)|, each normalised within the crop, without the largest errors: one per crop.

    A crop does not count with fewer than 8 pixels under the mask, or where the teacher's spread is below 1/1000 of its
    range in the whole map.

    Args:
        prediction: disparity in px.
        teacher: inverse depth, any unit, scale and shift.
        mask: where the teacher says something; fillers elsewhere may be anything.
        crops: windows, the same ones for every map of a batch, such as those of `draw_crops`.
        trim: share of the pixels with the largest errors that is left out, in [0, 1).
        statistic: of `normalise_affine`; DMD3C has "mad".
        least_spread: of the prediction, in px: smaller ones count as this one, so that a nearly flat prediction
            has no endless gradient.

    Raises:
        WrongInput: trim, statistic or least spread that cannot be.

    Source: our reconstruction, variant "crops"; the normalisation is Ranftl et al., TPAMI 2020.
    """
    losses, counted = [], []
    for ours, its, inside, tells in _normalised_crops(prediction, teacher, mask, crops, statistic, least_spread):
        error = on_finite(torch.abs, ours - its).flatten(-2)
        total, kept = trimmed_sum(error, inside.flatten(-2), trim)
        losses.append(total / kept.clamp_min(1))
        counted.append(tells)
    return _stacked(losses, counted)


def histogram_kl(
    prediction: Float[Tensor, "*b h w"],
    teacher: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    crops: Sequence[Crop],
    *,
    bins: int = 64,
    statistic: str = "mean",
    least_spread: float | int = 0.0,
) -> tuple[Float[Tensor, "*b k"], Bool[Tensor, "*b k"]]:
    """KL(q_m || q_p) of the histograms of N(m) and N(p) in each crop: one per crop. Blind to where the values are.

    The bins lie between -3 and 3; a value shares itself out to the two nearest centres in proportion (a triangle of
    one bin's width), values beyond go to the last bins. A thousandth of each histogram is spread evenly over all bins.

    Args:
        prediction, teacher, mask, crops, statistic, least_spread: as of `crop_alignment`; crops count by its rule.
        bins: how many, at least 2.

    Raises:
        WrongInput: fewer than 2 bins, or a statistic or least spread that cannot be.

    Source: our reconstruction, variant "histogram"; to be used beside another one.
    """
    if bins < 2:
        raise WrongInput(f"a histogram with {bins} bins has nothing to compare; take 2 or more.")
    losses, counted = [], []
    for ours, its, inside, tells in _normalised_crops(prediction, teacher, mask, crops, statistic, least_spread):
        q_p, q_m = (_histogram(each, inside, bins) for each in (ours, its))
        losses.append((q_m * (q_m / q_p).log()).sum(-1))
        counted.append(tells)
    return _stacked(losses, counted)


def gradient_distribution_kl(
    prediction: Float[Tensor, "*b h w"],
    teacher: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    patch: int = 16,
    temperature: float | int = 0.1,
    statistic: str = "mean",
    least_spread: float | int = 0.0,
) -> tuple[Float[Tensor, "*b h2 w2"], Bool[Tensor, "*b h2 w2"]]:
    """KL(P_m || P_p) in each patch, P the softmax of |grad N| / temperature over its pixels: where edges are.

    N is over the whole map, grad the differences to the next column and the next row. A patch counts with 8 pixels
    whose three values are under the mask; rows and columns beyond the last whole patch are left out.

    Args:
        prediction: disparity in px.
        teacher: inverse depth, any unit, scale and shift.
        mask: where the teacher says something; fillers elsewhere may be anything.
        patch: side in px.
        temperature: lower ones look at the steepest pixel only.
        statistic, least_spread: of the normalisation, as of `crop_alignment`.

    Raises:
        WrongInput: a patch larger than the map, a temperature that is not positive, or a statistic or least spread
            that cannot be.

    Source: our reconstruction, variant "gradient".
    """
    height, width = mask.shape[-2:]
    if not 1 <= patch <= min(height, width) or temperature <= 0:
        raise WrongInput(
            f"patches of {patch} px with temperature {temperature} do not suit a map of {width}x{height} px; take 1 px "
            "to its smaller side, and a temperature above 0."
        )
    ours = normalise_affine(prediction, mask, statistic=statistic, least_spread=least_spread)
    its, spread = normalise_with_spread(teacher.detach(), mask, statistic=statistic)
    inside = mask.clone()
    inside[..., -1, :] = inside[..., :, -1] = False
    inside[..., :-1, :-1] &= mask[..., 1:, :-1] & mask[..., :-1, 1:]
    known = _patches(inside, patch)
    logs = []
    for values in (its, ours):
        steepness = _patches(_steepness(values, inside), patch) / temperature
        logs.append(torch.where(known, steepness, _NEVER).log_softmax(-1))
    of_teacher, of_prediction = logs
    loss = (of_teacher.exp() * (of_teacher - of_prediction)).sum(-1)
    counted = (known.sum(-1) >= FEWEST) & (spread > 0)[..., None, None]
    return torch.where(counted, loss, 0.0), counted


def metric_teacher(
    prediction: Float[Tensor, "*b h w"],
    teacher: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    truth: Float[Tensor, "*b h w"],
    known: Bool[Tensor, "*b h w"],
    confidence: Float[Tensor, "*b h w"] | None = None,
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """c |p - t| / (1 + |p - t|) where there is no truth, t = a m + b being the teacher fitted to the truth: a map.

    a and b are `alignment.fit_scale_shift` with method "huber" (least squares reweighted ten times). A map does not
    count where no such fit is possible, or where it has a <= 0. The teacher's own errors of shape are learnt, too.

    Args:
        prediction: disparity in px.
        teacher: inverse depth, any unit, scale and shift.
        mask: where the teacher says something; fillers elsewhere may be anything.
        truth: disparity in px.
        known: where the truth is known.
        confidence: c in [0, 1]; None = 1.

    Source: our reconstruction, variant "metric"; Huber, Robust Statistics, 1981, for the fit.
    """
    fitted, usable = _fitted(teacher.detach(), truth.detach(), mask & known)
    counted = mask & ~known & usable[..., None, None]

    def penalty(p: Tensor, t: Tensor) -> Tensor:
        error = (p - t).abs()
        return error / (1 + error)

    values = on_finite(penalty, prediction, torch.where(counted, fitted, 0.0))
    return torch.where(counted, values if confidence is None else confidence * values, 0.0), counted


def edge_matching(
    prediction: Float[Tensor, "*b h w"],
    teacher: Float[Tensor, "*b h w"],
    mask: Bool[Tensor, "*b h w"],
    *,
    scales: int = 4,
    near_px: int = 5,
    elsewhere: float | int = 0.1,
    edge: float | int = 0.1,
    statistic: str = "mean",
    least_spread: float | int = 0.0,
) -> tuple[Float[Tensor, "*b"], Bool[Tensor, "*b"]]:
    """Differences of R = N(p) - N(m), most of all at the teacher's edges: one number per map.

    The sum over the scales of the weighted mean of |D_x R| + |D_y R|, where each scale takes every second pixel of
    the one before and D is the difference to the next pixel. Pixels near an edge of the teacher, where N(m) changes by
    more than `edge` from one pixel to the next, weigh 1, all others `elsewhere`. A map does not count in which the
    teacher is flat.

    Args:
        prediction: disparity in px.
        teacher: inverse depth, any unit, scale and shift.
        mask: where the teacher says something; fillers elsewhere may be anything.
        scales: how many.
        near_px: pixels within so many columns and rows of an edge are near.
        elsewhere: weight in [0, 1].
        edge: in spreads of the teacher per px.
        statistic, least_spread: of the normalisation, as of `crop_alignment`.

    Raises:
        WrongInput: scales, near_px, elsewhere, statistic or least spread that cannot be.

    Source: our reconstruction, after the multi-scale regulariser of Ranftl et al., TPAMI 2020.
    """
    if near_px < 0 or not 0 <= elsewhere <= 1:
        raise WrongInput(f"near_px is {near_px} and elsewhere {elsewhere}; they are 0 or more, and from 0 to 1.")
    ours = normalise_affine(prediction, mask, statistic=statistic, least_spread=least_spread)
    its, spread = normalise_with_spread(teacher.detach(), mask, statistic=statistic)
    weights = torch.where(near_edges(its, mask, edge, near_px), 1.0, elsewhere).to(its.dtype)
    total = its.new_zeros(its.shape[:-2])
    for residual, weight, inside in halved(scales, ours - its, weights, mask):
        height, width = (size - 1 for size in residual.shape[-2:])
        along_x, beside = differences(residual, inside, -1)
        along_y, below = differences(residual, inside, -2)
        both = (beside[..., :height, :] & below[..., :, :width]).flatten(-2)
        mine = torch.where(both, weight[..., :height, :width].flatten(-2), 0.0)
        steps = (along_x[..., :height, :] + along_y[..., :, :width]).flatten(-2)
        whole = mine.sum(-1)
        total = total + masked_sum(steps * mine, both & (mine > 0)) / torch.where(whole > 0, whole, 1.0)
    counted = _tells(spread, _span(teacher, mask), mask)
    return torch.where(counted, total, 0.0), counted


def _normalised_crops(
    prediction: Tensor, teacher: Tensor, mask: Tensor, crops: Sequence[Crop], statistic: str, least_spread: float | int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Per crop N(p), N(m), the mask, and whether the teacher says enough in it (*b)."""
    if not crops:
        raise WrongInput("there are no crops to compare in; draw at least one.")
    span = _span(teacher, mask)
    for y, x, h, w in crops:
        p, m, inside = (each[..., y : y + h, x : x + w] for each in (prediction, teacher.detach(), mask))
        ours = normalise_affine(p, inside, statistic=statistic, least_spread=least_spread)
        its, spread = normalise_with_spread(m, inside, statistic=statistic)
        yield ours, its, inside, _tells(spread, span, inside)


def _span(teacher: Tensor, mask: Tensor) -> Tensor:
    """Largest less smallest value of each map (*b)."""
    high = torch.where(mask, teacher.detach(), -torch.inf).flatten(-2).amax(-1)
    return high - torch.where(mask, teacher.detach(), torch.inf).flatten(-2).amin(-1)


def _tells(spread: Tensor, span: Tensor, inside: Tensor) -> Tensor:
    """Whether the teacher says enough in a region (*b)."""
    return (spread > 0) & (spread >= FLAT * span) & (inside.flatten(-2).sum(-1) >= FEWEST)


def _stacked(losses: list[Tensor], counted: list[Tensor]) -> tuple[Tensor, Tensor]:
    mask = torch.stack(counted, -1)
    return torch.where(mask, torch.stack(losses, -1), 0.0), mask


def _histogram(values: Tensor, mask: Tensor, bins: int) -> Tensor:
    """Shares (*b, bins) that sum to 1 and are nowhere 0."""
    inside, broken = mask.flatten(-2), (mask & values.isnan()).flatten(-2).any(-1, keepdim=True)
    place = torch.where(inside & ~broken, values.flatten(-2), 0.0)
    place = ((place + 3) * (bins / 6) - 0.5).clamp(0, bins - 1)
    lower = place.detach().floor().clamp_max(bins - 2)
    upper = torch.where(inside, place - lower, 0.0)
    counts = values.new_zeros(*inside.shape[:-1], bins)
    counts = counts.scatter_add(-1, lower.long(), torch.where(inside, 1.0, 0.0).to(values.dtype) - upper)
    counts = counts.scatter_add(-1, lower.long() + 1, upper)
    shares = counts / inside.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(broken, torch.nan, (1 - _FLOOR) * shares + _FLOOR / bins)


def _steepness(values: Tensor, inside: Tensor) -> Tensor:
    """Length of the gradient (*b, h, w) of a map of NaN outside its mask; 0 where it is not inside."""
    steps = [F.pad(values.diff(dim=-1), (0, 1)), F.pad(values.diff(dim=-2), (0, 0, 0, 1))]
    length: Tensor = torch.linalg.vector_norm(torch.stack([torch.where(inside, step, 0.0) for step in steps]), dim=0)
    return length


def _patches(values: Tensor, patch: int) -> Tensor:
    """Whole patches (*b, rows, columns, patch * patch)."""
    rows, columns = (size // patch for size in values.shape[-2:])
    cut = values[..., : rows * patch, : columns * patch]
    squares = cut.reshape(*cut.shape[:-2], rows, patch, columns, patch).transpose(-3, -2)
    return squares.reshape(*squares.shape[:-2], patch * patch)


def _fitted(teacher: Tensor, truth: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher in px (*b, h, w), and whether there is a fit (*b)."""
    leading = teacher.shape[:-2]
    fitted, usable = [], []
    for m, g, inside in zip(*(each.reshape(-1, *each.shape[-2:]) for each in (teacher, truth, both)), strict=True):
        try:
            fit = fit_scale_shift(m, g, inside, method="huber")
        except WrongInput:  # too few points, or a teacher that is flat on them: nothing to learn from this map
            fitted.append(torch.zeros_like(m))
            usable.append(False)
            continue
        fitted.append(fit.apply(m))
        usable.append(bool(fit.scale > 0))
    return torch.stack(fitted).reshape(teacher.shape), torch.tensor(usable, device=teacher.device).reshape(leading)


def near_edges(
    values: Float[Tensor, "*b h w"], mask: Bool[Tensor, "*b h w"], edge: float | int, near_px: int
) -> Bool[Tensor, "*b h w"]:
    """Pixels within so many rows and columns of two neighbours that differ by more than `edge`, both under the mask.

    Args:
        values: any unit.
        mask: the pixels that count; fillers elsewhere may be anything.
        edge: in the unit of the values.
        near_px: how far the region reaches from either of the two, 0 or more.
    """
    found = torch.zeros_like(mask)
    for axis in (-1, -2):
        step, both = differences(values, mask, axis)
        steep = both & (step > edge)
        size = steep.shape[axis]
        for start in (0, 1):
            found.narrow(axis, start, size).logical_or_(steep)
    wide = F.max_pool2d(found.float().reshape(-1, 1, *found.shape[-2:]), 2 * near_px + 1, 1, near_px)
    return wide.reshape(found.shape) > 0
