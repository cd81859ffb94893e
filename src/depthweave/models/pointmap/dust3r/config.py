"""Configuration of DUSt3R."""

from dataclasses import dataclass
from typing import Literal

from depthweave.models.pointmap.config import PointmapConfig

Head = Literal["linear", "dpt"]


@dataclass(frozen=True)
class Dust3rConfig(PointmapConfig):
    """Sizes as in `PointmapConfig`, and the head.

    Attributes:
        head: ``dpt`` (sharp, needs at least 10 decoder blocks) or ``linear``.

    Raises:
        WrongInput: sizes that no network can be built from.
    """

    head: Head = "dpt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == "dpt":
            self.require_blocks()

    @staticmethod
    def nano(head: Head = "linear") -> "Dust3rConfig":
        """Small enough for a test; there are no weights for it."""
        depth = 2 if head == "linear" else 10
        return Dust3rConfig(48, 2, 2, 32, depth, 2, image_size=64, head=head)
