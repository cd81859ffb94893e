"""Configuration of the compact flow network."""

from dataclasses import dataclass

from depthweave.errors import WrongInput


@dataclass(frozen=True)
class CompactFlowConfig:
    """Sizes and choices; the defaults are those of recipes/flow-small.toml.

    Attributes:
        widths: channels of the encoder at 1/2, 1/4, 1/8 and 1/16 of the picture's size.
        fused: channels after the encoder's way back up, at 1/4 and 1/8.
        matched: channels of the features that are matched at 1/4 and 1/8.
        hidden: channels of the recurrent state at 1/8.
        radius: cells to either side that a look-up at 1/8 (and in the halved volume at 1/16) reads.
        quarter_hidden: channels of the refinement at 1/4.
        quarter_radius: cells to either side that are compared at 1/4.
        half_hidden: channels of the refinement at 1/2.
        half_matched: channels of the features that are matched at 1/2.
        half_radius: cells to either side that are compared at 1/2.

    Raises:
        WrongInput: values that no network can be built from.
    """

    widths: tuple[int, int, int, int] = (16, 40, 80, 128)
    fused: tuple[int, int] = (48, 64)
    matched: int = 64
    hidden: int = 64
    radius: int = 4
    quarter_hidden: int = 48
    quarter_radius: int = 3
    half_hidden: int = 32
    half_matched: int = 16
    half_radius: int = 2

    def __post_init__(self) -> None:
        sizes = (*self.widths, *self.fused, self.matched, self.hidden, self.quarter_hidden, self.half_hidden)
        if min(*sizes, self.half_matched, self.radius, self.quarter_radius, self.half_radius) < 1:
            raise WrongInput("every width and radius of a compact flow network is at least 1.")

    @staticmethod
    def nano() -> "CompactFlowConfig":
        """Small enough to train in a test; there are no weights for it."""
        return CompactFlowConfig(
            widths=(8, 12, 16, 24),
            fused=(16, 16),
            matched=16,
            hidden=16,
            radius=2,
            quarter_hidden=16,
            quarter_radius=2,
            half_hidden=12,
            half_matched=8,
            half_radius=1,
        )
