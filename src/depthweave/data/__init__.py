"""Readers of official benchmark folders: listing looks only at names, pixels are read when asked for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from depthweave.data.cityscapes import cityscapes
from depthweave.data.clip_item import ClipItem
from depthweave.data.clips import CLIP_BENCHMARKS, open_clips
from depthweave.data.eth3d import eth3d
from depthweave.data.folder import folder
from depthweave.data.item import StereoItem, StereoTruth
from depthweave.data.kitti import kitti_2012, kitti_2015
from depthweave.data.middlebury import middlebury_2001_2006, middlebury_2014, middlebury_2021, middlebury_v3
from depthweave.data.pictures import PICTURE_BENCHMARKS, OrdinalItem, OrdinalPairs, open_pictures
from depthweave.data.registered import read_registered
from depthweave.data.sceneflow import sceneflow, sceneflow_400
from depthweave.data.sintel import sintel

__all__ = [
    "BENCHMARKS",
    "CLIP_BENCHMARKS",
    "PICTURE_BENCHMARKS",
    "ClipItem",
    "OrdinalItem",
    "OrdinalPairs",
    "StereoItem",
    "StereoTruth",
    "open_benchmark",
    "open_clips",
    "open_pictures",
]

BENCHMARKS: Mapping[str, Callable[..., list[StereoItem]]] = MappingProxyType(
    {
        "middlebury-v3": middlebury_v3,
        "middlebury-2014": middlebury_2014,
        "middlebury-2021": middlebury_2021,
        "middlebury-2001-2006": middlebury_2001_2006,
        "kitti-2012": kitti_2012,
        "kitti-2015": kitti_2015,
        "eth3d": eth3d,
        "sceneflow": sceneflow,
        "sceneflow-400": sceneflow_400,
        "sintel": sintel,
        "cityscapes": cityscapes,
        "folder": folder,
    }
)
"""Name of a benchmark and the function that lists its pairs."""


def open_benchmark(name: str, root: str | Path, /, **options: Any) -> list[StereoItem]:
    """The pairs of a benchmark, in the order of their keys.

    Args:
        name: one of `BENCHMARKS`.
        root: the folder it was unpacked to.
        options: those of its reader, such as `split="training"` or `resolution="H"`.

    Raises:
        UnknownBenchmark: no such name.
        WrongFile: the folder does not have the layout of the benchmark.
        WrongInput: an option that its reader does not have, or a value that the option does not take.
    """
    return read_registered(BENCHMARKS, name, root, options)
