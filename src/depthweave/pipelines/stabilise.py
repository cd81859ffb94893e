"""Maps that a model for single pictures made of a clip's frames, brought to one scale and shift."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from depthweave import images, io
from depthweave.classical.frame_links import FEWEST_POINTS, grid, link_frames
from depthweave.errors import WrongFile, WrongInput
from depthweave.types import Clip, DepthMap, InverseDepthMap, Scale

AnyDepth = DepthMap | InverseDepthMap

_LINKS_FILE = "links.json"
_POINTS = 4000
_REWEIGHTINGS = 10
_SPREAD_SHARE = 0.002


@dataclass(frozen=True)
class MapLink:
    """One map against another one of the same scene: values of the first are ``factor`` * second + offset.

    Attributes:
        first, second: numbers of the frames.
        factor: spread of the first map's values over that of the second's, at the same points.
        first_mean, second_mean: where the line passes.
        weight: trust, above 0.
    """

    first: int
    second: int
    factor: float
    first_mean: float
    second_mean: float
    weight: float


@dataclass(frozen=True, eq=False)
class _Frame:
    grey: UInt8[NDArray[np.uint8], "h w"]
    values: Float[NDArray[np.float32], "h w"]
    valid: Bool[NDArray[np.bool_], "h w"]


class MapStabiliser:
    """Per-frame depth of a model for single pictures made consistent: one scale and one shift per frame, no weights.

    Such a model gives every frame a scale and a shift of its own, so that the clip flickers. Here neighbouring frames
    and some farther ones are linked: dense motion brings points together, and a robust line through their values says
    how one map's scale and shift stand to the other's. Two sparse least-squares problems over all links give each frame
    its scale and shift. Maps themselves are only multiplied and shifted, never blurred. Inverse depth is taken to stay
    as it is from frame to frame, which holds for a still scene unless the camera moves towards it: what is true of
    such a change is taken for the model's and lost.

    Maps whose shift is known get a scale only, and keep what their ``scale`` says.

    >>> consistent = list(MapStabiliser().stabilise(clip, [model(picture) for picture in clip], work))

    Args:
        gaps: distances in frames at which frames are linked; the first is 1, farther ones limit the drift.
        side_px: longer side of the pictures that motion is found in; larger ones are shrunk.

    Raises:
        WrongInput: gaps that do not begin with 1 and grow, or a side too small.
    """

    name = "stabilised"

    def __init__(self, *, gaps: Sequence[int] = (1, 4, 16), side_px: int = 320) -> None:
        if not gaps or gaps[0] != 1 or list(gaps) != sorted(set(gaps)) or side_px < 16:
            raise WrongInput(
                f"gaps begin with 1 and grow, and side_px is at least 16, not {tuple(gaps)} and {side_px}."
            )
        self.gaps, self.side_px = tuple(gaps), side_px

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest."""
        return {"options": {"gaps": list(self.gaps), "side_px": self.side_px}}

    def stabilise(self, clip: Clip, maps: Sequence[AnyDepth], work: Path) -> Iterator[AnyDepth]:
        """One map per frame, in order, all under one scale (and shift) per shot; depth comes back as depth.

        Args:
            clip: the pictures.
            maps: one per frame at the pictures' size, each in a scale (and shift) of its own; each is read twice.
            work: keeps the links, in ``links.json``.

        Raises:
            WrongInput: maps of other sizes or of another number than the pictures, or with different unknowns.
            NeedsMetric: depth, not inverse depth, with an unknown shift.
        """
        if len(maps) == 0:
            return
        scale = maps[0].scale
        with_shift = scale == Scale.UNKNOWN_SCALE_AND_SHIFT
        factors, shifts = solve_links(self._links(clip, maps, work / _LINKS_FILE), len(maps), with_shift=with_shift)
        for number in range(len(maps)):
            found = maps[number]
            inverse = found.to_inverse_depth() if isinstance(found, DepthMap) else found
            values = inverse.values * float(factors[number]) + float(shifts[number])
            stable = replace(inverse, values=values)
            yield stable.to_depth() if isinstance(found, DepthMap) else stable

    def _links(self, clip: Clip, maps: Sequence[AnyDepth], path: Path) -> list[MapLink]:
        if path.is_file():
            return _read_links(path, len(maps))
        window: dict[int, _Frame] = {}
        links: list[MapLink] = []
        with_shift = maps[0].scale == Scale.UNKNOWN_SCALE_AND_SHIFT
        count = 0
        for number, picture in enumerate(clip):
            if number < len(maps):
                window[number] = self._frame(number, picture, maps[number], maps[0])
                for gap in self.gaps:
                    if number - gap in window:
                        link = _measure(window, number - gap, number, with_shift=with_shift)
                        if link is not None:
                            links.append(link)
                window.pop(number - self.gaps[-1], None)
            count += 1
        if count != len(maps):
            raise WrongInput(f"the clip has {count} pictures, but there are {len(maps)} maps; give one for each.")
        with io.atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"frames": count, "links": [vars(link) for link in links]}))
        return links

    def _frame(self, number: int, picture: torch.Tensor, found: AnyDepth, first: AnyDepth) -> _Frame:
        if (found.height, found.width) != tuple(picture.shape[-2:]) or found.height != first.height:
            raise WrongInput(
                f"frame {number} has a picture of {picture.shape[-1]}x{picture.shape[-2]} px and a map of "
                f"{found.width}x{found.height} px; give pictures and maps of one size."
            )
        if found.scale != first.scale or type(found) is not type(first):
            raise WrongInput(f"map {number} is not of the kind and scale of the first one; use one model for the clip.")
        inverse = found.to_inverse_depth() if isinstance(found, DepthMap) else found
        rows, columns = images.fit_size(found.height, found.width, self.side_px, least=8)
        small = inverse.resized(rows, columns)
        return _Frame(images.grey_image(picture, rows, columns), small.values.cpu().numpy(), small.valid.cpu().numpy())


def solve_links(
    links: Sequence[MapLink], frames: int, *, with_shift: bool
) -> tuple[Float[NDArray[np.float64], "t"], Float[NDArray[np.float64], "t"]]:
    """Scale and shift of every frame from what links say.

    With a, b the frames' scales and shifts and p = g q + h a link, a_second = g a_first, so log a is the least-squares
    solution of differences; then b_second - b_first = a_first p_mean - a_second q_mean. Both are reweighted by Cauchy's
    rule. Frames that links connect have scales of geometric mean 1 and shifts of mean 0; a frame without links keeps
    its own.

    Args:
        links: of two frames each.
        frames: how many there are.
        with_shift: False leaves the shifts 0.
    """
    if not links:
        return np.ones(frames), np.zeros(frames)
    first, second = (np.array([getattr(link, side) for link in links], dtype=np.intp) for side in ("first", "second"))
    weight = np.array([link.weight for link in links])
    p_mean, q_mean = (np.array([getattr(link, f"{side}_mean") for link in links]) for side in ("first", "second"))
    growth = np.log(np.array([link.factor for link in links]))
    factors = np.exp(_solve_differences(first, second, growth, weight, frames, 1e-3))
    shifts = np.zeros(frames)
    if with_shift:
        wanted = factors[first] * p_mean - factors[second] * q_mean
        size = float(np.median(np.abs(np.concatenate((p_mean, q_mean)))))
        shifts = _solve_differences(first, second, wanted, weight, frames, 1e-3 * max(size, 1e-12))
    return factors, shifts


def _solve_differences(
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    wanted: NDArray[np.float64],
    weight: NDArray[np.float64],
    count: int,
    spread: float,
) -> NDArray[np.float64]:
    """x with x_second - x_first close to what is wanted, of mean 0 in every connected part."""
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    parts, part = connected_components(graph, directed=False)
    anchors = np.array([np.flatnonzero(part == number)[0] for number in range(parts)])
    found = np.zeros(count)
    robust = np.ones(len(first))
    for _ in range(_REWEIGHTINGS):
        w = weight * robust
        diagonal = np.bincount(first, w, count) + np.bincount(second, w, count)
        diagonal[anchors] += 1.0
        rows = np.concatenate((np.arange(count), first, second))
        columns = np.concatenate((np.arange(count), second, first))
        normal = coo_matrix((np.concatenate((diagonal, -w, -w)), (rows, columns)), shape=(count, count)).tocsc()
        right = np.bincount(second, w * wanted, count) - np.bincount(first, w * wanted, count)
        found = splu(normal).solve(right)
        left = np.abs(found[second] - found[first] - wanted)
        scale = max(spread, 1.5 * float(np.median(left)))
        robust = 1 / (1 + (left / scale) ** 2)
    means = np.bincount(part, found, parts) / np.bincount(part, minlength=parts)
    centred: NDArray[np.float64] = found - means[part]
    return centred


def _measure(window: dict[int, _Frame], first: int, second: int, *, with_shift: bool) -> MapLink | None:
    one, other = window[first], window[second]
    flow = link_frames(one.grey, other.grey)
    if not flow.connected:
        return None
    height, width = one.values.shape
    every = max(1, round((height * width / _POINTS) ** 0.5))
    at = (slice(every // 2, None, every), slice(every // 2, None, every))
    x, y = (side[at] for side in grid(height, width))
    after_x, after_y = x + flow.forward[at][..., 0], y + flow.forward[at][..., 1]
    known = cv2.remap(other.valid.astype(np.float32), after_x, after_y, cv2.INTER_LINEAR) > 0.99
    use = flow.forward_ok[at] & one.valid[at] & known
    if int(use.sum()) < FEWEST_POINTS:
        return None
    p = one.values[at][use].astype(np.float64)
    q = cv2.remap(other.values, after_x, after_y, cv2.INTER_LINEAR)[use].astype(np.float64)
    line = _line(p, q) if with_shift else _ratio(p, q)
    if line is None:
        return None
    share = float(use.mean())
    return MapLink(first, second, *line, weight=share / math.sqrt(second - first))


def _line(p: NDArray[np.float64], q: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Factor and a point of p = g q + h.

    It starts with the median slope between pairs of points (Theil and Sen) and goes on with the ratio of spreads, which
    is the same both ways, under Cauchy's weights.
    """
    size, p_centre, q_centre = float(np.abs(q).max()), float(np.median(p)), float(np.median(q))
    other = np.random.default_rng(0).permutation(len(p))
    p_apart, q_apart = p - p[other], q - q[other]
    far = np.abs(q_apart) >= np.median(np.abs(q_apart))
    if not float(np.abs(q_apart[far]).min()) > 1e-6 * size:
        return None
    factor = float(np.median(p_apart[far] / q_apart[far]))
    if not factor > 0:
        return None
    for _ in range(_REWEIGHTINGS):
        left = p - p_centre - factor * (q - q_centre)
        left = np.abs(left - np.median(left)) / (factor * float(np.abs(q - q_centre).mean()))
        weight = 1 / (1 + (left / max(_SPREAD_SHARE, 1.5 * float(np.median(left)))) ** 2) ** 2
        p_centre, q_centre = float(np.average(p, weights=weight)), float(np.average(q, weights=weight))
        p_spread = np.average((p - p_centre) ** 2, weights=weight)
        q_spread = np.average((q - q_centre) ** 2, weights=weight)
        factor = float(np.sqrt(p_spread / q_spread))
    return factor, p_centre, q_centre


def _ratio(p: NDArray[np.float64], q: NDArray[np.float64]) -> tuple[float, float, float] | None:
    positive = (p > 0) & (q > 0)
    if int(positive.sum()) < FEWEST_POINTS:
        return None
    factor = float(np.exp(np.median(np.log(p[positive] / q[positive]))))
    return factor, float(p[positive].mean()), float(q[positive].mean())


def _read_links(path: Path, frames: int) -> list[MapLink]:
    found = io.read_json(path, remedy="delete it to have it made again.")
    try:
        links = [MapLink(**link) for link in found["links"]]
        known = int(found["frames"])
    except (KeyError, TypeError) as error:
        raise WrongFile(f"{path} does not hold links of maps; delete it to have it made again.") from error
    if known != frames:
        raise WrongFile(f"{path} belongs to a clip of {known} frames, not {frames}; delete it to have it made again.")
    return links
