"""Reconstruction by geometry alone on rendered clips, whose depth and cameras are known."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import Clip, Reconstruction, geometry
from depthweave.alignment import fit_similarity
from depthweave.classical.two_view_depth import ViewDepth, depth_from_two_views
from depthweave.errors import DepthweaveWarning, WrongInput
from depthweave.pipelines.geometric_pairs import GeometricPairs
from depthweave.pipelines.reconstruct import Reconstructor
from depthweave.types import Camera
from depthweave.worlds import Material, Part, RenderedClip, Scene, Thing, render_clip
from depthweave.worlds.motion import HandHeld, Motion
from depthweave.worlds.shapes import IDENTITY, Box, Quadric, Room

WIDTH, HEIGHT, FRAMES = 320, 240, 12
FOCAL_PX = 267.0
CAMERA = Camera(geometry.intrinsics_matrix(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2), WIDTH, HEIGHT)


def thing(shape: object, x: float, y: float, z: float, texture: int, **motion: object) -> Thing:
    return Thing((Part(shape, Material(texture=texture)),), (x, y, z), IDENTITY, Motion(**motion))  # type: ignore[arg-type]


THINGS = (
    thing(Room((-3.0, -2.0, -30.0), (3.0, 1.2, 7.0)), 0.0, 0.0, 0.0, 2),
    thing(Box((0.5, 0.5, 0.5)), 0.7, 0.6, 3.2, 5),
    thing(Quadric.ellipsoid((0.5, 0.5, 0.5)), -0.8, 0.3, 4.0, 7),
    thing(Box((0.3, 0.8, 0.3)), -0.2, 0.2, 5.2, 9),
    thing(Quadric.ellipsoid((0.35, 0.35, 0.35)), 0.2, -0.3, 2.6, 11, velocity_m_s=(0.0, 0.5, 0.0)),
)
MOVES = len(THINGS) - 1


@dataclass(frozen=True)
class Case:
    truth: RenderedClip
    found: Reconstruction

    @property
    def pictures(self) -> list[Tensor]:
        return list(self.truth.left.image)

    def errors(self) -> Tensor:
        """Relative errors of depth after one scale for the clip."""
        valid = self.found.depth.valid
        true, values = self.truth.left.depth, self.found.depth.values
        scale = (true[valid] / values[valid]).median()
        return (scale * values / true - 1).abs()


@pytest.fixture(scope="module")
def case() -> Case:
    path = HandHeld(velocity_m_s=(0.6, 0.0, 0.15), spin_rad_s=(0.0, -0.1, 0.0))
    scene = Scene(THINGS, CAMERA, path, name="room")
    truth = render_clip(scene, frames=FRAMES, fps=10, stereo=False, smooth=False, noise=False)
    return Case(truth, Reconstructor(GeometricPairs(), average="median")(Clip(list(truth.left.image), camera=CAMERA)))


def test_all_frames_stand_in_one_world(case: Case) -> None:
    assert case.found.component.tolist() == [0] * FRAMES
    found, true = (poses[:, :3, 3].double() for poses in (case.found.world_from_camera, case.truth.world_from_camera))
    off = (fit_similarity(found, true).apply(found) - true).norm(dim=1)
    assert off.max() < 0.02 * (true[1:] - true[:-1]).norm(dim=1).sum()


def test_depth_is_right_in_one_scale_for_the_clip(case: Case) -> None:
    valid, errors = case.found.depth.valid, case.errors()
    assert valid.float().mean() > 0.7
    assert errors[valid].mean() < 0.08
    assert errors[valid].median() < 0.05


def test_confidence_tells_good_depth_from_bad(case: Case) -> None:
    valid, errors, confidence = case.found.depth.valid, case.errors(), case.found.confidence
    sure = valid & (confidence > confidence[valid].median())
    assert errors[sure].mean() < 0.75 * errors[valid & ~sure].mean()


def test_things_that_move_get_no_depth(case: Case) -> None:
    moving = case.truth.left.things == MOVES
    assert moving.float().mean() > 0.02
    assert case.found.depth.valid[moving].float().mean() < 0.05


def test_the_focal_length_is_found(case: Case) -> None:
    camera = GeometricPairs().calibrate(Clip(case.pictures))
    assert camera is not None
    assert camera.focal_px == pytest.approx(FOCAL_PX, rel=0.06)
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)


def test_a_given_focal_length_is_kept(case: Case) -> None:
    camera = GeometricPairs(focal_px=250).calibrate(Clip(case.pictures))
    assert camera is not None
    assert camera.focal_px == 250


def test_partners_are_chosen_by_parallax(case: Case) -> None:
    pairs = GeometricPairs(parallax_px=(8, 40))
    pairs.calibrate(Clip(case.pictures, camera=CAMERA))
    prepared = {number: pairs.prepare(picture) for number, picture in enumerate(case.pictures)}
    few, many = (
        sorted({pair.second for pair in pairs.estimate(11, chosen)}) for chosen in ({11: prepared[11]}, prepared)
    )
    assert few == []
    assert len(many) == 2
    assert many[0] < many[1] < 11
    assert 2 <= pairs.window < FRAMES


def test_a_pair_says_the_same_of_both_frames(case: Case) -> None:
    pairs = GeometricPairs()
    pairs.calibrate(Clip(case.pictures, camera=CAMERA))
    prepared = {number: pairs.prepare(picture) for number, picture in enumerate(case.pictures)}
    pair = pairs.estimate(11, prepared)[0]
    assert pair.first == 11
    assert pair.first_from_second is not None
    for one, frame in ((pair, pair.first), (pair.flipped(), pair.second)):
        true = torch.nn.functional.avg_pool2d(case.truth.left.depth[frame][None, None], 2)[0, 0]
        usable = one.usable()[0] & torch.isfinite(true)
        ratio = one.points_first[..., 2][usable] / true[usable]
        assert usable.float().mean() > 0.5
        assert (ratio / ratio.median() - 1).abs().median() < 0.05


def two_view_case(step: int) -> tuple[ViewDepth, ViewDepth, np.ndarray, np.ndarray]:
    """A slanted plane with a random texture seen from two places, exactly resampled."""
    height, width = 120, 160
    noise = np.random.default_rng(0).uniform(0, 255, (height, width)).astype(np.float32)
    first = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 - 255, 0, 255)
    k = np.array([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
    second_from_first = np.eye(4)
    second_from_first[:3, :3] = cv2.Rodrigues(np.array([0.01, -0.02, 0.015]))[0]
    second_from_first[:3, 3] = (-0.2, 0.03, 0.02)
    normal, distance = np.array([0.2, 0.1, 1.0]), 3.0
    inverse = np.linalg.inv(k)
    homography = k @ (second_from_first[:3, :3] + np.outer(second_from_first[:3, 3], normal) / distance) @ inverse
    second = cv2.warpPerspective(first, homography, (width, height), flags=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ inverse.T
    true = distance / (rays @ normal)
    turned = second_from_first[:3, :3] @ normal
    true_second = (distance + turned @ second_from_first[:3, 3]) / (rays @ turned)
    grey = [np.clip(view, 0, 255).astype(np.uint8) for view in (first, second)]
    views = depth_from_two_views(*grey, k, second_from_first, plane_depth=3.0, step=step)
    return *views, true, true_second


@pytest.mark.parametrize("step", [1, 2])
def test_a_plane_is_triangulated_in_both_frames(step: int) -> None:
    first, second, true, true_second = two_view_case(step)
    for view, depth in ((first, true), (second, true_second)):
        wanted = cv2.resize(depth, (160 // step, 120 // step), interpolation=cv2.INTER_AREA)
        sure = view.confidence > 2
        assert view.depth.shape == wanted.shape
        assert sure.mean() > 0.7
        assert np.median(np.abs(view.depth / wanted - 1)[sure]) < 0.015
        assert not view.confidence[view.confidence < 1].any()
        assert (view.depth > 0).all()


def scenery(count: int, move: np.ndarray, seed: int = 0) -> list[Tensor]:
    """Views of a far wall, each by one more step of a homography."""
    noise = np.random.default_rng(seed).uniform(0, 255, (180, 240, 3)).astype(np.float32)
    wall = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 - 255, 0, 255) / 255
    views = []
    for number in range(count):
        step = np.linalg.matrix_power(move, number)
        views.append(cv2.warpPerspective(wall, step, (240, 180), borderMode=cv2.BORDER_REFLECT))
    return [torch.from_numpy(view.astype(np.float32)).permute(2, 0, 1) for view in views]


def turning(angle_rad: float) -> np.ndarray:
    k = np.array([[204.0, 0, 119.5], [0, 204.0, 89.5], [0, 0, 1]])
    moved: np.ndarray = k @ cv2.Rodrigues(np.array([0.0, angle_rad, 0.0]))[0] @ np.linalg.inv(k)
    return moved


@pytest.mark.parametrize("angle_rad", [0.0, 0.02])
def test_a_camera_that_stands_or_only_turns_is_refused(angle_rad: float) -> None:
    with pytest.raises(WrongInput, match="no parallax: the camera stands still or only turns"):
        GeometricPairs().calibrate(Clip(scenery(6, turning(angle_rad)), name="pan"))


def test_one_frame_is_refused() -> None:
    with pytest.raises(WrongInput, match=r"pan has one frame.*depthweave mono"):
        GeometricPairs().calibrate(Clip(scenery(1, np.eye(3)), name="pan"))


def test_frames_of_different_scenes_are_refused() -> None:
    pictures = [scenery(1, np.eye(3), seed)[0] for seed in range(4)]
    with pytest.raises(WrongInput, match="no two frames of shots could be placed"):
        GeometricPairs().calibrate(Clip(pictures, name="shots"))


def test_a_focal_length_that_motion_does_not_tell_is_assumed_and_said(case: Case) -> None:
    """Frames with hardly any motion between them."""
    pictures = case.pictures[:5]
    with pytest.warns(DepthweaveWarning, match=r"does not tell the focal length, so 272 px is assumed"):
        camera = GeometricPairs().calibrate(Clip(pictures))
    assert camera is not None
    assert camera.focal_px == pytest.approx(272)


def test_settings_are_checked_and_calibration_comes_first() -> None:
    with pytest.raises(WrongInput, match="max_size"):
        GeometricPairs(max_size=10)
    for parallax_px in ((), (0.0,), (-3,)):
        with pytest.raises(WrongInput, match="parallax_px"):
            GeometricPairs(parallax_px=parallax_px)
    with pytest.raises(WrongInput, match="calibrate"):
        GeometricPairs().estimate(1, {})
    assert math.isclose(GeometricPairs(min_confidence=2).min_confidence, 2.0)
