"""PNG maps: integers that stand for px or metres, 0 where nothing is known."""

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.image import encode_image, load_picture
from depthweave.io.maps import FloatMap, Mask, checked_map

UNIT_KEY = "depthweave:unit_m"
_KITTI_STEPS = 256.0
_LARGEST = int(np.iinfo(np.uint16).max)
_RANGE_KEY = "depthweave:"
_RANGE_STEPS = _LARGEST - 1


def read_kitti_png(path: AnyPath) -> tuple[FloatMap, Mask]:
    """Read a map in the form of KITTI: value = integer / 256, 0 = unknown.

    Args:
        path: a 16-bit grey PNG.

    Returns:
        values: (H, W) float32, disparity in px (depth in m in KITTI's depth benchmark); 0 where not valid.
        valid: (H, W) bool.

    Raises:
        WrongFile: missing, damaged, or not a 16-bit grey PNG.

    Source: development kits of KITTI 2012, 2015 and depth (readme.txt).
    """
    codes = _read_codes(path, depths=(16,))
    return codes.astype(np.float32) / np.float32(_KITTI_STEPS), codes > 0


def write_kitti_png(path: AnyPath, values: NDArray[np.floating[Any]], valid: Mask | None = None) -> None:
    """Write a map in the form of KITTI: integer = round(256 value), 0 = unknown.

    Args:
        path: the file to write.
        values: (H, W) from 0 to 255.99, in px or m. A usable value that would become 0 becomes 1.
        valid: (H, W), False = written as 0; None = every pixel is usable.

    Raises:
        WrongInput: wrong shape, or a usable value that is negative, too large, NaN or infinite.
        NotWritable: the file cannot be written.
    """
    codes = _codes(values, valid, _KITTI_STEPS)
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_image(codes))


def read_scaled_png(path: AnyPath, scale: float | int) -> tuple[FloatMap, Mask]:
    """Read a map whose steps per unit only its publisher knows: value = integer / scale, 0 = unknown.

    Args:
        path: an 8- or 16-bit grey PNG.
        scale: steps per unit: 1 to 16 in Middlebury 2001-2006 (by set and size), 100 in InStereo2K, 32 in CREStereo.

    Returns:
        values: (H, W) float32, disparity in px for those sets; 0 where not valid.
        valid: (H, W) bool.

    Raises:
        WrongFile: missing, damaged, or not an 8- or 16-bit grey PNG.
        WrongInput: scale is not a positive number.
    """
    steps = _positive(scale, "scale")
    codes = _read_codes(path, depths=(8, 16))
    return (codes / steps).astype(np.float32), codes > 0


def read_depth_png(path: AnyPath, unit_m: float | None = None) -> tuple[FloatMap, Mask]:
    """Read depth: metres = integer * unit, 0 = unknown.

    Args:
        path: a 16-bit grey PNG.
        unit_m: metres per step (0.001 for millimetres, 1/256 for KITTI); None = as the file's text chunk
            "depthweave:unit_m" says.

    Returns:
        depth_m: (H, W) float32 in m; 0 where not valid.
        valid: (H, W) bool.

    Raises:
        WrongFile: missing, damaged, not a 16-bit grey PNG, or without a unit while none is given.
        WrongInput: unit_m is not a positive number.
    """
    file = require_file(path)
    codes = _read_codes(file, depths=(16,))
    if unit_m is None:
        stated = load_picture(file)[0].info.get(UNIT_KEY)
        if stated is None:
            raise WrongFile(
                f"{file} does not say its unit; give unit_m (--sparse-unit), for example 0.001 for millimetres"
            )
        try:
            unit_m = _positive(float(stated), UNIT_KEY)
        except ValueError as error:
            raise WrongFile(f"{file} states the unit {stated!r}, which is not a length; give unit_m") from error
    return (codes * _positive(unit_m, "unit_m")).astype(np.float32), codes > 0


def write_depth_png(
    path: AnyPath, depth_m: NDArray[np.floating[Any]], valid: Mask | None = None, unit_m: float = 0.001
) -> None:
    """Write depth as integers: integer = round(metres / unit), 0 = unknown.

    The unit stands in the PNG text chunk "depthweave:unit_m".

    Args:
        path: the file to write.
        depth_m: (H, W) in m, from 0 to 65535 units. A usable value that would become 0 becomes 1.
        valid: (H, W), False = written as 0; None = every pixel is usable.
        unit_m: metres per step.

    Raises:
        WrongInput: wrong shape or unit, or a usable value that is negative, too large, NaN or infinite.
        NotWritable: the file cannot be written.
    """
    codes = _codes(depth_m, valid, 1 / _positive(unit_m, "unit_m"))
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_image(codes, text={UNIT_KEY: repr(float(unit_m))}))


def read_ranged_png(path: AnyPath) -> tuple[FloatMap, Mask]:
    """Read what `write_ranged_png` wrote: value = low + (integer - 1) / 65534 (high - low), 0 = unknown.

    Args:
        path: a 16-bit grey PNG with the text chunks "depthweave:low" and "depthweave:high".

    Returns:
        values: (H, W) float32 in the unit of the range; 0 where not valid.
        valid: (H, W) bool.

    Raises:
        WrongFile: missing, damaged, not a 16-bit grey PNG, or without a range.
    """
    file = require_file(path)
    codes = _read_codes(file, depths=(16,))
    stated = load_picture(file)[0].info
    try:
        low, high = float(stated[f"{_RANGE_KEY}low"]), float(stated[f"{_RANGE_KEY}high"])
    except (KeyError, ValueError) as error:
        raise WrongFile(f"{file} does not say its range; give a file that depthweave has written") from error
    values = low + (codes.astype(np.float64) - 1) * ((high - low) / _RANGE_STEPS)
    return np.where(codes > 0, values, 0).astype(np.float32), codes > 0


def write_ranged_png(
    path: AnyPath,
    values: NDArray[np.floating[Any]],
    valid: Mask | None = None,
    *,
    low: float,
    high: float,
    text: Mapping[str, str] | None = None,
) -> None:
    """Write a map as integers over a range: integer = 1 + round(65534 (value - low) / (high - low)), 0 = unknown.

    The range stands in the PNG text chunks "depthweave:low" and "depthweave:high".

    Args:
        path: the file to write.
        values: (H, W) in any unit; those outside the range become its ends.
        valid: (H, W), False = written as 0; None = every pixel is usable.
        low, high: the values of the integers 1 and 65535, in the unit of the map.
        text: further chunks, after "depthweave:", e.g. the quantity.

    Raises:
        WrongInput: wrong shape, no range, or NaN or infinity at a usable pixel.
        NotWritable: the file cannot be written.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise WrongInput(f"a range goes from a lower to a higher number, not from {low} to {high}")
    numbers, mask = checked_map(values, valid)
    share = (np.where(mask, numbers, low).astype(np.float64) - low) / (high - low)
    codes = np.where(mask, 1 + np.rint(_RANGE_STEPS * np.clip(share, 0, 1)), 0).astype(np.uint16)
    stated = {"low": repr(float(low)), "high": repr(float(high)), **(text or {})}
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_image(codes, text={_RANGE_KEY + key: value for key, value in stated.items()}))


def _read_codes(path: AnyPath, depths: tuple[int, ...]) -> NDArray[np.uint16] | NDArray[np.uint8]:
    file = require_file(path)
    with file.open("rb") as stream:
        start = stream.read(26)
    wanted = " or ".join(str(depth) for depth in depths)
    if len(start) < 26 or start[:8] != b"\x89PNG\r\n\x1a\n":
        raise WrongFile(f"{file} is not a PNG file; a map needs a {wanted}-bit grey PNG")
    depth, colour = struct.unpack_from(">BB", start, 24)
    if colour != 0 or depth not in depths:
        kind = "grey" if colour == 0 else "palette" if colour == 3 else "colour or alpha"
        raise WrongFile(
            f"{file} holds {depth}-bit {kind} pixels, a map needs {wanted}-bit grey ones; give the data, not a preview"
        )
    codes = np.asarray(load_picture(file)[0])
    return codes.astype(np.uint16) if depth == 16 else codes.astype(np.uint8)


def _codes(values: NDArray[np.floating[Any]], valid: Mask | None, steps: float) -> NDArray[np.uint16]:
    numbers, mask = checked_map(values, valid)
    codes = np.rint(np.where(mask, numbers, 0) * np.float64(steps))
    if numbers.min(where=mask, initial=0) < 0:
        raise WrongInput("a PNG map holds no negative values; mark them False in valid or write PFM")
    if codes.max() > _LARGEST:
        raise WrongInput(
            f"values up to {numbers.max(where=mask, initial=0):g} do not fit 16 bits at {steps:g} steps per unit "
            f"(largest {_LARGEST / steps:g}); choose a coarser unit or write PFM"
        )
    return np.where(mask, np.maximum(codes, 1), 0).astype(np.uint16)


def _positive(number: float | int, name: str) -> float:
    if not (math.isfinite(number) and number > 0):
        raise WrongInput(f"{name} must be a positive number, not {number}")
    return float(number)
