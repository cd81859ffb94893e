import math

import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.losses import masked_mean
from depthweave.losses.finite import on_finite

NAN, INF = math.nan, math.inf


def test_means_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0], [6.0, 8.0]])
    mask = torch.tensor([[True, True], [False, True]])
    assert masked_mean(values, mask).item() == pytest.approx(11 / 3)
    weights = torch.tensor([[0.5, 0.0], [0.25, 0.25]])
    assert masked_mean(values, weights).item() == pytest.approx(0.5 + 1.5 + 2)
    assert masked_mean(values, 40 * weights).item() == pytest.approx(4)


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5), (3, 2, 4, 5)], ids=str)
def test_per_item_is_the_mean_of_each(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    values, weights = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    each = masked_mean(values, weights, per_item=True)
    assert each.shape == (3,)
    expected = torch.stack([masked_mean(value, weight) for value, weight in zip(values, weights, strict=True)])
    torch.testing.assert_close(each, expected)
    assert masked_mean(values, weights).shape == ()


def test_a_single_number_has_no_items() -> None:
    one = torch.ones(())
    assert masked_mean(one, one).item() == 1
    with pytest.raises(WrongInput, match="no items"):
        masked_mean(one, one, per_item=True)


@pytest.mark.parametrize("per_item", [False, True])
def test_an_empty_mask_gives_zero_and_no_gradient(per_item: bool) -> None:
    values = torch.tensor([[1.0, NAN, INF], [2.0, 3.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[False] * 3, [per_item] * 3])
    mean = masked_mean(values, mask, per_item=per_item)
    assert mean.reshape(-1)[0] == 0
    mean.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, mask / 3)


def test_predicted_weights_of_zero_have_no_gradient() -> None:
    """Nor does a gradient scaler's large factor turn zero into NaN."""
    weights = torch.zeros(3, requires_grad=True)
    (2.0**16 * masked_mean(torch.tensor([1.0, NAN, INF]), weights)).backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_fillers_take_no_part(filler: float) -> None:
    values = torch.tensor([3.0, filler, 5.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([1.0, 0.0, 3.0]))
    assert mean.item() == 4.5
    mean.backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.25, 0, 0.75]


def test_a_nan_that_counts_is_seen() -> None:
    assert masked_mean(torch.tensor([1.0, NAN]), torch.ones(2)).isnan()
    assert masked_mean(torch.ones(2), torch.tensor([1.0, NAN])).isnan()


def test_small_weights_count_like_large_ones() -> None:
    values = torch.tensor([1.0, 3.0])
    assert masked_mean(values, torch.full((2,), 1e-30)).item() == pytest.approx(2)


def test_half_precision_is_summed_in_single() -> None:
    values = torch.full((100, 100), 60.0, dtype=torch.float16)
    mean = masked_mean(values, torch.ones_like(values))
    assert mean.dtype == torch.float32
    assert mean.item() == 60


def test_gradient_in_values_and_weights() -> None:
    generator = torch.Generator().manual_seed(1)
    values, weights = (torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    inputs = (values.requires_grad_(), weights.requires_grad_())
    for per_item in (False, True):
        assert torch.autograd.gradcheck(lambda v, w, per_item=per_item: masked_mean(v, w, per_item=per_item), inputs)


def test_a_formula_meets_finite_elements_only() -> None:
    met = []

    def formula(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        met.append((a.detach(), b.detach()))
        return (a * b).sqrt()

    a = torch.tensor([4.0, NAN, 9.0, INF], requires_grad=True)
    b = torch.tensor([1.0, 2.0, -INF, 1.0], requires_grad=True)
    values = on_finite(formula, a, b)
    torch.testing.assert_close(values, torch.tensor([2.0, NAN, NAN, NAN]), equal_nan=True)
    assert [operand.tolist() for operand in met[0]] == [[4, 1, 1, 1], [1, 1, 1, 1]]
    values.sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.tolist(), b.grad.tolist()) == ([0.25, 0, 0, 0], [1, 0, 0, 0])
