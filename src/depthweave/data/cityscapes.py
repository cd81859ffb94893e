"""Cityscapes: rectified pairs of streets, with the disparity of a semi-global matcher.

Source: Cordts et al., The Cityscapes dataset for semantic urban scene understanding, CVPR 2016;
https://www.cityscapes-dataset.com/. Disparity PNGs hold 256 d + 1, 0 = unknown (README of its scripts). It was matched
and not measured: good for training, no truth to rank matchers by.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from depthweave import io
from depthweave.data.item import StereoItem, StereoTruth, existing, found_in, make_truth, partner, require_items


def cityscapes(root: Path, split: Literal["train", "val", "test", "train_extra"] = "val") -> list[StereoItem]:
    """Pairs of a split; keys such as `aachen/aachen_000000_000019`.

    The set's camera files are JSON of a kind that is not read here, so the pairs have no calibration: disparity only.

    Args:
        root: folder of `leftImg8bit/<split>/<city>/`, `rightImg8bit/` and `disparity/`.
        split: which.

    Raises:
        WrongFile: no pairs there, or a picture without partner.
    """
    lefts = found_in(root, f"leftImg8bit/{split}/*/*_leftImg8bit.png")
    items = (_item(root, left, split) for left in lefts)
    return require_items(items, root, f"leftImg8bit/{split}/aachen/aachen_000000_000019_leftImg8bit.png")


def _item(root: Path, left: Path, split: str) -> StereoItem:
    city, stem = left.parent.name, left.name.removesuffix("_leftImg8bit.png")
    right = root / "rightImg8bit" / split / city / f"{stem}_rightImg8bit.png"
    disparity = existing(root / "disparity" / split / city / f"{stem}_disparity.png")
    return StereoItem(
        f"{city}/{stem}",
        left,
        partner(left, right),
        truth_reader=None if disparity is None else partial(_read_truth, disparity),
    )


def _read_truth(path: Path) -> StereoTruth:
    stored, valid = io.read_kitti_png(path)
    return make_truth((np.where(valid, stored - np.float32(1 / 256), np.float32(0)), valid), source=path)
