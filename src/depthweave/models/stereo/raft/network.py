"""RAFT-Stereo: a disparity refined step by step by what the correlation of whole rows says around it.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021. Parameter
names are those of the official checkpoints.
"""

from collections import deque
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.correlation import STORED_BYTES, RowCorrelation
from depthweave.models.layers.encoders import ResidualBlock, init_convolutions
from depthweave.models.layers.fast_trunk import run_trunk
from depthweave.models.layers.fast_update import Recurrence
from depthweave.models.layers.update import Encoded, Step, upsample_convex
from depthweave.models.layers.winograd import Conv3x3
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.encoders import ContextNet, FeatureNet
from depthweave.models.stereo.raft.update import FlowUpdateBlock


class RaftStereo(PretrainedNetwork):
    """RAFT-Stereo.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "raft"
    config_class: ClassVar[type] = RaftConfig
    multiple: ClassVar[int] = 32
    config: RaftConfig

    def __init__(self, config: RaftConfig) -> None:
        super().__init__()
        self.config = config
        hidden, wide = config.hidden, config.widths[2]
        self.cnet = ContextNet(config.norm, config.widths, hidden, config.downsample)
        self.update_block = FlowUpdateBlock(
            config.levels * (2 * config.radius + 1),
            hidden=hidden,
            levels=config.gru_levels,
            slow_fast=config.slow_fast,
            upsample=config.factor,
        )
        self.context_zqr_convs = nn.ModuleList(Conv3x3(hidden, 3 * hidden) for _ in range(config.gru_levels))
        init_convolutions(self.cnet)
        if config.shared_backbone:
            self.conv2 = nn.Sequential(
                ResidualBlock(wide, wide, "instance"), nn.Conv2d(wide, config.features, 3, padding=1)
            )
        else:
            self.fnet = FeatureNet(config.widths, config.features, config.downsample)
            init_convolutions(self.fnet)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 32,
        initial: Float[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px; nothing keeps it positive.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 2^downsample (trained with multiples of 32).
            iterations: steps; the real-time model is made for 7.
            initial: disparity in px to start from instead of 0.

        Raises:
            WrongInput: sizes that do not fit, or no iterations.
        """
        (last,) = deque(self._iterate(left, right, iterations, initial), maxlen=1)
        return self._upsample(last)

    def predictions(
        self, left: Float[Tensor, "b 3 h w"], right: Float[Tensor, "b 3 h w"], *, iterations: int = 22
    ) -> list[Float[Tensor, "b 1 h w"]]:
        """The disparity after every iteration, as training needs them; arguments as in `forward`."""
        return [self._upsample(step) for step in self._iterate(left, right, iterations, None)]

    def memory_bytes(self, height: int, width: int) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        config = self.config
        columns = width // config.factor
        fine = columns * (height // config.factor)
        widest = config.widths[0] * height * width // (4 if config.downsample == 3 else 1)
        # Measured, in images of the widest stage: the CPU works in strips, and a shared encoder holds both views.
        strips = next(self.parameters()).device.type == "cpu"
        images = (6 if strips else 10) if config.shared_backbone else (4 if strips else 6)
        encoders = 4 * widest * images
        volume = min(4 * fine * columns * 2, STORED_BYTES)
        recurrent = 4 * fine * config.hidden * 35
        return max(encoders, recurrent + volume)

    def encode(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        initial: Float[Tensor, "b 1 h w"] | None = None,
    ) -> Encoded:
        """Everything before the first iteration; arguments as in `forward`."""
        b = left.shape[0]
        images = 2 * (torch.cat([left, right]) / 255) - 1
        images = images.contiguous(memory_format=torch.channels_last)
        if self.config.shared_backbone:
            trunk = run_trunk(self.cnet, images)
            features = self.conv2(trunk)
            trunk = trunk[:b]
        else:
            trunk = run_trunk(self.cnet, images[:b])
            features = self.fnet(images)
        heads = self.cnet(trunk, self.config.gru_levels)
        states = [torch.tanh(state) for state, _ in heads]
        context = [conv(F.relu(term)) for (_, term), conv in zip(heads, self.context_zqr_convs, strict=True)]
        correlation = RowCorrelation(features[:b], features[b:], levels=self.config.levels)
        return Encoded(states, context, correlation, self._start(features[:b, :1], initial))

    def _start(self, finest: Tensor, initial: Tensor | None) -> Tensor:
        if initial is None:
            return torch.zeros_like(finest, dtype=torch.float32)
        factor = self.config.factor
        return F.avg_pool2d(initial.float(), factor) / factor

    def _iterate(self, left: Tensor, right: Tensor, iterations: int, initial: Tensor | None) -> Iterator[Step]:
        self._check(left, iterations)
        encoded = self.encode(left, right, initial=initial)
        recurrence = Recurrence(self.update_block, encoded.states, encoded.context)
        disparity = encoded.disparity
        for _ in range(iterations):
            disparity = disparity.detach()
            seen = encoded.correlation.around(disparity, self.config.radius)
            disparity = disparity + recurrence.step(seen, disparity).float()
            yield Step(recurrence.finest, disparity)

    def _upsample(self, step: Step) -> Tensor:
        mask = self.update_block.upsampling_mask(step.state)
        return upsample_convex(step.disparity, mask, self.config.factor)

    def _check(self, images: Tensor, iterations: int) -> None:
        height, width = images.shape[-2:]
        factor = self.config.factor
        narrowest = factor << (self.config.levels - 1)
        if height % factor or width % factor or width < narrowest:
            raise WrongInput(
                f"this RAFT-Stereo takes sides that are multiples of {factor} and a width of at least {narrowest} px, "
                f"not {width}x{height}; pad."
            )
        if iterations < 1:
            raise WrongInput("RAFT-Stereo needs at least one iteration.")
