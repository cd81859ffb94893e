"""The denoiser: diffusers' network of Stable Video Diffusion, told each frame's own embedding.

DepthCrafter adds no weights to it. Its only change: where Stable Video Diffusion repeats one picture's embedding for
all frames, every frame comes with its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.models.video.depthcrafter.conditions import time_ids
from depthweave.models.video.depthcrafter.schedule import model_time, step_to


@dataclass(frozen=True, eq=False)
class Conditions:
    """What is known about the frames of one window.

    Attributes:
        embeddings: (t, c) of CLIP.
        latents: (t, 4, h, w) of the frames with a little noise, not scaled.
        noise_augmentation: strength of that noise.
    """

    embeddings: Float[Tensor, "t c"]
    latents: Float[Tensor, "t 4 h w"]
    noise_augmentation: float = 0.02

    def emptied(self) -> "Conditions":
        """Zeros in place of everything that guidance leaves out."""
        embeddings, latents = torch.zeros_like(self.embeddings), torch.zeros_like(self.latents)
        return Conditions(embeddings, latents, self.noise_augmentation)


class PerFrameUNet(nn.Module):
    """``UNetSpatioTemporalConditionModel`` with one embedding per frame.

    Spatial attention takes each frame's own embedding, temporal attention that of the window's first frame.

    Args:
        unet: diffusers' network; its blocks get hooks.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        self._rows: Tensor | None = None
        for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
            block.register_forward_pre_hook(self._own_rows, with_kwargs=True)

    def _own_rows(self, _block: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if "encoder_hidden_states" in named:
            named = {**named, "encoder_hidden_states": self._rows}
        return inputs, named

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.unet.parameters()).dtype

    def split_feed_forward(self, parts: int) -> None:
        """Run the widest layers in parts, over frames or over pixels: the same values in less memory.

        Args:
            parts: 1 runs them at once.
        """
        from diffusers.models.attention import FeedForward

        for module in self.unet.modules():
            if isinstance(module, FeedForward):
                module.__dict__.pop("forward", None)
                if parts > 1:
                    module.forward = _in_parts(module.forward, parts)  # type: ignore[method-assign]

    def forward(
        self,
        noisy: Float[Tensor, "b t c h w"],
        time: Float[Tensor, ""],
        embeddings: Float[Tensor, "b t e"],
        ids: Float[Tensor, "b 3"],
    ) -> Float[Tensor, "b t 4 h w"]:
        """Velocity of every frame.

        Args:
            noisy: scaled noisy latents and, behind them on the channel axis, the frames' latents.
            time: as `model_time` gives it.
            embeddings: of each frame.
            ids: see `time_ids`.
        """
        dtype = self.dtype
        embeddings = embeddings.to(dtype)
        self._rows = embeddings.flatten(0, 1)[:, None]
        try:
            velocity: Tensor = self.unet(
                noisy.to(dtype), time, embeddings[:, :1], added_time_ids=ids, return_dict=False
            )[0]
        finally:
            self._rows = None
        return velocity


def _in_parts(forward: Callable[..., Tensor], parts: int) -> Callable[..., Tensor]:
    def run(tokens: Tensor, *others: Any, **named: Any) -> Tensor:
        joined: Tensor | None = None
        start = 0
        for piece in tokens.chunk(parts):
            found = forward(piece, *others, **named)
            if joined is None:
                joined = found.new_empty(len(tokens), *found.shape[1:])
            joined[start : start + len(piece)] = found
            start += len(piece)
        return tokens if joined is None else joined

    return run


def predict_velocity(
    unet: PerFrameUNet,
    noisy: Float[Tensor, "t 4 h w"],
    sigma: Float[Tensor, ""],
    conditions: Conditions,
    *,
    guidance: float | int = 1.0,
) -> Float[Tensor, "t 4 h w"]:
    """Velocity of a window's noisy latents, float32.

    Args:
        unet: the denoiser.
        noisy: x = x0 + sigma * noise.
        sigma: noise level.
        conditions: of the window's frames.
        guidance: above 1, v = v_u + guidance (v_c - v_u) with v_u from zeros in place of embeddings and latents (Ho and
            Salimans, Classifier-Free Diffusion Guidance, 2022); takes a second call.
    """
    scaled = noisy / (sigma**2 + 1).sqrt()
    ids = time_ids(conditions.noise_augmentation, noisy.device)

    def predicted(known: Conditions) -> Tensor:
        inputs = torch.cat([scaled, known.latents], 1)[None]
        return unet(inputs, model_time(sigma), known.embeddings[None], ids)[0].float()

    velocity = predicted(conditions)
    if guidance <= 1:
        return velocity
    without = predicted(conditions.emptied())
    return without + guidance * (velocity - without)


def denoise(
    unet: PerFrameUNet,
    noisy: Float[Tensor, "t 4 h w"],
    levels: Sequence[float] | Float[Tensor, " n"],
    conditions: Conditions,
    *,
    guidance: float | int = 1.0,
) -> Float[Tensor, "t 4 h w"]:
    """Latents of a window after a step from each noise level to the next.

    Args:
        unet: the denoiser.
        noisy: at the first level.
        levels: noise levels in falling order; 0 at the end gives clean latents.
        conditions, guidance: as in `predict_velocity`.
    """
    sigmas = torch.as_tensor(levels, dtype=torch.float32, device=noisy.device)
    for sigma, to_sigma in pairwise(sigmas):
        noisy = step_to(predict_velocity(unet, noisy, sigma, conditions, guidance=guidance), noisy, sigma, to_sigma)
    return noisy
