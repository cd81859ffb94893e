"""Scale, or scale and shift, between two maps.

The dimensions of a fit are the last two of its input: maps ``(h, w)`` get one fit, a stack ``(t, h, w)`` gets one fit
per image. For one fit over a whole clip, pass ``over="clip"``: the frames are then pooled.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput

Domain = Literal["depth", "inverse_depth"]
Over = Literal["image", "clip"]
Method = Literal["least_squares", "huber", "median"]


@dataclass(frozen=True)
class Fit:
    """reference ~ scale * prediction + shift; both have the leading dimensions of the fit."""

    scale: Float[Tensor, "*b"]
    shift: Float[Tensor, "*b"]

    def apply(self, prediction: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """scale * prediction + shift, broadcast over the last two dimensions."""
        return self.scale[..., None, None] * prediction + self.shift[..., None, None]


def fit_scale_shift(
    prediction: Float[Tensor, "*b h w"],
    reference: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"],
    *,
    weights: Float[Tensor, "*b h w"] | None = None,
    method: Method = "least_squares",
    over: Over = "image",
) -> Fit:
    """Scale s and shift t with s * prediction + t close to the reference on the valid pixels.

    Args:
        prediction: affine-invariant values, e.g. relative inverse depth.
        reference: values of the same domain, e.g. inverse depth in 1/m.
        valid: pixels that count.
        weights: non-negative weight of each pixel.
        method: ``least_squares`` minimises sum w (s p + t - g)^2 in closed form; ``huber`` reweights it ten times with
            Huber weights at 1.345 robust standard deviations (1.4826 median absolute deviations from the median) of
            the residuals; ``median`` matches median and mean absolute deviation.
        over: ``image`` fits each map, ``clip`` pools all leading dimensions into one fit.

    Raises:
        WrongInput: fewer than two valid pixels, or a prediction without variation, in some fit.

    Source: Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2020, eq. 4 (least squares) and eq. 5
    (median); Huber, Robust Statistics, 1981, for the reweighting.
    """
    p, g, w, leading = _flatten(prediction, reference, valid, weights, over)
    if bool(((w > 0).sum(-1) < 2).any()):
        raise WrongInput("fitting scale and shift needs at least two valid pixels in every map; check the masks.")
    if method == "median":
        p_centre, g_centre = weighted_median(p, w), weighted_median(g, w)
        p_spread = _mean((p - p_centre[..., None]).abs(), w)
        scale = _mean((g - g_centre[..., None]).abs(), w) / _positive(p_spread, p_centre)
        return _fit(scale, g_centre - scale * p_centre, leading, prediction.dtype)
    scale, shift = _solve_affine(p, g, w)
    if method == "huber":
        for _ in range(10):
            scale, shift = _solve_affine(p, g, w * _huber_weights(scale[..., None] * p + shift[..., None] - g, w))
    return _fit(scale, shift, leading, prediction.dtype)


def fit_scale(
    prediction: Float[Tensor, "*b h w"],
    reference: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"],
    *,
    weights: Float[Tensor, "*b h w"] | None = None,
    method: Method = "least_squares",
    over: Over = "image",
) -> Fit:
    """Scale s alone with s * prediction close to the reference; arguments as in `fit_scale_shift`.

    ``least_squares`` is s = sum w p g / sum w p^2; ``median`` is the ratio of the medians, median(g) / median(p), as
    the KITTI depth literature uses it (Zhou et al., CVPR 2017, section 4.1).
    """
    p, g, w, leading = _flatten(prediction, reference, valid, weights, over)
    if bool(((w > 0).sum(-1) < 1).any()):
        raise WrongInput("fitting a scale needs at least one valid pixel in every map; check the masks.")
    if method == "median":
        p_centre = weighted_median(p, w)
        scale = weighted_median(g, w) / _positive(p_centre, p_centre)
    else:
        scale = _solve_scale(p, g, w)
        if method == "huber":
            for _ in range(10):
                scale = _solve_scale(p, g, w * _huber_weights(scale[..., None] * p - g, w))
    return _fit(scale, torch.zeros_like(scale), leading, prediction.dtype)


def align(
    prediction: Float[Tensor, "*b h w"],
    reference: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"],
    *,
    domain: Domain,
    shift: bool = True,
    weights: Float[Tensor, "*b h w"] | None = None,
    method: Method = "least_squares",
    over: Over = "image",
) -> Float[Tensor, "*b h w"]:
    """The prediction brought to the reference by a fit in the named domain, returned in the domain it came in.

    Both maps hold **depth**. With ``domain="inverse_depth"`` they are inverted for the fit, and the fitted inverse
    depth is inverted back; where it is not positive (a shift can do that) the depth is ``inf``.
    """
    fit_it = fit_scale_shift if shift else fit_scale
    if domain == "depth":
        return fit_it(prediction, reference, valid, weights=weights, method=method, over=over).apply(prediction)
    usable = valid & (prediction > 0) & (reference > 0)
    inverse = torch.where(usable, 1 / prediction.clamp_min(1e-12), 0.0)
    target = torch.where(usable, 1 / reference.clamp_min(1e-12), 0.0)
    fit = fit_it(inverse, target, usable, weights=weights, method=method, over=over)
    fitted = fit.apply(1 / prediction.clamp_min(1e-12))
    return torch.where(fitted > 0, 1 / fitted.clamp_min(1e-12), torch.inf)


def _flatten(
    prediction: Tensor, reference: Tensor, valid: Tensor, weights: Tensor | None, over: Over
) -> tuple[Tensor, Tensor, Tensor, torch.Size]:
    leading = prediction.shape[:-2]
    w = valid.to(torch.float64) if weights is None else torch.where(valid, weights, 0.0).to(torch.float64)
    # Fillers under invalid pixels may be anything, so they are zeroed before a weight of zero multiplies them.
    p = torch.where(valid, prediction, 0.0).to(torch.float64)
    g = torch.where(valid, reference, 0.0).to(torch.float64)
    if over == "clip":
        return p.reshape(-1), g.reshape(-1), w.reshape(-1), leading
    return p.flatten(-2), g.flatten(-2), w.flatten(-2), leading


def _fit(scale: Tensor, shift: Tensor, leading: torch.Size, dtype: torch.dtype) -> Fit:
    return Fit(scale.to(dtype).expand(leading), shift.to(dtype).expand(leading))


def _mean(x: Tensor, w: Tensor) -> Tensor:
    return (x * w).sum(-1) / w.sum(-1)


def _positive(value: Tensor, magnitude: Tensor) -> Tensor:
    if bool((value <= 1e-12 * magnitude.abs()).any()):
        raise WrongInput("the prediction is constant (or zero) on the valid pixels, so no scale fits it.")
    return value


def _solve_affine(p: Tensor, g: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    p_mean, g_mean = _mean(p, w), _mean(g, w)
    centred = p - p_mean[..., None]
    variance = _mean(centred.square(), w)
    scale = _mean(centred * (g - g_mean[..., None]), w) / _positive(variance, p_mean.square())
    return scale, g_mean - scale * p_mean


def _solve_scale(p: Tensor, g: Tensor, w: Tensor) -> Tensor:
    energy = _mean(p.square(), w)
    return _mean(p * g, w) / _positive(energy, torch.ones_like(energy) * 1e-12)


def _huber_weights(residual: Tensor, w: Tensor) -> Tensor:
    # About their median: outliers on one side shift all residuals of the first fit, and then hide in their size.
    centred = residual - weighted_median(residual, w)[..., None]
    deviation = 1.4826 * weighted_median(centred.abs(), w)
    limit = (1.345 * deviation).clamp_min(torch.finfo(residual.dtype).tiny)[..., None]
    return (limit / residual.abs().clamp_min(torch.finfo(residual.dtype).tiny)).clamp_max(1.0)


def weighted_median(x: Float[Tensor, "*b n"], w: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Median over the last dimension, with weights that are not negative and not all zero.

    It is the mean of the lower and the upper one, so that equal weights give the usual median.
    """
    order = x.argsort(-1)
    values = x.gather(-1, order)
    mass = w.gather(-1, order).cumsum(-1)
    half = 0.5 * mass[..., -1:]
    tolerance = 1e-12 * mass[..., -1:]
    last = x.shape[-1] - 1
    lower = torch.searchsorted(mass, half - tolerance).clamp_max(last)
    upper = torch.searchsorted(mass, half + tolerance, right=True).clamp_max(last)
    return 0.5 * (values.gather(-1, lower) + values.gather(-1, upper)).squeeze(-1)
