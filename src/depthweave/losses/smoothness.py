"""Smoothness that gives way at the edges of a picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses.finite import on_finite


def edge_aware_smoothness(
    values: Float[Tensor, "*b h w"],
    guide: Float[Tensor, "*b c h w"],
    *,
    order: int = 1,
    beta: float | int = 1.0,
    normalise: bool = False,
) -> Float[Tensor, "*b h w"]:
    """Edge-aware smoothness |D_x v| exp(-beta |D_x G|) + |D_y v| exp(-beta |D_y G|).

    With order 1, D is the difference to the next pixel (0 at the last column or row). With order 2, D is the second
    difference about the pixel (0 at the first and last column or row), so that slanted planes cost nothing. |D G| is
    the mean over the channels. Terms with a value that is not finite are NaN, without a gradient.

    Args:
        values: disparity or inverse depth, any unit.
        guide: picture or edge map; beta belongs to its scale (beta 1 is meant for [0, 1]).
        order: 1 or 2. Zhong's loss is the sum of both, each with a beta of its own.
        beta: how fast an edge of the guide lowers the cost; 0 ignores the guide.
        normalise: divides each map by its mean (which must be positive), so that shrinking all values gains nothing.

    Raises:
        WrongInput: another order, or a negative beta.

    Source: Godard et al., CVPR 2017, section 3 (order 1); Song et al., EdgeStereo, IJCV 2020 (beta); Zhong et al.,
    Unsupervised Deep Epipolar Flow, CVPR 2019 (order 2); Godard et al., Monodepth2, ICCV 2019 (normalise).
    """
    if order not in (1, 2):
        raise WrongInput(f"there is no smoothness of order {order}; there are 1 and 2.")
    if beta < 0:
        raise WrongInput(f"beta is {beta}, which would make edges cost more; choose 0 or above.")
    if normalise:
        values = values / values.mean((-2, -1), keepdim=True).clamp_min(1e-7)
    along_y = _along_x(values.mT, guide.mT, order, beta).mT
    return _along_x(values, guide, order, beta) + along_y


def _along_x(values: Tensor, guide: Tensor, order: int, beta: float | int) -> Tensor:
    change = values.diff(n=order)
    edge = guide.diff(n=order).abs().mean(-3)
    terms = on_finite(lambda change, edge: change.abs() * (-beta * edge).exp(), change, edge)
    before = order - 1
    return torch.nn.functional.pad(terms, (before, values.shape[-1] - before - terms.shape[-1]))
