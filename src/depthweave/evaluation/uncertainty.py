"""Can the confidence of a run be trusted? Sparsification, calibration and maps of outliers, beside its scores."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import images, io
from depthweave.data import StereoItem, StereoTruth
from depthweave.evaluation.report import Table, titled_cell
from depthweave.metrics import Reliability, Sparsification, log_loss, reliability, select, sparsification
from depthweave.types import DisparityMap

BAD_PX = 2.0
TRUSTED = 0.5
"""Confidence above which outlier maps call a pixel trusted."""

PENALTIES: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        "epe": ("px", lambda error: error),
        f"bad-{BAD_PX}": ("%", lambda error: 100 * (error > BAD_PX).double()),
    }
)
"""Errors that a good order takes away first: unit, and the penalty of an absolute error in px."""

_COLORS = MappingProxyType(
    {
        "right, trusted": (38, 64, 92),
        "right, doubted": (64, 160, 200),
        "wrong, doubted": (245, 190, 60),
        "wrong, trusted": (225, 45, 45),
    }
)
_UNKNOWN = (70, 70, 70)


@dataclass(frozen=True, eq=False)
class Judgement:
    """One item, or the mean of several, in one region.

    Attributes:
        curves: sparsification by name of the penalty, see `PENALTIES`.
        calibration: of the confidence as the probability of an error below some px.
        log_loss: of the same, in nats.
        pixels: with truth.
    """

    curves: Mapping[str, Sparsification]
    calibration: Reliability
    log_loss: float
    pixels: int


def judge(
    prediction: DisparityMap, truth: StereoTruth, *, right_px: float | int = 1.0, steps: int = 20
) -> dict[str, Judgement]:
    """Judge the confidence of one prediction, by region; regions without a pixel and maps without confidence give none.

    Args:
        prediction: dense, fillers are judged like measurements; where not valid the confidence is 0.
        truth: of the pair.
        right_px: the confidence is taken for the probability of an error below it.
        steps: points of a sparsification curve.

    Raises:
        WrongInput: prediction and truth differ in size, or the prediction is not finite where there is truth.
    """
    if prediction.confidence is None:
        return {}
    found = {}
    for region, mask in truth.regions.items():
        error = select(prediction.values, truth.disparity, mask).error
        if not error.numel():
            continue
        confidence = prediction.confidence[mask].double()
        right = error < right_px
        # A certainty of exactly 0 or 1 that fails once would make every mean infinite.
        told = log_loss(confidence.clamp(1e-3, 1 - 1e-3), right).value
        curves = {
            name: sparsification(penalty(error), confidence, steps=steps) for name, (_, penalty) in PENALTIES.items()
        }
        found[region] = Judgement(curves, reliability(confidence, right), told, error.numel())
    return found


def pooled(judgements: Sequence[Judgement]) -> Judgement:
    """Mean curves and mean log loss of several items, and the calibration of all of their pixels together.

    Raises:
        WrongInput: no item.
    """
    calibration = Reliability.pooled(each.calibration for each in judgements)
    curves = {}
    for name in PENALTIES:
        parts = [each.curves[name] for each in judgements]
        means = [torch.stack(column).mean(0) for column in zip(*((p.error, p.oracle) for p in parts), strict=True)]
        curves[name] = Sparsification(parts[0].removed, means[0], means[1], sum(part.count for part in parts))
    told = sum(each.log_loss for each in judgements) / len(judgements)
    return Judgement(curves, calibration, told, sum(each.pixels for each in judgements))


class Trust:
    """Collects how well the confidences of a run tell right from wrong; a run without confidence leaves it empty.

    >>> trust = Trust()
    >>> score(run, each=trust.add)
    >>> trust.write(run.folder)

    Args:
        right_px: the confidence is taken for the probability of an error below it.
        steps: points of a sparsification curve.
        rows: items of the sheet of outlier maps, the first ones.
        cell_width: of its pictures, px.
    """

    def __init__(self, *, right_px: float | int = 1.0, steps: int = 20, rows: int = 12, cell_width: int = 300) -> None:
        self.right_px, self.steps = right_px, steps
        self.rows, self.cell_width = rows, cell_width
        self.items: dict[str, dict[str, Judgement]] = {}
        self._drawn: list[NDArray[np.uint8]] = []

    def add(self, item: StereoItem, prediction: DisparityMap, truth: StereoTruth) -> None:
        """Judge one item, and draw it unless the sheet is full.

        Raises:
            WrongInput: as `judge`.
        """
        found = judge(prediction, truth, right_px=self.right_px, steps=self.steps)
        if not found or prediction.confidence is None:
            return
        self.items[item.key] = found
        if len(self._drawn) < self.rows:
            height = max(1, round(self.cell_width * prediction.height / prediction.width))
            error = (prediction.values - truth.disparity).abs()
            scale = images.ColorRange(0.0, 1.0)
            everywhere = torch.ones_like(prediction.valid)
            cells = {
                f"{item.key}: confidence": images.colorize(prediction.confidence, everywhere, scale, name="viridis"),
                f"error > {BAD_PX:g} px: red trusted, yellow doubted": outlier_map(
                    error, prediction.confidence, truth.valid
                ),
            }
            drawn = [titled_cell(picture, title, height, self.cell_width) for title, picture in cells.items()]
            self._drawn.append(np.concatenate(drawn, axis=1))

    def regions(self) -> dict[str, Judgement]:
        """All items together, by region."""
        names = dict.fromkeys(region for found in self.items.values() for region in found)
        return {name: pooled([found[name] for found in self.items.values() if name in found]) for name in names}

    def table(self) -> Table:
        """A row per region and penalty: areas in the penalty's unit, means over items, and the calibration."""
        header = ["region", "of", "AUSE", "random AUSE", "share", "normalised", "AURG", "ECE", "log loss", "items"]
        rows = []
        for region, found in self.regions().items():
            items = sum(region in each for each in self.items.values())
            for name, (unit, _) in PENALTIES.items():
                curve = found.curves[name]
                areas = [curve.ause, curve.random_ause, curve.share_of_random, curve.normalised_ause, curve.aurg]
                told = [found.calibration.expected_calibration_error, found.log_loss]
                rows.append([region, f"{name} [{unit}]", *map(_number, (*areas, *told)), str(items)])
        return header, rows

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; NaN becomes null."""
        return {
            "right_px": self.right_px,
            "steps": self.steps,
            "regions": {region: _plain(found) for region, found in self.regions().items()},
            "items": {
                key: {region: _plain(each) for region, each in found.items()} for key, found in self.items.items()
            },
        }

    def write(self, folder: str | Path) -> None:
        """Put ``uncertainty.json``, ``uncertainty.png`` (curves) and ``outliers.png`` (maps) there; empty, nothing."""
        if not self.items:
            return
        folder = Path(folder)
        with io.atomic_path(folder / "uncertainty.json") as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        plot_judgements(folder / "uncertainty.png", self.regions(), right_px=self.right_px)
        io.write_image(folder / "outliers.png", np.concatenate(self._drawn, axis=0))


def outlier_map(
    error: Float[Tensor, "h w"], confidence: Float[Tensor, "h w"], known: Bool[Tensor, "h w"]
) -> NDArray[np.uint8]:
    """Picture (h, w, 3): right is dark blue if trusted, else light blue; wrong is red if trusted, else yellow.

    Args:
        error: absolute, px; wrong is what is above `BAD_PX`.
        confidence: in [0, 1]; trusted is what is above `TRUSTED`.
        known: grey where it is false.
    """
    colors = np.array([*_COLORS.values(), _UNKNOWN], np.uint8)
    wrong, trusted = error > BAD_PX, confidence > TRUSTED
    kind = torch.where(wrong, torch.where(trusted, 3, 2), torch.where(trusted, 0, 1))
    picture: NDArray[np.uint8] = colors[torch.where(known, kind, len(_COLORS)).numpy()]
    return picture


def plot_judgements(path: str | Path, judged: Mapping[str, Judgement], *, right_px: float | int = 1.0) -> None:
    """Sparsification curves with oracle and chance, and the reliability diagram: a row per name.

    Args:
        path: the picture to write.
        judged: by the name of a row, such as a region or a scene.
        right_px: as of `judge`.

    Source: Ilg et al., ECCV 2018, figure 2; Guo et al., ICML 2017, figure 1.
    """
    from matplotlib.figure import Figure

    columns = len(PENALTIES) + 1
    figure = Figure(figsize=(3.7 * columns, 3.0 * len(judged)), layout="constrained")
    axes = figure.subplots(len(judged), columns, squeeze=False)
    for row, (region, found) in zip(axes, judged.items(), strict=True):
        for axis, (name, (unit, _)) in zip(row, PENALTIES.items(), strict=False):
            curve = found.curves[name]
            removed = (100 * curve.removed).tolist()
            axis.plot(removed, curve.error.tolist(), label="by confidence")
            axis.plot(removed, curve.oracle.tolist(), label="oracle", linestyle="--")
            axis.axhline(float(curve.error[0]), color="grey", linewidth=0.8, label="chance")
            title = f"{region}: AUSE {_number(curve.ause)} {unit}"
            axis.set(xlabel="least trusted pixels taken away [%]", ylabel=f"{name} of the rest [{unit}]", title=title)
        row[0].legend(fontsize=8)
        stated, observed = found.calibration.points
        shares = (found.calibration.count / found.calibration.count.sum()).tolist()
        places = [(number + 0.5) / len(shares) for number in range(len(shares))]
        row[-1].plot((0, 1), (0, 1), color="grey", linewidth=0.8)
        row[-1].bar(places, shares, 0.9 / len(shares), alpha=0.3)
        row[-1].plot(stated.tolist(), observed.tolist(), marker="o")
        error = found.calibration.expected_calibration_error
        row[-1].set(
            xlabel="confidence (bars: share of pixels)",
            ylabel=f"share with an error below {right_px:g} px",
            title=f"calibration error {_number(error)}",
        )
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    with io.atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _plain(found: Judgement) -> dict[str, Any]:
    areas = ("ause", "random_ause", "share_of_random", "normalised_ause", "aurg")
    stated, observed = found.calibration.points
    return {
        "pixels": found.pixels,
        "sparsification": {
            name: {
                "unit": PENALTIES[name][0],
                **{area: _null(getattr(curve, area)) for area in areas},
                "removed": curve.removed.tolist(),
                "error": curve.error.tolist(),
                "oracle": curve.oracle.tolist(),
            }
            for name, curve in found.curves.items()
        },
        "expected_calibration_error": _null(found.calibration.expected_calibration_error),
        "largest_calibration_error": _null(found.calibration.largest_calibration_error),
        "log_loss": found.log_loss,
        "reliability": {
            "confidence": [_null(value) for value in stated.tolist()],
            "right": [_null(value) for value in observed.tolist()],
            "pixels": [int(value) for value in found.calibration.count],
        },
    }


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
