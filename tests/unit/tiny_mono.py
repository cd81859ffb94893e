"""Folders of the models of transformers and diffusers, in miniature: real code, random weights."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny_diffusion import tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae


def write_depth_anything(folder: Path, *, metric: bool = False) -> Path:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, DPTImageProcessorPil

    config = DepthAnythingConfig(
        backbone_config=_backbone(),
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=20 if metric else 1,
    )
    processor = DPTImageProcessorPil(
        size={"height": 518, "width": 518},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return _save(DepthAnythingForDepthEstimation, config, folder, processor)


def write_prompt_depth_anything(folder: Path) -> Path:
    from transformers import PromptDepthAnythingConfig, PromptDepthAnythingForDepthEstimation
    from transformers.models.prompt_depth_anything.image_processing_pil_prompt_depth_anything import (
        PromptDepthAnythingImageProcessorPil,
    )

    config = PromptDepthAnythingConfig(
        backbone_config=_backbone(),
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric",
    )
    processor = PromptDepthAnythingImageProcessorPil(
        size={"height": 84, "width": 84},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return _save(PromptDepthAnythingForDepthEstimation, config, folder, processor)


def write_midas(folder: Path, *, keep_aspect: bool = False) -> Path:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    processor = DPTImageProcessorPil(
        size={"height": 64, "width": 64}, keep_aspect_ratio=keep_aspect, ensure_multiple_of=32
    )
    return _save(DPTForDepthEstimation, config, folder, processor)


def write_zoedepth(folder: Path) -> Path:
    from transformers import Dinov2Config, ZoeDepthConfig, ZoeDepthForDepthEstimation, ZoeDepthImageProcessorPil

    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=64,
        patch_size=16,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )
    processor = ZoeDepthImageProcessorPil(size={"height": 64, "width": 96}, ensure_multiple_of=32)
    return _save(ZoeDepthForDepthEstimation, config, folder, processor)


def write_depth_pro(folder: Path, *, with_focal: bool = True) -> Path:
    from transformers import DepthProConfig, DepthProForDepthEstimation

    encoder = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = DepthProConfig(
        patch_size=32,
        fusion_hidden_size=8,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5],
        scaled_images_feature_dims=[8, 8],
        merge_padding_value=1,
        use_fov_model=with_focal,
        num_fov_head_layers=1,
        image_model_config=dict(encoder),
        patch_model_config=dict(encoder),
        fov_model_config=dict(encoder),
    )
    torch.manual_seed(0)
    network = DepthProForDepthEstimation(config)
    with torch.no_grad():
        network.head.layers[-2].bias.fill_(0.4)  # some inverse depth everywhere
        if with_focal:
            network.fov_model.head.layers[-1].bias.fill_(60.0)  # degrees
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 64, "width": 64}}))
    return folder


def write_marigold(folder: Path, *, prediction_type: str = "depth") -> Path:
    from diffusers import DDIMScheduler, MarigoldDepthPipeline

    torch.manual_seed(0)
    unet, vae = tiny_unet(8), tiny_vae(8, 16)
    pipeline = MarigoldDepthPipeline(
        unet=unet,
        vae=vae,
        scheduler=DDIMScheduler(num_train_timesteps=10, prediction_type="v_prediction", clip_sample=False),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(folder),
        prediction_type=prediction_type,
        scale_invariant=True,
        shift_invariant=True,
        default_denoising_steps=2,
        default_processing_resolution=32,
    )
    pipeline.save_pretrained(folder)
    return folder


def _backbone() -> Any:
    from transformers import Dinov2Config

    return Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=70,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )


def _save(kind: Any, config: Any, folder: Path, processor: Any) -> Path:
    torch.manual_seed(0)
    network = kind(config)
    with torch.no_grad():
        for parameter in network.parameters():  # the libraries' own start is so small that outputs hardly vary
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
