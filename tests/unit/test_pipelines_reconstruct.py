"""The pipeline on a small room whose truth is known: files, resumption, memory, bad input."""

import json
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_pairs import HEIGHT, WIDTH, ExactPairs, camera_of, picture_of, points_of, world_from_camera

from depthweave import Camera, Clip, DepthMap, PointCloud, Reconstruction, Scale, geometry, io
from depthweave.errors import DepthweaveWarning, DifferentConfiguration, WrongFile, WrongInput
from depthweave.pipelines.placed_clip import ranges
from depthweave.pipelines.reconstruct import Reconstructor

FRAMES = 9


def clip_of(frames: int = FRAMES) -> list[torch.Tensor]:
    return [picture_of(frame) for frame in range(frames)]


def folder_of_pictures(folder: Path, frames: int = FRAMES) -> Path:
    io.write_frames(folder, [(picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for picture in clip_of(frames)])
    return folder


def truth(frames: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth at the working size, and poses in the axes of the first of the frames."""
    depth = torch.stack([points_of(frame, HEIGHT // 2, WIDTH // 2)[..., 2] for frame in frames])
    poses = torch.stack([world_from_camera(frame) for frame in frames])
    return depth, geometry.invert_pose(poses[0]) @ poses


def assert_true(found: Reconstruction, frames: list[int], *, unit: float | None = None) -> None:
    """Depth and poses agree with the truth of these frames under one factor."""
    depth, poses = truth(frames)
    # Nearest upsampling by two repeats every value.
    values, valid = found.depth.values[frames, ::2, ::2].double(), found.depth.valid[frames, ::2, ::2]
    factor = float((depth / values)[valid].median()) if unit is None else unit
    torch.testing.assert_close(factor * values[valid], depth[valid], rtol=1e-4, atol=1e-4)
    ours = found.world_from_camera[frames].double()
    torch.testing.assert_close(ours[:, :3, :3], poses[:, :3, :3], rtol=0, atol=1e-4)
    torch.testing.assert_close(factor * ours[:, :3, 3], poses[:, :3, 3], rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    clip = Clip.read(folder_of_pictures(folder / "frames_in"))
    Reconstructor(ExactPairs()).write(clip, folder / "out")
    return folder


def test_a_clip_in_memory() -> None:
    found = Reconstructor(ExactPairs())(clip_of())
    assert_true(found, list(range(FRAMES)))
    assert found.scale == Scale.UNKNOWN_SCALE
    assert found.component.tolist() == [0] * FRAMES
    assert found.camera is not None
    assert found.camera.focal_px == pytest.approx(30)
    assert (found.depth.values.shape[1:], found.confidence.shape) == ((HEIGHT, WIDTH), (FRAMES, HEIGHT, WIDTH))
    assert not found.depth.valid[:, :2, :2].any()  # below the estimator's bound
    torch.testing.assert_close(found.confidence[:, 5:, 5:], torch.full((FRAMES, HEIGHT - 5, WIDTH - 5), 0.75))
    assert float(found.confidence[~found.depth.valid].max()) == 0
    cloud = found.cloud(max_points=500)
    assert 400 < len(cloud) <= 500
    assert cloud.colors is not None
    assert len(found.cloud(min_confidence=0.8)) == 0


def test_the_focal_length_is_found_and_is_that_of_the_pictures() -> None:
    found = Reconstructor(ExactPairs(known_camera=False))(clip_of())
    assert found.camera is not None
    assert (found.camera.width, found.camera.height) == (WIDTH, HEIGHT)
    # Networks mean the middle at (w / 2, h / 2), half a pixel from where it is here.
    assert found.camera.focal_px == pytest.approx(30, rel=0.05)
    assert found.camera.intrinsics[0, 2] == pytest.approx(2 * (WIDTH / 4 + 0.5) - 0.5)


def test_metres_stay_metres() -> None:
    found = Reconstructor(ExactPairs(scale=Scale.METRIC))(clip_of())
    assert found.scale == Scale.METRIC
    assert_true(found, list(range(FRAMES)), unit=1.0)


def test_the_folder(written: Path) -> None:
    out = written / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "cloud.glb",
        "cloud.ply",
        "colmap",
        "frames",
        "preview.mp4",
        "preview.png",
        "result.json",
        "trajectory_tum.txt",
        "transforms.json",
    ]
    facts = io.read_manifest(out)
    stated = {"type": "reconstruction", "frames": FRAMES, "scale": "unknown_scale", "unit": None, "warnings": []}
    stated |= {"not_placed": [], "components": [list(range(FRAMES))], "seed": None, "width": WIDTH, "height": HEIGHT}
    assert {key: facts[key] for key in stated} == stated
    assert set(facts["timings_s"]) == {"estimate", "solve", "write"}
    assert facts["drift"]["placed"] == FRAMES
    assert all((out / name).exists() for name in facts["files"].values())
    found = Reconstruction.read(out)
    assert_true(found, list(range(FRAMES)))
    frame = DepthMap.read(out / "frames" / "000004.npz")
    assert (frame.width, frame.scale) == (WIDTH, Scale.UNKNOWN_SCALE)
    torch.testing.assert_close(frame.values, found.depth.values[4])
    assert io.read_image(out / "preview.png").shape[2] == 3
    assert io.open_frames(out / "preview.mp4").count == FRAMES


def test_trajectory_and_colmap_say_the_same(written: Path) -> None:
    out = written / "out"
    times_s, poses = io.read_trajectory(out / "trajectory_tum.txt")
    np.testing.assert_allclose(times_s, np.arange(FRAMES))
    found = Reconstruction.read(out)
    np.testing.assert_allclose(poses, found.world_from_camera.numpy(), atol=1e-6)
    model = io.read_colmap(out / "colmap")
    assert model.names == tuple(f"{frame:06d}.png" for frame in range(FRAMES))
    np.testing.assert_allclose(model.world_from_camera, poses, atol=1e-6)
    nerf = json.loads((out / "transforms.json").read_text())
    assert Path(nerf["frames"][3]["file_path"]).is_file()


def test_cloud_points_lie_on_the_walls(written: Path) -> None:
    out = written / "out"
    cloud = PointCloud.read(out / "cloud.ply")
    depth, _ = truth([0])
    found = Reconstruction.read(out)
    factor = float((depth[0] / found.depth.values[0, ::2, ::2]).median())
    room = geometry.transform_points(world_from_camera(0), factor * cloud.points.double())
    away = (room.abs() - torch.tensor([2.0, 1.5, 5.0])).abs().amin(-1)
    assert float(away.max()) < 1e-3
    painted = (0.5 + 0.5 * torch.sin(3 * room)) * 255
    assert cloud.colors is not None
    assert float((painted - cloud.colors).abs().median()) < 12  # the pictures are shrunk to the working size


def test_started_again_it_keeps_what_stands(written: Path) -> None:
    out, estimator = written / "out", ExactPairs()
    before = (out / "result.json").read_bytes()
    facts = Reconstructor(estimator).write(Clip.read(written / "frames_in"), out)
    assert estimator.passes == 0
    assert facts["frames"] == FRAMES
    assert (out / "result.json").read_bytes() == before


def test_another_configuration_is_refused_unless_it_shall_overwrite(written: Path, tmp_path: Path) -> None:
    clip = Clip.read(written / "frames_in")
    Reconstructor(ExactPairs(), max_points=50).write(clip, tmp_path)
    with pytest.raises(DifferentConfiguration, match="max_points"):
        Reconstructor(ExactPairs(), max_points=60).write(clip, tmp_path)
    shorter = Clip.read(written / "frames_in", stop=5)
    with pytest.raises(DifferentConfiguration, match="selection"):
        Reconstructor(ExactPairs(), max_points=50).write(shorter, tmp_path)
    Reconstructor(ExactPairs(), max_points=50).write(shorter, tmp_path, overwrite=True)
    assert len(list((tmp_path / "frames").iterdir())) == 5
    io.write_manifest(tmp_path, {"type": "worlds"})
    with pytest.raises(WrongFile, match="holds worlds"):
        Reconstructor(ExactPairs()).write(clip, tmp_path, overwrite=True)


class Stopped(Exception):
    pass


class Stopping(ExactPairs):
    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def estimate(self, frame, prepared):  # type: ignore[no-untyped-def]
        if frame == self.at:
            raise Stopped
        return super().estimate(frame, prepared)


@pytest.mark.parametrize("at", [0, 1, 3, 6, FRAMES - 1])
def test_resumed_is_the_same_bytes(written: Path, tmp_path: Path, at: int) -> None:
    clip = Clip.read(written / "frames_in")
    with pytest.raises(Stopped):
        Reconstructor(Stopping(at)).write(clip, tmp_path)
    # The same estimator to the folder, which knows it by its name.
    again = ExactPairs()
    resumed = type("Stopping", (ExactPairs,), {})()
    Reconstructor(resumed).write(clip, tmp_path)
    assert resumed.passes <= FRAMES - max(0, at - 2 * again.window)
    assert_same_bytes(tmp_path, written / "out")


def assert_same_bytes(one: Path, other: Path) -> None:
    names = ["trajectory_tum.txt", "cloud.ply", "colmap/images.txt", "colmap/points3D.txt"]
    names += [f"frames/{frame:06d}.npz" for frame in range(FRAMES)]
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert not (one / "work").exists()


def test_killed_while_writing(written: Path, tmp_path: Path) -> None:
    """A process that ends without notice, in the middle of the frames' files."""
    code = f"""
import os, signal, sys
import torch
torch.set_num_threads({torch.get_num_threads()})  # sums of other shares differ in the last digit
sys.path.insert(0, {str(Path(__file__).parent)!r})
from depthweave import Camera, Clip, DepthMap
from depthweave.pipelines.reconstruct import Reconstructor
from exact_pairs import ExactPairs
save = DepthMap.save
def stop(self, path, **rest):
    if path.name == "000004.npz":
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, path, **rest)
DepthMap.save = stop
Reconstructor(ExactPairs()).write(Clip.read({str(written / "frames_in")!r}), {str(tmp_path)!r})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (tmp_path / "frames" / "000003.npz").is_file()
    with pytest.raises(WrongFile, match="not finished"):
        Reconstruction.read(tmp_path)
    estimator = ExactPairs()
    Reconstructor(estimator).write(Clip.read(written / "frames_in"), tmp_path)
    assert estimator.passes == 0
    assert_same_bytes(tmp_path, written / "out")


def test_memory_is_a_window(tmp_path: Path) -> None:
    estimator = ExactPairs(window=3)
    Reconstructor(estimator).write(clip_of(60), tmp_path)
    assert estimator.passes == 60
    assert max(estimator.prepared_now) == 4
    assert len(estimator.prepared_now) == 60


def test_a_cut_gives_two_worlds(tmp_path: Path) -> None:
    facts = Reconstructor(ExactPairs(cuts=(6,))).write(clip_of(10), tmp_path)
    assert facts["components"] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert facts["component"] == [0] * 6 + [1] * 4
    assert 600 < facts["points"] <= 6 * (HEIGHT // 2 * WIDTH // 2 - 1)  # of the six frames of one world
    (sentence,) = facts["warnings"]
    assert "frames 6-9" in sentence
    assert "trajectory_1_tum.txt" in sentence
    assert len(io.read_trajectory(tmp_path / "trajectory_tum.txt")[0]) == 6
    times_s, poses = io.read_trajectory(tmp_path / "trajectory_1_tum.txt")
    np.testing.assert_allclose(times_s, [6, 7, 8, 9])
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)
    assert len(io.read_colmap(tmp_path / "colmap").names) == 6
    found = Reconstruction.read(tmp_path)
    assert_true(found, [0, 1, 2, 3, 4, 5])
    assert_true(found, [6, 7, 8, 9])
    assert found.frames_of(1) == [6, 7, 8, 9]


def test_what_the_manifest_warns_of_is_said_in_python_too() -> None:
    with pytest.warns(DepthweaveWarning, match="frames 6-9"):
        Reconstructor(ExactPairs(cuts=(6,)))(clip_of(10))


def test_warnings_of_the_estimator_stand_in_the_manifest(tmp_path: Path) -> None:
    class Doubting(ExactPairs):
        def calibrate(self, clip: Clip) -> Camera | None:
            warnings.warn("it is dark.", DepthweaveWarning, stacklevel=1)
            return super().calibrate(clip)

    assert Reconstructor(Doubting()).write(clip_of(), tmp_path)["warnings"] == ["it is dark."]


def test_a_frame_that_nothing_ties_has_no_pose_and_no_depth(tmp_path: Path) -> None:
    facts = Reconstructor(ExactPairs(unseen=(3,))).write(clip_of(), tmp_path)
    assert facts["not_placed"] == [3]
    assert facts["world_from_camera"][3] is None
    assert "frames 3 could not be tied" in facts["warnings"][0]
    found = Reconstruction.read(tmp_path)
    assert bool(found.world_from_camera[3].isnan().all())
    assert not bool(found.depth.valid[3].any())
    assert int(found.component[3]) == -1
    assert len(io.read_trajectory(tmp_path / "trajectory_tum.txt")[0]) == FRAMES - 1
    assert_true(found, [0, 1, 2, 4, 5, 6, 7, 8])


def test_nothing_placed_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="could tie no two frames of clip together"):
        Reconstructor(ExactPairs(unseen=tuple(range(FRAMES)))).write(clip_of(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    Reconstructor(ExactPairs()).write(clip_of(), tmp_path)  # the folder is free


class SelfPairs(ExactPairs):
    def estimate(self, frame, prepared):  # type: ignore[no-untyped-def]
        return [self._pair(frame, frame)]


def test_one_frame(tmp_path: Path) -> None:
    facts = Reconstructor(SelfPairs()).write(clip_of(1), tmp_path)
    assert facts["components"] == [[0]]
    assert_true(Reconstruction.read(tmp_path), [0])
    with pytest.raises(WrongInput, match="no two frames"):
        Reconstructor(ExactPairs())(clip_of(1))
    with pytest.raises(WrongInput, match="no pictures to reconstruct"):
        Reconstructor(ExactPairs())([])


def test_known_poses_give_world_and_unit(tmp_path: Path) -> None:
    poses = torch.stack([world_from_camera(frame) for frame in range(FRAMES)])
    found = Reconstructor(ExactPairs())(clip_of(), known_poses=poses)
    assert found.scale == Scale.METRIC
    torch.testing.assert_close(found.world_from_camera.double(), poses, rtol=0, atol=1e-4)
    depth, _ = truth(list(range(FRAMES)))
    valid = found.depth.valid[:, ::2, ::2]
    torch.testing.assert_close(found.depth.values[:, ::2, ::2][valid].double(), depth[valid], rtol=1e-3, atol=1e-3)
    relative = Reconstructor(ExactPairs())(clip_of(), known_poses=poses, poses_scale=Scale.UNKNOWN_SCALE)
    assert relative.scale == Scale.UNKNOWN_SCALE
    with pytest.raises(WrongInput, match=f"8 poses for {FRAMES} frames of clip"):
        Reconstructor(ExactPairs()).write(clip_of(), tmp_path, known_poses=poses[:8])
    assert list(tmp_path.iterdir()) == []


def test_frames_of_two_sizes(tmp_path: Path) -> None:
    mixed = [*clip_of(3), picture_of(3, HEIGHT, WIDTH + 2)]
    with pytest.raises(WrongInput, match="frame 3 of clip is 34x24, those before are 32x24"):
        Reconstructor(ExactPairs()).write(mixed, tmp_path / "out")
    assert not (tmp_path / "out" / "result.json").exists()
    place = folder_of_pictures(tmp_path / "in", 4)
    io.write_image(place / "000003.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(WrongFile, match="changes its size from 32x24 to 8x8 at frame 3"):
        Reconstructor(ExactPairs()).write(place, tmp_path / "out")
    wrong = Clip(clip_of(), camera=camera_of(HEIGHT, WIDTH + 4))
    with pytest.raises(WrongInput, match="camera is for 36x24 px, but frame 0 of clip has 32x24"):
        Reconstructor(ExactPairs())(wrong)


def test_a_video_with_a_step_keeps_its_times(tmp_path: Path) -> None:
    large = [picture_of(frame, 96, 128).permute(1, 2, 0).numpy() for frame in range(10)]
    io.write_video(tmp_path / "room.mp4", ((255 * picture).astype(np.uint8) for picture in large), fps=20)
    clip = Clip.read(tmp_path / "room.mp4", start=2, step=2)
    estimator = ExactPairs(known_camera=False)
    facts = Reconstructor(estimator).write(clip, tmp_path / "out")
    assert (facts["frames"], facts["fps"]) == (4, 10)
    times_s, _ = io.read_trajectory(tmp_path / "out" / "trajectory_tum.txt")
    np.testing.assert_allclose(times_s, [0.1, 0.2, 0.3, 0.4])
    poses = torch.eye(4).repeat(5, 1, 1)
    with pytest.raises(WrongInput, match="5 poses for 4 frames of room"):
        Reconstructor(estimator).write(clip, tmp_path / "out", known_poses=poses)


def test_edge_aware_upsampling_picks_and_never_mixes() -> None:
    plain, guided = (Reconstructor(ExactPairs(), upsample=kind)(clip_of(4)) for kind in ("nearest", "edge-aware"))
    assert not torch.equal(plain.depth.values, guided.depth.values)
    levels = set(np.round(plain.depth.values[0].flatten().tolist(), 5))
    assert set(np.round(guided.depth.values[0].flatten().tolist(), 5)) <= levels
    assert float(guided.confidence[~guided.depth.valid].max()) == 0


def test_options_are_checked() -> None:
    for options in ({"average": "mode"}, {"upsample": "bicubic"}, {"stride": 0}, {"cloud_confidence": 2}):
        with pytest.raises(WrongInput):
            Reconstructor(ExactPairs(), **options)  # type: ignore[arg-type]


def test_frame_ranges_read_as_people_write_them() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert ranges([]) == ""


def test_a_map_without_a_camera_has_no_cloud(tmp_path: Path) -> None:
    found = Reconstructor(ExactPairs())(clip_of(3))
    bare = replace(found, depth=replace(found.depth, camera=None))
    with pytest.raises(Exception, match="point cloud needs the camera"):
        bare.cloud()
