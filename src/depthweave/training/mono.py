"""Depth of single pictures learnt from stereo pairs and from clips, without truth.

Four ways: the right view of a pair (Monodepth), the frames before and after with a network for the camera's motion
(SfMLearner, Monodepth2), and that with networks for optical flow and for what moves (competitive collaboration).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.geometry import invert_pose, rigid_flow, warp_by_depth, warp_by_disparity, warp_by_flow
from depthweave.losses import (
    auto_mask,
    collaboration_consensus,
    collaboration_moving,
    collaboration_prior,
    collaboration_static,
    edge_aware_smoothness,
    explained,
    left_right_consistency,
    masked_mean,
    minimum_reprojection,
    ssim_l1,
)
from depthweave.metrics import abs_rel
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.training.clips import SHOWN_BASELINE_M, TrainingClip
from depthweave.training.objective import LossRecipe, Outcome, Trainee
from depthweave.training.tables import Bounds, Table

Method = Literal["", "monodepth", "sfmlearner", "monodepth2", "collaboration"]
_FARTHEST_M = 80.0
"""Truth beyond is not measured, as the benchmarks of driving have it."""
_ANYWHERE = 0.1
"""Share of the flow's error that counts where the mask gives the pixel to depth and pose."""


@dataclass(frozen=True)
class MonoRecipe(Table):
    """How a network for single pictures learns from pairs and clips. An empty method: it does not."""

    method: Annotated[
        Method,
        "monodepth: the right view of stereo clips; sfmlearner, monodepth2: frames before and after; collaboration: "
        "the same with flow and what moves.",
    ] = ""
    sizes: Annotated[
        int, "Answers compared: of the whole size, and of 1/2, 1/4, 1/8 of it; fewer cost less time.", Bounds(1, 4)
    ] = 4
    pose_first: Annotated[
        int,
        "Of clips: steps in which depth stays as it starts, until the camera's motion is roughly known. Without, depth "
        "may run to the end of its range first and stay there.",
        Bounds(0),
    ] = 0
    alpha: Annotated[float | int, "Share of SSIM in the photometric error; the rest is L1.", Bounds(0, 1)] = 0.85
    smoothness: Annotated[
        float | int, "Edge-aware, of inverse depth over its mean; half as much at each smaller size.", Bounds(0)
    ] = 0.001
    consistency: Annotated[float | int, "Of monodepth: left against right disparity, widths.", Bounds(0)] = 1.0
    explain: Annotated[float | int, "Of sfmlearner: price of explaining nothing.", Bounds(1e-6)] = 0.2
    prior: Annotated[float | int, "Of collaboration: price of calling a pixel moving.", Bounds(0)] = 0.005
    consensus: Annotated[float | int, "Of collaboration: the mask follows who explains better.", Bounds(0)] = 0.3
    agree_px: Annotated[
        float | int, "Of collaboration: where flow and camera motion differ by less, the pixel is still.", Bounds(0)
    ] = 1.0

    @property
    def is_on(self) -> bool:
        """Whether anything is learnt this way."""
        return self.method != ""


class MonoTrainee(Trainee):
    """A `mono-unet` with a loss that needs no truth; where a batch has truth, it is measured but not learnt.

    Args:
        network: with the partners that the method needs.
        recipe: method and weights.

    Raises:
        WrongInput: the network lacks a partner.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of the network's configuration that must be on."""

    def __init__(self, network: PretrainedNetwork, recipe: MonoRecipe) -> None:
        super().__init__(network, LossRecipe())
        self.mono = recipe
        for name in self.needs:
            if not getattr(network.config, name, False):
                raise WrongInput(f"method {recipe.method} needs [model.config] {name} = true.")

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Trainee.columns`."""
        return (*self.parts, "abs-rel")

    def forward(self, clip: TrainingClip, step: int = 0) -> Outcome:  # type: ignore[override]
        """Run the networks, make the target of the other views, and compare.

        Args:
            clip: a batch.
            step: updates of the weights before this one.
        """
        network: Any = self.network
        answers: list[Tensor] = network.predictions(clip.seen[:, clip.middle])[: self.mono.sizes]
        if self.mono.method != "monodepth" and step < self.mono.pose_first:
            answers = [answer.detach() for answer in answers]
        terms = self.terms(clip, answers, step)
        loss = torch.stack(list(terms.values())).sum()
        with torch.no_grad():
            inverse = answers[0][:, 0].detach()
            factor, terms["abs-rel"] = _measured(1 / inverse, clip.depth)
            shown = SHOWN_BASELINE_M * clip.intrinsics[:, 0, 0, None, None] * inverse / factor[:, None, None]
        return Outcome(loss, terms, shown, None)

    def terms(self, clip: TrainingClip, answers: list[Tensor], step: int) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by the names of `parts`.

        Args:
            clip: a batch.
            answers: inverse depth (b, views, h / s, w / s) for s = 1, 2, 4, 8, the first of them.
            step: updates of the weights before this one.
        """
        raise NotImplementedError

    def _smoothness(self, answers: list[Tensor], target: Tensor, order: int = 1) -> Tensor:
        """Of all sizes; target in [0, 1]."""
        total = target.new_zeros(())
        for number, answer in enumerate(answers):
            guide = F.interpolate(target, answer.shape[-2:], mode="area")
            for view in answer.unbind(1):
                bent = edge_aware_smoothness(view, guide, order=order, normalise=True)
                total = total + bent.mean() / 2**number
        return self.mono.smoothness * total

    def _poses(self, clip: TrainingClip) -> list[tuple[int, Tensor]]:
        """Places of the other frames, and source_from_target of each; the network sees pairs in the order of time."""
        network: Any = self.network
        middle, target = clip.middle, clip.seen[:, clip.middle]
        found = []
        for place in range(clip.seen.shape[1]):
            if place < middle:
                found.append((place, invert_pose(network.pose(clip.seen[:, place], target))))
            elif place > middle:
                found.append((place, network.pose(target, clip.seen[:, place])))
        if not found:
            raise WrongInput(f"{self.mono.method} learns from frames before and after; set frames of the source to 3.")
        return found


class MonodepthTrainee(MonoTrainee):
    """From the right view of stereo pairs (Godard et al., CVPR 2017): appearance, smoothness, left-right consistency.

    Disparities of both views are predicted from the left picture; each view is made of the other one, at four sizes.
    """

    parts = ("photometric", "smoothness", "consistency")

    def terms(self, clip: TrainingClip, answers: list[Tensor], step: int) -> dict[str, Float[Tensor, ""]]:
        """See `MonoTrainee.terms`."""
        if clip.second is None:
            raise WrongInput("monodepth learns from the right view; set stereo = true in the options of the source.")
        if answers[0].shape[1] != 2:
            raise WrongInput("monodepth needs [model.config] views = 2, a left and a right camera.")
        target = clip.target / 255
        second = clip.second[:, clip.middle] / 255
        focal_baseline = (clip.intrinsics[:, 0, 0] * clip.baseline_m)[:, None, None, None]
        appearance, consistency = target.new_zeros(()), target.new_zeros(())
        for answer in answers:
            height, width = answer.shape[-2:]
            ratio = width / target.shape[-1]
            views = [F.interpolate(view, (height, width), mode="area") for view in (target, second)]
            left, right = (ratio * (focal_baseline * answer - clip.doffs_px[:, None, None, None])).unbind(1)
            appearance = appearance + self._appearance(views[0], views[1], left)
            # The right view's half is the left one's of the pair in a mirror.
            appearance = appearance + self._appearance(views[1].flip(-1), views[0].flip(-1), right.flip(-1))
            for one, other in ((left, right), (right.flip(-1), left.flip(-1))):
                consistency = consistency + masked_mean(*left_right_consistency(one, other)) / width
        return {
            "photometric": appearance / len(answers),
            "smoothness": self._smoothness(answers, target),
            "consistency": self.mono.consistency * consistency / len(answers),
        }

    def _appearance(self, view: Tensor, other: Tensor, disparity: Tensor) -> Tensor:
        """Pixels off the other view are black there: left out, disparities that leave it would cost nothing."""
        made, _ = warp_by_disparity(other, disparity)
        return ssim_l1(view, made, alpha=self.mono.alpha).mean()


class Monodepth2Trainee(MonoTrainee):
    """From the frames before and after (Godard et al., ICCV 2019): least error per pixel, auto-mask, whole size.

    Answers of all four sizes are enlarged before the views are made.
    """

    parts = ("photometric", "smoothness")
    needs = ("pose",)

    def terms(self, clip: TrainingClip, answers: list[Tensor], step: int) -> dict[str, Float[Tensor, ""]]:
        """See `MonoTrainee.terms`."""
        target, sources = clip.target / 255, self._poses(clip)
        still = torch.stack([self._error(target, clip.images[:, place] / 255) for place, _ in sources])
        total = target.new_zeros(())
        for answer in answers:
            depth = 1 / _enlarged(answer[:, :1], target)[:, 0]
            made = [warp_by_depth(clip.images[:, n] / 255, depth, clip.intrinsics, pose) for n, pose in sources]
            errors = torch.stack([self._error(target, _seen(*view)) for view in made])
            total = total + masked_mean(minimum_reprojection(errors), auto_mask(errors, still))
        return {"photometric": total / len(answers), "smoothness": self._smoothness(answers, target)}

    def _error(self, target: Tensor, made: Tensor) -> Tensor:
        return ssim_l1(target, made, alpha=self.mono.alpha)


class SfmLearnerTrainee(MonoTrainee):
    """From the frames before and after (Zhou et al., CVPR 2017): L1, explained or not, at four sizes.

    Answers are enlarged before the views are made, as Monodepth2 has it; the paper makes small views.
    """

    parts = ("photometric", "smoothness")
    needs = ("pose", "mask")

    def terms(self, clip: TrainingClip, answers: list[Tensor], step: int) -> dict[str, Float[Tensor, ""]]:
        """See `MonoTrainee.terms`."""
        network: Any = self.network
        target, sources = clip.target / 255, self._poses(clip)
        total = target.new_zeros(())
        for place, pose in sources:
            logits = network.mask(clip.seen[:, clip.middle], clip.seen[:, place])
            for answer, logit in zip(answers, logits, strict=False):
                depth = 1 / _enlarged(answer[:, :1], target)[:, 0]
                made, inside = warp_by_depth(clip.images[:, place] / 255, depth, clip.intrinsics, pose)
                error = (target - made).abs().mean(1)
                priced = explained(error, _enlarged(logit, target)[:, 0], weight=self.mono.explain)
                total = total + masked_mean(priced, inside)
        return {
            "photometric": total / (len(sources) * len(answers)),
            "smoothness": self._smoothness(answers, target, order=2),
        }


class CollaborationTrainee(MonoTrainee):
    """Competitive collaboration (Ranjan et al., CVPR 2019): depth and pose against flow, and a mask between them.

    Two of three steps train the players: each explains the pixels that the mask, held, gives to it; the flow also gets
    a tenth of its error everywhere, so that it can win pixels back. Every third step trains the mask, the moderator, on
    held players: it gives a pixel to who explains it better.
    """

    parts = ("static", "moving", "smoothness", "prior", "consensus")
    needs = ("pose", "mask", "flow")

    def terms(self, clip: TrainingClip, answers: list[Tensor], step: int) -> dict[str, Float[Tensor, ""]]:
        """See `MonoTrainee.terms`."""
        sources = self._poses(clip)
        found = {name: clip.images.new_zeros(()) for name in self.parts}
        for place, pose in sources:
            act = self._moderator if step % 3 == 2 else self._players
            for name, value in act(clip, answers, place, pose).items():
                found[name] = found[name] + value / len(sources)
        return found

    def _players(self, clip: TrainingClip, answers: list[Tensor], place: int, pose: Tensor) -> dict[str, Tensor]:
        target, source = clip.target / 255, clip.images[:, place] / 255
        logit, flows = self._mask(clip, place).detach(), self._flows(clip, place)
        rigid = self._rigid(clip, answers, pose)
        found = {
            "static": _known_mean(collaboration_static(self._error(target, source, rigid), logit)),
            "moving": target.new_zeros(()),
            "smoothness": self._smoothness(answers, target),
        }
        for number, answer in enumerate(flows):
            error = self._error(target, source, 2**number * _enlarged(answer, target))
            everywhere = _ANYWHERE * _known_mean(error)
            found["moving"] = found["moving"] + _known_mean(collaboration_moving(error, logit)) + everywhere
            guide = F.interpolate(target, answer.shape[-2:], mode="area")
            bent = torch.stack([edge_aware_smoothness(axis, guide).mean() for axis in answer.unbind(1)]).sum()
            found["smoothness"] = found["smoothness"] + self.mono.smoothness * bent / 2**number
        found["moving"] = found["moving"] / len(flows)
        return found

    def _moderator(self, clip: TrainingClip, answers: list[Tensor], place: int, pose: Tensor) -> dict[str, Tensor]:
        target, source = clip.target / 255, clip.images[:, place] / 255
        logit = self._mask(clip, place)
        with torch.no_grad():
            rigid, flow = self._rigid(clip, answers, pose), self._flows(clip, place)[0]
            static, moving = self._error(target, source, rigid), self._error(target, source, flow)
        agreed = collaboration_consensus(static, moving, rigid, flow, logit, threshold_px=self.mono.agree_px)
        return {
            "static": _known_mean(collaboration_static(static, logit)),
            "moving": _known_mean(collaboration_moving(moving, logit)),
            "prior": self.mono.prior * _known_mean(collaboration_prior(logit)),
            "consensus": self.mono.consensus * _known_mean(agreed),
        }

    def _error(self, target: Tensor, source: Tensor, flow: Tensor) -> Tensor:
        return ssim_l1(target, _seen(*warp_by_flow(source, flow)), alpha=self.mono.alpha)

    def _rigid(self, clip: TrainingClip, answers: list[Tensor], pose: Tensor) -> Tensor:
        flow, _ = rigid_flow(1 / answers[0][:, 0], clip.intrinsics, pose)
        return flow

    def _mask(self, clip: TrainingClip, place: int) -> Tensor:
        """Logits of a still scene, at the whole size."""
        network: Any = self.network
        logit: Tensor = network.mask(clip.seen[:, clip.middle], clip.seen[:, place])[0]
        return logit[:, 0]

    def _flows(self, clip: TrainingClip, place: int) -> list[Tensor]:
        network: Any = self.network
        found: list[Tensor] = network.flow(clip.seen[:, clip.middle], clip.seen[:, place])
        return found[: self.mono.sizes]


_METHODS: dict[str, type[MonoTrainee]] = {
    "monodepth": MonodepthTrainee,
    "sfmlearner": SfmLearnerTrainee,
    "monodepth2": Monodepth2Trainee,
    "collaboration": CollaborationTrainee,
}


def make_mono_trainee(network: PretrainedNetwork, recipe: MonoRecipe) -> MonoTrainee:
    """The network with the loss of its method.

    Raises:
        WrongInput: another family, or a partner of the method is missing.
    """
    if network.family != "mono-unet":
        raise WrongInput(f"[mono] trains networks of the family mono-unet, not {network.family}; change model.family.")
    return _METHODS[recipe.method](network, recipe)


def _enlarged(answer: Tensor, target: Tensor) -> Tensor:
    size = target.shape[-2:]
    return answer if answer.shape[-2:] == size else F.interpolate(answer, size, mode="bilinear", align_corners=False)


def _seen(values: Tensor, inside: Tensor) -> Tensor:
    """NaN where the source does not see the pixel: such errors take no part."""
    return torch.where(inside[:, None], values, torch.nan)


def _known_mean(errors: Tensor) -> Tensor:
    return masked_mean(errors, errors.isfinite())


def _measured(depth: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The factor to the truth's median of each sample (1 without truth), and the mean AbsRel after it."""
    factors, errors = torch.ones(len(depth), device=depth.device), []
    for number, (found, true) in enumerate(zip(depth, truth, strict=True)):
        known = true.isfinite() & (true < _FARTHEST_M)
        if bool(known.any()):
            factors[number] = true[known].median() / found[known].median()
            errors.append(abs_rel(factors[number] * found, torch.where(known, true, 1.0), known).value)
    return factors, torch.tensor(sum(errors) / len(errors) if errors else float("nan"), device=depth.device)
