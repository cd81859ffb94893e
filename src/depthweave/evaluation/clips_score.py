"""Second pass on clips: maps on disk and ground truth in, numbers out; no model is touched."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from depthweave.data import ClipItem
from depthweave.errors import DepthweaveError, NeedsMetric, WrongFile, WrongInput
from depthweave.evaluation.clips_measure import ERRORS, ClipScore, RegionScore, measure_clip
from depthweave.evaluation.clips_motion import MovingParts
from depthweave.evaluation.clips_predict import ClipMaps
from depthweave.evaluation.clips_protocols import CLIP_METRICS, ClipProtocol, Space, clip_protocol, clip_protocols_for
from depthweave.evaluation.predict import Run
from depthweave.metrics import BANDS, BandEdges

Motion = Literal["masks", "flow"]


@dataclass(frozen=True)
class RegionAverage:
    """One region over all clips: metrics, bands F0 to F10 and change by error, and the clips behind them."""

    values: Mapping[str, float]
    bands: Mapping[str, list[float]]
    change: Mapping[str, float]
    clips: int


@dataclass(frozen=True)
class ClipScores:
    """All numbers of one run.

    Attributes:
        name: of the run.
        model: of the run.
        edges: of the frequency bands.
        protocols: those that could be measured.
        clips: by name of protocol, in the order of the benchmark.
        averages: by name of protocol and region.
        failed: sentence by key of clips without a usable prediction or truth.
        left_out: sentence by name of protocols that the predictions do not allow.
        seconds_per_frame: of all clips together, None if the run has no times.
    """

    name: str
    model: str | None
    edges: BandEdges
    protocols: tuple[ClipProtocol, ...]
    clips: Mapping[str, tuple[ClipScore, ...]]
    averages: Mapping[str, Mapping[str, RegionAverage]]
    failed: Mapping[str, str]
    left_out: Mapping[str, str]
    seconds_per_frame: float | None


def score_clips(
    run: Run,
    *,
    root: str | Path | None = None,
    protocols: Sequence[str] | None = None,
    edges: BandEdges = "exponential",
    motion: Motion = "masks",
) -> ClipScores:
    """Measure every clip of a run. A clip that cannot be measured is reported and the rest goes on.

    Args:
        run: see `Run.read`.
        root: where the benchmark lies, if not where `predict` found it.
        protocols: names; by default those of the benchmark that are scored by default.
        edges: of the frequency bands, see `depthweave.metrics.frequency_bands`.
        motion: what tells "static" from "dynamic": "masks" of the reader (none, no split), or "flow" for what does not
            move with the true depth and poses.

    Raises:
        UnknownBenchmark: a protocol that does not exist.
        WrongInput: a protocol of another benchmark, or one that the predictions do not allow.
        WrongFile: no clip has a ground truth.
    """
    if protocols is None:
        wanted = tuple(each for each in clip_protocols_for(run.benchmark) if each.by_default)
    else:
        wanted = tuple(clip_protocol(name) for name in protocols)
    for chosen in wanted:
        if chosen.benchmark != run.benchmark:
            raise WrongInput(f"{chosen.name} is a protocol of {chosen.benchmark}, but the run is on {run.benchmark}.")
    found: dict[str, list[ClipScore]] = {each.name: [] for each in wanted}
    failed: dict[str, str] = {}
    left_out: dict[str, str] = {}
    seconds, frames = 0.0, 0
    for item in run.clips(root):
        try:
            scores, missing = _measure(run, item, wanted, edges, motion)
            if run.facts_path(item.key).is_file():
                seconds += run.facts(item.key)["seconds"]
                frames += len(item)
        except DepthweaveError as error:
            failed[item.key] = str(error)
            continue
        for name, reason in missing.items():
            if isinstance(reason, NeedsMetric):
                left_out.setdefault(name, str(reason))
            else:
                failed.setdefault(item.key, f"{name}: {reason}")
        for name, score in scores.items():
            found[name].append(score)
    if protocols is not None and left_out:
        raise WrongInput(f"{next(iter(left_out))} cannot be measured: {next(iter(left_out.values()))}")
    measured = tuple(each for each in wanted if each.name not in left_out and found[each.name])
    return ClipScores(
        run.name,
        run.model.get("model"),
        edges,
        measured,
        {each.name: tuple(found[each.name]) for each in measured},
        {each.name: averages(each, found[each.name]) for each in measured},
        failed,
        left_out,
        seconds / frames if frames else None,
    )


def averages(protocol: ClipProtocol, clips: Sequence[ClipScore]) -> dict[str, RegionAverage]:
    """The mean over clips, by region; clips without a pixel in a region are left out of it.

    Args:
        protocol: "per-frame" counts every clip once, "pooled" by its pixels.
        clips: measured under it.
    """
    found = {}
    for name in dict.fromkeys(name for clip in clips for name in clip.regions):
        regions = [clip.regions[name] for clip in clips if name in clip.regions]
        used = [region for region in regions if region.values[CLIP_METRICS[0]].count]
        weights = [_weight(protocol, region) for region in used]
        found[name] = RegionAverage(
            {metric: _mean((r.values[metric].value for r in used), weights) for metric in CLIP_METRICS},
            {error: [_mean((r.bands[error][b] for r in used), weights) for b in range(BANDS)] for error in ERRORS},
            {error: _mean((r.change[error] for r in used), weights) for error in ERRORS},
            len(used),
        )
    return found


def _measure(
    run: Run, item: ClipItem, protocols: Sequence[ClipProtocol], edges: BandEdges, motion: Motion
) -> tuple[dict[str, ClipScore], dict[str, DepthweaveError]]:
    if not item.has_truth:
        raise WrongFile(f"{item.key} has no ground truth; add the truth files or leave the clip out.")
    maps = ClipMaps(run, item.key)
    dynamic = MovingParts(item) if motion == "flow" else None if item.masks is None else item.mask
    return measure_clip(
        protocols,
        item.key,
        len(item),
        maps,
        item.truth,
        dynamic=dynamic,
        own_space=cast(Space | None, maps.own_space),
        edges=edges,
    )


def _weight(protocol: ClipProtocol, region: RegionScore) -> float:
    return 1.0 if protocol.averaging == "per-frame" else float(region.values[CLIP_METRICS[0]].count)


def _mean(values: Iterable[float], weights: Sequence[float]) -> float:
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if not math.isnan(v)]
    return math.fsum(v * w for v, w in pairs) / math.fsum(w for _, w in pairs) if pairs else math.nan
