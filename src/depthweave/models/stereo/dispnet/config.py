"""Configuration of DispNet."""

from dataclasses import dataclass

from depthweave.errors import WrongInput


@dataclass(frozen=True)
class DispnetConfig:
    """Sizes and choices; the defaults are those of DispNet-C.

    Attributes:
        correlation: compare both views along the rows at 1/4 of the size (DispNet-C); without it one encoder sees the
            six channels of both pictures and has to find out by itself what matching is (DispNet, a plain U-Net).
        edges: predict an edge map beside the disparity and let the decoder see its features (EdgeStereo).
        normalise: batch normalisation after every convolution of the encoder and the decoder. The paper has none; the
            recipes turn it on.
        widths: channels of the encoder at 1/2, 1/4, ... 1/64.
        decoder: channels of the decoder at 1/32, 1/16, ... 1/2.
        levels: disparities of the correlation, 0 to levels - 1 px of 1/4.
        kept: channels of the left features that go on beside the correlation.
        edge_channels: channels of the edge features at each of their three sizes.

    Raises:
        WrongInput: values that no network can be built from.
    """

    correlation: bool = True
    edges: bool = False
    normalise: bool = False
    widths: tuple[int, int, int, int, int, int] = (64, 128, 256, 512, 512, 1024)
    decoder: tuple[int, int, int, int, int] = (512, 256, 128, 64, 32)
    levels: int = 41
    kept: int = 64
    edge_channels: int = 16

    def __post_init__(self) -> None:
        if min(*self.widths, *self.decoder, self.levels, self.kept, self.edge_channels) < 1:
            raise WrongInput("every width and count of a DispNet is at least 1.")

    @staticmethod
    def small() -> "DispnetConfig":
        """What trains on a CPU in minutes; the recipes have it."""
        return DispnetConfig(
            normalise=True,
            widths=(16, 32, 48, 64, 96, 128),
            decoder=(96, 64, 48, 32, 16),
            levels=25,
            kept=16,
            edge_channels=8,
        )

    @staticmethod
    def nano() -> "DispnetConfig":
        """Small enough to train in a test; there are no weights for it."""
        return DispnetConfig(
            normalise=True,
            widths=(8, 12, 16, 16, 16, 24),
            decoder=(16, 16, 12, 12, 8),
            levels=9,
            kept=8,
            edge_channels=4,
        )
