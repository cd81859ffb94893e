"""Video: pictures in, depth out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import alignment, images, io
from depthweave.errors import NeedsMetric, WrongFile, WrongInput
from depthweave.types.camera import Camera
from depthweave.types.maps import DepthMap, InverseDepthMap, Scale
from depthweave.types.picture import Picture, read_picture

VIDEO_TASK = "video"
"""What the manifest of a folder of video depth says of it, finished or not."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in order, read one at a time, so that a clip of any length fits in memory.

    Attributes:
        frames: what iteration reads: a video or folder opened by `Clip.read`, or pictures.
        fps: frames per second, None if unknown.
        camera: the one camera that took all frames, None if unknown.
        name: for result folders.
    """

    frames: "io.FrameStream | Sequence[Picture]"
    fps: float | None = None
    camera: Camera | None = None
    name: str = "clip"

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        *,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
        calibration: "str | PathLike[str] | Camera | None" = None,
    ) -> "Clip":
        """Open a video file or a folder of pictures; nothing is decoded yet.

        Args:
            path: video file or folder (natural order of names).
            start, stop, step: frames to use, as in a slice.
            calibration: a calibration file or a camera.

        Raises:
            WrongFile: not a video and not a folder with pictures.
        """
        frames = io.open_frames(path, start=start, stop=stop, step=step)
        if calibration is None or isinstance(calibration, Camera):
            camera = calibration
        else:
            height, width = frames.size
            camera = Camera.read(calibration, width=width, height=height)
        return cls(frames, frames.fps, camera, Path(path).stem)

    def __iter__(self) -> Iterator[Float[Tensor, "3 h w"]]:
        for frame in self.frames:
            yield read_picture(frame)


@dataclass(frozen=True, eq=False)
class DepthVideo:
    """Depth or inverse depth of a clip, under one scale for all frames.

    Attributes:
        values: (t, h, w) float32, finite everywhere.
        valid: (t, h, w) bool.
        quantity: ``depth`` or ``inverse_depth``.
        scale: what is unknown, the same for the whole clip.
        fps: frames per second, None if unknown.
        camera: of all frames.
        world_from_camera: (t, 4, 4) poses, None if unknown.
    """

    values: Float[Tensor, "t h w"]
    valid: Bool[Tensor, "t h w"]
    quantity: Literal["depth", "inverse_depth"]
    scale: Scale
    fps: float | None = None
    camera: Camera | None = None
    world_from_camera: Float[Tensor, "t 4 4"] | None = field(default=None)

    def __post_init__(self) -> None:
        if self.values.shape != self.valid.shape:
            raise WrongInput(f"valid has shape {tuple(self.valid.shape)}, but the values {tuple(self.values.shape)}.")
        if not bool(torch.isfinite(self.values).all()):
            raise WrongInput("values must be finite; mark unknown pixels in `valid` and put any number under them.")

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, index: int) -> DepthMap | InverseDepthMap:
        kind = DepthMap if self.quantity == "depth" else InverseDepthMap
        return kind(self.values[index], self.valid[index], camera=self.camera, scale=self.scale)

    def to_depth(self) -> "DepthVideo":
        """The clip as depth.

        Raises:
            NeedsMetric: inverse depth with unknown shift.
        """
        return self if self.quantity == "depth" else self._inverted("depth")

    def to_inverse_depth(self) -> "DepthVideo":
        """The clip as inverse depth.

        Raises:
            NeedsMetric: depth with unknown shift.
        """
        return self if self.quantity == "inverse_depth" else self._inverted("inverse_depth")

    def align_to(
        self,
        reference: "DepthVideo",
        *,
        method: alignment.Method = "least_squares",
        over: alignment.Over = "clip",
        shift: bool | None = None,
    ) -> "DepthVideo":
        """The clip brought to a reference of the same quantity; its scale becomes the reference's.

        Args:
            reference: e.g. metric depth of a sensor; pixels valid in both count.
            method: as in `DepthMap.align_to`.
            over: ``clip`` fits once for all frames; ``image`` fits each frame, which hides flicker.
            shift: fit a shift too; by default only when this clip's shift is unknown.
        """
        if self.quantity != reference.quantity:
            raise WrongInput(
                f"a clip of {self.quantity} is aligned to {self.quantity}, not to {reference.quantity}; convert one."
            )
        if self.values.shape != reference.values.shape:
            raise WrongInput(
                f"a clip of {tuple(self.values.shape)} cannot be aligned to one of {tuple(reference.values.shape)}; "
                "bring both to one size and the same frames first."
            )
        with_shift = self.scale == Scale.UNKNOWN_SCALE_AND_SHIFT if shift is None else shift
        fit = alignment.fit_scale_shift if with_shift else alignment.fit_scale
        fitted = fit(self.values, reference.values, self.valid & reference.valid, method=method, over=over)
        values = fitted.apply(self.values)
        usable = self.valid & (values > 0)
        return replace(self, values=torch.where(usable, values, 0.0), valid=usable, scale=reference.scale)

    def color_range(self) -> images.ColorRange:
        """One range for the whole clip, of inverse depth where that exists, so that colours do not flicker."""
        return images.color_range(self._shown(), self.valid)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write every frame losslessly (``frames/000000.npz``), a preview video and ``result.json`` to a folder."""
        folder = Path(folder)
        limits = self.color_range()
        for index in range(len(self)):
            self[index].save(folder / "frames" / f"{index:06d}.npz")
        shown = self._shown()
        pictures = (images.colorize(shown[i], self.valid[i], limits) for i in range(len(self)))
        io.write_video(folder / "preview.mp4", pictures, fps=self.fps or 10.0)
        poses = self.world_from_camera
        io.write_manifest(
            folder,
            {
                "type": f"{self.quantity}_video",
                "frames": len(self),
                "scale": str(self.scale),
                "fps": self.fps,
                "camera": None if self.camera is None else self.camera.to_dict(),
                "world_from_camera": None if poses is None else poses.tolist(),
                "color_range": {"low": limits.low, "high": limits.high, "map": "turbo"},
                "files": {"data": "frames", "preview": "preview.mp4"},
            },
        )

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> "DepthVideo":
        """Read what `save` or `depthweave video` wrote, all frames into memory.

        Frames without a pose get NaN for one.

        Raises:
            WrongFile: the folder holds something else, or work that was not finished.
        """
        folder = Path(folder)
        manifest = io.read_manifest(folder)
        if manifest.get("task") == VIDEO_TASK and "files" not in manifest:
            raise WrongFile(f"{folder} holds depth of a video that was not finished; run the same command again.")
        kinds = {"depth_video": DepthMap, "inverse_depth_video": InverseDepthMap}
        if manifest.get("type") not in kinds:
            raise WrongFile(
                f"{folder} holds {manifest.get('type', 'no map')}, not a depth video; "
                "read it with the type of that name."
            )
        frames = [kinds[manifest["type"]].read(folder / "frames" / f"{i:06d}.npz") for i in range(manifest["frames"])]
        camera, poses = manifest["camera"], manifest["world_from_camera"]
        if poses is not None:
            poses = torch.tensor([[[np.nan] * 4] * 4 if pose is None else pose for pose in poses], dtype=torch.float32)
        return cls(
            values=torch.stack([frame.values for frame in frames]),
            valid=torch.stack([frame.valid for frame in frames]),
            quantity="depth" if manifest["type"] == "depth_video" else "inverse_depth",
            scale=Scale(manifest["scale"]),
            fps=manifest["fps"],
            camera=None if camera is None else Camera.from_dict(camera),
            world_from_camera=poses,
        )

    def _inverted(self, quantity: Literal["depth", "inverse_depth"]) -> "DepthVideo":
        if self.scale == Scale.UNKNOWN_SCALE_AND_SHIFT:
            raise NeedsMetric(
                f"{quantity.replace('_', ' ')} needs a known shift, but this clip has unknown scale and shift: "
                "align_to(reference) brings it to a reference, or choose a metric model."
            )
        positive = self.values > 0
        values = torch.where(positive, 1 / self.values.clamp_min(1e-12), 0.0)
        return replace(self, values=values, valid=self.valid & positive, quantity=quantity)

    def _shown(self) -> Tensor:
        if self.quantity == "inverse_depth":
            return self.values
        return -self.values if self.scale == Scale.UNKNOWN_SCALE_AND_SHIFT else self.to_inverse_depth().values
