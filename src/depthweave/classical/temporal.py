"""Depth of a clip without flicker: jitter of scale taken out, and depth smoothed along the motion of the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from depthweave.classical.frame_links import LogDepth, grid
from depthweave.errors import WrongInput

SURFACE_STEP = 0.25
"""Difference of log depth from which two depths are no longer one surface."""
_CURVES = 3.0
_SIMILAR = 0.04


@dataclass(frozen=True, eq=False)
class Passage:
    """From the pixels of one frame to the next one in some direction of time.

    Attributes:
        motion: (h, w, 2) along x and y in px.
        growth: (h, w) change of log depth that the camera's motion explains.
        ok: (h, w) where the motion can be trusted.
    """

    motion: Float[NDArray[np.float32], "h w 2"]
    growth: Float[NDArray[np.float32], "h w"]
    ok: Bool[NDArray[np.bool_], "h w"]

    @cached_property
    def layers(self) -> Float[NDArray[np.float32], "h w 4"]:
        """Motion along x and y, growth and trust (0 or 1), to be sampled together."""
        return np.asarray(cv2.merge((*cv2.split(self.motion), self.growth, self.ok.astype(np.float32))), np.float32)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """What the neighbours of a frame say of its depth.

    Attributes:
        correction: (h, w) to add to log depth where it is known; 0 elsewhere.
        filled: (h, w) log depth at pixels that only neighbours know; meaningless elsewhere.
        fill_weight: (h, w) trust in ``filled`` in [0, 1]; 0 where there is none.
    """

    correction: Float[NDArray[np.float32], "h w"]
    filled: Float[NDArray[np.float32], "h w"]
    fill_weight: Float[NDArray[np.float32], "h w"]


def scale_series(
    steps: Float[NDArray[np.float64], "n"], connected: Bool[NDArray[np.bool_], "n"], *, period: float | int = 12
) -> tuple[Float[NDArray[np.float64], "t"], Float[NDArray[np.float64], "t"]]:
    """Log scale of every frame against the first one of its shot, and the jitter in it, which has only fast changes.

    Per shot: c_t is the sum of the steps, z minimises sum (c - z)^2 + l sum (third difference of z)^2, jitter = c - z.
    A wave of ``period`` frames is halved, l = (2 - 2 cos(2 pi / period))^-3; mean, slope and bend over a shot
    are kept exactly, a wave of twice that length by 98 %.

    Args:
        steps: jumps of log scale between neighbouring frames.
        connected: where a jump was measured; a shot ends where it is False.
        period: in frames, above 2.

    Returns:
        Both for t = n + 1 frames; the first is 0 where a shot begins.

    Raises:
        WrongInput: a period of 2 frames or less.

    Source: Whittaker, On a new method of graduation, 1922; Eilers, A perfect smoother, Analytical Chemistry 2003.
    """
    if not period > 2:
        raise WrongInput(f"the period of the fastest change that is kept is more than 2 frames, not {period}.")
    strength = (2 - 2 * np.cos(2 * np.pi / period)) ** -3.0
    series, jitter = np.zeros(len(steps) + 1), np.zeros(len(steps) + 1)
    ends = [*(np.flatnonzero(~connected) + 1), len(steps) + 1]
    first = 0
    for end in ends:
        series[first + 1 : end] = np.cumsum(steps[first : end - 1])
        jitter[first:end] = series[first:end] - _graduate(series[first:end], strength)
        first = end
    return series, jitter


def smooth_along_motion(
    frames: Mapping[int, LogDepth],
    ahead: Sequence[Passage],
    behind: Sequence[Passage],
    *,
    spread: float | int = 1.7,
) -> Smoothed:
    """A line or a bend through the depth that a pixel's point has over some frames, read at the frame in the middle.

    Every pixel is followed through the passages for as long as they can be trusted. Depth at its places, less what the
    camera's motion explains, gets a Gaussian weight in time, its own trust, and Tukey's weight for its difference from
    the frame's own depth, beyond `SURFACE_STEP` none. A line is fitted; its bend is added by as much as bends in the
    neighbourhood stand out from what the fit leaves (James and Stein's rule).

    Args:
        frames: depth by place in time, 0 being the frame in question; at least those that the passages lead to.
        ahead: from frame 0 to 1, from 1 to 2, and so on; it ends at a cut.
        behind: from frame 0 to -1, from -1 to -2, and so on.
        spread: standard deviation of the weight in time, in frames.

    Source: Cleveland, Robust locally weighted regression, JASA 1979; James and Stein, Estimation with quadratic loss,
    1961, for the bend.
    """
    here = frames[0]
    height, width = here.values.shape
    places, values, weights = [0], [here.values], [here.layers[..., 1]]
    for sign, passages in ((1, ahead), (-1, behind)):
        for place, value, weight in _followed(passages, frames, sign, (height, width)):
            places.append(place)
            values.append(value)
            weights.append(weight * np.float32(np.exp(-0.5 * (place / spread) ** 2)))
    known = here.weight > 0
    reference = _reference(here.values, known, places, values, weights)
    k = np.asarray(places, dtype=np.float32)
    y = np.stack(values).reshape(len(k), -1) - reference.reshape(-1)
    w = np.stack(weights).reshape(len(k), -1)
    w = w * np.maximum(1 - (y / np.float32(SURFACE_STEP)) ** 2, 0) ** 2
    centre = _bent_fit(k, y, w, (height, width))
    support = w[1:].sum(axis=0).reshape(height, width) if len(k) > 1 else np.zeros_like(here.values)
    usable = known & (support > 0)
    correction = _spread_on_surfaces(np.where(usable, centre, 0), np.where(usable, support, 0), here)
    full = np.exp(-0.5 * (k[1:] / spread) ** 2).sum() if len(k) > 1 else 1.0
    fill_weight = np.where(known, 0, np.minimum(support / np.float32(full), 1)).astype(np.float32)
    return Smoothed(correction, (reference + centre).astype(np.float32), fill_weight)


def enlarge_on_surfaces(
    small: Float[NDArray[np.float32], "h w"],
    small_depth: LogDepth,
    log_depth: Float[NDArray[np.float32], "h2 w2"],
) -> Float[NDArray[np.float32], "h2 w2"]:
    """A small map of corrections at the size of a depth map, taken from small pixels of the same surface.

    Mean of the four small pixels around a place by bilinear weights times 1 / (1 + (difference of log depth / 0.04)^2).

    Args:
        small: what to enlarge.
        small_depth: log depth of the small pixels; those of weight 0 do not count.
        log_depth: of the large map, finite.

    Source: Kopf et al., Joint Bilateral Upsampling, SIGGRAPH 2007, with depth as the guide.
    """
    if small.shape == log_depth.shape:
        return small
    rows, row_part = _between(log_depth.shape[0], small.shape[0])
    columns, column_part = _between(log_depth.shape[1], small.shape[1])
    unit = np.float32(1 / _SIMILAR)
    level = log_depth * unit
    parts = (small, small_depth.values * unit, (small_depth.weight > 0).astype(np.float32))
    total, mass = np.zeros_like(log_depth), np.full_like(log_depth, 1e-12)
    for right in (0, 1):
        # Columns are gathered at the small height, then rows copied whole: a quarter of the plain formula's time.
        beside = np.minimum(columns + right, small.shape[1] - 1)
        values, levels, known = (np.take(part, beside, axis=1) for part in parts)
        known *= column_part if right else 1 - column_part
        for down in (0, 1):
            below = np.minimum(rows + down, small.shape[0] - 1)
            weight = known[below]
            weight *= (row_part if down else 1 - row_part)[:, None]
            weight += np.float32(1e-6)
            off = levels[below]
            off -= level
            off *= off
            off += 1
            weight /= off
            mass += weight
            weight *= values[below]
            total += weight
    total /= mass
    return total


def _graduate(series: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    count = len(series)
    if count < 4:
        return series
    difference = np.diff(np.eye(4), n=3, axis=0)[0]
    bands = np.zeros((4, count))
    bands[0] = 1
    for i in range(count - 3):
        for low in range(4):
            bands[low, i : i + 4 - low] += strength * difference[: 4 - low] * difference[low:]
    graduated: NDArray[np.float64] = solveh_banded(bands, series, lower=True)
    return graduated


def _followed(
    passages: Sequence[Passage], frames: Mapping[int, LogDepth], sign: int, size: tuple[int, int]
) -> list[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """Depth and trust of a frame's pixels at their places in the frames that passages lead to."""
    found = []
    x, y = grid(*size)
    grown, alive = np.zeros(size, np.float32), np.ones(size, np.float32)
    for number, passage in enumerate(passages):
        read = passage.layers if number == 0 else cv2.remap(passage.layers, x, y, cv2.INTER_LINEAR)
        along_x, along_y, growth, ok = cv2.split(read)
        x, y, grown = x + along_x, y + along_y, grown + growth
        alive = alive * (ok > 0.99)
        place = sign * (number + 1)
        depth, trust, known = cv2.split(cv2.remap(frames[place].layers, x, y, cv2.INTER_LINEAR))
        found.append((place, depth - grown, alive * trust * (known > 0.99)))
    return found


def _reference(
    own: NDArray[np.float32],
    known: NDArray[np.bool_],
    places: Sequence[int],
    values: Sequence[NDArray[np.float32]],
    weights: Sequence[NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Own depth, and where it is not known that of the neighbour next in time that knows it."""
    reference, open_ = own.copy(), ~known
    for _, value, weight in sorted(
        zip(places[1:], values[1:], weights[1:], strict=True), key=lambda item: abs(item[0])
    ):
        take = open_ & (weight > 0)
        reference[take] = value[take]
        open_ &= ~take
    return reference


def _bent_fit(
    k: NDArray[np.float32], y: NDArray[np.float32], w: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Value at k = 0 of a line and a shrunken bend through (k, y)."""
    s = np.stack([k**power for power in range(5)]) @ w
    t = np.stack([k**power for power in range(3)]) @ (w * y)
    tiny = np.float32(1e-6)
    mass = s[0] + tiny
    mean_k, mean_kk, mean_y = s[1] / mass, s[2] / mass, t[0] / mass
    k_k = s[2] - s[1] * mean_k
    k_kk = s[3] - s[1] * mean_kk
    y_k = t[1] - t[0] * mean_k
    slope = y_k / (k_k + np.float32(0.1))
    lean = k_kk / (k_k + tiny)
    kk_kk = np.maximum(s[4] - s[2] * mean_kk - lean * k_kk, 0)
    y_kk = t[2] - t[0] * mean_kk - lean * y_k
    bend = y_kk / (kk_kk + np.float32(0.1))
    explained = y_kk * bend
    left = np.maximum((w * y * y).sum(axis=0) - t[0] * mean_y - y_k * y_k / (k_k + tiny) - explained, 0) / mass
    side = max(3, size[1] // 20) | 1
    signal, noise = (cv2.blur(part.reshape(size), (side, side)).reshape(-1) for part in (explained, left))
    kept = np.maximum(1 - np.float32(_CURVES) * noise / (signal + np.float32(1e-12)), 0)
    centre: NDArray[np.float32] = mean_y - slope * mean_k + kept * bend * (lean * mean_k - mean_kk)
    return centre.reshape(size)


def _spread_on_surfaces(
    correction: NDArray[np.float32], support: NDArray[np.float32], depth: LogDepth
) -> NDArray[np.float32]:
    """Mean over 3 x 3 pixels of one surface by support, so that rims take part in what their surface does."""
    height, width = correction.shape
    bordered = [
        cv2.copyMakeBorder(np.asarray(part, dtype=np.float32), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        for part in (correction, support, depth.values)
    ]
    total, mass = np.zeros_like(depth.values), np.full_like(depth.values, 1e-3)
    for down in range(3):
        for right in range(3):
            value, weight, level = (part[down : down + height, right : right + width] for part in bordered)
            off = (level - depth.values) * np.float32(1 / _SIMILAR)
            weight = weight / (1 + off * off)
            total += weight * value
            mass += weight
    spread: NDArray[np.float32] = np.where(depth.weight > 0, total / mass, 0).astype(np.float32)
    return spread


def _between(large: int, small: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Per large pixel the small one before its place, and how far the place lies towards the next."""
    place = np.clip((np.arange(large) + 0.5) * (small / large) - 0.5, 0, small - 1)
    before = np.floor(place).astype(np.intp)
    return before, (place - before).astype(np.float32)
