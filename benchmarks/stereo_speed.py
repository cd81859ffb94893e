"""Time and memory of stereo matchers, and of anybody else's code beside them in the same run.

    python benchmarks/stereo_speed.py --model defom-vits --size 640x320 --iterations 8 32 --threads 2
    python benchmarks/stereo_speed.py --model defom-vits raft-stereo sgm --weights random
    python benchmarks/stereo_speed.py --model defom-vits --weights fill.py --against adapter.py:make

Every contender lives in a fresh process of its own, with the same pair, number of threads and weights; runs alternate
between them, so that a slow moment of the machine falls on all. Peak memory is what that process (or torch on its cuda
device) ever held; "for the work" is that less what it held before the first run.

--model takes names of `depthweave models` or a family's smallest network (defom-nano, raft-nano); the first is what the
others are compared with. --weights is `random`, a folder of depthweave, or a Python file with a function
`fill_state_dict(state) -> state`. --against FILE.py:FACTORY names a function `factory(state, device, dtype)` that
returns a callable `(left, right, iterations, scale_iterations) -> disparity` on (1, 3, h, w) RGB 0 to 255; `state` are
the first model's weights under their official names. It runs under torch.inference_mode.
"""

import argparse
import importlib.util
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# torch is imported in the contenders' processes only: on Linux a process counts its parent's memory as its own peak.

NETWORKS: dict[str, tuple[str, dict[str, Any] | str]] = {
    "defom-vits": ("defom", {"encoder": "vits"}),
    "defom-vitl": ("defom", {"encoder": "vitl"}),
    "defom-nano": ("defom", "nano"),
    "raft-stereo": ("raft", "standard"),
    "raft-stereo-realtime": ("raft", "realtime"),
    "raft-nano": ("raft", "nano"),
}
"""Family, and a configuration or the name of one."""


@dataclass(frozen=True)
class Setup:
    """What every contender of a run has in common."""

    size: tuple[int, int]
    threads: int
    device: str
    dtype: str
    compile: str | None
    iterations: int
    scale_iterations: int


@dataclass(frozen=True)
class Contender:
    """A model of depthweave by its name, or a factory in a file; and the file of its weights."""

    name: str
    weights: str | None
    factory: str | None = None


@dataclass
class Measured:
    seconds: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    output: Any = None


# --- in the main process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["defom-vits"])
    parser.add_argument("--weights", default="random")
    parser.add_argument("--against", action="append", default=[], metavar="FILE.py:FACTORY")
    parser.add_argument("--size", default="640x320", metavar="WIDTHxHEIGHT")
    parser.add_argument("--iterations", nargs="+", type=int, default=[32])
    parser.add_argument("--scale-iterations", nargs="+", type=int, help="one per --iterations; default half, at most 8")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="auto, float32, float16 or bfloat16")
    parser.add_argument("--compile", metavar="MODE", help="torch.compile our networks: default, max-autotune, ...")
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-stages", action="store_true")
    arguments = parser.parse_args()
    scales = arguments.scale_iterations or [min(8, count // 2) for count in arguments.iterations]
    if len(scales) != len(arguments.iterations):
        parser.error("give one --scale-iterations for each of --iterations")
    if min(arguments.runs, arguments.threads) < 1 or arguments.warm_up < 0:
        parser.error("--runs and --threads are at least 1, --warm-up at least 0")
    width, _, height = arguments.size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        parser.error("--size is WIDTHxHEIGHT, for example 640x320")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        contenders = prepare(arguments, Path(folder))
        about, rows, stages = "", [], []
        for count, scale in zip(arguments.iterations, scales, strict=True):
            setup = Setup(
                (int(height), int(width)),
                arguments.threads,
                arguments.device,
                arguments.dtype,
                arguments.compile,
                count,
                scale,
            )
            about, found = race(contenders, setup, arguments.warm_up, arguments.runs, not arguments.no_stages)
            rows += table(found, setup)
            stages += stage_rows(found, setup)
    print(f"`{shlex.join(['python', *sys.argv])}`\n\n{about}\n")
    print("| iterations (scale) | contender | median s | fastest s | peak MiB | for the work MiB ", end="")
    print("| time: median / fastest | peak / for the work | largest difference px |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    if stages:
        print("\n| iterations | contender | stage | median s | share |\n|---|---|---|---|---|")
        print("\n".join(stages))


def prepare(arguments: argparse.Namespace, folder: Path) -> list[Contender]:
    """Write the weights of every network to a file, in a process that is gone before anything is measured."""
    files = {name: folder / f"{name}.pth" for name in arguments.model if name in NETWORKS}
    if files:
        writer = get_context("spawn").Process(target=write_weights, args=(files, arguments.weights))
        writer.start()
        writer.join()
        if writer.exitcode:
            sys.exit("the weights could not be made; see above")
    ours = [Contender(name, str(files[name]) if name in files else None) for name in arguments.model]
    others = [Contender(Path(place).name, ours[0].weights, place) for place in arguments.against]
    return ours + others


def race(
    contenders: list[Contender], setup: Setup, warm_up: int, runs: int, stages: bool
) -> tuple[str, dict[str, Measured]]:
    """One round after the other, in each every contender once."""
    found = {contender.name: Measured() for contender in contenders}
    with started(contenders, setup) as ask:
        about = ask(contenders[0].name, "about")
        for index in range(warm_up + runs):
            for name, measured in found.items():
                seconds = ask(name, "run")
                if index >= warm_up:
                    measured.seconds.append(seconds)
            print(f"round {index + 1} of {warm_up + runs}", file=sys.stderr)
        for contender in contenders:
            measured = found[contender.name]
            measured.memory = ask(contender.name, "memory")
            measured.output = ask(contender.name, "output")
            if stages and contender.factory is None and contender.name in NETWORKS:
                times = [ask(contender.name, "stages") for _ in range(runs)]
                measured.stages = {stage: statistics.median(t[stage] for t in times) for stage in times[0]}
    return about, found


@contextmanager
def started(contenders: list[Contender], setup: Setup) -> Iterator[Callable[[str, str], Any]]:
    """A process per contender, and a way to ask one of them for something."""
    context = get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    for contender in contenders:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, contender, setup), daemon=True)
        process.start()
        there.close()
        lines[contender.name] = here
        processes.append(process)

    def ask(name: str, what: str) -> Any:
        try:
            lines[name].send(what)
            answer, failure = lines[name].recv()
        except (EOFError, OSError):
            sys.exit(f"{name} died; there may not be enough memory")
        if failure is not None:
            sys.exit(f"{name} failed:\n{failure}")
        return answer

    try:
        for name in lines:
            ask(name, "ready")
        yield ask
    finally:
        for line in lines.values():
            line.close()
        for process in processes:
            process.join()


def table(found: dict[str, Measured], setup: Setup) -> list[str]:
    reference = next(iter(found.values()))
    rows = []
    for name, measured in found.items():
        median, fastest = statistics.median(measured.seconds), min(measured.seconds)
        peak, work = measured.memory["peak"], measured.memory["peak"] - measured.memory["before"]
        slower = median / statistics.median(reference.seconds), fastest / min(reference.seconds)
        larger = peak / reference.memory["peak"], work / (reference.memory["peak"] - reference.memory["before"])
        difference = abs(measured.output - reference.output).max()
        rows.append(
            f"| {setup.iterations} ({setup.scale_iterations}) | `{name}` | {median:.3f} | {fastest:.3f} "
            f"| {peak / 2**20:.0f} | {work / 2**20:.0f} | {slower[0]:.2f}x / {slower[1]:.2f}x "
            f"| {larger[0]:.2f}x / {larger[1]:.2f}x | {difference:.2g} |"
        )
    return rows


def stage_rows(found: dict[str, Measured], setup: Setup) -> list[str]:
    return [
        f"| {setup.iterations} | `{name}` | {stage} | {seconds:.4f} | {seconds / sum(measured.stages.values()):.0%} |"
        for name, measured in found.items()
        for stage, seconds in measured.stages.items()
    ]


# --- in the process of a contender


def serve(line: Connection, contender: Contender, setup: Setup) -> None:
    """Answer what `started` asks, each answer with None or a traceback."""
    import torch

    torch.set_num_threads(setup.threads)
    torch.set_grad_enabled(False)
    worker = None
    with suppress(EOFError):  # the main process has all it wanted
        while True:
            asked = line.recv()
            try:
                worker = worker or Worker(contender, setup)
                answer, failure = getattr(worker, asked)(), None
            except Exception:
                answer, failure = None, traceback.format_exc()
            line.send((answer, failure))


class Worker:
    """A contender, the pair, and what can be asked about them."""

    def __init__(self, contender: Contender, setup: Setup) -> None:
        import torch

        from depthweave import images, runtime

        self.setup = setup
        self.device = runtime.choose_device(setup.device)
        self.cuda = self.device.type == "cuda"
        views, _ = images.pad_to_multiple(texture_pair(*setup.size), 32)
        self.left, self.right = (view[None].to(self.device) for view in views)
        self.network: Any = None
        if contender.factory is not None:
            self.call = foreign_call(contender, setup, self.device)
        elif contender.name in NETWORKS:
            self.call = self.network_call(contender)
        else:
            self.call = classical_call(contender.name, self.device)
        runtime.synchronize(self.device)
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        self.before = torch.cuda.memory_allocated(self.device) if self.cuda else resident_bytes()

    def network_call(self, contender: Contender) -> Callable[[Any, Any], Any]:
        import torch

        from depthweave import runtime

        self.network = our_network(contender).to(self.device)
        dtype = runtime.choose_dtype(self.setup.dtype, self.device)
        settings = {"iterations": self.setup.iterations}
        if contender.name.startswith("defom"):
            settings["scale_iterations"] = self.setup.scale_iterations
        mode = self.setup.compile
        network = self.network if mode is None else torch.compile(self.network, mode=mode)

        def call(left: Any, right: Any, network: Any = network) -> Any:
            half = dtype != torch.float32
            with torch.autocast(self.device.type, dtype) if half else nullcontext():
                return network(left, right, **settings)

        return call

    def ready(self) -> None:
        pass

    def run(self) -> float:
        import torch

        from depthweave import runtime

        with torch.inference_mode():
            call = lambda: self.call(self.left, self.right)  # noqa: E731
            return runtime.measure(call, device=str(self.device), warm_up=0, runs=1).median_s

    def output(self) -> Any:
        import torch

        with torch.inference_mode():
            found = self.call(self.left, self.right)
        return found.float().reshape(self.left.shape[-2:]).cpu().numpy()

    def memory(self) -> dict[str, int]:
        import torch

        from depthweave import runtime

        peak = torch.cuda.max_memory_allocated(self.device) if self.cuda else runtime.peak_memory_bytes()
        return {"peak": peak or 0, "before": self.before}

    def stages(self) -> dict[str, float]:
        import torch

        with torch.inference_mode(), staged(self.network, self.device) as seconds:
            self.call(self.left, self.right, self.network)
        return seconds

    def about(self) -> str:
        import torch

        import depthweave
        from depthweave import runtime

        where = f"{torch.cuda.get_device_name(self.device)}, " if self.cuda else ""
        height, width = self.left.shape[-2:]
        return (
            f"depthweave {depthweave.__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
            f"{where}{runtime.processor_name()}, {self.setup.threads} threads; {self.device}, {self.setup.dtype}, "
            f"compile {self.setup.compile}; {width}x{height} px."
        )


def write_weights(files: dict[str, Path], source: str) -> None:
    """The weights of networks under their official names: random, made by a file's function, or a folder's."""
    import torch

    from depthweave.models.families import find_family
    from depthweave.models.pretrained import describe

    for name, file in files.items():
        family = find_family(NETWORKS[name][0])
        kind = family.network_class()
        torch.manual_seed(0)
        if Path(source).is_dir():
            if describe(source).family != NETWORKS[name][0]:
                sys.exit(f"{source} holds {describe(source).family}, not {name}")
            network = kind.from_pretrained(source)
        else:
            network = kind(our_config(name))
            if source.endswith(".py"):
                network.load_state_dict(load_function(f"{source}:fill_state_dict")(network.state_dict()))
            elif source != "random":
                sys.exit(f"--weights {source} is neither random, nor a folder, nor a Python file")
        torch.save(family.converter().to_official(network), file)


def our_config(name: str) -> Any:
    from depthweave.models.families import find_family

    family, config = NETWORKS[name]
    kind = find_family(family).network_class().config_class
    return getattr(kind, config)() if isinstance(config, str) else kind(**config)


def our_network(contender: Contender) -> Any:
    import torch

    from depthweave.models.families import find_family

    assert contender.weights is not None
    kind = find_family(NETWORKS[contender.name][0]).network_class()
    return kind.from_state(our_config(contender.name), torch.load(contender.weights, weights_only=True))


def classical_call(name: str, device: Any) -> Callable[[Any, Any], Any]:
    import depthweave

    matcher = depthweave.load(name, device=str(device))
    return lambda left, right: matcher((left[0] / 255, right[0] / 255)).values


def foreign_call(contender: Contender, setup: Setup, device: Any) -> Callable[[Any, Any], Any]:
    import torch

    assert contender.factory is not None
    state = {} if contender.weights is None else torch.load(contender.weights, weights_only=True)
    made = load_function(contender.factory)(state, str(device), setup.dtype)
    return lambda left, right: made(left, right, setup.iterations, setup.scale_iterations)


def load_function(place: str) -> Callable[..., Any]:
    """The function of ``path/to/file.py:name``."""
    path, _, name = place.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        sys.exit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Any] = getattr(module, name)
    return found


def texture_pair(height: int, width: int) -> Any:
    """A random texture and the same with a disparity of 1/32 of its width, (2, 3, h, w) in 0 to 255."""
    import torch

    shift = max(1, width // 32)
    coarse = torch.rand(1, 3, height // 4 + 1, (width + shift) // 4 + 1, generator=torch.Generator().manual_seed(0))
    texture = 255 * torch.nn.functional.interpolate(coarse, size=(height, width + shift), mode="bilinear")
    return torch.cat([texture[..., :width], texture[..., shift:]])


@contextmanager
def staged(network: Any, device: Any) -> Iterator[dict[str, float]]:
    """Seconds of each stage of the calls inside, without those of stages that it calls; the device waits at each."""
    from depthweave import runtime
    from depthweave.models.layers.correlation import RowCorrelation
    from depthweave.models.layers.fast_update import Recurrence
    from depthweave.models.stereo.raft import network as raft

    seconds: dict[str, float] = {}
    inner = [0.0]
    undo: list[Callable[[], None]] = []

    def watch(owner: Any, attribute: str, stage: str | Callable[..., str]) -> None:
        original = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            runtime.synchronize(device)
            start = time.perf_counter()
            inner.append(0.0)
            result = original(*args, **kwargs)
            runtime.synchronize(device)
            elapsed = time.perf_counter() - start
            name = stage if isinstance(stage, str) else stage(*args)
            seconds[name] = seconds.get(name, 0.0) + elapsed - inner.pop()
            inner[-1] += elapsed
            return result

        own = attribute in vars(owner)
        setattr(owner, attribute, timed)
        undo.append(lambda: setattr(owner, attribute, original) if own else delattr(owner, attribute))

    def update(recurrence: Any, *_: Any) -> str:
        scaling = recurrence.block is getattr(network, "scale_update_block", None)
        return "scale updates" if scaling else "updates"

    parts = {
        "defomencoder": "decoders",
        "defomencoder.depth_anything.pretrained": "transformer",
        "fnet": "feature encoder",
        "cnet": "context encoder",
    }
    modules = dict(network.named_modules())
    for name, stage in parts.items():
        if name in modules:
            watch(modules[name], "forward", stage)
    watch(raft, "run_trunk", "context encoder")
    watch(RowCorrelation, "__init__", "correlation")
    watch(RowCorrelation, "around", "look-ups")
    watch(RowCorrelation, "at_scales", "look-ups")
    watch(Recurrence, "__init__", update)
    watch(Recurrence, "step", update)
    watch(network, "_upsample", "upsampling")
    watch(network, "forward", "the rest")
    try:
        yield seconds
    finally:
        for step in reversed(undo):
            step()


def resident_bytes() -> int:
    """Resident memory now; 0 where the system does not tell as Linux does."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    main()
