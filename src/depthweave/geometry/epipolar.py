"""Two-view relations."""

import torch
from jaxtyping import Float
from torch import Tensor


def essential_from_pose(b_from_a: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 3 3"]:
    """Essential matrix E = [t]_x R with x_b^T E x_a = 0 in normalised coordinates.

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 9.12.
    """
    x, y, z = b_from_a[..., :3, 3].unbind(-1)
    zero = torch.zeros_like(x)
    rows = (torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero)))
    return torch.matmul(torch.stack(tuple(rows), dim=-2), b_from_a[..., :3, :3])


def fundamental_from_essential(
    essential: Float[Tensor, "*b 3 3"], intrinsics_a: Float[Tensor, "*#b 3 3"], intrinsics_b: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*b 3 3"]:
    """Fundamental matrix F = K_b^-T E K_a^-1 with x_b^T F x_a = 0 in px."""
    inverse_a, inverse_b = torch.inverse(intrinsics_a), torch.inverse(intrinsics_b)
    return torch.matmul(inverse_b.transpose(-1, -2), torch.matmul(essential, inverse_a))


def sampson_distance(
    points_a_px: Float[Tensor, "*b n 2"], points_b_px: Float[Tensor, "*b n 2"], fundamental: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*b n"]:
    """First-order squared distance to the epipolar constraint, px^2.

    (x_b^T F x_a)^2 / ((F x_a)_1^2 + (F x_a)_2^2 + (F^T x_b)_1^2 + (F^T x_b)_2^2).
    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 11.9.
    """
    a = torch.nn.functional.pad(points_a_px, (0, 1), value=1.0)
    b = torch.nn.functional.pad(points_b_px, (0, 1), value=1.0)
    lines_b = a @ fundamental.transpose(-1, -2)
    lines_a = b @ fundamental
    residual = (b * lines_b).sum(-1)
    slope = lines_b[..., :2].square().sum(-1) + lines_a[..., :2].square().sum(-1)
    return residual.square() / slope.clamp_min(torch.finfo(slope.dtype).tiny)
