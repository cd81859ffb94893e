"""Scores of clips as tables and plots."""

import json
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from depthweave import io
from depthweave.evaluation.clips_measure import ERRORS, ClipScore, closed_gaps
from depthweave.evaluation.clips_protocols import CLIP_METRICS
from depthweave.evaluation.clips_score import ClipScores
from depthweave.evaluation.predict import Run
from depthweave.evaluation.report import Table, to_csv, to_markdown
from depthweave.metrics import BANDS, amplitude_ratio, amplitude_spectrum

_BAND_NAMES = [f"F{number}" for number in range(BANDS)]
_UNITS = {"rmse": "rmse [m]"}


def average_table(scores: ClipScores) -> Table:
    """One row per protocol and region: the metrics and how much AbsRel changes from frame to frame."""
    header = ["protocol", "region", *(_UNITS.get(name, name) for name in CLIP_METRICS), "abs-rel change", "clips"]
    rows = []
    for p in scores.protocols:
        for region, found in scores.averages[p.name].items():
            numbers = [*(found.values[metric] for metric in CLIP_METRICS), found.change["abs-rel"]]
            rows.append([p.name, region, *map(_number, numbers), str(found.clips)])
    return header, rows


def band_table(scores: ClipScores, protocol_name: str) -> Table:
    """One row per error and region under one protocol: its bands F0 to F10, mean over the clips."""
    rows = []
    for region, found in scores.averages[protocol_name].items():
        rows += [[error, region, *map(_number, found.bands[error])] for error in ERRORS]
    return ["error", "region", *_BAND_NAMES], rows


def clip_table(scores: ClipScores, protocol_name: str) -> Table:
    """One row per clip under one protocol."""
    header = ["clip", *(_UNITS.get(name, name) for name in CLIP_METRICS), "flicker [%]", "drift [% / 100 frames]"]
    header += ["scale range [%]", "space", "covered [%]", "frames"]
    rows = []
    for clip in scores.clips[protocol_name]:
        values = [clip.regions["all"].values[name].value for name in CLIP_METRICS]
        numbers = [*values, clip.flicker_percent, *clip.drift]
        frames = f"{clip.frames}" + (f" ({clip.missing} missing)" if clip.missing else "")
        rows.append([clip.key, *map(_number, numbers), clip.space, f"{clip.coverage_percent:.1f}", frames])
    return header, rows


def comparison_table(runs: Sequence[ClipScores]) -> Table:
    """One row per run and protocol that all share: metrics, flicker, drift and bands of AbsRel; * marks the best."""
    header = ["run", "protocol", *(_UNITS.get(name, name) for name in CLIP_METRICS), "flicker [%]", "scale range [%]"]
    header += ["F0 to F2", "F6 to F10", "time [s / frame]"]
    rows = []
    for p in (p for p in runs[0].protocols if all(p.name in run.averages for run in runs)):
        columns = [_compared(run, p.name) for run in runs]
        for index, run in enumerate(runs):
            cells = []
            for number, value in enumerate(columns[index]):
                better = max if CLIP_METRICS[number : number + 1] in (("delta-1",), ("delta-2",)) else min
                known = [column[number] for column in columns if not math.isnan(column[number])]
                best = len(runs) > 1 and bool(known) and value == better(known)
                cells.append(_number(value) + (" *" if best else ""))
            seconds = "" if run.seconds_per_frame is None else f"{run.seconds_per_frame:.3f}"
            rows.append([run.name, p.name, *cells, seconds])
    return header, rows


def to_json(scores: ClipScores) -> dict[str, Any]:
    """Everything as plain values; NaN becomes null."""
    content = {
        "run": scores.name,
        "model": scores.model,
        "seconds_per_frame": scores.seconds_per_frame,
        "band_edges": scores.edges,
        "averages": {
            name: {
                region: {"values": a.values, "bands": a.bands, "change": a.change, "clips": a.clips}
                for region, a in regions.items()
            }
            for name, regions in scores.averages.items()
        },
        "clips": {name: {clip.key: _clip(clip) for clip in clips} for name, clips in scores.clips.items()},
        "protocols": {p.name: {"citation": p.citation, "notes": p.notes} for p in scores.protocols},
        "failed": scores.failed,
        "left_out": scores.left_out,
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def write_clip_report(run: Run, scores: ClipScores) -> None:
    """Put ``scores.json``, ``scores.md``, ``frames.csv`` and ``plots/<clip>.png`` into the run folder."""
    _write(run.folder / "scores.json", json.dumps(to_json(scores), indent=1) + "\n")
    parts = [f"# {scores.name}\n\n{to_markdown(average_table(scores))}"]
    rows: list[list[str]] = []
    for p in scores.protocols:
        parts.append(f"## {p.name}\n\n{p.citation}\n\n{p.notes}\n\n{to_markdown(clip_table(scores, p.name))}")
        parts.append(f"Frequency bands ({scores.edges}):\n\n{to_markdown(band_table(scores, p.name))}")
        for clip in scores.clips[p.name]:
            for region, found in clip.regions.items():
                for index, count in enumerate(found.counts):
                    values = [repr(found.series[name][index]) for name in CLIP_METRICS]
                    rows.append([p.name, clip.key, region, str(index), *values, str(count)])
    _write(run.folder / "scores.md", "\n".join(parts))
    _write(run.folder / "frames.csv", to_csv((["protocol", "clip", "region", "frame", *CLIP_METRICS, "pixels"], rows)))
    for p in scores.protocols[:1]:
        for clip in scores.clips[p.name]:
            plot_clips(run.folder / "plots" / f"{clip.key}.png", f"{clip.key}, {p.name}", {scores.name: clip})


def write_comparison(folder: Path, runs: Sequence[ClipScores]) -> list[Path]:
    """Plot the first run against each other one, clip by clip, under the first protocol that all share.

    Args:
        folder: gets ``<clip>.png``.
        runs: two or more; ratios are amplitudes of the first over the last.

    Returns:
        The files.
    """
    shared = [p.name for p in runs[0].protocols if all(p.name in run.averages for run in runs)]
    files = []
    for name in shared[:1]:
        by_key = [{clip.key: clip for clip in run.clips[name]} for run in runs]
        for key in (key for key in by_key[0] if all(key in clips for clips in by_key)):
            files.append(folder / f"{key}.png")
            clips = {run.name: found[key] for run, found in zip(runs, by_key, strict=True)}
            plot_clips(files[-1], f"{key}, {name}", clips)
    return files


def plot_clips(path: Path, title: str, clips: dict[str, ClipScore]) -> None:
    """Error over time, its amplitude spectrum and its bands; with two or more clips also the ratio of amplitudes.

    Args:
        path: the picture to write.
        title: of the figure.
        clips: the same clip by several methods, by their names; the ratio is the first over the last.

    Source: StereoDiff, Figure 3.
    """
    from matplotlib.figure import Figure

    names = list(clips)
    columns = 3 + (len(names) > 1)
    figure = Figure(figsize=(4.6 * columns, 3.2 * len(ERRORS)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(ERRORS), columns, squeeze=False)
    for row, error in zip(axes, ERRORS, strict=True):
        series = {name: closed_gaps(clip.regions["all"].errors(error)) for name, clip in clips.items()}
        for number, (name, clip) in enumerate(clips.items()):
            row[0].plot(clip.regions["all"].errors(error), label=name, linewidth=1)
            values = series[name]
            if values is None:
                continue
            # The mean (k = 0) would stand on no logarithmic axis.
            row[1].plot(range(1, len(values) // 2 + 1), amplitude_spectrum(values)[1:], label=name, linewidth=1)
            places = [band + 0.8 * number / len(names) for band in range(BANDS)]
            row[2].bar(places, clip.regions["all"].bands[error], width=0.8 / len(names), align="edge", label=name)
        row[0].set(xlabel="frame", ylabel=_UNITS.get(error, error))
        row[1].set(xlabel="frequency k", ylabel="amplitude |F_k|")
        row[2].set(xlabel="band", ylabel=_UNITS.get(error, error), xticks=[b + 0.4 for b in range(BANDS)])
        row[2].set_xticklabels(_BAND_NAMES, fontsize=7)
        first, last = series[names[0]], series[names[-1]]
        if len(names) > 1 and first is not None and last is not None and len(first) == len(last):
            row[3].plot(range(1, len(first) // 2 + 1), amplitude_ratio(first, last)[1:], linewidth=1)
            row[3].axhline(1.0, color="grey", linewidth=0.8)
            row[3].set(xlabel="frequency k", ylabel=f"{names[0]} / {names[-1]}")
        for axis in row[1:]:
            drawn = [*(line.get_ydata() for line in axis.lines), *([bar.get_height()] for bar in axis.patches)]
            # A perfect prediction has nothing that a logarithm could show.
            if any(value > 0 for values in drawn for value in values):
                axis.set_yscale("log")
    axes[0][0].legend(fontsize=8)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    with io.atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _compared(run: ClipScores, protocol_name: str) -> list[float]:
    found = run.averages[protocol_name]["all"]
    clips = run.clips[protocol_name]
    bands = found.bands["abs-rel"]
    return [
        *(found.values[name] for name in CLIP_METRICS),
        sum(clip.flicker_percent for clip in clips) / len(clips),
        sum(clip.drift.range_percent for clip in clips) / len(clips),
        sum(bands[:3]),
        sum(bands[6:]),
    ]


def _clip(clip: ClipScore) -> dict[str, Any]:
    return {
        "space": clip.space,
        "scale": clip.scale,
        "shift": clip.shift,
        "coverage_percent": clip.coverage_percent,
        "frames": clip.frames,
        "missing": clip.missing,
        "flicker_percent": clip.flicker_percent,
        "drift": clip.drift._asdict(),
        "regions": {
            name: {
                "values": {metric: m._asdict() for metric, m in region.values.items()},
                "bands": region.bands,
                "change": region.change,
                "series": region.series,
                "pixels": region.counts,
            }
            for name, region in clip.regions.items()
        },
    }


def _plain(content: Any) -> Any:
    if isinstance(content, float):
        return None if math.isnan(content) else content
    if hasattr(content, "items"):
        return {key: _plain(value) for key, value in content.items()}
    return [_plain(value) for value in content] if isinstance(content, list | tuple) else content


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _write(path: Path, text: str) -> None:
    with io.atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
