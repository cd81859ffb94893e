"""7-Scenes: indoor scans by a depth camera, static.

Source: Shotton et al., Scene coordinate regression forests, CVPR 2013;
https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/. Depth PNGs hold mm, 0 and 65535 = unknown;
they are a few px off the pictures, a known property. `pose.txt` is world_from_camera in m.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.clip_item import ClipItem, read_matrix, read_poses, require_clips
from depthweave.data.item import existing, found_in

_UNKNOWN_M = 65.535
_INTRINSICS = ((585.0, 0.0, 320.0), (0.0, 585.0, 240.0), (0.0, 0.0, 1.0))


def sevenscenes(root: Path) -> list[ClipItem]:
    """Sequences; keys such as `chess/seq-01`, or the folder's name for one folder of frames.

    Args:
        root: folder of `<scene>/seq-01/`, of `seq-01/`, or of `frame-000000.color.png` (or `.jpg`),
            `frame-000000.depth.png` and `frame-000000.pose.txt`. `camera-intrinsics.txt` (3x3) beside the frames
            replaces the set's 585 px.

    Raises:
        WrongFile: no frames, or no depth there.
    """
    pictures = [path for depth in ("", "*/", "*/*/") for path in found_in(root, f"{depth}frame-*.color.*")]
    folders: dict[Path, list[Path]] = {}
    for picture in pictures:
        if io.is_image(picture):
            folders.setdefault(picture.parent, []).append(picture)
    items = (_item(root, folder, frames) for folder, frames in folders.items())
    return require_clips(items, root, "chess/seq-01/frame-000000.color.png and frame-000000.depth.png")


def _item(root: Path, folder: Path, frames: list[Path]) -> ClipItem:
    stems = [frame.name.split(".")[0] for frame in frames]
    poses = tuple(existing(folder / f"{stem}.pose.txt") for stem in stems)
    intrinsics = existing(folder / "camera-intrinsics.txt")
    return ClipItem(
        folder.relative_to(root).as_posix() if folder != root else root.resolve().name,
        tuple(frames),
        tuple(existing(folder / f"{stem}.depth.png") for stem in stems),
        read_kinect_depth,
        fps=30.0,
        intrinsics_reader=_default_intrinsics if intrinsics is None else partial(read_matrix, intrinsics, (3, 3)),
        poses_reader=partial(read_poses, poses) if any(poses) else None,
    )


def read_kinect_depth(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Depth (h, w) in m of a PNG in mm, and where it is neither 0 nor 65535."""
    depth_m, valid = io.read_depth_png(path, unit_m=0.001)
    known = valid & (depth_m < _UNKNOWN_M - 5e-4)
    return np.where(known, depth_m, np.float32(0)), known


def _default_intrinsics() -> NDArray[Any]:
    return np.array(_INTRINSICS)
