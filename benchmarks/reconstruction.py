"""Reconstruction of real clips against a sensor's depth and poses: prints a table per clip.

    python benchmarks/reconstruction.py --sevenscenes FOLDER --kitti FOLDER [--model geometric] [--guess-camera]

FOLDER of 7-Scenes: frame-000000.color.jpg, .depth.png (mm), .pose.txt. FOLDER of KITTI: image_02/*.png,
lidar_depth/*.png (m x 256), P_rect.txt. Depth is compared after ONE scale for the clip (median ratio), poses after one
similarity.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import depthweave as dw
from depthweave import io, runtime
from depthweave.alignment import fit_similarity
from depthweave.geometry import intrinsics_matrix
from depthweave.types import Camera

CONFIDENCES = (0.0, 0.5, 0.7, 0.8, 0.9)


def sevenscenes(folder: Path) -> tuple[list[Path], list[np.ndarray], Camera, np.ndarray | None]:
    colours = sorted(folder.glob("*.color.*"), key=io.natural_key)
    stems = [folder / path.name.partition(".")[0] for path in colours]
    raw = [io.read_image(stem.with_suffix(".depth.png")) for stem in stems]
    depth = [np.where((values == 0) | (values == 65535), 0, values / 1000.0) for values in raw]
    poses = np.stack([np.loadtxt(stem.with_suffix(".pose.txt")) for stem in stems])
    height, width = depth[0].shape
    return colours, depth, Camera(intrinsics_matrix(585.0, 585.0, 320.0, 240.0), width, height), poses


def kitti(folder: Path) -> tuple[list[Path], list[np.ndarray], Camera, np.ndarray | None]:
    colours = sorted((folder / "image_02").glob("*.png"), key=io.natural_key)
    depth = [io.read_image(folder / "lidar_depth" / path.name) / 256.0 for path in colours]
    k = np.loadtxt(folder / "P_rect.txt")
    height, width = depth[0].shape
    camera = Camera(intrinsics_matrix(k[0, 0], k[1, 1], k[0, 2], k[1, 2]), width, height)
    return colours, [np.where(values < 80, values, 0) for values in depth], camera, None


def measure(
    name: str, clip: tuple[list[Path], list[np.ndarray], Camera, np.ndarray | None], args: argparse.Namespace
) -> None:
    colours, truth, camera, poses = clip
    options = dict(option.split("=", 1) for option in args.set)
    model = dw.load(
        args.model, task="pointmap", **{key: int(value) if value.isdigit() else value for key, value in options.items()}
    )
    frames = dw.Clip([str(path) for path in colours], camera=None if args.guess_camera else camera, name=name)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        facts = model.write(frames, folder)
        seconds = time.perf_counter() - start
        maps = [io.read_npz(Path(folder) / "frames" / f"{number:06d}.npz") for number in range(len(colours))]
    found = facts["camera"]["intrinsics"][0][0]
    print(f"\n{name}: {len(facts['components'][0])} of {len(colours)} frames in one world, focal length {found:.0f} px")
    print(f"{seconds:.1f} s, {len(colours) / seconds:.2f} frames/s; {facts['timings_s']}")
    if poses is not None:
        placed = facts["components"][0]
        ours = torch.tensor([facts["world_from_camera"][number] for number in placed], dtype=torch.float64)[:, :3, 3]
        true = torch.from_numpy(poses[placed, :3, 3])
        error = (fit_similarity(ours, true).apply(ours) - true).norm(dim=1).square().mean().sqrt()
        length = (true[1:] - true[:-1]).norm(dim=1).sum()
        print(f"trajectory: {error:.4f} m (root mean square) of {length:.2f} m: {100 * error / length:.2f} %")
    depth, sure = np.stack([m.values for m in maps]), np.stack([m.confidence for m in maps])
    valid, gt = np.stack([m.valid for m in maps]), np.stack(truth)
    print("\n| confidence from | of the image | of the truth | AbsRel | median | delta1 |\n|---|---|---|---|---|---|")
    for least in CONFIDENCES:
        chosen = valid & (sure >= least)
        both = chosen & (gt > 0)
        ratio = depth[both] / gt[both]
        ratio /= np.median(ratio)
        error = np.abs(ratio - 1)
        good = np.maximum(ratio, 1 / ratio) < 1.25
        print(
            f"| {least} | {100 * chosen.mean():.1f} % | {100 * both.sum() / (gt > 0).sum():.1f} % | {error.mean():.3f} "
            f"| {np.median(error):.3f} | {good.mean():.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sevenscenes", type=Path)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--model", default="geometric")
    parser.add_argument("--guess-camera", action="store_true", help="do not tell the model the calibration")
    parser.add_argument("--set", action="append", default=[], help="an option of the model, name=value")
    args = parser.parse_args()
    print(f"{args.model}, {runtime.processor_name()}, torch {torch.__version__}")
    if args.sevenscenes:
        measure("7-Scenes", sevenscenes(args.sevenscenes), args)
    if args.kitti:
        measure("KITTI", kitti(args.kitti), args)


if __name__ == "__main__":
    main()
