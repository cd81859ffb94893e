"""Depth as MPI Sintel keeps it: one float32 per pixel after a short header (the .dpt form)."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.maps import FloatMap, Mask, checked_map, filled

_MAGIC = b"PIEH"  # 202021.25 as a little-endian float32
_HEADER = struct.Struct("<4sii")


def read_dpt(path: AnyPath) -> tuple[FloatMap, Mask]:
    """Read a depth map of MPI Sintel.

    Args:
        path: a `.dpt` file.

    Returns:
        depth_m: (H, W) float32 in m; 0 where not valid.
        valid: (H, W) bool, False where the file holds no finite positive number.

    Raises:
        WrongFile: missing, not a .dpt file, or of the wrong length.

    Source: sdk/python/sintel_io.py of http://sintel.is.tue.mpg.de/depth.
    """
    file = require_file(path)
    with file.open("rb") as stream:
        start = stream.read(_HEADER.size)
    if len(start) < _HEADER.size or start[:4] != _MAGIC:
        raise WrongFile(f"{file} is not a .dpt file; it should begin with the letters PIEH, its width and its height")
    _, width, height = _HEADER.unpack(start)
    found, expected = file.stat().st_size - _HEADER.size, 4 * width * height
    if width < 1 or height < 1 or found != expected:
        raise WrongFile(f"{file} holds {found} bytes of data where {width}x{height} needs {expected}; get it again")
    depth = np.fromfile(file, dtype="<f4", offset=_HEADER.size).reshape(height, width).astype(np.float32, copy=False)
    valid: Mask = np.isfinite(depth) & (depth > 0)
    return filled(depth, valid), valid


def write_dpt(path: AnyPath, depth_m: NDArray[np.floating[Any]], valid: Mask | None = None) -> None:
    """Write a depth map in the form of MPI Sintel; every bit of a float32 is kept.

    Args:
        path: the file to write.
        depth_m: (H, W) in m.
        valid: (H, W), False = written as 0; None = every pixel is usable.

    Raises:
        WrongInput: wrong shape, or NaN or infinity at a usable pixel.
        NotWritable: the file cannot be written.
    """
    numbers, mask = checked_map(depth_m, valid)
    height, width = numbers.shape
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(_HEADER.pack(_MAGIC, width, height))
        stream.write(np.ascontiguousarray(filled(numbers, mask), dtype="<f4").data)
