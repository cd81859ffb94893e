"""Networks for single pictures behind one call, each with the preparation and the ending of its authors.

A network of `transformers` is any module whose output has ``predicted_depth``; nothing here imports that library.
"""

from dataclasses import dataclass
from math import radians, tan
from typing import Any, Generic, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.errors import WrongInput
from depthweave.models.layers.imagenet import IMAGENET_MEAN, IMAGENET_STD
from depthweave.models.mono.estimate import Estimate, covering_size, nearest_size, normalized, resized
from depthweave.types import Scale

HALF = (0.5, 0.5, 0.5)

Settings = TypeVar("Settings")


class _NetworkEstimator(Generic[Settings]):
    def __init__(self, network: nn.Module, config: Settings) -> None:
        self.network = network.eval()
        self.config = config

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self.network.to(device)


@dataclass(frozen=True)
class DepthAnythingSettings:
    """Settings of Depth Anything.

    Attributes:
        size: the shorter side in px at which the network sees the picture; larger finds finer detail and costs more.
    """

    size: int = 518

    def __post_init__(self) -> None:
        _require_positive(size=self.size)


class DepthAnythingEstimator(_NetworkEstimator[DepthAnythingSettings]):
    """Depth Anything V1 and V2, relative (inverse depth up to scale and shift) or metric (depth in metres).

    Preparation as published: bicubic without a low-pass filter (the kernel of OpenCV's INTER_CUBIC) to a shorter side
    of 518 px, multiples of 14, ImageNet's mean and deviation; bilinear with aligned corners back to the picture's size.

    Args:
        network: normalised pictures (b, 3, h, w) to (b, h, w).
        metric: what the network's numbers are.
        config: see `DepthAnythingSettings`.
    """

    def __init__(self, network: nn.Module, *, metric: bool, config: DepthAnythingSettings) -> None:
        super().__init__(network, config)
        self.metric = metric

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the depth of a picture in [0, 1]."""
        height, width = image.shape[-2:]
        seen = resized(image[None], covering_size(height, width, self.config.size, 14), mode="bicubic")
        found = self.network(normalized(seen[0], IMAGENET_MEAN, IMAGENET_STD))
        values = resized(found[:, None], (height, width), mode="bilinear", align_corners=True)[0, 0]
        if self.metric:
            return Estimate(values, "depth", Scale.METRIC)
        return Estimate(values, "inverse_depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


class PredictedDepth(nn.Module):
    """A depth network of `transformers` as a plain one: pictures in, the tensor of its depth out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Normalised pictures to the network's prediction."""
        found: Tensor = self.network(pixel_values=images).predicted_depth
        return found


@dataclass(frozen=True)
class MidasSettings:
    """Settings of MiDaS 3; a checkpoint's ``preprocessor_config.json`` states its own.

    Attributes:
        size: height and width in px at which the network sees the picture.
        keep_aspect: keep the picture's aspect instead of squeezing it into that size.
        multiple: both sides become multiples of this.
        filter: how the picture is resized, always with a low-pass filter.
        mean, std: of the normalisation, per channel.
    """

    size: tuple[int, int] = (384, 384)
    keep_aspect: bool = False
    multiple: int = 1
    filter: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF

    def __post_init__(self) -> None:
        _require_positive(height=self.size[0], width=self.size[1], multiple=self.multiple)


class MidasEstimator(_NetworkEstimator[MidasSettings]):
    """DPT networks of MiDaS 3: inverse depth up to scale and shift (Ranftl et al., ICCV 2021)."""

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the inverse depth of a picture in [0, 1]."""
        config = self.config
        height, width = image.shape[-2:]
        size = nearest_size(height, width, config.size, config.multiple, config.keep_aspect)
        seen = resized(image[None], size, mode=config.filter, antialias=True).clamp(0, 1)
        found = self.network(pixel_values=normalized(seen[0], config.mean, config.std)).predicted_depth
        values = resized(found[:, None], (height, width), mode="bicubic")[0, 0]
        return Estimate(values, "inverse_depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


@dataclass(frozen=True)
class ZoeDepthSettings:
    """Settings of ZoeDepth; a checkpoint's ``preprocessor_config.json`` states its own.

    Attributes:
        size, keep_aspect, multiple, mean, std: as in `MidasSettings`.
        pad: reflect the picture beyond its borders, whose depth is poor without.
        flip: average with the prediction of the mirrored picture, as the authors do; without, half the time.
    """

    size: tuple[int, int] = (384, 512)
    keep_aspect: bool = True
    multiple: int = 32
    pad: bool = True
    flip: bool = True
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF

    def __post_init__(self) -> None:
        _require_positive(height=self.size[0], width=self.size[1], multiple=self.multiple)


class ZoeDepthEstimator(_NetworkEstimator[ZoeDepthSettings]):
    """ZoeDepth: depth in metres (Bhat et al., 2023)."""

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the depth of a picture in [0, 1] whose sides have at least 5 px."""
        config = self.config
        height, width = image.shape[-2:]
        pad_y, pad_x = (int((side / 2) ** 0.5 * 3) if config.pad else 0 for side in (height, width))
        padded = nn.functional.pad(image[None], (pad_x, pad_x, pad_y, pad_y), mode="reflect")
        size = nearest_size(padded.shape[-2], padded.shape[-1], config.size, config.multiple, config.keep_aspect)
        seen = normalized(resized(padded, size, mode="bilinear", align_corners=True)[0], config.mean, config.std)
        found = self.network(pixel_values=seen).predicted_depth.float()
        if config.flip:
            mirrored = self.network(pixel_values=seen.flip(-1)).predicted_depth.float().flip(-1)
            found = (found + mirrored) / 2
        whole = resized(found[:, None], (padded.shape[-2], padded.shape[-1]), mode="bicubic")[0, 0]
        return Estimate(whole[pad_y : pad_y + height, pad_x : pad_x + width], "depth", Scale.METRIC)


@dataclass(frozen=True)
class DepthProSettings:
    """Settings of Depth Pro.

    Attributes:
        size: side in px of the square at which the network sees the picture; it was trained with this one only.
    """

    size: int = 1536

    def __post_init__(self) -> None:
        _require_positive(size=self.size)


class DepthProEstimator(_NetworkEstimator[DepthProSettings]):
    """Depth Pro: depth in metres and the focal length (Bochkovskii et al., ICLR 2025).

    The network predicts inverse depth of a camera whose focal length is the picture's width, and the horizontal field
    of view, which together give metres. Without its field-of-view branch the scale is unknown.
    """

    NEAREST_M, FARTHEST_M = 1e-4, 1e4

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the depth of a picture in [0, 1]."""
        height, width = image.shape[-2:]
        seen = resized(normalized(image, HALF, HALF), (self.config.size, self.config.size), mode="bilinear")
        found: Any = self.network(pixel_values=seen)
        inverse = resized(found.predicted_depth[:, None], (height, width), mode="bilinear")[0, 0]
        focal_px = None
        if found.field_of_view is not None:
            focal_px = width / 2 / tan(radians(float(found.field_of_view[0])) / 2)
            inverse = inverse * (width / focal_px)
        values = 1 / inverse.clamp(1 / self.FARTHEST_M, 1 / self.NEAREST_M)
        return Estimate(values, "depth", Scale.UNKNOWN_SCALE if focal_px is None else Scale.METRIC, focal_px)


@dataclass(frozen=True)
class MonoUnetSettings:
    """Settings of the small encoder and decoder.

    Attributes:
        size: height and width in px at which the network sees the picture, multiples of 32; its own size by default.
    """

    size: tuple[int, int] = (192, 640)

    def __post_init__(self) -> None:
        _require_positive(height=self.size[0], width=self.size[1])
        if self.size[0] % 32 or self.size[1] % 32:
            raise WrongInput(f"size is {self.size}; give a height and a width that are multiples of 32 px.")


class MonoUnetEstimator(_NetworkEstimator[MonoUnetSettings]):
    """Networks of the family `mono-unet`: depth, metric or up to scale as they were trained.

    Pictures are squeezed to the size of the training, and inverse depth is enlarged again (Godard et al., ICCV 2019).

    Args:
        network: pictures (b, 3, h, w) from 0 to 255 to depth (b, h, w).
        metric: whether its depth is in m.
        config: see `MonoUnetSettings`.
    """

    def __init__(self, network: nn.Module, *, metric: bool, config: MonoUnetSettings) -> None:
        super().__init__(network, config)
        self.metric = metric

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the depth of a picture in [0, 1]."""
        seen = resized(255 * image[None], self.config.size, mode="bilinear", antialias=True)
        inverse = 1 / self.network(seen).float()
        values = 1 / resized(inverse[:, None], (image.shape[-2], image.shape[-1]), mode="bilinear")[0, 0]
        return Estimate(values, "depth", Scale.METRIC if self.metric else Scale.UNKNOWN_SCALE)


def _require_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise WrongInput(f"{name} is {value}; give a positive number.")
