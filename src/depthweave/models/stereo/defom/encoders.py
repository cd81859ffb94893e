"""DEFOM-Stereo's encoders: a monocular one from a depth foundation model, and two convolutional ones that it informs.

Source: Jiang et al., "DEFOM-Stereo: Depth Foundation Model Based Stereo Matching", CVPR 2025, sections 3.2 and 3.3.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.models.layers.dinov2 import PATCH_PX, Tap, TransformerSize, VisionTransformer
from depthweave.models.layers.dpt import DptDecoder, resize_aligned
from depthweave.models.layers.encoders import ContextTrunk, Norm, Trunk, conv_norm, make_norm, relu

LARGEST_SIDE_PX = 2688
"""The transformer never sees a longer side than this."""

DROP_PATH = 0.2


class MonocularFeatures(NamedTuple):
    """What the foundation model says.

    Attributes:
        relative_depth: inverse depth of the left image, at 1/4 of its size.
        context: features of the left image at 1/4, 1/8 and 1/16.
        left, right: features for matching, at 1/4.
        taps: the transformer's tokens of both images.
        seen: both images as the transformer saw them.
    """

    relative_depth: Float[Tensor, "b 1 h w"]
    context: tuple[Tensor, Tensor, Tensor]
    left: Float[Tensor, "b c h w"]
    right: Float[Tensor, "b c h w"]
    taps: list[Tap]
    seen: Float[Tensor, "b2 3 h14 w14"]


def transformer_input_size(height: int, width: int) -> tuple[int, int]:
    """Size at which the transformer sees an image: a patch of 14 px for 16 px of it, at most 2688 px."""
    ideal = [math.ceil(3.5 * (side // 4) / PATCH_PX) * PATCH_PX for side in (height, width)]
    shrink = min(LARGEST_SIDE_PX / side for side in ideal)
    if shrink >= 1:
        return ideal[0], ideal[1]
    longest = max(ideal)
    capped = [LARGEST_SIDE_PX if side == longest else math.ceil(shrink * side / PATCH_PX) * PATCH_PX for side in ideal]
    return capped[0], capped[1]


class DepthAnythingFeatures(nn.Module):
    """One transformer and two decoders: the frozen one for depth, a trained one for features."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(size)
        self.depth_head = DptDecoder(size, head=True)
        self.depth_feat = DptDecoder(size, head=False)

    def forward(self, images: Float[Tensor, "b2 3 h w"], grid: tuple[int, int]) -> MonocularFeatures:
        """Both images, left ones first, at the transformer's size; ``grid`` is 1/4 of the images' own size."""
        half = images.shape[0] // 2
        taps = self.pretrained(images)
        patches = [tap.patches for tap in taps]
        head = self.depth_head
        path = head.fuse(head.laterals([tap[:half] for tap in patches]), factor=1)
        depth = torch.relu(head.head(path, grid))
        rows, columns = grid
        laterals = [
            resize_aligned(lateral, (rows >> level, columns >> level))
            for level, lateral in enumerate(self.depth_feat.laterals(patches))
        ]
        fused = self.depth_feat.fuse(laterals, factor=1)
        first, second, third = (lateral[:half] for lateral in laterals[:3])
        return MonocularFeatures(depth, (first, second, third), fused[:half], fused[half:], taps, images)


class DefomEncoder(nn.Module):
    """Holds the monocular part under its official name."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.depth_anything = DepthAnythingFeatures(size)

    def forward(self, images: Float[Tensor, "b2 3 h w"]) -> MonocularFeatures:
        """Normalised images, left ones first, at their own size."""
        height, width = images.shape[-2:]
        seen = resize_aligned(images, transformer_input_size(height, width))
        return self.depth_anything(seen, (height // 4, width // 4))


class DepthConv(nn.Module):
    """relu(norm(conv(monocular features))). ``norm2`` and ``norm3`` are in the official files and never used."""

    def __init__(self, channels_in: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm1 = make_norm(norm, channels)
        self.norm2 = make_norm(norm, channels)
        if channels_in != channels:
            self.norm3 = make_norm(norm, channels)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """To the channels of the trunk."""
        return relu(conv_norm(self.conv, self.norm1, x))


class FeatureNet(Trunk):
    """Features for matching, at 1/4.

    Args:
        monocular: channels of the foundation model's features.
        widths: channels of the three stages.
        features: channels of the result.
    """

    def __init__(self, monocular: int, widths: tuple[int, int, int], features: int) -> None:
        super().__init__("instance", widths, downsample=2)
        self.convd = DepthConv(monocular, widths[2], "instance")
        self.conv2 = nn.Conv2d(widths[2], features, 1)

    def forward(
        self, trunk: Float[Tensor, "b k h4 w4"], monocular: Float[Tensor, "b c h4 w4"]
    ) -> Float[Tensor, "b d h4 w4"]:
        """What the trunk makes of normalised images, and the foundation model's features for matching."""
        return self.conv2(trunk + self.convd(monocular))


class ContextNet(ContextTrunk):
    """First states and contexts of the recurrent part, at 1/4, 1/8 and 1/16.

    Args:
        monocular: channels of the foundation model's features.
        widths: channels of the three stages.
        hidden: channels of every state and context.
    """

    def __init__(self, monocular: int, widths: tuple[int, int, int], hidden: int) -> None:
        super().__init__("batch", widths, hidden, downsample=2)
        self.conv08, self.conv16, self.conv32 = (DepthConv(monocular, widths[2], "batch") for _ in range(3))

    def forward(
        self, trunk: Float[Tensor, "b k h4 w4"], monocular: tuple[Tensor, Tensor, Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """(state, context) per level, finest first, before their tanh and ReLU.

        Args:
            trunk: what the trunk makes of normalised images.
            monocular: the foundation model's context features.
        """
        convolutions = (self.conv08, self.conv16, self.conv32)
        levels = zip(self.levels(trunk), monocular, convolutions, strict=True)
        return self.heads([level + self._drop_path(conv(features)) for level, features, conv in levels])

    def _drop_path(self, x: Tensor) -> Tensor:
        """In training, leave the monocular features of a sample out now and then (Huang et al., ECCV 2016)."""
        if not self.training:
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= DROP_PATH
        return x * kept / (1 - DROP_PATH)
