"""Dense shape and sparse metres to one metric map."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import alignment
from depthweave.errors import WrongInput
from depthweave.types import DepthMap, DisparityMap, InverseDepthMap, Scale, SparseDepth

Shape: TypeAlias = DepthMap | InverseDepthMap | DisparityMap

GRID = (8, 8)
SMOOTHNESS = 0.1
RELATIVE_SIGMA = 0.02
"""Of a measurement that does not state its own, and the least that a shape is believed."""


@dataclass(frozen=True)
class SparseFit:
    """What was done to bring a map to sparse metres.

    Attributes:
        domain: where scale and shift were fitted.
        fitted: what the robust fit found.
        scale, shift: fitted = scale * map + shift, in 1/m or m.
        measured: valid measurements.
        used: those on valid pixels of the map.
        relative_error_before: median |ln measured - ln fitted| over them, after the fit.
        relative_error: the same in the result.
        grid: rows and columns of the grid of log scales, None without.
        least_factor, most_factor: by which the grid multiplies depth.
        filled: share of the picture where the map had nothing, and the upsampled measurements stand as fillers.
    """

    domain: Literal["inverse_depth", "depth"]
    fitted: str
    scale: float
    shift: float
    measured: int
    used: int
    relative_error_before: float
    relative_error: float
    grid: tuple[int, int] | None
    least_factor: float
    most_factor: float
    filled: float


@dataclass(frozen=True, eq=False)
class FusedDepth(DepthMap):
    """A metric `DepthMap` that knows how it became metric.

    Attributes:
        fit: what was done.
    """

    fit: SparseFit | None = None

    def save(self, path: str | PathLike[str], *, facts: Mapping[str, Any] | None = None) -> None:
        """As `DepthMap.save`; a result folder also states the fit, as ``sparse_fit``."""
        own = {} if self.fit is None else {"sparse_fit": asdict(self.fit)}
        super().save(path, facts={**own, **(facts or {})})


def fuse_sparse(
    shape: Shape,
    sparse: SparseDepth,
    *,
    quantile: float | int = 0.5,
    shift: bool | None = None,
    grid: tuple[int, int] | None = GRID,
    smoothness: float | int = SMOOTHNESS,
    weigh: bool = True,
) -> FusedDepth:
    """Metric depth with the shape of a dense map and the metres of a few measurements.

    1. In every measured region the map has one number, a quantile of its valid pixels.
    2. Scale and shift bring these numbers to 1/Z by Huber's reweighted least squares (`alignment.fit_regions`); where
       the scale would not be positive, a scale alone. Depth with an unknown shift is fitted in depth.
    3. A grid of log scales, bilinear between its nodes, takes what is left (`alignment.fit_log_grid`).
    4. The result and the upsampled measurements are averaged in log depth, each weighted by 1 / its expected variance.
       That of the measurements is large where neighbours differ (`alignment.spread_log_sigma`), that of the shape is
       the robust deviation s of the zones before step 3, times 1 + (1 - c) / c over its median where the map has a
       confidence c.

    Pixels where the map has nothing are not valid and get the upsampled measurements as fillers.

    Args:
        shape: what a model for single pictures, a matcher (calibrated or not) or a reconstruction says of the picture.
        sparse: of the same picture and size.
        quantile: of depth in a zone: 0.5, the median, or 0.2 for sensors that report the first return.
        shift: fit a shift, too; by default where the map's is unknown. ``True`` also helps uncalibrated stereo whose
            pictures were cropped apart.
        grid: rows and columns of the grid of log scales; None leaves it out.
        smoothness: of that grid.
        weigh: whether step 4 is done; without it, all detail is the map's.

    Raises:
        WrongInput: another size, or fewer than three measurements on valid pixels.

    Source: alignment as in Ranftl et al., TPAMI 2020, section 5, over zones; grid as in `alignment.fit_log_grid`.
    """
    if (shape.height, shape.width) != (sparse.height, sparse.width):
        raise WrongInput(
            f"the map is {shape.width}x{shape.height} px, but the sparse depth is for {sparse.width}x{sparse.height}; "
            "use sparse.resized(height, width)."
        )
    found = _fitted_in(shape)
    inverse = isinstance(found, InverseDepthMap)
    with_shift = found.scale == Scale.UNKNOWN_SCALE_AND_SHIFT if shift is None else shift
    regions = sparse.regions_px
    level = 1 - quantile if inverse else quantile
    predicted, covered = alignment.region_quantile(found.values, found.valid, regions, quantile=level)
    usable = covered & sparse.valid
    depth_m = torch.where(sparse.valid, sparse.depth_m, 1.0)
    measured, slope = (1 / depth_m, depth_m.square()) if inverse else (depth_m, torch.ones_like(depth_m))
    weights = _weights(sparse, slope)
    fit, fitted = alignment.fit_regions(predicted, measured, usable, shift=with_shift, weights=weights)
    values = fit.apply(found.values)
    valid = found.valid & (values > 0)
    depth = torch.where(valid, 1 / values.clamp_min(1e-9) if inverse else values, 0.0)

    def residuals(of: Float[Tensor, "h w"]) -> tuple[Tensor, Tensor]:
        there, known = alignment.region_quantile(of, valid, regions, quantile=quantile)
        known &= sparse.valid & (there > 0)
        return (depth_m[known] / there[known]).log(), known

    before, known = residuals(depth)
    factors = torch.ones(1)
    if grid is not None and len(before):
        relative = _weights(sparse, depth_m)
        nodes = alignment.fit_log_grid(
            before,
            sparse.points_px[known],
            (shape.height, shape.width),
            weights=None if relative is None else relative[known],
            grid=grid,
            smoothness=float(smoothness),
        )
        factors = nodes.exp()
        depth = depth * alignment.spread_grid(nodes, (shape.height, shape.width)).exp()
    spread = sparse.upsampled().values
    if weigh and len(before):
        sigma = _shape_sigma(shape, valid, before)
        depth = torch.where(valid, _weighed(depth, sigma, spread, sparse), 0.0)
    after = residuals(depth)[0]
    done = SparseFit(
        domain="inverse_depth" if inverse else "depth",
        fitted=fitted,
        scale=float(fit.scale),
        shift=float(fit.shift),
        measured=int(sparse.valid.sum()),
        used=int(usable.sum()),
        relative_error_before=float(before.abs().median()),
        relative_error=float(after.abs().median()),
        grid=grid,
        least_factor=float(factors.min()),
        most_factor=float(factors.max()),
        filled=float((~valid).float().mean()),
    )
    values = torch.where(valid, depth, spread)
    camera = shape.camera if shape.camera is not None else sparse.camera
    confidence = None if shape.confidence is None else torch.where(valid, shape.confidence, 0.0)
    return FusedDepth(values, valid, confidence, camera, shape.image, Scale.METRIC, done)


def _fitted_in(shape: Shape) -> DepthMap | InverseDepthMap:
    """The map as inverse depth, except for depth that an unknown shift keeps from being inverted."""
    if isinstance(shape, DisparityMap):
        return shape.to_inverse_depth()
    affine = shape.scale == Scale.UNKNOWN_SCALE_AND_SHIFT
    return shape if affine or isinstance(shape, InverseDepthMap) else shape.to_inverse_depth()


def _shape_sigma(shape: Shape, valid: Bool[Tensor, "h w"], residual: Float[Tensor, "n"]) -> Float[Tensor, "h w"]:
    """Expected error of the shape's log depth."""
    level = max(RELATIVE_SIGMA, 1.4826 * float(residual.abs().median()))
    sigma = torch.full_like(shape.values, level)
    if shape.confidence is not None and bool(valid.any()):
        odds = (1 - shape.confidence) / shape.confidence.clamp_min(1e-3)
        sigma = sigma * (1 + odds / odds[valid].median().clamp_min(1e-3))
    return sigma


def _weighed(
    depth: Float[Tensor, "h w"], sigma: Float[Tensor, "h w"], spread: Float[Tensor, "h w"], sparse: SparseDepth
) -> Float[Tensor, "h w"]:
    """Average of log depths by inverse variances."""
    own = RELATIVE_SIGMA
    if sparse.sigma_m is not None:
        own = float((sparse.sigma_m / sparse.depth_m)[sparse.valid].median())
    other = alignment.spread_log_sigma(spread, sparse.points_px, sparse.valid, relative_sigma=own)
    share = other.square() / (other.square() + sigma.square())
    return (share * depth.clamp_min(1e-9).log() + (1 - share) * spread.log()).exp()


def _weights(sparse: SparseDepth, slope: Float[Tensor, "n"]) -> Float[Tensor, "n"] | None:
    """1 / sigma^2 of a function f of depth, whose sigma is that of the depth over |slope|, slope = dZ / df."""
    return None if sparse.sigma_m is None else (slope / sparse.sigma_m.clamp_min(1e-6)).square()
