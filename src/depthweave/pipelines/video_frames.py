"""Depth of a clip's frames on disk, as the second stage of video depth reads it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.types import Camera, Clip, DepthMap, DisparityMap, InverseDepthMap, read_map
from depthweave.types.reconstruction import frame_file

AnyDepth = DepthMap | InverseDepthMap

REACH = 4
"""Frames before and after from which a pixel without depth takes its filler, the nearest first."""


@dataclass(frozen=True)
class Shot:
    """Consecutive frames whose depth has one unit.

    Attributes:
        first, last: numbers of its frames, both included.
        component: number of the world they stand in.
    """

    first: int
    last: int
    component: int

    def __len__(self) -> int:
        return self.last - self.first + 1


def split_shots(component: Sequence[int]) -> list[Shot]:
    """Shots of a clip; frames that were not placed (-1) go with the nearest frame that was, the earlier of two.

    Args:
        component: one number per frame, at least one of them not negative.
    """
    placed = np.flatnonzero(np.asarray(component) >= 0)
    if not len(placed):
        raise WrongInput("no frame of this clip has depth; take other frames or another model (-m).")
    nearest = [int(placed[np.abs(placed - frame).argmin()]) for frame in range(len(component))]
    shots: list[Shot] = []
    for frame, number in enumerate(component[place] for place in nearest):
        if shots and shots[-1].component == number:
            shots[-1] = replace(shots[-1], last=frame)
        else:
            shots.append(Shot(frame, frame, number))
    return shots


def cut_clip(clip: Clip, shot: Shot) -> Clip:
    """The frames of a shot as a clip of their own; nothing is decoded."""
    first, end = shot.first, shot.last + 1
    if not isinstance(clip.frames, io.FrameStream):
        return replace(clip, frames=clip.frames[first:end])
    start, _, step = clip.frames.selection
    files = None if clip.frames.files is None else clip.frames.files[first:end]
    selection = (start + first * step, start + end * step, step)
    return replace(clip, frames=replace(clip.frames, count=len(shot), files=files, selection=selection))


def read_frame(folder: Path, frame: int) -> AnyDepth:
    """Depth or inverse depth of a frame of a result folder, as its file says.

    Raises:
        WrongFile: missing or damaged.
    """
    path = folder / frame_file(frame)
    found = read_map(path)
    if isinstance(found, DisparityMap):
        raise WrongFile(f"{path} holds disparity, not depth; give the folder of a video.")
    return found


class StoredDepth(Sequence[AnyDepth]):
    """Depth of frames of a result folder, read when it is asked for.

    Args:
        folder: with ``frames/``.
        numbers: of the frames.
    """

    def __init__(self, folder: Path, numbers: Sequence[int]) -> None:
        self._folder, self._numbers = folder, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> AnyDepth: ...

    @overload
    def __getitem__(self, index: slice) -> list[AnyDepth]: ...

    def __getitem__(self, index: int | slice) -> AnyDepth | list[AnyDepth]:
        if isinstance(index, int):
            return read_frame(self._folder, self._numbers[index])
        return [read_frame(self._folder, number) for number in self._numbers[index]]


class FilledDepth(Sequence[DepthMap]):
    """Depth of a shot, read when it is asked for, with fillers under the pixels that have none.

    A pixel without depth takes that of the nearest frame in time, up to `REACH` frames away, then that of the nearest
    pixel. A frame without any depth takes the nearest one that has some. Fillers are not valid, and have confidence 0.

    Args:
        folder: with ``frames/``, all of one size.
        shot: which of them.
        camera: of the frames, None if unknown.
    """

    def __init__(self, folder: Path, shot: Shot, camera: Camera | None = None) -> None:
        self._folder, self._shot, self._camera = folder, shot, camera
        self._read: OrderedDict[int, DepthMap] = OrderedDict()
        self._done: OrderedDict[int, DepthMap] = OrderedDict()

    @property
    def stored(self) -> Sequence[DepthMap]:
        """The same frames as they are on disk."""
        return _Stored(len(self), self._map)

    def __len__(self) -> int:
        return len(self._shot)

    @overload
    def __getitem__(self, index: int) -> DepthMap: ...

    @overload
    def __getitem__(self, index: slice) -> list[DepthMap]: ...

    def __getitem__(self, index: int | slice) -> DepthMap | list[DepthMap]:
        numbers = range(len(self))[index]
        return self._filled(numbers) if isinstance(numbers, int) else [self._filled(number) for number in numbers]

    def _filled(self, frame: int) -> DepthMap:
        return _kept(self._done, frame, self._fill)

    def _fill(self, frame: int) -> DepthMap:
        found = self._map(frame)
        values, known = found.values.flatten().clone(), found.valid.flatten().clone()
        missing = torch.nonzero(~known).flatten()
        for other in self._near(frame):
            if not len(missing):
                break
            filler = self._map(other)
            there = filler.valid.flatten()[missing]
            values[missing[there]] = filler.values.flatten()[missing[there]]
            known[missing[there]] = True
            missing = missing[~there]
        size = found.values.shape
        values, known = values.reshape(size), known.reshape(size)
        if not bool(known.any()):
            other_map = self._nearest_known(frame)
            values, known = other_map.values, other_map.valid
        confidence = found.valid.float() if found.confidence is None else found.confidence
        return replace(
            found,
            values=fill_nearest(values, known),
            confidence=torch.where(found.valid, confidence, 0.0),
            camera=self._camera,
        )

    def _near(self, frame: int) -> list[int]:
        numbers = (frame + sign * distance for distance in range(1, REACH + 1) for sign in (-1, 1))
        return [number for number in numbers if 0 <= number < len(self)]

    def _nearest_known(self, frame: int) -> DepthMap:
        for other in sorted(range(len(self)), key=lambda number: abs(number - frame)):
            found = self._map(other)
            if bool(found.valid.any()):
                return found
        first, last = self._shot.first, self._shot.last
        raise WrongInput(f"frames {first} to {last} have no depth at all; take other frames or another model (-m).")

    def _map(self, frame: int) -> DepthMap:
        return _kept(
            self._read, frame, lambda number: DepthMap.read(self._folder / frame_file(self._shot.first + number))
        )


class _Stored(Sequence[DepthMap]):
    def __init__(self, count: int, read: Callable[[int], DepthMap]) -> None:
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> DepthMap: ...

    @overload
    def __getitem__(self, index: slice) -> list[DepthMap]: ...

    def __getitem__(self, index: int | slice) -> DepthMap | list[DepthMap]:
        numbers = range(self._count)[index]
        return self._read(numbers) if isinstance(numbers, int) else [self._read(number) for number in numbers]


def with_fillers(found: DepthMap, filled: DepthMap) -> DepthMap:
    """A map with the values of another one under its pixels that are not valid."""
    return replace(found, values=torch.where(found.valid, found.values, filled.values))


def _kept(kept: OrderedDict[int, DepthMap], frame: int, make: Callable[[int], DepthMap]) -> DepthMap:
    """The map of a frame, made unless it is among the last ones that were asked for."""
    if frame not in kept:
        kept[frame] = make(frame)
        while len(kept) > 2 * REACH + 1:
            kept.popitem(last=False)
    kept.move_to_end(frame)
    return kept[frame]


def fill_nearest(values: Float[Tensor, "h w"], known: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Every pixel that is not known takes the value of the nearest one that is (distances of a 5x5 mask).

    Args:
        values: (h, w) in any unit.
        known: (h, w), True somewhere.

    Source: Borgefors, Distance Transformations in Digital Images, CVGIP 1986, as OpenCV has it.
    """
    if bool(known.all()):
        return values
    mask = known.cpu().numpy()
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    numbers = values.cpu().numpy()
    table = np.zeros(int(labels.max()) + 1, np.float32)
    table[labels[mask]] = numbers[mask]
    return torch.from_numpy(np.where(mask, numbers, table[labels]))
