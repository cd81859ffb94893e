"""Learning optical flow from clips whose true motion is known."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.losses import masked_mean, smooth_l1
from depthweave.models.flow.compact.network import FACTOR, FlowPredictions
from depthweave.pipelines.flow import searched_flow
from depthweave.training.clips import TrainingClip
from depthweave.training.objective import Outcome, Trainee, cell_middles

WITHOUT = 8
"""In one of so many steps the network is given no flow."""


class FlowTrainee(Trainee):
    """The compact flow network: scores of all pairs, every step, and the rating, against the target's true motion.

    Sources: Teed and Deng, RAFT, ECCV 2020, equation 7 (steps that count more the later they come); the cross-entropy
    on the scores is that of `volume_cross_entropy` in two dimensions.
    """

    parts: ClassVar[tuple[str, ...]] = ("volume", "sequence", "rating")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all terms of an outcome, in their order."""
        return (*self.parts, "epe", "fl-all")

    def forward(self, clip: TrainingClip, step: int = 0) -> Outcome:  # type: ignore[override]
        """Run the network on the target and the frame after it, and compare.

        Args:
            clip: a batch with true flow.
            step: updates of the weights before this one; makes no difference here.

        Raises:
            WrongInput: clips without a frame after the target.
        """
        recipe, middle = self.recipe, clip.middle
        if clip.seen.shape[-4] <= middle + 1:
            raise WrongInput("flow is learnt from a frame and the next one; set frames of the source to 3.")
        first, second = clip.seen[:, middle], clip.seen[:, middle + 1]
        # Part of the time the network has to do without, so that its own flow stays of use.
        given = None if step % WITHOUT == WITHOUT - 1 else searched_flow(first, second)
        found: FlowPredictions = self.network.predictions(  # type: ignore[operator]
            first, second, given=given, iterations=recipe.iterations
        )
        known = clip.flow.isfinite().all(1)
        truth = torch.where(known[:, None], clip.flow, 0.0)
        total = truth.new_zeros(())
        for age, answer in enumerate(reversed(found.steps)):
            factor = truth.shape[-1] // answer.shape[-1]
            error = smooth_l1(factor * answer, cell_middles(truth, factor), beta=recipe.beta, largest=recipe.largest)
            total = total + recipe.gamma**age * masked_mean(error.sum(1), cell_middles(known[:, None], factor)[:, 0])
        distance = torch.linalg.vector_norm(found.steps[-1].detach() - truth, dim=1)
        right = (distance < recipe.right_px).float()
        certain = F.binary_cross_entropy_with_logits(found.rating[:, 0], right, reduction="none")
        cells, known_cells = cell_middles(truth, FACTOR) / FACTOR, cell_middles(known[:, None], FACTOR)[:, 0]
        terms: Mapping[str, Tensor] = {
            "volume": recipe.volume * masked_mean(*cell_cross_entropy(found.scores, cells, known_cells)),
            "sequence": recipe.sequence * total,
            "rating": recipe.rating * masked_mean(certain, known),
        }
        loss = torch.stack(list(terms.values())).sum()
        with torch.no_grad():
            length = torch.linalg.vector_norm(truth, dim=1)
            outlier = (distance > 3) & (distance > 0.05 * length)
            measured = {"epe": masked_mean(distance, known), "fl-all": 100 * masked_mean(outlier.float(), known)}
        shown = torch.linalg.vector_norm(found.steps[-1].detach(), dim=1)
        return Outcome(loss, {**terms, **measured}, shown, torch.sigmoid(found.rating[:, 0].detach()))


def cell_cross_entropy(
    scores: Float[Tensor, "b h w h w"], flow: Float[Tensor, "b 2 h w"], known: Tensor
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Cross-entropy of the four cells around the truth, with bilinear weights, and where it is to be counted.

    Args:
        scores: of all cells of the second picture, before their softmax.
        flow: truth, in cells.
        known: (b, h, w) bool; cells whose truth leads out of the picture are left out, too.
    """
    h, w = scores.shape[1:3]
    rows, columns = torch.meshgrid(
        torch.arange(h, device=flow.device), torch.arange(w, device=flow.device), indexing="ij"
    )
    x, y = flow[:, 0] + columns, flow[:, 1] + rows
    inside = known & (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    left, top = x.floor().clamp(max=max(w - 2, 0)), y.floor().clamp(max=max(h - 2, 0))
    flat = scores.flatten(3)
    loss = flat.logsumexp(-1)
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - (y - top - down).abs()) * (1 - (x - left - right).abs())
            cell = (top + down).long().clamp(max=h - 1) * w + (left + right).long().clamp(max=w - 1)
            loss = loss - weight * flat.gather(-1, cell[..., None])[..., 0]
    return loss, inside.float()
