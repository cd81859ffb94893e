"""Penalties on the error of a disparity map."""

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses.finite import on_finite


def l1(pred: Float[Tensor, "*b h w"], truth: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Absolute error |p - g|; NaN, without a gradient, where p or g is not finite.

    Args:
        pred: disparity in px.
        truth: disparity in px.
    """
    return on_finite(torch.abs, pred - truth)


def smooth_l1(
    pred: Float[Tensor, "*b h w"],
    truth: Float[Tensor, "*b h w"],
    *,
    beta: float | int = 1.0,
    largest: float | int | None = None,
) -> Float[Tensor, "*b h w"]:
    """Huber's penalty over beta: e^2 / (2 beta) for e = |p - g| < beta, else e - beta / 2.

    NaN, without a gradient, where p or g is not finite.

    Args:
        pred: disparity in px.
        truth: disparity in px.
        beta: error in px at which the square turns into a line; 0 is `l1`.
        largest: errors beyond this one, in px, cost as much as it does and pull no more; None has no end.

    Raises:
        WrongInput: a negative beta, or a largest error that is not positive.

    Source: Girshick, Fast R-CNN, ICCV 2015, eq. 3 (beta 1); Huber, Annals of Mathematical Statistics 1964.
    """
    if beta < 0:
        raise WrongInput(f"beta is {beta} px, but an error cannot be negative; use 0 for plain l1, or more.")
    if largest is not None and largest <= 0:
        raise WrongInput(f"the largest error is {largest} px, so that no pixel could pull; choose one above 0 px.")

    def penalty(error: Tensor) -> Tensor:
        if largest is not None:
            error = error.clamp(-largest, largest)
        return torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=beta)

    return on_finite(penalty, pred - truth)


def charbonnier(
    pred: Float[Tensor, "*b h w"], truth: Float[Tensor, "*b h w"], *, epsilon: float | int = 1e-3
) -> Float[Tensor, "*b h w"]:
    """Smooth absolute error sqrt((p - g)^2 + epsilon^2), epsilon at no error.

    NaN, without a gradient, where p or g is not finite.

    Args:
        pred: disparity in px.
        truth: disparity in px.
        epsilon: in px; the penalty is quadratic well below it and a line well above.

    Raises:
        WrongInput: epsilon is not positive.

    Source: Charbonnier et al., Two Deterministic Half-Quadratic Regularization Algorithms for Computed Imaging,
    ICIP 1994.
    """
    if epsilon <= 0:
        raise WrongInput(f"epsilon is {epsilon} px, so that the penalty has a kink at 0; choose one above 0 px, or l1.")
    # hypot does not square its arguments, so that neither a small epsilon nor a large error leaves the range.
    return on_finite(lambda error: torch.hypot(error, torch.full_like(error, epsilon)), pred - truth)
