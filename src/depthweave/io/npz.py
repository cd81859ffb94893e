"""NPZ: one map with everything known about it, under fixed keys."""

import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.maps import FloatMap, Mask, checked_map

MapKind = Literal["disparity", "depth", "inverse_depth"]


@dataclass(frozen=True, eq=False)
class MapFile:
    """The content of an NPZ file.

    Attributes:
        kind: the key under which the map stands; it says the quantity.
        values: (H, W) float32, finite; disparity in px, metric depth in m, metric inverse depth in 1/m. Fillers at
            pixels that are not usable are kept, since the file has a mask.
        valid: (H, W) bool, True = usable.
        confidence: (H, W) float32 in [0, 1], or None.
        intrinsics: (3, 3) float64 in px, or None.
        baseline_m: distance of the two cameras in m, or None.
        doffs_px: cx of the right camera minus cx of the left one, in px.
        scale: what scale the map has ("metric", ...), or None where the question does not arise.
    """

    kind: MapKind
    values: FloatMap
    valid: Mask
    confidence: FloatMap | None = None
    intrinsics: NDArray[np.float64] | None = None
    baseline_m: float | None = None
    doffs_px: float = 0.0
    scale: str | None = None


def read_arrays(
    path: AnyPath, keys: Collection[str] | None = None, *, remedy: str = "write it again with numpy.savez"
) -> dict[str, NDArray[Any]]:
    """Arrays of an NPZ file by their keys; Python objects in it are never loaded.

    Args:
        path: the file.
        keys: those that are read, where they stand there; None = all.
        remedy: what to do about a damaged file, the end of the error's sentence.

    Raises:
        WrongFile: missing, damaged, or not NPZ.
    """
    file = require_file(path)
    if not zipfile.is_zipfile(file):
        raise WrongFile(f"{file} is not an NPZ file or is cut short; {remedy}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if keys is None or key in keys}
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise WrongFile(f"{file} is damaged or holds more than plain arrays; {remedy}") from error


def read_npz(path: AnyPath) -> MapFile:
    """Read a map from an NPZ file; Python objects in it are never loaded.

    A file without `valid`, as other programs write, counts as usable wherever its numbers are finite. Keys of others
    are passed over.

    Args:
        path: the file.

    Raises:
        WrongFile: missing, damaged, not NPZ, none or two of disparity/depth/inverse_depth, shapes that do not agree, or
            NaN or infinity at a usable pixel.
    """
    file, entries = Path(path), read_arrays(path, _KEYS)
    kinds = [kind for kind in get_args(MapKind) if kind in entries]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        raise WrongFile(f"{file} needs one of disparity, depth and inverse_depth, it has {found}; keep exactly one")
    try:
        return _map_file(kinds[0], entries)
    except (WrongInput, TypeError, ValueError) as error:
        raise WrongFile(f"{file} does not hold a usable {kinds[0]} map: {error}") from error


def write_npz(path: AnyPath, content: MapFile) -> None:
    """Write a map with all that is known about it, uncompressed.

    Args:
        path: the file to write.
        content: the map; what is None in it gets no key.

    Raises:
        WrongInput: shapes that do not agree, confidence outside [0, 1], or NaN or infinity at a usable pixel.
        NotWritable: the file cannot be written.
    """
    values, valid = checked_map(content.values, content.valid)
    optional = {
        "confidence": _checked_confidence(content.confidence, values.shape),
        "intrinsics": _checked_intrinsics(content.intrinsics),
        "baseline_m": content.baseline_m,
        "scale": content.scale,
    }
    entries: dict[str, Any] = {content.kind: _without_sentinels(values), "valid": valid, "doffs_px": content.doffs_px}
    entries |= {key: value for key, value in optional.items() if value is not None}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **entries)


_KEYS = {*get_args(MapKind), "valid", "confidence", "intrinsics", "baseline_m", "doffs_px", "scale"}


def _without_sentinels(values: FloatMap) -> FloatMap:
    # Looking costs a third of replacing, and most files have nothing to replace.
    return values if bool(np.isfinite(values).all()) else np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _map_file(kind: MapKind, entries: dict[str, NDArray[Any]]) -> MapFile:
    numbers = entries[kind]
    values, valid = checked_map(numbers, entries.get("valid", np.isfinite(numbers)))
    baseline_m, scale = entries.get("baseline_m"), entries.get("scale")
    return MapFile(
        kind=kind,
        values=_without_sentinels(values),
        valid=valid,
        confidence=_checked_confidence(entries.get("confidence"), values.shape),
        intrinsics=_checked_intrinsics(entries.get("intrinsics")),
        baseline_m=None if baseline_m is None else float(baseline_m),
        doffs_px=float(entries.get("doffs_px", np.float64(0))),
        scale=None if scale is None else str(scale),
    )


def _checked_confidence(confidence: NDArray[Any] | None, shape: tuple[int, ...]) -> FloatMap | None:
    if confidence is None:
        return None
    numbers = np.asarray(confidence, dtype=np.float32)
    if numbers.shape != shape:
        raise WrongInput(f"confidence has the shape {numbers.shape}, the map {shape}")
    if not bool(np.all((numbers >= 0) & (numbers <= 1))):
        raise WrongInput("confidence must lie in [0, 1]")
    return numbers


def _checked_intrinsics(intrinsics: NDArray[Any] | None) -> NDArray[np.float64] | None:
    if intrinsics is None:
        return None
    numbers = np.asarray(intrinsics, dtype=np.float64)
    if numbers.shape != (3, 3):
        raise WrongInput(f"intrinsics must be 3x3, not {numbers.shape}")
    return numbers
