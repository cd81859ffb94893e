from pathlib import Path

import pytest
import torch

from depthweave import geometry
from depthweave.io import read_image
from depthweave.types import Camera, DisparityMap, StereoPair
from depthweave.worlds import Plane, RenderedPair, Scene, Sphere, render_pair, still_life

WIDTH, HEIGHT = 160, 120


@pytest.fixture(scope="module")
def rendered() -> RenderedPair:
    return render_pair(still_life(width=WIDTH, height=HEIGHT))


def test_everything_has_the_size_of_the_camera(rendered: RenderedPair) -> None:
    assert rendered.pair.left.shape == rendered.pair.right.shape == (3, HEIGHT, WIDTH)
    assert rendered.visible.shape == (HEIGHT, WIDTH)
    for disparity in (rendered.left_disparity, rendered.right_disparity):
        assert disparity.values.shape == (HEIGHT, WIDTH)
        assert disparity.valid.all()
        assert disparity.values.min() > 0
    assert rendered.pair.left.min() >= 0
    assert rendered.pair.left.max() <= 1
    assert rendered.pair.left.std() > 0.05


def test_some_pixels_are_hidden_but_not_many(rendered: RenderedPair) -> None:
    assert 0.02 < 1 - rendered.visible.float().mean() < 0.25


def test_warping_by_true_disparity_gives_the_left_picture(rendered: RenderedPair) -> None:
    warped, inside = geometry.warp_by_disparity(rendered.pair.right, rendered.left_disparity.values)
    assert inside[rendered.visible].all()
    error = (warped - rendered.pair.left).abs().mean(0)
    seen, hidden = error[rendered.visible], error[~rendered.visible & inside]
    assert seen.median() < 0.02
    assert seen.mean() < 0.03
    assert hidden.mean() > 3 * seen.mean()
    # Half a pixel of disparity is noticed: the truth is not merely near.
    off = geometry.warp_by_disparity(rendered.pair.right, rendered.left_disparity.values + 0.5)[0]
    assert (off - rendered.pair.left).abs().mean(0)[rendered.visible].mean() > 1.5 * seen.mean()


def test_left_and_right_truth_agree_where_both_see(rendered: RenderedPair) -> None:
    left = rendered.left_disparity.values
    read, _ = geometry.warp_by_disparity(rendered.right_disparity.values[None], left)
    difference = (read[0] - left).abs()[rendered.visible]
    # Interpolation across an edge of the right view mixes two surfaces; elsewhere the two views agree to rounding.
    assert difference.median() < 1e-3
    assert (difference < 0.1).float().mean() > 0.96


def test_visibility_agrees_with_the_test_on_both_disparities(rendered: RenderedPair) -> None:
    hidden = geometry.occlusion_from_disparity(rendered.left_disparity.values, rendered.right_disparity.values)
    assert (hidden == ~rendered.visible).float().mean() > 0.98


def test_depth_is_that_of_the_surfaces(rendered: RenderedPair) -> None:
    depth = rendered.left_disparity.to_depth()
    camera = rendered.pair.camera
    assert camera is not None
    torch.testing.assert_close(depth.values, camera.focal_px * 0.12 / rendered.left_disparity.values)
    points = geometry.unproject(depth.values, camera.intrinsics)
    # Nothing lies below the floor at y = 0.8 m or behind the wall, and most of the bottom row shows the floor.
    assert points[..., 1].max().item() == pytest.approx(0.8, rel=1e-4)
    assert ((points[-1, :, 1] - 0.8).abs() < 1e-3).float().mean() > 0.7
    behind_wall = 0.25 * points[..., 0] - (points[..., 2] - 4.6)
    assert behind_wall.min() > -1e-3
    assert behind_wall[0].abs().median() < 1e-3


def test_hand_made_scene_has_hand_made_disparity() -> None:
    camera = Camera(geometry.intrinsics_matrix(100.0, 100.0, 19.5, 15.5), 40, 32, baseline_m=0.1)
    wall = Plane((0.0, 0.0, 2.0), (0.0, 0.0, -1.0), (1.0, 1.0, 1.0), 1)
    ball = Sphere((0.0, 0.0, 1.5), 0.1, (1.0, 0.5, 0.5), 2)
    alone = render_pair(Scene((wall,), camera), samples=1, name="wall")
    assert alone.pair.name == "wall"
    torch.testing.assert_close(alone.left_disparity.values, torch.full((32, 40), 5.0))
    assert torch.equal(alone.visible, (torch.arange(40) - 5 >= -0.5).expand(32, 40))
    both = render_pair(Scene((wall, ball), camera), samples=1)
    assert both.left_disparity.values.max().item() == pytest.approx(100 * 0.1 / 1.4, rel=1e-3)
    assert (~both.visible).sum() > (~alone.visible).sum()


def test_same_seed_same_bytes() -> None:
    first, second, other = (render_pair(still_life(width=48, height=32, seed=seed)) for seed in (5, 5, 6))
    for a, b, c in (
        (first.pair.left, second.pair.left, other.pair.left),
        (first.pair.right, second.pair.right, other.pair.right),
        (first.left_disparity.values, second.left_disparity.values, other.left_disparity.values),
    ):
        assert a.numpy().tobytes() == b.numpy().tobytes() != c.numpy().tobytes()


def test_truth_does_not_depend_on_the_samples_of_colour() -> None:
    scene = still_life(width=48, height=32)
    coarse, fine = render_pair(scene, samples=1), render_pair(scene, samples=3)
    assert torch.equal(coarse.left_disparity.values, fine.left_disparity.values)
    assert torch.equal(coarse.visible, fine.visible)
    assert not torch.equal(coarse.pair.left, fine.pair.left)


def test_a_saved_scene_reads_back(rendered: RenderedPair, tmp_path: Path) -> None:
    rendered.save(tmp_path / "scene")
    pair = StereoPair.read(
        tmp_path / "scene" / "left.png", tmp_path / "scene" / "right.png", calibration=tmp_path / "scene" / "calib.txt"
    )
    assert (pair.left - rendered.pair.left).abs().max() <= 0.5 / 255 + 1e-6
    assert pair.camera is not None
    assert pair.camera.baseline_m == pytest.approx(0.12)
    truth = DisparityMap.read(tmp_path / "scene" / "disparity.pfm", camera=pair.camera)
    assert torch.equal(truth.values, rendered.left_disparity.values)
    torch.testing.assert_close(truth.to_depth().values, rendered.left_disparity.to_depth().values)
    mask = read_image(tmp_path / "scene" / "mask0nocc.png")
    assert torch.equal(torch.from_numpy(mask) == 255, rendered.visible)
