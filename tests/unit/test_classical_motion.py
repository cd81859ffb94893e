"""Corners that are followed, cameras that are placed by them, and the adjustment of both."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from depthweave.classical.bundle import Bundle, Observations, adjust, projection_slopes
from depthweave.classical.motion import CameraMotion, camera_motion
from depthweave.classical.sparse_map import rotation_between
from depthweave.classical.tracks import FeatureTracker

INTRINSICS = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
SIZE = (480, 640)


def pose_of(rotation: tuple[float, float, float], translation: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.array(rotation, np.float64))[0], translation
    return pose


def sliding(count: int, step: float = 0.08) -> np.ndarray:
    """world_from_camera of a camera that slides to the right, sways, and turns."""
    return np.stack(
        [pose_of((0.02 * np.sin(t), 0.01 * t, 0), (step * t, 0.05 * np.sin(t), 0.04 * t)) for t in range(count)]
    )


def look(
    poses: np.ndarray,
    points: np.ndarray,
    *,
    noise_px: float = 0.2,
    seed: int = 0,
    wrong: float = 0.0,
    first_id: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What cameras see of points, as a tracker tells it."""
    rng = np.random.default_rng(seed)
    frames = []
    for pose in poses:
        camera = np.linalg.inv(pose)
        seen = points @ camera[:3, :3].T + camera[:3, 3]
        pixels = (seen @ INTRINSICS.T)[:, :2] / seen[:, 2:]
        inside = (seen[:, 2] > 0) & (pixels >= 0).all(1) & (pixels <= [SIZE[1] - 1, SIZE[0] - 1]).all(1)
        pixels = pixels + rng.normal(0, noise_px, pixels.shape)
        off = rng.random(len(points)) < wrong
        pixels[off] += rng.normal(0, 40, (int(off.sum()), 2))
        frames.append((np.flatnonzero(inside) + first_id, pixels[inside].astype(np.float32)))
    return frames


def median_depth(pose: np.ndarray, points: np.ndarray) -> float:
    camera = np.linalg.inv(pose)
    ids = look(pose[None], points)[0][0]
    return float(np.median((points[ids] @ camera[:3, :3].T + camera[:3, 3])[:, 2]))


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(1).uniform([-4, -3, 3], [6, 3, 9], (1500, 3))


def centre_errors(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Largest distance of camera centres after a similarity, as a share of the path; and the scale (true / found)."""
    a, b = found[:, :3, 3], true[:, :3, 3]
    left, right = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(right.T @ left)
    sign = np.diag([1, 1, np.linalg.det(u @ vt)])
    scale = np.trace(np.diag(s) @ sign) / (left**2).sum()
    error = np.linalg.norm(scale * left @ (u @ sign @ vt).T - right, axis=1).max()
    return error / np.linalg.norm(np.diff(b, axis=0), axis=1).sum(), scale


def test_slopes_are_those_of_small_steps() -> None:
    points = np.array([[0.3, -0.2, 2.0], [-1.0, 0.5, 4.0]])
    intrinsics = INTRINSICS.copy()
    intrinsics[1, 1] = 450.0

    def project(moved: np.ndarray) -> np.ndarray:
        return (moved @ intrinsics.T)[:, :2] / moved[:, 2:]

    by_point, by_camera = projection_slopes(points, intrinsics)
    step = 1e-6
    for axis in range(3):
        shift = np.eye(3)[axis] * step
        expected = (project(points + shift) - project(points - shift)) / (2 * step)
        np.testing.assert_allclose(by_point[:, :, axis], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(by_camera[:, :, axis], expected, rtol=1e-6, atol=1e-6)
        turns = [cv2.Rodrigues(sign * shift)[0] for sign in (1, -1)]
        expected = (project(points @ turns[0].T) - project(points @ turns[1].T)) / (2 * step)
        np.testing.assert_allclose(by_camera[:, :, 3 + axis], expected, rtol=1e-5, atol=1e-5)


def bundle_and_observations(points: np.ndarray, wrong: float = 0.0) -> tuple[Bundle, Observations]:
    poses = sliding(8)
    frames = look(poses, points, wrong=wrong)
    cameras = np.concatenate([np.full(len(ids), camera) for camera, (ids, _) in enumerate(frames)])
    seen = Observations(
        cameras, np.concatenate([ids for ids, _ in frames]), np.concatenate([p for _, p in frames]).astype(np.float64)
    )
    return Bundle(np.linalg.inv(poses), points, INTRINSICS), seen


def test_adjusting_finds_cameras_points_and_focal_length_in_spite_of_wrong_corners(points: np.ndarray) -> None:
    true, seen = bundle_and_observations(points, wrong=0.03)
    rng = np.random.default_rng(2)
    poses = true.camera_from_world.copy()
    for pose in poses[1:]:
        pose[:3, :3] = cv2.Rodrigues(rng.normal(0, 0.01, 3))[0] @ pose[:3, :3]
        pose[:3, 3] += rng.normal(0, 0.02, 3)
    guess = INTRINSICS * np.array([[1.15, 1, 1], [1, 1.15, 1], [1, 1, 1]])
    start = Bundle(poses, points * rng.normal(1, 0.05, (len(points), 1)), guess)
    found = adjust(start, seen, refine_focal=True, iterations=40)
    assert np.median(np.linalg.norm(start.residuals_px(seen), axis=1)) > 10
    assert np.median(np.linalg.norm(found.residuals_px(seen), axis=1)) < 0.3
    assert found.intrinsics[0, 0] == pytest.approx(500, rel=0.005)
    assert found.intrinsics[1, 1] == found.intrinsics[0, 0]
    np.testing.assert_array_equal(found.camera_from_world[0], start.camera_from_world[0])
    assert centre_errors(np.linalg.inv(found.camera_from_world), np.linalg.inv(true.camera_from_world))[0] < 1e-2


def test_adjusting_leaves_fixed_cameras_and_the_focal_length(points: np.ndarray) -> None:
    true, seen = bundle_and_observations(points)
    start = replace(true, points=points * 1.02)
    fixed = np.arange(8) < 5
    found = adjust(start, seen, fixed=fixed)
    np.testing.assert_array_equal(found.camera_from_world[fixed], true.camera_from_world[fixed])
    np.testing.assert_array_equal(found.intrinsics, INTRINSICS)
    often = np.bincount(seen.points, minlength=len(points)) >= 5
    assert np.median((np.linalg.norm(found.points - points, axis=1) / points[:, 2])[often]) < 5e-3


def test_a_point_behind_a_camera_is_no_good_fit() -> None:
    seen = Observations(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([[319.5, 239.5]]))
    behind = Bundle(np.eye(4)[None], np.array([[0.0, 0.0, -2.0]]), INTRINSICS)
    assert np.linalg.norm(behind.residuals_px(seen)) > 100


def test_a_turning_camera_leaves_nothing_but_a_moving_one_does(points: np.ndarray) -> None:
    for moves, low, high in ((0.0, 0.0, 0.2), (0.4, 4.0, 100.0)):
        poses = np.stack([np.eye(4), pose_of((0.01, 0.06, -0.02), (moves, 0, 0))])
        (ids_a, a), (ids_b, b) = look(poses, points, noise_px=0.0)
        _, here, there = np.intersect1d(ids_a, ids_b, return_indices=True)
        rotation, left = rotation_between(a[here].astype(float), b[there].astype(float), INTRINSICS)
        assert low <= np.median(left) < high
        if not moves:
            np.testing.assert_allclose(rotation, poses[1, :3, :3].T, atol=1e-5)


def test_a_clip_is_placed(points: np.ndarray) -> None:
    poses = sliding(30)
    found = camera_motion(look(poses, points, wrong=0.02), INTRINSICS, SIZE)
    assert (found.segment == 0).all()
    error, scale = centre_errors(found.world_from_camera, poses)
    assert error < 2e-3
    depth = [median_depth(pose, points) for pose in poses]
    np.testing.assert_allclose(found.depth * scale, depth, rtol=0.2)
    assert found.residual_px < 0.5
    assert not found.focal_found


def test_the_focal_length_is_found_from_a_guess(points: np.ndarray) -> None:
    guess = INTRINSICS * np.array([[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]])
    found = camera_motion(look(sliding(30), points), guess, SIZE, refine_focal=True)
    assert found.focal_found
    assert found.intrinsics[0, 0] == pytest.approx(500, rel=0.02)


def test_a_camera_that_moves_straight_ahead_does_not_tell_its_focal_length(points: np.ndarray) -> None:
    ahead = np.stack([pose_of((0, 0, 0), (0, 0, 0.12 * t)) for t in range(12)])
    guess = INTRINSICS * np.array([[1.4, 1, 1], [1, 1.4, 1], [1, 1, 1]])
    found = camera_motion(look(ahead, points), guess, SIZE, refine_focal=True)
    assert (found.segment == 0).all()
    assert not found.focal_found
    np.testing.assert_array_equal(found.intrinsics, guess)


def test_a_cut_begins_a_new_segment(points: np.ndarray) -> None:
    first = look(sliding(14), points)
    second = look(sliding(16), points[::-1] + np.array([0, 0, 1]), first_id=10_000)
    found = camera_motion([*first, *second], INTRINSICS, SIZE)
    assert found.segment[:14].tolist() == [0] * 14
    assert found.segment[14:].tolist() == [1] * 16
    for segment, poses in ((0, sliding(14)), (1, sliding(16))):
        assert centre_errors(found.world_from_camera[found.segment == segment], poses)[0] < 5e-3


@pytest.mark.parametrize("turn", [0.0, 0.03])
def test_a_camera_on_the_spot_is_not_placed(points: np.ndarray, turn: float) -> None:
    poses = np.stack([pose_of((0, turn * t, 0), (0, 0, 0)) for t in range(10)])
    found = camera_motion(look(poses, points, noise_px=0.1), INTRINSICS, SIZE)
    assert (found.segment == -1).all()
    assert np.isnan(found.world_from_camera).all()
    assert found.parallax_px.max() < 1


def test_corners_that_nobody_shares_place_nothing(points: np.ndarray) -> None:
    frames = [look(sliding(1), points, first_id=10_000 * t)[0] for t in range(4)]
    found: CameraMotion = camera_motion(frames, INTRINSICS, SIZE)
    assert (found.segment == -1).all()


def texture(height: int = 160, width: int = 240) -> np.ndarray:
    noise = np.random.default_rng(3).uniform(0, 255, (height, width)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 - 255


def test_corners_are_followed_by_their_motion() -> None:
    wide = np.clip(texture(), 0, 255).astype(np.uint8)
    tracker = FeatureTracker(features=120)
    ids, start = tracker.follow(wide[20:140, 20:200].copy())
    assert len(ids) == len(np.unique(ids)) > 60
    moved_ids, moved = tracker.follow(wide[23:143, 25:205].copy())
    shared, here, there = np.intersect1d(ids, moved_ids, return_indices=True)
    assert len(shared) > 0.7 * len(ids)
    np.testing.assert_allclose((moved[there] - start[here]).mean(0), [-5, -3], atol=0.05)


def test_lost_corners_are_replaced_and_never_named_again() -> None:
    wide = np.clip(texture(), 0, 255).astype(np.uint8)
    tracker = FeatureTracker(features=120)
    ids, _ = tracker.follow(wide[:120, :180].copy())
    other, _ = tracker.follow(cv2.flip(wide, -1)[:120, :180].copy())
    assert len(np.intersect1d(ids, other)) < 0.2 * len(ids)
    assert len(other) > 60
    assert other.max() > ids.max()


def test_an_empty_picture_has_no_corners() -> None:
    ids, positions = FeatureTracker().follow(np.zeros((60, 80), np.uint8))
    assert len(ids) == len(positions) == 0
