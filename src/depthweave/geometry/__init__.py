"""Geometry of one and two cameras: pure functions on tensors with any leading batch dimensions."""

from depthweave.geometry.disparity import (
    depth_from_disparity,
    depth_uncertainty,
    disparity_from_depth,
    flying_pixels,
    occlusion_from_disparity,
)
from depthweave.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance
from depthweave.geometry.flow import depth_in_second, rigid_flow, warp_by_depth, warp_by_flow
from depthweave.geometry.pinhole import (
    field_of_view,
    intrinsics_from_fov,
    intrinsics_matrix,
    pixel_grid,
    project,
    scale_intrinsics,
    unproject,
)
from depthweave.geometry.pose import invert_pose, pose_from_quaternion, relative_pose, transform_points
from depthweave.geometry.rays import depth_from_ray_length, ray_directions, ray_length_from_depth
from depthweave.geometry.warp import sample, warp_by_disparity

__all__ = [
    "depth_from_disparity",
    "depth_from_ray_length",
    "depth_in_second",
    "depth_uncertainty",
    "disparity_from_depth",
    "essential_from_pose",
    "field_of_view",
    "flying_pixels",
    "fundamental_from_essential",
    "intrinsics_from_fov",
    "intrinsics_matrix",
    "invert_pose",
    "occlusion_from_disparity",
    "pixel_grid",
    "pose_from_quaternion",
    "project",
    "ray_directions",
    "ray_length_from_depth",
    "relative_pose",
    "rigid_flow",
    "sample",
    "sampson_distance",
    "scale_intrinsics",
    "transform_points",
    "unproject",
    "warp_by_depth",
    "warp_by_disparity",
    "warp_by_flow",
]
