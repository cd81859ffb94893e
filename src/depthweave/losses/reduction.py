"""From a map to a number."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput


def masked_mean(
    values: Float[Tensor, "*any"],
    weights: Float[Tensor, "*any"] | Bool[Tensor, "*any"],
    *,
    per_item: bool = False,
) -> Float[Tensor, "..."]:
    """Weighted mean sum w v / sum w; 0 with a gradient of zero where all weights are zero.

    Values under a weight of zero take no part, NaN and inf neither. Sums are taken in float32 at least.

    Args:
        values: unreduced loss, any shape and unit.
        weights: of the same shape, not negative; a mask counts as 0 and 1.
        per_item: False gives one number (); True one per element of the first dimension (b,).

    Raises:
        WrongInput: per_item for a single number.
    """
    if per_item and values.ndim == 0:
        raise WrongInput("a single number has no items to average one by one; leave per_item out.")
    dtype = torch.promote_types(values.dtype, torch.float32)
    counted = weights != 0
    weighted = torch.where(counted, values, 0.0).to(dtype) * weights
    items = values.shape[0] if per_item else 1
    total = weights.to(dtype).reshape(items, -1).sum(-1)
    means = weighted.reshape(items, -1).sum(-1) / torch.where(total == 0, 1.0, total)
    return means if per_item else means.squeeze(0)
