"""The backbone of pointmap networks: one encoder for both pictures, and two decoders that listen to each other.

Source: Wang et al., "DUSt3R: Geometric 3D Vision Made Easy", CVPR 2024, section 3.1. Parameter names are those of the
official checkpoints.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.errors import WrongInput
from depthweave.models.layers.dinov2 import PatchEmbed
from depthweave.models.layers.rope import Rotation, rotation_table
from depthweave.models.layers.rotary_blocks import DecoderBlock, EncoderBlock
from depthweave.models.pointmap.config import PointmapConfig
from depthweave.models.pointmap.heads import PATCH_PX, DenseHead, Grid, LinearHead, States
from depthweave.models.pretrained import PretrainedNetwork


@dataclass(frozen=True, eq=False)
class View:
    """What a network says of one picture of a pair.

    Attributes:
        points: (b, h, w, 3) in the camera axes of the first picture, in one unit for both pictures.
        confidence: (b, h, w), raw: at least the configuration's ``least_confidence``, no upper bound.
        descriptors: (b, h, w, c) of length 1, for matching; None where the network gives none.
        descriptor_confidence: (b, h, w), raw.
    """

    points: Float[Tensor, "b h w 3"]
    confidence: Float[Tensor, "b h w"]
    descriptors: Float[Tensor, "b h w c"] | None = None
    descriptor_confidence: Float[Tensor, "b h w"] | None = None


@dataclass(frozen=True, eq=False)
class Pointmaps:
    """Both pictures of a pair; all points are in the first picture's camera."""

    first: View
    second: View


class PointmapNetwork(PretrainedNetwork):
    """Two pictures to a point for every pixel of both. A subclass gives the heads.

    Args:
        config: sizes.
    """

    multiple: ClassVar[int] = PATCH_PX
    config: PointmapConfig
    downstream_head1: LinearHead | DenseHead
    downstream_head2: LinearHead | DenseHead

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.encoder_dim, config.decoder_dim
        self.patch_embed = PatchEmbed(encoder, PATCH_PX)
        self.enc_blocks = nn.ModuleList(
            EncoderBlock(encoder, config.encoder_heads) for _ in range(config.encoder_depth)
        )
        self.enc_norm = nn.LayerNorm(encoder, eps=1e-6)
        self.decoder_embed = nn.Linear(encoder, decoder)
        self.dec_blocks, self.dec_blocks2 = (
            nn.ModuleList(DecoderBlock(decoder, config.decoder_heads) for _ in range(config.decoder_depth))
            for _ in range(2)
        )
        self.dec_norm = nn.LayerNorm(decoder, eps=1e-6)

    def forward(self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]) -> Pointmaps:
        """Points of both pictures.

        Args:
            first, second: RGB in [-1, 1], of one size; sides are multiples of 16 px.

        Raises:
            WrongInput: sides that are not multiples of 16.
        """
        height, width = first.shape[-2:]
        return self.decode(self.encode(first), self.encode(second), (height, width))

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """What the network knows of single pictures; a picture's tokens serve all its pairs.

        Args:
            images: RGB in [-1, 1]; sides are multiples of 16 px.

        Raises:
            WrongInput: sides that are not multiples of 16.
        """
        height, width = images.shape[-2:]
        rotation = self._rotation(
            _grid((height, width)), self.config.encoder_dim // self.config.encoder_heads, images.device
        )
        tokens = self.patch_embed(images)
        for block in self.enc_blocks:
            tokens = block(tokens, rotation)
        return self.enc_norm(tokens)

    def decode(
        self,
        first: Float[Tensor, "b n c"],
        second: Float[Tensor, "b n c"],
        size: tuple[int, int],
        *,
        descriptors: bool = True,
    ) -> Pointmaps:
        """Points of both pictures from what `encode` gave of each.

        Args:
            first, second: tokens.
            size: (height, width) of the pictures in px.
            descriptors: False leaves them away, which saves time.

        Raises:
            WrongInput: sides that are not multiples of 16, or tokens of pictures of another size.
        """
        grid = _grid(size)
        if grid[0] * grid[1] != first.shape[1]:
            raise WrongInput(f"{first.shape[1]} tokens are not those of a picture of {size[1]}x{size[0]} px.")
        found = self.states(first, second, grid, (*self.downstream_head1.taps, *self.downstream_head2.taps))
        # The exponentials at the end would magnify the rounding of half precision.
        with torch.autocast(first.device.type, enabled=False):
            heads = zip((self.downstream_head1, self.downstream_head2), found, strict=True)
            one, two = (self.read_view(head, states, grid, descriptors=descriptors) for head, states in heads)
        return Pointmaps(one, two)

    def states(
        self, first: Float[Tensor, "b n c"], second: Float[Tensor, "b n c"], grid: Grid, taps: tuple[int, ...]
    ) -> tuple[States, States]:
        """Tokens at places of both decoders.

        Both sides of a layer read what the layer before has left, so neither sees the other's newest answer.

        Args:
            first, second: the encoder's tokens.
            grid: rows and columns of tokens.
            taps: places to keep: 0 is the encoder's output, k that of block k, the last one normalised.
        """
        depth = self.config.decoder_depth
        rotation = self._rotation(grid, self.config.decoder_dim // self.config.decoder_heads, first.device)
        kept: tuple[dict[int, Tensor], dict[int, Tensor]] = ({0: first.float()}, {0: second.float()})
        one, two = self.decoder_embed(first), self.decoder_embed(second)
        for place, (block, block2) in enumerate(zip(self.dec_blocks, self.dec_blocks2, strict=True), 1):
            one, two = block(one, two, rotation), block2(two, one, rotation)
            if place in taps:
                for side, tokens in zip(kept, (one, two), strict=True):
                    side[place] = (self.dec_norm(tokens) if place == depth else tokens).float()
        return kept

    def read_view(self, head: nn.Module, states: States, grid: Grid, *, descriptors: bool) -> View:
        """What a head says of one picture.

        X = p / |p| (e^|p| - 1) for the three raw coordinates p, and C = ``least_confidence`` + e^c (Wang et al.,
        CVPR 2024, section 3.2; the exponential mapping is the official models' choice).

        Args:
            head: of the picture.
            states: tokens at the head's taps.
            grid: rows and columns of tokens.
            descriptors: where the network gives any.
        """
        raw = head(states, grid)
        points, confidence = raw[:, :3].permute(0, 2, 3, 1), raw[:, 3]
        length = points.norm(dim=-1, keepdim=True)
        return View(points / length.clamp_min(1e-8) * length.expm1(), self.config.least_confidence + confidence.exp())

    def _rotation(self, grid: Grid, width: int, device: torch.device) -> Rotation:
        return rotation_table(*grid, width, self.config.rope_base, device)


def _grid(size: tuple[int, int]) -> Grid:
    height, width = size
    if height % PATCH_PX or width % PATCH_PX or min(size) < PATCH_PX:
        raise WrongInput(
            f"a picture of {width}x{height} px does not split into patches of {PATCH_PX}; resize it first."
        )
    return height // PATCH_PX, width // PATCH_PX
