"""Learning from pairs without truth: what one view shows must be found in the other one.

The pair and its mirror image go through the network together, so that both views have a disparity. The right view, read
at the left disparity, must look like the left one (photometric, census), and both disparities must agree (consistency).
Where they do not, a pixel is taken for hidden and left out. The network that training started from may hold fine-tuning
near what is known already (proxy), and what it says of its own reliability is kept (rating).
"""

from dataclasses import dataclass, replace
from inspect import signature
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from depthweave.errors import WrongInput
from depthweave.geometry import warp_by_disparity
from depthweave.losses import (
    census_difference,
    defom_gamma,
    edge_aware_smoothness,
    forward_backward_mask,
    inside_volume,
    left_right_consistency,
    masked_mean,
    smooth_l1,
    ssim_l1,
    volume_cross_entropy,
)
from depthweave.models.stereo.compact.network import CompactPredictions
from depthweave.training.objective import Outcome, Trainee, cell_middles
from depthweave.training.sample import TrainingView
from depthweave.training.tables import Bounds, Table

_TERMS = ("photometric", "census", "smoothness", "consistency", "volume", "proxy", "rating")
_RIGHT_PX = 1.0
"""Both directions agree below that difference."""
_COARSEST = 16
"""Answers at a smaller part of the size take no part: their pictures have no texture left."""


@dataclass(frozen=True)
class SelfSupervisionRecipe(Table):
    """Learning without truth. With every weight 0, the default, a run learns from truth."""

    photometric: Annotated[float | int, "Weight of SSIM and L1 between a view and the other, warped.", Bounds(0)] = 0.0
    alpha: Annotated[float | int, "Share of SSIM in it; the rest is L1.", Bounds(0, 1)] = 0.85
    census: Annotated[float | int, "Weight of the soft ternary census, which bears other exposures.", Bounds(0)] = 0.0
    window: Annotated[int, "Side of the census window, px, odd.", Bounds(3)] = 7
    volume: Annotated[
        float | int, "Of networks with scores: the photometric cost that their distribution expects.", Bounds(0)
    ] = 0.0
    smoothness: Annotated[float | int, "Edge-aware, of the disparity in px.", Bounds(0)] = 0.0
    order: Annotated[Literal[1, 2], "Of its differences; slanted planes cost nothing with 2."] = 2
    edge: Annotated[float | int, "How fast edges of the picture, in [0, 1], lower it.", Bounds(0)] = 10.0
    consistency: Annotated[float | int, "Weight of |left - right| disparity, px.", Bounds(0)] = 0.0
    proxy: Annotated[
        float | int,
        "Weight of the starting network's disparities: as far as it is confident where its two directions agree, and "
        "loss.hidden elsewhere, where the pictures say nothing.",
        Bounds(0),
    ] = 0.0
    proxy_scale: Annotated[
        float | int,
        "The starting network sees the crop at that scale; above 1 it is finer.",
        Bounds(0.25, 4),
    ] = 1.0
    rating: Annotated[
        float | int,
        "Of networks that rate themselves: keep the starting network's ratings; without proxy, learn the agreement of "
        "both directions.",
        Bounds(0),
    ] = 0.0
    relative: Annotated[
        float | int, "A pixel counts as hidden where (d - d')^2 exceeds relative (d^2 + d'^2) + absolute.", Bounds(0)
    ] = 0.01
    absolute: Annotated[float | int, "See relative; px^2.", Bounds(0)] = 0.5
    believed: Annotated[
        float | int,
        "Where a smaller share of a view agrees, both directions are still raw and nothing is hidden.",
        Bounds(0, 1),
    ] = 0.5
    jitter: Annotated[
        float | int,
        "Gain and gamma of each view change by up to so much before the network sees it; the losses see the pictures "
        "as they are.",
        Bounds(0, 0.9),
    ] = 0.0
    frozen_norms: Annotated[bool, "Statistics of batch normalisation stay as they are at the start."] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window % 2 == 0:
            raise WrongInput(f"window is {self.window}; a census window has a middle, so its side is odd.")

    @property
    def is_on(self) -> bool:
        """Whether a run learns without truth."""
        return max(self.photometric, self.census, self.volume, self.proxy) > 0


class SelfSupervisedTrainee(Trainee):
    """Any stereo network with a loss that needs no truth. Truth, where a batch has it, is measured but not learnt.

    Photometric term and consistency: Godard et al., Monodepth, CVPR 2017. Census and hidden pixels: Meister et al.,
    UnFlow, AAAI 2018. Learning from disparities that are reliable: Tonioni et al., Unsupervised Adaptation for Deep
    Stereo, ICCV 2017; theirs are of a classical matcher, ours of the network that training started from.

    Args:
        trainee: of the network's family.
        recipe: which terms and how much.
        teacher: what training started from, for `proxy` and `rating`; is not trained.

    Raises:
        WrongInput: proxy without a teacher, or smoothness in two places.
    """

    def __init__(self, trainee: Trainee, recipe: SelfSupervisionRecipe, teacher: nn.Module | None = None) -> None:
        super().__init__(trainee.network, trainee.recipe, trainee.distillation)
        if recipe.proxy and teacher is None:
            raise WrongInput("[self_supervision] proxy is above 0 but nothing was started from; set model.start.")
        if recipe.smoothness and self.recipe.smoothness:
            raise WrongInput("[self_supervision] and [loss] both have a smoothness above 0; set loss.smoothness = 0.")
        self.self_supervision = recipe
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the terms of `compare`."""
        return tuple(name for name in _TERMS if getattr(self.self_supervision, name))

    def train(self, mode: bool = True) -> "SelfSupervisedTrainee":
        """The network alone is in training mode; see `SelfSupervisionRecipe.frozen_norms`."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        if self.self_supervision.frozen_norms:
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, left: TrainingView, right_image: Float[Tensor, "b 3 h w"], step: int = 0) -> Outcome:
        """See `Trainee.forward`; the errors of a batch without truth are NaN."""
        found = super().forward(left, right_image, step)
        if bool(left.known.any()):
            return found
        unknown = torch.full_like(found.loss.detach(), torch.nan)
        return replace(found, terms={**found.terms, "epe": unknown, "bad-2.0": unknown})

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`; the truth takes no part."""
        recipe, size = self.self_supervision, len(right_image)
        views = torch.cat([left.image, right_image.flip(-1)])
        others = torch.cat([right_image, left.image.flip(-1)])
        found = Answers.of(self._run(self.network, self._seen(views), self._seen(others)), views.shape[-1])
        with torch.no_grad():
            known = self._teach(views, others) if self.teacher is not None else None
            agreed, visible = self._agreement(found.disparity)
        answers = [each for each in zip(found.steps, found.factors, strict=True) if each[1] <= _COARSEST]
        gamma = self.recipe.gamma or defom_gamma(len(answers))
        shares = views.new_tensor([gamma**age for age in range(len(answers))]).flip(0)
        totals: dict[str, Tensor] = dict.fromkeys(self.parts, views.new_zeros(()))
        for share, (step, factor) in zip(shares / shares.sum(), answers, strict=True):
            pictures = _pooled(views / 255, factor), _pooled(others / 255, factor)
            for name, value in self._terms(step, factor, *pictures, visible, known).items():
                totals[name] = totals[name] + share * value
        if recipe.volume and found.scores is not None:
            totals["volume"] = recipe.volume * _expected_cost(found.scores, views / 255, others / 255, recipe.alpha)
        if recipe.proxy and found.scores is not None and known is not None:
            totals["proxy"] = totals["proxy"] + recipe.proxy * self._scored(found.scores, known)
        confidence = None
        if found.ratings is not None:
            confidence = torch.sigmoid(found.ratings[:size, 0].detach())
            if recipe.rating:
                told = None if known is None else known.ratings
                wanted = torch.stack([agreed, visible], 1).float() if told is None else told
                totals["rating"] = recipe.rating * F.binary_cross_entropy_with_logits(found.ratings, wanted)
        return totals, found.disparity[:size], confidence

    def _terms(
        self, step: Tensor, factor: int, view: Tensor, other: Tensor, visible: Tensor, known: "_Known | None"
    ) -> dict[str, Tensor]:
        """Weighted terms of one answer; of a smaller one with pictures of its size."""
        recipe = self.self_supervision
        seen = _pooled(visible[:, None].float(), factor)[:, 0]
        synthesised, inside = warp_by_disparity(other, step)
        seen = seen * inside
        terms = {}
        if recipe.photometric:
            error = ssim_l1(view, synthesised, alpha=recipe.alpha)
            terms["photometric"] = recipe.photometric * masked_mean(error, seen)
        if recipe.census:
            error = census_difference(view, synthesised, window=recipe.window)
            terms["census"] = recipe.census * masked_mean(error, seen)
        if recipe.smoothness:
            bent = edge_aware_smoothness(step, view, order=recipe.order, beta=recipe.edge)
            terms["smoothness"] = recipe.smoothness * bent.mean()
        if recipe.consistency:
            error, within = left_right_consistency(step, _of_other(step))
            terms["consistency"] = recipe.consistency * masked_mean(error, seen * within)
        if recipe.proxy and known is not None:
            error = smooth_l1(
                factor * step, cell_middles(known.disparity, factor), beta=1.0, largest=self.recipe.largest
            )
            terms["proxy"] = recipe.proxy * masked_mean(error, cell_middles(known.weights, factor))
        return terms

    def _scored(self, scores: Tensor, known: "_Known") -> Tensor:
        factor = known.disparity.shape[-1] // scores.shape[2]
        coarse = cell_middles(known.disparity, factor) / factor
        weights = cell_middles(known.weights, factor) * inside_volume(coarse, scores.shape[-1])
        return masked_mean(volume_cross_entropy(scores, coarse, width=self.recipe.width), weights)

    def _agreement(self, disparity: Float[Tensor, "b h w"]) -> tuple[Bool[Tensor, "b h w"], Bool[Tensor, "b h w"]]:
        """Where both directions say the same by a px, and what the other view sees."""
        recipe, other = self.self_supervision, _of_other(disparity)
        difference, inside = left_right_consistency(disparity, other)
        agreed = (difference < _RIGHT_PX) & inside
        zero = torch.zeros_like(disparity)
        forward, backward = torch.stack([-disparity, zero], 1), torch.stack([other, zero], 1)
        visible = forward_backward_mask(forward, backward, relative=recipe.relative, absolute=recipe.absolute)
        raw = visible.float().mean((-2, -1), keepdim=True) < recipe.believed
        return agreed, visible | raw

    def _teach(self, views: Tensor, others: Tensor) -> "_Known":
        """What the starting network says of the pictures as they are, where its two directions agree."""
        assert self.teacher is not None
        height, width = views.shape[-2:]
        multiple = getattr(self.teacher, "multiple", 1)
        scale = self.self_supervision.proxy_scale
        sides = [max(multiple, round(scale * side / multiple) * multiple) for side in (height, width)]
        resized = [views, others]
        if sides != [height, width]:
            resized = [F.interpolate(each, sides, mode="bilinear", antialias=scale < 1) for each in resized]
        found = Answers.of(self._run(self.teacher, *resized), sides[1])
        disparity, ratings = found.disparity[:, None], found.ratings
        if sides != [height, width]:
            disparity = F.interpolate(disparity, (height, width), mode="bilinear") * (width / sides[1])
            if ratings is not None:
                ratings = F.interpolate(ratings, (height, width), mode="bilinear")
        agreed, visible = self._agreement(disparity[:, 0])
        told = None if ratings is None else torch.sigmoid(ratings)
        trusted = torch.ones_like(disparity[:, 0]) if told is None else told[:, 0]
        # Nothing else says anything where directions disagree: there even a doubtful answer is worth keeping.
        return _Known(disparity[:, 0], torch.where(agreed & visible, trusted, float(self.recipe.hidden)), told)

    def _run(self, network: nn.Module, views: Tensor, others: Tensor) -> Any:
        """The network's predictions, with those settings of the recipe that it takes."""
        predictions: Any = network.predictions
        asked = {"iterations": self.recipe.iterations, "max_disparity": self.recipe.max_disparity}
        takes = signature(predictions).parameters
        return predictions(views, others, **{name: value for name, value in asked.items() if name in takes})

    def _seen(self, views: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The pictures with a gain and a gamma of their own."""
        jitter = self.self_supervision.jitter
        if not jitter:
            return views
        gain, power = (1 + jitter * (2 * torch.rand(2, len(views), 1, 1, 1, device=views.device) - 1)).unbind()
        return (255 * gain * (views / 255).clamp(1e-4, 1) ** power).clamp(0, 255)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network said of a batch, whatever its family.

    Attributes:
        steps: disparities (b, h / f, w / f), the last one in full, each in px of its own size.
        factors: f of each.
        scores, ratings: of networks that have some, see `CompactPredictions`.
    """

    steps: list[Tensor]
    factors: list[int]
    scores: Tensor | None
    ratings: Tensor | None

    @classmethod
    def of(cls, found: Any, width: int) -> "Answers":
        """From `predictions` of a network.

        Those of the compact matcher are told apart; all others are disparities (b, 1, h / f, w / f) in px of the
        picture: one, a sequence, or ``steps`` and perhaps a last ``disparity`` of something that has such fields.

        Args:
            found: what it returned.
            width: of the pictures, px.
        """
        if isinstance(found, CompactPredictions):
            steps = [step[:, 0] for step in (found.start, *found.steps)]
            return cls(steps, [width // step.shape[-1] for step in steps], found.scores, found.ratings)
        steps = getattr(found, "steps", [found] if isinstance(found, Tensor) else found)
        steps = [*steps, *([found.disparity] if hasattr(found, "disparity") else [])]
        factors = [width // step.shape[-1] for step in steps]
        return cls([step[:, 0] / factor for step, factor in zip(steps, factors, strict=True)], factors, None, None)

    @property
    def disparity(self) -> Float[Tensor, "b h w"]:
        """The result, px."""
        return self.steps[-1]


@dataclass(frozen=True, eq=False)
class _Known:
    """What a teacher says: px, how much it counts, and the probabilities of its ratings."""

    disparity: Float[Tensor, "b h w"]
    weights: Float[Tensor, "b h w"]
    ratings: Float[Tensor, "b 2 h w"] | None


def _of_other(disparity: Float[Tensor, "b2 h w"]) -> Float[Tensor, "b2 h w"]:
    """The other view's disparity, for a batch of pairs followed by their mirror images."""
    first, second = disparity.chunk(2)
    return torch.cat([second.flip(-1), first.flip(-1)])


def _pooled(pictures: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c h2 w2"]:
    return pictures if factor == 1 else F.avg_pool2d(pictures, factor)


def _expected_cost(
    scores: Float[Tensor, "b h w d"],
    view: Float[Tensor, "b 3 h2 w2"],
    other: Float[Tensor, "b 3 h2 w2"],
    alpha: float | int,
) -> Float[Tensor, ""]:
    """Mean of sum_d softmax(scores)_d C_d, C_d = photometric error at disparity d, at the size of the scores.

    Where the other view ends, C_d is the mean of what is in view, so that nothing is preferred there. Unlike a warped
    picture it also compares disparities far from the answer, which a network needs that knows nothing yet.
    """
    factor, levels, width = view.shape[-1] // scores.shape[2], scores.shape[-1], scores.shape[2]
    view, other = _pooled(view, factor), _pooled(other, factor)
    costs = []
    for level in range(min(levels, width)):
        shifted = F.pad(other, (level, 0))[..., :width]
        costs.append(ssim_l1(view, shifted, alpha=alpha))
    cost = torch.stack(costs, -1)
    levels_px = torch.arange(cost.shape[-1], device=cost.device)
    inside = torch.arange(width, device=cost.device)[:, None] >= levels_px
    mean = (cost * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)
    cost = torch.where(inside, cost, mean)
    share = scores[..., : cost.shape[-1]].float().softmax(-1)
    return (share * cost).sum(-1).mean()
