"""Pictures as tensors: conversion, resizing, padding, colour maps, tiles."""

from depthweave.images.color import image_from_tensor, luminance, tensor_from_image
from depthweave.images.colormap import ColorRange, color_range, colorize
from depthweave.images.pad import Padding, pad_to_multiple, unpad
from depthweave.images.resize import resize_disparity, resize_image, resize_mask
from depthweave.images.tiles import Tile, blend_tiles, split_tiles

__all__ = [
    "ColorRange",
    "Padding",
    "Tile",
    "blend_tiles",
    "color_range",
    "colorize",
    "image_from_tensor",
    "luminance",
    "pad_to_multiple",
    "resize_disparity",
    "resize_image",
    "resize_mask",
    "split_tiles",
    "tensor_from_image",
    "unpad",
]
