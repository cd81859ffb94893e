"""Cards of the models that want sparse depth beside the picture."""

from dataclasses import replace

from depthweave.models.card import ModelCard

_SMALL = ModelCard(
    name="prompt-depth-anything-vits",
    task="mono",
    family="prompt-depth-anything",
    summary="Prompt Depth Anything small: a picture and sparse or coarse metres to fine depth in metres",
    source="depth-anything/prompt-depth-anything-vits-hf",
    licence="Apache-2.0",
    commercial_use=True,
    parameters=25_083_073,
    training_data="Depth Anything V2 small, then Hypersim with simulated LiDAR, ARKitScenes and ScanNet++",
    citation="Lin et al., Prompting Depth Anything for 4K Resolution Accurate Metric Depth Estimation, CVPR 2025",
)

PROMPTED_CARDS = (
    _SMALL,
    replace(
        _SMALL,
        name="prompt-depth-anything-vits-transparent",
        summary="Prompt Depth Anything small, tuned to transparent things that LiDAR sees through",
        source="depth-anything/prompt-depth-anything-vits-transparent-hf",
        training_data=f"{_SMALL.training_data}, then HAMMER",
    ),
    replace(
        _SMALL,
        name="prompt-depth-anything-vitl",
        summary="Prompt Depth Anything large: a picture and sparse or coarse metres to fine depth in metres",
        source="depth-anything/prompt-depth-anything-vitl-hf",
        licence="CC-BY-NC-4.0 (of the V2 it is tuned from)",
        commercial_use=False,
        parameters=340_046_529,
        training_data="Depth Anything V2 large, then Hypersim with simulated LiDAR, ARKitScenes and ScanNet++",
    ),
)
