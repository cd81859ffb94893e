import math

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import edge_aware_smoothness, masked_mean

leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
orders = pytest.mark.parametrize("order", [1, 2])


def maps(*leading: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = 1 + torch.rand((*leading, 5, 7), generator=generator, dtype=dtype)
    return values, torch.rand((*leading, 3, 5, 7), generator=generator, dtype=dtype)


def plain(values: Tensor, guide: Tensor, order: int, beta: float) -> Tensor:
    """The formula, one pixel and one axis at a time."""
    height, width = values.shape
    result = torch.zeros_like(values)
    for y in range(height):
        for x in range(width):
            for step_y, step_x in ((0, 1), (1, 0)):
                steps = ((0, -1), (1, 1)) if order == 1 else ((-1, 1), (0, -2), (1, 1))
                places = [(y + n * step_y, x + n * step_x, factor) for n, factor in steps]
                if all(0 <= at_y < height and 0 <= at_x < width for at_y, at_x, _ in places):
                    change = sum(factor * values[at_y, at_x].item() for at_y, at_x, factor in places)
                    edges = [
                        abs(sum(factor * channel[at_y, at_x].item() for at_y, at_x, factor in places))
                        for channel in guide
                    ]
                    result[y, x] += abs(change) * math.exp(-beta * sum(edges) / len(edges))
    return result


@leading
@orders
def test_is_the_plain_sum(leading: tuple[int, ...], order: int) -> None:
    values, guide = maps(*leading)
    loss = edge_aware_smoothness(values, guide, order=order, beta=3)
    assert loss.shape == values.shape
    flat = zip(values.reshape(-1, 5, 7), guide.reshape(-1, 3, 5, 7), strict=True)
    expected = torch.stack([plain(v, g, order, 3.0) for v, g in flat]).reshape(values.shape)
    torch.testing.assert_close(loss, expected)


def test_first_order_by_hand() -> None:
    """A step of 2 in the values; the guide steps there by 1 in one of two channels, so by 1/2 on average."""
    values = torch.tensor([[1.0, 1.0, 3.0]]).expand(2, 3)
    guide = torch.stack((torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3), torch.zeros(2, 3)))
    loss = edge_aware_smoothness(values, guide, beta=4)
    torch.testing.assert_close(loss, torch.tensor([[0.0, 2 * math.exp(-2), 0.0]]).expand(2, 3))
    torch.testing.assert_close(edge_aware_smoothness(values.T, guide.mT, beta=4), loss.T)


def test_second_order_by_hand() -> None:
    """A crease: slope 0, then 3. The guide has its own crease one pixel on, so that only one of the two is excused."""
    values = torch.tensor([[0.0, 0.0, 0.0, 3.0, 6.0]])
    guide = torch.tensor([[[5.0, 5.0, 4.0, 3.0, 2.0]]])
    loss = edge_aware_smoothness(values, guide, order=2, beta=2)
    torch.testing.assert_close(loss, torch.tensor([[0.0, 0.0, 3.0, 0.0, 0.0]]))
    excused = edge_aware_smoothness(values, guide.roll(1, -1), order=2, beta=2)
    assert excused[0, 2].item() == pytest.approx(3 * math.exp(-2))


def test_planes_cost_nothing() -> None:
    _, guide = maps()
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    assert (edge_aware_smoothness(torch.full((5, 7), 4.0), guide) == 0).all()
    slanted = 3 + 2 * x - 0.5 * y
    assert (edge_aware_smoothness(slanted, guide, order=2) == 0).all()
    assert (edge_aware_smoothness(slanted, guide)[:-1, :-1] > 0).all()


@orders
def test_edges_of_the_guide_lower_the_cost(order: int) -> None:
    values = torch.zeros(6, 8)
    values[:, 4:] = 1
    flat, edge = torch.zeros(1, 6, 8), values.unsqueeze(0)
    costs = [
        edge_aware_smoothness(values, guide, order=order, beta=2).sum().item() for guide in (flat, 0.5 * edge, edge)
    ]
    assert costs[0] > costs[1] > costs[2] > 0
    elsewhere = edge_aware_smoothness(values, edge.roll(3, -2).roll(2, -1), order=order, beta=2).sum().item()
    assert elsewhere == pytest.approx(costs[0])
    assert edge_aware_smoothness(values, edge, order=order, beta=0).sum().item() == pytest.approx(costs[0])


def test_normalised_values_lose_their_factor() -> None:
    values, guide = maps(2)
    loss = edge_aware_smoothness(values, guide, normalise=True)
    factors = torch.tensor([0.01, 50.0])[:, None, None]
    torch.testing.assert_close(edge_aware_smoothness(factors * values, guide, normalise=True), loss)
    divided = values / values.mean((1, 2))[:, None, None]
    torch.testing.assert_close(loss, edge_aware_smoothness(divided, guide))
    assert (edge_aware_smoothness(torch.zeros(5, 7), guide[0], normalise=True) == 0).all()


@orders
@pytest.mark.parametrize("normalise", [False, True])
def test_gradients(order: int, normalise: bool) -> None:
    values, guide = maps(dtype=torch.float64)

    def loss(values: Tensor, guide: Tensor) -> Tensor:
        return edge_aware_smoothness(values, guide, order=order, beta=2, normalise=normalise)

    assert torch.autograd.gradcheck(loss, (values.requires_grad_(), guide.requires_grad_()))


@orders
def test_no_change_has_no_gradient(order: int) -> None:
    _, guide = maps()
    values = torch.full((5, 7), 2.0, requires_grad=True)
    edge_aware_smoothness(values, guide, order=order).sum().backward()
    assert values.grad is not None
    assert (values.grad == 0).all()


@orders
def test_a_masked_filler_spoils_its_neighbours_only(order: int) -> None:
    values, guide = maps()
    values[2, 3] = math.nan
    values.requires_grad_()
    loss = edge_aware_smoothness(values, guide, order=order)
    spoilt = {(2, 3), (2, 2), (1, 3)} if order == 1 else {(2, 3), (2, 2), (1, 3), (2, 4), (3, 3)}
    assert {tuple(place) for place in loss.isnan().nonzero().tolist()} == spoilt
    masked_mean(loss, ~loss.isnan()).backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad[2, 3] == 0


@orders
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 2), (3, 1)], ids=str)
def test_narrow_maps_have_fewer_terms(order: int, size: tuple[int, int]) -> None:
    values, guide = torch.rand(size), torch.rand(3, *size)
    loss = edge_aware_smoothness(values, guide, order=order)
    torch.testing.assert_close(loss, plain(values, guide, order, 1.0))


def test_impossible_options_are_refused() -> None:
    values, guide = maps()
    with pytest.raises(WrongInput, match="beta is -1"):
        edge_aware_smoothness(values, guide, beta=-1)
    with pytest.raises(WrongInput, match="order 3"):
        edge_aware_smoothness(values, guide, order=3)
