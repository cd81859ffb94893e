"""A video to a stereo video: one scale for the whole clip."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave import images, io
from depthweave.data import open_benchmark
from depthweave.errors import DifferentConfiguration, WrongFile, WrongInput
from depthweave.images.stereo_view import anaglyph
from depthweave.pipelines.depth_sources import AnyMap, Shot
from depthweave.pipelines.stereo_video import StereoVideo, synthesize_video
from depthweave.pipelines.synthesize import Synthesizer
from depthweave.pipelines.synthetic_folder import Task
from depthweave.synthesis.fill import make_filler
from depthweave.synthesis.pair import SynthesisSettings
from depthweave.types import DisparityMap, InverseDepthMap, read_picture

HEIGHT, WIDTH, FRAMES = 32, 64, 4
PLAIN = SynthesisSettings(sharpen=False, edge_aware=False)
MAKER = Synthesizer(PLAIN, make_filler("background"), device="cpu")


class Green:
    """Green is inverse depth, or disparity in tenths of px; it stops after a number of frames if it is told to."""

    def __init__(self, *, px: bool = False, stop_at: str | None = None) -> None:
        self.px = px
        self.stop_at = stop_at
        self.asked: list[str] = []

    def facts(self) -> dict[str, Any]:
        return {"depth": "green"}

    def files(self, name: str) -> dict[str, Path]:
        return {}

    def __call__(self, shot: Shot) -> AnyMap:
        if shot.name == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(shot.name)
        valid = torch.ones(shot.image.shape[-2:], dtype=torch.bool)
        return DisparityMap(shot.image[1] * 10, valid) if self.px else InverseDepthMap(shot.image[1].clone(), valid)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wall that goes from dark to bright green, with a ramp along the columns: nearer from frame to frame."""
    frames = []
    for number in range(FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        frame[..., 1] = 40 * number + np.linspace(0, 40, WIDTH).astype(np.uint8)
        frames.append(frame)
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    io.write_video(path, frames, fps=5)
    return path


def run(video: Path, folder: Path, given: Task | None = None, **options: Any) -> StereoVideo:
    task = Task(Green(), MAKER) if given is None else given
    return synthesize_video(video, task, folder, show_progress=False, **options)


def test_one_scale_for_the_clip(video: Path, tmp_path: Path) -> None:
    made = run(video, tmp_path, also=("pairs", "anaglyph"))
    assert made.frames == FRAMES
    assert made.files == {"side-by-side": "side-by-side.mp4", "anaglyph": "anaglyph.mp4", "pairs": "left"}
    items = open_benchmark("folder", tmp_path)
    assert [item.key for item in items] == [f"{number:06d}" for number in range(FRAMES)]
    medians = [float(item.read_truth().disparity.median()) for item in items]
    largest = WIDTH / 30
    # Green grows by 40 of some 160 from frame to frame; stretched by itself, each frame would have the same median.
    steps = np.diff(medians) / largest
    assert steps == pytest.approx([0.25] * 3, abs=0.03)
    said = io.read_manifest(tmp_path)
    assert said["scaling"]["low_px"] == 0
    assert said["scaling"]["high_px"] == pytest.approx(largest)
    low, high = said["scaling"]["bounds"]
    assert (low * 255, high * 255) == (pytest.approx(0, abs=4), pytest.approx(160, abs=4))
    assert (said["fps"], said["frames"], said["files"]) == (5, FRAMES, made.files)
    assert not (tmp_path / "depth").exists()


def test_what_is_shown(video: Path, tmp_path: Path) -> None:
    run(video, tmp_path, also=("pairs", "anaglyph"))
    wide, mixed = io.open_frames(tmp_path / "side-by-side.mp4"), io.open_frames(tmp_path / "anaglyph.mp4")
    assert (wide.size, wide.fps, len(list(wide))) == ((HEIGHT, 2 * WIDTH), 5, FRAMES)
    assert mixed.size == (HEIGHT, WIDTH)
    number = 2
    left, right = (read_picture(tmp_path / side / f"{number:06d}.png") for side in ("left", "right"))
    frame = list(wide)[number].astype(float)
    expected = images.image_from_tensor(torch.cat((left, right), -1)).astype(float)
    assert np.abs(frame - expected).mean() < 4
    assert np.abs(list(mixed)[number] - images.image_from_tensor(anaglyph(left, right)).astype(float)).mean() < 6


def test_without_pairs_only_videos_stay(video: Path, tmp_path: Path) -> None:
    made = run(video, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "side-by-side.mp4"]
    stamp = (tmp_path / "side-by-side.mp4").stat().st_mtime_ns
    again = Task(Green(), MAKER)
    assert run(video, tmp_path, again) == replace(made, reused=True)
    assert again.source.asked == []
    assert (tmp_path / "side-by-side.mp4").stat().st_mtime_ns == stamp
    assert "anaglyph" in run(video, tmp_path, also=("anaglyph",)).files


def test_a_stopped_run_goes_on(video: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(video, tmp_path / "a", Task(Green(stop_at="000002"), MAKER))
    again = Task(Green(), MAKER)
    run(video, tmp_path / "a", again, also=("pairs",), workers=2)
    assert again.source.asked == ["000002", "000003"]
    run(video, tmp_path / "b", also=("pairs",))
    for number in range(FRAMES):
        name = f"right/{number:06d}.png"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_px_are_not_scaled(video: Path, tmp_path: Path) -> None:
    run(video, tmp_path, Task(Green(px=True), MAKER), also=("pairs",))
    assert io.read_manifest(tmp_path)["scaling"] is None
    truth = open_benchmark("folder", tmp_path)[0].read_truth()
    green = read_picture(tmp_path / "left" / "000000.png")[1]
    torch.testing.assert_close(truth.disparity, green * 10, atol=0.03, rtol=0)


def test_a_largest_disparity_and_a_smaller_size(video: Path, tmp_path: Path) -> None:
    made = Task(Green(), replace(MAKER, max_disparity_px=8), max_size=48)
    run(video, tmp_path, made, also=("pairs",))
    assert io.read_manifest(tmp_path)["scaling"]["high_px"] == 8
    assert io.open_frames(tmp_path / "side-by-side.mp4").size == (24, 96)
    last = open_benchmark("folder", tmp_path)[-1].read_truth()
    assert float(last.disparity.max()) == pytest.approx(8, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"maker": replace(MAKER, settings=SynthesisSettings(border="crop"))}, "take --border fill or mask"),
        ({"per_image": 2}, "leave --per-image away"),
        ({"maker": replace(MAKER, max_disparity_px=64)}, "leaves nothing of a picture 64 px wide"),
    ],
)
def test_sentences(video: Path, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        run(video, tmp_path, replace(Task(Green(), MAKER), **changes))


def test_another_video_is_refused(video: Path, tmp_path: Path) -> None:
    run(video, tmp_path)
    io.write_video(tmp_path / "other.mp4", [np.full((HEIGHT, WIDTH, 3), 9, np.uint8)] * 2, fps=5)
    with pytest.raises(DifferentConfiguration, match="video_sha256"):
        run(tmp_path / "other.mp4", tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(WrongFile, match="is not a video"):
        run(tmp_path / "text.mp4", tmp_path / "out")


def test_a_clip_without_depth_says_so(tmp_path: Path) -> None:
    io.write_video(tmp_path / "grey.mp4", [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 2, fps=5)
    with pytest.raises(WrongInput, match="no near and far"):
        run(tmp_path / "grey.mp4", tmp_path / "out")


def test_a_damaged_working_file_is_named(video: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(video, tmp_path, Task(Green(stop_at="000001"), MAKER))
    (tmp_path / "depth" / "000000.npz").write_bytes(b"PK")
    with pytest.raises(WrongFile, match=r"Delete .*000000\.npz and run the command again"):
        run(video, tmp_path)
