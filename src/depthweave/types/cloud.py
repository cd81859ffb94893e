"""Points in space."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from depthweave import geometry, io
from depthweave.errors import WrongFile

if TYPE_CHECKING:
    from depthweave.types.maps import Scale


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points (n, 3) in OpenCV camera axes (x right, y down, z forward) with colours.

    ``scale`` says whether coordinates are metres (METRIC) or known up to a factor (UNKNOWN_SCALE).
    """

    points: Float[Tensor, "n 3"]
    colors: UInt8[Tensor, "n 3"] | None
    scale: "Scale"

    def __len__(self) -> int:
        return self.points.shape[0]

    def transformed(self, b_from_a: Float[Tensor, "4 4"]) -> "PointCloud":
        """The cloud in other axes."""
        return PointCloud(geometry.transform_points(b_from_a, self.points), self.colors, self.scale)

    def save(self, path: str | PathLike[str]) -> None:
        """Write binary ``.ply`` (axes unchanged) or ``.glb`` (turned to its y-up axes)."""
        suffix = Path(path).suffix.lower()
        writers = {".ply": io.write_ply, ".glb": io.write_glb}
        if suffix not in writers:
            raise WrongFile(f"{path}: a point cloud is saved as .ply or .glb.")
        writers[suffix](path, self.points.cpu().numpy(), None if self.colors is None else self.colors.cpu().numpy())

    @classmethod
    def read(cls, path: str | PathLike[str], *, scale: "Scale | None" = None) -> "PointCloud":
        """Read ``.ply`` or ``.glb``; the files do not state a scale, so it is UNKNOWN_SCALE unless you do."""
        from depthweave.types.maps import Scale

        suffix = Path(path).suffix.lower()
        readers = {".ply": io.read_ply, ".glb": io.read_glb}
        if suffix not in readers:
            raise WrongFile(f"{path}: a point cloud is read from .ply or .glb.")
        points, colors = readers[suffix](path)
        return cls(
            torch.from_numpy(points),
            None if colors is None else torch.from_numpy(colors),
            Scale.UNKNOWN_SCALE if scale is None else scale,
        )
