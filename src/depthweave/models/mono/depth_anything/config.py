"""Configuration of Depth Anything."""

from dataclasses import dataclass

from depthweave.errors import WrongInput


@dataclass(frozen=True)
class DepthAnythingConfig:
    """A size, and whether the output is metric.

    Attributes:
        encoder: ``vits``, ``vitb``, ``vitl``, or ``nano`` for tests.
        taps: transformer blocks (from 0) that the decoder reads; None takes those of V2. V1 reads the last four.
        max_depth_m: None for relative inverse depth; a metric model's largest depth (20 indoors, 80 outdoors).

    Raises:
        WrongInput: taps that are not four blocks, or a largest depth that is not positive.
    """

    encoder: str = "vits"
    taps: tuple[int, int, int, int] | None = None
    max_depth_m: float | None = None

    def __post_init__(self) -> None:
        taps, deepest = self.taps, self.max_depth_m
        if taps is not None and not (isinstance(taps, tuple) and len(taps) == 4 and all(type(t) is int for t in taps)):
            raise WrongInput(f"taps={taps!r} are not four blocks of the transformer; give for example 8,9,10,11.")
        if deepest is not None and not (isinstance(deepest, int | float) and deepest > 0):
            raise WrongInput(f"max_depth_m={deepest!r} is no depth in metres; give for example 20.")
