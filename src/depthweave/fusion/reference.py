"""DUSt3R's global initialisation: pairs to one world along a spanning tree, and its rule for two frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.fusion.reference_steps import PoseSource, ReferenceSteps
from depthweave.types import PairPointmaps

MEAN_PAIR_SCALE = 0.5
RESECTIONS_OF_A_PAIR = 100


@dataclass(frozen=True, eq=False)
class Initialisation:
    """Frames 0 .. t-1 in one world and one arbitrary unit.

    Attributes:
        tree: pairs in the order in which they were placed.
        pose_source: per frame: ``root`` (its camera was the world), ``registered`` (closed form), ``resected`` (PnP),
            ``given`` (by the caller), ``none``: no pose was found.
        world_from_camera: (t, 4, 4); of a frame without a pose the identity where the reference is followed
            faithfully, NaN else.
        intrinsics: (t, 3, 3) in px.
        depth: (t, h, w) z in the frame's own camera; 1 where it is not positive.
        valid: (t, h, w) positive depth, a pose, and a confidence above the bound.
        confidence: (t, h, w) largest of all pairs, as the pairs give it.
        pair_score: (e) as `tree.pair_score`.
        pair_scale: (e) what a pair's points are multiplied with to be in the world's unit; NaN where the pair and its
            placed first frame share fewer than three usable points.
        world_from_pair: (e, 4, 4) pose of the pair's first camera in the world, after scaling.
        normaliser: what the unit of the root pair was multiplied with.
    """

    tree: list[tuple[int, int]]
    pose_source: list[PoseSource]
    world_from_camera: Float[Tensor, "t 4 4"]
    intrinsics: Float[Tensor, "t 3 3"]
    depth: Float[Tensor, "t h w"]
    valid: Bool[Tensor, "t h w"]
    confidence: Float[Tensor, "t h w"]
    pair_score: Float[Tensor, "e"]
    pair_scale: Float[Tensor, "e"]
    world_from_pair: Float[Tensor, "e 4 4"]
    normaliser: float

    @property
    def focal_px(self) -> Float[Tensor, "t"]:
        """Focal length along x of every frame."""
        return self.intrinsics[:, 0, 0]


def initialise(
    pairs: Sequence[PairPointmaps],
    *,
    faithful: bool = True,
    min_confidence: float | int = 3.0,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
    known_poses: Float[Tensor, "t 4 4"] | None = None,
    one_focal: bool = False,
    stride: int = 1,
) -> Initialisation:
    """Place all frames along the maximum spanning tree of their pairs, without any optimisation.

    Args:
        pairs: directed pairs of frames 0 .. t-1, all of one size.
        faithful: True follows the reference in every number: scales by least squares, and a frame's focal length that
            may be another frame's (below). False: symmetric scales; the median focal length over a frame's own
            pairs, weighted by their scores, of those that are plausible; resection from 4000 points, and by the
            frame's best own pair where that fails.
        min_confidence: raw confidence above which pixels are resected and valid.
        intrinsics: of all frames or of each, in px, where they are known; else focal lengths are found and the
            principal point is (w / 2, h / 2).
        known_poses: (t, 4, 4) world_from_camera, rows of NaN where unknown; two or more set world and unit, and stay
            as they are.
        one_focal: give all frames one focal length in the end (as MonST3R does): the mean if ``faithful``, else the
            median is used from the start.
        stride: register on every so manieth pixel along x and y.

    Raises:
        WrongInput: no pairs, several sizes, frames that no pair connects with the others (the sentence names the
            groups), too few usable points in common, or fewer than two known poses.

    In the reference a frame gets, when the tree first asks for its focal length, that of the points of the pair placed
    before, which are mostly another frame's (https://github.com/naver/dust3r/issues/164). Depth that is not positive
    becomes 1 there, and a frame without a pose the identity; both are marked here.

    Source: Wang et al., DUSt3R, CVPR 2024, section 3.4 and supplement; https://github.com/naver/dust3r.
    """
    steps = ReferenceSteps(list(pairs), faithful, float(min_confidence), stride)
    steps.set_focals(intrinsics, one_focal)
    tree = steps.place()
    steps.find_remaining_focals()
    steps.find_remaining_poses()
    if known_poses is not None:
        steps.move_to(known_poses)
    scale, world_from_pair = steps.pairs_in_world()
    normaliser = 1.0
    if known_poses is None:
        normaliser = MEAN_PAIR_SCALE / float(scale.log().nanmean().exp())
    if one_focal and faithful:
        steps.average_focals()
    return _result(steps, tree, scale, world_from_pair, normaliser, known_poses)


def initialise_pair(
    pairs: Sequence[PairPointmaps],
    *,
    faithful: bool = True,
    min_confidence: float | int = 3.0,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
) -> Initialisation:
    """Two frames, 0 and 1: the better-scored direction is the world, the other camera is resected from its points.

    Every frame's focal length comes from its own pointmap, or from the resection where only one direction is given.
    There is no normalisation: the unit is the chosen pair's. Arguments and errors as in `initialise`; where the chosen
    direction gives no pose and ``faithful`` is False, the other direction's motion is used.

    Source: https://github.com/naver/dust3r, its viewer of pairs.
    """
    steps = ReferenceSteps(list(pairs), faithful, float(min_confidence), 1)
    if steps.frames != 2 or any(pair.first == pair.second for pair in steps.pairs):
        raise WrongInput(f"expected pairs of frames 0 and 1, but there are {steps.frames} frames; call `initialise`.")
    steps.set_focals(intrinsics, False)
    steps.find_remaining_focals()
    best = steps.pairs[steps.order[0]]
    steps.start(best)
    steps.resect(best.second, RESECTIONS_OF_A_PAIR)
    if not faithful and best.second not in steps.pose:
        steps.register_own(best.second)
    scale, world_from_pair = steps.pairs_in_world()
    return _result(steps, [(best.first, best.second)], scale, world_from_pair, 1.0, None)


def _result(
    steps: ReferenceSteps,
    tree: list[tuple[int, int]],
    scale: Tensor,
    world_from_pair: Tensor,
    normaliser: float,
    known_poses: Tensor | None,
) -> Initialisation:
    depth, valid, world_from_camera = steps.result(normaliser, known_poses)
    world_from_pair[:, :3, 3] *= normaliser
    return Initialisation(
        tree=tree,
        pose_source=[steps.source.get(t, "none") for t in range(steps.frames)],
        world_from_camera=world_from_camera,
        intrinsics=torch.stack([steps.matrix(t) for t in range(steps.frames)]),
        depth=depth,
        valid=valid,
        confidence=steps.confidence,
        pair_score=torch.tensor(steps.scores, dtype=torch.float64),
        pair_scale=scale * normaliser,
        world_from_pair=world_from_pair,
        normaliser=normaliser,
    )
