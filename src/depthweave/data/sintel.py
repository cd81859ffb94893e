"""MPI Sintel stereo: a rendered film, with masks of what only one camera sees.

Source: Butler et al., ECCV 2012, and the README of http://sintel.is.tue.mpg.de/stereo.
Disparity PNGs hold d = 4 R + G / 64 + B / 16384 px; in `occlusions/` and `outofframe/` marked pixels are white.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from depthweave import io
from depthweave.data.item import (
    StereoItem,
    StereoTruth,
    existing,
    folder_below,
    found_in,
    make_truth,
    partner,
    read_mask,
    require_items,
)
from depthweave.errors import WrongFile


def sintel(root: Path, rendering: Literal["clean", "final"] = "final") -> list[StereoItem]:
    """The 1064 training pairs; keys such as `alley_1/frame_0001`. Only the training part has stereo.

    Every pixel has truth; "visible" leaves out occluded pixels and those whose match is outside the right picture.

    Args:
        root: folder of `training/`, or that folder.
        rendering: `clean_left/` or `final_left/`, and right likewise.

    Raises:
        WrongFile: no pairs there.
    """
    folder = folder_below(root, "training")
    lefts = found_in(folder, f"{rendering}_left/*/frame_*.png")
    expected = f"training/{rendering}_left/alley_1/frame_0001.png and {rendering}_right/ likewise"
    return require_items((_item(folder, left, rendering) for left in lefts), root, expected)


def _item(folder: Path, left: Path, rendering: str) -> StereoItem:
    below = left.relative_to(folder / f"{rendering}_left")
    disparity = existing(folder / "disparities" / below)
    masks = [path for name in ("occlusions", "outofframe") if (path := existing(folder / name / below)) is not None]
    return StereoItem(
        below.with_suffix("").as_posix(),
        left,
        partner(left, folder / f"{rendering}_right" / below),
        truth_reader=None if disparity is None else partial(_read_truth, disparity, tuple(masks)),
    )


def _read_truth(disparity: Path, masks: tuple[Path, ...]) -> StereoTruth:
    codes = io.read_image(disparity)
    if codes.ndim != 3 or codes.dtype != np.uint8:
        raise WrongFile(f"{disparity} is not an 8-bit colour PNG, as Sintel's disparities are; get it again.")
    red, green, blue = np.moveaxis(codes.astype(np.float32), -1, 0)
    values = 4 * red + green / 64 + blue / 16384
    valid = np.ones(values.shape, dtype=np.bool_)
    if len(masks) < 2:
        return make_truth((values, valid), source=disparity)
    hidden = np.logical_or(*(read_mask(mask) > 0 for mask in masks))
    return make_truth((values, valid), source=disparity, visible=~hidden)
