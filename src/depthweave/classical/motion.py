"""The motion of a camera through a clip, from corners that were followed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from depthweave.classical.sparse_map import FEWEST, Frame, SparseMap, rotation_between, shared_corners

KEYFRAME_PARALLAX_PX = 6.0
"""Median parallax between neighbouring keyframes, for a picture of 640 px; it scales with the longer side."""
_LOST_SHARE = 0.4
"""A keyframe is taken, too, when fewer of the last one's corners are left."""


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """Where the camera was.

    Attributes:
        world_from_camera: (t, 4, 4); every segment has a world and a unit of its own. NaN where not placed.
        segment: (t,) number of the segment that a frame belongs to, -1 where nothing could be said.
        depth: (t,) median depth of the corners that a frame sees, in its segment's unit; NaN where not placed.
        intrinsics: (3, 3) in px, refined if that was asked for.
        focal_found: whether the focal length was asked for and could be told from the clip.
        residual_px: median distance between corners and what the points project to.
        parallax_px: (t,) parallax that a frame shows against the keyframe before it, also where nothing was placed.
    """

    world_from_camera: Float[NDArray[np.float64], "t 4 4"]
    segment: Int[NDArray[np.int64], "t"]
    depth: Float[NDArray[np.float64], "t"]
    intrinsics: Float[NDArray[np.float64], "3 3"]
    focal_found: bool
    residual_px: float
    parallax_px: Float[NDArray[np.float64], "t"]


def camera_motion(
    frames: Sequence[Frame],
    intrinsics: Float[NDArray[np.float64], "3 3"],
    size: tuple[int, int],
    *,
    refine_focal: bool = False,
) -> CameraMotion:
    """Place the frames of a clip by structure from motion on keyframes.

    Keyframes are chosen by parallax; two with enough of it start a map (essential matrix), further ones are placed by
    their corners in the map (PnP), new corners are triangulated, and all is adjusted together. Frames between are
    placed in the finished map. Where the chain breaks, a new segment starts.

    Args:
        frames: numbers and positions of the corners of every frame, see `FeatureTracker`.
        intrinsics: (3, 3) in px.
        size: (height, width) in px.
        refine_focal: whether the focal length is only a guess. It is then found from the first segment where a search
            from below and one from above the guess agree; a camera that only moves forward does not tell it.

    Source: Schonberger and Frahm, Structure-from-Motion Revisited, CVPR 2016, section 2, for clips.
    """
    unit = max(size) / 640
    keys, parallax = _keyframes(frames, intrinsics, unit)
    count = len(frames)
    world_from_camera = np.full((count, 4, 4), np.nan)
    segment = np.full(count, -1)
    depth = np.full(count, np.nan)
    residuals: list[NDArray[np.float64]] = []
    current, told = intrinsics, False
    begin, number = 0, 0
    while begin < len(keys) - 1:
        built = SparseMap.start(frames, keys[begin:], current, unit)
        if built is None:
            break
        built.grow()
        built.finish()
        if refine_focal and not told:
            told = built.find_focal()
        current = built.bundle.intrinsics
        last = built.span()[1]
        low = 0 if begin == 0 else keys[begin]
        high = count if begin + last + 1 >= len(keys) else keys[begin + last + 1]
        for index in range(low, high):
            if segment[index] >= 0:
                continue
            placed = built.place(index)
            if placed is not None:
                camera_from_world, depth[index], errors = placed
                world_from_camera[index] = np.linalg.inv(camera_from_world)
                segment[index] = number
                residuals.append(errors)
        begin += max(last, 1)
        number += 1
    residual = float(np.median(np.concatenate(residuals))) if residuals else float("nan")
    return CameraMotion(world_from_camera, segment, depth, current, told, residual, parallax)


def _keyframes(
    frames: Sequence[Frame], intrinsics: NDArray[np.float64], unit: float
) -> tuple[list[int], NDArray[np.float64]]:
    """Frames with parallax between neighbours; and how much every frame shows against the keyframe before it."""
    keys, parallax = [0], np.zeros(len(frames))
    for index in range(1, len(frames)):
        ids, before, now = shared_corners(frames[keys[-1]], frames[index])
        if len(ids) >= FEWEST:
            parallax[index] = float(np.median(rotation_between(before, now, intrinsics)[1]))
        lost = len(ids) < max(FEWEST * 2, _LOST_SHARE * len(frames[keys[-1]][0]))
        if lost and index - 1 > keys[-1]:
            keys.append(index - 1)
            ids, before, now = shared_corners(frames[keys[-1]], frames[index])
            lost = len(ids) < FEWEST * 2
        if lost or parallax[index] > KEYFRAME_PARALLAX_PX * unit:
            keys.append(index)
    if keys[-1] != len(frames) - 1:
        keys.append(len(frames) - 1)
    return keys, parallax
