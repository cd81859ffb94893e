"""Depth of two frames whose cameras are known, from dense motion between them."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from depthweave.classical.flow import flow_both_ways

FLOW_ERROR_PX = 0.3
"""Of dense motion where everything agrees."""
REFERENCE_ERROR = 0.1
"""Relative error of depth that is given the confidence 2."""
_LARGEST_ERROR_PX, _LARGEST_RESIDUAL_PX = 2.0, 3.0
_FARTHEST = 100.0
"""In medians of the depth."""
_LOST = (1e4, 1e4)


@dataclass(frozen=True, eq=False)
class ViewDepth:
    """What a pair says about one of its frames.

    Attributes:
        depth: (h, w) z in the frame's own camera, in the unit of the motion; positive where there is confidence.
        confidence: (h, w) 1 + 0.1 / (expected relative error of depth); 0 where nothing can be said.
    """

    depth: Float[NDArray[np.float32], "h w"]
    confidence: Float[NDArray[np.float32], "h w"]


def depth_from_two_views(
    first: UInt8[NDArray[np.uint8], "h w"],
    second: UInt8[NDArray[np.uint8], "h w"],
    intrinsics: Float[NDArray[np.float64], "3 3"],
    second_from_first: Float[NDArray[np.float64], "4 4"],
    *,
    plane_depth: float | int,
    step: int = 1,
) -> tuple[ViewDepth, ViewDepth]:
    """Depth of both frames: dense motion, checked both ways, triangulated.

    The second frame is first brought to the first one's view as if everything lay on a plane, so that little motion is
    left to find. The expected error of a pixel's motion (0.3 px, half of what the check leaves, and the distance from
    the epipolar line, added as squares) divided by its parallax is the relative error of its depth. What moves by
    itself leaves the epipolar line, or fails the check, and gets no confidence.

    Args:
        first, second: grey pictures.
        intrinsics: (3, 3) in px, of both.
        second_from_first: (4, 4) rigid motion.
        plane_depth: typical depth in the first frame, in the unit of the motion.
        step: one answer for each block of so many pixels squared, for its centre; h and w are then those of the
            pictures divided by it, rounded down.

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 13.2 (the plane) and section 12.2
    (triangulation, here with the rays of the one frame taken as exact).
    """
    height, width = first.shape
    plane = _plane_homography(intrinsics, second_from_first, float(plane_depth))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    near: Any = cv2.warpPerspective(second, plane, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    flow = flow_both_ways(first, near)
    centre = (step - 1) / 2
    x: Any = (np.arange(width // step, dtype=np.float32) * step + centre)[None]
    y: Any = (np.arange(height // step, dtype=np.float32) * step + centre)[:, None]

    moved, error = (_shrunk(values, step) for values in (flow.forward, flow.error_forward_px))
    there = _transfer(plane, x + moved[..., 0], y + moved[..., 1])
    of_first = _triangulate((x, y), there, error, (height, width), intrinsics, second_from_first, float(plane_depth))

    # The second frame's pixels lie somewhere in the warped picture; from there the motion leads into the first one.
    u, v = _transfer(np.linalg.inv(plane), x, y)
    moved = cv2.remap(flow.backward, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_LOST)
    error = cv2.remap(flow.error_backward_px, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_LOST)
    back = (u + moved[..., 0], v + moved[..., 1])
    first_from_second = np.linalg.inv(second_from_first)
    of_second = _triangulate((x, y), back, error, (height, width), intrinsics, first_from_second, float(plane_depth))
    return of_first, of_second


def _shrunk(values: NDArray[Any], step: int) -> NDArray[Any]:
    """Means of blocks; what is left over at the right and at the bottom is dropped."""
    if step == 1:
        return values
    height, width = (size // step for size in values.shape[:2])
    means: NDArray[Any] = cv2.resize(
        values[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA
    )
    return means


def _plane_homography(
    intrinsics: NDArray[np.float64], second_from_first: NDArray[np.float64], depth: float
) -> NDArray[np.float64]:
    """Pixels of the first frame to those of the second, for points at one depth."""
    motion = second_from_first[:3, :3].copy()
    motion[:, 2] += second_from_first[:3, 3] / depth
    homography: NDArray[np.float64] = intrinsics @ motion @ np.linalg.inv(intrinsics)
    return homography


def _transfer(
    homography: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    h = homography.astype(np.float32)
    below = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    return (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / below, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / below


def _triangulate(
    here: tuple[NDArray[np.float32], NDArray[np.float32]],
    there: tuple[NDArray[np.float32], NDArray[np.float32]],
    error_px: NDArray[Any],
    size: tuple[int, int],
    intrinsics: NDArray[Any],
    other_from_own: NDArray[Any],
    typical: float,
) -> ViewDepth:
    """Depth along the ray of every own pixel ``here`` that projects nearest to ``there`` in the other frame (x, y).

    The point at depth z lies at (z a + t) in the other camera, a = R r, r the ray with z = 1. From
    u (z a_z + t_z) = z a_x + t_x and the same for v, z is found by least squares.
    """
    (f_x, _, c_x), (_, f_y, c_y) = intrinsics[:2].astype(np.float32)
    height, width = size
    x, y = (here[0] - c_x) / f_x, (here[1] - c_y) / f_y
    r, t = other_from_own[:3, :3].astype(np.float32), other_from_own[:3, 3].astype(np.float32)
    a_x, a_y, a_z = (r[i, 0] * x + (r[i, 1] * y + r[i, 2]) for i in range(3))
    u, v = (there[0] - c_x) / f_x, (there[1] - c_y) / f_y
    left_u, left_v = a_x - u * a_z, a_y - v * a_z
    right_u, right_v = u * t[2] - t[0], v * t[2] - t[1]
    depth = (left_u * right_u + left_v * right_v) / np.maximum(left_u**2 + left_v**2, 1e-12)
    seen_at = depth * a_z + t[2]
    in_front = (depth > 0) & (seen_at > 0) & (a_z > 0) & (depth < _FARTHEST * typical)
    below = 1 / np.where(in_front, seen_at, 1)
    p_u, p_v = (depth * a_x + t[0]) * below, (depth * a_y + t[1]) * below
    residual = np.sqrt(((p_u - u) * f_x) ** 2 + ((p_v - v) * f_y) ** 2)
    at_infinity = 1 / np.where(a_z > 0, a_z, 1)
    parallax = np.sqrt(((p_u - a_x * at_infinity) * f_x) ** 2 + ((p_v - a_y * at_infinity) * f_y) ** 2)
    good = in_front & (error_px < _LARGEST_ERROR_PX) & (residual < _LARGEST_RESIDUAL_PX)
    good &= (there[0] >= 0) & (there[0] <= width - 1) & (there[1] >= 0) & (there[1] <= height - 1)
    uncertain = np.sqrt(FLOW_ERROR_PX**2 + 0.25 * error_px**2 + residual**2)
    confidence = np.where(good, 1 + REFERENCE_ERROR * parallax / uncertain, 0).astype(np.float32)
    return ViewDepth(np.where(good, depth, typical).astype(np.float32), confidence)
