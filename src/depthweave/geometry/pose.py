"""Rigid motions as 4x4 matrices, named by direction: ``world_from_camera`` maps camera points to world points."""

import roma
import torch
from jaxtyping import Float
from torch import Tensor


def invert_pose(b_from_a: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """a_from_b of a rigid b_from_a: R' = R^T, t' = -R^T t, exact to rounding and cheaper than a general inverse."""
    rotation = b_from_a[..., :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(b_from_a)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ b_from_a[..., :3, 3:]
    inverse[..., 3, 3] = 1.0
    return inverse


def relative_pose(
    world_from_a: Float[Tensor, "*b 4 4"], world_from_b: Float[Tensor, "*b 4 4"]
) -> Float[Tensor, "*b 4 4"]:
    """b_from_a: points of camera a in the axes of camera b."""
    return invert_pose(world_from_b) @ world_from_a


def transform_points(b_from_a: Float[Tensor, "*#b 4 4"], points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n 3"]:
    """Points in axes a to points in axes b: R p + t; one pose may serve many clouds."""
    return points @ b_from_a[..., :3, :3].transpose(-1, -2) + b_from_a[..., None, :3, 3]


def pose_from_quaternion(
    quaternion_xyzw: Float[Tensor, "*b 4"], translation: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """4x4 pose from a quaternion in the order x, y, z, w (as TUM trajectories write it) and a translation.

    The quaternion is normalised first.
    """
    pose = torch.zeros(*quaternion_xyzw.shape[:-1], 4, 4, dtype=quaternion_xyzw.dtype, device=quaternion_xyzw.device)
    pose[..., :3, :3] = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion_xyzw, dim=-1))
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1.0
    return pose
