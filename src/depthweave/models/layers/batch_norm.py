"""Batch normalisation in the weights of old releases of torch."""

from collections.abc import Mapping

import torch
from torch import Tensor

_VARIANCE = ".running_var"


def with_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which every batch normalisation has a counter of batches, as files before torch 0.4.1 have none.

    Counters that are there stay as they are; nothing in a network with fixed momentum reads them.
    """
    layers = [name.removesuffix(_VARIANCE) for name in state if name.endswith(_VARIANCE)]
    return {**{f"{layer}.num_batches_tracked": torch.tensor(0) for layer in layers}, **state}
