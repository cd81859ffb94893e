"""The nearest obstacle in each sector of the field of view, from one metric depth map."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import geometry
from depthweave.errors import NeedsCalibration, NeedsMetric, WrongInput
from depthweave.types import Camera, DepthMap, Scale


@dataclass(frozen=True)
class SectorObstacle:
    """What stands nearest in a sector.

    Attributes:
        from_deg, to_deg: the sector's borders, azimuth from the optical axis, positive to the right.
        distance_m: horizontal distance of the nearest thing, None where too few pixels are left to say.
        azimuth_deg: its direction, the median of its pixels'.
        pixels: how many pixels of the sector count.
    """

    from_deg: float
    to_deg: float
    distance_m: float | None
    azimuth_deg: float | None
    pixels: int


def nearest_obstacles(
    depth: DepthMap,
    *,
    sectors: int = 9,
    quantile: float | int = 0.02,
    least_pixels: int = 50,
    camera_height_m: float | int | None = None,
    pitch_deg: float | int = 0.0,
    margin_m: float | int = 0.1,
    overhead_m: float | int | None = None,
) -> list[SectorObstacle]:
    """The distance of the nearest obstacle in each sector, sectors from left to right.

    The horizontal field of view is cut into sectors of equal angle. In each, the distance is a small quantile of the
    horizontal range sqrt(x^2 + z^2), so that single wrong pixels do not stop a vehicle. With the camera's height given,
    points that lie on the ground or below it are left out; with `overhead_m` those that pass above, too.

    Args:
        depth: in metres, with a camera.
        sectors: how many.
        quantile: of the range in a sector; 0 is the minimum.
        least_pixels: a sector with fewer valid pixels says nothing.
        camera_height_m: of the camera above level ground; None keeps all points.
        pitch_deg: how far the camera looks down.
        margin_m: points up to this far above the ground count as ground.
        overhead_m: points higher above the camera than this are left out; None keeps them.

    Raises:
        NeedsMetric: the depth is not in metres.
        NeedsCalibration: the camera is unknown.
        WrongInput: no sector, or a quantile outside [0, 1).

    Source: sectors as in the polar histograms of Ulrich and Borenstein, VFH+, ICRA 1998, section 2.
    """
    if depth.scale != Scale.METRIC:
        raise NeedsMetric("distances of obstacles are in metres, but this map is not; use fuse_sparse or align_to.")
    if depth.camera is None:
        raise NeedsCalibration("sectors need the camera's intrinsics; give the map a camera.")
    if sectors < 1 or not 0 <= quantile < 1 or least_pixels < 1:
        raise WrongInput("obstacles need a sector, a quantile in [0, 1), and at least one pixel.")
    points = _levelled(geometry.unproject(depth.values, depth.camera.intrinsics), float(pitch_deg))
    keep = depth.valid & (depth.values > 0) & _relevant(points, camera_height_m, margin_m, overhead_m)
    x, _, z = points[keep].unbind(-1)
    distance, azimuth = torch.hypot(x, z), torch.rad2deg(torch.atan2(x, z))
    left, right = _borders(depth.camera)
    edges = torch.linspace(left, right, sectors + 1)
    number = torch.bucketize(azimuth, edges[1:-1], right=True)
    found = []
    for sector in range(sectors):
        mine = number == sector
        span = float(edges[sector]), float(edges[sector + 1])
        count = int(mine.sum())
        if count < least_pixels:
            found.append(SectorObstacle(*span, None, None, count))
            continue
        nearest = torch.quantile(_thinned(distance[mine]), quantile)
        there = azimuth[mine][distance[mine] <= nearest * 1.05]
        found.append(SectorObstacle(*span, float(nearest), float(there.median()), count))
    return found


def _levelled(points: Float[Tensor, "h w 3"], pitch_deg: float) -> Float[Tensor, "h w 3"]:
    """Points in axes whose z is level: a camera that looks down by the pitch is turned up again about x."""
    sine, cosine = math.sin(math.radians(pitch_deg)), math.cos(math.radians(pitch_deg))
    x, y, z = points.unbind(-1)
    return torch.stack((x, cosine * y + sine * z, cosine * z - sine * y), -1)


def _relevant(
    points: Float[Tensor, "h w 3"],
    camera_height_m: float | int | None,
    margin_m: float | int,
    overhead_m: float | int | None,
) -> Bool[Tensor, "h w"]:
    down = points[..., 1]
    keep = torch.ones_like(down, dtype=torch.bool)
    if camera_height_m is not None:
        keep &= down < camera_height_m - margin_m
    if overhead_m is not None:
        keep &= down > -overhead_m
    return keep


def _borders(camera: Camera) -> tuple[float, float]:
    """Azimuth of the picture's left and right border in degrees."""
    centre_px = float(camera.intrinsics[0, 2])
    left, right = (math.degrees(math.atan2(x - centre_px, camera.focal_px)) for x in (-0.5, camera.width - 0.5))
    return left, right


def _thinned(values: Float[Tensor, "n"], most: int = 1_000_000) -> Float[Tensor, "_"]:
    """At most so many values, for torch.quantile takes no more than 16 million."""
    return values[:: -(-len(values) // most)]
