"""The convolutional trunk for inference on a CPU: strip by strip, so that activations stay in the cache.

Same numbers as `Trunk.trunk` up to rounding, less time, and three instead of six images of activations at a time.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.encoders import ResidualBlock, Trunk, fold_norm
from depthweave.models.layers.winograd import FEWEST_CHANNELS, Rows, RowWinograd, conv_rows, saves_time, strips


class _Normalised(NamedTuple):
    """An image that still has to be multiplied and shifted per channel."""

    image: Float[Tensor, "h w c"]
    factor: Float[Tensor, "c"]
    shift: Float[Tensor, "c"]


def run_trunk(trunk: Trunk, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _ _ _"]:
    """What `Trunk.trunk` returns: strip by strip where that saves time, else by calling it."""
    if not saves_time(images):
        return trunk.trunk(images)
    found = [_run_one(trunk, image.permute(1, 2, 0).contiguous()) for image in images]
    return torch.stack(found).permute(0, 3, 1, 2)


def _run_one(trunk: Trunk, image: Float[Tensor, "h w 3"]) -> Float[Tensor, "_ _ _"]:
    spare = _Spare()
    x = _activate(_convolve(image, trunk.conv1, trunk.norm1, spare))
    for block in (*trunk.layer1, *trunk.layer2, *trunk.layer3):
        assert isinstance(block, ResidualBlock)
        x = _run_block(block, x, spare)
    return x


def _run_block(block: ResidualBlock, x: Tensor, spare: "_Spare") -> Tensor:
    first = _convolve(x, block.conv1, block.norm1, spare)
    second = _convolve(first.image, block.conv2, block.norm2, spare, before=_activation(first))
    spare.give(first.image)
    shortcut = x
    if block.downsample is not None:
        conv = block.downsample[0]
        assert isinstance(conv, nn.Conv2d)
        other = _convolve(x, conv, block.norm3, spare)
        spare.give(x)
        shortcut = _scale(other)
    height, width, channels = shortcut.shape
    for start, end in strips(height, 2 * width * channels):
        strip = second.image[start:end]
        _rectify(strip, second).add_(shortcut[start:end]).relu_()
    spare.give(shortcut)
    return second.image


def _convolve(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.Module,
    spare: "_Spare",
    *,
    before: Callable[[Tensor], Tensor] | None = None,
) -> _Normalised:
    """Convolve without the bias, and say how the result is to be normalised; that makes up for the bias."""
    weight, bias = fold_norm(conv, norm)
    moments = None if isinstance(norm, nn.BatchNorm2d) else _Moments(weight)
    after = None if moments is None else moments.add
    height, width, _ = x.shape
    stride = conv.stride[0]
    shape = (-(-height // stride), -(-width // stride), weight.shape[0])
    out = spare.take(shape, x)
    if stride == 1 and weight.shape[1] >= FEWEST_CHANNELS and weight.shape[2:] == (3, 3):
        RowWinograd(weight)(x, out=out, before=before, after=after)
    else:
        _convolve_directly(x, weight, stride, out, before, after)
    if moments is None:
        return _Normalised(out, torch.ones_like(bias), bias)
    assert isinstance(norm, nn.InstanceNorm2d)
    mean, variance = moments.result()
    factor = torch.rsqrt(variance + norm.eps)
    return _Normalised(out, factor, -mean * factor)


def _convolve_directly(
    x: Tensor,
    weight: Tensor,
    stride: int,
    out: Tensor,
    before: Callable[[Tensor], Tensor] | None,
    after: Callable[[Tensor, Rows], object] | None,
) -> None:
    reach = weight.shape[-1] // 2
    height, width, channels = x.shape
    weight = weight.contiguous(memory_format=torch.channels_last)
    for first, last in strips(out.shape[0], 2 * width * (stride * channels + out.shape[2])):
        start, end = first * stride - reach, (last - 1) * stride + reach + 1
        seen = x[max(start, 0) : min(end, height)]
        if before is not None:
            seen = before(seen)
        if start < 0 or end > height:
            seen = F.pad(seen, (0, 0, 0, 0, max(-start, 0), max(end - height, 0)))
        strip = out[first:last]
        strip.copy_(conv_rows(seen, weight, stride=stride, padding=(0, reach)))
        if after is not None:
            after(strip, (first, last))


class _Moments:
    """Mean and variance per channel from strips (Chan et al., "Updating formulae and a pairwise algorithm", 1979)."""

    def __init__(self, like: Tensor) -> None:
        self._count = 0
        self._mean = torch.zeros(like.shape[0], dtype=torch.float64)
        self._squares = torch.zeros(like.shape[0], dtype=torch.float64)

    def add(self, strip: Float[Tensor, "r w c"], _: Rows) -> None:
        pixels = strip.reshape(-1, strip.shape[-1])
        count = pixels.shape[0]
        ones = pixels.new_ones(count)
        mean = ones @ pixels / count
        centred = pixels - mean
        squares = (ones @ centred.square_()).double()
        total = self._count + count
        off = mean.double() - self._mean
        self._squares += squares + off.square() * (self._count * count / total)
        self._mean += off * (count / total)
        self._count = total

    def result(self) -> tuple[Tensor, Tensor]:
        return self._mean.float(), (self._squares / self._count).float()


class _Spare:
    """Images that are no longer needed, for reuse: fresh memory costs as much time as it takes to fill it."""

    def __init__(self) -> None:
        self._images: list[Tensor] = []

    def give(self, image: Tensor) -> None:
        self._images.append(image)

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        for index, image in enumerate(self._images):
            if image.shape == shape:
                return self._images.pop(index)
        self._images.clear()
        return like.new_empty(shape)


def _rectify(strip: Tensor, how: _Normalised) -> Tensor:
    return strip.mul_(how.factor).add_(how.shift).relu_()


def _activation(how: _Normalised) -> Callable[[Tensor], Tensor]:
    return lambda strip: torch.addcmul(how.shift, strip, how.factor).relu_()


def _activate(how: _Normalised) -> Tensor:
    height, width, channels = how.image.shape
    for start, end in strips(height, width * channels):
        _rectify(how.image[start:end], how)
    return how.image


def _scale(how: _Normalised) -> Tensor:
    height, width, channels = how.image.shape
    for start, end in strips(height, width * channels):
        how.image[start:end].mul_(how.factor).add_(how.shift)
    return how.image
