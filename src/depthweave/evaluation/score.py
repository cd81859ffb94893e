"""Second pass: predictions on disk and ground truth in, numbers out; no model is touched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from depthweave.data import StereoItem, StereoTruth
from depthweave.errors import DepthweaveError, WrongFile, WrongInput
from depthweave.evaluation.predict import Run
from depthweave.evaluation.protocols import Average, Protocol, average, evaluate_item, protocol, protocols_for
from depthweave.metrics import Measurement
from depthweave.types import DisparityMap


@dataclass(frozen=True)
class ItemScore:
    """One item: its measurements by protocol name, and what the prediction says of itself."""

    key: str
    measured: Mapping[str, Mapping[str, Measurement]]
    seconds: float | None
    valid_percent: float


@dataclass(frozen=True)
class Scores:
    """All numbers of one run.

    Attributes:
        name: of the run.
        model: of the run, None for predictions of other programs.
        protocols: those that could be measured.
        items: by key, in the order of the benchmark.
        averages: by protocol name and metric.
        failed: sentence by key of items without a usable prediction or truth.
        left_out: sentence by protocol name of protocols that the truth, or the weights of its average, do not allow.
        median_seconds: of the items, None if the run has no times.
    """

    name: str
    model: str | None
    protocols: tuple[Protocol, ...]
    items: tuple[ItemScore, ...]
    averages: Mapping[str, Mapping[str, Average]]
    failed: Mapping[str, str]
    left_out: Mapping[str, str]
    median_seconds: float | None


def score(
    run: Run,
    *,
    root: str | Path | None = None,
    protocols: Sequence[str] | None = None,
    each: Callable[[StereoItem, DisparityMap, StereoTruth], None] | None = None,
) -> Scores:
    """Measure every prediction of a run. Predictions count as dense: fillers are scored like measurements.

    An item without a prediction, or with a damaged one, is reported and the rest goes on.

    Args:
        run: see `Run.read`.
        root: where the benchmark lies, if not where `predict` found it.
        protocols: names; by default all of the benchmark that can be measured.
        each: called with every scored item, e.g. to draw it.

    Raises:
        UnknownBenchmark: a protocol that does not exist.
        WrongInput: a protocol of another benchmark, or one whose region or weights the items do not have.
        WrongFile: no item has a ground truth.
    """
    wanted = protocols_for(run.benchmark) if protocols is None else tuple(protocol(name) for name in protocols)
    for chosen in wanted:
        if chosen.benchmark != run.benchmark:
            raise WrongInput(f"{chosen.name} is a protocol of {chosen.benchmark}, but the run is on {run.benchmark}.")
    scored: list[ItemScore] = []
    failed: dict[str, str] = {}
    left_out: dict[str, str] = {}
    items = [item for item in run.items(root) if item.has_truth]
    if not items:
        raise WrongFile(f"{root or run.root} has no ground truth for {run.benchmark}; use `depthweave submit` instead.")
    for item in items:
        try:
            prediction, truth = read_prediction(run, item.key), item.read_truth()
            missing = {p.name: p for p in wanted if p.region not in truth.regions}
            for name, p in missing.items():
                left_out.setdefault(name, f"{item.key} has no mask for region '{p.region}'")
            measured = {
                p.name: evaluate_item(p, prediction.values, truth.disparity, truth.regions)
                for p in wanted
                if p.name not in missing
            }
            seconds = run.facts(item.key)["seconds"] if run.facts_path(item.key).is_file() else None
        except DepthweaveError as error:
            failed[item.key] = str(error)
            continue
        scored.append(ItemScore(item.key, measured, seconds, 100 * float(prediction.valid.float().mean())))
        if each is not None:
            each(item, prediction, truth)
    if protocols is not None and left_out:
        raise WrongInput(f"{next(iter(left_out))} cannot be measured: {next(iter(left_out.values()))}.")
    averages: dict[str, Mapping[str, Average]] = {}
    for p in (p for p in wanted if p.name not in left_out):
        try:
            averages[p.name] = average(p, {item.key: item.measured[p.name] for item in scored})
        except WrongInput as error:
            if protocols is not None:
                raise
            left_out[p.name] = str(error)
    times = [item.seconds for item in scored if item.seconds is not None]
    return Scores(
        name=run.name,
        model=run.model.get("model"),
        protocols=tuple(p for p in wanted if p.name in averages),
        items=tuple(scored),
        averages=averages,
        failed=failed,
        left_out=left_out,
        median_seconds=median(times) if times else None,
    )


def prediction_path(run: Run, key: str) -> Path | None:
    """The prediction of an item: ``items/<key>.npz``, or a ``.pfm`` that another program put there."""
    return next(filter(Path.is_file, (run.map_path(key), run.map_path(key).with_suffix(".pfm"))), None)


def read_prediction(run: Run, key: str) -> DisparityMap:
    """The prediction of an item, see `prediction_path`.

    Raises:
        WrongFile: there is none, or it is damaged.
    """
    path = prediction_path(run, key)
    if path is None:
        raise WrongFile(f"{run.folder} has no prediction for {key}; run `depthweave predict` again to finish it.")
    return DisparityMap.read(path)
