"""Second stages and a video model that are simple enough to know what they give."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depthweave import DepthMap, InverseDepthMap, Scale
from depthweave.models.mono.estimate import Estimate
from depthweave.types import Clip


class Neighbours:
    """Depth as the mean of the frames beside, at the pixels that are valid; -1 lies under the others."""

    name = "neighbours"

    def __init__(self, *, kill_at: int | None = None) -> None:
        self.kill_at = kill_at
        self.shots: list[tuple[int, list[float]]] = []
        self.asked = 0

    def facts(self) -> dict[str, Any]:
        return {"options": {"reach": 1}, "seed": 7}

    def refine(self, clip: Clip, depth: Sequence[DepthMap], work: Path) -> Iterator[DepthMap]:
        assert work.is_dir()
        self.shots.append((len(depth), [float(picture.mean()) for picture in clip]))
        for frame in range(len(depth)):
            if frame == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.asked += 1
            near = [depth[other] for other in (frame - 1, frame, frame + 1) if 0 <= other < len(depth)]
            valid = torch.stack([found.valid for found in near])
            values = torch.stack([found.values for found in near])
            mean = torch.where(valid, values, 0).sum(0) / valid.sum(0).clamp_min(1)
            yield replace(depth[frame], values=torch.where(depth[frame].valid, mean, -1.0))


class Fixed:
    """Maps of a model for single pictures, divided by their mean."""

    name = "fixed"

    def facts(self) -> dict[str, Any]:
        return {"options": {}}

    def stabilise(self, clip: Clip, maps: Sequence[Any], work: Path) -> Iterator[InverseDepthMap]:
        for found in maps:
            yield replace(found, values=found.values / found.values.mean())


@dataclass(frozen=True)
class Brighter:
    """Settings of `Brightness`."""

    offset: float = 0.5


class Brightness:
    """A model for single pictures: near is bright."""

    def __init__(self) -> None:
        self.config = Brighter()
        self.asked = 0

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, image: Tensor) -> Estimate:
        self.asked += 1
        return Estimate(image.mean(0) + self.config.offset, "inverse_depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


class Dream:
    """A video model without a first stage."""

    def facts(self) -> dict[str, Any]:
        return {"options": {"steps": 5}, "seed": 3, "device": "cpu", "dtype": "float32"}

    def generate(self, clip: Clip, work: Path) -> Iterator[Tensor]:
        assert work.is_dir()
        for picture in clip:
            yield picture.mean(0)
