"""Which pixels may teach: by hand, at the bounds, and what must have no gradient."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    auto_mask,
    collaboration_consensus,
    collaboration_moving,
    collaboration_prior,
    collaboration_static,
    explained,
    inlier_probability,
    masked_mean,
    minimum_reprojection,
    rigid_flow_consistency,
)

NAN, INF = math.nan, math.inf
Loss = Callable[[Tensor, Tensor], Tensor]
WEIGHED: dict[str, Loss] = {
    "explained": partial(explained, weight=0.3),
    "static": collaboration_static,
    "moving": collaboration_moving,
}
every_weighed = pytest.mark.parametrize("loss", WEIGHED.values(), ids=WEIGHED)
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def random(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


# The least error of several sources


def test_least_error_by_hand() -> None:
    errors = torch.tensor([[[0.3, NAN, 0.2, INF]], [[0.1, 0.4, INF, NAN]]], requires_grad=True)
    least = minimum_reprojection(errors)
    torch.testing.assert_close(least, torch.tensor([[0.1, 0.4, 0.2, NAN]]), equal_nan=True)
    masked_mean(least, least.isfinite()).backward()
    assert errors.grad is not None
    torch.testing.assert_close(errors.grad, torch.tensor([[[0, 0, 1, 0.0]], [[1, 1, 0, 0.0]]]) / 3)


@leading
def test_sources_come_first(leading: tuple[int, ...]) -> None:
    errors = random(3, *leading, 4, 5)
    assert torch.equal(minimum_reprojection(errors), errors.amin(0))
    assert auto_mask(errors, errors + 0.1, tie_break=0).shape == (*leading, 4, 5)
    assert inlier_probability(errors, errors).shape == (*leading, 4, 5)


def test_auto_mask_by_hand() -> None:
    """The least of each side decides, not the same source; a tie is not better; nothing known is not better."""
    errors = torch.tensor([[[0.3, 0.5, 0.2, NAN, 0.4]], [[0.6, 0.4, 0.3, INF, 0.9]]], requires_grad=True)
    still = torch.tensor([[[0.9, 0.2, 0.2, 0.1, NAN]], [[0.4, 0.9, 0.7, 0.3, INF]]])
    mask = auto_mask(errors, still, tie_break=0)
    assert mask.tolist() == [[True, False, False, False, True]]
    assert not mask.requires_grad


def test_ties_are_broken_by_chance() -> None:
    errors = torch.full((1, 100, 100), 0.25)
    first, again, other = (
        auto_mask(errors, errors, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert auto_mask(errors, errors + 1e-3).all()
    assert not auto_mask(errors, errors - 1e-3).any()


def test_inliers_by_hand() -> None:
    errors = torch.tensor([[[0.3, 0.2, NAN, 0.1]], [[0.5, 0.1, INF, 0.4]]])
    still = torch.tensor([[[0.5, 0.1, 0.3, NAN]], [[0.4, 0.9, 0.2, NAN]]])
    probability = inlier_probability(errors, still, temperature=0.05)
    torch.testing.assert_close(probability, torch.tensor([[sigmoid(2), 0.5, 0.0, 1.0]]))
    errors, still = random(2, 4, 5), random(2, 4, 5) + 0.2
    sharp = inlier_probability(errors, still, temperature=1e-9)
    assert torch.equal(sharp > 0.5, auto_mask(errors, still, tie_break=0))


# Predicted masks


@every_weighed
def test_weighed_errors_have_gradients(loss: Loss) -> None:
    error, logit = random(3, 4).requires_grad_(), random(3, 4, low=-2, high=2).requires_grad_()
    assert torch.autograd.gradcheck(loss, (error, logit))
    assert torch.autograd.gradcheck(collaboration_prior, (logit,))


def test_weighed_errors_by_hand() -> None:
    error, logit = torch.tensor([2.0, 2.0, 0.5]), torch.tensor([0.0, -1.0, 3.0])
    e = [sigmoid(x) for x in logit.tolist()]
    expected = [[w * x - 0.3 * math.log(w), w * x, (1 - w) * x] for w, x in zip(e, error.tolist(), strict=True)]
    values = torch.stack([loss(error, logit) for loss in WEIGHED.values()], dim=-1)
    torch.testing.assert_close(values, torch.tensor(expected))
    torch.testing.assert_close(collaboration_prior(logit), -torch.tensor(e).log())


def test_explaining_everything_is_best_for_small_errors() -> None:
    """Least at E = weight / error, if that is below 1."""
    error = torch.tensor([0.4, 0.8])
    best = torch.logit(0.2 / error).requires_grad_()
    explained(error, best).sum().backward()
    torch.testing.assert_close(best.grad, torch.zeros(2), atol=1e-7, rtol=0)
    small = torch.tensor([5.0], requires_grad=True)
    explained(torch.tensor([0.1]), small).sum().backward()
    assert small.grad is not None
    assert small.grad < 0


@every_weighed
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_certain_masks_stay_finite(loss: Loss, logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    values = loss(torch.tensor([0.5]), logits) + collaboration_prior(logits)
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@every_weighed
@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_fillers_are_nan_without_a_gradient(loss: Loss, filler: float) -> None:
    error = torch.tensor([0.5, filler, 0.5], requires_grad=True)
    logit = torch.tensor([1.0, 1.0, filler], requires_grad=True)
    values = loss(error, logit)
    assert values.isnan().tolist() == [False, True, True]
    masked_mean(values, ~values.isnan()).backward()
    for gradient in (error.grad, logit.grad):
        assert gradient is not None
        assert gradient[0] != 0
        assert gradient[1:].tolist() == [0, 0]
    assert collaboration_prior(logit).isnan().tolist() == [False, False, True]


# Motion there and back


def test_flow_consistency_by_hand() -> None:
    """r = (1, -1) and (3, 0.5); the second is longer than 3 px, and counts only beside a long motion."""
    forward = torch.tensor([[[1.0, 1.0, 4.0]], [[0.0, 0.0, 0.0]]])
    backward = torch.tensor([[[9.0, 0.0, 2.0]], [[9.0, -1.0, 0.5]]])
    values, mask = rigid_flow_consistency(forward, backward)
    torch.testing.assert_close(values, torch.tensor([[2.0, 0.0, 0.0]]))
    assert mask.tolist() == [[True, False, False]]
    values, mask = rigid_flow_consistency(forward, backward, absolute=4)
    torch.testing.assert_close(values, torch.tensor([[2.0, 3.5, 0.0]]))
    assert mask.tolist() == [[True, True, False]]
    # The bound by the motion's own length: 0.05 x 80 px.
    long, back = torch.zeros(2, 1, 90), torch.zeros(2, 1, 90)
    long[0, 0, :3] = 80
    back[0, 0, 80:83] = torch.tensor([-76.1, -75.9, -80.0])
    values, mask = rigid_flow_consistency(long, back)
    assert mask[0, :3].tolist() == [True, False, True]
    torch.testing.assert_close(values[0, :3], torch.tensor([3.9, 0.0, 0.0]), atol=1e-3, rtol=0)


def test_flow_consistency_has_gradients() -> None:
    forward, backward = (random(2, 3, 6, low=low, high=low + 0.3).requires_grad_() for low in (0.3, 0.6))
    assert torch.autograd.gradcheck(lambda a, b: rigid_flow_consistency(a, b)[0], (forward, backward))
    broken = backward.detach().clone()
    broken[0, 1, 1] = NAN
    broken.requires_grad_()
    values, mask = rigid_flow_consistency(forward, broken)
    assert values.isfinite().all()
    masked_mean(values, mask).backward()
    for gradient in (forward.grad, broken.grad):
        assert gradient is not None
        assert gradient.isfinite().all()


# Competitive collaboration


def test_consensus_by_hand() -> None:
    """The still scene explains better, or moves alike; neither; both."""
    static_error, moving_error = torch.tensor([[0.1, 0.3, 0.3, 0.1]]), torch.tensor([[0.2, 0.2, 0.2, 0.2]])
    static_flow, flow = torch.zeros(2, 1, 4), torch.tensor([[[5.0, 0.6, 0.6, 0.0]], [[0.0, 0.7, 0.9, 0.0]]])
    logit = torch.tensor([[0.5, 0.5, 0.5, -2.0]])
    values = collaboration_consensus(static_error, moving_error, static_flow, flow, logit)
    expected = [-math.log(sigmoid(0.5)), -math.log(sigmoid(0.5)), -math.log(1 - sigmoid(0.5)), -math.log(sigmoid(-2))]
    torch.testing.assert_close(values, torch.tensor([expected]))
    narrow = collaboration_consensus(static_error, moving_error, static_flow, flow, logit, threshold_px=0.5)
    torch.testing.assert_close(narrow[0, 1].item(), expected[2])


def test_consensus_teaches_the_mask_alone() -> None:
    errors = [random(3, 4).requires_grad_() for _ in range(2)]
    flows = [random(2, 3, 4).requires_grad_() for _ in range(2)]
    logit = random(3, 4, low=-2, high=2).requires_grad_()
    collaboration_consensus(*errors, *flows, logit).sum().backward()
    assert all(x.grad is None for x in (*errors, *flows))
    assert torch.autograd.gradcheck(lambda x: collaboration_consensus(*errors, *flows, x), (logit,))


def test_consensus_needs_all_it_compares() -> None:
    errors, flows = [torch.rand(1, 4), torch.rand(1, 4)], [torch.rand(2, 1, 4), torch.rand(2, 1, 4)]
    logit = torch.zeros(1, 4)
    errors[0][0, 0], flows[1][1, 0, 1], logit[0, 2] = NAN, INF, NAN
    logit.requires_grad_()
    values = collaboration_consensus(*errors, *flows, logit)
    assert values.isnan().tolist() == [[True, True, True, False]]
    masked_mean(values, ~values.isnan()).backward()
    assert logit.grad is not None
    assert (logit.grad != 0).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: minimum_reprojection(x[:0]), "no sources"),
        (lambda x: auto_mask(x, x, tie_break=-1), "breaks ties is -1"),
        (lambda x: inlier_probability(x, x, temperature=0), "temperature is 0"),
        (lambda x: explained(x, x, weight=0), "weight is 0"),
        (lambda x: collaboration_consensus(x[0], x[0], x[:2], x[:2], x[0], threshold_px=-1), "threshold is -1 px"),
    ],
)
def test_impossible_options_are_refused(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(WrongInput, match=message):
        call(torch.rand(3, 4, 5))
