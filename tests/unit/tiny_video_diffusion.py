"""DepthCrafter's parts in miniature: real code of diffusers and transformers, weights from a caller or random."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

UNET = {
    "sample_size": 32,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [32, 64],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 2,
    "cross_attention_dim": 32,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [4, 8],
    "num_frames": 6,
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [32, 32, 32, 64],
    "layers_per_block": 1,
    "latent_channels": 4,
    "sample_size": 64,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}


def write_parts(folder: Path, fill: Callable[[nn.Module, str], Any] | None = None) -> Path:
    """Folders ``unet``, ``vae`` and ``image_encoder``, filled by a rule or at random."""
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    parts = {
        "unet": UNetSpatioTemporalConditionModel(**UNET),
        "vae": AutoencoderKLTemporalDecoder(**VAE),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)),
    }
    for name, part in parts.items():
        if fill is not None:
            fill(part, {"image_encoder": "clip."}.get(name, f"{name}."))
        part.save_pretrained(folder / name)
    return folder
