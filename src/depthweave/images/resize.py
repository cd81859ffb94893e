"""Resizing by the half-pixel rule: pixel x of the new picture looks at (x + 0.5) / s - 0.5 of the old one."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def fit_size(height: int, width: int, longest: int, *, least: int = 1) -> tuple[int, int]:
    """(height, width) in px with the longer side at most ``longest``, in the same proportion; nothing is enlarged.

    Args:
        height, width: of the picture.
        longest: bound of the longer side.
        least: no side becomes shorter than this.
    """
    ratio = min(1.0, longest / max(height, width))
    return max(least, round(height * ratio)), max(least, round(width * ratio))


def resize_image(image: Float[Tensor, "*b c h w"], height: int, width: int) -> Float[Tensor, "*b c h2 w2"]:
    """Bilinear resize, with a low-pass filter when the picture shrinks."""
    flat = image.reshape(-1, *image.shape[-3:])
    shrinks = height < image.shape[-2] or width < image.shape[-1]
    resized = torch.nn.functional.interpolate(
        flat, size=(height, width), mode="bilinear", align_corners=False, antialias=shrinks
    )
    return resized.reshape(*image.shape[:-2], height, width)


def resize_mask(mask: Bool[Tensor, "*b h w"], height: int, width: int) -> Bool[Tensor, "*b h2 w2"]:
    """Nearest-neighbour resize of a mask."""
    rows = _nearest_index(mask.shape[-2], height, mask.device)
    columns = _nearest_index(mask.shape[-1], width, mask.device)
    return mask[..., rows[:, None], columns]


def resize_disparity(
    disparity_px: Float[Tensor, "*b h w"],
    height: int,
    width: int,
    valid: Bool[Tensor, "*b h w"] | None = None,
) -> tuple[Float[Tensor, "*b h2 w2"], Bool[Tensor, "*b h2 w2"]]:
    """Resize a disparity map and multiply its values by the horizontal scale, since they count px.

    Without ``valid`` the map is dense and is interpolated bilinearly. With it, values come from the nearest pixel, so
    that no filler is mixed into a measurement (sparse LiDAR truth must not be blurred).

    Returns:
        The disparity in px of the new width, and where it is valid.
    """
    scale = width / disparity_px.shape[-1]
    if valid is None:
        flat = disparity_px.reshape(-1, 1, *disparity_px.shape[-2:])
        dense = torch.nn.functional.interpolate(flat, size=(height, width), mode="bilinear", align_corners=False)
        resized = dense.reshape(*disparity_px.shape[:-2], height, width) * scale
        return resized, torch.ones_like(resized, dtype=torch.bool)
    rows = _nearest_index(disparity_px.shape[-2], height, disparity_px.device)
    columns = _nearest_index(disparity_px.shape[-1], width, disparity_px.device)
    return disparity_px[..., rows[:, None], columns] * scale, valid[..., rows[:, None], columns]


def _nearest_index(old: int, new: int, device: torch.device) -> Tensor:
    centres = (torch.arange(new, device=device, dtype=torch.float64) + 0.5) * (old / new) - 0.5
    return centres.round().long().clamp(0, old - 1)
