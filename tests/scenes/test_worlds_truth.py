"""Truth of random pairs against the oracle and against itself."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import brute_force
import numpy as np
import pytest
import torch

from depthweave import geometry
from depthweave.types import Camera
from depthweave.worlds import (
    Match,
    Material,
    Part,
    RenderedPair,
    Scene,
    Thing,
    View,
    compose,
    render_pair,
    render_pairs,
    still_life,
)
from depthweave.worlds.motion import CameraPath
from depthweave.worlds.sensor import Sensor
from depthweave.worlds.shapes import Box, Quadric, Room, Rotation, Vector

SCENES_OF_SIZE = {(48, 96): 80, (60, 120): 60, (72, 144): 40, (96, 192): 20}
PIXELS = 240
INF = math.inf


def lambertian(scene: Scene) -> Scene:
    """The same geometry without whatever looks different from two eyes."""

    def dull(part: Part) -> Part:
        return replace(part, material=replace(part.material, specular=0.0, mirror=0.0, glass=0.0))

    things = tuple(replace(thing, parts=tuple(map(dull, thing.parts))) for thing in scene.things)
    return replace(scene, things=things)


def read(values: torch.Tensor, pixels: np.ndarray) -> np.ndarray:
    """Values (..., h, w) at pixels (n, 2) as (n, ...)."""
    return np.moveaxis(values.numpy()[..., pixels[:, 1], pixels[:, 0]], -1, 0)


@dataclass
class Sample:
    """Some pixels of one view of a random scene: what was rendered there, and what the oracle says."""

    scene: Scene
    right: bool
    view: View
    other: View
    pixels: np.ndarray
    hit: brute_force.Hit
    fate: brute_force.Fate

    @property
    def things(self) -> np.ndarray:
        return read(self.view.things, self.pixels)

    @property
    def depth(self) -> np.ndarray:
        return read(self.view.depth, self.pixels).astype(np.float64)

    @property
    def disparity(self) -> np.ndarray:
        return read(self.view.disparity, self.pixels).astype(np.float64)

    @property
    def match(self) -> np.ndarray:
        return read(self.view.match, self.pixels)

    @property
    def agrees(self) -> np.ndarray:
        """Where both see the same surface; near the horizon 1e-4 px say more than shares of the depth."""
        expected = brute_force.disparity(self.scene, self.hit.t)
        near = np.abs(self.disparity - expected) <= 1e-4 * (1 + expected)
        return (self.things == self.hit.thing) & near


@pytest.fixture(scope="module")
def worlds() -> list[tuple[Scene, RenderedPair]]:
    found: list[tuple[Scene, RenderedPair]] = []
    for place, ((height, width), count) in enumerate(SCENES_OF_SIZE.items()):
        seeds = range(1000 * place, 1000 * place + count)
        scenes = [lambertian(compose(seed, height=height, width=width, textures=range(24))) for seed in seeds]
        batch = render_pairs(scenes, smooth=False, noise=False)
        found.extend((scene, batch[i]) for i, scene in enumerate(scenes))
    return found


@pytest.fixture(scope="module")
def samples(worlds: list[tuple[Scene, RenderedPair]]) -> list[Sample]:
    def of_one_view(scene: Scene, pair: RenderedPair, right: bool, count: int, seed: int) -> Sample:
        pixels = brute_force.some_pixels(scene, count, seed)
        view, other = (pair.right, pair.left) if right else (pair.left, pair.right)
        hit = brute_force.look(scene, 0.0, pixels, right=right)
        fate = brute_force.stereo_fate(scene, 0.0, pixels, hit, right=right)
        return Sample(scene, right, view, other, pixels, hit, fate)

    return [
        of_one_view(scene, pair, right, count, 2 * seed + right)
        for seed, (scene, pair) in enumerate(worlds)
        for right, count in ((False, PIXELS), (True, PIXELS // 3))
    ]


def both_views(samples: list[Sample]) -> Iterator[list[Sample]]:
    for right in (False, True):
        yield [sample for sample in samples if sample.right == right]


def test_random_scenes_see_the_things_that_the_oracle_sees(samples: list[Sample]) -> None:
    for view in both_views(samples):
        agree = np.array([sample.agrees.mean() for sample in view])
        worst = view[int(agree.argmin())].scene.name
        # Along outlines rounding decides; a whole shape that is off is noticed in its scene.
        assert agree.mean() >= 0.999, worst
        assert agree.min() >= 0.98, worst
    seen = np.concatenate([sample.hit.thing for sample in samples])
    assert len(np.unique(seen)) > 10


def test_random_scenes_have_the_depth_of_the_oracle(samples: list[Sample]) -> None:
    for view in both_views(samples):
        met = [sample.agrees & np.isfinite(sample.hit.t) for sample in view]
        errors = np.concatenate(
            [np.abs(sample.depth[m] / sample.hit.t[m] - 1) for sample, m in zip(view, met, strict=True)]
        )
        assert np.quantile(errors, 0.999) <= 1e-5


def test_random_scenes_have_the_normals_of_the_oracle(samples: list[Sample]) -> None:
    angles = []
    for sample in samples:
        met = sample.agrees & np.isfinite(sample.hit.t)
        in_camera = sample.hit.normal[met] @ brute_force.camera_pose(sample.scene, 0.0)[:3, :3]
        normals = read(sample.view.normals, sample.pixels).astype(np.float64)[met]
        across = np.linalg.norm(np.cross(normals, in_camera), axis=1)
        angles.append(np.degrees(np.arctan2(across, (normals * in_camera).sum(1))))
    angle = np.concatenate(angles)
    assert np.median(angle) <= 0.05
    assert (angle <= 1.0).mean() >= 0.995


def test_depth_times_disparity_is_focal_length_times_baseline(worlds: list[tuple[Scene, RenderedPair]]) -> None:
    skies = 0
    for scene, pair in worlds:
        assert scene.camera.baseline_m is not None
        for view in (pair.left, pair.right):
            sky = view.things < 0
            skies += int(sky.sum())
            product = (view.depth.double() * view.disparity.double())[~sky]
            expected = torch.full_like(product, scene.camera.focal_px * scene.camera.baseline_m)
            torch.testing.assert_close(product, expected, rtol=1e-6, atol=0.0)
            assert (view.depth[~sky] > 0).all()
            assert torch.isposinf(view.depth[sky]).all()
            assert (view.disparity[sky] == 0).all()
            assert (view.things[sky] == -1).all()
            assert (view.normals[:, sky] == 0).all()
            torch.testing.assert_close(view.normals[:, ~sky].norm(dim=0), torch.ones(int((~sky).sum())))
            rays = geometry.ray_directions(scene.camera.intrinsics, *sky.shape)
            assert ((view.normals.permute(1, 2, 0) * rays).sum(-1)[~sky] <= 1e-5).all()
    assert skies > 10_000


def test_matches_are_those_of_the_oracle(samples: list[Sample]) -> None:
    for view in both_views(samples):
        wrong, clear, counts = 0, 0, np.zeros(3, int)
        for sample in view:
            sure = sample.agrees & (sample.fate.margin > 1e-3)
            wrong += int((sample.fate.code != sample.match)[sure].sum())
            clear += int(sure.sum())
            counts += np.bincount(sample.fate.code, minlength=3)
        assert wrong <= 1e-3 * clear
        assert clear >= 0.98 * counts.sum()
        assert (counts > 0.02 * counts.sum()).all()


def test_the_other_view_has_the_same_disparity_there(samples: list[Sample]) -> None:
    """d_R(x - d_L(x)) = d_L(x), with d_R cast at positions between pixels."""
    for view in both_views(samples):
        errors = []
        for sample in view:
            matched = (sample.match == Match.MATCHED) & sample.agrees & (sample.fate.code != Match.OUT_OF_VIEW)
            there = brute_force.disparity(sample.scene, sample.fate.depth[matched])
            errors.append(np.abs(there - sample.disparity[matched]))
        error = np.concatenate(errors)
        assert len(error) > 0.6 * len(view) * len(view[0].pixels)
        assert np.quantile(error, 0.999) <= 1e-3
        assert np.median(error) <= 1e-5


def test_both_rendered_disparities_agree(samples: list[Sample]) -> None:
    """The other map between two neighbours that show one smooth surface."""
    errors = []
    for sample in samples:
        width = sample.scene.camera.width
        x, y = sample.pixels.T + np.array([[1.0 if sample.right else -1.0], [0.0]]) * sample.disparity
        before = np.floor(x).astype(int)
        usable = (sample.match == Match.MATCHED) & (before >= 0) & (before < width - 1)
        x, y, before = x[usable], y[usable].astype(int), before[usable]
        things, normals = sample.other.things.numpy(), sample.other.normals.numpy()
        disparity = sample.other.disparity.numpy().astype(np.float64)
        one = (things[y, before] == sample.things[usable]) & (things[y, before + 1] == sample.things[usable])
        flat = (normals[:, y, before] * normals[:, y, before + 1]).sum(0) > 1 - 1e-6
        between = disparity[y, before] + (x - before) * (disparity[y, before + 1] - disparity[y, before])
        errors.append(np.abs(between - sample.disparity[usable])[one & flat])
    error = np.concatenate(errors)
    assert len(error) > 20_000
    assert np.median(error) <= 1e-4
    assert np.quantile(error, 0.99) <= 1e-2


def test_warping_by_true_disparity_gives_the_other_picture(worlds: list[tuple[Scene, RenderedPair]]) -> None:
    errors, off = [], []
    for _, pair in worlds:
        for view, other, sign in ((pair.left, pair.right, 1), (pair.right, pair.left, -1)):
            matched = view.match == Match.MATCHED
            for shift, into in ((0.0, errors), (0.5, off)):
                warped, inside = geometry.warp_by_disparity(other.image, sign * (view.disparity + shift))
                into.append((warped - view.image).abs().mean(0)[matched & inside])
    assert torch.cat(errors).median() <= 1.5 / 255
    assert torch.cat(off).median() > 1.5 * torch.cat(errors).median()
    # No scene is left out: in each of them the true disparity is the better one.
    better = [float(e.mean() < o.mean()) for e, o in zip(errors, off, strict=True) if e.numel() > 200]
    assert np.mean(better) > 0.97


def wall(depth_m: float, camera: Camera) -> Scene:
    room = Room((-INF, -INF, -INF), (INF, INF, depth_m))
    return Scene((Thing((Part(room, Material(texture=1)),)),), camera)


@pytest.mark.parametrize("depth_m", [0.37, 2.0, 13.7, 250.0])
@pytest.mark.parametrize(("focal_px", "baseline_m"), [(61.7, 0.063), (400.0, 0.54)])
def test_a_wall_in_front_is_exact(depth_m: float, focal_px: float, baseline_m: float) -> None:
    camera = Camera(geometry.intrinsics_matrix(focal_px, focal_px, 40.3, 21.9), 80, 44, baseline_m=baseline_m)
    expected = focal_px * baseline_m / depth_m
    pair = render_pair(wall(depth_m, camera), smooth=False)
    columns = torch.arange(80).expand(44, 80)
    for view, other_column in ((pair.left, columns - expected), (pair.right, columns + expected)):
        assert (view.disparity - expected).abs().max() <= 1e-4
        assert (view.depth - depth_m).abs().max() <= 1e-5 * depth_m
        torch.testing.assert_close(view.normals, torch.tensor([0.0, 0, -1])[:, None, None].expand(3, 44, 80))
        inside = (other_column >= -0.5) & (other_column <= 79.5)
        assert torch.equal(view.match == Match.MATCHED, inside)
        assert torch.equal(view.match == Match.OUT_OF_VIEW, ~inside)


def test_a_box_before_a_wall_hides_what_it_must() -> None:
    """By hand: the box has disparity 20 px and spans 10.5 px to either side, the wall has 10 px."""
    camera = Camera(geometry.intrinsics_matrix(100.0, 100.0, 49.75, 29.75), 100, 60, baseline_m=0.2)
    box = Thing((Part(Box((0.105, 0.155, 0.0005)), Material()),), (0.0, 0.0, 1.0005))
    pair = render_pair(Scene((*wall(2.0, camera).things, box), camera), smooth=False)
    left, right = pair.left, pair.right
    row = left.things[30]
    start, stop = int(row.nonzero()[0]), int(row.nonzero()[-1]) + 1
    assert (start, stop) == (40, 61)
    assert torch.equal(right.things[30].nonzero()[:, 0], torch.arange(20, 41))
    assert left.disparity[30, 50].item() == pytest.approx(20.0, abs=1e-4)
    assert left.disparity[30, 5].item() == pytest.approx(10.0, abs=1e-4)
    # Left view: wall pixels whose place in the right view, x - 10, lies under the box there, 20 to 40.
    expected = torch.full((100,), int(Match.MATCHED), dtype=torch.uint8)
    expected[:10] = Match.OUT_OF_VIEW
    expected[30:40] = Match.OCCLUDED
    assert torch.equal(left.match[30], expected)
    # Right view: x + 10 lies under the box in the left one, 40 to 60.
    expected = torch.full((100,), int(Match.MATCHED), dtype=torch.uint8)
    expected[90:] = Match.OUT_OF_VIEW
    expected[41:51] = Match.OCCLUDED
    assert torch.equal(right.match[30], expected)


def test_a_ball_before_a_wall_by_hand() -> None:
    camera = Camera(geometry.intrinsics_matrix(100.0, 100.0, 20.0, 15.0), 40, 32, baseline_m=0.1)
    ball = Thing((Part(Quadric.ellipsoid((0.1, 0.1, 0.1)), Material()),), (0.0, 0.0, 1.5))
    alone, both = (
        render_pair(Scene(things, camera), smooth=False)
        for things in (wall(2.0, camera).things, (*wall(2.0, camera).things, ball))
    )
    assert both.left.depth[15, 20].item() == pytest.approx(1.4, rel=1e-6)
    assert both.left.things[15, 20] == 1
    torch.testing.assert_close(both.left.normals[:, 15, 20], torch.tensor([0.0, 0.0, -1.0]))
    assert (~both.visible).sum() > (~alone.visible).sum()
    assert alone.visible[:, 5:].all()
    assert not alone.visible[:, :5].any()


def bytes_of(view: View) -> list[bytes]:
    return [getattr(view, field.name).numpy().tobytes() for field in fields(view)]


def bytes_of_pair(pair: RenderedPair) -> list[bytes]:
    return bytes_of(pair.left) + bytes_of(pair.right)


def test_same_seed_same_bytes_alone_and_in_batches() -> None:
    def scenes() -> list[Scene]:
        return [compose(seed, height=48, width=96, textures=range(24)) for seed in range(5)]

    alone = [bytes_of_pair(render_pair(scene)) for scene in scenes()]
    again = [bytes_of_pair(render_pair(scene)) for scene in scenes()]
    three, five = render_pairs(scenes()[1:4]), render_pairs(scenes())
    assert alone == again
    assert alone[1:4] == [bytes_of_pair(three[i]) for i in range(3)]
    assert alone == [bytes_of_pair(five[i]) for i in range(5)]
    assert len({pair[0] for pair in alone}) == 5


def test_same_bytes_on_any_number_of_threads() -> None:
    scenes = [compose(seed, height=96, width=192, textures=range(24)) for seed in (11, 12, 13)]
    before = torch.get_num_threads()
    rendered = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rendered.append([bytes_of_pair(render_pair(scene)) for scene in scenes])
    finally:
        torch.set_num_threads(before)
    assert rendered[0] == rendered[1]


def test_truth_depends_neither_on_smoothing_nor_on_sensors() -> None:
    bad = Sensor(exposure=0.6, vignetting=0.3, blur_px=1.0, read_noise=0.03, shift_y_px=2.0, roll_rad=0.02, grey=True)
    for seed in range(4):
        scene = compose(seed, height=60, width=120, textures=range(24))
        plain = render_pair(scene, smooth=False, noise=False)
        for other in (
            render_pair(scene, smooth=True, noise=False),
            render_pair(replace(scene, sensors=(bad, bad), seed=scene.seed + 1), smooth=False),
        ):
            for view, same in ((plain.left, other.left), (plain.right, other.right)):
                assert bytes_of(view)[1:] == bytes_of(same)[1:]
                assert bytes_of(view)[0] != bytes_of(same)[0]


def test_what_a_pair_says_of_itself(worlds: list[tuple[Scene, RenderedPair]]) -> None:
    for scene, pair in worlds[::20]:
        height, width = scene.camera.height, scene.camera.width
        assert pair.name == scene.name
        assert pair.pair.camera is pair.camera is scene.camera
        assert pair.pair.left.shape == pair.pair.right.shape == (3, height, width)
        for view, disparity in ((pair.left, pair.left_disparity), (pair.right, pair.right_disparity)):
            assert view.image.min() >= 0
            assert view.image.max() <= 1
            assert torch.equal(disparity.values, view.disparity)
            assert disparity.valid.all()
            assert disparity.camera is scene.camera
        assert torch.equal(pair.left_depth.valid, torch.isfinite(pair.left.depth))
        assert torch.equal(pair.left_depth.values[pair.left_depth.valid], pair.left.depth[pair.left_depth.valid])
        assert torch.equal(pair.visible, pair.left.match == Match.MATCHED)
        hidden = geometry.occlusion_from_disparity(pair.left.disparity, pair.right.disparity)
        assert (hidden == ~pair.visible).float().mean() > 0.9


def test_still_life() -> None:
    pair = render_pair(still_life(width=160, height=120))
    assert 0.02 < 1 - pair.visible.float().mean() < 0.25
    for view in (pair.left, pair.right):
        assert torch.isfinite(view.depth).all()
        assert view.depth.min() > 1
        assert view.depth.max() < 8
        assert view.image.std() > 0.05
    warped, inside = geometry.warp_by_disparity(pair.right.image, pair.left.disparity)
    error = (warped - pair.left.image).abs().mean(0)
    seen, hidden = error[pair.visible], error[~pair.visible & inside]
    assert seen.median() < 0.02
    assert hidden.mean() > 2 * seen.mean()


def test_a_camera_anywhere_in_the_world_sees_the_same() -> None:
    """World and camera moved and turned together."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)

    def vector(values: np.ndarray) -> Vector:
        x, y, z = (float(value) for value in values)
        return x, y, z

    def moved(position: Vector, rotation: Rotation) -> tuple[Vector, Rotation]:
        a, b, c = map(vector, turn @ np.array(rotation))
        return vector(turn @ np.array(position) + (3.0, -2.0, 5.0)), (a, b, c)

    for seed in range(4):
        scene = lambertian(compose(seed, height=48, width=96, textures=range(24)))
        pose = scene.path.world_from_camera(0.0)
        a, b, c = map(vector, pose[:3, :3])
        things = []
        for thing in scene.things:
            position, rotation = moved(thing.position, thing.rotation)
            things.append(replace(thing, position=position, rotation=rotation))
        path = CameraPath(*moved(vector(pose[:3, 3]), (a, b, c)))
        here = render_pair(scene, smooth=False, noise=False)
        there = render_pair(replace(scene, things=tuple(things), path=path), smooth=False, noise=False)
        for view, other in ((here.left, there.left), (here.right, there.right)):
            same = view.things == other.things
            assert same.float().mean() > 0.995
            assert (view.disparity - other.disparity).abs()[same].median() < 1e-4
            assert (view.match == other.match).float().mean() > 0.99


def test_scenes_that_share_every_operation_give_what_they_give_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerator renders whole batches at once; the CPU can, too."""
    scenes = [compose(seed, height=48, width=96, textures=range(24)) for seed in range(6)]
    alone = render_pairs(scenes)
    monkeypatch.setattr("depthweave.worlds.render._scenes_at_once", lambda *_: 4)
    together = render_pairs(scenes)
    for one, other in ((alone.left, together.left), (alone.right, together.right)):
        for field in fields(View):
            # Which other samples stand beside one in a vector may change its last bit.
            torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name), rtol=1e-6, atol=1e-6)
