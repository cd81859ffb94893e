"""IGEV-Stereo's recurrent step: that of RAFT-Stereo on disparities, with features instead of weights for upsampling.

Source: Xu et al., "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023, section 3.3.
"""

from jaxtyping import Float
from torch import Tensor, nn

from depthweave.models.layers.update import ConvGru, DisparityHead, DisparityMotionEncoder, RecurrentBlock
from depthweave.models.layers.winograd import Conv3x3
from depthweave.models.stereo.igev.config import FACTOR, IgevConfig


class GeometryUpdateBlock(RecurrentBlock):
    """The block under its official names, with three states.

    Args:
        config: sizes.
    """

    def __init__(self, config: IgevConfig) -> None:
        samples = config.levels * (2 * config.radius + 1) * (config.groups + 1)
        hidden = config.hidden
        super().__init__(DisparityMotionEncoder(samples, hidden), hidden=hidden, upsample=FACTOR)
        # These files count their levels in px of the image, so what is 08 in RAFT-Stereo's is 04 here.
        self.gru04, self.gru08, self.gru16 = self.gru08, self.gru16, self.gru32
        del self.gru32, self.mask
        self.disp_head = DisparityHead(hidden)
        self.mask_feat_4 = nn.Sequential(Conv3x3(hidden, config.stem[0]), nn.ReLU(inplace=True))

    @property
    def head(self) -> DisparityHead:
        """Under its official name."""
        return self.disp_head

    @property
    def grus(self) -> tuple[ConvGru, ConvGru, ConvGru]:
        """Finest first."""
        return self.gru04, self.gru08, self.gru16

    def upsampling_mask(self, fine: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Features that the network turns into weights of the convex upsampling."""
        found: Tensor = self.mask_feat_4(fine)
        return found
