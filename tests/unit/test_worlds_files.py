"""Worlds as files: layouts, what the files hold, and going on where a run was stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import io
from depthweave.data import open_benchmark
from depthweave.errors import DifferentConfiguration, NotWritable, WrongInput
from depthweave.types import Camera, Clip, DepthMap, DepthVideo, DisparityMap, Scale
from depthweave.worlds import files
from depthweave.worlds.dataset import Worlds
from depthweave.worlds.files import contact_sheet, save_clip, save_pair, write_sheet, write_worlds
from depthweave.worlds.views import Match, RenderedClip, RenderedPair


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return Worlds(height=48, width=64, pool=8)


@pytest.fixture(scope="module")
def pair(worlds: Worlds) -> RenderedPair:
    return worlds[0]


@pytest.fixture(scope="module")
def clip(worlds: Worlds) -> RenderedClip:
    return worlds.clip(0, frames=3, fps=8)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in names(folder)}


PAIR_FILES = [
    "calib.txt",
    "disparity.pfm",
    "disparity_right.pfm",
    "left.png",
    "mask0nocc.png",
    "mask1nocc.png",
    "right.png",
]


def test_a_pair_is_what_the_folder_reader_takes(pair: RenderedPair, tmp_path: Path) -> None:
    save_pair(pair, tmp_path / "a")
    assert names(tmp_path / "a") == PAIR_FILES
    (item,) = open_benchmark("folder", tmp_path)
    found, truth = item.read_pair(), item.read_truth()
    torch.testing.assert_close(found.left, pair.left.image, rtol=0, atol=0.5001 / 255)
    torch.testing.assert_close(found.right, pair.right.image, rtol=0, atol=0.5001 / 255)
    assert found.camera is not None
    assert found.camera.baseline_m == pair.camera.baseline_m
    torch.testing.assert_close(found.camera.intrinsics, pair.camera.intrinsics)
    assert found.camera.max_disparity_px is not None
    assert 0 < found.camera.max_disparity_px - pair.left.disparity.max() <= 16
    assert torch.equal(truth.disparity, pair.left.disparity)
    assert truth.right_disparity is not None
    assert torch.equal(truth.right_disparity, pair.right.disparity)
    assert bool(truth.valid.all())
    assert torch.equal(truth.regions["visible"], pair.visible)
    mask = io.read_image(tmp_path / "a" / "mask1nocc.png")
    np.testing.assert_array_equal(mask == 255, pair.right.match.numpy() == Match.MATCHED)
    assert set(np.unique(mask)) <= {128, 255}


def test_extras_of_a_pair(pair: RenderedPair, tmp_path: Path) -> None:
    save_pair(pair, tmp_path, extras=True)
    assert names(tmp_path) == sorted([*PAIR_FILES, "depth.npz", "normals.png", "things.png"])
    depth = DepthMap.read(tmp_path / "depth.npz")
    assert depth.scale == Scale.METRIC
    assert torch.equal(depth.valid, torch.isfinite(pair.left.depth))
    assert torch.equal(depth.values[depth.valid], pair.left.depth[depth.valid])
    things = io.read_image(tmp_path / "things.png")
    np.testing.assert_array_equal(things.astype(np.int32) - 1, pair.left.things.numpy())
    normals = io.read_image(tmp_path / "normals.png").astype(np.float64) / 32767 - 1
    np.testing.assert_allclose(normals.transpose(2, 0, 1), pair.left.normals.numpy(), atol=2e-5)


def test_a_clip_is_what_the_readers_take(clip: RenderedClip, tmp_path: Path) -> None:
    save_clip(clip, tmp_path)
    assert (tmp_path / "calib.txt").is_file()
    assert len(list(Clip.read(tmp_path / "left"))) == 3
    items = open_benchmark("folder", tmp_path)
    assert [item.key for item in items] == ["000000", "000001", "000002"]
    for frame, item in enumerate(items):
        truth = item.read_truth()
        assert torch.equal(truth.disparity, clip.left.disparity[frame])
        assert torch.equal(truth.regions["visible"], clip.left.match[frame] == Match.MATCHED)
        moving = io.read_image(tmp_path / "moving" / f"{frame:06d}.png")
        np.testing.assert_array_equal(moving == 255, clip.moving[frame].numpy())
        things = io.read_image(tmp_path / "things" / f"{frame:06d}.png")
        np.testing.assert_array_equal(things.astype(np.int32) - 1, clip.left.things[frame].numpy())
    depth = DepthVideo.read(tmp_path / "depth")
    assert (depth.quantity, depth.scale, depth.fps) == ("depth", Scale.METRIC, 8)
    assert torch.equal(depth.valid, torch.isfinite(clip.left.depth))
    assert torch.equal(depth.values[depth.valid], clip.left.depth[depth.valid])
    assert depth.world_from_camera is not None
    torch.testing.assert_close(depth.world_from_camera, clip.world_from_camera.float())


def test_flow_of_a_clip(clip: RenderedClip, tmp_path: Path) -> None:
    save_clip(clip, tmp_path)
    forward, backward = tmp_path / "flow_forward", tmp_path / "flow_backward"
    assert names(forward) == ["000000.flo", "000001.flo"]
    assert names(backward) == ["000001.flo", "000002.flo"]
    for step in range(2):
        flow, _ = io.read_flo(forward / f"{step:06d}.flo")
        np.testing.assert_array_equal(flow, clip.flow_forward[step].numpy())
        flow, _ = io.read_flo(backward / f"{step + 1:06d}.flo")
        np.testing.assert_array_equal(flow, clip.flow_backward[step].numpy())
        match = io.read_image(tmp_path / "flow_forward_match" / f"{step:06d}.png")
        for code, grey in ((Match.MATCHED, 255), (Match.OCCLUDED, 128), (Match.OUT_OF_VIEW, 0)):
            np.testing.assert_array_equal(match == grey, clip.forward_match[step].numpy() == code)


def test_trajectory_of_a_clip(clip: RenderedClip, tmp_path: Path) -> None:
    from depthweave.geometry import pose_from_quaternion

    save_clip(clip, tmp_path)
    rows = torch.from_numpy(np.loadtxt(tmp_path / "poses.txt"))
    torch.testing.assert_close(rows[:, 0], torch.arange(3, dtype=torch.float64) / 8)
    poses = pose_from_quaternion(rows[:, 4:], rows[:, 1:4])
    torch.testing.assert_close(poses, clip.world_from_camera, rtol=0, atol=1e-8)


def test_extras_of_a_clip(clip: RenderedClip, tmp_path: Path) -> None:
    save_clip(clip, tmp_path, extras=True)
    assert clip.right is not None
    for frame, item in enumerate(open_benchmark("folder", tmp_path)):
        right = item.read_truth().right_disparity
        assert right is not None
        assert torch.equal(right, clip.right.disparity[frame])
    assert len(names(tmp_path / "normals")) == 3


@pytest.mark.parametrize("frames", [None, 2])
def test_a_folder_goes_on_where_it_was_stopped(worlds: Worlds, tmp_path: Path, frames: int | None) -> None:
    first = write_worlds(worlds, tmp_path / "whole", 2, frames=frames)
    item = {None: "000001", 2: "clip-000001"}[frames]
    assert (first.names[1], first.done, first.reused, first.failed) == (item, 2, 0, {})
    before = stamps(tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole" / item)
    (tmp_path / "whole" / f".{item}").mkdir()
    second = write_worlds(worlds, tmp_path / "whole", 2, frames=frames, workers=2)
    assert (second.names, second.done, second.reused) == (first.names, 1, 1)
    after = stamps(tmp_path / "whole")
    assert before.keys() == after.keys()
    assert {name for name in before if after[name] != before[name]} == {n for n in before if n.startswith(item)}
    # A worker writes the same bytes as this process.
    write_worlds(worlds, tmp_path / "again", 2, frames=frames)
    for name in names(tmp_path / "again"):
        if name.endswith(("png", "pfm", "flo", "txt", "toml")):
            assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_a_folder_says(worlds: Worlds, tmp_path: Path) -> None:
    write_worlds(worlds, tmp_path, 1)
    assert names(tmp_path) == [f"000000/{name}" for name in PAIR_FILES] + ["recipe.toml", "result.json"]
    manifest = io.read_manifest(tmp_path)
    said = {key: manifest[key] for key in ("type", "items", "seed", "width", "height", "recipe")}
    assert said == {
        "type": "worlds",
        "items": "pairs",
        "seed": 0,
        "width": 64,
        "height": 48,
        "recipe": "recipe.toml",
    }
    assert (tmp_path / "recipe.toml").read_text() == worlds.recipe.to_toml()


def test_other_worlds_are_refused(worlds: Worlds, tmp_path: Path) -> None:
    write_worlds(worlds, tmp_path, 1)
    with pytest.raises(DifferentConfiguration, match=r"seed 0 \(asked for: 7\).*choose another folder"):
        write_worlds(Worlds(height=48, width=64, pool=8, seed=7), tmp_path, 1)
    with pytest.raises(DifferentConfiguration, match=r"items pairs \(asked for: clips\)"):
        write_worlds(worlds, tmp_path, 1, frames=3)
    io.write_manifest(tmp_path, {**json.loads((tmp_path / "result.json").read_text()), "type": "disparity"})
    with pytest.raises(DifferentConfiguration, match=r"type disparity \(asked for: worlds\)"):
        write_worlds(worlds, tmp_path, 1)


def test_one_item_must_not_cost_the_others(worlds: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = files.save_pair

    def failing(pair: RenderedPair, folder: Path, *, extras: bool) -> None:
        genuine(pair, folder, extras=extras)
        if pair.name == "000001":
            raise ValueError("trouble")

    monkeypatch.setattr(files, "save_pair", failing)
    found = write_worlds(worlds, tmp_path, 3)
    assert found.names == ("000000", "000002")
    assert found.failed == {"000001": "ValueError: trouble"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["000000", "000002"]


def test_what_stands_in_the_way_is_not_deleted(worlds: Worlds, tmp_path: Path) -> None:
    (tmp_path / "000000").mkdir()
    (tmp_path / "000000" / "mine.txt").write_text("mine")
    with pytest.raises(NotWritable, match="delete what stands there"):
        write_worlds(worlds, tmp_path, 1)
    assert names(tmp_path / "000000") == ["mine.txt"]


def flat_map(value: float, size: tuple[int, int] = (4, 8)) -> DisparityMap:
    height, width = size
    camera = Camera(torch.eye(3), width, height)
    image = torch.full((3, *size), value)
    return DisparityMap(torch.full(size, value), torch.ones(size, dtype=torch.bool), None, camera, image)


def test_contact_sheet_by_hand() -> None:
    sheet = contact_sheet([flat_map(0.2), flat_map(0.4), flat_map(0.6)], columns=2)
    assert sheet.shape == (8, 32, 3)
    for (y, x), value in {(0, 0): 51, (0, 16): 102, (4, 0): 153}.items():
        assert (sheet[y : y + 4, x : x + 8] == value).all()
    assert (sheet[4:, 16:] == 0).all()
    assert len(np.unique(sheet[:4, 8:16].reshape(-1, 3), axis=0)) == 1
    assert contact_sheet([flat_map(0.5, (100, 200))], width=50).shape == (25, 100, 3)
    with pytest.raises(WrongInput, match="at least one"):
        contact_sheet([])


@pytest.mark.parametrize("frames", [None, 2])
def test_the_sheet_of_a_folder(worlds: Worlds, tmp_path: Path, frames: int | None) -> None:
    written = write_worlds(worlds, tmp_path, 3, frames=frames)
    picture = io.read_image(write_sheet(tmp_path, written.names))
    assert picture.shape == (48, 3 * 128, 3)
    place = tmp_path / written.names[1]
    left = place / "left.png" if frames is None else place / "left" / "000000.png"
    np.testing.assert_array_equal(picture[:, 128:192], io.read_image(left))
