"""An inpainting pipeline of diffusers in miniature: real code, random weights."""

from pathlib import Path

import torch
from tiny_diffusion import tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae


def write_inpainting(folder: Path) -> Path:
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    torch.manual_seed(0)
    unet, vae = tiny_unet(9), tiny_vae(8, 8, 8, 8)
    pipeline = StableDiffusionInpaintPipeline(
        unet=unet,
        vae=vae,
        scheduler=DDIMScheduler(num_train_timesteps=10, clip_sample=False, steps_offset=1),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(folder),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder
