"""Second pass on ordered points: how often maps on disk disagree with people about which of two points is farther."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from depthweave import io
from depthweave.data import OrdinalItem
from depthweave.errors import DepthweaveError, WrongFile
from depthweave.evaluation.predict import Run
from depthweave.evaluation.report import Table, to_csv, to_markdown
from depthweave.metrics import whdr
from depthweave.types import DepthMap, read_map


@dataclass(frozen=True)
class PictureOrder:
    """One picture.

    Attributes:
        key: of the picture.
        whdr: share of its pairs that are in the wrong order, NaN without a pair.
        pairs: how many there are.
        seconds: that its map took, None if the run has no times.
    """

    key: str
    whdr: float
    pairs: int
    seconds: float | None


@dataclass(frozen=True)
class OrdinalScores:
    """All numbers of one run.

    Attributes:
        name: of the run.
        model: of the run, None for predictions of other programs.
        benchmark: of the run.
        whdr: share of all pairs that are in the wrong order, NaN without a pair. Every pair counts once.
        pairs: how many there are.
        pictures: in the order of the benchmark.
        failed: sentence by key of pictures without a usable map or truth.
        median_seconds: of the pictures, None if the run has no times.
    """

    name: str
    model: str | None
    benchmark: str
    whdr: float
    pairs: int
    pictures: tuple[PictureOrder, ...]
    failed: Mapping[str, str]
    median_seconds: float | None


def score_order(run: Run, *, root: str | Path | None = None) -> OrdinalScores:
    """Measure the disagreement of a run; pairs that are about equally far are left out.

    A picture without a map, or with a damaged one, is reported and the rest goes on. Fillers count like other values.

    Args:
        run: on one of `depthweave.data.PICTURE_BENCHMARKS`, see `Run.read`.
        root: where the benchmark lies, if not where `predict_pictures` found it.

    Raises:
        UnknownBenchmark: the run is on pairs or clips.
        WrongFile, WrongInput: the benchmark cannot be opened.

    Source: Chen et al., Single-image depth perception in the wild, NeurIPS 2016, section 4 (WHDR).
    """
    scored: list[PictureOrder] = []
    failed: dict[str, str] = {}
    for item in run.pictures(root):
        try:
            scored.append(_measure(run, item))
        except DepthweaveError as error:
            failed[item.key] = str(error)
    pairs = sum(picture.pairs for picture in scored)
    wrong = math.fsum(picture.whdr * picture.pairs for picture in scored if picture.pairs)
    times = [picture.seconds for picture in scored if picture.seconds is not None]
    return OrdinalScores(
        name=run.name,
        model=run.model.get("model"),
        benchmark=run.benchmark,
        whdr=wrong / pairs if pairs else math.nan,
        pairs=pairs,
        pictures=tuple(scored),
        failed=failed,
        median_seconds=median(times) if times else None,
    )


def order_table(runs: Sequence[OrdinalScores]) -> Table:
    """One row per run."""
    header = ["run", "model", "benchmark", "whdr [%]", "pairs", "pictures", "time [s]"]
    rows = [
        [
            each.name,
            each.model or "",
            each.benchmark,
            _percent(each.whdr),
            str(each.pairs),
            str(len(each.pictures)),
            _seconds(each.median_seconds),
        ]
        for each in runs
    ]
    return header, rows


def picture_table(scores: OrdinalScores) -> Table:
    """One row per picture."""
    rows = [[each.key, _percent(each.whdr), str(each.pairs), _seconds(each.seconds)] for each in scores.pictures]
    return ["picture", "whdr [%]", "pairs", "time [s]"], rows


def to_json(scores: OrdinalScores) -> dict[str, Any]:
    """Everything as plain values; NaN becomes null."""
    pictures = {each.key: asdict(each) | {"whdr": _null(each.whdr)} for each in scores.pictures}
    for content in pictures.values():
        del content["key"]
    return {
        "run": scores.name,
        "model": scores.model,
        "benchmark": scores.benchmark,
        "median_seconds": scores.median_seconds,
        "whdr": _null(scores.whdr),
        "pairs": scores.pairs,
        "items": pictures,
        "failed": dict(scores.failed),
    }


def write_order_report(run: Run, scores: OrdinalScores) -> None:
    """Put ``scores.json``, ``scores.md`` and ``items.csv`` into the run folder."""
    texts = {
        "scores.json": json.dumps(to_json(scores), indent=1) + "\n",
        "scores.md": f"# {scores.name}\n\n{to_markdown(order_table([scores]))}",
        "items.csv": to_csv(picture_table(scores)),
    }
    for name, text in texts.items():
        with io.atomic_path(run.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _measure(run: Run, item: OrdinalItem) -> PictureOrder:
    if not run.map_path(item.key).is_file():
        raise WrongFile(f"{run.folder} has no map for {item.key}; run `depthweave predict` again to finish it.")
    found = read_map(run.map_path(item.key))
    given = item.read_pairs(found.height, found.width)
    farther = found.values if isinstance(found, DepthMap) else -found.values
    told = given.relation != 0
    value, count = whdr(farther, given.first_px[told], given.second_px[told], given.relation[told])
    seconds = run.facts(item.key)["seconds"] if run.facts_path(item.key).is_file() else None
    return PictureOrder(item.key, float(value), int(count), seconds)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
