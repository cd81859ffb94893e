"""First hits of many rays: scenes as tables, rays in groups, and for every group only the parts that may be in its way.

A group is a set of rays of one eye that lie close together, such as a square of pixels. Parts are bounded in the
picture of every eye; a group is tested against those whose bounds it touches, and pairs of group and part of one kind
are worked through together, for all scenes and eyes at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from depthweave import geometry
from depthweave.worlds.intersect import COLUMNS, HITS, MISS, USED, Kind, Triple, numbers
from depthweave.worlds.motion import Motion
from depthweave.worlds.scene import Part, Scene
from depthweave.worlds.shapes import Polyhedron, Quadric, Room, Rotation, Torus, Vector, extent

NEAR_M = 0.02
"""Parts with a corner nearer than this to the plane of the camera are tested against every group."""
SIDE = 16
"""Of the squares of pixels that make groups."""
RAYS = SIDE * SIDE
"""Of a group."""
NONE = -1
_NO_ROW = 2**31 - 1
_ROWS = (0, 4, 8)
_KEY_OF_MISS = (int(np.float32(MISS).view(np.int32)) << 32) | _NO_ROW

Matrices = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Eye:
    """A pinhole camera at one moment of one scene.

    Attributes:
        scene: place of the scene in the batch.
        world_from_camera: 4x4, m.
        focal_px, centre_px: (x, y).
        time_s: of the scene.
    """

    scene: int
    world_from_camera: Matrices
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    time_s: float


@dataclass(frozen=True, eq=False)
class Rays:
    """Groups of rays (x, y, 1) in the axes of their eye, so that the ray parameter is depth.

    Attributes:
        eye: of every group.
        x, y: (px - centre) / focal.
    """

    eye: Int[Tensor, "g"]
    x: Float[Tensor, "g rays"]
    y: Float[Tensor, "g rays"]

    def __getitem__(self, groups: slice) -> "Rays":
        return Rays(self.eye[groups], self.x[groups], self.y[groups])

    def take(self, groups: Int[Tensor, "n"]) -> "Rays":
        """Some groups."""
        return Rays(*(values.index_select(0, groups) for values in (self.eye, self.x, self.y)))

    def __len__(self) -> int:
        return self.eye.shape[0]

    def gap(self, tables: "Tables") -> Float[Tensor, "g parts"]:
        """Not negative where a group may meet a part: bounds overlap."""
        left, right, top, bottom, nx, ny, low, high = tables.bounds[:8].index_select(1, self.eye).unbind(0)
        x0, x1, y0, y1 = (end[:, None] for end in (*self.x.aminmax(dim=1), *self.y.aminmax(dim=1)))
        gap = torch.minimum(torch.minimum(right - x0, x1 - left), torch.minimum(bottom - y0, y1 - top))
        half_x, half_y = 0.5 * (x1 - x0), 0.5 * (y1 - y0)
        across = nx * (x0 + half_x) + ny * (y0 + half_y)
        reach = nx.abs() * half_x + ny.abs() * half_y
        return torch.minimum(gap, torch.minimum(high - across + reach, across + reach - low))

    def points(self, t: Float[Tensor, "g rays"]) -> Triple:
        """Points on the rays, in the axes of their eye."""
        return self.x * t, self.y * t, t

    def seen_from(self, frame: Sequence[Tensor]) -> tuple[Triple, Triple]:
        """Origins and directions in other axes, of which every ray has its own."""
        dx, dy, dz = (torch.addcmul(torch.addcmul(frame[i + 2], frame[i], self.x), frame[i + 1], self.y) for i in _ROWS)
        return (frame[3], frame[7], frame[11]), (dx, dy, dz)

    def toward(self, chosen: Int[Tensor, "n"] | None = None) -> Triple:
        """Directions, of all rays or of some places."""
        x, y = (self.x, self.y) if chosen is None else (v.reshape(-1).index_select(0, chosen) for v in (self.x, self.y))
        return x, y, torch.ones_like(x)

    def local(self, frame: Sequence[Tensor], groups: Int[Tensor, "p"]) -> tuple[Triple, Triple]:
        """Origins and directions in the axes of shapes, for pairs of a group and a frame."""
        x, y = self.x.index_select(0, groups), self.y.index_select(0, groups)
        # With the translation first both factors and the sum would be broadcast, which is four times slower.
        dx, dy, dz = (torch.addcmul(frame[i] * x, frame[i + 1], y) + frame[i + 2] for i in _ROWS)
        return (frame[3], frame[7], frame[11]), (dx, dy, dz)


@dataclass(frozen=True, eq=False)
class FreeRays:
    """Groups of rays that start anywhere, in the axes of an eye; directions need not have unit length."""

    eye: Int[Tensor, "g"]
    origin: Float[Tensor, "3 g rays"]
    direction: Float[Tensor, "3 g rays"]

    def __getitem__(self, groups: slice) -> "FreeRays":
        return FreeRays(self.eye[groups], self.origin[:, groups], self.direction[:, groups])

    def take(self, groups: Int[Tensor, "n"]) -> "FreeRays":
        """Some groups."""
        origin, direction = (values.index_select(1, groups) for values in (self.origin, self.direction))
        return FreeRays(self.eye.index_select(0, groups), origin, direction)

    def __len__(self) -> int:
        return self.eye.shape[0]

    def gap(self, tables: "Tables") -> Float[Tensor, "g parts"]:
        """Not negative where a group may meet a part: the cone around the rays touches the ball around the part."""
        unit = self.direction * self.direction.square().sum(0).rsqrt()
        axis = torch.nn.functional.normalize(unit.mean(-1), dim=0)
        opening = (axis[..., None] * unit).sum(0).amin(-1).clamp(-1, 1).acos()
        start = self.origin.mean(-1)
        spread = (self.origin - start[..., None]).square().sum(0).amax(-1).sqrt()
        x, y, z, radius = tables.balls.index_select(1, self.eye).unbind(0)
        toward = torch.stack((x, y, z)) - start[..., None]
        distance = toward.square().sum(0).sqrt().clamp_min(1e-6)
        aside = ((toward * axis[..., None]).sum(0) / distance).clamp(-1, 1).acos()
        reach = (radius + spread[:, None]) / distance
        # From within the ball everything is ahead.
        return opening[:, None] + reach.clamp_max(1).asin() - aside + 4 * (reach - 1).clamp_min(0).ceil()

    def points(self, t: Float[Tensor, "g rays"]) -> Triple:
        """Points on the rays, in the axes of their eye."""
        x, y, z = torch.addcmul(self.origin, self.direction, t).unbind(0)
        return x, y, z

    def seen_from(self, frame: Sequence[Tensor]) -> tuple[Triple, Triple]:
        """Origins and directions in other axes, of which every ray has its own."""
        return moved(frame, self.origin.unbind(0)), turned(frame, self.direction.unbind(0))

    def toward(self, chosen: Int[Tensor, "n"] | None = None) -> Triple:
        """Directions, of all rays or of some places."""
        some = self.direction if chosen is None else self.direction.reshape(3, -1).index_select(1, chosen)
        return some[0], some[1], some[2]

    def local(self, frame: Sequence[Tensor], groups: Int[Tensor, "p"]) -> tuple[Triple, Triple]:
        """Origins and directions in the axes of shapes, for pairs of a group and a frame."""
        origin, direction = (values.index_select(1, groups).unbind(0) for values in (self.origin, self.direction))
        return moved(frame, origin), turned(frame, direction)


def turned(frame: Sequence[Tensor], vector: Sequence[Tensor]) -> Triple:
    """Vectors under the rotation of frames: three rows of rotation and translation, twelve tensors."""
    x, y, z = vector
    a, b, c = (torch.addcmul(torch.addcmul(frame[i] * x, frame[i + 1], y), frame[i + 2], z) for i in _ROWS)
    return a, b, c


def moved(frame: Sequence[Tensor], point: Sequence[Tensor]) -> Triple:
    """Points under the motion of frames."""
    a, b, c = turned(frame, point)
    return a + frame[3], b + frame[7], c + frame[11]


class Tables:
    """Scenes and eyes as tensors on a device.

    A part of a scene as one eye sees it has a row: `eye * parts + place of the part in its scene`, where `parts` is the
    largest number of parts of a scene.

    Attributes:
        scenes, eyes: as given.
        placed: parts of every scene as arrays.
        parts: rows per eye.
        cameras: (4, eyes) focal lengths fx, fy and centre cx, cy in px.
        part: (rows,) place of the row's part among all parts of all scenes.
        kind: (rows,) kind of its shape, -1 for a row that stands for nothing.
        thing_or_sky: (1 + rows,) -1, then the place of every row's thing in its scene.
        frame: (12, rows) shape_from_camera, three rows of rotation and translation.
        bounds: (9, eyes, parts) where parts appear, see `_bounds`.
        balls: (4, eyes, parts) centre and radius of balls that hold them, in camera axes; -inf for nothing.
        shape: (columns, all parts) numbers of the shapes.
        used: columns that the numbers of each kind take.
        face_part: (6 * all parts,) which part a face of a room belongs to.
        world_from_part: per eye (its parts, 4, 4) in double precision, for whoever needs other axes.
    """

    def __init__(self, scenes: Sequence[Scene], eyes: Sequence[Eye], device: torch.device) -> None:
        self.scenes, self.eyes, self.device = scenes, eyes, device
        placed = self.placed = [_Placed(scene) for scene in scenes]
        counts = [len(scene.kind) for scene in placed]
        firsts = np.concatenate(([0], np.cumsum(counts)))
        self.parts = max(1, *counts)
        rows = (len(eyes), self.parts)
        kind, thing = np.full(rows, -1), np.full(rows, NONE)
        part = np.zeros(rows, dtype=np.int64)
        frame, bounds = np.zeros((12, *rows)), np.zeros((9, *rows))
        bounds[0], bounds[1] = np.inf, -np.inf
        balls = np.zeros((4, *rows))
        balls[3] = -np.inf
        self.world_from_part: list[Matrices] = []
        for place, eye in enumerate(eyes):
            scene = placed[eye.scene]
            n = len(scene.kind)
            world_from_part, present = scene.at(eye.time_s)
            self.world_from_part.append(world_from_part)
            camera_from_part = invert(eye.world_from_camera) @ world_from_part
            part[place, :n] = firsts[eye.scene] + np.arange(n)
            kind[place, :n] = np.where(present, scene.kind, -1)
            thing[place, :n] = scene.thing
            frame[:, place, :n] = invert(camera_from_part)[:, :3].reshape(n, 12).T
            found = _bounds(camera_from_part, scene.low, scene.high, scene.radius)
            drawn = present & (scene.kind >= 0)
            bounds[:, place, :n] = np.where(drawn, found, bounds[:, place, :n])
            balls[:3, place, :n] = camera_from_part[:, :3, 3].T
            balls[3, place, :n] = np.where(drawn, scene.reach, -np.inf)
        self.cameras = self.tensor(np.array([(*eye.focal_px, *eye.centre_px) for eye in eyes]).T)
        self.kind, self.part = self.tensor(kind.reshape(-1)), self.tensor(part.reshape(-1))
        self.thing_or_sky = self.tensor(np.concatenate(([NONE], thing.reshape(-1))).astype(np.int32))
        self.frame = self.tensor(frame.reshape(12, -1))
        self.bounds, self.balls = self.tensor(bounds), self.tensor(balls)
        # A spare part, for scenes without any.
        self.shape = self.tensor(np.concatenate([scene.numbers for scene in placed] + [np.zeros((1, COLUMNS))]).T)
        self.face_part = self.tensor(
            np.concatenate([scene.face_part + first for scene, first in zip(placed, firsts, strict=False)]).reshape(-1)
        )
        planes = [
            len(part.shape.planes) for scene in placed for part in scene.parts if isinstance(part.shape, Polyhedron)
        ]
        self.used = {**USED, Kind.POLYHEDRON: 4 * max(planes, default=1)}
        self.kinds = [Kind(k) for k in np.unique(kind) if k >= 0]

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """On the device; floats in single precision."""
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class _Placed:
    """Parts of one scene in order, as arrays."""

    def __init__(self, scene: Scene) -> None:
        parts = [part for thing in scene.things for part in thing.parts]
        self.parts, self.things = parts, scene.things
        self.thing = np.repeat(np.arange(len(scene.things)), [len(thing.parts) for thing in scene.things])
        rows = [numbers(part.shape) for part in parts]
        self.kind = np.array([kind for kind, _ in rows], dtype=np.int64)
        self.numbers = np.zeros((len(parts), COLUMNS))
        for place, (_, row) in enumerate(rows):
            self.numbers[place, : len(row)] = row
        self.face_part = np.repeat(np.arange(len(parts))[:, None], 6, axis=1)
        self._merge_rooms(parts)
        corners = np.array([extent(part.shape) for part in parts]).reshape(-1, 2, 3)
        self.low, self.high = corners[:, 0], corners[:, 1]
        self.radius = np.array(
            [_radius(part.shape) if isinstance(part.shape, Polyhedron | Quadric | Torus) else np.inf for part in parts]
        )
        self.reach = np.linalg.norm(np.maximum(np.abs(self.low), np.abs(self.high)), axis=1)
        self.thing_from_part = _matrices([part.rotation for part in parts], [part.center for part in parts])
        self.still = _matrices([thing.rotation for thing in scene.things], [thing.position for thing in scene.things])
        self.moving = [place for place, thing in enumerate(scene.things) if thing.motion != Motion()]

    def _merge_rooms(self, parts: Sequence[Part]) -> None:
        """Rooms of one thing in one place become the first of them; the faces remember whose they are."""
        firsts: dict[object, int] = {}
        for place, part in enumerate(parts):
            if not isinstance(part.shape, Room):
                continue
            first = firsts.setdefault((self.thing[place], part.center, part.rotation), place)
            for face, bound in enumerate((*part.shape.low, *part.shape.high)):
                nearer = bound > self.numbers[first, face] if face < 3 else bound < self.numbers[first, face]
                if nearer:
                    self.numbers[first, face], self.face_part[first, face] = bound, place
            if first != place:
                self.kind[place] = -1

    def at(self, time_s: float) -> tuple[Matrices, NDArray[np.bool_]]:
        """world_from_part of every part, and whether it is there."""
        world_from_thing = self.still.copy()
        present = np.ones(len(self.things), dtype=np.bool_)
        for place in self.moving:
            thing = self.things[place]
            world_from_thing[place] = thing.motion.pose(thing.position, thing.rotation, time_s)
            present[place] = thing.motion.exists(time_s)
        return world_from_thing[self.thing] @ self.thing_from_part, present[self.thing]


def _radius(shape: Polyhedron | Quadric | Torus) -> float:
    """Of a ball about the origin of the shape's axes that holds it."""
    match shape:
        case Polyhedron():
            return shape.radius_m
        case Torus():
            return shape.radius_m + shape.tube_m
        case Quadric():
            low, high = extent(shape)
            if shape.terms[:2] == (1.0, 0.0) and shape.terms[2] < 0:
                return max(high)
            return float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high))))


def _matrices(rotations: Sequence[Rotation], positions: Sequence[Vector]) -> Matrices:
    matrices = np.zeros((len(positions), 4, 4))
    matrices[:, :3, :3] = np.array(rotations).reshape(-1, 3, 3)
    matrices[:, :3, 3] = np.array(positions).reshape(-1, 3)
    matrices[:, 3, 3] = 1.0
    return matrices


def invert(poses: Matrices) -> Matrices:
    """Inverse of rigid motions (..., 4, 4)."""
    inverse: Matrices = geometry.invert_pose(torch.from_numpy(poses)).numpy()
    return inverse


def _bounds(camera_from_part: Matrices, low: Matrices, high: Matrices, radius: Matrices) -> Matrices:
    """Where parts can appear, in units of rays: x from, to, y from, to, and across their longest axis (n, from, to);
    last, the depth where they begin.

    Empty (inf, -inf) for a part behind the camera; everything for one that reaches the plane of the camera.
    """
    n = len(low)
    bounds = np.empty((9, n))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        which = (np.arange(8)[:, None] >> np.arange(3)) & 1
        corners = np.where(which[None] == 1, high[:, None], low[:, None])
        points = corners @ np.swapaxes(camera_from_part[:, :3, :3], 1, 2) + camera_from_part[:, None, :3, 3]
        depth = points[..., 2]
        finite = np.isfinite(points).all((1, 2))
        centre = camera_from_part[:, :3, 3]
        reaches = ~finite | ((depth.min(1) < NEAR_M) & (depth.max(1) > 0) & (centre[:, 2] + radius > 0))
        behind = finite & ~reaches & (depth.min(1) < NEAR_M)
        seen = points[..., :2] / depth[..., None]
        for axis in (0, 1):
            bounds[2 * axis] = seen[..., axis].min(1)
            bounds[2 * axis + 1] = seen[..., axis].max(1)
            # Tangents of the ball, where it lies in front of the camera.
            across, along = centre[:, axis], centre[:, 2]
            room = along**2 - radius**2
            root = radius * np.sqrt(across**2 + room)
            ball = (along > radius) & (room > 0)
            low_end, high_end = bounds[2 * axis], bounds[2 * axis + 1]
            low_end[ball] = np.maximum(low_end, (across * along - root) / room)[ball]
            high_end[ball] = np.minimum(high_end, (across * along + root) / room)[ball]
        along_axis = _axis(seen, np.argmax(high - low, axis=1), which)
        normal = np.stack((-along_axis[:, 1], along_axis[:, 0]), 1)
        across_axis = (seen * normal[:, None]).sum(2)
        bounds[4:6] = normal.T
        bounds[6], bounds[7] = across_axis.min(1), across_axis.max(1)
        bounds[8] = depth.min(1)
    slack = 1e-5
    bounds[[0, 2, 6]] -= slack
    bounds[[1, 3, 7]] += slack
    everything = np.array([-np.inf, np.inf, -np.inf, np.inf, 0.0, 0.0, -np.inf, np.inf, -np.inf])
    bounds[:, reaches] = everything[:, None]
    bounds[:, behind] = np.array([np.inf, -np.inf, np.inf, -np.inf, 0.0, 0.0, 0.0, 0.0, np.inf])[:, None]
    return bounds


def _axis(seen: Matrices, longest: NDArray[np.int64], which: NDArray[np.int64]) -> Matrices:
    """Unit direction in the picture of the longest axis of a box, from its eight projected corners."""
    sign = 2.0 * which[:, longest].T - 1.0
    direction = (seen * sign[..., None]).sum(1)
    length: Matrices = np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    return np.asarray(direction / length)


def first_hits(
    tables: Tables, rays: Rays | FreeRays, *, chunk: int, before: Float[Tensor, "g rays"] | None = None
) -> tuple[Float[Tensor, "g rays"], Int[Tensor, "g rays"]]:
    """Ray parameter of what every ray meets first (inf for the sky) and its row in the tables (-1 for the sky).

    Args:
        tables: the scenes.
        rays: groups of rays; the parameter of rays from an eye is depth.
        chunk: rays against parts to work on at a time, which bounds the memory.
        before: depth of points inside the rooms that the rays lead to; what cannot lie before them is left out, and
            with it the rooms, which are convex.
    """
    found = torch.empty(len(rays), RAYS, device=tables.device)
    rows = torch.empty(len(rays), RAYS, dtype=torch.int32, device=tables.device)
    # Blocks of equal size, so that none is small, keep the keys in reach.
    block = -(-len(rays) // -(-len(rays) * RAYS // (10 * chunk)))
    for first in range(0, len(rays), block):
        own = slice(first, first + block)
        some = rays[own]
        farthest = None if before is None else before[own].amax(1)
        keys = torch.full((len(some), RAYS), _KEY_OF_MISS, dtype=torch.int64, device=tables.device)
        for kind, groups, row in _pairs(tables, some, chunk, farthest):
            frame = tables.frame.index_select(1, row)[..., None].unbind(0)
            columns = tables.shape[: tables.used[kind]].index_select(1, tables.part.index_select(0, row))[..., None]
            t = HITS[kind](*some.local(frame, groups), columns.unbind(0))
            # Bits of positive floats sort as the floats do, and abs() makes NaN the largest: the least key is the hit.
            key = t.abs().view(torch.int32).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(row[:, None])
            keys.scatter_reduce_(0, groups[:, None].expand_as(key), key, "amin")
        t = (keys >> 32).to(torch.int32).view(torch.float32)
        torch.add(t, (t - 0.5 * MISS).clamp_min(0), alpha=1e30, out=found[own])
        # The sum carries out of the largest row into a bit that the mask drops: it becomes -1, the others stay.
        rows[own] = keys.add_(1).bitwise_and_(_NO_ROW).sub_(1)
    return found, rows


def _pairs(
    tables: Tables, rays: Rays | FreeRays, chunk: int, farthest: Float[Tensor, "g"] | None
) -> Iterator[tuple[Kind, Tensor, Tensor]]:
    """Groups and rows that may meet, of one kind at a time and at most `chunk` rays."""
    gap = rays.gap(tables)
    if farthest is not None:
        gap = torch.minimum(gap, farthest[:, None] - tables.bounds[8].index_select(0, rays.eye))
    groups, parts = (gap >= 0).nonzero(as_tuple=True)
    rows = rays.eye.index_select(0, groups) * tables.parts + parts
    kinds = tables.kind.index_select(0, rows)
    for kind in tables.kinds:
        if farthest is not None and kind == Kind.ROOM:
            continue
        chosen = (kinds == kind).nonzero().squeeze(1)
        for some in torch.split(chosen, max(1, chunk // RAYS)):
            yield kind, groups.index_select(0, some), rows.index_select(0, some)
