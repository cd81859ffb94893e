"""What networks that were trained on ImageNet, or after its custom, expect of colours."""

import torch
from jaxtyping import Float
from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, of pictures in [0, 1]."""


def over_imagenet(views: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Views from 0 to 255 with mean 0 and deviation 1 over ImageNet, channel by channel."""
    mean, deviation = (torch.tensor(part, device=views.device).view(3, 1, 1) for part in (IMAGENET_MEAN, IMAGENET_STD))
    return (views / 255 - mean) / deviation
