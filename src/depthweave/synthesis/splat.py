"""Moving the pixels of the left view to where the right view sees them."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput

Interpolation = Literal["cubic", "linear"]

SURFACE_STEP_PX = 1.0
"""Neighbours on a row whose disparities differ by less belong to one surface, which stretches without cracks."""


@dataclass(frozen=True, eq=False)
class Splat:
    """What the left picture shows of the right view.

    Attributes:
        image: the right view in the unit of the left picture, 0 in holes.
        disparity: of the right view in px, x_left = x_right + d; 0 in holes.
        hit: right pixels that have a colour; the others are holes.
        visible: left pixels whose surface the right view sees.
        border: holes to the right of everything that the left picture shows.
    """

    image: Float[Tensor, "*b 3 h w"]
    disparity: Float[Tensor, "*b h w"]
    hit: Bool[Tensor, "*b h w"]
    visible: Bool[Tensor, "*b h w"]
    border: Bool[Tensor, "*b h w"]


def splat(
    image: Float[Tensor, "*b 3 h w"],
    disparity: Float[Tensor, "*b h w"],
    *,
    keep: Bool[Tensor, "*b h w"] | None = None,
    interpolation: str = "cubic",
) -> Splat:
    """The right view of a left picture, x_right = x_left - d(x_left), the nearest surface in front.

    Neighbours on a row with |d(x) - d(x + 1)| < 1 are one surface: it covers the integers between their targets, with
    disparity (and, by choice, colour) interpolated linearly, and half a pixel more at its two ends, so that things
    keep their width. A pixel without such neighbours covers the integer nearest to its target. Of all that cover a
    target the largest disparity is in front; of equal ones the pixel farther to the right. Same values on every device.

    Args:
        image: colours of the left view in [0, 1].
        disparity: of the left view in px, 0 or more.
        keep: left pixels whose colour may be used, None = all. The others hide what is behind them all the same, but
            leave holes.
        interpolation: of colours along a surface: `cubic` (Catmull-Rom over four pixels of one surface, else linear)
            or `linear`.

    Raises:
        WrongInput: sizes that differ, disparity that is negative or not finite, or an unknown interpolation.

    Source: our reconstruction of the warp of Mono2Stereo (arXiv 2411.09151), which moves monocular disparity by the
    rule of Watson et al., Learning Stereo from Single Images, ECCV 2020.
    """
    if interpolation not in get_args(Interpolation):
        raise WrongInput(f"{interpolation!r} is no interpolation; choose one of {', '.join(get_args(Interpolation))}.")
    check_sizes(image, disparity)
    check_disparity(disparity)
    width = disparity.shape[-1]
    columns = torch.arange(width, device=disparity.device)
    step = disparity.diff(dim=-1)
    joined = F.pad(step.abs() < SURFACE_STEP_PX, (0, 1))
    step = F.pad(step, (0, 1)).mul_(joined)

    covered, source = _winners(disparity, joined, step)
    near, slant = disparity.gather(-1, source), step.gather(-1, source)
    # At or beyond the end of a surface it stays below half: the colour and disparity of the end.
    share = (near + (columns - source)).div_(1 - slant).clamp_(0, 1)
    front = torch.addcmul(near, share, slant).mul_(covered)

    nearest = (columns + 0.5 - disparity).floor_()
    inside = (nearest >= 0) & (nearest < width)
    visible = inside & (disparity >= front.gather(-1, nearest.clamp_(0, width - 1).long()) - SURFACE_STEP_PX)

    border = columns >= ((columns + 1) * covered).amax(-1, keepdim=True)
    hit = covered
    if keep is not None:
        hit = covered & keep.gather(-1, (source + (share >= 0.5)).clamp_(max=width - 1))
        front = front * hit
        joined = joined & keep & F.pad(keep[..., 1:], (0, 1))
    between = joined.gather(-1, source)
    share = (share * between).add_((share >= 0.5) & ~between)
    if interpolation == "cubic":
        before, after = F.pad(joined[..., :-1], (1, 0)), F.pad(joined[..., 1:], (0, 1))
        curved = (joined & before & after).gather(-1, source)
    else:
        curved = None
    return Splat(_colours(image, source, share, curved, hit), front, hit, visible, border)


def soft_splat(
    image: Float[Tensor, "*b 3 h w"], disparity: Float[Tensor, "*b h w"], *, sharpness: float | int = 20.0
) -> tuple[Float[Tensor, "*b 3 h w"], Float[Tensor, "*b h w"]]:
    """The right view, differentiable in picture and disparity, and how much of the left picture lands on each pixel.

    I_R(u) = sum_x w e^(a d(x)) I(x) / sum_x w e^(a d(x)) and S(u) = sum_x w, with w = max(0, 1 - |x - d(x) - u|) and
    a = sharpness / (largest - smallest d of the picture, at least 1 px). A pixel is a hole where S < 0.5. On an
    accelerator sums may differ in the last bits from run to run unless torch's deterministic algorithms are on.

    Args:
        image: colours of the left view, any unit.
        disparity: of the left view in px, 0 or more.
        sharpness: logarithm of the weight of the nearest surface against the farthest, without unit.

    Returns:
        The right view, 0 where nothing lands, and S.

    Raises:
        WrongInput: sizes that differ, disparity that is negative or not finite, or sharpness that is not positive.

    Source: Niklaus and Liu, Softmax Splatting, CVPR 2020, eq. 14, along rows.
    """
    if not sharpness > 0:
        raise WrongInput(f"sharpness is {sharpness}; it must be above 0 for near surfaces to be in front.")
    check_sizes(image, disparity)
    check_disparity(disparity)
    width = disparity.shape[-1]
    most, least = disparity.amax((-2, -1), keepdim=True), disparity.amin((-2, -1), keepdim=True)
    strength = (sharpness * (disparity - most) / (most - least).clamp(min=1.0)).exp()
    target = torch.arange(width, device=disparity.device) - disparity
    before = target.detach().floor()
    fraction = target - before
    # Columns 0 and width + 1 take what falls beside the picture.
    places = torch.stack((before, before + 1), -1).long().add(1).clamp(0, width + 1)
    weights = torch.stack((1 - fraction, fraction), -1)
    weighted = weights * strength.unsqueeze(-1)
    layers = torch.cat(
        ((weighted.unsqueeze(-4) * image.unsqueeze(-1)), weighted.unsqueeze(-4), weights.unsqueeze(-4)), -4
    ).flatten(-2)
    landed = torch.zeros((*layers.shape[:-1], width + 2), dtype=layers.dtype, device=layers.device)
    landed = landed.scatter_add(-1, places.flatten(-2).unsqueeze(-3).expand(layers.shape), layers)[..., 1:-1]
    total = landed[..., 3, :, :]
    empty = total == 0
    colours = landed[..., :3, :, :] / torch.where(empty, 1.0, total).unsqueeze(-3)
    return colours, landed[..., 4, :, :]


def check_sizes(image: Tensor, disparity: Tensor) -> None:
    """Refuse a disparity map that is not of the picture's size.

    Raises:
        WrongInput: names both sizes.
    """
    if image.shape[-2:] != disparity.shape[-2:] or image.shape[:-3] != disparity.shape[:-2]:
        raise WrongInput(
            f"the picture is {tuple(image.shape)} and the disparity {tuple(disparity.shape)}; resize the disparity to "
            "the picture (and multiply it by the same factor)."
        )


def check_disparity(disparity: Tensor) -> None:
    """Refuse disparity that is negative, infinite or NaN.

    Raises:
        WrongInput: says how many values are not usable.
    """
    least, most = disparity.aminmax()
    if not (least >= 0 and torch.isfinite(most)):
        wrong = int((~((disparity >= 0) & torch.isfinite(disparity))).sum())
        raise WrongInput(
            f"{wrong} of {disparity.numel()} disparities are negative or not finite; a second view needs 0 px or more "
            "everywhere, so fill or clip them first."
        )


def _winners(disparity: Tensor, joined: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Whether something covers each right pixel, and the left column that is in front there (0 if nothing does).

    Args:
        disparity: (*b, h, w).
        joined: whether a pixel and the next one are one surface.
        step: from a pixel's disparity to that of the next one where they are joined, else 0.
    """
    width = disparity.shape[-1]
    columns = torch.arange(width, device=disparity.device)
    target = columns - disparity
    end = torch.where(joined, target.roll(-1, -1), target + 0.5)
    first = target.ceil()
    ahead = first - target
    slope = step / (1 - step)
    # Packed (disparity, column): numbers of 64 bits whose order is that of nearness. One column more takes the rest.
    shape = (*disparity.shape[:-1], width + 1)
    front = torch.full(shape, -1, dtype=torch.int64, device=disparity.device)
    inside = (first < end) & (first >= 0) & (first < width)
    place = (first - width).mul_(inside).add_(width).long()
    front.scatter_reduce_(-1, place, _packed(torch.addcmul(disparity, slope, ahead), columns), reduce="amax")

    # Few pixels cover one integer more: stretched surfaces after the first, ends of surfaces before it.
    alone = ~F.pad(joined[..., :-1], (1, 0))
    for few, shift in ((joined & (first + 1 < end), 1), (alone & (ahead >= 0.5), -1)):
        pixel = few.flatten().nonzero().squeeze(-1)
        there = first.flatten()[pixel] + shift
        value = disparity.flatten()[pixel]
        if shift == 1:
            value = value + slope.flatten()[pixel] * (ahead.flatten()[pixel] + 1)
        row, column = pixel // width, pixel % width
        place = row * (width + 1) + torch.where((there >= 0) & (there < width), there, width).long()
        front.view(-1).scatter_reduce_(0, place, _packed(value, column), reduce="amax")
    front = front[..., :-1]
    return front >= 0, front.clamp(min=0) & 0xFFFFFFFF


def _packed(disparity: Tensor, column: Tensor) -> Tensor:
    # The bits of floats that are not negative grow with their value.
    return (disparity.float().view(torch.int32).long() << 32) | column


def _colours(image: Tensor, source: Tensor, share: Tensor, curved: Tensor | None, hit: Tensor) -> Tensor:
    """The picture at left columns source + share where hit, else 0: along a spline where curved, else a line."""
    width = image.shape[-1]

    def at(offset: int) -> Tensor:
        column = (source + offset).clamp_(0, width - 1) if offset else source
        return image.gather(-1, column.unsqueeze(-3).expand(image.shape))

    known = hit.to(image.dtype).unsqueeze(-3)
    t = share.to(image.dtype).unsqueeze(-3) * known
    rest = known - t
    if curved is None:
        return (at(0) * rest).addcmul_(at(1), t)
    bend = t * rest / 2 * curved.unsqueeze(-3)
    colours = at(0) * (rest + bend * (2 - 3 * t))
    colours.addcmul_(at(1), t + bend * (3 * t - 1))
    colours.addcmul_(at(-1), bend * rest, value=-1)
    colours.addcmul_(at(2), bend * t, value=-1)
    return colours.clamp_(0, 1)
