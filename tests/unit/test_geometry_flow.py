"""Motion in the picture by hand, against the points that it comes from, and what must not have a gradient."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from depthweave import geometry

leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
INTRINSICS = geometry.intrinsics_matrix(20.0, 25.0, 3.0, 2.0)


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, *, turn_deg: float = 0.0) -> Tensor:
    """A turn about y, then a move."""
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    return torch.tensor([[c, 0, s, x], [0, 1, 0, y], [-s, 0, c, z], [0, 0, 0, 1]])


def depths(*leading: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return 2 + torch.rand((*leading, 4, 6), generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_flow_reads_the_second_view_ahead() -> None:
    image = torch.tensor([[[0.0, 1, 2], [10, 11, 12]]])
    flow = torch.zeros(2, 2, 3)
    flow[0, 0] = torch.tensor([1.0, 0.5, 1.0])
    flow[1, 1] = torch.tensor([-1.0, -0.5, -3.0])
    values, inside = geometry.warp_by_flow(image, flow)
    torch.testing.assert_close(values, torch.tensor([[[1.0, 1.5, 0.0], [0.0, 6.0, 0.0]]]))
    assert inside.tolist() == [[True, True, False], [True, True, False]]


@leading
def test_disparity_is_a_flow_to_the_left(leading: tuple[int, ...]) -> None:
    right, disparity = torch.rand(*leading, 3, 4, 6), 3 * torch.rand(*leading, 4, 6)
    by_flow = geometry.warp_by_flow(right, torch.stack((-disparity, torch.zeros_like(disparity)), dim=-3))
    by_disparity = geometry.warp_by_disparity(right, disparity)
    torch.testing.assert_close(by_flow[0], by_disparity[0])
    assert torch.equal(by_flow[1], by_disparity[1])


def test_unknown_motion_reads_nothing() -> None:
    flow = torch.zeros(2, 2, 3)
    flow[0, 1, 1] = math.nan
    values, inside = geometry.warp_by_flow(torch.ones(1, 2, 3), flow)
    assert (~inside).nonzero().tolist() == [[1, 1]]
    assert values[0, 1, 1] == 0
    assert values.sum() == 5


def test_moves_by_hand() -> None:
    """A camera 0.1 to the right: f_x b / Z to the left. A step forward: away from the principal point."""
    depth = torch.full((4, 6), 4.0)
    flow, in_front = geometry.rigid_flow(depth, INTRINSICS, pose(x=-0.1))
    torch.testing.assert_close(flow, torch.tensor([-0.5, 0.0])[:, None, None].expand(2, 4, 6))
    assert in_front.all()
    forward, _ = geometry.rigid_flow(depth, INTRINSICS, pose(z=-2.0))
    grid = geometry.pixel_grid(4, 6)
    torch.testing.assert_close(forward, (grid - torch.tensor([3.0, 2.0])).movedim(-1, 0))


def test_other_intrinsics_move_even_a_still_camera() -> None:
    other = geometry.intrinsics_matrix(40.0, 25.0, 10.0, 2.5)
    flow, _ = geometry.rigid_flow(torch.ones(4, 6), INTRINSICS, pose(), other)
    x = torch.arange(6.0).expand(4, 6)
    torch.testing.assert_close(flow, torch.stack((2 * (x - 3) + 10 - x, torch.full((4, 6), 0.5))))


@leading
def test_is_where_the_points_are_seen(leading: tuple[int, ...]) -> None:
    depth, second_from_first = depths(*leading), pose(0.2, -0.1, 0.3, turn_deg=8)
    skewed = INTRINSICS.clone()
    skewed[0, 1] = 1.5
    flow, in_front = geometry.rigid_flow(depth, skewed, second_from_first)
    assert flow.shape == (*leading, 2, 4, 6)
    assert in_front.shape == depth.shape
    points = geometry.unproject(depth, skewed).flatten(-3, -2)
    pixels, z = geometry.project(geometry.transform_points(second_from_first, points), skewed)
    expected = pixels.reshape(*depth.shape, 2) - geometry.pixel_grid(4, 6)
    torch.testing.assert_close(flow, expected.movedim(-1, -3))
    seen, mask = geometry.depth_in_second(depth, skewed, second_from_first)
    torch.testing.assert_close(seen, z.reshape(depth.shape))
    assert mask.all()


def test_each_of_a_batch_has_its_own_camera() -> None:
    depth, poses = depths(2), torch.stack((pose(x=1.0), pose(z=0.5)))
    cameras = torch.stack((INTRINSICS, geometry.scale_intrinsics(INTRINSICS, scale_x=2.0, scale_y=2.0)))
    flow, _ = geometry.rigid_flow(depth, cameras, poses)
    for item in range(2):
        torch.testing.assert_close(flow[item], geometry.rigid_flow(depth[item], cameras[item], poses[item])[0])


@pytest.mark.parametrize("nowhere", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_not_in_front_has_no_motion_and_no_gradient(nowhere: float) -> None:
    depth = depths()
    depth[1, 2] = nowhere
    depth[2, 4] = 2.5
    depth.requires_grad_()
    # A step forward: points nearer than 2.5 come to lie behind the second camera, one at 2.5 in it.
    second_from_first = pose(z=-2.5).requires_grad_()
    flow, in_front = geometry.rigid_flow(depth, INTRINSICS, second_from_first)
    expected = (depth > 2.5) & depth.isfinite()
    assert torch.equal(in_front, expected)
    assert 0 < expected.sum() < depth.numel() - 1
    assert flow[:, ~in_front].isnan().all()
    assert flow[:, in_front].isfinite().all()
    torch.where(in_front, flow, 0.0).sum().backward()
    for gradient in (depth.grad, second_from_first.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert (depth.grad[~in_front] == 0).all()
    seen, mask = geometry.depth_in_second(depth, INTRINSICS, second_from_first)
    assert torch.equal(mask, in_front)
    assert torch.equal(seen.isnan(), ~in_front)


def test_views_are_synthesised_from_the_source() -> None:
    """A plane seen by a camera that moves sideways: the source shifted by two pixels."""
    source = torch.rand(3, 4, 6)
    depth, second_from_first = torch.full((4, 6), 1.0), pose(x=-0.1)
    values, inside = geometry.warp_by_depth(source, depth, INTRINSICS, second_from_first)
    assert inside.tolist() == [[False, False, True, True, True, True]] * 4
    torch.testing.assert_close(values[..., 2:], source[..., :-2], atol=1e-5, rtol=0)
    hidden = depth.clone()
    hidden[0, 3] = math.nan
    _, inside = geometry.warp_by_depth(source, hidden, INTRINSICS, second_from_first)
    assert not inside[0, 3]
    assert inside.sum() == 15


def test_is_exact_under_autocast() -> None:
    depth, second_from_first = depths(), pose(0.2, 0, 0.3, turn_deg=8)
    expected, _ = geometry.rigid_flow(depth, INTRINSICS, second_from_first)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        flow, _ = geometry.rigid_flow(depth, INTRINSICS, second_from_first)
    assert torch.equal(flow, expected)
    half, _ = geometry.rigid_flow(depth.half(), INTRINSICS, second_from_first)
    assert half.dtype == torch.float32


def test_gradients() -> None:
    depth = depths(dtype=torch.float64).requires_grad_()
    second_from_first = pose(0.05, -0.03, 0.1, turn_deg=2).double().requires_grad_()
    intrinsics = INTRINSICS.double()
    image = torch.rand(2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda d, p: geometry.rigid_flow(d, intrinsics, p)[0], (depth, second_from_first))
    assert gradcheck(lambda d, p: geometry.depth_in_second(d, intrinsics, p)[0], (depth, second_from_first))
    assert gradcheck(lambda i, d, p: geometry.warp_by_depth(i, d, intrinsics, p)[0], (image, depth, second_from_first))
