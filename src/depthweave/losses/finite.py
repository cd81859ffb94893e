"""Formulas that bear pixels without a value."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def on_finite(formula: Callable[..., Tensor], *operands: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The formula where every operand is finite, elsewhere NaN; no gradient flows into these other elements.

    A mask can then leave the NaN out of the loss and of its gradient. A NaN that no mask leaves out shows in the
    loss, and only there: the other elements' gradients are finite, so whoever trains must look at the loss.

    Args:
        formula: elementwise, finite with a finite derivative where its operands are 1.
        operands: of one shape, any unit.
    """
    finite = operands[0].isfinite()
    for operand in operands[1:]:
        finite = finite & operand.isfinite()
    # The formula never meets the others: a derivative of NaN times a gradient of zero would be NaN.
    values = formula(*(torch.where(finite, operand, 1.0) for operand in operands))
    return torch.where(finite, values, torch.nan)
