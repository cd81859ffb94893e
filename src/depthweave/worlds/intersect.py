"""Where a ray meets a shape, and the normal there: closed form where there is one, else iterations that cannot skip.

Every function takes rays origin + t direction in the shape's axes as three tensors each and the shape's numbers as
columns, all of which broadcast. It gives the smallest t > 0 on the surface; `MISS` or more (also inf or NaN) where the
ray passes by. No branches: a candidate that violates a condition gets a penalty, since selections are much slower than
arithmetic.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import cast

import torch
from torch import Tensor

from depthweave.worlds.shapes import (
    MOST_PLANES,
    MOST_WAVES,
    Box,
    Patch,
    Polyhedron,
    Quadric,
    Relief,
    Room,
    RoundBox,
    Shape,
    Torus,
    Wave,
)

MISS = 1e15
"""Metres; whatever is farther was missed."""
NEAREST = 1e-5
"""Metres along the ray; a hit closer than this is the ray's own origin."""

Triple = tuple[Tensor, Tensor, Tensor]
Columns = tuple[Tensor, ...]
Hit = Callable[[Triple, Triple, Columns], Tensor]
Bound = Callable[[Triple, Triple, Columns], tuple[Tensor, Tensor]]

_PENALTY = 1e30
_ROUNDS = (3, 3, 4, 8)
_SLOW_ROUNDS = (3, 3, 6, 12)


class Kind(IntEnum):
    """Rows of the tables are of these kinds."""

    ROOM = 0
    BOX = 1
    ROUND_BOX_4 = 2
    ROUND_BOX_8 = 3
    POLYHEDRON = 4
    ELLIPSOID = 5
    QUADRIC = 6
    TORUS = 7
    PATCH = 8
    RELIEF = 9


COLUMNS = 4 * MOST_PLANES
USED = {
    Kind.ROOM: 6,
    Kind.BOX: 3,
    Kind.ROUND_BOX_4: 3,
    Kind.ROUND_BOX_8: 3,
    Kind.POLYHEDRON: COLUMNS,
    Kind.ELLIPSOID: 3,
    Kind.QUADRIC: 8,
    Kind.TORUS: 2,
    Kind.PATCH: 9 + 4 * MOST_WAVES,
    Kind.RELIEF: 3 + 4 * MOST_WAVES,
}
"""Columns that the numbers of each kind take at most; polyhedra need fewer for fewer planes."""


def numbers(shape: Shape) -> tuple[Kind, list[float]]:
    """Kind of a shape and its row of at most `COLUMNS` numbers."""
    match shape:
        case Room():
            return Kind.ROOM, [*shape.low, *shape.high]
        case Box():
            return Kind.BOX, [*shape.half]
        case RoundBox():
            return Kind.ROUND_BOX_4 if shape.power == 4 else Kind.ROUND_BOX_8, [*shape.half]
        case Polyhedron():
            spare = [(0.0, 0.0, 1.0, shape.radius_m)] * (MOST_PLANES - len(shape.planes))
            return Kind.POLYHEDRON, [value for plane in (*shape.planes, *spare) for value in plane]
        case Quadric(terms=(1.0, 0.0, bend), low=low, high=high) if -low == high and bend == -1 / high**2:
            return Kind.ELLIPSOID, [1 / shape.stretch[0], 1 / shape.stretch[1], 1 / shape.high]
        case Quadric():
            slack = 1e-6 * (shape.high - shape.low)
            ends = (shape.low - slack, shape.high + slack)
            stretch = (1 / shape.stretch[0], 1 / shape.stretch[1])
            return Kind.QUADRIC, [*stretch, *shape.terms, *ends, 0.0 if shape.capped else 1.0]
        case Torus():
            return Kind.TORUS, [shape.radius_m, shape.tube_m]
        case Patch():
            outline = [float(shape.power == power) for power in (0, 2, 4, 8)]
            cut = bool(shape.waves) or shape.level != 0 or shape.bulge != 0
            level, bulge = (shape.level, shape.bulge) if cut else (1.0, 0.0)
            inverse = (1 / shape.half[0], 1 / shape.half[1])
            waves = _wave_row(shape.waves, shape.grid)
            return Kind.PATCH, [*inverse, *outline, float(shape.grid), level, bulge, *waves]
        case Relief():
            return Kind.RELIEF, [*shape.half, shape.height_m, *_wave_row(shape.waves, False)]


def _wave_row(waves: tuple[Wave, ...], grid: bool) -> list[float]:
    # A spare term adds nothing to a sum; in a maximum it repeats the first.
    spare = waves[0] if grid and waves else (0.0, 0.0, 0.0, 0.0)
    return [value for wave in (*waves, *[spare] * (MOST_WAVES - len(waves))) for value in wave]


def _positive(t: Tensor) -> Tensor:
    return t + (NEAREST - t).clamp_min(0) * _PENALTY


def _outside(violation: Tensor) -> Tensor:
    """0 where a condition `violation <= 0` holds, else more than `MISS`."""
    return violation.clamp_min(0) * _PENALTY


def along(origin: Triple, direction: Triple, t: Tensor) -> Triple:
    """origin + t direction."""
    x, y, z = (torch.addcmul(o, d, t) for o, d in zip(origin, direction, strict=True))
    return x, y, z


def dot(a: Triple, b: Triple) -> Tensor:
    """Of vectors as three tensors."""
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


def _scaled(vector: Triple, factors: Columns) -> Triple:
    x, y, z = (v * f for v, f in zip(vector, factors, strict=True))
    return x, y, z


def _slab(origin: Triple, direction: Triple, low: Columns, high: Columns) -> tuple[Tensor, Tensor]:
    """Where a ray enters and leaves a box; entry > exit for a ray that passes by."""
    entry, leave = None, None
    for o, d, near, far in zip(origin, direction, low, high, strict=True):
        a, b = (near - o) / d, (far - o) / d
        first, last = torch.minimum(a, b), torch.maximum(a, b)
        entry = first if entry is None else torch.maximum(entry, first)
        leave = last if leave is None else torch.minimum(leave, last)
    return cast(Tensor, entry), cast(Tensor, leave)


def _narrowed(hit: Hit, bound: Bound) -> Hit:
    """The same function, for an expensive one: only rays that meet a bound are worked on."""

    def narrowed(origin: Triple, direction: Triple, row: Columns) -> Tensor:
        entry, leave = bound(origin, direction, row)
        shape = leave.shape
        chosen = (leave - entry.clamp_min(0)).view(-1).clamp_min(0).nonzero().squeeze(1)
        line = torch.div(chosen, shape[-1], rounding_mode="floor")

        def some(value: Tensor) -> Tensor:
            return value.reshape(-1).index_select(0, line if value.shape[-1] == 1 else chosen)

        o, d = ((some(v[0]), some(v[1]), some(v[2])) for v in (origin, direction))
        t = torch.full((leave.numel(),), _PENALTY, device=leave.device)
        return t.index_copy_(0, chosen, hit(o, d, tuple(some(value) for value in row))).view(shape)

    return narrowed


def _hit_room(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """The first wall that a ray leaves the room through."""
    _, leave = _slab(origin, direction, row[:3], row[3:6])
    return _positive(leave)


def _hit_box(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """The slab method of Kay and Kajiya, SIGGRAPH 1986."""
    entry, leave = _box_bound(origin, direction, row)
    return _positive(entry + _outside(entry - leave))


def _box_bound(origin: Triple, direction: Triple, row: Columns) -> tuple[Tensor, Tensor]:
    return _slab(origin, direction, tuple(-half for half in row[:3]), row[:3])


def _hit_round_box(power: int) -> Hit:
    """Newton's method on the norm (sum |q_k|^p)^(1/p) - 1 from the box around: it is convex, so no step goes past."""

    def hit(origin: Triple, direction: Triple, row: Columns) -> Tensor:
        entry, leave = _box_bound(origin, direction, row)
        entry = entry.clamp_min(0)
        factors = tuple(1 / half for half in row[:3])

        def norm(t: Tensor, given: Columns) -> tuple[Tensor, Tensor]:
            """The norm minus 1, and its change along the ray."""
            o, d = (given[0], given[1], given[2]), (given[3], given[4], given[5])
            q = along(o, d, t)
            odd = tuple(value * value * value for value in q)
            if power == 8:
                odd = tuple(cube * cube * value for cube, value in zip(odd, q, strict=True))
            total = dot((odd[0], odd[1], odd[2]), q)
            root = total.sqrt().sqrt() if power == 4 else total.sqrt().sqrt().sqrt()
            return root - 1, dot((odd[0], odd[1], odd[2]), d) * root / total

        def step(t: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
            beyond, slope = norm(t, given)
            return t - beyond / slope, beyond

        given = (*_scaled(origin, factors), *_scaled(direction, factors))
        t = _marched(step, entry, leave, given, torch.full_like(entry, 1e-4))
        off = norm(t, given)[0].abs() - 1e-4
        return _positive(t + _outside(off) + _outside(t - leave - 1e-4 * leave.abs()))

    return hit


def _hit_polyhedron(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """The latest entry through a plane that comes before the first exit: Cyrus and Beck, TOG 1978."""
    entry, leave = None, None
    for first in range(0, len(row), 4):
        normal, offset = (row[first], row[first + 1], row[first + 2]), row[first + 3]
        toward = dot(normal, direction) + 1e-30
        t = (offset - dot(normal, origin)) / toward
        leaving = toward.sign().clamp_min(0)
        into, out = t - leaving * _PENALTY, t + (1 - leaving) * _PENALTY
        entry = into if entry is None else torch.maximum(entry, into)
        leave = out if leave is None else torch.minimum(leave, out)
    entry = cast(Tensor, entry)
    return _positive(entry + _outside(entry - cast(Tensor, leave)))


def _hit_ellipsoid(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """The first root, from the point of the ray that is nearest to the centre.

    Far from the shape the discriminant would lose its digits: Haines et al., Ray Tracing Gems (2019), chapter 7.
    """
    o, d = _scaled(origin, row[:3]), _scaled(direction, row[:3])
    square = dot(d, d)
    nearest = -dot(o, d) / square
    point = along(o, d, nearest)
    room = 1 - dot(point, point)
    half = (room.clamp_min(0) / square).sqrt()
    first = nearest - half
    # From inside the second root is the first ahead.
    return _positive(first + (NEAREST - first).sign().clamp_min(0) * 2 * half + _outside(-room))


def _hit_quadric(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """Both roots and both caps, from the point of the ray that is nearest to the centre as for ellipsoids."""
    narrow_x, narrow_y, a, b, c, low, high, uncapped = row[:8]
    one = torch.ones_like(a)
    o, d = (_scaled(vector, (narrow_x, narrow_y, one)) for vector in (origin, direction))
    nearest = -dot(o, d) / dot(d, d)
    px, py, pz = along(o, d, nearest)
    dx, dy, dz = d
    czz = c * dz
    qa = dx * dx + dy * dy - czz * dz
    qb = px * dx + py * dy - (0.5 * b) * dz - czz * pz
    qc = px * px + py * py - a - (b + c * pz) * pz
    discriminant = qb * qb - qa * qc
    q = -(qb + torch.copysign(discriminant.clamp_min(0).sqrt() + 1e-20, qb))
    found = []
    for root in (q / qa, qc / q):
        z = torch.addcmul(pz, dz, root)
        found.append(_positive(nearest + root) + _outside(low - z) + _outside(z - high))
    t = torch.minimum(found[0].nan_to_num(_PENALTY), found[1].nan_to_num(_PENALTY)) + _outside(-discriminant)
    for end in (low, high):
        root = (end - pz) / dz
        x, y = torch.addcmul(px, dx, root), torch.addcmul(py, dy, root)
        beyond = x * x + y * y - (a + (b + c * end) * end)
        cap = _positive(nearest + root) + _outside(beyond) + uncapped * _PENALTY
        t = torch.minimum(t, cap.nan_to_num(_PENALTY))
    return t


def _torus_bound(origin: Triple, direction: Triple, row: Columns) -> tuple[Tensor, Tensor]:
    """Where a ray is inside the flat box around a ring."""
    outer = row[0] + row[1]
    half = (outer, outer, row[1])
    return _slab(origin, direction, tuple(-h for h in half), half)


def _hit_torus(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """Steps by the distance to the surface (Hart, The Visual Computer 1996), or by what its slope and its greatest
    curvature allow where that is more: a ray that grazes the ring is not slowed down.
    """
    radius, tube = row[:2]
    entry, leave = _torus_bound(origin, direction, row)
    entry = entry.clamp_min(0)
    # The ray as if it started in the box and had unit length: lengths there are small and keep their digits.
    start = along(origin, direction, entry)
    length = dot(direction, direction).sqrt()

    def measured(t: Tensor, given: Columns) -> tuple[Tensor, Tensor, Tensor]:
        """Distance to the surface, its change along the ray, and distance to the axis."""
        dx, dy, dz, radius, tube = given[3:]
        x, y, z = along((given[0], given[1], given[2]), (dx, dy, dz), t)
        rho = (x * x + y * y).sqrt() + 1e-12
        aside = rho - radius
        from_middle = (aside * aside + z * z).sqrt() + 1e-12
        return from_middle - tube, (aside * (x * dx + y * dy) / rho + z * dz) / from_middle, rho

    def step(t: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        distance, slope, rho = measured(t, given)
        gap = distance.clamp_min(0)
        # Within half the way to the axis no curvature is greater than 2 / rho.
        further = 2 * gap / ((slope * slope + 4 * gap / rho).sqrt() - slope).clamp_min(1e-12)
        return t + torch.maximum(gap, torch.minimum(further, 0.5 * rho)), distance

    given = (*start, *_scaled(direction, (1 / length,) * 3), radius, tube)
    t = _marched(step, torch.zeros_like(entry), (leave - entry) * length, given, 1e-4 * tube, _SLOW_ROUNDS)
    found = entry + t / length
    off = measured(t, given)[0].abs() - 1e-4 * tube
    return _positive(found + _outside(off) + _outside(found - leave - 1e-4 * leave.abs()))


def _hit_patch(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """The plane, then the outline at the point on it."""
    t = -origin[2] / direction[2]
    u = torch.addcmul(origin[0], direction[0], t) * row[0]
    v = torch.addcmul(origin[1], direction[1], t) * row[1]
    square, two, four, eight, grid, level, bulge = row[2:9]
    uu, vv = u * u, v * v
    round_ = uu + vv
    u4, v4 = uu * uu, vv * vv
    size = square * torch.maximum(uu, vv) + two * round_ + four * (u4 + v4) + eight * (u4 * u4 + v4 * v4)
    total, top = None, None
    for amplitude, ku, kv, phase in _waves(row[9:]):
        value = amplitude * torch.addcmul(ku * u + phase, kv, v).sin()
        total = value if total is None else total + value
        top = value if top is None else torch.maximum(top, value)
    folded = torch.lerp(cast(Tensor, total), cast(Tensor, top), grid)
    return _positive(t + _outside(size - 1) + _outside(bulge * round_ - level - folded))


def _relief_bound(origin: Triple, direction: Triple, row: Columns) -> tuple[Tensor, Tensor]:
    # A little room, so that a flat one is not missed.
    half = (row[0], row[1], row[2] * (1 + 1e-6) + 1e-4)
    return _slab(origin, direction, tuple(-h for h in half), half)


def _hit_relief(origin: Triple, direction: Triple, row: Columns) -> Tensor:
    """Steps to the first root that height, slope and greatest curvature allow: none is skipped, and near the surface
    they are Newton's.
    """
    entry, leave = _relief_bound(origin, direction, row)
    first = entry.clamp_min(NEAREST)
    waves = _waves(row[3:])
    rates = tuple(ku * direction[0] + kv * direction[1] for _, ku, kv, _ in waves)
    bend = torch.stack([wave[0] * rate * rate for wave, rate in zip(waves, rates, strict=True)]).abs().sum(0) + 1e-9

    def height(t: Tensor, given: Columns) -> tuple[Tensor, Tensor]:
        """Over the surface, and its change along the ray."""
        x, y, above = along((given[0], given[1], given[2]), (given[3], given[4], given[5]), t)
        slope = given[5]
        for (amplitude, ku, kv, phase), rate in zip(_waves(given[12:]), given[8:12], strict=True):
            angle = torch.addcmul(torch.addcmul(phase, ku, x), kv, y)
            above = torch.addcmul(above, amplitude, angle.sin(), value=-1)
            slope = torch.addcmul(slope, amplitude * rate, angle.cos(), value=-1)
        return above, slope

    def step(t: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        above, slope = height(t, given)
        side, bend = given[6], given[7]
        gap, closing = (above * side).clamp_min(0), -slope * side
        return t + 2 * gap / (closing + (closing * closing + 2 * bend * gap).sqrt()).clamp_min(1e-12), above

    given = (*origin, *direction, torch.ones_like(first), bend, *rates, *row[3 : 3 + 4 * MOST_WAVES])
    given = (*given[:6], height(first, given)[0].sign(), *given[7:])
    t = _marched(step, first, leave, given, 1e-4 * (row[2] + 0.05))
    off = height(t, given)[0].abs() - 1e-4 * (row[2] + 0.05)
    slack = 1e-5 * t.abs()
    return _positive(t + _outside(off) + _outside(t - leave - slack))


def _marched(
    step: Callable[..., tuple[Tensor, Tensor]],
    t: Tensor,
    leave: Tensor,
    given: tuple[Tensor, ...],
    near_enough: Tensor,
    rounds: tuple[int, ...] = _ROUNDS,
) -> Tensor:
    """Steps along (n,) rays; those that have arrived or gone past the end drop out between the rounds.

    Args:
        step: new t, and the distance to the surface before it, from t and what is given.
        t: where to begin.
        leave: where to end.
        given: (n,) each.
        near_enough: distance at which a ray has arrived; its last step still counts.
        rounds: numbers of steps.
    """
    place, way = None, t
    for steps in rounds:
        for _ in range(steps):
            way, distance = step(way, *given)
        t = way if place is None else t.index_copy(0, place, way)
        on = torch.minimum(distance.abs() - near_enough, leave - way).clamp_min(0).nonzero().squeeze(1)
        if on.shape[0] == 0:
            break
        place = on if place is None else place.index_select(0, on)
        way, leave, near_enough, *rest = (v.index_select(0, on) for v in (way, leave, near_enough, *given))
        given = tuple(rest)
    return t


def _waves(row: Columns) -> list[Columns]:
    return [row[4 * i : 4 * i + 4] for i in range(MOST_WAVES)]


HITS: dict[Kind, Hit] = {
    Kind.ROOM: _hit_room,
    Kind.BOX: _hit_box,
    Kind.ROUND_BOX_4: _narrowed(_hit_round_box(4), _box_bound),
    Kind.ROUND_BOX_8: _narrowed(_hit_round_box(8), _box_bound),
    Kind.POLYHEDRON: _hit_polyhedron,
    Kind.ELLIPSOID: _hit_ellipsoid,
    Kind.QUADRIC: _hit_quadric,
    Kind.TORUS: _narrowed(_hit_torus, _torus_bound),
    Kind.PATCH: _hit_patch,
    Kind.RELIEF: _narrowed(_hit_relief, _relief_bound),
}


def normal_at(kind: Kind, point: Triple, row: Columns) -> Triple:
    """A normal of any length, on either side, of the surface that a point lies on.

    Args:
        kind: of all points.
        point: in the shape's axes, m.
        row: the shape's numbers for every point.
    """
    x, y, z = point
    zero = torch.zeros_like(x)
    match kind:
        case Kind.ROOM:
            return room_normal_at(point, row)[0]
        case Kind.BOX:
            side = _one_hot(_faces(point, tuple(-half for half in row[:3]), row[:3]))
            return side[0] * x.sign(), side[1] * y.sign(), side[2] * z.sign()
        case Kind.ROUND_BOX_4 | Kind.ROUND_BOX_8:
            power = 3 if kind == Kind.ROUND_BOX_4 else 7
            q = [p / half for p, half in zip(point, row[:3], strict=True)]
            most = torch.maximum(torch.maximum(q[0].abs(), q[1].abs()), q[2].abs()).clamp_min(1e-12)
            a, b, c = ((value / most).pow(power) / half for value, half in zip(q, row[:3], strict=True))
            return a, b, c
        case Kind.POLYHEDRON:
            # The face is the plane that the point is least behind.
            best, normal = torch.full_like(x, -_PENALTY), (zero, zero, zero)
            for i in range(0, len(row), 4):
                face = (row[i], row[i + 1], row[i + 2])
                beyond = dot(face, point) - row[i + 3]
                nearer = (beyond - best).sign().clamp_min(0)
                best = torch.maximum(best, beyond)
                a, b, c = (torch.lerp(old, new, nearer) for old, new in zip(normal, face, strict=True))
                normal = (a, b, c)
            return normal
        case Kind.ELLIPSOID:
            return x * row[0].square(), y * row[1].square(), z * row[2].square()
        case Kind.QUADRIC:
            narrow_x, narrow_y, a, b, c, low, high, uncapped = row[:8]
            around = (x * narrow_x).square() + (y * narrow_y).square()
            profile = a + (b + c * z) * z
            # A point clearly inside the profile can only lie on a cap.
            on_cap = ((profile - around) > 1e-4 * (profile.abs() + around) + 1e-12) & (uncapped == 0)
            keep = (~on_cap).float()
            middle = torch.where(on_cap, (z - 0.5 * (low + high)).sign(), -0.5 * b - c * z)
            return x * narrow_x.square() * keep, y * narrow_y.square() * keep, middle
        case Kind.TORUS:
            rho = (x * x + y * y).sqrt()
            shrink = 1 - row[0] / rho
            return x * shrink, y * shrink, z
        case Kind.PATCH:
            return zero, zero, torch.ones_like(x)
        case Kind.RELIEF:
            slope_x, slope_y = zero, zero
            for amplitude, ku, kv, phase in _waves(row[3:]):
                rate = amplitude * (phase + ku * x + kv * y).cos()
                slope_x, slope_y = slope_x - ku * rate, slope_y - kv * rate
            return slope_x, slope_y, torch.ones_like(x)


def room_normal_at(point: Triple, row: Columns) -> tuple[Triple, Tensor]:
    """`normal_at` of rooms, and the number of the face: low x, y, z are 0, 1, 2, high ones 3, 4, 5."""
    normal = _one_hot(_faces(point, row[:3], row[3:6]))
    # The middle of an open side is at infinity, on the side that is closed.
    beyond = [(2 * p - (near + far)).sign() for p, near, far in zip(point, row[:3], row[3:6], strict=True)]
    high = sum(axis * side.nan_to_num(0.0).clamp_min(0) for axis, side in zip(normal, beyond, strict=True))
    return normal, (normal[1] + 2 * normal[2] + 3 * high).to(torch.int32)


def _faces(point: Triple, low: Columns, high: Columns) -> list[Tensor]:
    """Distance along every axis to the nearer face."""
    return [torch.minimum((p - a).abs(), (p - b).abs()) for p, a, b in zip(point, low, high, strict=True)]


def _one_hot(distance: list[Tensor]) -> Triple:
    """1 for the axis of the least distance; an edge belongs to the first of its faces."""
    least = torch.minimum(torch.minimum(distance[0], distance[1]), distance[2])
    x, y = (distance[0] <= least).float(), (distance[1] <= least).float()
    y = y * (1 - x)
    return x, y, 1 - x - y
