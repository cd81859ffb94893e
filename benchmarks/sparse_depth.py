"""How much a dense shape adds to the zones of a time-of-flight sensor, on 7-Scenes.

    depthweave reconstruct kitchen -o kitchen_depth -c camera-intrinsics.txt
    python benchmarks/sparse_depth.py --root kitchen --reconstruction kitchen_depth

Zones are simulated from the true depth: 8x8 over the whole picture or over 45x45 degrees in its middle, each the
median or the 20 % quantile of the true depth in it, with relative Gaussian noise of 2 %, and 10 % of them invalid. The
shape is what `geometric` makes of the clip without poses, up to a factor. "affine" is the same shape as an
InverseDepthMap a / Z + b, with a and b drawn for every frame: what a model for single pictures would answer, as a
stand-in without weights. "Bilinear" is the plain upsampling of the zones; the other rows are the steps of
`fuse_sparse`. AbsRel is the mean over frames: on all pixels with truth (fillers of the shape included), on those that
the shape covers, and on those inside the zones' field.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from depthweave import alignment
from depthweave.data import ClipItem, open_clips
from depthweave.pipelines.load import load
from depthweave.pipelines.sparse_depth import fuse_sparse
from depthweave.types import Camera, DepthMap, InverseDepthMap, Reconstruction, Scale, SparseDepth

Row = dict[str, list[Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of a 7-Scenes sequence")
    parser.add_argument("--reconstruction", type=Path, help="what `depthweave reconstruct` made of it; else made here")
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--invalid", type=float, default=0.1)
    parser.add_argument("--step", type=int, default=1, help="every so many frames")
    parser.add_argument("--smoothness", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (item,) = open_clips("7scenes", arguments.root)
    shapes = _shapes(item, arguments.reconstruction)
    print("| zones | shape | method | all pixels | covered | inside |")
    print("|---|---|---|---|---|---|")
    for fov_deg in (None, 45):
        for quantile in (0.5, 0.2):
            for name in ("up to scale", "affine"):
                generator = torch.Generator().manual_seed(arguments.seed)
                rows: dict[str, Row] = {}
                for index in range(0, len(item), arguments.step):
                    measure(item, shapes, index, fov_deg, quantile, name, generator, arguments, rows)
                place = "whole picture" if fov_deg is None else f"{fov_deg} deg"
                for method, found in rows.items():
                    means = (f"{torch.stack(values).nanmean():.4f}" for values in found.values())
                    print(f"| {place}, q {quantile:g} | {name} | {method} | {' | '.join(means)} |")


def measure(
    item: ClipItem,
    shapes: Reconstruction,
    index: int,
    fov_deg: int | None,
    quantile: float,
    kind: str,
    generator: torch.Generator,
    arguments: argparse.Namespace,
    rows: dict[str, Row],
) -> None:
    """AbsRel of every method on one frame, added to the rows."""
    known = item.truth(index)
    shape = shapes[index]
    if known is None or shape.camera is None:
        raise SystemExit(f"frame {index} has no truth or no camera; give a sequence of 7-Scenes.")
    truth, valid = known
    zones = simulate(truth, valid, shape.camera, fov_deg, quantile, arguments.noise, arguments.invalid, generator)
    dense = affine(shape, generator) if kind == "affine" else shape
    methods: dict[str, Callable[[], DepthMap]] = {
        "bilinear": lambda: zones.upsampled(),
        "bilinear, 1/Z": lambda: zones.upsampled(domain="inverse_depth"),
        "scale and shift": lambda: fuse_sparse(dense, zones, quantile=quantile, grid=None, weigh=False),
        "and grid": lambda: fuse_sparse(dense, zones, quantile=quantile, smoothness=arguments.smoothness, weigh=False),
        "and weighed": lambda: fuse_sparse(dense, zones, quantile=quantile, smoothness=arguments.smoothness),
    }
    edges = zones.regions_px[zones.valid]
    (left, top), (right, bottom) = edges[:, :2].amin(0).tolist(), edges[:, 2:].amax(0).tolist()
    inside = torch.zeros_like(valid)
    inside[max(0, round(top)) : round(bottom), max(0, round(left)) : round(right)] = True
    for name, method in methods.items():
        error = (method().values - truth).abs() / truth.clamp_min(1e-3)
        row = rows.setdefault(name, {"all": [], "covered": [], "inside": []})
        for region, mask in (("all", valid), ("covered", valid & shape.valid), ("inside", valid & inside)):
            row[region].append(error[mask].mean())


def simulate(
    truth: Tensor,
    valid: Tensor,
    camera: Camera,
    fov_deg: int | None,
    quantile: float,
    noise: float,
    invalid: float,
    generator: torch.Generator,
) -> SparseDepth:
    """8x8 zones of a true depth map."""
    layout = SparseDepth.zones(torch.ones(8, 8), camera=camera, fov_deg=fov_deg)
    depth, usable = alignment.region_quantile(truth, valid, layout.regions_px, quantile=quantile)
    depth = depth * (1 + noise * torch.randn(64, generator=generator))
    usable &= layout.valid & (torch.rand(64, generator=generator) >= invalid)
    return replace(layout, depth_m=depth.clamp_min(0.01), valid=usable)


def affine(shape: DepthMap, generator: torch.Generator) -> InverseDepthMap:
    """Inverse depth of which only an affine function is told."""
    inverse = shape.to_inverse_depth()
    a, b = (torch.rand(2, generator=generator) * torch.tensor((5.0, 2.0)) + torch.tensor((0.5, -1.0))).tolist()
    return replace(inverse, values=a * inverse.values + b, scale=Scale.UNKNOWN_SCALE_AND_SHIFT)


def _shapes(item: ClipItem, folder: Path | None) -> Reconstruction:
    found: Reconstruction = load("geometric")(item.clip) if folder is None else Reconstruction.read(folder)
    if len(found) != len(item):
        raise SystemExit(f"the reconstruction has {len(found)} of {len(item)} frames; reconstruct the whole sequence.")
    return found


if __name__ == "__main__":
    main()
