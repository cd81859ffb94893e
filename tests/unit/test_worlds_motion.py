import math

import numpy as np
import pytest

from depthweave.errors import WrongInput
from depthweave.worlds.motion import STILL, CameraPath, Driving, HandHeld, Motion, Orbiting, Shake, turn

POSITION = (0.3, -1.2, 2.7)
ROTATION = tuple(map(tuple, turn((0.05, 0.4, -0.1)).tolist()))
SHAKE = Shake((0.02, 0.01, 0.03), (0.01, 0.02, 0.005), seed=3)
NO_SHAKE = Shake()
PATHS = [
    CameraPath(POSITION, ROTATION),
    HandHeld(POSITION, ROTATION, (0.4, 0.0, 1.0), (0.0, 0.3, 0.1), SHAKE),
    Driving(POSITION, ROTATION, 12.0, 0.2, 0.1, 5.0, SHAKE),
    Orbiting(POSITION, ROTATION, (1.0, 0.0, 4.0), (0.1, -0.4, 0.0), SHAKE),
]
NAMES = [type(path).__name__ for path in PATHS]


def stated_pose() -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = ROTATION, POSITION
    return pose


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 0.3, math.pi, 40.0])
def test_turns_are_rotations_about_their_axis(angle: float) -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3
    matrix = turn(angle * axis)
    assert np.abs(matrix @ matrix.T - np.eye(3)).max() < 1e-14
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-14)
    assert matrix @ axis == pytest.approx(axis, abs=1e-14)
    assert np.trace(matrix) == pytest.approx(1 + 2 * math.cos(angle), abs=1e-13)
    # cos of a tiny angle is 1: the skew part tells.
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2
    assert skew == pytest.approx(math.sin(angle) * axis, rel=1e-12, abs=1e-14 if angle > 1 else 0)


def test_positive_turns_go_from_z_to_x_about_y() -> None:
    assert turn((0.0, math.pi / 2, 0.0)) @ [0, 0, 1] == pytest.approx([1, 0, 0])


def test_motion_follows_its_formula() -> None:
    motion = Motion((1.0, 0.0, -2.0), (0.0, 0.0, math.pi), (0.0, 0.5, 0.0), 4.0)
    pose = motion.pose(POSITION, ROTATION, 1)
    assert pose[:3, 3] == pytest.approx([1.3, -0.7, 0.7])
    assert pose[:3, :3] == pytest.approx(np.diag([-1, -1, 1]) @ np.array(ROTATION))
    assert pose[3].tolist() == [0, 0, 0, 1]


def test_motion_at_time_0_and_stillness_are_exact() -> None:
    moving = Motion((1.0, 0.0, -2.0), (0.1, 0.2, 0.3), (0.0, 0.5, 0.0), 4.0)
    assert np.array_equal(moving.pose(POSITION, ROTATION, 0), stated_pose())
    assert np.array_equal(STILL.pose(POSITION, ROTATION, 1e3), stated_pose())


def test_things_appear_and_leave() -> None:
    motion = Motion(appears_s=0.5, leaves_s=1.0)
    assert [motion.exists(time_s) for time_s in (0, 0.5, 0.99, 1.0)] == [False, True, True, False]
    assert not motion.moves
    assert STILL.exists(-1e9)
    assert not STILL.moves


@pytest.mark.parametrize(
    "motion", [Motion((0.0, 0.1, 0.0)), Motion(spin_rad_s=(0.0, 0.1, 0.0)), Motion(sway_m=(0.1, 0.0, 0.0))]
)
def test_whatever_changes_the_pose_moves(motion: Motion) -> None:
    assert motion.moves


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_paths_start_at_their_stated_pose_exactly(path: CameraPath) -> None:
    assert np.array_equal(path.world_from_camera(0), stated_pose())
    assert np.array_equal(path.world_from_camera(0.0), stated_pose())


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_paths_are_smooth_rigid_and_defined_at_all_times(path: CameraPath) -> None:
    times = np.concatenate([np.arange(40) * 0.01 + start for start in (-30.0, -0.2, 7.0, 500.0)])
    poses = np.stack([path.world_from_camera(float(time)) for time in times])
    assert poses.dtype == np.float64
    assert np.abs(poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1) - np.eye(3)).max() < 1e-13
    assert np.array_equal(poses[:, 3], np.tile([0.0, 0, 0, 1], (len(times), 1)))
    second = np.diff(poses.reshape(4, 40, 16), n=2, axis=1) / 0.01**2
    assert np.abs(second).max() < 10  # m/s^2 and 1/s^2; a step of 1 mm would show as 10


def test_a_shake_has_its_standard_deviation_and_keeps_to_its_band() -> None:
    shake = Shake((0.02, 0.01, 0.03), (0.001, 0.002, 0.003), 0.25, 2.0, seed=5)
    rate_hz, seconds = 8, 1024
    poses = np.stack([shake.pose(index / rate_hz) for index in range(rate_hz * seconds)])
    shifts = poses[:, :3, 3]
    assert shifts.std(0) == pytest.approx(shake.shift_m, rel=0.03)
    angles = np.stack([poses[:, 2, 1], poses[:, 0, 2], poses[:, 1, 0]], 1)
    assert angles.std(0) == pytest.approx(shake.turn_rad, rel=0.03)
    window = np.hanning(len(shifts))[:, None]
    power = np.abs(np.fft.rfft((shifts - shifts.mean(0)) * window, axis=0)) ** 2
    hz = np.fft.rfftfreq(len(shifts), 1 / rate_hz)
    assert power[(hz < 0.24) | (hz > 2.02)].sum() < 1e-6 * power.sum()


def test_shakes_depend_on_their_seed_alone() -> None:
    assert np.array_equal(SHAKE.pose(1.7), Shake(SHAKE.shift_m, SHAKE.turn_rad, seed=3).pose(1.7))
    assert not np.allclose(SHAKE.pose(1.7), Shake(SHAKE.shift_m, SHAKE.turn_rad, seed=4).pose(1.7), atol=1e-4)


def test_a_carried_camera_walks_and_pans() -> None:
    pose = HandHeld((0.0, 0.0, 0.0), velocity_m_s=(0.0, 0.0, 1.2), spin_rad_s=(0.0, 0.5, 0.0), shake=NO_SHAKE)
    moved = pose.world_from_camera(2.0)
    assert moved[:3, 3] == pytest.approx([0, 0, 2.4])
    assert moved[:3, :3] == pytest.approx(turn((0.0, 1.0, 0.0)))


def test_a_steady_curve_is_an_arc_to_the_right() -> None:
    path = Driving((1.0, 2.0, 3.0), speed_m_s=10.0, turn_rad_s=0.25, shake=NO_SHAKE)
    pose = path.world_from_camera(4.0)
    assert pose[:3, 3] == pytest.approx([1 + 40 * (1 - math.cos(1)), 2, 3 + 40 * math.sin(1)], abs=1e-12)
    assert pose[:3, :3] == pytest.approx(turn((0.0, 1.0, 0.0)))


@pytest.mark.parametrize("rotation", [ROTATION, tuple(map(tuple, turn((0.1, 2.0, 0.0)).tolist()))])
def test_a_vehicle_drives_level_at_its_speed_where_it_heads(rotation: tuple) -> None:
    path = Driving(POSITION, rotation, 9.0, 0.1, 0.4, 3.0, NO_SHAKE)
    step = 1e-5
    for time_s in (-6.0, 0.0, 1.3, 20.0):
        before, after = (path.world_from_camera(time_s + sign * step) for sign in (-1, 1))
        velocity = (after - before)[:3, 3] / (2 * step)
        axis = path.world_from_camera(time_s)[:3, 2]
        level = np.array([axis[0], 0, axis[2]])
        assert velocity == pytest.approx(9.0 * level / np.linalg.norm(level), abs=1e-6)
        assert axis[1] == pytest.approx(rotation[1][2])


def test_an_orbit_keeps_its_axis_in_the_picture() -> None:
    path = Orbiting(POSITION, ROTATION, (1.0, 0.0, 4.0), (0.0, 0.6, 0.0))
    for center in ([1.0, 0.0, 4.0, 1.0], [1.0, -2.0, 4.0, 1.0]):
        seen = [np.linalg.inv(path.world_from_camera(time_s)) @ center for time_s in (0, 1, 5)]
        assert seen[1] == pytest.approx(seen[0])
        assert seen[2] == pytest.approx(seen[0])
    assert np.linalg.norm(path.world_from_camera(1)[:3, 3] - POSITION) > 0.5


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(WrongInput, match="period_s is 0"):
        Motion(period_s=0.0)
    with pytest.raises(WrongInput, match="period_s"):
        Driving(period_s=-1.0)
    with pytest.raises(WrongInput, match="the band 3"):
        Shake(lowest_hz=3.0)
    with pytest.raises(WrongInput, match="straight up or down"):
        Driving(rotation=((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))
