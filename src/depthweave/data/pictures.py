"""Benchmarks of single pictures whose truth is an order of points, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from depthweave.data.diw import diw
from depthweave.data.ordinal_item import OrdinalItem, OrdinalPairs
from depthweave.data.redweb import redweb
from depthweave.data.registered import read_registered

__all__ = ["PICTURE_BENCHMARKS", "OrdinalItem", "OrdinalPairs", "open_pictures"]

PICTURE_BENCHMARKS: Mapping[str, Callable[..., list[OrdinalItem]]] = MappingProxyType({"diw": diw, "redweb": redweb})
"""Name of a benchmark and the function that lists its pictures; those with metric depth are clips of one frame."""


def open_pictures(name: str, root: str | Path, /, **options: Any) -> list[OrdinalItem]:
    """The pictures of a benchmark, in the order of their keys.

    Args:
        name: one of `PICTURE_BENCHMARKS`.
        root: the folder it was unpacked to.
        options: those of its reader, such as `split="val"`.

    Raises:
        UnknownBenchmark: no such name.
        WrongFile: the folder does not have the layout of the benchmark.
        WrongInput: an option that its reader does not have, or a value that it does not take.
    """
    return read_registered(PICTURE_BENCHMARKS, name, root, options)
