"""Parts of PSMNet: features with a spatial pyramid, and an hourglass over a volume.

Source: Chang and Chen, "Pyramid Stereo Matching Network", CVPR 2018, table 1. Modules are nested and named as in the
official checkpoints.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.stereo.psmnet.config import PsmNetConfig

_WINDOWS = (64, 32, 16, 8)
"""Sides of the pyramid's windows, px of 1/4."""


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, dims: int = 2
) -> nn.Sequential:
    """A convolution that keeps the size (but for its stride), and batch normalisation."""
    convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dims]
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        convolution(inputs, outputs, kernel, stride, padding, dilation=dilation, bias=False), norm(outputs)
    )


def scoring(channels: int) -> nn.Sequential:
    """One score per disparity."""
    return nn.Sequential(
        conv_norm(channels, channels, dims=3), nn.ReLU(inplace=True), nn.Conv3d(channels, 1, 3, 1, 1, bias=False)
    )


def residual(inputs: int, channels: int, *, relu: bool = False) -> nn.Sequential:
    """Two three-dimensional convolutions, with a ReLU between them and perhaps one behind."""
    layers = [conv_norm(inputs, channels, dims=3), nn.ReLU(inplace=True), conv_norm(channels, channels, dims=3)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class Block(nn.Module):
    """A residual block without a ReLU behind the sum.

    Args:
        inputs, outputs: channels.
        stride: of the first convolution.
        dilation: of both.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv_norm(inputs, outputs, stride=stride, dilation=dilation), nn.ReLU(inplace=True))
        self.conv2 = conv_norm(outputs, outputs, dilation=dilation)
        changes = stride != 1 or inputs != outputs
        self.downsample = conv_norm(inputs, outputs, 1, stride=stride) if changes else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """The sum of both ways."""
        found: Tensor = self.conv2(self.conv1(x))
        return found + (x if self.downsample is None else self.downsample(x))


class WindowMean(nn.Module):
    """Means of windows that do not overlap; a window larger than the picture is cut to it.

    Args:
        side: of a window, px.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Rows and columns behind the last whole window take no part."""
        return F.avg_pool2d(x, (min(self.side, x.shape[-2]), min(self.side, x.shape[-1])))


class PyramidFeatures(nn.Module):
    """Features at 1/4 that know their surroundings.

    Args:
        config: sizes.
    """

    def __init__(self, config: PsmNetConfig) -> None:
        super().__init__()
        width = config.channels
        layers: list[nn.Module] = []
        for inputs, stride in ((3, 2), (width, 1), (width, 1)):
            layers += [conv_norm(inputs, width, stride=stride), nn.ReLU(inplace=True)]
        self.firstconv = nn.Sequential(*layers)
        first, second, third, fourth = config.blocks
        self.layer1 = _stage(width, width, first)
        self.layer2 = _stage(width, 2 * width, second, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, third)
        self.layer4 = _stage(4 * width, 4 * width, fourth, dilation=2)
        for number, side in enumerate(_WINDOWS, 1):
            branch = nn.Sequential(WindowMean(side), conv_norm(4 * width, width, 1), nn.ReLU(inplace=True))
            self.add_module(f"branch{number}", branch)
        self.lastconv = nn.Sequential(
            conv_norm(10 * width, 4 * width), nn.ReLU(inplace=True), nn.Conv2d(4 * width, width, 1, bias=False)
        )
        self._align = config.align_corners

    def forward(self, views: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h4 w4"]:
        """The features that are matched."""
        near = self.layer2(self.layer1(self.firstconv(views)))
        deep = self.layer4(self.layer3(near))
        size = deep.shape[-2:]
        branches = [self.get_submodule(f"branch{number}") for number in range(len(_WINDOWS), 0, -1)]
        around = [F.interpolate(b(deep), size, mode="bilinear", align_corners=self._align) for b in branches]
        found: Tensor = self.lastconv(torch.cat([near, deep, *around], 1))
        return found


class Hourglass(nn.Module):
    """A volume at 1/2 and 1/4 of its size and back, beside what the hourglass before it saw.

    Args:
        channels: of the volume.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv1 = nn.Sequential(conv_norm(channels, wide, stride=2, dims=3), nn.ReLU(inplace=True))
        self.conv2 = conv_norm(wide, wide, dims=3)
        self.conv3 = nn.Sequential(conv_norm(wide, wide, stride=2, dims=3), nn.ReLU(inplace=True))
        self.conv4 = nn.Sequential(conv_norm(wide, wide, dims=3), nn.ReLU(inplace=True))
        self.conv5 = _doubling(wide, wide)
        self.conv6 = _doubling(wide, channels)

    def forward(
        self,
        volume: Float[Tensor, "b c d h w"],
        down: Float[Tensor, "b c2 d2 h2 w2"] | None = None,
        up: Float[Tensor, "b c2 d2 h2 w2"] | None = None,
    ) -> tuple[Float[Tensor, "b c d h w"], Float[Tensor, "b c2 d2 h2 w2"], Float[Tensor, "b c2 d2 h2 w2"]]:
        """The filtered volume, and its half size on the way down and on the way up.

        Args:
            volume: what is filtered.
            down: the first hourglass's half size on the way down, which replaces this one's on the way up.
            up: half size of the hourglass before on its way up.
        """
        half = self.conv2(self.conv1(volume))
        half = F.relu(half if up is None else half + up)
        back = self.conv5(self.conv4(self.conv3(half)))
        back = F.relu(back + (half if down is None else down))
        return self.conv6(back), half, back


def _doubling(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose3d(inputs, outputs, 3, 2, 1, output_padding=1, bias=False), nn.BatchNorm3d(outputs)
    )


def _stage(inputs: int, outputs: int, count: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = Block(inputs, outputs, stride=stride, dilation=dilation)
    return nn.Sequential(first, *(Block(outputs, outputs, dilation=dilation) for _ in range(count - 1)))
