"""Where samples of clips come from: folders of clips, rendered before or filmed, and benchmarks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from depthweave import images, io, runtime
from depthweave.data import CLIP_BENCHMARKS, open_clips
from depthweave.data.clip_item import ClipItem
from depthweave.errors import SceneFailed, WrongFile, WrongInput
from depthweave.geometry import scale_intrinsics
from depthweave.training.clips import RawClip
from depthweave.worlds import Recipe, Worlds
from depthweave.worlds.files import write_worlds

CLIPS = "clips"
"""Kind of a folder with a folder per clip; see `folder_clips`."""
CALIBRATION = "calib.txt"
RENDERING = ("recipe", "rendered", "fps", "rendered_size")
"""Options of sources that say how their clips are rendered."""
_POOL = 48
"""Textures at hand; small clips are learnt from in minutes, and more take longer to make."""


@dataclass(frozen=True)
class _Place:
    """A sample: number of the clip, and of its first frame."""

    clip: int
    first: int


@dataclass(frozen=True)
class _Rig:
    """What the folder of a clip has beside its pictures."""

    second: tuple[Path, ...] = ()
    second_truths: tuple[Path | None, ...] = ()
    flows: tuple[Path | None, ...] = ()
    baseline_m: float = float("nan")
    doffs_px: float = 0.0


class ClipSource:
    """A few frames in a row out of any of the clips.

    Args:
        kind: `clips`, or a name of `depthweave.data.CLIP_BENCHMARKS`.
        root: its folder.
        size: pictures are resized to that height and width, px; None leaves them.
        frames: in a sample, odd; the middle one is the target.
        step: from frame to frame; larger is farther apart.
        stereo: also the frames of the second camera, which only `clips` have.
        count: the first so many clips; None = all.
        options: of the benchmark's reader.

    Raises:
        UnknownBenchmark, WrongInput: as `open_clips`, an even number of frames, or no clip with so many.
        WrongFile: the folder is not what it should be, or a clip has no camera or no second one.
    """

    def __init__(
        self,
        kind: str,
        root: str | Path,
        *,
        size: tuple[int, int] | None = None,
        frames: int = 3,
        step: int = 1,
        stereo: bool = False,
        count: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if frames < 1 or frames % 2 == 0 or step < 1:
            raise WrongInput(
                f"frames {frames} and step {step} of a source of clips: frames is odd, so that one is in the middle, "
                "and step at least 1."
            )
        self.kind, self.root, self.size = kind, Path(root), size
        self.frames, self.step, self.stereo, self.options = frames, step, stereo, options or {}
        self._rigs: list[_Rig] | None = None
        if kind == CLIPS:
            found = folder_clips(root)[:count]
            self.items, self._rigs = [item for item, _ in found], [rig for _, rig in found]
        else:
            self.items = open_clips(kind, root, **self.options)[:count]
        for item in self.items:
            if item.intrinsics_reader is None:
                raise WrongFile(f"clip {item.key} of {root} has no camera, without which no view can be made of it.")
        if stereo and not all(rig.second for rig in self._rigs or [_Rig()]):
            raise WrongFile(f"{root} has clips without a second camera (right/); set stereo = false.")
        reach = (frames - 1) * step + 1
        self._places = [
            _Place(number, first) for number, item in enumerate(self.items) for first in range(len(item) - reach + 1)
        ]
        if not self._places:
            raise WrongInput(f"no clip of {root} has {reach} frames; take fewer frames or a smaller step.")

    @property
    def name(self) -> str:
        """The kind and its folder."""
        return f"{self.kind} in {self.root}"

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._places)

    def choose(self, number: int, rng: np.random.Generator) -> int:
        """Any of them, whatever the number."""
        return int(rng.integers(len(self._places)))

    def raw(self, index: int) -> RawClip:
        """Frames, camera, and what is known of the target."""
        place = self._places[index]
        item = self.items[place.clip]
        rig = _Rig() if self._rigs is None else self._rigs[place.clip]
        numbers = [place.first + self.step * number for number in range(self.frames)]
        target = numbers[self.frames // 2]
        frames = torch.stack([_bytes(item.picture(number)) for number in numbers])
        camera = item.clip.camera
        if camera is None:
            raise WrongFile(f"clip {item.key} of {self.root} has no camera.")
        second = second_depth = None
        if self.stereo:
            second = torch.stack([_bytes(images.tensor_from_image(io.read_image(rig.second[n]))) for n in numbers])
            second_depth = _depth(item.read_depth, rig.second_truths[target])
        truth = item.truth(target)
        raw = RawClip(
            frames,
            camera.intrinsics.float(),
            second,
            rig.baseline_m if self.stereo else float("nan"),
            rig.doffs_px if self.stereo else 0.0,
            None if truth is None else torch.where(truth[1], truth[0], torch.nan),
            second_depth,
            _flow(rig.flows[target]) if rig.flows and self.frames > 1 and self.step == 1 else None,
        )
        return raw if self.size is None or self.size == frames.shape[1:3] else _resized(raw, self.size)

    def facts(self) -> dict[str, Any]:
        """What decides on the samples."""
        return {
            "kind": self.kind,
            "clips": [f"{item.key} {len(item)}" for item in self.items],
            "size": self.size,
            "frames": self.frames,
            "step": self.step,
            "stereo": self.stereo,
            "options": self.options,
        }


def folder_clips(root: str | Path) -> list[tuple[ClipItem, _Rig]]:
    """The clips of a folder with a folder per clip, in the order of their names.

    A clip's pictures lie in its `left` folder, or in itself where there is none, and `calib.txt` there or in `root` is
    its camera. `right`, `disparity`, `disparity_right` and `flow_forward`, as `depthweave worlds` writes them, are used
    where they are there; disparities that are 0 are not known.

    Raises:
        WrongFile: no such folder, no clip in it, or a clip without a calibration.
    """
    folder = io.require_folder(root)
    clips = []
    for place in sorted((each for each in folder.iterdir() if each.is_dir()), key=io.files.natural_key):
        if place.name.startswith("."):
            continue
        frames = _pictures(place / "left" if (place / "left").is_dir() else place)
        if not frames:
            continue
        file = next((each / CALIBRATION for each in (place, folder) if (each / CALIBRATION).is_file()), None)
        if file is None:
            raise WrongFile(f"{place} has no {CALIBRATION}; add one there, or in {folder} for all clips.")
        rig = io.read_calibration(file)
        read = partial(_depth_of_disparity, float(rig.intrinsics[0, 0]), rig.baseline_m or 0.0, rig.doffs_px)
        truths, others, flows = (
            _beside(frames, place / name, end)
            for name, end in (("disparity", ".pfm"), ("disparity_right", ".pfm"), ("flow_forward", ".flo"))
        )
        item = ClipItem(
            place.name,
            frames,
            truths if rig.baseline_m else (None,) * len(frames),
            read,
            intrinsics_reader=partial(_intrinsics, file),
        )
        second = _pictures(place / "right") if (place / "right").is_dir() and rig.baseline_m else ()
        if second and len(second) != len(frames):
            raise WrongFile(f"{place} has {len(frames)} left and {len(second)} right pictures; each needs its other.")
        clips.append((item, _Rig(second, others, flows, rig.baseline_m or float("nan"), rig.doffs_px)))
    if not clips:
        raise WrongFile(f"{folder} holds no clips: expected a folder of pictures, or with left/, for each.")
    return clips


def _pictures(folder: Path) -> tuple[Path, ...]:
    files = (file for file in folder.iterdir() if io.is_image(file) and not file.name.startswith("."))
    return tuple(sorted(files, key=io.files.natural_key))


def _beside(frames: tuple[Path, ...], folder: Path, end: str) -> tuple[Path | None, ...]:
    files = [folder / f"{frame.stem}{end}" for frame in frames]
    return tuple(file if file.is_file() else None for file in files)


def _intrinsics(file: Path) -> NDArray[np.float64]:
    return io.read_calibration(file).intrinsics


def _depth_of_disparity(
    focal_px: float, baseline_m: float, doffs_px: float, file: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    disparity, finite = io.read_pfm(file)
    known = finite & (disparity > 0)
    shifted = np.where(known, disparity + doffs_px, 1.0)
    return (focal_px * baseline_m / shifted).astype(np.float32), known


def _depth(read: Any, file: Path | None) -> Tensor | None:
    if file is None:
        return None
    depth, known = read(file)
    return torch.from_numpy(np.where(known, depth, np.nan).astype(np.float32))


def _flow(file: Path | None) -> Tensor | None:
    if file is None:
        return None
    flow, known = io.read_flo(file)
    return torch.from_numpy(np.where(known[..., None], flow, np.nan).astype(np.float32)).permute(2, 0, 1).contiguous()


def _bytes(picture: Tensor) -> Tensor:
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def _resized(raw: RawClip, size: tuple[int, int]) -> RawClip:
    height, width = raw.frames.shape[1:3]
    ratio_y, ratio_x = size[0] / height, size[1] / width

    def pictures(frames: Tensor) -> Tensor:
        small = interpolate(frames.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False, antialias=True)
        return small.permute(0, 2, 3, 1).contiguous()

    def nearest(values: Tensor) -> Tensor:
        return interpolate(values[None], size, mode="nearest-exact")[0]

    return RawClip(
        pictures(raw.frames),
        scale_intrinsics(raw.intrinsics, scale_x=ratio_x, scale_y=ratio_y),
        None if raw.second is None else pictures(raw.second),
        raw.baseline_m,
        raw.doffs_px * ratio_x,
        None if raw.depth is None else nearest(raw.depth[None])[0],
        None if raw.second_depth is None else nearest(raw.second_depth[None])[0],
        None if raw.flow is None else nearest(raw.flow) * torch.tensor([ratio_x, ratio_y])[:, None, None],
    )


def opens_clips(kind: str) -> bool:
    """Whether sources of that kind are clips."""
    return kind == CLIPS or kind in CLIP_BENCHMARKS


def clip_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a recipe's source as keywords of `ClipSource`; what it does not know is the reader's."""
    own = {name: options[name] for name in ("frames", "step", "stereo") if name in options}
    rest = {name: value for name, value in options.items() if name not in own and name not in RENDERING}
    return {**own, "options": rest}


def render_clips(
    recipe: str, folder: str | Path, options: Mapping[str, Any], *, count: int, seed: int, size: tuple[int, int]
) -> None:
    """Render the first clips of worlds into a folder where they are missing.

    Args:
        recipe: file, or name of a recipe of worlds that depthweave brings, such as `worlds-driving`.
        folder: made if it is missing.
        options: `rendered`, frames of a clip (4), `fps` (10), and `rendered_size`, height and width (size).
        count: clips.
        seed: of the worlds.
        size: of the samples: height and width in px.

    Raises:
        WrongFile: no such recipe.
        DifferentConfiguration: the folder holds clips of other worlds.
        SceneFailed: a clip cannot be rendered.
    """
    brought = files("depthweave") / "recipes" / f"{recipe}.toml"
    file = Path(recipe) if Path(recipe).is_file() or not brought.is_file() else Path(str(brought))
    height, width = options.get("rendered_size", size)
    worlds = Worlds(Recipe.read(file), seed=seed, height=int(height), width=int(width), pool=_POOL)
    frames, fps = int(options.get("rendered", 4)), float(options.get("fps", 10))
    workers = runtime.available_cores()
    written = write_worlds(worlds, folder, count, frames=frames, fps=fps, extras=True, workers=workers)
    for name, sentence in written.failed.items():
        raise SceneFailed(f"{folder}/{name} was not rendered: {sentence}")
