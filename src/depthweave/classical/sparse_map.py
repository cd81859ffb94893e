"""A sparse map of a clip: keyframes, and the corners that they see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from depthweave.classical.bundle import Bundle, Observations, adjust, projection_slopes

FEWEST = 30
"""So many corners must be shared by two frames, or placed in a camera, for anything to be said."""
_INLIER_PX, _OUTLIER_PX = 2.0, 4.0
_TOLERANCE_PX = (0.1, 1.0)
_LEAST_ANGLE_DEG = 1.0
_START_PARALLAX_PX = 2.0
_LARGEST_TURN_DEG = 20.0
"""Between the turn that explains most of the corners' motion and that of the essential matrix."""
_FOCAL_TRIALS, _FOCAL_AGREEMENT = (0.75, 1.3), 1.1
_LOCAL = 8
"""Keyframes that a local adjustment moves."""

Frame = tuple[Int[NDArray[np.int64], "_"], Float[NDArray[np.float32], "_ 2"]]
"""Numbers of corners, ascending or not, and their positions (x, y) in px."""


@dataclass(eq=False)
class SparseMap:
    """A map that grows from keyframe to keyframe; ``places`` are positions in the list of keyframes."""

    frames: Sequence[Frame]
    keys: list[int]
    unit: float
    bundle: Bundle
    seen: Observations
    places: list[int]
    """Of the bundle's cameras."""
    ids: NDArray[np.int64]
    """Of the bundle's points, ascending."""

    @classmethod
    def start(
        cls, frames: Sequence[Frame], keys: list[int], intrinsics: NDArray[np.float64], unit: float
    ) -> "SparseMap | None":
        """From the first keyframes that show enough parallax and one motion."""
        for first in range(len(keys) - 1):
            best: tuple[float, int, NDArray[np.float64]] | None = None
            for second in range(first + 1, min(first + 7, len(keys))):
                found = _two_views(frames[keys[first]], frames[keys[second]], intrinsics, unit)
                if found is not None and (best is None or found[0] > best[0]):
                    best = (found[0], second, found[1])
            if best is None:
                continue
            _, second, pose = best
            empty = Observations(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)))
            bundle = Bundle(np.stack([np.eye(4), pose]), np.zeros((0, 3)), intrinsics)
            built = cls(frames, keys, unit, bundle, empty, [first, second], np.zeros(0, np.int64))
            built.triangulate()
            if len(built.ids) >= FEWEST:
                built.adjust(None, 20)
                return built
        return None

    def span(self) -> tuple[int, int]:
        """First and last place that is in the map."""
        return min(self.places), max(self.places)

    def grow(self) -> None:
        """Add keyframes at both ends and between, until one cannot be placed."""
        first, last = self.span()
        order = [*range(first + 1, last), *range(last + 1, len(self.keys)), *range(first - 1, -1, -1)]
        stopped = len(self.keys)
        for place in order:
            if place in self.places or place > stopped:
                continue
            placed = self.place(self.keys[place])
            if placed is None:
                if place > last:
                    stopped = place
                continue
            self.places.append(place)
            poses = np.concatenate([self.bundle.camera_from_world, placed[0][None]])
            self.bundle = Bundle(poses, self.bundle.points, self.bundle.intrinsics)
            self.observe(len(self.places) - 1)
            self.triangulate()
            self.adjust(_LOCAL, 6)

    def finish(self) -> None:
        """Adjust everything together, twice, with what the adjusted cameras can triangulate besides."""
        for _ in range(2):
            self.triangulate()
            self.adjust(None, 15)

    def find_focal(self) -> bool:
        """Let the focal length change, too; False, and all as it was, where the observations do not tell it."""
        found = []
        for factor in _FOCAL_TRIALS:
            intrinsics = self.bundle.intrinsics * np.array([[factor, factor, 1], [1, factor, 1], [1, 1, 1]])
            start = Bundle(self.bundle.camera_from_world, self.bundle.points, intrinsics)
            found.append(adjust(start, self.seen, iterations=30, refine_focal=True, tolerance_px=self.tolerance_px()))
        focal = [float(bundle.intrinsics[0, 0]) for bundle in found]
        if max(focal) > _FOCAL_AGREEMENT * min(focal):
            return False
        errors = [float(np.median(np.abs(bundle.residuals_px(self.seen)))) for bundle in found]
        self.bundle = found[int(np.argmin(errors))]
        self._clean()
        self.finish()
        return True

    def place(self, index: int) -> tuple[NDArray[np.float64], float, NDArray[np.float64]] | None:
        """(camera_from_world, median depth, residuals in px) of a frame, by its corners in the map."""
        ids, positions = self.frames[index]
        _, here, there = np.intersect1d(ids, self.ids, assume_unique=True, return_indices=True)
        if len(here) < FEWEST:
            return None
        points, pixels = self.bundle.points[there], positions[here].astype(np.float64)
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            points, pixels, self.bundle.intrinsics, None, iterationsCount=200, confidence=0.999,
            reprojectionError=2 * _INLIER_PX * self.unit, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
        if not found or inliers is None or len(inliers) < max(FEWEST / 2, 0.3 * len(here)):
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation.reshape(3)
        # The points stay, the camera moves: robust, and on all corners.
        sole = Observations(np.zeros(len(here), np.int64), np.arange(len(here)), pixels)
        pose = _resect(Bundle(pose[None], points, self.bundle.intrinsics), sole, self.unit)
        errors = np.linalg.norm(Bundle(pose[None], points, self.bundle.intrinsics).residuals_px(sole), axis=1)
        good = errors < _OUTLIER_PX * self.unit
        if good.sum() < max(FEWEST / 2, 0.3 * len(here)):
            return None
        depth = (points[good] @ pose[:3, :3].T + pose[:3, 3])[:, 2]
        return pose, float(np.median(depth)), errors

    def observe(self, camera: int) -> None:
        """Add what a camera sees of the map."""
        ids, positions = self.frames[self.keys[self.places[camera]]]
        _, here, there = np.intersect1d(ids, self.ids, assume_unique=True, return_indices=True)
        self.seen = Observations(
            np.concatenate([self.seen.cameras, np.full(len(here), camera)]),
            np.concatenate([self.seen.points, there]),
            np.concatenate([self.seen.pixels, positions[here].astype(np.float64)]),
        )

    def triangulate(self) -> None:
        """Add corners that two or more cameras of the map see from different enough directions."""
        cameras, ids, pixels = [], [], []
        for camera, place in enumerate(self.places):
            found, positions = self.frames[self.keys[place]]
            fresh = ~np.isin(found, self.ids)
            cameras.append(np.full(int(fresh.sum()), camera))
            ids.append(found[fresh])
            pixels.append(positions[fresh].astype(np.float64))
        owner, name, pixel = np.concatenate(cameras), np.concatenate(ids), np.concatenate(pixels)
        names, point, counts = np.unique(name, return_inverse=True, return_counts=True)
        enough = counts >= 2
        kept = enough[point]
        if not kept.any():
            return
        renumbered: NDArray[Any] = np.cumsum(enough) - 1
        fresh_seen = Observations(owner[kept], renumbered[point[kept]], pixel[kept])
        points, good = _intersect(self.bundle, fresh_seen, int(enough.sum()), self.unit)
        names = names[enough][good]
        if not len(names):
            return
        kept_points = good[fresh_seen.points]
        renumbered = np.cumsum(good) - 1
        merged = np.concatenate([self.ids, names])
        order = np.argsort(merged)
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        self.seen = Observations(
            np.concatenate([self.seen.cameras, fresh_seen.cameras[kept_points]]),
            position[np.concatenate([self.seen.points, len(self.ids) + renumbered[fresh_seen.points[kept_points]]])],
            np.concatenate([self.seen.pixels, fresh_seen.pixels[kept_points]]),
        )
        self.ids = merged[order]
        self.bundle = Bundle(
            self.bundle.camera_from_world,
            np.concatenate([self.bundle.points, points[good]])[order],
            self.bundle.intrinsics,
        )

    def adjust(self, local: int | None, iterations: int) -> None:
        """Adjust all cameras, or the last ones that were added with the points they see; then drop what fits badly."""
        count = len(self.places)
        if local is None or count <= local:
            self.bundle = adjust(self.bundle, self.seen, iterations=iterations, tolerance_px=self.tolerance_px())
        else:
            self._adjust_last(local, iterations)
        self._clean()

    def _adjust_last(self, local: int, iterations: int) -> None:
        newest = self.places[-1]
        moving = np.argsort([abs(place - newest) for place in self.places], kind="stable")[:local]
        sees = np.isin(self.seen.cameras, moving)
        chosen = np.zeros(len(self.ids), bool)
        chosen[self.seen.points[sees]] = True
        rows = chosen[self.seen.points]
        cameras, camera = np.unique(self.seen.cameras[rows], return_inverse=True)
        number = np.cumsum(chosen) - 1
        part = Observations(camera, number[self.seen.points[rows]], self.seen.pixels[rows])
        fixed = ~np.isin(cameras, moving)
        if not fixed.any():
            fixed[0] = True
        start = Bundle(self.bundle.camera_from_world[cameras], self.bundle.points[chosen], self.bundle.intrinsics)
        found = adjust(start, part, fixed=fixed, iterations=iterations, tolerance_px=self.tolerance_px())
        poses, points = self.bundle.camera_from_world.copy(), self.bundle.points.copy()
        poses[cameras], points[chosen] = found.camera_from_world, found.points
        self.bundle = Bundle(poses, points, self.bundle.intrinsics)

    def tolerance_px(self) -> float:
        """Residual from which corners count less: twice the median, so that few wrong ones do not outweigh many."""
        length = np.linalg.norm(self.bundle.residuals_px(self.seen), axis=1)
        return self.unit * float(np.clip(2 * np.median(length) / self.unit, *_TOLERANCE_PX))

    def _clean(self) -> None:
        errors = np.linalg.norm(self.bundle.residuals_px(self.seen), axis=1)
        good = errors < _OUTLIER_PX * self.unit
        views = np.bincount(self.seen.points[good], minlength=len(self.ids))
        kept = views >= 2
        rows = good & kept[self.seen.points]
        number = np.cumsum(kept) - 1
        self.seen = Observations(self.seen.cameras[rows], number[self.seen.points[rows]], self.seen.pixels[rows])
        self.ids = self.ids[kept]
        self.bundle = Bundle(self.bundle.camera_from_world, self.bundle.points[kept], self.bundle.intrinsics)


def rotation_between(
    first: Float[NDArray[np.float64], "n 2"],
    second: Float[NDArray[np.float64], "n 2"],
    intrinsics: Float[NDArray[np.float64], "3 3"],
) -> tuple[Float[NDArray[np.float64], "3 3"], Float[NDArray[np.float64], "n"]]:
    """The rotation (second from first) that explains most of the motion, and what it leaves, in px.

    Least squares over viewing rays (Kabsch), twice, the second time over the better half.

    Args:
        first, second: positions of the same corners in px.
        intrinsics: (3, 3) in px.
    """
    inverse = np.linalg.inv(intrinsics)
    rays = [np.c_[points, np.ones(len(points))] @ inverse.T for points in (first, second)]
    a, b = (ray / np.linalg.norm(ray, axis=1, keepdims=True) for ray in rays)
    chosen = np.ones(len(a), bool)
    rotation, left = np.eye(3), np.zeros(len(a))
    for _ in range(3):
        u, _, vt = np.linalg.svd(b[chosen].T @ a[chosen])
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        turned = a @ rotation.T @ intrinsics.T
        left = np.linalg.norm(turned[:, :2] / turned[:, 2:] - second, axis=1)
        chosen = left <= np.median(left) + 1e-9
    return rotation, left


def shared_corners(
    first: Frame, second: Frame
) -> tuple[Int[NDArray[np.int64], "n"], Float[NDArray[np.float64], "n 2"], Float[NDArray[np.float64], "n 2"]]:
    """Numbers of the corners that two frames share, and their positions in each."""
    ids, here, there = np.intersect1d(first[0], second[0], assume_unique=True, return_indices=True)
    return ids, first[1][here].astype(np.float64), second[1][there].astype(np.float64)


def _two_views(
    first: Frame, second: Frame, intrinsics: NDArray[np.float64], unit: float
) -> tuple[float, NDArray[np.float64]] | None:
    """How well two frames start a map, and second_from_first with a translation of length 1; None: not at all."""
    ids, a, b = shared_corners(first, second)
    if len(ids) < 2 * FEWEST:
        return None
    rotation, left = rotation_between(a, b, intrinsics)
    if np.median(left) < _START_PARALLAX_PX * unit:
        return None
    essential, mask = cv2.findEssentialMat(
        a, b, intrinsics, method=cv2.USAC_MAGSAC, prob=0.9999, threshold=unit, maxIters=2000
    )
    if essential is None or essential.shape != (3, 3):
        return None
    agreeing = int(mask.sum())
    passed, turned, moved, kept = cv2.recoverPose(essential, a, b, intrinsics, mask=mask.copy())
    # A motion that turns more than the corners do is the twisted twin of the right one.
    turn = np.degrees(np.arccos(np.clip((np.trace(turned @ rotation.T) - 1) / 2, -1, 1)))
    if passed < 0.5 * agreeing or passed < FEWEST or turn > _LARGEST_TURN_DEG:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turned, moved[:, 0]
    inverse = np.linalg.inv(intrinsics)
    inside = kept[:, 0] > 0
    rays = [np.c_[points[inside], np.ones(inside.sum())] @ inverse.T for points in (a, b)]
    angle = _angle_deg(rays[0] @ turned.T, rays[1])
    if np.median(angle) < _LEAST_ANGLE_DEG / 2:
        return None
    score = passed * min(float(np.median(angle)), 6.0)
    return score, pose


def _resect(start: Bundle, seen: Observations, unit: float) -> NDArray[np.float64]:
    """One camera by robust Gauss-Newton steps; its points stay."""
    pose: NDArray[Any] = start.camera_from_world[0]
    for _ in range(8):
        bundle = Bundle(pose[None], start.points, start.intrinsics)
        residual = bundle.residuals_px(seen)
        length = np.linalg.norm(residual, axis=1)
        weights = unit / np.maximum(length, unit) * (length < 10 * _OUTLIER_PX * unit)
        in_camera = start.points @ pose[:3, :3].T + pose[:3, 3]
        jacobian = projection_slopes(in_camera, start.intrinsics)[1]
        normal = np.einsum("mri,m,mrj->ij", jacobian, weights, jacobian)
        change = -np.linalg.solve(normal + 1e-9 * np.eye(6), np.einsum("mri,m,mr->i", jacobian, weights, residual))
        turned = cv2.Rodrigues(change[3:])[0]
        pose = pose.copy()
        pose[:3] = turned @ pose[:3]
        pose[:3, 3] += change[:3]
        if np.linalg.norm(change) < 1e-8:
            break
    return pose


def _intersect(
    bundle: Bundle, seen: Observations, count: int, unit: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points nearest to their viewing rays, and which are good: in front, seen at an angle, and fitting."""
    inverse = np.linalg.inv(bundle.intrinsics)
    poses = bundle.camera_from_world[seen.cameras]
    rays = np.c_[seen.pixels, np.ones(len(seen.pixels))] @ inverse.T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rays = np.einsum("mji,mj->mi", poses[:, :3, :3], rays)
    centres = -np.einsum("mji,mj->mi", poses[:, :3, :3], poses[:, :3, 3])
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    left, right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(left, seen.points, across)
    np.add.at(right, seen.points, np.einsum("mij,mj->mi", across, centres))
    points: NDArray[Any] = np.linalg.solve(left + 1e-9 * np.eye(3), right[..., None])[..., 0]
    errors = np.linalg.norm(Bundle(bundle.camera_from_world, points, bundle.intrinsics).residuals_px(seen), axis=1)
    worst = np.zeros(count)
    np.maximum.at(worst, seen.points, errors)
    # The widest angle to the first ray of a point stands for all.
    order = np.argsort(seen.points, kind="stable")
    first = order[np.searchsorted(seen.points[order], np.arange(count))]
    angle = np.zeros(count)
    np.maximum.at(angle, seen.points, _angle_deg(rays[first][seen.points], rays))
    return points, (worst < _INLIER_PX * unit) & (angle > _LEAST_ANGLE_DEG)


def _angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    angle: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return angle
