"""Parts of DispNet: convolutions, the decoder's steps, the edge branch."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.stereo.dispnet.config import DispnetConfig

SLOPE = 0.1
"""Of the leaky ReLU after every convolution."""


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, normalise: bool) -> nn.Sequential:
    """Convolution, batch normalisation if asked for, leaky ReLU.

    Args:
        inputs, outputs: channels.
        kernel, stride: of the convolution, padded by half of the kernel.
        normalise: whether there is a batch normalisation.
    """
    return _activated(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not normalise), normalise)


class Decoder(nn.Module):
    """From 1/64 up to 1/2: at every size the features of the encoder, the coarser disparity, and a new disparity.

    Source: Mayer et al., CVPR 2016, table 1 (upconv, iconv and pr; the disparity is enlarged linearly).

    Args:
        config: sizes.
        extra: channels of further features at 1/32, 1/16, ... 1/2.
    """

    def __init__(self, config: DispnetConfig, extra: Sequence[int]) -> None:
        super().__init__()
        widths = (config.widths[-1], *config.decoder)
        skips = config.widths[-2::-1]
        self.enlarge = nn.ModuleList(
            _activated(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=not config.normalise), config.normalise)
            for a, b in pairwise(widths)
        )
        self.merge = nn.ModuleList(
            convolution(width + skip + more + 1, width, normalise=config.normalise)
            for width, skip, more in zip(config.decoder, skips, extra, strict=True)
        )
        self.predict = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for width in widths)

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]], extra: Sequence[Float[Tensor, "b _ _ _"] | None]
    ) -> list[Float[Tensor, "b 1 _ _"]]:
        """A map at 1/64, 1/32, ... 1/2.

        Args:
            features: of the encoder at 1/2, 1/4, ... 1/64.
            extra: further features at 1/32, 1/16, ... 1/2, or None.
        """
        x = features[-1]
        maps = [self.predict[0](x)]
        steps = zip(self.enlarge, self.merge, self.predict[1:], features[-2::-1], extra, strict=True)
        for enlarge, merge, predict, skip, more in steps:
            coarse = F.interpolate(maps[-1], scale_factor=2, mode="bilinear", align_corners=False)
            x = merge(torch.cat([enlarge(x), skip, coarse, *([] if more is None else [more])], 1))
            maps.append(predict(x))
        return maps


class EdgeBranch(nn.Module):
    """Edge maps on the encoder's shallow features: side outputs at 1/2, 1/4 and 1/8, and one that weighs them up.

    Source: Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015, section 3 (side outputs and their fusion); Song
    et al., EdgeStereo, IJCV 2020 (on features that the matcher shares).

    Args:
        config: sizes.
    """

    def __init__(self, config: DispnetConfig) -> None:
        super().__init__()
        channels, sizes = config.edge_channels, config.widths[:3]
        self.sides = nn.ModuleList(convolution(width, channels, normalise=config.normalise) for width in sizes)
        self.score = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in sizes)
        self.fuse = nn.Conv2d(len(sizes), 1, 1)
        nn.init.constant_(self.fuse.weight, 1 / len(sizes))
        nn.init.zeros_(self.fuse.bias)  # type: ignore[arg-type]

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]], height: int, width: int
    ) -> tuple[list[Float[Tensor, "b 1 {height} {width}"]], list[Float[Tensor, "b _ _ _"]]]:
        """Logits at the picture's size, the fused ones last; and what the decoder gets at 1/2 and 1/4.

        Args:
            features: of the encoder at 1/2, 1/4 and 1/8.
            height, width: of the picture in px.
        """
        sides = [side(each) for side, each in zip(self.sides, features, strict=True)]
        scores = [
            F.interpolate(score(side), size=(height, width), mode="bilinear", align_corners=False)
            for score, side in zip(self.score, sides, strict=True)
        ]
        scores.append(self.fuse(torch.cat(scores, 1)))
        # The map is told from its own loss alone: a disparity that is wrong must not move edges.
        edges = torch.sigmoid(scores[-1].detach())
        given = [torch.cat([side, F.avg_pool2d(edges, 2 << n)], 1) for n, side in enumerate(sides[:2])]
        return scores, given


def _activated(layer: nn.Conv2d | nn.ConvTranspose2d, normalise: bool) -> nn.Sequential:
    nn.init.kaiming_normal_(layer.weight, SLOPE, mode="fan_in" if isinstance(layer, nn.Conv2d) else "fan_out")
    parts: list[nn.Module] = [layer]
    if normalise:
        parts.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*parts, nn.LeakyReLU(SLOPE))
