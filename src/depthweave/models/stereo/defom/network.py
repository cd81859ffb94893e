"""DEFOM-Stereo: recurrent matching that starts from, and listens to, a monocular depth foundation model.

Source: Jiang et al., "DEFOM-Stereo: Depth Foundation Model Based Stereo Matching", CVPR 2025. Parameter names are those
of the official checkpoints.
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
from depthweave.models.layers.correlation import STORED_BYTES, RowCorrelation
from depthweave.models.layers.dinov2 import transformer_size
from depthweave.models.layers.encoders import init_convolutions
from depthweave.models.layers.fast_trunk import Spare, run_trunk
from depthweave.models.layers.fast_update import Recurrence
from depthweave.models.layers.imagenet import IMAGENET_MEAN, IMAGENET_STD
from depthweave.models.layers.update import Encoded, RecurrentBlock, UpdateBlock, upsample_convex
from depthweave.models.layers.winograd import Conv3x3
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.defom.config import DefomConfig
from depthweave.models.stereo.defom.encoders import ContextNet, DefomEncoder, FeatureNet
from depthweave.models.stereo.defom.trace import Trace, trace_encoders, trace_step

DOWNSAMPLE = 4
LARGEST_FACTOR = 6.0
SMALLEST_START = 0.01


@dataclass(frozen=True)
class Step:
    """One iteration's result.

    Attributes:
        block: whose upsampling mask belongs to it.
        state: the finest.
        disparity: px at 1/4.
    """

    block: RecurrentBlock
    state: Float[Tensor, "b c h w"]
    disparity: Float[Tensor, "b 1 h w"]


class DefomStereo(PretrainedNetwork):
    """DEFOM-Stereo.

    Args:
        config: sizes and constants.
    """

    family: ClassVar[str] = "defom"
    config_class: ClassVar[type] = DefomConfig
    multiple: ClassVar[int] = 32
    config: DefomConfig
    mean: Tensor
    std: Tensor

    def __init__(self, config: DefomConfig) -> None:
        super().__init__()
        self.config = config
        size = transformer_size(config.encoder)
        hidden = config.hidden
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1))
        self.defomencoder = DefomEncoder(size)
        self.fnet = FeatureNet(size.features, config.widths, config.features)
        self.context_zqr_convs = nn.ModuleList(Conv3x3(hidden, 3 * hidden) for _ in range(3))
        self.update_block = UpdateBlock(config.levels * (2 * config.radius + 1), hidden=hidden, upsample=DOWNSAMPLE)
        self.scale_update_block = UpdateBlock(
            len(config.scales) * (2 * config.scale_radius + 1), hidden=hidden, upsample=DOWNSAMPLE
        )
        self.cnet = ContextNet(size.features, config.widths, hidden)
        init_convolutions(self.fnet)
        init_convolutions(self.cnet)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 32,
        scale_iterations: int = 8,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        trace: Trace | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px; nothing keeps it positive.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 16 and at least 32 px (trained with multiples of 32).
            iterations: in all.
            scale_iterations: how many of them, from the first, multiply the disparity instead of adding to it.
            initial: disparity in px to start from instead of the monocular one.
            trace: filled with intermediate values under their names in tests/parity.

        Raises:
            WrongInput: sizes that do not fit, or no iterations.
        """
        (last,) = deque(self._iterate(left, right, iterations, scale_iterations, initial, trace), maxlen=1)
        return self._upsample(last, trace)

    def predictions(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        iterations: int = 18,
        scale_iterations: int = 8,
    ) -> list[Float[Tensor, "b 1 h w"]]:
        """The disparity after every iteration, as training needs them; arguments as in `forward`."""
        return [self._upsample(step) for step in self._iterate(left, right, iterations, scale_iterations, None, None)]

    def memory_bytes(self, height: int, width: int) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        full, columns = height * width, width // DOWNSAMPLE
        fine = full // DOWNSAMPLE**2
        # Measured on a CPU, in images of the widest stage and of the states; elsewhere both views pass at once.
        images = 5 if next(self.parameters()).device.type == "cpu" else 12
        encoders = 4 * full * self.config.widths[0] * images
        recurrent = 4 * fine * self.config.hidden * 32
        volume = min(8 * fine * columns, STORED_BYTES)
        return max(encoders, recurrent + volume)

    def encode(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        trace: Trace | None = None,
    ) -> Encoded:
        """Everything before the first iteration; arguments as in `forward`."""
        b = left.shape[0]
        images = (torch.cat([left, right]) - self.mean) / self.std
        mono = self.defomencoder(images)
        images = images.contiguous(memory_format=torch.channels_last)
        spare = Spare()
        trunks = run_trunk(self.cnet, images[:b], spare), run_trunk(self.fnet, images, spare)
        del spare
        heads = self.cnet(trunks[0], mono.context)
        features = self.fnet(trunks[1], torch.cat([mono.left, mono.right]))
        states = [torch.tanh(state) for state, _ in heads]
        context = [conv(F.relu(term)) for (_, term), conv in zip(heads, self.context_zqr_convs, strict=True)]
        correlation = RowCorrelation(features[:b], features[b:], levels=self.config.levels)
        disparity = self._start(mono.relative_depth, initial)
        if trace is not None:
            trace_encoders(trace, mono, heads, (features[:b], features[b:]), context, disparity)
        return Encoded(states, context, correlation, disparity)

    def _start(self, relative_depth: Tensor, initial: Tensor | None) -> Tensor:
        """d0 = eta w z / max z + 0.01 (the paper's start with its code's constants), or what the caller knows."""
        if initial is not None:
            # Scale steps multiply: from 0 there would be no way up.
            return (F.avg_pool2d(initial.float(), DOWNSAMPLE) / DOWNSAMPLE).clamp_min(SMALLEST_START)
        depth = relative_depth.float()
        nearest = depth.amax((1, 2, 3), keepdim=True).detach()
        return depth / (nearest + 1e-8) * self.config.eta * depth.shape[-1] + SMALLEST_START

    def _iterate(
        self,
        left: Tensor,
        right: Tensor,
        iterations: int,
        scale_iterations: int,
        initial: Tensor | None,
        trace: Trace | None,
    ) -> Iterator[Step]:
        _check(left, right, iterations, scale_iterations)
        config = self.config
        encoded = self.encode(left, right, initial=initial, trace=trace)
        disparity = encoded.disparity
        first = self.scale_update_block if scale_iterations else self.update_block
        recurrence = Recurrence(first, encoded.states, encoded.context)
        largest_step = float(2 ** (config.levels - 1) * config.radius)
        path = [disparity]
        for iteration in range(iterations):
            disparity = disparity.detach()
            scaling = iteration < scale_iterations
            if iteration == scale_iterations > 0:
                states = recurrence.states
                del recurrence  # its kernels, before those of the other block are made
                recurrence = Recurrence(self.update_block, states, encoded.context)
            if scaling:
                seen = encoded.correlation.at_scales(disparity, config.scales, config.scale_radius)
            else:
                seen = encoded.correlation.around(disparity, config.radius)
            before = disparity
            head = recurrence.step(seen, disparity)
            if scaling:
                update = (0.25 * head.float()).exp().clamp(max=LARGEST_FACTOR)
                disparity = disparity * update
            else:
                update = head.float()
                disparity = disparity + update.clamp(-largest_step, largest_step)
            if trace is not None:
                path.append(disparity)
                if iteration in (0, scale_iterations):
                    trace_step(trace, "scale" if scaling else "delta", seen, before, update, recurrence.states)
            yield Step(recurrence.block, recurrence.finest, disparity)
        if trace is not None:
            trace["lowres_disp"] = torch.cat(path, 1)

    def _upsample(self, step: Step, trace: Trace | None = None) -> Tensor:
        mask = step.block.upsampling_mask(step.state)
        full = upsample_convex(step.disparity, mask, DOWNSAMPLE)
        if trace is not None:
            trace.update(mask_last=mask, final_padded=full)
        return full


def _check(left: Tensor, right: Tensor, iterations: int, scale_iterations: int) -> None:
    height, width = left.shape[-2:]
    if left.shape != right.shape:
        raise WrongInput(f"left and right differ in size: {tuple(left.shape)} and {tuple(right.shape)}.")
    if height % 16 or width % 16 or min(height, width) < 32:
        raise WrongInput(
            f"DEFOM-Stereo takes sides that are multiples of 16 and at least 32 px, not {width}x{height}; pad."
        )
    if iterations < 1 or scale_iterations < 0:
        raise WrongInput("DEFOM-Stereo needs at least one iteration, and scale_iterations of at least 0.")
