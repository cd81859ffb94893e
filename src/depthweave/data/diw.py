"""Depth in the Wild: photographs with one pair of points each, and which of the two is farther.

Source: Chen, Fu, Yang and Deng, Single-image depth perception in the wild, NeurIPS 2016;
https://www-personal.umich.edu/~wfchen/depth-in-the-wild/. A CSV file has two lines per picture: its path, and
`y_A,x_A,y_B,x_B,relation,width,height`, points counted from 1, `>` = A is farther.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from depthweave import io
from depthweave.data.item import existing
from depthweave.data.ordinal_item import OrdinalItem, OrdinalPairs, require_pictures
from depthweave.errors import WrongFile

_RELATIONS = {">": 1, "<": -1}


def diw(root: Path, split: Literal["test", "train", "val"] = "test") -> list[OrdinalItem]:
    """Pictures of a split; keys are their paths without suffix. Pictures that are not there are left out.

    Args:
        root: folder of `DIW_test.csv` (or `DIW_Annotations/DIW_test.csv`) and of the pictures that it names.
        split: which.

    Raises:
        WrongFile: no list or no pictures there, or a damaged list.
    """
    name = f"DIW_{split}.csv"
    places = (existing(root / name), existing(root / "DIW_Annotations" / name))
    listing = next((place for place in places if place is not None), None)
    lines = [] if listing is None else io.require_file(listing).read_text(encoding="utf-8").splitlines()
    if listing is not None and len(lines) % 2:
        raise WrongFile(f"{listing} has an odd number of lines, but two belong to every picture; get it again.")
    found = (_item(root, path, pair, listing) for path, pair in zip(lines[::2], lines[1::2], strict=True) if listing)
    return require_pictures((item for item in found if item is not None), root, f"{name} and the pictures it names")


def _item(root: Path, path: str, pair: str, listing: Path) -> OrdinalItem | None:
    words = pair.split(",")
    if len(words) != 7 or words[4] not in _RELATIONS or not all(word.strip().isdigit() for word in words[:4]):
        raise WrongFile(f"{listing} holds '{pair[:60]}' instead of y,x,y,x,relation,width,height; get it again.")
    relative = Path(path.strip().removeprefix("./"))
    picture = existing(root / relative)
    if picture is None:
        return None
    y_first, x_first, y_second, x_second = (int(word) - 1 for word in words[:4])
    points = (x_first, y_first), (x_second, y_second)
    return OrdinalItem(relative.with_suffix("").as_posix(), picture, _OnePair(*points, _RELATIONS[words[4]]))


@dataclass(frozen=True)
class _OnePair:
    first: tuple[int, int]
    second: tuple[int, int]
    relation: int

    def __call__(self, height: int, width: int) -> OrdinalPairs:
        most = torch.tensor((width - 1, height - 1))
        first, second = (torch.tensor([point]).clamp_min(0).minimum(most) for point in (self.first, self.second))
        return OrdinalPairs(first, second, torch.tensor([self.relation]))
