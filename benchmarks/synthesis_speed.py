"""How fast pairs are synthesised from one picture and its disparity.

    python benchmarks/synthesis_speed.py --size 640x480 --threads 2
    python benchmarks/synthesis_speed.py --size 640x480 --threads 1 --workers 2
    python benchmarks/synthesis_speed.py --device cuda --runs 50

The first table is what each step takes, median over `--runs` of one rendered scene whose disparity has blurred edges
as monocular depth has: on the clock, and of processor, which other programs disturb less. The second is whole pairs, in
this process or in `--workers` of them at a time. The third is the warp against the loop over pixels that defines it
(tests/unit/splat_loop.py), on `--loop-rows` rows.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor

from depthweave import runtime
from depthweave.synthesis import SynthesisSettings, background_rim, sharpen, splat, synthesize_pair
from depthweave.synthesis.fill import Filler, make_filler
from depthweave.worlds import Worlds, render_pair

sys.path.append(str(Path(__file__).parents[1] / "tests" / "unit"))
from splat_loop import splat_by_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that make pairs, 0 = this one")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--filler", default="background")
    parser.add_argument("--loop-rows", type=int, default=48, help="rows of the loop, 0 = leave it out")
    parser.add_argument("--seed", type=int, default=5, help="of the scene")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = runtime.choose_device(arguments.device)
    image, disparity = scene(*map(int, arguments.size.split("x")), arguments.seed)
    print(f"{runtime.processor_name()}, {runtime.available_cores()} cores, torch {torch.__version__}\n")
    print_steps(image.to(device), disparity.to(device), arguments)
    print_pairs(image.to(device), disparity.to(device), arguments)
    if arguments.loop_rows:
        print_loop(image, disparity, device, arguments.loop_rows, arguments.runs)


def scene(width: int, height: int, seed: int) -> tuple[Tensor, Tensor]:
    """A rendered picture, and its disparity with edges blurred over 5 px."""
    left = render_pair(Worlds(seed=seed, height=height, width=width).scene(0)).left
    padded = torch.nn.functional.pad(left.disparity[None, None], (2, 2, 2, 2), mode="replicate")
    return left.image, torch.nn.functional.avg_pool2d(padded, 5, 1)[0, 0]


def measure(what: Callable[[], object], device: torch.device, runs: int) -> tuple[float, float]:
    """Median ms on the clock and of processor, after two runs that warm up."""
    clock, processor = [], []
    for run in range(runs + 2):
        runtime.synchronize(device)
        start, start_processor = time.perf_counter(), time.process_time()
        what()
        runtime.synchronize(device)
        if run >= 2:
            clock.append(time.perf_counter() - start)
            processor.append(time.process_time() - start_processor)
    return statistics.median(clock) * 1e3, statistics.median(processor) * 1e3


def print_steps(image: Tensor, disparity: Tensor, arguments: argparse.Namespace) -> None:
    device, runs = image.device, arguments.runs
    label = sharpen(disparity)
    rim = background_rim(label)
    filler = make_filler(arguments.filler)
    given: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def masks_only(
        image: Tensor, unknown: Tensor, wanted: Tensor, disparity: Tensor, rng: np.random.Generator
    ) -> Tensor:
        given[:] = [(image, unknown, wanted, disparity)]
        return image

    def pair(filler: Filler) -> None:
        synthesize_pair(image, disparity, filler=filler, rng=np.random.default_rng(0))

    pair(masks_only)
    steps: dict[str, Callable[[], object]] = {
        "sharpen": lambda: sharpen(disparity),
        "rim": lambda: background_rim(label),
        "splat": lambda: splat(image, label, keep=~rim),
        "all but the filling": lambda: pair(masks_only),
        f"fill ({arguments.filler})": lambda: filler(*given[0], np.random.default_rng(0)),
        "whole pair": lambda: pair(filler),
    }
    holes = float(given[0][2].float().mean())
    print(f"{arguments.size}, {device}, {torch.get_num_threads()} threads, {holes:.1%} of the pixels filled\n")
    print("| step | ms | ms of processor |\n|---|---|---|")
    for name, step in steps.items():
        clock, processor = measure(step, device, runs)
        print(f"| {name} | {clock:.1f} | {processor:.1f} |")
    print()


def print_pairs(image: Tensor, disparity: Tensor, arguments: argparse.Namespace) -> None:
    count, start = arguments.runs, time.perf_counter()
    if arguments.workers:
        jobs = [count] * arguments.workers
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers) as pool:
            pool.starmap(make_pairs, [(image, disparity, arguments.filler, 2, arguments.threads) for _ in jobs])
            start = time.perf_counter()
            seconds = pool.starmap(
                make_pairs, [(image, disparity, arguments.filler, number, arguments.threads) for number in jobs], 1
            )
        made = sum(jobs)
    else:
        seconds, made = [make_pairs(image, disparity, arguments.filler, count, arguments.threads)], count
    elapsed = time.perf_counter() - start
    print("| device | workers | threads | pairs | pairs/s | pairs per second of processor |\n|---|---|---|---|---|---|")
    print(
        f"| {image.device} | {arguments.workers} | {arguments.threads} | {made} | {made / elapsed:.1f} | "
        f"{made / sum(seconds):.1f} |\n"
    )


def make_pairs(image: Tensor, disparity: Tensor, filler_name: str, count: int, threads: int) -> float:
    """Seconds of processor for so many pairs."""
    torch.set_num_threads(threads)
    filler, settings = make_filler(filler_name), SynthesisSettings(filler=filler_name)
    start = time.process_time()
    for number in range(count):
        synthesize_pair(image, disparity, settings=settings, filler=filler, rng=np.random.default_rng(number))
    runtime.synchronize(image.device)
    return time.process_time() - start


def print_loop(image: Tensor, disparity: Tensor, device: torch.device, rows: int, runs: int) -> None:
    image, disparity = image[:, :rows].contiguous(), disparity[:rows].contiguous()
    start = time.process_time()
    splat_by_loop(image, disparity)
    loop = (time.process_time() - start) * 1e3
    moved, moved_disparity = image.to(device), disparity.to(device)
    _, fast = measure(lambda: splat(moved, moved_disparity, interpolation="linear"), device, runs)
    print(f"| warp of {rows} rows | ms of processor |\n|---|---|\n| loop over pixels | {loop:.0f} |")
    print(f"| splat, linear | {fast:.1f} |\n\nThe loop takes {loop / fast:.0f} times as long.")


if __name__ == "__main__":
    main()
