"""Matching costs of rectified pairs as cost volumes: how unlike are x in the left image and x - d in the right one.

Every function takes ``(left, right, max_disparity, window)`` and returns a volume whose entry ``[..., d, y, x]`` is the
cost of disparity d px at left pixel (y, x), for d = 0 ... max_disparity - 1. Lower is better. Where x - d lies outside
the right image the entry is ``inf``. The sums of the formulas run over W, the window x window pixels around (y, x) that
lie in both images, and over all channels, and are divided by the number of their terms: a window cut by a border is
compared with full ones on equal terms.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from depthweave.errors import WrongInput

CENSUS_ROWS, CENSUS_COLUMNS = 7, 9
NO_TEXTURE_VARIANCE = 1e-6
"""Windows whose variance is below this (a deviation of 1/1000 of the intensity range) count as flat."""


def default_max_disparity(width: int) -> int:
    """Return a disparity range for a pair about which nothing is known: a sixth of its width, rounded up to 16 px.

    Args:
        width: width of the images in px.

    Returns:
        Number of disparities to try, a multiple of 16 px.

    Raises:
        WrongInput: if the width is not positive.
    """
    if width < 1:
        raise WrongInput(f"an image cannot be {width} px wide; pass the width of the left image")
    return 16 * -(-width // 96)


def sad(
    left: Float[Tensor, "*b c h w"], right: Float[Tensor, "*b c h w"], max_disparity: int, window: int
) -> Float[Tensor, "*b d h w"]:
    """Sum of absolute differences, mean over W of \\|l - r\\|.

    Args:
        left: left image, intensities in [0, 1], any leading dims.
        right: right image of the same shape.
        max_disparity: number of disparities d to try, in px from 0.
        window: side of the square window in px, odd.

    Returns:
        Cost volume in [0, 1], ``inf`` out of view.

    Raises:
        WrongInput: if the shapes differ or a number cannot be used.

    Source: Scharstein and Szeliski, "A taxonomy and evaluation of dense two-frame stereo correspondence algorithms",
    IJCV 2002, section 3.1.
    """

    def cost(x: Tensor, y: Tensor) -> Tensor:
        return _window_mean((x - y).abs().mean(-3), window)

    return _cost_volume(left, right, max_disparity, window, cost)


def ssd(
    left: Float[Tensor, "*b c h w"], right: Float[Tensor, "*b c h w"], max_disparity: int, window: int
) -> Float[Tensor, "*b d h w"]:
    """Sum of squared differences, mean over W of (l - r)².

    Args:
        left: left image, intensities in [0, 1], any leading dims.
        right: right image of the same shape.
        max_disparity: number of disparities d to try, in px from 0.
        window: side of the square window in px, odd.

    Returns:
        Cost volume in [0, 1], ``inf`` out of view.

    Raises:
        WrongInput: if the shapes differ or a number cannot be used.

    Source: Scharstein and Szeliski, IJCV 2002, section 3.1.
    """

    def cost(x: Tensor, y: Tensor) -> Tensor:
        return _window_mean((x - y).square().mean(-3), window)

    return _cost_volume(left, right, max_disparity, window, cost)


def nssd(
    left: Float[Tensor, "*b c h w"], right: Float[Tensor, "*b c h w"], max_disparity: int, window: int
) -> Float[Tensor, "*b d h w"]:
    """Sum of squared differences over the energy of both windows, Σ(l - r)² / sqrt(Σl² Σr²).

    Args:
        left: left image, intensities in [0, 1], any leading dims.
        right: right image of the same shape.
        max_disparity: number of disparities d to try, in px from 0.
        window: side of the square window in px, odd.

    Returns:
        Cost volume, at least 0 and finite in view (two black windows cost 0), ``inf`` out of view.

    Raises:
        WrongInput: if the shapes differ or a number cannot be used.

    Source: OpenCV manual, matchTemplate, TM_SQDIFF_NORMED.
    """

    def cost(x: Tensor, y: Tensor) -> Tensor:
        difference = _window_mean((x - y).square().mean(-3), window)
        energy_x, energy_y = (_window_mean(z.square().mean(-3), window) for z in (x, y))
        return difference / (energy_x * energy_y).sqrt().clamp(min=NO_TEXTURE_VARIANCE)

    return _cost_volume(left, right, max_disparity, window, cost)


def cross_correlation(
    left: Float[Tensor, "*b c h w"], right: Float[Tensor, "*b c h w"], max_disparity: int, window: int
) -> Float[Tensor, "*b d h w"]:
    """Plain cross-correlation turned into a cost, 1 - mean over W of l r.

    Bright windows correlate with everything: kept as the classical baseline, not as advice.

    Args:
        left: left image, intensities in [0, 1], any leading dims.
        right: right image of the same shape.
        max_disparity: number of disparities d to try, in px from 0.
        window: side of the square window in px, odd.

    Returns:
        Cost volume in [0, 1], ``inf`` out of view.

    Raises:
        WrongInput: if the shapes differ or a number cannot be used.

    Source: OpenCV manual, matchTemplate, TM_CCORR (which is the sum itself, higher is better).
    """

    def cost(x: Tensor, y: Tensor) -> Tensor:
        return 1 - _window_mean((x * y).mean(-3), window)

    return _cost_volume(left, right, max_disparity, window, cost)


def zncc(
    left: Float[Tensor, "*b c h w"], right: Float[Tensor, "*b c h w"], max_disparity: int, window: int
) -> Float[Tensor, "*b d h w"]:
    """Zero-mean normalised cross-correlation turned into a cost, 1 - cov(l, r) / sqrt(var(l) var(r)).

    Args:
        left: left image, intensities in [0, 1], any leading dims.
        right: right image of the same shape.
        max_disparity: number of disparities d to try, in px from 0.
        window: side of the square window in px, odd.

    Returns:
        Cost volume in [0, 2], ``inf`` out of view; 1 (no correlation) where either window is flat.

    Raises:
        WrongInput: if the shapes differ or a number cannot be used.

    Source: OpenCV manual, matchTemplate, TM_CCOEFF_NORMED (the correlation itself, higher is better).
    """

    def cost(x: Tensor, y: Tensor) -> Tensor:
        mean_x, mean_y, square_x, square_y, product = (
            _window_mean(z.mean(-3), window) for z in (x, y, x * x, y * y, x * y)
        )
        variance_x, variance_y = square_x - mean_x * mean_x, square_y - mean_y * mean_y
        deviations = (variance_x.clamp(min=NO_TEXTURE_VARIANCE) * variance_y.clamp(min=NO_TEXTURE_VARIANCE)).sqrt()
        correlation = ((product - mean_x * mean_y) / deviations).clamp(-1, 1)
        flat = (variance_x < NO_TEXTURE_VARIANCE) | (variance_y < NO_TEXTURE_VARIANCE)
        return 1 - correlation.masked_fill(flat, 0)

    return _cost_volume(left, right, max_disparity, window, cost)


def census(
    left: Float[Tensor, "*b c h w"], right: Float[Tensor, "*b c h w"], max_disparity: int, window: int
) -> Float[Tensor, "*b d h w"]:
    """Census cost: share of differing bits of the 9 x 7 census codes, averaged over W.

    Args:
        left: left image, any intensity range (the channel mean is used), any leading dims.
        right: right image of the same shape.
        max_disparity: number of disparities d to try, in px from 0.
        window: side of the square window in px over which the Hamming distances are averaged, odd.

    Returns:
        Cost volume in [0, 1], ``inf`` out of view. Bits whose neighbour lies outside either image are not counted.

    Raises:
        WrongInput: if the shapes differ or a number cannot be used.

    Source: Zabih and Woodfill, "Non-parametric local transforms for computing visual correspondence", ECCV 1994; the
    9 x 7 window of Hirschmüller and Scharstein, "Evaluation of stereo matching costs on images with radiometric
    differences", PAMI 2009.
    """
    left, right = left.mean(-3, keepdim=True), right.mean(-3, keepdim=True)
    height, full_width = left.shape[-2:]
    columns_in_view = _columns_in_view(full_width, left.device)
    code_left, code_right = census_transform(left), census_transform(right)

    def cost(x: Tensor, y: Tensor) -> Tensor:
        width = x.shape[-1]
        in_view = columns_in_view[full_width - width :] & columns_in_view[:width]
        differing = _count_bits_((x ^ y).squeeze(-3).bitwise_and_(in_view))
        rows = _terms(height, CENSUS_ROWS, x.device)[:, None]
        comparisons = (rows * _terms(width, CENSUS_COLUMNS, x.device) - 1).clamp(min=1)
        return _window_mean(differing.to(left.dtype) / comparisons.to(left.dtype), window)

    return _cost_volume(code_left, code_right, max_disparity, window, cost, dtype=left.dtype)


def census_transform(image: Float[Tensor, "*b h w"]) -> Int[Tensor, "*b h w"]:
    """Census code: one bit for each of the 62 neighbours in a 9 x 7 window, set where the neighbour is darker.

    Args:
        image: intensities in any range.

    Returns:
        int64 codes; bits of neighbours outside the image are 0.

    Source: Zabih and Woodfill, ECCV 1994, section 3.2.
    """
    height, width = image.shape[-2:]
    code = torch.zeros(image.shape, dtype=torch.int64, device=image.device)
    for bit, (dy, dx) in enumerate(_census_neighbours()):
        if abs(dy) < height and abs(dx) < width:
            here = (..., slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0)))
            there = (..., slice(max(dy, 0), height - max(-dy, 0)), slice(max(dx, 0), width - max(-dx, 0)))
            code[here] |= (image[there] < image[here]).to(torch.int64) << bit
    return code


def _census_neighbours() -> list[tuple[int, int]]:
    reach_y, reach_x = CENSUS_ROWS // 2, CENSUS_COLUMNS // 2
    offsets = [(dy, dx) for dy in range(-reach_y, reach_y + 1) for dx in range(-reach_x, reach_x + 1)]
    return [offset for offset in offsets if offset != (0, 0)]


def _columns_in_view(width: int, device: torch.device) -> Tensor:
    """Census bits (w,) whose neighbour's column lies in an image of that width."""
    column = torch.arange(width, device=device)
    mask = torch.zeros_like(column)
    for bit, (_, dx) in enumerate(_census_neighbours()):
        mask |= ((column + dx >= 0) & (column + dx < width)).to(torch.int64) << bit
    return mask


def _count_bits_(codes: Tensor) -> Tensor:
    """Number of set bits of non-negative int64 codes, overwriting them."""
    # the parallel count of Warren, "Hacker's Delight", section 5-1: pairs, nibbles, bytes, then their sum by a product
    codes.sub_((codes >> 1).bitwise_and_(0x5555555555555555))
    pairs = (codes >> 2).bitwise_and_(0x3333333333333333)
    codes.bitwise_and_(0x3333333333333333).add_(pairs)
    codes.add_(codes >> 4).bitwise_and_(0x0F0F0F0F0F0F0F0F)
    return codes.mul_(0x0101010101010101).bitwise_right_shift_(56)


def _terms(length: int, window: int, device: torch.device) -> Tensor:
    """How many of the window's pixels around 0 ... length - 1 lie on the line, (length,)."""
    place, reach = torch.arange(length, device=device), window // 2
    return place.clamp(max=reach) + (length - 1 - place).clamp(max=reach) + 1


def _window_mean(values: Tensor, window: int) -> Tensor:
    """Mean over the pixels of a square window that lie inside ``values``."""
    # Shifted sums run four times faster than avg_pool2d on a CPU, and every pixel adds its terms in the same order
    # wherever the image is cut: row chunks stay bit-identical.
    for dim in (-1, -2):
        length, summed = values.shape[dim], values.clone()
        for shift in range(1, min(window // 2, length - 1) + 1):
            rest = length - shift
            summed.narrow(dim, 0, rest).add_(values.narrow(dim, shift, rest))
            summed.narrow(dim, shift, rest).add_(values.narrow(dim, 0, rest))
        values = summed
    rows, columns = (_terms(values.shape[dim], window, values.device) for dim in (-2, -1))
    return values / (rows[:, None] * columns).to(values.dtype)


def _cost_volume(
    left: Tensor,
    right: Tensor,
    max_disparity: int,
    window: int,
    cost: Callable[[Tensor, Tensor], Tensor],
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Stack the costs (*b, h, w - d) of the overlap of the left image and the right one moved by d."""
    if left.shape != right.shape:
        raise WrongInput(
            f"the left image is {tuple(left.shape)} and the right one {tuple(right.shape)}; a pair needs equal sizes"
        )
    if max_disparity < 1:
        raise WrongInput(f"max_disparity is {max_disparity}; it must be at least 1 px")
    if window < 1 or window % 2 == 0:
        raise WrongInput(f"the window is {window} px wide; it must be odd and positive")
    *batch, _, height, width = left.shape
    volume = torch.full(
        (*batch, max_disparity, height, width), torch.inf, dtype=dtype or left.dtype, device=left.device
    )
    for d in range(min(max_disparity, width)):
        volume[..., d, :, d:] = cost(left[..., d:], right[..., : width - d])
    return volume
