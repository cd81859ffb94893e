"""IGEV-Stereo's encoders: MobileNetV2 with a way back up for matching, and RAFT-Stereo's for context.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; Xu et al., "Iterative
Geometry Encoding Volume for Stereo Matching", CVPR 2023, section 3.1. Parameter names are those of the official
checkpoints, whose MobileNetV2 has the names of the library timm.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.encoders import ContextTrunk
from depthweave.models.stereo.igev.blocks import InstanceConv, Join, conv_norm, convolution
from depthweave.models.stereo.igev.config import IgevConfig

_EXPANSION = 6

_STAGES = ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2))
"""Blocks and stride of MobileNetV2's first six stages; the seventh is not used."""

_AT_ONE_SIZE = ((0,), (1,), (2,), (3, 4), (5,))
"""Stages that end at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size."""


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise convolution.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_dw = _depthwise(inputs, 1)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = convolution(inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """Nothing follows the second normalisation."""
        return conv_norm(self.conv_pw, self.bn2, F.relu6(conv_norm(self.conv_dw, self.bn1, x), inplace=True))


class InvertedResidual(nn.Module):
    """Pointwise to six times the channels, depthwise 3x3, pointwise back; beside the identity where sizes allow.

    Args:
        inputs, outputs: channels.
        stride: of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = _EXPANSION * inputs
        self.conv_pw = convolution(inputs, wide, 1)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv_dw = _depthwise(wide, stride)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv_pwl = convolution(wide, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Nothing follows the last normalisation."""
        y = F.relu6(conv_norm(self.conv_pw, self.bn1, x), inplace=True)
        y = F.relu6(conv_norm(self.conv_dw, self.bn2, y), inplace=True)
        y = conv_norm(self.conv_pwl, self.bn3, y)
        return x + y if self.residual else y


class Pyramid(NamedTuple):
    """Features at 1/4, 1/8, 1/16 and 1/32 of the size."""

    quarter: Tensor
    eighth: Tensor
    sixteenth: Tensor
    thirtysecond: Tensor


class FeatureNet(nn.Module):
    """MobileNetV2 down to 1/32 and back up to 1/4.

    Args:
        config: sizes.
    """

    def __init__(self, config: IgevConfig) -> None:
        super().__init__()
        first, *widths = config.trunk
        _, fine, middle, _, coarse, coarsest = widths
        self.conv_stem = convolution(3, first, stride=2)
        self.bn1 = nn.BatchNorm2d(first)
        stages = _mobilenet_stages(config.trunk)
        self.block0, self.block1, self.block2, self.block3, self.block4 = (
            nn.Sequential(*(stages[index] for index in indices)) for indices in _AT_ONE_SIZE
        )
        self.deconv32_16 = Join(InstanceConv, coarsest, coarse)
        self.deconv16_8 = Join(InstanceConv, 2 * coarse, middle)
        self.deconv8_4 = Join(InstanceConv, 2 * middle, fine)
        self.conv4 = InstanceConv(2 * fine, 2 * fine)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Pyramid:
        """Images in [-1, 1]; sides are multiples of 32."""
        half = self.block0(F.relu6(conv_norm(self.conv_stem, self.bn1, images), inplace=True))
        quarter = self.block1(half)
        eighth = self.block2(quarter)
        sixteenth = self.block3(eighth)
        thirtysecond = self.block4(sixteenth)
        sixteenth = self.deconv32_16(thirtysecond, sixteenth)
        eighth = self.deconv16_8(sixteenth, eighth)
        return Pyramid(self.conv4(self.deconv8_4(eighth, quarter)), eighth, sixteenth, thirtysecond)


class ContextNet(ContextTrunk):
    """First states and contexts of the recurrent part, of the left image.

    Args:
        config: sizes.
    """

    def __init__(self, config: IgevConfig) -> None:
        super().__init__("batch", config.widths, config.hidden, 2)
        # These files count their levels in px of the image, so what is 08 in RAFT-Stereo's is 04 here.
        self.outputs04, self.outputs08, self.outputs16 = self.outputs08, self.outputs16, self.outputs32
        del self.outputs32

    def forward(self, trunk: Float[Tensor, "b c h w"]) -> list[tuple[Tensor, Tensor]]:
        """(state, context) per level, finest first, before their tanh and ReLU, from what ``trunk`` made of images."""
        outputs = (self.outputs04, self.outputs08, self.outputs16)
        return [(state(x), context(x)) for x, (state, context) in zip(self.levels(trunk), outputs, strict=True)]


def _mobilenet_stages(widths: tuple[int, ...]) -> list[nn.Sequential]:
    stages = [nn.Sequential(Separable(widths[0], widths[1]))]
    for (blocks, stride), inputs, outputs in zip(_STAGES[1:], widths[1:-1], widths[2:], strict=True):
        first = InvertedResidual(inputs, outputs, stride)
        stages.append(nn.Sequential(first, *(InvertedResidual(outputs, outputs, 1) for _ in range(blocks - 1))))
    return stages


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
