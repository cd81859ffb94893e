"""What a second camera does differently: colours, sharpness, noise."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.images import chroma_matrix, gaussian_blur, luminance, mix_channels

Bounds = tuple[float | int, float | int]


def vary_right_view(
    image: Float[Tensor, "3 h w"],
    rng: np.random.Generator,
    *,
    noise: float | int = 0.02,
    blur: float | int = 0.5,
    blur_px: Bounds = (0.0, 1.0),
    brightness: Bounds = (0.8, 1.2),
    contrast: Bounds = (0.8, 1.2),
    saturation: Bounds = (0.8, 1.2),
    hue_turns: Bounds = (-0.01, 0.01),
) -> Float[Tensor, "3 h w"]:
    """Make a synthesised right view look as if another camera had taken it; the left view stays as it is.

    In a camera's order: blur of the lens, colours, noise of the sensor. Everything is drawn evenly between bounds.

    Args:
        image: right view in [0, 1].
        rng: the only source of chance.
        noise: standard deviation of Gaussian noise, of 1.
        blur: probability of a Gaussian blur.
        blur_px: its standard deviation.
        brightness: factor of all values.
        contrast: factor of the differences from the mean grey.
        saturation: factor of the colour, 0 = grey.
        hue_turns: turn of the colours, 1 = once around.

    Returns:
        In [0, 1].

    Raises:
        WrongInput: a probability outside [0, 1], a negative strength, or bounds the wrong way round.

    Source: the changes and their sizes are those of Watson et al., "Learning stereo from single images", ECCV 2020;
    their order and the plane in which hue turns (I and Q of NTSC) are ours.
    """
    if not 0 <= blur <= 1 or noise < 0:
        raise WrongInput(f"blur is a probability and noise not negative, not {blur} and {noise}.")
    strengths = {"blur_px": blur_px, "brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, bounds in {**strengths, "hue_turns": hue_turns}.items():
        if bounds[0] > bounds[1] or (name in strengths and bounds[0] < 0):
            raise WrongInput(f"{name} is (low, high){', both not negative' * (name in strengths)}, not {bounds}.")
    # All is drawn, so that what one change is set to does not change the others.
    is_blurred, sigma_px = rng.random() < blur, float(rng.uniform(*blur_px))
    bright, strong, colorful, hue = (
        float(rng.uniform(*bounds)) for bounds in (brightness, contrast, saturation, hue_turns)
    )
    varied = gaussian_blur(image, sigma_px) if is_blurred and sigma_px > 0 else image
    matrix = bright * chroma_matrix(colorful, 2 * math.pi * hue)
    # In float64 the mean is the same for all devices and numbers of threads, up to its last digits.
    grey = bright * float(luminance(varied).mean(dtype=torch.float64))
    varied = mix_channels(varied, strong * matrix, np.full(3, (1 - strong) * grey))
    # Drawn on the host, so that devices agree on it.
    drawn = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)).to(image)
    return (varied + noise * drawn).clamp(0, 1)
