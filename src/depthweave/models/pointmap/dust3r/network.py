"""DUSt3R: two pictures of anything to pointmaps in the first picture's camera, up to scale.

Source: Wang et al., "DUSt3R: Geometric 3D Vision Made Easy", CVPR 2024. MonST3R (Zhang et al., ICLR 2025) is the same
network with weights for scenes in motion.
"""

from typing import ClassVar

from depthweave.models.pointmap.dust3r.config import Dust3rConfig
from depthweave.models.pointmap.heads import DenseHead, LinearHead
from depthweave.models.pointmap.network import PointmapNetwork


class Dust3r(PointmapNetwork):
    """The backbone with one head per picture, linear or dense.

    Args:
        config: sizes and head.
    """

    family: ClassVar[str] = "dust3r"
    config_class: ClassVar[type] = Dust3rConfig
    config: Dust3rConfig

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__(config)

        def head() -> LinearHead | DenseHead:
            if config.head == "linear":
                return LinearHead(config.decoder_dim, config.decoder_depth)
            return DenseHead(config.encoder_dim, config.decoder_dim, config.decoder_depth)

        self.downstream_head1, self.downstream_head2 = head(), head()
