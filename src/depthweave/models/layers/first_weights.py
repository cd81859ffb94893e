"""What networks start from."""

import math

from torch import nn


def draw_convolutions(network: nn.Module) -> None:
    """Normal weights of variance 2 / (values of a kernel * output channels) in all plain convolutions.

    Args:
        network: changed in place, in the order of its modules.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 14.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.normal_(module.weight, std=math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))
