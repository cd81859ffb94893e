"""ETH3D low-resolution two-view stereo.

Source: Schoeps et al., CVPR 2017, and https://www.eth3d.net/datasets. Files are those of Middlebury's evaluation.
"""

from functools import partial
from pathlib import Path
from typing import Literal

from depthweave.data.item import StereoItem, existing, folder_below, found_in, partner, read_pfm_truth, require_items


def eth3d(root: Path, split: Literal["training", "test"] = "training") -> list[StereoItem]:
    """The 27 training or 20 test pairs; keys are scene names.

    Args:
        root: folder of `two_view_training/`, `two_view_training_gt/` and `two_view_test/`, or one with scene folders.
            Truth is looked for beside the pictures and in the folder of the same name with `_gt`.
        split: which one; "test" has no truth.

    Raises:
        WrongFile: no scenes there.
    """
    other = "test" if split == "training" else "training"
    folder = folder_below(root, f"two_view_{split}", unless=f"two_view_{other}")
    items = (_item(left, folder) for left in found_in(folder, "*/im0.png"))
    return require_items(items, root, f"two_view_{split}/<scene>/im0.png, im1.png, calib.txt")


def _item(left: Path, folder: Path) -> StereoItem:
    scene = left.parent
    places = (scene, folder.with_name(f"{folder.name}_gt") / scene.name)
    disparity = next((place / "disp0GT.pfm" for place in places if (place / "disp0GT.pfm").is_file()), None)
    truth = None
    if disparity is not None:
        truth = partial(read_pfm_truth, disparity, existing(disparity.with_name("mask0nocc.png")))
    return StereoItem(
        scene.name, left, partner(left, scene / "im1.png"), existing(scene / "calib.txt"), truth_reader=truth
    )
