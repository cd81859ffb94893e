"""One clip of a benchmark, with its ground truth: paths until somebody asks for pixels."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import io
from depthweave.data.item import read_mask
from depthweave.errors import WrongFile, WrongInput
from depthweave.types import Camera, Clip, read_picture

DepthReader = Callable[[Path], tuple[NDArray[Any], NDArray[Any]]]
"""File to depth in m (h, w) and mask (h, w)."""

Crop = Callable[[int, int], tuple[slice, slice]]
"""Height and width of a picture to its rows and columns that count."""


class CroppedFrames(Sequence[NDArray[Any]]):
    """Pictures of a clip without their borders, read when they are asked for."""

    def __init__(self, files: Sequence[Path], crop: Crop) -> None:
        self.files = tuple(files)
        self.crop = crop

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> "CroppedFrames": ...

    def __getitem__(self, index: int | slice) -> "NDArray[Any] | CroppedFrames":
        if isinstance(index, slice):
            return CroppedFrames(self.files[index], self.crop)
        picture = io.read_image(self.files[index])
        return picture[self.crop(*picture.shape[:2])]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class ClipItem:
    """A clip on disk. All readers can be pickled, for loader processes.

    Attributes:
        key: unique within its benchmark, with "/" between its parts.
        frames: the pictures in order.
        truths: file of each frame's depth; None for frames without.
        read_depth: reads such a file.
        fps: frames per second, None if unknown.
        crop: the part of pictures, truth and masks that counts; None for all.
        intrinsics_reader: 3x3 matrix in px of the whole pictures; None if the set gives none.
        poses_reader: (t, 4, 4) world_from_camera in m of all frames, NaN where not known; None if the set gives none.
        masks: file of each frame's mask, white where something moves by itself; None for frames without.
    """

    key: str
    frames: tuple[Path, ...]
    truths: tuple[Path | None, ...]
    read_depth: DepthReader
    fps: float | None = None
    crop: Crop | None = None
    intrinsics_reader: Callable[[], NDArray[Any]] | None = None
    poses_reader: Callable[[], NDArray[Any]] | None = None
    masks: tuple[Path | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def has_truth(self) -> bool:
        """Whether any frame has a ground truth."""
        return any(truth is not None for truth in self.truths)

    @property
    def clip(self) -> Clip:
        """The pictures as a clip that can be gone through again and again; only the first one is read now.

        Raises:
            WrongFile: a picture or a file of the camera is missing or damaged.
        """
        height, width = io.read_image(self.frames[0]).shape[:2]
        camera = None
        if self.intrinsics_reader is not None:
            matrix = torch.from_numpy(np.array(self.intrinsics_reader(), np.float32))
            camera = Camera(matrix, width, height)
        if self.crop is None:
            whole = (0, None, 1)
            frames = io.FrameStream(self.frames[0].parent, (height, width), None, len(self), self.frames, whole)
            return Clip(frames, self.fps, camera, self.key)
        return Clip(
            CroppedFrames(self.frames, self.crop),
            self.fps,
            None if camera is None else _cropped(camera, self.crop),
            self.key,
        )

    def picture(self, index: int) -> Float[Tensor, "3 h w"]:
        """One picture in [0, 1].

        Args:
            index: number of the frame, from 0.

        Raises:
            WrongFile: the file is missing or damaged.
        """
        return read_picture(self._part(io.read_image(self.frames[index])))

    def truth(self, index: int) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]] | None:
        """Depth in m and where it is known; None for a frame without ground truth.

        Args:
            index: number of the frame, from 0.

        Raises:
            WrongFile: the file is missing or damaged.
        """
        file = self.truths[index]
        if file is None:
            return None
        depth, valid = (self._part(found) for found in self.read_depth(file))
        return torch.from_numpy(depth.astype(np.float32)), torch.from_numpy(valid.astype(np.bool_))

    def mask(self, index: int) -> Bool[Tensor, "h w"] | None:
        """True where something moves by itself; None for a frame of which nobody knows.

        Args:
            index: number of the frame, from 0.

        Raises:
            WrongFile: the file is missing, damaged, or a coloured picture.
        """
        file = None if self.masks is None else self.masks[index]
        if file is None:
            return None
        codes = self._part(read_mask(file))
        return torch.from_numpy(codes > np.iinfo(codes.dtype).max // 2)

    def world_from_camera(self) -> Float[Tensor, "t 4 4"] | None:
        """Poses of all frames in m, NaN where not known; None if the set gives none.

        Raises:
            WrongFile: a file of poses is missing or damaged.
        """
        if self.poses_reader is None:
            return None
        return torch.from_numpy(np.array(self.poses_reader(), np.float32))

    def part(self, start: int = 0, stop: int | None = None, step: int = 1) -> "ClipItem":
        """The clip of some of its frames.

        Args:
            start, stop, step: as in a slice.
        """
        chosen = slice(start, stop, step)
        poses = self.poses_reader
        return replace(
            self,
            frames=self.frames[chosen],
            truths=self.truths[chosen],
            masks=None if self.masks is None else self.masks[chosen],
            fps=None if self.fps is None else self.fps / step,
            poses_reader=None if poses is None else _PartOfPoses(poses, chosen),
        )

    def with_masks(self, folder: Path) -> "ClipItem":
        """The clip with masks of what moves: `folder/<key>/<name of the picture>.png`, white where it moves.

        Args:
            folder: of all clips of the benchmark; frames without a file have no mask.
        """
        files = (folder / self.key / f"{frame.stem}.png" for frame in self.frames)
        found = tuple(file if file.is_file() else None for file in files)
        return replace(self, masks=found if any(found) else None)

    def _part(self, array: NDArray[Any]) -> NDArray[Any]:
        return array if self.crop is None else np.ascontiguousarray(array[self.crop(*array.shape[:2])])


@dataclass(frozen=True)
class _PartOfPoses:
    reader: Callable[[], NDArray[Any]]
    chosen: slice

    def __call__(self) -> NDArray[Any]:
        return self.reader()[self.chosen]


def read_matrix(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Numbers of a text file as a matrix with at least these rows and columns, of which the first are kept.

    Raises:
        WrongFile: missing, not numbers, or too few of them.
    """
    try:
        numbers = np.loadtxt(io.require_file(path), ndmin=2)
    except ValueError as error:
        raise WrongFile(f"{path} holds something else than a matrix of numbers ({error}); get it again.") from error
    if numbers.shape[0] < shape[0] or numbers.shape[1] < shape[1]:
        raise WrongFile(f"{path} holds {numbers.shape} numbers where {shape} are needed; get it again.")
    return numbers[: shape[0], : shape[1]].astype(np.float64)


def read_poses(files: tuple[Path | None, ...]) -> NDArray[np.float64]:
    """(t, 4, 4) of files with one 4x4 matrix each; NaN for None and for matrices that are not finite (lost frames)."""
    poses = np.full((len(files), 4, 4), np.nan)
    for index, file in enumerate(files):
        if file is not None and np.isfinite(pose := read_matrix(file, (4, 4))).all():
            poses[index] = pose
    return poses


def require_clips(items: Iterable[ClipItem], root: Path, expected: str) -> list[ClipItem]:
    """The clips that have frames, in the order of their keys; raises WrongFile that names the layout if none has."""
    listed = sorted((item for item in items if len(item)), key=lambda item: item.key)
    if not listed:
        raise WrongFile(f"{root} does not look right: expected {expected}.")
    if not any(item.has_truth for item in listed):
        raise WrongFile(f"{root} has pictures but no depth for any of them: expected {expected}.")
    return listed


def chosen_clips(items: list[ClipItem], wanted: Sequence[str]) -> list[ClipItem]:
    """The clips of these keys; raises WrongInput if one is not there."""
    known = {item.key: item for item in items}
    if missing := [key for key in wanted if key not in known]:
        raise WrongInput(f"there is no clip {', '.join(missing)}; there are {', '.join(known)}.")
    return [known[key] for key in wanted]


def _cropped(camera: Camera, crop: Crop) -> Camera:
    rows, columns = crop(camera.height, camera.width)
    (top, bottom, _), (left, right, _) = rows.indices(camera.height), columns.indices(camera.width)
    matrix = camera.intrinsics.clone()
    matrix[0, 2] -= left
    matrix[1, 2] -= top
    return replace(camera, intrinsics=matrix, width=right - left, height=bottom - top)
