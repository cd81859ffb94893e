"""What two predictions of one scene owe each other: disparities of both views, motion there and back, depth over time.

Each loss gives its map with the mask of the pixels whose partner lies in the other view, the two arguments of
`masked_mean`. Elsewhere the map is 0. It is NaN, without a gradient, where a value that it looks at is not finite; a
pixel whose own motion is not finite has no partner.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.geometry import warp_by_flow
from depthweave.losses.finite import on_finite
from depthweave.losses.robust import generalised_charbonnier


def left_right_consistency(
    left_disparity: Float[Tensor, "*b h w"], right_disparity: Float[Tensor, "*b h w"]
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Left-right consistency |d_l(x, y) - d_r(x - d_l(x, y), y)| in px, and where x - d_l is on the right view.

    Occluded pixels are inconsistent by nature. The right view's loss is that of the mirrored pair,
    `left_right_consistency(right.flip(-1), left.flip(-1))`, mirrored back.

    Args:
        left_disparity: of the left view in px, x_right = x_left - d.
        right_disparity: of the right view in px, positive, too: x_left = x_right + d.

    Source: Godard et al., Unsupervised Monocular Depth Estimation with Left-Right Consistency, CVPR 2017, eq. 4 (with
    the sign of our convention).
    """
    flow = torch.stack((-left_disparity, torch.zeros_like(left_disparity)), dim=-3)
    partner, inside = _read(right_disparity.unsqueeze(-3), flow)
    return _where_inside(on_finite(torch.abs, left_disparity - partner.squeeze(-3)), inside), inside


def forward_backward_consistency(
    forward: Float[Tensor, "*b 2 h w"],
    backward: Float[Tensor, "*b 2 h w"],
    *,
    epsilon: float | int = 1e-3,
    exponent: float | int = 0.45,
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """There and back, phi(r_x) + phi(r_y) with r(p) = F(p) + B(p + F(p)), and where p + F is on the second view.

    Args:
        forward: motion F (x, y) in px from the first view to the second.
        backward: motion B in px from the second view to the first.
        epsilon, exponent: of phi, as of `generalised_charbonnier`, in px.

    Raises:
        WrongInput: epsilon or exponent is not positive.

    Source: Meister et al., UnFlow, AAAI 2018, eq. 5; Zou et al., DF-Net, ECCV 2018, section 3.4.
    """
    there_and_back, inside = round_trip(forward, backward)
    loss = generalised_charbonnier(there_and_back, epsilon=epsilon, exponent=exponent).sum(-3)
    return _where_inside(loss, inside), inside


def forward_backward_mask(
    forward: Float[Tensor, "*b 2 h w"],
    backward: Float[Tensor, "*b 2 h w"],
    *,
    relative: float | int = 0.01,
    absolute: float | int = 0.5,
) -> Bool[Tensor, "*b h w"]:
    """Where motion there and back agrees: |F(p) + B(p')|^2 < relative (|F(p)|^2 + |B(p')|^2) + absolute, p' = p + F(p).

    False where p' is off the second view, or a motion is not finite. No gradient. For a stereo pair, F = (-d_l, 0) and
    B = (d_r, 0).

    Args:
        forward: motion F (x, y) in px from the first view to the second.
        backward: motion B in px from the second view to the first.
        relative: without unit.
        absolute: in px^2.

    Source: Sundaram, Brox and Keutzer, Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow,
    ECCV 2010, eq. 5; Meister et al., UnFlow, AAAI 2018, eq. 1; Zou et al., DF-Net, ECCV 2018.
    """
    with torch.no_grad():
        there_and_back, inside = round_trip(forward, backward)
        back = there_and_back - forward
        bound = relative * (forward.square().sum(-3) + back.square().sum(-3)) + absolute
        return inside & (there_and_back.square().sum(-3) < bound)


def loop_consistency(
    first_depth: Float[Tensor, "*b h w"], second_depth: Float[Tensor, "*b h w"], flow: Float[Tensor, "*b 2 h w"]
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Depth over time, |D_1(p) - D_2(p + F(p))|, and where p + F is on the second view.

    DF-Net reduces it over `forward_backward_mask`. Where the camera moves along its axis, depth changes by itself: give
    `geometry.depth_in_second` of the first depth in place of the first depth.

    Args:
        first_depth: depth or disparity of the first view, as the second camera should see it.
        second_depth: of the second view in the same unit.
        flow: motion F (x, y) in px from the first view to the second.

    Source: Zou et al., DF-Net, ECCV 2018, section 3.3; Kim et al., Loop-Net, RA-L 2020.
    """
    partner, inside = _read(second_depth.unsqueeze(-3), flow)
    return _where_inside(on_finite(torch.abs, first_depth - partner.squeeze(-3)), inside), inside


def round_trip(
    forward: Float[Tensor, "*b 2 h w"], backward: Float[Tensor, "*b 2 h w"]
) -> tuple[Float[Tensor, "*b 2 h w"], Bool[Tensor, "*b h w"]]:
    """Where a pixel ends that goes there and back, F(p) + B(p + F(p)) in px; NaN where B is not finite."""
    back, inside = _read(backward, forward)
    return forward + back, inside


def _read(values: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """`warp_by_flow`, NaN without a gradient where the interpolation meets a value that is not finite."""
    unknown = ~values.isfinite().all(-3, keepdim=True)
    filled = torch.where(unknown, 0.0, values)
    read, inside = warp_by_flow(filled, flow)
    with torch.no_grad():
        spoilt, _ = warp_by_flow(unknown.to(values.dtype), flow)
    # Rounding gives the neighbours of a whole coordinate a little weight, too.
    return torch.where(spoilt < 1e-3, read, torch.nan), inside


def _where_inside(loss: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, loss, 0.0)
