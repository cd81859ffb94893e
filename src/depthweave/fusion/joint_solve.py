"""Scales, rotations and positions of frames together: a few linear solves that start from separate ones.

The separate solves of `depthweave.fusion.pose_graph` ignore that a registration's errors hang together: a little more
rotation or scale is a little less translation. Here a pair holds as what it was measured from, points that two frames
place in the world, of which the mean and the spread are enough.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu

from depthweave.fusion.pose_graph import robust_trust, rotation_from_vector

STEPS = 6
_UNKNOWNS = 7


@dataclass(frozen=True, eq=False)
class PairPoints:
    """Places that pairs of frames see, in each camera's axes and each frame's own unit.

    Attributes:
        pairs: (e, 2) frames (first, second).
        seen_by_first, seen_by_second: (e, p, 3) the same p places.
        weights: (e) of a pair's mean squared distance, in units of the second frame, per place.
    """

    pairs: Int[NDArray[np.int64], "e 2"]
    seen_by_first: Float[NDArray[np.float64], "e p 3"]
    seen_by_second: Float[NDArray[np.float64], "e p 3"]
    weights: Float[NDArray[np.float64], "e"]


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames in the world: log scale (t), rotation world_from_camera (t, 3, 3), centre (t, 3)."""

    log_scale: Float[NDArray[np.float64], "t"]
    rotation: Float[NDArray[np.float64], "t 3 3"]
    centre: Float[NDArray[np.float64], "t 3"]


def spread_points(
    mean: Float[NDArray[np.float64], "e 3"], covariance: Float[NDArray[np.float64], "e 3 3"]
) -> Float[NDArray[np.float64], "e 6 3"]:
    """Six points of equal weight that have a given mean and covariance: mean +- sqrt(3 eigenvalue) eigenvector."""
    values, vectors = np.linalg.eigh(covariance)
    axes = np.swapaxes(vectors, 1, 2) * np.sqrt(3 * np.maximum(values, 0.0))[:, :, None]
    return np.asarray(np.concatenate((mean[:, None] + axes, mean[:, None] - axes), axis=1))


def solve_jointly(
    points: PairPoints, start: Frames, fixed: Bool[NDArray[np.bool_], "t 7"], *, steps: int = STEPS
) -> tuple[Frames, Float[NDArray[np.float64], "e"]]:
    """Minimise the distances between where both frames of every pair place its points, and the trust in each pair.

    sum over pairs of w trust mean |(s_j R_j y + c_j) - (s_i R_i x + c_i)|^2 / s_j^2, linear in small changes of scale,
    rotation and position, so every step is one sparse solve; their number is fixed. The trust is Cauchy's.

    Args:
        points: what the pairs see; frames that are not placed must not be among them.
        start: from the separate solves.
        fixed: (t, 7) position (3), rotation (3) and log scale that stay as they are; of one frame at least in every
            component.
        steps: linear solves.

    Source: our reconstruction; Triggs et al., Bundle adjustment: a modern synthesis, 2000, section 4 (Gauss-Newton).
    """
    log_scale, rotation, centre = start.log_scale.copy(), start.rotation.copy(), start.centre.copy()
    trust = np.ones(len(points.pairs))
    if not len(points.pairs):
        return start, trust
    wanted = np.zeros_like(fixed)
    wanted[np.unique(points.pairs)] = True
    wanted &= ~fixed
    places = np.flatnonzero(wanted)
    for _ in range(steps):
        residual, matrices, weights = _linearised(points, Frames(log_scale, rotation, centre))
        size = np.sqrt(weights * np.square(residual).sum(2).mean(1))
        trust = robust_trust(size, redescend=True)
        flat = np.zeros(fixed.size)
        flat[places] = _step(points.pairs, residual, matrices, weights * trust, len(fixed), places)
        change = flat.reshape(fixed.shape)
        centre = centre + change[:, :3]
        rotation = rotation_from_vector(change[:, 3:6]) @ rotation
        log_scale = log_scale + change[:, 6]
    return Frames(log_scale, rotation, centre), trust


def _linearised(
    points: PairPoints, frames: Frames
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Residuals (e, p, 3), their derivatives (e, p, 3, 14) by first's and second's changes, and weights (e)."""
    parts = []
    for side, seen in ((0, points.seen_by_first), (1, points.seen_by_second)):
        frame = points.pairs[:, side]
        arm = np.exp(frames.log_scale[frame])[:, None, None] * (seen @ np.swapaxes(frames.rotation[frame], 1, 2))
        derivative = np.zeros((*arm.shape, _UNKNOWNS))
        derivative[..., :3] = np.eye(3)
        derivative[..., 0, 4], derivative[..., 0, 5] = arm[..., 2], -arm[..., 1]
        derivative[..., 1, 3], derivative[..., 1, 5] = -arm[..., 2], arm[..., 0]
        derivative[..., 2, 3], derivative[..., 2, 4] = arm[..., 1], -arm[..., 0]
        derivative[..., 6] = arm
        parts.append((arm + frames.centre[frame][:, None], derivative))
    (place_first, by_first), (place_second, by_second) = parts
    weights = points.weights * np.exp(-frames.log_scale[points.pairs].sum(1))
    residual = place_second - place_first
    derivative = np.concatenate((-by_first, by_second), axis=-1)
    # The unit of the distance is differentiated too; else all would shrink to make distances small.
    derivative[..., [_UNKNOWNS - 1, 2 * _UNKNOWNS - 1]] -= 0.5 * residual[..., None]
    return residual, derivative, weights


def _step(
    pairs: NDArray[np.int64],
    residual: NDArray[np.float64],
    matrices: NDArray[np.float64],
    weights: NDArray[np.float64],
    frames: int,
    places: NDArray[np.int64],
) -> NDArray[np.float64]:
    count = len(pairs)
    rows = matrices.reshape(count, -1, 2 * _UNKNOWNS)
    weighted = np.swapaxes(rows, 1, 2) * (weights / matrices.shape[1])[:, None, None]
    blocks, slopes = weighted @ rows, weighted @ residual.reshape(count, -1, 1)
    columns = (pairs[:, :, None] * _UNKNOWNS + np.arange(_UNKNOWNS)).reshape(count, -1)
    size = frames * _UNKNOWNS
    across = np.broadcast_to(columns[:, None, :], blocks.shape)
    normal = csc_array(
        coo_array((blocks.ravel(), (np.swapaxes(across, 1, 2).ravel(), across.ravel())), shape=(size, size))
    )
    slope = np.bincount(columns.ravel(), weights=slopes.ravel(), minlength=size)
    return np.asarray(splu(csc_array(normal[places][:, places])).solve(-slope[places]))
