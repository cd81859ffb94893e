"""Every shape alone, in many places, against the oracle."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import brute_force
import numpy as np
import pytest

from depthweave import geometry
from depthweave.types import Camera
from depthweave.worlds import Material, Part, Scene, Thing, View, render_pairs
from depthweave.worlds.motion import CameraPath
from depthweave.worlds.shapes import (
    IDENTITY,
    Box,
    Patch,
    Polyhedron,
    Quadric,
    Relief,
    Room,
    Rotation,
    RoundBox,
    Shape,
    Torus,
    Vector,
)

WIDTH, HEIGHT, FOCAL_PX = 72, 54, 70.0
PLACEMENTS = 12
CAMERA = Camera(geometry.intrinsics_matrix(FOCAL_PX, FOCAL_PX, 34.6, 27.3), WIDTH, HEIGHT, baseline_m=0.1)
INF = math.inf
MATERIAL = Material(texture=3)


def rotation(rng: np.random.Generator) -> Rotation:
    """Uniform among all rotations."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return rows(q * np.linalg.det(q))


def rows(matrix: np.ndarray) -> Rotation:
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in matrix)
    return a, b, c


def vector(values: Sequence[float] | np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


def polyhedron(rng: np.random.Generator, faces: int) -> Polyhedron:
    """Planes near 0 in directions that bound a body without long tips."""
    while True:
        normals = rng.normal(size=(faces, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        offsets = rng.uniform(0.15, 0.3, faces)
        triples = np.array(list(combinations(range(faces), 3)))
        corners = np.linalg.solve(normals[triples], offsets[triples][..., None])[..., 0]
        kept = (corners @ normals.T <= offsets + 1e-9).all(1)
        corners, meeting = corners[kept], triples[kept]
        # Euler: a bounded body whose corners are meetings of three faces has 2 F - 4 of them.
        bounded = len(corners) == 2 * len(np.unique(meeting)) - 4
        if bounded and np.linalg.norm(corners, axis=1).max() < 0.85:
            planes = tuple((*vector(n), float(offset)) for n, offset in zip(normals, offsets, strict=True))
            return Polyhedron(planes, float(np.linalg.norm(corners, axis=1).max()))


def waves(rng: np.random.Generator, count: int, amplitude: float, speed: float) -> tuple[tuple[float, ...], ...]:
    return tuple(
        (
            float(rng.uniform(0.3, 1) * amplitude),
            float(rng.normal(0, speed)),
            float(rng.normal(0, speed)),
            float(rng.uniform(0, 6)),
        )
        for _ in range(count)
    )


SHAPES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "box": lambda rng: Box(vector(rng.uniform(0.05, 0.6, 3))),
    "bar": lambda rng: Box(vector((0.6, 0.02, rng.uniform(0.01, 0.05)))),
    "round box 4": lambda rng: RoundBox(vector(rng.uniform(0.15, 0.6, 3)), 4),
    "round box 8": lambda rng: RoundBox(vector(rng.uniform(0.15, 0.6, 3)), 8),
    "tetrahedron": lambda rng: polyhedron(rng, 4),
    "polyhedron": lambda rng: polyhedron(rng, int(rng.integers(6, 13))),
    "ball": lambda rng: Quadric.ellipsoid((0.5, 0.5, 0.5)),
    "ellipsoid": lambda rng: Quadric.ellipsoid(vector(rng.uniform(0.1, 0.6, 3))),
    "cylinder": lambda rng: Quadric.cylinder(*map(float, rng.uniform(0.1, 0.5, 2)), float(rng.uniform(0.2, 1.2))),
    "wire": lambda rng: Quadric.cylinder(0.012, 0.012, 1.2),
    "tube": lambda rng: Quadric.cylinder(0.4, 0.3, float(rng.uniform(0.2, 1)), capped=False),
    "cone": lambda rng: Quadric.cone(0.4, 0.0, float(rng.uniform(0.4, 1.2))),
    "frustum": lambda rng: Quadric.cone(0.4, 0.2, float(rng.uniform(0.4, 1.2)), capped=bool(rng.integers(2))),
    "vase": lambda rng: Quadric.vase(0.15, 0.4, 1.0, capped=bool(rng.integers(2))),
    "bowl": lambda rng: Quadric.bowl(0.5, float(rng.uniform(0.2, 0.8)), capped=bool(rng.integers(2))),
    "thick torus": lambda rng: Torus(0.4, float(rng.uniform(0.15, 0.3))),
    "thin torus": lambda rng: Torus(0.5, float(rng.uniform(0.02, 0.06))),
    "rectangle": lambda rng: Patch((0.6, float(rng.uniform(0.1, 0.6)))),
    "disc": lambda rng: Patch((0.6, float(rng.uniform(0.2, 0.6))), power=2),
    "superellipse": lambda rng: Patch((0.6, 0.4), power=int(rng.choice([4, 8]))),
    "blob": lambda rng: Patch((0.6, 0.5), 2, waves(rng, 3, 0.3, 4.0), level=0.7, bulge=0.9),
    "leaves": lambda rng: Patch((0.6, 0.6), 2, waves(rng, 4, 0.6, 7.0)),
    "ring": lambda rng: Patch((0.6, 0.5), 2, waves(rng, 1, 0.02, 3.0), level=-0.3, bulge=-1.0),
    "grid": lambda rng: Patch((0.6, 0.5), 0, ((1.0, 15.0, 0.0, 1.0), (1.0, 0.0, 15.0, 2.0)), level=-0.7, grid=True),
    "relief": lambda rng: Relief((0.6, 0.5), waves(rng, int(rng.integers(1, 5)), 0.05, 6.0)),
    "steep relief": lambda rng: Relief((0.6, 0.5), waves(rng, 4, 0.1, 5.0)),
    "flat relief": lambda rng: Relief((0.6, 0.5), ()),
}


def placed(shape: Shape, rng: np.random.Generator, kind: int) -> Scene:
    """Plain in front, turned, near (it fills the picture), far (a few pixels), part of a thing, or seen edge-on."""
    turned = IDENTITY if kind == 0 else rotation(rng)
    distance = {0: 2.0, 2: 0.9, 3: float(rng.uniform(8, 15))}.get(kind, float(rng.uniform(1.6, 3)))
    if kind == 4:  # its x-y plane holds nearly the ray through its centre
        tilt = math.radians(float(rng.uniform(0.3, 3)))
        spin = float(rng.uniform(0, 2 * math.pi))
        about_z = np.array([[math.cos(spin), -math.sin(spin), 0], [math.sin(spin), math.cos(spin), 0], [0.0, 0.0, 1.0]])
        about_x = np.array([[1.0, 0, 0], [0, math.sin(tilt), -math.cos(tilt)], [0, math.cos(tilt), math.sin(tilt)]])
        turned = rows(about_z @ about_x)
    aside = rng.uniform(-0.2, 0.2, 2) * distance
    # The whole world is turned as well, so that no step can rely on a camera along the world's axes.
    world = np.array(rotation(rng)) if kind else np.eye(3)
    eye = rng.normal(0, 3, 3) if kind else np.zeros(3)
    center, part_rotation = (vector(rng.normal(0, 0.2, 3)), rotation(rng)) if kind == 5 else ((0.0, 0.0, 0.0), IDENTITY)
    position = vector(world @ np.array([*aside, distance]) + eye)
    thing = Thing((Part(shape, MATERIAL, center, part_rotation),), position, rows(world @ np.array(turned)))
    return Scene((thing,), CAMERA, CameraPath(vector(eye), rows(world)))


def rooms(rng: np.random.Generator) -> list[Scene]:
    """Closed, a floor only, a wall only, a corner, upright and turned."""
    bounds: list[tuple[Vector, Vector]] = [
        ((-2.0, -1.5, -1.0), (1.0, 1.2, 6.0)),
        ((-INF, -INF, -INF), (INF, 1.2, INF)),
        ((-INF, -INF, -INF), (INF, INF, 3.0)),
        ((-1.0, -INF, -INF), (INF, 1.0, INF)),
        ((-1.0, -INF, -5.0), (2.0, 1.0, 9.0)),
    ]
    scenes = []
    for low, high in bounds:
        for turned in (np.eye(3), np.array(rotation(rng))):
            eye = rng.uniform(-0.4, 0.4, 3)
            looks = np.linalg.qr(np.eye(3) + rng.normal(0, 0.15, (3, 3)))[0]
            looks = looks * np.sign(np.diag(looks))
            looks[:, 0] *= np.linalg.det(looks)
            position = rng.normal(size=3)
            thing = Thing((Part(Room(low, high), MATERIAL),), vector(position), rows(turned))
            scenes.append(Scene((thing,), CAMERA, CameraPath(vector(position + turned @ eye), rows(turned @ looks))))
    return scenes


@dataclass
class Comparison:
    """Of a shape in all its places."""

    pixels: int = 0
    hits: int = 0
    other_coverage: int = 0
    depth_errors: list[np.ndarray] = None  # type: ignore[assignment]
    angles_deg: list[np.ndarray] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.depth_errors, self.angles_deg = [], []

    def add(self, scene: Scene, view: View, *, right: bool) -> None:
        """One rendered view beside the oracle's."""
        hit = brute_force.look(scene, 0.0, brute_force.all_pixels(scene), right=right)
        depth = view.depth.numpy().astype(np.float64).ravel()
        both = np.isfinite(hit.t) & np.isfinite(depth)
        self.pixels += len(depth)
        self.hits += int(both.sum())
        self.other_coverage += int((np.isfinite(hit.t) != np.isfinite(depth)).sum())
        self.depth_errors.append(np.abs(depth[both] / hit.t[both] - 1))
        normals = view.normals.numpy().astype(np.float64).reshape(3, -1).T
        assert np.abs(np.linalg.norm(normals[np.isfinite(depth)], axis=1) - 1).max(initial=0) < 1e-5
        in_camera = hit.normal[both] @ brute_force.camera_pose(scene, 0.0)[:3, :3]
        across = np.linalg.norm(np.cross(normals[both], in_camera), axis=1)
        self.angles_deg.append(np.degrees(np.arctan2(across, (normals[both] * in_camera).sum(1))))

    def holds(self) -> None:
        """The bars."""
        errors, angles = np.concatenate(self.depth_errors), np.concatenate(self.angles_deg)
        assert self.hits > 500
        assert self.other_coverage <= 1e-3 * self.pixels
        assert np.quantile(errors, 0.999) <= 1e-5
        assert np.median(angles) <= 0.1
        assert (angles <= 1.0).mean() >= 0.99


def compared(scenes: Sequence[Scene]) -> Comparison:
    batch = render_pairs(scenes, smooth=False, noise=False)
    comparison = Comparison()
    for place, scene in enumerate(scenes):
        comparison.add(scene, batch.left[place], right=False)
        comparison.add(scene, batch.right[place], right=True)
    return comparison


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_alone(name: str) -> None:
    rng = np.random.default_rng(list(SHAPES).index(name))
    compared([placed(SHAPES[name](rng), rng, kind % 6) for kind in range(PLACEMENTS)]).holds()


def test_rooms_from_inside() -> None:
    compared(rooms(np.random.default_rng(1))).holds()


@pytest.mark.parametrize("shift", [(0.0, 0.0, 2e-4), (0.01, 0.0, 0.0)])
def test_a_small_shift_is_noticed(shift: Vector) -> None:
    rng = np.random.default_rng(3)
    scenes = [placed(SHAPES["ellipsoid"](rng), rng, 0) for _ in range(2)]
    batch = render_pairs(scenes, smooth=False, noise=False)
    comparison = Comparison()
    for place, scene in enumerate(scenes):
        (thing,) = scene.things
        moved = replace(thing, position=vector(np.array(thing.position) + shift))
        comparison.add(replace(scene, things=(moved,)), batch.left[place], right=False)
    with pytest.raises(AssertionError):
        comparison.holds()
