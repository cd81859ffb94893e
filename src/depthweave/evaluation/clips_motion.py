"""What moves by itself in a clip whose cameras and depth are known."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import geometry, images
from depthweave.classical.flow import flow_both_ways
from depthweave.data import ClipItem
from depthweave.errors import WrongInput
from depthweave.types import Camera

SHARE = 0.35
LEAST_PX = 1.0


def moving(
    first: Float[Tensor, "3 h w"],
    second: Float[Tensor, "3 h w"],
    depth: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    camera: Camera,
    second_from_first: Float[Tensor, "4 4"],
) -> Bool[Tensor, "h w"]:
    """Pixels of a frame whose flow is not that of a static scene before the moving camera.

    Args:
        first, second: two frames in [0, 1].
        depth: of the first frame, in the unit of the pose.
        valid: where it is known; elsewhere nothing is said to move.
        camera: of both frames.
        second_from_first: pose of the first camera's axes in those of the second.

    Returns:
        True where |flow - ego flow|, brought to [0, 1] over the frame, is above 0.35, and more than 1 px (else the
        noise of a frame in which nothing moves would be brought to [0, 1], too).

    Source: MonST3R (Zhang et al., ICLR 2025), section 4.2: the threshold; the flow is OpenCV's dense inverse search.
    """
    height, width = depth.shape
    flow = torch.from_numpy(flow_both_ways(images.grey_image(first), images.grey_image(second)).forward)
    points = geometry.unproject(depth, camera.intrinsics).reshape(-1, 3)
    places, _ = geometry.project(geometry.transform_points(second_from_first, points), camera.intrinsics)
    ego = places.reshape(height, width, 2) - geometry.pixel_grid(height, width)
    known = valid & torch.isfinite(ego).all(-1)
    residual_px = torch.where(known, (flow - ego).norm(dim=-1), 0.0)
    if not bool(known.any()):
        return known
    low, high = residual_px[known].min(), residual_px[known].max()
    return known & (residual_px > LEAST_PX) & (residual_px - low > SHARE * (high - low))


class MovingParts:
    """What moves between a frame of a benchmark's clip and the next one (the one before for the last frame).

    Args:
        item: a clip with poses and a camera.

    Raises:
        WrongInput: the data set gives no poses or no camera.
        WrongFile: a file is missing or damaged.
    """

    def __init__(self, item: ClipItem) -> None:
        poses, camera = item.world_from_camera(), item.clip.camera
        if poses is None or camera is None:
            raise WrongInput(f"{item.key} has no poses or no camera, so its moving parts cannot be found; give masks.")
        self.item, self.poses, self.camera = item, poses, camera

    def __call__(self, index: int) -> Bool[Tensor, "h w"] | None:
        """Mask of the truth's size; None where truth or a pose is missing."""
        other = index + 1 if index + 1 < len(self.item) else index - 1
        truth = self.item.truth(index)
        if truth is None or other < 0 or not bool(torch.isfinite(self.poses[[index, other]]).all()):
            return None
        depth, valid = truth
        first, second = (images.resize_image(self.item.picture(i), *depth.shape) for i in (index, other))
        second_from_first = geometry.relative_pose(self.poses[index], self.poses[other])
        return moving(first, second, depth, valid, self.camera.resized(*depth.shape), second_from_first)
