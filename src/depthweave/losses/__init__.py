"""Losses as unreduced maps: plain tensors in, one value per pixel out, and `masked_mean` to reduce them."""

from depthweave.losses.confidence import confidence_weighted, gaussian_nll, laplace_nll, uncertainty_weighted
from depthweave.losses.disparity import charbonnier, l1, smooth_l1
from depthweave.losses.reduction import masked_mean
from depthweave.losses.sequence import PENALTIES, defom_gamma, sequence_loss, sequence_weights
from depthweave.losses.smoothness import edge_aware_smoothness
from depthweave.losses.volume import inside_volume, volume_cross_entropy

__all__ = [
    "PENALTIES",
    "charbonnier",
    "confidence_weighted",
    "defom_gamma",
    "edge_aware_smoothness",
    "gaussian_nll",
    "inside_volume",
    "l1",
    "laplace_nll",
    "masked_mean",
    "sequence_loss",
    "sequence_weights",
    "smooth_l1",
    "uncertainty_weighted",
    "volume_cross_entropy",
]
