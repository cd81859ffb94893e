"""What moves by itself: motion in the picture that the camera's own motion does not explain."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.geometry import (
    essential_from_pose,
    fundamental_from_essential,
    pixel_grid,
    rigid_flow,
    sampson_distance,
)


def moving_by_residual(
    flow: Float[Tensor, "*b 2 h w"],
    depth: Float[Tensor, "*b h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    second_from_first: Float[Tensor, "*#b 4 4"],
    *,
    valid: Bool[Tensor, "*b h w"] | None = None,
    absolute_px: float | int = 1.0,
    relative: float | int = 0.05,
) -> Bool[Tensor, "*b h w"]:
    """Pixels with |u - u_rigid| > absolute + relative |u|, where u_rigid is what the camera's motion makes of depth.

    Finds motion in every direction, and needs the depth of the first view in the unit of the poses.

    Args:
        flow: u, motion (x, y) of the first view in px.
        depth: of the first view; where it is not finite or not positive nothing is called moving.
        intrinsics: of both views in px.
        second_from_first: points of the first camera in the axes of the second, in the unit of the depth.
        valid: where the flow is known; None = everywhere.
        absolute_px: errors of flow and depth that are borne at any speed, px.
        relative: the same, as a share of the motion.

    Raises:
        WrongInput: a negative bound.

    Source: the rule is that of many motion segmentations with a bound that grows with the motion, as in Yin and Shi,
    GeoNet, CVPR 2018, section 3.4.
    """
    if absolute_px < 0 or relative < 0:
        raise WrongInput(f"absolute_px {absolute_px} and relative {relative} are bounds; give 0 or more.")
    expected, in_front = rigid_flow(depth, intrinsics, second_from_first)
    residual = torch.linalg.vector_norm(flow - expected, dim=-3)
    moving = residual > absolute_px + relative * torch.linalg.vector_norm(flow, dim=-3)
    known = in_front if valid is None else in_front & valid
    return torch.logical_and(moving, known)


def moving_by_sampson(
    flow: Float[Tensor, "*b 2 h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    second_from_first: Float[Tensor, "*#b 4 4"],
    *,
    valid: Bool[Tensor, "*b h w"] | None = None,
    threshold_px: float | int = 1.0,
) -> Bool[Tensor, "*b h w"]:
    """Pixels whose match is farther than a threshold from their epipolar line, by Sampson's distance.

    Needs no depth, and does not see what moves along its epipolar line, such as a car ahead of a driving camera.

    Args:
        flow: motion (x, y) of the first view in px.
        intrinsics: of both views in px.
        second_from_first: points of the first camera in the axes of the second; the length of its translation makes no
            difference.
        valid: where the flow is known; None = everywhere.
        threshold_px: px.

    Raises:
        WrongInput: a negative threshold, or cameras at the same place, which have no epipolar lines.

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 11.9.
    """
    if threshold_px < 0:
        raise WrongInput(f"the threshold is {threshold_px} px; give 0 or more.")
    if not bool((torch.linalg.vector_norm(second_from_first[..., :3, 3], dim=-1) > 0).all()):
        raise WrongInput("a camera that only turns has no epipolar lines; use moving_by_residual with any depth.")
    height, width = flow.shape[-2:]
    essential = essential_from_pose(second_from_first.to(flow))
    fundamental = fundamental_from_essential(essential, intrinsics.to(flow), intrinsics.to(flow))
    first = pixel_grid(height, width, device=flow.device, dtype=flow.dtype)
    second = (first + flow.movedim(-3, -1)).flatten(-3, -2)
    points = first.flatten(0, 1).expand(second.shape)
    distance = sampson_distance(points, second, fundamental).reshape(*flow.shape[:-3], height, width)
    moving = distance > threshold_px**2
    return moving if valid is None else moving & valid
