"""Does the confidence of a matcher find its errors? The tables of docs/guide/uncertainty.md.

    python benchmarks/uncertainty.py --sets middlebury-v3=MiddEval3 middlebury-2001-2006=DIR kitti-2015=DIR
    python benchmarks/uncertainty.py --models depthweave-s runs/uncertainty/network --worlds 20 --keep maps/

A model is a name of `depthweave models` or a folder, with its card's settings; a set is a benchmark of
docs/evaluation.md and its folder. Every pair is ranked in four ways:
- confidence: as the map has it, 0 where the map is not valid;
- difference: of the same matcher's maps of the left and of the right picture, as it delivers them;
- both: confidence times exp(-difference / 1 px);
- chance.

AUSE is the area under the sparsification error (20 steps, mean over pairs), of the error in px and of the share above
2 px; in brackets its share of the AUSE of chance. ECE and log loss take the confidence for the probability of an error
below 1 px of the picture; all pixels of a set together, and the mean over pairs.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METHODS = ("confidence", "difference", "both")
WORLDS_SEED = 2_000_003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["depthweave-s"], metavar="NAME")
    parser.add_argument("--sets", nargs="*", default=[], metavar="BENCHMARK=ROOT")
    parser.add_argument("--worlds", type=int, default=0, metavar="N", help="also N rendered pairs of 512x256 px")
    parser.add_argument("--limit", type=int, help="only the first so many pairs of every set")
    parser.add_argument("--keep", help="folder for the maps, which a later call takes from there")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if not arguments.sets and not arguments.worlds:
        parser.error("give --sets, --worlds or both")

    import torch

    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        sets = [tuple(text.partition("=")[::2]) for text in arguments.sets]
        if arguments.worlds:
            render(Path(temporary) / "worlds", arguments.worlds)
            sets.append(("folder", f"{temporary}/worlds"))
        place = Path(arguments.keep or temporary)
        for benchmark, root in sets:
            lines = []
            for model in arguments.models:
                lines += rows(model, benchmark, root, arguments.limit, place / Path(model).as_posix().replace("/", "_"))
            title = f"worlds, seed {WORLDS_SEED}" if root.startswith(temporary) else benchmark
            print(f"\n{title}\n")
            print(f"| model | region | of | {' | '.join(METHODS)} | chance | ECE | log loss | pairs |")
            print("|---" * (len(METHODS) + 7) + "|")
            print("\n".join(lines), flush=True)


def rows(model: str, benchmark: str, root: str, limit: int | None, place: Path) -> list[str]:
    """Markdown: a row per region and penalty."""
    from depthweave.evaluation.uncertainty import PENALTIES, judge, pooled

    judged: dict[tuple[str, str], list[Any]] = {}
    for prediction, difference, truth in matched(model, benchmark, root, limit, place):
        agreement = (-difference).exp()
        rankings = (prediction.confidence, agreement, prediction.confidence * agreement)
        for method, confidence in zip(METHODS, rankings, strict=True):
            for region, found in judge(with_confidence(prediction, confidence), truth).items():
                judged.setdefault((region, method), []).append(found)
    means = {key: pooled(found) for key, found in judged.items()}
    lines = []
    for region in dict.fromkeys(region for region, _ in means):
        own = means[region, "confidence"]
        for penalty, (unit, _) in PENALTIES.items():
            curves = [means[region, method].curves[penalty] for method in METHODS]
            cells = [f"{curve.ause:.3f} ({100 * curve.share_of_random:.0f} %)" for curve in curves]
            told = f"{own.calibration.expected_calibration_error:.3f} | {own.log_loss:.3f}"
            pairs = len(judged[region, "confidence"])
            cells += [f"{curves[0].random_ause:.3f}", told, str(pairs)]
            lines.append(f"| `{Path(model).name}` | {region} | {penalty} [{unit}] | {' | '.join(cells)} |")
    return lines


def matched(model: str, benchmark: str, root: str, limit: int | None, place: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Prediction, left-right difference in px and truth of every pair that has one."""
    import depthweave
    from depthweave.classical import left_right_difference
    from depthweave.data import open_benchmark
    from depthweave.types import DisparityMap

    matcher = depthweave.load(model, task="stereo", check=False)
    for item in [each for each in open_benchmark(benchmark, root) if each.has_truth][:limit]:
        paths = [place / benchmark / f"{item.key}-{name}.npz" for name in ("left", "right")]
        if not all(path.is_file() for path in paths):
            print(f"{model}: {item.key}", file=sys.stderr)
            paths[0].parent.mkdir(parents=True, exist_ok=True)
            pair = item.read_pair()
            for path, found in zip(paths, (matcher(pair), matcher(pair, right=True)), strict=True):
                found.save(path)
        left, right = (DisparityMap.read(path) for path in paths)
        if left.confidence is None:
            sys.exit(f"{model} says nothing of its confidence; choose a model that does, such as depthweave-s")
        yield left, left_right_difference(left.values, right.values), item.read_truth()


def with_confidence(prediction: Any, confidence: Any) -> Any:
    from dataclasses import replace

    return replace(prediction, confidence=confidence)


def render(root: Path, count: int) -> None:
    """Write rendered pairs as the `folder` reader takes them."""
    from depthweave.worlds import Worlds
    from depthweave.worlds.files import save_pair

    worlds = Worlds(seed=WORLDS_SEED, height=256, width=512)
    for number in range(count):
        save_pair(worlds[number], root / f"{number:06d}")


if __name__ == "__main__":
    main()
