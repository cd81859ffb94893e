"""A small room with two balls, a camera that wanders through it, and the pointmaps of pairs of its frames.

The recorded initialisations were made from exactly these numbers, so the order of the random draws must stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from depthweave.types import PairPointmaps

Array = NDArray[np.float64]
PLANES = ((1, 1.3), (2, 9.0), (0, -4.0), (0, 4.5), (1, -3.5))
BALLS = (((-1.0, 0.5, 5.0), 0.8), ((1.4, 0.2, 6.5), 1.1))
NEAREST = 0.05


@dataclass(frozen=True)
class PointmapScene:
    """Truth of every frame, and its pairs with noise, each in a unit of its own."""

    world_from_camera: Array
    focal_px: Array
    depth: Array
    pair_scale: Array
    pairs: list[PairPointmaps]


def window_pairs(frames: int, reach: int = 2) -> list[tuple[int, int]]:
    """Each frame with the following ones, nearest first, then all of them the other way round."""
    forward = [(t, t + step) for step in range(1, reach + 1) for t in range(frames - step)]
    return forward + [(late, early) for early, late in forward]


def make_scene(
    frames: int = 8,
    height: int = 36,
    width: int = 48,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    noise: float = 0.01,
    seed: int = 0,
    focal: float = 1.1,
    focal_jitter: float = 0.0,
    unsure: Sequence[int] = (),
    step: float = 0.12,
) -> PointmapScene:
    """Pointmaps with relative noise, smaller where the confidence is high; ``unsure`` frames have almost none."""
    random = np.random.Generator(np.random.PCG64(seed))
    ends = window_pairs(frames) if pairs is None else list(pairs)
    focal_px = focal * max(height, width) * (1 + focal_jitter * random.uniform(-1, 1, frames))
    poses = np.stack([_pose(t, frames, step) for t in range(frames)])
    in_camera = np.stack([_cast(pose, _rays(height, width, f)) for pose, f in zip(poses, focal_px, strict=True)])
    rows, columns = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)

    def seen(points: Array, frame: int, apart: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        a = random.uniform(0.5, 3, 4)
        waves = np.sin(6 * a[0] * columns + a[1]) * np.cos(5 * a[2] * rows + a[3])
        level = np.exp(1.4 + 0.5 * waves - 0.15 * apart + 0.2 * random.standard_normal())
        if frame in unsure:
            level = 0.02 * level
        distance = np.linalg.norm(points, axis=-1, keepdims=True)
        error = noise * random.standard_normal(points.shape) * distance / np.sqrt(level)[..., None]
        noisy = (scale * (points + error)).astype(np.float32)
        return torch.from_numpy(noisy), torch.from_numpy((1 + level).astype(np.float32))

    made, scales = [], []
    for first, second in ends:
        scale = float(np.exp(random.uniform(-0.5, 0.5)))
        first_from_second = np.linalg.inv(poses[first]) @ poses[second]
        moved = in_camera[second] @ first_from_second[:3, :3].T + first_from_second[:3, 3]
        apart = abs(first - second)
        points_first, confidence_first = seen(in_camera[first], first, apart, scale)
        points_second, confidence_second = seen(moved, second, apart, scale)
        made.append(PairPointmaps(first, second, points_first, points_second, confidence_first, confidence_second))
        scales.append(scale)
    return PointmapScene(poses, focal_px, in_camera[..., 2], np.array(scales), made)


def _rays(height: int, width: int, focal_px: float) -> Array:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.stack([(x - width / 2) / focal_px, (y - height / 2) / focal_px, np.ones((height, width))], axis=-1)


def _pose(frame: int, frames: int, step: float) -> Array:
    tilt, turn, roll = 0.03 * np.sin(0.7 * frame), 0.035 * frame - 0.035 * frames / 2, 0.01 * np.sin(1.3 * frame)
    pose = np.eye(4)
    pose[:3, :3] = _about(1, turn) @ _about(0, tilt) @ _about(2, roll)
    pose[:3, 3] = (step * frame - step * frames / 2, 0.05 * np.sin(0.5 * frame), 0.06 * frame)
    return pose


def _about(axis: int, angle: float) -> Array:
    matrix = np.eye(3)
    u, v = (axis + 1) % 3, (axis + 2) % 3
    matrix[u, u] = matrix[v, v] = np.cos(angle)
    matrix[u, v], matrix[v, u] = -np.sin(angle), np.sin(angle)
    return matrix


def _cast(world_from_camera: Array, rays: Array) -> Array:
    """Points in camera axes where the rays first meet the room or a ball."""
    directions, origin = rays @ world_from_camera[:3, :3].T, world_from_camera[:3, 3]
    nearest = np.full(rays.shape[:2], np.inf)
    for axis, place in PLANES:
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = (place - origin[axis]) / directions[..., axis]
        nearest = np.where((reached > NEAREST) & (reached < nearest), reached, nearest)
    for centre, radius in BALLS:
        offset = origin - np.asarray(centre)
        square, slope = (directions**2).sum(-1), (directions * offset).sum(-1)
        inside = slope * slope - square * ((offset**2).sum() - radius * radius)
        reached = (-slope - np.sqrt(np.maximum(inside, 0))) / square
        nearest = np.where((inside > 0) & (reached > NEAREST) & (reached < nearest), reached, nearest)
    return rays * nearest[..., None]
