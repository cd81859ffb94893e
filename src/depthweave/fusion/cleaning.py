"""Points that hang in front of what other frames saw."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput


def clean_confidence(
    depth: Float[Tensor, "t h w"],
    confidence: Float[Tensor, "t h w"],
    world_from_camera: Float[Tensor, "t 4 4"],
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"],
    *,
    valid: Bool[Tensor, "t h w"] | None = None,
    window: int | None = None,
    tolerance: float = 0.001,
) -> Float[Tensor, "t h w"]:
    """Confidence with 0 at points that lie in front of the surface that a surer frame sees in their direction.

    Every frame's points are projected into its neighbours, to the nearest pixel. A point loses its confidence where its
    z there is less than (1 - tolerance) times the neighbour's depth and its confidence is less than the neighbour's at
    that pixel. All comparisons read the confidences as given, so the order of frames does not matter.

    Args:
        depth: (t, h, w) in one unit for all frames.
        confidence: (t, h, w), in any range.
        world_from_camera: (t, 4, 4); frames with NaN are left as they are and judge nobody.
        intrinsics: (3, 3) for all or (t, 3, 3), in px.
        valid: (t, h, w) pixels that are judged and judge; all if None. Depth that is not positive is never valid.
        window: compare with up to so many frames before and after; with all if None (time grows with t squared).
        tolerance: share of the depth.

    Raises:
        WrongInput: a negative window.

    Source: Wang et al., DUSt3R, https://github.com/naver/dust3r (cleaning of point clouds).
    """
    if window is not None and window < 0:
        raise WrongInput(f"the window of neighbours must not be negative, but is {window}.")
    frames, height, width = depth.shape
    posed = torch.isfinite(world_from_camera).flatten(1).all(1)
    usable = torch.isfinite(depth) & (depth > 0) & posed[:, None, None]
    if valid is not None:
        usable &= valid
    matrices = intrinsics.to(depth).expand(frames, 3, 3)
    # A neighbour without a usable pixel there judges nobody: no confidence is less than this.
    judging = torch.where(usable, confidence, -torch.inf).flatten(1)
    surface = (1 - tolerance) * depth.flatten(1)
    cleaned = confidence.clone()
    reach = frames if window is None else window
    for frame in range(frames):
        judges = [t for t in range(max(0, frame - reach), min(frames, frame + reach + 1)) if t != frame and posed[t]]
        mask = usable[frame]
        if not judges or not bool(mask.any()):
            continue
        points = geometry.unproject(depth[frame], matrices[frame])[mask]
        own = confidence[frame][mask]
        judge_from_frame = geometry.invert_pose(world_from_camera[judges]) @ world_from_camera[frame]
        seen = geometry.transform_points(judge_from_frame.to(points), points.expand(len(judges), -1, 3))
        pixels, z = geometry.project(seen, matrices[judges])
        x, y = pixels.nan_to_num(-1e6).clamp(-1e6, 1e6).round().long().unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = torch.where(inside, y * width + x, 0)
        in_front = z < surface[judges].gather(1, index)
        hanging = (inside & in_front & (own < judging[judges].gather(1, index))).any(0)
        cleaned[frame, mask] = torch.where(hanging, own.clamp_max(0.0), own)
    return cleaned
