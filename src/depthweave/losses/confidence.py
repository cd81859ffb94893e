"""Losses whose weight the network predicts, pixel by pixel, and pays for."""

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses.finite import on_finite


def laplace_nll(error: Float[Tensor, "*any"], log_scale: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Negative log-likelihood of a Laplace error of scale b = e^s: |e| exp(-s) + s + ln 2, least at b = |e|.

    NaN, without a gradient, where error or log_scale is not finite.

    Args:
        error: signed or absolute, in px or any unit.
        log_scale: s = ln b, b in the error's unit; exp(-s) must stay in range (s above -80 in float32).

    Source: Kendall and Gal, What Uncertainties Do We Need, NeurIPS 2017; Sanket et al., Ajna, Science Robotics
    2023 (h = exp(-s), g = s).
    """
    return on_finite(lambda e, s: e.abs() * (-s).exp() + s + math.log(2), error, log_scale)


def gaussian_nll(error: Float[Tensor, "*any"], log_scale: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Negative log-likelihood of a Gaussian error of deviation e^s: e^2 exp(-2 s) / 2 + s + ln(2 pi) / 2.

    Least at e^s = |e|. NaN, without a gradient, where error or log_scale is not finite.

    Args:
        error: signed or absolute, in px or any unit.
        log_scale: s = ln sigma, sigma in the error's unit; exp(-2 s) must stay in range (s above -40 in float32).

    Source: Kendall and Gal, What Uncertainties Do We Need, NeurIPS 2017, eq. 5; Sanket et al., Ajna, Science Robotics
    2023 (h = 1 / (2 sigma^2), g = ln sigma).
    """

    def formula(e: Tensor, s: Tensor) -> Tensor:
        return (e * (-s).exp()).square() / 2 + s + math.log(2 * math.pi) / 2

    return on_finite(formula, error, log_scale)


def uncertainty_weighted(
    error: Float[Tensor, "*any"],
    scale: Float[Tensor, "*any"],
    *,
    h: Callable[[Tensor], Tensor],
    g: Callable[[Tensor], Tensor],
    weight: float | int = 1.0,
) -> Float[Tensor, "*any"]:
    """Generalised heteroscedastic loss h(U) f + weight g(U): uncertainty U lowers the cost of the error f, at a price.

    NaN, without a gradient, where error or scale is not finite.

    Args:
        error: the penalty f, not negative, any unit.
        scale: the uncertainty U, in the domain of h and g.
        h: elementwise, positive and falling, finite at 1; such as 1 / U (Laplace).
        g: elementwise, growing, finite at 1; such as ln U.
        weight: of g.

    Raises:
        WrongInput: weight is not positive.

    Source: Sanket et al., Ajna, Science Robotics 2023.
    """
    if weight <= 0:
        raise WrongInput(f"the weight of g is {weight}, so that endless uncertainty costs nothing; choose one above 0.")
    return on_finite(lambda f, u: h(u) * f + weight * g(u), error, scale)


def confidence_weighted(
    values: Float[Tensor, "*any"],
    confidence: Float[Tensor, "*any"],
    *,
    weight: float | int = 0.2,
    floor: float | int,
) -> Float[Tensor, "*any"]:
    """Loss weighted by confidence C = floor + c, with a price for doubt: C l - weight ln C, least at C = weight / l.

    NaN, without a gradient, where values or confidence is not finite.

    Args:
        values: the loss l, not negative, any unit.
        confidence: c, not negative, without unit.
        weight: of the logarithm (alpha; DUSt3R has 0.2).
        floor: least C, so that no pixel is lost; DUSt3R has 1, with c the exponential of the network's output.

    Raises:
        WrongInput: weight or floor is not positive.

    Source: Wang et al., DUSt3R, CVPR 2024, eq. 4.
    """
    if weight <= 0 or floor <= 0:
        raise WrongInput(f"weight is {weight} and floor is {floor}; both must be above 0 to hold C in range.")

    def formula(loss: Tensor, c: Tensor) -> Tensor:
        weighting = floor + c
        return weighting * loss - weight * weighting.log()

    return on_finite(formula, values, confidence)
