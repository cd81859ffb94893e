"""Flow as a 16-bit colour PNG, the form of the KITTI flow benchmark."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.image import encode_image, read_image
from depthweave.io.maps import Mask

_STEPS = 64.0
_ZERO = 2.0**15
_LARGEST = int(np.iinfo(np.uint16).max)


def read_flow_png(path: AnyPath) -> tuple[NDArray[np.float32], Mask]:
    """Read a flow field in the form of KITTI: motion = (integer - 2^15) / 64, the third channel says what is known.

    Args:
        path: a 16-bit colour PNG.

    Returns:
        flow: (H, W, 2) float32, motion along x and y in px; 0 where not valid.
        valid: (H, W) bool.

    Raises:
        WrongFile: missing, damaged, or not a 16-bit colour PNG.

    Source: development kit of KITTI 2015 (readme.txt, "optical flow maps").
    """
    file = require_file(path)
    with file.open("rb") as stream:
        start = stream.read(26)
    if len(start) < 26 or start[:8] != b"\x89PNG\r\n\x1a\n" or struct.unpack_from(">BB", start, 24) != (16, 2):
        raise WrongFile(f"{file} is not a 16-bit colour PNG; give a flow map of KITTI's form, not a preview")
    codes = read_image(file)
    valid = codes[..., 2] > 0
    flow = (codes[..., :2].astype(np.float32) - np.float32(_ZERO)) / np.float32(_STEPS)
    return np.where(valid[..., None], flow, np.float32(0)), valid


def write_flow_png(path: AnyPath, flow: NDArray[np.floating[Any]], valid: Mask | None = None) -> None:
    """Write a flow field in the form of KITTI: integer = round(64 motion + 2^15), third channel 1 where known, else 0.

    Args:
        path: the file to write.
        flow: (H, W, 2), motion along x and y, from -512 to 511.98 px, in steps of 1/64 px.
        valid: (H, W), False = written as 0, 0, 0; None = every pixel is usable.

    Raises:
        WrongInput: wrong shape, or a usable number that is NaN, infinite or out of range.
        NotWritable: the file cannot be written.
    """
    numbers = np.asarray(flow, dtype=np.float64)
    if numbers.ndim != 3 or numbers.shape[2] != 2 or numbers.size == 0:
        raise WrongInput(f"a flow field needs the shape (height, width, 2), not {numbers.shape}")
    size = numbers.shape[:2]
    mask = np.ones(size, dtype=np.bool_) if valid is None else np.asarray(valid)
    if mask.shape != size or mask.dtype != np.bool_:
        raise WrongInput(f"valid must be bool of shape {size} like the flow, not {mask.dtype} of shape {mask.shape}")
    codes = np.where(mask[..., None], np.rint(_STEPS * numbers + _ZERO), 0)
    bad = int(np.count_nonzero(~((codes >= 0) & (codes <= _LARGEST)).all(2)))
    if bad:
        raise WrongInput(
            f"{bad} of {mask.size} flow vectors are NaN or outside -512 to 511.98 px, which KITTI's PNG cannot hold; "
            "mark them False in valid or write .flo"
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_image(np.dstack((codes, mask)).astype(np.uint16)))
