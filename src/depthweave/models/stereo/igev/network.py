"""IGEV-Stereo: a filtered cost volume gives the first disparity, and stands beside the correlation in every iteration.

Source: Xu et al., "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023. Parameter names are those of the
official checkpoints.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.correlation import STORED_BYTES
from depthweave.models.layers.cost_volume import group_wise_correlation, soft_argmin
from depthweave.models.layers.encoders import init_convolutions
from depthweave.models.layers.fast_trunk import run_trunk
from depthweave.models.layers.fast_update import Recurrence
from depthweave.models.layers.update import Step, upsample_convex
from depthweave.models.layers.winograd import Conv3x3
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.igev.blocks import BatchConv, FeatureGate, InstanceConv, Join, instance_stage
from depthweave.models.stereo.igev.config import COARSEST, FACTOR, IgevConfig
from depthweave.models.stereo.igev.encoders import ContextNet, FeatureNet, Pyramid
from depthweave.models.stereo.igev.update import GeometryUpdateBlock
from depthweave.models.stereo.igev.volume import GeometryLookUp, VolumeFilter

_START_MASK = 24
"""Channels from which the first disparity's upsampling is made."""


@dataclass(frozen=True)
class Prepared:
    """A pair before the first iteration.

    Attributes:
        states: first states, finest first.
        context: terms of z, r and q per level.
        geometry: what the iterations look up.
        start: first disparity, px of 1/4.
        quarter, half: features of the left picture at 1/4 and 1/2, for upsampling.
    """

    states: list[Tensor]
    context: list[Tensor]
    geometry: GeometryLookUp
    start: Float[Tensor, "b 1 h4 w4"]
    quarter: Float[Tensor, "b c h4 w4"]
    half: Float[Tensor, "b d h2 w2"]


class IgevStereo(PretrainedNetwork):
    """IGEV-Stereo.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "igev"
    config_class: ClassVar[type] = IgevConfig
    multiple: ClassVar[int] = 32
    config: IgevConfig

    def __init__(self, config: IgevConfig) -> None:
        super().__init__()
        self.config = config
        hidden, features, (half, quarter) = config.hidden, config.features, config.stem
        self.cnet = ContextNet(config)
        self.update_block = GeometryUpdateBlock(config)
        self.context_zqr_convs = nn.ModuleList(Conv3x3(hidden, 3 * hidden) for _ in range(3))
        self.feature = FeatureNet(config)
        self.stem_2 = instance_stage(3, half, stride=2)
        self.stem_4 = instance_stage(half, quarter, stride=2)
        self.spx = nn.Sequential(nn.ConvTranspose2d(2 * half, 9, 4, 2, 1))
        self.spx_2 = Join(InstanceConv, _START_MASK, half)
        self.spx_4 = instance_stage(features, _START_MASK)
        self.spx_2_gru = Join(BatchConv, half, half)
        self.spx_gru = nn.Sequential(nn.ConvTranspose2d(2 * half, 9, 4, 2, 1))
        self.conv = InstanceConv(features, features)
        self.desc = nn.Conv2d(features, features, 1)
        self.corr_stem = BatchConv(config.groups, config.groups, dims=3)
        self.corr_feature_att = FeatureGate(config.groups, features)
        self.cost_agg = VolumeFilter(config)
        self.classifier = nn.Conv3d(config.groups, 1, 3, 1, 1, bias=False)
        init_convolutions(self.cnet)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 32,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        max_disparity: int | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px; nothing keeps it positive.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 32.
            iterations: steps.
            initial: disparity in px to start from instead of the volume's.
            max_disparity: px up to which the volume reaches if that is more than the configured ones.

        Raises:
            WrongInput: sizes that do not fit, or no iterations.
        """
        self._check(left, iterations)
        prepared = self._prepare(left, right, initial, max_disparity)
        (last,) = deque(self._iterate(prepared, iterations), maxlen=1)
        return self._upsample(last, prepared)

    def predictions(
        self, left: Float[Tensor, "b 3 h w"], right: Float[Tensor, "b 3 h w"], *, iterations: int = 22
    ) -> list[Float[Tensor, "b 1 h w"]]:
        """The disparity of the volume and then that after every iteration, as training needs them.

        Arguments as in `forward`.
        """
        self._check(left, iterations)
        prepared = self._prepare(left, right, None, None)
        mask = self.spx(self.spx_2(self.spx_4(prepared.quarter), prepared.half))
        start = upsample_convex(prepared.start, F.pixel_unshuffle(mask, FACTOR), FACTOR)
        return [start, *(self._upsample(step, prepared) for step in self._iterate(prepared, iterations))]

    def memory_bytes(self, height: int, width: int, *, max_disparity: int | None = None) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        config = self.config
        columns = width // FACTOR
        fine = columns * (height // FACTOR)
        volume = 4 * fine * self.disparities(max_disparity) * config.groups
        # Measured, in images of the context encoder's first stage: the CPU works in strips.
        strips = next(self.parameters()).device.type == "cpu"
        encoders = 4 * config.widths[0] * height * width * (4 if strips else 6)
        recurrent = 4 * fine * config.hidden * 40
        kept = 2 * volume + min(4 * fine * columns * 2, STORED_BYTES)
        return max(encoders, 6 * volume, recurrent + kept)

    def disparities(self, max_disparity: int | None = None) -> int:
        """Disparities of the volume, px of 1/4: the configured ones, or as many as are asked for."""
        reach = max(self.config.max_disparity, max_disparity or 0)
        return -(-reach // (FACTOR * COARSEST)) * COARSEST

    def _prepare(self, left: Tensor, right: Tensor, initial: Tensor | None, max_disparity: int | None) -> Prepared:
        b, config = left.shape[0], self.config
        images = 2 * (torch.cat([left, right]) / 255) - 1
        images = images.contiguous(memory_format=torch.channels_last)
        states, context = self._context(images[:b])
        features, half, quarter = self._features(images)
        matched = self.desc(self.conv(quarter))
        half, quarter = half[:b], quarter[:b]
        volume = group_wise_correlation(matched[:b], matched[b:], self.disparities(max_disparity), config.groups)
        volume = self.corr_feature_att(self.corr_stem(volume), quarter)
        volume = self.cost_agg(volume, Pyramid(*(level[:b] for level in features)))
        if initial is None:
            start = soft_argmin(-self.classifier(volume)[:, 0])[:, None]
        else:
            start = F.avg_pool2d(initial.float(), FACTOR) / FACTOR
        geometry = GeometryLookUp(matched[:b], matched[b:], volume, levels=config.levels)
        return Prepared(states, context, geometry, start, quarter, half)

    def _context(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """First states, and the context of every step."""
        heads = self.cnet(run_trunk(self.cnet, images))
        states = [torch.tanh(state) for state, _ in heads]
        return states, [conv(F.relu(term)) for (_, term), conv in zip(heads, self.context_zqr_convs, strict=True)]

    def _features(self, images: Tensor) -> tuple[Pyramid, Tensor, Tensor]:
        """MobileNetV2's features, and at 1/2 and 1/4 what is matched and upsampled with."""
        features = self.feature(images)
        half = self.stem_2(images)
        return features, half, torch.cat([features.quarter, self.stem_4(half)], 1)

    def _iterate(self, prepared: Prepared, iterations: int) -> Iterator[Step]:
        recurrence = Recurrence(self.update_block, prepared.states, prepared.context)
        disparity = prepared.start
        for _ in range(iterations):
            disparity = disparity.detach()
            seen = prepared.geometry.around(disparity, self.config.radius)
            disparity = disparity + recurrence.step(seen, disparity).float()
            yield Step(recurrence.finest, disparity)

    def _upsample(self, step: Step, prepared: Prepared) -> Tensor:
        mask = self.spx_gru(self.spx_2_gru(self.update_block.upsampling_mask(step.state), prepared.half))
        return upsample_convex(step.disparity, F.pixel_unshuffle(mask, FACTOR), FACTOR)

    def _check(self, images: Tensor, iterations: int) -> None:
        height, width = images.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise WrongInput(
                f"IGEV-Stereo takes sides that are multiples of {self.multiple}, not {width}x{height}; pad."
            )
        if iterations < 1:
            raise WrongInput("IGEV-Stereo needs at least one iteration.")
