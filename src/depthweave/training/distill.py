"""Mono2Stereo's second stage: sparse truth says how far, a monocular teacher says where surfaces bend and end.

The formulas are our reconstruction, see `depthweave.losses.distill`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    crop_alignment,
    draw_crops,
    edge_matching,
    gradient_distribution_kl,
    histogram_kl,
    masked_mean,
    metric_teacher,
)
from depthweave.training.sample import TrainingView
from depthweave.training.tables import Bounds, Table

Variant = Literal["crops", "histogram", "gradient", "metric"]


@dataclass(frozen=True)
class DistillRecipe(Table):
    """What teachers add to the loss. With both weights 0 they add nothing."""

    distribution: Annotated[
        float | int, "Weight of the alignment of the prediction's distribution; 0.1 is usual.", Bounds(0)
    ] = 0.0
    edge: Annotated[float | int, "Weight of the teacher's edges; 0.1 is usual.", Bounds(0)] = 0.0
    ramp: Annotated[float | int, "Share of the steps in which both weights rise along a line.", Bounds(0, 1)] = 0.1
    variant: Annotated[
        Variant | tuple[Variant, ...],
        "Of the alignment, one or a list that is added up: crops (normalised values, crop by crop), histogram (of the "
        "same), gradient (where edges are, patch by patch), metric (the teacher in px, where there is no truth).",
    ] = "crops"
    crops: Annotated[int, "Of crops and histogram: windows per step.", Bounds(1)] = 32
    side: Annotated[
        tuple[float | int, float | int], "Least and largest side of these windows, shares of the crop.", Bounds(0.01, 1)
    ] = (0.125, 0.5)
    trim: Annotated[float | int, "Of crops: share of the largest errors that is left out.", Bounds(0, 0.99)] = 0.2
    statistic: Annotated[Literal["mean", "mad"], "Spread is the mean or the median of the distances to the median."] = (
        "mean"
    )
    least_px: Annotated[float | int, "Predictions with a smaller spread are not enlarged to it.", Bounds(0)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.variants:
            raise WrongInput(f"variant is an empty list; it holds one or more of {', '.join(get_args(Variant))}.")
        if self.side[0] > self.side[1]:
            raise WrongInput(f"side is [{self.side[0]}, {self.side[1]}]; it is [least, largest].")

    @property
    def variants(self) -> tuple[str, ...]:
        """All that are added up."""
        return (self.variant,) if isinstance(self.variant, str) else self.variant

    @property
    def is_on(self) -> bool:
        """Whether anything is added."""
        return self.distribution > 0 or self.edge > 0


class Distillation:
    """The terms that teachers add to a training loss.

    Args:
        recipe: which and how much.
        steps: of the run, for the ramp.
        seed: of the run, for the windows.
    """

    def __init__(self, recipe: DistillRecipe, *, steps: int = 1, seed: int = 0) -> None:
        self.recipe = recipe
        self.steps = steps
        self.seed = seed

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the terms."""
        weights = {"distribution": self.recipe.distribution, "edge": self.recipe.edge}
        return tuple(name for name, weight in weights.items() if weight)

    def share(self, step: int) -> float:
        """How much of the weights counts at a step, min(1, (step + 1) / (ramp steps))."""
        ramp = self.recipe.ramp * self.steps
        return min(1.0, (step + 1) / ramp) if ramp > 0 else 1.0

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def terms(self, disparity: Float[Tensor, "b h w"], left: TrainingView, step: int) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of a batch, by the names of `parts`; 0 where no view has a teacher.

        Args:
            disparity: the network's last answer, px.
            left: its views, some with a teacher.
            step: updates of the weights before this one; decides on the ramp and, with the seed, on the windows.
        """
        recipe = self.recipe
        found: dict[str, Tensor] = {}
        if not recipe.is_on:
            return found
        teacher = left.teacher
        if teacher is None:
            return dict.fromkeys(self.parts, disparity.new_zeros(()))
        mask = teacher.isfinite()
        common: dict[str, Any] = {"statistic": recipe.statistic, "least_spread": recipe.least_px}
        if recipe.distribution:
            rng = np.random.default_rng((self.seed, step, 1))
            crops = draw_crops(*mask.shape[-2:], count=recipe.crops, side=recipe.side, rng=rng)
            named: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
                "crops": partial(crop_alignment, crops=crops, trim=recipe.trim, **common),
                "histogram": partial(histogram_kl, crops=crops, **common),
                "gradient": partial(gradient_distribution_kl, **common),
                "metric": partial(metric_teacher, truth=left.disparity, known=left.known),
            }
            means = [masked_mean(*named[name](disparity, teacher, mask)) for name in recipe.variants]
            found["distribution"] = recipe.distribution * self.share(step) * torch.stack(means).sum()
        if recipe.edge:
            mean = masked_mean(*edge_matching(disparity, teacher, mask, **common))
            found["edge"] = recipe.edge * self.share(step) * mean
        return found


NO_DISTILLATION = Distillation(DistillRecipe())
"""Adds nothing."""
