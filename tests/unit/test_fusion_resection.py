import pytest
import torch
from torch import Tensor

from depthweave import geometry
from depthweave.fusion.resection import camera_and_focal_from_points, camera_from_points

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
INTRINSICS = geometry.intrinsics_matrix(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
CAMERA_FROM_WORLD = geometry.pose_from_quaternion(
    torch.tensor([0.05, -0.1, 0.02, 0.99]), torch.tensor([0.3, -0.2, 0.5])
)


def world(count: int = 400, noise_px: float = 0.0) -> tuple[Tensor, Tensor]:
    """Points of the world and the pixels that show them."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    depth = 2 + 4 * torch.rand(count, 1, generator=generator)
    rays = torch.cat([(pixels - INTRINSICS[:2, 2]) / FOCAL, torch.ones(count, 1)], dim=1)
    points = geometry.transform_points(geometry.invert_pose(CAMERA_FROM_WORLD), rays * depth)
    return points, pixels + noise_px * torch.randn(count, 2, generator=generator)


def distance(found: Tensor) -> float:
    return float((found.float() - CAMERA_FROM_WORLD).abs().max())


def test_exact_points_give_the_pose() -> None:
    points, pixels = world()
    found = camera_from_points(points, pixels, INTRINSICS)
    assert found is not None
    pose, inliers = found
    assert pose.dtype == torch.float64
    assert distance(pose) < 1e-4
    assert bool(inliers.all())


def test_outliers_and_unusable_points_are_told() -> None:
    points, pixels = world(noise_px=0.3)
    points[:60] += 1.5
    points[60:80] = float("nan")
    found = camera_from_points(points, pixels, INTRINSICS, iterations=100)
    assert found is not None
    assert distance(found[0]) < 0.01
    assert not bool(found[1][60:80].any())
    assert int(found[1][:60].sum()) < 6
    assert bool(found[1][80:].all())


def test_the_threshold_decides_who_agrees() -> None:
    points, pixels = world()
    pixels[:10, 0] += 8
    narrow, wide = (camera_from_points(points, pixels, INTRINSICS, threshold_px=limit) for limit in (5.0, 12.0))
    assert narrow is not None
    assert wide is not None
    assert narrow[1].tolist() == [False] * 10 + [True] * 390
    assert bool(wide[1].all())


def test_a_point_behind_the_camera_does_not_agree() -> None:
    points, pixels = world()
    centre = geometry.invert_pose(CAMERA_FROM_WORLD)[:3, 3]
    points[7] = 2 * centre - points[7]
    found = camera_from_points(points, pixels, INTRINSICS)
    assert found is not None
    assert found[1].logical_not().nonzero().flatten().tolist() == [7]


def test_a_regular_part_of_the_points_says_the_same() -> None:
    points, pixels = world(noise_px=0.3)
    # All that lies between the chosen is wrong, and so would be the pose from all.
    step = torch.arange(400) % 4 != 0
    points[step] = points[step].flip(0)
    part = camera_from_points(points, pixels, INTRINSICS, most=100)
    assert part is not None
    assert distance(part[0]) < 0.01
    assert part[1].shape == (400,)
    assert bool(part[1][::4].all())
    assert float(part[1][step].float().mean()) < 0.2


def test_results_repeat() -> None:
    points, pixels = world(noise_px=2.0)
    first, second = (camera_from_points(points, pixels, INTRINSICS) for _ in range(2))
    assert first is not None
    assert second is not None
    assert torch.equal(first[0], second[0])


def test_too_few_points_and_points_without_a_pose_give_none() -> None:
    points, pixels = world()
    assert camera_from_points(points[:3], pixels[:3], INTRINSICS) is None
    assert camera_from_points(points[:0], pixels[:0], INTRINSICS) is None
    assert camera_from_points(points, pixels, INTRINSICS, most=3) is None
    assert camera_from_points(torch.full_like(points, torch.nan), pixels, INTRINSICS) is None
    assert camera_from_points(torch.ones_like(points), pixels, INTRINSICS) is None
    assert camera_and_focal_from_points(points[:3], pixels[:3], WIDTH, HEIGHT) is None


def test_an_unknown_focal_length_is_searched() -> None:
    points, pixels = world()
    found = camera_and_focal_from_points(points, pixels, WIDTH, HEIGHT, threshold_px=2.0, iterations=50)
    assert found is not None
    pose, inliers, focal_px = found
    # The candidates are 9.4 % apart, from 160 to 960 px.
    candidates = [160 * 6 ** (k / 20) for k in range(21)]
    assert min(abs(focal_px / each - 1) for each in candidates) < 1e-9
    assert focal_px == pytest.approx(FOCAL, rel=0.05)
    assert distance(pose) < 0.3
    assert float(inliers.float().mean()) > 0.7
