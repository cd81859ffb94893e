"""Plain arithmetic of placing things: turns, reach of shapes, and what a camera sees where.

Rotations are tuples of three rows. Picture coordinates u and v are shares of the picture's width, from its left and
upper border.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from depthweave.worlds.scene import Part, Thing
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

UP: Rotation = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
"""Turns a shape's z axis to where gravity comes from (-y)."""


def about_x(angle_rad: float) -> Rotation:
    """A turn about x, from y towards z."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))


def about_y(angle_rad: float) -> Rotation:
    """A turn about y, from z towards x."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))


def about_z(angle_rad: float) -> Rotation:
    """A turn about z, from x towards y."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))


def combine(a: Rotation, b: Rotation) -> Rotation:
    """First b, then a."""
    if a is IDENTITY:
        return b
    if b is IDENTITY:
        return a
    (b0, b1, b2), (b3, b4, b5), (b6, b7, b8) = b
    first, second, third = (
        (x * b0 + y * b3 + z * b6, x * b1 + y * b4 + z * b7, x * b2 + y * b5 + z * b8) for x, y, z in a
    )
    return (first, second, third)


def rotate(rotation: Rotation, p: Vector) -> Vector:
    """Rotation times vector."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    x, y, z = p
    return (a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z)


def rotate_back(rotation: Rotation, p: Vector) -> Vector:
    """Inverse rotation times vector."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    x, y, z = p
    return (a * x + d * y + g * z, b * x + e * y + h * z, c * x + f * y + i * z)


def move(p: Vector, q: Vector) -> Vector:
    """p + q."""
    return (p[0] + q[0], p[1] + q[1], p[2] + q[2])


def along(direction: Vector) -> Rotation:
    """A rotation that turns z to a direction of any length but 0."""
    x, y, z = direction
    yaw, pitch = math.atan2(x, z), math.atan2(-y, math.hypot(x, z))
    return combine(about_y(yaw), about_x(pitch))


def anyhow(random: Random) -> Rotation:
    """A rotation, uniform over all: that of a unit quaternion (Shoemake, Uniform random rotations, 1992)."""
    share, first, second = random.random(), math.tau * random.random(), math.tau * random.random()
    near, far = math.sqrt(1 - share), math.sqrt(share)
    x, y, z, w = near * math.sin(first), near * math.cos(first), far * math.sin(second), far * math.cos(second)
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )


def reach(shape: Shape, direction: Vector) -> float:
    """How far a shape reaches from its 0 along a unit vector: the largest direction . p, or a little more.

    Exact but for bowls, power-shaped boxes, polyhedra, cut-out patches and reliefs; infinite for rooms.
    """
    x, y, z = direction
    match shape:
        case Box(half) | RoundBox(half):
            return abs(x) * half[0] + abs(y) * half[1] + abs(z) * half[2]
        case Patch(half):
            return abs(x) * half[0] + abs(y) * half[1]
        case Quadric((sx, sy), (a, b, c), low, high):
            across = math.hypot(sx * x, sy * y)
            if c < 0:
                return -b / (2 * c) * z + math.sqrt((a - b * b / (4 * c)) * (across * across - z * z / c))
            bottom, top = (math.sqrt(max(a + b * end + c * end * end, 0.0)) for end in (low, high))
            if b and not c:
                return max(bottom, top) * across + max(low * z, high * z)
            return max(bottom * across + low * z, top * across + high * z)
        case Torus():
            return math.hypot(x, y) * shape.radius_m + shape.tube_m
        case Polyhedron():
            faces = (offset for a, b, c, offset in shape.planes if a * x + b * y + c * z > 1 - 1e-9)
            return min(faces, default=shape.radius_m)
        case Relief():
            return abs(x) * shape.half[0] + abs(y) * shape.half[1] + abs(z) * shape.height_m
        case Room():
            return math.inf


def lowest(parts: Iterable[Part], rotation: Rotation) -> float:
    """Largest world y (downwards) that parts of a thing turned by `rotation` reach, relative to its position."""
    down = rotate_back(rotation, (0.0, 1.0, 0.0))
    return max(
        part.center[0] * down[0]
        + part.center[1] * down[1]
        + part.center[2] * down[2]
        + reach(part.shape, rotate_back(part.rotation, down))
        for part in parts
    )


@dataclass(frozen=True)
class Plane:
    """One side of a room, in world axes: inside, normal . p <= offset."""

    normal: Vector
    offset: float


@dataclass(frozen=True)
class Viewpoint:
    """The left camera at time 0; picture coordinates and the focal length are shares of the picture's width.

    Attributes:
        position, rotation: p_world = rotation p_camera + position.
        focal: length.
        center: principal point.
        aspect: height of the picture.
    """

    position: Vector
    rotation: Rotation
    focal: float
    center: tuple[float, float]
    aspect: float

    def ray(self, u: float, v: float) -> Vector:
        """What is seen there at depth 1, in camera axes."""
        return ((u - self.center[0]) / self.focal, (v - self.center[1]) / self.focal, 1.0)

    def point(self, u: float, v: float, depth: float) -> Vector:
        """What is seen there at a depth, in world axes."""
        x, y, _ = self.ray(u, v)
        return move(rotate(self.rotation, (x * depth, y * depth, depth)), self.position)

    def ground_point(self, u: float, depth: float) -> Vector:
        """The point of the ground (y = 0) in a column of the picture (it may be below or above it) at a depth."""
        x = (u - self.center[0]) / self.focal * depth
        right, down, ahead = self.rotation[1]
        y = (-self.position[1] - right * x - ahead * depth) / down
        return move(rotate(self.rotation, (x, y, depth)), self.position)

    def horizon(self, u: float) -> float:
        """The v of the horizon in a column."""
        right, down, ahead = self.rotation[1]
        return self.center[1] - (right * (u - self.center[0]) + ahead * self.focal) / down

    def seen(self, p: Vector) -> Vector:
        """A world point in camera axes."""
        x, y, z = self.position
        return rotate_back(self.rotation, (p[0] - x, p[1] - y, p[2] - z))

    def depth_of(self, plane: Plane, ray: Vector) -> float:
        """Where a ray in camera axes meets a plane; infinite if it does not."""
        nx, ny, nz = plane.normal
        dx, dy, dz = rotate(self.rotation, ray)
        slope = nx * dx + ny * dy + nz * dz
        px, py, pz = self.position
        return (plane.offset - nx * px - ny * py - nz * pz) / slope if slope > 1e-9 else math.inf

    def nearest_side(self, planes: Iterable[Plane]) -> float:
        """Least depth of a room in the picture: inverse depth is affine, so that it is largest in a corner."""
        corners = [self.ray(u, v) for u in (0.0, 1.0) for v in (0.0, self.aspect)]
        return min((self.depth_of(plane, ray) for plane in planes for ray in corners), default=math.inf)

    def reach_of(self, thing: Thing) -> tuple[float, float]:
        """Least depth of a thing, as a whole and of its parts that may be in the picture; negative is behind."""
        ahead = rotate(self.rotation, (0.0, 0.0, -1.0))
        local = rotate_back(thing.rotation, ahead)
        offset = self.seen(thing.position)
        turned = self._from(thing.rotation)
        least, least_seen = math.inf, math.inf
        for part in thing.parts:
            x, y, z = move(rotate(turned, part.center), offset)
            nearest = z - reach(part.shape, rotate_back(part.rotation, local))
            least = min(least, nearest)
            if nearest < least_seen and self._may_show(part, x, y, z, turned):
                least_seen = nearest
        return least, least_seen

    def _from(self, rotation: Rotation) -> Rotation:
        """camera_from_thing of a rotation: columns turned back."""
        (a, b, c), (d, e, f), (g, h, i) = self.rotation
        return combine(((a, d, g), (b, e, h), (c, f, i)), rotation)

    def _may_show(self, part: Part, x: float, y: float, z: float, turned: Rotation) -> bool:
        """Whether a part, its center in camera axes, is not all beyond one border of the picture."""
        left, top = self.center[0] / self.focal, self.center[1] / self.focal
        right, bottom = 1 / self.focal - left, self.aspect / self.focal - top
        for nx, ny, nz in ((1.0, 0.0, left), (-1.0, 0.0, right), (0.0, 1.0, top), (0.0, -1.0, bottom)):
            length = math.sqrt(1 + nz * nz)
            normal = (nx / length, ny / length, nz / length)
            inside = normal[0] * x + normal[1] * y + normal[2] * z
            if inside < 0 and inside + reach(part.shape, rotate_back(part.rotation, rotate_back(turned, normal))) < 0:
                return False
        return True
