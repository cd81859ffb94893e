"""Motion in the picture: what a moving camera makes of still things, and one view read at the motion of another."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.geometry.pinhole import pixel_grid, unproject
from depthweave.geometry.pose import transform_points
from depthweave.geometry.warp import sample


def warp_by_flow(
    image: Float[Tensor, "*b c h w"], flow_px: Float[Tensor, "*b 2 h2 w2"]
) -> tuple[Float[Tensor, "*b c h2 w2"], Bool[Tensor, "*b h2 w2"]]:
    """The first view read out of the second one, I_1(p) = I_2(p + flow(p)), and where p + flow is on the image.

    Args:
        image: the second view, any unit.
        flow_px: motion (x, y) in px from the first view to the second; where it is NaN, nothing is read.

    Source: Jaderberg et al., Spatial Transformer Networks, NeurIPS 2015; `geometry.sample` has the rule at the border.
    """
    height, width = flow_px.shape[-2:]
    grid = pixel_grid(height, width, device=flow_px.device, dtype=flow_px.dtype)
    return sample(image, (grid + flow_px.movedim(-3, -1)).to(image.dtype))


def rigid_flow(
    depth: Float[Tensor, "*b h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    second_from_first: Float[Tensor, "*#b 4 4"],
    intrinsics_second: Float[Tensor, "*#b 3 3"] | None = None,
) -> tuple[Float[Tensor, "*b 2 h w"], Bool[Tensor, "*b h w"]]:
    """Motion of a still scene in the picture, K_2 T Z K_1^-1 p - p, and which points lie in front of both cameras.

    Elsewhere the motion is NaN and has no gradient. Computed in float32 at least, under autocast, too.

    Args:
        depth: of the first view, in the unit of the translation; not finite or not positive: no point.
        intrinsics: of the first view in px.
        second_from_first: points of the first camera in the axes of the second.
        intrinsics_second: of the second view in px; None: those of the first.

    Source: Zhou et al., Unsupervised Learning of Depth and Ego-Motion from Video, CVPR 2017, eq. 2; Yin and Shi,
    GeoNet, CVPR 2018, eq. 1.
    """
    with torch.autocast(depth.device.type, enabled=False):
        points, in_front = _in_second(depth, intrinsics, second_from_first)
        k = (intrinsics if intrinsics_second is None else intrinsics_second).to(points)[..., None, None, :, :]
        # One division by 0, of a point in the camera, would give the pose of the whole map a gradient of NaN.
        x, y = points[..., 0], points[..., 1]
        z = torch.where(in_front, points[..., 2], 1.0)
        u = (k[..., 0, 0] * x + k[..., 0, 1] * y) / z + k[..., 0, 2]
        v = k[..., 1, 1] * y / z + k[..., 1, 2]
        height, width = depth.shape[-2:]
        grid = pixel_grid(height, width, device=points.device, dtype=points.dtype)
        flow = torch.stack((u - grid[..., 0], v - grid[..., 1]), dim=-3)
    return torch.where(in_front.unsqueeze(-3), flow, torch.nan), in_front


def depth_in_second(
    depth: Float[Tensor, "*b h w"], intrinsics: Float[Tensor, "*#b 3 3"], second_from_first: Float[Tensor, "*#b 4 4"]
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """Depth that the points of the first view have in the second camera, at their pixels in the first view.

    With it the mask of the points in front of both cameras; elsewhere the depth is NaN and has no gradient.

    Args:
        depth: of the first view, in the unit of the translation; not finite or not positive: no point.
        intrinsics: of the first view in px.
        second_from_first: points of the first camera in the axes of the second.

    Source: Bian et al., Unsupervised Scale-consistent Depth and Ego-motion Learning, NeurIPS 2019, section 3.2.
    """
    with torch.autocast(depth.device.type, enabled=False):
        points, in_front = _in_second(depth, intrinsics, second_from_first)
    return torch.where(in_front, points[..., 2], torch.nan), in_front


def warp_by_depth(
    image: Float[Tensor, "*b c h2 w2"],
    depth: Float[Tensor, "*b h w"],
    intrinsics: Float[Tensor, "*#b 3 3"],
    second_from_first: Float[Tensor, "*#b 4 4"],
    intrinsics_second: Float[Tensor, "*#b 3 3"] | None = None,
) -> tuple[Float[Tensor, "*b c h w"], Bool[Tensor, "*b h w"]]:
    """View synthesis: the first view read out of the second one where its points are seen there.

    With it the mask of what could be read: points in front of both cameras that fall on the image.

    Args:
        image: the second view (the source), any unit.
        depth: of the first view (the target), in the unit of the translation.
        intrinsics: of the first view in px.
        second_from_first: points of the first camera in the axes of the second.
        intrinsics_second: of the second view in px; None: those of the first.

    Source: Zhou et al., Unsupervised Learning of Depth and Ego-Motion from Video, CVPR 2017, section 3.2.
    """
    flow, _ = rigid_flow(depth, intrinsics, second_from_first, intrinsics_second)
    return warp_by_flow(image, flow)


def _in_second(depth: Tensor, intrinsics: Tensor, second_from_first: Tensor) -> tuple[Tensor, Tensor]:
    """Points (*b, h, w, 3) in the axes of the second camera, and which are in front of both."""
    depth = depth.to(torch.promote_types(depth.dtype, torch.float32))
    known = depth.isfinite() & (depth > 0)
    points = unproject(torch.where(known, depth, 1.0), intrinsics)
    moved = transform_points(second_from_first.to(points), points.flatten(-3, -2)).reshape(points.shape)
    return moved, known & (moved[..., 2] > 0)
