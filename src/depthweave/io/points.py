"""Point clouds: PLY for geometry tools (OpenCV axes), GLB for browsers and film tools (glTF axes)."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file

Points = NDArray[np.float32]
Colors = NDArray[np.uint8]


def gltf_from_opencv(points: NDArray[Any]) -> NDArray[Any]:
    """Turn OpenCV axes (x right, y down, z forward) into glTF axes (x right, y up, z back), or back again.

    Formula: (x, y, z) -> (x, -y, -z), which is its own inverse.

    Args:
        points: (N, 3) in any unit.

    Source: Khronos, glTF 2.0 specification, section 3.4.
    """
    turned: NDArray[Any] = points * np.array([1, -1, -1], dtype=points.dtype)
    return turned


def write_ply(path: AnyPath, points: NDArray[np.floating[Any]], colors: NDArray[Any] | None = None) -> None:
    """Write a binary little-endian PLY file in OpenCV axes.

    Args:
        path: the file to write.
        points: (N, 3) float32, N > 0, in m for metric depth.
        colors: (N, 3) uint8 in the order R, G, B, or None.

    Raises:
        WrongInput: no points, shapes or types that do not fit, or a coordinate is NaN or infinite.
        NotWritable: the file cannot be written.
    """
    _write(path, points, colors, "ply")


def read_ply(path: AnyPath) -> tuple[Points, Colors | None]:
    """Read the points of a PLY file as they stand; of a mesh, its vertices.

    Args:
        path: the file.

    Returns:
        points: (N, 3) float32; colors: (N, 3) uint8, or None.

    Raises:
        WrongFile: missing, damaged, or not PLY.
    """
    return _read(path, "ply")


def write_glb(path: AnyPath, points: NDArray[np.floating[Any]], colors: NDArray[Any] | None = None) -> None:
    """Write a binary glTF file; y and z are flipped to glTF axes, so that the cloud stands upright in a viewer.

    Args:
        path: the file to write.
        points: (N, 3) float32 in OpenCV axes, N > 0; glTF means metres.
        colors: (N, 3) uint8 in the order R, G, B, or None.

    Raises:
        WrongInput: no points, shapes or types that do not fit, or a coordinate is NaN or infinite.
        NotWritable: the file cannot be written.
    """
    _write(path, points, colors, "glb")


def read_glb(path: AnyPath) -> tuple[Points, Colors | None]:
    """Read all points of a GLB file and flip them back to OpenCV axes; of a mesh, its vertices.

    Args:
        path: the file.

    Returns:
        points: (N, 3) float32 in OpenCV axes; colors: (N, 3) uint8, or None unless every part has colours.

    Raises:
        WrongFile: missing, damaged, not GLB, or without points.
    """
    points, colors = _read(path, "glb")
    return gltf_from_opencv(points), colors


def _write(path: AnyPath, points: NDArray[np.floating[Any]], colors: NDArray[Any] | None, file_type: str) -> None:
    import trimesh

    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise WrongInput(f"a cloud needs the shape (N, 3) with at least one point, not {points.shape}")
    if colors is not None and (colors.shape != points.shape or colors.dtype != np.uint8):
        raise WrongInput(f"colors must be uint8 of shape {points.shape}, not {colors.dtype} of shape {colors.shape}")
    bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if bad:
        raise WrongInput(f"{bad} of {len(points)} points are NaN or infinite; keep only valid ones")
    numbers = points.astype(np.float32)
    turned = gltf_from_opencv(numbers) if file_type == "glb" else numbers
    cloud: Any = trimesh.PointCloud(turned, colors=colors)  # type: ignore[no-untyped-call]
    with atomic_path(path) as temporary:
        temporary.write_bytes(cloud.export(file_type=file_type))


def _read(path: AnyPath, file_type: str) -> tuple[Points, Colors | None]:
    import trimesh

    file = require_file(path)
    try:
        scene = trimesh.load_scene(io.BytesIO(file.read_bytes()), file_type=file_type, process=False)
        parts: list[Any] = scene.dump()
    except Exception as error:  # trimesh raises whatever its parser stumbled over
        raise WrongFile(f"{file} is not a {file_type.upper()} file or is damaged; export it again") from error
    if not parts:
        raise WrongFile(f"{file} holds no points; export it again")
    points = np.concatenate([np.asarray(part.vertices, dtype=np.float32) for part in parts])
    colors = [color for color in map(_colors, parts) if color is not None]
    return points, np.concatenate(colors) if len(colors) == len(parts) else None


def _colors(part: Any) -> Colors | None:
    """Return the vertex colours of a cloud or mesh without alpha."""
    if hasattr(part, "faces"):
        stored = part.visual.vertex_colors if part.visual.kind == "vertex" else []
    else:
        stored = part.colors
    return np.asarray(stored, dtype=np.uint8)[:, :3] if len(stored) else None
