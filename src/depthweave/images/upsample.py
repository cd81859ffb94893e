"""Maps of a small picture brought to a large one without mixing two surfaces."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from depthweave.images.resize import resize_image


def guided_sources(
    picture: Float[Tensor, "3 h w"], height: int, width: int, *, color_spread: float = 0.1
) -> tuple[Int[Tensor, "h w"], Int[Tensor, "h w"]]:
    """For every pixel of a picture, the pixel of a smaller map that it should take its value from.

    Of the nine small pixels around a place, the one whose colour fits best: cost = |I - i|^2 / spread^2 + |x - y|^2,
    with distances in small pixels. Values are picked, never averaged, so nothing appears between two surfaces.

    Args:
        picture: in [0, 1], of the size wanted.
        height, width: of the small map in px.
        color_spread: difference of colour, in [0, 1], that weighs as much as one small pixel of distance.

    Returns:
        Rows and columns in the small map.

    Source: our reduction of Kopf et al., Joint Bilateral Upsampling, SIGGRAPH 2007, from a mean to the best sample.
    """
    rows, columns = picture.shape[-2:]
    small = resize_image(picture, height, width)
    y = (torch.arange(rows, device=picture.device) + 0.5) * (height / rows) - 0.5
    x = (torch.arange(columns, device=picture.device) + 0.5) * (width / columns) - 0.5
    best = torch.full((rows, columns), torch.inf, device=picture.device)
    source_y = torch.zeros(rows, columns, dtype=torch.long, device=picture.device)
    source_x = torch.zeros_like(source_y)
    # The middle comes first, so that it stays where costs are equal.
    for step_y, step_x in sorted(
        ((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)), key=lambda s: abs(s[0]) + abs(s[1])
    ):
        at_y = (y.round().long() + step_y).clamp(0, height - 1)
        at_x = (x.round().long() + step_x).clamp(0, width - 1)
        color = (picture - small[:, at_y[:, None], at_x]).square().sum(0) / color_spread**2
        cost = color + (y - at_y).square()[:, None] + (x - at_x).square()
        better = cost < best
        best = torch.where(better, cost, best)
        source_y = torch.where(better, at_y[:, None], source_y)
        source_x = torch.where(better, at_x, source_x)
    return source_y, source_x
