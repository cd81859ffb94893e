"""Scene Flow: FlyingThings3D, Monkaa and Driving, rendered.

Source: Mayer et al., CVPR 2016, and https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html.
Disparity is dense PFM in px, of both views; the pictures come as a clean and a final pass. No baseline in metres.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from depthweave.data.item import StereoItem, existing, found_in, partner, read_pfm_truth, require_items
from depthweave.errors import WrongFile

TEST_COUNT = 4370
SUBSET_COUNT = 400
SUBSET_SEED = 1000

Rendering = Literal["final", "clean"]

_THINGS, _MONKAA, _DRIVING = "FlyingThings3D", "Monkaa", "Driving"


def sceneflow(root: Path, split: Literal["test", "train"] = "test", rendering: Rendering = "final") -> list[StereoItem]:
    """Pairs of Scene Flow, in the order of their keys, such as `FlyingThings3D/TEST/A/0000/0006`.

    Args:
        root: folder of `FlyingThings3D/`, `Monkaa/` and `Driving/` (any case), each with `frames_finalpass/`,
            `frames_cleanpass/` and `disparity/`; or one of these three.
        split: "test" is FlyingThings3D TEST; "train" is FlyingThings3D TRAIN with what is there of Monkaa and Driving.
        rendering: the pass of the pictures.

    Raises:
        WrongFile: no pairs there.
    """
    patterns = {_THINGS: f"{split.upper()}/*/*/left/*.png"}
    if split == "train":
        patterns |= {_MONKAA: "*/left/*.png", _DRIVING: "*/*/*/left/*.png"}
    frames = f"frames_{rendering}pass"
    items = [
        _item(subset, folder, left, frames)
        for subset, pattern in patterns.items()
        if (folder := _subset_folder(root, subset)) is not None
        for left in found_in(folder / frames, pattern)
    ]
    expected = f"FlyingThings3D/{frames}/{split.upper()}/A/0000/left/0006.png and FlyingThings3D/disparity/ likewise"
    return require_items(sorted(items, key=lambda item: item.key), root, expected)


def sceneflow_400(root: Path, rendering: Rendering = "final") -> list[StereoItem]:
    """The 400 test pairs on which RAFT-Stereo and its successors report Scene Flow numbers.

    Of the sorted FlyingThings3D TEST list, those at the first 400 places of numpy's legacy permutation with seed 1000
    (Lipson et al., 3DV 2021; `core/stereo_datasets.py` of https://github.com/princeton-vl/RAFT-Stereo).

    Args:
        root: as for `sceneflow`.
        rendering: the pass of the pictures; the published numbers are on the final pass.

    Raises:
        WrongFile: the TEST list is not complete, so that the same places would be other pictures.
    """
    items = sceneflow(root, "test", rendering)
    if len(items) != TEST_COUNT:
        raise WrongFile(
            f"{root} holds {len(items)} of the {TEST_COUNT} FlyingThings3D TEST pairs; "
            "the subset of 400 is drawn from the full list, so complete the download."
        )
    return [items[index] for index in subset_places(len(items))]


def subset_places(count: int) -> list[int]:
    """Ascending places of the subset in a sorted list of `count` pairs."""
    permutation = np.random.RandomState(SUBSET_SEED).permutation(count)
    return sorted(permutation[:SUBSET_COUNT].tolist())


def _subset_folder(root: Path, subset: str) -> Path | None:
    if root.name.lower() == subset.lower():
        return root
    return next((path for path in found_in(root, "*") if path.name.lower() == subset.lower()), None)


def _item(subset: str, folder: Path, left: Path, frames: str) -> StereoItem:
    below = left.relative_to(folder / frames)
    other = below.parent.with_name("right") / below.name
    disparity = existing((folder / "disparity" / below).with_suffix(".pfm"))
    right_disparity = existing((folder / "disparity" / other).with_suffix(".pfm"))
    return StereoItem(
        "/".join((subset, *below.parts[:-2], below.stem)),
        left,
        partner(left, folder / frames / other),
        truth_reader=None if disparity is None else partial(read_pfm_truth, disparity, None, right_disparity),
    )
