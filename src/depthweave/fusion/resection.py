"""The pose of a camera from points of the world and the pixels that show them."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

FEWEST_POINTS = 4
FOCAL_CANDIDATES = 21


def camera_from_points(
    points: Float[Tensor, "n 3"],
    pixels: Float[Tensor, "n 2"],
    intrinsics: Float[Tensor, "3 3"],
    *,
    iterations: int = 10,
    threshold_px: float = 5.0,
    most: int | None = None,
) -> tuple[Float[Tensor, "4 4"], Bool[Tensor, "n"]] | None:
    """Pose of a camera by RANSAC and SQPnP; its generator has a fixed seed, so results repeat.

    Args:
        points: (n, 3) in the world's axes, any unit; those that are not finite are left out.
        pixels: (n, 2) x and y in px.
        intrinsics: (3, 3) in px.
        iterations: RANSAC's.
        threshold_px: reprojection error up to which a point agrees.
        most: use no more than so many of the points, regularly spaced; all if None.

    Returns:
        ``camera_from_world`` (4, 4) in float64, and which of all n points agree with it; None where fewer than four
        points are usable or no pose is found.

    Source: Terzakis and Lourakis, A consistently fast and globally optimal solution to the perspective-n-point
    problem, ECCV 2020, through OpenCV; Fischler and Bolles, CACM 1981.
    """
    usable = torch.isfinite(points).all(-1).nonzero().squeeze(-1)
    if len(usable) < FEWEST_POINTS:
        return None
    step = 1 if most is None else max(1, -(-len(usable) // most))
    chosen = usable[::step]
    if len(chosen) < FEWEST_POINTS:
        return None
    matrix = intrinsics.detach().cpu().numpy().astype(np.float64)
    world, image = _array(points[chosen]), _array(pixels[chosen])
    found, turn, shift, _ = cv2.solvePnPRansac(
        world, image, matrix, None, iterationsCount=iterations, reprojectionError=threshold_px, flags=cv2.SOLVEPNP_SQPNP
    )
    if not found or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
        return None
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3, :3] = torch.from_numpy(cv2.Rodrigues(turn)[0])
    camera_from_world[:3, 3] = torch.from_numpy(shift[:, 0])
    camera_from_world = camera_from_world.to(points.device)
    return camera_from_world, _agreeing(points, pixels, camera_from_world, intrinsics, threshold_px)


def camera_and_focal_from_points(
    points: Float[Tensor, "n 3"],
    pixels: Float[Tensor, "n 2"],
    width: int,
    height: int,
    *,
    principal_point: tuple[float, float] | None = None,
    iterations: int = 10,
    threshold_px: float = 5.0,
    most: int | None = None,
) -> tuple[Float[Tensor, "4 4"], Bool[Tensor, "n"], float] | None:
    """Pose and focal length of a camera: of 21 focal lengths the one that most points agree with.

    They are spaced geometrically from half to three times the longer side of the picture.

    Args:
        points, pixels, iterations, threshold_px, most: as in `camera_from_points`.
        width, height: of the picture in px.
        principal_point: (x, y) in px; (width / 2, height / 2) if None.

    Returns:
        ``camera_from_world`` (4, 4), which points agree, and the focal length in px (the shortest of equals); None
        where no focal length gives a pose.
    """
    centre = (width / 2, height / 2) if principal_point is None else principal_point
    longer = max(width, height)
    best: tuple[Tensor, Tensor, float] | None = None
    for focal_px in np.geomspace(longer / 2, 3 * longer, FOCAL_CANDIDATES).tolist():
        intrinsics = torch.tensor(
            [[focal_px, 0, centre[0]], [0, focal_px, centre[1]], [0, 0, 1]], dtype=torch.float64, device=points.device
        )
        pose = camera_from_points(
            points, pixels, intrinsics, iterations=iterations, threshold_px=threshold_px, most=most
        )
        if pose is not None and (best is None or int(pose[1].sum()) > int(best[1].sum())):
            best = (*pose, focal_px)
    return best


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float32)


def _agreeing(
    points: Tensor, pixels: Tensor, camera_from_world: Tensor, intrinsics: Tensor, threshold_px: float
) -> Tensor:
    in_camera = points.to(torch.float64) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    matrix = intrinsics.to(in_camera)
    projected = in_camera @ matrix.T
    error = torch.linalg.vector_norm(projected[:, :2] / projected[:, 2:] - pixels, dim=-1)
    agree: Tensor = (error <= threshold_px) & (in_camera[:, 2] > 0)
    return agree
