"""Convolutional encoders of the RAFT family: residual blocks, and the trunk that makes a picture smaller.

Source: Teed and Deng, "RAFT", ECCV 2020; Lipson et al., "RAFT-Stereo", 3DV 2021. Parameter names are
the official ones.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.winograd import Conv3x3, convolve

Norm = Literal["batch", "instance"]


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """Batch normalisation, or instance normalisation without parameters."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels)


def fold_norm(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of norm(conv(x)) for a batch normalisation with fixed statistics; of conv(x) for any other."""
    bias = torch.zeros_like(conv.weight[:, 0, 0, 0]) if conv.bias is None else conv.bias
    if not isinstance(norm, nn.BatchNorm2d):
        return conv.weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.weight * factor[:, None, None, None], norm.bias + (bias - norm.running_mean) * factor


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
    """norm(conv(x)); a batch normalisation with fixed statistics becomes part of the convolution."""
    if isinstance(norm, nn.BatchNorm2d) and not norm.training:
        weight, bias = fold_norm(conv, norm)
        return convolve(x, weight, bias, conv.stride[0])
    return norm(convolve(x, conv.weight, conv.bias, conv.stride[0]))


def relu(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """ReLU that spares a copy where no gradient can ask for it."""
    return F.relu(x) if torch.is_grad_enabled() else x.relu_()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, each followed by norm and ReLU, and a ReLU after the sum.

    The shortcut's norm is registered twice (``norm3`` and ``downsample.1``), as in the official files.
    """

    def __init__(self, channels_in: int, channels: int, norm: Norm, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = make_norm(norm, channels)
        self.norm2 = make_norm(norm, channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.norm3 = make_norm(norm, channels)
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride), self.norm3)

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """``channels`` at 1/``stride`` of the size."""
        y = relu(conv_norm(self.conv1, self.norm1, x))
        y = relu(conv_norm(self.conv2, self.norm2, y))
        if self.downsample is not None:
            x = conv_norm(self.shortcut, self.norm3, x)
        return F.relu(x + y) if torch.is_grad_enabled() else y.add_(x).relu_()

    @property
    def shortcut(self) -> nn.Conv2d:
        """The convolution beside the two, in a block that changes the size."""
        assert self.downsample is not None
        conv = self.downsample[0]
        assert isinstance(conv, nn.Conv2d)
        return conv


class Trunk(nn.Module):
    """Picture to 128 channels at 1/2^downsample of its size.

    Args:
        norm: kind of normalisation everywhere.
        widths: channels of the three stages.
        downsample: 2 or 3 halvings.
    """

    def __init__(self, norm: Norm, widths: tuple[int, int, int], downsample: int) -> None:
        super().__init__()
        first, second, third = widths
        self.norm1 = make_norm(norm, first)
        self.conv1 = nn.Conv2d(3, first, 7, stride=1 + (downsample > 2), padding=3)
        self.layer1 = stage(first, first, norm, 1)
        self.layer2 = stage(first, second, norm, 1 + (downsample > 1))
        self.layer3 = stage(second, third, norm, 1 + (downsample > 0))

    def trunk(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _ _ _"]:
        """The three stages."""
        x = relu(conv_norm(self.conv1, self.norm1, images))
        return self.layer3(self.layer2(self.layer1(x)))


def stage(channels_in: int, channels: int, norm: Norm, stride: int) -> nn.Sequential:
    """Two residual blocks, the first of which may halve the size."""
    return nn.Sequential(ResidualBlock(channels_in, channels, norm, stride), ResidualBlock(channels, channels, norm))


class ContextTrunk(Trunk):
    """A trunk with first states and contexts of a recurrent part, at three levels.

    Args:
        norm: kind of normalisation.
        widths: channels of the three stages.
        hidden: channels of every state and context.
        downsample: number of halvings before the finest level.
    """

    def __init__(self, norm: Norm, widths: tuple[int, int, int], hidden: int, downsample: int) -> None:
        super().__init__(norm, widths, downsample)
        wide = widths[2]
        self.layer4 = stage(wide, wide, norm, 2)
        self.layer5 = stage(wide, wide, norm, 2)

        def refined() -> nn.Sequential:
            return nn.Sequential(ResidualBlock(wide, wide, norm), Conv3x3(wide, hidden))

        self.outputs08 = nn.ModuleList(refined() for _ in range(2))
        self.outputs16 = nn.ModuleList(refined() for _ in range(2))
        self.outputs32 = nn.ModuleList(Conv3x3(wide, hidden) for _ in range(2))

    def levels(self, trunk: Float[Tensor, "b c h w"], count: int = 3) -> list[Tensor]:
        """What the trunk made of images and its halvings, finest first."""
        found = [trunk]
        for halving in (self.layer4, self.layer5)[: count - 1]:
            found.append(halving(found[-1]))
        return found

    def heads(self, levels: Sequence[Float[Tensor, "b c _ _"]]) -> list[tuple[Tensor, Tensor]]:
        """(state, context) per level, finest first, before their tanh and ReLU."""
        outputs = (self.outputs08, self.outputs16, self.outputs32)
        return [(state(level), context(level)) for level, (state, context) in zip(levels, outputs, strict=False)]


def init_convolutions(module: nn.Module) -> None:
    """He initialisation (normal, fan out) of all convolutions, as the official code starts training."""
    for conv in (m for m in module.modules() if isinstance(m, nn.Conv2d)):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
