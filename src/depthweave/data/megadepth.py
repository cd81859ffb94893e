"""MegaDepth: photographs of sights with depth from many-view stereo, each a clip of one frame.

Source: Li and Snavely, MegaDepth: Learning single-view depth prediction from internet photos, CVPR 2018;
https://www.cs.cornell.edu/projects/megadepth/. Depth is up to a factor of each scene; 0 = unknown. Files of pictures
with ordinal labels only (-1 behind, -2 in front) hold no depth, and count as pictures without.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.clip_item import ClipItem, require_clips
from depthweave.data.item import existing, found_in
from depthweave.errors import MissingLibrary, WrongFile


def megadepth(root: Path) -> list[ClipItem]:
    """Pictures with depth; keys such as `0000/dense0/3409963756_f34ab1229a_o`. Reading depth needs the library h5py.

    Args:
        root: `MegaDepth_v1` or one scene of it: folders `dense0/imgs/a.jpg` and `dense0/depths/a.h5` at any depth.

    Raises:
        WrongFile: no pictures, or no depth there.
    """
    pictures = [path for path in found_in(root, "**/imgs/*") if io.is_image(path)]
    return require_clips((_item(root, path) for path in pictures), root, "0000/dense0/imgs/a.jpg and depths/a.h5")


def _item(root: Path, picture: Path) -> ClipItem:
    place = picture.parent.parent
    key = (place / picture.stem).relative_to(root).as_posix()
    return ClipItem(key, (picture,), (existing(place / "depths" / f"{picture.stem}.h5"),), read_h5_depth)


def read_h5_depth(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Depth (h, w) of the entry `depth` of an HDF5 file, up to a factor, and where it is known.

    Raises:
        MissingLibrary: h5py is not installed.
        WrongFile: missing, damaged, or without that entry.
    """
    try:
        h5py = import_module("h5py")
    except ImportError as error:
        raise MissingLibrary("the depth of MegaDepth needs the library h5py; run `pip install h5py`.") from error
    try:
        with h5py.File(io.require_file(path), "r") as file:
            depth = np.asarray(file["depth"], np.float32)
    except (OSError, KeyError) as error:
        raise WrongFile(f"{path} is damaged or holds no entry 'depth' ({error}); get it again.") from error
    known = np.isfinite(depth) & (depth > 0)
    return np.where(known, depth, np.float32(0)), known
