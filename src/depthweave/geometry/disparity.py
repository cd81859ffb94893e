"""Disparity and depth of a rectified pair."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def depth_from_disparity(
    disparity_px: Float[Tensor, "*b h w"], *, focal_px: float, baseline_m: float, doffs_px: float = 0.0
) -> Float[Tensor, "*b h w"]:
    """Depth in metres from disparity in px: Z = f b / (d + doffs).

    Args:
        disparity_px: px of the left image, positive for points in front of the cameras.
        focal_px: horizontal focal length of the left camera.
        baseline_m: distance of the two camera centres.
        doffs_px: cx_right - cx_left, as Middlebury's ``calib.txt`` calls it.

    Returns:
        Depth along the optical axis (z) in metres; ``inf`` where d + doffs <= 0.

    Source: Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014.
    """
    total_px = disparity_px + doffs_px
    return torch.where(total_px > 0, focal_px * baseline_m / total_px.clamp_min(1e-12), torch.inf)


def disparity_from_depth(
    depth_m: Float[Tensor, "*b h w"], *, focal_px: float, baseline_m: float, doffs_px: float = 0.0
) -> Float[Tensor, "*b h w"]:
    """Disparity in px from depth in metres, the inverse of `depth_from_disparity`: d = f b / Z - doffs.

    Depth ``inf`` gives -doffs; depth <= 0 gives NaN, since such a point is in front of no camera.
    """
    # The divisor and not the quotient is masked, so that gradients at depth 0 are zero instead of NaN.
    return focal_px * baseline_m / torch.where(depth_m > 0, depth_m, torch.nan) - doffs_px


def depth_uncertainty(
    depth_m: Float[Tensor, "*b h w"],
    *,
    focal_px: float,
    baseline_m: float,
    disparity_error_px: float | Float[Tensor, "*b h w"] = 1.0,
) -> Float[Tensor, "*b h w"]:
    """Depth error in metres that a disparity error causes, to first order: dZ = Z^2 / (f b) dd."""
    return depth_m.square() / (focal_px * baseline_m) * disparity_error_px


def occlusion_from_disparity(
    left_px: Float[Tensor, "*b h w"], right_px: Float[Tensor, "*b h w"], *, threshold_px: float = 1.0
) -> Bool[Tensor, "*b h w"]:
    """Pixels of the left image that the right one does not see, from the true disparities of both.

    A pixel is occluded where x - d_L(x) leaves the image or where |d_L(x) - d_R(x - d_L(x))| > threshold, with d_R
    read at the nearest pixel.
    """
    width = left_px.shape[-1]
    columns = torch.arange(width, device=left_px.device, dtype=left_px.dtype)
    target = columns - left_px
    outside = (target < -0.5) | (target > width - 0.5)
    nearest = target.round().clamp(0, width - 1).long()
    seen_px = torch.gather(right_px, -1, nearest)
    return outside | ((left_px - seen_px).abs() > threshold_px)


def flying_pixels(
    depth: Float[Tensor, "*b h w"], valid: Bool[Tensor, "*b h w"], *, relative_jump: float = 0.05
) -> Bool[Tensor, "*b h w"]:
    """Pixels that hang in the air between two surfaces, the veil that depth maps leave at edges.

    A pixel flies when, along its row or its column, the neighbour on one side is nearer and the one on the other side
    farther, both by more than ``relative_jump`` of its depth, or when none of its four neighbours lies within that
    distance. An edge of a solid surface has a neighbour of its own kind and stays.

    Args:
        depth: any unit, the same for all pixels.
        valid: pixels that count; invalid ones are neither flying nor neighbours.
        relative_jump: share of the depth that two neighbours of one surface do not exceed.
    """
    known = torch.where(valid, depth, torch.nan)
    padded = torch.nn.functional.pad(known, (1, 1, 1, 1), value=torch.nan)
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    up, down = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    jump = relative_jump * depth

    def between(a: Tensor, b: Tensor) -> Tensor:
        return ((a < depth - jump) & (b > depth + jump)) | ((b < depth - jump) & (a > depth + jump))

    alone = torch.ones_like(valid)
    for neighbour in (left, right, up, down):
        alone &= ~((neighbour - depth).abs() <= jump)
    return valid & (between(left, right) | between(up, down) | alone)
