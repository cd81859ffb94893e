"""The classic matchers in their small sizes, trained on worlds in minutes: the table of docs/benchmarks/classic.md.

    OMP_NUM_THREADS=1 python benchmarks/classic.py --work runs/classic --worlds 40 --middlebury MiddEval3

Each recipe is trained in a folder of its own under --work (one that was trained before is only measured), all on the
same rendered pairs, which --pairs keeps. All of them and the --others are then measured on worlds of a seed and pairs
that no training uses, of the size of the training's, and on the Middlebury v3 training set. On both every matcher gets
the same search range, 96 px; those that search as far as their correlation reaches ignore it.

Errors are those of visible pixels of dense maps (fillers scored), means of the pictures. The time is that of the
processor, all threads together.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

import depthweave as dw
from depthweave import runtime
from depthweave.data import open_benchmark
from depthweave.errors import DepthweaveWarning
from depthweave.metrics import disparity_metrics
from depthweave.models.pretrained import WEIGHTS_NAME, read_checkpoint
from depthweave.training.loop import NETWORK_FOLDER, train
from depthweave.training.recipe import TrainingRecipe
from depthweave.worlds import Worlds

RECIPES = ("unet-small", "dispnet-small", "edge-small", "anynet-small", "psmnet-small")
OTHERS = ("sgm", "depthweave-s")
METRICS = ("epe", "bad-2.0")
REACH_PX = 96
WORLDS_SEED = 2_000_003
TIME_NAME = "processor_seconds"
COLUMNS = (
    "matcher",
    "parameters",
    "steps of pairs",
    "training [min]",
    "worlds: EPE [px] / bad-2.0 [%]",
    "Middlebury v3: EPE [px] / bad-2.0 [%]",
)

Sample = tuple[dw.StereoPair, Tensor, Tensor]
"""A pair, its true disparity, and where to measure."""
Answer = Callable[[dw.StereoPair], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--pairs", type=Path, help="folder of the rendered pairs; else WORK/pairs")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--others", nargs="*", default=list(OTHERS), help="models without training")
    parser.add_argument("--worlds", type=int, default=40, help="held-out pairs")
    parser.add_argument("--middlebury", help="folder of the Middlebury v3 training set")
    parser.add_argument("--steps", type=int, help="of every recipe, instead of its own")
    arguments = parser.parse_args()
    trained = {name: trained_network(name, arguments) for name in arguments.recipes}
    print(f"`{shlex.join(['python', *sys.argv])}`\n")
    print(
        f"depthweave {dw.__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
        f"{runtime.processor_name()}.\n"
    )
    sets = [list(worlds(arguments.worlds))]
    if arguments.middlebury:
        sets.append(list(middlebury(arguments.middlebury)))
    columns = COLUMNS[: 4 + len(sets)]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, folder in trained.items():
        recipe = recipe_of(name, arguments)
        count = sum(tensor.numel() for tensor in learnt(folder))
        minutes = float((folder.parent / TIME_NAME).read_text(encoding="ascii")) / 60
        facts = (f"{count:,}", f"{recipe.run.steps} of {recipe.data.batch}", f"{minutes:.1f}")
        print_row(name, facts, sets, matched_by(folder))
    for name in arguments.others:
        print_row(f"`{name}`", ("", "", ""), sets, matched_by(name))
    cells = [measured(samples, partial(constant, median_of(samples))) for samples in sets]
    print(f"| the median of the truth everywhere | | | | {' | '.join(cells)} |")


def recipe_of(name: str, arguments: argparse.Namespace) -> TrainingRecipe:
    """The shipped recipe, with the pairs and the steps that were asked for."""
    changes = [f"data.sources.0.path={arguments.pairs or arguments.work / 'pairs'}"]
    if arguments.steps:
        changes.append(f"run.steps={arguments.steps}")
    return TrainingRecipe.read(str(files("depthweave") / "recipes" / f"{name}.toml"), changes)


def trained_network(name: str, arguments: argparse.Namespace) -> Path:
    """Train a recipe where that has not been done, and keep account of the processor's time."""
    folder = arguments.work / name
    if not (folder / NETWORK_FOLDER).is_dir():
        print(f"training {name}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        clock, before = folder / TIME_NAME, time.process_time()
        spent = float(clock.read_text(encoding="ascii")) if clock.is_file() else 0.0
        try:
            train(recipe_of(name, arguments), folder, device="cpu")
        finally:  # a run that was stopped goes on next time
            clock.write_text(f"{spent + time.process_time() - before:.1f}\n", encoding="ascii")
    return Path(folder / NETWORK_FOLDER)


def learnt(folder: Path) -> list[Tensor]:
    """The network's weights, without running statistics."""
    found = read_checkpoint(folder / WEIGHTS_NAME)
    return [tensor for name, tensor in found.items() if "running_" not in name and "num_batches" not in name]


def matched_by(model: str | Path) -> Answer:
    """A matcher's disparity (h, w) in px."""
    matcher = dw.load(model, device="cpu")

    def answer(pair: dw.StereoPair) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DepthweaveWarning)  # that the range changes nothing is said above
            values: Tensor = matcher(pair, max_disparity=min(REACH_PX, pair.width)).values
        return values

    return answer


def median_of(samples: Sequence[Sample]) -> Tensor:
    return torch.cat([truth[region] for _, truth, region in samples]).median()


def constant(value: Tensor, pair: dw.StereoPair) -> Tensor:
    """What a matcher has to beat."""
    return value.expand(pair.height, pair.width)


def print_row(label: str, facts: Sequence[str], sets: Sequence[Sequence[Sample]], answer: Answer) -> None:
    print(f"| {' | '.join((label, *facts, *(measured(samples, answer) for samples in sets)))} |", flush=True)


def measured(samples: Sequence[Sample], answer: Answer) -> str:
    """Means of the pictures."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for pair, truth, region in samples:
        for name, measurement in disparity_metrics(answer(pair), truth, region, METRICS).items():
            found[name].append(measurement.value)
    return " / ".join(f"{statistics.fmean(values):.2f}" for values in found.values())


def worlds(count: int) -> Iterator[Sample]:
    """Held-out pairs of the training's size."""
    data = Worlds(seed=WORLDS_SEED, height=192, width=320)
    for rendered in (data[number] for number in range(count)):
        yield rendered.pair, rendered.left.disparity, rendered.visible


def middlebury(root: str) -> Iterator[Sample]:
    """Pairs of the training set with truth."""
    for item in open_benchmark("middlebury-v3", root):
        if item.has_truth:
            truth = item.read_truth()
            yield item.read_pair(), truth.disparity, truth.regions["visible"]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
