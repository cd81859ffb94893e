"""Iterations of an update block; on a CPU with kernels prepared once and states updated in place.

Images inside the fast path are (h, w, c), one pair at a time; its numbers are those of `RecurrentBlock.forward` up to
rounding.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.dpt import resize_aligned
from depthweave.models.layers.strips import Rows, saves_time
from depthweave.models.layers.update import ConvGru, RecurrentBlock, halve
from depthweave.models.layers.winograd import RowWinograd, as_batch, channels_densest, conv_rows


class Recurrence:
    """An update block, and the states that it changes.

    Args:
        block: what one iteration does.
        states: finest first.
        context: terms of z, r and q per level.
    """

    def __init__(
        self,
        block: RecurrentBlock,
        states: Sequence[Float[Tensor, "b c _ _"]],
        context: Sequence[Float[Tensor, "b c3 _ _"]],
    ) -> None:
        self.block = block
        self._context = context
        self._states = list(states)
        self._fast: list[_FastUpdate] | None = None
        if saves_time(states[0]):
            self._fast = [
                _FastUpdate(block, [state[i] for state in states], [terms[i] for terms in context])
                for i in range(states[0].shape[0])
            ]

    @property
    def states(self) -> list[Tensor]:
        """Finest first, (b, c, h, w); the next step may change them in place."""
        return [self._level(level) for level in range(len(self._states))]

    @property
    def finest(self) -> Float[Tensor, "b c h w"]:
        """The first of `states`."""
        return self._level(0)

    def _level(self, level: int) -> Tensor:
        if self._fast is None:
            return self._states[level]
        images = [fast.states[level] for fast in self._fast]
        return as_batch(images[0]) if len(images) == 1 else torch.stack(images).permute(0, 3, 1, 2)

    def step(
        self, correlation: Float[Tensor, "b k h w"], disparity: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 1 h w"]:
        """One iteration; returns what the head says."""
        if self._fast is None:
            head: Tensor
            self._states, head = self.block(self._states, self._context, correlation, disparity)
            return head
        return torch.stack([fast.step(*seen) for fast, *seen in zip(self._fast, correlation, disparity, strict=True)])


class _FastUpdate:
    """An update block made ready for many iterations on one pair."""

    def __init__(
        self,
        block: RecurrentBlock,
        states: Sequence[Float[Tensor, "c _ _"]],
        context: Sequence[Float[Tensor, "c3 _ _"]],
    ) -> None:
        self.states = [state.permute(1, 2, 0).clone(memory_format=torch.contiguous_format) for state in states]
        self._grus = [_FastGru(gru, terms) for gru, terms in zip(block.grus, context, strict=False)]
        self._order = block.order
        self._encoder = block.encoder
        self._motion = RowWinograd(block.encoder.conv.weight, block.encoder.conv.bias)
        self._widen = RowWinograd(block.head.conv1.weight, block.head.conv1.bias)
        self._last = block.head.last()
        height, width, _ = self.states[0].shape
        self._wide = self.states[0].new_empty(height, width, self._widen.channels)
        self._both = self.states[0].new_empty(height, width, block.encoder.conv.in_channels)

    def step(self, correlation: Float[Tensor, "k h w"], disparity: Float[Tensor, "1 h w"]) -> Float[Tensor, "1 h w"]:
        for level in self._order:
            state, gru = self.states[level], self._grus[level]
            inputs = gru.inputs(state)
            channels = state.shape[-1]
            if level:
                _put(inputs, 0, _halve(self.states[level - 1]))
            else:
                self._encode(correlation, disparity, inputs[..., :channels])
            if level + 1 < len(self.states):
                _put(inputs, channels, _resize(self.states[level + 1], state))
            gru.step(state)
        return self._predict(self.states[0])

    def _encode(self, correlation: Tensor, disparity: Tensor, out: Tensor) -> None:
        encoder, both = self._encoder, self._both
        weight, bias, second = encoder.moving()
        matched = _pointwise(correlation.permute(1, 2, 0), encoder.convc1).relu_()
        moved = conv_rows(disparity.permute(1, 2, 0), weight, bias, padding=(3, 3)).relu_()
        half, seen = encoder.convc2.out_channels, self._motion.channels
        # With so few channels the transforms would take what they save.
        for image, conv, place in ((matched, encoder.convc2, both[..., :half]), (moved, second, both[..., half:])):
            torch.clamp(conv_rows(image, conv.weight, conv.bias, padding=(1, 1)), min=0, out=place)
        self._motion(both, after=_rectify_into(out[..., :seen]))
        out[..., seen:] = encoder.tail(disparity).permute(1, 2, 0)

    def _predict(self, fine: Tensor) -> Tensor:
        """The 3x3 convolution to one channel as nine products per pixel and a sum of shifted images."""
        height, width, _ = fine.shape
        weight, bias = self._last
        # `fold` puts a pixel's product with the kernel's first row one row down, which is where it belongs.
        kernel = weight[0].flip(1, 2).flatten(1).t()
        taps = fine.new_empty(9, height, width)

        def product(wide: Tensor, rows: Rows) -> None:
            taps[:, slice(*rows)] = (kernel @ wide.relu_().flatten(0, 1).t()).view(9, *wide.shape[:2])

        self._widen(fine, out=self._wide, after=product)
        return F.fold(taps.flatten(1), (height, width), 3, padding=1) + bias


class _FastGru:
    """A GRU whose input image [h, x] stays in one place."""

    def __init__(self, gru: ConvGru, context: Float[Tensor, "c3 h w"]) -> None:
        weight, bias = gru.gates()
        self._gates = RowWinograd(weight, bias)
        self._candidate = RowWinograd(gru.convq.weight, gru.convq.bias)
        terms = context.permute(1, 2, 0)
        split = weight.shape[0]
        self._gate_terms, self._candidate_terms = terms[..., :split].contiguous(), terms[..., split:].contiguous()
        height, width, _ = terms.shape
        self._input = terms.new_empty(height, width, weight.shape[1])
        self._gate = terms.new_empty(height, width, split)
        self._new = terms.new_empty(height, width, split // 2)

    def inputs(self, state: Tensor) -> Tensor:
        """Put the state into its place; the rest of the input image is returned, to be filled."""
        channels = state.shape[-1]
        self._input[..., :channels].copy_(state)
        return self._input[..., channels:]

    def step(self, state: Tensor) -> None:
        channels = state.shape[-1]

        def update(candidate: Tensor, rows: Rows) -> None:
            strip = slice(*rows)
            state[strip].lerp_(candidate.tanh_(), self._gate[strip, :, :channels])

        self._gates(self._input, add=self._gate_terms, out=self._gate, after=lambda strip, _: strip.sigmoid_())
        self._input[..., :channels].mul_(self._gate[..., channels:])
        self._candidate(self._input, add=self._candidate_terms, out=self._new, after=update)


def _rectify_into(place: Tensor) -> Callable[[Tensor, Rows], object]:
    return lambda strip, rows: torch.clamp(strip, min=0, out=place[slice(*rows)])


def _pointwise(x: Float[Tensor, "h w ci"], conv: nn.Conv2d) -> Float[Tensor, "h w co"]:
    return F.linear(x, conv.weight.flatten(1), conv.bias)


def _put(inputs: Tensor, channel: int, image: Float[Tensor, "h w c"]) -> None:
    inputs[..., channel : channel + image.shape[-1]].copy_(image)


def _halve(image: Float[Tensor, "h w c"]) -> Tensor:
    return channels_densest(halve(as_batch(image)))


def _resize(image: Float[Tensor, "h w c"], like: Tensor) -> Tensor:
    height, width = like.shape[:2]
    return channels_densest(resize_aligned(as_batch(image), (height, width)))
