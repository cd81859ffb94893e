"""Shapes in axes of their own, metres. Open surfaces are seen from both sides, closed bodies from outside."""

import math
from dataclasses import dataclass

Vector = tuple[float, float, float]
Rotation = tuple[Vector, Vector, Vector]
"""Three rows."""
Wave = tuple[float, float, float, float]
"""(amplitude, k_u, k_v, phase) of a term amplitude * sin(k_u u + k_v v + phase); k in radians per unit of u and v."""

IDENTITY: Rotation = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
MOST_PLANES = 12
MOST_WAVES = 4


@dataclass(frozen=True)
class Room:
    """The inside of a box, low <= p <= high, seen from within; an infinite bound leaves that side open to the sky.

    `Room(low=(-inf, -inf, -inf), high=(inf, 0, inf))` is a floor at y = 0, `high=(inf, inf, 0)` a wall at z = 0. The
    cameras must stay inside.
    """

    low: Vector
    high: Vector


@dataclass(frozen=True)
class Box:
    """|p| <= half in every coordinate."""

    half: Vector


@dataclass(frozen=True)
class RoundBox:
    """The superellipsoid sum (|p_k| / half_k)^power <= 1; power 4 or 8 (2 would be an ellipsoid)."""

    half: Vector
    power: int = 4


@dataclass(frozen=True)
class Polyhedron:
    """The convex body n . p <= offset of 4 to 12 planes (n_x, n_y, n_z, offset) with unit n; bounded, 0 inside.

    Attributes:
        planes: of its faces.
        radius_m: of a ball about 0 that holds it.
    """

    planes: tuple[tuple[float, float, float, float], ...]
    radius_m: float


@dataclass(frozen=True)
class Quadric:
    """A surface of revolution about z, stretched in x and y: (x / sx)^2 + (y / sy)^2 = a + b z + c z^2.

    Only the part with low <= z <= high exists; the right-hand side must not be negative there. `capped` closes both
    ends. Not capped, an open surface is seen from inside, too.
    """

    stretch: tuple[float, float]
    terms: Vector
    low: float
    high: float
    capped: bool = True

    @classmethod
    def ellipsoid(cls, half: Vector) -> "Quadric":
        """Half axes along x, y, z."""
        return cls((half[0], half[1]), (1.0, 0.0, -1.0 / half[2] ** 2), -half[2], half[2], capped=False)

    @classmethod
    def cylinder(cls, radius_x: float, radius_y: float, length: float, *, capped: bool = True) -> "Quadric":
        """From -length / 2 to length / 2; without caps a tube."""
        return cls((radius_x, radius_y), (1.0, 0.0, 0.0), -length / 2, length / 2, capped)

    @classmethod
    def cone(cls, radius: float, top_radius: float, length: float, *, capped: bool = True) -> "Quadric":
        """A frustum with `radius` at -length / 2 and `top_radius` at length / 2, 0 for a tip."""
        middle, slope = (radius + top_radius) / 2, (top_radius - radius) / length
        return cls((1.0, 1.0), (middle**2, 2 * middle * slope, slope**2), -length / 2, length / 2, capped)

    @classmethod
    def vase(cls, waist: float, radius: float, length: float, *, capped: bool = False) -> "Quadric":
        """A hyperboloid, `waist` wide in the middle and `radius` at both ends."""
        return cls(
            (1.0, 1.0), (waist**2, 0.0, (radius**2 - waist**2) / (length / 2) ** 2), -length / 2, length / 2, capped
        )

    @classmethod
    def bowl(cls, radius: float, depth: float, *, capped: bool = False) -> "Quadric":
        """A paraboloid that opens towards +z, from 0 to `depth`, where it is `radius` wide."""
        return cls((1.0, 1.0), (0.0, radius**2 / depth, 0.0), 0.0, depth, capped)


@dataclass(frozen=True)
class Torus:
    """A ring about z: (sqrt(x^2 + y^2) - radius)^2 + z^2 = tube^2, tube < radius."""

    radius_m: float
    tube_m: float


@dataclass(frozen=True)
class Patch:
    """A flat piece of the plane z = 0 with a cut-out outline.

    With u = x / half_x and v = y / half_y a point belongs to it where
    |u|^power + |v|^power <= 1 (`power` 2, 4 or 8; 0 for the whole rectangle) and, unless all of the following are
    left out, fold_i wave_i(u, v) + level - bulge (u^2 + v^2) >= 0, where fold is the sum or, with `grid`, the maximum.

    Attributes:
        half: (half_x, half_y) in m.
        power: of the outline.
        waves: up to 4.
        level, bulge: a blob has level and bulge near 1, leaves a level near 0, a ring a negative level and bulge.
        grid: maximum instead of sum: bars where any wave is high.
    """

    half: tuple[float, float]
    power: int = 0
    waves: tuple[Wave, ...] = ()
    level: float = 0.0
    bulge: float = 0.0
    grid: bool = False


@dataclass(frozen=True)
class Relief:
    """A height field z = sum of up to 4 waves of x and y (radians per m) over |x| <= half_x, |y| <= half_y."""

    half: tuple[float, float]
    waves: tuple[Wave, ...]

    @property
    def height_m(self) -> float:
        """No point is farther from the plane z = 0."""
        return math.fsum(abs(wave[0]) for wave in self.waves)


Shape = Room | Box | RoundBox | Polyhedron | Quadric | Torus | Patch | Relief


def extent(shape: Shape) -> tuple[Vector, Vector]:
    """Lowest and highest corner of a box, in the shape's axes, that holds it."""
    match shape:
        case Room():
            return shape.low, shape.high
        case Box() | RoundBox():
            half = shape.half
        case Polyhedron():
            half = (shape.radius_m,) * 3
        case Quadric():
            a, b, c = shape.terms
            turning = -b / (2 * c) if c < 0 else shape.low
            candidates = (shape.low, shape.high, min(max(turning, shape.low), shape.high))
            widest = math.sqrt(max(a + b * z + c * z * z for z in candidates))
            x, y = shape.stretch[0] * widest, shape.stretch[1] * widest
            return (-x, -y, shape.low), (x, y, shape.high)
        case Torus():
            outer = shape.radius_m + shape.tube_m
            half = (outer, outer, shape.tube_m)
        case Patch():
            half = (*shape.half, 0.0)
        case Relief():
            half = (*shape.half, shape.height_m)
    return (-half[0], -half[1], -half[2]), half
