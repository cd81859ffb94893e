"""Readers of clips: miniature data sets, their choices, crops, cameras and errors."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature_clips import HEIGHT, POSE, WIDTH, depth, picture, sevenscenes_tree
from numpy.typing import NDArray

from depthweave import io
from depthweave.data import CLIP_BENCHMARKS, ClipItem, open_clips
from depthweave.data.clip_item import CroppedFrames
from depthweave.data.tum import associate
from depthweave.errors import UnknownBenchmark, WrongFile, WrongInput


def write_codes(path: Path, index: int, steps: float, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    io.write_image(path, np.rint(steps * depth(index, size)).astype(np.uint16))


def sintel_tree(root: Path, frames: int = 3) -> Path:
    for index in range(frames):
        name = f"frame_{index + 1:04d}"
        io.write_image(root / "training/final/alley_1" / f"{name}.png", picture(index))
        io.write_dpt(root / "training/depth/alley_1" / f"{name}.dpt", depth(index))
        camera_from_world = np.eye(4)[:3]
        camera_from_world[0, 3] = -0.5 * index
        numbers = (100.0, 0.0, 15.5, 0.0, 100.0, 11.5, 0.0, 0.0, 1.0, *camera_from_world.ravel())
        file = root / "training/camdata_left/alley_1" / f"{name}.cam"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(struct.pack("<f21d", 202021.25, *numbers))
    return root


def tum_tree(root: Path, folder: str, frames: int = 4, late_s: float = 0.01) -> Path:
    """Depth comes `late_s` after the pictures; that of the second frame is missing."""
    scene, rgb, depths, poses = root / folder, ["# time file"], [], []
    for index in range(frames):
        time_s = 100 + 0.1 * index
        io.write_image(scene / f"rgb/{time_s:.4f}.png", picture(index))
        rgb.append(f"{time_s:.4f} rgb/{time_s:.4f}.png")
        poses.append(f"{time_s:.4f} {index} 0 0 0 0 0 1")
        if index != 1:
            write_codes(scene / f"depth/{time_s + late_s:.4f}.png", index, 5000)
            depths.append(f"{time_s + late_s:.4f} depth/{time_s + late_s:.4f}.png")
    for name, lines in (("rgb", rgb), ("depth", depths), ("groundtruth", poses)):
        (scene / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def scannet_tree(root: Path, frames: int = 5) -> Path:
    scene = root / "scene0707_00"
    for index in range(frames):
        io.write_image(scene / f"color/{2 * index}.png", picture(index, (96, 128)))
        write_codes(scene / f"depth/{2 * index}.png", index, 1000, (48, 64))
        (scene / "pose").mkdir(exist_ok=True)
        pose = POSE.format(x=index) if index != 1 else POSE.format(x="-inf")
        (scene / f"pose/{2 * index}.txt").write_text(pose)
    (scene / "intrinsic").mkdir()
    (scene / "intrinsic/intrinsic_color.txt").write_text("115 0 64 0\n0 116 48 0\n0 0 1 0\n0 0 0 1\n")
    return root


def kitti_tree(root: Path, frames: int = 3) -> Path:
    day, drive = "2011_09_26", "2011_09_26_drive_0002_sync"
    for index in range(frames):
        name = f"{index + 5:010d}.png"
        io.write_image(root / day / drive / "image_02/data" / name, picture(index, (25, 33)))
        write_codes(root / "val" / drive / "proj_depth/groundtruth/image_02" / name, index, 256, (25, 33))
    (root / day / "calib_cam_to_cam.txt").write_text("P_rect_02: 70 0 16 0 0 70 12 0 0 0 1 0\n")
    return root


def nyu_tree(root: Path) -> Path:
    for name in ("0001", "0002"):
        io.write_image(root / f"test/rgb/{name}.png", picture(1, (480, 640)))
        write_codes(root / f"test/depth/{name}.png", 1, 1000, (480, 640))
    return root


def one(items: list[ClipItem]) -> ClipItem:
    assert len(items) == 1
    return items[0]


def values(item: ClipItem, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    found = item.truth(index)
    assert found is not None
    return found[0].numpy(), found[1].numpy()


def centre_px(item: ClipItem) -> tuple[float, float]:
    camera = item.clip.camera
    assert camera is not None
    return float(camera.intrinsics[0, 2]), float(camera.intrinsics[1, 2])


def test_sevenscenes(tmp_path: Path) -> None:
    item = one(open_clips("7scenes", sevenscenes_tree(tmp_path)))
    assert (item.key, len(item)) == ("chess/seq-01", 4)
    found, valid = values(item, 2)
    assert valid.sum() == HEIGHT * WIDTH - 2
    assert not valid[0, :2].any()
    np.testing.assert_allclose(found[valid], depth(2)[valid], atol=1e-6)
    assert centre_px(item) == (320, 240)
    poses = item.world_from_camera()
    assert poses is not None
    assert poses[:, 0, 3].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    clip = item.clip
    for _ in range(2):  # a clip can be gone through again
        frames = [np.rint(255 * frame.permute(1, 2, 0).numpy()) for frame in clip]
        np.testing.assert_array_equal(frames[3], picture(3))
    assert pickle.loads(pickle.dumps(item)).truth(1)[1].sum() == valid.sum()


def test_one_folder_of_jpegs_with_its_own_camera(tmp_path: Path) -> None:
    folder = sevenscenes_tree(tmp_path, "kitchen") / "kitchen"
    for path in folder.glob("*.color.png"):
        path.rename(path.with_suffix(".jpg"))
    (folder / "camera-intrinsics.txt").write_text("30 0 16\n0 30 12\n0 0 1\n")
    item = one(open_clips("7scenes", folder))
    assert item.key == "kitchen"
    assert centre_px(item) == (16, 12)
    assert len(list(item.clip)) == 4


def test_sintel(tmp_path: Path) -> None:
    item = one(open_clips("sintel-depth", sintel_tree(tmp_path)))
    assert (item.key, len(item), item.fps) == ("alley_1", 3, 24)
    np.testing.assert_array_equal(values(item, 1)[0], depth(1))
    assert centre_px(item) == (15.5, 11.5)
    poses = item.world_from_camera()
    assert poses is not None
    assert poses[:, 0, 3].tolist() == [0, 0.5, 1]  # the file holds camera_from_world
    (tmp_path / "training/camdata_left/alley_1/frame_0001.cam").write_bytes(b"short")
    with pytest.raises(WrongFile, match=r"frame_0001\.cam is not a camera file"):
        item.world_from_camera()


def test_tum_pairs_by_time(tmp_path: Path) -> None:
    item = one(open_clips("tum", tum_tree(tmp_path, "rgbd_dataset_freiburg3_walking_xyz")))
    assert item.key == "freiburg3_walking_xyz"
    assert [path.stem for path in item.frames] == ["100.0000", "100.2000", "100.3000"]
    np.testing.assert_allclose(values(item, 1)[0], depth(2), atol=1e-6)
    assert centre_px(item) == pytest.approx((320.1, 247.6))
    poses = item.world_from_camera()
    assert poses is not None
    assert poses[:, 0, 3].tolist() == [0, 2, 3]
    late = tum_tree(tmp_path / "late", "rgbd_dataset_x", late_s=0.03)
    with pytest.raises(WrongFile, match=r"rgb\.txt and depth\.txt"):
        open_clips("tum", late)


def test_association_takes_the_closest_pairs_first() -> None:
    first, second = np.array([0.0, 0.015, 1.0]), np.array([0.016, 0.99, 1.005, 2.0])
    assert associate(first, second, 0.02) == [(1, 0), (2, 2)]
    assert associate(first, second, 0.017) == [(1, 0), (2, 2)]
    assert associate(first, np.array([0.001, 0.016]), 0.02) == [(0, 0), (1, 1)]
    assert associate(first, np.array([0.02]), 0.02) == [(1, 0)]
    assert associate(first, np.zeros(0), 0.02) == []


def test_bonn_and_its_choice(tmp_path: Path) -> None:
    tum_tree(tmp_path, "rgbd_bonn_balloon", frames=3)
    tum_tree(tmp_path, "rgbd_bonn_crowd2", frames=34, late_s=0)
    assert [item.key for item in open_clips("bonn", tmp_path)] == ["balloon", "crowd2"]
    chosen = one(open_clips("bonn", tmp_path, choice="depthcrafter"))
    assert (chosen.key, len(chosen)) == ("crowd2", 3)  # 33 pairs from number 30 on
    assert chosen.frames[0].stem == "103.1000"
    assert chosen.world_from_camera() is None


def test_scannet_and_its_crop(tmp_path: Path) -> None:
    scannet_tree(tmp_path)
    whole = one(open_clips("scannet", tmp_path))
    assert [frame.stem for frame in whole.frames] == ["0", "2", "4", "6", "8"]
    poses = whole.world_from_camera()
    assert poses is not None
    assert poses[1].isnan().all()
    assert poses[2, 0, 3] == 2
    item = one(open_clips("scannet", tmp_path, choice="depthcrafter"))
    assert len(item) == 2  # every third frame
    clip = item.clip
    assert isinstance(clip.frames, CroppedFrames)
    # 8 of 480 and 11 of 640 px are 2 of 96 and 2 of 128, 1 of 48 and 1 of 64.
    assert clip.frames[0].shape == (92, 124, 3)
    np.testing.assert_array_equal(clip.frames[1], picture(3, (96, 128))[2:-2, 2:-2])
    np.testing.assert_allclose(values(item, 1)[0], depth(3, (48, 64))[1:-1, 1:-1], atol=1e-6)
    assert centre_px(item) == (62, 46)
    assert clip.camera is not None
    assert (clip.camera.height, clip.camera.width) == (92, 124)
    assert item.picture(0).shape == (3, 92, 124)
    with pytest.raises(WrongInput, match="scene0078_00"):
        open_clips("scannet", tmp_path, choice="stereodiff")


def test_kitti_drives(tmp_path: Path) -> None:
    item = one(open_clips("kitti-depth", kitti_tree(tmp_path), choice="depthcrafter"))
    assert (item.key, len(item), item.fps) == ("2011_09_26_drive_0002_sync", 3, 10)
    assert next(iter(item.clip)).shape == (3, 24, 32)
    assert np.abs(values(item, 2)[0] - depth(2, (25, 33))[:24, :32]).max() < 1 / 256
    assert centre_px(item) == (16, 12)
    with pytest.raises(WrongFile, match="velodyne_raw"):
        open_clips("kitti-depth", tmp_path, truth="velodyne", split="train")
    (item.frames[0]).unlink()
    with pytest.raises(WrongFile, match="put the raw drives beside the depth"):
        open_clips("kitti-depth", tmp_path)


def test_kitti_single_clip(tmp_path: Path) -> None:
    for index in range(2):
        io.write_image(tmp_path / f"image_02/{index:010d}.png", picture(index))
    write_codes(tmp_path / "lidar_depth/0000000001.png", 1, 256)
    np.savetxt(tmp_path / "P_rect.txt", [[70, 0, 16, 3], [0, 70, 12, 0], [0, 0, 1, 0]])
    item = one(open_clips("kitti-depth", tmp_path))
    assert item.truth(0) is None
    assert item.truth(1) is not None
    assert centre_px(item) == (16, 12)


def test_nyuv2_keeps_what_the_sensor_sees(tmp_path: Path) -> None:
    items = open_clips("nyuv2", nyu_tree(tmp_path))
    assert [(item.key, len(item)) for item in items] == [("0001", 1), ("0002", 1)]
    assert values(items[0], 0)[0].shape == (426, 560)
    assert centre_px(items[0]) == pytest.approx((325.582449 - 41, 253.736166 - 45))
    assert values(open_clips("nyuv2", tmp_path, choice="all")[0], 0)[0].shape == (480, 640)
    io.write_image(tmp_path / "other/00000_colors.png", picture(0))
    write_codes(tmp_path / "other/00000_depth.png", 0, 1000)
    assert one(open_clips("nyuv2", tmp_path / "other", choice="all")).key == "00000"


def test_frames_clips_and_masks_are_chosen_for_all_readers(tmp_path: Path) -> None:
    root = sevenscenes_tree(tmp_path / "data", frames=6)
    sevenscenes_tree(root, "chess/seq-02")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :5] = 255
    io.write_image(tmp_path / "masks/chess/seq-01/frame-000003.color.png", mask)
    item = one(
        open_clips("7scenes", root, start=1, stop=6, step=2, clips="chess/seq-01", masks=str(tmp_path / "masks"))
    )
    assert [frame.name[6:12] for frame in item.frames] == ["000001", "000003", "000005"]
    assert item.fps == 15
    poses = item.world_from_camera()
    assert poses is not None
    assert poses[:, 0, 3].tolist() == pytest.approx([0.1, 0.3, 0.5])
    assert item.mask(0) is None
    found = item.mask(1)
    assert found is not None
    assert torch.equal(found, torch.from_numpy(mask > 0))
    assert [each.key for each in open_clips("7scenes", root, clips=["chess/seq-02", "chess/seq-01"])] == [
        "chess/seq-02",
        "chess/seq-01",
    ]
    # The shorter sequence has no frame 4.
    assert one(open_clips("7scenes", root, start=4)).key == "chess/seq-01"


def test_wrong_questions_name_the_way_out(tmp_path: Path) -> None:
    root = sevenscenes_tree(tmp_path)
    with pytest.raises(UnknownBenchmark, match="did you mean 7scenes"):
        open_clips("7-scenes", root)
    with pytest.raises(WrongInput, match="has no option 'split'"):
        open_clips("7scenes", root, split="test")
    with pytest.raises(WrongInput, match="choice of bonn is one of all"):
        open_clips("bonn", root, choice="most")
    with pytest.raises(WrongInput, match="select nothing"):
        open_clips("7scenes", root, start=3, stop=3)
    with pytest.raises(WrongInput, match="no clip of 7scenes has a frame 99"):
        open_clips("7scenes", root, start=99)
    with pytest.raises(WrongInput, match="there is no clip fire"):
        open_clips("7scenes", root, clips="fire")
    with pytest.raises(WrongFile, match="not a folder; give the folder of the masks"):
        open_clips("7scenes", root, masks=root / "none")


@pytest.mark.parametrize("name", CLIP_BENCHMARKS)
def test_an_empty_folder_names_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not look right: expected"):
        open_clips(name, tmp_path)


def test_pictures_without_any_depth_are_no_benchmark(tmp_path: Path) -> None:
    root = sevenscenes_tree(tmp_path)
    for path in root.rglob("*.depth.png"):
        path.unlink()
    with pytest.raises(WrongFile, match="no depth for any of them"):
        open_clips("7scenes", root)


def test_damaged_text_files_are_named(tmp_path: Path) -> None:
    root = sevenscenes_tree(tmp_path)
    item = one(open_clips("7scenes", root))
    (root / "chess/seq-01/frame-000001.pose.txt").write_text("1 0 0\n")
    with pytest.raises(WrongFile, match=r"frame-000001\.pose\.txt"):
        item.world_from_camera()
    scene = tum_tree(tmp_path / "tum", "rgbd_dataset_x") / "rgbd_dataset_x"
    (scene / "rgb.txt").write_text("now rgb/1.png\n")
    with pytest.raises(WrongFile, match=r"rgb\.txt, line 1"):
        open_clips("tum", scene)
