"""What counts as a picture at the door."""

from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import images, io
from depthweave.errors import WrongInput

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = Union[str, PathLike[str], NDArray[Any], Tensor, "Image.Image"]
"""A path, a PIL image, an array (H, W[, 3 or 4]) or a tensor (3, h, w); integers full range, floats in [0, 1]."""

_PLAIN_MODE = {"1": "L", "LA": "L"} | dict.fromkeys(("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"), "RGB")
"""Modes of PIL whose arrays are not grey or colour as they stand, and the mode to convert them to."""


def picture_array(picture: Picture) -> NDArray[Any]:
    """The picture as an array (H, W) or (H, W, C) in its own number type (float tensors as float32)."""
    if isinstance(picture, str | PathLike):
        return io.read_image(picture)
    if isinstance(picture, Tensor):
        channels_last = (picture.movedim(0, -1) if picture.ndim == 3 else picture).detach().cpu()
        array: NDArray[Any] = (channels_last.float() if picture.is_floating_point() else channels_last).numpy()
        return array
    if isinstance(picture, np.ndarray):
        return picture
    if hasattr(picture, "convert"):
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(picture)
        return np.asarray(upright.convert(_PLAIN_MODE.get(upright.mode)))
    raise WrongInput(f"a picture is a path, a PIL image, an array or a tensor, not {type(picture).__name__}.")


def read_picture(picture: Picture) -> Float[Tensor, "3 h w"]:
    """The picture as a float tensor (3, h, w) in [0, 1]; grey is repeated, alpha dropped.

    Raises:
        WrongFile: a path that does not hold a picture.
        WrongInput: another type or shape, or floats outside [0, 1].
    """
    if isinstance(picture, Tensor) and picture.is_floating_point() and picture.ndim == 3 and picture.shape[0] == 3:
        if not bool(((picture >= 0) & (picture <= 1)).all()):
            raise WrongInput("a float picture lies in [0, 1]; divide 0-255 values by 255 first.")
        return picture.detach().to("cpu", torch.float32)
    return images.tensor_from_image(picture_array(picture))


def source_name(picture: Picture, otherwise: str) -> str:
    """The path of a picture that came from a file, else ``otherwise``: for error sentences and manifests."""
    return str(picture) if isinstance(picture, str | PathLike) else otherwise
