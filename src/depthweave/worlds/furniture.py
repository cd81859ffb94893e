"""Furniture, and what stands outdoors: pieces on the ground y = 0 in axes of their own (x right, y down), metres."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from depthweave.worlds.objects import Piece, chain, foliage, lattice
from depthweave.worlds.placing import UP, about_x, about_y, combine
from depthweave.worlds.shapes import IDENTITY, Box, Patch, Polyhedron, Quadric, RoundBox, Shape


@dataclass(frozen=True)
class Top:
    """Where something may stand: a level rectangle at `y`, its middle and half sides along x and z."""

    x: float
    y: float
    z: float
    half_x: float
    half_z: float


Furniture = tuple[tuple[Piece, ...], tuple[Top, ...]]


def _solid(x: float, y: float, z: float, half_x: float, half_y: float, half_z: float, material: int = 0) -> Piece:
    return (Box((half_x, half_y, half_z)), (x, y, z), IDENTITY, material)


def _upright(shape: Shape, x: float, y: float, z: float, material: int = 0) -> Piece:
    return (shape, (x, y, z), UP, material)


def _legs(random: Random, half_x: float, half_z: float, height: float, material: int) -> list[Piece]:
    thick, round_legs = random.uniform(0.012, 0.045), random.random() < 0.4
    inset = random.uniform(0.02, 0.08) + thick
    legs = []
    for x in (inset - half_x, half_x - inset):
        for z in (inset - half_z, half_z - inset):
            if round_legs:
                legs.append(_upright(Quadric.cylinder(thick, thick, height), x, -height / 2, z, material))
            else:
                legs.append(_solid(x, -height / 2, z, thick, height / 2, thick, material))
    return legs


def _table(random: Random) -> Furniture:
    half_x, half_z, height = random.uniform(0.3, 1.0), random.uniform(0.25, 0.5), random.uniform(0.35, 0.95)
    board = random.uniform(0.01, 0.03)
    under = height - 2 * board
    if random.random() < 0.2:
        across = min(half_x, half_z * 1.5)
        top = _upright(Quadric.cylinder(across, across, 2 * board), 0.0, board - height, 0.0)
        stem = random.uniform(0.03, 0.08)
        foot = _upright(Quadric.cone(across * 0.6, stem, 0.1), 0.0, -0.05, 0.0, 1)
        column = _upright(Quadric.cylinder(stem, stem, under), 0.0, -under / 2, 0.0, 1)
        return (top, column, foot), (Top(0.0, -height, 0.0, across * 0.7, across * 0.7),)
    pieces = [_solid(0.0, board - height, 0.0, half_x, board, half_z), *_legs(random, half_x, half_z, under, 1)]
    tops = [Top(0.0, -height, 0.0, half_x, half_z)]
    if random.random() < 0.3:
        shelf = under * random.uniform(0.2, 0.6)
        pieces.append(_solid(0.0, -shelf, 0.0, half_x * 0.85, 0.01, half_z * 0.85))
        tops.append(Top(0.0, -shelf - 0.01, 0.0, half_x * 0.8, half_z * 0.8))
    return tuple(pieces), tuple(tops)


def _chair(random: Random) -> Furniture:
    half, seat, high = random.uniform(0.18, 0.26), random.uniform(0.38, 0.5), random.uniform(0.75, 1.15)
    pieces = [_solid(0.0, 0.015 - seat, 0.0, half, 0.015, half), *_legs(random, half, half, seat - 0.03, 1)]
    back, bar = half - 0.02, (high - seat) / 2
    kind = random.randrange(3)
    if kind == 0:
        pieces.append(_solid(0.0, -seat - bar, back, half, bar, 0.012))
    else:
        pieces += [_solid(x, -seat - bar, back, 0.015, bar, 0.015, 1) for x in (0.02 - half, half - 0.02)]
        if kind == 1:
            pieces += [_solid(0.0, -seat - bar * k, back, half - 0.03, 0.03, 0.008) for k in (0.8, 1.3, 1.8)]
        else:
            bars = lattice((half - 0.03, bar * 0.9), (random.uniform(2, 5), 0.0), random.uniform(0.2, 0.4))
            pieces.append((bars, (0.0, -seat - bar, back), IDENTITY, 1))
            pieces.append(_solid(0.0, -seat - 1.9 * bar, back, half - 0.03, 0.03, 0.012))
    return tuple(pieces), (Top(0.0, -seat, 0.0, half, half * 0.9),)


def _shelf(random: Random) -> Furniture:
    half_x, half_z, height = random.uniform(0.3, 0.8), random.uniform(0.12, 0.22), random.uniform(0.8, 2.1)
    board, count = random.uniform(0.008, 0.02), random.randint(3, 6)
    pieces = [_solid(x, -height / 2, 0.0, board, height / 2, half_z) for x in (-half_x, half_x)]
    tops = []
    for place in range(count):
        y = -board - (height - 2 * board) * place / (count - 1)
        pieces.append(_solid(0.0, y, 0.0, half_x - board, board, half_z, place % 2))
        tops.append(Top(0.0, y - board, 0.0, half_x * 0.9, half_z))
    if random.random() < 0.6:
        pieces.append(_solid(0.0, -height / 2, half_z, half_x, height / 2, 0.005, 1))
    return tuple(pieces), tuple(tops)


def _cupboard(random: Random) -> Furniture:
    half_x, half_z, height = random.uniform(0.25, 0.8), random.uniform(0.2, 0.35), random.uniform(0.5, 2.1)
    pieces = [_solid(0.0, -height / 2, 0.0, half_x, height / 2, half_z)]
    doors = random.randint(1, 3)
    for place in range(doors):
        x = half_x * ((2 * place + 1) / doors - 1)
        pieces.append(_solid(x, -height / 2, -half_z, half_x / doors * 0.94, height / 2 * 0.95, 0.012, 1))
    pieces.append(_solid(0.0, -height, 0.0, half_x + 0.02, 0.015, half_z + 0.02))
    return tuple(pieces), (Top(0.0, -height - 0.015, 0.0, half_x, half_z),)


def _bed(random: Random) -> Furniture:
    half_x, half_z, height = random.uniform(0.4, 0.95), random.uniform(0.95, 1.05), random.uniform(0.3, 0.6)
    pieces = [
        _solid(0.0, -height * 0.4, 0.0, half_x, height * 0.15, half_z),
        *_legs(random, half_x, half_z, height * 0.25, 0),
        (RoundBox((half_x * 0.98, height * 0.25, half_z * 0.98), 8), (0.0, -height * 0.75, 0.0), IDENTITY, 1),
        _solid(0.0, -height * 0.9, half_z, half_x, height * 0.9, 0.02),
    ]
    for x in (-0.45, 0.45) if half_x > 0.6 else (0.0,):
        pillow = RoundBox((min(half_x * 0.4, 0.35), 0.07, 0.2), 4)
        pieces.append((pillow, (x * half_x, -height - 0.04, half_z * 0.75), IDENTITY, 0))
    return tuple(pieces), (Top(0.0, -height, -half_z * 0.2, half_x * 0.8, half_z * 0.6),)


def _column(random: Random) -> Furniture:
    height, wide = random.uniform(2, 5), random.uniform(0.04, 0.25)
    body = Quadric.cylinder(wide, wide, height)
    if random.random() < 0.5:
        return (_solid(0.0, -height / 2, 0.0, wide, height / 2, wide),), ()
    return (_upright(body, 0.0, -height / 2, 0.0), _solid(0.0, -0.05, 0.0, 1.3 * wide, 0.05, 1.3 * wide, 1)), ()


FURNITURE: dict[str, Callable[[Random], Furniture]] = {
    "table": _table,
    "chair": _chair,
    "shelf": _shelf,
    "cupboard": _cupboard,
    "bed": _bed,
    "column": _column,
}


def building(random: Random) -> tuple[Piece, ...]:
    """A block, with a lattice of window frames on each of two fronts and a flat, hipped or pitched roof."""
    half_x, half_z, height = random.uniform(3, 12), random.uniform(3, 10), random.uniform(3, 22)
    pieces = [_solid(0.0, -height / 2, 0.0, half_x, height / 2, half_z)]
    floors, share = height / random.uniform(2.6, 3.6), random.uniform(0.35, 0.65)
    for width, offset, turned in ((half_x, half_z, IDENTITY), (half_z, half_x, about_y(math.pi / 2))):
        bars = lattice((width, height / 2), (width / random.uniform(0.8, 2), floors / 2), share)
        for sign in (-1.0, 1.0):
            place = (offset + 0.06) * sign
            center = (0.0, -height / 2, place) if turned is IDENTITY else (place, -height / 2, 0.0)
            pieces.append((bars, center, turned, 1))
    roof = random.random()
    if roof < 0.4:
        rise = random.uniform(1, 4)
        slope, length = rise / (half_z + 0.3), math.hypot(rise, half_z + 0.3)
        across, up = rise / length, (half_z + 0.3) / length
        # Both slopes meet at z = rise above the eaves; gables at the ends.
        planes = (
            (0.0, across, up, up * rise),
            (0.0, -across, up, up * rise),
            (1.0, 0.0, 0.0, half_x + 0.3),
            (-1.0, 0.0, 0.0, half_x + 0.3),
            (0.0, 0.0, -1.0, 0.05),
        )
        radius = math.hypot(half_x + 0.3, half_z + 0.3 + 0.05 / slope, rise)
        pieces.append((Polyhedron(planes, radius), (0.0, -height, 0.0), UP, 2))
    elif roof < 0.7:
        pieces.append(_solid(0.0, -height, 0.0, half_x + 0.3, 0.15, half_z + 0.3, 2))
    return tuple(pieces)


def tree(random: Random) -> tuple[Piece, ...]:
    """A trunk with a crown of leafy patches, an ellipsoid or a cone, or bare branches."""
    height, thick = random.uniform(1.5, 9), random.uniform(0.03, 0.25)
    trunk = height * random.uniform(0.2, 0.5)
    crown, middle = (height - trunk) / 2, -(height + trunk) / 2
    wide = crown * random.uniform(0.4, 1.1)
    full = _upright(Quadric.cone(thick, thick * 0.4, height * 0.8), 0.0, -height * 0.4, 0.0, 0)
    kind = random.random()
    if kind < 0.5:
        pieces = [full]
        for place in range(random.randint(3, 6)):
            x, z = random.uniform(-0.4, 0.4) * wide, random.uniform(-0.4, 0.4) * wide
            half = (wide * random.uniform(0.6, 1), crown * random.uniform(0.5, 0.9))
            turned = combine(about_y(random.uniform(0, math.pi)), about_x(random.gauss(0, 0.3)))
            pieces.append(
                (foliage(random, half), (x, middle + random.uniform(-0.3, 0.3) * crown, z), turned, 1 + place % 2)
            )
        return tuple(pieces)
    if kind < 0.65:
        return full, (Quadric.ellipsoid((wide, crown, wide)), (0.0, middle, 0.0), IDENTITY, 1)
    if kind < 0.8:
        return full, _upright(Quadric.cone(wide, 0.0, 2 * crown), 0.0, middle, 0.0, 1)
    pieces = [full]
    for _ in range(random.randint(4, 9)):
        start, angle = height * random.uniform(0.3, 0.75), random.uniform(0, math.tau)
        length, rise = wide * random.uniform(0.5, 1.2), wide * random.uniform(-0.1, 0.9)
        end = (length * math.cos(angle), -start - rise, length * math.sin(angle))
        pieces += chain(((0.0, -start, 0.0), end), thick * random.uniform(0.1, 0.35))
    return tuple(pieces)


def car(random: Random) -> tuple[Piece, ...]:
    """A body, a cabin and four wheels."""
    half_x, half_z, low = random.uniform(1.6, 2.4), random.uniform(0.75, 0.95), random.uniform(0.15, 0.25)
    body, cabin = random.uniform(0.25, 0.4), random.uniform(0.2, 0.45)
    wheel = random.uniform(0.27, 0.36)
    make = (lambda half: RoundBox(half, 8)) if random.random() < 0.6 else Box
    shift = random.uniform(-0.25, 0.25) * half_x
    pieces: list[Piece] = [
        (make((half_x, body, half_z)), (0.0, -low - body, 0.0), IDENTITY, 0),
        (
            make((half_x * random.uniform(0.4, 0.65), cabin, half_z * 0.9)),
            (shift, -low - 2 * body - cabin * 0.9, 0.0),
            IDENTITY,
            1,
        ),
    ]
    for x in (-0.62 * half_x, 0.62 * half_x):
        for z in (-half_z, half_z):
            pieces.append((Quadric.cylinder(wheel, wheel, 0.22), (x, -wheel, z), IDENTITY, 2))
    return tuple(pieces)


def fence(random: Random) -> tuple[Piece, ...]:
    """Posts with bars, wires or a board in between."""
    half, height, posts = random.uniform(1.5, 6), random.uniform(0.7, 1.8), random.randint(2, 5)
    thick = random.uniform(0.02, 0.06)
    pieces = [
        _solid(half * (2 * place / (posts - 1) - 1), -height / 2, 0.0, thick, height / 2, thick)
        for place in range(posts)
    ]
    spacing = random.uniform(0.08, 0.4)
    kind = random.randrange(4)
    if kind == 3:
        pieces.append(_solid(0.0, -height / 2, 0.0, half, height * 0.45, 0.015, 1))
    else:
        bars = ((half / spacing, 0.0), (0.0, height / 2 / spacing), (half / spacing, height / 2 / spacing))[kind]
        net = lattice((half, height * 0.45), bars, random.uniform(0.1, 0.45))
        pieces.append((net, (0.0, -height / 2, 0.0), IDENTITY, 1))
    return tuple(pieces)


def pole(random: Random) -> tuple[Piece, ...]:
    """A pole with a sign or a lamp, or nothing."""
    height, thick = random.uniform(1.8, 7), random.uniform(0.02, 0.12)
    pieces = [_upright(Quadric.cylinder(thick, thick, height), 0.0, -height / 2, 0.0)]
    kind, wide = random.random(), random.uniform(0.2, 0.6)
    if kind < 0.35:
        sign = Patch((wide, wide * random.uniform(0.4, 1)), random.choice((0, 2, 8)))
        pieces.append((sign, (0.0, -height * 0.92, -thick - 0.01), IDENTITY, 1))
    elif kind < 0.6:
        pieces.append(_solid(wide, -height, 0.0, wide, 0.04, 0.06, 1))
    return tuple(pieces)


def line(random: Random, span_m: float, wire_m: float) -> tuple[Piece, ...]:
    """Three poles with cross-bars, along x and `span_m` apart, and wires that hang between them."""
    height, sag = random.uniform(4, 8), span_m * random.uniform(0.02, 0.06)
    arm = random.uniform(0.4, 1.2)
    pieces = []
    for x in (-span_m, 0.0, span_m):
        pieces.append(_upright(Quadric.cylinder(0.1, 0.1, height), x, -height / 2, 0.0))
        pieces.append(_solid(x, 0.15 - height, 0.0, 0.05, 0.05, arm))
    for z in (-arm, arm, 0.0)[: random.randint(1, 3)]:
        for left in (-span_m, 0.0):
            points = [(left + span_m * t / 4, sag * t * (4 - t) / 4 - height, z) for t in range(5)]
            pieces += chain(points, wire_m, 1)
    return tuple(pieces)
