"""How varied worlds are, beside real pairs: disparity, edges, contrast, colours, light, occlusion, in Markdown tables.

    python benchmarks/worlds_variety.py --number 300
    python benchmarks/worlds_variety.py --number 300 --root data/stereo
    python benchmarks/worlds_variety.py --recipe mine.toml --size 960x540 --width 640

Real pairs are read from the folders of --root that are there: see REAL. Pictures wider than --width are made smaller to
that width by an area filter, with their truth (nearest value); narrower ones stay as they are. Disparity is a share of
the width of the picture; luma and colours are in [0, 1].

Each picture gives one number per quantity, and the tables show percentiles over pictures; only "disparity of pixels" is
over pixels, the same number of them from each picture.
"""

import argparse
import platform
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import depthweave
from depthweave import geometry, images, runtime
from depthweave.data import StereoItem, open_benchmark
from depthweave.data.item import read_pfm_truth
from depthweave.worlds import Match, Recipe, Worlds

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
PIXELS = "disparity of pixels"
PIXELS_PER_PICTURE = 2000
EDGE = 0.05
"""Luma per px (Sobel / 8) from which on a pixel is on an edge."""
DENSE = 0.6
"""Share of pixels with truth from which on neighbours can be compared."""


@dataclass(frozen=True)
class RealSet:
    """Pairs that a reader of ours finds.

    Attributes:
        name: for the tables.
        reader: name of `open_benchmark`.
        folders: below --root, all that are there are read.
    """

    name: str
    reader: str
    folders: tuple[str, ...]


REAL = (
    RealSet("Middlebury v3, quarter", "middlebury-v3", ("middlebury_v3_quarter",)),
    RealSet("Middlebury 2001 to 2006", "middlebury-2001-2006", ("middlebury_2001_2006",)),
    RealSet("KITTI 2015", "kitti-2015", ("kitti2015",)),
    RealSet("Scene Flow (rendered)", "folder", ("sceneflow_sample/RGB_cleanpass",)),
    RealSet("ETH3D", "eth3d", ("eth3d_images_only",)),
    RealSet("photographs", "folder", ("images_only/defom_demo", "images_only/foundationstereo_demo")),
)


@dataclass(frozen=True)
class Sample:
    """A pair, and as much of its truth as there is; `visible` is where the right camera sees it, too."""

    left: Float[Tensor, "3 h w"]
    right: Float[Tensor, "3 h w"]
    disparity: Float[Tensor, "h w"] | None = None
    valid: Bool[Tensor, "h w"] | None = None
    visible: Bool[Tensor, "h w"] | None = None
    tells_occluded: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of real sets; without it, worlds only")
    parser.add_argument("--number", type=int, default=300, help="of worlds")
    parser.add_argument("--size", default="768x384", metavar="WIDTHxHEIGHT", help="of worlds")
    parser.add_argument("--width", type=int, default=768, help="px that wider pictures are made smaller to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", type=Path, metavar="FILE.toml")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="make textures of photographs, too")
    parser.add_argument("--short", action="store_true", help="the summary only")
    arguments = parser.parse_args()
    width, _, height = arguments.size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        parser.error("--size is WIDTHxHEIGHT, for example 768x384")
    if min(arguments.number, arguments.width) < 1:
        parser.error("--number and --width are at least 1")
    recipe = Recipe() if arguments.recipe is None else Recipe.read(arguments.recipe)
    worlds = Worlds(recipe, seed=arguments.seed, height=int(height), width=int(width), photos=arguments.photos)
    found = {"worlds": [measured(sample, arguments.width) for sample in rendered(worlds, arguments.number)]}
    for real in REAL if arguments.root is not None else ():
        pairs = [measured(sample, arguments.width) for sample in read(real, arguments.root)]
        if pairs:
            found[real.name] = pairs
        else:
            print(f"{arguments.root} has no {' and no '.join(real.folders)}: {real.name} left out", file=sys.stderr)
    print(f"`{shlex.join(['python', *sys.argv])}`\n")
    print(f"depthweave {depthweave.__version__}, torch {torch.__version__}, Python {platform.python_version()}.\n")
    print(f"Pictures wider than {arguments.width} px are made that wide. Pairs: {counts(found)}.\n")
    print("\n".join(summary(found)))
    if not arguments.short:
        print("\n" + "\n".join(line for quantity in quantities(found) for line in table(found, quantity)))


def rendered(worlds: Worlds, count: int) -> Iterator[Sample]:
    """The first worlds of a seed."""
    for index in runtime.progress(range(count), label="worlds", total=count):
        pair = worlds[index]
        known = pair.left.disparity > 0
        visible = known & (pair.left.match == Match.MATCHED)
        yield Sample(pair.left.image, pair.right.image, pair.left.disparity, known, visible, True)


def read(real: RealSet, root: Path) -> Iterator[Sample]:
    """All pairs of a set."""
    for name in real.folders:
        if (root / name).is_dir():
            for item in open_benchmark(real.reader, root / name):
                yield sample_of(with_truth_beside(item))


def with_truth_beside(item: StereoItem) -> StereoItem:
    """The sample pack of Scene Flow has `disparity/left` and `disparity/right` beside the folder of the pictures."""
    folder = item.left.parent.parent.parent / "disparity"
    left, right = (folder / side / f"{item.left.stem}.pfm" for side in ("left", "right"))
    if item.has_truth or not left.is_file():
        return item
    return replace(item, truth_reader=partial(read_pfm_truth, left, None, right if right.is_file() else None))


def sample_of(item: StereoItem) -> Sample:
    pair = item.read_pair()
    if not item.has_truth:
        return Sample(pair.left, pair.right)
    truth = item.read_truth()
    visible = truth.regions.get("visible")
    told = visible is not None and "all" in truth.regions
    if truth.right_disparity is not None and visible is None:
        visible = truth.valid & ~geometry.occlusion_from_disparity(truth.disparity, truth.right_disparity)
        told = bool(truth.valid.float().mean() > DENSE)
    return Sample(pair.left, pair.right, truth.disparity, truth.valid, visible, told)


def shrunk(sample: Sample, width: int) -> Sample:
    """At most `width` px wide."""
    old_height, old_width = sample.left.shape[-2:]
    if old_width <= width:
        return sample
    height = round(old_height * width / old_width)

    def area(picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h2 w2"]:
        small = cv2.resize(picture.permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(small).permute(2, 0, 1)

    sample = replace(sample, left=area(sample.left), right=area(sample.right))
    if sample.disparity is None or sample.valid is None:
        return sample
    disparity, valid = images.resize_disparity(sample.disparity, height, width, sample.valid)
    visible = None if sample.visible is None else images.resize_mask(sample.visible, height, width)
    return replace(sample, disparity=disparity, valid=valid, visible=visible)


def measured(sample: Sample, width: int) -> dict[str, Float[np.ndarray, " n"]]:
    """Numbers of a pair by quantity; those that its truth does not tell are missing."""
    sample = shrunk(sample, width)
    return {name: np.atleast_1d(value) for name, value in (picture(sample) | truth(sample) | matched(sample)).items()}


def picture(sample: Sample) -> dict[str, Float[np.ndarray, " n"] | float]:
    """Of the left picture."""
    luma = images.luminance(sample.left)
    plane = luma.numpy()
    gradient = np.hypot(*(cv2.Sobel(plane, cv2.CV_32F, dx, 1 - dx) / 8 for dx in (1, 0)))
    most, least = sample.left.amax(0), sample.left.amin(0)
    lit = most > 0.1
    return {
        "mean gradient": float(gradient.mean()),
        "edge density": float((gradient > EDGE).mean()),
        "contrast": float(luma.std()),
        "brightness": float(luma.mean()),
        "saturation": float(((most - least) / most.clamp(min=0.1))[lit].mean()) if lit.any() else 0.0,
        "saturated pixels": share(most > 250 / 255),
        "dark pixels": share(most < 5 / 255),
    }


def truth(sample: Sample) -> dict[str, Float[np.ndarray, " n"] | float]:
    """Of the left disparity, as shares of the width."""
    if sample.disparity is None or sample.valid is None or not sample.valid.any():
        return {}
    relative = (sample.disparity[sample.valid] / sample.disparity.shape[-1]).numpy()
    places = np.random.default_rng(0).integers(len(relative), size=PIXELS_PER_PICTURE)
    farthest, median, nearest = np.quantile(relative, (0.01, 0.5, 0.99))
    found: dict[str, Float[np.ndarray, " n"] | float] = {
        PIXELS: relative[places],
        "nearest disparity (99 %)": float(nearest),
        "median disparity": float(median),
        "farthest disparity (1 %)": float(farthest),
    }
    if share(sample.valid) > DENSE:
        steps, both = (sample.disparity.diff(dim=-1).abs() > 1), sample.valid[:, 1:] & sample.valid[:, :-1]
        found["steps of disparity"] = share(steps[both])
    if sample.tells_occluded and sample.visible is not None:
        found["occluded"] = 1 - float(sample.visible.sum() / sample.valid.sum())
    return found


def matched(sample: Sample) -> dict[str, Float[np.ndarray, " n"] | float]:
    """Left against right on pixels that both cameras see."""
    if sample.disparity is None or sample.visible is None:
        return {}
    warped, inside = geometry.warp_by_disparity(sample.right, sample.disparity)
    seen = inside & sample.visible
    left, right = images.luminance(sample.left)[seen], images.luminance(warped)[seen]
    if not len(left):
        return {}
    return {
        "left less right": float((left - right).abs().mean()),
        "left over right": float(left.mean() / right.mean().clamp(min=1e-3)),
    }


def share(mask: Bool[Tensor, "*b"]) -> float:
    return float(mask.float().mean())


Found = dict[str, list[dict[str, Float[np.ndarray, " n"]]]]


def counts(found: Found) -> str:
    return ", ".join(f"{name} {len(pairs)}" for name, pairs in found.items())


def quantities(found: Found) -> list[str]:
    """Names in the order of the tables."""
    return list(dict.fromkeys(name for pairs in found.values() for pair in pairs for name in pair))


def numbers(pairs: list[dict[str, Float[np.ndarray, " n"]]], quantity: str) -> Float[np.ndarray, " n"]:
    """Of all pairs that have the quantity."""
    return np.concatenate([pair[quantity] for pair in pairs if quantity in pair] or [np.empty(0)])


def table(found: Found, quantity: str) -> list[str]:
    """Percentiles of all sets."""
    lines = [f"{quantity}:\n", "| set | pairs |" + "".join(f" {percent} % |" for percent in PERCENTILES)]
    lines.append("|---|---|" + "---|" * len(PERCENTILES))
    for name, pairs in found.items():
        values = numbers(pairs, quantity)
        if len(values):
            cells = "".join(f" {value:.3g} |" for value in np.percentile(values, PERCENTILES))
            lines.append(f"| {name} | {sum(quantity in pair for pair in pairs)} |{cells}")
    return [*lines, ""]


def summary(found: Found) -> list[str]:
    """Median (5 to 95 %) of all sets; in brackets the share of it that lies within 1 to 99 % of the worlds."""
    lines = ["| quantity |" + "".join(f" {name} |" for name in found), "|---|" + "---|" * len(found)]
    for quantity in quantities(found):
        low, high = np.percentile(numbers(found["worlds"], quantity), (1, 99))
        cells = []
        for name, pairs in found.items():
            values = numbers(pairs, quantity)
            if not len(values):
                cells.append("")
                continue
            least, median, most = np.percentile(values, (5, 50, 95))
            inside = "" if name == "worlds" else f" [{((values >= low) & (values <= high)).mean():.0%}]"
            cells.append(f"{median:.3g} ({least:.2g} to {most:.2g}){inside}")
        lines.append(f"| {quantity} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
