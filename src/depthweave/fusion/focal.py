"""The focal length of a camera from a pointmap in its own axes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import geometry
from depthweave.alignment import weighted_median
from depthweave.errors import WrongInput

# Of a camera that sees 60 degrees along the longer side, which is the long side over 2 tan 30 degrees.
LEAST_OF_USUAL, MOST_OF_USUAL = 0.5, 3.5
_SMALLEST_RESIDUAL_PX = 1e-8


def focal_from_pointmap(
    points: Float[Tensor, "*b h w 3"],
    *,
    principal_point: Float[Tensor, "2"] | tuple[float, float] | None = None,
    weights: Float[Tensor, "*b h w"] | None = None,
    iterations: int = 10,
    stride: int = 1,
) -> Float[Tensor, "*b"]:
    """Focal length in px, the same along x and y, that puts a camera's own points onto their pixels.

    Minimises sum |p - f q| over f, with p the pixel relative to the principal point and q = (x / z, y / z), by
    Weiszfeld's reweighting from the least-squares f: w = 1 / max(|p - f q|, 1e-8), f = sum w p.q / sum w q.q.
    Where q is not finite it counts as 0. The result is not negative; `plausible_focal` says more.

    Args:
        points: (..., h, w, 3) in the camera's own axes, any unit.
        principal_point: (x, y) in px; (w / 2, h / 2) if None.
        weights: (..., h, w), not negative; equal weights if None.
        iterations: reweightings.
        stride: use every so manieth pixel along x and y only.

    Raises:
        WrongInput: no pixel with positive weight has a usable point.

    Source: Wang et al., DUSt3R, CVPR 2024, section 3.3; Weiszfeld, Tohoku Mathematical Journal 1937.
    """
    height, width = points.shape[-3:-1]
    centre = torch.as_tensor(
        (width / 2, height / 2) if principal_point is None else principal_point,
        dtype=torch.float64,
        device=points.device,
    )
    pixels = geometry.pixel_grid(height, width, device=points.device, dtype=torch.float64) - centre
    pixels = pixels[::stride, ::stride].flatten(0, 1)
    picked = points[..., ::stride, ::stride, :].flatten(-3, -2).to(torch.float64)
    slopes = (picked[..., :2] / picked[..., 2:]).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    along, square = (pixels * slopes).sum(-1), slopes.square().sum(-1)
    if weights is not None:
        picked_weights = weights[..., ::stride, ::stride].flatten(-2).to(torch.float64)
        along, square = along * picked_weights, square * picked_weights
    if bool((square.sum(-1) <= 0).any()):
        raise WrongInput("a focal length needs pixels with finite points off the optical axis; check the confidence.")
    focal = along.sum(-1) / square.sum(-1)
    for _ in range(iterations):
        residual = torch.linalg.vector_norm(pixels - focal[..., None, None] * slopes, dim=-1)
        w = 1 / residual.clamp_min(_SMALLEST_RESIDUAL_PX)
        focal = (w * along).sum(-1) / (w * square).sum(-1)
    return focal.clamp_min(0.0).to(points.dtype)


def plausible_focal(focal_px: Float[Tensor, "*b"], width: int, height: int) -> Bool[Tensor, "*b"]:
    """Whether a focal length in px fits a camera that people use: 0.5 to 3.5 times that of 60 degrees.

    The bounds are 0.5 and 3.5 times max(width, height) / (2 tan 30 deg), as DUSt3R's first releases clipped to; width
    and height in px. What is not finite is not plausible.
    """
    usual = max(width, height) * 3**0.5 / 2
    return (focal_px >= LEAST_OF_USUAL * usual) & (focal_px <= MOST_OF_USUAL * usual)


def shared_focal(candidates_px: Float[Tensor, "n"], weights: Float[Tensor, "n"] | None = None) -> float:
    """One focal length in px for a camera that stayed the same: the weighted median of the candidates.

    Args:
        candidates_px: (n) focal lengths; those that are not finite and positive are left out.
        weights: (n), not negative; equal weights if None.

    Raises:
        WrongInput: no candidate is left.
    """
    usable = torch.isfinite(candidates_px) & (candidates_px > 0)
    if weights is not None:
        usable &= weights > 0
    if not bool(usable.any()):
        raise WrongInput("no frame gives a usable focal length; give the camera's intrinsics.")
    mass = torch.ones_like(candidates_px) if weights is None else weights
    return weighted_median(candidates_px[usable].double(), mass[usable].double()).item()
