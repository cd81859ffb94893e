"""The second stage of video depth that needs no weights: depth made to agree along the motion of the pictures."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from depthweave import geometry, images, io
from depthweave.classical.frame_links import (
    FrameLink,
    FrameStep,
    LogDepth,
    link_frames,
    log_depth_change,
    measure_step,
)
from depthweave.classical.temporal import Passage, enlarge_on_surfaces, scale_series, smooth_along_motion
from depthweave.errors import WrongFile, WrongInput
from depthweave.pipelines.video_frames import fill_nearest
from depthweave.types import Clip, DepthMap

_STEPS_FILE, _LINKS = "steps.npz", "links"
_LEAST_TRUST = 0.05
_FILL_CONFIDENCE = 0.5
_GUESSED_FOV_DEG = 60.0
_LOG_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame at the working size."""

    grey: UInt8[NDArray[np.uint8], "h w"]
    depth: LogDepth
    intrinsics: Float[NDArray[np.float64], "3 3"]


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the first pass keeps of a frame for the second: its depth, and the motion that leads to it."""

    depth: LogDepth
    intrinsics: Float[NDArray[np.float64], "3 3"]
    link: FrameLink | None


@dataclass(frozen=True, eq=False)
class _Pair:
    """What the window keeps of two neighbouring frames."""

    connected: bool
    ahead: Passage
    behind: Passage


class TemporalRefiner:
    """Depth of a clip that does not flicker, by dense motion between its frames; no weights, no training.

    Two passes. The first goes through the clip and measures, between neighbouring frames, dense motion, the camera's
    motion and the jump of depth's scale; of the series of scales only what changes faster than ``period`` is taken
    away, so that its mean and its drift stay the first stage's. The second follows every pixel through ``radius``
    frames on both sides and fits a line or a bend to its depth; what moves is smoothed along its motion. Pixels without
    depth get the neighbours' where these know it, with less confidence; what lies under them plays no part. Nothing
    passes a cut.

    >>> refined = TemporalRefiner().refine(clip, depth, work)

    Args:
        radius: frames looked at on each side.
        spread: standard deviation of their weight, in frames.
        period: in frames; waves of this length in the series of scales are halved, shorter ones vanish.
        side_px: longer side of the pictures that motion is found in; larger ones are shrunk.
        world_from_camera: (t, 4, 4) poses in the unit of depth, NaN where unknown; where there is none the motion is
            found from flow and depth.

    Raises:
        WrongInput: settings out of range, here or for a clip that does not fit.
    """

    name = "temporal"

    def __init__(
        self,
        *,
        radius: int = 4,
        spread: float | int = 1.7,
        period: float | int = 12,
        side_px: int = 320,
        world_from_camera: Float[Tensor, "t 4 4"] | None = None,
    ) -> None:
        if radius < 1 or not spread > 0 or not period > 2 or side_px < 16:
            raise WrongInput(
                "the temporal refiner takes radius >= 1, spread > 0, period > 2 and side_px >= 16, not "
                f"{radius}, {spread}, {period} and {side_px}."
            )
        self.radius, self.spread, self.period, self.side_px = radius, spread, period, side_px
        self.world_from_camera = world_from_camera

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest."""
        options = {"radius": self.radius, "spread": self.spread, "period": self.period, "side_px": self.side_px}
        return {"options": {**options, "poses": "given" if self.world_from_camera is not None else "from flow"}}

    def refine(self, clip: Clip, depth: Sequence[DepthMap], work: Path) -> Iterator[DepthMap]:
        """One map per frame, in order, at the pictures' size and in the scale of ``depth``; see `Refiner`.

        Args:
            clip: the pictures, gone through once.
            depth: one map per frame at the pictures' size, in one scale.
            work: keeps what the first pass has found: ``steps.npz`` and, in ``links/``, about 1.5 MB per frame.

        Raises:
            WrongInput: maps of other sizes or of another number than the pictures, or depth with an unknown shift.
        """
        poses = self.world_from_camera
        if poses is not None and len(poses) != len(depth):
            raise WrongInput(f"there are {len(poses)} poses for {len(depth)} depth maps; give one pose per frame.")
        if len(depth) == 0:
            return
        steps = self._steps(clip, depth, work)
        jumps = np.array([step.log_scale for step in steps])
        scales, jitter = scale_series(jumps, np.array([step.known for step in steps], dtype=bool), period=self.period)
        frames: OrderedDict[int, LogDepth] = OrderedDict()
        pairs: OrderedDict[int, _Pair] = OrderedDict()
        due = 0
        before: _Kept | None = None
        for number in range(len(depth)):
            kept = _read_link(work, number)
            if before is not None:
                pairs[number - 1] = _pair(before, kept, steps[number - 1])
            before = kept
            frames[number] = LogDepth(kept.depth.values - np.float32(scales[number]), kept.depth.weight)
            if number - due == self.radius:
                yield self._refined(due, frames, pairs, depth[due], float(scales[due]), float(jitter[due]))
                due += 1
                frames.pop(due - self.radius - 1, None)
                pairs.pop(due - self.radius - 1, None)
        for last in range(due, len(depth)):
            yield self._refined(last, frames, pairs, depth[last], float(scales[last]), float(jitter[last]))

    def _refined(
        self,
        number: int,
        frames: "OrderedDict[int, LogDepth]",
        pairs: "OrderedDict[int, _Pair]",
        found: DepthMap,
        scale: float,
        jitter: float,
    ) -> DepthMap:
        ahead, behind = [], []
        for at in range(number, number + self.radius):
            if at not in pairs or not pairs[at].connected:
                break
            ahead.append(pairs[at].ahead)
        for at in range(number - 1, number - 1 - self.radius, -1):
            if at not in pairs or not pairs[at].connected:
                break
            behind.append(pairs[at].behind)
        window = {place: frames[number + place] for place in range(-len(behind), len(ahead) + 1)}
        smoothed = smooth_along_motion(window, ahead, behind, spread=self.spread)
        here = frames[number]
        values, valid = found.values.cpu().numpy(), (found.valid & (found.values > 0)).cpu().numpy()
        log_depth = np.log(np.maximum(values, np.float32(_LOG_FLOOR))) - np.float32(scale)
        correction = enlarge_on_surfaces(smoothed.correction, here, log_depth)
        refined = np.where(valid, values * np.exp(correction - np.float32(jitter)), values)
        confidence = np.ones_like(values) if found.confidence is None else found.confidence.cpu().numpy()
        confidence = np.where(found.valid.cpu().numpy(), confidence, 0)
        rows, columns = _nearest(values.shape[0], here.values.shape[0]), _nearest(values.shape[1], here.values.shape[1])
        at_pixel = np.ix_(rows, columns)
        fill_weight = smoothed.fill_weight[at_pixel]
        fill = ~found.valid.cpu().numpy() & (fill_weight > 0)
        refined = np.where(fill, np.exp(smoothed.filled[at_pixel] + np.float32(scale - jitter)), refined)
        confidence = np.where(fill, _FILL_CONFIDENCE * fill_weight, confidence)
        return replace(
            found,
            values=torch.from_numpy(refined.astype(np.float32)),
            valid=found.valid | torch.from_numpy(fill),
            confidence=torch.from_numpy(confidence.astype(np.float32)),
        )

    def _steps(self, clip: Clip, depth: Sequence[DepthMap], work: Path) -> list[FrameStep]:
        """Of all neighbours: motion and jump of scale; read from ``work`` if a run before left them there."""
        path = work / _STEPS_FILE
        if path.is_file():
            return _read_steps(path, len(depth) - 1)
        (work / _LINKS).mkdir(parents=True, exist_ok=True)
        steps: list[FrameStep] = []
        before: _Frame | None = None
        for number, frame in enumerate(self._frames(clip, depth)):
            link = None
            if before is not None:
                link = link_frames(before.grey, frame.grey)
                known = self._known_motion(number - 1)
                steps.append(measure_step(link, before.depth, frame.depth, frame.intrinsics, second_from_first=known))
            _write_link(work, number, frame, link)
            before = frame
        # Written last: it says that all links are there.
        with io.atomic_path(path) as temporary:
            np.savez(
                temporary,
                poses=np.stack([step.second_from_first for step in steps]) if steps else np.zeros((0, 4, 4)),
                log_scale=np.array([step.log_scale for step in steps]),
                known=np.array([step.known for step in steps], dtype=bool),
            )
        return steps

    def _known_motion(self, first: int) -> Float[NDArray[np.float64], "4 4"] | None:
        if self.world_from_camera is None:
            return None
        poses = self.world_from_camera[first : first + 2].double()
        if not bool(torch.isfinite(poses).all()):
            return None
        second_from_first: NDArray[np.float64] = geometry.relative_pose(poses[0], poses[1]).cpu().numpy()
        return second_from_first

    def _frames(self, clip: Clip, depth: Sequence[DepthMap]) -> Iterator[_Frame]:
        size: tuple[int, int] | None = None
        count = 0
        for number, picture in enumerate(clip):
            if number >= len(depth):
                raise WrongInput(f"the clip has more pictures than the {len(depth)} depth maps; give one per picture.")
            found = depth[number]
            own = (int(picture.shape[-2]), int(picture.shape[-1]))
            size = size or own
            if own != size or (found.height, found.width) != size:
                raise WrongInput(
                    f"frame {number} has a picture of {own[1]}x{own[0]} px and depth of {found.width}x{found.height}, "
                    f"but the clip began with {size[1]}x{size[0]}; give frames and maps of one size."
                )
            if found.scale == "unknown_scale_and_shift":
                raise WrongInput("the temporal refiner needs depth up to a factor; this one has an unknown shift, too.")
            yield _shrunk(picture, found, clip, self.side_px)
            count += 1
        if count != len(depth):
            raise WrongInput(f"the clip has {count} pictures, but there are {len(depth)} depth maps; give one each.")


def _shrunk(picture: Tensor, found: DepthMap, clip: Clip, side_px: int) -> _Frame:
    height, width = found.height, found.width
    rows, columns = images.fit_size(height, width, side_px, least=8)
    grey = images.grey_image(picture, rows, columns)
    at = np.ix_(_nearest(rows, height), _nearest(columns, width))
    values = found.values.cpu().numpy()[at]
    usable = found.valid.cpu().numpy()[at] & (values > 0)
    trust = np.float32(1) if found.confidence is None else found.confidence.cpu().numpy()[at]
    weight = np.where(usable, _LEAST_TRUST + (1 - _LEAST_TRUST) * trust, 0).astype(np.float32)
    log_depth = np.log(np.where(usable, np.maximum(values, np.float32(_LOG_FLOOR)), 1)).astype(np.float32)
    if usable.any():  # what is interpolated between pixels must not depend on what lies under those without depth
        log_depth = fill_nearest(torch.from_numpy(log_depth), torch.from_numpy(usable)).numpy()
    camera = found.camera or clip.camera
    intrinsics = geometry.intrinsics_from_fov(_GUESSED_FOV_DEG, width, height) if camera is None else camera.intrinsics
    scaled = geometry.scale_intrinsics(intrinsics, scale_x=columns / width, scale_y=rows / height)
    return _Frame(grey, LogDepth(log_depth, weight), scaled.double().cpu().numpy())


def _pair(first: _Kept, second: _Kept, step: FrameStep) -> _Pair:
    link = second.link
    assert link is not None
    there = step.second_from_first
    back = np.linalg.inv(there).astype(np.float64)
    return _Pair(
        link.connected and step.known,
        Passage(link.forward, log_depth_change(there, first.depth, first.intrinsics), link.forward_ok),
        Passage(link.backward, log_depth_change(back, second.depth, second.intrinsics), link.backward_ok),
    )


def _write_link(work: Path, number: int, frame: _Frame, link: FrameLink | None) -> None:
    parts: dict[str, Any] = {"values": frame.depth.values, "intrinsics": frame.intrinsics}
    parts["weight"] = frame.depth.weight.astype(np.float16)
    if link is not None:
        parts |= {"forward": link.forward.astype(np.float16), "backward": link.backward.astype(np.float16)}
        parts |= {"forward_ok": link.forward_ok, "backward_ok": link.backward_ok, "connected": link.connected}
    np.savez(work / _LINKS / f"{number:06d}.npz", **parts)


def _read_link(work: Path, number: int) -> _Kept:
    path = work / _LINKS / f"{number:06d}.npz"
    parts = io.read_arrays(path, remedy=f"delete {work} to have it made again.")
    link = None
    if "forward" in parts:
        forward, backward = (parts[name].astype(np.float32) for name in ("forward", "backward"))
        link = FrameLink(forward, backward, parts["forward_ok"], parts["backward_ok"], bool(parts["connected"]))
    return _Kept(LogDepth(parts["values"], parts["weight"].astype(np.float32)), parts["intrinsics"], link)


def _nearest(count: int, source: int) -> NDArray[np.intp]:
    """Per pixel of ``count`` the nearest of ``source``, by the half-pixel rule."""
    place = (np.arange(count) + 0.5) * (source / count) - 0.5
    nearest: NDArray[np.intp] = np.clip(np.floor(place + 0.5), 0, source - 1).astype(np.intp)
    return nearest


def _read_steps(path: Path, count: int) -> list[FrameStep]:
    remedy = "delete it to have it made again."
    found = io.read_arrays(path, remedy=remedy)
    try:
        poses, log_scale, known = found["poses"], found["log_scale"], found["known"]
    except KeyError as error:
        raise WrongFile(f"{path} lacks {error}; {remedy}") from error
    if not len(poses) == len(log_scale) == len(known) == count or not math.isfinite(float(log_scale.sum())):
        raise WrongFile(f"{path} belongs to another clip; {remedy}")
    return [FrameStep(poses[i], float(log_scale[i]), bool(known[i])) for i in range(count)]
