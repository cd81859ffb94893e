"""Benchmarks of clips by name, and what can be asked of all of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from depthweave.data.clip_item import ClipItem, chosen_clips
from depthweave.data.diml import diml
from depthweave.data.kitti_depth import kitti_depth
from depthweave.data.megadepth import megadepth
from depthweave.data.nyuv2 import nyuv2
from depthweave.data.registered import read_registered
from depthweave.data.scannet import scannet
from depthweave.data.sevenscenes import sevenscenes
from depthweave.data.sintel_depth import sintel_depth
from depthweave.data.tum import bonn, tum
from depthweave.errors import WrongFile, WrongInput

CLIP_BENCHMARKS: Mapping[str, Callable[..., list[ClipItem]]] = MappingProxyType(
    {
        "sintel-depth": sintel_depth,
        "bonn": bonn,
        "tum": tum,
        "scannet": scannet,
        "kitti-depth": kitti_depth,
        "7scenes": sevenscenes,
        "nyuv2": nyuv2,
        "diml": diml,
        "megadepth": megadepth,
    }
)
"""Name of a benchmark and the function that lists its clips."""


def open_clips(
    name: str,
    root: str | Path,
    /,
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    masks: str | Path | None = None,
    clips: str | Sequence[str] | None = None,
    **options: Any,
) -> list[ClipItem]:
    """The clips of a benchmark, in the order of their keys.

    Args:
        name: one of `CLIP_BENCHMARKS`.
        root: the folder it was unpacked to.
        start, stop, step: frames of every clip, as in a slice, after those that the reader chooses.
        masks: folder of `<key>/<name of the picture>.png`, white where something moves by itself.
        clips: only these keys, in this order; a text holds one key or several with commas between them.
        options: those of its reader, such as `choice="depthcrafter"`.

    Raises:
        UnknownBenchmark: no such name.
        WrongFile: the folder does not have the layout of the benchmark, or there is no folder of masks.
        WrongInput: an option that its reader does not have, a value that it does not take, or frames or clips that
            are not there.
    """
    items = read_registered(CLIP_BENCHMARKS, name, root, options)
    if clips is not None:
        items = chosen_clips(items, clips.split(",") if isinstance(clips, str) else clips)
    if start < 0 or step < 1 or (stop is not None and stop <= start):
        raise WrongInput(f"frames from {start} to {stop} by {step} select nothing; need 0 <= start < stop, step >= 1.")
    if masks is not None:
        if not Path(masks).is_dir():
            raise WrongFile(f"{masks} is not a folder; give the folder of the masks.")
        items = [item.with_masks(Path(masks)) for item in items]
    items = [part for item in items if len(part := item.part(start, stop, step))]
    if not items:
        raise WrongInput(f"no clip of {name} has a frame {start}; take a smaller start.")
    return items
