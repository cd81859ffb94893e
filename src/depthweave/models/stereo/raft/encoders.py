"""RAFT-Stereo's encoders.

Source: Lipson et al., "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021, section 3.1.
"""

from jaxtyping import Float
from torch import Tensor, nn

from depthweave.models.layers.encoders import ContextTrunk, Trunk
from depthweave.models.layers.fast_trunk import run_trunk


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


class ContextNet(ContextTrunk):
    """First states and contexts of the recurrent part.

    The official files hold three levels whatever the number of states; what is beyond ``gru_levels`` is never used.
    """

    def forward(self, trunk: Float[Tensor, "b c h w"], gru_levels: int) -> list[tuple[Tensor, Tensor]]:
        """(state, context) per level, finest first, before their tanh and ReLU, from what ``trunk`` made of images."""
        return self.heads(self.levels(trunk, gru_levels))
