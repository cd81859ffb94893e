"""Frames: a video file or a folder of pictures, one frame in memory at a time."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, natural_key, require_file
from depthweave.io.image import Picture, is_image, read_image, write_image

if TYPE_CHECKING:
    import av
    import av.container
    import av.video.stream

# What write_video writes; open_frames reads whatever FFmpeg reads.
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi")


@dataclass(frozen=True)
class FrameStream:
    """Frames that are decoded while you go through them; each `iter()` starts again at the first.

    Attributes:
        path: the video file or folder.
        size: (height, width) in px, as seen (rotation applied).
        fps: frames per second of the file (not divided by `step`), or None for a folder.
        count: how many frames there will be, as the container claims; None where it claims nothing.
        files: the chosen pictures of a folder, or None for a video.
        selection: start, stop and step in frames of the source.
    """

    path: Path
    size: tuple[int, int]
    fps: float | None
    count: int | None
    files: tuple[Path, ...] | None
    selection: tuple[int, int | None, int]

    @property
    def names(self) -> tuple[str, ...] | None:
        """The pictures' names without suffix, or None for a video."""
        return None if self.files is None else tuple(file.stem for file in self.files)

    def __iter__(self) -> Iterator[Picture]:
        """Yield (H, W, 3) frames in the order R, G, B; uint8, or uint16 for pictures with 16 bits.

        Raises:
            WrongFile: a frame is damaged, missing or of another size.
        """
        frames = _video_frames(self.path, self.selection) if self.files is None else map(_read_colour, self.files)
        for number, frame in zip(count(self.selection[0], self.selection[2]), frames, strict=False):
            if frame.shape[:2] != self.size:
                raise WrongFile(
                    f"{self.path} changes its size from {_by(self.size)} to {_by(frame.shape)} at frame {number}; "
                    "give frames of one size"
                )
            yield frame


def open_frames(path: AnyPath, start: int = 0, stop: int | None = None, step: int = 1) -> FrameStream:
    """Open a video file or a folder of pictures for going through its frames.

    Pictures come in natural order (frame2 before frame10); other files in the folder are passed over.

    Args:
        path: the video file or folder.
        start: first frame, from 0.
        stop: frame to stop before, or None for all.
        step: take every step-th frame.

    Raises:
        WrongFile: missing, not a video, a single picture, damaged at its beginning, or without frames in that range.
        WrongInput: start, stop or step that select nothing.
    """
    if start < 0 or step < 1 or (stop is not None and stop <= start):
        raise WrongInput(
            f"frames from {start} to {stop} by {step} select nothing; need 0 <= start < stop and step >= 1"
        )
    selection = (start, stop, step)
    source = Path(path)
    if source.is_dir():
        pictures = tuple(islice(_pictures(source), *selection))
        if not pictures:
            raise WrongFile(f"{source} has no pictures from number {start} on; give a folder of PNG or JPEG files")
        height, width = read_image(pictures[0]).shape[:2]
        return FrameStream(source, (height, width), None, len(pictures), pictures, selection)
    file = require_file(path)
    if is_image(file):
        raise WrongFile(f"{file} is a single picture; give a video or a folder of pictures")
    with _opened(file) as (_, stream):
        rate = stream.average_rate or stream.guessed_rate
        total = len(range(*slice(*selection).indices(stream.frames))) if stream.frames else None
    first = next(_video_frames(file, (0, 1, 1)), None)
    if first is None or total == 0:
        raise WrongFile(f"{file} has no frames from number {start} on; check the file and start")
    height, width = first.shape[:2]
    return FrameStream(file, (height, width), float(rate) if rate else None, total, None, selection)


def write_video(path: AnyPath, frames: Iterable[NDArray[Any]], fps: float | int, *, quick: bool = False) -> int:
    """Write an H.264 video (yuv420p, BT.709, constant quality 18), which is lossy.

    H.264 with yuv420p needs even sizes: an odd last column or row is repeated once.

    Args:
        path: the file to write; its suffix chooses the container (.mp4, .mov, .m4v, .mkv, .avi).
        frames: uint8 (H, W, 3) in the order R, G, B, or (H, W) grey; all of one size, taken one at a time.
        fps: frames per second.
        quick: take half the time, for previews; faint changes between frames may get lost.

    Returns:
        The number of frames written.

    Raises:
        WrongInput: no frames, a frame of another size or type, a suffix or rate that does not work.
        NotWritable: the file cannot be written.
    """
    import av

    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise WrongInput(f"{path} does not end like a video; use one of {', '.join(VIDEO_SUFFIXES)}")
    if not 0 < fps < 1000:
        raise WrongInput(f"fps must lie between 0 and 1000, not {fps}")
    number, shape = 0, None
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast" if quick else "medium"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)):
                raise WrongInput(f"frame {number} must be uint8 (H, W, 3) or (H, W), not {frame.dtype} {frame.shape}")
            if shape is None:
                shape = frame.shape
                stream.height, stream.width = (length + length % 2 for length in shape[:2])
            if frame.shape != shape:
                raise WrongInput(f"frame {number} is {_by(frame.shape)}, those before are {_by(shape)}; give one size")
            padding = ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0))
            pixels: NDArray[Any] = np.pad(_colour(frame), padding, mode="edge")
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            container.mux(stream.encode(picture))
            number += 1
        if shape is None:
            raise WrongInput(f"there are no frames to write to {path}; give at least one")
        container.mux(stream.encode())
    return number


def write_frames(folder: AnyPath, frames: Iterable[NDArray[Any]], names: Sequence[str] | None = None) -> list[Path]:
    """Write every frame as a PNG file, which keeps every bit.

    Args:
        folder: where to write; made if it is missing.
        frames: uint8 or uint16, (H, W) or (H, W, 3) in the order R, G, B; taken one at a time.
        names: a name without suffix for every frame; None = 000000, 000001, ...

    Returns:
        The files' paths.

    Raises:
        WrongInput: fewer or more names than frames, the same name twice, or a frame that is no picture.
        NotWritable: a file cannot be written.
    """
    if names is not None and len(set(names)) != len(names):
        raise WrongInput("two frames have the same name; give every frame its own")
    files: list[Path] = []
    for number, frame in enumerate(frames):
        if names is not None and number >= len(names):
            raise WrongInput(f"there are more frames than the {len(names)} names; give a name for every frame")
        file = Path(folder) / f"{f'{number:06d}' if names is None else names[number]}.png"
        write_image(file, frame)
        files.append(file)
    if names is not None and len(files) < len(names):
        raise WrongInput(f"there are {len(names)} names for {len(files)} frames; give a name for every frame")
    return files


def _pictures(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if is_image(file) and not file.name.startswith("."))
    return sorted(files, key=natural_key)


@contextmanager
def _opened(file: Path) -> Iterator[tuple["av.container.InputContainer", "av.video.stream.VideoStream"]]:
    import av

    try:
        container = av.open(str(file))
    except (av.error.FFmpegError, OSError) as error:
        raise WrongFile(f"{file} is not a video or is damaged; give a video or a folder of pictures") from error
    with container:
        if not container.streams.video:
            raise WrongFile(f"{file} has no pictures in it, only sound or data; give a video")
        yield container, container.streams.video[0]


def _video_frames(file: Path, selection: tuple[int, int | None, int]) -> Generator[NDArray[np.uint8], None, None]:
    # Frames before and between the chosen ones must be decoded, but not turned into arrays.
    for frame in islice(_decoded(file), *selection):
        yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


def _decoded(file: Path) -> Iterator["av.VideoFrame"]:
    import av

    number, end_s = 0, 0.0
    with _opened(file) as (container, stream):
        stream.thread_type = "AUTO"
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise WrongFile(_damage(file, number))
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise WrongFile(_damage(file, number))
                    end_s = max(end_s, _end_s(frame))
                    yield frame
                    number += 1
        except (av.error.FFmpegError, OSError) as error:
            raise WrongFile(_damage(file, number)) from error
        if number and _ends_early(container, stream, end_s):
            raise WrongFile(_damage(file, number))


def _end_s(frame: "av.VideoFrame") -> float:
    if frame.pts is None or frame.time_base is None:
        return math.inf  # a raw stream without times
    return float((frame.pts + frame.duration) * frame.time_base)


def _ends_early(container: "av.container.InputContainer", stream: "av.video.stream.VideoStream", end_s: float) -> bool:
    """Say whether the pictures stop clearly before the end that the container states."""
    if stream.duration is not None and stream.time_base is not None:
        stated_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:  # sound may well be longer
        stated_s = container.duration / 1_000_000
    else:
        return False
    tolerance_s = max(0.02 * stated_s, float(3 / stream.average_rate) if stream.average_rate else 0.2)
    return stated_s - end_s > tolerance_s


def _damage(file: Path, number: int) -> str:
    return f"{file} is damaged at frame {number}; convert it again, or use the part before with stop={number}"


def _read_colour(file: Path) -> Picture:
    return _colour(read_image(file))


def _colour(picture: Picture) -> Picture:
    return picture if picture.ndim == 3 else cast(Picture, np.repeat(picture[..., None], 3, axis=2))


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
