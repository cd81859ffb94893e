import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from depthweave import geometry

LEADING = [(), (2,), (1, 2)]
leading = pytest.mark.parametrize("leading", LEADING, ids=str)

PINHOLE = geometry.intrinsics_matrix(500.0, 400.0, 3.0, 2.0)
RIG = {"focal_px": 700.0, "baseline_m": 0.1}


def random(*shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def quarter_turn_about_y() -> Tensor:
    """b_from_a: turn x into -z and z into x, then move by (1, 2, 3)."""
    return torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]])


# Disparity and depth


def test_depth_from_disparity_by_hand() -> None:
    disparity = torch.tensor([[70.0, 35.0, 0.0, -1.0]])
    depth = geometry.depth_from_disparity(disparity, **RIG)
    torch.testing.assert_close(depth, torch.tensor([[1.0, 2.0, torch.inf, torch.inf]]))


def test_doffs_is_added_to_the_disparity() -> None:
    disparity = torch.tensor([[-35.0, 0.0, 35.0]])
    depth = geometry.depth_from_disparity(disparity, **RIG, doffs_px=35.0)
    torch.testing.assert_close(depth, torch.tensor([[torch.inf, 2.0, 1.0]]))
    again = geometry.disparity_from_depth(depth, **RIG, doffs_px=35.0)
    torch.testing.assert_close(again, torch.tensor([[-35.0, 0.0, 35.0]]))


def test_depth_that_no_camera_sees_has_no_disparity() -> None:
    disparity = geometry.disparity_from_depth(torch.tensor([[2.0, 0.0, -1.0]]), **RIG)
    assert disparity[0, 0] == 35
    assert disparity[0, 1:].isnan().all()


def test_gradients_stay_finite_under_fillers_of_zero() -> None:
    depth = torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    geometry.disparity_from_depth(depth, **RIG).nansum().backward()
    torch.testing.assert_close(depth.grad, torch.tensor([[0.0, -70.0, -17.5]]))
    disparity = torch.tensor([[0.0, 70.0]], requires_grad=True)
    geometry.depth_from_disparity(disparity, **RIG)[0, 1].backward()
    torch.testing.assert_close(disparity.grad, torch.tensor([[0.0, -1 / 70]]))
    length = torch.tensor([[0.0, 1.0]], requires_grad=True)
    geometry.ray_length_from_depth(length, torch.eye(3)).sum().backward()
    torch.testing.assert_close(length.grad, torch.tensor([[1.0, math.sqrt(2)]]))


def test_depth_uncertainty_by_hand_and_against_a_difference() -> None:
    depth = torch.tensor([[2.0]], dtype=torch.float64)
    spread = geometry.depth_uncertainty(depth, **RIG, disparity_error_px=0.5)
    assert spread.item() == pytest.approx(4 / 70 * 0.5)
    moved = geometry.depth_from_disparity(geometry.disparity_from_depth(depth, **RIG) - 1e-4, **RIG) - depth
    first_order = geometry.depth_uncertainty(depth, **RIG, disparity_error_px=torch.full_like(depth, 1e-4))
    torch.testing.assert_close(moved, first_order, rtol=1e-4, atol=0)


@leading
def test_shapes_of_disparity_functions(leading: tuple[int, ...]) -> None:
    d = random(*leading, 4, 5, low=1, high=9)
    depth = geometry.depth_from_disparity(d, **RIG)
    assert depth.shape == d.shape
    assert geometry.disparity_from_depth(depth, **RIG).shape == d.shape
    assert geometry.depth_uncertainty(depth, **RIG).shape == d.shape
    hidden = geometry.occlusion_from_disparity(d, d)
    flying = geometry.flying_pixels(depth, d > 0)
    assert hidden.shape == flying.shape == d.shape
    assert hidden.dtype == flying.dtype == torch.bool


def test_occlusion_by_hand() -> None:
    # A block of disparity 2 at left columns 3 and 4 stands before a wall of disparity 0: it hides columns 1 and 2.
    left = torch.tensor([[0.0, 0, 0, 2, 2, 0]])
    right = torch.tensor([[0.0, 2, 2, 0, 0, 0]])
    assert geometry.occlusion_from_disparity(left, right).tolist() == [[False, True, True, False, False, False]]
    leaves = geometry.occlusion_from_disparity(torch.tensor([[1.0, 1.0]]), torch.ones(1, 2))
    assert leaves.tolist() == [[True, False]]


def test_occlusion_threshold_counts() -> None:
    left, right = torch.full((1, 4), 0.4), torch.full((1, 4), 1.0)
    assert not geometry.occlusion_from_disparity(left, right).any()
    assert geometry.occlusion_from_disparity(left, right, threshold_px=0.5).all()


def test_flying_pixels_finds_the_veil_only() -> None:
    row = torch.tensor([1.0, 1.0, 1.6, 2.0, 2.0])
    depth = row.expand(4, 5).clone()
    flying = geometry.flying_pixels(depth, torch.ones(4, 5, dtype=torch.bool))
    assert flying.tolist() == [[False, False, True, False, False]] * 4
    assert geometry.flying_pixels(depth.T, torch.ones(5, 4, dtype=torch.bool)).equal(flying.T)


def test_flying_pixels_keeps_edges_and_slants() -> None:
    everywhere = torch.ones(6, 8, dtype=torch.bool)
    edge = torch.where(torch.arange(8) < 4, 1.0, 3.0).expand(6, 8).clone()
    slant = (2 * 1.04 ** torch.arange(8.0)).expand(6, 8).clone()
    assert not geometry.flying_pixels(edge, everywhere).any()
    assert not geometry.flying_pixels(slant, everywhere).any()
    assert geometry.flying_pixels(slant, everywhere, relative_jump=0.01)[:, 1:-1].all()


def test_flying_pixels_does_not_look_at_invalid_neighbours() -> None:
    depth = torch.full((3, 3), 2.0)
    depth[0], depth[2] = 1e30, 1e-30
    valid = torch.zeros(3, 3, dtype=torch.bool)
    valid[1] = True
    assert not geometry.flying_pixels(depth, valid).any()
    valid[1, 1:] = False
    assert geometry.flying_pixels(depth, valid).tolist() == [[False] * 3, [True, False, False], [False] * 3]


# The pinhole camera


@leading
def test_unproject_and_project_shapes_with_one_camera_or_many(leading: tuple[int, ...]) -> None:
    depth = random(*leading, 3, 4, low=1, high=2)
    for k in (PINHOLE, PINHOLE.expand(*leading, 3, 3)):
        points = geometry.unproject(depth, k)
        assert points.shape == (*leading, 3, 4, 3)
        pixels, z = geometry.project(points.flatten(-3, -2), k)
        assert pixels.shape == (*leading, 12, 2)
        assert z.shape == (*leading, 12)


def test_unproject_by_hand() -> None:
    points = geometry.unproject(torch.full((3, 4), 2.0), PINHOLE)
    torch.testing.assert_close(points[2, 3], torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(points[0, 0], torch.tensor([-3 * 2 / 500, -2 * 2 / 400, 2.0]))


def test_unproject_and_project_agree_on_skew() -> None:
    k = torch.tensor([[500.0, 7.0, 3.0], [0.0, 400.0, 2.0], [0.0, 0.0, 1.0]])
    points = geometry.unproject(random(5, 6, low=1, high=4), k).reshape(-1, 3)
    torch.testing.assert_close(geometry.project(points, k)[0], geometry.pixel_grid(5, 6).reshape(-1, 2))


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels, depth = geometry.project(torch.tensor([[1.0, 1, 2], [1, 1, 0], [1, 1, -2]]), PINHOLE)
    torch.testing.assert_close(pixels[0], torch.tensor([253.0, 202.0]))
    assert pixels[1:].isnan().all()
    assert depth.tolist() == [2, 0, -2]


def test_field_of_view_spans_the_outer_borders() -> None:
    k = geometry.intrinsics_from_fov(90.0, 200, 100)
    assert k[0, 0].item() == pytest.approx(100)
    assert k[:2, 2].tolist() == [99.5, 49.5]
    horizontal, vertical = geometry.field_of_view(k, 200, 100)
    assert horizontal == pytest.approx(90)
    assert vertical == pytest.approx(2 * math.degrees(math.atan(0.5)))


@leading
def test_scaled_intrinsics_keep_the_corner_of_the_picture(leading: tuple[int, ...]) -> None:
    scaled = geometry.scale_intrinsics(PINHOLE.expand(*leading, 3, 3), scale_x=0.5, scale_y=2.0)
    expected = torch.tensor([[250.0, 0, 1.25], [0, 800.0, 4.5], [0, 0, 1]])
    torch.testing.assert_close(scaled, expected.expand(*leading, 3, 3))
    assert PINHOLE[0, 0] == 500


def test_pixel_grid_is_x_then_y() -> None:
    grid = geometry.pixel_grid(2, 3, dtype=torch.float64)
    assert grid.dtype == torch.float64
    assert grid[1].tolist() == [[0, 1], [1, 1], [2, 1]]


# Rays


@leading
def test_rays(leading: tuple[int, ...]) -> None:
    k = PINHOLE.expand(*leading, 3, 3)
    rays = geometry.ray_directions(k, 4, 5)
    assert rays.shape == (*leading, 4, 5, 3)
    assert (rays[..., 2] == 1).all()
    unit = geometry.ray_directions(k, 4, 5, unit_length=True)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(*leading, 4, 5))
    depth = random(*leading, 4, 5, low=1, high=3)
    torch.testing.assert_close(rays * depth[..., None], geometry.unproject(depth, k))


def test_ray_length_by_hand() -> None:
    k = geometry.intrinsics_matrix(1.0, 1.0, 0.0, 0.0)
    length = geometry.ray_length_from_depth(torch.tensor([[3.0, 3.0, 3.0]]), k)
    torch.testing.assert_close(length, torch.tensor([[3.0, 3 * math.sqrt(2), 3 * math.sqrt(5)]]))
    torch.testing.assert_close(geometry.depth_from_ray_length(length, k), torch.full((1, 3), 3.0))


# Poses


@leading
def test_pose_shapes_and_hand_values(leading: tuple[int, ...]) -> None:
    b_from_a = quarter_turn_about_y().expand(*leading, 4, 4)
    points = torch.tensor([[1.0, 0, 0], [0, 0, 1]]).expand(*leading, 2, 3)
    moved = geometry.transform_points(b_from_a, points)
    torch.testing.assert_close(moved, torch.tensor([[1.0, 2, 2], [2, 2, 3]]).expand(*leading, 2, 3))
    back = geometry.transform_points(geometry.invert_pose(b_from_a), moved)
    torch.testing.assert_close(back, points)


def test_relative_pose_is_b_from_a() -> None:
    world_from_a, world_from_b = quarter_turn_about_y(), torch.eye(4)
    world_from_b[:3, 3] = torch.tensor([0.0, 0, 5])
    point = torch.tensor([[1.0, 2, 3]])
    b_from_a = geometry.relative_pose(world_from_a, world_from_b)
    in_world = geometry.transform_points(world_from_a, point)
    torch.testing.assert_close(geometry.transform_points(b_from_a, point), in_world - torch.tensor([0.0, 0, 5]))


@leading
def test_pose_from_quaternion_is_xyzw_and_normalises(leading: tuple[int, ...]) -> None:
    half = torch.tensor([0.0, 3.0, 0.0, 3.0]).expand(*leading, 4)
    pose = geometry.pose_from_quaternion(half, torch.tensor([1.0, 2, 3]).expand(*leading, 3))
    torch.testing.assert_close(pose, quarter_turn_about_y().expand(*leading, 4, 4))


# Two views


@leading
def test_epipolar_constraint_holds_for_seen_points(leading: tuple[int, ...]) -> None:
    b_from_a = quarter_turn_about_y().double()
    b_from_a[:3, :3] = geometry.pose_from_quaternion(torch.tensor([0.1, 0.2, -0.1, 1.0]), torch.zeros(3))[:3, :3]
    points_a = random(*leading, 8, 3, low=-1, high=1, dtype=torch.float64) + torch.tensor([0.0, 0, 4])
    points_b = geometry.transform_points(b_from_a, points_a)
    k = PINHOLE.double()
    (pixels_a, _), (pixels_b, z) = geometry.project(points_a, k), geometry.project(points_b, k)
    assert (z > 0).all()
    essential = geometry.essential_from_pose(b_from_a.expand(*leading, 4, 4))
    fundamental = geometry.fundamental_from_essential(essential, k, k)
    assert essential.shape == fundamental.shape == (*leading, 3, 3)
    distance = geometry.sampson_distance(pixels_a, pixels_b, fundamental)
    assert distance.shape == (*leading, 8)
    one_for_all = fundamental.reshape(-1, 3, 3)[0]
    torch.testing.assert_close(geometry.sampson_distance(pixels_a, pixels_b, one_for_all), distance)
    assert distance.max() < 1e-6
    off = geometry.sampson_distance(pixels_a, pixels_b + 5.0, fundamental)
    assert off.max() > 1
    swapped = geometry.sampson_distance(pixels_b + 5.0, pixels_a, fundamental.transpose(-1, -2))
    torch.testing.assert_close(swapped, off)


def test_sampson_distance_by_hand() -> None:
    # Rectified: F = [(1, 0, 0)]_x, so the residual is y_a - y_b and the slope is 2.
    fundamental = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    a, b = torch.tensor([[10.0, 5.0], [3.0, 7.0]]), torch.tensor([[4.0, 5.0], [3.0, 9.0]])
    torch.testing.assert_close(geometry.sampson_distance(a, b, fundamental), torch.tensor([0.0, 2.0]))


# Warping


@leading
def test_warp_by_hand(leading: tuple[int, ...]) -> None:
    right = torch.tensor([[0.0, 10.0, 20.0, 30.0]]).expand(*leading, 3, 1, 4)
    disparity = torch.tensor([[1.0, 1.0, 0.5, -1.0]]).expand(*leading, 1, 4)
    left, inside = geometry.warp_by_disparity(right, disparity)
    assert left.shape == (*leading, 3, 1, 4)
    assert inside.shape == (*leading, 1, 4)
    torch.testing.assert_close(left, torch.tensor([[0.0, 0.0, 15.0, 0.0]]).expand_as(left))
    assert inside.reshape(-1, 4)[0].tolist() == [False, True, True, False]


def test_sample_reads_the_border_for_half_a_pixel_more() -> None:
    image = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    asked = torch.tensor([[[-0.5, 0.0], [-0.6, 0.0], [1.5, 1.5], [0.5, 0.5], [torch.nan, 0.0], [torch.inf, 0.0]]])
    values, inside = geometry.sample(image, asked)
    assert inside.tolist() == [[True, False, True, True, False, False]]
    torch.testing.assert_close(values, torch.tensor([[[1.0, 0.0, 4.0, 2.5, 0.0, 0.0]]]))


# Gradients in float64


def test_gradient_of_depth_from_disparity() -> None:
    d = random(3, 4, low=1, high=5, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: geometry.depth_from_disparity(x, focal_px=20.0, baseline_m=0.1, doffs_px=0.5), (d,))


def test_gradient_of_warp_by_disparity() -> None:
    right = random(2, 4, 6, dtype=torch.float64).requires_grad_()
    d = random(4, 6, low=0.2, high=0.8, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda image, disparity: geometry.warp_by_disparity(image, disparity)[0], (right, d))


def test_gradient_of_sampson_distance() -> None:
    tensors = [random(*shape, low=low, high=2, dtype=torch.float64) for shape, low in (((5, 2), 0), ((5, 2), 1))]
    fundamental = random(3, 3, low=-1, high=1, dtype=torch.float64)
    inputs = tuple(tensor.requires_grad_() for tensor in (*tensors, fundamental))
    assert gradcheck(geometry.sampson_distance, inputs)
