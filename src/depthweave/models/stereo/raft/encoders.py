"""RAFT-Stereo's encoders.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021, section 3.1.
"""

from jaxtyping import Float
from torch import Tensor, nn

from depthweave.models.layers.encoders import Norm, ResidualBlock, Trunk, stage
from depthweave.models.layers.fast_trunk import run_trunk
from depthweave.models.layers.winograd import Conv3x3


class FeatureNet(Trunk):
    """Features for matching.

    Args:
        widths: channels of the three stages.
        features: channels of the result.
        downsample: number of halvings.
    """

    def __init__(self, widths: tuple[int, int, int], features: int, downsample: int) -> None:
        super().__init__("instance", widths, downsample)
        self.conv2 = nn.Conv2d(widths[2], features, 1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c _ _"]:
        """Images in [-1, 1]."""
        features: Tensor = self.conv2(run_trunk(self, images))
        return features


class ContextNet(Trunk):
    """First states and contexts of the recurrent part.

    The official files hold three levels whatever the number of states; what is beyond ``gru_levels`` is never used.

    Args:
        norm: kind of normalisation.
        widths: channels of the three stages.
        hidden: channels of every state and context.
        downsample: number of halvings before the finest level.
    """

    def __init__(self, norm: Norm, widths: tuple[int, int, int], hidden: int, downsample: int) -> None:
        super().__init__(norm, widths, downsample)
        wide = widths[2]
        self.layer4 = stage(wide, wide, norm, 2)
        self.layer5 = stage(wide, wide, norm, 2)

        def refined() -> nn.Sequential:
            return nn.Sequential(ResidualBlock(wide, wide, norm), Conv3x3(wide, hidden))

        self.outputs08 = nn.ModuleList(refined() for _ in range(2))
        self.outputs16 = nn.ModuleList(refined() for _ in range(2))
        self.outputs32 = nn.ModuleList(Conv3x3(wide, hidden) for _ in range(2))

    def forward(self, trunk: Float[Tensor, "b c h w"], gru_levels: int) -> list[tuple[Tensor, Tensor]]:
        """(state, context) per level, finest first, before their tanh and ReLU, from what ``trunk`` made of images."""
        found = []
        outputs = (self.outputs08, self.outputs16, self.outputs32)
        for level, (state, context) in enumerate(outputs[:gru_levels]):
            if level:
                trunk = (self.layer4, self.layer5)[level - 1](trunk)
            found.append((state(trunk), context(trunk)))
        return found
