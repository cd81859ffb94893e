"""Truth of motion: flow, what becomes of pixels in the next frame, poses, things that move, appear and leave."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import brute_force
import numpy as np
import pytest
import torch

from depthweave import geometry
from depthweave.types import Camera
from depthweave.worlds import Match, Material, Part, RenderedClip, Scene, Thing, compose, render_clip, render_pair
from depthweave.worlds.motion import CameraPath, Driving, HandHeld, Motion, Orbiting, Shake
from depthweave.worlds.shapes import IDENTITY, Box, Patch, Quadric, Room, RoundBox, Torus

WIDTH, HEIGHT = 96, 54
CAMERA = Camera(geometry.intrinsics_matrix(80.0, 80.0, 47.2, 26.9), WIDTH, HEIGHT, baseline_m=0.1)
INF = math.inf
FRAMES, FPS = 3, 5.0
COMPOSED = 12
PIXELS = 250


def thing(shape: object, x: float, y: float, z: float, **motion: object) -> Thing:
    return Thing((Part(shape, Material(texture=2)),), (x, y, z), IDENTITY, Motion(**motion))  # type: ignore[arg-type]


THINGS = (
    thing(Room((-3.0, -INF, -30.0), (3.0, 1.0, 12.0)), 0.0, 0.0, 0.0),
    thing(Quadric.ellipsoid((0.3, 0.4, 0.3)), -0.5, 0.2, 2.5, velocity_m_s=(0.6, 0.0, -0.3)),
    thing(Box((0.3, 0.3, 0.3)), 0.6, 0.4, 3.0, spin_rad_s=(0.5, 1.0, 0.2)),
    thing(Torus(0.4, 0.12), 0.0, -0.5, 3.5, sway_m=(0.3, 0.1, 0.0), period_s=1.7, spin_rad_s=(1.0, 0.0, 0.0)),
    thing(Patch((0.3, 0.3), 2), 0.9, -0.4, 2.2, velocity_m_s=(-0.5, 0.1, 0.0), spin_rad_s=(0.0, 0.6, 0.0)),
    thing(RoundBox((0.3, 0.2, 0.25), 4), -1.2, 0.7, 4.0),
    thing(Quadric.cylinder(0.2, 0.2, 1.0), -0.1, 0.0, 2.0, velocity_m_s=(0.0, 0.5, 0.4), appears_s=0.15),
    thing(Quadric.ellipsoid((0.2, 0.2, 0.2)), 0.3, 0.1, 1.6, leaves_s=0.3),
)
PATHS = {
    "still": CameraPath(),
    "hand-held": HandHeld(velocity_m_s=(0.2, 0.0, 0.3), spin_rad_s=(0.0, 0.3, 0.05)),
    "driving": Driving(speed_m_s=2.0, turn_rad_s=0.2),
    "orbiting": Orbiting(center=(0.0, 0.0, 3.0), spin_rad_s=(0.0, 0.5, 0.0)),
}


@dataclass
class Step:
    """Some pixels of one frame on their way to a neighbouring frame."""

    scene: Scene
    clip: RenderedClip
    start: int
    stop: int
    pixels: np.ndarray
    hit: brute_force.Hit
    fate: brute_force.Fate

    @property
    def times(self) -> tuple[float, float]:
        return self.start / self.clip.fps, self.stop / self.clip.fps

    def _read(self, values: torch.Tensor) -> np.ndarray:
        return values.numpy()[self.pixels[:, 1], self.pixels[:, 0]]

    @property
    def flow(self) -> np.ndarray:
        ahead = self.stop > self.start
        flow = self.clip.flow_forward if ahead else self.clip.flow_backward
        return self._read(flow[min(self.start, self.stop)]).astype(np.float64)

    @property
    def match(self) -> np.ndarray:
        ahead = self.stop > self.start
        match = self.clip.forward_match if ahead else self.clip.backward_match
        return self._read(match[min(self.start, self.stop)])

    @property
    def agrees(self) -> np.ndarray:
        """Where renderer and oracle see the same surface."""
        depth = self._read(self.clip.left.depth[self.start])
        with np.errstate(invalid="ignore"):
            near = np.isinf(self.hit.t) | (np.abs(depth / self.hit.t - 1) < 1e-4)
        return (self._read(self.clip.left.things[self.start]) == self.hit.thing) & near


Clips = list[tuple[Scene, RenderedClip]]


@pytest.fixture(scope="module")
def clips() -> Clips:
    scenes = [Scene(THINGS, CAMERA, path, name=name) for name, path in PATHS.items()]
    composed = [
        compose(seed, height=HEIGHT, width=WIDTH, motion=True, duration_s=1.0, textures=range(24))
        for seed in range(COMPOSED)
    ]
    found = [(s, render_clip(s, frames=FRAMES, fps=FPS, smooth=False, noise=False)) for s in (*scenes, *composed)]
    # Also a long step: far apart, much is hidden, out of view or behind the camera.
    return [*found, *((s, render_clip(s, frames=2, fps=0.8, stereo=False, smooth=False, noise=False)) for s in scenes)]


@pytest.fixture(scope="module")
def steps(clips: Clips) -> list[Step]:
    found = []
    for scene, clip in clips:
        frames = len(clip.left.depth)
        pairs = [(i, i + 1) for i in range(frames - 1)] + [(i + 1, i) for i in range(frames - 1)]
        for seed, (start, stop) in enumerate(pairs):
            pixels = brute_force.some_pixels(scene, PIXELS, seed)
            hit = brute_force.look(scene, start / clip.fps, pixels)
            fate = brute_force.motion_fate(scene, start / clip.fps, stop / clip.fps, pixels, hit)
            found.append(Step(scene, clip, start, stop, pixels, hit, fate))
    return found


def test_frames_are_what_pairs_of_that_time_are(clips: Clips) -> None:
    for scene, clip in (clips[1], clips[len(PATHS)]):
        assert clip.right is not None
        for i in range(FRAMES):
            pair = render_pair(scene, time_s=i / FPS, smooth=False, noise=False)
            for view, frame in ((pair.left, clip.left[i]), (pair.right, clip.right[i])):
                for field in fields(view):
                    assert torch.equal(getattr(view, field.name), getattr(frame, field.name)), (i, field.name)


def test_clips_have_their_size(clips: Clips) -> None:
    for scene, clip in clips:
        frames = len(clip.left.depth)
        size = (scene.camera.height, scene.camera.width)
        assert clip.left.image.shape == (frames, 3, *size)
        assert clip.flow_forward.shape == clip.flow_backward.shape == (frames - 1, *size, 2)
        assert clip.forward_match.shape == clip.backward_match.shape == (frames - 1, *size)
        assert clip.moving.shape == (frames, *size)
        assert (clip.name, clip.camera) == (scene.name, scene.camera)
        for i in range(frames):
            assert np.array_equal(clip.world_from_camera[i].numpy(), scene.path.world_from_camera(i / clip.fps))


def test_flow_is_that_of_the_oracle(steps: list[Step]) -> None:
    errors, lengths, behind = [], [], 0
    for step in steps:
        expected = step.fate.place - step.pixels
        size = np.array([step.scene.camera.width, step.scene.camera.height])
        # Far outside of the picture a px means nothing any more, behind the camera there are none.
        in_reach = (np.abs(step.fate.place - size / 2) < size).all(1)
        nowhere = np.isnan(expected).any(1) & step.agrees
        assert (step.flow[nowhere] == 0).all()
        assert (step.match[nowhere] == Match.OUT_OF_VIEW).all()
        behind += int(nowhere.sum())
        error = np.linalg.norm(step.flow - expected, axis=1)[step.agrees & in_reach]
        assert (error <= 1e-2).mean() >= 0.98, step.scene.name
        errors.append(error)
        lengths.append(np.linalg.norm(expected[in_reach], axis=1))
    error = np.concatenate(errors)
    assert (error <= 1e-2).mean() >= 0.999
    assert np.median(error) <= 1e-4
    assert np.median(np.concatenate(lengths)) > 1
    assert behind > 20


def test_matches_in_other_frames_are_those_of_the_oracle(steps: list[Step]) -> None:
    wrong, clear, counts = 0, 0, np.zeros(3, int)
    for step in steps:
        sure = step.agrees & (step.fate.margin > 1e-3)
        wrong += int((step.fate.code != step.match)[sure].sum())
        clear += int(sure.sum())
        counts += np.bincount(step.fate.code, minlength=3)
    assert wrong <= 1e-3 * clear
    assert clear >= 0.98 * counts.sum()
    assert (counts > 0.02 * counts.sum()).all()


def test_there_and_back_again(steps: list[Step]) -> None:
    """The flow back, from where a matched pixel arrives, is the flow there, turned round."""
    errors = []
    for step in steps:
        matched = (step.match == Match.MATCHED) & (step.hit.thing >= 0)
        places = step.pixels[matched] + step.flow[matched]
        arrived = brute_force.look(step.scene, step.times[1], places)
        back = brute_force.motion_fate(step.scene, *reversed(step.times), places, arrived).place - places
        errors.append(np.linalg.norm(back + step.flow[matched], axis=1))
    error = np.concatenate(errors)
    assert (error <= 2e-2).mean() >= 0.998
    assert np.median(error) <= 1e-4


def test_rendered_flows_are_inverse_to_each_other(clips: Clips) -> None:
    """Backward flow, read between pixels of one smooth surface, undoes forward flow."""
    errors = []
    for _, clip in clips:
        for i in range(len(clip.flow_forward)):
            there = clip.flow_forward[i]
            grid = geometry.pixel_grid(*there.shape[:2]) + there
            back, inside = geometry.sample(clip.flow_backward[i].permute(2, 0, 1), grid)
            normals, _ = geometry.sample(clip.left.normals[i + 1], grid)
            things, _ = geometry.sample(clip.left.things[i + 1].float()[None], grid)
            one = (things[0] == clip.left.things[i]) & (normals.norm(dim=0) > 1 - 1e-6)
            usable = (clip.forward_match[i] == Match.MATCHED) & inside & one
            errors.append((back.permute(1, 2, 0) + there).norm(dim=-1)[usable])
    error = torch.cat(errors)
    assert len(error) > 20_000
    assert error.median() <= 2e-3
    assert error.quantile(0.95) <= 5e-2


def still_and_seen(clip: RenderedClip) -> Iterator[tuple[int, torch.Tensor]]:
    for i in range(len(clip.flow_forward)):
        yield i, ~clip.moving[i] & torch.isfinite(clip.left.depth[i]) & (clip.forward_match[i] != Match.OUT_OF_VIEW)


def test_flow_of_still_things_is_reprojection_by_the_poses(clips: Clips) -> None:
    errors = []
    for _, clip in clips:
        for i, usable in still_and_seen(clip):
            intrinsics = clip.camera.intrinsics.double()
            points = geometry.unproject(clip.left.depth[i].double().nan_to_num(posinf=1.0), intrinsics)
            other_from_this = torch.linalg.inv(clip.world_from_camera[i + 1]) @ clip.world_from_camera[i]
            moved = geometry.transform_points(other_from_this, points.flatten(0, 1))
            places = geometry.project(moved, intrinsics)[0].reshape(*usable.shape, 2)
            flow = places - geometry.pixel_grid(*usable.shape, dtype=torch.float64)
            errors.append((flow - clip.flow_forward[i]).norm(dim=-1)[usable])
    error = torch.cat(errors)
    assert (error <= 1e-2).double().mean() >= 0.999
    assert error.median() <= 1e-4


def test_the_sky_turns_with_the_camera_only() -> None:
    spin = 0.2
    path = HandHeld(velocity_m_s=(1.0, 2.0, 3.0), spin_rad_s=(0.0, spin, 0.0), shake=Shake())
    clip = render_clip(Scene((), CAMERA, path), frames=2, fps=1.0, smooth=False)
    assert (clip.left.things == -1).all()
    assert not clip.moving.any()
    x = (torch.arange(WIDTH) - 47.2) / 80.0
    # Turned to the right by the spin, the camera sees everything farther left.
    expected = 80.0 * torch.tan(torch.atan(x) - spin) + 47.2 - torch.arange(WIDTH)
    torch.testing.assert_close(clip.flow_forward[0, 27, :, 0], expected, atol=1e-3, rtol=0.0)
    stays = torch.arange(WIDTH) + expected >= -0.5
    assert torch.equal(clip.forward_match[0, 27] == Match.MATCHED, stays)


def test_nothing_moves_in_a_static_clip() -> None:
    still = tuple(replace(t, motion=Motion()) for t in THINGS)
    clip = render_clip(Scene(still, CAMERA), frames=3, smooth=False, noise=False)
    assert clip.flow_forward.abs().max() <= 1e-4
    assert clip.flow_backward.abs().max() <= 1e-4
    assert (clip.forward_match == Match.MATCHED).all()
    assert (clip.backward_match == Match.MATCHED).all()
    assert not clip.moving.any()
    assert torch.equal(clip.left.image[0], clip.left.image[2])


def test_the_moving_mask_is_that_of_things_that_move(clips: Clips) -> None:
    some = 0
    for scene, clip in clips:
        moves = torch.tensor([*(t.motion.moves for t in scene.things), False])
        assert torch.equal(clip.moving, moves[clip.left.things.long()])
        some += int(clip.moving.sum())
    assert some > 10_000
    scene, clip = clips[0]
    hit = brute_force.look(scene, 0.0, brute_force.all_pixels(scene))
    agree = brute_force.moving(scene, hit).reshape(HEIGHT, WIDTH) == clip.moving[0].numpy()
    assert agree.mean() > 0.998


def test_things_appear_and_leave(clips: Clips) -> None:
    scene, clip = clips[0]
    late, early = 6, 7
    seen = [[(clip.left.things[i] == place).sum().item() > 20 for place in (late, early)] for i in range(FRAMES)]
    assert [t.motion.exists(i / FPS) for i in range(FRAMES) for t in scene.things[late:]] == [
        value for row in seen for value in row
    ]
    # Frame 1 shows both. What leaves has no match in frame 2, what appeared has none in frame 0.
    leaving, appeared = clip.left.things[1] == early, clip.left.things[1] == late
    assert (clip.forward_match[1][leaving] == Match.OCCLUDED).all()
    assert (clip.backward_match[0][appeared] != Match.MATCHED).all()
    assert (clip.backward_match[0][leaving] == Match.MATCHED).float().mean() > 0.5
    # Still while it is there: its flow is zero, and it is no moving thing.
    assert clip.flow_forward[1][leaving].abs().max() <= 1e-4
    assert not clip.moving[1][leaving].any()


def test_a_ball_that_passes_by_hand() -> None:
    """A front at 2 m that moves by 0.1 m per frame to the right: 80 * 0.1 / 2 = 4 px."""
    plate = thing(Patch((0.21, 0.21)), 0.0, 0.0, 2.0, velocity_m_s=(1.0, 0.0, 0.0))
    wall = thing(Room((-INF, -INF, -INF), (INF, INF, 4.0)), 0.0, 0.0, 0.0)
    clip = render_clip(Scene((wall, plate), CAMERA), frames=2, fps=10.0, smooth=False)
    columns = (clip.left.things[0, 27] == 1).nonzero()[:, 0]
    assert (int(columns[0]), int(columns[-1])) == (39, 55)  # 47.2 +- 8.4
    expected = torch.tensor([4.0, 0.0]).expand(len(columns), 2)
    torch.testing.assert_close(clip.flow_forward[0, 27, columns], expected, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(clip.flow_backward[0, 27, columns + 4], -expected, atol=1e-4, rtol=0.0)
    # The wall stands still; what the plate covers next is hidden then, what it uncovers was hidden before.
    forward, backward = clip.forward_match[0, 27], clip.backward_match[0, 27]
    assert (forward != Match.MATCHED).nonzero()[:, 0].tolist() == [56, 57, 58, 59]
    assert (backward != Match.MATCHED).nonzero()[:, 0].tolist() == [39, 40, 41, 42]
    assert (forward[56:60] == Match.OCCLUDED).all()
    assert clip.flow_forward[0, 27, :39].abs().max() <= 1e-5
    assert torch.equal(clip.moving[0], clip.left.things[0] == 1)


def test_a_clip_of_one_frame_and_one_eye() -> None:
    scene = Scene(THINGS, replace(CAMERA, baseline_m=None))
    clip = render_clip(scene, frames=1, stereo=False, smooth=False, noise=False)
    assert clip.right is None
    assert clip.flow_forward.shape == (0, HEIGHT, WIDTH, 2)
    assert clip.forward_match.shape == (0, HEIGHT, WIDTH)
    assert clip.left.disparity.abs().max() == 0
