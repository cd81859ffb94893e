"""A slow second opinion on rendered truth: float64, one part after the other, by other methods than the renderer's.

Bodies with flat faces: every face's plane, and whether the point lies on the face. Quadrics and tori: eigenvalues of
companion matrices. Superellipsoids: search for the deepest point of the ray, then bisection. Reliefs: small steps, then
bisection. Flat patches: a linear system. Normals are differences of implicit functions. Pixels are (n, 2), x before y.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from depthweave.worlds.motion import Motion
from depthweave.worlds.scene import Part, Scene, Thing
from depthweave.worlds.shapes import Box, Patch, Polyhedron, Quadric, Relief, Room, RoundBox, Shape, Torus

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]
Surface = Callable[[Array], Array]
"""An implicit function of points (..., 3), 0 on the surface."""

MATCHED, OCCLUDED, OUT_OF_VIEW = 0, 1, 2
RELIEF_STEP_RAD = 0.04
MOST_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Hit:
    """Where rays end.

    Attributes:
        t: in lengths of the direction, inf where nothing is met.
        thing, part: places in `scene.things` and its `parts`, -1 where nothing is met.
        normal: (n, 3) in world axes, of length 1, towards the origin of the ray; 0 where nothing is met.
    """

    t: Array
    thing: Places
    part: Places
    normal: Array


def first_hit(scene: Scene, time_s: float, origins_world: ArrayLike, directions_world: ArrayLike) -> Hit:
    """What rays (n, 3) meet first at a time; directions of any length."""
    origins, directions = np.broadcast_arrays(
        np.asarray(origins_world, dtype=np.float64), np.asarray(directions_world, dtype=np.float64)
    )
    count = len(directions)
    hit = Hit(np.full(count, np.inf), np.full(count, -1, np.int64), np.full(count, -1, np.int64), np.zeros((count, 3)))
    for thing_place, thing in enumerate(scene.things):
        if not thing.motion.appears_s <= time_s < thing.motion.leaves_s:
            continue
        for part_place, part in enumerate(thing.parts):
            world_from_shape = thing_pose(thing, time_s) @ part_pose(part)
            rotation, center = world_from_shape[:3, :3], world_from_shape[:3, 3]
            near = np.flatnonzero(_meets_ball(origins - center, directions, _radius(part.shape)))
            if len(near) == 0:
                continue
            t, normal = solve(part.shape, (origins[near] - center) @ rotation, directions[near] @ rotation)
            closer = t < hit.t[near]
            rays = near[closer]
            hit.t[rays], hit.thing[rays], hit.part[rays] = t[closer], thing_place, part_place
            hit.normal[rays] = normal[closer] @ rotation.T
    return hit


def thing_pose(thing: Thing, time_s: float) -> Array:
    """4x4 world_from_thing, as the docstring of `Motion` says it."""
    motion: Motion = thing.motion
    pose = np.eye(4)
    pose[:3, :3] = _exponential(time_s * np.array(motion.spin_rad_s)) @ np.array(thing.rotation)
    swing = math.sin(2 * math.pi * time_s / motion.period_s)
    pose[:3, 3] = np.array(thing.position) + time_s * np.array(motion.velocity_m_s) + swing * np.array(motion.sway_m)
    return pose


def part_pose(part: Part) -> Array:
    """4x4 thing_from_shape."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = part.rotation, part.center
    return pose


def _exponential(rotation_vector: Array) -> Array:
    """exp of the skew matrix, by its series for a small angle, squared often."""
    if not rotation_vector.any():
        return np.eye(3)
    x, y, z = rotation_vector / 2.0**14
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    result = np.eye(3) + skew + skew @ skew / 2 + skew @ skew @ skew / 6
    for _ in range(14):
        result = result @ result
    return np.asarray(result)


# --- shapes in their own axes: t (n,) of the first meeting, normals (n, 3) -------------------------------------------


def solve(shape: Shape, origins: Array, directions: Array) -> tuple[Array, Array]:
    """First meeting of rays (n, 3) with one shape, all in the shape's axes."""
    match shape:
        case Room():
            return _room(shape, origins, directions)
        case Box(half):
            planes = [(*(sign * axis), half[k]) for k, axis in enumerate(np.eye(3)) for sign in (1.0, -1.0)]
            return _flat_faces(planes, origins, directions)
        case Polyhedron(planes):
            return _flat_faces(planes, origins, directions)
        case Patch():
            return _patch(shape, origins, directions)
        case RoundBox():
            t = _convex(lambda p: (np.abs(p / shape.half) ** shape.power).sum(-1) - 1, origins, directions)
            return t, _gradient(
                lambda p: (np.abs(p / shape.half) ** shape.power).sum(-1), origins, directions, t, min(shape.half)
            )
        case Quadric():
            return _quadric(shape, origins, directions)
        case Torus():
            return _torus(shape, origins, directions)
        case Relief():
            return _relief(shape, origins, directions)


def _flat_faces(planes: ArrayLike, origins: Array, directions: Array) -> tuple[Array, Array]:
    """A convex body: every face's plane; the point counts if no other plane cuts it away."""
    best, normals = np.full(len(origins), np.inf), np.zeros((len(origins), 3))
    faces = np.asarray(planes, dtype=np.float64)
    for place, (*axis, offset) in enumerate(faces):
        normal = np.array(axis)
        others = np.delete(faces, place, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (offset - origins @ normal) / (directions @ normal)
            points = origins + t[:, None] * directions
            on_face = (points @ others[:, :3].T <= others[:, 3] + 1e-12).all(1)
        closer = on_face & (t > 0) & (t < best)
        best[closer], normals[closer] = t[closer], normal
    return best, _towards(normals, directions)


def _room(room: Room, origins: Array, directions: Array) -> tuple[Array, Array]:
    """Only faces that the ray leaves by are seen, and only where they bound the inside."""
    best, normals = np.full(len(origins), np.inf), np.zeros((len(origins), 3))
    for k in range(3):
        for bound, sign in ((room.low[k], -1.0), (room.high[k], 1.0)):
            if math.isinf(bound):
                continue
            leaving = sign * directions[:, k] > 0
            t = np.where(leaving, (bound - origins[:, k]) / np.where(leaving, directions[:, k], 1.0), np.inf)
            points = origins + np.where(leaving, t, 0.0)[:, None] * directions
            rest = [axis for axis in range(3) if axis != k]
            inside = ((points >= np.array(room.low) - 1e-12) & (points <= np.array(room.high) + 1e-12))[:, rest].all(1)
            closer = leaving & inside & (t > 0) & (t < best)
            best[closer], normals[closer] = t[closer], -sign * np.eye(3)[k]
    return best, normals


def _patch(patch: Patch, origins: Array, directions: Array) -> tuple[Array, Array]:
    """a e_x + b e_y - t direction = origin, a linear system for every ray that is not parallel to the plane."""
    best = np.full(len(origins), np.inf)
    rays = np.flatnonzero(directions[:, 2])
    system = np.zeros((len(rays), 3, 3))
    system[:, 0, 0], system[:, 1, 1], system[:, :, 2] = patch.half[0], patch.half[1], -directions[rays]
    u, v, t = np.linalg.solve(system, origins[rays][..., None])[..., 0].T
    exists = (t > 0) & in_outline(patch, u, v)
    best[rays[exists]] = t[exists]
    return best, _towards(np.isfinite(best)[:, None] * np.array([0.0, 0.0, 1.0]), directions)


def in_outline(patch: Patch, u: Array, v: Array) -> Mask:
    """Whether a point of the plane, u and v in half sizes, belongs to the patch."""
    if patch.power == 0:
        inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    else:
        with np.errstate(over="ignore"):
            inside = np.abs(u) ** patch.power + np.abs(v) ** patch.power <= 1
    if patch.waves:
        waves = np.stack([a * np.sin(ku * u + kv * v + phase) for a, ku, kv, phase in patch.waves])
        fold = waves.max(0) if patch.grid else waves.sum(0)
        inside &= fold + patch.level - patch.bulge * (u**2 + v**2) >= 0
    return inside


def _convex(surface: Surface, origins: Array, directions: Array) -> Array:
    """A body whose function is convex along a ray: its deepest point by golden sections, then bisection before it."""
    unit = np.linalg.norm(directions, axis=1)
    middle = -(origins * directions).sum(1) / unit**2
    reach = (np.linalg.norm(origins, axis=1) + 1) / unit
    low, high = middle - reach, middle + reach
    for _ in range(50):
        left, right = low + 0.381966 * (high - low), low + 0.618034 * (high - low)
        falls = surface(_at(origins, directions, left)) > surface(_at(origins, directions, right))
        low, high = np.where(falls, left, low), np.where(falls, high, right)
    deepest = (low + high) / 2
    best = np.full(len(origins), np.inf)
    rays = np.flatnonzero(surface(_at(origins, directions, deepest)) <= 0)
    o, d, deepest, middle, reach = origins[rays], directions[rays], deepest[rays], middle[rays], reach[rays]
    near = _bisect(surface, o, d, middle - reach, deepest)
    best[rays] = near
    for place in np.flatnonzero(near <= 0):  # the origin is inside or beyond
        far = _bisect(surface, *(v[place : place + 1] for v in (o, d, middle + reach, deepest)))[0]
        best[rays[place]] = far if far > 0 else np.inf
    return best


def _quadric(shape: Quadric, origins: Array, directions: Array) -> tuple[Array, Array]:
    sx, sy = shape.stretch
    a, b, c = shape.terms

    def surface(p: Array) -> Array:
        return (p[..., 0] / sx) ** 2 + (p[..., 1] / sy) ** 2 - a - b * p[..., 2] - c * p[..., 2] ** 2

    # Three values determine the quadratic along the ray. With s = 1 / t a vanishing leading term does no harm.
    lengths = np.linalg.norm(origins, axis=1) + max(abs(shape.low), abs(shape.high))
    unit = directions * (lengths / np.linalg.norm(directions, axis=1))[:, None]
    behind, here, ahead = (surface(origins + step * unit) for step in (-1.0, 0.0, 1.0))
    polynomial = np.stack([here, (ahead - behind) / 2, (ahead + behind) / 2 - here], 1)
    roots = _roots(polynomial, tolerance=1e-7)
    ahead_of_eye = np.isfinite(roots) & (roots > 0)
    t_unit = 1 / np.where(ahead_of_eye, roots, 1)
    z = origins[:, 2:] + t_unit * unit[:, 2:]
    slack = 1e-9 * (shape.high - shape.low)
    exists = ahead_of_eye & (z >= shape.low - slack) & (z <= shape.high + slack)
    t_unit = np.where(exists, t_unit, np.inf).min(1)
    best = t_unit * lengths / np.linalg.norm(directions, axis=1)
    normals = _gradient(surface, origins, directions, best, shape.high - shape.low)
    if shape.capped:
        for height in (shape.low, shape.high):
            rays = np.flatnonzero(directions[:, 2])
            t = (height - origins[rays, 2]) / directions[rays, 2]
            points = _at(origins[rays], directions[rays], t)
            points[:, 2] = height
            closer = (t > 0) & (t < best[rays]) & (surface(points) <= 0)
            best[rays[closer]], normals[rays[closer]] = t[closer], (0.0, 0.0, 1.0)
    return best, _towards(normals, directions)


def _torus(shape: Torus, origins: Array, directions: Array) -> tuple[Array, Array]:
    """(p . p + R^2 - r^2)^2 = 4 R^2 (x^2 + y^2), a quartic about the point of the ray nearest to the centre."""
    length = np.linalg.norm(directions, axis=1)
    unit = directions / length[:, None]
    middle = -(origins * unit).sum(1)
    foot = (origins + middle[:, None] * unit) / shape.radius_m
    k = (foot**2).sum(1) + 1 - (shape.tube_m / shape.radius_m) ** 2
    flat = [(p[:, :2] * q[:, :2]).sum(1) for p, q in ((unit, unit), (foot, unit), (foot, foot))]
    one = np.ones(len(origins))
    polynomial = np.stack([one, 0 * one, 2 * k - 4 * flat[0], -8 * flat[1], k**2 - 4 * flat[2]], 1)
    roots = _roots(polynomial, tolerance=1e-6)
    t = (middle[:, None] + roots * shape.radius_m) / length[:, None]
    best = np.where(np.isfinite(roots) & (t > 0), t, np.inf).min(1)

    def surface(p: Array) -> Array:
        return np.hypot(np.hypot(p[..., 0], p[..., 1]) - shape.radius_m, p[..., 2])

    return best, _gradient(surface, origins, directions, best, shape.tube_m)


def _relief(shape: Relief, origins: Array, directions: Array) -> tuple[Array, Array]:
    def surface(p: Array) -> Array:
        return p[..., 2] - sum((a * np.sin(kx * p[..., 0] + ky * p[..., 1] + f) for a, kx, ky, f in shape.waves), 0.0)

    best = np.full(len(origins), np.inf)
    bound = np.array([*shape.half, 1.01 * shape.height_m + 1e-4 * max(shape.half)])
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.stack([(-bound - origins) / directions, (bound - origins) / directions]), axis=0)
    start, stop = np.maximum(np.nanmax(ends[0], axis=1), 0), np.nanmin(ends[1], axis=1)
    rays = np.flatnonzero(start < stop)
    if len(rays) == 0:
        return best, np.zeros((len(origins), 3))
    speed = max((math.hypot(kx, ky) for _, kx, ky, _ in shape.waves), default=0.0)
    path = speed * np.linalg.norm(directions[rays, :2], axis=1) * (stop - start)[rays]
    steps = 2 + int(path.max() / RELIEF_STEP_RAD)
    for some in np.array_split(rays, math.ceil(len(rays) * steps / MOST_SAMPLES)):
        o, d = origins[some], directions[some]
        t = np.linspace(start[some], stop[some], steps + 1, axis=1)
        above = surface(o[:, None] + t[..., None] * d[:, None]) > 0
        crosses = above[:, 1:] != above[:, :-1]
        first, rows = crosses.argmax(1), np.arange(len(some))
        root = _bisect(surface, o, d, t[rows, first], t[rows, first + 1])
        best[some] = np.where(crosses.any(1), root, np.inf)
    return best, _gradient(surface, origins, directions, best, min(shape.half))


# --- tools -----------------------------------------------------------------------------------------------------------


def _at(origins: Array, directions: Array, t: Array) -> Array:
    return np.asarray(origins + t[:, None] * directions)


def _bisect(surface: Surface, origins: Array, directions: Array, low: Array, high: Array) -> Array:
    """The change of sign between low and high."""
    positive = surface(_at(origins, directions, low)) > 0
    for _ in range(54):
        middle = (low + high) / 2
        same = (surface(_at(origins, directions, middle)) > 0) == positive
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.asarray((low + high) / 2)


def _roots(polynomial: Array, *, tolerance: float) -> Array:
    """Real roots (n, degree) of polynomials (n, degree + 1), highest power first; inf in place of complex ones."""
    degree = polynomial.shape[1] - 1
    companion = np.zeros((len(polynomial), degree, degree))
    companion[:, 0] = -polynomial[:, 1:] / polynomial[:, :1]
    companion[:, np.arange(1, degree), np.arange(degree - 1)] = 1
    roots = np.linalg.eigvals(companion)
    return np.where(np.abs(roots.imag) <= tolerance * np.abs(roots), roots.real, np.inf)


def _gradient(surface: Surface, origins: Array, directions: Array, t: Array, size: float) -> Array:
    """Normals at the points met, by central differences."""
    normals = np.zeros((len(t), 3))
    met = np.isfinite(t)
    points, step = _at(origins[met], directions[met], t[met]), 1e-5 * size
    for k, axis in enumerate(step * np.eye(3)):
        normals[met, k] = surface(points + axis) - surface(points - axis)
    return _towards(normals, directions)


def _towards(normals: Array, directions: Array) -> Array:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    facing = np.where((normals * directions).sum(1, keepdims=True) > 0, -1.0, 1.0)
    return np.asarray(facing * normals / np.where(length > 0, length, 1))


def _radius(shape: Shape) -> float:
    """Of a ball about 0 that surely holds the shape; inf to test every ray."""
    match shape:
        case Box() | RoundBox() | Patch():
            return 1.001 * math.hypot(*shape.half)
        case Quadric():
            z = np.linspace(shape.low, shape.high, 65)
            a, b, c = shape.terms
            widest = max(shape.stretch) * math.sqrt(max(0.0, float((a + b * z + c * z**2).max())))
            return 1.05 * math.hypot(widest, max(abs(shape.low), abs(shape.high)))
        case Torus():
            return 1.001 * (shape.radius_m + shape.tube_m)
        case Relief():
            return 1.001 * math.hypot(*shape.half, shape.height_m)
    return math.inf


def _meets_ball(origins: Array, directions: Array, radius: float) -> Mask:
    along = (origins * directions).sum(1)
    squared = (directions**2).sum(1)
    distance = (origins**2).sum(1) - along**2 / squared
    return np.asarray((distance <= radius**2) & (-along >= -radius * np.sqrt(squared)))


# --- cameras and what they see ---------------------------------------------------------------------------------------


def all_pixels(scene: Scene) -> Array:
    """Centres (h w, 2) of a picture's pixels, row by row."""
    y, x = np.mgrid[0 : scene.camera.height, 0 : scene.camera.width]
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)


def some_pixels(scene: Scene, count: int, seed: int) -> Places:
    """Random different pixels (n, 2)."""
    width, height = scene.camera.width, scene.camera.height
    places = np.random.default_rng(seed).permutation(width * height)[:count]
    return np.stack([places % width, places // width], 1)


def camera_pose(scene: Scene, time_s: float, *, right: bool = False) -> Array:
    """4x4 world_from_camera; the right camera is moved by the baseline along the left one's x axis."""
    pose = np.array(scene.path.world_from_camera(time_s), dtype=np.float64)
    if right:
        assert scene.camera.baseline_m is not None
        pose[:3, 3] += scene.camera.baseline_m * pose[:3, 0]
    return pose


def camera_rays(scene: Scene, time_s: float, pixels: ArrayLike, right: bool = False) -> tuple[Array, Array]:
    """Origins and directions (n, 3) in the world; along a direction, t is the depth."""
    pose, intrinsics = camera_pose(scene, time_s, right=right), _intrinsics(scene)
    positions = np.asarray(pixels, dtype=np.float64)
    homogeneous = np.concatenate([positions, np.ones((len(positions), 1))], 1)
    directions = np.linalg.solve(intrinsics, homogeneous.T).T @ pose[:3, :3].T
    return np.tile(pose[:3, 3], (len(positions), 1)), directions


def project(scene: Scene, time_s: float, points_world: Array, *, right: bool = False) -> tuple[Array, Array]:
    """Pixels (n, 2) and depths (n,) of world points; pixels are NaN for points that are not before the camera."""
    pose = camera_pose(scene, time_s, right=right)
    points = (points_world - pose[:3, 3]) @ pose[:3, :3]
    homogeneous = points @ _intrinsics(scene).T
    depth_m = np.where(points[:, 2] > 0, points[:, 2], np.nan)
    return homogeneous[:, :2] / depth_m[:, None], points[:, 2]


def _intrinsics(scene: Scene) -> Array:
    return scene.camera.intrinsics.numpy().astype(np.float64)


def look(scene: Scene, time_s: float, pixels: ArrayLike, *, right: bool = False) -> Hit:
    """What pixels see; t is the depth."""
    return first_hit(scene, time_s, *camera_rays(scene, time_s, pixels, right))


def depth(scene: Scene, time_s: float = 0.0, *, right: bool = False) -> Array:
    """Depth map (h, w), inf where the sky is."""
    return look(scene, time_s, all_pixels(scene), right=right).t.reshape(scene.camera.height, scene.camera.width)


def disparity(scene: Scene, depth_m: Array) -> Array:
    """f b / z in px."""
    assert scene.camera.baseline_m is not None
    return np.asarray(float(scene.camera.intrinsics[0, 0]) * scene.camera.baseline_m / depth_m)


@dataclass(frozen=True)
class Fate:
    """What becomes of pixels in another picture.

    Attributes:
        place: (n, 2) px there.
        code: matched, occluded or out of view.
        margin: how clear that is: distance of the place from the border in px, and of an occluded point also by what
            share of its depth the thing before it is nearer. Rounding decides where it is next to 0.
        depth: (n,) that the other picture has there, NaN out of view.
    """

    place: Array
    code: Places
    margin: Array
    depth: Array


def stereo_fate(scene: Scene, time_s: float, pixels: ArrayLike, seen: Hit, *, right: bool = False) -> Fate:
    """Of pixels (n, 2) of the left picture, or of the right one, that see this, in the other one."""
    shift = disparity(scene, seen.t) * (1 if right else -1)
    places = np.asarray(pixels, dtype=np.float64) + np.stack([shift, 0 * shift], 1)
    return _fate(scene, time_s, places, seen.t, right=not right)


def _fate(scene: Scene, time_s: float, places: Array, expected: Array, *, right: bool) -> Fate:
    """Of surfaces that a view should see in some places at some depth."""
    size = np.array([scene.camera.width, scene.camera.height])
    with np.errstate(invalid="ignore"):
        inside = np.minimum(places + 0.5, size - 0.5 - places).min(1)
        inside = np.where((expected > 0) & np.isfinite(inside), inside, -np.inf)
    codes = np.where(inside >= 0, MATCHED, OUT_OF_VIEW)
    margin, depths = np.abs(inside), np.full(len(places), np.nan)
    rays = np.flatnonzero(inside >= 0)
    found = depths[rays] = look(scene, time_s, places[rays], right=right).t
    with np.errstate(invalid="ignore"):
        nearer = np.where(np.isinf(found), 0.0, 1 - found / expected[rays])
    codes[rays[nearer > 1e-6]] = OCCLUDED
    margin[rays] = np.minimum(margin[rays], np.where(nearer > 1e-6, nearer, np.inf))
    return Fate(places, codes.astype(np.int64), margin, depths)


def motion_fate(scene: Scene, time_s: float, other_s: float, pixels: ArrayLike, seen: Hit) -> Fate:
    """Of left pixels (n, 2) that see this, in the left picture of another time; flow is place - pixel.

    What they see moves with its thing; the sky turns with the camera. A thing that is not there at the other time is
    occluded there unless the place is out of view.
    """
    positions = np.asarray(pixels, dtype=np.float64)
    origins, directions = camera_rays(scene, time_s, positions)
    places, expected = np.empty_like(positions), np.empty(len(positions))
    gone = np.zeros(len(positions), dtype=bool)
    for thing_place in np.unique(seen.thing):
        mine = seen.thing == thing_place
        if thing_place < 0:
            eye = camera_pose(scene, other_s)[:3, 3]
            places[mine], in_front = project(scene, other_s, eye + directions[mine])
            expected[mine] = np.where(in_front > 0, np.inf, -np.inf)
            continue
        thing = scene.things[thing_place]
        other_from_now = thing_pose(thing, other_s) @ np.linalg.inv(thing_pose(thing, time_s))
        points = _at(origins[mine], directions[mine], seen.t[mine])
        moved = points @ other_from_now[:3, :3].T + other_from_now[:3, 3]
        places[mine], expected[mine] = project(scene, other_s, moved)
        gone[mine] = not thing.motion.appears_s <= other_s < thing.motion.leaves_s
    fate = _fate(scene, other_s, places, expected, right=False)
    fate.code[gone & (fate.code == MATCHED)] = OCCLUDED
    return fate


def moving(scene: Scene, seen: Hit) -> Mask:
    """Pixels whose thing moves by itself: it translates, spins or sways."""
    moves = [any((*m.velocity_m_s, *m.spin_rad_s, *m.sway_m)) for m in (thing.motion for thing in scene.things)]
    return np.array([*moves, False])[seen.thing]
