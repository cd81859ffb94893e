"""Losses as unreduced maps: plain tensors in, one value per pixel (or region) out, and `masked_mean` to reduce them."""

from depthweave.losses.confidence import confidence_weighted, gaussian_nll, laplace_nll, uncertainty_weighted
from depthweave.losses.disparity import charbonnier, l1, smooth_l1
from depthweave.losses.distill import (
    crop_alignment,
    draw_crops,
    edge_matching,
    gradient_distribution_kl,
    histogram_kl,
    metric_teacher,
    near_edges,
)
from depthweave.losses.reduction import masked_mean
from depthweave.losses.scale_invariant import (
    multi_scale_gradient,
    normalise_affine,
    scale_invariant_log,
    scale_shift_invariant,
)
from depthweave.losses.sequence import PENALTIES, defom_gamma, sequence_loss, sequence_weights
from depthweave.losses.smoothness import edge_aware_smoothness
from depthweave.losses.volume import inside_volume, volume_cross_entropy

__all__ = [
    "PENALTIES",
    "charbonnier",
    "confidence_weighted",
    "crop_alignment",
    "defom_gamma",
    "draw_crops",
    "edge_aware_smoothness",
    "edge_matching",
    "gaussian_nll",
    "gradient_distribution_kl",
    "histogram_kl",
    "inside_volume",
    "l1",
    "laplace_nll",
    "masked_mean",
    "metric_teacher",
    "multi_scale_gradient",
    "near_edges",
    "normalise_affine",
    "scale_invariant_log",
    "scale_shift_invariant",
    "sequence_loss",
    "sequence_weights",
    "smooth_l1",
    "uncertainty_weighted",
    "volume_cross_entropy",
]
