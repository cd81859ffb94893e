"""How consistent and how fast pairwise pointmaps become one reconstruction, on synthetic pointmaps.

    python benchmarks/fusion.py accuracy --seeds 4
    python benchmarks/fusion.py size --frames 500 --size 512x384 --threads 2

`accuracy`: a room with known cameras, every frame paired with two before and two after it; each pair has a unit of its
own, independent noise per point, and an error that varies smoothly over each view: points are multiplied by
exp(a sin(6 p x + q) cos(5 r y + s)) with a = `--smooth` and p, q, r, s drawn from 0.5 to 3, x and y from 0 to 1 over
the picture. Depth is compared after one global scale (median ratio), trajectories after one similarity. Each case is
done by the streaming default and by DUSt3R's rule (`initialise`), faithful and with the symmetric scale.

With `--long-waves` the exponent is a times the sum of four cosines with at most 1.5 periods over the picture, of root
mean square 1: errors of which a good part is a wrong scale of the view.

`size`: time of the fusion alone, and peak memory of the process, over a stream of pairs that are made on the fly.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor

from depthweave import alignment, geometry, runtime
from depthweave.fusion import PointmapFusion, earlier_partners, initialise
from depthweave.types import PairPointmaps

sys.path.append(str(Path(__file__).parents[1] / "tests" / "parity"))
from pointmap_scenes import PointmapScene, make_scene

CASES = ((60, 0.01), (60, 0.05), (200, 0.03))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "size"))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--smooth", type=float, default=0.02)
    parser.add_argument("--long-waves", action="store_true", help="smooth errors that hardly vary over a view")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--size", default="512x384", help="WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{runtime.processor_name()}, {runtime.available_cores()} cores, torch {torch.__version__}\n")
    if arguments.what == "accuracy":
        print_accuracy(arguments.seeds, arguments.smooth, arguments.long_waves)
    else:
        print_size(arguments.frames, *map(int, arguments.size.split("x")))


def print_accuracy(seeds: int, smooth: float, long_waves: bool) -> None:
    print("| frames, noise | rule | AbsRel | max/min of scale | trajectory, % of its length | rotation, deg | s |")
    print("|---|---|---|---|---|---|---|")
    for frames, noise in CASES:
        rows: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(seeds):
            scene = make_scene(frames=frames, noise=noise, seed=seed)
            pairs = with_smooth_errors(scene.pairs, smooth, seed + 1000, long_waves=long_waves)
            for name, answer in (("default", default), ("reference", reference), ("symmetric", symmetric)):
                start = time.perf_counter()
                depth, poses = answer(pairs, frames)
                seconds = time.perf_counter() - start
                rows.setdefault(name, []).append((*compare(depth, poses, scene), seconds))
        for name, found in rows.items():
            error, spread, trajectory, rotation, seconds = np.mean(found, axis=0)
            print(
                f"| {frames}, {100 * noise:g} % | {name} | {error:.4f} | {spread:.3f} | {100 * trajectory:.2f} | "
                f"{rotation:.2f} | {seconds:.1f} |",
                flush=True,
            )


def with_smooth_errors(
    pairs: list[PairPointmaps], amplitude: float, seed: int, *, long_waves: bool = False
) -> list[PairPointmaps]:
    generator = np.random.Generator(np.random.PCG64(seed))
    height, width = pairs[0].confidence_first.shape
    y, x = np.arange(height)[:, None] / height, np.arange(width) / width

    def factor() -> Tensor:
        if long_waves:
            waves = [(*generator.uniform(0, 1.5, 2), generator.uniform(0, 2 * np.pi)) for _ in range(4)]
            field = sum(np.cos(2 * np.pi * (p * x + r * y) + q) for p, r, q in waves) / 2**0.5
        else:
            p, q, r, s = generator.uniform(0.5, 3, 4)
            field = np.sin(6 * p * x + q) * np.cos(5 * r * y + s)
        return torch.from_numpy(np.exp(amplitude * field).astype(np.float32))[..., None]

    first = [pair.points_first * factor() for pair in pairs]
    second = [pair.points_second * factor() for pair in pairs]
    return [
        PairPointmaps(p.first, p.second, a, b, p.confidence_first, p.confidence_second)
        for p, a, b in zip(pairs, first, second, strict=True)
    ]


def default(pairs: list[PairPointmaps], frames: int) -> tuple[Tensor, Tensor]:
    fusion = PointmapFusion()
    for pair in pairs:
        fusion.add(pair)
    views = [fusion.close(frame) for frame in range(frames)]
    placed = fusion.solve(frames)
    depth = [
        torch.where(view.confidence > 0, view.points[..., 2] * scale, torch.nan)
        for view, scale in zip(views, placed.scale, strict=True)
        if view is not None
    ]
    return torch.stack(depth), placed.world_from_camera


def reference(pairs: list[PairPointmaps], frames: int, *, faithful: bool = True) -> tuple[Tensor, Tensor]:
    found = initialise(pairs, faithful=faithful)
    return torch.where(found.valid, found.depth, torch.nan), found.world_from_camera.to(torch.float64)


def symmetric(pairs: list[PairPointmaps], frames: int) -> tuple[Tensor, Tensor]:
    return reference(pairs, frames, faithful=False)


def compare(depth: Tensor, poses: Tensor, scene: PointmapScene) -> tuple[float, float, float, float]:
    """AbsRel, max/min of the frames' scale, trajectory error (share of its length), median rotation error in deg."""
    ratio = torch.from_numpy(scene.depth) / depth.to(torch.float64)
    usable = torch.isfinite(ratio) & (ratio > 0)
    error = (ratio[usable].median() / ratio[usable] - 1).abs().mean()
    per_frame = torch.where(usable, ratio, torch.nan).flatten(1).nanmedian(dim=1).values
    truth = torch.from_numpy(scene.world_from_camera)
    centres, known = poses[:, :3, 3], truth[:, :3, 3]
    moved = alignment.fit_similarity(centres, known).apply(centres)
    distance = (moved - known).square().sum(-1).mean().sqrt()
    length = torch.linalg.vector_norm(known.diff(dim=0), dim=-1).sum()
    turned = truth[:, :3, :3] @ poses[:, :3, :3].transpose(-1, -2)
    left, _, right = torch.linalg.svd(turned.mean(0))
    cosine = ((left @ right * turned).sum((-1, -2)) - 1) / 2
    angle = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).median()
    return float(error), float(per_frame.max() / per_frame.min()), float(distance / length), float(angle)


def print_size(frames: int, width: int, height: int) -> None:
    make = stream_of_pairs(width, height)
    fusion, spent, processor, most, depth = PointmapFusion(), 0.0, 0.0, 0, 0.0
    begin = time.perf_counter()
    for frame in range(frames):
        pairs = [pair for other in earlier_partners("swin-2-noncyclic", frame) for pair in make(other, frame)]
        start, start_processor = time.perf_counter(), time.process_time()
        for pair in pairs:
            fusion.add(pair)
        most = max(most, fusion.waiting)
        done = [frame - 2] if frame >= 2 else []
        done += [frame - 1, frame] if frame == frames - 1 else []
        for closed in done:
            view = fusion.close(closed)
            depth += 0.0 if view is None else float(view.points[0, 0, 2])
        spent += time.perf_counter() - start
        processor += time.process_time() - start_processor
    start, start_processor = time.perf_counter(), time.process_time()
    placed = fusion.solve(frames)
    solving = time.perf_counter() - start
    processor += time.process_time() - start_processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{frames} frames at {width}x{height}: {placed.drift.pairs} directed pairs, {placed.drift.placed} placed")
    print(f"fusion {spent + solving:.1f} s on the clock (the solves {solving:.1f} s), {processor:.1f} s of processor")
    print(f"with the making {time.perf_counter() - begin:.1f} s; peak memory {peak:.2f} GiB, {most} pointmaps at most")


def stream_of_pairs(width: int, height: int) -> Callable[[int, int], tuple[PairPointmaps, PairPointmaps]]:
    """A maker of both directions of a pair: a wavy wall before a camera that moves sideways, cheap to compute."""
    generator = torch.Generator().manual_seed(0)
    intrinsics = torch.tensor([[1.1 * width, 0, width / 2], [0, 1.1 * width, height / 2], [0, 0, 1]])
    rays = geometry.ray_directions(intrinsics, height, width)
    noise = 0.02 * torch.randn(4, height, width, generator=generator)

    def in_camera(frame: int) -> Tensor:
        x = rays[..., 0] * 4 + 0.1 * frame
        return rays * (4 + 0.8 * torch.sin(1.7 * x) + 0.5 * torch.cos(3 * rays[..., 1]))[..., None]

    def one(first: int, second: int) -> PairPointmaps:
        scale = 0.5 + float(torch.rand((), generator=generator))
        shift = torch.tensor([0.1 * (second - first), 0.0, 0.0])
        points = (in_camera(first), in_camera(second) + shift)
        noisy = [p * (scale * (1 + noise[(first + 3 * second + k) % 4]))[..., None] for k, p in enumerate(points)]
        return PairPointmaps(first, second, *noisy, *(3 + noise[k].abs() for k in (0, 1)))

    return lambda first, second: (one(first, second), one(second, first))


if __name__ == "__main__":
    main()
