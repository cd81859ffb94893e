"""Matching costs: values by hand, borders, leading dims, and a plain loop as the census's twin."""

import math

import jaxtyping
import numpy as np
import pytest
import torch

from depthweave.classical import (
    census,
    census_transform,
    cross_correlation,
    default_max_disparity,
    nssd,
    sad,
    ssd,
    zncc,
)
from depthweave.errors import WrongInput

COSTS = [sad, ssd, nssd, cross_correlation, zncc, census]
LEFT = torch.tensor([0.1, 0.5, 0.9, 0.3]).view(1, 1, 4)
RIGHT = torch.tensor([0.5, 0.8, 0.3, 0.2]).view(1, 1, 4)
INF = math.inf


def test_sad_by_hand():
    volume = sad(LEFT, RIGHT, 2, 1)
    torch.testing.assert_close(volume[:, 0], torch.tensor([[0.4, 0.3, 0.6, 0.1], [INF, 0.0, 0.1, 0.0]]))


def test_sad_averages_over_the_pixels_in_both_images():
    # one row, window 3: ends of an overlap have two columns, its middle three
    volume = sad(LEFT, RIGHT, 2, 3)
    expected = torch.tensor([[0.7 / 2, 1.3 / 3, 1.0 / 3, 0.7 / 2], [INF, 0.1 / 2, 0.1 / 3, 0.1 / 2]])
    torch.testing.assert_close(volume[:, 0], expected)


def test_ssd_by_hand_over_channels():
    left = torch.tensor([[0.2], [0.4], [0.6]]).view(3, 1, 1)
    right = torch.tensor([[0.1], [0.6], [0.6]]).view(3, 1, 1)
    assert ssd(left, right, 1, 1).item() == pytest.approx((0.01 + 0.04 + 0.0) / 3)


def test_nssd_by_hand():
    volume = nssd(LEFT, RIGHT, 1, 3)
    numerator = 0.4**2 + 0.3**2
    energies = (0.1**2 + 0.5**2) * (0.5**2 + 0.8**2)
    assert volume[0, 0, 0].item() == pytest.approx(numerator / math.sqrt(energies), rel=1e-5)


def test_nssd_of_black_windows_is_zero():
    black = torch.zeros(3, 4, 5)
    assert nssd(black, black, 1, 3).eq(0).all()


def test_cross_correlation_by_hand():
    volume = cross_correlation(LEFT, RIGHT, 2, 1)
    expected = torch.tensor([[1 - 0.05, 1 - 0.4, 1 - 0.27, 1 - 0.06], [INF, 1 - 0.25, 1 - 0.72, 1 - 0.09]])
    torch.testing.assert_close(volume[:, 0], expected)


def test_zncc_is_one_minus_the_correlation_coefficient():
    volume = zncc(LEFT, RIGHT, 1, 3)
    for x, columns in [(0, [0, 1]), (1, [0, 1, 2]), (3, [2, 3])]:
        r = np.corrcoef(LEFT[0, 0, columns].numpy(), RIGHT[0, 0, columns].numpy())[0, 1]
        assert volume[0, 0, x].item() == pytest.approx(1 - r, abs=1e-4)


def test_zncc_ignores_gain_and_offset():
    picture = torch.rand(1, 9, 12, generator=torch.Generator().manual_seed(1))
    volume = zncc(picture, 0.4 * picture + 0.3, 1, 3)
    torch.testing.assert_close(volume, torch.zeros_like(volume), atol=2e-3, rtol=0)


def test_zncc_of_a_flat_window_is_no_correlation():
    flat = torch.full((1, 6, 8), 0.7)
    textured = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(2))
    assert zncc(flat, textured, 1, 3).eq(1).all()


def test_census_code_by_hand():
    # neighbours in reading order around the centre of one row of 9: dx = -4 ... -1, 1 ... 4 at dy = 0
    row = torch.tensor([[5.0, 1.0, 5.0, 1.0, 3.0, 1.0, 5.0, 5.0, 1.0]])
    first = 3 * 9  # bits of the three rows above
    darker = [1, 3, 4, 7]  # positions -3, -1, 1, 4 among the eight neighbours
    assert census_transform(row)[0, 4].item() == sum(1 << (first + bit) for bit in darker)


def test_census_by_a_plain_loop():
    generator = torch.Generator().manual_seed(3)
    left, right = torch.rand(2, 1, 6, 11, generator=generator)
    volume = census(left, right, 4, 1)[:, :, :]
    height, width = 6, 11
    for d in range(4):
        for y in range(height):
            for x in range(d, width):
                differing = compared = 0
                for dy in range(-3, 4):
                    for dx in range(-4, 5):
                        row, column = y + dy, x + dx
                        if (dy, dx) == (0, 0) or not (0 <= row < height and d <= column < width):
                            continue
                        compared += 1
                        darker = left[0, row, column] < left[0, y, x]
                        differing += int(darker != (right[0, row, column - d] < right[0, y, x - d]))
                assert volume[d, y, x].item() == pytest.approx(differing / compared)


def test_census_ignores_a_change_of_exposure():
    picture = torch.rand(3, 9, 14, generator=torch.Generator().manual_seed(4)).mean(0, keepdim=True)
    assert census(picture, picture**0.5 * 0.8, 1, 3).eq(0).all()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_leading_dims(cost, batch):
    generator = torch.Generator().manual_seed(5)
    left, right = torch.rand(2, *batch, 3, 8, 10, generator=generator)
    volume = cost(left, right, 4, 3)
    assert volume.shape == (*batch, 4, 8, 10)
    alone = cost(left.reshape(-1, 3, 8, 10)[-1], right.reshape(-1, 3, 8, 10)[-1], 4, 3)
    torch.testing.assert_close(volume.reshape(-1, 4, 8, 10)[-1], alone)


@pytest.mark.parametrize("cost", COSTS)
def test_out_of_view_is_inf_and_nothing_else(cost):
    left, right = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(6))
    volume = cost(left, right, 9, 3)
    out_of_view = torch.arange(6) < torch.arange(9)[:, None, None]
    assert torch.equal(volume.isinf(), out_of_view.expand(9, 5, 6))
    assert volume[torch.isfinite(volume)].min() >= 0


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 4), (1, 3, 1)])
def test_images_smaller_than_the_window(cost, shape):
    picture = torch.rand(shape, generator=torch.Generator().manual_seed(7))
    volume = cost(picture, picture, 2, 9)
    assert volume.shape == (2, *shape[1:])
    assert torch.isfinite(volume[0]).all()


@pytest.mark.parametrize("cost", [sad, ssd, nssd, cross_correlation])
def test_costs_are_differentiable(cost):
    left, right = torch.rand(2, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(8)) + 0.1
    in_view = torch.arange(4) >= torch.arange(2)[:, None, None]

    def visible(x, y):
        return cost(x, y, 2, 3)[in_view.expand(2, 3, 4)]

    assert torch.autograd.gradcheck(visible, (left.requires_grad_(), right.requires_grad_()))


@pytest.mark.parametrize("cost", COSTS)
def test_unequal_sizes(cost, monkeypatch):
    # what a user meets, who has no annotation checks
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    picture = torch.rand(1, 4, 6)
    with pytest.raises(WrongInput, match="equal sizes"):
        cost(picture, picture[..., :-1], 2, 3)


@pytest.mark.parametrize("cost", COSTS)
def test_wrong_numbers(cost):
    picture = torch.rand(1, 4, 6)
    with pytest.raises(WrongInput, match="at least 1 px"):
        cost(picture, picture, 0, 3)
    with pytest.raises(WrongInput, match="odd"):
        cost(picture, picture, 2, 4)


@pytest.mark.parametrize(("width", "expected"), [(1, 16), (96, 16), (97, 32), (450, 80), (1242, 208)])
def test_default_max_disparity(width, expected):
    assert default_max_disparity(width) == expected


def test_default_max_disparity_needs_a_width():
    with pytest.raises(WrongInput, match="0 px"):
        default_max_disparity(0)
