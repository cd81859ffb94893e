"""Configuration of RAFT-Stereo."""

from dataclasses import dataclass

from depthweave.errors import WrongInput
from depthweave.models.layers.encoders import Norm


@dataclass(frozen=True)
class RaftConfig:
    """Sizes and choices; the defaults are those of the official accurate models.

    Attributes:
        downsample: the iterations run at 1/2^downsample of the image's size (``factor`` is 2^downsample).
        gru_levels: recurrent states, each at half the size of the one before: 2 or 3.
        slow_fast: let coarse states take extra steps before every step of the finest one.
        shared_backbone: one encoder for features and context instead of one each.
        norm: normalisation of the context encoder.
        levels, radius: widths of the correlation volume and half-width of its look-up.
        hidden: channels of every recurrent state and of its context.
        widths: channels of the three stages of the encoders.
        features: channels that are matched.

    Raises:
        WrongInput: values that no network can be built from.
    """

    downsample: int = 2
    gru_levels: int = 3
    slow_fast: bool = False
    shared_backbone: bool = False
    norm: Norm = "batch"
    levels: int = 4
    radius: int = 4
    hidden: int = 128
    widths: tuple[int, int, int] = (64, 96, 128)
    features: int = 256

    def __post_init__(self) -> None:
        if self.downsample not in (2, 3):
            raise WrongInput(f"RAFT-Stereo halves its images 2 or 3 times before matching, not {self.downsample}.")
        if self.gru_levels not in (2, 3):
            raise WrongInput(f"RAFT-Stereo has 2 or 3 recurrent states, not {self.gru_levels}.")
        if min(self.levels, self.radius) < 1:
            raise WrongInput("RAFT-Stereo's look-up needs at least one level and a radius of at least 1.")

    @property
    def factor(self) -> int:
        """Image px per px of the iterations."""
        return 1 << self.downsample

    @staticmethod
    def standard() -> "RaftConfig":
        """The accurate models: three states, from 1/4 of the size."""
        return RaftConfig()

    @staticmethod
    def realtime() -> "RaftConfig":
        """The fast model: one encoder, two states, from 1/8 of the size; made for 7 iterations."""
        return RaftConfig(downsample=3, gru_levels=2, slow_fast=True, shared_backbone=True)

    @staticmethod
    def nano() -> "RaftConfig":
        """Small enough to run and train in a test; there are no weights for it."""
        return RaftConfig(hidden=32, widths=(16, 24, 32), features=32)
