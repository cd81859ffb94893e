"""depthweave: depth from stereo pairs, single pictures and videos, with results that say what their numbers are."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from depthweave.errors import (
        DepthweaveError,
        DepthweaveWarning,
        NeedsCalibration,
        NeedsMetric,
        UnknownModel,
        WrongFile,
        WrongInput,
    )
    from depthweave.models.registry import ModelCard, list_models
    from depthweave.pipelines.flow import FlowMatcher
    from depthweave.pipelines.load import load
    from depthweave.pipelines.mono import MonoEstimator
    from depthweave.pipelines.obstacles import nearest_obstacles
    from depthweave.pipelines.reconstruct import Reconstructor
    from depthweave.pipelines.sparse_depth import fuse_sparse
    from depthweave.pipelines.stereo import StereoMatcher
    from depthweave.pipelines.synthesize import SynthesizedPair, synthesize
    from depthweave.pipelines.video import VideoDepth
    from depthweave.types import (
        Camera,
        Clip,
        DepthMap,
        DepthVideo,
        DisparityMap,
        FlowMap,
        InverseDepthMap,
        PointCloud,
        Reconstruction,
        Scale,
        SparseDepth,
        StereoPair,
    )

_HOME = {
    "Camera": "types",
    "Clip": "types",
    "DepthMap": "types",
    "DepthVideo": "types",
    "DepthweaveError": "errors",
    "DepthweaveWarning": "errors",
    "DisparityMap": "types",
    "FlowMap": "types",
    "FlowMatcher": "pipelines.flow",
    "InverseDepthMap": "types",
    "ModelCard": "models.registry",
    "MonoEstimator": "pipelines.mono",
    "NeedsCalibration": "errors",
    "NeedsMetric": "errors",
    "PointCloud": "types",
    "Reconstruction": "types",
    "Reconstructor": "pipelines.reconstruct",
    "Scale": "types",
    "SparseDepth": "types",
    "StereoMatcher": "pipelines.stereo",
    "StereoPair": "types",
    "SynthesizedPair": "pipelines.synthesize",
    "UnknownModel": "errors",
    "VideoDepth": "pipelines.video",
    "WrongFile": "errors",
    "WrongInput": "errors",
    "fuse_sparse": "pipelines.sparse_depth",
    "load": "pipelines.load",
    "list_models": "models.registry",
    "nearest_obstacles": "pipelines.obstacles",
    "synthesize": "pipelines.synthesize",
}

__all__ = [
    "Camera",
    "Clip",
    "DepthMap",
    "DepthVideo",
    "DepthweaveError",
    "DepthweaveWarning",
    "DisparityMap",
    "FlowMap",
    "FlowMatcher",
    "InverseDepthMap",
    "ModelCard",
    "MonoEstimator",
    "NeedsCalibration",
    "NeedsMetric",
    "PointCloud",
    "Reconstruction",
    "Reconstructor",
    "Scale",
    "SparseDepth",
    "StereoMatcher",
    "StereoPair",
    "SynthesizedPair",
    "UnknownModel",
    "VideoDepth",
    "WrongFile",
    "WrongInput",
    "fuse_sparse",
    "list_models",
    "load",
    "nearest_obstacles",
    "synthesize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'depthweave' has no attribute '{name}'")
    value = getattr(import_module(f"depthweave.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
