"""Two predictions of one scene: by hand, on a rendered pair, and where they have no partner."""

import math

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    forward_backward_consistency,
    forward_backward_mask,
    left_right_consistency,
    loop_consistency,
    masked_mean,
    round_trip,
)

NAN, INF = math.nan, math.inf
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)


def random(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def flow(x: list[list[float]], y: list[list[float]] | None = None) -> Tensor:
    along_x = torch.tensor(x)
    return torch.stack((along_x, torch.zeros_like(along_x) if y is None else torch.tensor(y)))


@leading
def test_left_right_by_hand(leading: tuple[int, ...]) -> None:
    """x = 0 and 1 go off the right view, 2 reads place 1, 3 reads the middle of 1 and 2, 4 reads place 4."""
    left = torch.tensor([[1.0, 2.0, 1.0, 1.5, 0.0]]).expand(*leading, 1, 5)
    right = torch.tensor([[9.0, 4.0, 5.0, 9.0, 3.0]]).expand(*leading, 1, 5)
    values, inside = left_right_consistency(left, right)
    torch.testing.assert_close(values, torch.tensor([[0.0, 0.0, 3.0, 3.0, 3.0]]).expand(*leading, 1, 5))
    assert torch.equal(inside, torch.tensor([[False, False, True, True, True]]).expand(*leading, 1, 5))


def test_the_right_view_is_the_mirrored_left_one() -> None:
    left = torch.tensor([[9.0, 3.0, 4.0, 9.0]])
    right = torch.tensor([[1.0, 1.0, 2.0, 0.0]])
    mirrored, inside = left_right_consistency(right.flip(-1), left.flip(-1))
    # x_left = x_right + d: places 1, 2, 4 (off), 3.
    torch.testing.assert_close(mirrored.flip(-1), torch.tensor([[2.0, 3.0, 0.0, 9.0]]))
    assert inside.flip(-1).tolist() == [[True, True, False, True]]


def test_true_disparities_agree() -> None:
    """A wall of 2 px with a box of 5 px before it; only what the box hides disagrees."""
    left, right = torch.full((3, 20), 2.0), torch.full((3, 20), 2.0)
    left[:, 10:14] = 5.0
    right[:, 5:9] = 5.0
    values, inside = left_right_consistency(left, right)
    wrong = (values > 0) & inside
    assert wrong[0].nonzero().flatten().tolist() == [7, 8, 9]


def test_there_and_back_by_hand() -> None:
    forward = flow([[1.0, 1.0, -0.5, 2.0]])
    backward = flow([[5.0, -1.0, -2.0, 7.0]], [[0.0, 0.25, 0.0, 0.0]])
    there_and_back, inside = round_trip(forward, backward)
    torch.testing.assert_close(there_and_back[0, 0, :3], torch.tensor([0.0, -1.0, -2.0]))
    torch.testing.assert_close(there_and_back[1, 0, :3], torch.tensor([0.25, 0.0, 0.125]))
    assert inside.tolist() == [[True, True, True, False]]
    values, mask = forward_backward_consistency(forward, backward, epsilon=1e-6, exponent=0.5)
    torch.testing.assert_close(values, torch.tensor([[0.25, 1.0, 2.125, 0.0]]), atol=1e-5, rtol=0)
    assert torch.equal(mask, inside)
    robust, _ = forward_backward_consistency(forward, backward)
    assert robust[0, 1].item() == pytest.approx((1 + 1e-6) ** 0.45 + (1e-6) ** 0.45)


def test_mask_by_hand() -> None:
    """|r|^2 against 0.01 (|F|^2 + |B|^2) + 0.5 on both sides of the bound."""
    back = [-9.0, -9.0]
    for away, agrees in ((1.4, True), (1.5, False)):
        # F = 10 at place 0 lands on 10, where B = -10 + away; the bound is 0.01 (100 + |B|^2) + 0.5.
        forward, backward = torch.zeros(2, 1, 12), torch.zeros(2, 1, 12)
        forward[0, 0, 0], backward[0, 0, 10] = 10.0, -10.0 + away
        bound = 0.01 * (100 + (10 - away) ** 2) + 0.5
        assert (away**2 < bound) is agrees
        assert forward_backward_mask(forward, backward)[0, 0].item() is agrees
    forward, backward = flow([[1.0, 1.0]]), flow([back])
    assert forward_backward_mask(forward, backward).tolist() == [[False, False]]
    assert forward_backward_mask(forward, backward, absolute=65).tolist() == [[True, False]]
    assert forward_backward_mask(forward, backward, relative=0.8).tolist() == [[True, False]]


def test_mask_has_no_gradient_and_leaves_the_unknown_out() -> None:
    forward, backward = torch.zeros(2, 2, 3, requires_grad=True), torch.zeros(2, 2, 3)
    backward[0, 0, 1] = NAN
    with torch.no_grad():
        forward[1, 1, 2] = INF
    mask = forward_backward_mask(forward, backward)
    assert not mask.requires_grad
    assert (~mask).nonzero().tolist() == [[0, 1], [1, 2]]


def test_loop_by_hand() -> None:
    first, second = torch.tensor([[2.0, 3.0, 4.0]]), torch.tensor([[1.0, 2.5, 3.5]])
    values, inside = loop_consistency(first, second, flow([[1.0, 0.5, 1.0]]))
    torch.testing.assert_close(values, torch.tensor([[0.5, 0.0, 0.0]]))
    assert inside.tolist() == [[True, True, False]]


def test_loop_of_a_camera_that_drives_forward() -> None:
    from depthweave import geometry

    intrinsics = geometry.intrinsics_matrix(10.0, 10.0, 5.0, 3.0)
    step = torch.eye(4)
    step[2, 3] = -0.5
    first, second = torch.full((7, 11), 4.0), torch.full((7, 11), 3.5)
    moved, seen = geometry.rigid_flow(first, intrinsics, step)
    expected, _ = geometry.depth_in_second(first, intrinsics, step)
    values, inside = loop_consistency(expected, second, moved)
    assert seen.all()
    assert inside.sum() > 40
    torch.testing.assert_close(values, torch.zeros(7, 11))
    without, _ = loop_consistency(first, second, moved)
    assert masked_mean(without, inside).item() == pytest.approx(0.5)


@leading
def test_batches_are_items(leading: tuple[int, ...]) -> None:
    forward, backward = random(*leading, 2, 4, 5, low=-1), random(*leading, 2, 4, 5, low=-1, high=2)
    depths = random(*leading, 4, 5), random(*leading, 4, 5) + 1
    results = (
        forward_backward_consistency(forward, backward)[0],
        forward_backward_mask(forward, backward),
        loop_consistency(*depths, forward)[0],
    )
    items = zip(*(x.reshape(-1, *x.shape[len(leading) :]) for x in (forward, backward, *depths)), strict=True)
    for number, (f, b, first, second) in enumerate(items):
        alone = (
            forward_backward_consistency(f, b)[0],
            forward_backward_mask(f, b),
            loop_consistency(first, second, f)[0],
        )
        for whole, one in zip(results, alone, strict=True):
            assert whole.shape == (*leading, 4, 5)
            torch.testing.assert_close(whole.reshape(-1, 4, 5)[number], one)


@pytest.mark.parametrize("filler", [NAN, INF, -INF])
def test_unknown_partners_spoil_who_reads_them_only(filler: float) -> None:
    left, right = torch.full((1, 6), 1.5), torch.full((1, 6), 2.0)
    right[0, 2] = filler
    left.requires_grad_()
    right.requires_grad_()
    values, inside = left_right_consistency(left, right)
    # Places 3 and 4 read around 2; 0 and 1 are off the view.
    assert values.isnan().tolist() == [[False, False, False, True, True, False]]
    masked_mean(values, inside & ~values.isnan()).backward()
    for gradient in (left.grad, right.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert right.grad[0, 2] == 0


def test_a_pixel_without_motion_has_no_partner() -> None:
    left = torch.tensor([[0.0, NAN, 0.0]], requires_grad=True)
    values, inside = left_right_consistency(left, torch.ones(1, 3))
    assert inside.tolist() == [[True, False, True]]
    assert values.tolist() == [[1, 0, 1]]
    masked_mean(values, inside).backward()
    assert left.grad is not None
    assert left.grad.tolist() == [[-0.5, 0.0, -0.5]]


def test_gradients() -> None:
    left, right = random(3, 6, low=0.3, high=0.7).requires_grad_(), random(3, 6, low=2, high=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: left_right_consistency(a, b)[0], (left, right))
    forward, backward = (random(2, 3, 6, low=low, high=low + 0.3).requires_grad_() for low in (0.3, 0.6))
    assert torch.autograd.gradcheck(lambda a, b: forward_backward_consistency(a, b)[0], (forward, backward))
    assert torch.autograd.gradcheck(lambda a, b, f: loop_consistency(a, b, f)[0], (left, right, forward))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(WrongInput, match="epsilon is 0"):
        forward_backward_consistency(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1), epsilon=0)
