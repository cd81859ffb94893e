"""A clip to depth, poses, camera and cloud: pairs of frames, brought into one by closed forms, frame after frame."""

import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, cast, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import io, runtime
from depthweave.errors import DepthweaveWarning, WrongFile, WrongInput
from depthweave.fusion.own_view import Average
from depthweave.fusion.placement import Placement
from depthweave.fusion.windows import FusedFrame, PointmapFusion
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.models.registry import ModelCard
from depthweave.pipelines.clip_inputs import describe_inputs, require_same_size
from depthweave.pipelines.pair_estimator import PairEstimator
from depthweave.pipelines.placed_clip import WORK, PlacedClip, Upsampling, clear_results, work_file
from depthweave.types import Camera, Clip, Picture, Reconstruction, Scale, read_picture
from depthweave.types.reconstruction import CLOUD_CONFIDENCE, MANIFEST_TYPE, MOST_POINTS

AnyClip = Clip | str | PathLike[str] | Sequence[Picture]

_STATE = "state.json"


@runtime_checkable
class Describing(Protocol):
    """An estimator that can say what it is."""

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest: ``options``, and ``revision``, ``device`` and ``dtype`` where there are such."""


class NothingPlaced(WrongInput):
    """A clip of which an estimator can say nothing: one frame, no parallax, nothing that stands still."""


class Reconstructor:
    """Any estimator of pointmaps behind one call: a clip in, a `Reconstruction` out.

    >>> found = Reconstructor(GeometricPairs())("clip.mp4")

    Args:
        estimator: looks at two frames at a time.
        card: facts for manifests.
        stride: a registration takes every so many pixels along both axes; None leaves it to their number.
        average: how a pixel's depths by several pairs become one: ``mean`` (weighted) or ``median``.
        upsample: from the working size to the pictures' own: ``nearest``, or ``edge-aware``, which follows colours.
        max_points: of the cloud, at most.
        cloud_confidence: in [0, 1]; pixels below it stay out of the cloud.
    """

    def __init__(
        self,
        estimator: PairEstimator,
        *,
        card: ModelCard | None = None,
        stride: int | None = None,
        average: str = "mean",
        upsample: str = "nearest",
        max_points: int = MOST_POINTS,
        cloud_confidence: float | int = CLOUD_CONFIDENCE,
    ) -> None:
        known = {"average": (average, get_args(Average)), "upsample": (upsample, get_args(Upsampling))}
        for option, (value, allowed) in known.items():
            if value not in allowed:
                raise WrongInput(f"{option} has no '{value}'; take {' or '.join(allowed)}.")
        if (stride is not None and stride < 1) or max_points < 1 or not 0 <= cloud_confidence <= 1:
            raise WrongInput("stride and max_points are at least 1, and cloud_confidence lies in [0, 1].")
        self.estimator = estimator
        self.card = card
        self.stride = stride
        self.average = cast(Average, average)
        self.upsample = cast(Upsampling, upsample)
        self.max_points = max_points
        self.cloud_confidence = float(cloud_confidence)

    @property
    def name(self) -> str:
        """Of the model."""
        return type(self.estimator).__name__ if self.card is None else self.card.name

    def facts(self) -> dict[str, Any]:
        """What makes a result, for its manifest."""
        card = self.card
        stated = self.estimator.facts() if isinstance(self.estimator, Describing) else {}
        return {
            "revision": None if card is None else card.revision,
            "licence": None if card is None else card.licence,
            "seed": None,
            "device": "cpu",
            "dtype": "float32",
            **stated,
            "model": self.name,
            "options": {
                **stated.get("options", {}),
                "stride": self.stride,
                "average": self.average,
                "upsample": self.upsample,
                "max_points": self.max_points,
                "cloud_confidence": self.cloud_confidence,
            },
        }

    def __call__(
        self,
        clip: AnyClip,
        *,
        known_poses: Float[Tensor, "t 4 4"] | None = None,
        poses_scale: Scale = Scale.METRIC,
        show_progress: bool | None = None,
    ) -> Reconstruction:
        """Reconstruct a clip in memory: all its depth at the pictures' size. `write` takes clips of any length.

        Arguments and errors as in `write`; what its manifest lists as warnings is warned of.
        """
        clip = as_clip(clip)
        with tempfile.TemporaryDirectory() as folder:
            facts = self._write(clip, Path(folder), known_poses, poses_scale, show_progress, plain=True)
            found = Reconstruction.read(folder, clip=clip)
        for sentence in facts["warnings"]:
            warnings.warn(sentence, DepthweaveWarning, stacklevel=2)
        return found

    def write(
        self,
        clip: AnyClip,
        folder: str | PathLike[str],
        *,
        known_poses: Float[Tensor, "t 4 4"] | None = None,
        poses_scale: Scale = Scale.METRIC,
        plain: bool = False,
        overwrite: bool = False,
        show_progress: bool | None = None,
    ) -> dict[str, Any]:
        """Reconstruct a clip into a result folder, with only a window of frames in memory.

        A call that was interrupted goes on where it was stopped, and the files become the same.

        Args:
            clip: a `Clip` (its camera is used), a video file, a folder, or pictures in order.
            folder: made if it is missing.
            known_poses: (t, 4, 4) world_from_camera of every frame, with NaN where one is not known; they give the
                world and the unit.
            poses_scale: METRIC if their translations are metres, as in TUM's format, else UNKNOWN_SCALE.
            plain: write depth, camera and trajectories only: no cloud, no files for other programs, no previews.
            overwrite: remove an earlier reconstruction in the folder first.
            show_progress: bars on stderr; by default only in a terminal.

        Returns:
            The manifest.

        Raises:
            NothingPlaced: no frame could be tied to another.
            WrongInput: frames of several sizes, poses for another number of frames.
            WrongFile: a frame is damaged.
            DifferentConfiguration: the folder holds another clip's result, or one with other settings.
            NotWritable: the folder cannot be written.
        """
        if overwrite:
            clear_results(Path(folder))
        return self._write(as_clip(clip), Path(folder), known_poses, poses_scale, show_progress, plain=plain)

    def _write(
        self,
        clip: Clip,
        folder: Path,
        known_poses: Float[Tensor, "t 4 4"] | None,
        poses_scale: Scale,
        show: bool | None,
        *,
        plain: bool,
    ) -> dict[str, Any]:
        if known_poses is not None:
            _require_poses(known_poses, clip)
        inputs = describe_inputs(clip, known_poses, poses_scale)
        facts = {"type": MANIFEST_TYPE, **self.facts(), "inputs": inputs, "plain": plain}
        finished = _finished(io.claim_folder(folder, facts), folder)
        if finished is not None:
            return finished
        try:
            camera, placement, size, timings, notes = self._place(clip, folder, known_poses, show)
        except (WrongInput, WrongFile) as error:
            if isinstance(error, WrongInput) or not (folder / WORK / _STATE).is_file():
                # No later call could go on from here, so the folder is not kept for one.
                shutil.rmtree(folder / WORK, ignore_errors=True)
                (folder / MANIFEST_NAME).unlink(missing_ok=True)
            raise
        scale = poses_scale if known_poses is not None else self.estimator.scale
        placed = PlacedClip.of(placement, clip, camera, size, scale)
        return placed.write(
            folder,
            facts,
            timings,
            notes,
            upsample=self.upsample,
            max_points=self.max_points,
            min_confidence=self.cloud_confidence,
            plain=plain,
            show=show,
        )

    def _place(
        self, clip: Clip, folder: Path, known_poses: Float[Tensor, "t 4 4"] | None, show: bool | None
    ) -> tuple[Camera | None, Placement, tuple[int, int], dict[str, float], list[str]]:
        """The camera that was used, where every frame is, the working (height, width), seconds, and warnings."""
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DepthweaveWarning)
            try:
                camera = self.estimator.calibrate(clip)
            except WrongInput as error:
                raise NothingPlaced(str(error)) from error
        notes = [str(warning.message) for warning in caught if issubclass(warning.category, DepthweaveWarning)]
        fusion, frames, size = self._estimate(clip, camera, folder / WORK, show)
        estimated = time.perf_counter()
        placement = None if fusion is None else fusion.solve(frames, known_poses=known_poses)
        if placement is None or int(placement.component.max()) < 0:
            raise NothingPlaced(
                f"{self.name} could tie no two frames of {clip.name} together: they need a common static scene and a "
                "camera that moves; take other frames (--start, --stop, a larger --step) or another model (-m)."
            )
        timings = {"estimate": estimated - start, "solve": time.perf_counter() - estimated}
        return camera, placement, size, timings, notes

    def _estimate(
        self, clip: Clip, camera: Camera | None, work: Path, show: bool | None
    ) -> tuple[PointmapFusion | None, int, tuple[int, int]]:
        """All pairs of all frames, and each frame's fused depth to `work`.

        Returns:
            What was measured (None if no pair shows anything), the number of frames, and the working (height, width).
        """
        state = _read_state(work)
        fusion = None if state["fusion"] is None else PointmapFusion.restore(state["fusion"])
        size, frames = (int(state["size"][0]), int(state["size"][1])), int(state["frames"])
        if state["complete"]:
            return fusion, frames, size
        window = self.estimator.window
        closed = max(0, frames - window)
        prepared: dict[int, Any] = {}
        shape = None
        pictures = enumerate(clip.frames)
        for number, picture in runtime.progress(pictures, label="estimating", total=count_frames(clip), show=show):
            if number < closed - window:
                continue
            image = read_picture(picture)
            shape = require_same_size(image, shape, number, clip)
            for old in [key for key in prepared if key < number - window]:
                del prepared[old]
            prepared[number] = self.estimator.prepare(image)
            # Frames that were open when a call was stopped are estimated again: their pointmaps went with it.
            if number < closed:
                continue
            for pair in self.estimator.estimate(number, prepared):
                if fusion is None:
                    size = (int(pair.confidence_first.shape[0]), int(pair.confidence_first.shape[1]))
                    fusion = self._fusion(camera, size)
                fusion.add(pair)
            if number - window >= closed:
                self._close(fusion, number - window, work)
            if number >= frames:
                frames = number + 1
                _save(work, fusion, frames, max(0, frames - window), size, complete=False)
        for number in range(max(0, frames - window), frames):
            self._close(fusion, number, work)
        _save(work, fusion, frames, frames, size, complete=True)
        return fusion, frames, size

    def _fusion(self, camera: Camera | None, size: tuple[int, int]) -> PointmapFusion:
        return PointmapFusion(
            intrinsics=None if camera is None else camera.resized(*size).intrinsics,
            stride=self.stride,
            average=self.average,
            keep_unit=self.estimator.scale == Scale.METRIC,
        )

    def _close(self, fusion: PointmapFusion | None, frame: int, work: Path) -> None:
        if fusion is None:
            return
        found = fusion.close(frame)
        if found is not None:
            io.write_npz(work.parent / work_file(frame), _map_file(found, self.estimator.min_confidence))
        record = next(record for record in fusion.state()["frames"] if record["frame"] == frame)
        _write_json(work / f"{frame:06d}.json", record)


def as_clip(clip: AnyClip) -> Clip:
    """What `Reconstructor` takes as a clip."""
    if isinstance(clip, Clip):
        return clip
    if isinstance(clip, str | PathLike):
        return Clip.read(clip)
    pictures = list(clip)
    if not pictures:
        raise WrongInput("there are no pictures to reconstruct; give a video, a folder, or pictures in order.")
    return Clip(pictures)


def count_frames(clip: Clip) -> int | None:
    """How many frames a clip has, as far as it says before it is gone through."""
    return clip.frames.count if isinstance(clip.frames, io.FrameStream) else len(clip.frames)


def _map_file(found: FusedFrame, min_confidence: float) -> io.MapFile:
    """Depth in the frame's own unit, with the confidence 1 - 1 / max(C, 1) that users see."""
    depth, raw = found.points[..., 2], found.confidence
    valid = torch.isfinite(found.points).all(-1) & (depth > 0) & (raw > min_confidence)
    confidence = torch.where(valid, 1 - 1 / raw.clamp_min(1.0), 0.0).nan_to_num(0.0, posinf=1.0)
    return io.MapFile(
        "depth",
        torch.where(valid, depth, 0.0).to("cpu", torch.float32).numpy(),
        valid.cpu().numpy(),
        confidence.to("cpu", torch.float32).numpy(),
    )


def _read_state(work: Path) -> dict[str, Any]:
    """What an interrupted call has left: the number of frames looked at, and what their pairs said."""
    file = work / _STATE
    if not file.is_file():
        return {"frames": 0, "complete": False, "fusion": None, "size": [0, 0]}
    remedy = f"delete {work} and run the command again"
    state: dict[str, Any] = io.read_json(file, remedy=remedy)
    if state["fusion"] is not None:
        records = (work / f"{frame:06d}.json" for frame in range(state["closed"]))
        state["fusion"]["frames"] = [io.read_json(file, remedy=remedy) for file in records if file.is_file()]
    return state


def _save(
    work: Path, fusion: PointmapFusion | None, frames: int, closed: int, size: tuple[int, int], *, complete: bool
) -> None:
    """Say how far the work has come; what was measured in each frame stands in a file of its own already."""
    settings = None if fusion is None else {**fusion.state(), "frames": []}
    _write_json(
        work / _STATE, {"frames": frames, "closed": closed, "complete": complete, "fusion": settings, "size": size}
    )


def _write_json(file: Path, content: Any) -> None:
    with io.atomic_path(file) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _finished(manifest: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    files = manifest.get("files", {})
    if not files or not all((folder / name).exists() for name in files.values()):
        return None
    shutil.rmtree(folder / WORK, ignore_errors=True)
    return manifest


def _require_poses(known_poses: Float[Tensor, "t 4 4"], clip: Clip) -> None:
    frames = count_frames(clip)
    if frames != len(known_poses) and isinstance(clip.frames, io.FrameStream) and clip.frames.files is None:
        frames = sum(1 for _ in clip.frames)  # what a video's header claims may be wrong
    if frames != len(known_poses):
        raise WrongInput(
            f"there are {len(known_poses)} poses for {frames} frames of {clip.name}; give a pose for every frame that "
            "is used (after start, stop and step)."
        )
