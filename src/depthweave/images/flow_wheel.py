"""Flow as colours: the wheel of the Middlebury flow benchmark.

The hue says the direction, the saturation the length; white stands still. Source: Baker et al., "A Database and
Evaluation Methodology for Optical Flow", IJCV 2011, figure 2 and its color code of 55 hues.
"""

import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.images.colormap import INVALID_GREY

_RAMPS = (
    ((255, 0, 0), 15),  # red to yellow
    ((255, 255, 0), 6),  # to green
    ((0, 255, 0), 4),  # to cyan
    ((0, 255, 255), 11),  # to blue
    ((0, 0, 255), 13),  # to magenta
    ((255, 0, 255), 6),  # and back to red
)
"""Where each ramp starts, and how many hues it has: about as many as the eye tells apart."""

_BEYOND = 0.75
"""Motion beyond the largest one is shown so much darker."""


@cache
def flow_wheel() -> NDArray[np.float64]:
    """The 55 hues (n, 3) in [0, 255], first the one for motion to the right, then clockwise as the eye sees it."""
    ends = [*(color for color, _ in _RAMPS[1:]), _RAMPS[0][0]]
    ramps = [
        [np.floor(np.array(start) + (np.array(end) - np.array(start)) * step / count) for step in range(count)]
        for (start, count), end in zip(_RAMPS, ends, strict=True)
    ]
    return np.stack([color for ramp in ramps for color in ramp])


def largest_motion(flow: Float[Tensor, "2 h w"], valid: Bool[Tensor, "h w"], *, percent: float | int = 99) -> float:
    """Length in px that `percent` % of the valid vectors do not exceed, at least 1e-3: the full colour of a picture.

    Args:
        flow: px.
        valid: what counts; without any the length is 1.
        percent: 0 to 100.
    """
    lengths = torch.linalg.vector_norm(flow, dim=0)[valid]
    if lengths.numel() == 0:
        return 1.0
    lengths = lengths[:: max(1, lengths.numel() // 100_000)].double()
    return max(1e-3, float(torch.quantile(lengths, percent / 100)))


def colorize_flow(
    flow: Float[Tensor, "2 h w"], valid: Bool[Tensor, "h w"], largest_px: float | int
) -> NDArray[np.uint8]:
    """Picture (H, W, 3) of a flow field: white stands still, `largest_px` has the full colour, invalid pixels are grey.

    Args:
        flow: motion along x and y in px.
        valid: False = grey.
        largest_px: motion of the full colour; what is faster has a darker one.

    Raises:
        WrongInput: a largest motion that is not positive.
    """
    if not (math.isfinite(largest_px) and largest_px > 0):
        raise WrongInput(f"the largest motion is {largest_px} px; give a length above 0 px.")
    wheel = torch.from_numpy(flow_wheel())
    x, y = (flow.detach().cpu().double() / largest_px).nan_to_num(0.0)
    length = torch.hypot(x, y)[..., None]
    # The first hue is that of motion to the right, where atan2(-y, -x) is -pi (and also +pi).
    place = (torch.atan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    low = place.floor().long()
    share = (place - low)[..., None]
    hue = ((1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]) / 255
    color = torch.where(length <= 1, 1 - length * (1 - hue), hue * _BEYOND)
    picture: NDArray[np.uint8] = (255 * color).floor().to(torch.uint8).numpy()
    picture[~valid.cpu().numpy()] = INVALID_GREY
    return picture


def flow_legend(side: int) -> NDArray[np.uint8]:
    """The wheel itself (side, side, 3): each place has the colour of a motion from the middle to there.

    Args:
        side: in px; the largest motion is at half of it, and the corners are grey.

    Raises:
        WrongInput: fewer than 3 px.
    """
    if side < 3:
        raise WrongInput(f"a legend of {side} px shows nothing; give at least 3 px.")
    offset = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    flow = torch.stack(torch.meshgrid(offset, offset, indexing="xy"))
    radius = (side - 1) / 2
    return colorize_flow(flow, torch.linalg.vector_norm(flow, dim=0) <= radius, radius)
