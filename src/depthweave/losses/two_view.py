"""What two views of a still scene allow, whatever its depth: motion along epipolar lines, and of low rank."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.geometry import pixel_grid, sampson_distance


def sampson_loss(flow: Float[Tensor, "*b 2 h w"], fundamental: Float[Tensor, "*#b 3 3"]) -> Float[Tensor, "*b h w"]:
    """Sampson distance of every pixel x and its partner x' = x + flow to the epipolar constraint, in px^2.

    (x'^T F x)^2 / ((F x)_1^2 + (F x)_2^2 + (F^T x')_1^2 + (F^T x')_2^2). Motion along the epipolar line costs nothing:
    it says whether a pixel can be of the still scene, not how far away it is. NaN, without a gradient, where the motion
    is not finite. Computed in float32 at least, under autocast, too.

    Args:
        flow: motion (x, y) in px from the first view to the second.
        fundamental: x'^T F x = 0 in px, such as `geometry.fundamental_from_essential` gives; any factor.

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 11.9; as a loss: Zhong et al., Unsupervised Deep
    Epipolar Flow, CVPR 2019.
    """
    with torch.autocast(flow.device.type, enabled=False):
        flow, known = _finite(flow)
        grid = _grid(flow)
        points = (grid + flow.movedim(-3, -1)).flatten(-3, -2)
        first = grid.flatten(-3, -2).expand(points.shape)
        distance = sampson_distance(first, points, fundamental.to(flow)).reshape(known.shape)
    return torch.where(known, distance, torch.nan)


def low_rank(flow: Float[Tensor, "*b 2 h w"], mask: Bool[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """Nuclear norm of the epipolar constraints, one number per map: low where one F fits all pixels, without F.

    Each pixel gives a column vec(x' x^T) of H (9 x M); all fulfil f^T h = 0 for the scene's F, so that the rank is 8 at
    most; the sum of the singular values stands for the rank. Divided by sqrt M, so that maps of any size compare;
    coordinates run from -1 to 1 along the longer side. 0 in maps without a pixel; NaN where a motion under the mask is
    not finite. Several bodies that move break the rank: see `subspace`. Computed in float32 at least.

    Args:
        flow: motion (x, y) in px from the first view to the second.
        mask: the M pixels that count.

    Source: Zhong et al., Unsupervised Deep Epipolar Flow, CVPR 2019, the low-rank constraint.
    """
    values, broken = _singular_values(flow, mask)
    return torch.where(broken, torch.nan, values.sum(-1))


def subspace(
    flow: Float[Tensor, "*b 2 h w"], mask: Bool[Tensor, "*b h w"], *, weight: float | int = 1.0
) -> Float[Tensor, "*b"]:
    """Self-expression of the epipolar constraints, one number per map: low where few bodies move, each on its own F.

    min_C 1/2 |C|_F^2 + weight / 2 |H C - H|_F^2, at C* = (I + weight H^T H)^-1 weight H^T H, for H of `low_rank`. C*
    has the eigenvalues c = weight s^2 / (1 + weight s^2), s the singular values of H, and the minimum is 1/2 sum c:
    exact over all pixels without the M x M matrix. 0 in maps without a pixel; NaN where a motion under the mask is not
    finite. Computed in float32 at least.

    Args:
        flow: motion (x, y) in px from the first view to the second.
        mask: the M pixels that count.
        weight: lambda; as H is divided by sqrt M here, it is M times the one of an H that is not.

    Raises:
        WrongInput: weight is not positive.

    Source: Zhong et al., Unsupervised Deep Epipolar Flow, CVPR 2019, the subspace constraint.
    """
    if weight <= 0:
        raise WrongInput(f"the weight is {weight}, so that nothing has to be expressed; choose one above 0.")
    values, broken = _singular_values(flow, mask)
    square = weight * values.square()
    return torch.where(broken, torch.nan, (square / (1 + square)).sum(-1) / 2)


def _singular_values(flow: Tensor, mask: Tensor) -> tuple[Float[Tensor, "*b k"], Bool[Tensor, "*b"]]:
    """Singular values of H / sqrt M, and which maps have a motion under their mask that is not finite."""
    with torch.autocast(flow.device.type, enabled=False):
        flow, known = _finite(flow)
        height, width = mask.shape[-2:]
        grid = _grid(flow)
        centre = grid.new_tensor([(width - 1) / 2, (height - 1) / 2])
        half = max(height, width) / 2
        first, second = ((at - centre) / half for at in (grid.expand(*mask.shape, 2), grid + flow.movedim(-3, -1)))
        one = torch.ones_like(first[..., :1])
        first, second = torch.cat((first, one), dim=-1), torch.cat((second, one), dim=-1)
        columns = (second.unsqueeze(-1) * first.unsqueeze(-2)).flatten(-2)
        # A pixel outside of the mask gives a column of zeros, which changes no singular value.
        columns = torch.where((mask & known).unsqueeze(-1), columns, 0.0).flatten(-3, -2)
        count = mask.flatten(-2).sum(-1).clamp_min(1)
        rows = columns / count.to(flow.dtype).sqrt()[..., None, None]
        # Not of the 9 x 9 product, whose roots would lose half of the digits of the smallest values, those that matter.
        values = torch.linalg.svdvals(rows)
    return values, (mask & ~known).flatten(-2).any(-1)


def _grid(flow: Tensor) -> Float[Tensor, "h w 2"]:
    return pixel_grid(flow.shape[-2], flow.shape[-1], device=flow.device, dtype=flow.dtype)


def _finite(flow: Tensor) -> tuple[Tensor, Bool[Tensor, "*b h w"]]:
    """In float32 at least with 0 where the motion is not finite, and where it is."""
    known = flow.isfinite().all(-3)
    filled = torch.where(known.unsqueeze(-3), flow, 0.0)
    return filled.to(torch.promote_types(flow.dtype, torch.float32)), known
