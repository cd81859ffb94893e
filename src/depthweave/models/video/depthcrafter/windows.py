"""Long clips: windows that overlap, noise that belongs to a frame, cross-fades."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput


@dataclass(frozen=True)
class WindowPlan:
    """Which frames are denoised together.

    Attributes:
        spans: (first frame, frame after the last) of every window, in order.
        overlap: frames that neighbouring windows share; 0 where there is only one.
    """

    spans: tuple[tuple[int, int], ...]
    overlap: int


def plan_windows(count: int, window: int, overlap: int) -> WindowPlan:
    """Windows of a clip: each starts ``window - overlap`` frames after the one before; the last may be shorter.

    Args:
        count: frames of the clip.
        window: frames of a window; a clip that is not longer is one window.
        overlap: frames that neighbouring windows share.

    Raises:
        WrongInput: no frames, or an overlap that is negative or not smaller than the window.
    """
    if not 0 <= overlap < window:
        raise WrongInput(f"windows of {window} frames cannot overlap by {overlap}; take 0 to {window - 1}.")
    if count < 1:
        raise WrongInput("a clip without frames has no windows; check where it begins and ends.")
    if count <= window:
        return WindowPlan(((0, count),), 0)
    starts = range(0, count - overlap, window - overlap)
    return WindowPlan(tuple((start, min(start + window, count)) for start in starts), overlap)


def frame_noise(seed: int, stream: str, frame: int, shape: tuple[int, ...]) -> Tensor:
    """Unit normal noise of one frame, float32 on the CPU; it depends on nothing but the arguments.

    Args:
        seed: of the run, not negative.
        stream: what it is for, e.g. ``latents``.
        frame: number of the frame.
        shape: of the noise.
    """
    source = np.random.SeedSequence((seed, zlib.crc32(stream.encode()), frame))
    return torch.from_numpy(np.random.Generator(np.random.PCG64(source)).standard_normal(shape, dtype=np.float32))


def cross_fade(before: Float[Tensor, "t *s"], after: Float[Tensor, "t *s"]) -> Float[Tensor, "t *s"]:
    """Frames that two windows share, from one to the other: weights 0 to 1 evenly, both ends included.

    Args:
        before: of the earlier window; its first frame is kept as it is.
        after: of the later window; its last frame is kept as it is. A single shared frame is the earlier one's.
    """
    weight = torch.linspace(0, 1, len(before), device=before.device).reshape(-1, *[1] * (before.ndim - 1))
    return after * weight + before * (1 - weight)
