"""Errors of disparity maps against ground truth, one item at a time (px and percent).

Names: `epe`, `rms`, `bad-X.X` for any threshold in px, `d1`, and the error quantiles `a50`, `a90`, `a95`, `a99`.
`bad-3.0` is the plain share above 3 px; `d1` is KITTI 2015's, which also asks for more than 5 % of the truth.
"""

import re
from collections.abc import Iterable
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.metrics.measurement import Measurement, Metric, Sample, measure, select

D1_THRESHOLD_PX = 3.0
D1_THRESHOLD_RELATIVE = 0.05


def epe(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """End-point error: mean |p - g| in px (Middlebury calls it avgerr).

    Args:
        pred: disparity (h, w) in px.
        truth: disparity (h, w) in px.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite.
    """
    return _one("epe", pred, truth, valid)


def rms(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Root mean square error sqrt(mean (p - g)^2) in px (Scharstein and Szeliski, IJCV 2002, eq. 1).

    Args:
        pred: disparity (h, w) in px.
        truth: disparity (h, w) in px.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite.
    """
    return _one("rms", pred, truth, valid)


def bad(
    pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], threshold_px: float | int
) -> Measurement:
    """Share of pixels with |p - g| > threshold, in percent (Scharstein and Szeliski, IJCV 2002, eq. 2).

    Args:
        pred: disparity (h, w) in px.
        truth: disparity (h, w) in px.
        valid: mask (h, w) of the pixels to measure.
        threshold_px: an error of exactly this size is not bad.

    Raises:
        WrongInput: a prediction inside the mask is not finite.
    """
    return _one(f"bad-{float(threshold_px)}", pred, truth, valid)


def d1(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """KITTI 2015 outliers in percent: |p - g| > 3 px and |p - g| > 5 % of g (Menze and Geiger, CVPR 2015, sec. 5).

    Args:
        pred: disparity (h, w) in px.
        truth: disparity (h, w) in px.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite.
    """
    return _one("d1", pred, truth, valid)


def error_quantile(
    pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], percent: int
) -> Measurement:
    """Error in px that `percent` % of the pixels do not exceed: A50, A90, A95, A99 of the Middlebury tables.

    Rule: with the n errors in ascending order, linear interpolation at position (n - 1) percent / 100.

    Args:
        pred: disparity (h, w) in px.
        truth: disparity (h, w) in px.
        valid: mask (h, w) of the pixels to measure.
        percent: 1 to 99.

    Raises:
        WrongInput: a prediction inside the mask is not finite, or percent is outside 1 to 99.
    """
    return _one(f"a{percent}", pred, truth, valid)


def disparity_metrics(
    pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], names: Iterable[str]
) -> dict[str, Measurement]:
    """Several metrics in one pass over the pixels.

    Args:
        pred: disparity (h, w) in px.
        truth: disparity (h, w) in px.
        valid: mask (h, w) of the pixels to measure.
        names: such as "epe", "bad-2.0", "d1", "a95".

    Raises:
        WrongInput: an unknown name, or a prediction inside the mask that is not finite.
    """
    return measure([disparity_metric(name) for name in names], select(pred, truth, valid))


@cache
def disparity_metric(name: str) -> Metric:
    """Unit, pooling rule and formula of a disparity metric; raises WrongInput for an unknown name."""
    if name == "epe":
        return Metric(name, "px", lambda sample: sample.error.mean())
    if name == "rms":
        return Metric(name, "px", lambda sample: sample.error.square().mean().sqrt(), pooling="root-mean-square")
    if name == "d1":
        return Metric(name, "%", _d1)
    if re.fullmatch(r"bad-\d+\.\d+", name):
        return Metric(name, "%", partial(_bad, threshold_px=float(name.removeprefix("bad-"))))
    if re.fullmatch(r"a[1-9]\d?", name):
        return Metric(name, "px", partial(_quantile, share=int(name[1:]) / 100), pooling=None)
    raise WrongInput(f"there is no disparity metric {name!r}; there are epe, rms, d1, bad-2.0 (any threshold) and a95.")


def _one(name: str, pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    return disparity_metrics(pred, truth, valid, (name,))[name]


def _bad(sample: Sample, threshold_px: float) -> Tensor:
    return 100 * (sample.error > threshold_px).double().mean()


def _d1(sample: Sample) -> Tensor:
    outlier = (sample.error > D1_THRESHOLD_PX) & (sample.error > D1_THRESHOLD_RELATIVE * sample.truth.abs())
    return 100 * outlier.double().mean()


def _quantile(sample: Sample, share: float) -> Tensor:
    return torch.tensor(np.quantile(sample.error.detach().cpu().numpy(), share))
