"""Pairs of frames to pointmaps by plain geometry: nothing to download."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from depthweave import geometry, images, runtime
from depthweave.classical.motion import CameraMotion, camera_motion
from depthweave.classical.tracks import FeatureTracker
from depthweave.classical.two_view_depth import depth_from_two_views
from depthweave.errors import DepthweaveWarning, WrongInput
from depthweave.types import Camera, Clip, PairPointmaps, Scale

LONGEST_WINDOW = 32
"""Frames that may lie between the two of a pair."""
TYPICAL_FOCAL = 0.85
"""Of cameras nobody knows, in longer sides of the picture: 61 degrees."""
_STEP = 2
"""Dense inverse search finds motion at half the size; more pixels would only repeat it."""
_LEAST_PARALLAX_PX = 2.0
_LEAST_OVERLAP = 0.5
_FEWEST_PAIRS = 2
_STILL_PX = 1.0


@dataclass(frozen=True, eq=False)
class _View:
    grey: UInt8[NDArray[np.uint8], "h w"]


class GeometricPairs:
    """A `PairEstimator` without weights: corners are followed, the camera is placed, and dense motion triangulated.

    `calibrate` goes through the clip once and finds where the camera was (structure from motion on corners); `estimate`
    takes the partners of a frame by parallax, finds the dense motion to each and triangulates it. Moving things do not
    fit the camera's motion and get no confidence.

    Args:
        max_size: longer side in px at which it works; larger pictures are made smaller.
        parallax_px: a partner is looked for near each of these median parallaxes (for 640 px; they scale with the
            size).
        min_confidence: raw confidence from which a pixel counts as valid: 1 + 0.1 / (expected relative error).
        focal_px: focal length of the clip's pictures where no camera is given; None finds it.
    """

    scale = Scale.UNKNOWN_SCALE

    def __init__(
        self,
        *,
        max_size: int = 640,
        parallax_px: Sequence[float | int] = (8.0, 16.0, 28.0),
        min_confidence: float | int = 1.5,
        focal_px: float | int | None = None,
    ) -> None:
        if max_size < 64:
            raise WrongInput(f"max_size {max_size} is too small for corners to be followed; take at least 64.")
        if not parallax_px or min(parallax_px) <= 0:
            raise WrongInput("parallax_px needs at least one positive number of px.")
        self.max_size, self.parallax_px, self.focal_px = max_size, tuple(map(float, parallax_px)), focal_px
        self.min_confidence = float(min_confidence)
        self.window = LONGEST_WINDOW
        self._motion: CameraMotion | None = None
        self._partners: dict[int, list[int]] = {}
        self._size = (0, 0)

    def facts(self) -> dict[str, Any]:
        """What a result's manifest says of it."""
        return {
            "options": {
                "max_size": self.max_size,
                "parallax_px": list(self.parallax_px),
                "min_confidence": self.min_confidence,
                "focal_px": self.focal_px,
            }
        }

    def calibrate(self, clip: Clip) -> Camera | None:
        """Find the camera's motion through the clip, and its focal length where nobody gives it.

        Warns where the motion does not tell the focal length, as when the camera only moves ahead.

        Raises:
            WrongInput: fewer than two frames, or no two that show parallax.
        """
        tracker, frames, size = FeatureTracker(), [], (0, 0)
        for picture in clip:
            size = (int(picture.shape[-2]), int(picture.shape[-1]))
            frames.append(tracker.follow(self.prepare(picture).grey))
        if len(frames) < 2:
            raise WrongInput(
                f"{clip.name} has one frame, and geometry needs two or more from different places; "
                "for a single picture use `depthweave mono` or a pointmap network."
            )
        working = images.fit_size(*size, self.max_size)
        known = clip.camera is not None or self.focal_px is not None
        camera = clip.camera or _guessed_camera(size, self.focal_px)
        found = camera_motion(
            frames, camera.resized(*working).intrinsics.double().numpy(), working, refine_focal=not known
        )
        if not (found.segment >= 0).any():
            raise WrongInput(_why_nothing(clip.name, found, working))
        if not known and not found.focal_found:
            assumed = TYPICAL_FOCAL * max(size)
            warnings.warn(
                f"the motion in {clip.name} does not tell the focal length, so {assumed:.0f} px is assumed, and depth "
                "may be stretched; give a calibration (-c K.txt) or focal_px.",
                DepthweaveWarning,
                stacklevel=2,
            )
        self._motion, self._size = found, working
        self._partners = self._plan(found)
        self.window = max((frame - other for frame, others in self._partners.items() for other in others), default=1)
        intrinsics = torch.from_numpy(found.intrinsics).float()
        height, width = size
        back = geometry.scale_intrinsics(intrinsics, scale_x=width / working[1], scale_y=height / working[0])
        return camera if known else Camera(back, width, height)

    def prepare(self, picture: Float[Tensor, "3 h w"]) -> _View:
        """The frame in grey, at the working size."""
        return _View(images.grey_image(picture, *images.fit_size(picture.shape[-2], picture.shape[-1], self.max_size)))

    def estimate(self, frame: int, prepared: Mapping[int, _View]) -> list[PairPointmaps]:
        """The frame with earlier ones that show parallax against it; none where the camera was not placed."""
        motion = self._known_motion()
        partners = [other for other in self._partners.get(frame, ()) if other in prepared]
        work = partial(self._pair, frame, motion, prepared)
        threads = runtime.available_cores()
        if threads == 1 or len(partners) < 2:
            return [work(other) for other in partners]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, partners))

    def _pair(self, frame: int, motion: CameraMotion, prepared: Mapping[int, _View], other: int) -> PairPointmaps:
        other_from_frame = np.linalg.inv(motion.world_from_camera[other]) @ motion.world_from_camera[frame]
        views = depth_from_two_views(
            prepared[frame].grey,
            prepared[other].grey,
            motion.intrinsics,
            other_from_frame,
            plane_depth=float(motion.depth[frame]),
            step=_STEP,
        )
        frame_from_other = torch.from_numpy(np.linalg.inv(other_from_frame)).float()
        intrinsics = geometry.scale_intrinsics(
            torch.from_numpy(motion.intrinsics).float(), scale_x=1 / _STEP, scale_y=1 / _STEP
        )
        own, others = (geometry.unproject(torch.from_numpy(view.depth), intrinsics) for view in views)
        moved = geometry.transform_points(frame_from_other, others.flatten(0, 1)).reshape(others.shape)
        sure, others_sure = (torch.from_numpy(view.confidence) for view in views)
        return PairPointmaps(frame, other, own, moved, sure, others_sure, frame_from_other)

    def _plan(self, motion: CameraMotion) -> dict[int, list[int]]:
        """Earlier partners of every frame: for each wanted parallax the one that comes nearest to it, each once.

        Frames that would be in fewer than two pairs, as the first ones are, are then given later partners.
        """
        frames = np.flatnonzero(motion.segment >= 0).tolist()
        planned = {frame: self._nearest(motion, frame, range(frame - LONGEST_WINDOW, frame)) for frame in frames}
        pairs = Counter(number for frame, others in planned.items() for other in others for number in (frame, other))
        for frame in frames:
            if pairs[frame] < _FEWEST_PAIRS:
                for other in self._nearest(motion, frame, range(frame + 1, frame + 1 + LONGEST_WINDOW)):
                    if frame not in planned[other]:
                        planned[other].append(frame)
        return {frame: sorted(others) for frame, others in planned.items() if others}

    def _nearest(self, motion: CameraMotion, frame: int, others: range) -> list[int]:
        unit = max(self._size) / 640
        shown = {}
        for other in others:
            if 0 <= other < len(motion.segment) and motion.segment[other] == motion.segment[frame]:
                parallax_px, overlap = _expected(motion, frame, other, self._size)
                if parallax_px > _LEAST_PARALLAX_PX * unit and overlap >= _LEAST_OVERLAP:
                    shown[other] = parallax_px

        def distance(other: int, wanted: float) -> float:
            return abs(math.log(shown[other] / (wanted * unit)))

        chosen = [min(shown, key=partial(distance, wanted=wanted)) for wanted in self.parallax_px if shown]
        return list(dict.fromkeys(chosen))

    def _known_motion(self) -> CameraMotion:
        if self._motion is None:
            raise WrongInput("the geometric estimator looks at the whole clip first; call calibrate(clip).")
        return self._motion


def _guessed_camera(size: tuple[int, int], focal_px: float | int | None) -> Camera:
    height, width = size
    focal = float(focal_px) if focal_px is not None else TYPICAL_FOCAL * max(size)
    return Camera(geometry.intrinsics_matrix(focal, focal, (width - 1) / 2, (height - 1) / 2), width, height)


def _expected(motion: CameraMotion, frame: int, other: int, size: tuple[int, int]) -> tuple[float, float]:
    """Median parallax in px, and share of the frame that the other sees, if all of it lay at its median depth."""
    height, width = size
    x, y = np.meshgrid(np.linspace(0, width - 1, 8), np.linspace(0, height - 1, 6))
    rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ np.linalg.inv(motion.intrinsics).T
    other_from_frame = np.linalg.inv(motion.world_from_camera[other]) @ motion.world_from_camera[frame]
    far = rays @ other_from_frame[:3, :3].T
    near = motion.depth[frame] * far + other_from_frame[:3, 3]
    if min(far[:, 2].min(), near[:, 2].min()) <= 0:
        return 0.0, 0.0
    far_px, near_px = ((points @ motion.intrinsics.T)[:, :2] / points[:, 2:] for points in (far, near))
    inside = ((near_px >= 0) & (near_px <= [width - 1, height - 1])).all(1)
    return float(np.median(np.linalg.norm(near_px - far_px, axis=1))), float(inside.mean())


def _why_nothing(name: str, motion: CameraMotion, size: tuple[int, int]) -> str:
    if float(motion.parallax_px.max()) < _STILL_PX * max(size) / 640:
        return (
            f"{name} shows no parallax: the camera stands still or only turns, so geometry cannot tell depth; move the "
            "camera sideways, or use a pointmap network or `depthweave mono`."
        )
    return (
        f"no two frames of {name} could be placed: too few corners last from frame to frame, or nothing stands still; "
        "take more frames per second, or a pointmap network."
    )
