"""Configuration of the compact matcher."""

from dataclasses import dataclass

from depthweave.errors import WrongInput


@dataclass(frozen=True)
class CompactConfig:
    """Sizes and choices; the defaults are those of depthweave-s.

    Attributes:
        widths: channels of the encoder at 1/2, 1/4, 1/8 and 1/16 of the picture's size.
        fused: channels after the encoder's way back up, at 1/4 and 1/8.
        groups: parts into which the matched features are split; each part gives one channel of the volume.
        group: channels per part.
        volume: channels of the three-dimensional filter at 1/8, 1/16 and 1/32.
        hidden: channels of the refinement at 1/4.
        half_hidden: channels of the refinement at 1/2.
        half_groups, half_group: parts and channels per part of the features that are matched at 1/2.
        radius: disparities to either side that a look-up at 1/4 reads, px of 1/4.
        half_radius: the same at 1/2.
        range_share: largest disparity that is searched if nothing else is said, as a share of the picture's width.
        uncertainty: a third judgement beside the two ratings: the scale of the error in px, from which the confidence
            then comes. depthweave-s has none; recipes/uncertainty-head.toml adds it to a trained network.

    Raises:
        WrongInput: values that no network can be built from.
    """

    widths: tuple[int, int, int, int] = (16, 40, 80, 128)
    fused: tuple[int, int] = (48, 64)
    groups: int = 4
    group: int = 16
    volume: tuple[int, int, int] = (16, 32, 64)
    hidden: int = 48
    half_hidden: int = 32
    half_groups: int = 2
    half_group: int = 8
    radius: int = 4
    half_radius: int = 2
    range_share: float = 0.25
    uncertainty: bool = False

    def __post_init__(self) -> None:
        sizes = (*self.widths, *self.fused, *self.volume, self.groups, self.group, self.hidden, self.half_hidden)
        if min(*sizes, self.half_groups, self.half_group, self.radius, self.half_radius) < 1:
            raise WrongInput("every width, count and radius of a compact matcher is at least 1.")
        if not 0 < self.range_share <= 1:
            raise WrongInput(f"range_share is a share of the width, above 0 and at most 1, not {self.range_share:g}.")

    @staticmethod
    def nano() -> "CompactConfig":
        """Small enough to train in a test; there are no weights for it."""
        return CompactConfig(
            widths=(8, 12, 16, 24), fused=(16, 16), groups=2, group=8, volume=(8, 8, 8), hidden=16, half_hidden=12
        )
