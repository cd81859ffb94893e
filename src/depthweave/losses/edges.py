"""Losses on edge maps."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def balanced_cross_entropy(
    logits: Float[Tensor, "*b h w"], truth: Bool[Tensor, "*b h w"], mask: Bool[Tensor, "*b h w"]
) -> Float[Tensor, "*b h w"]:
    """Class-balanced cross-entropy: -beta ln p at an edge, -(1 - beta) ln (1 - p) elsewhere, p = sigmoid(logit).

    beta is the share of each map's pixels under its mask that are no edge, so that the few edges weigh as much as all
    the rest. 0 outside of the mask, without a gradient. A map without any edge costs nothing, and so does one of edges
    only.

    Args:
        logits: of an edge; half precision is computed in float32.
        truth: where edges are.
        mask: the pixels that count.

    Source: Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015, equation 2 (there summed over the pixels).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counted = mask.to(logits.dtype)
    beta = ((~truth & mask).to(logits.dtype).sum((-2, -1)) / counted.sum((-2, -1)).clamp_min(1))[..., None, None]
    target = truth.to(logits.dtype)
    values = torch.where(mask, logits, 0.0)
    loss = F.binary_cross_entropy_with_logits(values, target, reduction="none")
    return torch.where(truth, beta, 1 - beta) * counted * loss
