"""Configuration of IGEV-Stereo."""

from dataclasses import dataclass

from depthweave.errors import WrongInput

FACTOR = 4
"""Image px per px of the volume and of the iterations."""

COARSEST = 8
"""The volume is halved three times, its disparities as well as its rows and columns."""


@dataclass(frozen=True)
class IgevConfig:
    """Sizes and choices; the defaults are those of all official models.

    Attributes:
        max_disparity: disparities of the volume, px of the image; larger ones are still reached by the iterations,
            which also see the correlation of the whole row.
        groups: parts into which the matched features are split; each gives one channel of the volume.
        levels, radius: widths of volume and correlation, and half-width of their look-up.
        hidden: channels of every recurrent state and of its context.
        widths: channels of the three stages of the context encoder.
        trunk: channels of MobileNetV2's first convolution and of its first six stages.
        stem: channels of the plain convolutions at 1/2 and 1/4 beside it.

    Raises:
        WrongInput: values that no network can be built from.
    """

    max_disparity: int = 192
    groups: int = 8
    levels: int = 2
    radius: int = 4
    hidden: int = 128
    widths: tuple[int, int, int] = (64, 96, 128)
    trunk: tuple[int, int, int, int, int, int, int] = (32, 16, 24, 32, 64, 96, 160)
    stem: tuple[int, int] = (32, 48)

    def __post_init__(self) -> None:
        if min(self.hidden, self.groups, self.radius, *self.widths, *self.trunk, *self.stem) < 1:
            raise WrongInput("every width, count and radius of IGEV-Stereo is at least 1.")
        if self.max_disparity < 1 or self.max_disparity % (FACTOR * COARSEST):
            raise WrongInput(
                f"IGEV-Stereo's volume holds a multiple of {FACTOR * COARSEST} px, not {self.max_disparity}."
            )
        if not 1 <= self.levels <= 4:
            raise WrongInput(f"IGEV-Stereo looks up 1 to 4 levels, not {self.levels}.")
        if self.features % self.groups:
            raise WrongInput(f"{self.features} matched features cannot be split into {self.groups} groups.")

    @property
    def features(self) -> int:
        """Channels that are matched."""
        return 2 * self.trunk[2] + self.stem[1]

    @staticmethod
    def standard() -> "IgevConfig":
        """The published network."""
        return IgevConfig()

    @staticmethod
    def nano() -> "IgevConfig":
        """Small enough to run and train in a test; there are no weights for it."""
        return IgevConfig(
            max_disparity=64,
            groups=4,
            hidden=32,
            widths=(16, 24, 32),
            trunk=(8, 8, 8, 8, 16, 16, 16),
            stem=(8, 16),
        )
