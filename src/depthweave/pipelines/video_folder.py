"""Depth of all frames of a clip to the files that people open: sequences, clouds, previews, and what they are."""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import images, io, runtime
from depthweave.errors import WrongFile, WrongInput
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.pipelines.placed_clip import WORK
from depthweave.pipelines.video_frames import AnyDepth, read_frame, split_shots
from depthweave.types import Camera, Clip, DepthMap, InverseDepthMap, Scale, read_picture
from depthweave.types.clip import VIDEO_TASK
from depthweave.types.reconstruction import MOST_POINTS, place_points

Format = Literal["exr", "png16", "clouds", "side-by-side"]
Quantity = Literal["depth", "inverse_depth"]

FORMATS: tuple[str, ...] = ("npz", *get_args(Format))
_SUFFIXES = {"exr": "exr", "png16": "png", "clouds": "ply"}
_SIDE_BY_SIDE = "side-by-side"
_SAMPLES = 2**18
"""Of all frames together, for ranges."""
_PNG_PERCENT = (0.1, 99.9)


def require_formats(formats: Collection[str]) -> list[str]:
    """The formats beside ``npz``, which is always written, in a fixed order.

    Raises:
        WrongInput: one that there is not.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise WrongInput(f"there is no format {', '.join(unknown)}; choose from {', '.join(FORMATS)}.")
    return [name for name in FORMATS[1:] if name in formats]


def clear_video(folder: Path) -> None:
    """Remove an earlier result of video depth from a folder, finished or not; other files stay.

    Raises:
        WrongFile: the folder's `result.json` is of something else.
    """
    if not (folder / MANIFEST_NAME).is_file():
        return
    found = io.read_manifest(folder)
    if found.get("task") != VIDEO_TASK:
        raise WrongFile(f"{folder} holds {found.get('type')}, not depth of a video; choose another folder with -o.")
    io.discard_result(folder)
    for name in (WORK, "frames", *_SUFFIXES):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.glob("trajectory*_tum.txt"):
        path.unlink()


def finished_video(manifest: dict[str, Any], folder: Path, formats: Collection[str]) -> bool:
    """Whether all that a call asks for stands in a folder already, or was found not to be possible."""
    files = manifest.get("files", {})
    wanted = {*formats} - {*manifest.get("not_written", ())}
    return "data" in files and wanted <= set(files) and all((folder / name).exists() for name in files.values())


class VideoFolder:
    """Frames of a clip in ``frames/``, and what is to be made of them; one frame is in memory at a time.

    Args:
        folder: of the result.
        clip: its pictures, for side-by-side previews and colours.
        facts: entries of the manifest: ``frames``, ``scale``, ``camera``, ``component``, ``world_from_camera``, ...
        show: bars on stderr; None shows them in a terminal.
    """

    def __init__(self, folder: Path, clip: Clip, facts: dict[str, Any], *, show: bool | None = None) -> None:
        self._folder, self._clip, self._facts, self._show = folder, clip, facts, show
        shots = split_shots(facts["component"])
        self._component = [shot.component for shot in shots for _ in range(len(shot))]
        self._count = len(self._component)
        self._scale = Scale(facts["scale"])
        self._camera = None if facts["camera"] is None else Camera.from_dict(facts["camera"])
        self._quantity: Quantity = "depth" if facts["type"] == "depth_video" else "inverse_depth"
        self._rate = facts["fps"] or 10.0

    def write(self, formats: Collection[str], quantity: str | None, *, plain: bool) -> dict[str, Any]:
        """Write all files but the manifest; frames of sequences that stand there already are kept.

        Args:
            formats: beside ``npz``.
            quantity: of ``exr`` and ``png16``: depth or inverse_depth; None takes that of the frames.
            plain: no preview.

        Returns:
            Entries for the manifest, which the caller writes last.

        Raises:
            NeedsMetric: depth of a clip whose shift is unknown.
            NotWritable: a file cannot be written.
        """
        facts, chosen = self._facts, quantity or self._quantity
        limits, png_range, share = self._ranges(chosen)
        shown = limits.get(0, images.ColorRange(0.0, 1.0))
        color = {"low": shown.low, "high": shown.high, "map": "turbo"}
        files = {"data": "frames", **facts.get("files", {})}
        warnings, impossible = list(facts["warnings"]), set(facts.get("not_written", ()))
        if "clouds" in formats and (self._camera is None or self._scale == Scale.UNKNOWN_SCALE_AND_SHIFT):
            lack = "shift of the depth" if self._scale == Scale.UNKNOWN_SCALE_AND_SHIFT else "focal length"
            warnings.append(f"there are no clouds: the {lack} is unknown; give a calibration (-c) or another model.")
            impossible.add("clouds")
        sequences = [name for name in formats if name in _SUFFIXES and name not in impossible]
        self._write_sequences(sequences, chosen, png_range)
        files |= {name: name for name in sequences}
        if not plain:
            io.write_video(self._folder / "preview.mp4", self._previews(limits, beside=False), self._rate, quick=True)
            files["preview"] = "preview.mp4"
        if _SIDE_BY_SIDE in formats:
            beside = self._previews(limits, beside=True)
            io.write_video(self._folder / f"{_SIDE_BY_SIDE}.mp4", beside, self._rate, quick=True)
            files[_SIDE_BY_SIDE] = f"{_SIDE_BY_SIDE}.mp4"
        said = {
            **facts,
            "exported": {"quantity": chosen, "png16_range": {"low": png_range.low, "high": png_range.high}},
            "valid_share": {**facts.get("valid_share", {}), "result": share},
            "color_range": color,
            "color_ranges": {str(number): [found.low, found.high] for number, found in limits.items()},
            "warnings": list(dict.fromkeys(warnings)),
            "not_written": sorted(impossible),
            "files": files,
        }
        return {key: value for key, value in said.items() if key not in _MANIFEST_OWN}

    def _ranges(self, quantity: str) -> tuple[dict[int, images.ColorRange], images.ColorRange, float]:
        """Of colours for each unit, of 16-bit files for the clip, and the share of valid pixels."""
        shown: dict[int, list[Tensor]] = {}
        exported, shares = [], []
        for frame in runtime.progress(range(self._count), label="measuring", show=self._show):
            found = self._read(frame)
            shares.append(float(found.valid.float().mean()))
            step = found.valid.numel() * self._count // _SAMPLES | 1  # odd, to meet all columns
            few = type(found)(
                found.values.reshape(1, -1)[:, ::step], found.valid.reshape(1, -1)[:, ::step], scale=found.scale
            )
            shown.setdefault(self._component[frame], []).append(shown_values(few)[few.valid])
            other = as_quantity(few, quantity)
            exported.append(other.values[other.valid])
        limits = {number: _range(torch.cat(samples)) for number, samples in sorted(shown.items())}
        return limits, _range(torch.cat(exported), _PNG_PERCENT), sum(shares) / len(shares)

    def _write_sequences(self, names: Collection[str], quantity: str, limits: images.ColorRange) -> None:
        if not names:
            return
        pictures = self._pictures() if "clouds" in names else ((frame, None) for frame in range(self._count))
        text = {"quantity": quantity, "scale": str(self._scale)}
        for frame, picture in runtime.progress(pictures, label="writing files", total=self._count, show=self._show):
            targets = {name: self._folder / name / f"{frame:06d}.{_SUFFIXES[name]}" for name in names}
            missing = {name: path for name, path in targets.items() if not path.is_file()}
            if not missing:
                continue
            found = self._read(frame)
            exported = as_quantity(found, quantity)
            if "exr" in missing:
                exported.save(missing["exr"])
            if "png16" in missing:
                values, valid = exported.values.numpy(), exported.valid.numpy()
                io.write_ranged_png(missing["png16"], values, valid, low=limits.low, high=limits.high, text=text)
            if "clouds" in missing and picture is not None:
                self._write_cloud(missing["clouds"], frame, as_quantity(found, "depth").with_image(picture))

    def _write_cloud(self, path: Path, frame: int, depth: AnyDepth) -> None:
        """Points in the world of the frame's component, in the camera's axes where it has no pose; none, no file."""
        assert isinstance(depth, DepthMap)
        poses = self._facts["world_from_camera"]
        pose = None if poses is None else poses[frame]
        placed = torch.eye(4) if pose is None else torch.tensor(pose, dtype=torch.float32)
        cloud = place_points(replace(depth, camera=self._camera), placed, MOST_POINTS, seed=frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        if len(cloud) > 0:
            cloud.save(path)

    def _previews(self, limits: dict[int, images.ColorRange], *, beside: bool) -> Iterator[NDArray[np.uint8]]:
        label = "writing side by side" if beside else "writing preview"
        pictures = self._pictures() if beside else ((frame, None) for frame in range(self._count))
        for frame, picture in runtime.progress(pictures, label=label, total=self._count, show=self._show):
            colored = self._read(frame).colorize(limits.get(self._component[frame]))
            if picture is not None:
                colored = np.concatenate((images.image_from_tensor(picture), colored), axis=1)
            yield colored

    def _pictures(self) -> Iterator[tuple[int, Float[Tensor, "3 h w"]]]:
        for frame, picture in zip(range(self._count), self._clip.frames, strict=False):
            yield frame, read_picture(picture)

    def _read(self, frame: int) -> AnyDepth:
        return read_frame(self._folder, frame)


_MANIFEST_OWN = ("format", "version", "versions")


def as_quantity(found: AnyDepth, quantity: str) -> AnyDepth:
    """A map as depth or as inverse depth.

    Raises:
        NeedsMetric: its shift is unknown, and it is the other quantity.
    """
    if found.quantity == quantity:
        return found
    return found.to_inverse_depth() if isinstance(found, DepthMap) else found.to_depth()


def shown_values(found: AnyDepth) -> Float[Tensor, "h w"]:
    """What `colorize` paints: inverse depth where that exists."""
    if isinstance(found, InverseDepthMap):
        return found.values
    if found.scale == Scale.UNKNOWN_SCALE_AND_SHIFT:
        return -found.values
    return found.to_inverse_depth().values


def _range(values: Float[Tensor, "n"], percent: tuple[float, float] = (2.0, 98.0)) -> images.ColorRange:
    known = torch.ones(1, len(values), dtype=torch.bool)
    return images.color_range(values[None], known, low_percent=percent[0], high_percent=percent[1])
