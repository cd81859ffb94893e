"""Small stereo networks whose answers can be told in advance."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class SearchConfig:
    largest_px: int = 12
    window: int = 1


class Search(nn.Module):
    """Soft argmin of colour differences: sharp for pictures in 0..255, useless for [0, 1]."""

    multiple: ClassVar[int] = 8

    def __init__(self, config: SearchConfig | None = None) -> None:
        super().__init__()
        self.config = config or SearchConfig()
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.calls: list[dict[str, object]] = []

    def forward(
        self,
        left: Tensor,
        right: Tensor,
        *,
        iterations: int = 3,
        step: float = 1.0,
        initial: Tensor | None = None,
        trace: dict[str, Tensor] | None = None,
    ) -> Tensor:
        half = torch.is_autocast_enabled(left.device.type)
        self.calls.append(
            {"left": left, "right": right, "initial": initial, "iterations": iterations, "step": step, "half": half}
        )
        assert left.shape[-1] % self.multiple == left.shape[-2] % self.multiple == 0
        costs = []
        for d in range(min(self.config.largest_px, left.shape[-1])):
            difference = (left[..., d:] - right[..., : left.shape[-1] - d]).abs().sum(1, keepdim=True)
            window = self.config.window
            near = F.avg_pool2d(difference, window, 1, window // 2, count_include_pad=False)
            costs.append(F.pad(near, (d, 0), value=1e4))
        weight = torch.softmax(-torch.cat(costs, 1) / self.temperature, 1)
        return (weight * torch.arange(float(len(costs)))[:, None, None]).sum(1, keepdim=True)

    def memory_bytes(self, height: int, width: int) -> int:
        return height * width * 1000


class Echo(Search):
    """Answers with the disparity it is to start from, else with the left picture's red, so that every shift shows."""

    def forward(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        self.calls.append({"left": left, "right": right, "initial": initial, "iterations": iterations})
        return left[:, :1].clone() if initial is None else initial.clone()


class Ranged(Search):
    """Searches as far as it is told; its memory is what it searches."""

    def forward(  # type: ignore[override]
        self,
        left: Tensor,
        right: Tensor,
        *,
        iterations: int = 3,
        initial: Tensor | None = None,
        max_disparity: int | None = None,
    ) -> Tensor:
        reach = min(max_disparity or self.config.largest_px, left.shape[-1])
        own, self.config = self.config, SearchConfig(reach, self.config.window)
        found = super().forward(left, right, iterations=iterations, initial=initial)
        self.config = own
        self.calls[-1]["max_disparity"] = max_disparity
        return found

    def memory_bytes(self, height: int, width: int, max_disparity: int | None = None) -> int:
        return height * width * 10 * (max_disparity or 100)


class Rated(Echo):
    """Answers with a start or red, is as sure as the left picture's green and sees as much as its blue."""

    def rated(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        return torch.cat([self(left, right, iterations=iterations, initial=initial), left[:, 1:] / 255], 1)
