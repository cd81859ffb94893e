"""Drawing how cameras and things move, and keeping them clear of each other."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from depthweave.worlds.motion import CameraPath, Driving, HandHeld, Motion, Orbiting, Shake
from depthweave.worlds.placing import Plane, Viewpoint, anyhow, rotate, rotate_back
from depthweave.worlds.recipe import MotionRecipe, choose
from depthweave.worlds.scene import Part, Thing
from depthweave.worlds.shapes import Vector, extent

CLEARANCE_M = 0.25
"""Things stay that far from both cameras."""
MOMENTS = 9
"""Of a clip, at which distances are checked."""
MOST_OF_THE_WAY = 0.6
"""That a camera moves towards a wall, or across what is nearest."""


def draw_path(
    random: Random,
    recipe: MotionRecipe,
    kind: str,
    view: Viewpoint,
    nearest_m: float,
    planes: Sequence[Plane],
    duration_s: float | int,
) -> CameraPath:
    """A path of a kind of `MotionRecipe.room_paths` that starts at the view and stays within the planes.

    Args:
        random: drawn from.
        recipe: of motion.
        kind: still, hand_held, orbiting or driving.
        view: at time 0.
        nearest_m: least depth of the picture, by which walks are measured.
        planes: sides of the room.
        duration_s: of the clip.
    """
    if kind == "still":
        return CameraPath(view.position, view.rotation)
    pan, tilt = (math.radians(recipe.turn_deg_s.draw(random)) for _ in range(2))
    speed = min(recipe.shift.draw(random) * nearest_m, MOST_OF_THE_WAY * nearest_m / duration_s)
    if kind == "driving":
        free = _free_way(view, planes, (0.0, 0.0, 1.0))
        limit = MOST_OF_THE_WAY * free / duration_s
        return Driving(
            view.position,
            view.rotation,
            speed_m_s=min(recipe.speed_m_s.draw(random), limit),
            turn_rad_s=pan,
            swing_rad=random.gauss(0, 0.01),
        )
    shift, turn = min(recipe.shake_m.draw(random), 0.05 * nearest_m), math.radians(recipe.shake_deg.draw(random))
    shake = Shake((shift,) * 3, (turn, turn, 0.7 * turn), seed=random.getrandbits(30))
    if kind == "orbiting":
        radius = min(random.uniform(1.2, 4) * nearest_m, _free_way(view, planes, (0.0, 0.0, 1.0)))
        beside = min(_free_way(view, planes, (side, 0.0, 0.0)) for side in (-1.0, 1.0))
        spin = random.choice((-1, 1)) * min(speed, MOST_OF_THE_WAY * beside / duration_s) / radius
        center = view.point(*view.center, radius)
        return Orbiting(
            view.position, view.rotation, center=center, spin_rad_s=(0.2 * tilt * spin, spin, 0.0), shake=shake
        )
    direction = _direction(random, (1.0, 0.5, 1.0))
    speed = min(speed, MOST_OF_THE_WAY * _free_way(view, planes, direction) / duration_s)
    velocity = _scaled(rotate(view.rotation, direction), speed)
    return HandHeld(view.position, view.rotation, velocity_m_s=velocity, spin_rad_s=(0.5 * tilt, pan, 0.0), shake=shake)


def _free_way(view: Viewpoint, planes: Iterable[Plane], direction: Vector) -> float:
    """How far it is to the next plane along a unit vector in camera axes."""
    return min((view.depth_of(plane, direction) for plane in planes), default=math.inf)


def _scaled(p: Vector, factor: float) -> Vector:
    return (p[0] * factor, p[1] * factor, p[2] * factor)


def _direction(random: Random, weights: Vector) -> Vector:
    """A unit vector, mostly along the axes of large weight."""
    x, y, z = rotate(anyhow(random), (0.0, 0.0, 1.0))
    x, y, z = x * weights[0], y * weights[1], z * weights[2]
    return _scaled((x, y, z), 1 / math.hypot(x, y, z))


def draw_motion(random: Random, recipe: MotionRecipe, thing: Thing, view: Viewpoint, duration_s: float | int) -> Thing:
    """The thing, in some cases with a motion of its own."""
    if random.random() >= recipe.moving:
        return thing
    kind = choose(random, recipe.moves)
    moment = random.uniform(0.1, 0.9) * duration_s
    if kind == "appear":
        return replace(thing, motion=Motion(appears_s=moment))
    if kind == "leave":
        return replace(thing, motion=Motion(leaves_s=moment))
    spin = _scaled(_spin_axis(random), math.radians(recipe.object_turn_deg_s.draw(random)))
    if kind == "spin":
        return replace(thing, motion=Motion(spin_rad_s=spin))
    speed = recipe.object_shift.draw(random) * view.seen(thing.position)[2] / view.focal
    flat = random.random() < 0.6
    velocity = _scaled(_direction(random, (1.0, 0.0 if flat else 0.7, 0.7)), speed)
    if kind == "sway":
        period = recipe.period_s.draw(random)
        return replace(thing, motion=Motion(sway_m=_scaled(velocity, period / math.tau), period_s=period))
    turning = spin if random.random() < 0.3 else (0.0, 0.0, 0.0)
    return replace(thing, motion=Motion(velocity_m_s=velocity, spin_rad_s=turning))


def _spin_axis(random: Random) -> Vector:
    return (0.0, random.choice((-1.0, 1.0)), 0.0) if random.random() < 0.6 else _direction(random, (1.0, 1.0, 1.0))


def keep_clear(
    things: Sequence[Thing], path: CameraPath, baseline_m: float, duration_s: float | int
) -> tuple[Thing, ...]:
    """Things without those that come too close to a camera on its path; the first, the surroundings, stays.

    Args:
        things: to choose from.
        path: of the left camera.
        baseline_m: to the right camera.
        duration_s: how long.
    """
    times = [duration_s * moment / (MOMENTS - 1) for moment in range(MOMENTS)]
    poses = [path.world_from_camera(time) for time in times]
    left = [pose[:3, 3] for pose in poses]
    eyes = [(eye, eye + baseline_m * pose[:3, 0]) for eye, pose in zip(left, poses, strict=True)]
    return (things[0], *(thing for thing in things[1:] if not _meets(thing, times, eyes)))


def _meets(thing: Thing, times: Sequence[float], eyes: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    size = CLEARANCE_M + max(math.hypot(*part.center) + _radius(part) for part in thing.parts)
    for time, both in zip(times, eyes, strict=True):
        pose = thing.motion.pose(thing.position, thing.rotation, time)
        for eye in both:
            away = eye - pose[:3, 3]
            if float(away @ away) < size * size:
                local = tuple((pose[:3, :3].T @ away).tolist())
                if any(_near(part, local) for part in thing.parts):
                    return True
    return False


def _radius(part: Part) -> float:
    low, high = extent(part.shape)
    return math.hypot(*(max(-a, b) for a, b in zip(low, high, strict=True)))


def _near(part: Part, eye: Vector) -> bool:
    """Whether a point in a thing's axes is close to the box around a part, or inside."""
    away = (eye[0] - part.center[0], eye[1] - part.center[1], eye[2] - part.center[2])
    p = rotate_back(part.rotation, away)
    low, high = extent(part.shape)
    return math.hypot(*(max(a - x, x - b, 0.0) for a, b, x in zip(low, high, p, strict=True))) < CLEARANCE_M
