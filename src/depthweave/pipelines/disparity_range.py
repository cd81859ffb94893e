"""Depth of a whole clip as disparity between 0 and 1 without holes: what a diffusion model can be given."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from depthweave.errors import NeedsMetric, WrongInput
from depthweave.types import DepthMap, Scale

_SAMPLES = 4_000_000
"""Inverse depths of a clip from which its quantiles are taken."""
_SMALLEST_DISPARITY = 1e-6
"""Share of the clip's range below which no refined disparity lies."""


@dataclass(frozen=True)
class DisparityRange:
    """The one affine map of a clip between inverse depth and [0, 1].

    Attributes:
        low, high: inverse depths that become 0 and 1, in the unit of the clip's depth.
    """

    low: float
    high: float

    def normalized(self, inverse: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Inverse depth in [0, 1]; what lies outside is limited."""
        return ((inverse - self.low) / (self.high - self.low)).clamp(0, 1)

    def restored(self, share: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Inverse depth of a value in [0, 1], above zero."""
        smallest = _SMALLEST_DISPARITY * max(abs(self.low), abs(self.high))
        return (share * (self.high - self.low) + self.low).clamp_min(smallest)


def disparity_range(depth: Sequence[DepthMap], quantiles: tuple[float | int, float | int]) -> DisparityRange:
    """Inverse depths of a whole clip that become 0 and 1.

    Args:
        depth: one map per frame, read one at a time.
        quantiles: of the valid inverse depths; 0 and 1 are taken of all pixels, others of evenly spaced ones.

    Raises:
        NeedsMetric: the depth's shift is unknown.
        WrongInput: no valid pixel, or only one depth.
    """
    samples: list[Tensor] = []
    low, high = float("inf"), -float("inf")
    for frame in depth:
        if frame.scale == Scale.UNKNOWN_SCALE_AND_SHIFT:
            raise NeedsMetric(
                "the second stage needs depth with a known shift; align_to(reference) brings it to a reference, or "
                "choose another first stage."
            )
        inverse = 1 / frame.values[_usable(frame)]
        if len(inverse) == 0:
            continue
        low, high = min(low, float(inverse.min())), max(high, float(inverse.max()))
        step = max(1, -(-frame.values.numel() * len(depth) // _SAMPLES))
        samples.append(inverse[::step])
    if not samples:
        raise WrongInput("no pixel of the first stage's depth is valid; look at its result, or choose another.")
    found = np.quantile(torch.cat(samples).double().numpy(), [float(share) for share in quantiles])
    limits = DisparityRange(
        low if quantiles[0] == 0 else float(found[0]), high if quantiles[1] == 1 else float(found[1])
    )
    if not limits.high > limits.low:
        raise WrongInput("the first stage's depth is the same everywhere; look at its result, or choose another.")
    return limits


class FilledDisparity:
    """Inverse depth of every frame, with values under invalid pixels: the nearest in time, else in the frame.

    Of two frames equally near in time, the earlier one counts.

    Args:
        depth: one map per frame, read one at a time; few of them are kept.
        reach: frames to look at on either side.
    """

    def __init__(self, depth: Sequence[DepthMap], reach: int) -> None:
        self._count = len(depth)
        self._reach = reach
        self._frame = lru_cache(maxsize=2 * reach + 1)(lambda index: _inverse(depth[index]))

    def __getitem__(self, index: int) -> Float[Tensor, "h w"]:
        values, known = (tensor.clone() for tensor in self._frame(index))
        nearest = (index + sign * distance for distance in range(1, self._reach + 1) for sign in (-1, 1))
        for other in nearest:
            if bool(known.all()):
                break
            if 0 <= other < self._count:
                others, usable = self._frame(other)
                new = usable & ~known
                values[new] = others[new]
                known |= new
        return _filled_in_frame(values, known)


def _usable(frame: DepthMap) -> Bool[Tensor, "h w"]:
    return frame.valid & (frame.values > 0)


def _inverse(frame: DepthMap) -> tuple[Tensor, Tensor]:
    usable = _usable(frame)
    return torch.where(usable, 1 / frame.values.clamp_min(1e-12), 0.0), usable


def _filled_in_frame(values: Tensor, known: Tensor) -> Tensor:
    if bool(known.all()) or not bool(known.any()):
        return values
    rows, columns = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return values[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]
