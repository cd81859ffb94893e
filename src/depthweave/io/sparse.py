"""Sparse depth: CSV for people and other programs, NPZ for arrays."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile
from depthweave.io.files import AnyPath, atomic_path, require_file
from depthweave.io.npz import read_arrays

_COLUMNS = ("x_px", "y_px", "depth_m", "sigma_m", "half_width_px", "half_height_px", "valid")
_NEEDED = _COLUMNS[:3]


@dataclass(frozen=True, eq=False)
class SparseFile:
    """The content of a file of sparse depth; n measurements.

    Attributes:
        points_px: (n, 2) float64, (x, y) of the middle of each measurement, integers at pixel centres.
        depth_m: (n,) along the optical axis.
        valid: (n,) bool.
        sigma_m: (n,) standard deviations, or None.
        half_size_px: (n, 2) half the width and height of zones, or None for points.
        size: height and width of the picture in px, None where the file does not say.
        grid: rows and columns of a sensor's zones, or None.
    """

    points_px: NDArray[np.float64]
    depth_m: NDArray[np.float64]
    valid: NDArray[np.bool_]
    sigma_m: NDArray[np.float64] | None = None
    half_size_px: NDArray[np.float64] | None = None
    size: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None


def read_sparse(path: AnyPath) -> SparseFile:
    """Read sparse depth from ``.csv`` or ``.npz``.

    A CSV file has a line of names with at least ``x_px, y_px, depth_m``; ``sigma_m``, ``half_width_px`` with
    ``half_height_px``, and ``valid`` (0 or 1) may follow. Lines that begin with ``#`` may state ``size=640x480`` and
    ``grid=8x8`` (columns x rows). An NPZ file has the fields of `SparseFile` as keys.

    Raises:
        WrongFile: missing, damaged, of another kind, or without the needed columns.
    """
    file = require_file(path)
    if file.suffix.lower() == ".csv":
        return _read_csv(file)
    if file.suffix.lower() == ".npz":
        return _read_npz(file)
    raise WrongFile(f"{file}: sparse depth is read from .csv or .npz.")


def write_sparse(path: AnyPath, content: SparseFile) -> None:
    """Write sparse depth so that `read_sparse` gives it back.

    Args:
        path: ``.csv`` or ``.npz``.
        content: what to write; what is None in it is left out.

    Raises:
        WrongFile: another suffix.
        NotWritable: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".npz"):
        raise WrongFile(f"{path}: sparse depth is saved as .csv or .npz.")
    with atomic_path(path) as temporary:
        if suffix == ".npz":
            known = {field.name: getattr(content, field.name) for field in fields(content)}
            with temporary.open("wb") as stream:
                np.savez(stream, **{name: value for name, value in known.items() if value is not None})
        else:
            temporary.write_text(_csv_text(content), encoding="utf-8")


def _csv_text(content: SparseFile) -> str:
    columns = dict(zip(_NEEDED, (*content.points_px.T, content.depth_m), strict=True))
    if content.sigma_m is not None:
        columns["sigma_m"] = content.sigma_m
    if content.half_size_px is not None:
        columns |= dict(zip(_COLUMNS[4:6], content.half_size_px.T, strict=True))
    columns["valid"] = content.valid.astype(np.int64)
    facts = {"size": content.size, "grid": content.grid}
    lines = [f"# {name}={size[1]}x{size[0]}" for name, size in facts.items() if size is not None]
    lines.append(",".join(columns))
    lines += [",".join(f"{number:.9g}" for number in row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines) + "\n"


def _read_csv(file: Path) -> SparseFile:
    try:
        text = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file} is not text; a table of sparse depth begins with x_px,y_px,depth_m.") from error
    comments = " ".join(line.lstrip("# ") for line in text if line.startswith("#")).split()
    stated = dict(word.split("=", 1) for word in comments if "=" in word)
    rows = csv.DictReader((line for line in text if line.strip() and not line.startswith("#")), skipinitialspace=True)
    names = [name for name in rows.fieldnames or [] if name in _COLUMNS]
    if missing := [name for name in _NEEDED if name not in names]:
        raise WrongFile(f"{file} has no column {', '.join(missing)}; its first line names x_px,y_px,depth_m.")
    try:
        table = np.array([[float(row[name]) for name in names] for row in rows]).reshape(-1, len(names))
        sizes = {name: _size(stated[name]) for name in ("size", "grid") if name in stated}
    except (TypeError, ValueError) as error:
        raise WrongFile(f"{file} holds something else than numbers under its names ({error}); correct it.") from error
    column = dict(zip(names, table.T, strict=True))
    halves = [column[name] for name in _COLUMNS[4:6] if name in column]
    return SparseFile(
        np.stack((column["x_px"], column["y_px"]), -1),
        column["depth_m"],
        column["valid"] > 0 if "valid" in column else np.isfinite(column["depth_m"]) & (column["depth_m"] > 0),
        column.get("sigma_m"),
        np.stack(halves, -1) if len(halves) == 2 else None,
        **sizes,
    )


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(height), int(width)


def _read_npz(file: Path) -> SparseFile:
    remedy = "write it with SparseDepth.save."
    found: dict[str, Any] = read_arrays(file, SparseFile.__dataclass_fields__, remedy=remedy)
    try:
        for name in ("size", "grid"):
            if name in found:
                found[name] = tuple(int(number) for number in found[name])
        return SparseFile(**found)
    except (ValueError, TypeError) as error:
        raise WrongFile(f"{file} does not hold sparse depth ({error}); {remedy}") from error
