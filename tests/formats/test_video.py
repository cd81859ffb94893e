import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import open_frames, write_frames, write_image, write_video


def frames(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Smooth colours, brighter from frame to frame: red follows x, green y, blue time."""
    y, x = np.mgrid[:height, :width]
    for number in range(count):
        red, green = 40 + 160 * x // width, 40 + 160 * y // height
        yield np.dstack([red, green, np.full_like(red, 20 + 5 * number)]).astype(np.uint8)


def blue(stream: object) -> list[int]:
    """Tell the numbers of frames from their blue."""
    return [round((float(frame[..., 2].mean()) - 20) / 5) for frame in stream]


@pytest.mark.parametrize(("suffix", "counted"), [(".mp4", True), (".mov", True), (".avi", True), (".mkv", False)])
def test_round_trip(tmp_path: Path, suffix: str, counted: bool) -> None:
    file = tmp_path / f"clip{suffix}"
    assert write_video(file, frames(12), 30000 / 1001) == 12
    stream = open_frames(file)
    assert stream.size == (48, 64)
    assert stream.fps == pytest.approx(30000 / 1001, rel=1e-3)
    assert stream.count == (12 if counted else None)
    assert stream.names is None
    read = list(stream)
    assert len(read) == 12
    for ours, theirs in zip(frames(12), read, strict=True):
        assert theirs.dtype == np.uint8
        assert theirs.flags.writeable
        assert np.abs(ours.astype(int) - theirs).mean() < 3
    assert blue(read) == list(range(12))


def test_every_iteration_starts_again(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames(5), 10)
    stream = open_frames(tmp_path / "clip.mp4")
    assert blue(stream) == blue(stream) == [0, 1, 2, 3, 4]
    first, second = iter(stream), iter(stream)
    next(first)
    np.testing.assert_array_equal(next(first), list(stream)[1])
    np.testing.assert_array_equal(next(second), next(iter(stream)))


@pytest.mark.parametrize("selection", [(0, None, 3), (4, None, 1), (2, 9, 2), (0, 100, 1), (9, 10, 5)])
def test_selection(tmp_path: Path, selection: tuple[int, int | None, int]) -> None:
    write_video(tmp_path / "clip.mp4", frames(10), 10)
    write_frames(tmp_path / "folder", frames(10))
    expected = list(range(10))[slice(*selection)]
    for path in (tmp_path / "clip.mp4", tmp_path / "folder"):
        stream = open_frames(path, *selection)
        assert blue(stream) == expected
        assert stream.count == len(expected)


@pytest.mark.parametrize("selection", [(-1, None, 1), (0, None, 0), (5, 5, 1), (5, 3, 1)])
def test_selection_of_nothing(tmp_path: Path, selection: tuple[int, int | None, int]) -> None:
    with pytest.raises(WrongInput, match="select nothing"):
        open_frames(tmp_path, *selection)


def test_start_beyond_the_end(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames(3), 10)
    write_frames(tmp_path / "folder", frames(3))
    for path in (tmp_path / "clip.mp4", tmp_path / "folder"):
        with pytest.raises(WrongFile, match="number 3 on"):
            open_frames(path, start=3)


def test_frames_of_a_video_live_one_at_a_time(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames(60, 240, 320), 30)
    stream = open_frames(tmp_path / "clip.mp4")
    one_frame = 240 * 320 * 3
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    tracemalloc.start()
    for frame in stream:
        alive.append(weakref.ref(frame))
        most = max(most, sum(reference() is not None for reference in alive))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(alive) == 60
    assert most <= 2
    assert peak < 6 * one_frame


def test_frames_are_read_only_when_asked_for(tmp_path: Path) -> None:
    files = write_frames(tmp_path, frames(4))
    stream = open_frames(tmp_path)
    iterator = iter(stream)
    next(iterator)
    files[2].write_text("no picture any more")
    next(iterator)
    with pytest.raises(WrongFile, match=r"000002\.png is not a picture"):
        next(iterator)


def test_frames_to_write_are_taken_one_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watched() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in frames(30):
            alive.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in alive))
            yield frame

    write_video(tmp_path / "clip.mp4", watched(), 10)
    write_frames(tmp_path / "folder", watched())
    assert most <= 3


def test_an_abandoned_iteration_closes_the_file(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames(20), 10)
    iterator = iter(open_frames(tmp_path / "clip.mp4"))
    next(iterator)
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")

    def is_open() -> bool:
        return any(link.resolve() == tmp_path / "clip.mp4" for link in descriptors.iterdir())

    assert is_open()
    del iterator
    gc.collect()
    assert not is_open()


def test_odd_sizes_grow_by_one_repeated_line(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", frames(2, 33, 47), 10)
    stream = open_frames(tmp_path / "odd.mp4")
    assert stream.size == (34, 48)
    first = next(iter(stream)).astype(int)
    assert np.abs(first[:33, :47] - next(frames(1, 33, 47))).mean() < 3
    assert np.abs(first[33] - first[32]).mean() < 6


def test_grey_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "grey.mp4", [np.full((32, 32), 90, np.uint8)] * 2, 10)
    for frame in open_frames(tmp_path / "grey.mp4"):
        assert np.abs(frame.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    upright = next(frames(1))
    turned = np.rot90(upright, -degrees // 90)
    file = tmp_path / "phone.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = turned.shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.set_display_rotation(degrees)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(file)) as container:
        assert next(container.decode(video=0)).rotation in (degrees, -180)
    opened = open_frames(file)
    assert opened.size == (48, 64)
    assert np.abs(next(iter(opened)).astype(int) - upright).mean() < 6


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_image(tmp_path / f"frame{number}.png", np.full((4, 6, 3), number, np.uint8))
    write_image(tmp_path / "frame3.png", np.full((4, 6), 3, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._frame4.png").write_text("what macOS leaves behind")
    stream = open_frames(tmp_path)
    assert stream.names == ("frame1", "frame2", "frame3", "frame10")
    assert (stream.fps, stream.count, stream.size) == (None, 4, (4, 6))
    read = list(stream)
    assert [int(frame[0, 0, 0]) for frame in read] == [1, 2, 3, 10]
    assert {frame.shape for frame in read} == {(4, 6, 3)}


def test_folder_with_sixteen_bits(tmp_path: Path) -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 900
    write_frames(tmp_path, [picture], ["a"])
    (frame,) = open_frames(tmp_path)
    np.testing.assert_array_equal(frame, picture)


def test_folder_with_two_sizes(tmp_path: Path) -> None:
    write_frames(tmp_path, [np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8), np.zeros((5, 6), np.uint8)])
    with pytest.raises(WrongFile, match="changes its size from 6x4 to 6x5 at frame 2"):
        list(open_frames(tmp_path))


def test_write_frames_names(tmp_path: Path) -> None:
    files = write_frames(tmp_path / "a", frames(3), ["x", "y", "z"])
    assert [file.name for file in files] == ["x.png", "y.png", "z.png"]
    np.testing.assert_array_equal(next(iter(open_frames(tmp_path / "a"))), next(frames(1)))
    assert [file.name for file in write_frames(tmp_path / "b", frames(2))] == ["000000.png", "000001.png"]
    with pytest.raises(WrongInput, match="more frames than the 1 names"):
        write_frames(tmp_path / "c", frames(2), ["x"])
    with pytest.raises(WrongInput, match="3 names for 2 frames"):
        write_frames(tmp_path / "c", frames(2), ["x", "y", "z"])
    with pytest.raises(WrongInput, match="same name"):
        write_frames(tmp_path / "c", frames(2), ["x", "x"])


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(WrongFile, match=f"{name} is not a video or is damaged"):
            open_frames(tmp_path / name)
    with pytest.raises(WrongFile, match=r"none\.mp4 does not exist"):
        open_frames(tmp_path / "none.mp4")
    with pytest.raises(WrongFile, match="has no pictures"):
        open_frames(tmp_path)
    write_image(tmp_path / "one.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(WrongFile, match=r"one\.png is a single picture"):
        open_frames(tmp_path / "one.png")


def test_sound_only(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(WrongFile, match="only sound"):
        open_frames(tmp_path / "sound.mp4")


def noise(count: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("harm", ["overwritten", "cut"])
def test_damage_in_the_middle_is_found_after_good_frames(tmp_path: Path, suffix: str, harm: str) -> None:
    file = tmp_path / f"clip{suffix}"
    write_video(file, noise(40), 10)
    content = bytearray(file.read_bytes())
    middle = len(content) * 3 // 4
    if harm == "overwritten":
        content[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    elif suffix == ".mkv":
        del content[middle:]
    else:  # the index stands at the end, so the pictures are lost but the index is kept
        content[middle : middle + len(content) // 8] = bytes(len(content) // 8)
    file.write_bytes(content)
    stream = open_frames(file)
    numbers: list[int] = []
    with pytest.raises(WrongFile, match=rf"clip\{suffix} is damaged at frame \d+; .* stop=\d+") as caught:
        numbers.extend(number for number, _ in enumerate(stream))
    good = len(numbers)
    assert 0 < good < 40
    assert f"at frame {good};" in str(caught.value)
    assert len(list(open_frames(file, stop=good))) == good


@pytest.mark.parametrize("kept", [0.75, 0.999])
def test_missing_end_of_a_streamed_file(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "clip.mp4"
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for picture in noise(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WrongFile, match=r"clip\.mp4 is damaged at frame \d+"):
        list(open_frames(file))


@pytest.mark.parametrize(
    ("name", "pictures", "fps", "sentence"),
    [
        ("x.txt", frames(1), 10, "does not end like a video"),
        ("x.mp4", frames(1), 0, "fps must lie"),
        ("x.mp4", frames(1), float("nan"), "fps must lie"),
        ("x.mp4", [], 10, "no frames to write"),
        ("x.mp4", [np.zeros((4, 4, 3))], 10, "frame 0 must be uint8"),
        ("x.mp4", [np.zeros((4, 4, 4), np.uint8)], 10, "frame 0 must be uint8"),
        ("x.mp4", [np.zeros((32, 32, 3), np.uint8), np.zeros((31, 32, 3), np.uint8)], 10, "frame 1 is 32x31"),
    ],
)
def test_refused_videos(tmp_path: Path, name: str, pictures: object, fps: float, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        write_video(tmp_path / name, pictures, fps)
    assert list(tmp_path.iterdir()) == []


def test_failure_in_the_middle_keeps_the_old_video(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    write_video(file, frames(3), 10)
    before = file.read_bytes()

    def failing() -> Iterator[np.ndarray]:
        yield from frames(20)
        raise RuntimeError("source broke")

    with pytest.raises(RuntimeError, match="source broke"):
        write_video(file, failing(), 10)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_video(tmp_path / "file" / "x.mp4", frames(1), 10)
    with pytest.raises(NotWritable, match="cannot be written"):
        write_frames(tmp_path / "file", frames(1))


def test_blue_tells_frames_apart() -> None:
    assert all(first != second for first, second in pairwise(blue(frames(12))))
