"""Cameras and points that fit all observations best."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve

_DAMPING = 1e-4
_SMALLEST_DEPTH = 1e-6


@dataclass(frozen=True, eq=False)
class Observations:
    """Where cameras see points.

    Attributes:
        cameras, points: number of the camera and of the point, per observation.
        pixels: (x, y) in px.
    """

    cameras: Int[NDArray[np.int64], "m"]
    points: Int[NDArray[np.int64], "m"]
    pixels: Float[NDArray[np.float64], "m 2"]


@dataclass(frozen=True, eq=False)
class Bundle:
    """Cameras of one focal length and the points they see.

    Attributes:
        camera_from_world: (c, 4, 4) rigid motions.
        points: (n, 3) in the world's axes.
        intrinsics: (3, 3) in px, shared by all cameras.
    """

    camera_from_world: Float[NDArray[np.float64], "c 4 4"]
    points: Float[NDArray[np.float64], "n 3"]
    intrinsics: Float[NDArray[np.float64], "3 3"]

    def residuals_px(self, seen: Observations) -> Float[NDArray[np.float64], "m 2"]:
        """Projected minus observed, in px; points at or behind a camera are far off."""
        return _project(self, seen)[0] - seen.pixels


def adjust(
    start: Bundle,
    seen: Observations,
    *,
    fixed: Bool[NDArray[np.bool_], "c"] | None = None,
    refine_focal: bool = False,
    iterations: int = 10,
    tolerance_px: float = 1.0,
) -> Bundle:
    """Bundle adjustment: least squares over cameras and points, robust by Cauchy's weights.

    Levenberg and Marquardt's steps; points are eliminated by the Schur complement, so that the system that is solved
    has six unknowns per camera.

    Args:
        start: what to begin with.
        seen: observations, each of a camera and a point of ``start``.
        fixed: cameras that stay; by default the first.
        refine_focal: whether the shared focal length may change, too.
        iterations: so many steps at most; it ends when a step lowers the cost by less than a thousandth of a percent.
        tolerance_px: residuals beyond this count less and less.

    Minimises the sum of c^2 log(1 + r^2 / c^2) over the lengths r of residuals, c the tolerance.

    Source: Triggs et al., Bundle adjustment: a modern synthesis, 1999, sections 3.3 and 6.1.
    """
    held = np.arange(len(start.camera_from_world)) == 0 if fixed is None else fixed
    current, damping = start, _DAMPING
    cost, weights = _cost(current, seen, tolerance_px)
    for _ in range(iterations):
        step = _System(current, seen, weights, ~held, refine_focal)
        for _ in range(6):
            proposed = step.solve(damping)
            found, changed = (np.inf, weights) if proposed is None else _cost(proposed, seen, tolerance_px)
            if proposed is not None and found < cost:
                gain, current, cost, weights = cost - found, proposed, found, changed
                damping = max(damping / 5, 1e-9)
                break
            damping *= 8
        else:
            break
        if gain < 1e-5 * cost:
            break
    return current


def projection_slopes(
    in_camera: Float[NDArray[np.float64], "m 3"], intrinsics: Float[NDArray[np.float64], "3 3"]
) -> tuple[Float[NDArray[np.float64], "m 2 3"], Float[NDArray[np.float64], "m 2 6"]]:
    """Derivatives of projected px by the point in camera axes, and by a small motion of the camera.

    The motion is applied on the left of camera_from_world: translation first, then the rotation vector.

    Args:
        in_camera: points in camera axes.
        intrinsics: (3, 3) in px.
    """
    f_x, f_y = intrinsics[0, 0], intrinsics[1, 1]
    x, y, z = in_camera.T
    zero = np.zeros_like(x)
    u = np.stack([f_x / z, zero, -f_x * x / z**2], -1)
    v = np.stack([zero, f_y / z, -f_y * y / z**2], -1)
    by_point = np.stack([u, v], 1)
    turned = np.stack([np.stack(row, -1) for row in ((zero, z, -y), (-z, zero, x), (y, -x, zero))], 1)
    return by_point, np.concatenate([by_point, by_point @ turned], -1)


class _System:
    """Normal equations of one linearisation; unknowns are the cameras that move, the focal length, the points."""

    def __init__(
        self, bundle: Bundle, seen: Observations, weights: NDArray[np.float64], moves: NDArray[np.bool_], focal: bool
    ) -> None:
        self.bundle, self.moves, self.focal = bundle, moves, focal
        projected, in_camera = _project(bundle, seen)
        residual = projected - seen.pixels
        by_point, of_camera = projection_slopes(in_camera, bundle.intrinsics)
        of_point = by_point @ bundle.camera_from_world[seen.cameras, :3, :3]
        root = np.sqrt(weights)[:, None, None]
        residual, of_camera, of_point = residual * root[..., 0], of_camera * root, of_point * root
        number = np.cumsum(moves) - 1
        self.unknown_cameras = int(moves.sum())
        seen_by = number[seen.cameras]
        order = np.flatnonzero(moves[seen.cameras])
        order = order[np.argsort(seen_by[order], kind="stable")]
        ends = np.cumsum(np.bincount(seen_by[order], minlength=self.unknown_cameras))
        size = 6 * self.unknown_cameras + int(focal)
        self.cameras, self.gradient_cameras = np.zeros((size, size)), np.zeros(size)
        for camera, rows in enumerate(np.split(order, ends[:-1])):
            at = slice(6 * camera, 6 * camera + 6)
            slopes = of_camera[rows].reshape(-1, 6)
            self.cameras[at, at] = slopes.T @ slopes
            self.gradient_cameras[at] = slopes.T @ residual[rows].reshape(-1)
        self.points = _sums(np.einsum("mri,mrj->mij", of_point, of_point), seen.points, len(bundle.points))
        self.gradient_points = _sums(np.einsum("mri,mr->mi", of_point, residual), seen.points, len(bundle.points))
        self.order, self.point = order, seen.points[order]
        self.starts = np.concatenate([[0], ends])
        self.mixed = np.einsum("mri,mrj->mij", of_camera[order], of_point[order])
        self.mixed_focal = np.zeros((len(bundle.points), 3))
        if focal:
            column = (projected - bundle.intrinsics[:2, 2]) / bundle.intrinsics[0, 0] * root[..., 0]
            self.cameras[-1, -1] = (column * column).sum()
            self.gradient_cameras[-1] = (column * residual).sum()
            shared = np.einsum("mri,mr->mi", of_camera[order], column[order])
            self.cameras[-1, :-1] = self.cameras[:-1, -1] = _sums(shared, seen_by[order], self.unknown_cameras).ravel()
            self.mixed_focal = _sums(np.einsum("mri,mr->mi", of_point, column), seen.points, len(bundle.points))

    def solve(self, damping: float) -> Bundle | None:
        """The bundle after one damped step, None where the system has no solution."""
        cameras = self.cameras + np.diag(damping * np.diag(self.cameras) + 1e-9)
        diagonal = np.arange(3)
        points = self.points.copy()
        points[:, diagonal, diagonal] *= 1 + damping
        points[:, diagonal, diagonal] += 1e-9
        inverse = np.linalg.inv(points)
        carried = np.matmul(self.mixed, inverse[self.point])
        last = 6 * self.unknown_cameras
        reduced, right = cameras, -self.gradient_cameras
        shape = (last, 3 * len(points))
        wide, plain = (
            sparse.bsr_matrix((part, self.point, self.starts), shape=shape) for part in (carried, self.mixed)
        )
        reduced[:last, :last] -= (wide @ plain.T).toarray()
        right[:last] += wide @ self.gradient_points.ravel()
        if self.focal:
            focal = np.einsum("nij,nj->ni", inverse, self.mixed_focal)
            shared = plain @ focal.ravel()
            reduced[last, :last] -= shared
            reduced[:last, last] -= shared
            reduced[last, last] -= (focal * self.mixed_focal).sum()
            right[last] += (focal * self.gradient_points).sum()
        try:
            change = cho_solve(cho_factor(reduced), right)
        except LinAlgError:
            return None
        left = -self.gradient_points - (plain.T @ change[:last]).reshape(-1, 3)
        if self.focal:
            left -= change[last] * self.mixed_focal
        return self._moved(change, np.einsum("nij,nj->ni", inverse, left))

    def _moved(self, change: NDArray[np.float64], points: NDArray[np.float64]) -> Bundle:
        poses = self.bundle.camera_from_world.copy()
        for camera, twist in zip(
            np.flatnonzero(self.moves), change[: 6 * self.unknown_cameras].reshape(-1, 6), strict=True
        ):
            rotation = cv2.Rodrigues(twist[3:])[0]
            poses[camera, :3] = rotation @ poses[camera, :3]
            poses[camera, :3, 3] += twist[:3]
        intrinsics = self.bundle.intrinsics
        if self.focal:
            ratio = float(np.clip(1 + change[-1] / intrinsics[0, 0], 0.5, 2.0))
            intrinsics = intrinsics * np.array([[ratio, ratio, 1], [1, ratio, 1], [1, 1, 1]])
        return Bundle(poses, self.bundle.points + points, intrinsics)


def _project(bundle: Bundle, seen: Observations) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    poses = bundle.camera_from_world[seen.cameras]
    in_camera = np.einsum("mij,mj->mi", poses[:, :3, :3], bundle.points[seen.points]) + poses[:, :3, 3]
    depth = in_camera[:, 2]
    in_camera[:, 2] = np.where(np.abs(depth) < _SMALLEST_DEPTH, _SMALLEST_DEPTH, depth)
    projected = (in_camera @ bundle.intrinsics.T)[:, :2] / in_camera[:, 2:]
    # What is behind the camera must not look like a good fit.
    behind = in_camera[:, 2] <= 0
    projected[behind] = seen.pixels[behind] + 1e3
    return projected, in_camera


def _cost(bundle: Bundle, seen: Observations, tolerance_px: float) -> tuple[float, NDArray[np.float64]]:
    length = np.linalg.norm(bundle.residuals_px(seen), axis=1)
    ratio = (length / tolerance_px) ** 2
    return float(tolerance_px**2 * np.log1p(ratio).sum()), 1 / (1 + ratio)


def _sums(parts: NDArray[np.float64], groups: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Sums of what belongs to each group, over the first dimension."""
    belongs = sparse.csr_matrix((np.ones(len(groups)), groups, np.arange(len(groups) + 1)), shape=(len(groups), count))
    sums: NDArray[np.float64] = (belongs.T @ parts.reshape(len(groups), -1)).reshape(count, *parts.shape[1:])
    return sums
