"""Images worked through in strips: each stays in the cache of the one thread that has it.

Operations on the whole image at once would go through memory every time, and wake all threads for each of them.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor

STRIP_BYTES = 1 << 20
"""Strips are chosen so that what is made of their input takes about this much."""

_BALANCE = 0.75
"""Threads take strips each where at least this share of them would be busy."""

Rows = tuple[int, int]


def saves_time(x: Tensor) -> bool:
    """Whether an inference path of this kind is meant for ``x``: float32 on a CPU, and nobody records what happens."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def strips(height: int, row_bytes: int, multiple: int = 1) -> list[Rows]:
    """Rows of strips of at most `STRIP_BYTES` (and at least ``multiple`` rows), of nearly equal heights."""
    most = max(1, STRIP_BYTES // (row_bytes * multiple)) * multiple
    count = -(-height // most)
    rows = -(-height // (count * multiple)) * multiple
    return [(first, min(first + rows, height)) for first in range(0, height, rows)]


def each_strip(rows: Sequence[Rows], work: Callable[[Sequence[Rows]], object]) -> None:
    """Do the work for all strips: threads take a run of them each, or this one takes them all.

    Args:
        rows: of the strips.
        work: for a run of strips; operations in it have one thread where several runs go on side by side.
    """
    threads = torch.get_num_threads()
    runs = -(-len(rows) // threads)
    if threads == 1 or len(rows) < _BALANCE * runs * threads or not _threads_have_their_own_number():
        work(rows)
        return
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad

    def run(part: Sequence[Rows]) -> None:
        with mode():
            work(part)

    parts = [rows[first : first + runs] for first in range(0, len(rows), runs)]
    for _ in _pool(threads, os.getpid()).map(run, parts):
        pass


@functools.cache
def _threads_have_their_own_number() -> bool:
    """With OpenMP a thread's operations can be told to have one thread; elsewhere that holds for the whole process."""
    return "parallel backend: OpenMP" in torch.__config__.parallel_info()


@functools.cache
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, "depthweave-strips")
    started = Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    for _ in range(threads):
        pool.submit(start)
    started.wait()
    # The last call also says how many threads those have that ask for the first time later.
    torch.set_num_threads(threads)
    return pool
