"""Middlebury stereo data: version 3 of the evaluation, the 2014 and 2021 sets, and the sets of 2001 to 2006.

Sources: Scharstein et al., GCPR 2014, and https://vision.middlebury.edu/stereo/data/ (2014, 2021, v3); Scharstein and
Szeliski, IJCV 2002 (2001) and CVPR 2003 (2003); Hirschmueller and Scharstein, CVPR 2007 (2005, 2006).
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

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
    read_pfm_truth,
    require_items,
)
from depthweave.errors import WrongFile, WrongInput

Resolution = Literal["F", "H", "Q"]


def middlebury_v3(
    root: Path, split: Literal["training", "test"] = "training", resolution: Resolution | None = None
) -> list[StereoItem]:
    """Pairs of the Middlebury evaluation, version 3 (MiddEval3); keys are scene names.

    Args:
        root: folder of `trainingQ/` and the like (or of `MiddEval3/`), or one that holds the scene folders itself.
        split: which half; only "training" has truth. Not used if `root` holds scenes.
        resolution: F, H or Q; needed only if several are there. Not used if `root` holds scenes.

    Raises:
        WrongFile: no scenes there.
        WrongInput: several resolutions and none chosen.
    """
    folder = root
    if not found_in(root, "*/im0.png"):
        base = folder_below(root, "MiddEval3")
        there = [size for size in ("F", "H", "Q") if (base / f"{split}{size}").is_dir()]
        if resolution is None and len(there) > 1:
            raise WrongInput(f"{base} holds {split} sets in resolutions {', '.join(there)}; choose with resolution=.")
        folder = base / f"{split}{resolution or ''.join(there)}"
    expected = f"{split}{resolution or 'Q'}/Adirondack/im0.png and im1.png, as unpacked from MiddEval3"
    return require_items((_v3_item(left) for left in found_in(folder, "*/im0.png")), root, expected)


def _v3_item(left: Path) -> StereoItem:
    scene = left.parent
    disparity = existing(scene / "disp0GT.pfm")
    truth = None
    if disparity is not None:
        mask, right = existing(scene / "mask0nocc.png"), existing(scene / "disp1GT.pfm")
        truth = partial(read_pfm_truth, disparity, mask, right)
    return StereoItem(
        scene.name, left, partner(left, scene / "im1.png"), existing(scene / "calib.txt"), truth_reader=truth
    )


def middlebury_2014(
    root: Path,
    rectification: Literal["perfect", "imperfect"] = "perfect",
    right: Literal["same", "exposure", "lighting"] = "same",
) -> list[StereoItem]:
    """Pairs of the 2014 data sets; keys are folder names such as `Adirondack-perfect`.

    Args:
        root: folder of `<scene>-perfect/` and `<scene>-imperfect/`.
        rectification: which of the two calibrations.
        right: the right picture: im1.png, im1E.png (another exposure) or im1L.png (another lighting).

    Raises:
        WrongFile: no scenes there.
    """
    name = {"same": "im1.png", "exposure": "im1E.png", "lighting": "im1L.png"}[right]
    lefts = found_in(root, f"*-{rectification}/im0.png")
    items = (_scene_item(left, left.with_name(name)) for left in lefts)
    return require_items(items, root, f"Adirondack-{rectification}/im0.png, {name}, disp0.pfm, disp1.pfm, calib.txt")


def middlebury_2021(root: Path) -> list[StereoItem]:
    """Pairs of the 2021 mobile data sets; keys are scene names.

    Args:
        root: folder of `data/<scene>/`, or of the scenes.

    Raises:
        WrongFile: no scenes there.
    """
    lefts = found_in(folder_below(root, "data"), "*/im0.png")
    items = (_scene_item(left, left.with_name("im1.png")) for left in lefts)
    return require_items(items, root, "data/artroom1/im0.png, im1.png, disp0.pfm, disp1.pfm, calib.txt")


def _scene_item(left: Path, right: Path) -> StereoItem:
    scene = left.parent
    disparity = existing(scene / "disp0.pfm")
    truth = None
    if disparity is not None:
        truth = partial(read_pfm_truth, disparity, None, existing(scene / "disp1.pfm"))
    return StereoItem(scene.name, left, partner(left, right), existing(scene / "calib.txt"), truth_reader=truth)


def middlebury_2001_2006(root: Path) -> list[StereoItem]:
    """Pairs of the data sets of 2001 to 2006; keys are scene names.

    Disparity pictures hold px times a factor, 0 = unknown. The factor is 8 in 2001; 4, 2 or 1 for the quarter, half and
    full size of 2003; 3, 2 or 1 for the third, half and full size of 2005 and 2006. The size shows in the width, so
    that one folder may hold any mixture. Not read: `tsukuba` and `map` of 2001, whose files have other names.

    Args:
        root: folder of scene folders, as unpacked (2001: im2.ppm, im6.ppm, disp2.pgm; 2003: im2.png, im6.png,
            disp2.png; 2005 and 2006 with two views: view1.png, view5.png, disp1.png), or with left.png, right.png,
            disp_left.png and the factor as "scale" in meta.json.

    Raises:
        WrongFile: no scenes there.
    """
    scenes = [scene for scene in found_in(root, "*") if scene.is_dir()]
    items = (item for scene in scenes if (item := _older_item(scene)) is not None)
    return require_items(items, root, "scene folders such as Art/view1.png, view5.png, disp1.png or cones/im2.png")


_OLDER_LAYOUTS: tuple[tuple[str, str, str, str, tuple[tuple[int, int], ...]], ...] = (
    # left, right, left truth, right truth, factor for pictures up to a width
    ("view1.png", "view5.png", "disp1.png", "disp5.png", ((500, 3), (750, 2), (1500, 1))),
    ("im2.png", "im6.png", "disp2.png", "disp6.png", ((600, 4), (1200, 2), (2000, 1))),
    ("im2.ppm", "im6.ppm", "disp2.pgm", "disp6.pgm", ((500, 8),)),
)


def _older_item(scene: Path) -> StereoItem | None:
    if (scene / "meta.json").is_file() and (left := existing(scene / "left.png")) is not None:
        right_truth, mask = existing(scene / "disp_right.png"), existing(scene / "nonocc.png")
        truth = partial(_read_meta_truth, scene / "disp_left.png", right_truth, mask, scene / "meta.json")
        has_truth = (scene / "disp_left.png").is_file()
        return StereoItem(
            scene.name, left, partner(left, scene / "right.png"), truth_reader=truth if has_truth else None
        )
    for left_name, right_name, truth_name, right_truth_name, factors in _OLDER_LAYOUTS:
        if (left := existing(scene / left_name)) is not None:
            disparity, right_truth = existing(scene / truth_name), existing(scene / right_truth_name)
            reader = None if disparity is None else partial(_read_older_truth, disparity, right_truth, factors)
            return StereoItem(scene.name, left, partner(left, scene / right_name), truth_reader=reader)
    return None


def _read_older_truth(disparity: Path, right: Path | None, factors: tuple[tuple[int, int], ...]) -> StereoTruth:
    codes = _codes(disparity)
    width = codes.shape[1]
    factor = next((factor for widest, factor in factors if width <= widest), None)
    if factor is None:
        raise WrongFile(f"{disparity} is {width} px wide, which is no size of this data set; get the original file.")
    return _scaled_truth(codes, factor, disparity, right, None)


def _read_meta_truth(disparity: Path, right: Path | None, mask: Path | None, meta: Path) -> StereoTruth:
    try:
        factor = float(json.loads(meta.read_text())["scale"])
    except (ValueError, KeyError, TypeError):
        factor = 0.0
    if not factor > 0:
        raise WrongFile(f'{meta} must state the factor of the disparity picture, such as {{"scale": 3}}.')
    return _scaled_truth(_codes(disparity), factor, disparity, right, mask)


def _scaled_truth(
    codes: NDArray[Any], factor: float | int, source: Path, right: Path | None, mask: Path | None
) -> StereoTruth:
    return make_truth(
        _from_codes(codes, factor),
        source=source,
        visible=None if mask is None else read_mask(mask) == 255,
        right=None if right is None else _from_codes(_codes(right), factor),
    )


def _codes(path: Path) -> NDArray[Any]:
    return read_mask(path) if path.suffix == ".pgm" else io.read_scaled_png(path, 1)[0]


def _from_codes(codes: NDArray[Any], factor: float | int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return (codes / factor).astype(np.float32), codes > 0
