"""Depth Anything between its authors' checkpoints (same names as ours), the Hugging Face hub's layout, and ours."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.layers.dinov2 import PATCH_PX, SIZES, TABLE_SIDE, encoder_of, transformer_size
from depthweave.models.mono.depth_anything.config import DepthAnythingConfig
from depthweave.models.mono.depth_anything.network import DepthAnything

_HUB_NAMES = (
    (r"pretrained\.(cls_token|mask_token)", r"backbone.embeddings.\1"),
    (r"pretrained\.pos_embed", r"backbone.embeddings.position_embeddings"),
    (r"pretrained\.patch_embed\.proj\.(\w+)", r"backbone.embeddings.patch_embeddings.projection.\1"),
    (r"pretrained\.blocks\.(\d+)\.(norm[12]|mlp\.fc[12])\.(\w+)", r"backbone.encoder.layer.\1.\2.\3"),
    (r"pretrained\.blocks\.(\d+)\.attn\.proj\.(\w+)", r"backbone.encoder.layer.\1.attention.output.dense.\2"),
    (r"pretrained\.blocks\.(\d+)\.ls([12])\.gamma", r"backbone.encoder.layer.\1.layer_scale\2.lambda1"),
    (r"pretrained\.norm\.(\w+)", r"backbone.layernorm.\1"),
    (r"depth_head\.projects\.(\d)\.(\w+)", r"neck.reassemble_stage.layers.\1.projection.\2"),
    (r"depth_head\.resize_layers\.(\d)\.(\w+)", r"neck.reassemble_stage.layers.\1.resize.\2"),
    (r"depth_head\.scratch\.output_conv1\.(\w+)", r"head.conv1.\1"),
    (r"depth_head\.scratch\.output_conv2\.0\.(\w+)", r"head.conv2.\1"),
    (r"depth_head\.scratch\.output_conv2\.2\.(\w+)", r"head.conv3.\1"),
)
"""Names of ours and of the hub's files; those that need more follow in `_hub_names`."""

_SPLIT = ("query", "key", "value")
_RENAMED = (
    (r"\.attention\.([qkv])_proj\.", lambda m: f".attention.attention.{_SPLIT['qkv'.index(m[1])]}."),
    (r"\.attention\.o_proj\.", lambda _: ".attention.output.dense."),
)
"""Names of newer releases of transformers, and what the hub's files call them."""


def from_official(
    state: Mapping[str, Tensor],
    *,
    max_depth_m: Any = None,
    taps: Any = None,
) -> DepthAnything:
    """The network of its authors' state dict.

    Args:
        state: tensors by name.
        max_depth_m, taps: see `DepthAnythingConfig`; nothing in the tensors tells a metric model, or one of V1.

    Raises:
        WrongInput: tensors are missing, unexpected or of another shape, or values of another kind.
    """
    deepest = float(max_depth_m) if isinstance(max_depth_m, int) else max_depth_m
    config = DepthAnythingConfig(encoder_of(state, "pretrained."), taps, deepest)
    return DepthAnything.from_state(config, state)


def required_options(file_name: str) -> dict[str, str]:
    """Options of `from_official` that a checkpoint of that name cannot do without, and what to give."""
    if "metric" in file_name:
        return {"max_depth_m": "20 for a model of Hypersim (indoors), 80 for one of Virtual KITTI (outdoors)"}
    if re.search(r"vit[sbl]14", file_name):
        return {"taps": "8,9,10,11 for vits and vitb, 20,21,22,23 for vitl: it is a model of V1"}
    return {}


def to_official(network: DepthAnything) -> dict[str, Tensor]:
    """The authors' state dict."""
    return dict(network.state_dict())


def from_hub(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> DepthAnything:
    """The network of a folder of `transformers`.

    Args:
        state: contents of its `model.safetensors`.
        config: contents of its `config.json`.

    Raises:
        WrongInput: another kind of network, a size that we do not know, or tensors that do not fit.
    """
    found = _config_of_hub(config)
    given = {}
    for name, tensor in state.items():
        for pattern, rename in _RENAMED:
            name = re.sub(pattern, rename, name)
        given[name] = tensor
    ours = {}
    with torch.device("meta"):
        names = list(DepthAnything(found).state_dict())
    for name in names:
        parts = _hub_names(name)
        tensors = [given.pop(part) for part in parts if part in given]
        if len(tensors) == len(parts):
            ours[name] = torch.cat(tensors) if len(parts) > 1 else tensors[0]
    return DepthAnything.from_state(found, {**ours, **given})


def to_hub(network: DepthAnything) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration in the layout that `transformers` loads."""
    config = network.config
    size = transformer_size(config.encoder)
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        parts = _hub_names(name)
        state.update(zip(parts, tensor.chunk(len(parts)), strict=True))
    blocks = [tap + 1 for tap in config.taps or size.taps]
    described = {
        "architectures": ["DepthAnythingForDepthEstimation"],
        "model_type": "depth_anything",
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": size.dim,
            "num_hidden_layers": size.depth,
            "num_attention_heads": size.heads,
            "image_size": TABLE_SIDE * PATCH_PX,
            "patch_size": PATCH_PX,
            "out_indices": blocks,
            "out_features": [f"stage{block}" for block in blocks],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
        "patch_size": PATCH_PX,
        "reassemble_hidden_size": size.dim,
        "reassemble_factors": [4, 2, 1, 0.5],
        "neck_hidden_sizes": list(size.channels),
        "fusion_hidden_size": size.features,
        "head_in_index": -1,
        "head_hidden_size": 32,
        "depth_estimation_type": "relative" if config.max_depth_m is None else "metric",
        "max_depth": 1 if config.max_depth_m is None else round(config.max_depth_m),
    }
    return state, described


def _hub_names(name: str) -> list[str]:
    """The hub's name for one of ours; three for the weights of query, key and value."""
    attention = re.fullmatch(r"pretrained\.blocks\.(\d+)\.attn\.qkv\.(\w+)", name)
    if attention:
        block, kind = attention.groups()
        return [f"backbone.encoder.layer.{block}.attention.attention.{part}.{kind}" for part in _SPLIT]
    lateral = re.fullmatch(r"depth_head\.scratch\.layer(\d)_rn\.weight", name)
    if lateral:
        return [f"neck.convs.{int(lateral[1]) - 1}.weight"]
    fusion = re.fullmatch(r"depth_head\.scratch\.refinenet(\d)\.(.+)", name)
    if fusion:
        rest = re.sub(r"^resConfUnit(\d)\.conv(\d)", r"residual_layer\1.convolution\2", fusion[2])
        return [f"neck.fusion_stage.layers.{4 - int(fusion[1])}.{rest.replace('out_conv', 'projection')}"]
    for pattern, replacement in _HUB_NAMES:
        if re.fullmatch(pattern, name):
            return [re.sub(pattern, replacement, name)]
    raise WrongInput(f"{name} has no name on the hub.")


def _config_of_hub(config: Mapping[str, Any]) -> DepthAnythingConfig:
    if config.get("model_type") != "depth_anything":
        raise WrongInput(f"its config.json is of the kind {config.get('model_type')}, not depth_anything.")
    backbone = config.get("backbone_config") or {}
    described = (
        backbone.get("hidden_size"),
        backbone.get("num_hidden_layers", 12),
        backbone.get("num_attention_heads"),
        config.get("fusion_hidden_size"),
        tuple(config.get("neck_hidden_sizes", ())),
    )
    names = [n for n, s in SIZES.items() if (s.dim, s.depth, s.heads, s.features, s.channels) == described]
    if not names:
        raise WrongInput(f"it has no size of Depth Anything's ({', '.join(SIZES)}) but {described}.")
    blocks = backbone.get("out_indices") or [int(stage.removeprefix("stage")) for stage in backbone["out_features"]]
    first, second, third, fourth = (block - 1 for block in blocks)
    taps = (first, second, third, fourth)
    # Some published revisions name the entry without "_type".
    metric = "metric" in (config.get("depth_estimation_type"), config.get("depth_estimation"))
    return DepthAnythingConfig(
        names[0],
        None if taps == SIZES[names[0]].taps else taps,
        float(config.get("max_depth") or 1) if metric else None,
    )
