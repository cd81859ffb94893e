"""KITTI stereo 2012 and 2015.

Sources: Geiger, Lenz and Urtasun, CVPR 2012; Menze and Geiger, CVPR 2015; https://www.cvlibs.net/datasets/kitti/.
Disparity PNGs hold px times 256, 0 = unknown. `disp_occ` has every measured pixel, `disp_noc` only those whose match
lies inside the right picture: KITTI's "occ" is the region "all", its "noc" the region "visible".
Where only `disp_noc` is there, the truth has no region "all".
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from depthweave import io
from depthweave.data.item import (
    StereoItem,
    StereoTruth,
    existing,
    folder_below,
    found_in,
    make_truth,
    partner,
    require_items,
)

Split = Literal["training", "testing"]


def kitti_2012(root: Path, split: Split = "training", pictures: Literal["color", "grey"] = "color") -> list[StereoItem]:
    """The 194 training or 195 testing pairs of 2012; keys such as `000000_10`.

    Args:
        root: folder of `training/` and `testing/`, or one of these.
        split: which one; "testing" has no truth.
        pictures: `colored_0/`, `colored_1/` (cameras P2, P3) or `image_0/`, `image_1/` (P0, P1).

    Raises:
        WrongFile: no pairs there.
    """
    left, right, cameras = {
        "color": ("colored_0", "colored_1", ("P2", "P3")),
        "grey": ("image_0", "image_1", ("P0", "P1")),
    }[pictures]
    return _items(root, split, (left, right), ("disp_noc", "disp_occ"), "calib", cameras)


def kitti_2015(root: Path, split: Split = "training") -> list[StereoItem]:
    """The 200 training or 200 testing pairs of 2015; keys such as `000000_10`.

    Args:
        root: folder of `training/` and `testing/`, or one of these.
        split: which one; "testing" has no truth.

    Raises:
        WrongFile: no pairs there.
    """
    truth = ("disp_noc_0", "disp_occ_0")
    return _items(root, split, ("image_2", "image_3"), truth, "calib_cam_to_cam", ("P2", "P3"))


def _items(
    root: Path,
    split: Split,
    pictures: tuple[str, str],
    truths: tuple[str, str],
    calibration: str,
    cameras: tuple[str, str],
) -> list[StereoItem]:
    folder = folder_below(root, split, unless="testing" if split == "training" else "training")

    def item(left: Path) -> StereoItem:
        noc, occ = (existing(folder / name / left.name) for name in truths)
        return StereoItem(
            left.stem,
            left,
            partner(left, folder / pictures[1] / left.name),
            existing(folder / calibration / f"{left.stem.removesuffix('_10')}.txt"),
            cameras,
            partial(_read_occ, occ, noc) if occ else partial(_read_noc, noc) if noc else None,
        )

    expected = f"{split}/{pictures[0]}/000000_10.png and {split}/{pictures[1]}/000000_10.png"
    return require_items((item(left) for left in found_in(folder, f"{pictures[0]}/*_10.png")), root, expected)


def _read_occ(occ: Path, noc: Path | None) -> StereoTruth:
    visible = None if noc is None else io.read_kitti_png(noc)[1]
    return make_truth(io.read_kitti_png(occ), source=occ, visible=visible)


def _read_noc(noc: Path) -> StereoTruth:
    truth = make_truth(io.read_kitti_png(noc), source=noc)
    return replace(truth, regions={"visible": truth.valid})
