"""Depth of single pictures learnt without truth: the tables of docs/guide/self_supervision.md.

    depthweave train monodepth2 -o runs/monodepth2
    python benchmarks/self_supervised_mono.py runs/monodepth2 runs/monodepth --clips worlds/heldout

A run is a folder of `depthweave train` or a network's folder. Clips of worlds of another seed than the training's are
rendered to --clips where they are missing. Of each clip the middle frame is measured: AbsRel and delta < 1.25 below
80 m after the median of the depth was scaled to the truth's, as Eigen's split has it, mean over the pictures; "own
scale" is AbsRel without it, of networks that know metres. The plane is a constant depth, which the same scaling puts at
the median of the truth. Of networks with a pose partner also the turn and the direction of the camera's motion from the
frame before, against the truth. --sheet FILE.png writes pictures, truth, and what the first run says.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

import depthweave as dw
from depthweave import geometry, images, io
from depthweave.metrics import Measurement, abs_rel, delta
from depthweave.models.mono.encoder_decoder import MonoUnet
from depthweave.training.clip_sources import CLIPS, ClipSource, folder_clips, render_clips

FARTHEST_M = 80.0
SHEET_ROWS = 6


def main() -> None:
    """Measure every run on the same clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2, help="of the clips; the recipes train on 1")
    parser.add_argument("--recipe", default="worlds-driving")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    size = (96, 160)
    render_clips(options.recipe, options.clips, {"rendered": 3}, count=options.count, seed=options.seed, size=size)
    source = ClipSource(CLIPS, options.clips, count=options.count)
    samples = [source.raw(number) for number in range(len(source))]
    pictures = [images.tensor_from_image(sample.frames[1].numpy()) for sample in samples]
    truths = [sample.depth for sample in samples if sample.depth is not None]
    rows = [
        ("plane", scores([torch.ones_like(truth) for truth in truths], truths), "", ""),
        ("median of each row", scores(row_medians(truths), truths), "", ""),
    ]
    for run in options.runs:
        folder = run / "network" if (run / "network").is_dir() else run
        estimator = dw.load(folder, task="mono", device="cpu")
        found = [estimator(picture).values for picture in pictures]
        metric = estimator.estimating.metric
        own = f"{mean([measured(one, truth, scaled=False)[0] for one, truth in zip(found, truths, strict=True)]):.3f}"
        network = MonoUnet.from_pretrained(folder)
        poses = pose_errors(network, options.clips, samples) if network.config.pose else ""
        rows.append((run.name, scores(found, truths), own if metric else "", poses))
        if options.sheet is not None and run is options.runs[0]:
            write_sheet(options.sheet, pictures, truths, found)
    plane = rows[0][1][0]
    print("| run | AbsRel | below the plane | delta < 1.25 | own scale | turn, direction of motion (deg, median) |")
    print("|---|---|---|---|---|---|")
    for name, (error, near), own, poses in rows:
        print(f"| {name} | {error:.3f} | {100 * (1 - error / plane):.0f} % | {near:.2f} | {own} | {poses} |")


def measured(depth: Tensor, truth: Tensor, *, scaled: bool = True) -> tuple[Measurement, Measurement]:
    """AbsRel and delta below 1.25 of one picture."""
    known = truth.isfinite() & (truth < FARTHEST_M)
    factor = truth[known].median() / depth[known].median() if scaled else 1.0
    filled = torch.where(known, truth, 1.0)
    return abs_rel(factor * depth, filled, known), delta(factor * depth, filled, known)


def row_medians(truths: list[Tensor]) -> list[Tensor]:
    """What the place in the picture alone tells: the median of the true depth in each row, over all pictures."""
    known = torch.stack([torch.where(truth.isfinite() & (truth < FARTHEST_M), truth, torch.nan) for truth in truths])
    medians = known.transpose(0, 1).flatten(1).nanmedian(1).values
    medians = torch.where(medians.isfinite(), medians, FARTHEST_M)
    return [medians[:, None].expand_as(truth).contiguous() for truth in truths]


def scores(found: list[Tensor], truths: list[Tensor]) -> tuple[float, float]:
    """Means over the pictures."""
    both = [measured(one, truth) for one, truth in zip(found, truths, strict=True)]
    return mean([error for error, _ in both]), mean([near for _, near in both])


def mean(values: list[Measurement]) -> float:
    """Of the pictures."""
    return sum(each.value for each in values) / len(values)


def pose_errors(network: MonoUnet, clips: Path, samples: list) -> str:
    """Median angles, in degrees, between the motion that the network sees and the true one."""
    size, turns, directions = network.config.size, [], []
    for (item, _), sample in zip(folder_clips(clips), samples, strict=False):
        _, poses = io.read_trajectory(clips / item.key / "poses.txt")
        world_from_camera = torch.from_numpy(poses).float()
        true = geometry.relative_pose(world_from_camera[0], world_from_camera[1])
        pair = [images.resize_image(sample.frames[n].permute(2, 0, 1)[None].float(), *size) for n in (0, 1)]
        with torch.no_grad():
            found = network.pose(*pair)[0]
        turn = found[:3, :3].T @ true[:3, :3]
        turns.append(math.degrees(math.acos(min(1.0, max(-1.0, (float(turn.trace()) - 1) / 2)))))
        cosine = torch.nn.functional.cosine_similarity(found[:3, 3], true[:3, 3], dim=0)
        directions.append(math.degrees(math.acos(min(1.0, max(-1.0, float(cosine))))))
    return f"{sorted(turns)[len(turns) // 2]:.2f}, {sorted(directions)[len(directions) // 2]:.1f}"


def write_sheet(path: Path, pictures: list[Tensor], truths: list[Tensor], found: list[Tensor]) -> None:
    """Picture, truth and answer of the first clips, two to a row."""
    cells = []
    for picture, truth, depth in list(zip(pictures, truths, found, strict=True))[:SHEET_ROWS]:
        known = truth.isfinite() & (truth < FARTHEST_M)
        filled = torch.where(known, truth, 1.0)
        scaled = depth * (truth[known].median() / depth[known].median())
        limits = images.color_range(1 / filled, known)
        maps = (
            images.colorize(1 / filled, known, limits),
            images.colorize(1 / scaled, torch.ones_like(known), limits),
        )
        cells.append(torch.cat([picture, *(images.tensor_from_image(colors) for colors in maps)], -1))
    rows = [torch.cat(cells[first : first + 2], -1) for first in range(0, len(cells), 2)]
    io.write_image(path, images.image_from_tensor(torch.cat(rows, -2)))


if __name__ == "__main__":
    main()
