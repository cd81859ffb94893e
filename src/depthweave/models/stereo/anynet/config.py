"""Configuration of AnyNet."""

from dataclasses import dataclass

from depthweave.errors import WrongInput

FACTORS = (16, 8, 4)
"""Image px per px of the three volumes."""


@dataclass(frozen=True)
class AnyNetConfig:
    """Sizes and choices; the defaults are those of all official models.

    Attributes:
        max_disparity: disparities of the first volume, px of the image.
        channels: of the first convolution; features at 1/4, 1/8 and 1/16 have twice, four and eight times as many.
        blocks: convolutions per size of the encoder.
        radii: disparities to either side of the coarser answer that stages two and three search, px of theirs.
        volume_channels: of the three-dimensional convolutions of each stage.
        volume_layers: three-dimensional convolutions between the first and the last one of a stage.
        refinement: channels of the fourth stage, the spatial propagation; 0 leaves that stage away.
        reversed_residuals: as the authors compute it, the level that counts as +k compares with the disparity - k, and
            the three-dimensional convolutions have to learn to turn that round. Their weights need it; a network from
            scratch does not.

    Raises:
        WrongInput: values that no network can be built from.
    """

    max_disparity: int = 192
    channels: int = 1
    blocks: int = 2
    radii: tuple[int, int] = (2, 2)
    volume_channels: tuple[int, int, int] = (16, 4, 4)
    volume_layers: int = 4
    refinement: int = 8
    reversed_residuals: bool = True

    def __post_init__(self) -> None:
        if min(self.channels, self.blocks, *self.radii, *self.volume_channels) < 1:
            raise WrongInput("every width, count and radius of AnyNet is at least 1.")
        if min(self.volume_layers, self.refinement) < 0:
            raise WrongInput("AnyNet's volume_layers and refinement are at least 0.")
        if self.max_disparity < 1 or self.max_disparity % FACTORS[0]:
            raise WrongInput(f"AnyNet's first volume holds a multiple of {FACTORS[0]} px, not {self.max_disparity}.")

    @property
    def stages(self) -> int:
        """Answers that the network has."""
        return len(FACTORS) + (self.refinement > 0)

    @staticmethod
    def standard() -> "AnyNetConfig":
        """The published network."""
        return AnyNetConfig()

    @staticmethod
    def small() -> "AnyNetConfig":
        """Trains on a CPU in minutes, and is wider than the published one; there are no weights for it."""
        return AnyNetConfig(max_disparity=64, channels=4, reversed_residuals=False)

    @staticmethod
    def nano() -> "AnyNetConfig":
        """Small enough to run and train in a test; there are no weights for it."""
        return AnyNetConfig(
            max_disparity=32,
            blocks=1,
            volume_channels=(4, 4, 4),
            volume_layers=1,
            refinement=4,
            reversed_residuals=False,
        )
