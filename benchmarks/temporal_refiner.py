"""What the temporal refiner does to a first stage's errors, and how long it takes.

    python benchmarks/temporal_refiner.py bands
    python benchmarks/temporal_refiner.py speed --size 640x480 --threads 2

`bands`: the three clips of `tests/scenes/test_temporal_refiner.py` (128x96, 40 frames) with 3 % jitter of scale per
frame, 8 % smooth noise on moving things, a drift of +-12 % and a lasting error of the scene. F0 to F10 of AbsRel
(StereoDiff, section 5) of the first stage and after the refiner, static and dynamic regions apart; first with depth
that is too far nearly everywhere (AbsRel is then linear in the errors), then with errors on both sides.

`speed`: processor time per frame and peak memory of the process over a clip of smooth noise that wanders.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import torch
from torch import Tensor

from depthweave import Clip, images, runtime
from depthweave.pipelines.temporal_refiner import TemporalRefiner
from depthweave.types import DepthMap

sys.path.append(str(Path(__file__).parents[1] / "tests" / "scenes"))
from test_temporal_refiner import CASES, Case, disturb, refine, render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bands", "speed"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    print(f"{runtime.processor_name()}, {runtime.available_cores()} cores, torch {torch.__version__}\n")
    if arguments.what == "bands":
        print_bands(arguments.seeds)
    else:
        print_speed(arguments.frames, *map(int, arguments.size.split("x")))


def print_bands(seeds: int) -> None:
    print("| errors | clip | region | stage | F0 | F1 | F2 | " + " | ".join(f"F{b}" for b in range(3, 11)) + " |")
    print("|" + "---|" * 15)
    for one_sided in (True, False):
        for name in CASES:
            truth = render(name)
            moving = truth.left.things >= 3
            rows: dict[tuple[str, str], list[Tensor]] = {}
            for seed in range(1, seeds + 1):
                stage1 = disturb(truth, moving, seed, one_sided=one_sided)
                with tempfile.TemporaryDirectory() as work:
                    refined = refine(list(truth.left.image), stage1, Path(work))
                case = Case(truth, stage1, refined, moving)
                for region, where in (("static", ~moving), ("dynamic", moving)):
                    rows.setdefault((region, "1"), []).append(case.bands(stage1, where))
                    rows.setdefault((region, "2"), []).append(case.bands(refined, where))
            for (region, stage), found in rows.items():
                mean = torch.stack(found).mean(0)
                sides = "one-sided" if one_sided else "two-sided"
                print(f"| {sides} | {name} | {region} | {stage} | " + " | ".join(f"{v:.4f}" for v in mean) + " |")
                if stage == "2":
                    change = (mean / torch.stack(rows[region, "1"]).mean(0) - 1).nan_to_num(0)
                    print("| | | | change, % | " + " | ".join(f"{100 * v:.0f}" for v in change) + " |", flush=True)


class Wandering(Sequence[Tensor]):
    """Pictures of smooth noise that moves by 3 px per frame."""

    def __init__(self, frames: int, width: int, height: int) -> None:
        generator = torch.Generator().manual_seed(0)
        rough = torch.rand(1, 3, height + 8, width + 3 * frames + 8, generator=generator)
        smooth = images.gaussian_blur(rough, 2.0)[0]
        self.band = (smooth - smooth.min()) / (smooth.max() - smooth.min())
        self.frames, self.width, self.height = frames, width, height

    def __len__(self) -> int:
        return self.frames

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < self.frames:
            raise IndexError(index)
        return self.band[:, : self.height, 3 * index : 3 * index + self.width].contiguous()


class Maps(Sequence[DepthMap]):
    """Depth from 2 to 4 with a scale of its own per frame."""

    def __init__(self, frames: int, width: int, height: int) -> None:
        self.frames = frames
        self.plane = torch.linspace(2, 4, height)[:, None].expand(height, width)

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[DepthMap]:
        return (self[i] for i in range(self.frames))

    @overload
    def __getitem__(self, index: int) -> DepthMap: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[DepthMap]: ...

    def __getitem__(self, index: int | slice) -> DepthMap | Sequence[DepthMap]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        values = self.plane * (1.02 if index % 2 else 0.98)
        return DepthMap(values, torch.ones_like(values, dtype=torch.bool))


def print_speed(frames: int, width: int, height: int) -> None:
    clip, depth = Clip(Wandering(frames, width, height)), Maps(frames, width, height)
    with tempfile.TemporaryDirectory() as work:
        wall, processor = time.perf_counter(), time.process_time()
        for _ in TemporalRefiner().refine(clip, depth, Path(work)):
            pass
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("| clip | processor, ms per frame | wall, ms per frame | peak memory, MB |")
    print("|---|---|---|---|")
    print(f"| {frames} x {width}x{height} | {1e3 * processor / frames:.0f} | {1e3 * wall / frames:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
