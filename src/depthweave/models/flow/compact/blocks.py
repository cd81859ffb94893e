"""Parts of the compact flow network: the recurrent step at 1/8 and the refinements at 1/4 and 1/2."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.flow.compact.config import CompactFlowConfig
from depthweave.models.layers.update import ConvGru
from depthweave.models.stereo.compact.blocks import ConvNorm, enlarge

_TRUST = 2.0
"""Logit of the share of the given flow before anything is learnt."""


class RecurrentStep(nn.Module):
    """One step at 1/8: look-ups and flow to motion features, a gated unit, a change of the flow."""

    def __init__(self, config: CompactFlowConfig) -> None:
        super().__init__()
        hidden, window = config.hidden, (2 * config.radius + 1) ** 2
        self.correlated = nn.Conv2d(2 * window + 1, hidden, 1)
        self.correlated_again = nn.Conv2d(hidden, hidden - hidden // 4, 3, padding=1)
        self.moved = nn.Conv2d(2, hidden // 4, 7, padding=3)
        self.motion = nn.Conv2d(hidden, hidden - 2, 3, padding=1)
        self.gru = ConvGru(hidden, hidden)
        self.widen = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.change = nn.Conv2d(hidden, 2, 3, padding=1)

    def forward(
        self,
        state: Float[Tensor, "b c h w"],
        context: Float[Tensor, "b c3 h w"],
        correlation: Float[Tensor, "b k h w"],
        flow: Float[Tensor, "b 2 h w"],
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 2 h w"]]:
        """The new state, and what to add to the flow, in cells."""
        seen = F.relu(self.correlated_again(F.relu(self.correlated(correlation))))
        both = torch.cat([seen, F.relu(self.moved(flow))], 1)
        motion = torch.cat([F.relu(self.motion(both)), flow.to(both.dtype)], 1)
        state = self.gru(state, context, motion)
        return state, self.change(F.relu(self.widen(state))).float()


class Refinement(nn.Module):
    """A small hourglass that chooses between two flows and corrects what it has chosen.

    At first it takes most of the second one, and corrects nothing.

    Args:
        inputs: channels of everything that enters.
        hidden: channels of the state.
        outputs: further channels.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.enter = ConvNorm(inputs, hidden, 1)
        self.fine = ConvNorm(hidden, hidden)
        self.down = nn.Sequential(ConvNorm(hidden, hidden + 16, stride=2), ConvNorm(hidden + 16, hidden + 16))
        self.up = nn.Conv2d(hidden + 16, hidden, 1)
        self.back = ConvNorm(hidden, hidden)
        self.choice = nn.Conv2d(hidden, 3, 3, padding=1)
        self.outputs = nn.Conv2d(hidden, outputs, 1)
        nn.init.zeros_(self.choice.weight)
        with torch.no_grad():
            cast(Tensor, self.choice.bias).copy_(torch.tensor([_TRUST, 0.0, 0.0]))

    def forward(
        self, own: Float[Tensor, "b 2 h w"], given: Float[Tensor, "b 2 h w"], *inputs: Float[Tensor, "b _ h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 2 h w"], Float[Tensor, "b k h w"]]:
        """State, the better flow in cells, and the other outputs."""
        fine = self.fine(self.enter(torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last)))
        state = self.back(fine + enlarge(self.up(self.down(fine)), fine))
        choice = self.choice(state).float()
        flow = torch.lerp(own, given, torch.sigmoid(choice[:, :1])) + choice[:, 1:]
        return state, flow, self.outputs(state).float()
