"""What every metric shares: one number with its pixel count, and the pixels it is measured on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput

Pooling = Literal["mean", "root-mean-square"]


class Measurement(NamedTuple):
    """One metric of one item: its value and the number of pixels it stands on (NaN and 0 for an empty mask)."""

    value: float
    count: int  # type: ignore[assignment]  # tuple.count is of no use here


@dataclass(frozen=True)
class Sample:
    """The measured pixels of one item, as float64 vectors; errors are computed once, on first use."""

    predicted: Float[Tensor, "n"]
    truth: Float[Tensor, "n"]

    @cached_property
    def error(self) -> Float[Tensor, "n"]:
        """Absolute error |p - g|."""
        return (self.predicted - self.truth).abs()

    @cached_property
    def log_error(self) -> Float[Tensor, "n"]:
        """Signed logarithmic error ln p - ln g; raises WrongInput for values that are not positive."""
        return self.positive(self.predicted, "prediction").log() - self.positive(self.truth, "truth").log()

    @staticmethod
    def positive(values: Float[Tensor, "n"], what: str) -> Float[Tensor, "n"]:
        """The same values; raises WrongInput if one is zero or negative."""
        wrong = int((values <= 0).sum())
        if wrong:
            raise WrongInput(
                f"{wrong} of {values.numel()} valid pixels have a {what} that is not positive; "
                "mask them or clamp them to the smallest depth of the protocol."
            )
        return values


@dataclass(frozen=True)
class Metric:
    """A metric's facts: what it is called, its unit, how it pools over images, and its formula.

    `pooling` says how values of single images become the value of all their pixels together: "mean" weights values by
    their counts, "root-mean-square" does so with their squares, None cannot be done from values (quantiles, SILog).
    """

    name: str
    unit: str
    formula: Callable[[Sample], Tensor]
    pooling: Pooling | None = "mean"
    higher_is_better: bool = False


def select(prediction: Float[Tensor, "_ _"], truth: Float[Tensor, "_ _"], valid: Bool[Tensor, "_ _"]) -> Sample:
    """The pixels where `valid` is true, in float64.

    Args:
        prediction: map (h, w).
        truth: map (h, w) in the same unit.
        valid: mask (h, w), true where there is something to measure.

    Raises:
        WrongInput: shapes differ, or a prediction or truth inside the mask is not finite.
    """
    if not prediction.shape == truth.shape == valid.shape:
        raise WrongInput(
            f"prediction, truth and mask have sizes {tuple(prediction.shape)}, {tuple(truth.shape)} and "
            f"{tuple(valid.shape)}; resize the prediction (and scale its disparity) to the size of the truth."
        )
    sample = Sample(prediction[valid].double(), truth[valid].to(prediction.device).double())
    for values, what in ((sample.predicted, "prediction"), (sample.truth, "truth")):
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:
            raise WrongInput(
                f"{wrong} of {values.numel()} valid pixels have a {what} that is not finite; "
                "fill these pixels or take them out of the mask."
            )
    return sample


def measure(metrics: Iterable[Metric], sample: Sample) -> dict[str, Measurement]:
    """Every metric of one sample, by name."""
    count = sample.truth.numel()
    return {
        metric.name: Measurement(float(metric.formula(sample)) if count else float("nan"), count) for metric in metrics
    }
