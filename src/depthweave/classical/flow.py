"""Dense motion between two frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from depthweave.errors import WrongInput

_LOST_PX = 1e3

_PRESETS: Mapping[str, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@dataclass(frozen=True, eq=False)
class FlowBothWays:
    """Where pixels go, and how well the way back agrees.

    Attributes:
        forward, backward: (h, w, 2) motion along x and y in px, from the first frame to the second and back.
        error_forward_px, error_backward_px: (h, w) distance between a pixel and where its motion and the other frame's
            motion from there lead it; a thousand where that is outside the frame.
    """

    forward: Float[NDArray[np.float32], "h w 2"]
    backward: Float[NDArray[np.float32], "h w 2"]
    error_forward_px: Float[NDArray[np.float32], "h w"]
    error_backward_px: Float[NDArray[np.float32], "h w"]


def flow_both_ways(
    first: UInt8[NDArray[np.uint8], "h w"], second: UInt8[NDArray[np.uint8], "h w"], *, quick: bool = True
) -> FlowBothWays:
    """Dense inverse search in both directions, each checked with the other.

    Args:
        first, second: grey pictures.
        quick: take two thirds of the time of OpenCV's medium preset; False is that preset, unchanged.

    Source: Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016; the check is that of Sundaram et
    al., Dense point trajectories by GPU-accelerated large displacement optical flow, ECCV 2010.
    """
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if quick:  # with depth from it as good on a real clip
        search.setPatchStride(4)
        search.setGradientDescentIterations(6)
        search.setVariationalRefinementIterations(3)
    forward, backward = search.calc(first, second, None), search.calc(second, first, None)
    return FlowBothWays(forward, backward, _disagreement(forward, backward), _disagreement(backward, forward))


def dis_flow(
    first: UInt8[NDArray[np.uint8], "h w"], second: UInt8[NDArray[np.uint8], "h w"], *, preset: str = "medium"
) -> Float[NDArray[np.float32], "h w 2"]:
    """Motion (x, y) in px from the first picture to the second, by dense inverse search.

    Args:
        first, second: grey pictures of one size.
        preset: ``ultrafast``, ``fast`` or ``medium``: OpenCV's settings of that name, unchanged.

    Raises:
        WrongInput: no such preset.

    Source: Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016; OpenCV's DISOpticalFlow.
    """
    if preset not in _PRESETS:
        raise WrongInput(f"dense inverse search has no preset {preset!r}; it has {', '.join(_PRESETS)}.")
    flow: NDArray[np.float32] = cv2.DISOpticalFlow.create(_PRESETS[preset]).calc(first, second, None)  # type: ignore[call-overload]
    return flow


def farneback_flow(
    first: UInt8[NDArray[np.uint8], "h w"],
    second: UInt8[NDArray[np.uint8], "h w"],
    *,
    levels: int = 5,
    window: int = 15,
    iterations: int = 3,
) -> Float[NDArray[np.float32], "h w 2"]:
    """Motion (x, y) in px from the first picture to the second, by polynomial expansion.

    Args:
        first, second: grey pictures of one size.
        levels: of the pyramid, each half of the one before.
        window: side in px over which the motion is averaged.
        iterations: per level.

    Raises:
        WrongInput: a number below 1.

    Source: Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003; OpenCV's
    calcOpticalFlowFarneback with neighbourhoods of 7 px and a standard deviation of 1.5.
    """
    if min(levels, window, iterations) < 1:
        raise WrongInput(f"levels {levels}, window {window} and iterations {iterations} are at least 1.")
    start = np.zeros((*first.shape, 2), np.float32)
    flow: NDArray[np.float32] = cv2.calcOpticalFlowFarneback(  # type: ignore[assignment]
        first, second, start, 0.5, levels, window, iterations, 7, 1.5, 0
    )
    return flow


def _disagreement(there: NDArray[np.float32], back: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = there.shape[:2]
    x = np.arange(width, dtype=np.float32) + there[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + there[..., 1]
    border = (_LOST_PX, _LOST_PX)
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    left = there + returned
    distance: NDArray[np.float32] = np.minimum(np.sqrt(left[..., 0] ** 2 + left[..., 1] ** 2), np.float32(_LOST_PX))
    return distance
