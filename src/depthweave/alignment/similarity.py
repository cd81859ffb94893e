"""Similarity transforms between point sets."""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput


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
) -> Similarity:
    """Weighted least-squares similarity (or rigid motion) that maps source points to target points.

    Minimises sum w |s R x + t - y|^2 through ``roma``. Weights are non-negative; a weight of zero leaves a point out.

    Raises:
        WrongInput: fewer than three points with positive weight.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, TPAMI 1991.
    """
    counted = torch.full(source.shape[:-2], source.shape[-2]) if weights is None else (weights > 0).sum(-1)
    if bool((counted < 3).any()):
        raise WrongInput("a similarity needs at least three points with positive weight; check the masks.")
    if weights is not None:
        # Zeroed, since a weight of zero times a filler of any size need not be zero.
        source, target = (torch.where(weights[..., None] > 0, points, 0.0) for points in (source, target))
    result = roma.rigid_points_registration(source, target, weights=weights, compute_scaling=with_scale)
    scale = result[2] if with_scale else torch.ones(source.shape[:-2], dtype=source.dtype, device=source.device)
    return Similarity(result[0], result[1], scale)
