"""OpenCV's semi-global and block matchers behind the same call: every column matched, both directions checked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave.classical.consistency import Match
from depthweave.errors import WrongInput
from depthweave.images import image_from_tensor, luminance

SIXTEENTHS = 16
"""OpenCV counts disparity in sixteenths of a px, and the disparities it tries in multiples of 16."""

CONTRAST_WINDOW = 7
CONTRAST_GAIN = 40.0
CONTRAST_FLOOR = 4.0
MIDDLE_GREY = 128


@dataclass(frozen=True, kw_only=True)
class TwoWayConfig:
    """What is done with an OpenCV matcher's two answers.

    Attributes:
        check_threshold_px: largest difference of the left-right check in px.
        speckle_size_px: islands of up to this many px are dropped; 0 keeps all.
        speckle_range_px: largest disparity step inside an island in px.
        median_size: side of the final median in px: 1 (none), 3 or 5.
    """

    check_threshold_px: float = 1.0
    speckle_size_px: int = 100
    speckle_range_px: float = 1.0
    median_size: Literal[1, 3, 5] = 5


@dataclass(frozen=True)
class SemiGlobalConfig(TwoWayConfig):
    """How `SemiGlobalMatching` works; see `TwoWayConfig` for the check and the filters.

    Attributes:
        channels: what is compared, see `structure_channels`; "grey" and "colour" compare the pictures as they are.
        block_size: side of the window of the matching cost in px, odd.
        p1: penalty of a disparity step of 1 px, times channels * block_size².
        p2: penalty of a larger step, times channels * block_size².
        prefilter_cap: bound of OpenCV's horizontal gradient in grey levels.
        uniqueness_percent: margin in percent by which the best cost must undercut its rivals.
    """

    channels: Literal["structure", "grey", "colour"] = "structure"
    block_size: int = 3
    p1: int = 8
    p2: int = 32
    prefilter_cap: int = 31
    uniqueness_percent: int = 0


class SemiGlobalMatching:
    """OpenCV's StereoSGBM along all 8 paths (mode HH), from left to right and from right to left at once.

    The images are extended by max_disparity columns, so that the left border is matched too. The two directions run in
    two threads; the result does not depend on that. Peak memory is about ``8 * h * w * max_disparity`` bytes.

    Source: Hirschmüller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008.
    """

    def __init__(self, config: SemiGlobalConfig | None = None) -> None:
        self.config = config or SemiGlobalConfig()

    def __call__(self, left: Float[Tensor, "3 h w"], right: Float[Tensor, "3 h w"], max_disparity: int) -> Match:
        """Match a rectified pair.

        Args:
            left: RGB in [0, 1], on any device; the work is done on the CPU, in 8 bits.
            right: RGB in [0, 1], same size.
            max_disparity: disparities 0 ... max_disparity - 1 px are tried, rounded up to a multiple of 16.

        Returns:
            Disparity of the left image, on the device of the images.

        Raises:
            WrongInput: if the sizes differ or max_disparity is not positive.
        """
        config = self.config
        pictures = {"structure": structure_channels, "grey": _grey, "colour": image_from_tensor}[config.channels]
        first, second = pictures(left), pictures(right)
        area = (first.shape[2] if first.ndim == 3 else 1) * config.block_size**2

        def matcher(count: int) -> Any:
            return cv2.StereoSGBM.create(
                minDisparity=0,
                numDisparities=count,
                blockSize=config.block_size,
                P1=config.p1 * area,
                P2=config.p2 * area,
                disp12MaxDiff=1,
                preFilterCap=config.prefilter_cap,
                uniquenessRatio=config.uniqueness_percent,
                mode=cv2.STEREO_SGBM_MODE_HH,
            )

        return _match_both_ways(matcher, first, second, max_disparity, config.block_size // 2, config, left.device)


@dataclass(frozen=True)
class OpenCVBlockConfig(TwoWayConfig):
    """How `OpenCVBlockMatching` works; see `TwoWayConfig` for the check and the filters.

    Attributes:
        block_size: side of the window in px, odd, at least 5.
        prefilter_cap: bound of the horizontal gradient that is compared, in grey levels, 1 to 63.
        texture_threshold: least sum of that gradient over the window.
        uniqueness_percent: margin in percent by which the best cost must undercut its rivals.
    """

    block_size: int = 11
    prefilter_cap: int = 31
    texture_threshold: int = 10
    uniqueness_percent: int = 0


class OpenCVBlockMatching:
    """OpenCV's StereoBM (sums of absolute differences of the horizontal gradient), both directions checked.

    The images are extended on all sides, so that no border is lost.

    Source: Konolige, "Small vision systems: hardware and implementation", ISRR 1997.
    """

    def __init__(self, config: OpenCVBlockConfig | None = None) -> None:
        self.config = config or OpenCVBlockConfig()

    def __call__(self, left: Float[Tensor, "3 h w"], right: Float[Tensor, "3 h w"], max_disparity: int) -> Match:
        """Match a rectified pair.

        Args:
            left: RGB in [0, 1], on any device; the work is done on the CPU, in 8 bits.
            right: RGB in [0, 1], same size.
            max_disparity: disparities 0 ... max_disparity - 1 px are tried, rounded up to a multiple of 16.

        Returns:
            Disparity of the left image, on the device of the images.

        Raises:
            WrongInput: if the sizes differ or max_disparity is not positive.
        """
        config = self.config

        def matcher(count: int) -> Any:
            matching = cv2.StereoBM.create(numDisparities=count, blockSize=config.block_size)
            matching.setPreFilterType(cv2.STEREO_BM_PREFILTER_XSOBEL)
            matching.setPreFilterCap(config.prefilter_cap)
            matching.setTextureThreshold(config.texture_threshold)
            matching.setUniquenessRatio(config.uniqueness_percent)
            return matching

        reach = config.block_size // 2 + 1
        return _match_both_ways(matcher, _grey(left), _grey(right), max_disparity, reach, config, left.device)


def structure_channels(image: Float[Tensor, "3 h w"]) -> NDArray[np.uint8]:
    """Three 8-bit views of a picture's grey values that survive a change of light.

    They are the grey value g itself; 128 + 40 (g - m) / sqrt(s² + 4²) with mean m and deviation s of its 7 x 7
    neighbourhood; and 128 + its vertical Sobel gradient. Matchers which already compare horizontal gradients, as
    OpenCV's do, miss exactly the last.

    Args:
        image: RGB in [0, 1].

    Returns:
        (h, w, 3) grey levels, clipped to 0 ... 255.
    """
    grey = _grey(image)
    window = (CONTRAST_WINDOW, CONTRAST_WINDOW)
    mean = cv2.blur(grey.astype(np.float32), window)
    variance = cv2.sqrBoxFilter(grey, cv2.CV_32F, window) - mean * mean
    contrast = CONTRAST_GAIN * (grey - mean) / np.sqrt(np.maximum(variance, 0) + CONTRAST_FLOOR**2)
    contrast_level = np.rint(MIDDLE_GREY + contrast).clip(0, 255).astype(np.uint8)
    gradient_level = cv2.Sobel(grey, cv2.CV_8U, 0, 1, delta=MIDDLE_GREY)
    return cv2.merge([grey, contrast_level, gradient_level]).astype(np.uint8, copy=False)


def _grey(image: Tensor) -> NDArray[np.uint8]:
    grey = cv2.convertScaleAbs(luminance(image).detach().cpu().numpy(), alpha=255.0)
    return grey.astype(np.uint8, copy=False)


def _match_both_ways(
    matcher: Callable[[int], Any],
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    max_disparity: int,
    reach: int,
    config: TwoWayConfig,
    device: torch.device,
) -> Match:
    """Run an OpenCV matcher on both views extended by ``reach`` px, check, drop speckles, fill and smooth."""
    if left.shape != right.shape:
        raise WrongInput(f"the left image is {left.shape[:2]} and the right one {right.shape[:2]}; they must be equal")
    if max_disparity < 1:
        raise WrongInput(f"max_disparity is {max_disparity}; it must be at least 1 px")
    height, width = left.shape[:2]
    count = SIXTEENTHS * -(-max_disparity // SIXTEENTHS)

    def disparity_of(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int16]:
        borders = (reach, reach, reach + count, reach, cv2.BORDER_REPLICATE)
        disparity = matcher(count).compute(*(cv2.copyMakeBorder(view, *borders) for view in (first, second)))
        found: NDArray[np.int16] = disparity[reach : reach + height, reach + count : reach + count + width]
        return found

    # OpenCV knows the left view as reference only: the mirrored right view is the left one of the mirrored pair
    with ThreadPoolExecutor(2) as threads:
        mirrored = threads.submit(disparity_of, *(np.ascontiguousarray(view[:, ::-1]) for view in (right, left)))
        fixed = disparity_of(left, right)
        fixed_right = cv2.flip(mirrored.result(), 1)

    # float px here and nowhere else; negative = unmatched
    disparity, right_disparity = (d.astype(np.float32) / np.float32(SIXTEENTHS) for d in (fixed, fixed_right))
    difference = _left_right_difference(disparity, right_disparity)
    agreed = difference <= config.check_threshold_px
    if not (_changes_along_rows(left) and _changes_along_rows(right)):
        agreed[:] = False
    islands = np.where(agreed, fixed, np.int16(-SIXTEENTHS))
    cv2.filterSpeckles(islands, -SIXTEENTHS, config.speckle_size_px, round(config.speckle_range_px * SIXTEENTHS))
    valid = islands >= 0
    filled = _background_fill(disparity, valid)
    if config.median_size > 1:
        filled = cv2.medianBlur(filled, config.median_size).astype(np.float32, copy=False)
    confidence = np.exp(np.where(valid, -difference, np.float32(-np.inf)))
    return Match(*(torch.from_numpy(found).to(device) for found in (filled, valid, confidence)))


def _changes_along_rows(picture: NDArray[np.uint8]) -> bool:
    """Whether any row has texture; without it all disparities cost the same and OpenCV answers 0."""
    return bool((picture[:, 1:] != picture[:, :-1]).any())


# OpenCV's results live on the host, where NumPy is quick and unaffected by how busy torch's threads are: these are the
# host twins of the functions of the same name in `consistency`, and the tests hold them equal.


def _left_right_difference(
    left_disparity: NDArray[np.float32], right_disparity: NDArray[np.float32]
) -> NDArray[np.float32]:
    width = left_disparity.shape[1]
    target = np.arange(width) - np.rint(left_disparity).astype(np.intp)
    back = np.take_along_axis(right_disparity, target.clip(0, width - 1), 1)
    matched = (left_disparity >= 0) & (target >= 0) & (back >= 0)
    return np.where(matched, np.abs(left_disparity - back), np.float32(np.inf))


def _background_fill(disparity: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    height, width = disparity.shape
    place = np.arange(width)
    before = np.maximum.accumulate(np.where(valid, place, -1), 1)
    after = np.minimum.accumulate(np.where(valid, place, width)[:, ::-1], 1)[:, ::-1]
    beside = np.pad(disparity, ((0, 0), (1, 1)), constant_values=np.inf)
    filled = np.minimum(np.take_along_axis(beside, before + 1, 1), np.take_along_axis(beside, after + 1, 1))
    rows = np.flatnonzero(valid.any(1))
    if len(rows) == height:
        return filled
    if len(rows) == 0:
        return np.zeros_like(disparity)
    middles = (rows[:-1] + rows[1:]) / 2
    return filled[rows[np.searchsorted(middles, np.arange(height))]]
