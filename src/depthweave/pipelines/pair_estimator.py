"""What `reconstruct` asks of a method that looks at two frames at a time."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from depthweave.types import Camera, Clip, PairPointmaps, Scale


@runtime_checkable
class PairEstimator(Protocol):
    """Pairs of frames to pointmaps; a pointmap network, or plain geometry.

    Attributes:
        window: how many earlier frames it may ask for.
        scale: of its points: METRIC or UNKNOWN_SCALE.
        min_confidence: raw confidence from which a pixel counts as valid.
    """

    window: int
    scale: Scale
    min_confidence: float

    def calibrate(self, clip: Clip) -> Camera | None:
        """Look at a clip before the work: the camera (of its pictures) that shall be used, None to learn it later.

        Raises:
            WrongInput: nothing can be said of such a clip; the sentence says why.
        """

    def prepare(self, picture: Float[Tensor, "3 h w"]) -> Any:
        """What is computed once per frame and kept while the frame is in the window."""

    def estimate(self, frame: int, prepared: Mapping[int, Any]) -> list[PairPointmaps]:
        """All pairs of a frame with earlier ones, at a working size with the whole picture on it.

        Args:
            frame: the newest.
            prepared: what `prepare` gave, by number, of this frame and of up to ``window`` earlier ones.
        """
