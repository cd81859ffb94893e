"""Penalties that let outliers go: one family, from the square to a penalty that ends."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.errors import WrongInput
from depthweave.losses.finite import on_finite


def generalised_charbonnier(
    error: Float[Tensor, "*any"], *, epsilon: float | int = 1e-3, exponent: float | int = 0.45
) -> Float[Tensor, "*any"]:
    """Power of a smooth absolute error, (e^2 + epsilon^2)^exponent; epsilon^(2 exponent) at no error.

    NaN, without a gradient, where the error is not finite. Computed in float32 at least.

    Args:
        error: any unit.
        epsilon: in the error's unit; keeps the gradient finite at no error.
        exponent: 0.5 is Charbonnier's penalty; below it, large errors pull less than small ones.

    Raises:
        WrongInput: epsilon or exponent is not positive.

    Source: Sun, Roth and Black, A Quantitative Analysis of Current Practices in Optical Flow, IJCV 2014, section 3
    (exponent 0.45, epsilon 0.001).
    """
    if epsilon <= 0 or exponent <= 0:
        raise WrongInput(f"epsilon is {epsilon} and the exponent {exponent}; both must be above 0.")
    error = error.to(torch.promote_types(error.dtype, torch.float32))
    return on_finite(lambda e: (e.square() + epsilon**2) ** exponent, error)


def general_robust(
    error: Float[Tensor, "..."],
    alpha: Float[Tensor, "..."] | float | int,
    scale: Float[Tensor, "..."] | float | int = 1.0,
) -> Float[Tensor, "..."]:
    """Barron's general loss |a - 2| / a (((e / c)^2 / |a - 2| + 1)^(a / 2) - 1): 0 at no error, a parabola below c.

    alpha 2 is e^2 / (2 c^2), 1 Charbonnier's, 0 Cauchy's ln(e^2 / (2 c^2) + 1), -2 Geman and McClure's, -inf Welsch's
    1 - exp(-e^2 / (2 c^2)); all are limits of the formula and computed as such. The gradient by alpha is finite
    everywhere; at 2, where the true one is not, it is that of the distance to 2 held at the smallest step of the number
    type, and at -inf and inf it is 0. NaN, without a gradient, where error or scale is not finite. Computed in float32
    at least.

    Args:
        error: e, any unit.
        alpha: a, shape of the loss, -inf to inf; one number, or any shape that broadcasts with the error.
        scale: c in the error's unit, positive; one number, or any shape that broadcasts with the error.

    Raises:
        WrongInput: alpha is NaN, or scale is not positive, where they are numbers.

    Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019, eq. 8.
    """
    if isinstance(scale, float | int) and not scale > 0:
        raise WrongInput(f"the scale is {scale}; choose one above 0, in the unit of the error.")
    if isinstance(alpha, float | int) and math.isnan(alpha):
        raise WrongInput("alpha is NaN; choose a number, 2 for squares, or lower to let outliers go.")
    dtype = torch.promote_types(error.dtype, torch.float32)
    shape, size = (torch.as_tensor(x, dtype=dtype, device=error.device) for x in (alpha, scale))
    everything = np.broadcast_shapes(error.shape, shape.shape, size.shape)
    error, shape, size = (x.expand(everything) for x in (error.to(dtype), shape, size))
    return on_finite(lambda e, c: _of_square((e / c).square(), shape), error, size)


def log_partition(alpha: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """ln Z(a) of the density exp(-f(x, a, 1)) / Z(a) whose negative logarithm `general_robust` is; in float64.

    Z(0) = pi sqrt 2, Z(1) = 2 e K_1(1), Z(2) = sqrt(2 pi). Integrated by the trapezoidal rule in t, x = sinh(pi / 2
    sinh t), with 145 points: true to 1e-9 for alpha in [0, 2]
    (to 1e-12 below 1.99).

    Args:
        alpha: in [0, 2]; below 0 the density has no end, and Z is infinite.

    Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019, eq. 17 and 18; Takahasi and Mori, Double
    Exponential Formulas for Numerical Integration, 1974.
    """
    step = 1 / 32
    t = step * torch.arange(145, device=alpha.device, dtype=torch.float64)
    inner = math.pi / 2 * t.sinh()
    # The integrand is even: all points but the first count twice.
    log_weight = (step * math.pi / 2 * t.cosh() * inner.cosh()).log() + math.log(2) * (t > 0).double()
    shape = alpha.double().unsqueeze(-1).expand(*alpha.shape, t.shape[0])
    return (log_weight - _of_square(inner.sinh().square().expand(shape.shape), shape)).logsumexp(-1)


class AdaptiveRobust(nn.Module):
    """Barron's adaptive loss, the negative log-likelihood f(e, a, c) + ln c + ln Z(a) with a and c learned.

    The partition function stops alpha from falling to where no error costs anything.

    Args:
        shape: of alpha and scale, which broadcast with the error: () is one for all, (3, 1, 1) one per channel.
        alpha_range: ends of alpha, which is kept between them by a sigmoid; within [0, 2].
        alpha_start: within alpha_range; None is the middle.
        scale_start: in the error's unit.
        least_scale: in the error's unit; scale is this one plus a softplus.

    Raises:
        WrongInput: a range of alpha that is empty or leaves [0, 2], or starts that are not within the ranges.

    Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019, section 2 (eq. 16 and 17).
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        *,
        alpha_range: tuple[float | int, float | int] = (0.001, 1.999),
        alpha_start: float | int | None = None,
        scale_start: float | int = 1.0,
        least_scale: float | int = 1e-5,
    ) -> None:
        super().__init__()
        low, high = alpha_range
        start = (low + high) / 2 if alpha_start is None else alpha_start
        if not 0 <= low < start < high <= 2:
            raise WrongInput(f"alpha starts at {start} in ({low}, {high}); choose a range within [0, 2] that holds it.")
        if not 0 < least_scale < scale_start:
            raise WrongInput(f"the scale starts at {scale_start}; choose one above {least_scale}, the least, above 0.")
        self.alpha_range, self.least_scale = (float(low), float(high)), float(least_scale)
        share = (start - low) / (high - low)
        self.alpha_logit = nn.Parameter(torch.full(shape, math.log(share / (1 - share))))
        # The inverse of softplus, without exp of a large scale.
        above = scale_start - least_scale
        self.scale_raw = nn.Parameter(torch.full(shape, above + math.log(-math.expm1(-above))))

    @property
    def alpha(self) -> Tensor:
        """The shape of the loss as it is now."""
        low, high = self.alpha_range
        return low + (high - low) * self.alpha_logit.sigmoid()

    @property
    def scale(self) -> Tensor:
        """c as it is now, in the error's unit."""
        return self.least_scale + nn.functional.softplus(self.scale_raw)

    def forward(self, error: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Negative log-likelihood per element, in nats; NaN, without a gradient, where the error is not finite.

        Args:
            error: any unit, of a shape that alpha and scale broadcast with.
        """
        alpha, scale = self.alpha, self.scale
        price = scale.log() + log_partition(alpha).to(scale.dtype)
        return general_robust(error, alpha, scale) + price


def _of_square(z: Tensor, alpha: Tensor) -> Tensor:
    """The general loss of z = (e / c)^2, finite and not negative; of one shape with alpha."""
    finite = torch.where(alpha.isinf(), 1.0, alpha)
    away = (finite - 2).abs().clamp_min(torch.finfo(z.dtype).eps)
    log_base = torch.log1p(z / away)
    # Both are the formula; each loses digits where the other is used, the second one as alpha nears 0.
    near_two = (alpha - 2).abs() < 1
    a = torch.where(near_two, finite, 2.0)
    half = (a / 2 - 1) * log_base
    around_two = (z * half.exp() + away * torch.expm1(half)) / a
    elsewhere = away * log_base / 2 * _expm1_share(torch.where(near_two, 0.0, finite) / 2 * log_base)
    values = torch.where(near_two, around_two, elsewhere)
    values = torch.where(alpha == -torch.inf, -torch.expm1(-z / 2), values)
    return torch.where(alpha == torch.inf, torch.expm1(torch.where(alpha == torch.inf, z, 0.0) / 2), values)


def _expm1_share(y: Tensor) -> Tensor:
    """(exp(y) - 1) / y, 1 at 0, with a derivative that keeps its digits there."""
    small = y.abs() < 0.3
    near, far = torch.where(small, y, 0.0), torch.where(small, 1.0, y)
    series = torch.ones_like(near)
    for n in range(13, 1, -1):
        series = 1 + near / n * series
    return torch.where(small, series, torch.expm1(far) / far)
