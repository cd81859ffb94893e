"""Losses on the scores of a cost volume."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput


def volume_cross_entropy(
    scores: Float[Tensor, "*b h w d"], truth: Float[Tensor, "*b h w"], *, width: float | int
) -> Float[Tensor, "*b h w"]:
    """Cross-entropy -sum_k q_k ln p_k of p = softmax(scores) against a peak q = softmax(-|k - g| / width) at the truth.

    Its least value, where p = q, is the entropy of q. Where the truth lies outside the levels, q leans against the
    border level: mask these pixels with `inside_volume`. NaN, without a gradient, where the truth is not finite. No
    gradient flows into the truth.

    Args:
        scores: finite, higher is more likely; level k stands for a disparity of k px of the volume. Half precision is
            computed in float32.
        truth: disparity in px of the volume, that is at its resolution.
        width: decay of the peak in px of the volume.

    Raises:
        WrongInput: width is not positive.

    Source: Tulyakov et al., Practical Deep Stereo, NeurIPS 2018 (sub-pixel cross-entropy); Zhang et al.,
    Adaptive Unimodal Cost Volume Filtering for Deep Stereo Matching, AAAI 2020 (the same softmax; its focal factor and
    its width per pixel are left out).
    """
    if width <= 0:
        raise WrongInput(f"the width of the peak is {width} px; choose one above 0 px.")
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    known = truth.isfinite()
    with torch.no_grad():
        levels = torch.arange(scores.shape[-1], device=scores.device, dtype=scores.dtype)
        distance = levels - torch.where(known, truth, 0.0).to(scores.dtype).unsqueeze(-1)
        target = distance.abs_().div_(-width).softmax(-1)
        del distance
    # As q sums to 1, -sum q ln p = ln sum exp(s) - sum q s: ln p is never held.
    loss = scores.logsumexp(-1) - (target * scores).sum(-1)
    return torch.where(known, loss, torch.nan)


def inside_volume(truth: Float[Tensor, "*b h w"], levels: int) -> Bool[Tensor, "*b h w"]:
    """Where the truth lies between the first and the last level of a volume, 0 <= g <= levels - 1; NaN does not.

    Args:
        truth: disparity in px of the volume.
        levels: number d of levels.
    """
    return (truth >= 0) & (truth <= levels - 1)
