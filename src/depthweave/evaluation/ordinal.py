"""How often a model for single pictures disagrees with people about which of two points is farther."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthweave import runtime
from depthweave.data import open_pictures
from depthweave.errors import DepthweaveError, sentence_of
from depthweave.metrics import whdr
from depthweave.types import DepthMap, InverseDepthMap, Picture

Answering = Callable[[Picture], DepthMap | InverseDepthMap]


@dataclass(frozen=True)
class OrdinalScore:
    """Disagreement over a benchmark.

    Attributes:
        whdr: share of all pairs that are in the wrong order, NaN without a pair.
        pairs: how many there are.
        pictures: how many were seen.
        failed: sentence of the error of each picture that failed, by key.
    """

    whdr: float
    pairs: int
    pictures: int
    failed: dict[str, str]


def score_order(
    model: Answering, benchmark: str, root: str | Path, *, limit: int | None = None, **options: Any
) -> OrdinalScore:
    """Run a model over the pictures of a benchmark of ordered points and measure its disagreement.

    A picture that fails is reported and the rest goes on. Every pair counts once, pictures with more pairs count more.

    Args:
        model: such as `depthweave.load("depth-anything-v2-small")`.
        benchmark: one of `depthweave.data.PICTURE_BENCHMARKS`.
        root: the folder it was unpacked to.
        limit: only the first so many pictures.
        options: of the benchmark's reader.

    Raises:
        UnknownBenchmark, WrongFile, WrongInput: as `open_pictures`.
    """
    items = open_pictures(benchmark, root, **options)[:limit]
    wrong, pairs, failed = 0.0, 0, dict[str, str]()
    for item in runtime.progress(items, label=benchmark, total=len(items)):
        try:
            found = model(item.read_picture())
            given = item.read_pairs(found.height, found.width)
        except DepthweaveError as error:
            failed[item.key] = sentence_of(error)
            continue
        farther = found.values if isinstance(found, DepthMap) else -found.values
        told = given.relation != 0
        value, count = whdr(farther, given.first_px[told], given.second_px[told], given.relation[told])
        if count:
            wrong, pairs = wrong + value * count, pairs + count
    return OrdinalScore(wrong / pairs if pairs else float("nan"), pairs, len(items) - len(failed), failed)
