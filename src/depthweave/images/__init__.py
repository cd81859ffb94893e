"""Pictures as tensors: conversion, resizing, padding, colour maps, tiles."""

from depthweave.images.blur import gaussian_blur
from depthweave.images.color import (
    LUMA,
    chroma_matrix,
    grey_image,
    image_from_tensor,
    luminance,
    mix_channels,
    tensor_from_image,
)
from depthweave.images.colormap import ColorRange, color_range, colorize
from depthweave.images.flow_wheel import colorize_flow, flow_legend, flow_wheel, largest_motion
from depthweave.images.pad import Padding, pad_to_multiple, unpad
from depthweave.images.place_view import draw_places
from depthweave.images.resize import fit_size, resize_disparity, resize_image, resize_mask
from depthweave.images.stereo_view import anaglyph, side_by_side
from depthweave.images.tiles import Tile, blend_tiles, split_tiles
from depthweave.images.upsample import guided_sources

__all__ = [
    "LUMA",
    "ColorRange",
    "Padding",
    "Tile",
    "anaglyph",
    "blend_tiles",
    "chroma_matrix",
    "color_range",
    "colorize",
    "colorize_flow",
    "draw_places",
    "fit_size",
    "flow_legend",
    "flow_wheel",
    "gaussian_blur",
    "grey_image",
    "guided_sources",
    "image_from_tensor",
    "largest_motion",
    "luminance",
    "mix_channels",
    "pad_to_multiple",
    "resize_disparity",
    "resize_image",
    "resize_mask",
    "side_by_side",
    "split_tiles",
    "tensor_from_image",
    "unpad",
]
