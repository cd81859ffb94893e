"""The camera a map belongs to."""

import math
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import geometry, io
from depthweave.errors import WrongInput


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
