"""A hole beside a thing in front of a wall, as fillers are given it."""

import numpy as np
import torch
from torch import Tensor


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene(height: int = 40, width: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A red thing of disparity 12 in front of a bluish noisy wall of disparity 3, with the hole at its right."""
    image = 0.4 + 0.2 * torch.rand((3, height, width), generator=torch.Generator().manual_seed(0))
    image[0] *= 0.3
    disparity = torch.full((height, width), 3.0)
    thing = (..., slice(10, 30), slice(15, 30))
    image[thing] = torch.tensor([0.95, 0.05, 0.05])[:, None, None]
    disparity[thing] = 12
    wanted = torch.zeros((height, width), dtype=torch.bool)
    wanted[10:30, 30:39] = True
    unknown = wanted.clone()
    unknown[10:30, 22:30] = True
    image[:, wanted], disparity[wanted] = 0, 0
    return image, unknown, wanted, disparity
