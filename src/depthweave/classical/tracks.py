"""Corners followed through a clip."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

FEATURES = 1200
"""So many corners are followed at a time."""
_SPACING = 0.012
"""Least distance of two corners, as a share of the picture's diagonal."""
_QUALITY = 0.001
"""Of the weakest corner against the best: pictures of plain walls have no others."""
_LEVELS, _WINDOW_PX = 4, 15
_RETURN_PX = 0.7
"""A corner that is followed back ends this close to where it started, or it is lost."""


@dataclass(eq=False)
class FeatureTracker:
    """Follows corners from frame to frame and finds new ones where old ones were lost.

    Corners are those of Shi and Tomasi; each is followed with the pyramid of Lucas and Kanade and back again.

    Attributes:
        features: how many are followed at a time.

    Sources: Shi and Tomasi, Good features to track, CVPR 1994; Bouguet, Pyramidal implementation of the Lucas Kanade
    feature tracker, Intel 2000; Kalal et al., Forward-backward error, ICPR 2010.
    """

    features: int = FEATURES
    _previous: NDArray[np.uint8] | None = field(default=None, repr=False)
    _positions: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32), repr=False)
    _ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    _next: int = 0

    def follow(
        self, grey: UInt8[NDArray[np.uint8], "h w"]
    ) -> tuple[Int[NDArray[np.int64], "n"], Float[NDArray[np.float32], "n 2"]]:
        """Numbers of the corners in the next frame, and their positions (x, y) in px."""
        if self._previous is not None and len(self._ids):
            self._advance(grey)
        self._replenish(grey)
        self._previous = grey
        return self._ids.copy(), self._positions.copy()

    def _advance(self, grey: NDArray[np.uint8]) -> None:
        assert self._previous is not None
        settings = {"winSize": (_WINDOW_PX, _WINDOW_PX), "maxLevel": _LEVELS}
        start = self._positions
        found, there, _ = cv2.calcOpticalFlowPyrLK(self._previous, grey, start, None, **settings)  # type: ignore[call-overload]
        back, here, _ = cv2.calcOpticalFlowPyrLK(
            grey, self._previous, found, start.copy(), flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **settings
        )  # type: ignore[call-overload]
        height, width = grey.shape
        inside = (found >= 0).all(1) & (found[:, 0] <= width - 1) & (found[:, 1] <= height - 1)
        returned = np.linalg.norm(back - start, axis=1) < _RETURN_PX
        kept = (there[:, 0] == 1) & (here[:, 0] == 1) & inside & returned
        self._positions, self._ids = found[kept], self._ids[kept]

    def _replenish(self, grey: NDArray[np.uint8]) -> None:
        missing = self.features - len(self._ids)
        if missing < self.features // 8:
            return
        spacing = max(3.0, _SPACING * float(np.hypot(*grey.shape)))
        free = np.full(grey.shape, 255, np.uint8)
        for x, y in self._positions:
            cv2.circle(free, (round(float(x)), round(float(y))), round(spacing), 0, -1)
        corners: Any = cv2.goodFeaturesToTrack(grey, missing, _QUALITY, spacing, mask=free, blockSize=5)
        if corners is None:
            return
        fresh = corners[:, 0]
        cv2.cornerSubPix(grey, fresh, (3, 3), (-1, -1), (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 10, 0.03))
        self._positions = np.concatenate([self._positions, fresh])
        self._ids = np.concatenate([self._ids, np.arange(self._next, self._next + len(fresh))])
        self._next += len(fresh)
