"""Parts of AnyNet: a U-Net's features, filters of volumes, and spatial propagation.

Source: Wang et al., "Anytime Stereo Image Depth Estimation on Mobile Devices", ICRA 2019. Modules are nested and named
as in the official checkpoints.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.stereo.anynet.config import AnyNetConfig


def norm_conv(inputs: int, outputs: int, *, stride: int = 1, dims: int = 2) -> nn.Sequential:
    """Batch normalisation, ReLU, and a convolution of 3 px."""
    norm, convolution = {2: (nn.BatchNorm2d, nn.Conv2d), 3: (nn.BatchNorm3d, nn.Conv3d)}[dims]
    return nn.Sequential(norm(inputs), nn.ReLU(inplace=True), convolution(inputs, outputs, 3, stride, 1, bias=False))


def volume_filter(layers: int, channels: int) -> nn.Sequential:
    """Three-dimensional convolutions from a volume's costs to costs."""
    inner = (norm_conv(channels, channels, dims=3) for _ in range(layers))
    return nn.Sequential(norm_conv(1, channels, dims=3), *inner, norm_conv(channels, 1, dims=3))


class UpBlock(nn.Module):
    """Coarse features at twice their size, joined with finer ones.

    Args:
        coarse, fine: channels.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(norm_conv(coarse + fine, fine), norm_conv(fine, fine))

    def forward(self, fine: Float[Tensor, "b c h w"], coarse: Float[Tensor, "b d h2 w2"]) -> Float[Tensor, "b c h w"]:
        """Features as many as ``fine`` that have seen ``coarse``; enlarging keeps the corners in place."""
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
        found: Tensor = self.conv(torch.cat([fine, enlarged], 1))
        return found


class Features(nn.Module):
    """Features at 1/16, 1/8 and 1/4, each computed when it is asked for.

    Args:
        config: sizes.
    """

    def __init__(self, config: AnyNetConfig) -> None:
        super().__init__()
        first, quarter, eighth, coarsest = (config.channels * factor for factor in (1, 2, 4, 8))
        entry = nn.Sequential(nn.Conv2d(3, first, 3, 1, 1), norm_conv(first, first, stride=2))
        self.block0 = nn.Sequential(entry, _halving(first, quarter, config.blocks))
        down = (_halving(quarter, eighth, config.blocks), _halving(eighth, coarsest, config.blocks))
        self.blocks = nn.ModuleList(down)
        self.upblocks = nn.ModuleList((UpBlock(coarsest, eighth), UpBlock(eighth, quarter)))

    def forward(self, view: Float[Tensor, "b 3 h w"]) -> Iterator[Float[Tensor, "b _ _ _"]]:
        """Coarsest first; nothing that only finer ones need is computed before these are asked for."""
        quarter = self.block0(view)
        eighth = self.blocks[0](quarter)
        found = self.blocks[1](eighth)
        yield found
        for block, fine in zip(self.upblocks, (eighth, quarter), strict=True):
            found = block(fine, found)
            yield found


def propagate(
    values: Float[Tensor, "b c h w"],
    above: Float[Tensor, "b c h w"],
    beside: Float[Tensor, "b c h w"],
    below: Float[Tensor, "b c h w"],
) -> Float[Tensor, "b c h w"]:
    """Spatial propagation from left to right over three neighbours.

    H(y, x) = (1 - a - s - u) X(y, x) + a H(y - 1, x - 1) + s H(y, x - 1) + u H(y + 1, x - 1), with the gates a, s, u at
    (y, x); a gate whose neighbour lies outside counts as 0.

    Args:
        values: X.
        above, beside, below: a, s and u; the result is bounded where their absolute values sum to 1 at most.

    Source: Liu et al., "Learning Affinity via Spatial Propagation Networks", NeurIPS 2017, section 3.1 (three-way
    connection).
    """
    outside = torch.zeros_like(above[..., :1, :])
    above = torch.cat([outside, above[..., 1:, :]], -2)
    below = torch.cat([below[..., :-1, :], outside], -2)
    kept = (1 - above - beside - below) * values
    gates = (gate.unbind(-1)[1:] for gate in (above, beside, below))
    columns = [values[..., 0]]
    for start, up, level, down in zip(kept.unbind(-1)[1:], *gates, strict=True):
        before = F.pad(columns[-1], (1, 1))
        columns.append(start + up * before[..., :-2] + level * before[..., 1:-1] + down * before[..., 2:])
    return torch.stack(columns, -1)


def refinement_layers(channels: int) -> nn.ModuleList:
    """Gates from the picture, and the disparity's way into and out of the propagation."""
    wide = 2 * channels
    layers: list[nn.Module] = []
    for inputs in (3, wide, wide):
        layers += [nn.Conv2d(inputs, wide, 3, 1, 1, bias=False), nn.ReLU(inplace=True)]
    gates = nn.Sequential(*layers, nn.Conv2d(wide, 3 * channels, 3, 1, 1, bias=False))
    return nn.ModuleList(
        (gates, nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.Conv2d(channels, 1, 3, 1, 1, bias=False))
    )


def _halving(inputs: int, outputs: int, count: int) -> nn.Sequential:
    later = (norm_conv(outputs, outputs) for _ in range(count - 1))
    return nn.Sequential(nn.MaxPool2d(2, 2), norm_conv(inputs, outputs), *later)
