"""The steps of DUSt3R's global initialisation, in the order in which they are taken."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from depthweave import geometry
from depthweave.alignment import Similarity, fit_similarity
from depthweave.errors import WrongInput
from depthweave.fusion.focal import focal_from_pointmap, plausible_focal, shared_focal
from depthweave.fusion.pair_graph import connected_components
from depthweave.fusion.resection import camera_and_focal_from_points, camera_from_points
from depthweave.fusion.tree import maximum_spanning_tree, pair_score
from depthweave.types import PairPointmaps

PoseSource = Literal["root", "registered", "resected", "given", "none"]
FILLER_DEPTH = 1.0
POINTS_FOR_RESECTION = 4000


@dataclass
class ReferenceSteps:
    """What is known so far: points of placed frames in the world, poses, focal lengths.

    Raises:
        WrongInput: no pairs, several sizes, or frames that no pair connects with the others.
    """

    pairs: list[PairPointmaps]
    faithful: bool
    min_confidence: float
    stride: int
    placed: dict[int, Tensor] = field(default_factory=dict)
    pose: dict[int, Tensor] = field(default_factory=dict)
    source: dict[int, PoseSource] = field(default_factory=dict)
    focal: dict[int, float] = field(default_factory=dict)
    known: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.pairs:
            raise WrongInput("there are no pairs to place frames by; give at least one.")
        sizes = {tuple(pair.confidence_first.shape) for pair in self.pairs}
        if len(sizes) > 1:
            raise WrongInput(f"pointmaps have several sizes (height, width), {sorted(sizes)}; bring all to one.")
        self.height, self.width = sizes.pop()
        ends = [(pair.first, pair.second) for pair in self.pairs]
        self.frames = max(map(max, ends)) + 1
        groups = connected_components(ends, self.frames)
        if len(groups) > 1:
            shown = "; ".join(", ".join(map(str, group[:5])) + " .." * (len(group) > 5) for group in groups[:4])
            raise WrongInput(
                f"no pair connects the {len(groups)} groups of frames {shown}{' ..' if len(groups) > 4 else ''}; a tree"
                " cannot place them in one world, so add pairs between them or reconstruct each group on its own."
            )
        self.scores = [pair_score(pair) for pair in self.pairs]
        self.confidence = torch.zeros_like(self.pairs[0].confidence_first).repeat(self.frames, 1, 1)
        for pair in self.pairs:
            for frame, side in ((pair.first, 0), (pair.second, 1)):
                confidence = _side(pair, side)[1]
                self.confidence[frame] = torch.maximum(self.confidence[frame], confidence)
        self.order = sorted(range(len(self.pairs)), key=lambda e: (-self.scores[e], e))

    def set_focals(self, intrinsics: Tensor | None, one_focal: bool) -> None:
        """Take over what the caller knows, or find focal lengths where the reference's rule is not wanted."""
        if intrinsics is not None:
            if intrinsics.ndim == 3 and len(intrinsics) != self.frames:
                raise WrongInput(f"{len(intrinsics)} intrinsics were given for {self.frames} frames; give one for all.")
            self.known = intrinsics.to(torch.float64).expand(self.frames, 3, 3)
            self.focal = {t: float(self.known[t, 0, 0]) for t in range(self.frames)}
        elif not self.faithful:
            self.focal = self._own_focals(one_focal)

    def _own_focals(self, one_focal: bool) -> dict[int, float]:
        found: dict[int, list[tuple[float, float]]] = {}
        for pair, score in zip(self.pairs, self.scores, strict=True):
            focal = self.focal_of(pair)
            if focal is not None:
                found.setdefault(pair.first, []).append((focal, score))
        values = {t: torch.tensor(candidates, dtype=torch.float64) for t, candidates in found.items()}
        values = {t: each[plausible_focal(each[:, 0], self.width, self.height)] for t, each in values.items()}
        values = {t: each for t, each in values.items() if len(each)}
        if not values:
            return {}
        medians = {t: shared_focal(each[:, 0], each[:, 1]) for t, each in values.items()}
        every = torch.cat(list(values.values())) if one_focal else torch.tensor(list(medians.values()))[:, None]
        shared = shared_focal(every[:, 0], every[:, 1] if one_focal else None)
        return {t: shared if one_focal else medians.get(t, shared) for t in range(self.frames)}

    def focal_of(self, pair: PairPointmaps) -> float | None:
        """Focal length in px from the first pointmap of a pair; None where no pixel of it is usable."""
        usable = pair.usable()[0]
        step = slice(None, None, self.stride)
        if not bool(usable[step, step].any()):
            return None
        weights = None if bool(usable.all()) else usable.to(pair.points_first.dtype)
        return float(focal_from_pointmap(pair.points_first, weights=weights, stride=self.stride))

    def note_focal(self, frame: int, pair: PairPointmaps) -> None:
        """A frame's focal length from the first pointmap of a pair, unless it has one or is not to be found."""
        if self.faithful and frame not in self.focal:
            focal = self.focal_of(pair)
            if focal is not None:
                self.focal[frame] = focal

    def matrix(self, frame: int) -> Tensor:
        """Intrinsics of a frame; the longer side is the focal length where none was found."""
        if self.known is not None:
            return self.known[frame]
        focal = self.focal.get(frame, float(max(self.width, self.height)))
        return torch.tensor(
            [[focal, 0, self.width / 2], [0, focal, self.height / 2], [0, 0, 1]],
            dtype=torch.float64,
            device=self.confidence.device,
        )

    def register(self, pair: PairPointmaps, side: int) -> Similarity | None:
        """Similarity from a pair's axes to the world, by the placed points of its first (0) or second (1) frame.

        None where fewer than three usable points are common to both.
        """
        points, confidence = _side(pair, side)
        step = slice(None, None, self.stride)
        target = self.placed[(pair.first, pair.second)[side]][step, step].flatten(0, 1).to(torch.float64)
        source = points[step, step].flatten(0, 1).to(torch.float64)
        weights = torch.where(torch.isfinite(target).all(-1), confidence[step, step].flatten(), 0.0)
        if int((weights > 0).sum()) < 3:
            return None
        return fit_similarity(source, target, weights=weights, scale="least_squares" if self.faithful else "symmetric")

    def pairs_in_world(self) -> tuple[Tensor, Tensor]:
        """Scale (e) and pose (e, 4, 4) of every pair by its first frame's points; NaN where they do not tell."""
        nothing = Similarity(*(torch.full(shape, torch.nan, dtype=torch.float64) for shape in ((3, 3), (3,), ())))
        found = [self.register(pair, 0) or nothing for pair in self.pairs]
        return torch.stack([each.scale for each in found]), torch.stack([_pose(each) for each in found])

    def start(self, pair: PairPointmaps) -> None:
        """The first camera of a pair becomes the world."""
        self.placed[pair.second] = _points(pair, 1)
        self.placed[pair.first] = _points(pair, 0)
        self.pose[pair.first] = torch.eye(4, dtype=torch.float64, device=self.confidence.device)
        self.source[pair.first] = "root"

    def place(self) -> list[tuple[int, int]]:
        """Walk down the tree, best pair first; pairs that touch nothing yet wait at the end of the queue."""
        ends = [(self.pairs[e].first, self.pairs[e].second) for e in self.order]
        edges = maximum_spanning_tree(ends, [self.scores[e] for e in self.order]) or ends[:1]
        by_ends = {(self.pairs[e].first, self.pairs[e].second): self.pairs[e] for e in reversed(self.order)}
        queue = deque(by_ends[edge] for edge in edges)
        last = queue.popleft()
        self.start(last)
        self.note_focal(last.first, last)
        tree = [(last.first, last.second)]
        while queue:
            pair = queue.popleft()
            # The reference's own way: the points are those of the pair placed before.
            self.note_focal(pair.first, last)
            side = 0 if pair.first in self.placed else 1
            if (pair.first, pair.second)[side] not in self.placed:
                queue.append(pair)
                continue
            similarity = self.register(pair, side)
            if similarity is None:
                raise WrongInput(
                    f"pair ({pair.first}, {pair.second}) shares fewer than three usable points of frame"
                    f" {(pair.first, pair.second)[side]} with what is placed; leave such pairs out."
                )
            self.placed[(pair.second, pair.first)[side]] = _moved(similarity, _points(pair, 1 - side))
            if pair.first not in self.pose:
                self.pose[pair.first] = _pose(similarity)
                self.source[pair.first] = "registered"
            tree.append((pair.first, pair.second))
            last = pair
        return tree

    def find_remaining_focals(self) -> None:
        """Focal lengths from each frame's best own pointmap, where still missing."""
        for e in self.order:
            self.note_focal(self.pairs[e].first, self.pairs[e])

    def find_remaining_poses(self) -> None:
        """Poses of frames that were only ever the second of a tree's pair."""
        for frame in range(self.frames):
            if frame not in self.pose:
                self.resect(frame, 10)
                if frame not in self.pose and not self.faithful:
                    self.register_own(frame)

    def resect(self, frame: int, iterations: int) -> None:
        """Pose of a frame, and its focal length if unknown, from its placed points of enough confidence."""
        placed = self.placed[frame]
        mask = (self.confidence[frame] > self.min_confidence) & torch.isfinite(placed).all(-1)
        pixels = geometry.pixel_grid(self.height, self.width, device=placed.device)[mask]
        most = None if self.faithful else POINTS_FOR_RESECTION
        if frame in self.focal:
            found = camera_from_points(placed[mask], pixels, self.matrix(frame), iterations=iterations, most=most)
        else:
            searched = camera_and_focal_from_points(
                placed[mask], pixels, self.width, self.height, iterations=iterations, most=most
            )
            found = None if searched is None else searched[:2]
            if searched is not None:
                self.focal[frame] = searched[2]
        if found is not None:
            self.pose[frame] = geometry.invert_pose(found[0])
            self.source[frame] = "resected"

    def register_own(self, frame: int) -> None:
        """Pose of a frame by the best pair that looks out of its camera, if one tells."""
        own = (self.register(self.pairs[e], 0) for e in self.order if self.pairs[e].first == frame)
        found = next((each for each in own if each is not None), None)
        if found is not None:
            self.pose[frame] = _pose(found)
            self.source[frame] = "registered"

    def average_focals(self) -> None:
        """The mean of all focal lengths for every frame, where they were not given (MonST3R)."""
        if self.known is None:
            self.focal = dict.fromkeys(self.focal, sum(self.focal.values()) / len(self.focal))

    def move_to(self, known_poses: Tensor) -> None:
        """One similarity brings everything to the poses that the caller knows."""
        if known_poses.shape[0] != self.frames:
            raise WrongInput(f"{known_poses.shape[0]} known poses were given for {self.frames} frames; give NaN rows.")
        given = torch.isfinite(known_poses).flatten(1).all(1).tolist()
        both = [t for t in range(self.frames) if given[t] and t in self.pose]
        if len(both) < 2:
            raise WrongInput(f"{len(both)} known poses cannot set the world and its unit; give two or more, or none.")
        wanted = known_poses[both].to(torch.float64)
        similarity = fit_similarity(
            _centres_and_ahead(torch.stack([self.pose[t] for t in both])), _centres_and_ahead(wanted)
        )
        for frame, points in self.placed.items():
            self.placed[frame] = _moved(similarity, points)
        for frame, pose in self.pose.items():
            moved = pose.clone()
            moved[:3, :3] = similarity.rotation @ pose[:3, :3]
            moved[:3, 3] = similarity.apply(pose[None, :3, 3])[0]
            self.pose[frame] = moved
        for frame in range(self.frames):
            if given[frame]:
                self.pose.setdefault(frame, known_poses[frame].to(torch.float64))
                self.source[frame] = "given"

    def result(self, normaliser: float, known_poses: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Depth, which of it is valid, and poses, in the world's unit times the normaliser."""
        lost = torch.eye(4, dtype=torch.float64, device=self.confidence.device)
        depth, poses = torch.ones_like(self.confidence), []
        valid = torch.zeros_like(self.confidence, dtype=torch.bool)
        for frame in range(self.frames):
            pose = self.pose.get(frame, lost)
            points = self.placed[frame]
            z = geometry.transform_points(geometry.invert_pose(pose).to(points), points.flatten(0, 1))[:, 2]
            z = normaliser * z.reshape(points.shape[:2])
            positive = torch.isfinite(z) & (z > 0)
            depth[frame] = torch.where(positive, z, FILLER_DEPTH)
            found = frame in self.pose
            valid[frame] = positive & (self.confidence[frame] > self.min_confidence) & found
            pose = pose.clone() if found or self.faithful else torch.full_like(lost, torch.nan)
            pose[:3, 3] *= normaliser
            if known_poses is not None and self.source.get(frame) == "given":
                pose = known_poses[frame].to(torch.float64)
            poses.append(pose)
        return depth, valid, torch.stack(poses)


def _side(pair: PairPointmaps, side: int) -> tuple[Tensor, Tensor]:
    """Points of one frame of a pair, and their confidence, 0 where they are not usable."""
    confidence = (pair.confidence_first, pair.confidence_second)[side]
    return (pair.points_first, pair.points_second)[side], torch.where(pair.usable()[side], confidence, 0.0)


def _points(pair: PairPointmaps, side: int) -> Tensor:
    """Points of one frame of a pair, NaN where they are not usable."""
    points, confidence = _side(pair, side)
    return torch.where(confidence[..., None] > 0, points, torch.nan)


def _moved(similarity: Similarity, points: Tensor) -> Tensor:
    moved: Tensor = similarity.apply(points.flatten(0, 1).to(similarity.rotation)).reshape(points.shape)
    return moved.to(points.dtype)


def _pose(similarity: Similarity) -> Tensor:
    """The motion of a similarity: coordinates of a pair have its first camera at the origin, whatever their unit."""
    pose = torch.eye(4, dtype=similarity.rotation.dtype, device=similarity.rotation.device)
    pose[:3, :3] = similarity.rotation
    pose[:3, 3] = similarity.translation
    return pose


def _centres_and_ahead(poses: Tensor) -> Tensor:
    """Camera centres, and for each a point ahead by a hundredth of the median distance of two cameras."""
    centres = poses[:, :3, 3]
    step = float(torch.pdist(centres).quantile(0.5)) / 100
    if step == 0:
        raise WrongInput("the known poses are all in one place, so they set no unit; give poses of a moving camera.")
    return torch.cat([centres, centres + step * poses[:, :3, 2]])
