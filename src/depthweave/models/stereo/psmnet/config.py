"""Configuration of PSMNet."""

from dataclasses import dataclass
from typing import Literal

from depthweave.errors import WrongInput

FACTOR = 4
"""Image px per px of the volume."""

COARSEST = 4
"""An hourglass halves the volume twice, its disparities as well as its rows and columns."""


@dataclass(frozen=True)
class PsmNetConfig:
    """Sizes and choices; the defaults are those of all official models.

    Attributes:
        max_disparity: searched disparities, px of the image: 0 .. max_disparity - 1.
        channels: of the matched features and of the three-dimensional convolutions; the encoder's four stages have
            once, twice, four and four times as many.
        blocks: residual blocks of the encoder's stages.
        aggregation: ``stacked`` hourglasses with three answers, or the ``basic`` residual stack with one.
        align_corners: whether the volume's corners stay in place when it is enlarged. The authors' code says nothing,
            so it follows torch: no since torch 0.4, in the older releases yes.

    Raises:
        WrongInput: values that no network can be built from.
    """

    max_disparity: int = 192
    channels: int = 32
    blocks: tuple[int, int, int, int] = (3, 16, 3, 3)
    aggregation: Literal["stacked", "basic"] = "stacked"
    align_corners: bool = False

    def __post_init__(self) -> None:
        if min(self.channels, *self.blocks) < 1:
            raise WrongInput("every width and every number of blocks of PSMNet is at least 1.")
        if self.max_disparity < 1 or self.max_disparity % (FACTOR * COARSEST):
            raise WrongInput(f"PSMNet's volume holds a multiple of {FACTOR * COARSEST} px, not {self.max_disparity}.")
        if self.aggregation not in ("stacked", "basic"):
            raise WrongInput(f"PSMNet's aggregation is stacked or basic, not {self.aggregation}.")

    @staticmethod
    def standard() -> "PsmNetConfig":
        """The published network."""
        return PsmNetConfig()

    @staticmethod
    def small() -> "PsmNetConfig":
        """Trains on a CPU in minutes; there are no weights for it."""
        return PsmNetConfig(max_disparity=64, channels=16, blocks=(1, 2, 1, 1))

    @staticmethod
    def nano() -> "PsmNetConfig":
        """Small enough to run and train in a test; there are no weights for it."""
        return PsmNetConfig(max_disparity=32, channels=4, blocks=(1, 1, 1, 1))
