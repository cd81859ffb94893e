"""NYU Depth v2: single indoor pictures with depth, each a clip of one frame.

Source: Silberman et al., Indoor segmentation and support inference from RGBD images, ECCV 2012;
https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html. The labelled set comes as one MATLAB file, which is not read
here: export it to PNG first. Depth PNGs hold mm, 0 = unknown.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.clip_item import ClipItem, require_clips
from depthweave.data.item import existing, folder_below, found_in

_INTRINSICS = ((518.857901, 0.0, 325.582449), (0.0, 519.469611, 253.736166), (0.0, 0.0, 1.0))


def nyuv2(
    root: Path, split: Literal["test", "train"] = "test", choice: Literal["all", "depthcrafter"] = "depthcrafter"
) -> list[ClipItem]:
    """The 654 test or 795 training pictures; keys are their names.

    Args:
        root: folder of `test/rgb/0001.png` and `test/depth/0001.png` (and `train/`), or of `00000_colors.png` and
            `00000_depth.png` (`nyu2_test/`).
        split: which.
        choice: "depthcrafter" keeps rows 45 to 470 and columns 41 to 600, where the sensor has depth (Eigen et al.).

    Raises:
        WrongFile: no pictures, or no depth there.
    """
    folder = folder_below(root, split)
    pairs = [(path.stem, path, folder / "depth" / f"{path.stem}.png") for path in _pictures(folder, "rgb/*")]
    for path in _pictures(folder_below(root, f"nyu2_{split}"), "*_colors.*"):
        name = path.stem.removesuffix("_colors")
        pairs.append((name, path, path.with_name(f"{name}_depth.png")))
    items = (_item(*pair) for pair in pairs)
    if choice == "depthcrafter":
        items = (replace(item, crop=sensor_part) for item in items)
    return require_clips(items, root, f"{split}/rgb/0001.png and {split}/depth/0001.png")


def sensor_part(height: int, width: int) -> tuple[slice, slice]:
    """Rows 45 to 470 of 480 and columns 41 to 600 of 640."""
    rows, columns = (round(edge * height / 480) for edge in (45, 471)), (round(e * width / 640) for e in (41, 601))
    return slice(*rows), slice(*columns)


def _pictures(folder: Path, pattern: str) -> list[Path]:
    return [path for path in found_in(folder, pattern) if io.is_image(path)]


def _item(name: str, picture: Path, depth: Path) -> ClipItem:
    reader = partial(io.read_depth_png, unit_m=0.001)
    return ClipItem(name, (picture,), (existing(depth),), reader, intrinsics_reader=_intrinsics)


def _intrinsics() -> NDArray[np.float64]:
    return np.array(_INTRINSICS)
