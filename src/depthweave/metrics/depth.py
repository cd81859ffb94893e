"""Errors of depth maps against ground truth, one item at a time.

Names: `abs-rel`, `sq-rel`, `rmse`, `rmse-log`, `silog`, `log10`, `delta-1`, `delta-2`, `delta-3`. Nothing here aligns
or scales a prediction: a scale-free prediction is aligned before it is measured.
"""

from collections.abc import Iterable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.metrics.measurement import Measurement, Metric, Sample, measure, select

DELTA_BASE = 1.25


def abs_rel(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Absolute relative error: mean |p - g| / g, no unit (Eigen et al., NeurIPS 2014, sec. 4.3).

    Args:
        pred: depth (h, w).
        truth: depth (h, w) in the same unit, positive inside the mask.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite, or a truth is not positive.
    """
    return _one("abs-rel", pred, truth, valid)


def sq_rel(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Squared relative error: mean (p - g)^2 / g, in the unit of the depth (Eigen et al., NeurIPS 2014, sec. 4.3).

    KITTI's depth benchmark divides by g^2 instead and reports percent; that is another number.

    Args:
        pred: depth (h, w).
        truth: depth (h, w) in the same unit, positive inside the mask.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite, or a truth is not positive.
    """
    return _one("sq-rel", pred, truth, valid)


def rmse(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Root mean square error sqrt(mean (p - g)^2), in the unit of the depth (Eigen et al., NeurIPS 2014, sec. 4.3).

    Args:
        pred: depth (h, w).
        truth: depth (h, w) in the same unit.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite.
    """
    return _one("rmse", pred, truth, valid)


def rmse_log(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Root mean square of e = ln p - ln g, no unit (Eigen et al., NeurIPS 2014, sec. 4.3; natural logarithm).

    Args:
        pred: depth (h, w), positive inside the mask.
        truth: depth (h, w) in the same unit, positive inside the mask.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite, or a value is not positive.
    """
    return _one("rmse-log", pred, truth, valid)


def silog(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Scale-invariant logarithmic error 100 sqrt(mean e^2 - (mean e)^2), e = ln p - ln g.

    The root and the factor 100 are those of KITTI's depth benchmark (Uhrig et al., 3DV 2017); Eigen et al., NeurIPS
    2014, eq. 1, have neither.

    Args:
        pred: depth (h, w), positive inside the mask.
        truth: depth (h, w), positive inside the mask.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite, or a value is not positive.
    """
    return _one("silog", pred, truth, valid)


def log10(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """Mean |log10 p - log10 g|, no unit (Saxena et al., PAMI 2009).

    Args:
        pred: depth (h, w), positive inside the mask.
        truth: depth (h, w) in the same unit, positive inside the mask.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction inside the mask is not finite, or a value is not positive.
    """
    return _one("log10", pred, truth, valid)


def delta(
    pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], power: int = 1
) -> Measurement:
    """Share of pixels, 0 to 1, with max(p / g, g / p) < 1.25^power (Eigen et al., NeurIPS 2014, sec. 4.3).

    Args:
        pred: depth (h, w), positive inside the mask.
        truth: depth (h, w) in the same unit, positive inside the mask.
        valid: mask (h, w) of the pixels to measure.
        power: 1, 2 or 3.

    Raises:
        WrongInput: a prediction inside the mask is not finite, a value is not positive, or another power.
    """
    return _one(f"delta-{power}", pred, truth, valid)


def depth_metrics(
    pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], names: Iterable[str]
) -> dict[str, Measurement]:
    """Several metrics in one pass over the pixels.

    Args:
        pred: depth (h, w).
        truth: depth (h, w) in the same unit.
        valid: mask (h, w) of the pixels to measure.
        names: such as "abs-rel", "rmse", "delta-1".

    Raises:
        WrongInput: an unknown name, or values inside the mask that a metric cannot take.
    """
    return measure([depth_metric(name) for name in names], select(pred, truth, valid))


def depth_metric(name: str) -> Metric:
    """Unit, pooling rule and formula of a depth metric; raises WrongInput for an unknown name."""
    try:
        return _METRICS[name]
    except KeyError:
        raise WrongInput(f"there is no depth metric {name!r}; there are {', '.join(_METRICS)}.") from None


def _one(name: str, pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    return depth_metrics(pred, truth, valid, (name,))[name]


def _abs_rel(sample: Sample) -> Tensor:
    return (sample.error / Sample.positive(sample.truth, "truth")).mean()


def _sq_rel(sample: Sample) -> Tensor:
    return (sample.error.square() / Sample.positive(sample.truth, "truth")).mean()


def _rmse(sample: Sample) -> Tensor:
    return sample.error.square().mean().sqrt()


def _rmse_log(sample: Sample) -> Tensor:
    return sample.log_error.square().mean().sqrt()


def _silog(sample: Sample) -> Tensor:
    return 100 * sample.log_error.var(correction=0).sqrt()


def _log10(sample: Sample) -> Tensor:
    return sample.log_error.abs().mean() / torch.log(torch.tensor(10.0, dtype=torch.float64))


def _delta(sample: Sample, power: int) -> Tensor:
    predicted, truth = Sample.positive(sample.predicted, "prediction"), Sample.positive(sample.truth, "truth")
    ratio = torch.maximum(predicted / truth, truth / predicted)
    return (ratio < DELTA_BASE**power).double().mean()


_METRICS = {
    metric.name: metric
    for metric in (
        Metric("abs-rel", "", _abs_rel),
        Metric("sq-rel", "m", _sq_rel),
        Metric("rmse", "m", _rmse, pooling="root-mean-square"),
        Metric("rmse-log", "", _rmse_log, pooling="root-mean-square"),
        Metric("silog", "", _silog, pooling=None),
        Metric("log10", "", _log10),
        *(Metric(f"delta-{power}", "", partial(_delta, power=power), higher_is_better=True) for power in (1, 2, 3)),
    )
}
