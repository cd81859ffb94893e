"""Viewing rays. Depth is z; some sensors and renderers give the length along the ray instead."""

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.geometry.pinhole import unproject


def ray_directions(
    intrinsics: Float[Tensor, "*b 3 3"], height: int, width: int, *, unit_length: bool = False
) -> Float[Tensor, "*b h w 3"]:
    """Direction of every pixel's ray in camera axes, with z = 1, or of length 1 if ``unit_length``."""
    ones = torch.ones(*intrinsics.shape[:-2], height, width, device=intrinsics.device, dtype=intrinsics.dtype)
    rays = unproject(ones, intrinsics)
    return torch.nn.functional.normalize(rays, dim=-1) if unit_length else rays


def ray_length_from_depth(
    depth: Float[Tensor, "*b h w"], intrinsics: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*b h w"]:
    """Distance from the camera centre, in the unit of the depth: Z |K^-1 (x, y, 1)|."""
    return depth * _length_at_depth_one(depth, intrinsics)


def depth_from_ray_length(
    length: Float[Tensor, "*b h w"], intrinsics: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*b h w"]:
    """z of a point from its distance to the camera centre, the inverse of `ray_length_from_depth`."""
    return length / _length_at_depth_one(length, intrinsics)


def _length_at_depth_one(like: Tensor, intrinsics: Tensor) -> Tensor:
    return unproject(torch.ones_like(like), intrinsics).square().sum(-1).sqrt()
