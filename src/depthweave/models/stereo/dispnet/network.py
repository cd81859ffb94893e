"""DispNet: disparity by an encoder and a decoder, with or without a correlation, with or without an edge branch.

Source: Mayer et al., "A Large Dataset to Train Convolutional Networks for Disparity, Optical Flow, and Scene Flow
Estimation", CVPR 2016, table 1 and section 5 (DispNet, DispNetCorr1D); Song et al., "EdgeStereo: An Effective
Multi-task Learning Network for Stereo Matching and Edge Detection", IJCV 2020 (the edge branch).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.cost_volume import row_correlation
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.dispnet.blocks import Decoder, EdgeBranch, convolution
from depthweave.models.stereo.dispnet.config import DispnetConfig

UNIT_PX = 16.0
"""What a convolution says as 1, px of the picture, so that first weights answer within the usual range."""


@dataclass(frozen=True)
class DispnetPredictions:
    """What training compares with the truth.

    Attributes:
        steps: disparity at 1/64, 1/32, ... 1/2 of the size, in px of the picture.
        disparity: the last of them enlarged to the picture's size, px.
        edges: logits of the edge maps at the picture's size: three side outputs, then the fused one; empty without an
            edge branch.
    """

    steps: tuple[Float[Tensor, "b 1 _ _"], ...]
    disparity: Float[Tensor, "b 1 h w"]
    edges: tuple[Float[Tensor, "b 1 h w"], ...]


class Dispnet(PretrainedNetwork):
    """DispNet, DispNet-C and their edge branch.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "dispnet"
    config_class: ClassVar[type] = DispnetConfig
    multiple: ClassVar[int] = 64
    config: DispnetConfig

    def __init__(self, config: DispnetConfig) -> None:
        super().__init__()
        self.config = config
        normalise, (half, quarter, *coarse) = config.normalise, config.widths
        self.to_half = convolution(3 if config.correlation else 6, half, 7, 2, normalise=normalise)
        self.to_quarter = convolution(half, quarter, 5, 2, normalise=normalise)
        if config.correlation:
            self.keep = convolution(quarter, config.kept, 1, normalise=normalise)
        inputs = [config.kept + config.levels if config.correlation else quarter, *coarse[:-1]]
        self.deeper = nn.ModuleList(
            nn.Sequential(
                convolution(before, width, 3 if number else 5, 2, normalise=normalise),
                convolution(width, width, normalise=normalise),
            )
            for number, (before, width) in enumerate(zip(inputs, coarse, strict=True))
        )
        extra = config.edge_channels + 1 if config.edges else 0
        self.decoder = Decoder(config, (0, 0, 0, extra, extra))
        if config.edges:
            self.edges = EdgeBranch(config)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        initial: Float[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px; nothing keeps it positive.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 64.
            initial: None; a DispNet answers in one pass and has nothing to start from.

        Raises:
            WrongInput: sizes that do not fit, or a disparity to start from.
        """
        if initial is not None:
            raise WrongInput("a DispNet answers in one pass and takes no disparity to start from; leave initial out.")
        return self.predictions(left, right).disparity

    def predictions(self, left: Float[Tensor, "b 3 h w"], right: Float[Tensor, "b 3 h w"]) -> DispnetPredictions:
        """Everything on the way, as training needs it; arguments as in `forward`."""
        height, width = left.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise WrongInput(f"DispNet takes sides that are multiples of {self.multiple}, not {width}x{height}; pad.")
        features = self._features(left / 127.5 - 1, right / 127.5 - 1)
        edges: list[Tensor] = []
        given: list[Tensor] = []
        if self.config.edges:
            edges, given = self.edges(features[:3], height, width)
        maps = self.decoder(features, (None, None, None, *(given[::-1] or (None, None))))
        steps = tuple(UNIT_PX * each.float() for each in maps)
        disparity = F.interpolate(steps[-1], size=(height, width), mode="bilinear", align_corners=False)
        return DispnetPredictions(steps, disparity, tuple(each.float() for each in edges))

    def edge_map(self, left: Float[Tensor, "b 3 h w"], right: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Probability of an edge at every pixel of the left image; arguments as in `forward`.

        Raises:
            WrongInput: a network without an edge branch.
        """
        if not self.config.edges:
            raise WrongInput("this DispNet has no edge branch; train one with `edges = true` in its configuration.")
        return torch.sigmoid(self.predictions(left, right).edges[-1])

    def memory_bytes(self, height: int, width: int) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        config, halves = self.config, height * width // 4
        views = 2 if config.correlation else 1
        encoder = views * (2 * config.widths[0] * halves + config.widths[1] * halves // 4)
        decoder = (config.widths[0] + 4 * config.decoder[-1]) * halves + 2 * config.widths[1] * halves // 4
        return 4 * (max(encoder, decoder) + (20 * halves if config.edges else 4 * halves))

    def _features(self, left: Tensor, right: Tensor) -> list[Tensor]:
        """At 1/2, 1/4, ... 1/64; with a correlation the first two are of the left view alone."""
        if self.config.correlation:
            views = self.to_half(torch.cat([left, right]))
            half = views.chunk(2)[0]
            quarter, right_quarter = self.to_quarter(views).chunk(2)
            volume = row_correlation(quarter, right_quarter, levels=self.config.levels)
            x = torch.cat([self.keep(quarter), F.leaky_relu(volume, 0.1)], 1)
        else:
            half = self.to_half(torch.cat([left, right], 1))
            x = quarter = self.to_quarter(half)
        features = [half, quarter]
        for layer in self.deeper:
            x = layer(x)
            features.append(x)
        return features
