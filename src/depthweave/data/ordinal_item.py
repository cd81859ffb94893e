"""One picture of which only the order of some points is known."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from depthweave.errors import WrongFile
from depthweave.types import read_picture


@dataclass(frozen=True, eq=False)
class OrdinalPairs:
    """Pairs of points and which of the two is farther.

    Attributes:
        first_px, second_px: (n, 2) points (x, y), integers at pixel centres.
        relation: (n,) 1 where the first is farther, -1 where it is nearer, 0 where both are about equally far.
    """

    first_px: Int[Tensor, "n 2"]
    second_px: Int[Tensor, "n 2"]
    relation: Int[Tensor, "n"]


@dataclass(frozen=True, eq=False)
class OrdinalItem:
    """A picture on disk with ordered pairs of points. Can be pickled, for loader processes.

    Attributes:
        key: unique within its benchmark.
        picture: the file.
        pairs_reader: reads the pairs, given the height and width of the picture.
    """

    key: str
    picture: Path
    pairs_reader: Callable[[int, int], OrdinalPairs]

    def read_picture(self) -> Float[Tensor, "3 h w"]:
        """The picture in [0, 1]; raises WrongFile where it is missing or damaged."""
        return read_picture(self.picture)

    def read_pairs(self, height: int, width: int) -> OrdinalPairs:
        """The pairs, in px of the picture of this size; raises WrongFile where their file is damaged."""
        return self.pairs_reader(height, width)


def require_pictures(items: Iterable[OrdinalItem], root: Path, expected: str) -> list[OrdinalItem]:
    """The items in the order of their keys; raises WrongFile that names the expected layout if there are none."""
    listed = sorted(items, key=lambda item: item.key)
    if not listed:
        raise WrongFile(f"{root} does not look right: expected {expected}.")
    return listed
