"""Blur as of a lens."""

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def gaussian_blur(image: Float[Tensor, "*b c h w"], sigma_px: float | int) -> Float[Tensor, "*b c h w"]:
    """Gaussian blur with five taps per axis, for up to about 1 px; the border is continued as a constant.

    Args:
        image: any values.
        sigma_px: standard deviation, above 0.
    """
    taps = np.exp(-(np.arange(3) ** 2) / (2 * sigma_px**2))
    middle, near, far = (taps / (2 * taps.sum() - taps[0])).tolist()
    blurred = image.reshape(-1, *image.shape[-2:])
    for axis in (-2, -1):
        size = image.shape[axis]
        wide = pad(blurred, (2, 2, 0, 0) if axis == -1 else (0, 0, 2, 2), mode="replicate")
        a, b, c, d, e = (wide.narrow(axis, start, size) for start in range(5))
        blurred = middle * c + near * (b + d) + far * (a + e)
    return blurred.reshape(image.shape)
