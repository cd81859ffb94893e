"""Configuration of DEFOM-Stereo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DefomConfig:
    """Sizes and constants; the defaults are those of every official checkpoint.

    Attributes:
        encoder: of the monocular part: ``vits``, ``vitb``, ``vitl``, or ``nano`` for tests.
        eta: the nearest point starts at this share of the image's width.
        levels, radius: widths of the correlation volume and half-width of its look-up.
        scales, scale_radius: factors at which the scale update looks, and half-width there.
        hidden: channels of every recurrent state and of its context.
        widths: channels of the three stages of the convolutional encoders.
        features: channels that are matched.
    """

    encoder: str = "vits"
    eta: float = 0.5
    levels: int = 2
    radius: int = 4
    scales: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    scale_radius: int = 2
    hidden: int = 128
    widths: tuple[int, int, int] = (64, 96, 128)
    features: int = 256

    @staticmethod
    def nano() -> "DefomConfig":
        """Small enough to run and train in a test; there are no weights for it."""
        return DefomConfig(encoder="nano", hidden=32, widths=(16, 24, 32), features=32)
