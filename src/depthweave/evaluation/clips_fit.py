"""One scale and shift for all frames of a clip, found while the frames go by."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.evaluation.clips_protocols import FitKind

MOST_PIXELS = 4_000_000


@runtime_checkable
class ClipFit(Protocol):
    """Collects pixels frame by frame, then says scale and shift."""

    def add(self, prediction: Float[Tensor, "n"], truth: Float[Tensor, "n"]) -> None:
        """Pixels of one frame, prediction and truth in one space."""

    def solve(self) -> tuple[float, float]:
        """Scale and shift: truth ~ scale * prediction + shift.

        Raises:
            WrongInput: no pixels, or a prediction without variation.
        """


def new_fit(kind: FitKind) -> ClipFit:
    """An empty fit of that kind, see `ClipProtocol.fit`."""
    return LeastSquares() if kind == "least-squares" else PooledFit(scale_only=kind == "median-scale")


class LeastSquares:
    """Least squares in float64 from sums, so that no pixel need be kept: min over (s, t) of sum (s p + t - g)^2."""

    def __init__(self) -> None:
        self.count = 0
        self._means = np.zeros(2)
        self._products = np.zeros((2, 2))

    def add(self, prediction: Float[Tensor, "n"], truth: Float[Tensor, "n"]) -> None:
        """See `ClipFit`. Sums about the running mean lose no digits (Chan, Golub and LeVeque, 1983)."""
        count = prediction.numel()
        if not count:
            return
        pixels = np.stack((prediction.double().numpy(), truth.double().numpy()))
        means = pixels.mean(1)
        centred = pixels - means[:, None]
        apart = means - self._means
        total = self.count + count
        self._products += centred @ centred.T + np.outer(apart, apart) * (self.count * count / total)
        self._means += apart * (count / total)
        self.count = total

    def solve(self) -> tuple[float, float]:
        """See `ClipFit`."""
        _require_pixels(self.count)
        variance = self._products[0, 0] / self.count
        _require_variation(variance, float(self._means[0]))
        scale = float(self._products[0, 1] / self._products[0, 0])
        return scale, float(self._means[1] - scale * self._means[0])


class PooledFit:
    """Fits that need the pixels themselves: least absolute deviations, or the ratio of the medians.

    Args:
        scale_only: the ratio of the medians; else min over (s, t) of sum |s p + t - g|.
    """

    def __init__(self, *, scale_only: bool) -> None:
        self.scale_only = scale_only
        self._pixels: list[NDArray[Any]] = []
        self._step = 1
        self._kept = 0

    def add(self, prediction: Float[Tensor, "n"], truth: Float[Tensor, "n"]) -> None:
        """See `ClipFit`. Beyond `MOST_PIXELS` every second pixel is let go, of the earlier frames as of the later."""
        kept = np.stack((prediction.numpy(), truth.numpy()))[:, :: self._step].astype(np.float32)
        self._pixels.append(kept)
        self._kept += kept.shape[1]
        while self._kept > MOST_PIXELS:
            self._step *= 2
            self._pixels = [pixels[:, ::2].copy() for pixels in self._pixels]
            self._kept = sum(pixels.shape[1] for pixels in self._pixels)

    def solve(self) -> tuple[float, float]:
        """See `ClipFit`.

        For a given scale the best shift is the median of g - s p, which leaves a convex function of the scale alone;
        its minimum is searched around that of least squares.
        """
        _require_pixels(self._kept)
        prediction, truth = np.concatenate(self._pixels, axis=1).astype(np.float64)
        if self.scale_only:
            middle = float(np.median(prediction))
            if middle <= 0:
                raise WrongInput("the median of the prediction is not positive, so no scale fits it.")
            return float(np.median(truth)) / middle, 0.0
        _require_variation(float(prediction.var()), float(prediction.mean()))
        return _least_absolute(prediction, truth)


def _least_absolute(prediction: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    # In units in which both have a spread of one, so that a change of scale or shift changes nothing in the search.
    offset, spread = float(np.median(prediction)), float(prediction.std())
    centre, size = float(np.median(truth)), float(truth.std()) or 1.0
    p, g = (prediction - offset) / spread, (truth - centre) / size

    def cost(scale: float) -> float:
        left = g - scale * p
        return float(np.abs(left - np.median(left)).mean())

    start = float((p * (g - g.mean())).mean() - p.mean() * (g - g.mean()).mean())
    # The golden section cannot be led astray by the corners of a piecewise linear function.
    found = minimize_scalar(cost, bracket=(start - 0.1, start + 0.1), method="golden", options={"xtol": 1e-9})
    scale = float(found.x)
    shift = float(np.median(g - scale * p))
    return scale * size / spread, centre + size * (shift - scale * offset / spread)


def _require_pixels(count: int) -> None:
    if count < 2:
        raise WrongInput("the clip has no two pixels with truth and prediction, so nothing can be fitted.")


def _require_variation(variance: float, mean: float) -> None:
    if not variance > 1e-13 * mean**2:
        raise WrongInput("the prediction is the same everywhere in the clip, so no scale fits it.")
