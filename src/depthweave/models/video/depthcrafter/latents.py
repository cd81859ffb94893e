"""Pictures to latents and back, by the autoencoder of Stable Video Diffusion."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def encode_pictures(vae: Any, pictures: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "t 4 h8 w8"]:
    """Latents of pictures: the most likely ones, not scaled (conditions are not, what is denoised is), float32.

    Args:
        vae: ``AutoencoderKLTemporalDecoder`` of diffusers.
        pictures: in [-1, 1], sides multiples of 8.
    """
    latents: Tensor = vae.encode(pictures.to(vae.quant_conv.weight.dtype)).latent_dist.mode()
    return latents.float()


def decode_disparity(
    vae: Any, latents: Float[Tensor, "t 4 h8 w8"], *, keep: slice = slice(None)
) -> Float[Tensor, "t2 h w"]:
    """Maps in [0, 1] of latents that were decoded together: the channels' mean after each was limited to [0, 1].

    The decoder mixes neighbouring frames, so what is decoded together changes the values.

    Args:
        vae: ``AutoencoderKLTemporalDecoder`` of diffusers.
        latents: as they are denoised, that is scaled.
        keep: frames to give back; the others are context.
    """
    return maps_from_pictures(decode_pictures(vae, latents)[keep])


def decode_pictures(vae: Any, latents: Float[Tensor, "t 4 h8 w8"]) -> Float[Tensor, "t 3 h w"]:
    """Pictures, about [-1, 1], of scaled latents that are decoded together."""
    unscaled = latents.to(next(vae.decoder.parameters()).dtype) / latent_scale(vae)
    pictures: Tensor = vae.decode(unscaled, num_frames=len(unscaled), return_dict=False)[0]
    return pictures


def maps_from_pictures(pictures: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "t h w"]:
    """Pictures of three nearly equal channels, about [-1, 1], as maps in [0, 1], float32."""
    return (pictures.float() / 2 + 0.5).clamp(0, 1).mean(1)


def pictures_from_maps(maps: Float[Tensor, "t h w"]) -> Float[Tensor, "t 3 h w"]:
    """Maps in [0, 1] as pictures of three equal channels in [-1, 1]."""
    return (2 * maps - 1)[:, None].expand(-1, 3, -1, -1)


def latent_scale(vae: Any) -> float:
    """Factor between latents as they are encoded and as they are denoised."""
    return float(vae.config.scaling_factor)


def context_span(start: int, stop: int, count: int, context: int) -> tuple[int, int, slice]:
    """Frames to decode for [start, stop) with context on both sides, and which of them to keep."""
    first, last = max(start - context, 0), min(stop + context, count)
    return first, last, slice(start - first, stop - first)


def is_finite(values: Tensor) -> bool:
    """Whether every value is."""
    return bool(torch.isfinite(values).all())
