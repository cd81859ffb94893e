"""The camera a map belongs to."""

import difflib
import math
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import geometry, io
from depthweave.errors import NeedsCalibration, WrongInput
from depthweave.types.camera_presets import CAMERA_PRESETS


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of the left (or only) camera, and of a pair its baseline.

    Attributes:
        intrinsics: 3x3 matrix in px, integer coordinates at pixel centres.
        width, height: size in px of the pictures that the intrinsics are for.
        baseline_m: distance of the two camera centres in metres, None if unknown.
        doffs_px: cx_right - cx_left in px, zero for most rigs.
        max_disparity_px: an upper bound of the scene's disparities when the calibration states one.
    """

    intrinsics: Float[Tensor, "3 3"]
    width: int
    height: int
    baseline_m: float | None = None
    doffs_px: float = 0.0
    max_disparity_px: int | None = None

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        *,
        width: int | None = None,
        height: int | None = None,
        right: str | PathLike[str] | None = None,
        cameras: tuple[str, str] | None = None,
    ) -> "Camera":
        """Camera of a calibration file; formats as in `depthweave.io.read_calibration`.

        Args:
            path: Middlebury ``calib.txt``, KITTI, ``K.txt``, OpenCV YAML or XML, ROS CameraInfo.
            width, height: size of the pictures; needed when the file does not state it.
            right: the second file of a ROS pair.
            cameras: left and right matrix of a KITTI file; None takes the colour cameras.

        Raises:
            WrongFile: a damaged file, or one for pictures of another size.
            WrongInput: a size that neither the file nor the caller states.
        """
        found = io.read_calibration(path, right=right, cameras=cameras)
        size = (width or found.width, height or found.height)
        if size[0] is None or size[1] is None:
            raise WrongInput(f"{path} does not state the size of its pictures; pass width= and height=.")
        if found.width is not None and found.height is not None and size != (found.width, found.height):
            raise WrongInput(
                f"{path} is for pictures of {found.width}x{found.height} px, but these have {size[0]}x{size[1]}; "
                "use the calibration of this resolution."
            )
        return cls(
            intrinsics=torch.from_numpy(found.intrinsics).to(torch.float32),
            width=size[0],
            height=size[1],
            baseline_m=found.baseline_m,
            doffs_px=found.doffs_px,
            max_disparity_px=found.max_disparity_px,
        )

    @classmethod
    def preset(cls, name: str) -> "Camera":
        """A stereo camera as its maker describes it, with the principal point in the middle.

        Args:
            name: one of `depthweave.types.camera_presets.CAMERA_PRESETS`, e.g. ``realsense-d455``.

        Raises:
            WrongInput: no such preset.
        """
        if name not in CAMERA_PRESETS:
            close = difflib.get_close_matches(name, CAMERA_PRESETS, n=3, cutoff=0.4) or list(CAMERA_PRESETS)
            raise WrongInput(f"there is no camera preset '{name}'; did you mean {', '.join(close)}?")
        found = CAMERA_PRESETS[name]
        centre = (found.width - 1) / 2, (found.height - 1) / 2
        intrinsics = geometry.intrinsics_matrix(found.focal_px, found.focal_px, *centre)
        return cls(intrinsics, found.width, found.height, found.baseline_m)

    @property
    def focal_px(self) -> float:
        """Horizontal focal length in px."""
        return float(self.intrinsics[0, 0])

    def resized(self, height: int, width: int) -> "Camera":
        """The camera of the picture after a resize; disparity offsets and bounds scale with the width."""
        scale_x, scale_y = width / self.width, height / self.height
        bound = self.max_disparity_px
        return replace(
            self,
            intrinsics=geometry.scale_intrinsics(self.intrinsics, scale_x=scale_x, scale_y=scale_y),
            width=width,
            height=height,
            doffs_px=self.doffs_px * scale_x,
            max_disparity_px=None if bound is None else math.ceil(bound * width / self.width),
        )

    def depth_error_m(self, depth_m: float | int, disparity_error_px: float | int = 1.0) -> float:
        """Depth error in m at a depth in m, of a pair with that error of disparity: dZ = Z^2 / (f b) dd.

        Raises:
            NeedsCalibration: the baseline is unknown.
        """
        if self.baseline_m is None:
            raise NeedsCalibration("an expected depth error needs the baseline of the pair; this camera has none.")
        return float(depth_m) ** 2 / (self.focal_px * self.baseline_m) * float(disparity_error_px)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {
            "intrinsics": self.intrinsics.tolist(),
            "width": self.width,
            "height": self.height,
            "baseline_m": self.baseline_m,
            "doffs_px": self.doffs_px,
            "max_disparity_px": self.max_disparity_px,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Camera":
        """The inverse of `to_dict`."""
        return cls(**{**data, "intrinsics": torch.tensor(data["intrinsics"], dtype=torch.float32)})
