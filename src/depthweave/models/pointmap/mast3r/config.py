"""Configuration of MASt3R."""

from dataclasses import dataclass

from depthweave.errors import WrongInput
from depthweave.models.pointmap.config import PointmapConfig


@dataclass(frozen=True)
class Mast3rConfig(PointmapConfig):
    """Sizes as in `PointmapConfig`, and those of the descriptors; the defaults are the published checkpoint's.

    Attributes:
        descriptor_dim: numbers of a descriptor.
        two_confidences: descriptors have a confidence of their own; without, it is that of the points.
        least_descriptor_confidence: what that confidence cannot go below.

    Raises:
        WrongInput: sizes that no network can be built from.
    """

    descriptor_dim: int = 24
    two_confidences: bool = True
    least_descriptor_confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_blocks()
        if self.descriptor_dim < 1:
            raise WrongInput(f"descriptor_dim={self.descriptor_dim} leaves no descriptor; give for example 24.")

    @staticmethod
    def nano() -> "Mast3rConfig":
        """Small enough for a test; there are no weights for it."""
        return Mast3rConfig(48, 2, 2, 32, 10, 2, image_size=64, descriptor_dim=6)
