"""Drawing scenes from a recipe: one seed, one scene."""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.types import Camera
from depthweave.worlds.looks import Wardrobe, draw_light, draw_sensors, draw_sky
from depthweave.worlds.motion import CameraPath
from depthweave.worlds.moves import draw_motion, draw_path, keep_clear
from depthweave.worlds.objects import FLAT, ROLLING, draw_object
from depthweave.worlds.placing import (
    UP,
    Viewpoint,
    about_x,
    about_y,
    about_z,
    anyhow,
    combine,
    lowest,
    move,
    rotate,
)
from depthweave.worlds.recipe import CameraRecipe, Recipe, choose
from depthweave.worlds.scene import Light, Material, Part, Scene, Thing
from depthweave.worlds.shapes import IDENTITY, Box, Quadric, Room, Rotation, Shape, Torus, Vector
from depthweave.worlds.surroundings import NEAREST_M, Builder, Surroundings, draw_surroundings, room_depth

EYE_ROOM = 0.45
"""The baseline is at most this share of the way to the wall on the right."""
FLOOR_M = 0.98
"""Below the camera of the still life."""


def compose(
    seed: int,
    recipe: Recipe | None = None,
    *,
    height: int = 384,
    width: int = 768,
    motion: bool = False,
    textures: Sequence[int] = range(384),
    duration_s: float | int = 2.0,
) -> Scene:
    """The scene of a seed.

    A seed gives the same scene at every size with the same ratio of the sides.

    Args:
        seed: 0 or more.
        recipe: what to draw from; None for the default.
        height, width: of the pictures in px.
        motion: whether the camera and some of the things move.
        textures: numbers of the tiles to choose from.
        duration_s: how long camera and things keep clear of each other.

    Raises:
        WrongInput: a size below 1 px or no textures.
    """
    if min(height, width) < 1:
        raise WrongInput(f"pictures of {width}x{height} px are none; height and width are 1 or more.")
    if not textures:
        raise WrongInput("there are no textures to choose from; give at least one number.")
    recipe = recipe or Recipe()
    random = Random(seed)
    view = _draw_view(random, recipe.camera, height / width)
    few = random.sample(textures, min(recipe.materials.textures.draw_count(random), len(textures)))
    wardrobe = Wardrobe(random, recipe.materials, few)
    kind = choose(random, recipe.scene.kinds)
    surroundings = draw_surroundings(random, recipe, kind, view, wardrobe)
    builder = Builder(random, view, wardrobe)
    count = recipe.clutter.count.draw_count(random)
    drawn = (_draw_object(builder, recipe, surroundings) for _ in range(count))
    things = (*surroundings.things, *(thing for thing in drawn if thing is not None))
    nearest = _nearest(view, surroundings, things)
    baseline_m = _baseline(view, surroundings, recipe.camera.largest_disparity.draw(random) * nearest / view.focal)
    light = draw_light(random, recipe.light, surroundings.lamp)
    sky = draw_sky(random, recipe.sky, textures)
    sensors = draw_sensors(random, recipe.sensor, width)
    path = CameraPath(view.position, view.rotation)
    if motion:
        weights = recipe.motion.outdoor_paths if kind == "outdoor" else recipe.motion.room_paths
        path = draw_path(random, recipe.motion, choose(random, weights), view, nearest, surroundings.planes, duration_s)
        objects = things[len(surroundings.things) :]
        moving = (draw_motion(random, recipe.motion, thing, view, duration_s) for thing in objects)
        things = keep_clear((*surroundings.things, *moving), path, baseline_m, duration_s)
    return Scene(
        things=things,
        camera=_camera(view, width, height, baseline_m),
        path=path,
        light=light,
        sky=sky,
        sensors=sensors,
        seed=random.getrandbits(31),
        name=f"{kind}_{seed}",
    )


def _draw_view(random: Random, recipe: CameraRecipe, aspect: float) -> Viewpoint:
    focal = 0.5 / math.tan(math.radians(recipe.fov_deg.draw(random)) / 2)
    center = (0.5 + recipe.center_shift.draw(random), 0.5 * aspect + recipe.center_shift.draw(random))
    pitch, roll = math.radians(recipe.pitch_deg.draw(random)), math.radians(recipe.roll_deg.draw(random))
    position = (0.0, -recipe.height_m.draw(random), 0.0)
    return Viewpoint(position, combine(about_x(pitch), about_z(roll)), focal, center, aspect)


def _camera(view: Viewpoint, width: int, height: int, baseline_m: float) -> Camera:
    focal_px = view.focal * width
    center_x, center_y = view.center[0] * width - 0.5, view.center[1] * width - 0.5
    return Camera(geometry.intrinsics_matrix(focal_px, focal_px, center_x, center_y), width, height, baseline_m)


def _nearest(view: Viewpoint, surroundings: Surroundings, things: Sequence[Thing]) -> float:
    """Depth of what is nearest in the left picture."""
    seen = (view.reach_of(thing)[1] for thing in things[1:])
    return min(view.nearest_side(surroundings.planes), *seen, surroundings.farthest_m)


def _baseline(view: Viewpoint, surroundings: Surroundings, wanted_m: float) -> float:
    """The right camera stays within the room."""
    beside = min(view.depth_of(plane, (1.0, 0.0, 0.0)) for plane in surroundings.planes)
    return min(wanted_m, EYE_ROOM * beside)


def _draw_object(builder: Builder, recipe: Recipe, surroundings: Surroundings) -> Thing | None:
    """One object, or None where it would be too near."""
    random, clutter = builder.random, recipe.clutter
    kind = choose(random, recipe.shapes.kinds)
    largest = max(clutter.size.high * min(1.0, builder.view.aspect), clutter.size.low)
    size = replace(clutter.size, high=largest).draw(random)
    if random.random() < clutter.resting:
        if surroundings.tops and random.random() < clutter.on_furniture:
            return _on_furniture(builder, recipe, surroundings, kind, size)
        if surroundings.ground:
            return _on_ground(builder, recipe, surroundings, kind, size)
    return _floating(builder, recipe, surroundings, kind, size)


def _floating(builder: Builder, recipe: Recipe, surroundings: Surroundings, kind: str, size: float) -> Thing | None:
    random, view, nearest = builder.random, builder.view, surroundings.nearest_m
    u, v = random.uniform(-0.05, 1.1), random.uniform(-0.05, 1.05) * view.aspect
    behind = min(0.97 * room_depth(view, surroundings.planes, u, v), surroundings.farthest_m)
    closest = nearest / max(1 - size / view.focal, 0.2)
    depth = builder.depth(closest, behind, recipe.clutter.far_bias.draw(random))
    picture = builder.picture_m(depth)
    pieces = draw_object(random, kind, size * picture, picture, recipe.shapes)
    attitude = _attitude(random, kind, choose(random, recipe.clutter.attitudes), view.rotation)
    thing = builder.thing(kind, pieces, view.point(u, v, depth), attitude, depth)
    least, _ = view.reach_of(thing)
    if least < nearest:
        depth += nearest - least
        thing = replace(thing, position=view.point(u, v, depth))
    return thing


def _attitude(random: Random, kind: str, attitude: str, facing: Rotation) -> Rotation:
    """How a floating object is turned; flat ones look more or less at the camera."""
    if kind in FLAT:
        if attitude == "upright":
            return facing
        spread = 0.4 if attitude == "tilted" else 0.7
        yaw, pitch = (min(max(random.gauss(0, spread), -1.2), 1.2) for _ in range(2))
        roll = random.gauss(0, 0.15) if attitude == "tilted" else random.uniform(0, math.tau)
        return combine(combine(facing, about_y(yaw)), combine(about_x(pitch), about_z(roll)))
    if attitude == "anyhow":
        return anyhow(random)
    turned = about_y(random.uniform(0, math.tau))
    if attitude == "upright":
        return turned
    return combine(combine(about_x(random.gauss(0, 0.3)), about_z(random.gauss(0, 0.3))), turned)


def _resting_attitude(random: Random, kind: str) -> Rotation:
    if kind in FLAT:
        return combine(about_y(random.gauss(0, 0.6)), about_x(random.gauss(0, 0.15)))
    if kind in ROLLING and random.random() < 0.5:
        return anyhow(random)
    return about_y(random.uniform(0, math.tau))


def _set_down(
    builder: Builder, recipe: Recipe, kind: str, radius: float, depth: float, place: Vector, nearest: float
) -> Thing | None:
    """An object that stands on a place of the world."""
    picture = builder.picture_m(depth)
    pieces = draw_object(builder.random, kind, radius, picture, recipe.shapes)
    thing = builder.thing(kind, pieces, place, _resting_attitude(builder.random, kind), depth)
    thing = replace(thing, position=(place[0], place[1] - lowest(thing.parts, thing.rotation), place[2]))
    return thing if builder.view.reach_of(thing)[0] >= nearest else None


def _on_ground(builder: Builder, recipe: Recipe, surroundings: Surroundings, kind: str, size: float) -> Thing | None:
    random, view, nearest = builder.random, builder.view, surroundings.nearest_m
    u = random.uniform(-0.05, 1.1)
    horizon = view.horizon(u)
    behind = min(0.95 * room_depth(view, surroundings.planes, u, horizon), surroundings.farthest_m)
    # From where on the ground is in the picture.
    below = view.aspect * 1.05 - horizon
    closest = max(-view.position[1] * view.focal / below, nearest) if below > 0 else nearest
    depth = builder.depth(closest, behind, recipe.clutter.far_bias.draw(random))
    radius = size * builder.picture_m(depth)
    return _set_down(builder, recipe, kind, radius, depth, view.ground_point(u, depth), nearest)


def _on_furniture(builder: Builder, recipe: Recipe, surroundings: Surroundings, kind: str, size: float) -> Thing | None:
    random, view = builder.random, builder.view
    piece, top = random.choice(surroundings.tops)
    depth = view.seen(piece.position)[2]
    radius = min(size * builder.picture_m(depth), 0.8 * min(top.half_x, top.half_z))
    x = top.x + random.uniform(-1, 1) * (top.half_x - radius)
    z = top.z + random.uniform(-1, 1) * (top.half_z - radius)
    place = move(rotate(piece.rotation, (x, top.y, z)), piece.position)
    return _set_down(builder, recipe, kind, radius, depth, place, NEAREST_M)


def still_life(*, width: int = 640, height: int = 480, seed: int = 0) -> Scene:
    """Balls and other shapes on a floor in front of a slanted wall, 2 to 5 m away, seen with a baseline of 12 cm.

    The room is closed, nothing shines, and the sensors are ideal.

    Args:
        width, height: px.
        seed: same seed, same scene.
    """
    random = Random(seed)

    def material(size_m: float) -> Material:
        gain = (random.uniform(0.5, 1.1), random.uniform(0.5, 1.1), random.uniform(0.5, 1.1))
        shift = (random.random(), random.random())
        return Material(random.randrange(384), size_m, random.uniform(-0.5, 0.5), shift, gain, (0.04, 0.04, 0.04))

    def standing(name: str, x: float, z: float, *pieces: tuple[Shape, Rotation]) -> Thing:
        place = (x + random.uniform(-0.06, 0.06), z + random.uniform(-0.06, 0.06))
        turned = about_y(random.uniform(0, math.tau))
        parts = tuple(Part(shape, material(0.6), rotation=rotation) for shape, rotation in pieces)
        return Thing(parts, (place[0], FLOOR_M - lowest(parts, turned), place[1]), turned, name=name)

    open_side = math.inf
    sides = (
        Room((-open_side,) * 3, (open_side, 0.0, open_side)),
        Room((-open_side, -open_side, -5.0), (open_side, open_side, 0.0)),
        Room((-6.0, -open_side, -open_side), (6.0, open_side, open_side)),
        Room((-open_side, -4.0, -open_side), (open_side, open_side, open_side)),
    )
    room = Thing(tuple(Part(side, material(1.6)) for side in sides), (0.0, FLOOR_M, 4.2), about_y(-0.22), name="room")
    things = (
        room,
        standing("ball", -0.85, 2.95, (Quadric.ellipsoid((0.4, 0.4, 0.4)), IDENTITY)),
        standing("ball", 1.15, 3.25, (Quadric.ellipsoid((0.5, 0.5, 0.5)), IDENTITY)),
        standing("ball", 0.55, 2.5, (Quadric.ellipsoid((0.15, 0.15, 0.15)), IDENTITY)),
        standing("box", 0.1, 3.2, (Box((0.28, 0.22, 0.2)), IDENTITY)),
        standing("vase", -0.25, 2.5, (Quadric.vase(0.07, 0.14, 0.5), UP)),
        standing("cone", 1.5, 2.75, (Quadric.cone(0.2, 0.0, 0.6), UP)),
        standing("torus", -1.6, 3.3, (Torus(0.3, 0.08), UP)),
        standing("bar", 0.75, 3.5, (Quadric.cylinder(0.02, 0.02, 1.7), UP)),
        Thing((Part(Torus(0.2, 0.05), material(0.5)),), (-0.45, -0.45, 2.8), anyhow(random), name="ring"),
        Thing((Part(Quadric.ellipsoid((0.18, 0.18, 0.18)), material(0.5)),), (0.35, -0.4, 2.7), name="ball"),
    )
    camera = Camera(geometry.intrinsics_from_fov(62.0, width, height), width, height, baseline_m=0.12)
    light = Light((-1.5, -2.2, 0.5), (0.75, 0.73, 0.7), (0.4, 0.41, 0.43))
    return Scene(things, camera, light=light, name="still_life")
