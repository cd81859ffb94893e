"""DepthCrafter: Stable Video Diffusion tuned to affine-invariant disparity (Hu et al., CVPR 2025)."""

from depthweave.models.video.depthcrafter.network import Conditions, PerFrameUNet
from depthweave.models.video.depthcrafter.parts import PARTS, PartName, PartsFolder, find_parts
from depthweave.models.video.depthcrafter.schedule import SCHEDULES, noise_levels
from depthweave.models.video.depthcrafter.windows import WindowPlan, frame_noise, plan_windows

__all__ = [
    "PARTS",
    "SCHEDULES",
    "Conditions",
    "PartName",
    "PartsFolder",
    "PerFrameUNet",
    "WindowPlan",
    "find_parts",
    "frame_noise",
    "noise_levels",
    "plan_windows",
]
