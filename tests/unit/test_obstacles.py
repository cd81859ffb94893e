"""The nearest obstacle of each sector, on rooms whose distances are known."""

import math
from dataclasses import replace

import pytest
import torch

from depthweave.errors import NeedsCalibration, NeedsMetric, WrongInput
from depthweave.geometry import intrinsics_matrix, pixel_grid
from depthweave.pipelines.obstacles import nearest_obstacles
from depthweave.types import Camera, DepthMap, Scale

HEIGHT, WIDTH = 48, 64
CAMERA = Camera(intrinsics_matrix(50.0, 50.0, 31.5, 23.5), WIDTH, HEIGHT)
ALL = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


def test_the_nearest_thing_of_each_sector() -> None:
    depth = torch.full((HEIGHT, WIDTH), 5.0)
    depth[20:28, 48:58] = 1.5
    depth[5, 5] = 0.01  # one wrong pixel stops nobody
    found = nearest_obstacles(DepthMap(depth, ALL, camera=CAMERA, scale=Scale.METRIC), sectors=4)
    assert [round(sector.from_deg) for sector in found] == [-33, -16, 0, 16]
    assert found[-1].to_deg == pytest.approx(math.degrees(math.atan2(32, 50)))
    distances = [sector.distance_m for sector in found]
    assert distances[1] == pytest.approx(5.0, abs=0.05)
    assert distances[0] == pytest.approx(5 * math.hypot(1, 16.5 / 50), rel=0.03)
    assert distances[3] == pytest.approx(1.5 * math.hypot(1, 17 / 50), rel=0.02)
    assert found[3].azimuth_deg == pytest.approx(math.degrees(math.atan2(21, 50)), abs=3)


def test_the_ground_and_what_passes_overhead_are_no_obstacles() -> None:
    rows = pixel_grid(HEIGHT, WIDTH)[..., 1]
    down = (rows - 23.5) / 50
    floor = torch.where(down > 0.05, 1.0 / down.clamp_min(0.01), 20.0)  # a floor 1 m below the camera
    ceiling = torch.where(down < -0.05, 0.5 / (-down).clamp_min(0.01), floor)
    room = DepthMap(ceiling, ALL, camera=CAMERA, scale=Scale.METRIC)
    near = [sector.distance_m for sector in nearest_obstacles(room, sectors=3)]
    assert all(distance is not None and distance < 3 for distance in near)
    free = nearest_obstacles(room, sectors=3, camera_height_m=1.0, overhead_m=0.4)
    assert all(sector.distance_m is not None and sector.distance_m > 19 for sector in free)
    nothing = nearest_obstacles(replace(room, valid=~ALL), sectors=2)
    assert [(sector.distance_m, sector.pixels) for sector in nothing] == [(None, 0), (None, 0)]


def test_a_camera_that_looks_down_is_levelled() -> None:
    pitch, height_m = math.radians(20), 1.2
    down = (pixel_grid(HEIGHT, WIDTH)[..., 1] - 23.5) / 50
    drop = down * math.cos(pitch) + math.sin(pitch)  # of a ray, per metre of depth
    floor = DepthMap(
        torch.where(drop > 0.02, height_m / drop.clamp_min(0.01), 0.0), drop > 0.02, camera=CAMERA, scale=Scale.METRIC
    )
    kept = nearest_obstacles(floor, sectors=1, camera_height_m=height_m, pitch_deg=20)
    assert kept[0].pixels == 0
    assert nearest_obstacles(floor, sectors=1, camera_height_m=height_m)[0].pixels > 500


def test_obstacles_need_metres_and_a_camera() -> None:
    with pytest.raises(NeedsMetric, match="fuse_sparse"):
        nearest_obstacles(DepthMap(torch.ones(HEIGHT, WIDTH), ALL, camera=CAMERA))
    with pytest.raises(NeedsCalibration):
        nearest_obstacles(DepthMap(torch.ones(HEIGHT, WIDTH), ALL, scale=Scale.METRIC))
    with pytest.raises(WrongInput, match="obstacles need a sector"):
        nearest_obstacles(DepthMap(torch.ones(HEIGHT, WIDTH), ALL, camera=CAMERA, scale=Scale.METRIC), sectors=0)
