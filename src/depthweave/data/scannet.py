"""ScanNet v2: indoor scans by a depth camera.

Source: Dai et al., ScanNet, CVPR 2017; http://www.scan-net.org. The frames must have been taken out of the `.sens`
files: `SensReader/python/reader.py --filename scene.sens --output_path scene --export_color_images
--export_depth_images --export_poses --export_intrinsics` of https://github.com/ScanNet/ScanNet does that.
Depth PNGs hold mm, 0 = unknown; poses are world_from_camera, with -inf where tracking was lost. Depth (640x480) and
colour (1296x968) are two cameras of nearly one view; truth keeps its own size.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from depthweave import io
from depthweave.data.clip_item import ClipItem, chosen_clips, read_matrix, read_poses, require_clips
from depthweave.data.item import existing

FRAMES_OF_DEPTHCRAFTER = (0, 270, 3)
SCENES_OF_DEPTHCRAFTER = 100
SCENES_OF_STEREODIFF = ("scene0078_00", "scene0192_01", "scene0348_00", "scene0556_01")


def scannet(root: Path, choice: Literal["all", "depthcrafter", "stereodiff"] = "all") -> list[ClipItem]:
    """Scans; keys such as `scene0707_00`.

    Args:
        root: folder of `<scene>/` with `color/0.jpg`, `depth/0.png`, `pose/0.txt` and `intrinsic/intrinsic_color.txt`.
        choice: "depthcrafter" takes frames 0 to 269 by three of the first 100 scenes there (those of the test split),
            without 8 px at top and bottom and 11 px at the sides (of 640x480); "stereodiff" takes four whole scenes.

    Raises:
        WrongFile: no scenes, or no depth there.
        WrongInput: "stereodiff" without one of its scenes.
    """
    folders = sorted(path.parent for path in root.glob("*/color") if path.is_dir())
    listed = require_clips((_item(folder) for folder in folders), root, "scene0707_00/color/0.jpg and depth/0.png")
    if choice == "stereodiff":
        return chosen_clips(listed, SCENES_OF_STEREODIFF)
    if choice == "all":
        return listed
    chosen = listed[:SCENES_OF_DEPTHCRAFTER]
    return [replace(item.part(*FRAMES_OF_DEPTHCRAFTER), crop=depth_border) for item in chosen]


def depth_border(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns without 8 of 480 px at top and bottom and 11 of 640 px at the sides."""
    top, side = round(8 * height / 480), round(11 * width / 640)
    return slice(top, height - top), slice(side, width - side)


def _item(folder: Path) -> ClipItem:
    frames = sorted((path for path in (folder / "color").iterdir() if io.is_image(path)), key=io.natural_key)
    poses = tuple(existing(folder / "pose" / f"{frame.stem}.txt") for frame in frames)
    intrinsics = existing(folder / "intrinsic" / "intrinsic_color.txt")
    return ClipItem(
        folder.name,
        tuple(frames),
        tuple(existing(folder / "depth" / f"{frame.stem}.png") for frame in frames),
        partial(io.read_depth_png, unit_m=0.001),
        fps=30.0,
        intrinsics_reader=None if intrinsics is None else partial(read_matrix, intrinsics, (3, 3)),
        poses_reader=partial(read_poses, poses) if any(poses) else None,
    )
