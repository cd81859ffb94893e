"""What training makes small: networks with their losses, so that one call gives both."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.losses import (
    defom_gamma,
    edge_aware_smoothness,
    inside_volume,
    masked_mean,
    sequence_loss,
    smooth_l1,
    volume_cross_entropy,
)
from depthweave.models.stereo.compact.network import FACTOR, CompactPredictions
from depthweave.training.distill import NO_DISTILLATION, Distillation
from depthweave.training.sample import TrainingView
from depthweave.training.tables import Bounds, Table


@dataclass(frozen=True)
class LossRecipe(Table):
    """What is made small. Terms with the weight 0 are left out."""

    hidden: Annotated[float | int, "Weight of pixels that the right view does not see, of 1.", Bounds(0, 1)] = 0.4
    max_disparity: Annotated[int, "Searched in training, px of the crop; larger truth takes no part.", Bounds(16)] = 128
    iterations: Annotated[int, "Steps of the network.", Bounds(1)] = 2
    volume: Annotated[float | int, "Of the compact matcher: cross-entropy on the scores.", Bounds(0)] = 0.5
    width: Annotated[float | int, "Decay of its target around the truth, px of 1/4.", Bounds(0.01)] = 0.5
    start: Annotated[
        float | int, "Of the compact matcher and IGEV-Stereo: the disparity drawn from the volume.", Bounds(0)
    ] = 0.5
    sequence: Annotated[float | int, "The disparities after every step, as px of the picture.", Bounds(0)] = 0.3
    gamma: Annotated[
        float | int,
        "Each step counts so much of the next; 0 takes DEFOM-Stereo's rule, 0.9^(15 / steps).",
        Bounds(0, 1),
    ] = 0.85
    beta: Annotated[float | int, "Smooth L1 is quadratic below that error in px; 0 = L1.", Bounds(0)] = 1.0
    largest: Annotated[float | int, "Larger errors pull no more, px.", Bounds(1)] = 40.0
    rating: Annotated[float | int, "Of the compact matcher: confidence and visibility.", Bounds(0)] = 0.1
    right_px: Annotated[float | int, "Confidence is the probability of a smaller error, px.", Bounds(0.1)] = 1.0
    smoothness: Annotated[float | int, "Second-order, edge-aware, of the last disparity.", Bounds(0)] = 0.0
    edges: Annotated[float | int, "Of networks with an edge branch: the edge maps.", Bounds(0)] = 1.0
    edge_px: Annotated[float | int, "A larger step of the true disparity is an edge, px.", Bounds(0.1)] = 1.0
    edge_smoothness: Annotated[
        float | int, "Of networks with an edge branch: first-order smoothness, less at predicted edges.", Bounds(0)
    ] = 0.1


@dataclass(frozen=True, eq=False)
class Outcome:
    """One batch after the network.

    Attributes:
        loss: what is made small.
        terms: its weighted parts, and the errors `epe` (px) and `bad-2.0` (percent) of visible pixels.
        disparity: the last answer, px.
        confidence: in [0, 1], where the network gives one.
    """

    loss: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]]
    disparity: Float[Tensor, "b h w"]
    confidence: Float[Tensor, "b h w"] | None


class Trainee(nn.Module):
    """A network with its loss as one module, which wrappers for many devices can take.

    Args:
        network: has `predictions(left, right, **settings)`.
        recipe: of the loss.
        distillation: what the teachers of views add to it.
    """

    parts: ClassVar[tuple[str, ...]]
    """Names of the terms of `compare`."""

    def __init__(self, network: nn.Module, recipe: LossRecipe, distillation: Distillation = NO_DISTILLATION) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.distillation = distillation

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all terms of an outcome, in their order."""
        smoothness = ("smoothness",) if self.recipe.smoothness else ()
        return (*self.parts, *smoothness, *self.distillation.parts, "epe", "bad-2.0")

    def forward(self, left: TrainingView, right_image: Float[Tensor, "b 3 h w"], step: int = 0) -> Outcome:
        """Run the network and compare.

        Args:
            left: pictures from 0 to 255 with truth. Their confidence weighs every term that compares with the truth.
            right_image: from 0 to 255.
            step: updates of the weights before this one.
        """
        recipe = self.recipe
        reached = left.known & (left.disparity >= 0) & (left.disparity < recipe.max_disparity - FACTOR)
        trusted = reached if left.confidence is None else reached * left.confidence
        weights = trusted * torch.where(left.visible, 1.0, recipe.hidden)
        terms, disparity, confidence = self.compare(left, right_image, trusted, weights)
        if recipe.smoothness:
            bent = edge_aware_smoothness(disparity, left.image / 255, order=2, beta=10.0)
            terms["smoothness"] = recipe.smoothness * bent.mean()
        terms |= self.distillation.terms(disparity, left, step)
        loss = torch.stack(list(terms.values())).sum()
        with torch.no_grad():
            error = (disparity - left.disparity).abs()
            seen = reached & left.visible
            terms["epe"] = masked_mean(error, seen)
            terms["bad-2.0"] = 100 * masked_mean((error > 2).float(), seen)
        return Outcome(loss, terms, disparity.detach(), confidence)

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """Weighted terms, the last disparity (b, h, w) in px, and the confidence if there is one.

        Args:
            left, right_image: as of `forward`.
            trusted: (b, h, w), what the truth counts: 0 where it is not known or not searched.
            weights: the same, less where the right view does not see the point.
        """
        raise NotImplementedError


class VolumeTrainee(Trainee):
    """The compact matcher: scores, the start that is drawn from them, every step, and the two ratings."""

    parts = ("volume", "start", "sequence", "rating")

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`."""
        recipe = self.recipe
        found: CompactPredictions = self.network.predictions(  # type: ignore[operator]
            left.image, right_image, iterations=recipe.iterations, max_disparity=recipe.max_disparity
        )
        truth = left.disparity
        coarse, coarse_weights = cell_middles(truth, FACTOR) / FACTOR, cell_middles(weights, FACTOR)
        inside = coarse_weights * inside_volume(coarse, found.scores.shape[-1])
        penalty = partial(smooth_l1, beta=recipe.beta, largest=recipe.largest)
        terms = {
            "volume": recipe.volume
            * masked_mean(volume_cross_entropy(found.scores, coarse, width=recipe.width), inside),
            "start": recipe.start * masked_mean(smooth_l1(found.start[:, 0], coarse, beta=0.25, largest=8.0), inside),
        }
        total = truth.new_zeros(())
        for age, step in enumerate(reversed(found.steps)):
            factor = truth.shape[-1] // step.shape[-1]
            error = penalty(factor * step[:, 0], cell_middles(truth, factor))
            total = total + recipe.gamma**age * masked_mean(error, cell_middles(weights, factor))
        terms["sequence"] = recipe.sequence * total
        disparity = found.steps[-1][:, 0]
        right = ((disparity.detach() - truth).abs() < recipe.right_px).float()
        certain = F.binary_cross_entropy_with_logits(found.ratings[:, 0], right, reduction="none")
        seen = F.binary_cross_entropy_with_logits(found.ratings[:, 1], left.visible.float(), reduction="none")
        told = trusted * left.has_visibility[:, None, None]
        terms["rating"] = recipe.rating * (masked_mean(certain, trusted) + masked_mean(seen, told))
        return terms, disparity, torch.sigmoid(found.ratings[:, 0].detach())


class SequenceTrainee(Trainee):
    """Recurrent matchers: the disparity after every iteration (Lipson et al., RAFT-Stereo, 3DV 2021, equation 7)."""

    parts: ClassVar[tuple[str, ...]] = ("sequence",)

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`."""
        answers = self._answers(left, right_image)
        return {"sequence": self._sequence(answers, left, weights)}, answers[-1], None

    def _answers(self, left: TrainingView, right_image: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.network.predictions(  # type: ignore[operator]
            left.image, right_image, iterations=self.recipe.iterations
        )
        return [answer[:, 0] for answer in found]

    def _sequence(self, answers: list[Tensor], left: TrainingView, weights: Tensor) -> Tensor:
        recipe = self.recipe
        gamma = recipe.gamma or defom_gamma(len(answers))
        penalty: Any = partial(smooth_l1, beta=recipe.beta, largest=recipe.largest) if recipe.beta else "l1"
        loss = sequence_loss(answers, left.disparity, gamma=gamma, penalty=penalty)
        return recipe.sequence * masked_mean(loss, weights)


class StartedSequenceTrainee(SequenceTrainee):
    """Recurrent matchers whose start, a volume's disparity, counts by itself (Xu et al., IGEV-Stereo, CVPR 2023)."""

    parts: ClassVar[tuple[str, ...]] = ("start", "sequence")

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`."""
        recipe = self.recipe
        start, *answers = self._answers(left, right_image)
        error = smooth_l1(start, left.disparity, beta=1.0, largest=recipe.largest)
        terms = {
            "start": recipe.start * masked_mean(error, weights),
            "sequence": self._sequence(answers, left, weights),
        }
        return terms, answers[-1], None


def cell_middles(values: Shaped[Tensor, "*b h w"], factor: int) -> Shaped[Tensor, "*b h2 w2"]:
    """The pixel in the middle of each cell."""
    return values[..., factor // 2 :: factor, factor // 2 :: factor]
