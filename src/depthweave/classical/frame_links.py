"""Neighbouring frames of a clip: where their pixels go, how the camera moved, and how the scale of depth jumped."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from depthweave.classical.flow import flow_both_ways

FEWEST_POINTS = 60
"""Pixels with motion and depth in both frames, of those looked at, below which nothing is said of a pair."""
_POINTS = 4000
_EDGE_STEP = 0.15
_REWEIGHTINGS = 8
_FLOW_SPREAD_PX, _DEPTH_SPREAD = 0.3, 0.01
_ROTATION_PRIOR_RAD, _TRANSLATION_PRIOR = 0.2, 0.3
_WAY_BACK_PX, _WAY_BACK_SHARE = 0.5, 0.05
_CUT_SHARE, _CUT_CONTRAST, _CUT_LEVELS = 0.2, 0.5, 8.0


@dataclass(frozen=True, eq=False)
class FrameLink:
    """Dense motion between two frames, checked both ways.

    Attributes:
        forward, backward: (h, w, 2) motion along x and y in px, from the first frame to the second and back.
        forward_ok, backward_ok: (h, w) where the way back leads to where the way started.
        connected: False at a cut, where hardly any motion is found or what it leads to looks different.
    """

    forward: Float[NDArray[np.float32], "h w 2"]
    backward: Float[NDArray[np.float32], "h w 2"]
    forward_ok: Bool[NDArray[np.bool_], "h w"]
    backward_ok: Bool[NDArray[np.bool_], "h w"]
    connected: bool


@dataclass(frozen=True, eq=False)
class LogDepth:
    """Depth of a frame at the size that flow is computed at.

    Attributes:
        values: (h, w) natural logarithm of depth, finite everywhere.
        weight: (h, w) trust in [0, 1]; 0 where depth is not known.
    """

    values: Float[NDArray[np.float32], "h w"]
    weight: Float[NDArray[np.float32], "h w"]

    @cached_property
    def layers(self) -> Float[NDArray[np.float32], "h w 3"]:
        """Log depth, trust away from edges of surfaces, and whether it is known (0 or 1), to be sampled together."""
        around = np.ones((3, 3), np.uint8)
        step = cv2.dilate(self.values, around) - cv2.erode(self.values, around)
        known = (self.weight > 0).astype(np.float32)
        return np.asarray(cv2.merge((self.values, self.weight * (step < _EDGE_STEP), known)), np.float32)


@dataclass(frozen=True, eq=False)
class FrameStep:
    """What happened between two frames.

    Attributes:
        second_from_first: (4, 4) motion of the camera, in the unit of depth.
        log_scale: logarithm of the factor by which depth grew beyond what the motion explains.
        known: False where motion or depth was too sparse; the motion is then none, the scale 0.
    """

    second_from_first: Float[NDArray[np.float64], "4 4"]
    log_scale: float
    known: bool


def link_frames(first: UInt8[NDArray[np.uint8], "h w"], second: UInt8[NDArray[np.uint8], "h w"]) -> FrameLink:
    """Motion between two grey pictures, where it can be trusted, and whether there is any.

    A pixel's motion counts if the way back ends within 0.5 px + 5 % of its length. There is a cut if less than a fifth
    of the pixels count, or if on those the pictures differ by more than half the contrast (and 8 grey levels).

    Args:
        first, second: of one size.

    Source of the check: Sundaram et al., Dense point trajectories by GPU-accelerated large displacement optical flow,
    ECCV 2010, eq. 5, in px.
    """
    flow = flow_both_ways(first, second)
    ok = [
        error < _WAY_BACK_PX + _WAY_BACK_SHARE * np.hypot(motion[..., 0], motion[..., 1])
        for motion, error in ((flow.forward, flow.error_forward_px), (flow.backward, flow.error_backward_px))
    ]
    connected = all(float(side.mean()) > _CUT_SHARE for side in ok)
    if connected:
        x, y = grid(first.shape[0], first.shape[1])
        moved = cv2.remap(second, x + flow.forward[..., 0], y + flow.forward[..., 1], cv2.INTER_LINEAR)
        difference = float(cv2.absdiff(first, moved)[ok[0]].mean())
        connected = difference < max(_CUT_LEVELS, _CUT_CONTRAST * float(first[ok[0]].std()))
    return FrameLink(flow.forward, flow.backward, ok[0], ok[1], connected)


def measure_step(
    link: FrameLink,
    first: LogDepth,
    second: LogDepth,
    intrinsics: Float[NDArray[np.float64], "3 3"],
    *,
    second_from_first: Float[NDArray[np.float64], "4 4"] | None = None,
) -> FrameStep:
    """The camera's motion and the jump of depth's scale between two frames, from what stands still.

    Seven unknowns, small rotation w, translation T and jump j, in three linear equations per pixel: with
    d = w_x y - w_y x + T_z / Z the relative growth of depth of a point at (x, y, 1) Z,

        x' - x = w_y - w_z y + T_x / Z - x' d,   y' - y = w_z x - w_x + T_y / Z - y' d,   log Z' - log Z = j + d.

    Solved by least squares with Cauchy weights, so that things that move on their own hardly count. The jump is then
    the weighted median of log Z' - log Z - log(1 + d).

    Args:
        link: motion between them in px.
        first, second: their depth, in one unit up to the jump.
        intrinsics: (3, 3) in px of this size.
        second_from_first: the motion, if it is known.

    Source: Longuet-Higgins and Prazdny, The interpretation of a moving retinal image, 1980, for the motion field.
    """
    x, y, moved, z, growth, weight = _correspondences(link, first, second)
    if not link.connected or len(z) < FEWEST_POINTS:
        return FrameStep(np.eye(4), 0.0, False)
    unit = float(np.median(z))
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    rays = np.stack(((x - cx) / fx, (y - cy) / fy), axis=1)
    rays_after = np.stack(((moved[:, 0] - cx) / fx, (moved[:, 1] - cy) / fy), axis=1)
    if second_from_first is None:
        second_from_first, weight = _solve_motion(rays, rays_after, z / unit, growth, weight, 1 / fx)
        second_from_first[:3, 3] *= unit
    row = second_from_first[2]
    explained = np.log(np.maximum(row[0] * rays[:, 0] + row[1] * rays[:, 1] + row[2] + row[3] / z, 0.1))
    return FrameStep(second_from_first, _weighted_median(growth - explained, weight), True)


def log_depth_change(
    second_from_first: Float[NDArray[np.float64], "4 4"],
    first: LogDepth,
    intrinsics: Float[NDArray[np.float64], "3 3"],
) -> Float[NDArray[np.float32], "h w"]:
    """How log depth of every pixel's point changes by the camera's motion, if the point stands still.

    log(r_31 x + r_32 y + r_33 + t_z / Z), from R p + t, at least log 0.1.

    Args:
        second_from_first: motion in the unit of depth.
        first: depth of the frame where the points are seen.
        intrinsics: (3, 3) in px of this size.
    """
    height, width = first.values.shape
    row = second_from_first[2].astype(np.float32)
    x = (np.arange(width, dtype=np.float32) - np.float32(intrinsics[0, 2])) / np.float32(intrinsics[0, 0])
    y = (np.arange(height, dtype=np.float32) - np.float32(intrinsics[1, 2])) / np.float32(intrinsics[1, 1])
    factor = (row[0] * x)[None] + (row[1] * y + row[2])[:, None] + row[3] * np.exp(-first.values)
    changed: NDArray[np.float32] = np.log(np.maximum(factor, np.float32(0.1)))
    return changed


def grid(height: int, width: int) -> tuple[Float[NDArray[np.float32], "h w"], Float[NDArray[np.float32], "h w"]]:
    """Column and row of every pixel."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _correspondences(link: FrameLink, first: LogDepth, second: LogDepth) -> tuple[NDArray[np.float64], ...]:
    """Of a grid of pixels: place, place in the second frame, depth, growth of log depth, weight."""
    height, width = first.values.shape
    every = max(1, round((height * width / _POINTS) ** 0.5))
    x, y = (side[every // 2 :: every, every // 2 :: every] for side in grid(height, width))
    at = (slice(every // 2, None, every), slice(every // 2, None, every))
    after_x, after_y = x + link.forward[at][..., 0], y + link.forward[at][..., 1]
    known = cv2.remap((second.weight > 0).astype(np.float32), after_x, after_y, cv2.INTER_LINEAR)
    trust = cv2.remap(second.weight, after_x, after_y, cv2.INTER_LINEAR) * first.weight[at]
    growth = cv2.remap(second.values, after_x, after_y, cv2.INTER_LINEAR) - first.values[at]
    use = link.forward_ok[at] & (known > 0.99) & (trust > 0)
    moved = np.stack((after_x[use], after_y[use]), axis=1).astype(np.float64)
    plain = (x[use], y[use], moved, np.exp(first.values[at][use].astype(np.float64)), growth[use], trust[use])
    return tuple(np.asarray(part, dtype=np.float64) for part in plain)


def _solve_motion(
    rays: NDArray[np.float64],
    after: NDArray[np.float64],
    z: NDArray[np.float64],
    growth: NDArray[np.float64],
    trust: NDArray[np.float64],
    pixel: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y, inverse, none, one = rays[:, 0], rays[:, 1], 1 / z, np.zeros(len(z)), np.ones(len(z))
    grows = np.stack((y, -x, none, none, none, inverse, none), axis=1)
    along_x = np.stack((none, one, -y, inverse, none, none, none), axis=1) - after[:, :1] * grows
    along_y = np.stack((-one, none, x, none, inverse, none, none), axis=1) - after[:, 1:] * grows
    jumps = grows + np.eye(7)[6]
    shifts = after - rays
    prior = np.diag([_ROTATION_PRIOR_RAD**-2.0] * 3 + [_TRANSLATION_PRIOR**-2.0] * 3 + [1.0])
    flow_weight, depth_weight = trust / _FLOW_SPREAD_PX**2 / pixel**2, trust / _DEPTH_SPREAD**2 / 25
    for _ in range(_REWEIGHTINGS):
        normal = prior + sum(
            (rows * weight[:, None]).T @ rows
            for rows, weight in ((along_x, flow_weight), (along_y, flow_weight), (jumps, depth_weight))
        )
        right = (
            along_x.T @ (flow_weight * shifts[:, 0])
            + along_y.T @ (flow_weight * shifts[:, 1])
            + jumps.T @ (depth_weight * growth)
        )
        found = np.linalg.solve(normal, right)
        off_px = np.hypot(shifts[:, 0] - along_x @ found, shifts[:, 1] - along_y @ found) / pixel
        off_depth = np.abs(growth - jumps @ found)
        flow_spread = max(_FLOW_SPREAD_PX, 1.5 * _weighted_median(off_px, trust))
        depth_spread = max(_DEPTH_SPREAD, 1.5 * _weighted_median(off_depth, trust))
        still = trust / (1 + (off_px / flow_spread) ** 2) ** 2
        flow_weight = still / (flow_spread * pixel) ** 2
        # Depth's errors are shared by whole surfaces, so that a pixel of it says less than a pixel of motion.
        depth_weight = still / (1 + (off_depth / depth_spread) ** 2) / depth_spread**2 / 25
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(found[:3]).as_matrix()
    pose[:3, 3] = found[3:6]
    return pose, still


def _weighted_median(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    mass = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(mass, 0.5 * mass[-1])])
