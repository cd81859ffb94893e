"""From costs to disparities: every step by hand on tiny arrays."""

import math

import pytest
import torch

from depthweave.classical import (
    background_fill,
    left_right_check,
    left_right_difference,
    local_support,
    match_confidence,
    median_filter,
    parabola_offset,
    right_cost_volume,
    rival_cost,
    winner_take_all,
)
from depthweave.errors import WrongInput

INF = math.inf


def column(*costs):
    return torch.tensor(costs).view(-1, 1, 1)


def test_parabola_finds_the_vertex_of_a_quadratic():
    vertex = torch.linspace(-0.5, 0.5, 11)
    before, at, after = ((x - vertex).square() for x in (-1, 0, 1))
    torch.testing.assert_close(parabola_offset(before, at, after), vertex, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("before", "at", "after", "offset"),
    [(INF, 1.0, 2.0, 0.0), (2.0, 1.0, INF, 0.0), (1.0, 1.0, 1.0, 0.0), (3.0, 1.0, 1.0, 0.5), (0.0, 1.0, 9.0, -0.5)],
)
def test_parabola_at_its_limits(before, at, after, offset):
    found = parabola_offset(*(torch.tensor([value]) for value in (before, at, after)))
    assert found.item() == pytest.approx(offset)


def test_winner_by_hand():
    disparity, cost = winner_take_all(column(5.0, 1.0, 3.0, 4.0))
    assert disparity.item() == pytest.approx(1 + (5 - 3) / (2 * (5 - 2 + 3)))
    assert cost.item() == 1.0
    assert winner_take_all(column(5.0, 1.0, 3.0, 4.0), subpixel=False)[0].item() == 1.0


def test_of_equal_costs_the_smallest_disparity_wins():
    assert winner_take_all(column(2.0, 1.0, 3.0, 1.0), subpixel=False)[0].item() == 1.0


def test_ends_of_the_range_and_of_the_view_stay_integer():
    assert winner_take_all(column(1.0, 2.0, 3.0))[0].item() == 0.0
    assert winner_take_all(column(3.0, 2.0, 1.0))[0].item() == 2.0
    assert winner_take_all(column(3.0, 1.0, INF))[0].item() == 1.0
    assert winner_take_all(column(3.0))[0].item() == 0.0


def test_rival_is_not_a_neighbour_of_the_winner():
    assert rival_cost(column(7.0, 2.0, 1.0, 2.0, 6.0, 9.0), torch.tensor([[2.0]])).item() == 6.0


def test_rival_where_little_is_in_view():
    assert rival_cost(column(1.0, 2.0), torch.tensor([[0.0]])).item() == 2.0
    assert rival_cost(column(3.0, 1.0, INF, INF), torch.tensor([[1.0]])).item() == 3.0
    assert rival_cost(column(1.0, INF), torch.tensor([[0.0]])).item() == INF


def test_right_volume_by_hand():
    volume = torch.tensor([[[10.0, 11.0, 12.0]], [[INF, 21.0, 22.0]], [[INF, INF, 32.0]], [[INF, INF, INF]]])
    expected = torch.tensor([[[10.0, 11.0, 12.0]], [[21.0, 22.0, INF]], [[32.0, INF, INF]], [[INF, INF, INF]]])
    assert torch.equal(right_cost_volume(volume), expected)


def test_left_right_difference_by_hand():
    left = torch.tensor([[0.0, 1.0, 1.4, 2.0, -1.0, INF]])
    right = torch.tensor([[1.25, 0.5, 5.0, -1.0, 0.0, 0.0]])
    # x = 0 -> 0, 1 -> 0, 2 -> 1, 3 -> 1; the last two are unmatched themselves
    expected = torch.tensor([[1.25, 0.25, 0.9, 1.5, INF, INF]])
    torch.testing.assert_close(left_right_difference(left, right), expected)
    assert left_right_check(left, right).tolist() == [[False, True, True, False, False, False]]
    assert left_right_check(left, right, 1.5).tolist() == [[True, True, True, True, False, False]]


def test_left_right_difference_out_of_view_and_into_unmatched():
    left = torch.tensor([[1.0, 0.0, 0.0]])
    right = torch.tensor([[0.0, -1.0, INF]])
    assert left_right_difference(left, right).isinf().all()


def test_local_support_by_hand():
    disparity = torch.tensor([[1.0, 1.5, 9.0], [2.0, 2.5, 9.0]])
    valid = torch.tensor([[True, True, True], [True, False, True]])
    # the four corners see 4 pixels each, the two of the middle column 6
    expected = torch.tensor([[3 / 4, 3 / 6, 2 / 4], [3 / 4, 0.0, 2 / 4]])
    torch.testing.assert_close(local_support(disparity, valid, window=3), expected)


def test_median_by_hand():
    picture = torch.tensor([[1.0, 2.0, 3.0], [4.0, 50.0, 6.0], [7.0, 8.0, 9.0]])
    filtered = median_filter(picture, 3)
    assert filtered[1, 1].item() == 6.0
    assert filtered[0, 0].item() == 2.0  # 1 1 2 / 1 1 2 / 4 4 50 with the border repeated
    assert median_filter(picture, 1) is picture


@pytest.mark.parametrize("size", [0, 2, -3])
def test_median_needs_an_odd_window(size):
    with pytest.raises(WrongInput, match="odd"):
        median_filter(torch.zeros(4, 4), size)


def test_background_fill_takes_the_smaller_side():
    disparity = torch.tensor([[0.0, 5.0, 0.0, 0.0, 3.0, 0.0]])
    valid = torch.tensor([[False, True, False, False, True, False]])
    assert background_fill(disparity, valid).tolist() == [[5.0, 5.0, 3.0, 3.0, 3.0, 3.0]]


def test_background_fill_of_empty_rows():
    disparity = torch.tensor([[9.0], [1.0], [9.0], [9.0], [9.0], [2.0]])
    valid = torch.tensor([[False], [True], [False], [False], [False], [True]])
    assert background_fill(disparity, valid).flatten().tolist() == [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]


def test_background_fill_without_anything_valid():
    filled = background_fill(torch.full((3, 4), INF), torch.zeros(3, 4, dtype=torch.bool))
    assert torch.equal(filled, torch.zeros(3, 4))


def test_confidence_by_hand():
    difference = torch.tensor([[0.0, 1.0, 2.0, INF]])
    valid = torch.tensor([[True, True, False, False]])
    plain = match_confidence(difference, valid)
    torch.testing.assert_close(plain, torch.tensor([[1.0, math.exp(-1), 0.0, 0.0]]))
    rated = match_confidence(difference, valid, torch.full((1, 4), 0.5))
    torch.testing.assert_close(rated, torch.tensor([[0.5, 0.5 * math.exp(-1), 0.0, 0.0]]))


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_leading_dims(batch):
    generator = torch.Generator().manual_seed(1)
    volume = torch.rand(*batch, 5, 6, 7, generator=generator)
    valid = torch.rand(*batch, 6, 7, generator=generator) > 0.5
    disparity, cost = winner_take_all(volume)
    back, _ = winner_take_all(right_cost_volume(volume))
    maps = {
        "disparity": disparity,
        "cost": cost,
        "rival": rival_cost(volume, disparity),
        "difference": left_right_difference(disparity, back),
        "support": local_support(disparity, valid, window=3),
        "median": median_filter(disparity, 3),
        "filled": background_fill(disparity, valid),
    }
    assert {name: tuple(found.shape) for name, found in maps.items()} == dict.fromkeys(maps, (*batch, 6, 7))
    single = volume.reshape(-1, 5, 6, 7)[-1], valid.reshape(-1, 6, 7)[-1]
    last = {name: found.reshape(-1, 6, 7)[-1] for name, found in maps.items()}
    disparity, cost = winner_take_all(single[0])
    assert torch.equal(last["disparity"], disparity)
    assert torch.equal(last["cost"], cost)
    assert torch.equal(last["rival"], rival_cost(single[0], disparity))
    assert torch.equal(last["support"], local_support(disparity, single[1], window=3))
    assert torch.equal(last["median"], median_filter(disparity, 3))
    assert torch.equal(last["filled"], background_fill(disparity, single[1]))
