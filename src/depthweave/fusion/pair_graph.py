"""Which frames look at each other: the named graphs of DUSt3R and MonST3R, and what hangs together in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as components_of_matrix

from depthweave.errors import WrongInput

KINDS = "complete, oneref-R, swin-N, logwin-N, swinstride-N, swin2stride-N (the last four also with -noncyclic)"
_NAME = re.compile(
    r"(complete|oneref-(?P<reference>\d+)|(?P<window>swin|logwin|swinstride|swin2stride)-(?P<count>\d+)"
    r"(?P<noncyclic>-noncyclic)?)"
)


@dataclass(frozen=True)
class _Graph:
    """A parsed name: all pairs, all with one reference frame, or pairs at given distances, around the end or not."""

    reference: int | None = None
    distances: tuple[int, ...] | None = None
    cyclic: bool = False


def pair_graph(kind: str, frames: int, *, symmetric: bool = True) -> list[tuple[int, int]]:
    """Directed pairs of frames of a named graph; no frame is paired with itself, no pair is listed twice.

    Args:
        kind: ``complete``; ``oneref-R``: frame R with all others; and pairs at set distances: ``swin-N`` 1..N,
            ``logwin-N`` 1, 2, 4, .. 2^(N-1), ``swinstride-N`` 1, 3, 5, .. (N of them), ``swin2stride-N`` 1, 4, 7, ..;
            these four go around the end (last frame with first) unless the name ends in ``-noncyclic``.
        frames: how many there are.
        symmetric: append the flipped pairs. (MonST3R leaves them out of oneref and swin-1 graphs.)

    Returns:
        Pairs (first, second): (larger, smaller) for ``complete``, (R, other) for ``oneref``, (smaller, larger) else.

    Raises:
        WrongInput: the name is unknown, or the reference frame does not exist.

    Source: Wang et al., DUSt3R, CVPR 2024, section 3.4; Zhang et al., MonST3R, ICLR 2025, section 3.3 (strides).
    """
    graph = _parse(kind)
    if frames < 1:
        raise WrongInput(f"a graph of pairs needs at least one frame, not {frames}.")
    pairs: list[tuple[int, int]]
    if graph.reference is not None:
        if graph.reference >= frames:
            raise WrongInput(f"'{kind}' asks for frame {graph.reference}, but there are {frames} frames, from 0.")
        pairs = [(graph.reference, other) for other in range(frames) if other != graph.reference]
    elif graph.distances is None:
        pairs = [(late, early) for late in range(frames) for early in range(late)]
    else:
        ends = ((t, t + distance) for t in range(frames) for distance in graph.distances)
        if not graph.cyclic:
            ends = ((t, end) for t, end in ends if end < frames)
        wrapped = ((min(t, u % frames), max(t, u % frames)) for t, u in ends)
        pairs = list(dict.fromkeys(pair for pair in wrapped if pair[0] != pair[1]))
    return pairs + [(second, first) for first, second in pairs] if symmetric else pairs


def earlier_partners(kind: str, frame: int, frames: int | None = None) -> list[int]:
    """Frames below ``frame`` that a named graph pairs it with, in increasing order: what a stream asks for.

    Args:
        kind: name as in `pair_graph`.
        frame: number of the frame, from 0.
        frames: how many there are; needed by graphs that go around the end, None where it is not known.

    Raises:
        WrongInput: the name is unknown, or it goes around the end and ``frames`` is None.
    """
    graph = _parse(kind)
    if graph.reference is not None:
        return list(range(frame)) if frame == graph.reference else [graph.reference] * (graph.reference < frame)
    if graph.distances is None:
        return list(range(frame))
    if graph.cyclic and frames is None:
        raise WrongInput(
            f"'{kind}' goes around the end of the clip, so the number of frames must be known; "
            f"use '{kind}-noncyclic' for a stream."
        )
    partners = {frame - distance for distance in graph.distances}
    if graph.cyclic and frames is not None:
        partners = {(frame + sign * distance) % frames for distance in graph.distances for sign in (-1, 1)}
    return sorted(partner for partner in partners if 0 <= partner < frame)


def graph_window(kind: str) -> int | None:
    """How many earlier frames a stream must keep for a named graph; None: all of them.

    Raises:
        WrongInput: the name is unknown.
    """
    graph = _parse(kind)
    return None if graph.distances is None or graph.cyclic else max(graph.distances)


def connected_components(pairs: Sequence[tuple[int, int]], frames: int) -> list[list[int]]:
    """Groups of frames that pairs (of either direction) connect, largest first, then by their first frame.

    Args:
        pairs: numbers of frames, each below ``frames``.
        frames: how many there are; a frame without a pair is a group of its own.

    Raises:
        WrongInput: a pair names a frame that does not exist.
    """
    ends = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    wrong = ends[((ends < 0) | (ends >= frames)).any(1)]
    if len(wrong):
        raise WrongInput(f"pair {tuple(wrong[0].tolist())} names a frame that does not exist; there are {frames}.")
    matrix = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(frames, frames))
    labels = components_of_matrix(matrix, directed=False)[1]
    groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _parse(kind: str) -> _Graph:
    found = _NAME.fullmatch(kind)
    if found is None:
        raise WrongInput(f"there is no graph of pairs named '{kind}'; known are {KINDS}.")
    if found["reference"] is not None:
        return _Graph(reference=int(found["reference"]))
    if found["window"] is None:
        return _Graph()
    count = int(found["count"])
    if count < 1:
        raise WrongInput(f"'{kind}' pairs no frames at all; its number must be at least 1.")
    distances = {
        "swin": range(1, count + 1),
        "logwin": [2**k for k in range(count)],
        "swinstride": range(1, 2 * count, 2),
        "swin2stride": range(1, 3 * count - 1, 3),
    }[found["window"]]
    return _Graph(distances=tuple(distances), cyclic=found["noncyclic"] is None)
