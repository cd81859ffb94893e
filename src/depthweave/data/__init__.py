"""Readers of official benchmark folders: listing looks only at names, pixels are read when asked for."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from depthweave.data.eth3d import eth3d
from depthweave.data.folder import folder
from depthweave.data.item import StereoItem, StereoTruth
from depthweave.data.kitti import kitti_2012, kitti_2015
from depthweave.data.middlebury import middlebury_2001_2006, middlebury_2014, middlebury_2021, middlebury_v3
from depthweave.data.sceneflow import sceneflow, sceneflow_400
from depthweave.data.sintel import sintel
from depthweave.errors import UnknownBenchmark, WrongFile, WrongInput

__all__ = ["BENCHMARKS", "StereoItem", "StereoTruth", "open_benchmark"]

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
    if name not in BENCHMARKS:
        close = get_close_matches(name, BENCHMARKS, n=3) or list(BENCHMARKS)
        raise UnknownBenchmark(f"there is no benchmark {name!r}; did you mean {', '.join(close)}?")
    reader, path = BENCHMARKS[name], Path(root)
    if not path.is_dir():
        raise WrongFile(f"{path} is not a folder; give the folder that {name} was unpacked to.")
    known = {option: hint for option, hint in get_type_hints(reader).items() if option not in ("root", "return")}
    for option, value in options.items():
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has no options"
            raise WrongInput(f"{name} has no option {option!r}; {has}.")
        allowed = _allowed(known[option])
        if allowed and value not in allowed:
            raise WrongInput(f"{option} of {name} is one of {', '.join(map(str, allowed))}, not {value!r}.")
    return reader(path, **options)


def _allowed(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal, or of one that may also be None; empty for other types."""
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint)
    if not any(get_origin(part) is Literal for part in parts):
        return ()
    return tuple(value for part in parts for value in (get_args(part) or (None,)))
