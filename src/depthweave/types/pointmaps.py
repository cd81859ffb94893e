"""What two frames say about each other: a point for every pixel of both, in one camera's axes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput


@dataclass(frozen=True, eq=False)
class PairPointmaps:
    """Pointmaps of a directed pair of frames, both in the first frame's camera and in one unit of this pair's own.

    Attributes:
        first, second: numbers of the frames, from 0.
        points_first: (h, w, 3) point of every pixel of the first frame.
        points_second: (h, w, 3) point of every pixel of the second frame, in the first frame's camera axes.
        confidence_first, confidence_second: (h, w), not negative; 0 = not usable (whatever the point says), networks
            give more than 1.
        first_from_second: (4, 4) rigid motion in this pair's unit, where the estimator knows it; None where only the
            points tell.

    Source: Wang et al., DUSt3R: Geometric 3D Vision Made Easy, CVPR 2024, section 3.1.
    """

    first: int
    second: int
    points_first: Float[Tensor, "h w 3"]
    points_second: Float[Tensor, "h w 3"]
    confidence_first: Float[Tensor, "h w"]
    confidence_second: Float[Tensor, "h w"]
    first_from_second: Float[Tensor, "4 4"] | None = None

    def __post_init__(self) -> None:
        shapes = {
            (*points.shape[:-1], *confidence.shape)
            for points, confidence in (
                (self.points_first, self.confidence_first),
                (self.points_second, self.confidence_second),
            )
        }
        height, width = self.confidence_first.shape
        if shapes != {(height, width, height, width)}:
            raise WrongInput(f"pointmaps of frames {self.first} and {self.second} differ in size; bring both to one.")

    def flipped(self) -> "PairPointmaps":
        """The same pair seen from the second frame.

        Raises:
            WrongInput: the motion between the two is not known.
        """
        if self.first_from_second is None:
            raise WrongInput(f"the motion between frames {self.first} and {self.second} is not known.")
        second_from_first = geometry.invert_pose(self.first_from_second)

        def moved(points: Tensor) -> Tensor:
            return geometry.transform_points(second_from_first, points.flatten(0, 1)).reshape(points.shape)

        return PairPointmaps(
            first=self.second,
            second=self.first,
            points_first=moved(self.points_second),
            points_second=moved(self.points_first),
            confidence_first=self.confidence_second,
            confidence_second=self.confidence_first,
            first_from_second=second_from_first,
        )

    def usable(self) -> tuple[Tensor, Tensor]:
        """Pixels (h, w) of the first and of the second frame with a finite point and a positive finite confidence."""

        def mask(points: Tensor, confidence: Tensor) -> Tensor:
            return torch.isfinite(points).all(-1) & torch.isfinite(confidence) & (confidence > 0)

        return mask(self.points_first, self.confidence_first), mask(self.points_second, self.confidence_second)
