"""Reading one view at the coordinates of another."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.geometry.pinhole import pixel_grid


def sample(
    image: Float[Tensor, "*b c h w"], coordinates_px: Float[Tensor, "*b h2 w2 2"]
) -> tuple[Float[Tensor, "*b c h2 w2"], Bool[Tensor, "*b h2 w2"]]:
    """Bilinear values of ``image`` at (x, y) in px, and which coordinates lie on the image.

    Coordinates between the centres of the border pixels and half a pixel beyond read the border pixel; those farther
    out, and NaN, are not valid and read zero.
    """
    height, width = image.shape[-2:]
    x, y = coordinates_px.unbind(-1)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    size = torch.tensor([width, height], device=image.device, dtype=image.dtype)
    normalised = (2 * coordinates_px.nan_to_num(0.0) + 1) / size - 1
    values = torch.nn.functional.grid_sample(
        image.reshape(-1, *image.shape[-3:]),
        normalised.reshape(-1, *normalised.shape[-3:]),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return values.reshape(*image.shape[:-2], *inside.shape[-2:]) * inside.unsqueeze(-3), inside


def warp_by_disparity(
    right: Float[Tensor, "*b c h w"], disparity_px: Float[Tensor, "*b h w"]
) -> tuple[Float[Tensor, "*b c h w"], Bool[Tensor, "*b h w"]]:
    """The left view read out of the right one: I_l(x, y) = I_r(x - d(x, y), y), and where x - d is on the image.

    Source: Jaderberg et al., Spatial Transformer Networks, NeurIPS 2015; Godard et al., CVPR 2017, section 3.
    """
    height, width = disparity_px.shape[-2:]
    grid = pixel_grid(height, width, device=right.device, dtype=right.dtype)
    shift = torch.stack((disparity_px, torch.zeros_like(disparity_px)), dim=-1)
    return sample(right, grid - shift)
