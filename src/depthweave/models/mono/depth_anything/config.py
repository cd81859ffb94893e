"""Configuration of Depth Anything."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthAnythingConfig:
    """A size, and whether the output is metric.

    Attributes:
        encoder: ``vits``, ``vitb``, ``vitl``, or ``nano`` for tests.
        taps: transformer blocks (from 0) that the decoder reads; None takes those of V2. V1 reads the last four.
        max_depth_m: None for relative inverse depth; a metric model's largest depth (20 indoors, 80 outdoors).
    """

    encoder: str = "vits"
    taps: tuple[int, int, int, int] | None = None
    max_depth_m: float | None = None
