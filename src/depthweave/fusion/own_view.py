"""One pointmap per frame from several of the same frame in its own camera, each in a unit of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.alignment import fit_similarity

Average = Literal["mean", "median"]

FEWEST_PIXELS = 30
AGREEMENT = 0.1
_LEAST_OVERLAP = 0.02
_REGISTRATION_ROUNDS = 20
_LARGEST_RESIDUAL = 0.3
_FEW, _TIE = 6, 1e-6
_SMALLEST_RESIDUAL = 1e-7


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one pair says of a frame in the frame's own camera.

    Attributes:
        points: (h, w, 3) in the pair's unit.
        confidence: (h, w) raw; 0 where not usable, and where z is not positive.
    """

    points: Float[Tensor, "h w 3"]
    confidence: Float[Tensor, "h w"]


@dataclass(frozen=True, eq=False)
class OwnView:
    """A frame's fused pointmap, in a unit in which its median depth is 1.

    Attributes:
        points: (h, w, 3) in the frame's own camera.
        confidence: (h, w) raw, 0 where no candidate is usable.
        mass: (h, w) sum of the confidences that went in.
        log_scales: of every candidate, the natural logarithm of what brings its points to this unit; None where it
            shares too few pixels with the others to tell.
    """

    points: Float[Tensor, "h w 3"]
    confidence: Float[Tensor, "h w"]
    mass: Float[Tensor, "h w"]
    log_scales: list[float | None]


@dataclass(frozen=True, eq=False)
class Registration:
    """How a pair's points of a frame, in the axes of another camera, lie in the frame's own.

    Attributes:
        log_scale: natural logarithm of frame unit per pair unit.
        rotation: (3, 3) own axes from the other camera's.
        translation: (3) own position of the other camera, unit of the pair.
        residual: median distance of corresponding points relative to their distance from the camera.
    """

    log_scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]
    residual: float


def fuse_own_views(
    candidates: Sequence[Candidate],
    *,
    average: Average = "mean",
    stride: int = 1,
    rays: Float[Tensor, "h w 3"] | None = None,
) -> OwnView | None:
    """Bring pointmaps of one frame to one unit and average them; None where none has 30 usable pixels.

    Scales: the weighted median of the ratios of z, candidate after candidate by their overlap with those before, then
    once more against the fused whole.

    Args:
        candidates: all of one size.
        average: ``mean``: confidence-weighted mean of the points, its confidence the largest of the candidates'
            (DUSt3R's rule). ``median``: weighted median of log z per pixel along the mean ray; confidence is the sum of
            what agrees with it within 10 % less the sum of what does not, at least 0.
        stride: scales are measured on every so manieth pixel along x and y.
        rays: (h, w, 3) directions with z = 1 of known intrinsics: the points are put on them and keep their z.

    Source: our reconstruction; the ratio as in Zhou et al., CVPR 2017, section 4.1 (median scaling).
    """
    order, log_scales = _relative_log_scales(candidates, stride) if candidates else ([], [])
    if not order:
        return None
    used = [(candidates[k], log_scales[k]) for k in order]
    fuse = _mean if average == "mean" else _median
    points, confidence, mass = fuse([candidate for candidate, _ in used], [scale for _, scale in used])
    seen = confidence > 0
    if not bool(seen.any()):
        return None
    log_unit = float(points[..., 2][seen].median().log())
    points = points * torch.exp(torch.tensor(-log_unit)).to(points)
    if rays is not None:
        points = rays.to(points) * points[..., 2:]
    shared: list[float | None] = [None] * len(candidates)
    for k in order:
        shared[k] = log_scales[k] - log_unit
    return OwnView(_filled(points, seen), confidence, mass, shared)


def average_in(own: OwnView, others: Sequence[Candidate], *, rays: Float[Tensor, "h w 3"] | None = None) -> OwnView:
    """A fused view with further pointmaps, already in its camera and unit, averaged in by confidence.

    Args:
        own: fused by ``mean``.
        others: (h, w, 3) points and (h, w) raw confidence each.
        rays: as in `fuse_own_views`.

    Source: Zhang et al., MonST3R, ICLR 2025, section 3.3 (averaging of placed candidates); DUSt3R's largest confidence.
    """
    total, mass, confidence = own.points * own.mass[..., None], own.mass, own.confidence
    for other in others:
        used = other.confidence > 0
        total = total + torch.where(used[..., None], other.confidence[..., None] * other.points, 0.0)
        mass, confidence = mass + other.confidence, torch.maximum(confidence, other.confidence)
    points = total / torch.where(mass > 0, mass, 1.0)[..., None]
    if rays is not None:
        points = rays.to(points) * points[..., 2:]
    return OwnView(_filled(points, mass > 0), confidence, mass, own.log_scales)


def register_points(
    points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"], own: Float[Tensor, "n 3"]
) -> Registration | None:
    """Similarity from a pair's points of a frame to the frame's own; None where it cannot be told.

    Weighted by confidence over squared distance from the camera, since errors grow with distance; reweightings, at
    most 20 and mostly two, take out what does not move with the rest. The scale is the symmetric one.

    Args:
        points: (n, 3) in the axes of another camera, unit of the pair.
        weights: (n) confidence, 0 = not usable.
        own: (n, 3) the same pixels in the frame's own camera and unit.

    Source: Horn, Closed-form solution of absolute orientation using unit quaternions, JOSA A 1987, section 2.D.
    """
    used = weights > 0
    if int(used.sum()) < FEWEST_PIXELS:
        return None
    x, y = points[used].to(torch.float64), own[used].to(torch.float64)
    distance = torch.linalg.vector_norm(y, dim=-1)
    base = weights[used].to(torch.float64) / distance.square()
    w, before = base, math.inf
    for _ in range(_REGISTRATION_ROUNDS):
        fit = fit_similarity(x, y, weights=w, scale="symmetric")
        residual = torch.linalg.vector_norm(fit.apply(x) - y, dim=-1) / distance
        middle = float(residual.median())
        if not middle < 0.99 * before:
            break
        before = middle
        w = base / (1 + (residual / max(2.385 * 1.4826 * middle, _SMALLEST_RESIDUAL)).square())
    if not middle <= _LARGEST_RESIDUAL:
        return None
    return Registration(
        log_scale=float(fit.scale.log()),
        rotation=fit.rotation,
        translation=fit.translation / fit.scale,
        residual=middle,
    )


def point_moments(
    points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"]
) -> tuple[float, Float[Tensor, "3"], Float[Tensor, "3 3"]]:
    """What a frame's points are for a pair: mean of 1 / squared distance, and mean and covariance weighted by that.

    Args:
        points: (n, 3) in the frame's own camera, any unit.
        weights: (n) confidence, 0 = not usable; not all 0.
    """
    used = weights > 0
    y, w = points[used].to(torch.float64), weights[used].to(torch.float64)
    inverse = w / y.square().sum(-1)
    share = (inverse / inverse.sum())[:, None]
    mean = (share * y).sum(0)
    return float(inverse.sum() / w.sum()), mean, (share * (y - mean)).T @ (y - mean)


def weighted_median(values: Float[Tensor, "m *n"], weights: Float[Tensor, "m *n"]) -> Float[Tensor, "*n"]:
    """Median over the first dimension: the mean of the lower and the upper one; weights not all zero."""
    if len(values) <= _FEW:
        return _median_of_few(values, weights)
    values, order = values.sort(dim=0)
    mass = weights.to(torch.float64).gather(0, order).cumsum(0)
    half, tolerance = 0.5 * mass[-1], _TIE * mass[-1]
    lower = (mass < half - tolerance).sum(0, keepdim=True)
    upper = (mass <= half + tolerance).sum(0, keepdim=True).clamp_max(len(values) - 1)
    middle: Tensor = 0.5 * (values.gather(0, lower) + values.gather(0, upper))[0]
    return middle


def _median_of_few(values: Tensor, weights: Tensor) -> Tensor:
    """The same without sorting, which costs several times as much for a handful of maps."""
    half = 0.5 * weights.sum(0)
    low, high = half * (1 - 2 * _TIE), half * (1 + 2 * _TIE)
    lower, upper = torch.full_like(half, torch.inf), torch.full_like(half, torch.inf)
    for value in values:
        mass = torch.zeros_like(half)
        for other, weight in zip(values, weights, strict=True):
            mass.addcmul_(weight, (other <= value).to(weight))
        lower = torch.where(mass >= low, torch.minimum(lower, value), lower)
        upper = torch.where(mass > high, torch.minimum(upper, value), upper)
    return 0.5 * (lower + torch.where(torch.isinf(upper), values.amax(0), upper))


def _relative_log_scales(candidates: Sequence[Candidate], stride: int) -> tuple[list[int], list[float]]:
    """Which candidates hang together, and their log scales to a common unit (0 for those left out)."""
    weights = [c.confidence[::stride, ::stride].flatten().to(torch.float64) for c in candidates]
    logs = [
        torch.where(w > 0, c.points[::stride, ::stride, 2].flatten().to(torch.float64), 1.0).log()
        for c, w in zip(candidates, weights, strict=True)
    ]
    scales = [0.0] * len(candidates)
    masses = [float(w.sum()) for w in weights]
    best = max(range(len(candidates)), key=masses.__getitem__)
    fewest = min(FEWEST_PIXELS, len(weights[best]))
    if int((weights[best] > 0).sum()) < fewest:
        return [], scales
    total, mass = weights[best] * logs[best], weights[best].clone()

    def to_fused(k: int) -> float:
        shared = (weights[k] > 0) & (mass > 0)
        difference = total[shared] / mass[shared] - logs[k][shared]
        return float(weighted_median(difference, (weights[k][shared] * mass[shared]).sqrt()))

    order, left = [best], [k for k in range(len(candidates)) if k != best]
    enough = max(fewest, round(_LEAST_OVERLAP * len(mass)))
    while left:
        overlap = {k: int(((weights[k] > 0) & (mass > 0)).sum()) for k in left}
        following = max(left, key=overlap.__getitem__)
        if overlap[following] < enough:
            break
        scales[following] = to_fused(following)
        total += weights[following] * (logs[following] + scales[following])
        mass += weights[following]
        order.append(following)
        left.remove(following)
    if len(order) > 2:
        refined = {k: to_fused(k) for k in order}
        for k, scale in refined.items():
            scales[k] = scale
    return sorted(order), scales


def _filled(points: Tensor, seen: Tensor) -> Tensor:
    return torch.where(seen[..., None], points, torch.tensor([0.0, 0.0, 1.0], dtype=points.dtype))


def _mean(candidates: Sequence[Candidate], log_scales: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    total = torch.zeros_like(candidates[0].points)
    mass, confidence = torch.zeros_like(candidates[0].confidence), torch.zeros_like(candidates[0].confidence)
    for candidate, log_scale in zip(candidates, log_scales, strict=True):
        scaled = candidate.points * torch.exp(torch.tensor(log_scale)).to(total)
        usable = candidate.confidence > 0
        total += torch.where(usable[..., None], candidate.confidence[..., None] * scaled, 0.0)
        mass += candidate.confidence
        confidence = torch.maximum(confidence, candidate.confidence)
    return total / torch.where(mass > 0, mass, 1.0)[..., None], confidence, mass


def _median(candidates: Sequence[Candidate], log_scales: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    confidence = torch.stack([c.confidence for c in candidates])
    usable = confidence > 0
    offsets = torch.tensor(log_scales, dtype=confidence.dtype)[:, None, None]
    logs = torch.stack([torch.where(u, c.points[..., 2], 1.0).log() for c, u in zip(candidates, usable, strict=True)])
    logs = torch.where(usable, logs + offsets, torch.inf)
    seen = usable.any(0)
    middle = weighted_median(torch.where(seen, logs, 0.0), torch.where(seen, confidence, 1.0))
    agrees = (logs - middle).abs() <= AGREEMENT
    slopes, mass = torch.zeros_like(candidates[0].points), torch.zeros_like(confidence[0])
    for candidate, one, weight in zip(candidates, usable, confidence, strict=True):
        rays = candidate.points / torch.where(one, candidate.points[..., 2], 1.0)[..., None]
        slopes += torch.where(one[..., None], weight[..., None] * rays, 0.0)
        mass += weight
    rays = slopes / torch.where(mass > 0, mass, 1.0)[..., None]
    support = torch.where(agrees, confidence, -confidence).sum(0).clamp_min(0.0)
    return rays * torch.where(seen, middle.exp(), 0.0)[..., None], torch.where(seen, support, 0.0), mass


def usable_confidence(points: Float[Tensor, "h w 3"], confidence: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Raw confidence, 0 where the point or the confidence is not finite or the point is not in front of the camera."""
    # One sum is finite only where all three are, and much cheaper to look at.
    finite = torch.isfinite(points.sum(-1) + confidence)
    good: Bool[Tensor, "h w"] = finite & (points[..., 2] > 0)
    return torch.where(good, confidence, 0.0).clamp_min(0.0)
