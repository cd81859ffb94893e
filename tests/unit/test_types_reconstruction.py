from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import Camera, Clip, DepthMap, DepthVideo, Reconstruction, Scale, geometry, io
from depthweave.errors import NeedsCalibration, WrongFile, WrongInput
from depthweave.types.reconstruction import join_clouds, place_points

CAMERA = Camera(geometry.intrinsics_matrix(10.0, 10.0, 3.5, 2.5), 8, 6)


def poses(*shifts: float) -> torch.Tensor:
    found = torch.eye(4).repeat(len(shifts), 1, 1)
    found[:, 0, 3] = torch.tensor(shifts)
    return found


def wall(*, component: tuple[int, ...] = (0, 0, 0), camera: Camera | None = CAMERA) -> Reconstruction:
    """A wall at 2, seen by three cameras side by side; the last frame may be lost."""
    placed = torch.tensor(component)
    where = poses(0.0, 1.0, 5.0)
    where[placed < 0] = torch.nan
    values = torch.full((3, 6, 8), 2.0)
    valid = torch.ones(3, 6, 8, dtype=torch.bool) & (placed >= 0)[:, None, None]
    valid[0, 0] = False
    depth = DepthVideo(values, valid, "depth", Scale.UNKNOWN_SCALE, 5.0, camera, where)
    pictures = [torch.full((3, 6, 8), shade) for shade in (0.0, 0.4, 1.0)]
    confidence = torch.where(valid, 0.5, 0.0)
    confidence[1, :3] = 0.9
    return Reconstruction(depth, confidence, placed, {"pairs": 2}, Clip(pictures))


def test_the_cloud_is_in_the_world_in_the_pictures_colours() -> None:
    found = wall().cloud()
    assert len(found) == 3 * 48 - 8
    assert found.scale == Scale.UNKNOWN_SCALE
    assert set(found.points[:, 2].tolist()) == {2.0}
    # Pixel (0, 1) of the first frame comes first: ((0 - 3.5) / 10 * 2, (1 - 2.5) / 10 * 2).
    torch.testing.assert_close(found.points[0], torch.tensor([-0.7, -0.3, 2.0]))
    torch.testing.assert_close(found.points[40], torch.tensor([-0.7 + 1.0, -0.5, 2.0]))
    assert found.colors is not None
    assert [found.colors[i, 0].item() for i in (0, 40, 88)] == [0, 102, 255]
    assert replace(wall(), clip=None).cloud().colors is None


def test_the_cloud_is_taken_evenly_from_sure_pixels_of_one_component() -> None:
    thinned = wall().cloud(max_points=30)
    assert len(thinned) == 30
    assert thinned.colors is not None
    assert torch.bincount(thinned.colors[:, 0].long())[[0, 102, 255]].tolist() == [10, 10, 10]
    assert torch.equal(thinned.points, wall().cloud(max_points=30).points)
    assert len(wall().cloud(min_confidence=0.6)) == 24
    parted = wall(component=(0, 0, 1))
    assert len(parted.cloud()) == 88
    assert float(parted.cloud(component=1).points[:, 0].mean()) == pytest.approx(5, abs=1e-5)
    with pytest.raises(WrongInput, match="component 2 has no frames; there are 2"):
        parted.cloud(component=2)
    with pytest.raises(NeedsCalibration):
        wall(camera=None).cloud()


def test_saved_and_read_it_is_the_same(tmp_path: Path) -> None:
    written = wall(component=(0, 0, -1))
    written.save(tmp_path / "out")
    found = Reconstruction.read(tmp_path / "out", clip=written.clip)
    torch.testing.assert_close(found.depth.values, written.depth.values)
    assert torch.equal(found.depth.valid, written.depth.valid)
    torch.testing.assert_close(found.confidence, written.confidence)
    assert torch.equal(found.component, written.component)
    torch.testing.assert_close(found.world_from_camera, written.world_from_camera, equal_nan=True)
    assert (found.drift, found.scale, found.depth.fps) == ({"pairs": 2}, Scale.UNKNOWN_SCALE, 5.0)
    assert found.camera is not None
    torch.testing.assert_close(found.camera.intrinsics, CAMERA.intrinsics)
    torch.testing.assert_close(found.cloud().points, written.cloud().points)
    times_s, _ = io.read_trajectory(tmp_path / "out" / "trajectory_tum.txt")
    np.testing.assert_allclose(times_s, [0, 0.2])
    torch.testing.assert_close(found.times_s, torch.tensor([0, 0.2, 0.4], dtype=torch.float64))
    assert io.read_manifest(tmp_path / "out")["not_placed"] == [2]


def test_one_frame_is_a_depth_map_with_all_that_is_known() -> None:
    found = wall()[1]
    assert isinstance(found, DepthMap)
    assert found.camera is CAMERA
    assert found.confidence is not None
    assert float(found.confidence[0, 0]) == pytest.approx(0.9)


def test_what_is_no_reconstruction(tmp_path: Path) -> None:
    found = wall()
    with pytest.raises(WrongInput, match="a pose, a confidence and a component for each"):
        Reconstruction(found.depth, found.confidence, found.component[:2])
    with pytest.raises(WrongInput, match="a pose"):
        Reconstruction(replace(found.depth, world_from_camera=None), found.confidence, found.component)
    found.depth.save(tmp_path / "video")
    with pytest.raises(WrongFile, match="holds depth_video, not a reconstruction"):
        Reconstruction.read(tmp_path / "video")
    io.write_manifest(tmp_path / "begun", {"type": "reconstruction"})
    with pytest.raises(WrongFile, match="not finished"):
        Reconstruction.read(tmp_path / "begun")


def test_points_of_a_frame_follow_its_pose() -> None:
    turned = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]])
    depth = DepthMap(torch.full((6, 8), 2.0), torch.ones(6, 8, dtype=torch.bool), camera=CAMERA)
    found = place_points(depth, turned, 1000)
    # The camera looks along the world's x: the wall stands at x = 1 + 2.
    torch.testing.assert_close(found.points[:, 0], torch.full((48,), 3.0))
    assert len(place_points(depth, turned, 7)) == 7
    assert not torch.equal(place_points(depth, turned, 7).points, place_points(depth, turned, 7, seed=1).points)


def test_no_clouds_are_an_empty_one() -> None:
    nothing = join_clouds([], Scale.METRIC)
    assert (len(nothing), nothing.colors) == (0, None)
