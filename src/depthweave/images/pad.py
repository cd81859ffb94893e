"""Padding to a size that a network accepts, and back."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor


class Padding(NamedTuple):
    """Pixels added on each side."""

    left: int
    right: int
    top: int
    bottom: int


def pad_to_multiple(
    image: Shaped[Tensor, "*b c h w"],
    multiple: int,
    *,
    place: Literal["centre", "corner"] = "centre",
    mode: Literal["replicate", "reflect", "constant"] = "replicate",
) -> tuple[Shaped[Tensor, "*b c h2 w2"], Padding]:
    """Grow height and width to the next multiple of ``multiple``.

    Args:
        image: any number of leading dimensions.
        multiple: e.g. 32 for a network with five halvings.
        place: ``centre`` shares the border between both sides (the odd pixel goes right and bottom); ``corner`` keeps
            the picture at the top left.
        mode: as in `torch.nn.functional.pad`.
    """
    height, width = image.shape[-2:]
    extra_x, extra_y = -width % multiple, -height % multiple
    if place == "centre":
        padding = Padding(extra_x // 2, extra_x - extra_x // 2, extra_y // 2, extra_y - extra_y // 2)
    else:
        padding = Padding(0, extra_x, 0, extra_y)
    flat = image.reshape(-1, *image.shape[-3:])
    # torch cannot continue the border of a mask, but that of bytes.
    padded = torch.nn.functional.pad(flat.byte() if flat.dtype == torch.bool else flat, tuple(padding), mode=mode)
    padded = padded.to(image.dtype)
    return padded.reshape(*image.shape[:-2], *padded.shape[-2:]), padding


def unpad(image: Shaped[Tensor, "*b h w"], padding: Padding) -> Shaped[Tensor, "*b h2 w2"]:
    """Take the border of `pad_to_multiple` away again."""
    height, width = image.shape[-2:]
    return image[..., padding.top : height - padding.bottom, padding.left : width - padding.right]
