"""MASt3R: pointmaps, about metric with the published weights, and descriptors for matching.

Source: Leroy et al., "Grounding Image Matching in 3D with MASt3R", ECCV 2024.
"""

from dataclasses import replace
from typing import ClassVar

from torch import nn

from depthweave.models.pointmap.heads import DescriptorHead, Grid, States
from depthweave.models.pointmap.mast3r.config import Mast3rConfig
from depthweave.models.pointmap.network import PointmapNetwork, View


class Mast3r(PointmapNetwork):
    """The backbone with one dense head per picture, each with descriptors.

    Args:
        config: sizes.
    """

    family: ClassVar[str] = "mast3r"
    config_class: ClassVar[type] = Mast3rConfig
    config: Mast3rConfig

    def __init__(self, config: Mast3rConfig) -> None:
        super().__init__(config)
        self.downstream_head1, self.downstream_head2 = (
            DescriptorHead(
                config.encoder_dim,
                config.decoder_dim,
                config.decoder_depth,
                config.descriptor_dim + int(config.two_confidences),
            )
            for _ in range(2)
        )

    def read_view(self, head: nn.Module, states: States, grid: Grid, *, descriptors: bool) -> View:
        """Points and confidence as DUSt3R's, descriptors of length 1, and their confidence C = least + e^c.

        Args:
            head: of the picture.
            states: tokens at the head's taps.
            grid: rows and columns of tokens.
            descriptors: False leaves them away.
        """
        view = super().read_view(head, states, grid, descriptors=descriptors)
        if not (descriptors and isinstance(head, DescriptorHead)):
            return view
        config = self.config
        raw = head.describe(states, grid)
        described = raw[:, : config.descriptor_dim].permute(0, 2, 3, 1)
        confidence = view.confidence
        if config.two_confidences:
            confidence = config.least_descriptor_confidence + raw[:, -1].exp()
        return replace(
            view,
            descriptors=described / described.norm(dim=-1, keepdim=True),
            descriptor_confidence=confidence,
        )
