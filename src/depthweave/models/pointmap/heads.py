"""From a decoder's tokens to raw numbers per pixel. Parameter names are those of the official checkpoints.

Source: Wang et al., "DUSt3R", CVPR 2024, section 3.1; Ranftl et al., "Vision Transformers for Dense Prediction",
ICCV 2021; Leroy et al., "Grounding Image Matching in 3D with MASt3R", ECCV 2024, section 3.2 (local features).
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.dpt import resize_aligned
from depthweave.models.layers.winograd import Conv3x3, convolve

PATCH_PX = 16
FEATURES = 256
"""Channels inside the dense head, whatever the size of the network."""
CHANNELS = (96, 192, 384, 768)
"""Channels of the four maps that enter it."""
RAW = 4
"""Raw numbers of a pixel: a point and a confidence."""

Grid = tuple[int, int]
"""Rows and columns of tokens."""
States = Mapping[int, Float[Tensor, "b n _"]]
"""Tokens by place: 0 is the encoder's output, k that of block k of a decoder, the last one normalised."""


def as_map(tokens: Float[Tensor, "b n c"], grid: Grid) -> Float[Tensor, "b c gh gw"]:
    """Tokens in reading order as a picture of them."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def as_pixels(tokens: Float[Tensor, "b n c"], grid: Grid) -> Float[Tensor, "b _ h w"]:
    """Tokens of 256 numbers per output channel, the pixels of their patches, as a picture."""
    return F.pixel_shuffle(as_map(tokens, grid), PATCH_PX)


class LinearHead(nn.Module):
    """One linear layer on the last tokens.

    Args:
        dim: width of a decoder's tokens.
        depth: blocks of a decoder.
    """

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.taps = (depth,)
        self.proj = nn.Linear(dim, RAW * PATCH_PX**2)

    def forward(self, states: States, grid: Grid) -> Float[Tensor, "b 4 h w"]:
        """The raw numbers of every pixel.

        Args:
            states: tokens at `taps`.
            grid: rows and columns of tokens.
        """
        return as_pixels(self.proj(states[self.taps[0]]), grid)


class DenseHead(nn.Module):
    """DPT on the encoder's tokens and those of three decoder blocks.

    Args:
        encoder_dim, decoder_dim: widths of their tokens.
        depth: blocks of a decoder.
    """

    def __init__(self, encoder_dim: int, decoder_dim: int, depth: int) -> None:
        super().__init__()
        self.taps = (0, depth * 2 // 4, depth * 3 // 4, depth)
        self.dpt = _DenseLayers((encoder_dim, decoder_dim, decoder_dim, decoder_dim))

    def forward(self, states: States, grid: Grid) -> Float[Tensor, "b 4 h w"]:
        """The raw numbers of every pixel.

        Args:
            states: tokens at `taps`.
            grid: rows and columns of tokens.
        """
        return self.dpt([as_map(states[tap], grid) for tap in self.taps])


class DescriptorHead(DenseHead):
    """The dense head, and two linear layers that give every pixel a descriptor for matching.

    Args:
        encoder_dim, decoder_dim, depth: as in `DenseHead`.
        channels: of a descriptor, and of its confidence where it has one.
    """

    def __init__(self, encoder_dim: int, decoder_dim: int, depth: int, channels: int) -> None:
        super().__init__(encoder_dim, decoder_dim, depth)
        both = encoder_dim + decoder_dim
        self.head_local_features = _Layers(both, 4 * both, channels * PATCH_PX**2)

    def describe(self, states: States, grid: Grid) -> Float[Tensor, "b c h w"]:
        """The raw descriptor of every pixel.

        Args:
            states: tokens at `taps`.
            grid: rows and columns of tokens.
        """
        both = torch.cat((states[self.taps[0]], states[self.taps[-1]]), -1)
        return as_pixels(self.head_local_features(both), grid)


class _Layers(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, tokens: Float[Tensor, "b n _"]) -> Float[Tensor, "b n _"]:
        return self.fc2(F.gelu(self.fc1(tokens)))


class _ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv3x3(FEATURES, FEATURES)
        self.conv2 = Conv3x3(FEATURES, FEATURES)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.conv2(F.relu(self.conv1(F.relu(x)))) + x


class _FusionBlock(nn.Module):
    """Adds a lateral map to the path from below, refines, doubles the size."""

    def __init__(self) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(FEATURES, FEATURES, 1)
        self.resConfUnit1 = _ResidualUnit()
        self.resConfUnit2 = _ResidualUnit()

    def forward(
        self, path: Float[Tensor, "b c h w"], lateral: Float[Tensor, "b c h w"] | None
    ) -> Float[Tensor, "b c h2 w2"]:
        if lateral is not None:
            path = path + self.resConfUnit1(lateral)
        # The original mixes channels after the resize: the same numbers, since its weights add up to one, at four
        # times the cost.
        mixed = self.out_conv(self.resConfUnit2(path))
        return resize_aligned(mixed, (2 * mixed.shape[-2], 2 * mixed.shape[-1]))


class _Lateral(nn.Conv2d):
    """A 3x3 convolution without a bias."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, FEATURES, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        return convolve(x, self.weight)


class _Scratch(nn.Module):
    """The part of the dense head that has one width; a container with the official names."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (_Lateral(wide) for wide in CHANNELS)
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (_FusionBlock() for _ in range(4))


class _DenseLayers(nn.Module):
    """Four maps of tokens, brought to 4, 2, 1 and 1/2 times the grid, fused from coarse to fine."""

    def __init__(self, dims: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, second, third, fourth = (nn.Conv2d(dim, wide, 1) for dim, wide in zip(dims, CHANNELS, strict=True))
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(first, nn.ConvTranspose2d(CHANNELS[0], CHANNELS[0], 4, stride=4)),
                nn.Sequential(second, nn.ConvTranspose2d(CHANNELS[1], CHANNELS[1], 2, stride=2)),
                nn.Sequential(third),
                nn.Sequential(fourth, nn.Conv2d(CHANNELS[3], CHANNELS[3], 3, stride=2, padding=1)),
            ]
        )
        self.scratch = _Scratch()
        half = FEATURES // 2
        self.head = nn.Sequential(
            Conv3x3(FEATURES, half),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            Conv3x3(half, half),
            nn.ReLU(),
            nn.Conv2d(half, RAW, 1),
        )

    def forward(self, taps: Sequence[Float[Tensor, "b _ gh gw"]]) -> Float[Tensor, "b 4 h w"]:
        scratch = self.scratch
        narrow = (scratch.layer1_rn, scratch.layer2_rn, scratch.layer3_rn, scratch.layer4_rn)
        first, second, third, fourth = (
            conv(resize(tap)) for tap, resize, conv in zip(taps, self.act_postprocess, narrow, strict=True)
        )
        rows, columns = third.shape[-2:]
        # An odd grid is rounded up at the coarsest level; what hangs over is cut off, not squeezed in.
        path = scratch.refinenet4(fourth, None)[..., :rows, :columns]
        path = scratch.refinenet3(path, third)
        path = scratch.refinenet2(path, second)
        path = scratch.refinenet1(path, first)
        return self.head(path)
