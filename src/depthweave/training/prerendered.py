"""Rendered pairs in a few large files, which training reads windows of without unpacking anything.

A folder holds `left.npy` and `right.npy` (n, h, w, 3) uint8; `disparity_left.npy` and `disparity_right.npy` (n, h, w)
uint16 in steps of 1/128 px, 65535 = not known; `match_left.npy` and `match_right.npy` (n, h, w) uint8 with the codes of
`worlds.Match`; `count`, the number of pairs that are finished; and `facts.json`, what they were made from.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from depthweave import io, runtime
from depthweave.errors import DifferentConfiguration, NotWritable, WrongFile, WrongInput
from depthweave.training.sample import STEPS_PER_PX, UNKNOWN_STEPS, RawPair, RawView
from depthweave.worlds import PairBatch, PairStream, Worlds

FORMAT = 1
COUNT_NAME = "count"
FACTS_NAME = "facts.json"
SECONDS_BETWEEN_COUNTS = 5.0


@dataclass(frozen=True)
class _Layout:
    """One of the files: type of a value, values per pixel, and how a batch gives them."""

    dtype: np.dtype[Any]
    trailing: tuple[int, ...]
    values: Callable[[PairBatch], torch.Tensor]

    def shape(self, count: int, height: int, width: int) -> tuple[int, ...]:
        return (count, height, width, *self.trailing)


def _bytes_of(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _steps_of(disparity: torch.Tensor) -> torch.Tensor:
    steps = (disparity * STEPS_PER_PX).round_()
    fits = (steps >= 0) & (steps < UNKNOWN_STEPS)
    return torch.where(fits, steps, float(UNKNOWN_STEPS)).to(torch.int32)


_PIXELS, _STEPS = np.dtype(np.uint8), np.dtype("<u2")
_FILES: Mapping[str, _Layout] = {
    "left": _Layout(_PIXELS, (3,), lambda batch: _bytes_of(batch.left.image)),
    "right": _Layout(_PIXELS, (3,), lambda batch: _bytes_of(batch.right.image)),
    "disparity_left": _Layout(_STEPS, (), lambda batch: _steps_of(batch.left.disparity)),
    "disparity_right": _Layout(_STEPS, (), lambda batch: _steps_of(batch.right.disparity)),
    "match_left": _Layout(_PIXELS, (), lambda batch: batch.left.match),
    "match_right": _Layout(_PIXELS, (), lambda batch: batch.right.match),
}


class Prerendered:
    """The finished pairs of a folder; `[i]` reads nothing but the windows that are cut out later.

    It can be pickled for loader processes: files are opened when the first pair is asked for.

    Args:
        folder: one that `prerender` made, also while it still grows.
        count: use the first so many pairs; None = all that are finished now.

    Attributes:
        folder: its path.
        height, width: of the pictures in px.
        facts: what the pairs were made from, None where the folder does not say.

    Raises:
        WrongFile: a file is missing, damaged, too short, or does not fit to the others; names it.
    """

    def __init__(self, folder: str | Path, count: int | None = None) -> None:
        self.folder = io.require_folder(folder)
        finished = _read_count(self.folder)
        if finished < 1:
            raise WrongFile(f"{self.folder} has no finished pair yet; wait for the first ones or render again.")
        if count is not None and not 1 <= count <= finished:
            raise WrongFile(f"{self.folder} has {finished} finished pairs, not {count}; ask for fewer or render more.")
        self._count = finished if count is None else count
        self._maps: dict[str, NDArray[Any]] | None = None
        self.height, self.width = (int(side) for side in self._opened()["left"].shape[1:3])
        self._maps = None
        facts = self.folder / FACTS_NAME
        self.facts: dict[str, Any] | None = _read_facts(self.folder) if facts.is_file() else None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> RawPair:
        if not 0 <= index < self._count:
            raise IndexError(f"pair {index} of {self._count}")
        maps = {name: torch.from_numpy(values[index]) for name, values in self._opened().items()}
        left, right = (
            RawView(maps[side], maps[f"disparity_{side}"], None, maps[f"match_{side}"]) for side in ("left", "right")
        )
        return RawPair(left, right)

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the files themselves."""
        return {**self.__dict__, "_maps": None}

    def _opened(self) -> dict[str, NDArray[Any]]:
        if self._maps is None:
            self._maps = {name: _open_map(self.folder / f"{name}.npy", layout) for name, layout in _FILES.items()}
            first = self._maps["left"].shape[:3]
            for name, values in self._maps.items():
                if values.shape[:3] != first or first[0] < self._count:
                    raise WrongFile(
                        f"{self.folder / f'{name}.npy'} holds {values.shape[:3]} (pairs, rows, columns), but left.npy "
                        f"has {first} and {self._count} pairs are to be there; render the folder again."
                    )
        return self._maps


def prerender(
    worlds: Worlds,
    folder: str | Path,
    *,
    count: int,
    workers: int = 0,
    device: str = "cpu",
    batch: int = 4,
    show_progress: bool | None = None,
) -> Prerendered:
    """Render the first pairs of `worlds` into a folder; finished ones of an earlier call are kept, and it may grow.

    Args:
        worlds: what to render.
        folder: made if it is missing.
        count: pairs that the folder has in the end.
        workers: processes; 0 = this one.
        device: where to render, as for `PairStream`.
        batch: pairs at once.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds pairs of other worlds, or nobody knows of which.
        NotWritable: the folder cannot be written, or the disk is full.
        SceneFailed: a scene cannot be rendered; the pairs before it are kept.
        WrongFile: a file of the folder is damaged.
    """
    if count < 1:
        raise WrongInput(f"a folder of pairs needs at least 1, not {count}.")
    place = Path(folder)
    _claim(place, worlds)
    finished = _read_count(place) if (place / COUNT_NAME).is_file() else 0
    if finished < count:
        stream = PairStream(
            worlds, batch_size=batch, device=device, workers=workers, start=finished, count=count - finished
        )
        shown = runtime.progress(
            stream, label="rendering", total=math.ceil((count - finished) / batch), show=show_progress
        )
        _write(place, shown, worlds, finished, count)
    return Prerendered(place)


def _write(place: Path, batches: Iterator[PairBatch], worlds: Worlds, finished: int, count: int) -> None:
    with ExitStack() as stack:
        # Not by memory maps: a full disk would kill the process that writes to one, and no sentence said.
        files = {
            name: stack.enter_context(_data_file(place / f"{name}.npy", layout, count, worlds, new=finished == 0))
            for name, layout in _FILES.items()
        }
        starts = {name: file.tell() for name, file in files.items()}
        written, last = finished, time.monotonic()
        try:
            for rendered in batches:
                for name, layout in _FILES.items():
                    data = np.ascontiguousarray(layout.values(rendered).cpu().numpy(), dtype=layout.dtype)
                    with _naming(place / f"{name}.npy"):
                        files[name].seek(starts[name] + written * data[0].nbytes)
                        files[name].write(data.data)
                written += len(rendered)
                if time.monotonic() - last >= SECONDS_BETWEEN_COUNTS:
                    _commit(place, files, written)
                    last = time.monotonic()
        finally:
            _commit(place, files, written)


def _commit(place: Path, files: Mapping[str, BinaryIO], written: int) -> None:
    """Pairs count only after all their bytes are on the disk."""
    for name, file in files.items():
        with _naming(place / f"{name}.npy"):
            file.flush()
            os.fsync(file.fileno())
    with io.atomic_path(place / COUNT_NAME) as temporary:
        temporary.write_text(f"{written}\n", encoding="ascii")


@contextmanager
def _data_file(path: Path, layout: _Layout, count: int, worlds: Worlds, *, new: bool) -> Iterator[BinaryIO]:
    """A file with room for `count` pairs or more, at the place of its first pair."""
    room = count if new else max(count, _open_map(path, layout).shape[0])
    shape = layout.shape(room, worlds.height, worlds.width)
    head = BytesIO()
    # numpy leaves room in the header for a first number that grows, so that the data stays where it is.
    np.lib.format.write_array_header_1_0(
        head, {"descr": np.lib.format.dtype_to_descr(layout.dtype), "fortran_order": False, "shape": shape}
    )
    with _naming(path), open(path, "w+b" if new else "r+b") as file:
        # Longer first: a file that is longer than its header says can still be read.
        file.truncate(head.tell() + math.prod(shape) * layout.dtype.itemsize)
        file.write(head.getvalue())
        yield file


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except NotWritable:
        raise
    except OSError as error:
        raise NotWritable(
            f"{path} cannot be written ({error.strerror}); free some space or choose another folder, then start again: "
            "finished pairs are kept."
        ) from error


def _open_map(path: Path, layout: _Layout) -> NDArray[Any]:
    """The values of a file, as memory that a write would copy (torch wants memory that can be written)."""
    io.require_file(path)
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="c")
    except (ValueError, EOFError, OSError) as error:
        raise WrongFile(f"{path} is damaged or too short ({error}); render the folder again.") from error
    if values.dtype != layout.dtype or values.ndim != 3 + len(layout.trailing) or values.shape[3:] != layout.trailing:
        raise WrongFile(
            f"{path} holds {values.dtype} of shape {values.shape}, not {layout.dtype} of shape "
            f"(pairs, rows, columns{''.join(f', {side}' for side in layout.trailing)}); render the folder again."
        )
    return values


def _claim(place: Path, worlds: Worlds) -> None:
    """Say what the folder holds, or find that it holds the same."""
    path = place / FACTS_NAME
    # Through JSON, so that tuples and lists compare equal.
    now = json.loads(json.dumps({"format": FORMAT, "worlds": worlds.facts()}))
    if not path.is_file():
        if (place / COUNT_NAME).is_file():
            raise DifferentConfiguration(
                f"{place} holds pairs, but no {FACTS_NAME} says of which worlds; choose another folder."
            )
        with io.atomic_path(path) as temporary:
            temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return
    before = _read_facts(place)
    changed = [key for key, value in now["worlds"].items() if before.get("worlds", {}).get(key) != value]
    if before.get("format") != FORMAT:
        changed.insert(0, "format")
    if changed:
        raise DifferentConfiguration(
            f"{place} holds pairs of worlds with another {' and '.join(changed)}; choose another folder, or delete "
            "this one."
        )


def _read_facts(place: Path) -> dict[str, Any]:
    facts = io.read_json(place / FACTS_NAME, remedy="delete the folder and render again.")
    if not isinstance(facts, dict):
        raise WrongFile(f"{place / FACTS_NAME} is damaged (no table); delete the folder and render again.")
    return facts


def _read_count(place: Path) -> int:
    path = io.require_file(place / COUNT_NAME)
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not text.isdecimal():
        raise WrongFile(f"{path} holds {text!r}, not a number of pairs; write there how many are finished, or 0.")
    return int(text)
