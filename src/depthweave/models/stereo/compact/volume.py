"""Group-wise correlation along rows: a band of disparities, and look-ups in it.

Source: Guo et al., "Group-wise Correlation Stereo Network", CVPR 2019, eq. 3; with features of unit length per group.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 64
"""Columns whose correlations are computed at once."""


def correlate(
    left: Float[Tensor, "b c h w"], right: Float[Tensor, "b c h w"], *, groups: int, levels: int
) -> Float[Tensor, "b g h w d"]:
    """V(g, y, x, d) = <l_g(y, x), r_g(y, x - d)> of unit vectors, d = 0 .. levels - 1; 0 where x - d < 0."""
    b, c, h, w = left.shape
    size = c // groups

    def unit(features: Tensor) -> Tensor:
        split = features.float().view(b, groups, size, h, w)
        return F.normalize(split, dim=2).permute(0, 1, 3, 4, 2).reshape(b * groups * h, w, size)

    # Backwards and with zeros behind the left border, the disparities of a pixel lie side by side in the product, each
    # row one place before those of the row above: rows that are one shorter put them below one another. Block by block
    # few products fall outside of the band.
    lefts, rights = unit(left), F.pad(unit(right).flip(1), (0, 0, 0, levels))
    blocks = []
    with torch.autocast(left.device.type, enabled=False):
        for first in range(0, w, _BLOCK):
            last = min(first + _BLOCK, w)
            size = last - first
            reached = rights[:, w - last : w - first + levels]
            products = torch.bmm(lefts[:, first:last], reached.transpose(1, 2)).flatten(1)
            blocks.append(products[:, size - 1 : -1].reshape(-1, size, size + levels - 1)[..., :levels])
    return torch.cat(blocks, 1).view(b, groups, h, w, levels)


def look_up(
    volume: Float[Tensor, "b g h w d"], disparity: Float[Tensor, "b 1 h w"], radius: int
) -> Float[Tensor, "b k h w"]:
    """Linear samples at disparity - radius .. disparity + radius, clamped to the volume, for every group in turn."""
    b, groups, h, w, levels = volume.shape
    first = (disparity[:, 0] - radius).clamp(-radius, levels - 1)
    whole = first.floor()
    steps = torch.arange(2 * radius + 2, device=volume.device)
    index = (whole.long()[..., None] + steps).clamp(0, levels - 1)[:, None].expand(b, groups, h, w, -1)
    values = volume.gather(-1, index)
    samples = torch.lerp(values[..., :-1], values[..., 1:], (first - whole)[:, None, ..., None])
    return samples.permute(0, 1, 4, 2, 3).reshape(b, -1, h, w)


def correlate_around(
    left: Float[Tensor, "b c h w"],
    right: Float[Tensor, "b c h w"],
    disparity: Float[Tensor, "b 1 h w"],
    *,
    groups: int,
    radius: int,
) -> Float[Tensor, "b k h w"]:
    """Group-wise correlation with the right features fetched by the disparity, and with their neighbours.

    Neighbours are those of the fetched row, radius to either side: where the disparity is smooth these are the pixels
    beside the match, at the price of one fetch.
    """
    b, c, h, w = left.shape

    def unit(features: Tensor) -> Tensor:
        return F.normalize(features.float().view(b, groups, c // groups, h, w), dim=2)

    columns = torch.arange(w, device=left.device, dtype=torch.float32) - disparity[:, 0]
    rows = torch.arange(h, device=left.device, dtype=torch.float32)[:, None].expand_as(columns)
    grid = torch.stack(((2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1), -1)
    fetched = F.grid_sample(unit(right).flatten(1, 2), grid, align_corners=False)
    # Under autocast these products are short enough sums for half precision, and take most of the time.
    wide = F.pad(fetched.to(left.dtype), (radius, radius)).view(b, groups, c // groups, h, w + 2 * radius)
    own = unit(left).to(left.dtype)
    found = [(own * wide[..., k : k + w]).sum(2) for k in range(2 * radius + 1)]
    return torch.stack(found, 2).flatten(1, 2)
