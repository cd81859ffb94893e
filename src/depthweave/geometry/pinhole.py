"""The pinhole camera. Axes as in OpenCV: x right, y down, z forward; integer coordinates are pixel centres."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def intrinsics_matrix(fx_px: float, fy_px: float, cx_px: float, cy_px: float) -> Float[Tensor, "3 3"]:
    """The 3x3 matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in px."""
    return torch.tensor([[fx_px, 0.0, cx_px], [0.0, fy_px, cy_px], [0.0, 0.0, 1.0]], dtype=torch.float32)


def intrinsics_from_fov(fov_x_deg: float, width: int, height: int) -> Float[Tensor, "3 3"]:
    """Intrinsics of a camera with square pixels and a central principal point.

    The picture spans [-0.5, width - 0.5], so f = 0.5 width / tan(fov / 2) and cx = (width - 1) / 2.
    """
    focal_px = 0.5 * width / math.tan(math.radians(fov_x_deg) / 2)
    return intrinsics_matrix(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)


def field_of_view(intrinsics: Float[Tensor, "3 3"], width: int, height: int) -> tuple[float, float]:
    """Horizontal and vertical field of view in degrees, measured from border to border."""

    def angle(focal_px: float, centre_px: float, size: int) -> float:
        return math.degrees(math.atan((centre_px + 0.5) / focal_px) + math.atan((size - 0.5 - centre_px) / focal_px))

    k = intrinsics.tolist()
    return angle(k[0][0], k[0][2], width), angle(k[1][1], k[1][2], height)


def scale_intrinsics(intrinsics: Float[Tensor, "*b 3 3"], *, scale_x: float, scale_y: float) -> Float[Tensor, "*b 3 3"]:
    """Intrinsics after a resize by the half-pixel rule: f' = s f, c' = s (c + 0.5) - 0.5."""
    scaled = intrinsics.clone()
    scaled[..., 0, :2] *= scale_x
    scaled[..., 1, :2] *= scale_y
    scaled[..., 0, 2] = scale_x * (intrinsics[..., 0, 2] + 0.5) - 0.5
    scaled[..., 1, 2] = scale_y * (intrinsics[..., 1, 2] + 0.5) - 0.5
    return scaled


def pixel_grid(
    height: int, width: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "h w 2"]:
    """Coordinates (x, y) of every pixel centre in px."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype), torch.arange(width, device=device, dtype=dtype), indexing="ij"
    )
    return torch.stack((x, y), dim=-1)


def unproject(depth: Float[Tensor, "*b h w"], intrinsics: Float[Tensor, "*#b 3 3"]) -> Float[Tensor, "*b h w 3"]:
    """Points of a depth map in camera axes, in the unit of the depth: X = Z K^-1 (x, y, 1).

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., eq. 6.14 with R = I, t = 0.
    """
    height, width = depth.shape[-2:]
    grid = pixel_grid(height, width, device=depth.device, dtype=depth.dtype)
    k = intrinsics.to(depth)[..., None, None, :, :]
    y = (grid[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (grid[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    return torch.stack((x * depth, y * depth, depth), dim=-1)


def project(
    points: Float[Tensor, "*b n 3"], intrinsics: Float[Tensor, "*#b 3 3"]
) -> tuple[Float[Tensor, "*b n 2"], Float[Tensor, "*b n"]]:
    """Pixels (x, y) and depth z of points in camera axes; pixels are NaN for points at or behind the camera."""
    homogeneous = points @ intrinsics.to(points).transpose(-1, -2)
    depth = points[..., 2]
    in_front = depth > 0
    divisor = torch.where(in_front, depth, torch.nan)[..., None]
    return homogeneous[..., :2] / divisor, depth
