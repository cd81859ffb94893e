"""What a model says about one picture, and how pictures are brought to a network's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.types import Scale

Kind = Literal["depth", "inverse_depth"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A prediction at the size of the picture.

    Attributes:
        values: (h, w) depth or inverse depth, in m or 1/m if the scale is METRIC.
        kind: what the values are.
        scale: what is unknown about them.
        focal_px: focal length in px of the picture, where the model predicts one; the depth is proportional to it.
        confidence: (h, w) in [0, 1], where the model knows.
    """

    values: Float[Tensor, "h w"]
    kind: Kind
    scale: Scale
    focal_px: float | None = None
    confidence: Float[Tensor, "h w"] | None = None


def normalized(image: Float[Tensor, "3 h w"], mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "1 3 h w"]:
    """The picture as a batch of one, with each channel's mean taken off and divided by its standard deviation."""
    return ((image - image.new_tensor(mean)[:, None, None]) / image.new_tensor(std)[:, None, None])[None]


def covering_size(height: int, width: int, target: int, multiple: int) -> tuple[int, int]:
    """Size at which the shorter side is ``target`` or a little more, both sides multiples.

    The rule of Depth Anything ("lower bound"): the aspect is kept, sides go to the nearest multiple, but up where the
    nearest one lies below the target.
    """
    scale = max(target / height, target / width)

    def fit(side: float) -> int:
        nearest = round(side / multiple) * multiple
        return nearest if nearest >= target else ceil(side / multiple) * multiple

    return fit(scale * height), fit(scale * width)


def nearest_size(height: int, width: int, target: tuple[int, int], multiple: int, keep_aspect: bool) -> tuple[int, int]:
    """Size near ``target`` (height, width) with both sides at the nearest multiple, never zero.

    With ``keep_aspect``, the side that has to change less decides, as MiDaS does ("minimal").
    """
    scale_y, scale_x = target[0] / height, target[1] / width
    if keep_aspect:
        scale_y = scale_x = scale_x if abs(1 - scale_x) < abs(1 - scale_y) else scale_y
    sides = (scale_y * height, scale_x * width)
    new_height, new_width = (max(1, round(side / multiple)) * multiple for side in sides)
    return new_height, new_width


def resized(
    images: Float[Tensor, "b c h w"],
    size: tuple[int, int],
    *,
    mode: Literal["bilinear", "bicubic"],
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Tensor, "b c h2 w2"]:
    """Resize with the filter that a model was trained with; computed in float32 whatever the input's type."""
    return torch.nn.functional.interpolate(
        images.float(), size=size, mode=mode, align_corners=align_corners, antialias=antialias
    )
