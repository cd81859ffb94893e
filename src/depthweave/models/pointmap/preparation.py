"""Pictures as pointmap networks see them: a size that they know, multiples of 16 px, values in [-1, 1].

Source: Wang et al., "DUSt3R", CVPR 2024 (the crop); Zhang et al., "MonST3R", ICLR 2025 (its evaluation of video depth
resizes instead of cropping, since depth is asked of every pixel).
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from depthweave.models.pointmap.heads import PATCH_PX

SQUARE_PX = 224
"""A network of this size was trained on squares: here the shorter side gets it, elsewhere the longer one."""


def whole_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width at which `prepare_whole` shows a picture: the nearest multiples of 16 px.

    Args:
        height, width: of the picture in px.
        size: what the network was trained on, see `PointmapConfig.image_size`.
    """
    scaled_height, scaled_width = (
        max(PATCH_PX, round(side / PATCH_PX) * PATCH_PX) for side in _scaled(height, width, size)
    )
    return scaled_height, scaled_width


def prepare_whole(picture: Float[Tensor, "3 h w"], size: int) -> Float[Tensor, "3 h2 w2"]:
    """The whole picture, resized: its aspect may change a little, by up to 8 px of a side.

    Lanczos where the picture shrinks, else bicubic.

    Args:
        picture: R, G, B in [0, 1].
        size: what the network was trained on: the longer side in px; of 224 px networks the shorter one.
    """
    height, width = picture.shape[-2:]
    return _normalized(_resized(_image(picture), whole_size(height, width, size)))


def prepare_cropped(picture: Float[Tensor, "3 h w"], size: int) -> Float[Tensor, "3 h2 w2"]:
    """The middle of the picture, its aspect kept, as the official demos show it to the networks.

    A square picture is cut to 4:3, or at 224 px any picture to a square.

    Args:
        picture: R, G, B in [0, 1].
        size: as in `prepare_whole`.
    """
    height, width = picture.shape[-2:]
    scaled = _scaled(height, width, size)
    image = _resized(_image(picture), scaled)
    middle_y, middle_x = scaled[0] // 2, scaled[1] // 2
    half_step = PATCH_PX // 2
    if size == SQUARE_PX:
        half_height = half_width = min(middle_y, middle_x)
    else:
        half_height, half_width = (2 * middle // PATCH_PX * half_step for middle in (middle_y, middle_x))
        if scaled[0] == scaled[1]:
            half_height = 3 * half_width // 4 // half_step * half_step
    box = (middle_x - half_width, middle_y - half_height, middle_x + half_width, middle_y + half_height)
    return _normalized(image.crop(box))


def _scaled(height: int, width: int, size: int) -> tuple[int, int]:
    longer = round(size * max(height, width) / min(height, width)) if size == SQUARE_PX else size
    return round(height * longer / max(height, width)), round(width * longer / max(height, width))


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    shrinks = max(image.size) > max(size)
    return image.resize((size[1], size[0]), Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)


def _image(picture: Tensor) -> Image.Image:
    """8 bit, as the networks have always seen pictures."""
    return Image.fromarray((picture * 255).round().to("cpu", torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _normalized(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
