"""Descriptions of scenes. Axes of the left camera: x right, y down, z forward; metres."""

import random
from dataclasses import dataclass

from depthweave import geometry
from depthweave.types import Camera

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Plane:
    """All points p with normal . (p - point) = 0."""

    point: Vector
    normal: Vector
    color: Vector
    texture_seed: int
    grain_m: float = 0.25


@dataclass(frozen=True)
class Sphere:
    """All points at distance ``radius_m`` from the centre."""

    center: Vector
    radius_m: float
    color: Vector
    texture_seed: int
    grain_m: float = 0.12


@dataclass(frozen=True)
class Scene:
    """Textured surfaces, a light direction (towards the light) and the pair of cameras that looks at them."""

    surfaces: tuple[Plane | Sphere, ...]
    camera: Camera
    light: Vector = (-0.4, -0.8, -0.45)


def still_life(*, width: int = 640, height: int = 480, seed: int = 0) -> Scene:
    """Balls on a floor in front of a slanted wall, seen by a pair with a baseline of 12 cm.

    Args:
        width, height: px.
        seed: same seed, same scene.
    """
    draw = random.Random(seed)

    def color() -> Vector:
        return (draw.uniform(0.25, 1.0), draw.uniform(0.25, 1.0), draw.uniform(0.25, 1.0))

    floor = Plane((0.0, 0.8, 0.0), (0.0, -1.0, 0.0), (0.75, 0.68, 0.6), draw.getrandbits(30))
    wall = Plane((0.0, 0.0, 4.6), (0.25, 0.0, -1.0), (0.6, 0.7, 0.8), draw.getrandbits(30), 0.4)
    places = ((-0.75, 2.3, 0.42), (0.05, 1.75, 0.26), (0.85, 2.7, 0.5), (0.5, 1.5, 0.17), (-0.3, 3.3, 0.6))
    balls = tuple(
        Sphere(
            (x + draw.uniform(-0.08, 0.08), 0.8 - radius, z + draw.uniform(-0.15, 0.15)),
            radius,
            color(),
            draw.getrandbits(30),
        )
        for x, z, radius in places
    )
    floating = Sphere((draw.uniform(-0.5, -0.3), -0.35, 1.9), 0.18, color(), draw.getrandbits(30))
    camera = Camera(geometry.intrinsics_from_fov(62.0, width, height), width, height, baseline_m=0.12)
    return Scene((floor, wall, *balls, floating), camera)
