"""IGEV-Stereo's volume: its filter, and the look-up of the iterations.

Source: Xu et al., "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023, sections 3.2 and 3.3.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.correlation import RowCorrelation
from depthweave.models.stereo.igev.blocks import BatchConv, FeatureGate
from depthweave.models.stereo.igev.config import IgevConfig
from depthweave.models.stereo.igev.encoders import Pyramid


class VolumeFilter(nn.Module):
    """An hourglass over disparities, rows and columns, gated by the left picture's features at every size.

    Args:
        config: sizes.
    """

    def __init__(self, config: IgevConfig) -> None:
        super().__init__()
        channels = config.groups
        eighth, sixteenth, coarsest = 2 * channels, 4 * channels, 6 * channels
        seen_eighth, seen_sixteenth, seen_coarsest = 2 * config.trunk[3], 2 * config.trunk[5], config.trunk[6]
        self.conv1 = _halving(channels, eighth)
        self.conv2 = _halving(eighth, sixteenth)
        self.conv3 = _halving(sixteenth, coarsest)
        self.conv3_up = BatchConv(coarsest, sixteenth, dims=3, up=True)
        self.conv2_up = BatchConv(sixteenth, eighth, dims=3, up=True)
        self.conv1_up = BatchConv(eighth, channels, dims=3, up=True, plain=True)
        self.agg_0 = _joining(sixteenth)
        self.agg_1 = _joining(eighth)
        self.feature_att_8 = FeatureGate(eighth, seen_eighth)
        self.feature_att_16 = FeatureGate(sixteenth, seen_sixteenth)
        self.feature_att_32 = FeatureGate(coarsest, seen_coarsest)
        self.feature_att_up_16 = FeatureGate(sixteenth, seen_sixteenth)
        self.feature_att_up_8 = FeatureGate(eighth, seen_eighth)

    def forward(self, volume: Float[Tensor, "b g d h w"], features: Pyramid) -> Float[Tensor, "b g d h w"]:
        """The geometry encoding volume."""
        eighth = self.feature_att_8(self.conv1(volume), features.eighth)
        sixteenth = self.feature_att_16(self.conv2(eighth), features.sixteenth)
        coarsest = self.feature_att_32(self.conv3(sixteenth), features.thirtysecond)
        back = self.agg_0(torch.cat([self.conv3_up(coarsest), sixteenth], 1))
        back = self.conv2_up(self.feature_att_up_16(back, features.sixteenth))
        back = self.agg_1(torch.cat([back, eighth], 1))
        found: Tensor = self.conv1_up(self.feature_att_up_8(back, features.eighth))
        return found


class GeometryLookUp:
    """The filtered volume and the correlation of whole rows, in float32, each at several widths.

    Args:
        left, right: matched features.
        geometry: what `VolumeFilter` made of them.
        levels: number of widths; each averages pairs of disparities (of columns) of the one before.
    """

    def __init__(
        self,
        left: Float[Tensor, "b c h w"],
        right: Float[Tensor, "b c h w"],
        geometry: Float[Tensor, "b g d h w"],
        *,
        levels: int,
    ) -> None:
        # `RowCorrelation` divides by sqrt(c), which this network does not.
        self._correlation = RowCorrelation(left.float() * left.shape[1] ** 0.5, right, levels=levels)
        volume = geometry.float().permute(0, 1, 3, 4, 2)
        self._volumes = []
        for level in range(levels):
            if level:
                volume = F.avg_pool3d(volume, (1, 1, 2))
            self._volumes.append(F.pad(volume, (1, 1)))

    def around(self, disparity: Float[Tensor, "b 1 h w"], radius: int) -> Float[Tensor, "b k h w"]:
        """Samples of both around a disparity in px of the features; outside of either there are zeros.

        Per level i: the volume at d / 2^i + k for every group, then the correlation at (x - d) / 2^i + k;
        k = -radius .. radius is innermost.
        """
        rows = self._correlation.around(disparity, radius).chunk(len(self._volumes), 1)
        found = []
        for level, (volume, row) in enumerate(zip(self._volumes, rows, strict=True)):
            found += [_sample(volume, disparity.float() / 2**level, radius), row]
        return torch.cat(found, 1)


def _sample(volume: Float[Tensor, "b g h w d2"], at: Float[Tensor, "b 1 h w"], radius: int) -> Float[Tensor, "b k h w"]:
    """Linear samples at ``at`` + k; the volume has a zero on either side, which ``at`` does not count."""
    b, groups, h, w, padded = volume.shape
    last = padded - 1
    # What is not finite must not become an index.
    at = torch.nan_to_num(at[:, 0] - radius, nan=-last).clamp(-2 * radius - 2, last)
    first = at.floor()
    index = first.long()[..., None] + torch.arange(1, 2 * radius + 3, device=volume.device)
    values = volume.gather(-1, index.clamp(0, last)[:, None].expand(b, groups, h, w, -1))
    samples = torch.lerp(values[..., :-1], values[..., 1:], (at - first)[:, None, ..., None])
    return samples.permute(0, 1, 4, 2, 3).reshape(b, -1, h, w)


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(BatchConv(inputs, outputs, stride=2, dims=3), BatchConv(outputs, outputs, dims=3))


def _joining(channels: int) -> nn.Sequential:
    return nn.Sequential(
        BatchConv(2 * channels, channels, 1, dims=3),
        BatchConv(channels, channels, dims=3),
        BatchConv(channels, channels, dims=3),
    )
