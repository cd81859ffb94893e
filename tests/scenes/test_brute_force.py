"""The oracle itself, against what can be worked out by hand."""

import math

import brute_force
import numpy as np
import pytest

from depthweave import geometry
from depthweave.types import Camera
from depthweave.worlds.motion import Motion
from depthweave.worlds.scene import Material, Part, Scene, Thing
from depthweave.worlds.shapes import (
    IDENTITY,
    Box,
    Patch,
    Polyhedron,
    Quadric,
    Relief,
    Room,
    RoundBox,
    Shape,
    Torus,
    Vector,
)

INF = math.inf
CUBE = (
    (1.0, 0.0, 0.0, 1.0),
    (-1.0, 0.0, 0.0, 1.0),
    (0.0, 1.0, 0.0, 1.0),
    (0.0, -1.0, 0.0, 1.0),
    (0.0, 0.0, 1.0, 1.0),
    (0.0, 0.0, -1.0, 1.0),
)
R2 = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("shape", "origin", "direction", "t", "normal"),
    [
        (Quadric.ellipsoid((1.0, 1.0, 1.0)), (0, 0, -5), (0, 0, 1), 4, (0, 0, -1)),
        (Quadric.ellipsoid((1.0, 1.0, 1.0)), (0, 0, -5), (0, 0, 2), 2, (0, 0, -1)),
        (Quadric.ellipsoid((1.0, 1.0, 1.0)), (0.6, 0, -5), (0, 0, 1), 4.2, (0.6, 0, -0.8)),
        (Quadric.ellipsoid((1.0, 2.0, 3.0)), (0, 5, 0), (0, -1, 0), 3, (0, 1, 0)),
        (Quadric.ellipsoid((1.0, 1.0, 1.0)), (1.01, 0, -5), (0, 0, 1), INF, (0, 0, 0)),
        (Quadric.ellipsoid((1.0, 1.0, 1.0)), (0, 0, 5), (0, 0, 1), INF, (0, 0, 0)),
        (Quadric.cylinder(1.0, 0.5, 4.0), (5, 0, 1.9), (-1, 0, 0), 4, (1, 0, 0)),
        (Quadric.cylinder(1.0, 0.5, 4.0), (0, 5, 1.9), (0, -1, 0), 4.5, (0, 1, 0)),
        (Quadric.cylinder(1.0, 0.5, 4.0), (0.5, 0, -5), (0, 0, 1), 3, (0, 0, -1)),
        (Quadric.cylinder(1.0, 0.5, 4.0, capped=False), (0.5, 0, -5), (0, 0, 1), INF, (0, 0, 0)),
        (Quadric.cylinder(1.0, 1.0, 2.0, capped=False), (0, 0, -2), (0.5, 0, 1), 2, (-1, 0, 0)),
        (Quadric.cone(1.0, 0.0, 1.0), (5, 0, 0), (-1, 0, 0), 4.5, (R2, 0, R2)),
        (Quadric.cone(1.0, 0.0, 1.0), (5, 0, 0.6), (-1, 0, 0), INF, (0, 0, 0)),
        (Quadric.vase(0.5, 1.0, 2.0), (5, 0, 0), (-1, 0, 0), 4.5, (1, 0, 0)),
        (Quadric.bowl(1.0, 1.0), (0, 0, 5), (0, 0, -1), 5, (0, 0, 1)),
        (Quadric.bowl(1.0, 1.0, capped=True), (0, 0, 5), (0, 0, -1), 4, (0, 0, 1)),
        (Box((1.0, 2.0, 3.0)), (0.5, 1.5, -5), (0, 0, 1), 2, (0, 0, -1)),
        (Box((1.0, 2.0, 3.0)), (5, 1.5, 0), (-2, 0, 0), 2, (1, 0, 0)),
        (Box((1.0, 2.0, 3.0)), (0, 0, 0), (0, 1, 0), 2, (0, -1, 0)),
        (Box((1.0, 2.0, 3.0)), (1.1, 0, -5), (0, 0, 1), INF, (0, 0, 0)),
        (Polyhedron(CUBE, 2.0), (0.9, 0.9, -5), (0, 0, 1), 4, (0, 0, -1)),
        (RoundBox((1.0, 2.0, 3.0), 4), (0, 0, -5), (0, 0, 1), 2, (0, 0, -1)),
        (RoundBox((1.0, 1.0, 1.0), 8), (5, 5, 0), (-1, -1, 0), 5 - 0.5**0.125, (R2, R2, 0)),
        (Torus(2.0, 0.5), (0, 0, -5), (0, 0, 1), INF, (0, 0, 0)),
        (Torus(2.0, 0.5), (0, 2, -5), (0, 0, 1), 4.5, (0, 0, -1)),
        (Torus(2.0, 0.5), (5, 0, 0), (-1, 0, 0), 2.5, (1, 0, 0)),
        (Torus(2.0, 0.5), (0, 0, 0), (1, 0, 0), 1.5, (-1, 0, 0)),
        (Torus(2.0, 0.5), (2.3, 0, 5), (0, 0, -1), 4.6, (0.6, 0, 0.8)),
        (Patch((1.0, 2.0)), (0.9, 1.9, -3), (0, 0, 1), 3, (0, 0, -1)),
        (Patch((1.0, 2.0)), (0.9, 1.9, 3), (0, 0, -1), 3, (0, 0, 1)),
        (Patch((1.0, 2.0), power=2), (0.9, 1.9, -3), (0, 0, 1), INF, (0, 0, 0)),
        (
            Patch((1.0, 1.0), level=-0.25, bulge=-1.0, waves=((0.0, 0.0, 0.0, 0.0),)),
            (0.6, 0, -1),
            (0, 0, 1),
            1,
            (0, 0, -1),
        ),
        (
            Patch((1.0, 1.0), level=-0.25, bulge=-1.0, waves=((0.0, 0.0, 0.0, 0.0),)),
            (0.4, 0, -1),
            (0, 0, 1),
            INF,
            (0, 0, 0),
        ),
        (Relief((1.0, 1.0), ()), (0.5, 0.5, -1), (0.1, 0, 1), 1, (0, 0, -1)),
        (Relief((1.0, 1.0), ((0.2, math.pi, 0.0, 0.0),)), (0.5, 0, -1), (0, 0, 1), 1.2, (0, 0, -1)),
        (Relief((1.0, 1.0), ((0.2, math.pi, 0.0, 0.0),)), (1.1, 0, -1), (0, 0, 1), INF, (0, 0, 0)),
        (Room((-1.0, -1.0, -1.0), (1.0, 1.0, 3.0)), (0, 0, 0), (0, 0, 1), 3, (0, 0, -1)),
        (Room((-INF, -INF, -INF), (INF, 1.0, INF)), (0, 0, 0), (0, 0.1, 1), 10, (0, -1, 0)),
        (Room((-INF, -INF, -INF), (INF, 1.0, INF)), (0, 0, 0), (0, -0.1, 1), INF, (0, 0, 0)),
    ],
)
def test_by_hand(shape: Shape, origin: Vector, direction: Vector, t: float, normal: Vector) -> None:
    rays = (np.array([origin], dtype=np.float64), np.array([direction], dtype=np.float64))
    found, found_normal = brute_force.solve(shape, *rays)
    assert found[0] == pytest.approx(t, rel=1e-9)
    np.testing.assert_allclose(found_normal[0], normal, atol=1e-6)


def _levels(shape: Shape, points: np.ndarray) -> np.ndarray:
    """Positive outside of a closed body."""
    x, y, z = np.moveaxis(points, -1, 0)
    match shape:
        case RoundBox(half, power):
            return (np.abs(points / half) ** power).sum(-1) ** (1 / power) - 1
        case Torus(radius, tube):
            return np.hypot(np.hypot(x, y) - radius, z) - tube
        case Quadric(stretch, (a, b, c), low, high):
            wide = (x / stretch[0]) ** 2 + (y / stretch[1]) ** 2 - (a + b * z + c * z * z)
            return np.maximum(wide, np.maximum(low - z, z - high))
        case Polyhedron(planes):
            return np.max([(points * p[:3]).sum(-1) - p[3] for p in planes], axis=0)
        case Box(half):
            return (np.abs(points) - half).max(-1)
    raise AssertionError


@pytest.mark.parametrize(
    "shape",
    [
        Box((0.3, 0.7, 0.5)),
        RoundBox((0.3, 0.7, 0.5), 4),
        RoundBox((0.8, 0.7, 0.5), 8),
        Polyhedron(CUBE, 2.0),
        Quadric.ellipsoid((0.8, 0.3, 0.5)),
        Quadric.cylinder(0.3, 0.5, 1.2),
        Quadric.cone(0.5, 0.2, 1.2),
        Quadric.vase(0.3, 0.6, 1.2, capped=True),
        Quadric.bowl(0.7, 0.6, capped=True),
        Torus(0.7, 0.2),
    ],
)
def test_the_first_step_into_a_body(shape: Shape) -> None:
    """Walking along random rays in small steps enters the body exactly where the oracle says."""
    rng = np.random.default_rng(7)
    origins = rng.normal(size=(400, 3))
    origins *= 4 / np.linalg.norm(origins, axis=1, keepdims=True)
    directions = rng.normal(0, 0.5, (400, 3)) - origins
    t, normal = brute_force.solve(shape, origins, directions)
    steps = np.linspace(0, 2, 4001)
    inside = _levels(shape, origins[:, None] + steps[:, None] * directions[:, None]) < 0
    entered = inside.any(1)
    # Two rays that only graze a body may differ.
    assert (entered != np.isfinite(t)).sum() <= 2
    assert entered.sum() > 50
    both = entered & np.isfinite(t)
    late = steps[inside.argmax(1)] - t
    # Rays that graze may be found one clip of the body later by steps.
    assert ((late >= -1e-9) & (late <= steps[1]))[both].sum() >= both.sum() - 2
    # Normals: outside in front, inside behind; towards the origin of the ray.
    points = origins[both] + t[both, None] * directions[both]
    assert (_levels(shape, points + 1e-7 * normal[both]) > _levels(shape, points - 1e-7 * normal[both])).mean() > 0.99
    assert ((normal[both] * directions[both]).sum(1) <= 0).all()


def test_things_are_placed_moved_and_sorted() -> None:
    camera = Camera(geometry.intrinsics_matrix(50.0, 50.0, 9.5, 7.5), 20, 16, baseline_m=0.1)
    ball = Quadric.ellipsoid((0.5, 0.5, 0.5))
    turned = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
    far = Thing((Part(ball, Material()), Part(ball, Material(), center=(1.0, 0.0, 0.0))), (0.0, 0.0, 5.0), turned)
    near = Thing((Part(ball, Material()),), (2.0, 0.0, 2.0), IDENTITY, Motion((-1.0, 0.0, 0.0), leaves_s=3.0))
    scene = Scene((far, near), camera)
    ray = (np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]))
    for time_s, expected in ((0.0, (3.5, 0, 1)), (2.0, (1.5, 1, 0)), (3.0, (3.5, 0, 1))):
        hit = brute_force.first_hit(scene, time_s, *ray)
        assert (hit.t[0], hit.thing[0], hit.part[0]) == (pytest.approx(expected[0]), *expected[1:])
    spin = Thing(
        (), (1.0, 0.0, 0.0), IDENTITY, Motion(spin_rad_s=(0.0, 0.0, 1.0), sway_m=(0.0, 1.0, 0.0), period_s=4.0)
    )
    expected = np.array([[0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
    expected[1, 3] = math.sin(2 * math.pi * (math.pi / 2) / 4)
    np.testing.assert_allclose(brute_force.thing_pose(spin, math.pi / 2), expected, atol=1e-10)
