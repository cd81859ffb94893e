"""Barron's losses: the named members, the limits from both sides, and the density against numerical integration."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import quad
from scipy.special import k1
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import AdaptiveRobust, general_robust, generalised_charbonnier, log_partition, masked_mean

NAN, INF = math.nan, math.inf
MEMBERS: dict[float, Callable[[Tensor], Tensor]] = {
    2.0: lambda z: z / 2,
    1.0: lambda z: (z + 1).sqrt() - 1,
    0.0: lambda z: (z / 2 + 1).log(),
    -2.0: lambda z: 2 * z / (z + 4),
    -INF: lambda z: 1 - (-z / 2).exp(),
    INF: lambda z: (z / 2).exp() - 1,
}
members = pytest.mark.parametrize("alpha", MEMBERS)
ERRORS = torch.tensor([-12.0, -3.0, -0.5, -1e-3, 0.0, 1e-4, 0.7, 2.0, 5.0], dtype=torch.float64)


def plain(error: float, alpha: float, scale: float) -> float:
    away = abs(alpha - 2)
    return away / alpha * (((error / scale) ** 2 / away + 1) ** (alpha / 2) - 1)


@members
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_named_members_are_exact(alpha: float, dtype: torch.dtype) -> None:
    values = general_robust(ERRORS.to(dtype), alpha, 2)
    expected = MEMBERS[alpha]((ERRORS / 2).square())
    precise = {"atol": 1e-15, "rtol": 1e-12} if dtype == torch.float64 else {"atol": 1e-7, "rtol": 2e-6}
    torch.testing.assert_close(values.double(), expected, **precise)


@pytest.mark.parametrize("alpha", [-7.0, -0.5, 0.3, 0.999, 1.001, 1.5, 1.99, 2.01, 2.7, 3.5])
def test_general_formula(alpha: float) -> None:
    expected = torch.tensor([plain(error, alpha, 1.5) for error in ERRORS.tolist()], dtype=torch.float64)
    torch.testing.assert_close(general_robust(ERRORS, alpha, 1.5), expected, atol=1e-12, rtol=1e-9)


@members
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_limits_are_reached_from_both_sides(alpha: float, dtype: torch.dtype) -> None:
    errors = ERRORS.to(dtype)
    exact = general_robust(errors, alpha)
    near = [math.copysign(1e12, alpha)] if math.isinf(alpha) else [alpha - 3e-8, alpha + 3e-8]
    for shape in near:
        # Float32 has no step of 3e-8 about 1 or 2; what comes nearest must do.
        values = general_robust(errors, torch.tensor(shape, dtype=dtype))
        torch.testing.assert_close(values, exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_every_shape(dtype: torch.dtype) -> None:
    steps = [-INF, -1e30, -1e6, -2, -1e-7, 0, 1e-30, 1e-7, 1, 1 + 1e-7, 2 - 2e-7, 2, 2 + 2e-7, 3, 4, INF]
    alpha = torch.tensor(steps, dtype=dtype, requires_grad=True)
    errors = torch.tensor([0.0, 1e-10, 1e-3, 0.5, 4.0], dtype=dtype)[:, None].clone().requires_grad_()
    scale = torch.tensor(0.8, dtype=dtype, requires_grad=True)
    values = general_robust(errors, alpha, scale)
    assert values.isfinite().all()
    gradients = torch.autograd.grad(values.sum(), (errors, alpha, scale))
    for gradient in gradients:
        assert gradient.isfinite().all()
    assert (gradients[1] > -1e-20).all(), "a larger alpha costs more"


@pytest.mark.parametrize("alpha", [-30.0, -2.0, -0.1, 0.0, 1e-6, 0.5, 1.0, 1.3, 1.9, 2.2, 3.0, 3.6])
def test_gradients(alpha: float) -> None:
    errors = ERRORS[[1, 2, 6, 7]].clone().requires_grad_()
    shape, scale = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (alpha, 1.3))
    assert torch.autograd.gradcheck(general_robust, (errors, shape, scale))


@members
def test_gradients_by_the_error(alpha: float) -> None:
    errors = ERRORS[[1, 2, 4, 6, 7]].clone().requires_grad_()
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, c: general_robust(e, alpha, c), (errors, scale))


def test_slope_at_two_is_the_one_beside_it() -> None:
    """The true slope in alpha grows without end towards 2, slowly; ours is large, positive, and ends."""
    slopes = []
    for alpha in (2.0, 2 - 1e-12):
        shape = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        general_robust(torch.tensor(3.0, dtype=torch.float64), shape).backward()
        assert shape.grad is not None
        slopes.append(shape.grad.item())
    assert slopes[0] > slopes[1] > 50


def test_shapes_broadcast() -> None:
    errors, alpha, scale = torch.rand(2, 3, 4, 5), torch.tensor([0.5, 1.0, 2.0])[:, None, None], torch.rand(4, 5) + 1
    values = general_robust(errors, alpha, scale)
    assert values.shape == errors.shape
    for channel in range(3):
        torch.testing.assert_close(values[:, channel], general_robust(errors[:, channel], alpha[channel].item(), scale))


@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_fillers_are_nan_without_a_gradient(filler: float) -> None:
    error = torch.tensor([0.5, filler, 2.0], requires_grad=True)
    alpha = torch.tensor(1.2, requires_grad=True)
    for values in (general_robust(error, alpha), generalised_charbonnier(error), AdaptiveRobust()(error)):
        assert values.isnan().tolist() == [False, True, False]
        (gradient,) = torch.autograd.grad(masked_mean(values, ~values.isnan()), (error,), retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient[1] == 0
    general_robust(error, alpha)[[0, 2]].sum().backward()
    assert alpha.grad is not None
    assert alpha.grad.isfinite()


def test_half_precision_is_computed_in_float32() -> None:
    error = torch.tensor([1e-4, 0.3, 200.0]).half()
    for loss in (lambda e: general_robust(e, 1.0, 0.01), generalised_charbonnier):
        values = loss(error)
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, loss(error.float()))


def test_charbonnier_by_hand() -> None:
    error = torch.tensor([0.0, 3.0, -4.0], dtype=torch.float64)
    torch.testing.assert_close(
        generalised_charbonnier(error, epsilon=4, exponent=0.5), torch.tensor([4.0, 5.0, 32**0.5]).double()
    )
    default = generalised_charbonnier(error)
    torch.testing.assert_close(default, torch.tensor([1e-6**0.45, 9.000001**0.45, 16.000001**0.45]).double())
    assert torch.autograd.gradcheck(
        generalised_charbonnier, (torch.tensor([0.0, 0.3, -1.0]).double().requires_grad_(),)
    )


# The adaptive loss


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.05, 0.4, 1.0, 1.5, 1.9, 1.999, 2.0])
def test_partition_is_the_integral(alpha: float) -> None:
    """Against an adaptive rule in s = asinh x, where heavy tails have an end, of a loss written anew."""

    def density(s: float) -> float:
        z = math.sinh(s) ** 2
        loss = {0.0: math.log1p(z / 2), 2.0: z / 2}.get(alpha)
        return math.exp(-(plain(math.sinh(s), alpha, 1.0) if loss is None else loss)) * math.cosh(s)

    # The density falls as 1 / x^2 at the slowest; beyond s = 30 there is less than 1e-12 of it.
    integral = sum(quad(density, low, low + 2, epsabs=1e-13, epsrel=1e-12)[0] for low in range(0, 30, 2))
    found = log_partition(torch.tensor(alpha, dtype=torch.float64)).item()
    assert found == pytest.approx(math.log(2 * integral), abs=1e-9)


def test_known_partitions() -> None:
    expected = torch.tensor([math.pi * 2**0.5, 2 * math.e * k1(1.0), (2 * math.pi) ** 0.5], dtype=torch.float64)
    found = log_partition(torch.tensor([0.0, 1.0, 2.0])).exp()
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert log_partition(torch.ones(2, 3)).shape == (2, 3)


def test_partition_has_gradients() -> None:
    alpha = torch.tensor([0.1, 0.8, 1.2, 1.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_partition, (alpha,))
    assert (torch.autograd.grad(log_partition(alpha).sum(), alpha)[0] < 0).all()


def test_adaptive_is_the_likelihood() -> None:
    loss = AdaptiveRobust(alpha_start=1.9989, scale_start=0.7, least_scale=0.01).double()
    errors = torch.tensor([0.0, 0.5, -1.5], dtype=torch.float64)
    normal = -torch.distributions.Normal(torch.zeros(3).double(), 0.7).log_prob(errors)
    torch.testing.assert_close(loss(errors), normal, atol=1e-2, rtol=0)
    assert loss.alpha.item() == pytest.approx(1.9989)
    assert loss.scale.item() == pytest.approx(0.7)
    error = errors.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (error,))
    assert torch.autograd.gradcheck(
        lambda a, c: torch.func.functional_call(loss, {"alpha_logit": a, "scale_raw": c}, (errors,)),
        tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.4, -0.3)),
    )


@pytest.mark.parametrize("tails", ["normal", "cauchy"])
def test_adaptive_finds_the_shape_of_the_errors(tails: str) -> None:
    torch.manual_seed(0)
    distribution = torch.distributions.Normal(0.0, 3.0) if tails == "normal" else torch.distributions.Cauchy(0.0, 3.0)
    errors = distribution.sample((2000,))
    loss = AdaptiveRobust()
    optimiser = torch.optim.LBFGS(loss.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        mean = loss(errors).mean()
        mean.backward()
        return mean

    optimiser.step(step)
    assert step().item() == pytest.approx(-distribution.log_prob(errors).mean().item(), abs=5e-3)
    if tails == "normal":
        assert loss.alpha > 1.7
    else:
        # Cauchy's density with scale g is alpha 0 with c = g / sqrt 2.
        assert loss.alpha < 0.01
        assert loss.scale.item() == pytest.approx(3 / 2**0.5, rel=0.05)


def test_channels_have_their_own_shape() -> None:
    loss = AdaptiveRobust((3, 1, 1), scale_start=1000, least_scale=1e-3)
    assert loss.scale.flatten().tolist() == pytest.approx([1000] * 3)
    errors = torch.rand(2, 3, 4, 5)
    assert loss(errors).shape == errors.shape
    loss(errors[:, :1].expand(2, 3, 4, 5)).sum().backward()
    assert loss.alpha_logit.grad is not None
    assert loss.alpha_logit.grad.shape == (3, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(errors), loss(errors))
        assert loss(errors).dtype == torch.float32


def test_impossible_options_are_refused() -> None:
    with pytest.raises(WrongInput, match="scale is 0"):
        general_robust(torch.zeros(2), 1, 0)
    with pytest.raises(WrongInput, match="alpha is NaN"):
        general_robust(torch.zeros(2), NAN)
    with pytest.raises(WrongInput, match="exponent 0"):
        generalised_charbonnier(torch.zeros(2), exponent=0)
    for options in ({"alpha_range": (-1, 2)}, {"alpha_range": (1, 3)}, {"alpha_start": 2.0}):
        with pytest.raises(WrongInput, match="alpha starts at"):
            AdaptiveRobust(**options)
    with pytest.raises(WrongInput, match="scale starts at 1"):
        AdaptiveRobust(scale_start=1, least_scale=2)
