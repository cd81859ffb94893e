"""ReDWeb: photographs with dense relative disparity from web stereo pictures.

Source: Xian et al., Monocular relative depth perception with web stereo data supervision, CVPR 2018;
https://sites.google.com/site/redwebcvpr18/. Relative disparity PNGs are larger where nearer, with unknown scale and
shift. Pairs are drawn at random as in the paper, section 4.1; values that differ by less than 2 % are equal.
"""

import zlib
from functools import partial
from pathlib import Path

import torch

from depthweave import io
from depthweave.data.item import existing, found_in, read_mask
from depthweave.data.ordinal_item import OrdinalItem, OrdinalPairs, require_pictures
from depthweave.errors import WrongFile

EQUAL_SHARE = 0.02


def redweb(root: Path, pairs: int = 3000) -> list[OrdinalItem]:
    """Pictures of the set, or of a folder of your own in its layout; keys are their stems.

    Args:
        root: folder of `Imgs/a.jpg` and `RDs/a.png` (any case), as in `ReDWeb_V1`.
        pairs: how many pairs of points are drawn per picture, always the same ones.

    Raises:
        WrongFile: no pictures with relative disparity there.
    """
    pictures = [path for name in ("Imgs", "imgs") for path in found_in(root, f"{name}/*") if io.is_image(path)]
    found = ((picture, _relative(root, picture.stem)) for picture in pictures)
    items = (OrdinalItem(p.stem, p, partial(draw_pairs, file, pairs)) for p, file in found if file is not None)
    return require_pictures({item.key: item for item in items}.values(), root, "Imgs/a.jpg and RDs/a.png")


def draw_pairs(file: Path, pairs: int, height: int, width: int) -> OrdinalPairs:
    """Pairs of points of a relative disparity file, in px of a picture of this size; seeded by the file's name.

    Raises:
        WrongFile: damaged, coloured, or of another aspect than the picture.
    """
    values = torch.from_numpy(read_mask(file).astype("float32"))
    rows, columns = values.shape
    if abs(rows * width - columns * height) > max(rows * width, columns * height) * 0.02:
        raise WrongFile(f"{file} is {columns}x{rows} px and its picture {width}x{height}; get both again.")
    generator = torch.Generator().manual_seed(zlib.crc32(file.stem.encode()))
    x, y = (torch.randint(0, side, (2, pairs), generator=generator) for side in (width, height))
    # A picture may be larger than its map: points are of the picture, values of the map's nearest pixel.
    seen = values[(y * rows) // height, (x * columns) // width]
    first, second = seen[0], seen[1]
    equal = (first - second).abs() <= EQUAL_SHARE * torch.maximum(first, second)
    relation = torch.where(equal, 0, torch.where(first < second, 1, -1))
    return OrdinalPairs(torch.stack((x[0], y[0]), -1), torch.stack((x[1], y[1]), -1), relation)


def _relative(root: Path, stem: str) -> Path | None:
    return existing(root / "RDs" / f"{stem}.png") or existing(root / "rds" / f"{stem}.png")
