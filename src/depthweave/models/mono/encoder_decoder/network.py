"""One picture to depth by a small encoder and decoder; answers at four sizes train it without any truth.

Source: Godard et al., Monodepth, CVPR 2017, and Monodepth2, ICCV 2019; Zhou et al., SfMLearner, CVPR 2017 (pose, mask);
Ranjan et al., Competitive Collaboration, CVPR 2019 (flow, mask). Sizes are our own; no published weights fit.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.mono.encoder_decoder.blocks import PoseNetwork, Unet
from depthweave.models.mono.encoder_decoder.config import MonoUnetConfig
from depthweave.models.pretrained import PretrainedNetwork

_MEAN, _STD = 0.45, 0.225
_FLOW_SCALE_PX = 10.0


class MonoUnet(PretrainedNetwork):
    """The depth network, and beside it the partners that the configuration asks for.

    Args:
        config: sizes, range of depth, partners.
    """

    family: ClassVar[str] = "mono-unet"
    config_class: ClassVar[type] = MonoUnetConfig
    multiple: ClassVar[int] = 32

    def __init__(self, config: MonoUnetConfig) -> None:
        super().__init__()
        self.config = config
        self.depth = Unet(3, config.channels, config.views)
        self.pose_network = PoseNetwork(config.partner_channels) if config.pose else None
        self.mask_network = Unet(6, config.partner_channels, 1) if config.mask else None
        self.flow_network = Unet(6, config.partner_channels, 2) if config.flow else None

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Depth, in m if the configuration is metric.

        Args:
            images: RGB from 0 to 255; sides are multiples of 32 px.

        Raises:
            WrongInput: other sides.
        """
        return 1 / self.predictions(images)[0][:, 0]

    def predictions(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Inverse depth (b, views, h / s, w / s) for s = 1, 2, 4, 8: 1 / depth = a + b sigmoid (Godard et al., 2019).

        Args:
            images: as of `forward`.

        Raises:
            WrongInput: sides that are not multiples of 32.
        """
        config = self.config
        low, high = 1 / config.farthest, 1 / config.nearest
        return [low + (high - low) * answer.float().sigmoid() for answer in self.depth(_prepared(images))]

    def pose(self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 4 4"]:
        """second_from_first of two frames, in the unit of the depth.

        Args:
            first, second: RGB from 0 to 255, in the order of time.

        Raises:
            WrongInput: the configuration has no pose, or sides that are not multiples of 32.
        """
        network = self._partner("pose")
        found: Tensor = network(_prepared(torch.cat((first, second), 1)))
        return found

    def mask(self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Logits (b, 1, h / s, w / s), s = 1, 2, 4, 8, of a still scene explaining what the second frame shows of the
        first one's pixels.

        Args:
            first, second: RGB from 0 to 255.

        Raises:
            WrongInput: the configuration has no mask, or sides that are not multiples of 32.
        """
        found: list[Tensor] = self._partner("mask")(_prepared(torch.cat((first, second), 1)))
        return found

    def flow(self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Motion (b, 2, h / s, w / s) of the first frame's pixels to the second one, px of its size, s = 1, 2, 4, 8.

        Args:
            first, second: RGB from 0 to 255.

        Raises:
            WrongInput: the configuration has no flow, or sides that are not multiples of 32.
        """
        answers: list[Tensor] = self._partner("flow")(_prepared(torch.cat((first, second), 1)))
        return [_FLOW_SCALE_PX / 2**number * answer.float() for number, answer in enumerate(answers)]

    def _partner(self, name: str) -> torch.nn.Module:
        network: torch.nn.Module | None = getattr(self, f"{name}_network")
        if network is None:
            raise WrongInput(f"this mono-unet has no {name} network; set {name} = true in its configuration.")
        return network


def _prepared(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    if height % 32 or width % 32:
        raise WrongInput(f"pictures of {width}x{height} px do not fit; sides of mono-unet are multiples of 32 px.")
    return (images / 255 - _MEAN) / _STD
