"""Correlation of all pairs on a row, and its look-up around a disparity.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021, section 3.2.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.strips import Rows, each_strip, saves_time, strips

STORED_BYTES = 2 << 30
"""A volume larger than this is computed again, some rows at a time, at every look-up."""

LARGEST_RADIUS = 8
"""Of a look-up."""

_FAR = LARGEST_RADIUS + 2
_MARGIN = _FAR + LARGEST_RADIUS + 2


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
        row_bytes = 8 * w * (self._right.shape[1] + 2 * _MARGIN)
        self._rows = b * h if b * h * row_bytes <= stored_bytes else max(1, stored_bytes // 16 // row_bytes)
        self._stored: list[Tensor] | None = None
        if self._rows == b * h:
            self._stored = self._volume(slice(None))
            del self._left, self._right

    def around(self, disparity: Float[Tensor, "b 1 h w"], radius: int) -> Float[Tensor, "b k h w"]:
        """Samples at k + (x - d) / 2^i for level i (outer) and k = -radius..radius (inner); d in px of the features."""
        return self._look_up(disparity, radius, range(self.levels), (1.0,))

    def at_scales(
        self, disparity: Float[Tensor, "b 1 h w"], scales: Sequence[float], radius: int
    ) -> Float[Tensor, "b k h w"]:
        """Samples of the finest level at k + x - s d for s in ``scales`` (outer) and k = -radius..radius (inner)."""
        return self._look_up(disparity, radius, (0,), scales)

    def _look_up(self, disparity: Tensor, radius: int, levels: Sequence[int], scales: Sequence[float]) -> Tensor:
        if radius > LARGEST_RADIUS:
            raise WrongInput(f"a look-up reaches {LARGEST_RADIUS} px at most, not {radius}.")
        b, h, w = self._shape
        flat = disparity.float().reshape(b * h, w)
        factors = torch.tensor(scales, device=flat.device)
        count = len(levels) * len(scales) * (2 * radius + 1)

        def samples(rows: slice) -> Tensor:
            volume = self._volume(rows) if self._stored is None else [level[rows] for level in self._stored]
            at = self._columns[:, None] - flat[rows, :, None] * factors
            return torch.cat([_sample(volume[level], at / 2**level, radius) for level in levels], -1)

        if saves_time(flat):
            found = flat.new_empty(b * h, w, count)

            def work(parts: Sequence[Rows]) -> None:
                for part in parts:
                    found[slice(*part)] = samples(slice(*part))

            each_strip(strips(b * h, 8 * w * count), work)
        else:
            found = torch.cat([samples(slice(row, row + self._rows)) for row in range(0, b * h, self._rows)])
        return found.reshape(b, h, w, count).permute(0, 3, 1, 2)

    def _volume(self, rows: slice) -> list[Tensor]:
        kind = self._left.device.type
        # Autocast would compute this product, whose small differences decide, in half precision.
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            volume = [torch.bmm(self._left[rows], self._right[rows].transpose(1, 2))]
        for _ in range(self.levels - 1):
            volume.append(F.avg_pool1d(volume[-1], 2))
        return [F.pad(level, (_MARGIN, _MARGIN)) for level in volume]


def _sample(volume: Float[Tensor, "n w w2"], at: Float[Tensor, "n w s"], radius: int) -> Float[Tensor, "n w k"]:
    """Linear samples at ``at`` + k, k = -radius..radius: the fraction is the same for all, so 2 radius + 2 are read.

    The volume has a margin of zeros on both sides, which ``at`` does not count.
    """
    width = volume.shape[-1] - 2 * _MARGIN
    # Far outside everything is zero, wherever exactly; and what is not finite must not become an index.
    at = torch.nan_to_num(at, nan=-_FAR).clamp(-_FAR, width + _FAR)
    first = at.floor()
    index = first.long()[..., None] + torch.arange(_MARGIN - radius, _MARGIN + radius + 2, device=volume.device)
    values = volume.gather(-1, index.flatten(-2)).view(index.shape)
    return torch.lerp(values[..., :-1], values[..., 1:], (at - first)[..., None]).flatten(-2)
