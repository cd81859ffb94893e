"""Cost volumes: what two feature maps say about every disparity or displacement, and the disparity read from it.

Features of the right (second) view count as zero where the place asked for lies outside of it. All functions are
differentiable; half-precision features are multiplied and summed in float32.
"""

from itertools import pairwise, product

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput


def correlation(
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    *,
    max_displacement: int,
    kernel_size: int = 1,
    stride: int = 1,
) -> Float[Tensor, "b k h w"]:
    """FlowNet's correlation of two views in both directions.

    c(x, u) = sum over o in the kernel of <f1(x + o), f2(x + u + o)> / (kernel_size^2 c), and what lies outside of
    either view is zero. Channel (i, j) of the (2 n + 1)^2, row by row, has the displacement
    u = stride (j - n, i - n) = (x, y) with n = max_displacement // stride; FlowNetC takes 20 and 2.

    Args:
        first, second: features.
        max_displacement: largest displacement along each axis, px of the features.
        kernel_size: odd side of the patches that are compared; 1 compares single features.
        stride: step between displacements, px of the features.

    Raises:
        WrongInput: a negative displacement, an even kernel or a stride below 1.

    Source: Dosovitskiy et al., "FlowNet", ICCV 2015, equation 1; division by the number of products as in its code.
    """
    if max_displacement < 0 or kernel_size < 1 or kernel_size % 2 == 0 or stride < 1:
        raise WrongInput(
            "a correlation needs a displacement of at least 0, an odd kernel and a stride of at least 1, not "
            f"{max_displacement}, {kernel_size} and {stride}."
        )
    reach = max_displacement // stride * stride
    height, width = first.shape[-2:]
    first, second = _wide(first), F.pad(_wide(second), (reach, reach, reach, reach))
    places = list(product(range(0, 2 * reach + 1, stride), repeat=2))
    moved = (second[..., top : top + height, start : start + width] for top, start in places)
    volume = torch.stack([(first * view).mean(1) for view in moved], 1)
    return volume if kernel_size == 1 else F.avg_pool2d(volume, kernel_size, 1, kernel_size // 2)


def row_correlation(
    left: Float[Tensor, "b c h w"], right: Float[Tensor, "b c h w"], *, levels: int
) -> Float[Tensor, "b d h w"]:
    """V(d, y, x) = <l(y, x), r(y, x - d)> / c for d = 0 .. levels - 1; 0 where x - d < 0.

    Args:
        left, right: features.
        levels: number of disparities, px of the features.

    Source: Mayer et al., "A Large Dataset to Train Convolutional Networks for Disparity, Optical Flow, and Scene Flow
    Estimation", CVPR 2016, section 5 (DispNetC).
    """
    return group_wise_correlation(left, right, levels, 1)[:, 0]


def group_wise_correlation(
    left: Float[Tensor, "b c h w"], right: Float[Tensor, "b c h w"], levels: int, groups: int
) -> Float[Tensor, "b g d h w"]:
    """V(g, d, y, x) = mean over the channels of group g of l(y, x) r(y, x - d); 0 where x - d < 0.

    Args:
        left, right: features, not normalised.
        levels: disparities 0 .. levels - 1, px of the features.
        groups: a divisor of the number of channels.

    Raises:
        WrongInput: no level, or channels that cannot be split into so many groups.

    Source: Guo et al., "Group-wise Correlation Stereo Network", CVPR 2019, equation 3.
    """
    b, channels, height, width = left.shape
    if groups < 1 or channels % groups:
        raise WrongInput(f"{channels} channels cannot be split into {groups} groups.")
    left = _wide(left)
    products = (left * shifted for shifted in _shifted(right, levels))
    split = (b, groups, channels // groups, height, width)
    return torch.stack([values.view(split).mean(2) for values in products], 2)


def concatenation_volume(
    left: Float[Tensor, "b c h w"], right: Float[Tensor, "b c h w"], levels: int
) -> Float[Tensor, "b c2 d h w"]:
    """V(d, y, x) = [l(y, x), r(y, x - d)], 2 c channels, d = 0 .. levels - 1; all of them are 0 where x - d < 0.

    Args:
        left, right: features; the volume has their number type.
        levels: number of disparities, px of the features.

    Raises:
        WrongInput: no level.

    Source: Kendall et al., "End-to-End Learning of Geometry and Context for Deep Stereo Regression" (GC-Net), ICCV
    2017, section 3.2; the zeros of the left half as in PSMNet (Chang and Chen, CVPR 2018).
    """
    _check_levels(levels)
    b, channels, height, width = left.shape
    volume = left.new_zeros(b, 2 * channels, levels, height, width)
    for d in range(min(levels, width)):
        volume[:, :channels, d, :, d:] = left[..., d:]
        volume[:, channels:, d, :, d:] = right[..., : width - d]
    return volume


def distance_volume(
    left: Float[Tensor, "b c h w"], right: Float[Tensor, "b c h w"], levels: int
) -> Float[Tensor, "b d h w"]:
    """V(d, y, x) = sum over the channels of |l(y, x) - r(y, x - d)| for d = 0 .. levels - 1; |l| where x - d < 0.

    Args:
        left, right: features.
        levels: number of disparities, px of the features.

    Raises:
        WrongInput: no level.

    Source: Wang et al., "Anytime Stereo Image Depth Estimation on Mobile Devices" (AnyNet), ICRA 2019, section III-B.
    """
    left = _wide(left)
    return torch.stack([(left - shifted).abs().sum(1) for shifted in _shifted(right, levels)], 1)


def residual_volume(
    left: Float[Tensor, "b c h w"],
    right: Float[Tensor, "b c h w"],
    disparity: Float[Tensor, "b h w"],
    radius: int,
) -> Float[Tensor, "b k h w"]:
    """V(k, y, x) = sum over the channels of |l(y, x) - r(y, x - d(y, x) - k)| for k = -radius .. radius.

    Right features between columns are linear, and zero outside of the view.

    Args:
        left, right: features.
        disparity: px of the features; gradients reach it.
        radius: disparities to either side, px of the features.

    Raises:
        WrongInput: a negative radius.

    Source: Wang et al., "Anytime Stereo Image Depth Estimation on Mobile Devices" (AnyNet), ICRA 2019, section III-C.
    """
    if radius < 0:
        raise WrongInput(f"a residual volume needs a radius of at least 0, not {radius}.")
    left, right, disparity = _wide(left), _wide(right), _wide(disparity)
    width = right.shape[-1]
    columns = torch.arange(width, device=left.device, dtype=disparity.dtype)
    # Far outside everything is zero, wherever exactly; and what is not finite must not become an index.
    place = torch.nan_to_num(columns - disparity, nan=-radius - 2.0).clamp(-radius - 2.0, width + radius + 1.0)
    whole = place.detach().floor()
    fraction = (place - whole)[:, None]
    margin = 2 * radius + 2
    padded = F.pad(right, (margin, margin + 1))

    def read(step: int) -> Tensor:
        index = whole.long()[:, None] + (margin + step)
        return padded.gather(-1, index.expand_as(right))

    near = [read(step) for step in range(-radius, radius + 2)]
    fetched = [torch.lerp(before, after, fraction) for before, after in pairwise(near)]
    return torch.stack([(left - value).abs().sum(1) for value in reversed(fetched)], 1)


def soft_argmin(costs: Float[Tensor, "b d h w"], *, first: float | int = 0) -> Float[Tensor, "b h w"]:
    """sum_d d softmax(-costs)_d: the disparity that a volume of costs expects, differentiable and between levels.

    Args:
        costs: low where the views agree; give ``-scores`` where large values mean agreement.
        first: disparity of the first level; the others follow in steps of 1.

    Source: Kendall et al., "End-to-End Learning of Geometry and Context for Deep Stereo Regression" (GC-Net), ICCV
    2017, equation 1.
    """
    costs = _wide(costs)
    disparities = first + torch.arange(costs.shape[1], device=costs.device, dtype=costs.dtype)
    return torch.einsum("bdhw,d->bhw", (-costs).softmax(1), disparities)


def _shifted(right: Tensor, levels: int) -> list[Tensor]:
    """Views of the right features moved to the right by 0 .. levels - 1 columns, zeros in front."""
    _check_levels(levels)
    width = right.shape[-1]
    padded = F.pad(_wide(right), (levels - 1, 0))
    return [padded[..., levels - 1 - d : levels - 1 - d + width] for d in range(levels)]


def _check_levels(levels: int) -> None:
    if levels < 1:
        raise WrongInput(f"a cost volume needs at least 1 disparity, not {levels}.")


def _wide(values: Tensor) -> Tensor:
    """In float32 if it was half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
