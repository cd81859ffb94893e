"""RAFT-Stereo's recurrent step: its official files speak of flow, which is (x_right - x_left, 0).

Here everything takes and gives disparity, the negative flow; the flow's second channel is zero and never computed.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021, section 3.3.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.models.layers.update import DisparityHead, MotionEncoder, RecurrentBlock


class FlowMotionEncoder(MotionEncoder):
    """A motion encoder that sees the flow.

    Args:
        correlations: channels of the look-up.
        channels: of the result.
    """

    def __init__(self, correlations: int, channels: int) -> None:
        super().__init__(correlations, channels, appended=2)
        self.convf1 = nn.Conv2d(2, 64, 7, padding=3)
        self.convf2 = nn.Conv2d(64, 64, 3, padding=1)

    def moving(self) -> tuple[Tensor, Tensor, nn.Conv2d]:
        """The official weights of the first channel, turned to disparity."""
        bias = self.convf1.bias
        assert bias is not None
        return -self.convf1.weight[:, :1], bias, self.convf2

    def tail(self, disparity: Float[Tensor, "*b 1 h w"]) -> Float[Tensor, "*b _ h w"]:
        """The flow."""
        return torch.cat([-disparity, torch.zeros_like(disparity)], -3)


class FlowHead(DisparityHead):
    """State to a step of the disparity.

    Args:
        channels: of the state.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, outputs=2)

    def last(self) -> tuple[Float[Tensor, "1 c 3 3"], Float[Tensor, "1"]]:
        """The official weights of the first channel, turned to disparity."""
        weight, bias = super().last()
        return -weight[:1], -bias[:1]


class FlowUpdateBlock(RecurrentBlock):
    """The block of networks that see the flow.

    Args:
        correlations: channels of the look-up.
        hidden: channels of every state.
        upsample: factor of the convex upsampling.
        levels: number of states.
        slow_fast: with extra steps of the coarse states.
    """

    def __init__(self, correlations: int, *, hidden: int, upsample: int, levels: int, slow_fast: bool) -> None:
        encoder = FlowMotionEncoder(correlations, hidden)
        super().__init__(encoder, hidden=hidden, upsample=upsample, levels=levels, slow_fast=slow_fast)
        self.flow_head = FlowHead(hidden)

    @property
    def head(self) -> DisparityHead:
        """Under its official name."""
        return self.flow_head
