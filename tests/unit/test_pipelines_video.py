"""Video depth on a small room whose truth is known, with stages simple enough to know what they give."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact_pairs import HEIGHT, WIDTH, ExactPairs, picture_of, points_of
from PIL import Image
from video_stages import Brightness, Dream, Fixed, Neighbours

from depthweave import Clip, DepthMap, DepthVideo, InverseDepthMap, Reconstruction, Scale, VideoDepth, io
from depthweave.errors import DepthweaveWarning, DifferentConfiguration, NeedsMetric, WrongFile, WrongInput
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.reconstruct import NothingPlaced, Reconstructor
from depthweave.pipelines.video_frames import FilledDepth, Shot, cut_clip, fill_nearest, split_shots

FRAMES = 8
ALL_FORMATS = ("exr", "png16", "clouds", "side-by-side")


def clip_of(frames: int = FRAMES) -> list[torch.Tensor]:
    return [picture_of(frame) for frame in range(frames)]


def folder_of_pictures(folder: Path, frames: int = FRAMES, dtype: type[Any] = np.uint8) -> Path:
    top = np.iinfo(dtype).max
    io.write_frames(folder, [(picture.permute(1, 2, 0).numpy() * top).astype(dtype) for picture in clip_of(frames)])
    return folder


def two_stages(second: Neighbours | None = None, **room: Any) -> VideoDepth:
    return VideoDepth(Reconstructor(ExactPairs(**room)), second or Neighbours())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    clip = Clip.read(folder_of_pictures(folder / "in"))
    two_stages().write(clip, folder / "out", formats=ALL_FORMATS)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_both_stages_in_memory() -> None:
    first = Reconstructor(ExactPairs())(clip_of())
    found = two_stages()(clip_of())
    assert (found.quantity, found.scale) == ("depth", Scale.UNKNOWN_SCALE)
    assert found.camera is not None
    torch.testing.assert_close(found.world_from_camera, first.world_from_camera)
    assert torch.equal(found.valid, first.depth.valid)
    expected = first.depth.values[2:5].mean(0)
    valid = first.depth.valid[3]
    torch.testing.assert_close(found.values[3][valid], expected[valid])
    assert not torch.allclose(found.values[3][valid], first.depth.values[3][valid], rtol=1e-4)
    # Nearest in time: nothing is known there in any frame, so the nearest pixel; a filler of stage one would be 0.
    assert bool((found.values > 0).all())


def test_stage_one_alone_is_the_reconstruction() -> None:
    first = Reconstructor(ExactPairs())(clip_of())
    found = VideoDepth(Reconstructor(ExactPairs()))(clip_of())
    valid = first.depth.valid
    assert torch.equal(found.values[valid], first.depth.values[valid])
    assert torch.equal(found.valid, valid)


def test_the_folder(written: Path) -> None:
    out = written / "out"
    listed = ["clouds", "exr", "frames", "png16", "preview.mp4", "result.json", "side-by-side.mp4"]
    assert names(out) == [*listed, "trajectory_tum.txt"]
    facts = io.read_manifest(out)
    stated = {"type": "depth_video", "task": "video", "frames": FRAMES, "scale": "unknown_scale", "unit": None}
    stated |= {"seed": 7, "warnings": [], "components": [list(range(FRAMES))], "width": WIDTH, "height": HEIGHT}
    stated |= {"not_placed": [], "not_written": [], "shots": [[0, FRAMES - 1, 0]]}
    assert {key: facts[key] for key in stated} == stated
    assert [(stage["stage"], stage["model"]) for stage in facts["stages"]] == [(1, "ExactPairs"), (2, "neighbours")]
    assert facts["valid_share"]["result"] == pytest.approx(facts["valid_share"]["stage1"])
    assert 0.99 < facts["valid_share"]["result"] < 1
    assert set(facts["timings_s"]) == {"stage1", "stage2", "write"}
    assert facts["drift"]["placed"] == FRAMES
    assert all((out / name).exists() for name in facts["files"].values())
    found = DepthVideo.read(out)
    assert len(found) == FRAMES
    assert found.camera is not None
    with Image.open(written / "in" / "000000.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)
    assert io.open_frames(out / "preview.mp4").size == (HEIGHT, WIDTH)
    assert io.open_frames(out / "side-by-side.mp4").size == (HEIGHT, 2 * WIDTH)
    assert io.open_frames(out / "side-by-side.mp4").count == FRAMES


def test_sequences_hold_the_frames(written: Path) -> None:
    out = written / "out"
    facts, video = io.read_manifest(out), DepthVideo.read(out)
    limits = facts["exported"]["png16_range"]
    step = (limits["high"] - limits["low"]) / 65534
    for frame in range(FRAMES):
        values, valid = io.read_exr(out / "exr" / f"{frame:06d}.exr")
        assert torch.equal(torch.from_numpy(valid), video.valid[frame])
        assert torch.equal(torch.from_numpy(values)[video.valid[frame]], video.values[frame][video.valid[frame]])
        coded, valid = io.read_ranged_png(out / "png16" / f"{frame:06d}.png")
        assert torch.equal(torch.from_numpy(valid), video.valid[frame])
        expected = video.values[frame].clamp(limits["low"], limits["high"]).numpy()
        np.testing.assert_allclose(coded[valid], expected[valid], atol=0.51 * step, rtol=1e-6)
    with Image.open(out / "png16" / "000003.png") as picture:
        text = picture.info
    assert float(text["depthweave:low"]) == limits["low"]
    assert (text["depthweave:quantity"], text["depthweave:scale"]) == ("depth", "unknown_scale")


def test_clouds_stand_in_one_world(written: Path) -> None:
    out = written / "out"
    found = [io.read_ply(out / "clouds" / f"{frame:06d}.ply") for frame in (1, 6)]
    assert all(colors is not None and len(points) > 600 for points, colors in found)
    poses = DepthVideo.read(out).world_from_camera
    assert poses is not None
    first = DepthVideo.read(out)[6]
    assert isinstance(first, DepthMap)
    kept = first.to_points().transformed(poses[6]).points
    np.testing.assert_allclose(found[1][0], kept.numpy(), atol=1e-5)


def test_started_again_it_keeps_what_stands(written: Path) -> None:
    out, second = written / "out", Neighbours()
    before = (out / "result.json").read_bytes()
    two_stages(second).write(Clip.read(written / "in"), out, formats=("exr",))
    assert second.asked == 0
    assert (out / "result.json").read_bytes() == before


def test_formats_are_added_to_a_finished_folder(tmp_path: Path) -> None:
    two_stages().write(clip_of(), tmp_path)
    assert not (tmp_path / "exr").exists()
    frames = {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}
    second = Neighbours()
    facts = two_stages(second).write(clip_of(), tmp_path, formats=("exr",))
    assert second.asked == 0
    assert facts["files"]["exr"] == "exr"
    assert facts["files"]["trajectory"] == "trajectory_tum.txt"
    assert len(list((tmp_path / "exr").iterdir())) == FRAMES
    assert frames == {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}


def test_another_configuration_is_refused_unless_it_shall_overwrite(tmp_path: Path) -> None:
    two_stages().write(clip_of(4), tmp_path)
    with pytest.raises(DifferentConfiguration, match="inputs"):
        two_stages().write(clip_of(5), tmp_path)
    with pytest.raises(DifferentConfiguration, match="stages"):
        VideoDepth(Reconstructor(ExactPairs())).write(clip_of(4), tmp_path)
    with pytest.raises(DifferentConfiguration, match="quantity"):
        two_stages().write(clip_of(4), tmp_path, quantity="inverse_depth")
    two_stages().write(clip_of(5), tmp_path, overwrite=True)
    assert len(list((tmp_path / "frames").iterdir())) == 5
    io.write_manifest(tmp_path, {"type": "worlds"})
    with pytest.raises(WrongFile, match="holds worlds"):
        two_stages().write(clip_of(4), tmp_path, overwrite=True)


def assert_same_bytes(one: Path, other: Path) -> None:
    assert names(one) == names(other)
    # The H.264 encoder does not always give the same bytes for the same pictures.
    lossy = ("result.json", "preview.mp4", "side-by-side.mp4")
    files = [path.relative_to(other) for path in other.rglob("*") if path.is_file() and path.name not in lossy]
    assert len(files) > 3 * FRAMES
    for name in files:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    ours, theirs = io.read_manifest(one), io.read_manifest(other)
    assert {**ours, "timings_s": 0} == {**theirs, "timings_s": 0}


PLACES = ("stage1 pairs", "stage1 files", "stage2", "frames", "exr", "manifest")


@pytest.fixture(scope="module")
def killed(written: Path) -> Path:
    """A folder for every part of the work, in which a process ended without notice. One start of Python for all."""
    code = f"""
import os, signal, sys
import torch
torch.set_num_threads({torch.get_num_threads()})  # sums of other shares differ in the last digit
sys.path.insert(0, {str(Path(__file__).parent)!r})
from depthweave import Clip, DepthMap, VideoDepth, io
from depthweave.pipelines.reconstruct import Reconstructor
from exact_pairs import ExactPairs
from video_stages import Neighbours
def die():
    os.kill(os.getpid(), signal.SIGKILL)
save, estimate, write_video = DepthMap.save, ExactPairs.estimate, io.write_video
def work(place):
    def stop(self, path, **rest):
        of_stage1 = path.parents[1].name == "stage1"
        if path.name == "000004.npz" and place == ("stage1 files" if of_stage1 else "frames"):
            die()
        if path.name == f"000004.{{place}}":
            die()
        save(self, path, **rest)
    def stop_pair(self, frame, prepared):
        return die() if place == "stage1 pairs" and frame == 5 else estimate(self, frame, prepared)
    def stop_video(path, frames, fps, *, quick):
        write_video(path, frames, fps)
        if place == "manifest":
            die()
    DepthMap.save, ExactPairs.estimate, io.write_video = stop, stop_pair, stop_video
    second = Neighbours(kill_at=4 if place == "stage2" else None)
    clip = Clip.read({str(written / "in")!r})
    VideoDepth(Reconstructor(ExactPairs()), second).write(clip, {str(written)!r} + "/" + place, formats={ALL_FORMATS})
for place in {PLACES}:
    child = os.fork()
    if not child:
        work(place)
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        sys.exit(place)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return written


@pytest.mark.parametrize("place", PLACES)
def test_killed_and_resumed_is_the_same_bytes(killed: Path, place: str) -> None:
    with pytest.raises(WrongFile, match="not finished"):
        DepthVideo.read(killed / place)
    second, room = Neighbours(), ExactPairs()
    VideoDepth(Reconstructor(room), second).write(Clip.read(killed / "in"), killed / place, formats=ALL_FORMATS)
    assert room.passes == (FRAMES - 1 if place == "stage1 pairs" else 0)
    assert second.asked == (0 if place in ("exr", "manifest") else FRAMES)
    assert_same_bytes(killed / place, killed / "out")


def test_cuts_are_refined_on_their_own(tmp_path: Path) -> None:
    second = Neighbours()
    facts = two_stages(second, cuts=(5,)).write(clip_of(), tmp_path)
    assert facts["shots"] == [[0, 4, 0], [5, 7, 1]]
    brightness = [float(picture.mean()) for picture in clip_of()]
    assert [count for count, _ in second.shots] == [5, 3]
    assert second.shots[0][1] + second.shots[1][1] == pytest.approx(brightness)
    assert any("frames 0-4; 5-7" in sentence and "own" in sentence for sentence in facts["warnings"])
    assert set(facts["color_ranges"]) == {"0", "1"}
    assert facts["component"] == [0] * 5 + [1] * 3
    assert (tmp_path / "trajectory_1_tum.txt").is_file()
    # Frames at the cut are means of frames of their own side.
    first = Reconstructor(ExactPairs(cuts=(5,)))
    with pytest.warns(DepthweaveWarning):
        alone = first(clip_of())
    found = DepthVideo.read(tmp_path)
    valid = found.valid[5]
    torch.testing.assert_close(found.values[5][valid], alone.depth.values[5:7].mean(0)[valid])


def test_frames_without_a_place_have_fillers_and_are_not_valid(tmp_path: Path) -> None:
    room = VideoDepth(Reconstructor(ExactPairs(unseen=(0, 4))))
    facts = room.write(clip_of(), tmp_path)
    found = DepthVideo.read(tmp_path)
    assert facts["not_placed"] == [0, 4]
    assert not bool(found.valid[[0, 4]].any())
    assert torch.equal(found.values[4][4:], found.values[3][4:])
    assert torch.equal(found.values[0][4:], found.values[1][4:])
    assert found.world_from_camera is not None
    assert bool(found.world_from_camera[4].isnan().all())
    assert any("frames 0, 4 have no depth of their own" in sentence for sentence in facts["warnings"])


def test_no_parallax_says_the_way_out(tmp_path: Path) -> None:
    from depthweave.pipelines.geometric_pairs import GeometricPairs

    depth = VideoDepth(Reconstructor(GeometricPairs()), Neighbours())
    with pytest.raises(NothingPlaced, match=r"one frame.*depth-anything-v2-small"):
        depth.write(clip_of(1), tmp_path)
    still = [torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(1))] * 4
    with pytest.raises(NothingPlaced, match=r"no parallax.*depthweave video -m depth-anything-v2-small"):
        depth.write(still, tmp_path)
    assert names(tmp_path) == []


def test_one_frame(tmp_path: Path) -> None:
    class Alone(ExactPairs):
        def estimate(self, frame, prepared):  # type: ignore[no-untyped-def]
            return [self._pair(frame, frame)]

    facts = VideoDepth(Reconstructor(Alone()), Neighbours()).write(clip_of(1), tmp_path, formats=("exr",))
    assert facts["frames"] == 1
    truth = points_of(0, HEIGHT // 2, WIDTH // 2)[..., 2].float()
    found = DepthVideo.read(tmp_path)
    torch.testing.assert_close(
        found.values[0, 4::2, 4::2] / found.values[0, 4, 4], truth[2:, 2:] / truth[2, 2], rtol=1e-4, atol=1e-4
    )


def test_sixteen_bits_and_odd_sizes(tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "deep", dtype=np.uint16)
    deep = Clip.read(tmp_path / "deep")
    assert next(iter(deep.frames)).dtype == np.uint16
    facts = two_stages().write(deep, tmp_path / "out", formats=("clouds",))
    assert facts["files"]["clouds"] == "clouds"
    odd = [picture_of(frame, 23, 31).nan_to_num(0.5) for frame in range(4)]
    facts = VideoDepth(MonoEstimator(Brightness()), Fixed()).write(odd, tmp_path / "odd", formats=("side-by-side",))
    assert (facts["width"], facts["height"]) == (31, 23)
    assert DepthVideo.read(tmp_path / "odd").values.shape == (4, 23, 31)


def test_maps_of_single_pictures(tmp_path: Path) -> None:
    model = Brightness()
    depth = VideoDepth(MonoEstimator(model), Fixed())
    facts = depth.write(clip_of(), tmp_path, formats=("exr", "clouds"))
    assert (facts["type"], facts["scale"]) == ("inverse_depth_video", "unknown_scale_and_shift")
    assert [stage["model"] for stage in facts["stages"]] == ["Brightness", "fixed"]
    assert facts["world_from_camera"] is None
    assert facts["not_written"] == ["clouds"]
    assert any("no clouds: the shift" in sentence for sentence in facts["warnings"])
    found = DepthVideo.read(tmp_path)
    torch.testing.assert_close(found.values.mean((1, 2)), torch.ones(FRAMES))
    assert found.quantity == "inverse_depth"
    depth.write(clip_of(), tmp_path, formats=("exr", "clouds"))
    assert model.asked == FRAMES
    with pytest.raises(NeedsMetric):
        depth.write(clip_of(), tmp_path / "other", formats=("exr",), quantity="depth")
    with pytest.warns(DepthweaveWarning, match="only the first stage ran"):
        VideoDepth(MonoEstimator(Brightness()))(clip_of(2))
    mixed = [*clip_of(2), picture_of(2, HEIGHT, WIDTH + 2)]
    with pytest.raises(WrongInput, match="frame 2 of clip is 34x24"):
        VideoDepth(MonoEstimator(Brightness()), Fixed()).write(mixed, tmp_path / "mixed")


def test_diffusion_alone(tmp_path: Path) -> None:
    depth = VideoDepth(diffusion=Dream())
    facts = depth.write(clip_of(), tmp_path)
    assert (facts["type"], facts["seed"], facts["timings_s"].keys()) == (
        "inverse_depth_video",
        3,
        {"generate", "write"},
    )
    found = depth(clip_of())
    torch.testing.assert_close(found.values, torch.stack(clip_of()).mean(1))
    assert torch.equal(found.values, DepthVideo.read(tmp_path).values)
    with pytest.raises(NeedsMetric, match="unknown scale and shift"):
        depth.write(clip_of(), tmp_path, quantity="depth")


def test_parts_must_go_together(tmp_path: Path) -> None:
    rebuilt = Reconstructor(ExactPairs())
    for parts in ({}, {"second": Neighbours()}, {"stage1": rebuilt, "diffusion": Dream()}):
        with pytest.raises(WrongInput, match="first stage"):
            VideoDepth(**parts)
    with pytest.raises(WrongInput, match="comes a Refiner, not Fixed"):
        VideoDepth(rebuilt, Fixed())
    with pytest.raises(WrongInput, match="comes a Stabilising, not Neighbours"):
        VideoDepth(MonoEstimator(Brightness()), Neighbours())
    with pytest.raises(WrongInput, match="no format tiff"):
        two_stages().write(clip_of(), tmp_path, formats=("tiff",))
    assert names(tmp_path) == []

    class Short(Neighbours):
        def refine(self, clip, depth, work):  # type: ignore[no-untyped-def]
            return iter([depth[0]])

    with pytest.raises(WrongInput, match="gave 1 maps for 8 frames"):
        two_stages(Short())(clip_of())


def test_metres_stay_metres(tmp_path: Path) -> None:
    facts = two_stages(scale=Scale.METRIC).write(clip_of(), tmp_path, formats=("png16",), quantity="inverse_depth")
    assert (facts["scale"], facts["unit"], facts["exported"]["quantity"]) == ("metric", "m", "inverse_depth")
    values, valid = io.read_ranged_png(tmp_path / "png16" / "000002.png")
    truth = 1 / points_of(2, HEIGHT // 2, WIDTH // 2)[..., 2]
    np.testing.assert_allclose(np.median(values[valid]), float(truth.median()), rtol=0.05)


def test_warnings_of_the_second_stage_are_kept(tmp_path: Path) -> None:
    class Doubting(Neighbours):
        def refine(self, clip, depth, work):  # type: ignore[no-untyped-def]
            import warnings

            warnings.warn("it is dark.", DepthweaveWarning, stacklevel=1)
            return super().refine(clip, depth, work)

    assert two_stages(Doubting()).write(clip_of(), tmp_path)["warnings"] == ["it is dark."]
    with pytest.warns(DepthweaveWarning, match="it is dark"):
        two_stages(Doubting())(clip_of())


def test_the_preview_has_one_range_of_colours(tmp_path: Path) -> None:
    ramp = torch.linspace(0, 0.4, 32).expand(3, 32, 32)
    VideoDepth(MonoEstimator(Brightness())).write([ramp, ramp + 0.6, ramp], tmp_path)
    first, second, third = (np.asarray(picture, np.float32) for picture in io.open_frames(tmp_path / "preview.mp4"))
    assert np.abs(first - second).mean() > 50
    assert np.abs(first - third).mean() < 10


def test_shots() -> None:
    assert split_shots([0, 0, -1, -1, -1, 1, -1]) == [Shot(0, 3, 0), Shot(4, 6, 1)]
    assert split_shots([-1, 1, 0, 1]) == [Shot(0, 1, 1), Shot(2, 2, 0), Shot(3, 3, 1)]
    with pytest.raises(WrongInput, match="no frame"):
        split_shots([-1, -1])


def test_a_shot_is_a_clip(tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "in", 12)
    whole = Clip.read(tmp_path / "in", start=1, step=2)
    part = cut_clip(whole, Shot(1, 3, 0))
    assert all(torch.equal(a, b) for a, b in zip(part, list(whole)[1:4], strict=True))
    io.write_video(tmp_path / "v.mp4", [np.full((16, 16, 3), 20 * n, np.uint8) for n in range(12)], fps=10)
    video = Clip.read(tmp_path / "v.mp4", start=1, step=2)
    part = cut_clip(video, Shot(2, 4, 0))
    assert all(torch.equal(a, b) for a, b in zip(part, list(video)[2:5], strict=True))
    assert len(cut_clip(Clip(clip_of()), Shot(2, 4, 0)).frames) == 3  # type: ignore[arg-type]


def stored(folder: Path, values: list[list[list[float]]]) -> Path:
    for frame, rows in enumerate(values):
        depth = torch.tensor(rows)
        DepthMap(depth.clamp_min(0), depth > 0, 0.5 * (depth > 0).float()).save(folder / "frames" / f"{frame:06d}.npz")
    return folder


def test_fillers_come_from_time_and_then_from_space(tmp_path: Path) -> None:
    o = -1.0  # not known
    folder = stored(tmp_path, [[[o, o, 5.0]], [[o, 2.0, o]], [[o, 3.0, 6.0]], [[o, o, o]]])
    filled = FilledDepth(folder, Shot(0, 3, 0))
    assert [found.values.tolist() for found in filled] == [
        [[2.0, 2.0, 5.0]],
        [[2.0, 2.0, 5.0]],
        [[3.0, 3.0, 6.0]],
        [[3.0, 3.0, 6.0]],
    ]
    assert [found.valid.tolist() for found in filled[1:3]] == [[[False, True, False]], [[False, True, True]]]
    assert filled[-2].confidence is not None
    assert filled[-2].confidence.tolist() == [[0.0, 0.5, 0.5]]
    assert len(FilledDepth(folder, Shot(1, 2, 0))) == 2
    with pytest.raises(IndexError):
        filled[4]
    with pytest.raises(WrongInput, match="frames 3 to 3 have no depth"):
        FilledDepth(folder, Shot(3, 3, 0))[0]
    far = stored(tmp_path / "far", [[[4.0]], *([[[o]]] * 9)])
    assert FilledDepth(far, Shot(0, 9, 0))[9].values.tolist() == [[4.0]]


def test_the_nearest_pixel_fills() -> None:
    values = torch.tensor([[1.0, 0, 0, 0, 2.0]])
    assert fill_nearest(values, values > 0)[0, [0, 1, 3, 4]].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert fill_nearest(values, torch.ones(1, 5, dtype=torch.bool)) is values


def test_memory_is_a_window(tmp_path: Path) -> None:
    reads: list[int] = []
    folder = stored(tmp_path, [[[float(frame + 1), -1.0]] for frame in range(40)])
    filled = FilledDepth(folder, Shot(0, 39, 0))
    for _ in filled:
        reads.append(len(filled._read) + len(filled._done))
    assert max(reads) <= 18


def test_read_of_other_folders(tmp_path: Path) -> None:
    Reconstructor(ExactPairs()).write(clip_of(3), tmp_path / "r", plain=True)
    with pytest.raises(WrongFile, match="holds reconstruction, not a depth video"):
        DepthVideo.read(tmp_path / "r")
    assert not (tmp_path / "r" / "cloud.ply").exists()
    assert len(Reconstruction.read(tmp_path / "r")) == 3
    with pytest.raises(DifferentConfiguration, match="plain"):
        Reconstructor(ExactPairs()).write(clip_of(3), tmp_path / "r")


def test_results_are_plain_json(written: Path) -> None:
    facts = json.loads((written / "out" / "result.json").read_text())
    assert facts["camera"]["width"] == WIDTH
    back = replace(DepthVideo.read(written / "out"), fps=5.0)
    back.save(written / "again")
    assert isinstance(DepthVideo.read(written / "again").to_inverse_depth()[0], InverseDepthMap)
