"""Configuration of the encoder and decoder for single pictures."""

from dataclasses import dataclass

from depthweave.errors import WrongInput


@dataclass(frozen=True)
class MonoUnetConfig:
    """Sizes, range of depth, and which partners are there.

    Attributes:
        channels: of the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture.
        nearest, farthest: depth at sigmoid 1 and 0, in m if metric, else in a unit that training chooses.
        metric: whether the depth is in m, as a stereo rig teaches it.
        views: 2 gives the inverse depth of a right camera, too, which only training uses (Monodepth).
        size: height and width in px at which it sees pictures, multiples of 32.
        pose: a network that tells the motion between two frames.
        mask: one that tells which pixels of two frames still scene and moving camera explain.
        flow: one for the motion of pixels between two frames.
        partner_channels: as `channels`, of these three.

    Raises:
        WrongInput: a size, a range or a number that cannot be.
    """

    channels: tuple[int, int, int, int, int] = (32, 64, 96, 128, 192)
    nearest: float = 0.1
    farthest: float = 100.0
    metric: bool = False
    views: int = 1
    size: tuple[int, int] = (192, 640)
    pose: bool = False
    mask: bool = False
    flow: bool = False
    partner_channels: tuple[int, int, int, int, int] = (16, 32, 64, 96, 128)

    def __post_init__(self) -> None:
        if not 0 < self.nearest < self.farthest:
            raise WrongInput(f"nearest {self.nearest:g} and farthest {self.farthest:g} must be 0 < nearest < farthest.")
        if self.views not in (1, 2):
            raise WrongInput(f"views is {self.views}; there are 1 and 2 (left and right).")
        if min(*self.channels, *self.partner_channels) < 1:
            raise WrongInput("channels and partner_channels are at least 1 each.")
        if min(self.size) < 32 or any(side % 32 for side in self.size):
            raise WrongInput(f"size {self.size} is no height and width in multiples of 32 px.")

    @classmethod
    def nano(cls) -> "MonoUnetConfig":
        """For tests."""
        return cls(channels=(4, 4, 4, 4, 4), size=(32, 64), partner_channels=(4, 4, 4, 4, 4))
