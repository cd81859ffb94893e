"""A compact stereo matcher: correlation volume, light three-dimensional filter, refinement at 1/4 and 1/2.

Built from known parts: group-wise correlation and 3-D hourglass (Guo et al., "Group-wise Correlation Stereo Network",
CVPR 2019), gating by image features (Bangunharcana et al., "Correlate-and-Excite", IROS 2021), soft-argmax around the
best disparity, local look-ups and convex upsampling (Lipson et al., "RAFT-Stereo", 3DV 2021).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.update import upsample_convex
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.compact.blocks import (
    ConvNorm,
    Encoder,
    HalfRefinement,
    QuarterRefinement,
    VolumeFilter,
    enlarge,
)
from depthweave.models.stereo.compact.config import CompactConfig
from depthweave.models.stereo.compact.volume import correlate, correlate_around, look_up

FACTOR = 4
"""Picture px per px of the volume."""

_COARSEST = 8
"""The filter halves the volume's disparities three times."""

_LOG_SCALES = (-5.0, 5.0)
"""Bounds of ln b: 0.007 to 148 px."""

_PEAK = 2
"""Disparities to either side of the best one that its soft-argmax weighs."""


@dataclass(frozen=True)
class CompactPredictions:
    """What training compares with the truth.

    Attributes:
        scores: of every disparity at 1/4, before their softmax.
        start: disparity drawn from them, px of 1/4.
        steps: after every step at 1/4 (px of 1/4), then at 1/2 (px of 1/2), then the result in px.
        ratings: logits at the picture's size: right by about a px, and seen by both cameras.
        log_scale: ln b of a Laplace error of scale b px, at the picture's size; None without ``uncertainty``.
    """

    scores: Float[Tensor, "b h4 w4 d"]
    start: Float[Tensor, "b 1 h4 w4"]
    steps: tuple[Float[Tensor, "b 1 _ _"], ...]
    ratings: Float[Tensor, "b 2 h w"]
    log_scale: Float[Tensor, "b 1 h w"] | None = None


class CompactStereo(PretrainedNetwork):
    """The network of depthweave-s.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "compact"
    config_class: ClassVar[type] = CompactConfig
    multiple: ClassVar[int] = 32
    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        half, fine = config.widths[0], config.fused[0]
        self.encoder = Encoder(config)
        self.to_match = nn.Conv2d(fine, config.groups * config.group, 3, padding=1)
        self.filter = VolumeFilter(config)
        self.raw = nn.Parameter(torch.full((config.groups,), 2.0))
        self.fold = nn.Conv2d(half, 16, 3, stride=2, padding=1)
        self.context = ConvNorm(fine + 16, config.hidden)
        self.refine_quarter = QuarterRefinement(config)
        self.to_half = nn.Conv2d(config.hidden, 9 * 4, 1)
        self.to_half_match = nn.Conv2d(half, config.half_groups * config.half_group, 3, padding=1)
        self.refine_half = HalfRefinement(config)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 2,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        max_disparity: int | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px, at least 0.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 32.
            iterations: steps at 1/4; trained with 2.
            initial: disparity in px to start from instead of the volume's.
            max_disparity: search up to it, px; None takes the configured share of the width.

        Raises:
            WrongInput: sizes that do not fit, or no iterations.
        """
        found = self.predictions(left, right, iterations=iterations, initial=initial, max_disparity=max_disparity)
        return found.steps[-1]

    def rated(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 2,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        max_disparity: int | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Disparity in px, the probability that it is right by about a px, and that both cameras see the point.

        The first is a rating of its own, or with ``uncertainty`` what the error's scale says, P(|e| < 1 px) =
        1 - exp(-1 / b). Arguments as in `forward`.
        """
        found = self.predictions(left, right, iterations=iterations, initial=initial, max_disparity=max_disparity)
        ratings = torch.sigmoid(found.ratings)
        if found.log_scale is not None:
            ratings = torch.cat([probability_within(found.log_scale, 1.0), ratings[:, 1:]], 1)
        return torch.cat([found.steps[-1], ratings], 1)

    def predictions(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 2,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        max_disparity: int | None = None,
    ) -> CompactPredictions:
        """Everything on the way, as training needs it; arguments as in `forward`."""
        self._check(left, iterations)
        config, b = self.config, left.shape[0]
        views = _normalise(torch.cat([left, right]))
        half, quarter, eighth = self.encoder(views)
        matched = self.to_match(quarter)
        levels = self.levels(left.shape[-1], max_disparity)
        volume = correlate(matched[:b], matched[b:], groups=config.groups, levels=levels)
        scores = 4 * self.filter(volume, eighth[:b])
        with torch.autocast(left.device.type, enabled=False):
            scores = scores + (self.raw @ volume.flatten(2)).view_as(scores)
        start, mass = _peak(scores)
        disparity = start
        if initial is not None:
            disparity = F.avg_pool2d(initial.float(), FACTOR) / FACTOR

        context = self.context(torch.cat([quarter[:b], F.relu(self.fold(half[:b]))], 1))
        certainty = (0.25 * scores.log_softmax(-1).clamp_min(-12))[:, None]
        steps = []
        for _ in range(iterations):
            disparity = disparity.detach()
            seen = (look_up(volume, disparity, config.radius), look_up(certainty, disparity, config.radius))
            state, change = self.refine_quarter(*seen, disparity / 16, mass, context)
            disparity = F.relu(disparity + change)
            steps.append(disparity)

        steps.append(upsample_convex(disparity, self.to_half(state).float(), 2, border="replicate"))
        disparity = steps[-1].detach()
        fine = self.to_half_match(half)
        near = correlate_around(fine[:b], fine[b:], disparity, groups=config.half_groups, radius=config.half_radius)
        change, mask, ratings, log_scale = self.refine_half(state, near, disparity / 32, enlarge(mass, near), half[:b])
        steps.append(upsample_convex(F.relu(disparity + change), mask, 2, border="replicate"))
        scale = None if log_scale is None else enlarge(log_scale.clamp(*_LOG_SCALES), left)
        return CompactPredictions(scores, start, tuple(steps), enlarge(ratings, left), scale)

    def levels(self, width: int, max_disparity: int | None = None) -> int:
        """Disparities of the volume for pictures of that width: those asked for, or the configured share."""
        reach = width * self.config.range_share if max_disparity is None else min(max_disparity, width)
        return max(2, -(-int(reach) // (FACTOR * _COARSEST))) * _COARSEST

    def memory_bytes(self, height: int, width: int, *, max_disparity: int | None = None) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        config = self.config
        cells = height // FACTOR * (width // FACTOR) * self.levels(width, max_disparity)
        encoders = 4 * height * width // 4 * config.widths[0] * 2 * 4
        return encoders + 4 * cells * (2 * config.groups + 6)

    def _check(self, images: Tensor, iterations: int) -> None:
        height, width = images.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise WrongInput(
                f"the compact matcher takes sides that are multiples of {self.multiple}, not {width}x{height}; pad."
            )
        if iterations < 1:
            raise WrongInput("the compact matcher needs at least one iteration.")


def probability_within(log_scale: Float[Tensor, "*any"], threshold_px: float | int) -> Float[Tensor, "*any"]:
    """Probability that a Laplace error stays below a threshold, P(|e| < x) = 1 - exp(-x / b).

    Args:
        log_scale: ln b, b in px.
        threshold_px: x, of the same px.

    Source: the Laplace distribution; its scale as an uncertainty: Sanket et al., Ajna, Science Robotics 2023.
    """
    return -torch.expm1(-threshold_px * (-log_scale).exp())


def _normalise(views: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Each picture with mean 0 and deviation 1; 5 grey levels of 255 keep flat pictures from being all noise."""
    mean = views.mean((1, 2, 3), keepdim=True)
    centred = (views - mean).contiguous(memory_format=torch.channels_last)
    deviation = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    return centred / (deviation + 5)


def _peak(scores: Float[Tensor, "b h w d"]) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
    """Soft-argmax over the best disparity and its neighbours, and their share of the probability."""
    levels = scores.shape[-1]
    best = scores.detach().argmax(-1, keepdim=True).clamp(_PEAK, levels - 1 - _PEAK)
    window = best + torch.arange(-_PEAK, _PEAK + 1, device=scores.device)
    near = scores.gather(-1, window)
    disparity = (near.softmax(-1) * window).sum(-1)
    share = (near.logsumexp(-1) - scores.logsumexp(-1)).exp()
    return disparity[:, None], share[:, None].detach()
