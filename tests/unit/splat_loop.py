"""Splatting pixel by pixel: the definition, as slow as it is plain."""

import math

import torch
from torch import Tensor

from depthweave.synthesis import Splat


def splat_by_loop(image: Tensor, disparity: Tensor, keep: Tensor | None = None) -> Splat:
    """As `splat` with linear colours, of a picture (3, h, w)."""
    kept = torch.ones_like(disparity, dtype=torch.bool) if keep is None else keep
    picture, seen = torch.zeros_like(image), torch.zeros_like(disparity)
    hit, visible, border = (torch.zeros_like(kept) for _ in range(3))
    width = disparity.shape[-1]
    for y, d in enumerate(disparity.tolist()):
        front = _front(d)
        for j, cover in enumerate(front):
            if cover is None:
                border[y, j] = not any(front[j:])
                continue
            value, x, share = cover
            pair = x, min(x + 1, width - 1)
            if not kept[y, pair[share >= 0.5]]:
                continue
            if not (kept[y, pair[0]] and kept[y, pair[1]]):
                share = float(share >= 0.5)
            hit[y, j], seen[y, j] = True, value
            picture[:, y, j] = (1 - share) * image[:, y, pair[0]] + share * image[:, y, pair[1]]
        for x in range(width):
            j = math.floor(x - d[x] + 0.5)
            if 0 <= j < width:
                cover = front[j]
                visible[y, x] = cover is None or d[x] >= cover[0] - 1
    return Splat(picture, seen, hit, visible, border)


def _front(d: list[float]) -> list[tuple[float, int, float] | None]:
    """At each right column what is in front: disparity, left column, and the share of the column after that."""
    width = len(d)
    front: list[tuple[float, int, float] | None] = [None] * width

    def cover(start: float, end: float, x: int, step: float | None = None) -> None:
        """Offer column x to the integers in [start, end); with a step to the next column the surface slants there."""
        for j in range(max(math.ceil(start), 0), min(math.ceil(end), width)):
            share = 0.0 if step is None else (j - (x - d[x])) / (1 - step)
            value = d[x] if step is None else d[x] + share * step
            best = front[j]
            if best is None or (value, x) > best[:2]:
                front[j] = value, x, share

    for x in range(width):
        u = x - d[x]
        if x + 1 < width and abs(d[x + 1] - d[x]) < 1:
            cover(u, x + 1 - d[x + 1], x, d[x + 1] - d[x])
        else:
            cover(u, u + 0.5, x)
        if x == 0 or abs(d[x] - d[x - 1]) >= 1:
            cover(u - 0.5, u, x)
    return front
