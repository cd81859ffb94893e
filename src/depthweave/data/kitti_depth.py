"""KITTI drives with LiDAR depth: the raw pictures and the depth benchmark's accumulated or single scans.

Sources: Geiger et al., Vision meets robotics: the KITTI dataset, IJRR 2013 (raw data); Uhrig et al., Sparsity
invariant CNNs, 3DV 2017 (depth), https://www.cvlibs.net/datasets/kitti/eval_depth_all.php.
Depth PNGs hold m times 256, 0 = unknown. Camera 2, the left colour camera. The depth benchmark leaves out the first and
last five frames of a drive; with its truth they are left out here, too.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.clip_item import ClipItem, read_matrix, require_clips
from depthweave.data.item import existing, found_in
from depthweave.errors import WrongFile

FRAMES_OF_DEPTHCRAFTER = 110


def kitti_depth(
    root: Path,
    split: Literal["val", "train", "all"] = "val",
    truth: Literal["annotated", "velodyne"] = "annotated",
    choice: Literal["all", "depthcrafter"] = "all",
) -> list[ClipItem]:
    """Drives of the depth benchmark; keys such as `2011_09_26_drive_0002_sync`.

    Args:
        root: folder with the raw data (`2011_09_26/<drive>/image_02/data/0000000005.png`, `calib_cam_to_cam.txt` in the
            day's folder) and the depth (`val/<drive>/proj_depth/groundtruth/image_02/0000000005.png`, or with
            "velodyne" `proj_depth/velodyne_raw`). Or the folder of one clip: `image_02/` and `lidar_depth/` with
            files of equal names, `P_rect.txt` (3x4) beside them.
        split: `val/` and `train/` of the depth; a single clip has none.
        truth: accumulated over eleven scans and cleaned, or single scans.
        choice: "depthcrafter" takes the first 110 frames and even sides.

    Raises:
        WrongFile: no drives, or no depth there.
    """
    kind = "groundtruth" if truth == "annotated" else "velodyne_raw"
    if (root / "image_02").is_dir():
        items = [_single(root)]
    else:
        splits = ("train", "val") if split == "all" else (split,)
        places = [place for name in splits for place in found_in(root, f"{name}/*/proj_depth/{kind}/image_02")]
        items = [_drive(root, place) for place in places]
    if choice == "depthcrafter":
        items = [replace(item.part(stop=FRAMES_OF_DEPTHCRAFTER), crop=even_sides) for item in items]
    return require_clips(
        items,
        root,
        "2011_09_26/<drive>/image_02/data/0000000005.png, and a file of that name in "
        f"{split}/<drive>/proj_depth/{kind}/image_02",
    )


def even_sides(height: int, width: int) -> tuple[slice, slice]:
    """All rows and columns, without the last where their number is odd."""
    return slice(0, height - height % 2), slice(0, width - width % 2)


def _drive(root: Path, place: Path) -> ClipItem:
    drive = place.parents[2].name
    day = drive[:10]
    truths = found_in(place, "*.png")
    frames = [root / day / drive / "image_02" / "data" / truth.name for truth in truths]
    if frames and not frames[0].is_file():
        raise WrongFile(f"{frames[0]} does not exist, but its depth does; put the raw drives beside the depth.")
    return ClipItem(
        drive,
        tuple(frames),
        tuple(truths),
        io.read_kitti_png,
        fps=10.0,
        intrinsics_reader=partial(_intrinsics, calibration)
        if (calibration := existing(root / day / "calib_cam_to_cam.txt"))
        else None,
    )


def _single(root: Path) -> ClipItem:
    folder = root / "image_02" / "data"
    frames = found_in(folder if folder.is_dir() else folder.parent, "*.png")
    matrix = existing(root / "P_rect.txt")
    return ClipItem(
        root.resolve().name,
        tuple(frames),
        tuple(existing(root / "lidar_depth" / frame.name) for frame in frames),
        io.read_kitti_png,
        fps=10.0,
        intrinsics_reader=None if matrix is None else partial(read_matrix, matrix, (3, 3)),
    )


def _intrinsics(calibration: Path) -> NDArray[np.float64]:
    return io.read_calibration(calibration, cameras=("P2", "P3")).intrinsics
