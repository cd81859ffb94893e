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
    from depthweave.pipelines.load import load
    from depthweave.pipelines.mono import MonoEstimator
    from depthweave.pipelines.reconstruct import Reconstructor
    from depthweave.pipelines.stereo import StereoMatcher
    from depthweave.pipelines.synthesize import SynthesizedPair, synthesize
    from depthweave.pipelines.video import VideoDepth
    from depthweave.types import (
        Camera,
        Clip,
        DepthMap,
        DepthVideo,
        DisparityMap,
        InverseDepthMap,
        PointCloud,
        Reconstruction,
        Scale,
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
    "InverseDepthMap": "types",
    "ModelCard": "models.registry",
    "MonoEstimator": "pipelines.mono",
    "NeedsCalibration": "errors",
    "NeedsMetric": "errors",
    "PointCloud": "types",
    "Reconstruction": "types",
    "Reconstructor": "pipelines.reconstruct",
    "Scale": "types",
    "StereoMatcher": "pipelines.stereo",
    "StereoPair": "types",
    "SynthesizedPair": "pipelines.synthesize",
    "UnknownModel": "errors",
    "VideoDepth": "pipelines.video",
    "WrongFile": "errors",
    "WrongInput": "errors",
    "load": "pipelines.load",
    "list_models": "models.registry",
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
    "InverseDepthMap",
    "ModelCard",
    "MonoEstimator",
    "NeedsCalibration",
    "NeedsMetric",
    "PointCloud",
    "Reconstruction",
    "Reconstructor",
    "Scale",
    "StereoMatcher",
    "StereoPair",
    "SynthesizedPair",
    "UnknownModel",
    "VideoDepth",
    "WrongFile",
    "WrongInput",
    "list_models",
    "load",
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
