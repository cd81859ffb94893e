"""A clip to depth that is consistent everywhere: a first stage for the whole, a second one from frame to frame."""

import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import io, runtime
from depthweave.errors import DepthweaveWarning, NeedsMetric, WrongInput
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.models.registry import ModelCard
from depthweave.pipelines.clip_inputs import describe_inputs, require_same_size
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.placed_clip import WORK, frame_rate, ranges, source_times
from depthweave.pipelines.reconstruct import AnyClip, NothingPlaced, Reconstructor, as_clip, count_frames
from depthweave.pipelines.video_folder import Quantity, VideoFolder, clear_video, finished_video, require_formats
from depthweave.pipelines.video_frames import (
    AnyDepth,
    FilledDepth,
    Shot,
    StoredDepth,
    cut_clip,
    read_frame,
    split_shots,
    with_fillers,
)
from depthweave.pipelines.video_refiner import Refiner
from depthweave.types import Camera, Clip, DepthVideo, InverseDepthMap, Scale, read_picture
from depthweave.types.clip import VIDEO_TASK
from depthweave.types.reconstruction import describe, frame_file, write_trajectories

_STAGE1, _STAGE2 = f"{WORK}/stage1", f"{WORK}/stage2"
_STATE = f"{WORK}/frames.json"


@runtime_checkable
class Generating(Protocol):
    """A video model that needs no first stage."""

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest."""

    def generate(self, clip: Clip, work: Path) -> Iterator[Float[Tensor, "h w"]]:
        """Inverse depth of every frame in [0, 1] at the pictures' size, under one unknown scale and shift."""


@runtime_checkable
class Planning(Protocol):
    """A model that tells its memory beforehand."""

    def plan(self, height: int, width: int, *, frames: int | None = None) -> tuple[Any, Any, Any]:
        """Settings, number type, and an estimate with a ``sentence``."""


@runtime_checkable
class Stabilising(Protocol):
    """What makes maps of a model for single pictures consistent.

    Attributes:
        name: for manifests.
    """

    name: str

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest."""

    def stabilise(self, clip: Clip, maps: Sequence[AnyDepth], work: Path) -> Iterator[AnyDepth]:
        """One map per frame, in order, all under one scale (and shift).

        Args:
            clip: the pictures.
            maps: one per frame, each in a scale (and shift) of its own, read when it is asked for.
            work: folder for what a stopped run can go on from.
        """


class VideoDepth:
    """Depth of every frame of a clip, under one scale and without flicker.

    >>> depth = VideoDepth(Reconstructor(GeometricPairs()), TemporalRefiner())("clip.mp4")

    Args:
        stage1: a reconstructor, which brings all frames into one world, or a model for single pictures.
        second: after a reconstructor a `Refiner`, after a model for single pictures what makes its maps consistent;
            None leaves the first stage's depth as it is.
        diffusion: a video model that works alone, in place of both.
        card: facts for manifests.

    Raises:
        WrongInput: parts that do not go together.
    """

    def __init__(
        self,
        stage1: Reconstructor | MonoEstimator | None = None,
        second: Refiner | Stabilising | None = None,
        *,
        diffusion: Generating | None = None,
        card: ModelCard | None = None,
    ) -> None:
        alone = diffusion is not None and stage1 is None and second is None
        if not alone and (diffusion is not None or stage1 is None):
            raise WrongInput("depth of a clip comes from a first stage (and a second one), or from diffusion alone.")
        wanted: Any = Refiner if isinstance(stage1, Reconstructor) else Stabilising
        if not isinstance(second, wanted | None):
            raise WrongInput(f"after {type(stage1).__name__} comes a {wanted.__name__}, not {type(second).__name__}.")
        self.stage1, self.second, self.diffusion, self.card = stage1, second, diffusion, card

    @property
    def name(self) -> str:
        """Of the model."""
        if self.card is not None:
            return self.card.name
        return type(self.diffusion).__name__ if self.stage1 is None else self.stage1.name

    def facts(self) -> dict[str, Any]:
        """What makes a result, for its manifest; ``stages`` says which were used."""
        stages: list[dict[str, Any]] = []
        if self.stage1 is not None:
            stages.append({"stage": 1, **self.stage1.facts()})
        if self.second is not None:
            stages.append({"stage": 2, "model": self.second.name, **self.second.facts()})
        if self.diffusion is not None:
            stages.append({"stage": 1, "model": self.name, **self.diffusion.facts()})
        last = {key: value for stage in stages for key, value in stage.items() if value is not None}
        seeds = [stage.get("seed", stage["options"].get("seed")) for stage in stages]
        card = self.card
        return {
            "model": self.name,
            "licence": last.get("licence") if card is None else card.licence,
            "commercial_use": None if card is None else card.commercial_use,
            "revision": last.get("revision"),
            "seed": next((seed for seed in reversed(seeds) if seed is not None), None),
            "device": last.get("device", "cpu"),
            "dtype": last.get("dtype", "float32"),
            "stages": stages,
        }

    def memory_needed(self, clip: AnyClip) -> str | None:
        """A sentence about the memory that diffusion will take for a clip, before it runs; None without diffusion.

        Raises:
            NotEnoughMemory: nothing fits into ``max_memory``.
        """
        diffusion = getattr(self.second, "diffusion", None) if self.diffusion is None else self.diffusion
        if not isinstance(diffusion, Planning):
            return None
        opened = as_clip(clip)
        height, width = read_picture(next(iter(opened.frames))).shape[-2:]
        sentence: str = diffusion.plan(int(height), int(width), frames=count_frames(opened))[2].sentence()
        return sentence

    def __call__(self, clip: AnyClip, *, show_progress: bool | None = None) -> DepthVideo:
        """Depth of a clip in memory, at the pictures' size. `write` takes clips of any length.

        Arguments and errors as in `write`; what its manifest lists as warnings is warned of.
        """
        with tempfile.TemporaryDirectory() as folder:
            facts = self._write(as_clip(clip), Path(folder), (), None, show_progress, plain=True)
            found = DepthVideo.read(folder)
        for sentence in facts["warnings"]:
            warnings.warn(sentence, DepthweaveWarning, stacklevel=2)
        return found

    def write(
        self,
        clip: AnyClip,
        folder: str | PathLike[str],
        *,
        formats: Collection[str] = (),
        quantity: Quantity | None = None,
        overwrite: bool = False,
        show_progress: bool | None = None,
    ) -> dict[str, Any]:
        """Write the depth of a clip to a result folder, with only a window of frames in memory.

        A call that was interrupted goes on where it was stopped, and the data files become the same. A finished folder
        is kept, and formats that it lacks are added.

        Args:
            clip: a `Clip` (its camera is used), a video file, a folder, or pictures in order.
            folder: made if it is missing. It gets ``frames/000000.npz`` and so on, ``preview.mp4``, ``result.json``.
            formats: further files: ``exr`` (float32, channel Z), ``png16`` (16 bit over one range for the clip, which
                the files and the manifest state), ``clouds`` (a PLY per frame, in the clip's world), ``side-by-side``
                (a video of pictures and depth).
            quantity: ``depth`` or ``inverse_depth`` in ``exr`` and ``png16``; None takes that of the frames.
            overwrite: remove an earlier result in the folder first.
            show_progress: bars on stderr; by default only in a terminal.

        Returns:
            The manifest.

        Raises:
            NothingPlaced: the first stage finds nothing to go by, e.g. no parallax; the sentence names the way out.
            NeedsMetric: depth of a model that gives inverse depth with unknown shift.
            WrongInput: frames of several sizes, an unknown format.
            WrongFile: a frame is damaged.
            DifferentConfiguration: the folder holds another clip's result, or one with other settings.
            NotWritable: the folder cannot be written.
        """
        if quantity == "depth" and self.diffusion is not None:
            raise NeedsMetric(
                f"{self.name} gives inverse depth with unknown scale and shift, so no depth; leave --quantity away."
            )
        wanted = require_formats(formats)
        if overwrite:
            clear_video(Path(folder))
        return self._write(as_clip(clip), Path(folder), wanted, quantity, show_progress, plain=False)

    def _write(
        self,
        clip: Clip,
        folder: Path,
        formats: Collection[str],
        quantity: Quantity | None,
        show: bool | None,
        *,
        plain: bool,
    ) -> dict[str, Any]:
        same = {"task": VIDEO_TASK, **self.facts(), "inputs": describe_inputs(clip), "quantity": quantity}
        manifest = io.claim_folder(folder, same)
        if finished_video(manifest, folder, formats):
            shutil.rmtree(folder / WORK, ignore_errors=True)
            return manifest
        if "files" in manifest and (folder / "frames").is_dir():
            facts = manifest
        else:
            facts = {**same, **self._frames(clip, folder, show)}
        start = time.perf_counter()
        wrote = VideoFolder(folder, clip, facts, show=show).write(formats, quantity, plain=plain)
        wrote["timings_s"] = {**facts["timings_s"], "write": time.perf_counter() - start}
        io.write_manifest(folder, wrote)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return io.read_manifest(folder)

    def _frames(self, clip: Clip, folder: Path, show: bool | None) -> dict[str, Any]:
        """Depth of all frames to ``frames/``; what the manifest says of it. A stopped call's is taken up."""
        state = folder / _STATE
        if state.is_file():
            found: dict[str, Any] = io.read_json(state, remedy=f"delete {folder / WORK} and run the command again")
            return found
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DepthweaveWarning)
            try:
                facts = self._run(clip, folder, show)
            except NothingPlaced as error:
                shutil.rmtree(folder / WORK, ignore_errors=True)
                (folder / MANIFEST_NAME).unlink(missing_ok=True)
                raise NothingPlaced(
                    f"{error} `depthweave video -m depth-anything-v2-small` needs no parallax: it looks at every frame "
                    "alone and makes the maps consistent."
                ) from error
        said = [str(warning.message) for warning in caught if issubclass(warning.category, DepthweaveWarning)]
        facts["warnings"] = list(dict.fromkeys([*facts["warnings"], *said]))
        with io.atomic_path(state) as temporary:
            temporary.write_text(json.dumps(facts), encoding="utf-8")
        return facts

    def _run(self, clip: Clip, folder: Path, show: bool | None) -> dict[str, Any]:
        if isinstance(self.stage1, Reconstructor):
            return self._reconstructed(self.stage1, clip, folder, show)
        if isinstance(self.stage1, MonoEstimator):
            return self._stabilised(self.stage1, clip, folder, show)
        return self._generated(clip, folder, show)

    def _reconstructed(self, stage1: Reconstructor, clip: Clip, folder: Path, show: bool | None) -> dict[str, Any]:
        start = time.perf_counter()
        first = stage1.write(clip, folder / _STAGE1, plain=True, show_progress=show)
        placed = time.perf_counter()
        camera = None if first["camera"] is None else Camera.from_dict(first["camera"])
        shots = split_shots(first["component"])
        for shot in shots:
            self._refine_shot(clip, folder, shot, FilledDepth(folder / _STAGE1, shot, camera), show)
        files = write_trajectories(
            folder,
            torch.tensor(first["times_s"], dtype=torch.float64),
            torch.tensor([pose or _NO_POSE for pose in first["world_from_camera"]], dtype=torch.float64),
            torch.tensor(first["component"]),
        )
        kept = ("frames", "scale", "unit", "camera", "world_from_camera", "component", "components", "not_placed")
        return {
            **{key: first[key] for key in (*kept, "times_s", "fps", "width", "height", "drift")},
            "type": "depth_video",
            "shots": [[shot.first, shot.last, shot.component] for shot in shots],
            "valid_share": {"stage1": first["valid_share"]},
            "warnings": [*first["warnings"], *_notes(first, shots)],
            "timings_s": {"stage1": placed - start, "stage2": time.perf_counter() - placed},
            "files": files,
        }

    def _refine_shot(self, clip: Clip, folder: Path, shot: Shot, depth: FilledDepth, show: bool | None) -> None:
        numbers = range(shot.first, shot.last + 1)
        if all((folder / frame_file(frame)).is_file() for frame in numbers):
            return
        found: Iterable[AnyDepth] = iter(depth)
        if isinstance(self.second, Refiner):
            work = folder / _STAGE2 / f"{shot.first:06d}"
            work.mkdir(parents=True, exist_ok=True)
            refined = self.second.refine(cut_clip(clip, shot), depth.stored, work)
            found = (with_fillers(one, depth[number]) for number, one in enumerate(refined))
        _keep(folder, numbers, found, show)

    def _stabilised(self, stage1: MonoEstimator, clip: Clip, folder: Path, show: bool | None) -> dict[str, Any]:
        start = time.perf_counter()
        count, share = _estimate_each(stage1, clip, folder / _STAGE1, show)
        estimated = time.perf_counter()
        maps = StoredDepth(folder / _STAGE1, range(count))
        found: Iterable[AnyDepth] = iter(maps)
        if isinstance(self.second, Stabilising):
            (folder / _STAGE2).mkdir(parents=True, exist_ok=True)
            found = self.second.stabilise(clip, maps, folder / _STAGE2)
        _keep(folder, range(count), found, show)
        facts = _plain_facts(folder, clip, count)
        notes = []
        if self.second is None:
            notes.append("only the first stage ran: every frame has a scale of its own, so that depth may flicker.")
        seconds = {"stage1": estimated - start, "stage2": time.perf_counter() - estimated}
        return {**facts, "valid_share": {"stage1": share}, "warnings": notes, "timings_s": seconds}

    def _generated(self, clip: Clip, folder: Path, show: bool | None) -> dict[str, Any]:
        assert self.diffusion is not None
        start = time.perf_counter()
        (folder / _STAGE2).mkdir(parents=True, exist_ok=True)
        found = (
            InverseDepthMap(
                values,
                torch.ones_like(values, dtype=torch.bool),
                None,
                clip.camera,
                None,
                Scale.UNKNOWN_SCALE_AND_SHIFT,
            )
            for values in self.diffusion.generate(clip, folder / _STAGE2)
        )
        count = _keep(folder, None, found, show)
        seconds = {"generate": time.perf_counter() - start}
        return {**_plain_facts(folder, clip, count), "warnings": [], "timings_s": seconds}


_NO_POSE = [[float("nan")] * 4] * 4


def _keep(folder: Path, numbers: Sequence[int] | None, found: Iterable[AnyDepth], show: bool | None) -> int:
    """Maps to ``frames/``, those that stand there excepted. Returns how many there are."""
    total = None if numbers is None else len(numbers)
    count = 0
    for depth in runtime.progress(found, label="making depth consistent", total=total, show=show):
        frame = count if numbers is None else numbers[count]
        if not (folder / frame_file(frame)).is_file():
            depth.save(folder / frame_file(frame))
        count += 1
    if total is not None and count != total:
        raise WrongInput(f"the second stage gave {count} maps for {total} frames; take another one (-m).")
    return count


def _estimate_each(estimator: MonoEstimator, clip: Clip, folder: Path, show: bool | None) -> tuple[int, float]:
    """A map of every frame to a folder, those that stand there excepted. Returns how many there are, and their share of
    valid pixels.
    """
    count, valid, size = 0, 0.0, None
    for picture in runtime.progress(clip.frames, label="estimating", total=count_frames(clip), show=show):
        image = read_picture(picture)
        size = require_same_size(image, size, count, clip)
        path = folder / frame_file(count)
        if path.is_file():
            found = read_frame(folder, count)
        else:
            found = estimator(image, camera=clip.camera)
            found.save(path)
        valid += float(found.valid.float().mean())
        count += 1
    return count, valid / max(count, 1)


def _plain_facts(folder: Path, clip: Clip, count: int) -> dict[str, Any]:
    """Entries of a manifest for a clip without poses."""
    first = StoredDepth(folder, range(count))[0]
    nowhere = torch.full((count, 4, 4), float("nan"))
    world = describe(first.scale, clip.camera, nowhere, torch.zeros(count, dtype=torch.long), source_times(clip, count))
    return {
        **world,
        "type": f"{first.quantity}_video",
        "world_from_camera": None,
        "fps": frame_rate(clip),
        "width": first.width,
        "height": first.height,
    }


def _notes(first: dict[str, Any], shots: Sequence[Shot]) -> list[str]:
    notes = []
    if first["not_placed"]:
        notes.append(
            f"frames {ranges(first['not_placed'])} have no depth of their own; the nearest frame's lies under them."
        )
    if len(first["components"]) > 1:
        parts = "; ".join(f"{shot.first}-{shot.last}" for shot in shots)
        notes.append(
            f"the clip falls into parts with a unit each (frames {parts}), each made consistent on its own; depth "
            "cannot be compared between them."
        )
    return notes
