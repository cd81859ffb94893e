"""Frames from pairwise measurements: three sparse linear solves, for log scales, for rotations and for positions.

Each solve is least squares in closed form, repeated a fixed number of times with weights that take measurements out
which the others contradict. Some frames are given ("fixed"): one of every connected component at least.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from depthweave.errors import WrongInput

ROUNDS = 10
ROTATION_STEPS = 5
_CAUCHY = 2.385
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Solution:
    """Values of all frames, and how the measurements agree with them.

    Attributes:
        values: (t, ...) of every frame; NaN where no chain of measurements leads to a fixed frame.
        residuals: (e) size of what every measurement leaves over, in the unit of the solve.
        trust: (e) in [0, 1], the last round's factor on every measurement's weight.
    """

    values: Float[NDArray[np.float64], "t ..."]
    residuals: Float[NDArray[np.float64], "e"]
    trust: Float[NDArray[np.float64], "e"]


def solve_log_scales(
    pairs: Int[NDArray[np.int64], "e 2"],
    differences: Float[NDArray[np.float64], "e"],
    weights: Float[NDArray[np.float64], "e"],
    known: Float[NDArray[np.float64], "t"],
    *,
    rounds: int = ROUNDS,
) -> Solution:
    """Log scales x with x_first - x_second = difference, minimising sum w (x_first - x_second - difference)^2.

    Args:
        pairs: (e, 2) frames (first, second) of every measurement.
        differences: (e) measured, natural logarithm.
        weights: (e) positive.
        known: (t) values of the fixed frames, NaN where wanted.
        rounds: reweightings; 0 is plain least squares.

    Raises:
        WrongInput: a measurement names a frame that does not exist.

    Source: log-scale least squares over pairs, our reconstruction of a linear pose graph; weights as in `robust_trust`.
    """
    solution = _solve(pairs, _ones(pairs), differences[:, None, None], weights, known[:, None, None], rounds=rounds)
    return Solution(solution.values[:, 0, 0], solution.residuals, solution.trust)


def solve_rotations(
    pairs: Int[NDArray[np.int64], "e 2"],
    second_from_first: Float[NDArray[np.float64], "e 3 3"],
    weights: Float[NDArray[np.float64], "e"],
    known: Float[NDArray[np.float64], "t 3 3"],
    *,
    rounds: int = ROUNDS,
) -> Solution:
    """Rotations world_from_camera W with W_first = W_second R, minimising sum w |W_first - W_second R|_F^2.

    First the matrices are free, and become rotations by singular values. Then every one is turned a little, five times,
    each time by a robust linear solve for the rotation vectors; free matrices would shrink to please outliers.

    Args:
        pairs: (e, 2) frames (first, second) of every measurement.
        second_from_first: (e, 3, 3) measured rotations R.
        weights: (e) positive.
        known: (t, 3, 3) world_from_camera of the fixed frames, NaN where wanted.
        rounds: reweightings; 0 is plain least squares.

    Returns:
        Rotations (t, 3, 3), residuals in radians.

    Raises:
        WrongInput: a measurement names a frame that does not exist.

    Source: Martinec and Pajdla, Robust rotation and translation estimation in multiview reconstruction, CVPR 2007,
    section 3 (chordal averaging); Chatterjee and Govindu, Robust relative rotation averaging, TPAMI 2018 (the steps).
    """
    # Transposed, W_first^T = R^T W_second^T is a matrix times what is wanted.
    turned = np.swapaxes(second_from_first, 1, 2)
    offsets = np.zeros((len(pairs), 3, 3))
    relaxed = _solve(pairs, turned, offsets, weights, np.swapaxes(known, 1, 2), rounds=0)
    values = np.swapaxes(relaxed.values, 1, 2).copy()
    fixed = np.asarray(np.isfinite(known).all((1, 2)), dtype=np.bool_)
    moved = np.asarray(np.isfinite(values).all((1, 2)), dtype=np.bool_) & ~fixed
    values[moved] = nearest_rotation(values[moved])
    still = np.where(fixed[:, None, None], 0.0, np.full((len(known), 1, 3), np.nan))
    first, second = pairs.T
    trust = relaxed.trust
    for _ in range(ROTATION_STEPS if rounds else 0):
        left_over = values[first] @ np.swapaxes(values[second] @ second_from_first, 1, 2)
        left_over = np.where(np.isfinite(left_over), left_over, np.eye(3))
        step = _solve(pairs, _ones(pairs), -vector_from_rotation(left_over)[:, None], weights, still, rounds=rounds)
        values[moved] = rotation_from_vector(step.values[moved, 0]) @ values[moved]
        trust = step.trust
    left_over = np.swapaxes(values[first], 1, 2) @ values[second] @ second_from_first
    return Solution(values, rotation_angle(left_over), trust)


def solve_positions(
    pairs: Int[NDArray[np.int64], "e 2"],
    steps: Float[NDArray[np.float64], "e 3"],
    weights: Float[NDArray[np.float64], "e"],
    known: Float[NDArray[np.float64], "t 3"],
    *,
    rounds: int = ROUNDS,
) -> Solution:
    """Camera centres c in the world with c_first - c_second = step, minimising sum w |c_first - c_second - step|^2.

    Args:
        pairs: (e, 2) frames (first, second) of every measurement.
        steps: (e, 3) measured, world axes and world unit.
        weights: (e) positive.
        known: (t, 3) centres of the fixed frames, NaN where wanted.
        rounds: reweightings; 0 is plain least squares.

    Raises:
        WrongInput: a measurement names a frame that does not exist.

    Source: Govindu, Combining two-view constraints for motion estimation, CVPR 2001 (linear, with known lengths).
    """
    solution = _solve(pairs, _ones(pairs), steps[:, None, :], weights, known[:, None, :], rounds=rounds)
    return Solution(solution.values[:, 0, :], solution.residuals, solution.trust)


def robust_trust(residuals: Float[NDArray[np.float64], "e"], *, redescend: bool) -> Float[NDArray[np.float64], "e"]:
    """Factors in (0, 1] on the weights of measurements, from the sizes of their weighted residuals.

    With s = 1.4826 median(r): s / max(r, s), or with ``redescend`` 1 / (1 + (r / 2.385 s)^2).

    Source: Holland and Welsch, Robust regression using iteratively reweighted least-squares, 1977 (Huber, Cauchy).
    """
    scale = max(1.4826 * float(np.median(residuals)), _SMALLEST) if len(residuals) else 1.0
    if redescend:
        return np.asarray(1 / (1 + (residuals / (_CAUCHY * scale)) ** 2))
    return np.asarray(scale / np.maximum(residuals, scale))


def nearest_rotation(matrices: Float[NDArray[np.float64], "*b 3 3"]) -> Float[NDArray[np.float64], "*b 3 3"]:
    """The rotation nearest to a matrix in the Frobenius norm: U diag(1, 1, det(U V^T)) V^T."""
    left, _, right = np.linalg.svd(matrices)
    left[..., :, 2] *= np.linalg.det(left @ right)[..., None]
    return np.asarray(left @ right)


def rotation_angle(rotations: Float[NDArray[np.float64], "*b 3 3"]) -> Float[NDArray[np.float64], "*b"]:
    """Angle of rotations in radians, exact for small ones too: atan2(|R - R^T|, ...)."""
    skew = rotations - np.swapaxes(rotations, -1, -2)
    sine = np.sqrt(0.125) * np.linalg.norm(skew, axis=(-2, -1))
    return np.asarray(np.arctan2(sine, 0.5 * (np.trace(rotations, axis1=-2, axis2=-1) - 1)))


def rotation_from_vector(vectors: Float[NDArray[np.float64], "*b 3"]) -> Float[NDArray[np.float64], "*b 3 3"]:
    """Rotations about axis times angle in radians (Rodrigues)."""
    return np.asarray(Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3))


def vector_from_rotation(rotations: Float[NDArray[np.float64], "*b 3 3"]) -> Float[NDArray[np.float64], "*b 3"]:
    """Axis times angle in radians, the inverse of `rotation_from_vector`."""
    return np.asarray(Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(rotations.shape[:-1]))


def _ones(pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.ones((len(pairs), 1, 1))


def _solve(
    pairs: NDArray[np.int64],
    factors: NDArray[np.float64],
    offsets: NDArray[np.float64],
    weights: NDArray[np.float64],
    known: NDArray[np.float64],
    *,
    rounds: int,
) -> Solution:
    """Blocks x (t, n, k) with x_first - factor x_second = offset; factors (e, n, n), offsets (e, n, k)."""
    frames, size, columns = known.shape
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < frames:
        raise WrongInput(f"a measurement names frame {pairs.max()} of {frames}; number them from 0.")
    fixed = np.asarray(np.isfinite(known).all((1, 2)), dtype=np.bool_)
    reached = _reached(pairs, fixed)
    wanted = reached & ~fixed
    used = reached[pairs].all(1)
    values = np.where(fixed[:, None, None], known, np.nan)
    trust, residuals = np.where(used, 1.0, 0.0), np.full(len(pairs), np.nan)
    if not used.any():
        return Solution(values, residuals, trust)
    pairs, factors, offsets, weights = pairs[used], factors[used], offsets[used], weights[used]
    weights = weights / weights.mean()
    row_blocks = _block_matrix(pairs, factors, frames)
    start = np.where(fixed[:, None, None], known, 0.0).reshape(frames * size, columns)
    right = offsets.reshape(-1, columns) - row_blocks @ start
    free = row_blocks[:, np.flatnonzero(np.repeat(wanted, size))]

    def left_over(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm((right - free @ unknown).reshape(len(pairs), -1), axis=1))

    solve = _weighted_least_squares(free, right, size)
    factor = np.ones(len(pairs))
    unknown = solve(weights)
    for step in range(rounds):
        factor = robust_trust(np.sqrt(weights) * left_over(unknown), redescend=step >= rounds // 2)
        unknown = solve(weights * factor)
    values[wanted] = unknown.reshape(-1, size, columns)
    trust[used], residuals[used] = factor, left_over(unknown)
    return Solution(values, residuals, trust)


def _weighted_least_squares(
    matrix: csc_array, right: NDArray[np.float64], size: int
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def solve(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if matrix.shape[1] == 0:
            return np.zeros((0, right.shape[1]))
        weighted = matrix.T.multiply(np.repeat(weights, size)).tocsr()
        return np.asarray(splu(csc_array(weighted @ matrix)).solve(np.ascontiguousarray(weighted @ right)))

    return solve


def _block_matrix(pairs: NDArray[np.int64], factors: NDArray[np.float64], frames: int) -> csc_array:
    count, size = len(pairs), factors.shape[1]
    rows = np.arange(count * size).reshape(count, size)
    own = pairs[:, :1] * size + np.arange(size)
    other = pairs[:, 1:] * size + np.arange(size)
    places = (
        np.concatenate((rows.ravel(), np.repeat(rows.ravel(), size))),
        np.concatenate((own.ravel(), np.repeat(other[:, None, :], size, axis=1).ravel())),
    )
    data = np.concatenate((np.ones(count * size), -factors.ravel()))
    return csc_array(coo_array((data, places), shape=(count * size, frames * size)))


def _reached(pairs: NDArray[np.int64], fixed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames that a chain of pairs connects with a fixed one."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(fixed), len(fixed)))
    labels = connected_components(graph, directed=False)[1]
    return np.asarray(np.isin(labels, labels[fixed]))
