"""Objects that float and lie about: each kind is a function that draws pieces of about a given radius.

Axes of an object are those of the world (y down), in its natural posture: standing upright, flat ones facing z.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from depthweave.worlds.placing import UP, about_y, about_z, along, anyhow, combine
from depthweave.worlds.recipe import ShapesRecipe
from depthweave.worlds.shapes import (
    IDENTITY,
    Box,
    Patch,
    Polyhedron,
    Quadric,
    Relief,
    Rotation,
    RoundBox,
    Shape,
    Torus,
    Vector,
    Wave,
)

Piece = tuple[Shape, Vector, Rotation, int]
"""A shape, where and how it stands in its object's axes, and the number of its material."""
FLAT = frozenset({"blob", "foliage", "ring", "lattice", "card", "relief"})
ROLLING = frozenset({"ellipsoid", "torus", "bar", "sticks", "wire"})
"""Kinds that may lie anyhow where they rest."""
MIDDLE = (0.0, 0.0, 0.0)


def draw_object(
    random: Random, kind: str, radius_m: float, picture_m: float, recipe: ShapesRecipe
) -> tuple[Piece, ...]:
    """Pieces of one object, none farther than about the radius from 0.

    Args:
        random: drawn from.
        kind: a name of `recipe.kinds`.
        radius_m: half of its largest side.
        picture_m: width of the picture at its depth; bars and wires are so many shares of it thick.
        recipe: of shapes.
    """
    return OBJECTS[kind](random, radius_m, picture_m, recipe)


def _one(shape: Shape, rotation: Rotation = IDENTITY) -> tuple[Piece, ...]:
    return ((shape, MIDDLE, rotation, 0),)


def _sides(random: Random, radius: float, recipe: ShapesRecipe) -> Vector:
    """Half sides of different length, the largest of them the radius."""
    x, y, z = (recipe.aspect.draw(random) for _ in range(3))
    scale = radius / max(x, y, z)
    return (x * scale, y * scale, z * scale)


def _box(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    return _one(Box(_sides(random, radius, recipe)))


def _round_box(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    return _one(RoundBox(_sides(random, radius, recipe), random.choice((4, 4, 8))))


def _ellipsoid(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    ball = random.random() < 0.4
    return _one(Quadric.ellipsoid((radius,) * 3 if ball else _sides(random, radius, recipe)))


def _cylinder(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    x, y, z = _sides(random, radius, recipe)
    across = x if random.random() < 0.7 else y
    return _one(Quadric.cylinder(x, across, 2 * z, capped=random.random() < 0.75), UP)


def _cone(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    bottom, top, height = _sides(random, radius, recipe)
    top = 0.0 if random.random() < 0.5 else top
    return _one(Quadric.cone(bottom, top, 2 * height, capped=random.random() < 0.8), UP)


def _vase(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    wide, _, height = _sides(random, radius, recipe)
    return _one(Quadric.vase(wide * random.uniform(0.2, 0.85), wide, 2 * height, capped=random.random() < 0.4), UP)


def _bowl(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    return _one(Quadric.bowl(radius, radius * random.uniform(0.3, 1.5)), UP)


def _torus(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    tube = radius * math.exp(random.uniform(math.log(0.04), math.log(0.42)))
    return _one(Torus(radius - tube, tube), UP if random.random() < 0.4 else IDENTITY)


def _polyhedron(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    body = random.choice((_prism, _prism, _pyramid, _stone))
    return _one(body(random, _sides(random, radius, recipe)), UP if random.random() < 0.7 else IDENTITY)


def _directions(random: Random) -> tuple[list[float], float]:
    """3 to 8 directions all around, and the cosine of half the widest gap."""
    count = random.randint(3, 8)
    start, step = random.uniform(0, math.tau), math.tau / count
    angles = [start + step * (place + random.uniform(-0.15, 0.15)) for place in range(count)]
    widest = max(b - a for a, b in pairwise((*angles, angles[0] + math.tau)))
    return angles, math.cos(widest / 2)


def _prism(random: Random, sides: Vector) -> Shape:
    """A plate or a column over a polygon."""
    radius, thin, height = sides
    height = height * random.uniform(0.02, 0.3) if random.random() < 0.4 else height
    angles, inner = _directions(random)
    lean = random.uniform(-0.3, 0.3) if thin < 0.6 * radius else 0.0
    planes = [(math.cos(angle), math.sin(angle), 0.0, radius * inner) for angle in angles]
    cap = (math.sin(lean), 0.0, math.cos(lean), height)
    corner = math.hypot(radius, height / math.cos(lean) + radius * math.tan(abs(lean)))
    return Polyhedron((*planes, cap, (0.0, 0.0, -1.0, height)), corner)


def _pyramid(random: Random, sides: Vector) -> Shape:
    """With its tip cut off in half of the cases."""
    radius, _, height = sides
    angles, inner = _directions(random)
    length = math.hypot(radius * inner, 2 * height)
    across, up = 2 * height / length, radius * inner / length
    offset = up * height  # through the tip at z = height
    planes = [(across * math.cos(angle), across * math.sin(angle), up, offset) for angle in angles]
    if random.random() < 0.5:
        planes.append((0.0, 0.0, 1.0, height * random.uniform(0.1, 0.7)))
    return Polyhedron((*planes, (0.0, 0.0, -1.0, height)), math.hypot(radius, height))


def _stone(random: Random, sides: Vector) -> Shape:
    """A box with corners and edges cut off."""
    planes = [
        (float(sign * (k == 0)), float(sign * (k == 1)), float(sign * (k == 2)), sides[k])
        for k in range(3)
        for sign in (-1, 1)
    ]
    for _ in range(random.randint(2, 6)):
        ((_, _, x), (_, _, y), (_, _, z)) = anyhow(random)
        corner = abs(x) * sides[0] + abs(y) * sides[1] + abs(z) * sides[2]
        planes.append((x, y, z, corner * random.uniform(0.55, 0.85)))
    return Polyhedron(tuple(planes), math.hypot(*sides))


def _bar(random: Random, radius: float, picture: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    thick = min(recipe.bar_width.draw(random) * picture / 2, radius / 2)
    length = max(radius * 1.5, 3 * thick)
    if random.random() < 0.5:
        return _one(Quadric.cylinder(thick, thick, 2 * length), UP)
    return _one(Box((thick, length, thick * random.choice((1.0, 1.0, 3.0)))))


def chain(points: Sequence[Vector], radius: float, material: int = 0) -> tuple[Piece, ...]:
    """Thin cylinders from point to point."""
    pieces = []
    for (ax, ay, az), (bx, by, bz) in pairwise(points):
        way = (bx - ax, by - ay, bz - az)
        cylinder = Quadric.cylinder(radius, radius, math.hypot(*way) + radius, capped=False)
        pieces.append((cylinder, ((ax + bx) / 2, (ay + by) / 2, (az + bz) / 2), along(way), material))
    return tuple(pieces)


def _wire(random: Random, radius: float, picture: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    count = random.randint(3, 8)
    waves = [(random.uniform(0, 0.35), random.uniform(1, 7), random.uniform(0, math.tau)) for _ in range(2)]
    points = [
        (
            radius * waves[0][0] * math.sin(waves[0][1] * t + waves[0][2]),
            radius * (2 * t - 1),
            radius * waves[1][0] * math.sin(waves[1][1] * t + waves[1][2]),
        )
        for t in (place / count for place in range(count + 1))
    ]
    return chain(points, recipe.wire_width.draw(random) * picture / 2)


def _sticks(random: Random, radius: float, picture: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    """A fan, a rack or a heap."""
    count, thick = random.randint(3, 8), min(recipe.bar_width.draw(random) * picture / 2, radius / 8)
    order = random.randrange(3)
    pieces = []
    for place in range(count):
        share = 2 * place / (count - 1) - 1
        turned = (
            about_z(share * 0.7),
            IDENTITY,
            combine(about_y(random.uniform(0, math.tau)), about_z(random.gauss(0, 0.5))),
        )[order]
        center = (share * radius * 0.7, 0.0, 0.0) if order == 1 else (0.0, 0.0, 2.2 * thick * (place - count / 2))
        half = (thick, radius * random.uniform(0.6, 1.0), thick)
        pieces.append((Box(half), center, turned, place % 2))
    return tuple(pieces)


def _waves(random: Random, count: int, low: float, high: float, slow: float, fast: float) -> tuple[Wave, ...]:
    """Waves in any direction with amplitudes from low to high and wave numbers between slow and fast."""
    waves = []
    for _ in range(count):
        direction, number = random.uniform(0, math.pi), random.uniform(slow, fast)
        phase = random.uniform(0, math.tau)
        waves.append((random.uniform(low, high), number * math.cos(direction), number * math.sin(direction), phase))
    return tuple(waves)


def _face(random: Random, radius: float, recipe: ShapesRecipe) -> tuple[float, float]:
    width, height, _ = _sides(random, radius, recipe)
    return (width, height)


def _blob(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    waves = _waves(random, random.randint(2, 4), 0.1, 0.35, 2.0, 9.0)
    return _one(Patch(_face(random, radius, recipe), 8, waves, random.uniform(0.6, 0.9), 1.3))


def foliage(random: Random, half: tuple[float, float]) -> Patch:
    """Leaves: a round patch of waves cut off at a level."""
    return Patch(half, 2, _waves(random, 4, 0.4, 1.0, 4.0, 20.0), random.uniform(-0.4, 0.6))


def _foliage(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    return _one(foliage(random, _face(random, radius, recipe)))


def _ring(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    inner, wobble = random.uniform(0.55, 0.92), _waves(random, 1, 0.0, 0.06, 1.0, 6.0)
    return _one(Patch(_face(random, radius, recipe), random.choice((2, 2, 4, 8)), wobble, -inner * inner, -1.0))


def lattice(half: tuple[float, float], bars: tuple[float, float], share: float, phase: float = 0.0) -> Patch:
    """So many bars per direction (0 leaves them out) that cover a share of it."""
    waves = [(1.0, math.pi * bars[0] * (k == 0), math.pi * bars[1] * (k == 1), phase) for k in range(2) if bars[k]]
    return Patch(half, 0, tuple(waves), -math.cos(math.pi * share), grid=True)


def _lattice(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    bars = random.choice(((1, 1), (1, 1), (1, 0), (0, 1)))
    counts = (bars[0] * random.uniform(1.5, 8), bars[1] * random.uniform(1.5, 8))
    half = _face(random, radius, recipe)
    return _one(lattice(half, counts, random.uniform(0.12, 0.4), random.uniform(0, math.tau)))


def _card(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    return _one(Patch(_face(random, radius, recipe), random.choice((0, 0, 2, 4, 8))))


def _relief(random: Random, radius: float, _: float, recipe: ShapesRecipe) -> tuple[Piece, ...]:
    return _one(waving(random, _face(random, radius, recipe), radius))


def waving(random: Random, half: tuple[float, float], scale: float, height: float = 0.05) -> Relief:
    """A height field: waves of about `scale` and longer, no steeper than about 45 degrees each."""
    waves = []
    for _ in range(random.randint(2, 4)):
        direction, number = random.uniform(0, math.pi), random.uniform(1, 6) / scale
        amplitude = min(random.uniform(0.3, 1.6) * height * scale, 0.6 / number)
        phase = random.uniform(0, math.tau)
        waves.append((amplitude, number * math.cos(direction), number * math.sin(direction), phase))
    return Relief(half, tuple(waves))


Draw = Callable[[Random, float, float, ShapesRecipe], tuple[Piece, ...]]
OBJECTS: dict[str, Draw] = {
    "box": _box,
    "round_box": _round_box,
    "ellipsoid": _ellipsoid,
    "cylinder": _cylinder,
    "cone": _cone,
    "vase": _vase,
    "bowl": _bowl,
    "torus": _torus,
    "polyhedron": _polyhedron,
    "bar": _bar,
    "wire": _wire,
    "sticks": _sticks,
    "blob": _blob,
    "foliage": _foliage,
    "ring": _ring,
    "lattice": _lattice,
    "card": _card,
    "relief": _relief,
}
