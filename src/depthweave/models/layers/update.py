"""The recurrent part of RAFT-Stereo and its relatives: motion features, GRUs on two or three levels, a head, a mask.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021, section 3.3.
Parameter names are the official ones; 08, 16 and 32 in them are historical, levels are 1, 1/2 and 1/4 of the finest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.correlation import RowCorrelation
from depthweave.models.layers.dpt import resize_aligned
from depthweave.models.layers.winograd import Conv3x3


def halve(x: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c _ _"]:
    """Mean of 3x3 at every second pixel; the border's zeros count."""
    return F.avg_pool2d(x, 3, stride=2, padding=1)


class ConvGru(nn.Module):
    """A gated recurrent unit of 3x3 convolutions, with context added inside its non-linearities.

    Args:
        hidden: channels of the state.
        inputs: channels of everything that enters beside it.
    """

    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.convz = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)
        self.convr = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)
        self.convq = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)

    def forward(
        self, state: Float[Tensor, "b c h w"], context: Float[Tensor, "b c3 h w"], *inputs: Float[Tensor, "b _ h w"]
    ) -> Float[Tensor, "b c h w"]:
        """h' = (1 - z) h + z q.

        z = sigmoid(Wz [h, x] + cz), r = sigmoid(Wr [h, x] + cr), q = tanh(Wq [r h, x] + cq), (cz, cr, cq) = context.
        """
        channels = state.shape[1]
        x = torch.cat(inputs, 1)
        gates = F.conv2d(torch.cat([state, x], 1), *self.gates(), padding=1)
        z, r = torch.sigmoid(gates + context[:, : 2 * channels]).chunk(2, 1)
        q: Tensor = torch.tanh(self.convq(torch.cat([r * state, x], 1)) + context[:, 2 * channels :])
        return (1 - z) * state + z * q

    def gates(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of z and r as one convolution: they read the same input."""
        return torch.cat([self.convz.weight, self.convr.weight]), torch.cat([_bias(self.convz), _bias(self.convr)])


class MotionEncoder(nn.Module):
    """Correlation and disparity to features, followed by the disparity itself; families name its parts differently.

    Args:
        correlations: channels of the look-up.
        channels: of the result.
        appended: channels of `tail`.
    """

    def __init__(self, correlations: int, channels: int, *, appended: int) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(correlations, 64, 1)
        self.convc2 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv = nn.Conv2d(128, channels - appended, 3, padding=1)

    def forward(
        self, correlation: Float[Tensor, "b k h w"], disparity: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Features for the finest GRU."""
        weight, bias, second = self.moving()
        matched = F.relu(self.convc2(F.relu(self.convc1(correlation))))
        moved = F.relu(second(F.relu(F.conv2d(disparity, weight, bias, padding=3))))
        return torch.cat([F.relu(self.conv(torch.cat([matched, moved], 1))), self.tail(disparity)], 1)

    def moving(self) -> tuple[Tensor, Tensor, nn.Conv2d]:
        """Weight and bias of the disparity's first convolution (7x7), and its second one (3x3)."""
        raise NotImplementedError

    def tail(self, disparity: Float[Tensor, "*b 1 h w"]) -> Float[Tensor, "*b _ h w"]:
        """What the features are followed by."""
        raise NotImplementedError


class DisparityMotionEncoder(MotionEncoder):
    """A motion encoder that sees the disparity as it is.

    Args:
        correlations: channels of the look-up.
        channels: of the result.
    """

    def __init__(self, correlations: int, channels: int) -> None:
        super().__init__(correlations, channels, appended=1)
        self.convd1 = nn.Conv2d(1, 64, 7, padding=3)
        self.convd2 = nn.Conv2d(64, 64, 3, padding=1)

    def moving(self) -> tuple[Tensor, Tensor, nn.Conv2d]:
        """The official weights."""
        return self.convd1.weight, _bias(self.convd1), self.convd2

    def tail(self, disparity: Float[Tensor, "*b 1 h w"]) -> Float[Tensor, "*b _ h w"]:
        """The disparity."""
        return disparity


class DisparityHead(nn.Module):
    """State to one number per pixel.

    Args:
        channels: of the state.
        outputs: of the official last convolution.
    """

    def __init__(self, channels: int, outputs: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, outputs, 3, padding=1)

    def forward(self, state: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """Two convolutions."""
        return F.conv2d(F.relu(self.conv1(state)), *self.last(), padding=1)

    def last(self) -> tuple[Float[Tensor, "o c 3 3"], Float[Tensor, "o"]]:
        """Weight and bias of the second convolution as it is used."""
        return self.conv2.weight, _bias(self.conv2)


class RecurrentBlock(nn.Module):
    """One iteration: the states, coarse to fine, and what the head says of the finest.

    Args:
        encoder: of motion.
        hidden: channels of every state.
        upsample: factor of the convex upsampling.
        levels: number of states, 2 or 3; official files name three GRUs even where two are used.
        slow_fast: let the coarsest states take extra steps before every step of the finest.
    """

    def __init__(
        self, encoder: MotionEncoder, *, hidden: int, upsample: int, levels: int = 3, slow_fast: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.gru08 = ConvGru(hidden, 2 * hidden)
        self.gru16 = ConvGru(hidden, (levels - 1) * hidden)
        self.gru32 = ConvGru(hidden, hidden)
        self.mask = nn.Sequential(Conv3x3(hidden, 256), nn.ReLU(), nn.Conv2d(256, 9 * upsample**2, 1))
        passes = range(levels - 1, -1, -1) if slow_fast else (0,)
        self.order = tuple(level for finest in passes for level in range(levels - 1, finest - 1, -1))
        """States in the order of their steps, 0 is the finest."""

    @property
    def head(self) -> DisparityHead:
        """On the finest state."""
        raise NotImplementedError

    @property
    def grus(self) -> tuple[ConvGru, ConvGru, ConvGru]:
        """Finest first."""
        return self.gru08, self.gru16, self.gru32

    def forward(
        self,
        states: Sequence[Float[Tensor, "b c _ _"]],
        context: Sequence[Float[Tensor, "b c3 _ _"]],
        correlation: Float[Tensor, "b k h w"],
        disparity: Float[Tensor, "b 1 h w"],
    ) -> tuple[list[Tensor], Tensor]:
        """New states (finest first) and the head's number, (b, 1, h, w)."""
        states = list(states)
        for level in self.order:
            finer = halve(states[level - 1]) if level else self.encoder(correlation, disparity)
            coarser = [resize_aligned(state, _size(states[level])) for state in states[level + 1 : level + 2]]
            states[level] = self.grus[level](states[level], context[level], finer, *coarser)
        return states, self.head(states[0])

    def upsampling_mask(self, fine: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Weights of `upsample_convex` before their softmax."""
        mask: Tensor = self.mask(fine)
        return 0.25 * mask


class UpdateBlock(RecurrentBlock):
    """The block of networks that see the disparity as it is, with three states.

    Args:
        correlations: channels of the look-up.
        hidden: channels of every state.
        upsample: factor of the convex upsampling.
    """

    def __init__(self, correlations: int, *, hidden: int, upsample: int) -> None:
        super().__init__(DisparityMotionEncoder(correlations, hidden), hidden=hidden, upsample=upsample)
        self.disp_head = DisparityHead(hidden)

    @property
    def head(self) -> DisparityHead:
        """Under its official name."""
        return self.disp_head


@dataclass(frozen=True)
class Step:
    """One iteration's result: the finest state, and the disparity in px of the finest level."""

    state: Float[Tensor, "b c h w"]
    disparity: Float[Tensor, "b 1 h w"]


@dataclass(frozen=True)
class Encoded:
    """A pair after its encoders: everything that the iterations need.

    Attributes:
        states: first states, finest first.
        context: terms of z, r and q per level.
        correlation: of the pair's features.
        disparity: where the iterations start, px of the finest level.
    """

    states: list[Tensor]
    context: list[Tensor]
    correlation: RowCorrelation
    disparity: Float[Tensor, "b 1 h w"]


def upsample_convex(
    disparity: Float[Tensor, "b 1 h w"],
    mask: Float[Tensor, "b k h w"],
    factor: int,
    *,
    border: Literal["constant", "replicate"] = "constant",
) -> Float[Tensor, "b 1 h2 w2"]:
    """Disparity in px of the small grid to px of the large one, each a convex combination of 3x3 neighbours.

    Args:
        disparity: px at 1/``factor`` of the size.
        mask: 9 factor^2 channels: neighbours (outer), rows and columns inside a cell (inner).
        factor: enlargement.
        border: ``constant``: beyond it the neighbours count as zero, as in the official networks, which pulls border
            pixels towards zero. ``replicate``: as the pixel at the border.

    Source: Teed and Deng, "RAFT", ECCV 2020, section 3.3 (upsampling).
    """
    b, _, h, w = disparity.shape
    weights = torch.softmax(mask.reshape(b, 9, factor, factor, h, w).float(), 1)
    padded = F.pad(factor * disparity.float(), (1, 1, 1, 1), mode=border)
    neighbours = F.unfold(padded, 3).reshape(b, 9, 1, 1, h, w)
    cells = (weights * neighbours).sum(1)
    return cells.permute(0, 3, 1, 4, 2).reshape(b, 1, factor * h, factor * w)


def _size(x: Tensor) -> tuple[int, int]:
    height, width = x.shape[-2:]
    return height, width


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
