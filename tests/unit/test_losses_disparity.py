import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    charbonnier,
    defom_gamma,
    l1,
    masked_mean,
    sequence_loss,
    sequence_weights,
    smooth_l1,
)

NAN, INF = math.nan, math.inf
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "l1": l1,
    "smooth_l1": partial(smooth_l1, beta=0.5),
    "capped": partial(smooth_l1, beta=0.5, largest=1.5),
    "charbonnier": partial(charbonnier, epsilon=0.1),
    "sequence": lambda pred, truth: sequence_loss([pred, 2 * pred], truth, gamma=0.9, penalty="charbonnier"),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def maps(*leading: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """A prediction and a truth whose errors stay away from the kinks at 0, 0.5 and 1.5 px."""
    generator = torch.Generator().manual_seed(0)
    truth = 5 + torch.rand((*leading, 4, 6), generator=generator, dtype=dtype)
    away = torch.tensor([-2.0, -1.0, -0.3, 0.2, 0.8, 3.0], dtype=dtype)
    return truth + away, truth


@leading
@every_loss
def test_maps_keep_their_shape(loss: Loss, leading: tuple[int, ...]) -> None:
    pred, truth = maps(*leading)
    values = loss(pred, truth)
    assert values.shape == truth.shape
    assert (values > 0).all()


@every_loss
def test_gradients(loss: Loss) -> None:
    pred, truth = maps(dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), truth.requires_grad_()))


@pytest.mark.parametrize("name", ["l1", "smooth_l1", "capped", "charbonnier"])
def test_no_error_has_no_gradient(name: str) -> None:
    truth = torch.full((2, 3), 7.0)
    pred = truth.clone().requires_grad_()
    LOSSES[name](pred, truth).sum().backward()
    assert pred.grad is not None
    assert (pred.grad == 0).all()


@every_loss
@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_masked_fillers_leave_value_and_gradient_alone(loss: Loss, filler: float) -> None:
    pred, truth = maps()
    mask = torch.ones_like(truth, dtype=torch.bool)
    mask[1, 2] = mask[3, 4] = False
    clean_pred = pred.clone().requires_grad_()
    clean = masked_mean(loss(clean_pred, truth), mask)
    clean.backward()
    truth[1, 2] = pred[3, 4] = filler
    pred.requires_grad_()
    filled = masked_mean(loss(pred, truth), mask)
    filled.backward()
    assert filled.item() == clean.item()
    assert pred.grad is not None
    assert clean_pred.grad is not None
    assert torch.equal(pred.grad, clean_pred.grad)
    assert loss(pred, truth)[1, 2].isnan()
    assert loss(pred, truth)[3, 4].isnan()


def test_errors_by_hand() -> None:
    truth = torch.zeros(1, 6)
    pred = torch.tensor([[0.0, 1.0, -1.0, 2.0, -4.0, 40.0]])
    assert l1(pred, truth).tolist() == [[0, 1, 1, 2, 4, 40]]
    assert smooth_l1(pred, truth, beta=2).tolist() == [[0, 0.25, 0.25, 1, 3, 39]]
    assert smooth_l1(pred, truth, beta=2, largest=3).tolist() == [[0, 0.25, 0.25, 1, 2, 2]]
    assert smooth_l1(pred, truth, beta=0).tolist() == [[0, 1, 1, 2, 4, 40]]
    assert smooth_l1(pred, truth)[0, :3].tolist() == [0, 0.5, 0.5]
    torch.testing.assert_close(
        charbonnier(pred, truth, epsilon=3)[0, [0, 4]],
        torch.tensor([3.0, 5.0]),
    )


def test_capped_outliers_pull_no_more() -> None:
    truth = torch.zeros(1, 4)
    pred = torch.tensor([[1.0, 9.0, -11.0, 1e30]], requires_grad=True)
    smooth_l1(pred, truth, largest=10).sum().backward()
    assert pred.grad is not None
    assert pred.grad.tolist() == [[1, 1, 0, 0]]


def test_charbonnier_stays_in_the_range_of_half_precision() -> None:
    pred = torch.tensor([[0.0, 1000.0]], dtype=torch.float16, requires_grad=True)
    values = charbonnier(pred, torch.zeros_like(pred), epsilon=1e-4)
    values.sum().backward()
    assert pred.grad is not None
    assert values[0, 1].item() == 1000
    assert pred.grad.tolist() == [[0, 1]]


def test_impossible_options_are_refused() -> None:
    pred, truth = maps()
    with pytest.raises(WrongInput, match="beta is -1"):
        smooth_l1(pred, truth, beta=-1)
    with pytest.raises(WrongInput, match="largest error is 0"):
        smooth_l1(pred, truth, largest=0)
    with pytest.raises(WrongInput, match="epsilon is 0"):
        charbonnier(pred, truth, epsilon=0)


def test_defom_weights() -> None:
    """Section 9 of the paper's code: 18 iterations, gamma 0.9^(15/18), the last weight is gamma and not 1."""
    gamma = defom_gamma(18)
    assert gamma == pytest.approx(0.9159437, abs=1e-7)
    weights = sequence_weights(18, gamma)
    assert len(weights) == 18
    assert weights[-1] == pytest.approx(gamma)
    assert weights[0] == pytest.approx(0.2058911, abs=1e-7)
    assert [late / early for early, late in pairwise(weights)] == pytest.approx([1 / gamma] * 17)
    for count in (1, 5, 32):
        assert sequence_weights(count, defom_gamma(count))[0] == pytest.approx(0.9**15)


def test_weights_by_hand() -> None:
    assert sequence_weights(3, 0.5) == (0.125, 0.25, 0.5)
    assert sequence_weights(2, 1) == (1, 1)


@leading
def test_sequence_by_hand(leading: tuple[int, ...]) -> None:
    truth = torch.full((*leading, 2, 3), 10.0)
    predictions = [truth + 8, truth - 4, truth + 1]
    values = sequence_loss(predictions, truth, gamma=0.5)
    assert values.shape == truth.shape
    assert (values == 8 / 8 + 4 / 4 + 1 / 2).all()
    assert (sequence_loss(predictions, truth, gamma=0.5, penalty="smooth_l1") == 7.5 / 8 + 3.5 / 4 + 0.5 / 2).all()
    squares = sequence_loss(predictions, truth, gamma=0.5, penalty=lambda pred, truth: (pred - truth).square())
    assert (squares == 64 / 8 + 16 / 4 + 1 / 2).all()


def test_a_sequence_needs_predictions_of_the_truths_size() -> None:
    pred, truth = maps()
    with pytest.raises(WrongInput, match=r"prediction 1 has the size \(4, 3\), the truth \(4, 6\)"):
        sequence_loss([pred, pred[:, ::2]], truth, gamma=0.9)
    with pytest.raises(WrongInput, match="0 predictions"):
        sequence_loss([], truth, gamma=0.9)
    with pytest.raises(WrongInput, match="0 predictions"):
        defom_gamma(0)
    with pytest.raises(WrongInput, match="no penalty 'huber'; there are l1, smooth_l1, charbonnier"):
        sequence_loss([pred], truth, gamma=0.9, penalty="huber")
    for gamma in (0, 1.1):
        with pytest.raises(WrongInput, match="gamma is"):
            sequence_loss([pred], truth, gamma=gamma)
