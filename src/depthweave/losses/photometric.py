"""How far a synthesised picture is from the true one, pixel by pixel: what self-supervision has in place of truth.

Pictures are in [0, 1]. All losses are symmetric in the two pictures but for rounding, and are computed in float32 at
least. Where one of the values that a pixel's loss looks at is not finite, the loss is NaN and has no gradient. What
lies outside of the other view is the caller's to mask: synthesised pictures hold zeros there, which windows of
neighbouring pixels see, too.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.images.color import LUMA, luminance
from depthweave.losses.finite import on_finite
from depthweave.losses.robust import generalised_charbonnier


def ssim(first: Float[Tensor, "*b c h w"], second: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b h w"]:
    """Structural similarity in windows of 3x3 px, mean over the channels: 1 for equal pictures, down to -1.

    (2 m1 m2 + C1) (2 s12 + C2) / ((m1^2 + m2^2 + C1) (s1^2 + s2^2 + C2)) with the plain (biased) means, variances and
    covariance of the window, C1 = 0.01^2, C2 = 0.03^2; borders are mirrored without doubling the border pixel. Wang's
    SSIM, and the one of torchmetrics or kornia, has Gaussian windows of 11x11: its values are others, of a smoother
    map, and not to be compared with these.

    Args:
        first, second: in [0, 1], which the two constants belong to; at least 2x2 px.

    Raises:
        WrongInput: a picture of fewer than 2 rows or columns.

    Source: Wang et al., Image Quality Assessment, IEEE TIP 2004, eq. 13; the box of 3x3 as in Godard et al., CVPR 2017,
    section 3.3, and Yin and Shi, GeoNet, CVPR 2018.
    """
    height, width = first.shape[-2:]
    if min(height, width) < 2:
        raise WrongInput(f"a picture of {height}x{width} px has no 3x3 windows to compare; give at least 2x2 px.")
    (one, two), whole = _finite_pixels(first, second)
    channels = one.shape[-3]

    def box(values: Tensor) -> Tensor:
        """Means of the 3x3 windows, of any number of pictures."""
        flat = values.reshape(-1, 1, height, width)
        return F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="reflect"), 3, stride=1).reshape(values.shape)

    mean_1, mean_2 = box(one), box(two)
    variance_1, variance_2 = box(one.square()) - mean_1.square(), box(two.square()) - mean_2.square()
    covariance = box(one * two) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    below = (mean_1.square() + mean_2.square() + c1) * (variance_1 + variance_2 + c2)
    similarity = (above / below).sum(-3) / channels
    windows = box((~whole.all(-3)).to(one.dtype)) == 0
    return torch.where(windows, similarity, torch.nan)


def ssim_l1(
    target: Float[Tensor, "*b c h w"], synthesised: Float[Tensor, "*b c h w"], *, alpha: float | int = 0.85
) -> Float[Tensor, "*b h w"]:
    """Appearance loss alpha (1 - SSIM) / 2 + (1 - alpha) |I - I~|, mean over the channels.

    Args:
        target: the true picture in [0, 1].
        synthesised: the other view, warped onto it.
        alpha: share of the structural part, in [0, 1]; see `ssim`.

    Raises:
        WrongInput: alpha outside [0, 1], or a picture of fewer than 2 rows or columns.

    Source: Godard et al., CVPR 2017, eq. 2; Yin and Shi, GeoNet, CVPR 2018, eq. 3.
    """
    if not 0 <= alpha <= 1:
        raise WrongInput(f"alpha is {alpha}, the share of one of two parts; it is in [0, 1].")
    dtype = torch.promote_types(target.dtype, torch.float32)
    difference = on_finite(torch.abs, synthesised.to(dtype) - target.to(dtype)).mean(-3)
    similarity = ssim(target, synthesised)
    return on_finite(lambda s, l1: alpha * (1 - s) / 2 + (1 - alpha) * l1, similarity, difference)


def robust_difference(
    target: Float[Tensor, "*b c h w"],
    synthesised: Float[Tensor, "*b c h w"],
    *,
    epsilon: float | int = 1e-3,
    exponent: float | int = 0.45,
) -> Float[Tensor, "*b h w"]:
    """Brightness constancy phi(I~ - I) with phi(e) = (e^2 + epsilon^2)^exponent, mean over the channels.

    Visibility O is the mask: `masked_mean(values, O)` is sum O phi / sum O. At no error it is epsilon^(2 exponent).

    Args:
        target: the true picture in [0, 1].
        synthesised: the other view, warped onto it.
        epsilon, exponent: as of `generalised_charbonnier`.

    Raises:
        WrongInput: epsilon or exponent is not positive.

    Source: Meister et al., UnFlow, AAAI 2018, section 3.1; Zhong et al., Unsupervised Deep Epipolar Flow, CVPR 2019.
    """
    dtype = torch.promote_types(target.dtype, torch.float32)
    error = synthesised.to(dtype) - target.to(dtype)
    return generalised_charbonnier(error, epsilon=epsilon, exponent=exponent).mean(-3)


def gradient_difference(
    target: Float[Tensor, "*b c h w"],
    synthesised: Float[Tensor, "*b c h w"],
    *,
    epsilon: float | int = 1e-3,
    exponent: float | int = 0.45,
) -> Float[Tensor, "*b h w"]:
    """Gradient constancy phi(D_x I~ - D_x I) + phi(D_y I~ - D_y I), mean over the channels.

    phi is that of `robust_difference`, D the difference to the next pixel; terms beyond the last column or row are 0.
    A change of brightness that is the same for neighbouring pixels costs nothing but phi(0).

    Args:
        target: the true picture in [0, 1].
        synthesised: the other view, warped onto it.
        epsilon, exponent: as of `generalised_charbonnier`.

    Raises:
        WrongInput: epsilon or exponent is not positive.

    Source: Brox et al., High Accuracy Optical Flow Estimation Based on a Theory for Warping, ECCV 2004, section 2
    (there both axes share one phi); Zhong et al., Unsupervised Deep Epipolar Flow, CVPR 2019.
    """
    dtype = torch.promote_types(target.dtype, torch.float32)
    error = synthesised.to(dtype) - target.to(dtype)
    along_x, along_y = (
        generalised_charbonnier(error.diff(dim=axis), epsilon=epsilon, exponent=exponent).mean(-3) for axis in (-1, -2)
    )
    return F.pad(along_x, (0, 1)) + F.pad(along_y, (0, 0, 0, 1))


def census_difference(
    target: Float[Tensor, "*b c h w"],
    synthesised: Float[Tensor, "*b c h w"],
    *,
    window: int = 7,
    epsilon: float | int = 1e-3,
    exponent: float | int = 0.45,
) -> Float[Tensor, "*b h w"]:
    """Soft ternary census: how differently neighbours are brighter or darker than the pixel in the two pictures.

    phi(sum over the neighbours q of (t1 - t2)^2 / (0.1 + (t1 - t2)^2)), t = D / sqrt(0.81 + D^2), D = g(q) - g(p) of
    the grey picture g on the scale 0 to 255, phi(s) = (s^2 + epsilon^2)^exponent. Blind to brightness that is added,
    and nearly so to contrast; the hard census would have -1, 0 and 1 for t, and no gradient. Neighbours beyond the
    border take no part. With a window of 7 the loss lies below 33.

    Args:
        target: the true picture in [0, 1]; three channels are weighed to luma, other numbers are averaged.
        synthesised: the other view, warped onto it.
        window: side of the square of neighbours in px, odd, at least 3.
        epsilon, exponent: as of `generalised_charbonnier`.

    Raises:
        WrongInput: a window that is even or below 3; epsilon or exponent is not positive.

    Source: Meister et al., UnFlow, AAAI 2018, section 3.1; Zabih and Woodfill, ECCV 1994; Stein, Efficient Computation
    of Optical Flow Using the Census Transform, DAGM 2004 (ternary).
    """
    if window < 3 or window % 2 == 0:
        raise WrongInput(f"a census window of {window} px has no middle with neighbours; take 3, 5, 7 or another odd.")
    (one, two), whole = _finite_pixels(_grey(target), _grey(synthesised))
    reach = window // 2
    height, width = whole.shape[-2:]
    total = torch.zeros_like(one)
    broken = torch.zeros_like(whole)

    # A pair of pixels is as different from either end, so that half of the neighbours is enough.
    for down in range(min(reach + 1, height)):
        for right in range(-reach if down else 1, reach + 1):
            if abs(right) >= width:
                continue
            ends = _ends(down, right, height, width)
            signs = [_sign(*(grey[..., rows, columns] for rows, columns in ends)) for grey in (one, two)]
            square = (signs[1] - signs[0]).square()
            distance = square / (0.1 + square)
            known = [whole[..., rows, columns] for rows, columns in ends]
            for rows, columns in ends:
                margins = (columns.start, width - columns.stop, rows.start, height - rows.stop)
                total = total + F.pad(distance, margins)
                broken = broken | F.pad(~(known[0] & known[1]), margins)
    loss = generalised_charbonnier(total, epsilon=epsilon, exponent=exponent)
    return torch.where(broken | ~whole, torch.nan, loss)


def _grey(image: Tensor) -> Tensor:
    """One channel (*b, h, w) on the scale 0 to 255."""
    image = image.to(torch.promote_types(image.dtype, torch.float32))
    return 255 * (luminance(image) if image.shape[-3] == len(LUMA) else image.mean(-3))


def _sign(near: Tensor, far: Tensor) -> Tensor:
    difference = far - near
    return difference / (0.81 + difference.square()).sqrt()


def _ends(down: int, right: int, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the pixels, and of their neighbours at (down >= 0, right), where both lie on the picture."""
    near = slice(0, height - down), slice(max(0, -right), width - max(0, right))
    far = slice(down, height), slice(max(0, right), width - max(0, -right))
    return near, far


def _finite_pixels(
    first: Float[Tensor, "*any"], second: Float[Tensor, "*any"]
) -> tuple[tuple[Tensor, Tensor], Bool[Tensor, "*any"]]:
    """Both in float32 at least with 0 where either is not finite, and where both are."""
    dtype = torch.promote_types(first.dtype, torch.float32)
    whole = first.isfinite() & second.isfinite()
    return (torch.where(whole, first, 0.0).to(dtype), torch.where(whole, second, 0.0).to(dtype)), whole
