"""Parts: a residual encoder, a decoder that answers at four sizes, and a network for the motion of the camera."""

from collections.abc import Sequence
from itertools import pairwise

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SCALES = 4
"""Answers at 1/1, 1/2, 1/4 and 1/8 of the picture."""
_POSE_SCALE = 0.01


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a short cut (He et al., CVPR 2016).

    Args:
        channels_in, channels: before and after.
        stride: of the first convolution.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = _normed(channels_in, channels, 3, stride)
        self.second = _normed(channels, channels, 3, 1)
        self.short: nn.Module = (
            _normed(channels_in, channels, 1, stride) if stride > 1 or channels_in != channels else nn.Identity()
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Features, at half the size with stride 2."""
        inner = self.second(F.relu(self.first(features)))
        return F.relu(inner + self.short(features))


class Encoder(nn.Module):
    """Features at 1/2 to 1/32: a 5x5 convolution and four residual blocks.

    Args:
        channels_in: of the pictures.
        channels: of the five sizes.
    """

    def __init__(self, channels_in: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = _normed(channels_in, channels[0], 5, 2)
        self.stages = nn.ModuleList(ResidualBlock(before, after, 2) for before, after in pairwise(channels))

    def forward(self, pictures: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Features (b, channels, h / 2, w / 2) and on; sides of the pictures are multiples of 32."""
        found = [F.relu(self.stem(pictures))]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found


class Decoder(nn.Module):
    """From 1/32 back to the whole size, with the encoder's features on the way (Godard et al., ICCV 2019, table 4).

    Args:
        channels: of the encoder.
        outputs: channels of each answer.
    """

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        narrow = [max(channels[0] // 2, outputs), *channels[:-1]]
        self.inner = nn.ModuleList()
        self.outer = nn.ModuleList()
        for place in reversed(range(len(channels))):
            coming = channels[-1] if place == len(channels) - 1 else narrow[place + 1]
            skip = channels[place - 1] if place else 0
            self.inner.append(_padded(coming, narrow[place]))
            self.outer.append(_padded(narrow[place] + skip, narrow[place]))
        self.heads = nn.ModuleList(_padded(narrow[place], outputs) for place in range(SCALES))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Answers without an end function, of the whole size first, then 1/2, 1/4 and 1/8."""
        answers: list[Tensor] = []
        found = features[-1]
        for number, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            place = len(features) - 1 - number
            found = F.interpolate(F.elu(inner(found)), scale_factor=2.0, mode="nearest")
            found = torch.cat((found, features[place - 1]), 1) if place else found
            found = F.elu(outer(found))
            if place < SCALES:
                answers.insert(0, self.heads[place](found))
        return answers


class Unet(nn.Module):
    """Encoder and decoder.

    Args:
        channels_in: of the pictures.
        channels: of the features at five sizes.
        outputs: channels of each answer.
    """

    def __init__(self, channels_in: int, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels_in, channels)
        self.decoder = Decoder(channels, outputs)

    def forward(self, pictures: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Answers (b, outputs, h / s, w / s) for s = 1, 2, 4, 8."""
        found: list[Tensor] = self.decoder(self.encoder(pictures))
        return found


class PoseNetwork(nn.Module):
    """How the camera moved between two frames, as axis times angle and translation.

    Starts with next to no motion (Zhou et al., CVPR 2017, section 3.5; Godard et al., ICCV 2019, section 3.1).

    Args:
        channels: of the features at five sizes.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(6, channels)
        self.head = nn.Conv2d(channels[-1], 6, 1)

    def forward(self, pictures: Float[Tensor, "b 6 h w"]) -> Float[Tensor, "b 4 4"]:
        """second_from_first of two pictures one above the other in channels."""
        found = _POSE_SCALE * self.head(self.encoder(pictures)[-1]).float().mean((-2, -1))
        pose = torch.zeros(len(found), 4, 4, device=found.device, dtype=found.dtype)
        pose[:, :3, :3] = roma.rotvec_to_rotmat(found[:, :3])
        pose[:, :3, 3] = found[:, 3:]
        pose[:, 3, 3] = 1.0
        return pose


def _normed(channels_in: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(channels)
    )


def _padded(channels_in: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, padding=1, padding_mode="replicate")
