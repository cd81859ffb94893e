"""Maps as files see them: float32 numbers, with a sentinel where a number is not usable."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongInput

FloatMap = NDArray[np.float32]
Mask = NDArray[np.bool_]


def checked_map(values: NDArray[np.floating[Any]], valid: NDArray[Any] | None) -> tuple[FloatMap, Mask]:
    """Return a map and its mask as float32 and bool, or say why they cannot be written.

    Args:
        values: (H, W) in any unit.
        valid: (H, W), True = usable; None = every pixel is usable.

    Raises:
        WrongInput: not two-dimensional, empty, shapes differ, or NaN or infinity at a usable pixel.
    """
    numbers = np.asarray(values, dtype=np.float32)
    if numbers.ndim != 2 or numbers.size == 0:
        raise WrongInput(f"a map needs the shape (height, width), not {numbers.shape}")
    mask = np.ones(numbers.shape, dtype=np.bool_) if valid is None else np.asarray(valid)
    if mask.shape != numbers.shape or mask.dtype != np.bool_:
        raise WrongInput(
            f"valid must be bool of shape {numbers.shape} like the map, not {mask.dtype} of shape {mask.shape}"
        )
    bad = int(np.count_nonzero(mask & ~np.isfinite(numbers)))
    if bad:
        raise WrongInput(f"{bad} of {numbers.size} values are NaN or infinite; mark them False in valid")
    return numbers, mask


def filled(values: FloatMap, valid: Mask) -> FloatMap:
    """Return the map with 0 at every pixel that is not usable.

    Args:
        values: (H, W), anything where `valid` is False.
        valid: (H, W), True = usable.
    """
    return values if valid.all() else np.where(valid, values, np.float32(0))
