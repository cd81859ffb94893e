"""Scores as tables and pictures."""

import csv
import io as text_io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depthweave import images, io
from depthweave.data import StereoItem, StereoTruth
from depthweave.errors import WrongFile
from depthweave.evaluation.predict import Run
from depthweave.evaluation.score import Scores
from depthweave.types import DisparityMap, read_picture

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""


def summary_table(scores: Scores) -> Table:
    """One row per protocol: its metrics, and how many items stand behind them."""
    metrics = list(dict.fromkeys(name for p in scores.protocols for name in p.metrics))
    header = ["protocol", *(_label(scores, name) for name in metrics), "items"]
    rows = []
    for p in scores.protocols:
        found = scores.averages[p.name]
        used = found[p.headline]
        items = f"{used.used}" + (f" ({used.skipped} without pixels)" if used.skipped else "")
        rows.append([p.name, *(_number(found[m].value) if m in found else "" for m in metrics), items])
    return header, rows


def item_table(scores: Scores, protocol_name: str) -> Table:
    """One row per item under one protocol."""
    chosen = next(p for p in scores.protocols if p.name == protocol_name)
    header = ["item", *(_label(scores, name) for name in chosen.metrics), "pixels", "valid [%]", "time [s]"]
    rows = []
    for item in scores.items:
        measured = item.measured[protocol_name]
        rows.append(
            [
                item.key,
                *(_number(measured[name].value) for name in chosen.metrics),
                str(measured[chosen.headline].count),
                f"{item.valid_percent:.1f}",
                "" if item.seconds is None else f"{item.seconds:.3f}",
            ]
        )
    return header, rows


def comparison_table(runs: Sequence[Scores]) -> Table:
    """One row per run, one column per headline metric of every protocol that all runs share; * marks the best."""
    shared = [p for p in runs[0].protocols if all(p.name in other.averages for other in runs)]
    header = ["run", "model", *(f"{p.headline} {p.name}" for p in shared), "items", "time [s]"]
    columns = [[run.averages[p.name][p.headline].value for run in runs] for p in shared]
    rows = []
    for index, run in enumerate(runs):
        cells = []
        for column in columns:
            known = [value for value in column if not math.isnan(value)]
            best = len(runs) > 1 and bool(known) and column[index] == min(known)
            cells.append(_number(column[index]) + (" *" if best else ""))
        seconds = "" if run.median_seconds is None else f"{run.median_seconds:.3f}"
        rows.append([run.name, run.model or "", *cells, str(len(run.items)), seconds])
    return header, rows


def to_csv(table: Table) -> str:
    """Comma-separated text."""
    stream = text_io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table[0])
    writer.writerows(table[1])
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """A Markdown table."""
    header, rows = table
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    lines = [cells[0], ["---", *("---:" for _ in header[1:])], *cells[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_json(scores: Scores) -> dict[str, Any]:
    """Everything as plain values; NaN becomes null."""
    return {
        "run": scores.name,
        "model": scores.model,
        "median_seconds": scores.median_seconds,
        "averages": {
            name: {metric: {**a._asdict(), "value": _null(a.value)} for metric, a in found.items()}
            for name, found in scores.averages.items()
        },
        "items": {
            item.key: {
                "seconds": item.seconds,
                "valid_percent": item.valid_percent,
                "measured": {
                    name: {metric: {"value": _null(m.value), "count": m.count} for metric, m in found.items()}
                    for name, found in item.measured.items()
                },
            }
            for item in scores.items
        },
        "protocols": {p.name: {"citation": p.citation, "notes": p.notes} for p in scores.protocols},
        "failed": dict(scores.failed),
        "left_out": dict(scores.left_out),
    }


def write_report(run: Run, scores: Scores) -> None:
    """Put ``scores.json``, ``items.csv`` and ``scores.md`` into the run folder."""
    _write_text(run.folder / "scores.json", json.dumps(to_json(scores), indent=1) + "\n")
    parts = [f"# {scores.name}\n\n{to_markdown(summary_table(scores))}"]
    for p in scores.protocols:
        parts.append(f"## {p.name}\n\n{p.citation}\n\n{p.notes}\n\n{to_markdown(item_table(scores, p.name))}")
    _write_text(run.folder / "scores.md", "\n".join(parts))
    rows: list[list[str]] = []
    metrics = list(dict.fromkeys(name for p in scores.protocols for name in p.metrics))
    for p in scores.protocols:
        for item in scores.items:
            measured = item.measured[p.name]
            values = [repr(measured[name].value) if name in measured else "" for name in metrics]
            rows.append([p.name, item.key, *values, str(measured[p.headline].count)])
    _write_text(run.folder / "items.csv", to_csv((["protocol", "item", *metrics, "pixels"], rows)))


class Sheet:
    """A picture of a run: a row per item with image, truth, prediction and error, the first items only.

    Truth and prediction share the truth's colours; the error is black at 0 px and bright at ``worst_px``, grey where
    there is no truth. A left picture that cannot be read is grey, too.
    """

    def __init__(self, *, rows: int = 12, cell_width: int = 300, worst_px: float = 5.0) -> None:
        self.rows = rows
        self.cell_width = cell_width
        self.worst_px = worst_px
        self._drawn: list[NDArray[np.uint8]] = []

    def add(self, item: StereoItem, prediction: DisparityMap, truth: StereoTruth) -> None:
        """Draw one item, unless the sheet is full."""
        if len(self._drawn) >= self.rows:
            return
        limits = images.color_range(truth.disparity, truth.valid)
        error = (prediction.values - truth.disparity).abs()
        everywhere = torch.ones_like(prediction.valid)
        scale = images.ColorRange(0.0, self.worst_px)
        mean = float(error[truth.valid].mean()) if bool(truth.valid.any()) else math.nan
        cells = {
            item.key: _picture(item, truth),
            f"truth {limits.low:.0f} to {limits.high:.0f} px": images.colorize(truth.disparity, truth.valid, limits),
            "prediction": images.colorize(prediction.values, everywhere, limits),
            f"error 0 to {self.worst_px:.0f} px, mean {mean:.2f}": images.colorize(
                error, truth.valid, scale, name="inferno"
            ),
        }
        height = max(1, round(self.cell_width * prediction.height / prediction.width))
        drawn = [titled_cell(picture, title, height, self.cell_width) for title, picture in cells.items()]
        self._drawn.append(np.concatenate(drawn, axis=1))

    def save(self, path: str | Path) -> None:
        """Write the sheet as a picture; an empty sheet writes nothing."""
        if self._drawn:
            io.write_image(path, np.concatenate(self._drawn, axis=0))


def _picture(item: StereoItem, truth: StereoTruth) -> NDArray[np.uint8]:
    """The left picture, or grey if it cannot be read: scores do not need it."""
    try:
        return images.image_from_tensor(read_picture(item.left))
    except WrongFile:
        return np.full((*truth.disparity.shape, 3), 128, np.uint8)


def titled_cell(picture: NDArray[np.uint8], title: str, height: int, width: int) -> NDArray[np.uint8]:
    """A picture of a sheet, at a size in px, below a bar with the end of its title."""
    # Sparse LiDAR truth would vanish in an average, so the coloured pixels are kept by the nearest one.
    shrunk = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
    bar = np.full((16, width, 3), 24, np.uint8)
    cv2.putText(bar, title[-48:], (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (235, 235, 235), 1, cv2.LINE_AA)
    cell: NDArray[np.uint8] = np.concatenate((bar, shrunk), axis=0)
    return cell


def _label(scores: Scores, metric: str) -> str:
    for p in scores.protocols:
        for definition in p.definitions():
            if definition.name == metric:
                return f"{metric} [{definition.unit}]" if definition.unit else metric
    return metric


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _write_text(path: Path, text: str) -> None:
    with io.atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
