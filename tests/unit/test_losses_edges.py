import math

import pytest
import torch

from depthweave.losses import balanced_cross_entropy

TRUTH = torch.tensor([[True, False, False, False], [False, False, False, True]])
ALL = torch.ones(2, 4, dtype=torch.bool)


def test_edges_weigh_as_much_as_all_the_rest() -> None:
    # Two edges of eight: beta = 6/8 at an edge, 2/8 elsewhere; both sums are 1.5 ln 2 where nothing is known.
    found = balanced_cross_entropy(torch.zeros(2, 4), TRUTH, ALL)
    torch.testing.assert_close(found, torch.where(TRUTH, 0.75, 0.25) * math.log(2))
    torch.testing.assert_close(found[TRUTH].sum(), found[~TRUTH].sum())


def test_by_hand() -> None:
    logits = torch.zeros(2, 4)
    logits[0, 0], logits[0, 1] = math.log(3), math.log(3)  # p = 3/4
    found = balanced_cross_entropy(logits, TRUTH, ALL)
    assert float(found[0, 0]) == pytest.approx(-0.75 * math.log(0.75), abs=1e-6)
    assert float(found[0, 1]) == pytest.approx(-0.25 * math.log(0.25), abs=1e-6)


def test_each_map_has_its_own_balance_and_mask() -> None:
    truth = torch.stack([TRUTH, ~TRUTH])[None]
    mask = torch.stack([ALL, ALL])[None].clone()
    mask[0, 1, 0] = False  # of the second map a row with one edge of four is left: three are edges
    found = balanced_cross_entropy(torch.zeros(1, 2, 2, 4), truth, mask)
    torch.testing.assert_close(found[0, 0], torch.where(TRUTH, 0.75, 0.25) * math.log(2))
    assert not found[0, 1, 0].any()
    torch.testing.assert_close(found[0, 1, 1], torch.tensor([0.25, 0.25, 0.25, 0.75]) * math.log(2))


@pytest.mark.parametrize("value", [False, True])
def test_a_map_of_one_class_costs_nothing(value: bool) -> None:
    assert not balanced_cross_entropy(torch.ones(2, 4), torch.full((2, 4), value), ALL).any()
    assert not balanced_cross_entropy(torch.ones(2, 4), TRUTH, ~ALL).any()


def test_what_is_masked_pulls_at_nothing() -> None:
    logits = torch.zeros(2, 4)
    logits[1, 1] = math.nan
    mask = ALL.clone()
    mask[1] = False
    logits.requires_grad_()
    found = balanced_cross_entropy(logits, TRUTH, mask)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert bool(found.isfinite().all())
    assert not gradient[1].any()
    assert gradient[0].all()


def test_gradient() -> None:
    logits = torch.randn(2, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    truth = torch.stack([TRUTH, TRUTH.roll(1, 1)])
    assert torch.autograd.gradcheck(lambda x: balanced_cross_entropy(x, truth, truth | ALL), logits)


def test_half_precision_is_computed_in_single() -> None:
    found = balanced_cross_entropy(torch.full((2, 4), 20.0, dtype=torch.bfloat16), TRUTH, ALL)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0, 1], torch.tensor(0.25 * 20.0))
