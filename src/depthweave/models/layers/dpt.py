"""The dense prediction transformer's decoder: tokens of four blocks in, one map out.

Source: Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021. Parameter names are those of
Depth Anything.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.dinov2 import TransformerSize


def resize_aligned(image: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
    """Bilinear with corners on corners, as these networks were trained."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same size, same channels."""
        return self.conv2(F.relu(self.conv1(F.relu(x)))) + x


class FusionBlock(nn.Module):
    """Adds a lateral map to the path from below, refines, resizes."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = ResidualUnit(features)
        self.resConfUnit2 = ResidualUnit(features)

    def forward(
        self, path: Float[Tensor, "b c h w"], lateral: Float[Tensor, "b c h w"] | None, size: tuple[int, int]
    ) -> Float[Tensor, "b c h2 w2"]:
        """The path at ``size``."""
        if lateral is not None:
            path = path + self.resConfUnit1(lateral)
        return self.out_conv(resize_aligned(self.resConfUnit2(path), size))


class Scratch(nn.Module):
    """The part of the decoder that has one width; a container with the official names."""

    output_conv1: nn.Conv2d
    output_conv2: nn.Sequential

    def __init__(self, channels: Sequence[int], features: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(wide, features, 3, padding=1, bias=False) for wide in channels
        )
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (FusionBlock(features) for _ in range(4))


class DptDecoder(nn.Module):
    """Four maps of tokens, brought to 4, 2, 1 and 1/2 times the grid, fused from coarse to fine.

    Args:
        size: widths.
        head: with the convolutions that turn the fused map into depth.
    """

    def __init__(self, size: TransformerSize, *, head: bool) -> None:
        super().__init__()
        first, second, _, fourth = size.channels
        self.projects = nn.ModuleList(nn.Conv2d(size.dim, wide, 1) for wide in size.channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(size.channels, size.features)
        if head:
            half = size.features // 2
            self.scratch.output_conv1 = nn.Conv2d(size.features, half, 3, padding=1)
            self.scratch.output_conv2 = nn.Sequential(
                nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.Identity()
            )

    def laterals(self, taps: Sequence[Float[Tensor, "b c gh gw"]]) -> list[Tensor]:
        """The four maps that are fused, finest first, each with ``features`` channels."""
        narrow = (
            self.scratch.layer1_rn,
            self.scratch.layer2_rn,
            self.scratch.layer3_rn,
            self.scratch.layer4_rn,
        )
        return [
            conv(resize(project(tap)))
            for tap, project, resize, conv in zip(taps, self.projects, self.resize_layers, narrow, strict=True)
        ]

    def fuse(self, laterals: Sequence[Float[Tensor, "b c _ _"]], *, factor: int) -> Float[Tensor, "b c h w"]:
        """From coarse to fine; the result has ``factor`` times the size of the finest map."""
        first, second, third, fourth = laterals
        scratch = self.scratch
        path = scratch.refinenet4(fourth, None, _size(third))
        path = scratch.refinenet3(path, third, _size(second))
        path = scratch.refinenet2(path, second, _size(first))
        height, width = _size(first)
        return scratch.refinenet1(path, first, (factor * height, factor * width))

    def head(self, path: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b 1 h w"]:
        """What the fused map says before the closing activation, at ``size``."""
        narrow: Tensor = self.scratch.output_conv1(path)
        return self.scratch.output_conv2(resize_aligned(narrow, size))


def _size(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width
