"""Numbers of one item with their pixel counts: nothing here aligns a prediction or averages over a data set."""

from depthweave.metrics.depth import (
    abs_rel,
    delta,
    depth_metric,
    depth_metrics,
    log10,
    rmse,
    rmse_log,
    silog,
    sq_rel,
)
from depthweave.metrics.disparity import bad, d1, disparity_metric, disparity_metrics, epe, error_quantile, rms
from depthweave.metrics.measurement import Measurement, Metric, Sample, measure, select

__all__ = [
    "Measurement",
    "Metric",
    "Sample",
    "abs_rel",
    "bad",
    "d1",
    "delta",
    "depth_metric",
    "depth_metrics",
    "disparity_metric",
    "disparity_metrics",
    "epe",
    "error_quantile",
    "log10",
    "measure",
    "rms",
    "rmse",
    "rmse_log",
    "select",
    "silog",
    "sq_rel",
]
