"""An estimator of pointmaps that knows the truth of a small room, and pictures of that room."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthweave import Scale, geometry
from depthweave.types import Camera, Clip, PairPointmaps

HEIGHT, WIDTH, FOCAL_PX = 24, 32, 30.0
"""Of the pictures; the estimator works at half their size."""
ROOM = torch.tensor([2.0, 1.5, 5.0], dtype=torch.float64)


def world_from_camera(frame: int) -> Tensor:
    """Where the camera is: it slides through the room and turns a little."""
    angle = 0.04 * frame
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0] = pose[2, 2] = np.cos(angle)
    pose[0, 2], pose[2, 0] = np.sin(angle), -np.sin(angle)
    pose[:3, 3] = torch.tensor([0.08 * frame - 0.5, 0.02 * (frame % 3), 0.05 * frame])
    return pose


def camera_of(height: int, width: int) -> Camera:
    """The camera of pictures of that size."""
    k = geometry.intrinsics_matrix(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    return Camera(k, WIDTH, HEIGHT).resized(height, width)


def points_of(frame: int, height: int, width: int) -> Tensor:
    """(h, w, 3) true points in the frame's camera: the inner walls of a box, hit by every pixel's ray."""
    rays = geometry.unproject(torch.ones(height, width, dtype=torch.float64), camera_of(height, width).intrinsics)
    pose = world_from_camera(frame)
    directions = rays @ pose[:3, :3].T
    walls = torch.where(directions > 0, ROOM, -ROOM)
    steps = (walls - pose[:3, 3]) / directions
    return rays * steps.amin(-1, keepdim=True)


def picture_of(frame: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """(3, h, w) the walls, coloured by place."""
    points = points_of(frame, height, width)
    world = geometry.transform_points(world_from_camera(frame), points.flatten(0, 1)).reshape(points.shape)
    return (0.5 + 0.5 * torch.sin(3 * world)).permute(2, 0, 1).float()


class ExactPairs:
    """Truth by frame number, each pair in a unit of its own.

    Args:
        window: earlier frames that a frame is paired with.
        cuts: frames before which the scene changes, so that no pair goes across.
        known_camera: whether `calibrate` hands out the clip's camera or, if it has none, the true one.
        scale: of the points; METRIC uses one unit for all pairs.
        unseen: frames that are in no pair.
    """

    def __init__(
        self,
        window: int = 2,
        *,
        cuts: tuple[int, ...] = (),
        known_camera: bool = True,
        scale: Scale = Scale.UNKNOWN_SCALE,
        unseen: tuple[int, ...] = (),
    ) -> None:
        self.window, self.scale, self.min_confidence = window, scale, 1.5
        self.cuts, self.known_camera, self.unseen = cuts, known_camera, unseen
        self.prepared_now: list[int] = []
        self.passes = 0

    def calibrate(self, clip: Clip) -> Camera | None:
        if not self.known_camera:
            return None
        return camera_of(HEIGHT, WIDTH) if clip.camera is None else clip.camera

    def prepare(self, picture: Tensor) -> Any:
        self.passes += 1
        return picture.mean()

    def estimate(self, frame: int, prepared: Mapping[int, Any]) -> list[PairPointmaps]:
        self.prepared_now.append(len(prepared))
        assert all(frame - self.window <= number <= frame for number in prepared)
        earlier = [number for number in range(frame - self.window, frame) if number >= 0]
        assert set(earlier) <= set(prepared)
        linked = [n for n in earlier if not any(n < cut <= frame for cut in self.cuts)]
        linked = [n for n in linked if not {n, frame} & set(self.unseen)]
        return [pair for n in linked for pair in (self._pair(n, frame), self._pair(frame, n))]

    def _pair(self, first: int, second: int) -> PairPointmaps:
        height, width = HEIGHT // 2, WIDTH // 2
        first_from_second = geometry.relative_pose(world_from_camera(second), world_from_camera(first))
        own, other = points_of(first, height, width), points_of(second, height, width)
        moved = geometry.transform_points(first_from_second, other.flatten(0, 1)).reshape(other.shape)
        unit = 1.0 if self.scale == Scale.METRIC else 1 + 0.1 * ((3 * first + 5 * second) % 7)
        confidence = torch.full((height, width), 4.0)
        confidence[0, 0] = 1.2  # below the bound
        return PairPointmaps(
            first, second, (unit * own).float(), (unit * moved).float(), confidence, confidence.clone()
        )
