import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import confidence_weighted, gaussian_nll, laplace_nll, masked_mean, uncertainty_weighted

NAN, INF = math.nan, math.inf
Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "laplace": laplace_nll,
    "gaussian": gaussian_nll,
    "uncertainty": partial(uncertainty_weighted, h=torch.reciprocal, g=torch.log, weight=0.5),
    "confidence": partial(confidence_weighted, floor=0.1),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def maps(*leading: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    error, second = torch.rand((2, *leading, 3, 4), generator=generator, dtype=dtype)
    return 0.1 + error, 0.2 + second


@every_loss
@pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
def test_maps_keep_their_shape(loss: Loss, leading: tuple[int, ...]) -> None:
    error, second = maps(*leading)
    assert loss(error, second).shape == error.shape


@every_loss
def test_gradients(loss: Loss) -> None:
    error, second = maps(dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (error.requires_grad_(), second.requires_grad_()))


@every_loss
@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_masked_fillers_leave_value_and_gradient_alone(loss: Loss, filler: float) -> None:
    error, second = maps()
    mask = torch.ones_like(error, dtype=torch.bool)
    mask[0, 1] = mask[2, 2] = False
    gradients, values = [], []
    for fill in (0.5, filler):
        error[0, 1] = second[2, 2] = fill
        inputs = (error.clone().requires_grad_(), second.clone().requires_grad_())
        mean = masked_mean(loss(*inputs), mask)
        values.append(mean.item())
        gradients.append(torch.stack(torch.autograd.grad(mean, inputs)))
    assert values[0] == values[1]
    assert torch.equal(*gradients)
    assert loss(error, second)[~mask].isnan().all()


@pytest.mark.parametrize(
    ("nll", "distribution"), [(laplace_nll, torch.distributions.Laplace), (gaussian_nll, torch.distributions.Normal)]
)
def test_likelihoods_are_those_of_the_distributions(nll: Loss, distribution: type) -> None:
    error = torch.tensor([0.0, 1.5, -2.0, 30.0])
    log_scale = torch.tensor([-1.0, 0.0, 1.2, 3.0])
    expected = -distribution(torch.zeros(4), log_scale.exp()).log_prob(error)
    torch.testing.assert_close(nll(error, log_scale), expected)


@pytest.mark.parametrize("nll", [laplace_nll, gaussian_nll])
def test_the_best_scale_is_the_size_of_the_error(nll: Loss) -> None:
    error = torch.tensor([0.25, -1.0, 8.0])
    best = error.abs().log().requires_grad_()
    nll(error, best).sum().backward()
    assert best.grad is not None
    torch.testing.assert_close(best.grad, torch.zeros(3), atol=1e-6, rtol=0)
    for away in (-0.5, 0.5):
        assert (nll(error, best + away) > nll(error, best)).all()


@pytest.mark.parametrize("nll", [laplace_nll, gaussian_nll])
def test_no_error_has_no_gradient(nll: Loss) -> None:
    error = torch.zeros(3, requires_grad=True)
    nll(error, torch.tensor([-20.0, 0.0, 20.0])).sum().backward()
    assert error.grad is not None
    assert (error.grad == 0).all()


def test_general_form_by_hand() -> None:
    error, scale = torch.tensor([3.0, 0.0]), torch.tensor([2.0, math.e])
    loss = uncertainty_weighted(error, scale, h=torch.reciprocal, g=torch.log, weight=10)
    torch.testing.assert_close(loss, torch.tensor([1.5 + 10 * math.log(2), 10.0]))
    # With h = exp(-s), g = s and weight 1 it is Laplace's, without the constant.
    signed, log_scale = torch.tensor([-3.0, 0.5]), torch.tensor([0.3, -0.7])
    general = uncertainty_weighted(signed.abs(), log_scale, h=lambda s: (-s).exp(), g=lambda s: s)
    torch.testing.assert_close(general + math.log(2), laplace_nll(signed, log_scale))


def test_confidence_by_hand() -> None:
    values, confidence = torch.tensor([2.0, 5.0]), torch.tensor([0.5, 0.0])
    loss = confidence_weighted(values, confidence, weight=0.3, floor=0.5)
    torch.testing.assert_close(loss, torch.tensor([2.0, 2.5 - 0.3 * math.log(0.5)]))
    # DUSt3R: C = 1 + exp(raw), alpha 0.2.
    raw = torch.tensor([0.0, 2.0])
    weighting = 1 + raw.exp()
    torch.testing.assert_close(
        confidence_weighted(values, raw.exp(), floor=1), weighting * values - 0.2 * weighting.log()
    )


def test_a_confidence_of_zero_can_grow_again() -> None:
    confidence = torch.zeros(2, requires_grad=True)
    confidence_weighted(torch.tensor([0.0, 9.0]), confidence, floor=0.01).sum().backward()
    assert confidence.grad is not None
    # l - weight / C: a good pixel asks for more, a bad one for less.
    torch.testing.assert_close(confidence.grad, torch.tensor([-20.0, 9 - 20.0]))


def test_prices_are_positive() -> None:
    error, second = maps()
    with pytest.raises(WrongInput, match="weight of g is 0"):
        uncertainty_weighted(error, second, h=torch.reciprocal, g=torch.log, weight=0)
    for weight, floor in ((0, 1), (1, 0)):
        with pytest.raises(WrongInput, match="both must be above 0"):
            confidence_weighted(error, second, weight=weight, floor=floor)
