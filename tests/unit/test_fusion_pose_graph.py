"""The linear solves against values by hand, exact graphs, outliers and gauges."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from depthweave.errors import WrongInput
from depthweave.fusion.joint_solve import Frames, PairPoints, solve_jointly, spread_points
from depthweave.fusion.pose_graph import (
    nearest_rotation,
    robust_trust,
    rotation_angle,
    rotation_from_vector,
    solve_log_scales,
    solve_positions,
    solve_rotations,
)

Array = NDArray[np.float64]


def window(frames: int, reach: int = 2) -> NDArray[np.int64]:
    return np.array([(t, t + k) for k in range(1, reach + 1) for t in range(frames - k)], dtype=np.int64)


def first_known(values: Array) -> Array:
    known = np.full_like(values, np.nan)
    known[0] = values[0]
    return known


def truth(frames: int, seed: int = 0) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    rotations = Rotation.from_rotvec(random.normal(0, 1, (frames, 3))).as_matrix()
    return random.normal(0, 1, frames), rotations, random.normal(0, 3, (frames, 3))


def test_log_scales_of_a_triangle_share_its_closing_error() -> None:
    pairs = np.array([(0, 1), (1, 2), (0, 2)], dtype=np.int64)
    # Around the triangle 0.3 + 0.3 - 0.9 = -0.3 is left: each of three equal measurements takes 0.1 of it.
    solved = solve_log_scales(pairs, np.array([0.3, 0.3, 0.9]), np.ones(3), np.array([0.0, np.nan, np.nan]), rounds=0)
    np.testing.assert_allclose(solved.values, [0.0, -0.4, -0.8], atol=1e-12)
    np.testing.assert_allclose(solved.residuals, 0.1, atol=1e-12)


def test_a_heavier_measurement_gives_way_less() -> None:
    pairs = np.array([(0, 1), (0, 1)], dtype=np.int64)
    solved = solve_log_scales(pairs, np.array([1.0, 2.0]), np.array([3.0, 1.0]), np.array([0.0, np.nan]), rounds=0)
    assert solved.values[1] == pytest.approx(-1.25)


def test_exact_measurements_give_exact_frames() -> None:
    log_scale, rotations, centres = truth(12)
    pairs = window(12)
    first, second = pairs.T
    weights = np.linspace(1, 2, len(pairs))
    scales = solve_log_scales(pairs, log_scale[first] - log_scale[second], weights, first_known(log_scale))
    measured = np.swapaxes(rotations[second], 1, 2) @ rotations[first]
    turned = solve_rotations(pairs, measured, weights, first_known(rotations))
    moved = solve_positions(pairs, centres[first] - centres[second], weights, first_known(centres))
    np.testing.assert_allclose(scales.values, log_scale, atol=1e-9)
    np.testing.assert_allclose(turned.values, rotations, atol=1e-9)
    np.testing.assert_allclose(moved.values, centres, atol=1e-9)


def test_outliers_are_taken_out_and_named() -> None:
    log_scale, rotations, centres = truth(30)
    pairs = window(30, 3)
    first, second = pairs.T
    random = np.random.default_rng(1)
    wrong = np.array([5, 40, 70])
    measured = np.swapaxes(rotations[second], 1, 2) @ rotations[first]
    measured = rotation_from_vector(random.normal(0, 0.003, (len(pairs), 3))) @ measured
    measured[wrong] = rotation_from_vector(np.array([[0.0, np.pi - 0.1, 0.0]])) @ measured[wrong]
    turned = solve_rotations(pairs, measured, np.ones(len(pairs)), first_known(rotations))
    assert rotation_angle(np.swapaxes(turned.values, 1, 2) @ rotations).max() < 0.03
    assert (turned.trust[wrong] < 0.01).all()
    assert np.median(turned.trust) > 0.5
    steps = centres[first] - centres[second] + random.normal(0, 0.01, (len(pairs), 3))
    steps[wrong] += 20
    moved = solve_positions(pairs, steps, np.ones(len(pairs)), first_known(centres))
    assert np.linalg.norm(moved.values - centres, axis=1).max() < 0.1
    differences = log_scale[first] - log_scale[second] + random.normal(0, 0.002, len(pairs))
    differences[wrong] -= 2
    scales = solve_log_scales(pairs, differences, np.ones(len(pairs)), first_known(log_scale))
    assert np.abs(scales.values - log_scale).max() < 0.02
    plain = solve_log_scales(pairs, differences, np.ones(len(pairs)), first_known(log_scale), rounds=0)
    assert np.abs(plain.values - log_scale).max() > 0.1


def test_outliers_on_one_side_do_not_pull() -> None:
    differences = np.concatenate((np.linspace(-0.01, 0.01, 11), np.full(4, 1.0)))
    pairs = np.tile(np.array([[1, 0]], dtype=np.int64), (15, 1))
    solved = solve_log_scales(pairs, differences, np.ones(15), np.array([0.0, np.nan]))
    assert abs(solved.values[1]) < 5e-4


def test_frames_that_nothing_reaches_are_unknown() -> None:
    pairs = np.array([(0, 1), (2, 3)], dtype=np.int64)
    known = np.array([0.0, np.nan, np.nan, np.nan, np.nan])
    solved = solve_log_scales(pairs, np.array([1.0, 1.0]), np.ones(2), known)
    np.testing.assert_array_equal(np.isnan(solved.values), [False, False, True, True, True])
    assert np.isnan(solved.residuals).tolist() == [False, True]
    assert solved.trust[1] == 0


def test_without_measurements_only_the_fixed_frames_stand() -> None:
    solved = solve_positions(
        np.zeros((0, 2), dtype=np.int64), np.zeros((0, 3)), np.zeros(0), first_known(np.ones((3, 3)))
    )
    np.testing.assert_array_equal(np.isfinite(solved.values).all(1), [True, False, False])


def test_several_fixed_frames_are_all_kept() -> None:
    known = np.array([0.0, np.nan, 1.0])
    pairs = np.array([(1, 0), (2, 1)], dtype=np.int64)
    solved = solve_log_scales(pairs, np.array([1.0, 1.0]), np.ones(2), known, rounds=0)
    np.testing.assert_allclose(solved.values, [0.0, 0.5, 1.0])


def test_measurements_that_do_not_fit_are_refused() -> None:
    pairs = np.array([(0, 4)], dtype=np.int64)
    with pytest.raises(WrongInput, match="frame 4 of 3"):
        solve_log_scales(pairs, np.zeros(1), np.ones(1), np.array([0.0, np.nan, np.nan]))


def test_trust_by_hand() -> None:
    # The median is 1, so s = 1.4826.
    residuals = np.array([0.0, 1.0, 14.826])
    np.testing.assert_allclose(robust_trust(residuals, redescend=False), [1.0, 1.0, 0.1])
    np.testing.assert_allclose(robust_trust(residuals, redescend=True)[2], 1 / (1 + (10 / 2.385) ** 2))


def test_nearest_rotation_never_mirrors() -> None:
    flat = np.diag([1.0, 1.0, -0.1])
    np.testing.assert_allclose(nearest_rotation(flat), np.eye(3), atol=1e-12)
    assert nearest_rotation(np.random.default_rng(0).normal(size=(2, 1, 3, 3))).shape == (2, 1, 3, 3)


@pytest.mark.parametrize("angle", [1e-9, 0.3, 3.1])
def test_angles(angle: float) -> None:
    vector = angle * np.array([[1.0, -2.0, 2.0]]) / 3
    assert rotation_angle(rotation_from_vector(vector))[0] == pytest.approx(angle, rel=1e-6)


def test_spread_points_have_the_mean_and_the_covariance() -> None:
    random = np.random.default_rng(0)
    root = random.normal(size=(4, 3, 3))
    covariance, mean = root @ np.swapaxes(root, 1, 2), random.normal(size=(4, 3))
    points = spread_points(mean, covariance)
    centred = points - points.mean(1, keepdims=True)
    np.testing.assert_allclose(points.mean(1), mean, atol=1e-12)
    np.testing.assert_allclose(np.swapaxes(centred, 1, 2) @ centred / 6, covariance, atol=1e-12)


def seen_points(frames: int, noise: float = 0.0, seed: int = 0) -> tuple[PairPoints, Frames]:
    """Six places per pair, seen by frames that look the same way from near each other."""
    random = np.random.default_rng(seed)
    truth = Frames(
        random.normal(0, 0.2, frames),
        rotation_from_vector(random.normal(0, 0.1, (frames, 3))),
        np.cumsum(random.normal(0, 0.2, (frames, 3)), axis=0),
    )
    pairs = np.concatenate((window(frames), window(frames)[:, ::-1]))
    places = truth.centre[pairs[:, 0], None] + np.array([0, 0, 5.0]) + random.normal(0, 1, (len(pairs), 6, 3))

    def seen_by(frame: NDArray[np.int64]) -> Array:
        own = (places - truth.centre[frame][:, None]) @ truth.rotation[frame]
        return own * np.exp(-truth.log_scale[frame])[:, None, None] * (1 + random.normal(0, noise, own.shape))

    return PairPoints(pairs, seen_by(pairs[:, 0]), seen_by(pairs[:, 1]), np.full(len(pairs), 0.04)), truth


def disturbed(frames: Frames, size: float) -> Frames:
    random = np.random.default_rng(5)
    count = len(frames.log_scale)
    amount = size * (np.arange(count) > 0)
    return Frames(
        frames.log_scale + amount * random.normal(size=count),
        rotation_from_vector(amount[:, None] * random.normal(size=(count, 3))) @ frames.rotation,
        frames.centre + amount[:, None] * random.normal(size=(count, 3)),
    )


def held_first(frames: int) -> NDArray[np.bool_]:
    held = np.zeros((frames, 7), dtype=np.bool_)
    held[0] = True
    return held


def test_the_joint_solve_finds_the_truth_from_nearby() -> None:
    points, truth = seen_points(10)
    solved, trust = solve_jointly(points, disturbed(truth, 0.05), held_first(10))
    np.testing.assert_allclose(solved.log_scale, truth.log_scale, atol=1e-6)
    np.testing.assert_allclose(solved.rotation, truth.rotation, atol=1e-6)
    np.testing.assert_allclose(solved.centre, truth.centre, atol=1e-5)
    assert trust.min() > 0


def test_the_joint_solve_does_not_shrink_with_noise() -> None:
    slopes = []
    for seed in range(4):
        points, truth = seen_points(60, noise=0.1, seed=seed)
        solved, _ = solve_jointly(points, truth, held_first(60), steps=12)
        slopes.append(np.polyfit(np.arange(60), solved.log_scale - truth.log_scale, 1)[0])
    assert abs(np.mean(slopes)) < 0.003


def test_what_is_held_stays() -> None:
    points, truth = seen_points(6)
    start = disturbed(truth, 0.05)
    held = held_first(6)
    held[3, :6] = True
    solved, _ = solve_jointly(points, start, held)
    np.testing.assert_array_equal(solved.centre[[0, 3]], start.centre[[0, 3]])
    np.testing.assert_allclose(solved.rotation[3], start.rotation[3], atol=1e-14)
    assert solved.log_scale[3] != start.log_scale[3]
