"""What learning without truth brings, measured with truth.

    python benchmarks/self_supervised.py scratch --work runs/self-supervised
    python benchmarks/self_supervised.py compare depthweave-s runs/mine/network \\
        --sets middlebury-v3=DIR middlebury-2001-2006=DIR kitti-2015=DIR

`scratch` trains the recipe self-supervised-scratch on rendered pairs whose truth takes no part, and measures the
network as it was drawn and as it has become on pairs of a seed that training does not use, at the size of the training
pairs, on pixels that both cameras see.

`compare` measures two matchers on benchmarks of docs/evaluation.md, both with the settings of the first one's card, and
counts the pairs on which the second one is better or worse. Regions and means are those of benchmarks/accuracy.py:
visible pixels of middlebury-v3 and of rendered pairs, all pixels with truth of the others; means of the pictures, of
KITTI all pixels together.
"""

import argparse
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import depthweave
from depthweave import runtime
from depthweave.data import StereoItem, open_benchmark
from depthweave.metrics import Measurement, disparity_metrics
from depthweave.models.registry import find_model
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.training.loop import train
from depthweave.training.recipe import TrainingRecipe
from depthweave.training.start import find_recipe, starting_network
from depthweave.worlds import Worlds
from depthweave.worlds.files import save_pair

HELD_OUT_SEED = 2_000_003
METRICS = ("bad-1.0", "bad-2.0", "d1", "epe")
POOLED = ("kitti-2015",)
VISIBLE = ("middlebury-v3", "folder")
BETTER = 0.02
"""Change of bad-2.0, in percent of the pixels, that counts as better or worse."""


@dataclass(frozen=True)
class Row:
    """Metrics of one pair."""

    key: str
    found: dict[str, Measurement]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    commands = parser.add_subparsers(dest="command", required=True)
    scratch = commands.add_parser("scratch", help="from nothing on rendered pairs")
    scratch.add_argument("--work", help="folder of the pairs and the run; else a temporary one")
    scratch.add_argument("--pairs", type=int, default=24, help="held-out pairs")
    scratch.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    compare = commands.add_parser("compare", help="two matchers on benchmarks")
    compare.add_argument("models", nargs=2, help="a name of `depthweave models` or a folder; the first has the card")
    compare.add_argument("--sets", nargs="+", required=True, metavar="BENCHMARK=ROOT")
    arguments = parser.parse_args()
    print(f"`{shlex.join(['python', *sys.argv])}`\n")
    print(
        f"depthweave {depthweave.__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
        f"{runtime.processor_name()}.\n"
    )
    if arguments.command == "compare":
        report_sets(arguments.models, arguments.sets, arguments.device)
        return
    with tempfile.TemporaryDirectory() as temporary:
        report_scratch(Path(arguments.work or temporary), arguments.pairs, arguments.set, arguments.device)


def report_scratch(work: Path, count: int, changes: list[str], device: str) -> None:
    """Train, and print errors before and after."""
    recipe = TrainingRecipe.read(find_recipe("self-supervised-scratch"))
    (source,) = recipe.data.sources
    recipe = replace(recipe, data=replace(recipe.data, sources=(replace(source, path=str(work / "worlds")),)))
    recipe = recipe.changed(changes)
    held_out = work / "held-out"
    worlds = Worlds(seed=HELD_OUT_SEED, height=source.size[0], width=source.size[1])
    for number in range(count):
        if not (held_out / f"{number:03d}").is_dir():
            save_pair(worlds[number], held_out / f"{number:03d}")
    items = open_benchmark("folder", held_out)
    runtime.seed_everything(recipe.run.seed)
    before = StereoMatcher(starting_network(recipe.model), device=device, max_disparity=recipe.loss.max_disparity)
    rows = {"first weights": measure(before, items, True)}
    folder = train(recipe, work / "run", device=device)
    after = depthweave.load(str(folder), task="stereo", device=device, max_disparity=recipe.loss.max_disparity)
    rows[f"{recipe.run.steps} steps without truth"] = measure(after, items, True)
    print(f"| network | {' | '.join(METRICS)} |\n|{'---|' * (len(METRICS) + 1)}")
    for name, found in rows.items():
        print(f"| {name} | {' | '.join(f'{mean(found, metric, False):.2f}' for metric in METRICS)} |")
    first, last = (mean(found, "epe", False) for found in rows.values())
    print(f"\nEPE falls by {100 * (1 - last / first):.1f} % on {len(items)} held-out pairs.")


def report_sets(models: list[str], sets: list[str], device: str) -> None:
    """Print both matchers on every set."""
    settings = dict(find_model(models[0]).settings)
    matchers = [depthweave.load(name, task="stereo", device=device, **settings) for name in models]
    print(f"| set | pairs | {' | '.join(METRICS)} | better / worse |\n|{'---|' * (len(METRICS) + 3)}")
    for text in sets:
        name, _, root = text.partition("=")
        items = [item for item in open_benchmark(name, root) if item.has_truth]
        first, second = (measure(matcher, items, name in VISIBLE) for matcher in matchers)
        cells = [
            f"{mean(first, metric, name in POOLED):.3f} -> {mean(second, metric, name in POOLED):.3f}"
            for metric in METRICS
        ]
        changes = [b.found["bad-2.0"].value - a.found["bad-2.0"].value for a, b in zip(first, second, strict=True)]
        counts = f"{sum(c < -BETTER for c in changes)} / {sum(c > BETTER for c in changes)}"
        print(f"| {name} | {len(items)} | {' | '.join(cells)} | {counts} |", flush=True)


def measure(matcher: StereoMatcher, items: Iterable[StereoItem], visible: bool) -> list[Row]:
    """Dense maps, fillers scored."""
    rows = []
    for item in items:
        truth = item.read_truth()
        region = truth.regions.get("visible", truth.valid) if visible else truth.valid
        found = matcher(item.read_pair()).values.cpu()
        rows.append(Row(item.key, disparity_metrics(found, truth.disparity, region, METRICS)))
    return rows


def mean(rows: list[Row], metric: str, pooled: bool) -> float:
    """Of the pictures, or of all their pixels together."""
    found = [row.found[metric] for row in rows if row.found[metric].count]
    weights = [each.count if pooled else 1 for each in found]
    return sum(weight * each.value for weight, each in zip(weights, found, strict=True)) / sum(weights)


if __name__ == "__main__":
    main()
