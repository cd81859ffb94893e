import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    multi_scale_gradient,
    normalise_affine,
    scale_invariant_log,
    scale_shift_invariant,
)
from depthweave.losses.scale_invariant import masked_median, trimmed_sum

NAN, INF = math.nan, math.inf
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
Loss = Callable[..., Tensor]
BOTH = pytest.mark.parametrize("loss", [scale_shift_invariant, multi_scale_gradient])
ALL = pytest.mark.parametrize("loss", [scale_shift_invariant, multi_scale_gradient, scale_invariant_log])


def maps(*leading: int, size: tuple[int, int] = (6, 8), seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and mask of float64, positive."""
    generator = torch.Generator().manual_seed(seed)
    p, g = (1 + 9 * torch.rand((*leading, *size), generator=generator, dtype=torch.float64) for _ in range(2))
    return p, g, torch.rand((*leading, *size), generator=generator) < 0.7


def test_medians_by_hand() -> None:
    values = torch.tensor([[5.0, 1.0, 3.0, NAN], [4.0, 1.0, 2.0, 8.0], [9.0, 9.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True, False], [True] * 4, [False] * 4])
    assert masked_median(values, mask).tolist() == [3.0, 3.0, 0.0]
    assert masked_median(values[:1], torch.tensor([[False, True, True, False]])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("trim", "total", "kept"), [(0, 15, 5), (0.2, 10, 4), (0.39, 10, 4), (0.4, 6, 3), (0.99, 1, 1)]
)
def test_trimming_leaves_out_the_largest(trim: float, total: float, kept: int) -> None:
    values = torch.tensor([[5.0, 1.0, INF, 3.0, 2.0, 4.0]])
    mask = values.isfinite()
    found = trimmed_sum(values, mask, trim)
    assert (found[0].tolist(), found[1].tolist()) == ([total], [kept])
    broken = trimmed_sum(torch.tensor([[5.0, NAN, 1.0]]), torch.ones(1, 3, dtype=torch.bool), trim)
    assert broken[0].isnan().all()


def test_normalised_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [9.0, 14.0, NAN]])
    mask = values.isfinite()
    # Median 4; distances 3, 2, 0, 5, 10: mean 4, median 3.
    wanted = (values - 4) / 4
    torch.testing.assert_close(normalise_affine(values, mask), wanted, equal_nan=True)
    torch.testing.assert_close(normalise_affine(values, mask, statistic="mad"), (values - 4) / 3, equal_nan=True)
    torch.testing.assert_close(normalise_affine(values, mask, least_spread=8.0), wanted / 2, equal_nan=True)
    torch.testing.assert_close(normalise_affine(values, mask, least_spread=2.0), wanted, equal_nan=True)


@leading
@pytest.mark.parametrize("statistic", ["mean", "mad"])
def test_normalised_maps_do_not_see_scale_and_shift(leading: tuple[int, ...], statistic: Any) -> None:
    p, _, mask = maps(*leading)
    found = normalise_affine(p, mask, statistic=statistic)
    assert found.shape == p.shape
    assert torch.equal(found.isnan(), ~mask)
    torch.testing.assert_close(
        normalise_affine(1e-5 * p - 3, mask, statistic=statistic), found, equal_nan=True, rtol=1e-9, atol=1e-9
    )
    inside = torch.where(mask, found, 0.0).flatten(-2)
    assert masked_median(inside, mask.flatten(-2)).abs().max() < 1e-12
    spread = masked_median(inside.abs(), mask.flatten(-2)) if statistic == "mad" else found.abs().nanmean((-2, -1))
    torch.testing.assert_close(spread, torch.ones_like(spread))
    one = p[(0,) * len(leading)], mask[(0,) * len(leading)]
    torch.testing.assert_close(normalise_affine(*one, statistic=statistic), found[(0,) * len(leading)], equal_nan=True)


@pytest.mark.parametrize("least", [0.0, 0.5])
@pytest.mark.parametrize("statistic", ["mean", "mad"])
def test_flat_maps_are_zero_with_a_finite_gradient(statistic: Any, least: float) -> None:
    for level in (0.0, 7.3, 1e6):
        flat = torch.full((4, 5), level) + 1e-9 * level * torch.rand(4, 5)
        flat.requires_grad_()
        mask = torch.ones(4, 5, dtype=torch.bool)
        mask[0] = False
        found = normalise_affine(flat, mask, statistic=statistic, least_spread=least)
        assert found[1:].abs().max() < 1e-3
        found[1:].square().sum().backward()
        assert flat.grad is not None
        assert flat.grad.isfinite().all()
        assert not flat.grad[0].any()


@pytest.mark.parametrize("statistic", ["mean", "mad"])
def test_rounding_is_no_structure(statistic: str) -> None:
    step = 1000 + torch.tensor([[0.0, 6.2e-5, 0.0, 1.3e-4, 6.2e-5, 0.0]])
    assert len(step.unique()) == 3
    found = normalise_affine(step.requires_grad_(), step > 0, statistic=statistic)
    assert not found.any()


@pytest.mark.parametrize("statistic", ["mean", "mad"])
@pytest.mark.parametrize("broken", [NAN, INF, -INF])
def test_a_map_with_a_broken_value_is_broken_alone(broken: float, statistic: str) -> None:
    values = torch.rand(2, 3, 4)
    values[1, 2, 2] = broken
    values.requires_grad_()
    found = normalise_affine(values, torch.ones(2, 3, 4, dtype=torch.bool), statistic=statistic)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()
    found.square().sum().backward()
    assert values.grad is not None
    assert values.grad[0].any()
    assert not values.grad[1].any(), "it shows in the loss, and only there"


def test_the_trimmed_error_by_hand() -> None:
    mask = torch.ones(1, 5, dtype=torch.bool)
    p = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])  # median 2, spread 6/5
    g = torch.tensor([[0.0, 1.0, 2.0, 3.0, 14.0]])  # median 2, spread 16/5
    error = torch.tensor([2 / 1.2 - 2 / 3.2, 1 / 1.2 - 1 / 3.2, 0, 1 / 1.2 - 1 / 3.2, 12 / 3.2 - 2 / 1.2])
    assert scale_shift_invariant(p, g, mask, trim=0).item() == pytest.approx(error.sum().item() / 10)
    assert scale_shift_invariant(p, g, mask).item() == pytest.approx((error.sum() - error.max()).item() / 10)


def test_gradients_of_the_residual_by_hand() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    p = torch.tensor([[0.0, 0.0, 3.0], [0.0, 3.0, 6.0]])  # median 1.5, spread 2 1/6 ...
    g = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    spread = (1.5 * 3 + 1.5 * 2 + 4.5) / 6
    r = (p - 1.5) / spread - (g - 3.5) / 1.5
    along_x, along_y = r.diff(dim=-1).abs().sum(), r.diff(dim=-2).abs().sum()
    every_second = (r[0, 2] - r[0, 0]).abs()
    one = multi_scale_gradient(p, g, mask, scales=1)
    assert one.item() == pytest.approx((along_x + along_y).item() / 6)
    two = multi_scale_gradient(p, g, mask, scales=2)
    assert two.item() == pytest.approx((along_x + along_y + every_second).item() / 6)
    mask[0, 1] = False  # takes three differences along
    assert multi_scale_gradient(r, torch.zeros(2, 3), mask, scales=1).item() == pytest.approx(
        multi_scale_gradient(torch.where(mask, r, NAN), torch.zeros(2, 3), mask, scales=1).item()
    )


def test_the_logarithmic_error_by_hand() -> None:
    mask = torch.tensor([[True, True, False, True]])
    p, g = torch.tensor([[1.0, math.e, -4.0, math.e**3]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])  # errors 0 and 1
    for weight, wanted in ((0, 0.5), (0.5, 0.5 - 0.125), (1, 0.25)):
        assert scale_invariant_log(p, g, mask, weight=weight).item() == pytest.approx(wanted)
    assert scale_invariant_log(1e4 * p, g, mask, weight=1).item() == pytest.approx(0.25, rel=1e-3)
    assert scale_invariant_log(p - 1, g, mask).isnan(), "a prediction that is not positive shows"


@BOTH
@leading
def test_neither_side_sees_scale_and_shift(loss: Loss, leading: tuple[int, ...]) -> None:
    p, g, mask = maps(*leading)
    found = loss(p, g, mask)
    assert found.shape == leading
    assert (found > 0.05).all()
    torch.testing.assert_close(loss(2 * p + 30, 1e-3 * g - 5, mask), found)
    torch.testing.assert_close(loss(3 * g - 1, g, mask), torch.zeros_like(found), rtol=0, atol=1e-12)
    each = [loss(a, b, c) for a, b, c in zip(*(x.reshape(-1, *x.shape[-2:]) for x in (p, g, mask)), strict=True)]
    torch.testing.assert_close(found.reshape(-1), torch.stack(each))


@ALL
def test_fillers_and_unknown_targets_take_no_part(loss: Loss) -> None:
    p, g, mask = maps(2)
    wanted = loss(p, g, mask)
    for filler in (NAN, INF, -INF, 0.0, 1e30):
        mine, its = (torch.where(mask, x, filler).requires_grad_() for x in (p, g))
        found = loss(mine, its, mask)
        torch.testing.assert_close(found, wanted)
        found.sum().backward()
        for x in (mine, its):
            assert x.grad is not None
            assert x.grad.isfinite().all()
            assert not x.grad[~mask].any()
            assert x.grad[mask].any()
    everywhere = torch.ones_like(mask)
    torch.testing.assert_close(loss(p, torch.where(mask, g, NAN), everywhere), wanted)
    assert loss(torch.where(mask, p, NAN), g, everywhere).isnan().all()


@ALL
def test_nothing_known_costs_nothing(loss: Loss) -> None:
    p, g, mask = maps(2)
    mask[0] = False
    p.requires_grad_()
    found = loss(p, g, mask)
    assert found[0].item() == 0
    assert found[1].item() > 0
    found.sum().backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()
    assert not p.grad[0].any()


@ALL
def test_gradients_are_those_of_the_values(loss: Loss) -> None:
    p, g, mask = maps(2, size=(4, 5), seed=3)
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, g, mask), (p,))


@pytest.mark.parametrize("statistic", ["mean", "mad"])
def test_gradients_of_normalised_maps(statistic: Any) -> None:
    p, _, mask = maps(2, size=(4, 5), seed=4)
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalise_affine(x, mask, statistic=statistic).nan_to_num(), (p,))
    assert torch.autograd.gradcheck(
        lambda x: normalise_affine(x, mask, statistic=statistic, least_spread=20).nan_to_num(), (p,)
    )


def test_half_precision_is_computed_in_single() -> None:
    p, g, mask = maps()
    for loss in (scale_shift_invariant, multi_scale_gradient, scale_invariant_log):
        found = loss(p.bfloat16(), g.bfloat16(), mask)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(loss(p, g, mask).item(), rel=0.1)


def test_what_cannot_be() -> None:
    p, g, mask = maps()
    with pytest.raises(WrongInput, match="no statistic 'std'"):
        normalise_affine(p, mask, statistic="std")
    with pytest.raises(WrongInput, match="least spread is -1"):
        normalise_affine(p, mask, least_spread=-1)
    with pytest.raises(WrongInput, match=r"trim is 1\.0, a share"):
        scale_shift_invariant(p, g, mask, trim=1.0)
    with pytest.raises(WrongInput, match="there are 0 scales"):
        multi_scale_gradient(p, g, mask, scales=0)
    with pytest.raises(WrongInput, match="weight of the mean error is 2"):
        scale_invariant_log(p, g, mask, weight=2)
