"""Scenes that are drawn: the same for a seed, in front of the cameras, with the disparities of the recipe."""

import math
from collections.abc import Iterator
from functools import lru_cache
from random import Random

import numpy as np
import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.worlds import placing
from depthweave.worlds.compose import compose, still_life
from depthweave.worlds.motion import STILL
from depthweave.worlds.objects import OBJECTS, draw_object
from depthweave.worlds.placing import Viewpoint, reach, rotate
from depthweave.worlds.recipe import ClutterRecipe, Range, Recipe, SceneRecipe, ShapesRecipe
from depthweave.worlds.scene import Scene
from depthweave.worlds.sensor import IDEAL
from depthweave.worlds.shapes import Box, Patch, Polyhedron, Quadric, Relief, Room, Shape, Torus
from depthweave.worlds.surroundings import NEAREST_M

SEEDS = range(60)
KINDS = ("room", "outdoor", "wall")


@lru_cache
def scene(seed: int) -> Scene:
    return compose(seed)


def view_of(scene: Scene) -> Viewpoint:
    k, width = scene.camera.intrinsics.double(), scene.camera.width
    center = (float(k[0, 2] + 0.5) / width, float(k[1, 2] + 0.5) / width)
    aspect = scene.camera.height / width
    return Viewpoint(scene.path.position, scene.path.rotation, float(k[0, 0]) / width, center, aspect)


def same(a: Scene, b: Scene) -> bool:
    cameras = a.camera.to_dict() == b.camera.to_dict()
    rest = ("things", "path", "light", "sky", "sensors", "seed", "name")
    return cameras and all(getattr(a, name) == getattr(b, name) for name in rest)


@pytest.mark.parametrize("motion", [False, True])
def test_a_seed_gives_one_scene(motion: bool) -> None:
    assert same(compose(7, motion=motion), compose(7, motion=motion))
    assert not same(compose(7, motion=motion), compose(8, motion=motion))


def test_a_seed_gives_the_same_scene_at_every_size() -> None:
    small, large = compose(5, height=96, width=192), compose(5, height=384, width=768)
    assert small.things == large.things
    assert small.camera.baseline_m == large.camera.baseline_m
    resized = large.camera.resized(96, 192).intrinsics
    torch.testing.assert_close(small.camera.intrinsics, resized)
    assert small.sensors[0].blur_px * 4 == pytest.approx(large.sensors[0].blur_px)


def test_surroundings_come_first_and_are_rooms() -> None:
    for seed in SEEDS:
        first, *others = scene(seed).things
        assert all(isinstance(part.shape, Room) for part in first.parts)
        assert not any(isinstance(part.shape, Room) for thing in others for part in thing.parts)


def test_both_eyes_are_inside_every_room() -> None:
    for seed in SEEDS:
        some = scene(seed)
        assert some.camera.baseline_m is not None
        left = np.array(some.path.position)
        right = left + some.camera.baseline_m * np.array(some.path.rotation)[:, 0]
        for eye in (left, right, np.array(some.light.position)):
            local = np.array(some.things[0].rotation).T @ (eye - some.things[0].position)
            for part in some.things[0].parts:
                assert (np.array(part.shape.low) < local).all(), seed
                assert (local < np.array(part.shape.high)).all(), seed


def test_nothing_crosses_the_plane_of_the_cameras() -> None:
    for seed in SEEDS:
        view = view_of(scene(seed))
        for thing in scene(seed).things[1:]:
            assert view.reach_of(thing)[0] > NEAREST_M - 1e-6, (seed, thing.name)


def test_the_largest_disparity_is_within_the_range() -> None:
    shares = []
    for seed in SEEDS:
        some = scene(seed)
        view = view_of(some)
        nearest = min((view.reach_of(thing)[1] for thing in some.things[1:]), default=math.inf)
        assert some.camera.baseline_m is not None
        shares.append(some.camera.baseline_m * view.focal / nearest)
    assert max(shares) < 0.3 + 1e-6
    assert np.median(shares) > 0.03


def test_sizes_of_scenes() -> None:
    parts = [sum(len(thing.parts) for thing in scene(seed).things) for seed in SEEDS]
    assert 30 < np.median(parts) < 80
    assert max(parts) < 220


def test_every_kind_of_surroundings_comes_up() -> None:
    assert {scene(seed).name.split("_")[0] for seed in SEEDS} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_decides(kind: str) -> None:
    recipe = Recipe(
        scene=SceneRecipe(kinds={kind: 1.0}),
        shapes=ShapesRecipe(kinds={"torus": 1.0}),
        clutter=ClutterRecipe(count=Range(5, 5), resting=0.0),
    )
    for seed in range(4):
        some = compose(seed, recipe)
        assert some.name == f"{kind}_{seed}"
        assert sum(thing.name == "torus" for thing in some.things) == 5


def test_textures_are_those_that_were_given() -> None:
    some = compose(2, textures=range(40, 43))
    used = {part.material.texture for thing in some.things for part in thing.parts} | {some.sky.texture}
    assert used <= {40, 41, 42}


def test_most_things_rest_on_something_or_float_in_view() -> None:
    for seed in SEEDS:
        view = view_of(scene(seed))
        objects = [thing for thing in scene(seed).things if thing.name in OBJECTS]
        seen = [view.reach_of(thing)[1] < math.inf for thing in objects]
        assert np.mean(seen) > 0.5, seed


def test_what_moves_keeps_clear_of_the_cameras() -> None:
    moving, paths = 0, set()
    for seed in range(25):
        some = compose(seed, motion=True, duration_s=2.0)
        paths.add(type(some.path).__name__)
        moving += sum(thing.motion is not STILL for thing in some.things)
        for time_s in (0.0, 0.5, 1.0, 1.5, 2.0):
            eye = some.path.world_from_camera(time_s)[:3, 3]
            inside = np.array(some.things[0].rotation).T @ (eye - some.things[0].position)
            assert all((np.array(part.shape.low) < inside).all() for part in some.things[0].parts)
            assert all((inside < np.array(part.shape.high)).all() for part in some.things[0].parts)
            for thing in some.things[1:]:
                pose = thing.motion.pose(thing.position, thing.rotation, time_s)
                for part in thing.parts:
                    center = pose[:3, :3] @ part.center + pose[:3, 3]
                    assert np.linalg.norm(center - eye) > 0.2
    assert moving > 40
    assert paths >= {"HandHeld", "Driving", "Orbiting"}


def test_sizes_and_textures_are_checked() -> None:
    with pytest.raises(WrongInput, match="0x10 px"):
        compose(0, width=0, height=10)
    with pytest.raises(WrongInput, match="no textures"):
        compose(0, textures=())


# Shapes


def surface_points(shape: Shape, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Points of a shape: on a ball, an axis box or a ring around it, drawn in by a test that knows the shape."""
    for _ in range(4000):
        p = random.uniform(-1.3, 1.3, 3)
        match shape:
            case Quadric():
                z = min(max(p[2], shape.low), shape.high)
                radius = math.sqrt(max(shape.terms[0] + shape.terms[1] * z + shape.terms[2] * z * z, 0))
                angle = 3 * p[0]
                yield np.array(
                    (shape.stretch[0] * radius * math.cos(angle), shape.stretch[1] * radius * math.sin(angle), z)
                )
            case Torus():
                ring, tube = 3 * p[0], 3 * p[1]
                out = shape.radius_m + shape.tube_m * math.cos(tube)
                yield np.array((out * math.cos(ring), out * math.sin(ring), shape.tube_m * math.sin(tube)))
            case Polyhedron():
                if all(np.dot(plane[:3], p) <= plane[3] for plane in shape.planes):
                    yield p
            case Patch():
                yield np.array((*np.clip(p[:2], -1, 1) * shape.half, 0.0))
            case Relief():
                x, y = np.clip(p[:2], -1, 1) * shape.half
                yield np.array((x, y, sum(a * math.sin(u * x + v * y + phase) for a, u, v, phase in shape.waves)))
            case _:
                yield np.clip(p, -1, 1) * shape.half


@pytest.mark.parametrize("kind", sorted(OBJECTS))
def test_objects_are_as_large_as_they_say(kind: str) -> None:
    numbers, random = np.random.default_rng(0), Random(3)
    for _ in range(6):
        for shape, _, _, _ in draw_object(random, kind, 1.0, 1.0, ShapesRecipe()):
            points = np.array(list(surface_points(shape, numbers)))
            for _ in range(3):
                direction = rotate(placing.anyhow(random), (0.0, 0.0, 1.0))
                farthest = float((points @ direction).max())
                assert farthest <= reach(shape, direction) + 1e-9
                assert reach(shape, direction) < 2.2
                if isinstance(shape, (Box, Torus)):
                    assert farthest > 0.8 * reach(shape, direction)


def test_polyhedra_hold_their_middle_and_end_within_their_radius() -> None:
    random, numbers = Random(1), np.random.default_rng(1)
    for _ in range(40):
        ((body, _, _, _),) = draw_object(random, "polyhedron", 1.0, 1.0, ShapesRecipe())
        assert isinstance(body, Polyhedron)
        planes = np.array(body.planes)
        assert 4 <= len(planes) <= 12
        assert (planes[:, 3] > 0).all()
        np.testing.assert_allclose(np.linalg.norm(planes[:, :3], axis=1), 1, atol=1e-9)
        directions = numbers.normal(size=(2000, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        along = directions @ planes[:, :3].T
        length = np.where(along > 1e-12, planes[:, 3] / np.maximum(along, 1e-12), np.inf).min(1)
        assert length.max() <= body.radius_m + 1e-9


def test_rotations() -> None:
    random = Random(0)
    for turned in (placing.anyhow(random), placing.about_x(0.3), placing.along((1.0, -2.0, 0.5)), placing.UP):
        matrix = np.array(turned)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)
    toward = rotate(placing.along((1.0, -2.0, 0.5)), (0.0, 0.0, 1.0))
    np.testing.assert_allclose(np.cross(toward, (1.0, -2.0, 0.5)), 0, atol=1e-12)
    assert rotate(placing.UP, (0.0, 0.0, 1.0)) == (0.0, -1.0, 0.0)


def test_places_in_the_picture() -> None:
    view = view_of(scene(1))
    u, v, depth = 0.3, 0.2, 4.0
    x, y, z = view.seen(view.point(u, v, depth))
    assert z == pytest.approx(depth)
    assert x / z * view.focal + view.center[0] == pytest.approx(u)
    assert y / z * view.focal + view.center[1] == pytest.approx(v)
    foot = view.ground_point(u, depth)
    assert foot[1] == pytest.approx(0)
    assert view.seen(foot)[2] == pytest.approx(depth)
    far = view.seen(view.ground_point(u, 1e7))
    assert far[1] / far[2] * view.focal + view.center[1] == pytest.approx(view.horizon(u), abs=1e-5)


# Still life


def test_still_life_is_between_2_and_5_m() -> None:
    some = still_life()
    view = view_of(some)
    for thing in some.things[1:]:
        assert view.reach_of(thing)[0] > 1.95
        assert view.seen(thing.position)[2] < 4
    for part in some.things[0].parts:
        assert part.material.mirror == part.material.glass == part.material.specular == 0
    assert some.sensors == (IDEAL, IDEAL)
    assert some.camera.baseline_m == 0.12


def test_still_life_moves_a_little_with_the_seed() -> None:
    assert same(still_life(seed=1), still_life(seed=1))
    assert still_life(seed=1).things != still_life(seed=2).things
