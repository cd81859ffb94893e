"""The convolutional trunk for inference on a CPU: strip by strip, so that activations stay in the cache.

Same numbers as `Trunk.trunk` up to rounding, less time, and three instead of six images of activations at a time.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.encoders import ResidualBlock, Trunk, fold_norm
from depthweave.models.layers.strips import Rows, each_strip, saves_time, strips
from depthweave.models.layers.winograd import RowWinograd, conv_rows


class Spare:
    """Memory that is no longer needed, for reuse: to touch fresh memory costs as much time as to use it."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._used: dict[int, Tensor] = {}

    def give(self, image: Tensor) -> None:
        """Take back what `take` gave."""
        flat = self._used.pop(image.data_ptr(), None)
        if flat is not None:
            self._free.append(flat)

    def take(self, shape: tuple[int, int, int], like: Tensor) -> Tensor:
        """An image of this shape with any contents."""
        size = math.prod(shape)
        fitting = [index for index, flat in enumerate(self._free) if flat.numel() >= size]
        flat = self._free.pop(min(fitting, key=lambda i: self._free[i].numel())) if fitting else like.new_empty(size)
        self._used[flat.data_ptr()] = flat
        return flat[:size].view(shape)


class _Normalised(NamedTuple):
    """An image that still has to be multiplied and shifted per channel, and rectified."""

    image: Float[Tensor, "h w c"]
    factor: Float[Tensor, "c"]
    shift: Float[Tensor, "c"]

    def rectify(self, strip: Tensor) -> Tensor:
        """That, in place."""
        return strip.mul_(self.factor).add_(self.shift).relu_()

    def rectified(self, strip: Tensor) -> Tensor:
        """That, on a copy."""
        return torch.addcmul(self.shift, strip, self.factor).relu_()


def run_trunk(trunk: Trunk, images: Float[Tensor, "b 3 h w"], spare: Spare | None = None) -> Float[Tensor, "b _ _ _"]:
    """What `Trunk.trunk` returns: strip by strip where that saves time, else by calling it.

    Args:
        trunk: of any norm.
        images: normalised.
        spare: memory that several calls share.
    """
    if not saves_time(images):
        return trunk.trunk(images)
    spare = Spare() if spare is None else spare
    found: Tensor | None = None
    for index, image in enumerate(images):
        features = _run_one(trunk, image.permute(1, 2, 0).contiguous(), spare)
        if found is None:
            found = features.new_empty(len(images), *features.shape)
        found[index] = features
        spare.give(features)
    assert found is not None
    return found.permute(0, 3, 1, 2)


def _run_one(trunk: Trunk, x: Float[Tensor, "h w 3"], spare: Spare) -> Float[Tensor, "_ _ _"]:
    folded = isinstance(trunk.norm1, nn.BatchNorm2d)
    if folded:
        x = _convolve(x, trunk.conv1, trunk.norm1, spare, after=_rectify)
    else:
        first = _normalise(x, trunk.conv1, trunk.norm1, spare)
        x = _by_strips(first.image, lambda strip, _: first.rectify(strip))
    run = _run_folded_block if folded else _run_block
    for block in (*trunk.layer1, *trunk.layer2, *trunk.layer3):
        assert isinstance(block, ResidualBlock)
        x = run(block, x, spare)
    return x


def _run_folded_block(block: ResidualBlock, x: Tensor, spare: Spare) -> Tensor:
    """A block whose batch normalisations are in the weights."""
    first = _convolve(x, block.conv1, block.norm1, spare, after=_rectify)
    shortcut = x
    if block.downsample is not None:
        shortcut = _convolve(x, block.shortcut, block.norm3, spare)
        spare.give(x)

    def add(strip: Tensor, rows: Rows) -> None:
        strip.relu_().add_(shortcut[slice(*rows)]).relu_()

    second = _convolve(first, block.conv2, block.norm2, spare, after=add)
    spare.give(first)
    spare.give(shortcut)
    return second


def _run_block(block: ResidualBlock, x: Tensor, spare: Spare) -> Tensor:
    """A block with instance normalisations: what a convolution gives is normalised where the next one reads it."""
    first = _normalise(x, block.conv1, block.norm1, spare)
    second = _normalise(first.image, block.conv2, block.norm2, spare, before=first.rectified)
    spare.give(first.image)
    shortcut = x
    if block.downsample is not None:
        other = _normalise(x, block.shortcut, block.norm3, spare)
        spare.give(x)
        shortcut = _by_strips(other.image, lambda strip, _: strip.mul_(other.factor).add_(other.shift))
    _by_strips(second.image, lambda strip, rows: second.rectify(strip).add_(shortcut[slice(*rows)]).relu_())
    spare.give(shortcut)
    return second.image


def _normalise(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.Module,
    spare: Spare,
    *,
    before: Callable[[Tensor], Tensor] | None = None,
) -> _Normalised:
    """Convolve, and say how the result is to be normalised."""
    assert isinstance(norm, nn.InstanceNorm2d)
    moments = _Moments()
    image = _convolve(x, conv, norm, spare, before=before, after=moments.add)
    mean, variance = moments.result()
    factor = torch.rsqrt(variance + norm.eps)
    return _Normalised(image, factor, -mean * factor)


def _convolve(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.Module,
    spare: Spare,
    *,
    before: Callable[[Tensor], Tensor] | None = None,
    after: Callable[[Tensor, Rows], object] | None = None,
) -> Tensor:
    """Convolve with everything of the norm that weights and bias can hold; arguments as those of `RowWinograd`."""
    weight, bias = fold_norm(conv, norm)
    height, width, _ = x.shape
    stride, size = conv.stride[0], weight.shape[-1]
    out = spare.take((-(-height // stride), -(-width // stride), weight.shape[0]), x)
    if (stride, size) == (1, 3):
        return RowWinograd(weight, bias)(x, out=out, before=before, after=after)
    assert before is None
    reach = size // 2
    weight = weight.contiguous(memory_format=torch.channels_last)

    def work(parts: Sequence[Rows]) -> None:
        for first, last in parts:
            strip = out[first:last]
            if size == 1:
                pixels = x[first * stride : last * stride : stride, ::stride]
                torch.addmm(bias, pixels.flatten(0, 1), weight.flatten(1).t(), out=strip.view(-1, strip.shape[-1]))
            else:
                start, end = first * stride - reach, (last - 1) * stride + reach + 1
                seen = x[max(start, 0) : min(end, height)]
                if start < 0 or end > height:
                    seen = F.pad(seen, (0, 0, 0, 0, max(-start, 0), max(end - height, 0)))
                strip.copy_(conv_rows(seen, weight, bias, stride=stride, padding=(0, reach)))
            if after is not None:
                after(strip, (first, last))

    # Direct convolutions prepare their weights in every call, so their strips are not thin.
    each_strip(strips(out.shape[0], 4 * width * (stride * x.shape[2] + out.shape[2]), 16), work)
    return out


def _by_strips(image: Tensor, change: Callable[[Tensor, Rows], object]) -> Tensor:
    """Change an image in place, strip by strip."""
    height, width, channels = image.shape

    def work(parts: Sequence[Rows]) -> None:
        for first, last in parts:
            change(image[first:last], (first, last))

    each_strip(strips(height, 8 * width * channels), work)
    return image


def _rectify(strip: Tensor, _: Rows) -> None:
    strip.relu_()


class _Moments:
    """Mean and variance per channel from strips (Chan et al., "Updating formulae and a pairwise algorithm", 1979)."""

    def __init__(self) -> None:
        self._parts: dict[Rows, tuple[int, Tensor, Tensor]] = {}

    def add(self, strip: Float[Tensor, "r w c"], rows: Rows) -> None:
        pixels = strip.reshape(-1, strip.shape[-1])
        ones = pixels.new_ones(pixels.shape[0])
        mean = ones @ pixels / pixels.shape[0]
        squares = ones @ (pixels - mean).square_()
        self._parts[rows] = (pixels.shape[0], mean.double(), squares.double())

    def result(self) -> tuple[Tensor, Tensor]:
        # In the order of the rows, whichever thread was first.
        counts, means, squares = zip(*(self._parts[rows] for rows in sorted(self._parts)), strict=True)
        weights = torch.tensor(counts, dtype=torch.float64) / sum(counts)
        mean = weights @ torch.stack(means)
        between = weights @ (torch.stack(means) - mean).square()
        return mean.float(), (torch.stack(squares).sum(0) / sum(counts) + between).float()
