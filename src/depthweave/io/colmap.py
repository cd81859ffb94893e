"""COLMAP's text model: one camera, a pose per picture, coloured points.

COLMAP stores world-to-camera poses, quaternions in the order w, x, y, z, and puts the middle of the first pixel at
(0.5, 0.5): both are turned to this package's conventions here and nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file, require_folder
from depthweave.io.trajectory import Poses, checked_poses, poses_from_quaternions, quaternions_xyzw

CAMERAS, IMAGES, POINTS = "cameras.txt", "images.txt", "points3D.txt"
_HALF_PIXEL = 0.5


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """What the three files of a text model hold, in this package's conventions.

    Attributes:
        intrinsics: (3, 3) in px, integer coordinates at pixel centres.
        width, height: of the pictures in px.
        names: of the pictures' files.
        world_from_camera: (t, 4, 4) a pose for each.
        points: (n, 3) in the world.
        colors: (n, 3) uint8 in the order R, G, B.
    """

    intrinsics: NDArray[np.float64]
    width: int
    height: int
    names: tuple[str, ...]
    world_from_camera: Poses
    points: NDArray[np.float64]
    colors: NDArray[np.uint8]


def write_colmap(folder: AnyPath, model: ColmapModel) -> None:
    """Write `cameras.txt` (PINHOLE), `images.txt` and `points3D.txt` (no tracks: nothing was matched point by point).

    Args:
        folder: made if it is missing.
        model: what to write; intrinsics without skew.

    Raises:
        WrongInput: shapes that do not agree, skew, or a number that is not finite.
        NotWritable: a file cannot be written.

    Source: COLMAP's documentation, "Output Format", text files.
    """
    poses, k = checked_poses(model.world_from_camera), np.asarray(model.intrinsics, np.float64)
    if len(poses) != len(model.names) or len(model.points) != len(model.colors):
        raise WrongInput(
            f"{len(poses)} poses for {len(model.names)} names, {len(model.points)} points for {len(model.colors)} "
            "colours; give one for each"
        )
    if k.shape != (3, 3) or k[0, 1] != 0:
        raise WrongInput(f"COLMAP's PINHOLE camera takes a 3x3 matrix without skew, not {k.tolist()}")
    if not all(np.isfinite(numbers).all() for numbers in (poses, k, model.points)):
        raise WrongInput("a COLMAP model holds finite numbers only; leave pictures without a pose out")
    pinhole = (k[0, 0], k[1, 1], k[0, 2] + _HALF_PIXEL, k[1, 2] + _HALF_PIXEL)
    camera = f"1 PINHOLE {model.width} {model.height} {_numbers(pinhole)}"
    _write(Path(folder) / CAMERAS, "CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", [camera])
    rotations = poses[:, :3, :3].transpose(0, 2, 1)
    translations = -np.einsum("tij,tj->ti", rotations, poses[:, :3, 3])
    lines = []
    for number, (xyzw, translation) in enumerate(zip(quaternions_xyzw(rotations), translations, strict=True), start=1):
        lines += [f"{number} {_numbers((xyzw[3], *xyzw[:3], *translation))} 1 {model.names[number - 1]}", ""]
    _write(Path(folder) / IMAGES, "IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; POINTS2D[]", lines)
    points = [
        f"{number} {_numbers(point)} {red} {green} {blue} 0"
        for number, (point, (red, green, blue)) in enumerate(zip(model.points, model.colors, strict=True), start=1)
    ]
    _write(Path(folder) / POINTS, "POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]", points)


def read_colmap(folder: AnyPath) -> ColmapModel:
    """Read a text model with one camera without distortion; pictures in the order of their names in the file.

    Args:
        folder: with `cameras.txt`, `images.txt` and, if there are points, `points3D.txt`.

    Raises:
        WrongFile: a file is missing or damaged, there are several cameras, or one with distortion.
    """
    place = require_folder(folder)
    cameras = [words for _, words in _rows(place / CAMERAS)]
    if len(cameras) != 1:
        raise WrongFile(f"{place / CAMERAS} has {len(cameras)} cameras; a clip has one, so share it among all pictures")
    intrinsics, width, height = _camera(cameras[0], place / CAMERAS)
    names, quaternions, translations = [], [], []
    for number, words in _picture_rows(place / IMAGES):
        numbers = _floats(words[1:8], f"{place / IMAGES}, line {number}", 7)
        quaternions.append([*numbers[1:4], numbers[0]])
        translations.append(numbers[4:])
        names.append(" ".join(words[9:]))
    camera_from_world = poses_from_quaternions(np.array(quaternions).reshape(-1, 4), np.array(translations))
    rotations = camera_from_world[:, :3, :3].transpose(0, 2, 1)
    world_from_camera = np.tile(np.eye(4), (len(names), 1, 1))
    world_from_camera[:, :3, :3] = rotations
    world_from_camera[:, :3, 3] = -np.einsum("tij,tj->ti", rotations, camera_from_world[:, :3, 3])
    points = []
    if (place / POINTS).is_file():
        points = [_floats(words[1:7], f"{place / POINTS}, line {number}", 6) for number, words in _rows(place / POINTS)]
    table = np.array(points, np.float64).reshape(-1, 6)
    return ColmapModel(
        intrinsics, width, height, tuple(names), world_from_camera, table[:, :3], table[:, 3:].astype(np.uint8)
    )


def _write(path: Path, columns: str, lines: list[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join((f"# {columns}", *lines)) + "\n", encoding="utf-8")


def _numbers(values: Any) -> str:
    return " ".join(f"{float(value):.12g}" for value in values)


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """Numbers and words of the lines that are not empty and no comments."""
    return [(number, line.split()) for number, line in _lines(file) if line.strip()]


def _picture_rows(file: Path) -> list[tuple[int, list[str]]]:
    """The first of every two lines: the second holds points in the picture, and may be empty."""
    lines = _lines(file)
    while lines and not lines[0][1].strip():
        lines = lines[1:]
    rows = [(number, line.split()) for number, line in lines[::2] if line.strip()]
    if not rows:
        raise WrongFile(f"{file} names no picture; write the model again with COLMAP's model_converter")
    return rows


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        text = require_file(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file} is not text; write it with `colmap model_converter --output_type TXT`") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")]


def _camera(words: list[str], file: Path) -> tuple[NDArray[np.float64], int, int]:
    models = {"PINHOLE": 4, "SIMPLE_PINHOLE": 3}
    if len(words) < 4 or words[1] not in models:
        kind = words[1] if len(words) > 1 else "no"
        raise WrongFile(f"{file} has a {kind} camera; undistort the pictures first (`colmap image_undistorter`)")
    width, height, *params = _floats(words[2:], str(file), 2 + models[words[1]])
    fx, fy, cx, cy = params if len(params) == 4 else (params[0], *params)
    matrix = np.array([[fx, 0, cx - _HALF_PIXEL], [0, fy, cy - _HALF_PIXEL], [0, 0, 1]])
    return matrix, int(width), int(height)


def _floats(words: list[str], where: str, count: int) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise WrongFile(f"{where} does not hold {count} numbers where they belong; write the model again with COLMAP")
    return numbers
