"""MPI Sintel depth: a rendered film with the depth and the cameras that made it.

Source: Butler et al., ECCV 2012; Wulff et al., Lessons and insights from creating a synthetic optical flow benchmark,
ECCV Workshops 2012; the README of http://sintel.is.tue.mpg.de/depth.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.clip_item import ClipItem, require_clips
from depthweave.data.item import existing, folder_below, found_in
from depthweave.errors import WrongFile

_MAGIC = np.float32(202021.25)
FRAMES_OF_DEPTHCRAFTER = 50


def sintel_depth(
    root: Path, rendering: Literal["clean", "final"] = "final", choice: Literal["all", "depthcrafter"] = "all"
) -> list[ClipItem]:
    """The 23 scenes of the training part; keys such as `alley_1`.

    Args:
        root: folder of `training/`, or that folder; `final/` (or `clean/`), `depth/` and `camdata_left/` lie in it.
        rendering: of the pictures.
        choice: "depthcrafter" takes the first 50 frames of each scene (all have 20 to 50).

    Raises:
        WrongFile: no scenes, or no depth there.
    """
    folder = folder_below(root, "training")
    scenes: dict[str, list[Path]] = {}
    for picture in found_in(folder, f"{rendering}/*/frame_*.png"):
        scenes.setdefault(picture.parent.name, []).append(picture)
    stop = FRAMES_OF_DEPTHCRAFTER if choice == "depthcrafter" else None
    items = (_item(folder, name, frames).part(stop=stop) for name, frames in scenes.items())
    expected = f"training/{rendering}/alley_1/frame_0001.png and training/depth/alley_1/frame_0001.dpt"
    return require_clips(items, root, expected)


def _item(folder: Path, name: str, frames: list[Path]) -> ClipItem:
    cameras = tuple(existing(folder / "camdata_left" / name / f"{frame.stem}.cam") for frame in frames)
    first = cameras[0]
    return ClipItem(
        name,
        tuple(frames),
        tuple(existing(folder / "depth" / name / f"{frame.stem}.dpt") for frame in frames),
        io.read_dpt,
        fps=24.0,
        intrinsics_reader=None if first is None else partial(_intrinsics, first),
        poses_reader=partial(_poses, cameras) if any(cameras) else None,
    )


def read_sintel_camera(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intrinsics (3, 3) in px and pose (4, 4) world_from_camera in m of a `.cam` file.

    The file has a float32 tag 202021.25, nine float64 of the intrinsics and twelve of camera_from_world.

    Raises:
        WrongFile: missing, or something else.
    """
    content = io.require_file(path).read_bytes()
    if len(content) != 4 + 8 * 21 or np.frombuffer(content, "<f4", 1)[0] != _MAGIC:
        raise WrongFile(f"{path} is not a camera file of Sintel; get it again.")
    numbers = np.frombuffer(content, "<f8", 21, offset=4).astype(np.float64)
    camera_from_world = np.vstack((numbers[9:].reshape(3, 4), (0.0, 0.0, 0.0, 1.0)))
    return numbers[:9].reshape(3, 3), np.linalg.inv(camera_from_world)


def _intrinsics(path: Path) -> NDArray[np.float64]:
    return read_sintel_camera(path)[0]


def _poses(cameras: tuple[Path | None, ...]) -> NDArray[np.float64]:
    unknown = np.full((4, 4), np.nan)
    return np.stack([unknown if path is None else read_sintel_camera(path)[1] for path in cameras])
