"""Pixel values: integers of files and floats in [0, 1], and mixtures of the three channels."""

import math

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from depthweave.errors import WrongInput

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in luma (ITU-R BT.601)."""

_YIQ_FROM_RGB = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def tensor_from_image(image: NDArray[np.generic]) -> Float[Tensor, "3 h w"]:
    """Float tensor in [0, 1] of a picture (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or float.

    Grey is repeated to three channels, alpha is dropped; floats must already lie in [0, 1].

    Raises:
        WrongInput: another shape or type, or floats outside [0, 1].
    """
    array = image[..., None] if image.ndim == 2 else image
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise WrongInput(f"a picture has shape (H, W), (H, W, 3) or (H, W, 4), not {tuple(image.shape)}.")
    dtype = image.dtype.newbyteorder("=")
    if dtype not in (np.uint8, np.uint16) and not np.issubdtype(dtype, np.floating):
        raise WrongInput(f"a picture holds uint8, uint16 or float values, not {image.dtype}.")
    # astype copies, so that read-only arrays and those of the other byte order are welcome too.
    tensor = torch.from_numpy(array[..., :3].transpose(2, 0, 1).astype(np.float32, order="C"))
    if np.issubdtype(dtype, np.integer):
        tensor.div_(255 if dtype == np.uint8 else 65535)
    elif not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise WrongInput("a float picture lies in [0, 1]; divide 0-255 values by 255 first.")
    return tensor.expand(3, -1, -1).contiguous() if tensor.shape[0] == 1 else tensor


def image_from_tensor(tensor: Float[Tensor, "c h w"]) -> NDArray[np.uint8]:
    """uint8 picture (H, W, C) of a tensor in [0, 1], rounded to the nearest and clipped."""
    scaled = (tensor.detach() * 255).round_().clamp_(0, 255)
    array: NDArray[np.uint8] = scaled.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def luminance(image: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b h w"]:
    """Luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), on the values as they are (no gamma removed)."""
    red, green, blue = (weight * channel for weight, channel in zip(LUMA, image.unbind(-3), strict=True))
    # Not a matrix product: its rounding depends on where the memory lies, and equal pictures must match equally.
    return red + green + blue


def grey_image(
    image: Float[Tensor, "3 h w"], height: int | None = None, width: int | None = None
) -> UInt8[NDArray[np.uint8], "h2 w2"]:
    """uint8 luma of a picture in [0, 1], as OpenCV takes it; shrunk by the mean of areas where a size is given.

    Args:
        image: the picture.
        height, width: of the result in px; by default the picture's.
    """
    grey: NDArray[np.uint8] = (luminance(image) * 255).round().to(torch.uint8).cpu().numpy()
    size = (height or grey.shape[0], width or grey.shape[1])
    if grey.shape == size:
        return grey
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)


def chroma_matrix(saturation: float | int, hue_rad: float | int) -> Float64[NDArray[np.float64], "3 3"]:
    """What changes saturation and hue of R, G, B and leaves luma as it is, for `mix_channels`.

    Args:
        saturation: factor, 0 = grey.
        hue_rad: turn in the plane of I and Q (NTSC, 1953).
    """
    cosine, sine = saturation * math.cos(hue_rad), saturation * math.sin(hue_rad)
    chroma = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix: NDArray[np.float64] = np.linalg.inv(_YIQ_FROM_RGB) @ chroma @ _YIQ_FROM_RGB
    return matrix


def mix_channels(
    image: Float[Tensor, "*b 3 h w"],
    matrix: Float64[NDArray[np.float64], "3 3"],
    offsets: Float64[NDArray[np.float64], "3"] | None = None,
) -> Float[Tensor, "*b 3 h w"]:
    """Multiply the three channels of every pixel by a matrix, and add offsets; without gradients."""
    # Not a matrix product: its rounding depends on the number of threads.
    red, green, blue = image.unbind(-3)
    mixed = torch.empty_like(image)
    shifts = [0.0] * 3 if offsets is None else offsets.tolist()
    for channel, (r, g, b), offset in zip(mixed.unbind(-3), matrix.tolist(), shifts, strict=True):
        torch.mul(red, r, out=channel).add_(green * g).add_(blue * b).add_(offset)
    return mixed
