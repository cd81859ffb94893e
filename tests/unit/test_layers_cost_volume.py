"""Cost volumes against values by hand, loops over every pixel, and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.layers.cost_volume import (
    concatenation_volume,
    correlation,
    distance_volume,
    group_wise_correlation,
    residual_volume,
    row_correlation,
    soft_argmin,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.fixture
def features(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    left, right = torch.randn(2, 2, 4, 3, 6, generator=generator, dtype=torch.float64)
    return left, right


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[None, None, None]


def test_values_of_a_row_by_hand() -> None:
    left, right = row(1, 2, 3), row(5, 7, 11)
    products = [[5, 14, 33], [0, 10, 21], [0, 0, 15]]
    assert row_correlation(left, right, levels=3)[0, :, 0].tolist() == products
    assert group_wise_correlation(left, right, 3, 1)[0, 0, :, 0].tolist() == products
    assert distance_volume(left, right, 3)[0, :, 0].tolist() == [[4, 5, 8], [1, 3, 4], [1, 2, 2]]
    joined = concatenation_volume(left, right, 3)[0, :, :, 0].tolist()
    assert joined == [[[1, 2, 3], [0, 2, 3], [0, 0, 3]], [[5, 7, 11], [0, 5, 7], [0, 0, 5]]]


def test_residuals_of_a_row_by_hand() -> None:
    left, right = row(10, 20, 30, 40), row(8, 12, 20, 24)
    disparity = torch.full((1, 1, 4), 0.5)
    # At x - 0.5 - k for k = -1, 0, 1; a place half outside has half the value of the border.
    read = torch.tensor([[10.0, 16, 22, 12], [4, 10, 16, 22], [0, 4, 10, 16]])
    found = residual_volume(left, right, disparity, 1)[0, :, 0]
    assert found.tolist() == (torch.tensor([10.0, 20, 30, 40]) - read).abs().tolist()


def test_displacements_go_row_by_row() -> None:
    first = torch.ones(1, 1, 3, 3)
    second = torch.arange(1.0, 10).view(1, 1, 3, 3)
    assert correlation(first, second, max_displacement=1)[0, :, 1, 1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert correlation(first, second, max_displacement=1)[0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]


def test_rows_and_groups_are_means(features: tuple[Tensor, Tensor]) -> None:
    left, right = features
    both = group_wise_correlation(left, right, 4, 2)
    torch.testing.assert_close(both.mean(1), row_correlation(left, right, levels=4))
    across = correlation(left, right, max_displacement=3)
    # Row 3 of the displacements, from x to x - 3: the last of them first.
    torch.testing.assert_close(across[:, 21:25].flip(1), row_correlation(left, right, levels=4))


@pytest.mark.parametrize(("max_displacement", "kernel_size", "stride"), [(2, 1, 1), (1, 3, 1), (5, 1, 2), (2, 5, 2)])
def test_correlation_is_what_a_loop_says(
    features: tuple[Tensor, Tensor], max_displacement: int, kernel_size: int, stride: int
) -> None:
    first, second = features
    b, c, h, w = first.shape
    steps = [u for u in range(-max_displacement, max_displacement + 1) if abs(u) % stride == 0]
    offsets = range(-(kernel_size // 2), kernel_size // 2 + 1)

    def at(values: Tensor, n: int, y: int, x: int) -> Tensor:
        return values[n, :, y, x] if 0 <= y < h and 0 <= x < w else values.new_zeros(c)

    found = correlation(first, second, max_displacement=max_displacement, kernel_size=kernel_size, stride=stride)
    assert found.shape == (b, len(steps) ** 2, h, w)
    for n, y, x in ((0, 0, 0), (1, 2, 5), (0, 1, 3)):
        wanted = [
            sum(
                (at(first, n, y + i, x + j) @ at(second, n, y + v + i, x + u + j)).item()
                for i in offsets
                for j in offsets
            )
            / (kernel_size**2 * c)
            for v in steps
            for u in steps
        ]
        torch.testing.assert_close(found[n, :, y, x], torch.tensor(wanted, dtype=torch.float64))


def test_volumes_are_what_loops_say(features: tuple[Tensor, Tensor], generator: torch.Generator) -> None:
    left, right = features
    b, c, h, w = left.shape
    disparity = 8 * torch.rand(b, h, w, generator=generator, dtype=torch.float64) - 1

    def at(n: int, y: int, x: float) -> Tensor:
        before = int(torch.tensor(x).floor())
        ends = [right[n, :, y, i] if 0 <= i < w else right.new_zeros(c) for i in (before, before + 1)]
        return (1 - x + before) * ends[0] + (x - before) * ends[1]

    levels = w + 2
    groups, joined = group_wise_correlation(left, right, levels, 2), concatenation_volume(left, right, levels)
    distances, residuals = distance_volume(left, right, levels), residual_volume(left, right, disparity, 2)
    assert joined.shape == (b, 2 * c, levels, h, w)
    for n, y, x in ((n, y, x) for n in range(b) for y in range(h) for x in range(w)):
        own = left[n, :, y, x]
        for d in range(levels):
            other = at(n, y, x - d)
            torch.testing.assert_close(groups[n, :, d, y, x], (own * other).view(2, -1).mean(1))
            torch.testing.assert_close(distances[n, d, y, x], (own - other).abs().sum())
            torch.testing.assert_close(joined[n, :, d, y, x], torch.cat([own, other]) * (x >= d))
        for k in range(-2, 3):
            wanted = (own - at(n, y, x - disparity[n, y, x].item() - k)).abs().sum()
            torch.testing.assert_close(residuals[n, k + 2, y, x], wanted)


def test_residuals_around_whole_disparities_are_the_full_volumes(features: tuple[Tensor, Tensor]) -> None:
    left, right = features
    full = distance_volume(left, right, 5)
    found = residual_volume(left, right, torch.full_like(left[:, 0], 2), 2)
    torch.testing.assert_close(found, full)


def test_what_is_far_outside_or_not_finite_reads_zero(features: tuple[Tensor, Tensor]) -> None:
    left, right = features
    far = torch.tensor([1e9, -1e9, torch.inf, -torch.inf, torch.nan, 7.5], dtype=torch.float64)
    found = residual_volume(left, right, far.expand(2, 3, 6), 1)
    torch.testing.assert_close(found, left.abs().sum(1, keepdim=True).expand_as(found))


def test_expected_disparity_by_hand() -> None:
    costs = torch.tensor([0.0, -torch.tensor(3.0).log().item()]).view(1, 2, 1, 1)
    assert soft_argmin(costs).item() == pytest.approx(0.75)
    assert soft_argmin(costs, first=-2).item() == pytest.approx(-1.25)
    sharp = torch.full((1, 7, 2, 2), 50.0)
    sharp[:, 5] = -50
    assert soft_argmin(sharp).tolist() == [[[5, 5], [5, 5]]]
    # Costs that are the same everywhere expect the middle.
    assert soft_argmin(torch.full((1, 9, 1, 1), 3.0)).item() == pytest.approx(4)


def test_half_precision_is_summed_in_float32() -> None:
    left = torch.full((1, 4096, 1, 2), 1.0, dtype=torch.bfloat16)
    for volume in (row_correlation(left, left, levels=1), correlation(left, left, max_displacement=0)):
        assert volume.dtype == torch.float32
        assert volume.unique().tolist() == [1.0]
    assert distance_volume(left, -left, 1).unique().tolist() == [8192.0]
    assert concatenation_volume(left, left, 1).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "volume",
    [
        lambda left, right: correlation(left, right, max_displacement=1, kernel_size=3),
        lambda left, right: group_wise_correlation(left, right, 3, 2),
        lambda left, right: concatenation_volume(left, right, 3),
        lambda left, right: distance_volume(left, right, 3),
        lambda left, right: residual_volume(left, right, 0.3 + left[:, 0].detach().round(), 1),
        lambda left, right: soft_argmin(left - right),
    ],
    ids=["correlation", "groups", "concatenation", "distance", "residual", "soft argmin"],
)
def test_gradients(volume: Callable[[Tensor, Tensor], Tensor], generator: torch.Generator) -> None:
    left, right = torch.randn(2, 1, 2, 2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(volume, (left, right))


def test_gradients_reach_the_disparity(features: tuple[Tensor, Tensor]) -> None:
    left, right = (view[:1, :2, :2, :4] for view in features)
    disparity = torch.full((1, 2, 4), 0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: residual_volume(left, right, d, 1), (disparity,))


@pytest.mark.parametrize(
    "call",
    [
        lambda f: correlation(f, f, max_displacement=-1),
        lambda f: correlation(f, f, max_displacement=1, kernel_size=2),
        lambda f: correlation(f, f, max_displacement=1, stride=0),
        lambda f: row_correlation(f, f, levels=0),
        lambda f: group_wise_correlation(f, f, 2, 3),
        lambda f: concatenation_volume(f, f, 0),
        lambda f: distance_volume(f, f, 0),
        lambda f: residual_volume(f, f, f[:, 0], -1),
    ],
)
def test_what_no_volume_can_be_made_of(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(WrongInput):
        call(torch.zeros(1, 4, 2, 5))
