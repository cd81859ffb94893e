"""All measurements of a clip to one scale and one pose per frame."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.fusion.joint_solve import Frames, PairPoints, solve_jointly, spread_points
from depthweave.fusion.pair_graph import connected_components
from depthweave.fusion.pose_graph import (
    Solution,
    rotation_angle,
    solve_log_scales,
    solve_positions,
    solve_rotations,
)

_TRUSTED = 0.1


@dataclass(frozen=True)
class PairMeasurement:
    """What one directed pair says about its two frames, once both have a fused view.

    Attributes:
        first, second: numbers of the frames.
        log_scale_first, log_scale_second: natural logarithm of each frame's unit per unit of the pair.
        weight: positive.
        second_from_first: rotation, 9 numbers, row by row.
        translation: position of the first camera in the second's axes, unit of the pair.
        inverse_square, mean, covariance: of the second frame's points that both show, as `point_moments` gives them, in
            the second camera's axes and the second frame's unit.
    """

    first: int
    second: int
    log_scale_first: float
    log_scale_second: float
    weight: float
    second_from_first: tuple[float, ...]
    translation: tuple[float, ...]
    inverse_square: float
    mean: tuple[float, ...]
    covariance: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile."""

    median: float
    p95: float


@dataclass(frozen=True)
class Drift:
    """How well all measurements agree with the one solution: what a clip's drift can be judged by.

    Attributes:
        pairs: directed pairs that were added.
        measured: those that gave a measurement.
        distrusted: measurements that the others contradict (weight below a tenth in any of the three solves).
        frames, placed: of the clip, and how many have a pose.
        components: number of separate worlds.
        rotation_deg: residual rotations.
        scale_percent: residual ratios of scale.
        position_percent: residual steps, in percent of the median distance of the paired cameras.
    """

    pairs: int
    measured: int
    distrusted: int
    frames: int
    placed: int
    components: int
    rotation_deg: Spread | None
    scale_percent: Spread | None
    position_percent: Spread | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a report."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where every frame stands.

    Attributes:
        scale: (t) multiplies the points of a `FusedFrame`; NaN where the frame is not placed.
        world_from_camera: (t, 4, 4) float64; NaN where the frame is not placed.
        component: (t) number of the world a frame stands in: 0 is the one with most frames; -1 = not placed.
        focal_px: one focal length of the working size for the clip; None where no frame gives a plausible one.
        drift: how well the measurements agree.
    """

    scale: Float[Tensor, "t"]
    world_from_camera: Float[Tensor, "t 4 4"]
    component: Int[Tensor, "t"]
    focal_px: float | None
    drift: Drift


@dataclass(frozen=True, eq=False)
class _Measured:
    """The measurements as arrays."""

    pairs: NDArray[np.int64]
    scale_first: NDArray[np.float64]
    scale_second: NDArray[np.float64]
    weights: NDArray[np.float64]
    rotations: NDArray[np.float64]
    translation: NDArray[np.float64]
    points: PairPoints


def place_frames(
    measurements: Sequence[PairMeasurement],
    frames: int,
    *,
    alone: Sequence[int] = (),
    known_poses: Float[Tensor, "t 4 4"] | None = None,
    focal_px: float | None = None,
    pairs: int | None = None,
    keep_unit: bool = False,
) -> Placement:
    """Scales, rotations and positions of all frames from measurements of pairs.

    Frames that measurements connect are one component with a world of its own: its first frame's camera is the world,
    and the geometric mean of its frames' scales is 1 (with ``keep_unit``, the median pair's unit is the world's).

    Args:
        measurements: of directed pairs; their order does not matter.
        frames: how many there are.
        alone: frames that make a component of their own if nothing connects them.
        known_poses: (t, 4, 4) world_from_camera, NaN rows for unknown ones. They are taken over. A component with two
            known positions or more gets the known world and its unit by one robust similarity, so that noise in known
            positions does not bend the scale from frame to frame; all of those become one component.
        focal_px: passed on.
        pairs: how many pairs were looked at, for the report.
        keep_unit: see above.

    Raises:
        WrongInput: known poses of another number of frames, or no component with two different known positions.
    """
    known = _known_poses(known_poses, frames)
    ends = [(m.first, m.second) for m in measurements]
    groups = [group for group in connected_components(ends, frames) if len(group) > 1 or group[0] in alone]
    component = np.full(frames, -1, dtype=np.int64)
    for number, group in enumerate(groups):
        component[group] = number
    measured = _arrays(sorted(measurements, key=lambda m: (m.first, m.second)))
    anchors = np.array([group[0] for group in groups], dtype=np.int64)

    separate = _solve_separately(measured, anchors, frames)
    held = np.zeros((frames, 7), dtype=np.bool_)
    held[anchors] = True
    solved, trust = solve_jointly(measured.points, separate.frames, held)
    for group in groups:
        log_unit = _log_unit(group, solved.log_scale, measured, keep_unit)
        solved.log_scale[group] -= log_unit
        solved.centre[group] *= np.exp(-log_unit)
    if known is not None:
        solved, trust = _moved_to_known(known, groups, component, measured, solved)
    trust = np.minimum(trust, separate.trust)
    return Placement(
        scale=torch.from_numpy(np.exp(solved.log_scale)),
        world_from_camera=torch.from_numpy(_poses(solved)),
        component=torch.from_numpy(component),
        focal_px=focal_px,
        drift=_drift(measured, solved, trust, component, len(measurements) if pairs is None else pairs),
    )


@dataclass(frozen=True, eq=False)
class _Separate:
    frames: Frames
    trust: NDArray[np.float64]


def _solve_separately(measured: _Measured, anchors: NDArray[np.int64], frames: int) -> _Separate:
    known_rotations, known_scales = np.full((frames, 3, 3), np.nan), np.full(frames, np.nan)
    known_centres = np.full((frames, 3), np.nan)
    known_rotations[anchors], known_scales[anchors], known_centres[anchors] = np.eye(3), 0.0, 0.0
    rotations = solve_rotations(measured.pairs, measured.rotations, measured.weights, known_rotations)
    differences = measured.scale_second - measured.scale_first
    scales = solve_log_scales(measured.pairs, differences, measured.weights, known_scales)
    positions = _positions(measured, rotations.values, scales.values, known_centres)
    trust = np.minimum(np.minimum(rotations.trust, scales.trust), positions.trust)
    return _Separate(Frames(scales.values, rotations.values, positions.values), trust)


def _known_poses(known_poses: Tensor | None, frames: int) -> NDArray[np.float64] | None:
    if known_poses is None:
        return None
    if len(known_poses) != frames:
        raise WrongInput(f"{len(known_poses)} known poses were given for {frames} frames; give one for each, or NaN.")
    return known_poses.detach().cpu().to(torch.float64).numpy()


def _arrays(measurements: Sequence[PairMeasurement]) -> _Measured:
    def table(values: list[Any], *shape: int) -> NDArray[np.float64]:
        return np.asarray(values, dtype=np.float64).reshape(-1, *shape)

    pairs = np.asarray([(m.first, m.second) for m in measurements], dtype=np.int64).reshape(-1, 2)
    scale_first, scale_second = (
        table([m.log_scale_first for m in measurements]),
        table([m.log_scale_second for m in measurements]),
    )
    weights = table([m.weight for m in measurements])
    rotations = table([m.second_from_first for m in measurements], 3, 3)
    translation = table([m.translation for m in measurements], 3)
    by_second = spread_points(
        table([m.mean for m in measurements], 3), table([m.covariance for m in measurements], 3, 3)
    )
    # y = s_second (R x / s_first + t), so x = s_first R^T (y / s_second - t).
    by_first = (by_second * np.exp(-scale_second)[:, None, None] - translation[:, None]) @ rotations
    inverse_square = table([m.inverse_square for m in measurements])
    return _Measured(
        pairs=pairs,
        scale_first=scale_first,
        scale_second=scale_second,
        weights=weights,
        rotations=rotations,
        translation=translation,
        points=PairPoints(pairs, by_first * np.exp(scale_first)[:, None, None], by_second, weights * inverse_square),
    )


def _log_unit(group: list[int], log_scale: NDArray[np.float64], measured: _Measured, keep_unit: bool) -> float:
    inside = np.isin(measured.pairs[:, 0], group)
    if keep_unit and inside.any():
        return float(np.median(log_scale[measured.pairs[inside, 0]] + measured.scale_first[inside]))
    return float(log_scale[group].mean())


def _steps(measured: _Measured, rotations: NDArray[np.float64], log_scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """First's position from second's as the pair measured it, in the world: with the rotations and scales of all."""
    first, second = measured.pairs.T
    unit = np.exp(0.5 * (log_scale[first] + measured.scale_first + log_scale[second] + measured.scale_second))
    return np.asarray(unit[:, None] * (rotations[second] @ measured.translation[:, :, None])[:, :, 0])


def _positions(
    measured: _Measured, rotations: NDArray[np.float64], log_scale: NDArray[np.float64], known: NDArray[np.float64]
) -> Solution:
    return solve_positions(measured.pairs, _steps(measured, rotations, log_scale), measured.weights, known)


def _moved_to_known(
    known: NDArray[np.float64],
    groups: list[list[int]],
    component: NDArray[np.int64],
    measured: _Measured,
    solved: Frames,
) -> tuple[Frames, NDArray[np.float64]]:
    """Components with known positions in the known world; changes the numbers of components in place."""
    given = np.asarray(np.isfinite(known).all((1, 2)), dtype=np.bool_)
    log_scale = solved.log_scale.copy()
    rotations, centres = np.full_like(solved.rotation, np.nan), np.full_like(solved.centre, np.nan)
    held = np.zeros((len(known), 7), dtype=np.bool_)
    joined: list[int] = []
    for number, group in enumerate(groups):
        both = np.array([t for t in group if given[t]], dtype=np.int64)
        scale = _robust_scale(solved.centre[both], known[both, :3, 3])
        if scale is None:
            rotations[group], centres[group] = solved.rotation[group], solved.centre[group]
            held[group] = True
            continue
        joined.append(number)
        log_scale[group] += np.log(scale)
        rotations[both], centres[both] = known[both, :3, :3], known[both, :3, 3]
        held[both, :6] = True
        held[group, 6] = True
    if not joined:
        raise WrongInput(
            "known poses must place at least two frames of one reconstructed stretch at different positions; "
            "give more of them, or none."
        )
    turned = solve_rotations(measured.pairs, measured.rotations, measured.weights, rotations)
    moved = _positions(measured, turned.values, log_scale, centres)
    rest = [number for number in range(len(groups)) if number not in joined]
    order = {-1: -1} | dict.fromkeys(joined, 0) | {number: k + 1 for k, number in enumerate(rest)}
    component[:] = [order[number] for number in component.tolist()]
    return solve_jointly(measured.points, Frames(log_scale, turned.values, moved.values), held)


def _robust_scale(solved: NDArray[np.float64], known: NDArray[np.float64]) -> float | None:
    """Unit of the known positions per unit of the solved ones: weighted median ratio of distances."""
    if len(solved) < 2:
        return None
    first, second = np.triu_indices(len(solved), 1)
    if len(first) > 100_000:
        keep = np.linspace(0, len(first) - 1, 100_000).astype(np.int64)
        first, second = first[keep], second[keep]
    ours = np.linalg.norm(solved[first] - solved[second], axis=1)
    theirs = np.linalg.norm(known[first] - known[second], axis=1)
    usable = (ours > 1e-9 * max(1.0, float(np.abs(solved).max()))) & (theirs > 1e-9 * max(1.0, np.abs(known).max()))
    if not usable.any():
        return None
    ratio, weight = theirs[usable] / ours[usable], theirs[usable]
    order = np.argsort(ratio)
    mass = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(mass, 0.5 * mass[-1])])


def _poses(solved: Frames) -> NDArray[np.float64]:
    poses = np.full((len(solved.centre), 4, 4), np.nan)
    placed = np.isfinite(solved.rotation).all((1, 2)) & np.isfinite(solved.centre).all(1)
    poses[placed] = np.eye(4)
    poses[placed, :3, :3] = solved.rotation[placed]
    poses[placed, :3, 3] = solved.centre[placed]
    return poses


def _drift(
    measured: _Measured, solved: Frames, trust: NDArray[np.float64], component: NDArray[np.int64], pairs: int
) -> Drift:
    first, second = measured.pairs.T
    apart = solved.centre[first] - solved.centre[second]
    usual = float(np.median(np.linalg.norm(apart, axis=1))) if len(apart) else 0.0
    moved = np.linalg.norm(apart - _steps(measured, solved.rotation, solved.log_scale), axis=1)
    turned = np.swapaxes(solved.rotation[second], 1, 2) @ solved.rotation[first]
    log_first = solved.log_scale[first] + measured.scale_first
    log_second = solved.log_scale[second] + measured.scale_second
    return Drift(
        pairs=pairs,
        measured=len(first),
        distrusted=int((trust < _TRUSTED).sum()),
        frames=len(component),
        placed=int((component >= 0).sum()),
        components=int(component.max(initial=-1)) + 1,
        rotation_deg=_spread(np.degrees(rotation_angle(np.swapaxes(turned, 1, 2) @ measured.rotations))),
        scale_percent=_spread(100 * np.expm1(np.abs(log_first - log_second))),
        position_percent=_spread(100 * moved / usual) if usual > 0 else None,
    )


def _spread(values: NDArray[np.float64]) -> Spread | None:
    if not len(values):
        return None
    return Spread(float(np.median(values)), float(np.quantile(values, 0.95)))
