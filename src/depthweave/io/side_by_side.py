"""3-D films and pictures that hold both views in one frame, and their parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath
from depthweave.io.image import write_image
from depthweave.io.video import open_frames

Packing = Literal["side-by-side", "over-under"]


@dataclass(frozen=True)
class Layout:
    """How a frame holds two views.

    Attributes:
        packing: the views beside each other, or one over the other.
        half: each view was squeezed to half its width (side by side) or height (over under), as television sends it;
            the parts are stretched back. Full frames are twice as large.
        swapped: the right view comes first (left or top).
    """

    packing: str = "side-by-side"
    half: bool = False
    swapped: bool = False

    def __post_init__(self) -> None:
        if self.packing not in get_args(Packing):
            raise WrongInput(f"a frame is packed {' or '.join(get_args(Packing))}, not '{self.packing}'.")


def split_views(frame: NDArray[Any], layout: Layout) -> tuple[NDArray[Any], NDArray[Any]]:
    """The left and the right view of a frame.

    Stretching repeats no pixel: the squeezed side is interpolated bilinearly (OpenCV's half-pixel rule) to twice its
    length, so disparity in px doubles with a squeezed width.

    Args:
        frame: (H, W) or (H, W, 3), uint8 or uint16.
        layout: how it was packed.

    Raises:
        WrongInput: the side that is cut has an odd length.
    """
    import cv2

    axis = 1 if layout.packing == "side-by-side" else 0
    length = frame.shape[axis]
    if length % 2:
        raise WrongInput(
            f"a frame of {frame.shape[1]}x{frame.shape[0]} px cannot be cut into two equal views {layout.packing}; "
            "check the layout."
        )
    parts = [np.ascontiguousarray(part) for part in np.split(frame, 2, axis=axis)]
    if layout.half:
        height, width = frame.shape[:2]
        parts = [cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) for part in parts]
    first, second = parts
    return (second, first) if layout.swapped else (first, second)


def open_views(
    path: AnyPath, layout: Layout, start: int = 0, stop: int | None = None, step: int = 1
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Left and right views of a video or a folder of frames, one frame in memory at a time.

    Args:
        path: as `open_frames`.
        layout: how the frames were packed.
        start, stop, step: frames to use, as in a slice.

    Raises:
        WrongFile: missing, damaged, or not a video.
        WrongInput: frames that cannot be cut so.
    """
    return (split_views(frame, layout) for frame in open_frames(path, start, stop, step))


def write_views(
    folder: AnyPath, path: AnyPath, layout: Layout, start: int = 0, stop: int | None = None, step: int = 1
) -> int:
    """Write the views of a 3-D video as ``left/000000.png`` and ``right/000000.png``, which `data.folder` reads.

    Args:
        folder: where to write; made if it is missing.
        path, layout, start, stop, step: as `open_views`.

    Returns:
        The number of pairs.

    Raises:
        WrongFile: the video has no frame in that range, or as `open_views`.
        NotWritable: a file cannot be written.
    """
    from pathlib import Path

    number = -1
    for number, views in enumerate(open_views(path, layout, start, stop, step)):
        for side, view in zip(("left", "right"), views, strict=True):
            write_image(Path(folder) / side / f"{number:06d}.png", view)
    if number < 0:
        raise WrongFile(f"{path} has no frames from number {start} on; check the file and start.")
    return number + 1


def guess_layout(frame: NDArray[Any]) -> Layout:
    """The packing whose two parts look most alike, full or half by the shape of the parts.

    Parts that would be narrower than 4:3 side by side, or wider than 3:1 over under, are taken for squeezed ones.
    Which view comes first cannot be told so; matching both ways can (`disparity` is positive the right way round).

    Args:
        frame: (H, W) or (H, W, 3).

    Raises:
        WrongInput: no side has an even length.
    """
    import cv2

    likeness: dict[Packing, float] = {}
    axes: dict[Packing, int] = {"side-by-side": 1, "over-under": 0}
    for packing, axis in axes.items():
        if frame.shape[axis] % 2 == 0:
            small = [
                cv2.GaussianBlur(cv2.resize(part, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 2).astype(float)
                for part in np.split(frame, 2, axis=axis)
            ]
            likeness[packing] = float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])
    if not likeness:
        raise WrongInput("a frame of odd width and height holds no two equal views; give the layout of the whole film.")
    packing = max(likeness, key=lambda name: likeness[name])
    height, width = frame.shape[:2]
    aspect = width / 2 / height if packing == "side-by-side" else width / (height / 2)
    return Layout(packing, half=aspect < 4 / 3 if packing == "side-by-side" else aspect > 3)
