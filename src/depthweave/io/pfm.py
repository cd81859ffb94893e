"""PFM: float32 maps, rows from the bottom up, +inf where nothing is known (the Middlebury form)."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.maps import FloatMap, Mask, checked_map, filled

_HEADER = re.compile(rb"(P[fF])\s+(\d+)\s+(\d+)\s+([-+]?[0-9.]+(?:[eE][-+]?\d+)?)(?:\r\n|\s)")
_HEADER_BYTES = 256


def read_pfm(path: AnyPath) -> tuple[FloatMap, Mask]:
    """Read a one-channel PFM file.

    Args:
        path: the file. The sign of its scale line gives the byte order; the size of that number is ignored.

    Returns:
        values: (H, W) float32, top row first, in the unit of the file (px in Middlebury's); 0 where not valid.
        valid: (H, W) bool, False where the file holds +inf or -inf.

    Raises:
        WrongFile: missing, not a PFM file, three channels, wrong length, or NaN in it.

    Source: P. Debevec's PFM; Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth",
    GCPR 2014, for the meaning of infinity.
    """
    file = require_file(path)
    with file.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    header = _HEADER.match(start)
    if header is None:
        raise WrongFile(f"{file} is not a PFM file; its first bytes should read like 'Pf 640 480 -1.0'")
    kind, width, height, scale = header.groups()
    if kind == b"PF":
        raise WrongFile(f"{file} is a three-channel PFM picture; a map has one channel ('Pf')")
    shape = (int(height), int(width))
    expected = 4 * shape[0] * shape[1]
    found = file.stat().st_size - header.end()
    if found != expected or expected == 0:
        raise WrongFile(
            f"{file} holds {found} bytes of data where {shape[1]}x{shape[0]} needs {expected}; get it again"
        )
    stored = np.fromfile(file, dtype="<f4" if float(scale) < 0 else ">f4", offset=header.end())
    values = np.ascontiguousarray(stored.reshape(shape)[::-1], dtype=np.float32)
    valid = np.isfinite(values)
    if not valid.all():
        nans = int(np.count_nonzero(np.isnan(values)))
        if nans:
            raise WrongFile(f"{file} has NaN at {nans} of {values.size} pixels; write unknown pixels as +inf")
    return filled(values, valid), valid


def write_pfm(path: AnyPath, values: NDArray[np.floating[Any]], valid: Mask | None = None) -> None:
    """Write a one-channel, little-endian PFM file; every bit of a float32 is kept.

    Args:
        path: the file to write.
        values: (H, W), top row first, in any unit.
        valid: (H, W), False = written as +inf; None = every pixel is usable.

    Raises:
        WrongInput: wrong shape, or NaN or infinity at a usable pixel.
        NotWritable: the file cannot be written.
    """
    numbers, mask = checked_map(values, valid)
    stored = numbers if mask.all() else np.where(mask, numbers, np.float32(np.inf))
    height, width = stored.shape
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(f"Pf\n{width} {height}\n-1.0\n".encode())
        stream.write(np.ascontiguousarray(stored[::-1], dtype="<f4").data)
