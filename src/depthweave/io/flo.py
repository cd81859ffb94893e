"""Flow: two float32 per pixel, 1e10 where nothing is known (the Middlebury .flo form)."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.maps import Mask

_MAGIC = b"PIEH"  # 202021.25 as a little-endian float32
_HEADER = struct.Struct("<4sii")
_LARGEST = np.float32(1e9)
_UNKNOWN = np.float32(1e10)


def read_flo(path: AnyPath) -> tuple[NDArray[np.float32], Mask]:
    """Read a flow field.

    Args:
        path: a `.flo` file.

    Returns:
        flow: (H, W, 2) float32, motion along x and y in px; 0 where not valid.
        valid: (H, W) bool, False where either number is beyond 1e9 or NaN.

    Raises:
        WrongFile: missing, not a .flo file, or of the wrong length.

    Source: Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011; flow-code's README and
    `unknown_flow`.
    """
    file = require_file(path)
    with file.open("rb") as stream:
        start = stream.read(_HEADER.size)
    if len(start) < _HEADER.size or start[:4] != _MAGIC:
        raise WrongFile(f"{file} is not a .flo file; it should begin with the letters PIEH, its width and its height")
    _, width, height = _HEADER.unpack(start)
    found, expected = file.stat().st_size - _HEADER.size, 8 * width * height
    if width < 1 or height < 1 or found != expected:
        raise WrongFile(f"{file} holds {found} bytes of data where {width}x{height} needs {expected}; get it again")
    flow = np.fromfile(file, dtype="<f4", offset=_HEADER.size).reshape(height, width, 2).astype(np.float32, copy=False)
    valid = _known(flow)
    return flow if valid.all() else np.where(valid[..., None], flow, np.float32(0)), valid


def write_flo(path: AnyPath, flow: NDArray[np.floating[Any]], valid: Mask | None = None) -> None:
    """Write a flow field; every bit of a float32 is kept.

    Args:
        path: the file to write.
        flow: (H, W, 2), motion along x and y in px.
        valid: (H, W), False = written as 1e10; None = every pixel is usable.

    Raises:
        WrongInput: wrong shape, or a usable number that is NaN, infinite or beyond 1e9.
        NotWritable: the file cannot be written.
    """
    numbers = np.asarray(flow, dtype=np.float32)
    if numbers.ndim != 3 or numbers.shape[2] != 2 or numbers.size == 0:
        raise WrongInput(f"a flow field needs the shape (height, width, 2), not {numbers.shape}")
    height, width = numbers.shape[:2]
    mask = np.ones((height, width), dtype=np.bool_) if valid is None else np.asarray(valid)
    if mask.shape != (height, width) or mask.dtype != np.bool_:
        raise WrongInput(
            f"valid must be bool of shape {(height, width)} like the flow, not {mask.dtype} of shape {mask.shape}"
        )
    bad = int(np.count_nonzero(mask & ~_known(numbers)))
    if bad:
        raise WrongInput(f"{bad} of {mask.size} flow vectors are NaN, infinite or beyond 1e9; mark them False in valid")
    stored = numbers if mask.all() else np.where(mask[..., None], numbers, _UNKNOWN)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(_HEADER.pack(_MAGIC, width, height))
        stream.write(np.ascontiguousarray(stored, dtype="<f4").data)


def _known(flow: NDArray[np.float32]) -> Mask:
    known: Mask = np.all(np.abs(flow) <= _LARGEST, axis=2)
    return known
