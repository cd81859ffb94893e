"""Fine-tuning on sparse truth with and without a monocular teacher, measured against dense truth.

    python benchmarks/distillation.py --middlebury DIR --teacher MAPS --steps 1000 --seeds 0 1 2
    python benchmarks/distillation.py --middlebury DIR --teacher MAPS --kitti DIR --variants crops crops+gradient metric

Every other pair is for training, the others are for the test. The dense truth of Middlebury 2001 to 2006 is thinned as
a LiDAR would see it: rows at equal distances in the lower two thirds of the picture, and on them points at random, 5 %
of all pixels. KITTI 2015, if it is given, keeps its own sparse truth. A run without a teacher and one for each variant
of `[distill]` start from the same weights and see the same crops in the same colours, once per seed.

Maps of the teacher are named by the keys of the pairs (docs/training.md): Art.npz, 000001_10.pfm, ... Without maps for
KITTI its pairs are learnt from their truth alone.

The table has means over the test pairs, then mean and standard deviation over the seeds: bad-2.0 and D1 in % of all
pixels with truth, and error in px and bad-2.0 in % of those within 3 px of an edge, where the truth of neighbours
differs by more than 2 px. KITTI has too few points to tell its edges.
"""

import argparse
import platform
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

import depthweave
from depthweave import images, io, runtime
from depthweave.data import StereoItem, open_benchmark
from depthweave.losses import masked_mean, near_edges
from depthweave.metrics import disparity_metrics
from depthweave.training.distill import DistillRecipe
from depthweave.training.loop import train
from depthweave.training.recipe import TrainingRecipe

SHARE = 0.05
UPPER = 1 / 3
ROWS = 4
EDGE_PX = 2.0
NEAR_PX = 3
PLAIN = "sparse truth"
COLUMNS = ("bad-2.0 [%]", "D1 [%]", "edge error [px]", "edge bad-2.0 [%]")


@dataclass(frozen=True)
class DataSet:
    """A benchmark, shared out; `teacher` is a folder of maps or empty."""

    name: str
    teacher: str
    is_dense: bool
    training: list[StereoItem]
    test: list[StereoItem]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--middlebury", help="folder of the scenes of 2001 to 2006")
    parser.add_argument("--teacher", default="", metavar="MAPS", help="of Middlebury")
    parser.add_argument("--kitti", help="folder of KITTI 2015")
    parser.add_argument("--teacher-kitti", default="", metavar="MAPS")
    parser.add_argument("--variants", nargs="+", default=["crops"], help="of [distill]; a+b adds two up")
    parser.add_argument("--distribution", type=float, default=0.1, help="weight")
    parser.add_argument("--edge", type=float, default=0.1, help="weight")
    parser.add_argument("--start", default="depthweave-s")
    parser.add_argument("--family", default="compact")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crop", nargs=2, type=int, default=[256, 384], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--max-disparity", type=int, default=192)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", help="folder for the runs, which go on where they were stopped; else a temporary one")
    parser.add_argument("--limit", type=int, help="only the first so many pairs of every set")
    arguments = parser.parse_args()
    if not arguments.middlebury and not arguments.kitti:
        parser.error("give --middlebury, --kitti or both")
    if not arguments.teacher and not arguments.teacher_kitti:
        parser.error("give --teacher or --teacher-kitti, a folder of maps")
    sets = []
    if arguments.middlebury:
        items = open_benchmark("middlebury-2001-2006", arguments.middlebury)
        sets.append(shared_out("Middlebury 2001 to 2006", arguments.teacher, True, items[: arguments.limit]))
    if arguments.kitti:
        items = open_benchmark("kitti-2015", arguments.kitti)
        sets.append(shared_out("KITTI 2015", arguments.teacher_kitti, False, items[: arguments.limit]))
    print(f"`{shlex.join(['python', *sys.argv])}`\n")
    print(
        f"depthweave {depthweave.__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
        f"{runtime.processor_name()}; {len(arguments.seeds)} seeds of {arguments.steps} steps."
    )
    with tempfile.TemporaryDirectory() as temporary:
        report(arguments, sets, Path(arguments.work or temporary))


def shared_out(name: str, teacher: str, is_dense: bool, items: Sequence[StereoItem]) -> DataSet:
    known = [item for item in items if item.has_truth]
    return DataSet(name, teacher, is_dense, known[::2], known[1::2])


def report(arguments: argparse.Namespace, sets: list[DataSet], work: Path) -> None:
    """Train everything, and print a table per set."""
    for data in sets:
        write_training_pairs(data, work / "pairs" / data.name)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for data in sets:
        found[data.name, "start"] = [measure(arguments.start, data, arguments.device)]
    for seed in arguments.seeds:
        for variant in (PLAIN, *arguments.variants):
            print(f"seed {seed}, {variant}", file=sys.stderr)
            recipe = recipe_for(arguments, sets, work / "pairs", seed, variant)
            folder = train(recipe, work / "runs" / f"{variant}-{seed}".replace(" ", "-"), device=arguments.device)
            for data in sets:
                found.setdefault((data.name, variant), []).append(measure(str(folder), data, arguments.device))
    for data in sets:
        print(f"\n{data.name}, {len(data.training)} pairs for training, {len(data.test)} for the test:\n")
        print(f"| fine-tuned on | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
        for (name, variant), runs in found.items():
            if name == data.name:
                label = {"start": "nothing", PLAIN: PLAIN}.get(variant, f"{PLAIN}, teacher ({variant})")
                print(f"| {label} | {' | '.join(cell(values) for values in zip(*runs, strict=True))} |")


def recipe_for(
    arguments: argparse.Namespace, sets: list[DataSet], pairs: Path, seed: int, variant: str
) -> TrainingRecipe:
    distill = DistillRecipe()
    if variant != PLAIN:
        names = tuple(variant.split("+"))
        weights = {"distribution": arguments.distribution, "edge": arguments.edge}
        distill = DistillRecipe(**weights, variant=names)  # type: ignore[arg-type]
    return TrainingRecipe.from_tables(
        {
            "model": {"family": arguments.family, "start": arguments.start},
            "data": {
                "crop": arguments.crop,
                "batch": arguments.batch,
                "workers": 0,
                "sources": [
                    {"kind": "folder", "path": str(pairs / data.name), "sparse": True, "teacher": data.teacher}
                    for data in sets
                ],
            },
            "augment": {"zoom_range": [-0.1, 0.3], "hue_deg": 30, "flip": 0},
            "loss": {"max_disparity": arguments.max_disparity},
            "distill": asdict(distill),
            "optimizer": {"lr": arguments.lr},
            "schedule": {"kind": "one-cycle"},
            "run": {
                "steps": arguments.steps,
                "seed": seed,
                "dtype": "float32",
                "ema": 0.99,
                "log_every": 20,
                "checkpoint_every": 200,
                "sheet_every": 200,
                "keep": 1,
            },
        }
    )


def write_training_pairs(data: DataSet, root: Path) -> None:
    """The pairs for training as the `folder` reader takes them; dense truth is thinned."""
    for number, item in enumerate(data.training):
        pair, truth = item.read_pair(), item.read_truth()
        for side, image in (("left", pair.left), ("right", pair.right)):
            io.write_image(root / side / f"{item.key}.png", images.image_from_tensor(image))
        known = truth.valid
        if data.is_dense:
            known = known & scanned(known.shape[0], known.shape[1], np.random.default_rng(number))
        io.write_pfm(root / "disparity" / f"{item.key}.pfm", truth.disparity.float().numpy(), known.numpy())


def scanned(height: int, width: int, rng: np.random.Generator) -> Bool[Tensor, "h w"]:
    """What a LiDAR sees: every fourth row below the upper third, and on them points at random, 5 % of the pixels."""
    rows = torch.arange(round(height * UPPER), height, ROWS)
    hit = torch.zeros(height, width, dtype=torch.bool)
    hit[rows] = torch.from_numpy(rng.random((len(rows), width)) < SHARE * height / len(rows))
    return hit


def measure(model: str, data: DataSet, device: str) -> list[float]:
    """Means over the test pairs, in the order of `COLUMNS`; NaN where nothing tells."""
    matcher = depthweave.load(model, task="stereo", device=device)
    rows = []
    for item in data.test:
        truth = item.read_truth()
        found = matcher(item.read_pair()).values.cpu()
        whole = disparity_metrics(found, truth.disparity, truth.valid, ("bad-2.0", "d1"))
        row = [whole["bad-2.0"].value, whole["d1"].value]
        if data.is_dense:
            error = (found - truth.disparity).abs()
            region = truth.valid & near_edges(truth.disparity, truth.valid, EDGE_PX, NEAR_PX)
            row += [float(masked_mean(error, region)), 100 * float(masked_mean((error > EDGE_PX).float(), region))]
        rows.append(row)
    means = [statistics.fmean(values) for values in zip(*rows, strict=True)]
    return means + [float("nan")] * (len(COLUMNS) - len(means))


def cell(values: Iterable[float]) -> str:
    """Mean and standard deviation over seeds."""
    numbers = list(values)
    if any(np.isnan(numbers)):
        return ""
    spread = f" ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.3f}{spread}"


if __name__ == "__main__":
    main()
