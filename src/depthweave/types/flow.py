"""Optical flow as a typed value: motion in px from one picture to another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import geometry, images, io
from depthweave.errors import WrongFile, WrongInput
from depthweave.io.flow_npz import FlowFile, read_flow_npz, write_flow_npz
from depthweave.types.picture import Picture, read_picture

_LEGEND_SHARE = 0.2
"""Side of the wheel in a preview, of the height of the picture."""

_KITTI_LIMIT_PX = 511.98


@dataclass(frozen=True, eq=False)
class FlowMap:
    """Motion in px of the first picture's pixels: x_second = x_first + u, y_second = y_first + v.

    Attributes:
        values: (2, h, w) float32, (u, v) in px, finite everywhere.
        valid: (h, w) bool; False marks pixels without a measurement, whose motion is a filler.
        confidence: (h, w) in [0, 1] or None.
        image: (3, h, w) first picture in [0, 1], for previews, or None.
        target_size: height and width in px of the second picture; None = that of the first.

    Raises:
        WrongInput: shapes that do not agree, or motion that is not finite.
    """

    values: Float[Tensor, "2 h w"]
    valid: Bool[Tensor, "h w"]
    confidence: Float[Tensor, "h w"] | None = None
    image: Float[Tensor, "3 _ _"] | None = None
    target_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        size = tuple(self.values.shape[-2:])
        for name, field in {"valid": self.valid, "confidence": self.confidence, "image": self.image}.items():
            if field is not None and tuple(field.shape[-2:]) != size:
                raise WrongInput(f"{name} has size {tuple(field.shape[-2:])}, but the flow has {size}.")
        if self.values.shape[0] != 2:
            raise WrongInput(f"flow has 2 channels (x, y), not {self.values.shape[0]}.")
        if not bool(torch.isfinite(self.values).all()):
            raise WrongInput("flow must be finite; mark unknown pixels in `valid` and put any number under them.")
        if self.target_size is None:
            object.__setattr__(self, "target_size", size)

    @property
    def height(self) -> int:
        """Rows."""
        return self.values.shape[-2]

    @property
    def width(self) -> int:
        """Columns."""
        return self.values.shape[-1]

    @property
    def inside(self) -> Bool[Tensor, "h w"]:
        """Pixels that the motion leads to a place on the second picture."""
        assert self.target_size is not None
        height, width = self.target_size
        x, y = (geometry.pixel_grid(self.height, self.width).movedim(-1, 0) + self.values.cpu()).unbind(0)
        return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)

    def numpy(self, *, invalid: float = np.nan) -> NDArray[np.float32]:
        """Motion as float32 (H, W, 2) with ``invalid`` at invalid pixels."""
        return torch.where(self.valid, self.values, invalid).permute(1, 2, 0).contiguous().cpu().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.numpy(), dtype=dtype)

    def warp(self, second: Picture) -> Float[Tensor, "3 h w"]:
        """The first picture read out of the second one, in [0, 1]; black where the motion leads out of it.

        Args:
            second: of the target's size.

        Raises:
            WrongInput: a picture of another size.
        """
        picture = read_picture(second)
        if tuple(picture.shape[-2:]) != self.target_size:
            raise WrongInput(
                f"the second picture has size {tuple(picture.shape[-2:])}, the flow leads to {self.target_size}."
            )
        return geometry.warp_by_flow(picture, self.values.cpu())[0]

    def with_image(self, image: Picture) -> "FlowMap":
        """The same flow with the first picture, for previews."""
        return replace(self, image=read_picture(image))

    def colorize(self, largest_px: float | int | None = None) -> NDArray[np.uint8]:
        """Picture (H, W, 3) with the colours of the Middlebury wheel: hue is direction, saturation length.

        Args:
            largest_px: motion of the full colour, px; None takes what 99 % of the valid pixels do not exceed.
        """
        largest = images.largest_motion(self.values, self.valid) if largest_px is None else largest_px
        return images.colorize_flow(self.values, self.valid, largest)

    def save(self, path: str | PathLike[str], *, facts: Mapping[str, Any] | None = None) -> None:
        """Write the flow to a file, or everything about it to a folder.

        ``.npz`` keeps all (flow, mask, confidence, target size); ``.flo`` keeps every bit of the motion, invalid =
        1e10; ``.png`` is KITTI's 16-bit form in steps of 1/64 px up to 512 px. A path without suffix is a result
        folder: ``result.json``, ``flow.npz``, ``flow.flo``, ``flow_kitti.png`` (if the motion fits) and
        ``preview.png``, in whose corner is the wheel.

        Args:
            path: file or folder.
            facts: further entries of ``result.json``, e.g. model and timings.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        flow, valid = self.values.permute(1, 2, 0).contiguous().cpu().numpy(), self.valid.cpu().numpy()
        if suffix == "":
            self._save_folder(path, facts or {})
        elif suffix == ".npz":
            assert self.target_size is not None
            confidence = None if self.confidence is None else self.confidence.cpu().numpy()
            write_flow_npz(path, FlowFile(flow, valid, confidence, self.target_size))
        elif suffix == ".flo":
            io.write_flo(path, flow, valid)
        elif suffix == ".png":
            io.write_flow_png(path, flow, valid)
        else:
            raise WrongFile(f"{path}: flow is saved as .npz, .flo, .png or a folder.")

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "FlowMap":
        """Read what `save` wrote: a result folder or one of its files.

        Raises:
            WrongFile: missing, damaged, or of another kind.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == "":
            manifest = io.read_manifest(path)
            if manifest.get("type") != "flow":
                raise WrongFile(
                    f"{path} holds {manifest.get('type', 'no map')}, not flow; read it with the type of that name."
                )
            return cls.read(path / manifest["files"]["data"])
        if suffix == ".npz":
            found = read_flow_npz(path)
            confidence = None if found.confidence is None else torch.from_numpy(found.confidence).float()
            return cls(_channels_first(found.flow), torch.from_numpy(found.valid), confidence, None, found.target_size)
        readers = {".flo": io.read_flo, ".png": io.read_flow_png}
        if suffix not in readers:
            raise WrongFile(f"{path}: flow is read from .npz, .flo, .png or a result folder.")
        flow, valid = readers[suffix](path)
        return cls(_channels_first(flow), torch.from_numpy(valid))

    def _save_folder(self, folder: Path, facts: Mapping[str, Any]) -> None:
        io.discard_result(folder)
        largest_px = images.largest_motion(self.values, self.valid)
        files = {"data": "flow.npz", "flo": "flow.flo", "preview": "preview.png"}
        self.save(folder / files["data"])
        self.save(folder / files["flo"])
        if not bool((self.values.abs() > _KITTI_LIMIT_PX)[:, self.valid].any()):
            files["kitti"] = "flow_kitti.png"
            self.save(folder / files["kitti"])
        io.write_image(folder / files["preview"], self._preview(largest_px))
        # The manifest comes last: a folder that has one is complete.
        io.write_manifest(
            folder,
            {
                "type": "flow",
                "unit": "px",
                "height": self.height,
                "width": self.width,
                "target_size": self.target_size,
                "valid_share": float(self.valid.float().mean()),
                "color_range": {"of": "motion", "largest_px": largest_px, "map": "middlebury wheel"},
                "files": files,
                **facts,
            },
        )

    def _preview(self, largest_px: float) -> NDArray[np.uint8]:
        preview = self.colorize(largest_px)
        side = int(_LEGEND_SHARE * min(self.height, self.width))
        if side >= 3:
            preview[-side:, -side:] = images.flow_legend(side)
        if self.image is None:
            return preview
        return np.concatenate((images.image_from_tensor(self.image), preview), axis=1)


def _channels_first(flow: NDArray[np.float32]) -> Float[Tensor, "2 h w"]:
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))
