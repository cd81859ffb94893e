"""The numbers of one clip: a fit of all its frames, errors frame by frame, and what they do over time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import images
from depthweave.errors import DepthweaveError, NeedsMetric, WrongInput
from depthweave.evaluation.clips_fit import new_fit
from depthweave.evaluation.clips_protocols import ClipProtocol, Space
from depthweave.metrics import (
    BandEdges,
    Drift,
    Measurement,
    Sample,
    band_values,
    drift,
    mean_change,
    measure,
    pixel_change,
    split_by_motion,
)
from depthweave.types import DepthMap, InverseDepthMap, Scale

ERRORS = ("abs-rel", "rmse", "1 - delta-1")
"""Figures per frame whose frequencies are looked at; smaller is better."""

Predicted = Callable[[int], DepthMap | InverseDepthMap | None]
"""The prediction for a frame; None where there is none under the clip's scale."""

Truth = Callable[[int], tuple[Tensor, Tensor] | None]
"""Depth in m (h, w) and mask (h, w) of a frame; None where there is none."""

Dynamic = Callable[[int], Tensor | None]
"""Mask (h, w) of what moves by itself; None where nobody knows."""


@dataclass(frozen=True)
class RegionScore:
    """One region of a clip ("all", "static" or "dynamic").

    Attributes:
        values: of the clip by metric, averaged as the protocol says.
        series: value of every frame by metric, NaN for frames without a pixel that counts.
        counts: pixels behind each frame's values.
        bands: F0 to F10 by error (`ERRORS`), of the series with its gaps closed by straight lines; NaN without any.
        change: mean change of each error from frame to frame.
    """

    values: Mapping[str, Measurement]
    series: Mapping[str, list[float]]
    counts: list[int]
    bands: Mapping[str, list[float]]
    change: Mapping[str, float]

    def errors(self, name: str) -> list[float]:
        """The series of one of `ERRORS`."""
        return [1 - value for value in self.series["delta-1"]] if name == "1 - delta-1" else self.series[name]


@dataclass(frozen=True)
class ClipScore:
    """One clip under one protocol.

    Attributes:
        key: of the clip.
        space: where it was fitted.
        scale, shift: fitted, truth ~ scale * prediction + shift in that space.
        regions: by name; "static" and "dynamic" only with masks.
        coverage_percent: pixels with truth that the prediction covers; the others count nowhere.
        frames: of the clip.
        missing: frames with truth, but without a pixel of prediction.
        flicker_percent: mean change of 100 ln(prediction / truth) of a pixel from one frame to the next.
        drift: of the best scale of single frames.
    """

    key: str
    space: Space
    scale: float
    shift: float
    regions: Mapping[str, RegionScore]
    coverage_percent: float
    frames: int
    missing: int
    flicker_percent: float
    drift: Drift


def measure_clip(
    protocols: Sequence[ClipProtocol],
    key: str,
    frames: int,
    predicted: Predicted,
    truth: Truth,
    *,
    dynamic: Dynamic | None = None,
    own_space: Space | None = None,
    edges: BandEdges = "exponential",
) -> tuple[dict[str, ClipScore], dict[str, DepthweaveError]]:
    """Measure a clip under several protocols in two passes over its frames, with one frame in memory.

    Pixels count where both truth and prediction are valid; `ClipScore.coverage_percent` says how many these are.

    Args:
        protocols: which.
        key: of the clip.
        frames: their number.
        predicted: frame to prediction.
        truth: frame to depth in m and mask.
        dynamic: frame to mask of what moves; errors are then measured inside and outside of it, too. The fit is always
            that of all pixels.
        own_space: of the method, for protocols that fit there; by default that of the prediction's type.
        edges: of the frequency bands.

    Returns:
        Scores by name of protocol, and an error for each protocol that the clip does not allow: `NeedsMetric` where
        the kind of prediction does not, `WrongInput` where these maps cannot be fitted.

    Raises:
        DepthweaveError: a prediction or truth cannot be read.
    """
    work = {each.name: _Work(each, own_space) for each in protocols}
    left_out: dict[str, DepthweaveError] = {}
    for second_pass in (False, True):
        for index in range(frames):
            known = truth(index)
            found = None if known is None else predicted(index)
            moving = dynamic(index) if dynamic is not None and second_pass and known is not None else None
            for name in [name for name in work if name not in left_out]:
                try:
                    if second_pass:
                        work[name].measure(index, found, known, moving)
                    elif found is not None and known is not None:
                        work[name].collect(found, known)
                except NeedsMetric as error:
                    left_out[name] = error
        if not second_pass:
            for name in [name for name in work if name not in left_out]:
                try:
                    work[name].solve()
                except WrongInput as error:
                    left_out[name] = error
    return {name: each.score(key, frames, edges) for name, each in work.items() if name not in left_out}, left_out


def closed_gaps(series: Sequence[float]) -> Float[Tensor, "t"] | None:
    """A series whose NaN lie on straight lines between their neighbours (ends repeat); None if all are NaN."""
    values = np.array(series, np.float64)
    known = np.isfinite(values)
    if not known.any():
        return None
    places = np.arange(len(values))
    return torch.from_numpy(np.interp(places, places[known], values[known]))


class _Work:
    """What one protocol has seen of a clip."""

    def __init__(self, protocol: ClipProtocol, own_space: Space | None) -> None:
        self.protocol = protocol
        self.space = protocol.space or own_space
        self.fit = new_fit(protocol.fit)
        self.scale = self.shift = math.nan
        self.measured: dict[str, list[dict[str, Measurement]]] = {"all": []}
        self.scales: list[float] = []
        self.covered = self.wanted = self.missing = 0
        self.changes: list[tuple[float, int]] = []
        self.previous: tuple[Tensor, Tensor] | None = None

    def collect(self, found: DepthMap | InverseDepthMap, known: tuple[Tensor, Tensor]) -> None:
        depth, mask = self._counting(known)
        prediction, usable = self._in_space(found, (depth.shape[0], depth.shape[1]))
        both = mask & usable
        target = depth[both]
        self.fit.add(prediction[both], 1 / target if self.space == "disparity" else target)

    def solve(self) -> None:
        self.scale, self.shift = self.fit.solve()

    def measure(
        self,
        index: int,
        found: DepthMap | InverseDepthMap | None,
        known: tuple[Tensor, Tensor] | None,
        moving: Tensor | None,
    ) -> None:
        names = ["all"] if moving is None else ["all", "static", "dynamic"]
        for name in names:  # frames before the first mask have nothing to say of regions
            self.measured.setdefault(name, [self._nothing()] * index)
        depth, mask = (
            (torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool)) if known is None else self._counting(known)
        )
        self.wanted += int(mask.sum())
        fitted, usable = depth, torch.zeros_like(mask)
        if found is not None:
            fitted, usable = self._fitted(found, (depth.shape[0], depth.shape[1]))
        both = mask & usable
        count = int(both.sum())
        self.covered += count
        self.missing += int(bool(mask.any()) and count == 0)
        regions = split_by_motion(both, moving)
        for name, series in self.measured.items():
            chosen = regions.get(name)
            series.append(self._nothing() if chosen is None else self._measure(fitted[chosen], depth[chosen]))
        self.scales.append(float(np.median((depth[both] / fitted[both]).numpy())) if count else math.nan)
        ratio = torch.where(both, torch.log(fitted / depth), 0.0)
        if self.previous is not None and self.previous[0].shape == ratio.shape:
            self.changes.append(pixel_change(ratio, self.previous[0], both & self.previous[1]))
        self.previous = (ratio, both)

    def score(self, key: str, frames: int, edges: BandEdges) -> ClipScore:
        changes = [(value, count) for value, count in self.changes if count]
        pixels = sum(count for _, count in changes)
        return ClipScore(
            key,
            cast(Space, self.space),
            self.scale,
            self.shift,
            {name: self._region(series, edges) for name, series in self.measured.items()},
            100 * self.covered / self.wanted if self.wanted else math.nan,
            frames,
            self.missing,
            100 * math.fsum(value * count for value, count in changes) / pixels if pixels else math.nan,
            drift(torch.tensor(self.scales, dtype=torch.float64)),
        )

    def _region(self, frames: list[dict[str, Measurement]], edges: BandEdges) -> RegionScore:
        series = {m.name: [frame[m.name].value for frame in frames] for m in self.protocol.definitions()}
        counts = [next(iter(frame.values())).count for frame in frames]
        region = RegionScore(self._values(frames), series, counts, {}, {})
        bands, change = {}, {}
        for name in ERRORS:
            closed = closed_gaps(region.errors(name))
            bands[name] = [] if closed is None else band_values(closed, edges=edges).tolist()
            change[name] = float(mean_change(torch.tensor(region.errors(name), dtype=torch.float64)))
        return RegionScore(region.values, series, counts, bands, change)

    def _values(self, frames: list[dict[str, Measurement]]) -> dict[str, Measurement]:
        values = {}
        for metric in self.protocol.definitions():
            used = [frame[metric.name] for frame in frames if frame[metric.name].count]
            pixels = sum(each.count for each in used)
            if not used:
                value = math.nan
            elif self.protocol.averaging == "per-frame":
                value = math.fsum(each.value for each in used) / len(used)
            elif metric.pooling == "mean":
                value = math.fsum(each.value * each.count for each in used) / pixels
            else:
                value = math.sqrt(math.fsum(each.value**2 * each.count for each in used) / pixels)
            values[metric.name] = Measurement(value, pixels)
        return values

    def _counting(self, known: tuple[Tensor, Tensor]) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
        least_m, most_m = self.protocol.truth_range_m
        depth, mask = known
        mask = mask & (depth > least_m) & (depth < most_m)
        return torch.where(mask, depth.double(), 1.0), mask

    def _in_space(self, found: DepthMap | InverseDepthMap, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The prediction in the space of the fit and at the size of the truth, in float64, and where it is usable."""
        is_disparity = isinstance(found, InverseDepthMap)
        self.space = self.space or ("disparity" if is_disparity else "depth")
        values, usable = found.values.double(), found.valid
        if is_disparity != (self.space == "disparity"):
            if found.scale == Scale.UNKNOWN_SCALE_AND_SHIFT:
                raise NeedsMetric(
                    f"{self.protocol.name} fits {self.space}, but the shift of this {found.quantity.replace('_', ' ')} "
                    "is unknown, so that its inverse means nothing; choose a protocol that fits it as it is."
                )
            usable = usable & (values > 0)
            values = torch.where(usable, 1 / values.clamp_min(1e-12), 0.0)
        return _resized(values, usable, size, self.protocol.resizing)

    def _fitted(self, found: DepthMap | InverseDepthMap, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        values, usable = self._in_space(found, size)
        fitted = self.scale * values + self.shift
        if self.space == "disparity":
            fitted = 1 / fitted.clamp_min(self.protocol.least_disparity)
        return fitted.clamp(*self.protocol.clip_range_m), usable

    def _measure(self, fitted: Tensor, depth: Tensor) -> dict[str, Measurement]:
        return measure(self.protocol.definitions(), Sample(fitted, depth))

    def _nothing(self) -> dict[str, Measurement]:
        return {metric.name: Measurement(math.nan, 0) for metric in self.protocol.definitions()}


def _resized(values: Tensor, usable: Tensor, size: tuple[int, int], how: str) -> tuple[Tensor, Tensor]:
    if tuple(values.shape) == size:
        return values, usable
    mask = images.resize_mask(usable, *size)
    if how == "nearest":
        # Masks and values must come from the same pixels.
        numbers = torch.arange(values.numel()).reshape(values.shape).double()
        places = torch.nn.functional.interpolate(numbers[None, None], size=size, mode="nearest-exact")[0, 0].long()
        return values.flatten()[places], usable.flatten()[places]
    resized = torch.nn.functional.interpolate(values[None, None], size=size, mode=how, align_corners=False)[0, 0]
    return resized, mask
