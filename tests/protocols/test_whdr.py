"""Disagreement about order, worked out by hand."""

import math

import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.metrics import predicted_order, whdr

DEPTH = torch.tensor([[1.0, 2.0, 4.0], [1.01, 2.0, 8.0]])
FIRST = torch.tensor([[0, 0], [2, 0], [1, 0], [0, 0]])
SECOND = torch.tensor([[1, 0], [2, 1], [1, 1], [0, 1]])
ORDER = torch.tensor([-1, -1, 0, -1])


def test_order_of_four_pairs() -> None:
    assert predicted_order(DEPTH, FIRST, SECOND).tolist() == ORDER.tolist()
    assert predicted_order(DEPTH, SECOND, FIRST).tolist() == (-ORDER).tolist()
    # 0.01 of 1.01 is less than 2 %, 1 of 2 is exactly half.
    assert predicted_order(DEPTH, FIRST, SECOND, equal_share=0.02).tolist() == [-1, -1, 0, 0]
    assert predicted_order(DEPTH, FIRST, SECOND, equal_share=0.5).tolist() == [0, 0, 0, 0]


def test_the_share_of_wrong_pairs() -> None:
    assert whdr(DEPTH, FIRST, SECOND, ORDER) == (0, 4)
    assert whdr(DEPTH, FIRST, SECOND, torch.tensor([1, -1, 0, -1])) == (0.25, 4)
    assert whdr(-DEPTH, FIRST, SECOND, ORDER) == (0.75, 4)
    assert whdr(DEPTH, FIRST, SECOND, ORDER, equal_share=0.02) == (0.25, 4)


def test_weights() -> None:
    weights = torch.tensor([3.0, 1.0, 0.0, 1.0])
    assert whdr(DEPTH, FIRST, SECOND, torch.tensor([1, -1, 1, -1]), weights=weights) == (0.6, 3)
    with pytest.raises(WrongInput, match="not negative"):
        whdr(DEPTH, FIRST, SECOND, ORDER, weights=-weights)


def test_no_pair_is_no_number() -> None:
    none = torch.zeros(0, 2, dtype=torch.long)
    value, count = whdr(DEPTH, none, none, torch.zeros(0, dtype=torch.long))
    assert math.isnan(value)
    assert count == 0


@pytest.mark.parametrize("point", [(3, 0), (0, 2), (-1, 0)])
def test_points_outside_are_refused(point: tuple[int, int]) -> None:
    with pytest.raises(WrongInput, match="outside the map of 3x2"):
        whdr(DEPTH, torch.tensor([point]), torch.tensor([[0, 0]]), torch.tensor([1]))
