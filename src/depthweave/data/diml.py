"""DIML RGB-D: single pictures with depth, each a clip of one frame.

Source: Cho et al., DIML/CVL RGB-D dataset: 2M RGB-D images of natural indoor and outdoor scenes, arXiv 2110.11590;
https://dimlrgbd.github.io/. Depth PNGs hold mm, 0 = unknown: of a Kinect v2 indoors, of matched ZED pairs outdoors.
"""

from functools import partial
from pathlib import Path

from depthweave import io
from depthweave.data.clip_item import ClipItem, require_clips
from depthweave.data.item import existing, found_in

_DEPTHS = ("depth_filled", "depth", "depthmap", "depth_raw")


def diml(root: Path) -> list[ClipItem]:
    """Pictures below any folders named `color` (or `col`, `outleft`), with depth of the same stem beside them.

    Args:
        root: folder that holds, at any depth, `color/a.png` and `depth_filled/a.png` (else `depth/`, `depthmap/` or
            `depth_raw/`); stems may differ after the last underscore (`in_01_c.png`, `in_01_depth_filled.png`).

    Raises:
        WrongFile: no pictures, or no depth there.
    """
    pictures = [p for name in ("color", "col", "outleft") for p in found_in(root, f"**/{name}/*") if io.is_image(p)]
    return require_clips((_item(root, picture) for picture in pictures), root, "color/a.png and depth_filled/a.png")


def _item(root: Path, picture: Path) -> ClipItem:
    key = picture.relative_to(root).with_suffix("").as_posix()
    return ClipItem(key, (picture,), (_depth_of(picture),), partial(io.read_depth_png, unit_m=0.001))


def _depth_of(picture: Path) -> Path | None:
    scene, stem = picture.parent.parent, picture.stem
    base = stem.rpartition("_")[0] or stem
    names = [(folder, f"{name}.png") for folder in _DEPTHS for name in (stem, f"{base}_{folder}", f"{base}_d")]
    return next((found for folder, name in names if (found := existing(scene / folder / name))), None)
