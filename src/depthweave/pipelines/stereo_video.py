"""A video to a stereo video, under one scale for the whole clip."""

import hashlib
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import images, io, runtime
from depthweave.errors import WrongFile, WrongInput
from depthweave.images.stereo_view import anaglyph, side_by_side
from depthweave.pipelines.depth_sources import read_depth
from depthweave.pipelines.synthesize import Synthesizer, generator_of, usable_depth
from depthweave.pipelines.synthetic_folder import Task, fit
from depthweave.synthesis.rescale import DisparityRange, inverse_depth_bounds
from depthweave.types import DisparityMap, InverseDepthMap, read_picture
from depthweave.worlds.workers import run_in_workers

VideoView = Literal["side-by-side", "anaglyph", "pairs"]

COMFORTABLE_SHARE = 1 / 30
"""Largest disparity of a video as a share of its width where nobody says more: a rule of thumb of stereographers."""
_SAMPLES = 2**20
"""Of inverse depth, over the whole clip, to find its far and its near end."""
_DEPTH, _RIGHT = "depth", "right"


@dataclass(frozen=True)
class StereoVideo:
    """What `synthesize_video` has made.

    Attributes:
        files: of the folder, by what they are.
        frames: how many.
        reused: whether it stood there before.
    """

    files: dict[str, str]
    frames: int
    reused: bool = False


def synthesize_video(
    path: str | Path,
    task: Task,
    folder: str | Path,
    *,
    also: Collection[VideoView] = (),
    workers: int = 0,
    show_progress: bool | None = None,
) -> StereoVideo:
    """Make `side-by-side.mp4` of a video, and on request `anaglyph.mp4` or a pair per frame.

    First the depth of every frame is found and kept in `depth/`, then the bounds of inverse depth are taken over the
    whole clip, so that a thing keeps its disparity while others come and go; then right views are made, `right/`, and
    encoded. One frame is in memory at a time, in every process. An interrupted call goes on where it was stopped; the
    working folders are removed at the end. Holes of all frames are filled from the same random numbers, which flicker
    less. There is no sound.

    Args:
        path: video file.
        task: what is asked; one range of disparities is taken for the clip: `max_disparity_px`, else a thirtieth of
            the width.
        folder: made if it is missing.
        also: `anaglyph`, `pairs` (the layout of `SynthesizedPair.save`).
        workers: processes that make right views.
        show_progress: bars on stderr; by default only in a terminal.

    Raises:
        WrongFile: not a video, or a damaged one.
        WrongInput: a border that is cropped, several pairs per frame, a clip without depth range.
        DifferentConfiguration: the folder holds another video or other settings.
        NotWritable: the folder cannot be written.
    """
    folder, path = Path(folder), Path(path)
    if task.maker.settings.border == "crop":
        raise WrongInput("frames cropped by their own disparities differ in size; take --border fill or mask.")
    if task.per_image != 1:
        raise WrongInput("every frame of a video makes one pair; leave --per-image away.")
    stream = io.open_frames(path)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    facts = {"type": "stereo_video", **task.facts(), "video_sha256": digest}
    found = _finished(io.claim_folder(folder, facts), folder, also)
    if found is not None:
        return found
    count = _find_depth(stream, task, folder, show_progress)
    width = fit(torch.zeros(3, *stream.size), task.max_size).shape[-1]
    scaling = _clip_scaling(folder, count, width, task)
    _make_right_views(stream, task, folder, count, scaling, "pairs" in also, workers, show_progress)
    files = {"side-by-side": "side-by-side.mp4"}
    if "anaglyph" in also:
        files["anaglyph"] = "anaglyph.mp4"
    for view, name in files.items():
        frames = _encoded(stream, task, folder, view, count, show_progress)
        io.write_video(folder / name, frames, fps=stream.fps or 10.0)
    shutil.rmtree(folder / _DEPTH)
    if "pairs" not in also:
        shutil.rmtree(folder / _RIGHT)
    else:
        files["pairs"] = "left"
    # Only now, so that a video whose manifest names files is complete.
    further = {"video": str(path.resolve()), "frames": count, "fps": stream.fps, "scaling": scaling.facts()}
    io.write_manifest(folder, {**facts, **further, "files": files})
    return StereoVideo(files, count)


@dataclass(frozen=True)
class _Scaling:
    """What all frames share; nothing where px are used as they are."""

    disparities: DisparityRange | None
    bounds: tuple[float, float] | None

    def facts(self) -> dict[str, Any] | None:
        if self.disparities is None or self.bounds is None:
            return None
        low_px, high_px = float(self.disparities.low_px), float(self.disparities.high_px)
        return {"low_px": low_px, "high_px": high_px, "bounds": list(self.bounds)}


@dataclass(frozen=True, eq=False)
class _Frame:
    name: str
    image: Tensor


@dataclass(frozen=True)
class _FrameMaker:
    maker: Synthesizer
    folder: Path
    seed: int
    baseline_m: float | int | None
    scaling: _Scaling
    pairs: bool

    def __call__(self, frame: _Frame) -> str:
        depth = usable_depth(_read(self.folder, frame.name), baseline_m=self.baseline_m)
        rng = generator_of(self.seed, "video")
        scaling = self.scaling
        made = self.maker(
            frame.image, depth, rng, name=frame.name, disparities=scaling.disparities, bounds=scaling.bounds
        )
        if self.pairs:
            made.save(self.folder)
        else:
            io.write_image(self.folder / _RIGHT / f"{frame.name}.png", images.image_from_tensor(made.pair.right))
        return frame.name


def _finished(manifest: dict[str, Any], folder: Path, also: Collection[VideoView]) -> StereoVideo | None:
    files = manifest.get("files", {})
    there = all((folder / name).exists() for name in files.values())
    wanted = {"side-by-side", *also} <= set(files)
    return StereoVideo(files, manifest["frames"], reused=True) if files and there and wanted else None


def _find_depth(stream: io.FrameStream, task: Task, folder: Path, show: bool | None) -> int:
    """Keep the depth of every frame; those that are there are left as they are. Returns the number of frames."""
    count = 0
    for picture in runtime.progress(stream, label="estimating depth", total=stream.count, show=show):
        path = folder / _DEPTH / f"{count:06d}.npz"
        if not path.is_file():
            task.depth(path.stem, read_picture(picture), None).found.save(path)
        count += 1
    return count


def _clip_scaling(folder: Path, count: int, width: int, task: Task) -> _Scaling:
    """One range of disparities, and bounds of inverse depth over samples of all frames."""
    samples = []
    for number in range(count):
        depth = usable_depth(_read(folder, f"{number:06d}"), baseline_m=task.baseline_m)
        if isinstance(depth, DisparityMap):
            return _Scaling(None, None)
        samples.append(_sampled(depth, -(-_SAMPLES // count)))
    maker = task.maker
    pooled = torch.cat(samples)
    bounds = inverse_depth_bounds(pooled[None], rule=maker.rule)
    if maker.max_disparity_px is None:
        return _Scaling(DisparityRange(0.0, width * COMFORTABLE_SHARE), bounds)
    return _Scaling(maker.draw(width, generator_of(task.seed, "video")), bounds)


def _sampled(depth: InverseDepthMap, most: int) -> Float[Tensor, "n"]:
    usable = depth.values[depth.valid]
    return usable[:: max(1, -(-len(usable) // most))].clone()


def _make_right_views(
    stream: io.FrameStream,
    task: Task,
    folder: Path,
    count: int,
    scaling: _Scaling,
    pairs: bool,
    workers: int,
    show: bool | None,
) -> None:
    last = "left" if pairs else _RIGHT

    def missing() -> Iterator[_Frame]:
        for number, picture in enumerate(stream):
            if not (folder / last / f"{number:06d}.png").is_file():
                yield _Frame(f"{number:06d}", fit(read_picture(picture), task.max_size))

    work = _FrameMaker(task.maker, folder, task.seed, task.baseline_m, scaling, pairs)
    results = run_in_workers(work, missing(), min(workers, count))
    for _ in runtime.progress(results, label="making right views", total=count, show=show):
        pass


def _encoded(
    stream: io.FrameStream, task: Task, folder: Path, view: str, count: int, show: bool | None
) -> Iterator[NDArray[np.uint8]]:
    shown = side_by_side if view == "side-by-side" else anaglyph
    numbered = enumerate(runtime.progress(stream, label=f"writing {view}", total=count, show=show))
    for number, picture in numbered:
        left = fit(read_picture(picture), task.max_size)
        right = read_picture(folder / _RIGHT / f"{number:06d}.png")
        yield images.image_from_tensor(shown(left, right))


def _read(folder: Path, name: str) -> Any:
    path = folder / _DEPTH / f"{name}.npz"
    try:
        return read_depth(path)
    except WrongFile as error:
        raise WrongFile(f"{error} Delete {path} and run the command again.") from error
