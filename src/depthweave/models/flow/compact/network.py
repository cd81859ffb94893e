"""A compact flow network: global matching at 1/8, recurrent look-ups, then a choice and refinement at 1/4 and 1/2.

What it chooses from at 1/4 and 1/2 is its own flow and one that is given, that of a classical method: what that does
well already need not be learnt.

Built from known parts: all-pairs correlation, look-ups and convex upsampling (Teed and Deng, "RAFT: Recurrent All-Pairs
Field Transforms for Optical Flow", ECCV 2020), a start from global matching (Xu et al., "GMFlow", CVPR 2022), warped
local correlation at finer sizes (Sun et al., "PWC-Net", CVPR 2018). The encoder is that of the compact stereo matcher,
so that its weights can be a start.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.flow.compact.blocks import RecurrentStep, Refinement
from depthweave.models.flow.compact.config import CompactFlowConfig
from depthweave.models.flow.compact.volume import all_pairs, correlate_near, halved, look_up, peak
from depthweave.models.layers.update import upsample_convex
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.compact.blocks import Encoder, enlarge
from depthweave.models.stereo.compact.config import CompactConfig

FACTOR = 8
"""Picture px per cell of the volume."""

_NO_DOUBT = 1.0
"""exp(-disagreement) of a flow that nobody has given."""


@dataclass(frozen=True)
class FlowPredictions:
    """What training compares with the truth.

    Attributes:
        scores: of every cell of the second picture for every one of the first, at 1/8, before their softmax.
        steps: flow, each in px of its own size: the start and every step at 1/8, at 1/4, at 1/2, and the result.
        rating: logit at the picture's size: right by about a px.
    """

    scores: Float[Tensor, "b h8 w8 h8 w8"]
    steps: tuple[Float[Tensor, "b 2 _ _"], ...]
    rating: Float[Tensor, "b 1 h w"]


class CompactFlow(PretrainedNetwork):
    """A flow network that chooses between its own flow and one that it is given.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "compact-flow"
    config_class: ClassVar[type] = CompactFlowConfig
    multiple: ClassVar[int] = 32
    config: CompactFlowConfig

    def __init__(self, config: CompactFlowConfig) -> None:
        super().__init__()
        self.config = config
        half, (fine, coarse) = config.widths[0], config.fused
        hidden, quarter = config.hidden, config.quarter_hidden
        self.encoder = Encoder(CompactConfig(widths=config.widths, fused=config.fused))
        self.to_match = nn.Conv2d(fine, config.matched, 3, padding=1)
        self.to_match_eighth = nn.Conv2d(coarse, config.matched, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(10.0))
        self.state = nn.Conv2d(coarse, hidden, 3, padding=1)
        self.terms = nn.Conv2d(coarse, 3 * hidden, 3, padding=1)
        self.recur = RecurrentStep(config)
        self.to_quarter = nn.Conv2d(hidden, 9 * 4, 1)
        self.descend = nn.Conv2d(hidden, 16, 1)
        near = (2 * config.quarter_radius + 1) ** 2
        self.refine_quarter = Refinement(near + 9 + 7 + fine + 16, quarter, 9 * 4)
        self.to_half_match = nn.Conv2d(half, config.half_matched, 3, padding=1)
        near = (2 * config.half_radius + 1) ** 2
        self.descend_half = nn.Conv2d(quarter, 16, 1)
        self.refine_half = Refinement(near + 9 + 7 + half + 16, config.half_hidden, 9 * 4 + 1)

    def forward(
        self,
        first: Float[Tensor, "b 3 h w"],
        second: Float[Tensor, "b 3 h w"],
        *,
        given: Float[Tensor, "b 3 h w"] | None = None,
        iterations: int = 4,
    ) -> Float[Tensor, "b 2 h w"]:
        """Flow of the first picture, x_second = x_first + u, channels (x, y) in px.

        Args:
            first, second: RGB, 0 to 255; sides are multiples of 32.
            given: flow in px from elsewhere (trained with dense inverse search), and its disagreement with the way
                back in px; None = there is none, and the network's own is all there is.
            iterations: steps at 1/8; trained with 4.

        Raises:
            WrongInput: sizes that do not fit, or no iterations.
        """
        return self.predictions(first, second, given=given, iterations=iterations).steps[-1]

    def rated(
        self,
        first: Float[Tensor, "b 3 h w"],
        second: Float[Tensor, "b 3 h w"],
        *,
        given: Float[Tensor, "b 3 h w"] | None = None,
        iterations: int = 4,
    ) -> Float[Tensor, "b 3 h w"]:
        """Flow in px, and the probability that it is right by about a px.

        Arguments as in `forward`.
        """
        found = self.predictions(first, second, given=given, iterations=iterations)
        return torch.cat([found.steps[-1], torch.sigmoid(found.rating)], 1)

    def predictions(
        self,
        first: Float[Tensor, "b 3 h w"],
        second: Float[Tensor, "b 3 h w"],
        *,
        given: Float[Tensor, "b 3 h w"] | None = None,
        iterations: int = 4,
    ) -> FlowPredictions:
        """Everything on the way, as training needs it; arguments as in `forward`."""
        self._check(first, iterations)
        config, b = self.config, first.shape[0]
        half, quarter, eighth = self.encoder(_normalise(torch.cat([first, second])))
        matched = self.to_match(quarter)
        coarse = F.avg_pool2d(matched, 2) + self.to_match_eighth(eighth)
        volume = all_pairs(coarse[:b], coarse[b:])
        small = halved(volume)
        flow, share = peak(volume, self.sharpness)
        steps = [flow]
        state, terms = torch.tanh(self.state(eighth[:b])), self.terms(eighth[:b])
        for _ in range(iterations):
            flow = flow.detach()
            window = look_up(volume, flow, config.radius), look_up(small, flow, config.radius, factor=2)
            state, change = self.recur(state, terms, torch.cat([*window, share], 1), flow)
            flow = flow + change
            steps.append(flow)

        flow = _upsample(flow.detach(), self.to_quarter(state))
        flow, state, mask = self._refine(
            self.refine_quarter, flow, given, self.descend(state), matched, quarter[:b], config.quarter_radius
        )
        steps.append(flow)
        flow = _upsample(flow.detach(), mask)
        matched = self.to_half_match(half)
        flow, _, outputs = self._refine(
            self.refine_half, flow, given, self.descend_half(state), matched, half[:b], config.half_radius
        )
        steps.append(flow)
        steps.append(_upsample(flow, outputs[:, :36]))
        return FlowPredictions(self.sharpness * volume, tuple(steps), enlarge(outputs[:, 36:], first))

    def memory_bytes(self, height: int, width: int) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        cells = height // FACTOR * (width // FACTOR)
        encoder = 4 * height * width // 4 * self.config.widths[0] * 2 * 4
        return encoder + 4 * cells * cells * 3

    @staticmethod
    def _refine(
        block: Refinement,
        flow: Tensor,
        given: Tensor | None,
        coarse: Tensor,
        matched: Tensor,
        features: Tensor,
        radius: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step at one of the finer sizes: the flow, the state, and the other outputs."""
        own = flow.detach()  # for what is looked up; the choice keeps the gradient of the upsampling's weights
        first, second = matched.chunk(2)
        if given is None:
            other, doubt = flow, torch.full_like(own[:, :1], _NO_DOUBT)
        else:
            factor = given.shape[-1] // own.shape[-1]
            small = F.avg_pool2d(given.float(), factor)
            other, doubt = small[:, :2] / factor, torch.exp(-small[:, 2:])
        seen = correlate_near(first, second, own, radius=radius), correlate_near(first, second, other, radius=1)
        state, flow, outputs = block(
            flow, other, *seen, own / 8, (other - own) / 4, other / 8, doubt, features, enlarge(coarse, features)
        )
        return flow, state, outputs

    def _check(self, images: Tensor, iterations: int) -> None:
        height, width = images.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise WrongInput(
                f"the compact flow network takes sides that are multiples of {self.multiple}, not {width}x{height}; "
                "pad."
            )
        if iterations < 1:
            raise WrongInput("the compact flow network needs at least one iteration.")


def _upsample(flow: Float[Tensor, "b 2 h w"], mask: Float[Tensor, "b 36 h w"]) -> Float[Tensor, "b 2 h2 w2"]:
    """Twice the size, in px of it; x and y with the same weights."""
    parts = [upsample_convex(part, mask, 2, border="replicate") for part in (flow[:, :1], flow[:, 1:])]
    return torch.cat(parts, 1)


def _normalise(views: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Each picture with mean 0 and deviation 1; 5 grey levels of 255 keep flat pictures from being all noise."""
    mean = views.mean((1, 2, 3), keepdim=True)
    centred = (views - mean).contiguous(memory_format=torch.channels_last)
    deviation = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    return centred / (deviation + 5)
