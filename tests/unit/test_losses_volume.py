import math

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import inside_volume, masked_mean, volume_cross_entropy

NAN, INF = math.nan, math.inf
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)


def volume(*leading: int, levels: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn((*leading, 3, 4, levels), generator=generator, dtype=dtype)
    return scores, (levels - 1) * torch.rand((*leading, 3, 4), generator=generator, dtype=dtype)


def plain(scores: Tensor, truth: Tensor, width: float) -> Tensor:
    """-sum q log p, one term at a time in float64."""
    losses = torch.empty(truth.shape, dtype=torch.float64)
    for at in torch.cartesian_prod(*(torch.arange(size) for size in truth.shape)):
        place = tuple(at.tolist())
        score, g = scores[place].tolist(), truth[place].item()
        peak = [math.exp(-abs(k - g) / width) for k in range(len(score))]
        whole = sum(map(math.exp, score))
        losses[place] = -sum(q / sum(peak) * math.log(math.exp(s) / whole) for q, s in zip(peak, score, strict=True))
    return losses


@leading
@pytest.mark.parametrize("width", [0.3, 2])
def test_is_the_plain_sum(leading: tuple[int, ...], width: float) -> None:
    scores, truth = volume(*leading)
    loss = volume_cross_entropy(scores, truth, width=width)
    assert loss.shape == truth.shape
    torch.testing.assert_close(loss.double(), plain(scores, truth, width), rtol=1e-5, atol=1e-6)


def test_by_hand() -> None:
    """Truth at level 1 of 3 with width 1 / ln 2: q = (1/4, 1/2, 1/4); scores ln (1, 2, 5): p = (1/8, 1/4, 5/8)."""
    scores = torch.tensor([1.0, 2.0, 5.0]).log().reshape(1, 1, 3)
    loss = volume_cross_entropy(scores, torch.ones(1, 1), width=1 / math.log(2))
    assert loss.item() == pytest.approx(-(math.log(1 / 8) / 4 + math.log(1 / 4) / 2 + math.log(5 / 8) / 4))


@pytest.mark.parametrize("truth", [0.0, 1.0, 2.3, 3.5, 4.0])
def test_least_where_the_scores_peak_at_the_truth(truth: float) -> None:
    """The gradient vanishes at p = q, the loss there is q's entropy, and every other peak costs more."""
    levels, width = torch.arange(5, dtype=torch.float64), 0.7

    def peak(at: float) -> Tensor:
        return (-(levels - at).abs() / width).reshape(1, 1, 5)

    target = torch.full((1, 1), truth, dtype=torch.float64)
    best = peak(truth).requires_grad_()
    least = volume_cross_entropy(best, target, width=width)
    least.sum().backward()
    assert best.grad is not None
    torch.testing.assert_close(best.grad, torch.zeros_like(best))
    q = peak(truth).softmax(-1)
    assert least.item() == pytest.approx(-(q * q.log()).sum().item())
    for other in (0.0, 1.0, 1.6, 2.0, 2.8, 4.0):
        if other != truth:
            assert volume_cross_entropy(peak(other), target, width=width).item() > least.item() + 1e-3


def test_gradient() -> None:
    scores, truth = volume(2, dtype=torch.float64)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: volume_cross_entropy(s, truth, width=0.8), (scores,))
    truth.requires_grad_()
    volume_cross_entropy(scores, truth, width=0.8).sum().backward()
    assert truth.grad is None


@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_masked_fillers_leave_value_and_gradient_alone(filler: float) -> None:
    scores, truth = volume()
    truth[1, 1] = filler
    scores.requires_grad_()
    mask = inside_volume(truth, 5)
    assert mask.sum() == 11
    assert not mask[1, 1]
    values = volume_cross_entropy(scores, truth, width=0.5)
    assert values[1, 1].isnan()
    loss = masked_mean(values, mask)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert (scores.grad[1, 1] == 0).all()
    assert (scores.grad[mask] != 0).all()


def test_scores_of_any_size_stay_in_range() -> None:
    scores = torch.tensor([1e4, -1e4, 0.0]).reshape(1, 1, 3).requires_grad_()
    loss = volume_cross_entropy(scores, torch.ones(1, 1), width=0.01)
    assert loss.item() == pytest.approx(2e4)
    loss.sum().backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([[[1.0, -1.0, 0.0]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    scores, truth = volume()
    scores = (50 + scores).to(dtype)
    loss = volume_cross_entropy(scores, truth, width=0.5)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, volume_cross_entropy(scores.float(), truth, width=0.5))


def test_a_volume_of_training_size() -> None:
    """Two volumes of temporaries at most, counted by what the profiler sees allocated."""
    scores = torch.randn(4, 48, 96, 32, generator=torch.Generator().manual_seed(0))
    truth = torch.linspace(0, 31, 4 * 48 * 96).reshape(4, 48, 96)
    with torch.profiler.profile(profile_memory=True) as profile:
        loss = volume_cross_entropy(scores, truth, width=1)
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert loss.isfinite().all()
    assert scores.nbytes < peak < 2.2 * scores.nbytes


def test_which_truths_a_volume_holds() -> None:
    truth = torch.tensor([[-0.1, 0.0, 30.9, 31.0, 31.1, NAN, INF]])
    assert inside_volume(truth, 32).tolist() == [[False, True, True, True, False, False, False]]


def test_a_peak_has_a_width() -> None:
    scores, truth = volume()
    with pytest.raises(WrongInput, match="width of the peak is 0 px"):
        volume_cross_entropy(scores, truth, width=0)
