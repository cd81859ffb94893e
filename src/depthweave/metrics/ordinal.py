"""Order of points: how often a prediction disagrees about which of two is farther."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.metrics.measurement import Measurement


def predicted_order(
    depth: Float[Tensor, "h w"],
    first_px: Int[Tensor, "n 2"],
    second_px: Int[Tensor, "n 2"],
    *,
    equal_share: float = 0.0,
) -> Int[Tensor, "n"]:
    """1 where the first point is farther, -1 where it is nearer, 0 where their depths differ by no more than a share.

    Args:
        depth: (h, w) in any unit, larger where farther; minus inverse depth serves as well if equal_share = 0.
        first_px, second_px: (n, 2) points (x, y), integers at pixel centres.
        equal_share: points are equal if |Z1 - Z2| <= equal_share * max(|Z1|, |Z2|).

    Raises:
        WrongInput: a point outside the map.
    """
    height, width = depth.shape
    for points in (first_px, second_px):
        if bool(((points < 0) | (points >= torch.tensor((width, height)))).any()):
            raise WrongInput(f"a point lies outside the map of {width}x{height} px; resize the map to the picture.")
    first, second = (depth[points[:, 1], points[:, 0]].double() for points in (first_px, second_px))
    equal = (first - second).abs() <= equal_share * torch.maximum(first.abs(), second.abs())
    return torch.where(equal, 0, torch.where(first > second, 1, -1))


def whdr(
    depth: Float[Tensor, "h w"],
    first_px: Int[Tensor, "n 2"],
    second_px: Int[Tensor, "n 2"],
    relation: Int[Tensor, "n"],
    *,
    weights: Float[Tensor, "n"] | None = None,
    equal_share: float = 0.0,
) -> Measurement:
    """Weighted human disagreement rate: sum w [predicted order != annotated order] / sum w, 0 to 1.

    Args:
        depth, first_px, second_px, equal_share: as in `predicted_order`.
        relation: (n,) 1 first farther, -1 first nearer, 0 about equal. DIW has no equal pairs, so equal_share is 0.
        weights: of the pairs, equal without.

    Raises:
        WrongInput: a point outside the map, or a negative weight.

    Source: Bell, Bala and Snavely, Intrinsic images in the wild, SIGGRAPH 2014, eq. 4; for depth, Chen et al.,
    Single-image depth perception in the wild, NeurIPS 2016, section 4, with w = 1.
    """
    w = torch.ones(len(relation), dtype=torch.float64) if weights is None else weights.double()
    if bool((w < 0).any()):
        raise WrongInput("weights of pairs are not negative.")
    wrong = predicted_order(depth, first_px, second_px, equal_share=equal_share) != relation
    total = float(w.sum())
    return Measurement(float((w * wrong).sum()) / total if total > 0 else float("nan"), int((w > 0).sum()))
