"""3x3 convolutions with four tenths of the multiplications, for inference on a CPU.

Winograd's minimal filtering F(8, 3) over rows: eight rows of output take ten products with transformed kernels instead
of twenty-four. Over columns the convolution stays direct, which keeps the rounding error small: about 4e-6 of the
result's deviation. Everything is a matrix product, and the image is worked through in strips that stay in the cache.

Images here are (h, w, c) with the channels densest.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (nested over one axis only).
"""

import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.strips import Rows, each_strip, saves_time, strips

_TILE = 8
_TAPS = 3
_PRODUCTS = _TILE + _TAPS - 1
_PLACES = tuple(Fraction(place) for place in ("0", "2/5", "-2/5", "4/5", "-4/5", "5/4", "-5/4", "5/2", "-5/2"))
"""Where the polynomials are evaluated, beside infinity: of many symmetric choices the one with the smallest error."""


def _cook_toom() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices A, G, B of y = A^T ((G g) * (B^T d)) for a filter g of three and y of `_TILE` values, in float64.

    Source: Blahut, "Fast Algorithms for Signal Processing", 2010, chapter 5.
    """
    outputs = [[place**i for place in _PLACES] + [Fraction(i == _TILE - 1)] for i in range(_TILE)]
    kernels, inputs = [], []
    for place in _PLACES:
        others = [other for other in _PLACES if other != place]
        scale = math.prod((place - other for other in others), start=Fraction(1))
        kernels.append([place**i / scale for i in range(_TAPS)])
        inputs.append([*_polynomial(others), Fraction(0)])
    kernels.append([Fraction(0), Fraction(0), Fraction(1)])
    inputs.append(_polynomial(_PLACES))
    output, kernel, data = (
        torch.tensor([[float(value) for value in row] for row in matrix], dtype=torch.float64)
        for matrix in (outputs, kernels, inputs)
    )
    return output, kernel, data


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), lowest first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [high - root * low for high, low in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


_OUTPUT, _KERNEL, _INPUT = _cook_toom()

FEWEST_CHANNELS = 32
"""Below this many, the transforms cost more than they save."""


class RowWinograd:
    """A 3x3 convolution with stride 1 and zero padding, its kernel transformed once.

    Args:
        weight: (channels out, channels in, 3, 3).
        bias: per channel.
    """

    def __init__(self, weight: Float[Tensor, "co ci 3 3"], bias: Float[Tensor, "co"] | None = None) -> None:
        taps = weight.permute(2, 3, 1, 0).flatten(1)
        kernels = (_KERNEL.to(weight.dtype) @ taps).view(_PRODUCTS, 3, weight.shape[1], weight.shape[0])
        self._kernels = kernels.unbind(1)
        self._bias = bias
        self.channels = weight.shape[0]

    def __call__(
        self,
        x: Float[Tensor, "h w ci"],
        *,
        add: Float[Tensor, "h w co"] | None = None,
        out: Tensor | None = None,
        before: Callable[[Tensor], Tensor] | None = None,
        after: Callable[[Tensor, Rows], object] | None = None,
    ) -> Float[Tensor, "h w co"]:
        """Convolve.

        Args:
            x: image.
            add: added to the result.
            out: written to instead of a new image.
            before: makes the values to convolve from those of a strip of ``x``.
            after: gets every strip of the result and its rows while it is in the cache, and may change it; several
                threads call it.
        """
        height, width, channels = x.shape
        if out is None:
            out = x.new_empty(height, width, self.channels)
        rows = strips(height, 4 * _PRODUCTS * width * channels // _TILE, _TILE)
        each_strip(rows, partial(self._convolve, x, add, out, before, after))
        return out

    def _convolve(
        self,
        x: Tensor,
        add: Tensor | None,
        out: Tensor,
        before: Callable[[Tensor], Tensor] | None,
        after: Callable[[Tensor, Rows], object] | None,
        parts: Sequence[Rows],
    ) -> None:
        height, width, channels = x.shape
        work: _Work | None = None
        for first, last in parts:
            rows, top, bottom = last - first, first > 0, last < height
            to_products, to_rows = _transforms(rows, top, bottom)
            seen = x[first - top : last + bottom]
            if before is not None:
                seen = before(seen)
            tiles = to_products.shape[0] // _PRODUCTS
            if work is None or work.tiles != tiles:
                work = _Work(x, tiles, width, channels, self.channels, self._bias)
            torch.mm(to_products, seen.reshape(seen.shape[0], -1), out=work.inputs)
            torch.bmm(work.shifted[0], self._kernels[0], out=work.products)
            work.products.baddbmm_(work.shifted[1], self._kernels[1])
            work.products.baddbmm_(work.shifted[2], self._kernels[2])
            strip = out[first:last]
            flat = strip.view(rows, -1)
            if add is None:
                torch.mm(to_rows, work.rows, out=flat)
            else:
                torch.addmm(add[first:last].reshape(rows, -1), to_rows, work.rows, out=flat)
            if after is not None:
                after(strip, (first, last))


class _Work:
    """Room for one strip.

    Rows of pixels end with a pixel of zeros, so that shifting all of them by one is a convolution; the products are
    followed by a row of the bias, which the last transform adds.
    """

    def __init__(
        self, like: Tensor, tiles: int, width: int, channels: int, channels_out: int, bias: Tensor | None
    ) -> None:
        self.tiles = tiles
        pixels = tiles * (width + 1)
        count = _PRODUCTS * pixels
        room = like.new_zeros((count + 2) * channels)
        self.inputs = room[channels:-channels].view(_PRODUCTS * tiles, -1)[:, : width * channels]
        self.shifted = [
            room[step * channels :][: count * channels].view(_PRODUCTS, pixels, channels) for step in range(3)
        ]
        room = like.new_empty(_PRODUCTS * tiles + 1, width + 1, channels_out)
        self.products = room[:-1].view(_PRODUCTS, pixels, channels_out)
        room[-1] = 0 if bias is None else bias
        self.rows = room.flatten(1)[:, : width * channels_out]


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with stride 1 and zero padding, by `RowWinograd` where that saves time."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b ci h w"]) -> Float[Tensor, "b co h w"]:
        """Convolve."""
        return convolve(x, self.weight, self.bias)


def convolve(
    x: Float[Tensor, "b ci _ _"],
    weight: Float[Tensor, "co ci _ _"],
    bias: Float[Tensor, "co"] | None = None,
    stride: int = 1,
) -> Float[Tensor, "b co _ _"]:
    """A convolution with zero padding of half a kernel, by `RowWinograd` where that saves time."""
    if stride == 1 and weight.shape[1] >= FEWEST_CHANNELS and weight.shape[2:] == (3, 3) and saves_time(x):
        kernel = RowWinograd(weight, bias)
        images = x.permute(0, 2, 3, 1).contiguous()
        found = images.new_empty(*images.shape[:3], kernel.channels)
        for image, place in zip(images, found, strict=True):
            kernel(image, out=place)
        return found.permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)


def conv_rows(
    x: Float[Tensor, "_ _ ci"],
    weight: Float[Tensor, "co ci _ _"],
    bias: Float[Tensor, "co"] | None = None,
    *,
    stride: tuple[int, ...] | int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Float[Tensor, "_ _ co"]:
    """A direct convolution of an (h, w, c) image."""
    return channels_densest(F.conv2d(as_batch(x), weight, bias, stride, padding))


def as_batch(x: Float[Tensor, "h w c"]) -> Float[Tensor, "1 c h w"]:
    """The image as torch's functions take it, in channels-last order (the order of permute and None decides that)."""
    return x[None].permute(0, 3, 1, 2)


def channels_densest(x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "h w c"]:
    """The inverse of `as_batch`."""
    return x.permute(0, 2, 3, 1)[0]


@functools.lru_cache(maxsize=256)
def _transforms(rows: int, top: bool, bottom: bool) -> tuple[Tensor, Tensor]:
    """Matrices from rows of input to products, and from products and the bias to ``rows`` of output.

    ``top``, ``bottom``: the strip's input has a row more there; beyond it there are zeros.
    """
    tiles = -(-rows // _TILE)
    to_products = torch.zeros(_PRODUCTS, tiles, _TILE * tiles + 2, dtype=torch.float64)
    to_rows = torch.zeros(_TILE * tiles, _PRODUCTS * tiles + 1, dtype=torch.float64)
    to_rows[:, -1] = 1
    for tile in range(tiles):
        start = _TILE * tile
        to_products[:, tile, start : start + _PRODUCTS] = _INPUT
        to_rows[start : start + _TILE, tile:-1:tiles] = _OUTPUT
    first, last = (0 if top else 1), rows + (2 if bottom else 1)
    return (
        to_products.flatten(0, 1)[:, first:last].float().contiguous(),
        to_rows[:rows].float().contiguous(),
    )
