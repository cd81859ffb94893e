"""Fits that bring a prediction of unknown scale to a reference: closed-form and robust."""

from depthweave.alignment.scale_shift import (
    Domain,
    Fit,
    Method,
    Over,
    align,
    fit_scale,
    fit_scale_shift,
    weighted_median,
)
from depthweave.alignment.similarity import Similarity, fit_similarity
from depthweave.alignment.sparse import (
    fit_log_grid,
    fit_regions,
    region_quantile,
    spread_grid,
    spread_log_sigma,
    spread_regions,
)

__all__ = [
    "Domain",
    "Fit",
    "Method",
    "Over",
    "Similarity",
    "align",
    "fit_log_grid",
    "fit_regions",
    "fit_scale",
    "fit_scale_shift",
    "fit_similarity",
    "region_quantile",
    "spread_grid",
    "spread_log_sigma",
    "spread_regions",
    "weighted_median",
]
