"""What DepthCrafter is told about the frames: their size, and an embedding of each by CLIP."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput

CLIP_SIDE_PX = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
FRAME_RATE_ID, MOTION_ID = 7, 127
"""What training told the network about every clip: frames per second and amount of motion."""


def working_size(height: int, width: int, *, max_size: int = 1024, multiple: int = 64) -> tuple[int, int]:
    """Size at which DepthCrafter sees frames: both sides to the nearest multiple, the longer one not above a limit.

    Args:
        height, width: of the frames in px.
        max_size: limit of the longer side in px.
        multiple: 64 is DepthCrafter's own rule; 8 changes the shape less.

    Raises:
        WrongInput: a multiple that is not one of 8, or above the limit.
    """
    if multiple < 8 or multiple % 8 or max_size < multiple:
        raise WrongInput(
            f"sides at multiples of {multiple} px up to {max_size} px do not work; take a multiple of 8 below it."
        )

    def rounded(scale: float) -> tuple[int, int]:
        sides = [max(1, round(side * scale / multiple)) * multiple for side in (height, width)]
        return sides[0], sides[1]

    size = rounded(1.0)
    return size if max(size) <= max_size else rounded(max_size / max(height, width))


def clip_pixels(pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 224 224"]:
    """Pictures as CLIP sees them in Stable Video Diffusion: squeezed to 224 px, with CLIP's mean and deviation.

    A Gaussian of deviation max((side / 224 - 1) / 2, 0.001) px goes before a bicubic resize with aligned corners; the
    aspect is not kept.

    Args:
        pictures: in [-1, 1].
    """
    for axis in (3, 2):
        pictures = _blurred(pictures, axis)
    small = F.interpolate(pictures, size=(CLIP_SIDE_PX, CLIP_SIDE_PX), mode="bicubic", align_corners=True)
    mean, deviation = (small.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_DEVIATION))
    return ((small + 1) / 2 - mean) / deviation


def _blurred(pictures: Tensor, axis: int) -> Tensor:
    deviation_px = max((pictures.shape[axis] / CLIP_SIDE_PX - 1) / 2, 0.001)
    taps = int(max(4 * deviation_px, 3))
    reach = (taps + 1 - taps % 2) // 2
    at = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    kernel = torch.exp(-(at**2) / (2 * torch.tensor(deviation_px, dtype=pictures.dtype, device=pictures.device) ** 2))
    kernel = kernel / kernel.sum()
    channels = pictures.shape[1]
    shape, border = ((1, 1, 1, -1), (reach, reach, 0, 0)) if axis == 3 else ((1, 1, -1, 1), (0, 0, reach, reach))
    weight = kernel.reshape(shape).repeat(channels, 1, 1, 1)
    return F.conv2d(F.pad(pictures, border, mode="reflect"), weight, groups=channels)


def embed_frames(image_encoder: Any, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
    """CLIP's embedding of every frame, float32.

    Args:
        image_encoder: ``CLIPVisionModelWithProjection`` of transformers.
        pictures: in [-1, 1], without added noise.
    """
    embeddings: Tensor = image_encoder(clip_pixels(pictures).to(image_encoder.dtype)).image_embeds
    return embeddings.float()


def time_ids(noise_augmentation: float, device: torch.device) -> Float[Tensor, "1 3"]:
    """Frame rate, motion and strength of the noise on the frames, as the network is told them."""
    return torch.tensor([[FRAME_RATE_ID, MOTION_ID, noise_augmentation]], device=device)
