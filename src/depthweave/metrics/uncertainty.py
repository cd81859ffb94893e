"""How well a confidence tells good values from bad ones: its order (sparsification) and its size (calibration).

Everything here takes the measured pixels as vectors (`Sample.error`, or any penalty of them), so that disparity, depth,
motion and shares of bad pixels are judged by the same few lines.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.metrics.measurement import Measurement

Distribution = Literal["laplace", "gaussian"]


@dataclass(frozen=True, eq=False)
class Sparsification:
    """What error is left when the least trusted pixels are taken away, step by step.

    Attributes:
        removed: share of the pixels that are gone, 0 first, below 1.
        error: mean of those left, in the unit of the errors, if the confidence chooses.
        oracle: the same if the errors themselves choose; no order can do better.
        count: pixels; with none all values are NaN.
    """

    removed: Float[Tensor, "s"]
    error: Float[Tensor, "s"]
    oracle: Float[Tensor, "s"]
    count: int

    @property
    def ause(self) -> float:
        """Area under the sparsification error, mean(error - oracle), in the unit of the errors; 0 is a perfect order.

        Source: Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow, ECCV 2018.
        """
        return float((self.error - self.oracle).mean())

    @property
    def normalised_ause(self) -> float:
        """The same with both curves divided by the error of all pixels, as Ilg et al. plot them; NaN if that is 0."""
        return _ratio(self.ause, float(self.error[0]))

    @property
    def random_ause(self) -> float:
        """What an order by chance has on average: its curve stays at the error of all pixels."""
        return float((self.error[0] - self.oracle).mean())

    @property
    def aurg(self) -> float:
        """Area under the random gain, mean(error of all pixels - error): above 0 the order beats chance.

        Source: Poggi et al., On the Uncertainty of Self-Supervised Monocular Depth Estimation, CVPR 2020.
        """
        return float((self.error[0] - self.error).mean())

    @property
    def share_of_random(self) -> float:
        """AUSE over that of an order by chance: 0 perfect, 1 no better than chance; NaN if all errors are equal."""
        return _ratio(self.ause, self.random_ause)


def sparsification(error: Float[Tensor, "n"], confidence: Float[Tensor, "n"], *, steps: int = 20) -> Sparsification:
    """Sparsification curve of an order of pixels, and its oracle.

    Pixels of equal confidence count as if they were in random order, on average over all such orders, so that a
    confidence with few levels has one curve and not one per sorting algorithm.

    Args:
        error: penalty of every pixel, 0 or more, in any unit; 0 and 1 for a share of bad pixels.
        confidence: of the same pixels, any scale: only its order counts, and large is good.
        steps: points of the curves; step k has k / steps of the pixels taken away.

    Raises:
        WrongInput: an error that is negative or not finite, a confidence that is NaN, or no step.

    Source: Ilg et al., ECCV 2018, section 5; Poggi et al., CVPR 2020, section 4.
    """
    if steps < 1:
        raise WrongInput(f"a sparsification curve has at least one point, not {steps}.")
    _require(bool(((error >= 0) & torch.isfinite(error)).all()), "an error that is negative or not finite")
    _require(not bool(torch.isnan(confidence).any()), "a confidence that is NaN")
    count = error.numel()
    removed = torch.arange(steps, dtype=torch.float64) / steps
    if not count:
        nothing = torch.full((steps,), math.nan, dtype=torch.float64)
        return Sparsification(removed, nothing, nothing, 0)
    error = error.detach().cpu().double()
    kept = (count * (1 - removed)).round().long().clamp_min(1)
    order = confidence.detach().cpu().argsort(descending=True)
    by_confidence = _left(_mean_of_ties(error[order], confidence.detach().cpu()[order]), kept)
    return Sparsification(removed, by_confidence, _left(error.sort().values, kept), count)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Stated against observed probabilities, in bins of equal width.

    Attributes:
        stated: sum of the probabilities in every bin.
        right: how many pixels of every bin were right.
        count: pixels of every bin.
    """

    stated: Float[Tensor, "k"]
    right: Float[Tensor, "k"]
    count: Float[Tensor, "k"]

    @property
    def points(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
        """Mean stated probability and observed share of every bin, NaN for empty ones."""
        return self.stated / self.count, self.right / self.count

    @property
    def expected_calibration_error(self) -> float:
        """Sum over bins of n_k / n |observed - stated|, in [0, 1]; NaN without a pixel (Guo et al., eq. 3)."""
        return _ratio(float((self.right - self.stated).abs().sum()), float(self.count.sum()))

    @property
    def largest_calibration_error(self) -> float:
        """The largest |observed - stated| of a bin that is not empty; NaN without a pixel (Guo et al., eq. 5)."""
        stated, observed = self.points
        gaps = (observed - stated).abs()[self.count > 0]
        return float(gaps.max()) if gaps.numel() else math.nan

    @staticmethod
    def pooled(parts: "Iterable[Reliability]") -> "Reliability":
        """All pixels of several items together; they have the same bins.

        Raises:
            WrongInput: no item, or other numbers of bins.
        """
        listed = list(parts)
        if not listed or len({len(part.count) for part in listed}) > 1:
            raise WrongInput("reliability is pooled over at least one item, and all have the same number of bins.")
        sums = [
            torch.stack(columns).sum(0) for columns in zip(*((p.stated, p.right, p.count) for p in listed), strict=True)
        ]
        return Reliability(*sums)


def reliability(probability: Float[Tensor, "n"], right: Bool[Tensor, "n"], *, bins: int = 10) -> Reliability:
    """Does "80 % sure" come true in 80 % of the cases? Reliability of probabilities such as "error < 1 px".

    Args:
        probability: stated, in [0, 1]; bin k holds those in [k / bins, (k + 1) / bins), the last one 1, too.
        right: whether it came true.
        bins: how many.

    Raises:
        WrongInput: a probability outside of [0, 1], or no bin.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    if bins < 1:
        raise WrongInput(f"reliability needs at least one bin, not {bins}.")
    _require(bool(((probability >= 0) & (probability <= 1)).all()), "a probability outside of [0, 1]")
    stated = probability.detach().cpu().double()
    place = (stated * bins).long().clamp(max=bins - 1)

    def binned(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, place, values)

    return Reliability(binned(stated), binned(right.detach().cpu().double()), binned(torch.ones_like(stated)))


def log_loss(probability: Float[Tensor, "n"], right: Bool[Tensor, "n"]) -> Measurement:
    """Negative log-likelihood of what came true, mean of -ln p or -ln(1 - p), in nats; inf for a certainty that failed.

    Args:
        probability: stated, in [0, 1].
        right: whether it came true.

    Raises:
        WrongInput: a probability outside of [0, 1].

    Source: Guo et al., ICML 2017, section 2 (negative log likelihood).
    """
    _require(bool(((probability >= 0) & (probability <= 1)).all()), "a probability outside of [0, 1]")
    stated = probability.double()
    told = torch.where(right, stated, 1 - stated)
    return _mean(-told.log())


def negative_log_likelihood(
    error: Float[Tensor, "n"], scale: Float[Tensor, "n"], *, distribution: Distribution = "laplace"
) -> Measurement:
    """Mean negative log-likelihood of errors under a predicted scale, in nats; with errors in px, of densities per px.

    Laplace: |e| / b + ln(2 b). Gaussian: e^2 / (2 s^2) + ln(s sqrt(2 pi)).

    Args:
        error: signed or absolute, in px or any unit.
        scale: b or s, above 0, in the error's unit.
        distribution: of the errors.

    Raises:
        WrongInput: an error that is not finite, or a scale that is not positive.

    Source: Kendall and Gal, What Uncertainties Do We Need, NeurIPS 2017; Ilg et al., ECCV 2018, eq. 5 (Laplace).
    """
    _require(bool(torch.isfinite(error).all()), "an error that is not finite")
    _require(bool((scale > 0).all()), "a scale that is not positive")
    ratio, spread = error.double() / scale.double(), scale.double()
    if distribution == "laplace":
        return _mean(ratio.abs() + (2 * spread).log())
    return _mean(ratio.square() / 2 + spread.log() + math.log(2 * math.pi) / 2)


def _left(ordered: Float[Tensor, "n"], kept: Tensor) -> Tensor:
    """Mean of the first so many."""
    return ordered.cumsum(0)[kept - 1] / kept


def _mean_of_ties(ordered: Float[Tensor, "n"], confidence: Float[Tensor, "n"]) -> Tensor:
    """Values with those of equal confidence, which stand together, replaced by their mean."""
    group = torch.zeros(len(confidence), dtype=torch.long)
    group[1:] = (confidence[1:] != confidence[:-1]).cumsum(0)
    sizes = group.bincount()
    sums = torch.zeros(len(sizes), dtype=ordered.dtype).index_add_(0, group, ordered)
    return (sums / sizes)[group]


def _mean(values: Tensor) -> Measurement:
    count = values.numel()
    return Measurement(float(values.mean()) if count else math.nan, count)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongInput(f"among the measured pixels there is {what}; fill these pixels or take them out of the mask.")
