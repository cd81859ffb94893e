"""What sparse features say about two views before anything dense is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

FEWEST_MATCHES = 20
WORKING_WIDTH_PX = 640


@dataclass(frozen=True)
class PairCheck:
    """How a pair's matched features lie.

    Attributes:
        matches: number of matched features.
        vertical_offset_px: median of y_left - y_right in px of the input; 0 with too few matches.
        behind_share: share of features with x_right > x_left + 1 px, which no point in front of parallel cameras has.
    """

    matches: int
    vertical_offset_px: float
    behind_share: float

    @property
    def looks_swapped(self) -> bool:
        """Most features lie on the wrong side."""
        return self.behind_share > 0.5


def match_features(
    left: Float[Tensor, "3 h w"], right: Float[Tensor, "3 h w"]
) -> tuple[Float[NDArray[np.float32], "n 2"], Float[NDArray[np.float32], "n 2"]]:
    """Positions (x, y) in px of features found in both views: ORB, mutual nearest neighbours, wide vertical limit.

    Pictures wider than 640 px are shrunk first; positions are in px of the input.

    Source: Rublee et al., ORB: an efficient alternative to SIFT or SURF, ICCV 2011.
    """
    height, width = left.shape[-2:]
    scale = min(1.0, WORKING_WIDTH_PX / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    detector = cv2.ORB.create(nfeatures=800, fastThreshold=10)
    found = [detector.detectAndCompute(_grey(view, size), None) for view in (left, right)]
    (keys_left, codes_left), (keys_right, codes_right) = found
    nothing = np.zeros((0, 2), np.float32)
    if not keys_left or not keys_right:
        return nothing, nothing
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(codes_left, codes_right)
    good = [m for m in pairs if m.distance <= 40]
    # ORB places a feature at a pixel's centre of the small picture; the half-pixel rule takes it back.
    ratio = np.array([width / size[0], height / size[1]], np.float32)

    def positions(points: list[Sequence[float]]) -> NDArray[np.float32]:
        small = np.array(points, np.float32).reshape(-1, 2)
        return (small + np.float32(0.5)) * ratio - np.float32(0.5)

    return (
        positions([keys_left[m.queryIdx].pt for m in good]),
        positions([keys_right[m.trainIdx].pt for m in good]),
    )


def check_pair(left: Float[Tensor, "3 h w"], right: Float[Tensor, "3 h w"]) -> PairCheck:
    """Vertical offset and order of a pair, from sparse features; with fewer than 20 matches nothing is claimed."""
    points_left, points_right = match_features(left, right)
    if len(points_left) < FEWEST_MATCHES:
        return PairCheck(len(points_left), 0.0, 0.0)
    offset = points_left - points_right
    return PairCheck(len(points_left), float(np.median(offset[:, 1])), float(np.mean(offset[:, 0] < -1.0)))


def _grey(view: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    green = np.ascontiguousarray(view[1].cpu().numpy())
    small = green if green.shape == size[::-1] else cv2.resize(green, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.convertScaleAbs(small, alpha=255.0), dtype=np.uint8)
