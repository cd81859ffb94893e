"""Pairwise pointmaps of a clip to one reconstruction, frame by frame, in closed form and little memory.

What a frame's pointmaps say is measured when the caller closes the frame, and the pointmaps are dropped; a few numbers
per pair are left. At the end three sparse linear solves place all frames.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.fusion.focal import focal_from_pointmap, plausible_focal, shared_focal
from depthweave.fusion.own_view import (
    Average,
    Candidate,
    OwnView,
    average_in,
    fuse_own_views,
    point_moments,
    register_points,
    usable_confidence,
)
from depthweave.fusion.placement import PairMeasurement, Placement, place_frames
from depthweave.fusion.resection import camera_and_focal_from_points, camera_from_points
from depthweave.types import PairPointmaps

SAMPLES = 6000
_POINTS_FOR_RESECTION = 4000

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class FusedFrame:
    """One frame's pointmap from all its pairs.

    Attributes:
        frame: its number.
        points: (h, w, 3) in the frame's own camera, in a unit in which the median depth is 1.
        confidence: (h, w) raw, 0 = not usable.
        pairs: how many pairs it is made of.
    """

    frame: int
    points: Float[Tensor, "h w 3"]
    confidence: Float[Tensor, "h w"]
    pairs: int


@dataclass(frozen=True, eq=False)
class _View:
    """What a pair says of one of its frames, until that frame is closed."""

    pair: Pair
    points: Tensor
    confidence: Tensor
    own_from_points: Tensor | None
    """Motion to the frame's own camera in the pair's unit; None where it is not known."""


class PointmapFusion:
    """Takes pairs of a clip in any order, gives each frame's fused pointmap, and places all frames at the end.

    Args:
        intrinsics: (3, 3) in px of the working size where they are known; points are then put on their pixels' rays.
        stride: every so manieth pixel along x and y is used for scales and registrations; None: about 6000 pixels.
        average: how pointmaps of one frame are fused: ``mean`` for networks, ``median`` where outliers are common.
        keep_unit: the world's unit is that of the median pair, for estimators that answer in metres.
        min_pair_confidence: pairs whose mean confidence in either frame is lower say nothing about scale and motion.

    Source: our reconstruction; pieces as in `fuse_own_views`, `register_points` and `depthweave.fusion.pose_graph`.
    """

    def __init__(
        self,
        *,
        intrinsics: Float[Tensor, "3 3"] | None = None,
        stride: int | None = None,
        average: Average = "mean",
        keep_unit: bool = False,
        min_pair_confidence: float | int = 0.0,
    ) -> None:
        self.intrinsics = None if intrinsics is None else intrinsics.detach().cpu().to(torch.float32)
        self.stride = stride
        self.average = average
        self.keep_unit = keep_unit
        self.min_pair_confidence = min_pair_confidence
        self._open: dict[int, dict[Pair, _View]] = {}
        self._records: dict[int, dict[str, Any]] = {}

    @property
    def waiting(self) -> int:
        """How many pointmaps are held."""
        return sum(len(views) for views in self._open.values())

    def add(self, pair: PairPointmaps) -> None:
        """Take in a pair; added again, it replaces itself.

        What it says of a frame that is closed already is left out, so a resumed run may add such pairs again.

        Raises:
            WrongInput: the pair was not there when one of its frames was closed, or its size is another one.
        """
        key = (pair.first, pair.second)
        sides = [pair.first] if pair.first == pair.second else [pair.first, pair.second]
        for frame in sides:
            record = self._records.get(frame)
            if record is not None and list(key) not in record["pairs"]:
                raise WrongInput(f"frame {frame} is closed; add pair {key} before that.")
        for frame in sides:
            if frame in self._records:
                continue
            if frame == pair.first:
                points, confidence = pair.points_first, pair.confidence_first
                own_from_points: Tensor | None = torch.eye(4)
            else:
                points, confidence = pair.points_second, pair.confidence_second
                motion = pair.first_from_second
                own_from_points = None if motion is None else geometry.invert_pose(motion.detach().cpu())
            view = _View(
                key,
                points.detach().cpu().to(torch.float32),
                confidence.detach().cpu().to(torch.float32),
                own_from_points,
            )
            self._keep(frame, view)

    def close(self, frame: int) -> FusedFrame | None:
        """Fuse a frame of which no more pairs will come, measure its pairs, drop its pointmaps; None: no pair shows it.

        Raises:
            WrongInput: the frame is closed already.
        """
        if frame in self._records:
            raise WrongInput(f"frame {frame} is closed already.")
        views = [view for _, view in sorted(self._open.pop(frame, {}).items())]
        record: dict[str, Any] = {"frame": frame, "pairs": [list(v.pair) for v in views], "sides": [], "focal_px": None}
        self._records[frame] = record
        if not views:
            return None
        candidates = self._candidates(views)
        stride = self._stride_of(views[0].confidence)
        height, width = views[0].confidence.shape
        rays = None if self.intrinsics is None else geometry.ray_directions(self.intrinsics, height, width)
        own = fuse_own_views([c for _, c in candidates], average=self.average, stride=stride, rays=rays)
        if own is None:
            return None
        record["sides"] = self._measure(frame, views, candidates, own, stride)
        others: list[Candidate] = []
        if self.average == "mean":
            used = {pair for pair, _ in candidates}
            sides = {tuple(side["pair"]): side for side in record["sides"]}
            others = [_in_own_unit(v, sides[v.pair]) for v in views if v.pair in sides and v.pair not in used]
            own = average_in(own, others, rays=rays)
        if self.intrinsics is None:
            record["focal_px"], record["focal_weight"] = _focal(own, stride)
        fused = sum(scale is not None for scale in own.log_scales) + len(others)
        return FusedFrame(frame, own.points, own.confidence, fused)

    def solve(self, frames: int, *, known_poses: Float[Tensor, "t 4 4"] | None = None) -> Placement:
        """Scale and pose of every frame from what the closed frames' pairs said; may be asked at any time.

        Args:
            frames: how many there are in the clip.
            known_poses: (t, 4, 4) world_from_camera where known, NaN elsewhere; see `place_frames`.

        Raises:
            WrongInput: a closed frame lies beyond, or the known poses are of no use.
        """
        beyond = [frame for frame in self._records if not 0 <= frame < frames]
        if beyond:
            raise WrongInput(f"frame {max(beyond)} was fused, but the clip is said to have {frames} frames.")
        seen = [frame for frame, record in self._records.items() if record["sides"]]
        return place_frames(
            self._measurements(),
            frames,
            alone=seen if frames == 1 else (),
            known_poses=known_poses,
            focal_px=self.focal_px(),
            pairs=len({tuple(pair) for record in self._records.values() for pair in record["pairs"]}),
            keep_unit=self.keep_unit,
        )

    def focal_px(self) -> float | None:
        """The clip's focal length in px of the working size so far; None where no closed frame gives a plausible one.

        Known intrinsics answer for themselves; else it is the weighted median of the frames' focal lengths.
        """
        if self.intrinsics is not None:
            return float(self.intrinsics[0, 0])
        found = sorted(
            (frame, record["focal_px"], record["focal_weight"])
            for frame, record in self._records.items()
            if record["focal_px"] is not None
        )
        if not found:
            return None
        focal, weight = (torch.tensor([row[k] for row in found], dtype=torch.float64) for k in (1, 2))
        return shared_focal(focal, weight)

    def state(self) -> dict[str, Any]:
        """All measurements of closed frames as plain numbers; frames that are open are not in it.

        ``frames`` holds one independent record per closed frame, so a long run may store each record once.
        """
        return {
            "intrinsics": None if self.intrinsics is None else self.intrinsics.tolist(),
            "stride": self.stride,
            "average": self.average,
            "keep_unit": self.keep_unit,
            "min_pair_confidence": self.min_pair_confidence,
            "frames": [self._records[frame] for frame in sorted(self._records)],
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "PointmapFusion":
        """Go on from a `state`; pairs of frames that were open must be added again, others may be."""
        fusion = cls(
            intrinsics=None if state["intrinsics"] is None else torch.tensor(state["intrinsics"]),
            stride=state["stride"],
            average=state["average"],
            keep_unit=state["keep_unit"],
            min_pair_confidence=state["min_pair_confidence"],
        )
        fusion._records = {record["frame"]: dict(record) for record in state["frames"]}
        return fusion

    def _keep(self, frame: int, view: _View) -> None:
        views = self._open.setdefault(frame, {})
        other = next(iter(views.values()), view)
        if other.confidence.shape != view.confidence.shape:
            raise WrongInput(f"pointmaps of frame {frame} differ in size; bring all pairs to one.")
        views[view.pair] = view

    def _stride_of(self, confidence: Tensor) -> int:
        return self.stride or max(1, round((confidence.numel() / SAMPLES) ** 0.5))

    def _candidates(self, views: list[_View]) -> list[tuple[Pair, Candidate]]:
        """Pointmaps in the frame's own camera; resected ones only where there are no others."""
        known = [(v.pair, v.points, v.confidence, v.own_from_points) for v in views if v.own_from_points is not None]
        if not known:
            resected = ((v, self._resected(v)) for v in views)
            known = [(v.pair, v.points, v.confidence, pose) for v, pose in resected if pose is not None]
        result = []
        for pair, points, confidence, own_from_points in known:
            if not torch.equal(own_from_points, torch.eye(4, dtype=own_from_points.dtype)):
                points = geometry.transform_points(own_from_points.to(points), points.flatten(0, 1)).reshape(
                    points.shape
                )
            result.append((pair, Candidate(points, usable_confidence(points, confidence))))
        return result

    def _resected(self, view: _View) -> Tensor | None:
        height, width = view.confidence.shape
        usable = ((view.confidence > 0) & torch.isfinite(view.points).all(-1)).flatten()
        points, pixels = view.points.flatten(0, 1)[usable], geometry.pixel_grid(height, width).flatten(0, 1)[usable]
        focal_px = self.focal_px()
        if focal_px is None:
            found = camera_and_focal_from_points(points, pixels, width, height, most=_POINTS_FOR_RESECTION)
            return None if found is None else found[0]
        intrinsics = self.intrinsics
        if intrinsics is None:
            intrinsics = torch.tensor([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
        pose = camera_from_points(points, pixels, intrinsics, iterations=100, most=_POINTS_FOR_RESECTION)
        return None if pose is None else pose[0]

    def _measure(
        self, frame: int, views: list[_View], candidates: list[tuple[Pair, Candidate]], own: OwnView, stride: int
    ) -> list[dict[str, Any]]:
        scales = {pair: scale for (pair, _), scale in zip(candidates, own.log_scales, strict=True)}
        points = own.points[::stride, ::stride].flatten(0, 1)
        seen = own.confidence[::stride, ::stride].flatten() > 0
        sides = []
        for view in views:
            confidence = view.confidence[::stride, ::stride].flatten()
            picked = view.points[::stride, ::stride].flatten(0, 1)
            usable = (confidence > 0) & torch.isfinite(confidence) & torch.isfinite(picked).all(-1)
            if not bool(usable.any()):
                continue
            mean = float(confidence[usable].to(torch.float64).mean())
            side: dict[str, Any] = {"pair": list(view.pair), "confidence": mean}
            weights = torch.where(usable & seen, confidence, 0.0)
            if view.own_from_points is not None:
                scale = scales.get(view.pair)
                if scale is None:
                    continue
                side["log_scale"] = scale
                pose = view.own_from_points.to(torch.float64)
                rotation, translation = pose[:3, :3], pose[:3, 3]
            else:
                found = register_points(picked, weights, points)
                if found is None:
                    continue
                side["log_scale"] = found.log_scale
                rotation, translation = found.rotation, found.translation
            if view.pair[0] != frame:
                side["rotation"], side["translation"] = rotation.flatten().tolist(), translation.tolist()
                inverse_square, centre, covariance = point_moments(points, weights)
                side["inverse_square"], side["mean"] = inverse_square, centre.tolist()
                side["covariance"] = covariance.flatten().tolist()
            sides.append(side)
        return sides

    def _measurements(self) -> list[PairMeasurement]:
        sides = {
            (frame, tuple(side["pair"])): side for frame, record in self._records.items() for side in record["sides"]
        }
        found = []
        for (frame, pair), second in sides.items():
            first = sides.get((pair[0], pair))
            if frame == pair[0] or first is None:
                continue
            weight = min(first["confidence"], second["confidence"])
            if weight < self.min_pair_confidence:
                continue
            found.append(
                PairMeasurement(
                    first=pair[0],
                    second=pair[1],
                    log_scale_first=first["log_scale"],
                    log_scale_second=second["log_scale"],
                    weight=weight,
                    second_from_first=tuple(second["rotation"]),
                    translation=tuple(second["translation"]),
                    inverse_square=second["inverse_square"],
                    mean=tuple(second["mean"]),
                    covariance=tuple(second["covariance"]),
                )
            )
        return found


def _in_own_unit(view: _View, side: dict[str, Any]) -> Candidate:
    """Registered points of a pair of which the frame is the second."""
    rotation, translation = torch.tensor(side["rotation"]).reshape(3, 3), torch.tensor(side["translation"])
    points = (view.points @ rotation.T + translation) * math.exp(side["log_scale"])
    return Candidate(points, usable_confidence(points, view.confidence))


def _focal(own: OwnView, stride: int) -> tuple[float | None, float]:
    height, width = own.confidence.shape
    focal = focal_from_pointmap(own.points, weights=own.confidence, stride=stride)
    weight = float(own.confidence[::stride, ::stride].to(torch.float64).mean())
    return (float(focal) if bool(plausible_focal(focal, width, height)) else None), weight
