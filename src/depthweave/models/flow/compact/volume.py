"""Correlations in two dimensions: all pairs of cells, look-ups in them, and cells around a match.

Sources: Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020, section 3.2 (all
pairs, look-ups); Xu et al., "GMFlow: Learning Optical Flow via Global Matching", CVPR 2022, section 3.1 (a start from
the probabilities over all cells).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_PEAK = 2
"""Cells to either side of the best one that its mean weighs."""

_BLOCK = 32
"""Columns whose products are computed at once."""


def all_pairs(first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w h w"]:
    """V(y, x, v, u) = <f(y, x), s(v, u)> of unit vectors, in float32."""
    b, _, h, w = first.shape
    with torch.autocast(first.device.type, enabled=False):
        rows, columns = (F.normalize(x.float(), dim=1).flatten(2) for x in (first, second))
        return torch.bmm(rows.transpose(1, 2), columns).view(b, h, w, h, w)


def halved(volume: Float[Tensor, "b h w v u"]) -> Float[Tensor, "b h w v2 u2"]:
    """The volume with means of 2x2 cells of the second picture."""
    b, h, w, v, u = volume.shape
    small = F.avg_pool2d(volume.reshape(b * h * w, 1, v, u), 2, ceil_mode=True)
    return small.view(b, h, w, *small.shape[-2:])


def peak(
    volume: Float[Tensor, "b h w h w"], sharpness: Float[Tensor, ""]
) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b 1 h w"]]:
    """Where every cell goes by its best match: the mean of 5x5 cells around it, and their share of the probability.

    Args:
        volume: correlations.
        sharpness: they count so often before their softmax.

    Returns:
        Flow in cells, (x, y), and the share in [0, 1], which carries no gradient.
    """
    b, h, w = volume.shape[:3]
    scores = sharpness * volume.reshape(b, h * w, h * w)
    best = volume.detach().reshape(b, h * w, h * w).argmax(-1)
    steps = torch.arange(-_PEAK, _PEAK + 1, device=volume.device)
    rows = (best // w).clamp(min(_PEAK, h - 1), max(h - 1 - _PEAK, 0))[..., None] + steps
    columns = (best % w).clamp(min(_PEAK, w - 1), max(w - 1 - _PEAK, 0))[..., None] + steps
    rows, columns = rows.clamp(0, h - 1), columns.clamp(0, w - 1)
    window = (rows[..., :, None] * w + columns[..., None, :]).flatten(2)
    near = scores.gather(-1, window)
    chances = near.softmax(-1)
    x, y = (chances * (window % w)).sum(-1), (chances * (window // w)).sum(-1)
    share = (near.logsumexp(-1) - scores.logsumexp(-1)).exp().detach()
    flow = torch.stack((x, y), 1).view(b, 2, h, w) - positions(h, w, volume.device)
    return flow, share.view(b, 1, h, w)


def look_up(
    volume: Float[Tensor, "b h w v u"], flow: Float[Tensor, "b 2 h w"], radius: int, *, factor: int = 1
) -> Float[Tensor, "b k h w"]:
    """Bilinear samples around the match, (2 radius + 1)^2 channels, rows outermost; 0 outside of the volume.

    Args:
        volume: correlations with cells of the second picture that are ``factor`` cells of the first one wide.
        flow: in cells of the first picture.
        radius: of the window, in cells of the volume.
        factor: 1 for the volume of all pairs, 2 for the halved one.
    """
    b, h, w, v, u = volume.shape
    centre = (positions(h, w, volume.device) + flow + 0.5) / factor - 0.5
    x, y = centre.permute(0, 2, 3, 1).reshape(b * h * w, 2).unbind(-1)
    # Linear samples at whole steps share their weights: read one window more, then blend twice.
    left, top = x.floor(), y.floor()
    steps = torch.arange(-radius, radius + 2, device=volume.device)
    columns, rows = left.long()[:, None] + steps, top.long()[:, None] + steps
    inside = ((rows >= 0) & (rows < v))[:, :, None] & ((columns >= 0) & (columns < u))[:, None, :]
    index = rows.clamp(0, v - 1)[:, :, None] * u + columns.clamp(0, u - 1)[:, None, :]
    size = len(steps)
    values = volume.reshape(b * h * w, v * u).gather(1, index.flatten(1)).view(-1, size, size) * inside
    values = torch.lerp(values[:, :-1], values[:, 1:], (y - top)[:, None, None])
    values = torch.lerp(values[:, :, :-1], values[:, :, 1:], (x - left)[:, None, None])
    return values.reshape(b, h, w, -1).permute(0, 3, 1, 2)


def correlate_near(
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    flow: Float[Tensor, "b 2 h w"],
    *,
    radius: int,
) -> Float[Tensor, "b k h w"]:
    """Correlation of unit vectors with the second features fetched by the flow, and with their neighbours.

    Neighbours are those of the fetched picture: where the flow is smooth these are the cells around the match, at the
    price of one fetch.
    """
    h, w = first.shape[-2:]
    x, y = (positions(h, w, flow.device) + flow.float()).unbind(1)
    grid = torch.stack(((2 * x + 1) / w - 1, (2 * y + 1) / h - 1), -1)
    with torch.autocast(first.device.type, enabled=False):
        fetched = F.grid_sample(F.normalize(second.float(), dim=1), grid, align_corners=False)
        own = F.normalize(first.float(), dim=1)
        wide = F.pad(fetched, (radius,) * 4)
        rows = own.permute(0, 2, 3, 1)
        found = [_row_band(rows, wide[:, :, step : step + h], radius) for step in range(2 * radius + 1)]
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def _row_band(rows: Float[Tensor, "b h w c"], wide: Float[Tensor, "b c h w2"], radius: int) -> Float[Tensor, "b h w k"]:
    """Products of every cell with those at most ``radius`` columns away, of rows that are 2 radius cells wider."""
    b, h, w, channels = rows.shape
    others = wide.permute(0, 2, 1, 3)
    blocks = []
    for first in range(0, w, _BLOCK):
        size = min(_BLOCK, w - first)
        reached = others[..., first : first + size + 2 * radius].reshape(b * h, channels, -1)
        products = torch.bmm(rows[:, :, first : first + size].reshape(b * h, size, channels), reached).flatten(1)
        # One column more per row turns the diagonals into columns.
        blocks.append(F.pad(products, (0, size)).view(b, h, size, -1)[..., : 2 * radius + 1])
    return torch.cat(blocks, 2)


def positions(height: int, width: int, device: torch.device) -> Float[Tensor, "2 h w"]:
    """x and y of every cell."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack((x, y))
