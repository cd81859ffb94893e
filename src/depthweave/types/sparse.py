"""A few measured distances: zones of a time-of-flight sensor, or points of a LiDAR."""

import math
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import alignment, geometry
from depthweave.errors import NeedsMetric, WrongInput
from depthweave.io.sparse import SparseFile, read_sparse, write_sparse
from depthweave.types.camera import Camera
from depthweave.types.maps import DepthMap, Scale

VALID_STATUS = (5, 9)
"""Target status of ST's multi-zone sensors that means a good range (user manual UM3109, table of statuses)."""


@dataclass(frozen=True, eq=False)
class SparseDepth:
    """Metric depth of n places of a picture.

    Attributes:
        points_px: (n, 2) the middle of each measurement, (x, y), integers at pixel centres.
        depth_m: (n,) along the optical axis (z, not ray length), positive where valid.
        valid: (n,) measurements that count.
        height, width: of the picture in px.
        sigma_m: (n,) standard deviation of each measurement, None if unknown.
        half_size_px: (n, 2) half the width and height of zones; None for points.
        grid: rows and columns of a sensor, whose n zones come row by row; None for scattered points.
        camera: of the picture, None if unknown.
    """

    points_px: Float[Tensor, "n 2"]
    depth_m: Float[Tensor, "n"]
    valid: Bool[Tensor, "n"]
    height: int
    width: int
    sigma_m: Float[Tensor, "n"] | None = None
    half_size_px: Float[Tensor, "n 2"] | None = None
    grid: tuple[int, int] | None = None
    camera: Camera | None = None

    def __post_init__(self) -> None:
        n = len(self.depth_m)
        for name in ("points_px", "valid", "sigma_m", "half_size_px"):
            field = getattr(self, name)
            if field is not None and len(field) != n:
                raise WrongInput(f"{name} has {len(field)} entries, but there are {n} depths.")
        if self.grid is not None and math.prod(self.grid) != n:
            raise WrongInput(f"{self.grid[0]}x{self.grid[1]} zones are not {n} measurements.")
        good = self.depth_m[self.valid]
        if not bool((torch.isfinite(good) & (good > 0)).all()):
            raise WrongInput("valid depths must be positive and finite; mark the others in `valid`.")

    def __len__(self) -> int:
        return len(self.depth_m)

    @property
    def regions_px(self) -> Float[Tensor, "n 4"]:
        """(left, top, right, bottom) of what each measurement covers, half a pixel around points."""
        half = torch.full_like(self.points_px, 0.5) if self.half_size_px is None else self.half_size_px
        return torch.cat((self.points_px - half, self.points_px + half), -1)

    @classmethod
    def zones(
        cls,
        depth_m: Any,
        status: Any = None,
        *,
        camera: Camera | None = None,
        height: int | None = None,
        width: int | None = None,
        fov_deg: float | int | tuple[float | int, float | int] | None = None,
        sigma_m: Any = None,
        valid_status: tuple[int, ...] = VALID_STATUS,
    ) -> "SparseDepth":
        """Zones of a multi-zone time-of-flight sensor, as seen in the picture: row 0 on top, column 0 on the left.

        The sensor looks along the camera's axis. Its zones divide its field of view evenly on the picture plane; those
        whose middle lies outside the picture are not valid.

        Args:
            depth_m: (rows, columns) in m along the axis; 0 and NaN are not valid.
            status: (rows, columns) integers of the sensor; None takes every positive depth.
            camera: of the picture.
            height, width: of the picture, where there is no camera.
            fov_deg: the sensor's field of view, one number or (horizontal, vertical), which needs a camera; None
                spreads the zones over the whole picture. ST's VL53L8CX has 45 degrees (65 along the diagonal).
            sigma_m: (rows, columns) standard deviations, or one number.
            valid_status: which statuses count; 5 and 9 with ST's sensors.

        Raises:
            WrongInput: no size, a field of view without a camera, or arrays of different shapes.

        Source: ST, VL53L8CX data sheet DS14161 (field of view, 8x8 zones).
        """
        depths = _grid(depth_m)
        rows, columns = depths.shape
        height, width = _size(camera, height, width)
        good = torch.isfinite(depths) & (depths > 0)
        if status is not None:
            codes = torch.as_tensor(status)
            _same_shape(codes, depths, "status")
            good = good & torch.isin(codes, torch.tensor(valid_status))
        left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
        if fov_deg is not None:
            if camera is None:
                raise WrongInput("a field of view needs the camera of the picture; pass camera=, or leave it away.")
            fov = (fov_deg, fov_deg) if isinstance(fov_deg, float | int) else fov_deg
            k = camera.intrinsics.tolist()
            half_x, half_y = (k[i][i] * math.tan(math.radians(angle) / 2) for i, angle in enumerate(fov))
            left, right, top, bottom = k[0][2] - half_x, k[0][2] + half_x, k[1][2] - half_y, k[1][2] + half_y
        step = torch.tensor(((right - left) / columns, (bottom - top) / rows))
        points = torch.tensor((left, top)) + (geometry.pixel_grid(rows, columns) + 0.5) * step
        inside = (points >= -0.5) & (points <= torch.tensor((width - 0.5, height - 0.5)))
        sigma = None
        if sigma_m is not None:
            sigma = torch.as_tensor(sigma_m, dtype=torch.float32).expand(rows, columns).reshape(-1).clone()
        return cls(
            points.reshape(-1, 2),
            torch.where(good, depths, 0.0).reshape(-1),
            (good & inside.all(-1)).reshape(-1),
            height,
            width,
            sigma,
            (step / 2).expand(rows * columns, 2).clone(),
            (rows, columns),
            camera,
        )

    @classmethod
    def from_lidar(
        cls, points_m: Float[Tensor, "_ 3"], camera: Camera, *, sigma_m: float | int | None = None
    ) -> "SparseDepth":
        """Points in camera axes (x right, y down, z forward); those that the camera does not see are left out.

        Args:
            points_m: (m, 3) in m.
            camera: of the picture.
            sigma_m: standard deviation of every distance.
        """
        pixels, depth = geometry.project(points_m.float(), camera.intrinsics)
        limit = torch.tensor((camera.width - 0.5, camera.height - 0.5))
        seen = (depth > 0) & (pixels >= -0.5).all(-1) & (pixels < limit).all(-1)
        found, count = depth[seen], int(seen.sum())
        sigma = None if sigma_m is None else torch.full((count,), float(sigma_m))
        known = torch.ones(count, dtype=torch.bool)
        return cls(pixels[seen], found, known, camera.height, camera.width, sigma, camera=camera)

    @classmethod
    def from_map(cls, depth: DepthMap) -> "SparseDepth":
        """Every valid pixel of a metric map as a point, e.g. of a KITTI depth PNG.

        Raises:
            NeedsMetric: the map is not in metres.
        """
        if depth.scale != Scale.METRIC:
            raise NeedsMetric("sparse depth is in metres, but this map is not; align_to(reference) brings it there.")
        rows, columns = torch.nonzero(depth.valid & (depth.values > 0), as_tuple=True)
        found, known = depth.values[rows, columns], torch.ones(len(rows), dtype=torch.bool)
        points = torch.stack((columns, rows), -1).float()
        return cls(points, found, known, depth.height, depth.width, camera=depth.camera)

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        *,
        height: int | None = None,
        width: int | None = None,
        camera: Camera | None = None,
    ) -> "SparseDepth":
        """Read what `save` wrote, or a table of points (`depthweave.io.sparse.read_sparse`).

        Args:
            path: ``.csv`` or ``.npz``.
            height, width: of the picture, where the file does not state them.
            camera: of the picture.

        Raises:
            WrongFile: a damaged file.
            WrongInput: nobody states the size of the picture.
        """
        found = read_sparse(path)
        height, width = _size(camera, *(found.size or (height, width)))
        depths = torch.from_numpy(np.where(found.valid, found.depth_m, 0.0)).float()
        return cls(
            torch.from_numpy(found.points_px).float(),
            depths,
            torch.from_numpy(found.valid),
            height,
            width,
            None if found.sigma_m is None else torch.from_numpy(found.sigma_m).float(),
            None if found.half_size_px is None else torch.from_numpy(found.half_size_px).float(),
            found.grid,
            camera,
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything but the camera to ``.csv`` or ``.npz``."""
        content = SparseFile(
            self.points_px.double().numpy(),
            self.depth_m.double().numpy(),
            self.valid.numpy(),
            None if self.sigma_m is None else self.sigma_m.double().numpy(),
            None if self.half_size_px is None else self.half_size_px.double().numpy(),
            size=(self.height, self.width),
            grid=self.grid,
        )
        write_sparse(path, content)

    def resized(self, height: int, width: int) -> "SparseDepth":
        """The same measurements for the picture at another size, by the half-pixel rule."""
        scale = torch.tensor((width / self.width, height / self.height))
        return replace(
            self,
            points_px=(self.points_px + 0.5) * scale - 0.5,
            half_size_px=None if self.half_size_px is None else self.half_size_px * scale,
            camera=None if self.camera is None else self.camera.resized(height, width),
            height=height,
            width=width,
        )

    def upsampled(
        self, height: int | None = None, width: int | None = None, *, domain: alignment.Domain = "depth"
    ) -> DepthMap:
        """A dense map of nothing but the measurements, bilinear between zones (`alignment.spread_regions`).

        Args:
            height, width: of the map; the picture's without.
            domain: interpolate depth, or inverse depth.

        Raises:
            WrongInput: nothing is valid.
        """
        here = self.resized(height or self.height, width or self.width)
        size = (here.height, here.width)
        values = alignment.spread_regions(here.depth_m, here.points_px, here.valid, size, grid=here.grid, domain=domain)
        return DepthMap(values, torch.ones_like(values, dtype=torch.bool), camera=here.camera, scale=Scale.METRIC)


def _grid(values: Any) -> Tensor:
    found = torch.as_tensor(values, dtype=torch.float32)
    if found.ndim != 2:
        raise WrongInput(f"zones come in rows and columns, not in the shape {tuple(found.shape)}.")
    return found


def _same_shape(values: Tensor, depths: Tensor, name: str) -> None:
    if values.shape != depths.shape:
        raise WrongInput(f"{name} has shape {tuple(values.shape)}, but the zones' depth {tuple(depths.shape)}.")


def _size(camera: Camera | None, height: int | None, width: int | None) -> tuple[int, int]:
    if camera is not None:
        return camera.height, camera.width
    if height is None or width is None:
        raise WrongInput("the size of the picture is unknown; pass camera=, or height= and width=.")
    return height, width
