"""Camera trajectories as text: TUM's format, which evaluation tools read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file

Poses = NDArray[np.float64]


def write_trajectory(path: AnyPath, times_s: NDArray[Any], world_from_camera: NDArray[np.floating[Any]]) -> None:
    """Write `time tx ty tz qx qy qz qw` per line: where the camera is in the world, and how it is turned.

    Args:
        path: the file to write.
        times_s: (t,) seconds.
        world_from_camera: (t, 4, 4) poses; translations in the world's unit.

    Raises:
        WrongInput: shapes that do not agree, or a number that is not finite.
        NotWritable: the file cannot be written.

    Source: Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012 (the ground truth's format).
    """
    times, poses = np.asarray(times_s, np.float64), checked_poses(world_from_camera)
    if times.shape != (len(poses),):
        raise WrongInput(f"{times.shape} times do not go with {len(poses)} poses; give one for each")
    if not np.isfinite(times).all() or not np.isfinite(poses).all():
        raise WrongInput("a trajectory holds finite numbers only; leave frames without a pose out")
    rows = np.concatenate((times[:, None], poses[:, :3, 3], quaternions_xyzw(poses[:, :3, :3])), axis=1)
    lines = ["# time tx ty tz qx qy qz qw (world from camera)", *(" ".join(map(_digits, row)) for row in rows)]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_trajectory(path: AnyPath) -> tuple[NDArray[np.float64], Poses]:
    """Read a trajectory in TUM's format; lines that begin with # are passed over.

    Args:
        path: the file.

    Returns:
        times_s: (t,); world_from_camera: (t, 4, 4). Quaternions are normalised.

    Raises:
        WrongFile: missing, not text, no line, or one that is not eight finite numbers with a quaternion.
    """
    file = require_file(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file} is not a text file; give a trajectory in TUM's format") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            rows.append(_row(words, f"{file}, line {number}"))
    if not rows:
        raise WrongFile(f"{file} holds no pose; each line is `time tx ty tz qx qy qz qw`")
    numbers = np.array(rows, np.float64)
    return numbers[:, 0], poses_from_quaternions(numbers[:, 4:], numbers[:, 1:4])


def quaternions_xyzw(rotations: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Unit quaternions (t, 4), in the order x, y, z, w with w not negative, of rotations (t, 3, 3)."""
    from scipy.spatial.transform import Rotation

    if len(rotations) == 0:
        return np.empty((0, 4))
    return np.asarray(Rotation.from_matrix(np.asarray(rotations, np.float64)).as_quat(canonical=True), np.float64)


def poses_from_quaternions(quaternions: NDArray[np.float64], translations: NDArray[np.float64]) -> Poses:
    """Poses (t, 4, 4) of quaternions (t, 4) in the order x, y, z, w and translations (t, 3)."""
    from scipy.spatial.transform import Rotation

    poses = np.tile(np.eye(4), (len(quaternions), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(quaternions).as_matrix()
    poses[:, :3, 3] = translations
    return poses


def checked_poses(poses: NDArray[np.floating[Any]]) -> Poses:
    """Poses as float64 after a look at their shape (t, 4, 4)."""
    checked: Poses = np.asarray(poses, np.float64)
    if checked.ndim != 3 or checked.shape[1:] != (4, 4):
        raise WrongInput(f"poses have the shape (t, 4, 4), not {checked.shape}")
    return checked


def _row(words: list[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 8 or not np.isfinite(numbers).all():
        raise WrongFile(f"{where} is not eight numbers `time tx ty tz qx qy qz qw`; correct or remove it")
    if abs(np.linalg.norm(numbers[4:]) - 1) > 0.1:
        raise WrongFile(f"{where} ends in {words[4:]}, which is no unit quaternion qx qy qz qw; correct or remove it")
    return numbers


def _digits(number: float) -> str:
    return f"{number:.12g}"
