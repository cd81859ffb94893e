"""nerfstudio's `transforms.json`: a camera and a pose per picture, in OpenGL axes."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongInput
from depthweave.io.files import AnyPath, atomic_path
from depthweave.io.trajectory import checked_poses

_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_transforms(
    path: AnyPath,
    intrinsics: NDArray[np.floating[Any]],
    width: int,
    height: int,
    names: Sequence[str],
    world_from_camera: NDArray[np.floating[Any]],
) -> None:
    """Write `transforms.json`: the camera looks along -z with y up, the world's axes stay as they are.

    Args:
        path: the file to write.
        intrinsics: (3, 3) in px, integer coordinates at pixel centres; written with the first pixel's middle at 0.5.
        width, height: of the pictures in px.
        names: paths of the pictures, as the reader shall find them.
        world_from_camera: (t, 4, 4) in OpenCV's axes.

    Raises:
        WrongInput: not one pose per name, or one that is not finite.
        NotWritable: the file cannot be written.

    Source: nerfstudio's documentation, "Data conventions".
    """
    poses, k = checked_poses(world_from_camera), np.asarray(intrinsics, np.float64)
    if len(poses) != len(names) or not np.isfinite(poses).all():
        raise WrongInput(f"{len(names)} pictures need as many finite poses, not {poses.shape}; leave others out")
    frames = [
        {"file_path": name, "transform_matrix": (pose @ _OPENCV_FROM_OPENGL).tolist()}
        for name, pose in zip(names, poses, strict=True)
    ]
    camera = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2] + 0.5, "cy": k[1, 2] + 0.5, "w": width, "h": height}
    content = {"camera_model": "OPENCV", **{name: float(number) for name, number in camera.items()}, "frames": frames}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**content, "w": width, "h": height}, indent=2) + "\n", encoding="utf-8")
