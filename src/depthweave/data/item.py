"""One stereo pair of a benchmark, with its ground truth: paths until somebody asks for pixels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongFile
from depthweave.types import Camera, StereoPair


@dataclass(frozen=True, eq=False)
class StereoTruth:
    """Ground truth of a pair.

    Attributes:
        disparity: of the left picture in px, a finite filler where not valid.
        valid: true where the disparity is known.
        regions: masks of pixels to score, each inside `valid`: "all" (every pixel with truth, occluded ones too) and
            "visible" (those that both cameras see), each present only if the data set tells it.
        right_disparity, right_valid: of the right picture, x_left = x_right + d, where the data set has it.
    """

    disparity: Float[Tensor, "h w"]
    valid: Bool[Tensor, "h w"]
    regions: Mapping[str, Bool[Tensor, "h w"]]
    right_disparity: Float[Tensor, "h w"] | None = None
    right_valid: Bool[Tensor, "h w"] | None = None


@dataclass(frozen=True, eq=False)
class StereoItem:
    """A pair on disk.

    Attributes:
        key: unique within its benchmark, with "/" between its parts.
        left, right: the rectified pictures.
        calibration: file of the pair's camera, if there is one.
        cameras: the two matrices to take from a KITTI calibration file; None where the format has no choice.
        truth_reader: reads the ground truth; None if the pair has none. Can be pickled, for loader processes.
    """

    key: str
    left: Path
    right: Path
    calibration: Path | None = None
    cameras: tuple[str, str] | None = None
    truth_reader: Callable[[], StereoTruth] | None = None

    @property
    def has_truth(self) -> bool:
        """Whether `read_truth` has something to read."""
        return self.truth_reader is not None

    def read_pair(self) -> StereoPair:
        """The two pictures, with the camera when the data set gives a calibration.

        Raises:
            WrongFile: a file that is missing or damaged.
            WrongInput: pictures of two sizes.
        """
        pair = StereoPair.read(self.left, self.right, name=self.key)
        if self.calibration is None:
            return pair
        camera = Camera.read(self.calibration, cameras=self.cameras, width=pair.width, height=pair.height)
        return replace(pair, camera=camera)

    def read_truth(self) -> StereoTruth:
        """The ground truth.

        Raises:
            WrongFile: the pair has none, or its file is damaged.
        """
        if self.truth_reader is None:
            raise WrongFile(f"{self.left} has no ground truth beside it; add the truth files or take another split.")
        return self.truth_reader()


def make_truth(
    left: tuple[NDArray[Any], NDArray[Any]],
    *,
    source: Path,
    visible: NDArray[Any] | None = None,
    right: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> StereoTruth:
    """Truth whose "all" is every known pixel and whose "visible" is the part of them under a mask.

    Args:
        left: values (h, w) in px and mask (h, w).
        source: the file of the values, for error sentences.
        visible: mask (h, w) of pixels that both cameras see, if the data set tells.
        right: values and mask of the right picture.

    Raises:
        WrongFile: a mask of another size than the values.
    """
    values, valid = torch.from_numpy(left[0]), torch.from_numpy(left[1])
    regions = {"all": valid}
    if visible is not None:
        if visible.shape != left[0].shape:
            raise WrongFile(f"{source} has size {left[0].shape} but its mask has {visible.shape}; get both again.")
        regions["visible"] = valid & torch.from_numpy(visible)
    if right is None:
        return StereoTruth(values, valid, regions)
    return StereoTruth(values, valid, regions, torch.from_numpy(right[0]), torch.from_numpy(right[1]))


def read_pfm_truth(disparity: Path, mask: Path | None = None, right: Path | None = None) -> StereoTruth:
    """Truth from PFM files in px (inf unknown) and a mask picture in which 255 means seen by both cameras."""
    return make_truth(
        io.read_pfm(disparity),
        source=disparity,
        visible=None if mask is None else read_mask(mask) == 255,
        right=None if right is None else io.read_pfm(right),
    )


def read_mask(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A grey picture (h, w), also if stored with three equal channels; raises WrongFile for a coloured one."""
    mask = io.read_image(path)
    if mask.ndim == 2:
        return mask
    if (mask != mask[..., :1]).any():
        raise WrongFile(f"{path} is a colour picture, but a mask is grey; get it again.")
    return mask[..., 0]


def existing(path: Path) -> Path | None:
    """The path if a file stands there."""
    return path if path.is_file() else None


def partner(left: Path, right: Path) -> Path:
    """The right picture; raises WrongFile if it is missing."""
    if not right.is_file():
        raise WrongFile(f"{right} does not exist, so {left} has no partner; complete the download.")
    return right


def found_in(folder: Path, pattern: str) -> list[Path]:
    """Matches of a glob pattern in the order of their names, without hidden files."""
    below = (path.relative_to(folder) for path in folder.glob(pattern))
    return [
        folder / path for path in sorted(below, key=Path.as_posix) if not any(p.startswith(".") for p in path.parts)
    ]


def require_items(items: Iterable[StereoItem], root: Path, expected: str) -> list[StereoItem]:
    """The items as a list; raises WrongFile that names the expected layout if there are none."""
    listed = list(items)
    if not listed:
        raise WrongFile(f"{root} does not look right: expected {expected}.")
    return listed


def folder_below(root: Path, name: str, *, unless: str | None = None) -> Path:
    """The folder `name` below `root`, or `root` itself, unless that is named like the other half of the data set."""
    below = root / name
    return below if below.is_dir() or root.name == unless else root
