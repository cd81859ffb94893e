"""Where and how things run: device, number type, seeds, honest timing, memory."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from depthweave.errors import MissingLibrary, WrongInput

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def choose_device(device: str = "auto") -> "torch.device":
    """The device named, or with ``auto`` the first of cuda, mps, cpu that this machine has.

    Raises:
        WrongInput: a name that torch does not know, or a device that is not there.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise WrongInput(f"'{device}' is not a device; use auto, cpu, cuda, cuda:1 or mps.") from None
    missing_cuda = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if missing_cuda or (chosen.type == "mps" and not torch.backends.mps.is_available()):
        raise WrongInput(f"this machine has no device '{device}'; use auto or cpu.")
    return chosen


def choose_dtype(dtype: str, device: "torch.device") -> "torch.dtype":
    """The number type networks compute in: ``auto`` is bfloat16 (float16 on older cards) on cuda, else float32.

    Results are float32 whatever the networks compute in.
    """
    import torch

    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype in names:
        return names[dtype]
    if dtype != "auto":
        raise WrongInput(f"'{dtype}' is not a number type; use auto, float32, float16 or bfloat16.")
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def available_cores() -> int:
    """Cores that this process may use, as far as the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """What the system calls this machine's processor."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices)."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that we call draw from the global generator
    torch.manual_seed(seed)


def synchronize(device: "torch.device") -> None:
    """Wait until the device has finished: without it, a clock measures only the launch."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls."""

    median_s: float
    fastest_s: float
    runs: int
    device: str


def measure(call: Callable[[], object], *, device: str = "cpu", warm_up: int = 1, runs: int = 5) -> Timing:
    """Time a call: ``warm_up`` calls that do not count, then the median of ``runs``, device synchronised."""
    where = choose_device(device)
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(runs):
        synchronize(where)
        start = time.perf_counter()
        call()
        synchronize(where)
        seconds.append(time.perf_counter() - start)
    return Timing(statistics.median(seconds), min(seconds), runs, str(where))


def peak_memory_bytes() -> int | None:
    """Largest resident memory of this process so far, None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def available_memory_bytes(device: "torch.device") -> int | None:
    """Memory that new tensors on a device can take, None where the system does not tell (Windows).

    For cuda, what the driver has left and what torch keeps for reuse. For the rest, what Linux calls available, and no
    more than the limit of a container leaves; elsewhere all memory of the machine, an upper bound.
    """
    if device.type == "cuda":
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    try:
        left = _table_of_numbers(MEMINFO)["MemAvailable:"] * 1024
    except (OSError, KeyError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    try:
        limit, used = (int((CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(left, limit - used + _table_of_numbers(CONTAINER / "memory.stat")["inactive_file"])
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return left


def _table_of_numbers(path: Path) -> dict[str, int]:
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def progress(items: Iterable[T], *, label: str, total: int | None = None, show: bool | None = None) -> Iterator[T]:
    """Pass items through with a progress bar on stderr; by default only when stderr is a terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=label)


def require_library(name: str, *, user: str, extra: str) -> Any:
    """A module of a library that an extra installs.

    Args:
        name: dotted, of the module.
        user: what needs it, as the sentence begins.
        extra: of depthweave, which brings it.

    Raises:
        MissingLibrary: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingLibrary(
            f"{user} needs the library {name.partition('.')[0]}; run `pip install 'depthweave[{extra}]'`."
        ) from error


@contextmanager
def quiet_loggers(loggers: Iterable[Any]) -> Iterator[None]:
    """No messages below errors and no progress bars in the block, and afterwards as before.

    Args:
        loggers: the modules ``utils.logging`` of transformers and diffusers.
    """
    with ExitStack() as stack:
        for logging in loggers:
            stack.callback(logging.set_verbosity, logging.get_verbosity())
            if logging.is_progress_bar_enabled():
                stack.callback(logging.enable_progress_bar)
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        yield
