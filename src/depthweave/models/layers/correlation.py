"""Correlation of all pairs on a row, and its look-up around a disparity.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021, section 3.2.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STORED_BYTES = 2 << 30
"""A volume larger than this is computed again, some rows at a time, at every look-up."""


class RowCorrelation:
    """V(y, x, x') = <f1(y, x), f2(y, x')> / sqrt(c), in float32, and its averages over pairs, fours, ... of x'.

    Values between pixels are linear; outside [0, w' - 1] the volume is zero.

    Args:
        left, right: features on the same rows.
        levels: number of widths, each half of the one before (an odd last column is dropped).
        stored_bytes: keep volumes up to this size; a larger one costs one more product of features per look-up.
    """

    def __init__(
        self,
        left: Float[Tensor, "b c h w"],
        right: Float[Tensor, "b c h w2"],
        *,
        levels: int,
        stored_bytes: int = STORED_BYTES,
    ) -> None:
        b, c, h, w = left.shape
        self.levels = levels
        self._left = (left.float() / c**0.5).permute(0, 2, 3, 1).reshape(b * h, w, c)
        self._right = right.float().permute(0, 2, 3, 1).reshape(b * h, -1, c)
        self._columns = torch.arange(w, device=left.device, dtype=torch.float32)
        self._shape = (b, h, w)
        row_bytes = 8 * w * self._right.shape[1]
        self._rows = b * h if b * h * row_bytes <= stored_bytes else max(1, stored_bytes // 16 // row_bytes)
        self._stored = self._volume(slice(None)) if self._rows == b * h else None

    def around(self, disparity: Float[Tensor, "b 1 h w"], radius: int) -> Float[Tensor, "b k h w"]:
        """Samples at k + (x - d) / 2^i for level i (outer) and k = -radius..radius (inner); d in px of the features."""
        return self._look_up([(level, 1.0) for level in range(self.levels)], disparity, radius)

    def at_scales(
        self, disparity: Float[Tensor, "b 1 h w"], scales: Sequence[float], radius: int
    ) -> Float[Tensor, "b k h w"]:
        """Samples of the finest level at k + x - s d for s in ``scales`` (outer) and k = -radius..radius (inner)."""
        return self._look_up([(0, scale) for scale in scales], disparity, radius)

    def _look_up(self, places: Sequence[tuple[int, float]], disparity: Tensor, radius: int) -> Tensor:
        b, h, w = self._shape
        flat = disparity.float().reshape(b * h, w)
        found = []
        for start in range(0, b * h, self._rows):
            rows = slice(start, start + self._rows)
            volume = self._volume(rows) if self._stored is None else self._stored
            found.append(
                torch.cat(
                    [
                        _sample(volume[level], (self._columns - scale * flat[rows]) / 2**level, radius)
                        for level, scale in places
                    ],
                    -1,
                )
            )
        samples = found[0] if len(found) == 1 else torch.cat(found)
        return samples.reshape(b, h, w, -1).permute(0, 3, 1, 2)

    def _volume(self, rows: slice) -> list[Tensor]:
        kind = self._left.device.type
        # Autocast would compute this product, whose small differences decide, in half precision.
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            volume = [torch.bmm(self._left[rows], self._right[rows].transpose(1, 2))]
        for _ in range(self.levels - 1):
            volume.append(F.avg_pool1d(volume[-1], 2))
        return volume


def _sample(volume: Float[Tensor, "n w w2"], at: Float[Tensor, "n w"], radius: int) -> Float[Tensor, "n w k"]:
    """Linear samples at ``at`` + k, k = -radius..radius: the fraction is the same for all, so 2 radius + 2 are read."""
    width = volume.shape[-1]
    # Far outside everything is zero, wherever exactly; and what is not finite must not become an index.
    at = torch.nan_to_num(at, nan=-radius - 2.0).clamp(-radius - 2, width + radius + 1)
    first = at.floor()
    steps = torch.arange(-radius, radius + 2, device=volume.device)
    index = first.long()[..., None] + steps
    inside = (index >= 0) & (index < width)
    values = volume.gather(-1, index.clamp(0, width - 1)) * inside
    return torch.lerp(values[..., :-1], values[..., 1:], (at - first)[..., None])
