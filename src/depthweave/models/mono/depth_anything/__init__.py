"""Depth Anything V2 (and V1): DINOv2 and a DPT decoder."""

from depthweave.models.mono.depth_anything.config import DepthAnythingConfig
from depthweave.models.mono.depth_anything.network import DepthAnything

__all__ = ["DepthAnything", "DepthAnythingConfig"]
