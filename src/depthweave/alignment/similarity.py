"""Similarity transforms between point sets."""

from dataclasses import dataclass
from typing import Literal

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput

ScaleRule = Literal["least_squares", "symmetric"]


@dataclass(frozen=True)
class Similarity:
    """target ~ scale * rotation @ source + translation."""

    rotation: Float[Tensor, "*b 3 3"]
    translation: Float[Tensor, "*b 3"]
    scale: Float[Tensor, "*b"]

    def apply(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n 3"]:
        """The transformed points."""
        rotated = points @ self.rotation.transpose(-1, -2)
        return self.scale[..., None, None] * rotated + self.translation[..., None, :]


def fit_similarity(
    source: Float[Tensor, "*b n 3"],
    target: Float[Tensor, "*b n 3"],
    *,
    weights: Float[Tensor, "*b n"] | None = None,
    with_scale: bool = True,
    scale: ScaleRule = "least_squares",
) -> Similarity:
    """Weighted least-squares similarity (or rigid motion) that maps source points to target points.

    Minimises sum w |s R x + t - y|^2 in closed form; sums in float64, the result has the source's dtype. Weights are
    non-negative; a weight of zero leaves a point out.

    Args:
        source: x, (..., n, 3) in any unit.
        target: y, (..., n, 3) in any unit.
        weights: w, (..., n) without unit; equal weights if None.
        with_scale: False keeps s = 1.
        scale: rule for s, with the same R. ``least_squares`` is the minimum, too small where the source is noisy
            (noise adds to its denominator); ``symmetric`` is sqrt(sum w |y - mean y|^2 / sum w |x - mean x|^2), right
            where both sides are equally noisy, and its own inverse when the sides are swapped.

    Raises:
        WrongInput: fewer than three points with positive weight, or all of them in one place.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, TPAMI 1991;
    Horn, Closed-form solution of absolute orientation using unit quaternions, JOSA A 1987, section 2.D (symmetric).
    """
    counted = torch.full(source.shape[:-2], source.shape[-2]) if weights is None else (weights > 0).sum(-1)
    if bool((counted < 3).any()):
        raise WrongInput("a similarity needs at least three points with positive weight; check the masks.")
    x, y = source.to(torch.float64), target.to(torch.float64)
    if weights is None:
        w = torch.full(source.shape[:-1], 1.0, dtype=torch.float64, device=source.device)
    else:
        w = weights.to(torch.float64)
        if bool((counted < weights.shape[-1]).any()):
            # Zeroed, since a weight of zero times a filler of any size need not be zero.
            used = weights > 0
            x, y, w = (
                torch.where(used[..., None], x, 0.0),
                torch.where(used[..., None], y, 0.0),
                torch.where(used, w, 0),
            )
    w = (w / w.sum(-1, keepdim=True))[..., None, :]
    x_mean, y_mean = (w @ x).squeeze(-2), (w @ y).squeeze(-2)
    x, y = x - x_mean[..., None, :], y - y_mean[..., None, :]
    weighted = w.transpose(-1, -2) * x
    covariance = y.transpose(-1, -2) @ weighted
    rotation = roma.special_procrustes(covariance)
    s = torch.ones(source.shape[:-2], dtype=torch.float64, device=source.device)
    if with_scale:
        spread = _trace(x.transpose(-1, -2) @ weighted)
        if bool((spread <= 1e-24 * x_mean.square().sum(-1)).any()):
            raise WrongInput("all points of a similarity lie in one place, so no scale fits them; check the masks.")
        if scale == "symmetric":
            s = (_trace(y.transpose(-1, -2) @ (w.transpose(-1, -2) * y)) / spread).sqrt()
        else:
            s = (rotation * covariance).sum((-1, -2)) / spread
    translation = y_mean - s[..., None] * (rotation @ x_mean[..., None]).squeeze(-1)
    return Similarity(rotation.to(source.dtype), translation.to(source.dtype), s.to(source.dtype))


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
