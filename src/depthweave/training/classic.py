"""How the classic matchers are trained: several answers of one network, each compared with the truth at its size."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from depthweave.losses import balanced_cross_entropy, edge_aware_smoothness, masked_mean, near_edges, smooth_l1
from depthweave.models.stereo.dispnet.network import DispnetPredictions
from depthweave.training.distill import NO_DISTILLATION, Distillation
from depthweave.training.objective import LossRecipe, Trainee
from depthweave.training.sample import TrainingView

EDGE_BETA = 10.0
"""How fast predicted edges, from 0 to 1, lower the cost of a step."""
HOURGLASS_WEIGHTS = (0.5, 0.7, 1.0)
"""Of PSMNet's three answers."""
STAGE_WEIGHTS = (0.25, 0.5, 1.0, 1.0)
"""Of AnyNet's four."""


class ScalesTrainee(Trainee):
    """DispNet: smooth L1 on the disparity at every size, the finest one counts most; edges where there is a branch.

    Each size counts ``gamma`` of the next finer one (Mayer et al., CVPR 2016, move the weights from coarse to fine
    while training; a run of minutes has no time for that). The truth of a coarse pixel is that in its middle, so that
    surfaces are not mixed. With an edge branch there are, in addition,

    - ``edges``: class-balanced cross-entropy of all edge maps (Xie and Tu, ICCV 2015) with the steps of the true
      disparity by more than ``edge_px``;
    - ``bent``: first-order smoothness of the disparity that gives way at the predicted edges (Song et al., EdgeStereo,
      IJCV 2020, equation of L_sm). The edges learn nothing from it, or they would be everywhere.
    """

    parts: ClassVar[tuple[str, ...]] = ("sequence",)

    def __init__(self, network: nn.Module, recipe: LossRecipe, distillation: Distillation = NO_DISTILLATION) -> None:
        super().__init__(network, recipe, distillation)
        self.has_edges = bool(getattr(getattr(network, "config", None), "edges", False))

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Trainee.columns`."""
        first, *rest = super().columns
        return (first, *(("edges", "bent") if self.has_edges else ()), *rest)

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`."""
        recipe = self.recipe
        found: DispnetPredictions = self.network.predictions(left.image, right_image)  # type: ignore[operator]
        penalty = partial(smooth_l1, beta=recipe.beta, largest=recipe.largest)
        total = left.disparity.new_zeros(())
        for age, step in enumerate(reversed(found.steps)):
            factor = left.disparity.shape[-1] // step.shape[-1]
            error = penalty(step[:, 0], _middle(left.disparity, factor))
            total = total + recipe.gamma**age * masked_mean(error, _middle(weights, factor))
        terms = {"sequence": recipe.sequence * total}
        disparity = found.disparity[:, 0]
        if self.has_edges:
            # The whole truth counts, also what is too near to be searched.
            truth = near_edges(left.disparity, left.known, recipe.edge_px, 0)
            costs = [balanced_cross_entropy(each[:, 0], truth, left.known) for each in found.edges]
            terms["edges"] = recipe.edges * masked_mean(torch.stack(costs).sum(0), left.known)
            guide = torch.sigmoid(found.edges[-1].detach())
            bent = edge_aware_smoothness(disparity, guide, order=1, beta=EDGE_BETA)
            terms["bent"] = recipe.edge_smoothness * bent.mean()
        return terms, disparity, None


class HeadsTrainee(Trainee):
    """Networks with several answers at the picture's size: smooth L1 on each, with weights of their own."""

    parts: ClassVar[tuple[str, ...]] = ("sequence",)

    def answers(self, left: Tensor, right: Tensor) -> list[tuple[float, Tensor]]:
        """Weights and disparities (b, h, w) in px; the last one is the result."""
        raise NotImplementedError

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`."""
        recipe = self.recipe
        answers = self.answers(left.image, right_image)
        total = left.disparity.new_zeros(())
        for weight, answer in answers:
            error = smooth_l1(answer, left.disparity, beta=recipe.beta, largest=recipe.largest)
            total = total + weight * masked_mean(error, weights)
        return {"sequence": recipe.sequence * total}, answers[-1][1], None

    def _found(self, left: Tensor, right: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.network.predictions(  # type: ignore[operator]
            left, right, max_disparity=self.recipe.max_disparity
        )
        return [answer[:, 0] for answer in found]


class HourglassTrainee(HeadsTrainee):
    """PSMNet: the disparity after every hourglass, searched up to the recipe's ``max_disparity``.

    Source: Chang and Chen, CVPR 2018, equations 3 and 4, and section 4.1 for the weights.
    """

    def answers(self, left: Tensor, right: Tensor) -> list[tuple[float, Tensor]]:
        """See `HeadsTrainee.answers`; the basic network has one answer, with the weight 1."""
        found = self._found(left, right)
        return list(zip(HOURGLASS_WEIGHTS[-len(found) :], found, strict=True))


class StagesTrainee(HeadsTrainee):
    """AnyNet: the disparity after every stage, searched up to the recipe's ``max_disparity``.

    Source: Wang et al., ICRA 2019; the weights are those of the authors' training code.
    """

    def answers(self, left: Tensor, right: Tensor) -> list[tuple[float, Tensor]]:
        """See `HeadsTrainee.answers`; a network without the refinement has the first three."""
        found = self._found(left, right)
        return list(zip(STAGE_WEIGHTS[: len(found)], found, strict=True))


def _middle(values: Tensor, factor: int) -> Tensor:
    """The pixel in the middle of each cell (b, h / factor, w / factor)."""
    return values[:, factor // 2 :: factor, factor // 2 :: factor]
