"""Whether a match fits into memory, said before it starts, and what would fit instead."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from depthweave import runtime
from depthweave.classical import Match
from depthweave.errors import NotEnoughMemory, WrongInput
from depthweave.pipelines.resolution import Resolution

_SCALES = (0.75, 0.5, 0.375, 0.25, 0.125)
_PARTS = (1, 2, 3, 4, 6, 8)
_TILE_STEP_PX = 32


@dataclass(frozen=True)
class MemoryPlan:
    """What a pair is matched with, as far as memory depends on it.

    Attributes:
        who: the model.
        height, width: of the pair in px.
        max_disparity: search range in px of the pair, which tiles must hold.
        resolution: the size at which to match.
        device: where.
        bytes_of: bytes that (height, width, search range) matched at once takes; None where there is no estimate.
        own_range: whether the matcher chooses its range itself where there are no tiles.
    """

    who: str
    height: int
    width: int
    max_disparity: int
    resolution: Resolution
    device: torch.device
    bytes_of: Callable[[int, int, int | None], int] | None
    own_range: bool = False

    def run(self, work: Callable[[], Match]) -> Match:
        """Do the work unless the estimate says that it does not fit.

        Raises:
            NotEnoughMemory: it does not fit, or the allocator ran out during the work; the sentence names the need,
                what is free, and a scale and tiles that would fit.
        """
        free = runtime.available_memory_bytes(self.device)
        cost = self._cost(self.resolution)
        if self.bytes_of is None or free is None or cost <= free:
            try:
                return work()
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, NotEnoughMemory) or not _is_allocation_failure(error):
                    raise
            # Out here the tensors of the failed work are free again. The estimate was too low: aim at half of it.
            free = runtime.available_memory_bytes(self.device)
            raise self._refusal(cost, free, cost // 2)
        raise self._refusal(cost, free, cost)

    def _cost(self, resolution: Resolution) -> int:
        """Bytes; where there is no estimate, pixels, to compare sizes by."""
        height, width = resolution.window_size(self.height, self.width)
        if self.bytes_of is None:
            return height * width
        if self.own_range and resolution.tile is None:
            return self.bytes_of(height, width, None)
        return self.bytes_of(height, width, resolution.working_range(self.max_disparity, self.height, self.width))

    def _refusal(self, cost: int, free: int | None, limit: int) -> NotEnoughMemory:
        if self.bytes_of is not None and free is not None:
            limit = min(limit, free)
        height, width = self.resolution.window_size(self.height, self.width)
        need = "more memory than there is" if self.bytes_of is None else f"about {_gigabytes(cost)}"
        have = "" if free is None else f", and {_gigabytes(free)} are free"
        ways = [way for way in (self._smaller_scale(limit), self._tiles(limit)) if way is not None]
        advice = f"match at {' or with '.join(ways)}" if ways else "choose a smaller model"
        return NotEnoughMemory(
            f"{self.who} needs {need} to match {width}x{height} px at once on {self.device}{have}; {advice}, "
            "or another --device."
        )

    def _smaller_scale(self, limit: int) -> str | None:
        _, width = self.resolution.working_size(self.height, self.width)
        for factor in _SCALES:
            scale = round(width / self.width * factor, 3)
            if self._fits(replace(self.resolution, scale=scale), limit):
                return f"scale={scale:g} (--scale {scale:g})"
        return None

    def _tiles(self, limit: int) -> str | None:
        height, width = self.resolution.window_size(self.height, self.width)
        for columns in _PARTS:
            for rows in _PARTS:
                tile = (_share(height, rows), _share(width, columns))
                if self._fits(replace(self.resolution, tile=tile), limit):
                    return f"tile={tile} (--tile {tile[1]}x{tile[0]})"
        return None

    def _fits(self, resolution: Resolution, limit: int) -> bool:
        try:
            height, width = resolution.working_size(self.height, self.width)
            resolution.windows(height, width, resolution.working_range(self.max_disparity, self.height, self.width))
        except WrongInput:
            return False
        return self._cost(resolution) <= limit


def _share(side: int, parts: int) -> int:
    return -(-side // parts // _TILE_STEP_PX) * _TILE_STEP_PX


def _is_allocation_failure(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "DefaultCPUAllocator" in text


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
