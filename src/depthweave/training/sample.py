"""Pairs on their way into training: as their source has them, and as a network takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Float32, UInt8, UInt16
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.worlds import Match, RenderedPair, View

STEPS_PER_PX = 128
"""Steps of disparities that are stored as whole numbers."""
UNKNOWN_STEPS = 65535
"""Stored in place of a disparity that is not known."""
_ABSENT = {"teacher": float("nan"), "confidence": 1.0}
"""What views that lack a map get in a batch where others have one."""


@dataclass(frozen=True, eq=False)
class RawView:
    """One picture as its source has it; nothing is read from the disk before `cut` and `truth` ask for it.

    Attributes:
        image: R, G, B.
        disparity: px towards the other view, finite everywhere, or steps of 1/128 px in which 65535 is not known; None
            = no truth.
        known: where the disparity is true; None = everywhere (steps say it themselves).
        match: codes of `worlds.Match` of the pixel in the other view; None = nobody says.
        teacher: inverse depth of a monocular model, of any scale and shift, NaN where not known; None = no teacher.
        confidence: of the truth, in [0, 1]; None = 1.
    """

    image: UInt8[Tensor, "h w 3"]
    disparity: Float32[Tensor, "h w"] | UInt16[Tensor, "h w"] | None = None
    known: Bool[Tensor, "h w"] | None = None
    match: UInt8[Tensor, "h w"] | None = None
    teacher: Float32[Tensor, "h w"] | None = None
    confidence: Float32[Tensor, "h w"] | None = None

    @classmethod
    def rendered(cls, view: View) -> "RawView":
        """A view of a rendered pair, its picture rounded to 8 bit."""
        image = (view.image * 255).round_().clamp_(0, 255).to(torch.uint8)
        return cls(image.permute(1, 2, 0), view.disparity, None, view.match)

    def cut(self, top: int, left: int, height: int, width: int) -> "RawView":
        """A window on the view, in px."""
        window = (slice(top, top + height), slice(left, left + width))
        maps = (self.disparity, self.known, self.match, self.teacher, self.confidence)
        return RawView(self.image[window], *(None if values is None else values[window] for values in maps))

    def truth(self) -> tuple[Float32[Tensor, "h w"], Bool[Tensor, "h w"], Bool[Tensor, "h w"]]:
        """Disparity in px, where it is known, and where the other view sees the point.

        Where nobody says what the other view sees, that is all that is known.
        """
        if self.disparity is None:
            nothing = torch.zeros(self.image.shape[:2], dtype=torch.bool, device=self.image.device)
            return nothing.float(), nothing, nothing
        if self.disparity.dtype == torch.uint16:
            steps = self.disparity.float()
            known, disparity = steps != UNKNOWN_STEPS, steps / STEPS_PER_PX
        else:
            known, disparity = torch.ones_like(self.disparity, dtype=torch.bool), self.disparity
        if self.known is not None:
            known = known & self.known
        visible = known if self.match is None else known & (self.match == Match.MATCHED)
        return disparity, known, visible


@dataclass(frozen=True, eq=False)
class RawPair:
    """Two views of one size.

    Attributes:
        left, right: the views; the right one may have no truth.
        sparse: the truth is single points (LiDAR), not surfaces.
    """

    left: RawView
    right: RawView
    sparse: bool = False

    @classmethod
    def rendered(cls, pair: RenderedPair) -> "RawPair":
        """A rendered pair with the truth of both views, on the device where it is."""
        return cls(RawView.rendered(pair.left), RawView.rendered(pair.right))


@dataclass(frozen=True, eq=False)
class TrainingView:
    """One eye of one or many training pairs, on any device.

    Attributes:
        image: R, G, B from 0 to 255.
        disparity: px towards the other view, positive; a finite filler where not known.
        known: the disparity is true there.
        visible: the other view sees the point, inside `known`; all of it where nobody says.
        has_visibility: whether somebody says.
        teacher: inverse depth of a monocular model, of any scale and shift in each view, NaN where not known; None = no
            view has a teacher.
        confidence: of the truth, in [0, 1]; None = 1.
    """

    image: Float[Tensor, "*b 3 h w"]
    disparity: Float[Tensor, "*b h w"]
    known: Bool[Tensor, "*b h w"]
    visible: Bool[Tensor, "*b h w"]
    has_visibility: Bool[Tensor, "*b"]
    teacher: Float[Tensor, "*b h w"] | None = None
    confidence: Float[Tensor, "*b h w"] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def to(self, device: torch.device | str) -> "TrainingView":
        """The same on another device."""
        return TrainingView(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def slice(self, first: int, end: int) -> "TrainingView":
        """Some of many views."""
        return TrainingView(**{name: tensor[first:end] for name, tensor in self.tensors().items()})

    def flipped(self, axis: int) -> "TrainingView":
        """Mirrored: axis -1 swaps left and right, axis -2 top and bottom. Its disparity keeps its sign."""
        return replace(
            self,
            image=self.image.flip(axis),
            disparity=self.disparity.flip(axis),
            known=self.known.flip(axis),
            visible=self.visible.flip(axis),
            teacher=None if self.teacher is None else self.teacher.flip(axis),
            confidence=None if self.confidence is None else self.confidence.flip(axis),
        )

    @classmethod
    def stack(cls, views: Sequence["TrainingView"]) -> "TrainingView":
        """Views of one size with a new leading dimension. Beside views with a teacher others get one of NaN."""
        found = [view.tensors() for view in views]
        names = [field.name for field in fields(cls) if any(field.name in tensors for tensors in found)]
        return cls(
            **{
                name: torch.stack(
                    [
                        tensors[name] if name in tensors else torch.full_like(tensors["disparity"], _ABSENT[name])
                        for tensors in found
                    ]
                )
                for name in names
            }
        )


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """One or many training pairs. Where a source has no truth of the right view, nothing of it is known.

    Attributes:
        left, right: the views, of one size.
    """

    left: TrainingView
    right: TrainingView

    @property
    def right_image(self) -> Float[Tensor, "*b 3 h w"]:
        """R, G, B from 0 to 255."""
        return self.right.image

    @property
    def has_visibility(self) -> Bool[Tensor, "*b"]:
        """Whether `left.visible` is truth, and not all that is known."""
        return self.left.has_visibility

    @property
    def inputs(self) -> tuple[TrainingView, Float[Tensor, "*b 3 h w"]]:
        """What a trainee takes."""
        return self.left, self.right_image

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name, such as `left.image`."""
        views = {"left": self.left, "right": self.right}
        return {f"{side}.{name}": tensor for side, view in views.items() for name, tensor in view.tensors().items()}

    def shown(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """For a sheet: left picture, its disparity in px, where it is known, and the teacher."""
        left = self.left
        teacher = None if left.teacher is None else left.teacher[number]
        return left.image[number], left.disparity[number], left.known[number], teacher

    def __len__(self) -> int:
        """How many pairs; of one pair without leading dimension, 1."""
        return self.left.has_visibility.numel()

    def mirrored(self) -> "TrainingPair":
        """The pair in a mirror: left and right change places, and both are flipped, so that disparities stay positive.

        The truth is that of the right view; where it has none, nothing is known. So is the teacher.
        """
        return TrainingPair(self.right.flipped(-1), self.left.flipped(-1))

    def to(self, device: torch.device | str) -> "TrainingPair":
        """The same on another device."""
        return TrainingPair(self.left.to(device), self.right.to(device))

    def split(self, parts: int) -> list["TrainingPair"]:
        """As many batches of equal size, in the same order.

        Raises:
            WrongInput: the pairs cannot be shared evenly.
        """
        if len(self) % parts:
            raise WrongInput(f"{len(self)} pairs cannot be taken in {parts} equal parts.")
        size = len(self) // parts
        return [
            TrainingPair(self.left.slice(first, first + size), self.right.slice(first, first + size))
            for first in range(0, len(self), size)
        ]

    @classmethod
    def stack(cls, pairs: Sequence["TrainingPair"]) -> "TrainingPair":
        """Pairs of one size with a new leading dimension.

        Raises:
            WrongInput: no pairs.
        """
        if not pairs:
            raise WrongInput("a batch needs at least one pair.")
        left, right = ([getattr(pair, side) for pair in pairs] for side in ("left", "right"))
        return cls(TrainingView.stack(left), TrainingView.stack(right))
