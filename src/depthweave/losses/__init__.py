"""Losses as unreduced maps: plain tensors in, one value per pixel (or region) out, and `masked_mean` to reduce them."""

from depthweave.losses.confidence import confidence_weighted, gaussian_nll, laplace_nll, uncertainty_weighted
from depthweave.losses.consistency import (
    forward_backward_consistency,
    forward_backward_mask,
    left_right_consistency,
    loop_consistency,
    round_trip,
)
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
from depthweave.losses.edges import balanced_cross_entropy
from depthweave.losses.photometric import (
    census_difference,
    gradient_difference,
    robust_difference,
    ssim,
    ssim_l1,
)
from depthweave.losses.reduction import masked_mean
from depthweave.losses.robust import AdaptiveRobust, general_robust, generalised_charbonnier, log_partition
from depthweave.losses.scale_invariant import (
    multi_scale_gradient,
    normalise_affine,
    scale_invariant_log,
    scale_shift_invariant,
)
from depthweave.losses.sequence import PENALTIES, defom_gamma, sequence_loss, sequence_weights
from depthweave.losses.smoothness import edge_aware_smoothness
from depthweave.losses.two_view import low_rank, sampson_loss, subspace
from depthweave.losses.view_synthesis import (
    auto_mask,
    collaboration_consensus,
    collaboration_moving,
    collaboration_prior,
    collaboration_static,
    explained,
    inlier_probability,
    minimum_reprojection,
    rigid_flow_consistency,
)
from depthweave.losses.volume import inside_volume, volume_cross_entropy

__all__ = [
    "PENALTIES",
    "AdaptiveRobust",
    "auto_mask",
    "balanced_cross_entropy",
    "census_difference",
    "charbonnier",
    "collaboration_consensus",
    "collaboration_moving",
    "collaboration_prior",
    "collaboration_static",
    "confidence_weighted",
    "crop_alignment",
    "defom_gamma",
    "draw_crops",
    "edge_aware_smoothness",
    "edge_matching",
    "explained",
    "forward_backward_consistency",
    "forward_backward_mask",
    "gaussian_nll",
    "general_robust",
    "generalised_charbonnier",
    "gradient_difference",
    "gradient_distribution_kl",
    "histogram_kl",
    "inlier_probability",
    "inside_volume",
    "l1",
    "laplace_nll",
    "left_right_consistency",
    "log_partition",
    "loop_consistency",
    "low_rank",
    "masked_mean",
    "metric_teacher",
    "minimum_reprojection",
    "multi_scale_gradient",
    "near_edges",
    "normalise_affine",
    "rigid_flow_consistency",
    "robust_difference",
    "round_trip",
    "sampson_loss",
    "scale_invariant_log",
    "scale_shift_invariant",
    "sequence_loss",
    "sequence_weights",
    "smooth_l1",
    "ssim",
    "ssim_l1",
    "subspace",
    "uncertainty_weighted",
    "volume_cross_entropy",
]
