"""Depth Anything V2: one picture to relative inverse depth, or with a metric head to metres.

Source: Yang et al., "Depth Anything V2", NeurIPS 2024. Parameter names are those of the official checkpoints.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.models.layers.dinov2 import PATCH_PX, VisionTransformer, transformer_size
from depthweave.models.layers.dpt import DptDecoder
from depthweave.models.mono.depth_anything.config import DepthAnythingConfig
from depthweave.models.pretrained import PretrainedNetwork


class DepthAnything(PretrainedNetwork):
    """DINOv2 and a DPT decoder.

    Args:
        config: size and kind of output.
    """

    family: ClassVar[str] = "depth-anything"
    config_class: ClassVar[type] = DepthAnythingConfig
    multiple: ClassVar[int] = PATCH_PX

    def __init__(self, config: DepthAnythingConfig) -> None:
        super().__init__()
        self.config = config
        size = transformer_size(config.encoder)
        self.pretrained = VisionTransformer(size)
        self.depth_head = DptDecoder(size, head=True)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Inverse depth of unknown scale and shift (larger is nearer), or depth in metres where the model is metric.

        Args:
            images: RGB, normalised with ImageNet's mean and deviation; sides are multiples of 14 px.

        Raises:
            WrongInput: sides that are not multiples of 14.
        """
        height, width = images.shape[-2:]
        taps = self.pretrained(images, self.config.taps)
        decoder = self.depth_head
        path = decoder.fuse(decoder.laterals([tap.patches for tap in taps]), factor=2)
        raw = decoder.head(path, (height, width)).squeeze(1)
        return F.relu(raw) if self.config.max_depth_m is None else self.config.max_depth_m * raw.sigmoid()
