"""Drawing what is around: rooms, open ground and single walls, with what belongs there."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

from depthweave.worlds import furniture
from depthweave.worlds.looks import Wardrobe
from depthweave.worlds.objects import Piece, waving
from depthweave.worlds.placing import UP, Plane, Viewpoint, about_x, about_y, along, combine, move, rotate
from depthweave.worlds.recipe import OutdoorRecipe, Recipe, RoomRecipe, WallRecipe, choose
from depthweave.worlds.scene import Material, Part, Thing
from depthweave.worlds.shapes import IDENTITY, Box, Quadric, Room, Rotation, Vector

INF = math.inf
NEAREST_M = 0.25
"""Nothing but rooms comes nearer to the plane of the cameras."""
SUN_M = 150.0
GROUND = Room((-INF, -INF, -INF), (INF, 0.0, INF))


@dataclass(frozen=True)
class Surroundings:
    """Where a scene takes place.

    Attributes:
        things: the surroundings themselves first, then what belongs there.
        planes: sides of the room, walls and ground.
        lamp: position of the lamp or the sun.
        nearest_m, farthest_m: between which depths objects are.
        ground: whether things can stand at y = 0.
        tops: where else: the thing that it belongs to and the place in that thing's axes.
    """

    things: tuple[Thing, ...]
    planes: tuple[Plane, ...]
    lamp: Vector
    nearest_m: float
    farthest_m: float
    ground: bool = True
    tops: tuple[tuple[Thing, furniture.Top], ...] = ()


@dataclass(frozen=True)
class Builder:
    """Puts things into a view.

    Attributes:
        random: drawn from.
        view: of the left camera.
        wardrobe: of materials.
    """

    random: Random
    view: Viewpoint
    wardrobe: Wardrobe

    def picture_m(self, depth: float) -> float:
        """Width of the picture at a depth."""
        return depth / self.view.focal

    def thing(self, name: str, pieces: Iterable[Piece], position: Vector, rotation: Rotation, depth: float) -> Thing:
        """Pieces with materials."""
        pieces = tuple(pieces)
        count = 1 + max(piece[3] for piece in pieces)
        materials = self.wardrobe.draw_set(self.picture_m(depth), count)
        return clad(name, pieces, materials, position, rotation)

    def depth(self, nearest: float, farthest: float, bias: float = 1.0) -> float:
        """Uniform in inverse depth, or with more that is far."""
        near, far = 1 / nearest, 1 / max(farthest, nearest)
        share: float = self.random.random() ** bias
        return 1 / (far + (near - far) * share)

    def stand(
        self, name: str, pieces: tuple[Piece, ...], nearest: float, farthest: float, planes: tuple[Plane, ...]
    ) -> Thing | None:
        """A thing on the ground, turned anyhow, no part of it nearer than `nearest`; None if it finds no room."""
        u = self.random.uniform(-0.1, 1.1)
        wall = room_depth(self.view, planes, u, self.view.horizon(u))
        depth = self.depth(nearest, min(farthest, 0.95 * wall))
        thing = self.thing(
            name, pieces, self.view.ground_point(u, depth), about_y(self.random.uniform(0, math.tau)), depth
        )
        least, _ = self.view.reach_of(thing)
        if least < nearest:
            depth += nearest - least
            if depth > wall:
                return None
            thing = Thing(thing.parts, self.view.ground_point(u, depth), thing.rotation, name=name)
        return thing


def clad(
    name: str, pieces: Iterable[Piece], materials: tuple[Material, ...], position: Vector, rotation: Rotation
) -> Thing:
    """Pieces with the materials that their numbers ask for."""
    parts = tuple(Part(shape, materials[number], center, turned) for shape, center, turned, number in pieces)
    return Thing(parts, position, rotation, name=name)


def room_depth(view: Viewpoint, planes: Iterable[Plane], u: float, v: float) -> float:
    """Depth of the sides of a room at a place in the picture, infinite for the sky."""
    ray = view.ray(u, v)
    return min((view.depth_of(plane, ray) for plane in planes), default=INF)


def draw_surroundings(random: Random, recipe: Recipe, kind: str, view: Viewpoint, wardrobe: Wardrobe) -> Surroundings:
    """Surroundings of a kind of `SceneRecipe.kinds` for a camera above the ground y = 0."""
    builder = Builder(random, view, wardrobe)
    if kind == "room":
        return _room(builder, recipe.room)
    if kind == "outdoor":
        return _outdoor(builder, recipe.outdoor)
    return _wall(builder, recipe.wall)


def _room(builder: Builder, recipe: RoomRecipe) -> Surroundings:
    random, view = builder.random, builder.view
    half_x, half_z = recipe.size_m.draw(random) / 2, recipe.size_m.draw(random) / 2
    height = max(recipe.height_m.draw(random), 1.2 * -view.position[1])
    rotation = about_y(random.uniform(-math.pi, math.pi))
    center = _room_center(builder, rotation, half_x, half_z)
    closed = random.random() < recipe.ceiling
    sides = [
        INF if not closed and random.random() < recipe.open_side else half for half in (half_x, half_x, half_z, half_z)
    ]
    left, right, front, back = sides
    ceiling = -height if closed else -INF
    # Faces of one place with materials of their own.
    shapes = [GROUND, Room((-left, -INF, -INF), (right, INF, INF)), Room((-INF, -INF, -front), (INF, INF, back))]
    if closed:
        shapes.append(Room((-INF, ceiling, -INF), (INF, INF, INF)))
    planes = [Plane((0.0, 1.0, 0.0), 0.0)]
    if closed:
        planes.append(Plane((0.0, -1.0, 0.0), height))
    walls = []
    for normal, offset in (
        ((-1.0, 0.0, 0.0), left),
        ((1.0, 0.0, 0.0), right),
        ((0.0, 0.0, -1.0), front),
        ((0.0, 0.0, 1.0), back),
    ):
        if offset < INF:
            outward = rotate(rotation, normal)
            walls.append(Plane(outward, offset + outward[0] * center[0] + outward[2] * center[2]))
    planes += walls
    ahead = room_depth(view, planes, *view.center)
    picture = builder.picture_m(min(0.8 * ahead, 30.0))
    same = random.random() < 0.5
    materials = [builder.wardrobe.draw(picture) for _ in shapes]
    if same:
        materials[2] = materials[1]
    if random.random() < recipe.shiny_floor:
        materials[0] = builder.wardrobe.draw(picture, mirror=random.uniform(0.1, 0.5))
    parts = tuple(
        Part(shape, material)
        for shape, material in zip(shapes, materials, strict=True)
        if shape.low != (-INF,) * 3 or shape.high != (INF,) * 3
    )
    things = [Thing(parts, center, rotation, name="room")]
    nearest = min(recipe.nearest_m.draw(random), 0.6 * ahead)
    nearest = max(nearest, NEAREST_M)
    tops = []
    for _ in range(recipe.furniture.draw_count(random)):
        kind = choose(random, recipe.furniture_kinds)
        pieces, surfaces = furniture.FURNITURE[kind](random)
        thing = builder.stand(kind, pieces, max(nearest, 0.5), 15.0, tuple(planes))
        if thing is not None:
            things.append(thing)
            tops += [(thing, top) for top in surfaces]
    things += _panels(builder, walls, recipe.panels.draw_count(random), nearest)
    lamp_x, lamp_z = random.uniform(-0.8, 0.8) * half_x, random.uniform(-0.8, 0.8) * half_z
    lamp_y = -height * (random.uniform(0.7, 0.96) if closed else random.uniform(1, 3))
    lamp = move(rotate(rotation, (lamp_x, lamp_y, lamp_z)), center)
    return Surroundings(tuple(things), tuple(planes), lamp, nearest, 60.0, tops=tuple(tops))


def _room_center(builder: Builder, rotation: Rotation, half_x: float, half_z: float) -> Vector:
    """The camera stands in the rear part of the room, as it looks, and away from the walls."""
    random, view = builder.random, builder.view
    inward = rotate(
        ((rotation[0][0], 0.0, rotation[2][0]), (0.0, 1.0, 0.0), (rotation[0][2], 0.0, rotation[2][2])), (0.0, 0.0, 1.0)
    )
    back = random.uniform(0.1, 0.9) / max(abs(inward[0]) / half_x, abs(inward[2]) / half_z)
    x = random.gauss(0, 0.25) * half_x - inward[0] * back
    z = random.gauss(0, 0.25) * half_z - inward[2] * back
    margin_x, margin_z = min(0.8, 0.3 * half_x), min(0.8, 0.3 * half_z)
    x = min(max(x, margin_x - half_x), half_x - margin_x)
    z = min(max(z, margin_z - half_z), half_z - margin_z)
    x, _, z = rotate(rotation, (x, 0.0, z))
    return (view.position[0] - x, 0.0, view.position[2] - z)


def _panels(builder: Builder, walls: list[Plane], count: int, nearest: float) -> Iterator[Thing]:
    """Pictures, doors and boards on walls."""
    random, view = builder.random, builder.view
    for number in range(count):
        # No two fronts lie in one plane, where rounding would decide which of them is seen.
        thickness = 0.012 + 0.003 * number
        u, v = random.uniform(0, 1), random.uniform(0.1, 0.7) * view.aspect
        ray = view.ray(u, v)
        depth, wall = min(
            ((view.depth_of(wall, ray), wall) for wall in walls), default=(INF, None), key=lambda hit: hit[0]
        )
        if wall is None or depth == INF:
            continue
        size = random.uniform(0.05, 0.4) * builder.picture_m(depth)
        half = (min(size * random.uniform(0.5, 1.5), 3.0), min(size * random.uniform(0.5, 1.5), 2.0))
        pieces: list[Piece] = [(Box((*half, thickness)), (0.0, 0.0, 0.0), IDENTITY, 0)]
        if random.random() < 0.5:
            inner = (half[0] * 0.85, half[1] * 0.85, 0.0013)
            pieces.append((Box(inner), (0.0, 0.0, -thickness), IDENTITY, 1))
        thing = builder.thing("panel", pieces, view.point(u, v, depth), along(wall.normal), depth)
        if view.reach_of(thing)[0] > nearest:
            yield thing


def _outdoor(builder: Builder, recipe: OutdoorRecipe) -> Surroundings:
    random = builder.random
    ground = Part(GROUND, builder.wardrobe.draw(builder.picture_m(random.uniform(3, 12))))
    turned = about_y(random.uniform(0, math.tau))
    things = [Thing((ground,), rotation=turned, name="ground")]
    planes = (Plane((0.0, 1.0, 0.0), 0.0),)
    nearest, farthest = recipe.nearest_m.draw(random), recipe.farthest_m.draw(random)
    things += [_hill(builder) for _ in range(recipe.hills.draw_count(random))]
    if random.random() < recipe.uneven:
        things += _swell(builder, nearest)
    kinds: tuple[tuple[str, int, Callable[[Random], tuple[Piece, ...]], float], ...] = (
        ("building", recipe.buildings.draw_count(random), furniture.building, 8.0),
        ("tree", recipe.trees.draw_count(random), furniture.tree, 2.0),
        ("car", recipe.cars.draw_count(random), furniture.car, 2.5),
        ("fence", recipe.fences.draw_count(random), furniture.fence, 1.0),
        ("pole", recipe.poles.draw_count(random), furniture.pole, 1.0),
    )
    for name, count, build, closest in kinds:
        stood = (builder.stand(name, build(random), max(nearest, closest), farthest, planes) for _ in range(count))
        things += [thing for thing in stood if thing is not None]
    if random.random() < recipe.wires:
        span = random.uniform(8, 25)
        pieces = furniture.line(random, span, random.uniform(0.008, 0.02))
        stood_line = builder.stand("line", pieces, max(nearest, 3.0), farthest, planes)
        things += [] if stood_line is None else [stood_line]
    elevation, azimuth = math.radians(random.uniform(15, 80)), random.uniform(0, math.tau)
    level = SUN_M * math.cos(elevation)
    lamp = (level * math.cos(azimuth), -SUN_M * math.sin(elevation), level * math.sin(azimuth))
    return Surroundings(tuple(things), planes, lamp, nearest, farthest)


def _hill(builder: Builder) -> Thing:
    random, view = builder.random, builder.view
    half = (random.uniform(25, 120), random.uniform(4, 35), random.uniform(25, 90))
    depth = random.uniform(60, 250) + half[0] + half[2]
    foot = view.ground_point(random.uniform(-0.3, 1.3), depth)
    pieces = [(Quadric.ellipsoid(half), (0.0, half[1] * random.uniform(0.0, 0.5), 0.0), IDENTITY, 0)]
    return builder.thing("hill", pieces, foot, about_y(random.uniform(0, math.tau)), depth)


def _swell(builder: Builder, nearest: float) -> Iterator[Thing]:
    """A rolling piece of ground."""
    random, view = builder.random, builder.view
    half = random.uniform(6, 20)
    pieces = [(waving(random, (half, half), random.uniform(2, 6)), (0.0, 0.0, 0.0), UP, 0)]
    depth = half * 1.5 + random.uniform(1, 3) * nearest
    foot = view.ground_point(random.uniform(0.2, 0.8), depth)
    thing = builder.thing("swell", pieces, foot, about_y(random.uniform(0, math.tau)), depth)
    if view.reach_of(thing)[0] > nearest:
        yield thing


def _wall(builder: Builder, recipe: WallRecipe) -> Surroundings:
    random, view = builder.random, builder.view
    distance, floor = recipe.distance_m.draw(random), random.random() < recipe.floor
    yaw, pitch = math.radians(recipe.tilt_deg.draw(random)), math.radians(recipe.tilt_deg.draw(random))
    turned = about_y(yaw) if floor else combine(about_y(yaw), about_x(pitch))
    rotation = turned if floor else combine(view.rotation, turned)
    middle = view.point(*view.center, distance)
    normal = rotate(rotation, (0.0, 0.0, 1.0))
    wall = Plane(normal, normal[0] * middle[0] + normal[1] * middle[1] + normal[2] * middle[2])
    picture = builder.picture_m(distance)
    side = Room((-INF, -INF, -INF), (INF, INF, 0.0))
    # A wall that stands on a floor is moved along itself to there, so that both are rooms of one place.
    foot = (middle[0], 0.0, middle[2]) if floor else middle
    parts = [Part(side, builder.wardrobe.draw(picture))]
    planes = [wall]
    if floor:
        parts.append(Part(GROUND, builder.wardrobe.draw(picture)))
        planes.append(Plane((0.0, 1.0, 0.0), 0.0))
    things = [Thing(tuple(parts), foot, rotation, name="wall")]
    nearest = max(min(recipe.nearest.draw(random) * distance, 0.9 * room_depth(view, planes, *view.center)), NEAREST_M)
    if random.random() < recipe.wavy:
        half = (picture * random.uniform(0.25, 1.1), picture * random.uniform(0.2, 0.8))
        relief = waving(random, half, picture * random.uniform(0.1, 0.4), random.uniform(0.02, 0.1))
        pieces = [(relief, (0.0, 0.0, -relief.height_m * random.uniform(0.1, 1.1)), IDENTITY, 0)]
        wave = builder.thing("relief", pieces, middle, rotation, distance)
        if view.reach_of(wave)[0] > NEAREST_M:
            things.append(wave)
    beside = (
        random.uniform(-1.5, 1.5) * distance,
        -random.uniform(0.2, 1.5) * distance,
        -random.uniform(0.1, 1) * distance,
    )
    lamp = move(view.position, rotate(rotation, beside))
    if floor:
        lamp = (lamp[0], min(lamp[1], -0.3), lamp[2])
    return Surroundings(tuple(things), tuple(planes), lamp, nearest, 4 * distance, ground=floor)
