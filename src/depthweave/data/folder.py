"""Pairs of your own in a plain folder."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.item import (
    StereoItem,
    StereoTruth,
    found_in,
    make_truth,
    partner,
    read_mask,
    require_items,
)
from depthweave.errors import WrongFile

KITTI_SCALE = 256.0

_Pair = tuple[str, Path, Path, Path | None]
"""Key, left picture, right picture, and the pair's own folder in the third layout."""

_CALIBRATIONS = ("calib.txt", "K.txt")
_SUFFIXES = (".pfm", ".png")
_SCENE_TRUTHS = ("disparity.pfm", "disparity.png", "disp0GT.pfm", "disp0.pfm")
_LAYOUTS = (
    "left/a.png with right/a.png, a_left.png with a_right.png, or a folder per pair with left and right or im0 and im1"
)


def folder(
    root: Path, calibration: str | Path | None = None, disparity_scale: float | int = KITTI_SCALE
) -> list[StereoItem]:
    """Pairs in one of three layouts, the first that fits:

    1. `left/` and `right/` with files of the same stem;
    2. `<key>_left.*` and `<key>_right.*` beside each other;
    3. a folder per pair with `left.*` and `right.*`, or `im0.*` and `im1.*`; the root may be one, too.

    Truth, where there is some: `disparity/<key>.pfm` or `.png`; in a pair's own folder also `disparity.pfm`,
    `disparity.png`, `disp0GT.pfm` or `disp0.pfm`. Beside it, `mask0nocc/<key>.png` (255 where both cameras see the
    point) and `disparity_right/<key>.pfm` or `.png`; in a pair's own folder `mask0nocc.png` and `disparity_right.pfm`
    or `.png`. `depthweave synthesize` and `depthweave worlds` write such folders.
    Calibration: `calib.txt` or `K.txt` in a pair's folder, else in the root for all pairs.

    Args:
        root: the folder.
        calibration: one file for all pairs, before any found in the folder.
        disparity_scale: steps per px of PNG truth, 256 as in KITTI; 0 = unknown.

    Raises:
        WrongFile: no pairs there, or a picture without partner.
    """
    if calibration is not None and not Path(calibration).is_file():
        raise WrongFile(f"{calibration} does not exist; check the path of the calibration.")
    found = next((pairs for layout in _PAIRS if (pairs := list(layout(root)))), [])
    items = (_item(root, *pair, calibration, disparity_scale) for pair in found)
    return require_items(sorted(items, key=lambda item: item.key), root, _LAYOUTS)


def _side_by_side(root: Path) -> Iterator[_Pair]:
    rights = {path.stem: path for path in _pictures(root / "right", "*")}
    for left in _pictures(root / "left", "*"):
        yield left.stem, left, partner(left, rights.get(left.stem, root / "right" / left.name)), None


def _suffixed(root: Path) -> Iterator[_Pair]:
    for left in _pictures(root, "*_left.*"):
        key = left.stem.removesuffix("_left")
        rights = _pictures(root, f"{key}_right.*")
        yield key, left, partner(left, rights[0] if rights else left.with_stem(f"{key}_right")), None


def _scenes(root: Path) -> Iterator[_Pair]:
    for left_name, right_name in (("left", "right"), ("im0", "im1")):
        for left in _pictures(root, f"{left_name}.*") + _pictures(root, f"*/{left_name}.*"):
            scene = left.parent
            rights = _pictures(scene, f"{right_name}.*")
            yield scene.name, left, partner(left, rights[0] if rights else left.with_stem(right_name)), scene


_PAIRS = (_side_by_side, _suffixed, _scenes)


def _pictures(place: Path, pattern: str) -> list[Path]:
    return [path for path in found_in(place, pattern) if path.is_file() and io.is_image(path)]


def _item(
    root: Path,
    key: str,
    left: Path,
    right: Path,
    scene: Path | None,
    calibration: str | Path | None,
    scale: float | int,
) -> StereoItem:
    truths = [root / "disparity" / f"{key}{suffix}" for suffix in _SUFFIXES]
    mask, rights = root / "mask0nocc" / f"{key}.png", [root / "disparity_right" / f"{key}{end}" for end in _SUFFIXES]
    calibrations = [root / name for name in _CALIBRATIONS]
    if scene is not None:
        own = [scene / name for name in _SCENE_TRUTHS]
        if any(path.is_file() for path in own):
            mask, rights = scene / "mask0nocc.png", [scene / f"disparity_right{end}" for end in _SUFFIXES]
        truths = own + truths
        calibrations = [scene / name for name in _CALIBRATIONS] + calibrations
    if calibration is not None:
        calibrations = [Path(calibration)]
    truth = next(filter(Path.is_file, truths), None)
    return StereoItem(
        key,
        left,
        right,
        next(filter(Path.is_file, calibrations), None),
        truth_reader=None if truth is None else partial(_read_truth, truth, mask, rights, scale),
    )


def _read_truth(disparity: Path, mask: Path, rights: list[Path], scale: float | int) -> StereoTruth:
    right = next(filter(Path.is_file, rights), None)
    return make_truth(
        _read_disparity(disparity, scale),
        source=disparity,
        visible=read_mask(mask) == 255 if mask.is_file() else None,
        right=None if right is None else _read_disparity(right, scale),
    )


def _read_disparity(path: Path, scale: float | int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return io.read_scaled_png(path, scale) if path.suffix == ".png" else io.read_pfm(path)
