"""Accuracy, honesty, time and memory of stereo matchers on the same pairs: the tables of docs/benchmarks/stereo.md.

    python benchmarks/accuracy.py --models sgm block depthweave-s depthweave-s:scale=1 \
        --sets middlebury-v3=MiddEval3 middlebury-2001-2006=DIR kitti-2015=DIR --worlds 40
    python benchmarks/accuracy.py --models sgm --callable prototype.py:make --sets kitti-2015=DIR

A model is a name of `depthweave models` or a folder, with options of `depthweave.load` after a colon. A set is a
benchmark of docs/evaluation.md and its folder, with options of its reader after commas. --worlds N renders N pairs of a
seed that no training uses. --callable FILE.py:FACTORY names a function `factory(device)` that returns a callable
`(left, right, max_disparity) -> disparity` on (3, h, w) RGB 0 to 255, which gives a tensor (h, w) in px.

Every model meets every set in a process of its own, so that its peak memory is its own; another process scores what it
wrote. Numbers are those of the set's protocols, on dense maps (fillers scored), but for three columns:
- valid: share of the pixels with truth that the matcher calls valid;
- bad-2.0 of valid: share of errors above 2 px among these, all pairs together;
- AUSE: area under the sparsification error of bad-2.0 (Ilg et al., ECCV 2018): the pixels with the lowest confidence
  are taken away in steps of 5 %; how many bad ones are left, less those that are left when the largest errors go first,
  mean of all steps and pairs. 0 is a perfect order.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# torch is imported in the other processes only: on Linux a process counts its parent's memory as its own peak.

METRICS = ("bad-1.0", "bad-2.0", "bad-3.0", "d1", "epe")
POOLED = ("kitti-2015",)
"""Sets whose official average counts every pixel once; of the others the mean of the pictures is printed."""

BAD_PX = 2.0
STEPS = 20
WORLDS_SEED = 2_000_003


@dataclass(frozen=True)
class Contender:
    """A model with options of `depthweave.load`, or a factory in a file."""

    label: str
    name: str
    options: dict[str, Any]
    factory: str | None = None


@dataclass(frozen=True)
class DataSet:
    """A benchmark, its folder and options of its reader."""

    label: str
    benchmark: str
    root: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What one model did on one set; averages by region and metric."""

    averages: dict[tuple[str, str], float]
    valid: float
    bad_of_valid: float
    ause: float | None
    seconds: float | None
    peak: int | None
    pairs: int
    failed: dict[str, str]


# --- in the main process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["sgm"], metavar="NAME[:OPTION=VALUE,...]")
    parser.add_argument("--callable", action="append", default=[], metavar="FILE.py:FACTORY")
    parser.add_argument("--sets", nargs="*", default=[], metavar="BENCHMARK=ROOT[,OPTION=VALUE,...]")
    parser.add_argument("--worlds", type=int, default=0, metavar="N")
    parser.add_argument("--worlds-seed", type=int, default=WORLDS_SEED)
    parser.add_argument("--worlds-size", default="768x384", metavar="WIDTHxHEIGHT")
    parser.add_argument("--limit", type=int, help="only the first so many pairs of every set")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if not arguments.sets and not arguments.worlds:
        parser.error("give --sets, --worlds or both")
    contenders = [contender(text) for text in arguments.models]
    contenders += [Contender(Path(place).name, place, {}, place) for place in arguments.callable]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        sets = [data_set(text) for text in arguments.sets]
        if arguments.worlds:
            width, _, height = arguments.worlds_size.partition("x")
            root = f"{folder}/worlds"
            alone(render, root, arguments.worlds, arguments.worlds_seed, int(height), int(width))
            sets.append(DataSet(f"worlds (seed {arguments.worlds_seed})", "folder", root, {}))
        print(f"`{shlex.join(['python', *sys.argv])}`\n\n{about(arguments)}")
        for number, data in enumerate(sets):
            rows = {}
            for index, each in enumerate(contenders):
                print(f"{each.label} on {data.label}", file=sys.stderr)
                run = f"{folder}/run-{number}-{index}"
                done = alone(predict_set, each, data, run, arguments.limit, arguments.threads, arguments.device)
                rows[each.label] = alone(score_set, run, *done)
            print("\n" + "\n".join(table(data, rows)), flush=True)


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function that runs in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def contender(text: str) -> Contender:
    """``name:option=value,...``."""
    from depthweave.cli.options import parse_settings

    name, _, options = text.partition(":")
    return Contender(text, name, parse_settings(options.split(",") if options else None))


def data_set(text: str) -> DataSet:
    """``benchmark=root,option=value,...``."""
    from depthweave.cli.options import parse_settings

    place, *options = text.split(",")
    benchmark, equals, root = place.partition("=")
    if not equals:
        sys.exit(f"--sets {text} is not of the form BENCHMARK=ROOT")
    return DataSet(benchmark, benchmark, root, parse_settings(options))


def table(data: DataSet, rows: dict[str, Row]) -> list[str]:
    """Markdown: a row per model."""
    first = next(iter(rows.values()))
    columns = list(first.averages)
    units = {"epe": "px"}
    header = ["model", *(f"{metric} {region} [{units.get(metric, '%')}]" for region, metric in columns)]
    header += ["valid [%]", "bad-2.0 of valid [%]", "AUSE [%]", "median s per pair", "peak memory [GB]", "pairs"]
    averaging = "pooled" if data.benchmark in POOLED else "per image"
    lines = [f"{data.label}, {averaging}:\n", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for label, row in rows.items():
        cells = [f"`{label}`", *(f"{row.averages[column]:.2f}" for column in columns)]
        cells += [f"{row.valid:.1f}", f"{row.bad_of_valid:.2f}", "" if row.ause is None else f"{row.ause:.2f}"]
        cells += ["" if row.seconds is None else f"{row.seconds:.2f}"]
        cells += ["" if row.peak is None else f"{row.peak / 1e9:.2f}", str(row.pairs)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n{label}, {key}: {said}" for label, row in rows.items() for key, said in row.failed.items()]
    return lines


def about(arguments: argparse.Namespace) -> str:
    from importlib.metadata import version

    import depthweave
    from depthweave import runtime

    here = Path(__file__).parent
    commit = git(here, "rev-parse", "--short", "HEAD") or "no commit"
    changed = " with changes" if git(here, "status", "--porcelain", "--untracked-files=no") else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "opencv-python-headless"))
    return (
        f"depthweave {depthweave.__version__} ({commit}{changed}), {libraries}, Python {platform.python_version()}; "
        f"{runtime.processor_name()}, {arguments.threads} threads; {arguments.device}."
    )


def git(folder: Path, *words: str) -> str:
    """What git says; empty outside of a repository."""
    try:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


# --- in other processes


def render(root: str, count: int, seed: int, height: int, width: int) -> None:
    """Write rendered pairs as the `folder` reader takes them."""
    from depthweave.worlds import Worlds
    from depthweave.worlds.files import save_pair

    worlds = Worlds(seed=seed, height=height, width=width)
    for number in range(count):
        save_pair(worlds[number], Path(root) / f"{number:06d}")


def predict_set(
    contender: Contender, data: DataSet, run: str, limit: int | None, threads: int, device: str
) -> tuple[int | None, dict[str, str]]:
    """Match every pair into a run folder.

    Returns the peak of this process's memory (or of torch's on a cuda device), and a sentence by key of failed pairs.
    """
    import cv2
    import torch

    import depthweave
    from depthweave import runtime
    from depthweave.evaluation.predict import predict
    from depthweave.pipelines.stereo import StereoMatcher

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if contender.factory is None:
        matcher = depthweave.load(contender.name, task="stereo", device=device, **contender.options)
    else:
        matcher = StereoMatcher(Foreign(contender.factory, device), device=device)
    found = predict(matcher, data.benchmark, data.root, run, benchmark_options=data.options, limit=limit)
    if not found.done:
        raise RuntimeError(f"{contender.label} matched no pair of {data.label}: {found.failed}")
    if matcher.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(matcher.device)), found.failed
    return runtime.peak_memory_bytes(), found.failed


class Foreign:
    """Anybody's matcher, as the pipeline takes one; it calls every pixel valid."""

    def __init__(self, place: str, device: str) -> None:
        import importlib.util

        path, _, name = place.rpartition(":")
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        if spec is None or spec.loader is None or not Path(path).is_file():
            sys.exit(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.config = ForeignConfig(place)
        self.match = getattr(module, name)(device)

    def __call__(self, left: Any, right: Any, *, max_disparity: int) -> Any:
        import torch

        from depthweave.classical import Match

        with torch.inference_mode():
            found = self.match(255 * left, 255 * right, max_disparity)
        disparity = torch.as_tensor(found).float().clone()
        return Match(disparity, torch.ones_like(disparity, dtype=torch.bool), None)


@dataclass(frozen=True)
class ForeignConfig:
    place: str


def score_set(folder: str, peak: int | None, failed: dict[str, str]) -> Row:
    """The numbers of a run folder."""
    from depthweave.evaluation.predict import Run
    from depthweave.evaluation.score import score

    run = Run.read(folder)
    judged: list[tuple[int, int, int, float | None]] = []
    found = score(run, each=lambda item, prediction, truth: judged.append(judge(prediction, truth)))
    averaging = "pooled" if run.benchmark in POOLED else "per-image"
    averages = {
        (protocol.region, metric): found.averages[protocol.name][metric].value
        for protocol in found.protocols
        if protocol.averaging == averaging
        for metric in METRICS
        if metric in protocol.metrics
    }
    pixels, valid, bad = (sum(column) for column in list(zip(*judged, strict=True))[:3])
    areas = [area for *_, area in judged if area is not None]
    return Row(
        averages,
        100 * valid / pixels,
        100 * bad / max(valid, 1),
        sum(areas) / len(areas) if areas else None,
        found.median_seconds,
        peak,
        len(judged),
        failed,
    )


def judge(prediction: Any, truth: Any) -> tuple[int, int, int, float | None]:
    """Pixels with truth, the valid ones among them, the bad ones among these, and AUSE in % (None: no confidence)."""
    known = truth.valid
    error = (prediction.values - truth.disparity).abs()[known]
    valid = prediction.valid[known]
    counts = known.sum().item(), valid.sum().item(), (valid & (error > BAD_PX)).sum().item()
    if prediction.confidence is None:
        return *counts, None
    return *counts, sparsification_error(error, prediction.confidence[known])


def sparsification_error(error: Any, confidence: Any) -> float:
    """Mean over the steps of how many bad pixels the order by confidence leaves beyond those that must be left, %."""
    import torch

    # Equal confidences, as those of invalid pixels, are taken in random order.
    mixed = torch.randperm(len(error), generator=torch.Generator().manual_seed(0))
    error, confidence = error[mixed], confidence[mixed]
    bad = (error > BAD_PX).double()
    areas = []
    for order in (confidence.argsort(descending=True), error.argsort()):
        total = bad[order].cumsum(0)
        kept = [max(1, round(len(error) * (1 - step / STEPS))) for step in range(STEPS)]
        areas.append(sum(float(total[count - 1]) / count for count in kept) / STEPS)
    return 100 * (areas[0] - areas[1])


if __name__ == "__main__":
    main()
