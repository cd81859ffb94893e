"""OpenEXR: float32 maps for film tools."""

import contextlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.maps import FloatMap, Mask, checked_map, filled


def read_exr(path: AnyPath, channel: str = "Z") -> tuple[FloatMap, Mask]:
    """Read one channel of the first part of an OpenEXR file.

    Args:
        path: the file.
        channel: the channel's name; film tools call depth `Z`.

    Returns:
        values: (H, W) float32 in the unit of the file; 0 where not valid.
        valid: (H, W) bool, False where the file holds an infinity or NaN.

    Raises:
        WrongFile: missing, damaged, not OpenEXR, without that channel, or cropped (its data window is
            not the whole picture).
    """
    import OpenEXR

    file = require_file(path)
    try:
        # On damage the library also prints; a run that prints JSON must keep its standard output clean.
        with contextlib.redirect_stdout(sys.stderr):
            part = OpenEXR.File(str(file), separate_channels=True)
            channels, header = part.channels(), part.header()
    except (RuntimeError, ValueError) as error:
        raise WrongFile(f"{file} is not an OpenEXR file or is damaged; export it again") from error
    if channel not in channels:
        raise WrongFile(f"{file} has no channel {channel!r}; choose one of {', '.join(sorted(channels))}")
    if not np.array_equal(header["dataWindow"], header["displayWindow"]):
        raise WrongFile(f"{file} holds a cropped part of its picture; export the full frame")
    values = np.asarray(channels[channel].pixels, dtype=np.float32)
    valid = np.isfinite(values)
    return filled(values, valid), valid


def write_exr(path: AnyPath, values: NDArray[np.floating[Any]], valid: Mask | None = None, channel: str = "Z") -> None:
    """Write one float32 channel as ZIP-compressed scanlines; every bit of a float32 is kept.

    Args:
        path: the file to write.
        values: (H, W) in any unit.
        valid: (H, W), False = written as +inf, which film tools read as "nothing there"; None = every pixel is usable.
        channel: the channel's name.

    Raises:
        WrongInput: wrong shape, or NaN or infinity at a usable pixel.
        NotWritable: the file cannot be written.
    """
    import OpenEXR

    numbers, mask = checked_map(values, valid)
    stored = np.where(mask, numbers, np.float32(np.inf))
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with atomic_path(path) as temporary:
        OpenEXR.File(header, {channel: OpenEXR.Channel(stored)}).write(str(temporary))
