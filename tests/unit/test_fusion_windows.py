"""The streaming fusion: own views, measurements, resume, components, known poses, and what it refuses."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.fusion import Placement, PointmapFusion
from depthweave.types import PairPointmaps

sys.path.append(str(Path(__file__).parents[1] / "parity"))
from pointmap_scenes import PointmapScene, make_scene, window_pairs

FOCAL_PX = 1.1 * 32


def exact(frames: int = 6, **options: object) -> PointmapScene:
    return make_scene(frames, 24, 32, noise=0.0, **options)  # type: ignore[arg-type]


def fused(pairs: list[PairPointmaps], frames: int, **options: object) -> tuple[list[Tensor | None], Placement]:
    fusion = PointmapFusion(**options)  # type: ignore[arg-type]
    for pair in pairs:
        fusion.add(pair)
    views = [fusion.close(frame) for frame in range(frames)]
    placed = fusion.solve(frames)
    assert fusion.waiting == 0
    depth = [None if v is None else v.points[..., 2] * s for v, s in zip(views, placed.scale, strict=True)]
    return depth, placed


def with_motion(scene: PointmapScene) -> list[PairPointmaps]:
    """Each pair once, with its motion, as a geometric estimator gives it."""
    poses = torch.from_numpy(scene.world_from_camera)
    result = []
    for pair, scale in zip(scene.pairs, scene.pair_scale.tolist(), strict=True):
        motion = geometry.relative_pose(poses[pair.second], poses[pair.first]).clone()
        motion[:3, 3] *= scale
        if pair.first < pair.second:
            result.append(replace(pair, first_from_second=motion.to(torch.float32)))
    return result


def relative(poses: Tensor) -> Tensor:
    """Poses from the first one on."""
    return geometry.invert_pose(poses[:1]) @ poses


def check_exact(scene: PointmapScene, depth: list[Tensor | None], placed: Placement) -> None:
    assert all(d is not None for d in depth)
    found = torch.stack([d for d in depth if d is not None]).to(torch.float64)
    ratio = torch.from_numpy(scene.depth) / found
    unit = float(ratio.median())
    torch.testing.assert_close(ratio, torch.full_like(ratio, unit), rtol=1e-4, atol=0)
    want = relative(torch.from_numpy(scene.world_from_camera))
    got = placed.world_from_camera.clone()
    got[:, :3, 3] *= unit
    torch.testing.assert_close(got, want, rtol=0, atol=2e-4)
    assert (placed.component == 0).all()


def test_exact_pointmaps_give_the_truth() -> None:
    scene = exact()
    depth, placed = fused(scene.pairs, 6)
    check_exact(scene, depth, placed)
    assert placed.focal_px == pytest.approx(FOCAL_PX, rel=1e-4)
    assert float(placed.scale.log().mean()) == pytest.approx(0, abs=1e-9)
    drift = placed.drift.to_dict()
    assert (drift["pairs"], drift["measured"], drift["placed"], drift["components"]) == (18, 18, 6, 1)
    assert drift["scale_percent"]["p95"] < 0.01
    json.dumps(drift)


@pytest.mark.parametrize("average", ["mean", "median"])
def test_pairs_with_their_motion_need_no_second_direction(average: str) -> None:
    scene = exact()
    depth, placed = fused(with_motion(scene), 6, average=average)
    check_exact(scene, depth, placed)


def test_a_frame_that_is_only_ever_second_is_resected() -> None:
    scene = exact(5, pairs=[pair for pair in window_pairs(5) if pair[0] != 4])
    depth, placed = fused(scene.pairs, 5)
    found = torch.stack([d for d in depth if d is not None]).to(torch.float64)
    ratio = torch.from_numpy(scene.depth) / found
    torch.testing.assert_close(ratio / ratio.median(), torch.ones_like(ratio), rtol=5e-3, atol=0)
    assert (placed.component == 0).all()


def test_the_unit_of_a_pair_is_of_no_importance() -> None:
    pairs = make_scene(5, 24, 32, noise=0.02).pairs
    depth, placed = fused(pairs, 5)
    scaled = [
        replace(p, points_first=p.points_first * f, points_second=p.points_second * f)
        for p, f in zip(pairs, np.geomspace(0.1, 10, len(pairs)).tolist(), strict=True)
    ]
    other_depth, other = fused(scaled, 5)
    for one, two in zip(depth, other_depth, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=0)
    torch.testing.assert_close(placed.world_from_camera, other.world_from_camera, rtol=0, atol=1e-5)


def test_the_order_of_pairs_is_of_no_importance() -> None:
    pairs = make_scene(5, 24, 32, noise=0.02).pairs
    depth, placed = fused(pairs, 5)
    other_depth, other = fused([pairs[k] for k in np.random.default_rng(0).permutation(len(pairs))], 5)
    assert all(torch.equal(one, two) for one, two in zip(depth, other_depth, strict=True))  # type: ignore[arg-type]
    assert torch.equal(placed.world_from_camera, other.world_from_camera)


def test_metric_pairs_keep_their_unit() -> None:
    scene = exact()
    pairs = [
        replace(p, points_first=p.points_first / s, points_second=p.points_second / s)
        for p, s in zip(scene.pairs, scene.pair_scale.tolist(), strict=True)
    ]
    depth, _ = fused(pairs, 6, keep_unit=True)
    for found, true in zip(depth, scene.depth, strict=True):
        torch.testing.assert_close(found, torch.from_numpy(true), rtol=1e-4, atol=0, check_dtype=False)


def test_known_intrinsics_put_points_on_their_rays() -> None:
    scene = make_scene(4, 24, 32, noise=0.05)
    intrinsics = geometry.intrinsics_matrix(FOCAL_PX, FOCAL_PX, 16.0, 12.0)
    fusion = PointmapFusion(intrinsics=intrinsics)
    for pair in scene.pairs:
        fusion.add(pair)
    view = fusion.close(1)
    assert view is not None
    pixels, _ = geometry.project(view.points.flatten(0, 1), intrinsics)
    torch.testing.assert_close(pixels, geometry.pixel_grid(24, 32).flatten(0, 1), rtol=0, atol=1e-3)
    assert fusion.solve(4).focal_px == pytest.approx(FOCAL_PX)


def stream(fusion: PointmapFusion, pairs: list[PairPointmaps], frames: range, last: int) -> int:
    """As a pipeline does: all pairs of a frame with earlier ones, then the frame two before is complete."""
    most = 0
    for frame in frames:
        for pair in pairs:
            if max(pair.first, pair.second) == frame:
                fusion.add(pair)
        most = max(most, fusion.waiting)
        for closed in [frame - 2] * (frame >= 2) + [frame - 1, frame] * (frame == last):
            fusion.close(closed)
    return most


def test_memory_does_not_grow_with_the_clip() -> None:
    short, long = (
        stream(PointmapFusion(), make_scene(frames, 6, 8).pairs, range(frames), frames - 1) for frames in (8, 24)
    )
    assert short == long == 18


@pytest.mark.parametrize("killed_after", [1, 2, 5, 8])
def test_a_resumed_run_ends_as_an_uninterrupted_one(killed_after: int) -> None:
    pairs = make_scene(10, 12, 16, noise=0.03).pairs
    whole = PointmapFusion(average="mean", stride=1)
    stream(whole, pairs, range(10), 9)
    first = PointmapFusion(average="mean", stride=1)
    stream(first, pairs, range(killed_after + 1), 9)
    resumed = PointmapFusion.restore(json.loads(json.dumps(first.state())))
    for pair in pairs:
        if max(pair.first, pair.second) <= killed_after:
            resumed.add(pair)
    assert resumed.waiting == first.waiting
    stream(resumed, pairs, range(killed_after + 1, 10), 9)
    assert resumed.waiting == 0
    assert resumed.state() == whole.state()
    assert torch.equal(resumed.solve(10).world_from_camera, whole.solve(10).world_from_camera)
    assert resumed.solve(10).drift == whole.solve(10).drift


def joined_scenes() -> list[PairPointmaps]:
    """A cut after frame 2 of 7; frame 7 is seen by nothing."""
    one, two = exact(3), exact(4, seed=1)
    return one.pairs + [replace(p, first=p.first + 3, second=p.second + 3) for p in two.pairs]


def test_components_have_worlds_of_their_own() -> None:
    depth, placed = fused(joined_scenes(), 8)
    assert placed.component.tolist() == [1, 1, 1, 0, 0, 0, 0, -1]
    torch.testing.assert_close(placed.world_from_camera[0], torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(placed.world_from_camera[3], torch.eye(4, dtype=torch.float64))
    assert placed.world_from_camera[7].isnan().all()
    assert placed.scale[7].isnan()
    assert depth[7] is None
    assert placed.drift.components == 2
    assert placed.drift.placed == 7


def test_a_pair_without_a_usable_pixel_is_never_an_identity_pose() -> None:
    pairs = [
        replace(p, confidence_second=torch.zeros_like(p.confidence_second)) if 2 in (p.first, p.second) else p
        for p in exact(3).pairs
    ]
    _, placed = fused(pairs, 3)
    assert placed.component.tolist() == [0, 0, -1]
    assert placed.world_from_camera[2].isnan().all()
    assert placed.drift.measured == 2


def test_one_frame_alone_is_placed() -> None:
    pair = exact(2).pairs[0]
    itself = replace(pair, second=0, points_second=pair.points_first)
    depth, placed = fused([itself], 1)
    assert placed.component.tolist() == [0]
    assert depth[0] is not None
    assert placed.drift.rotation_deg is None


def test_nothing_at_all() -> None:
    placed = PointmapFusion().solve(3)
    assert placed.component.tolist() == [-1, -1, -1]
    assert placed.focal_px is None
    assert placed.drift.placed == 0


def known_world(scene: PointmapScene) -> Tensor:
    """The truth in another world, in metres of its own."""
    turn = geometry.pose_from_quaternion(torch.tensor([0.1, 0.5, -0.2, 0.8]), torch.tensor([3.0, -1.0, 2.0]))
    poses = torch.from_numpy(scene.world_from_camera).clone()
    poses[:, :3, 3] *= 2.5
    return turn.to(torch.float64) @ poses


def test_known_poses_give_world_and_unit() -> None:
    scene = exact(8)
    truth = known_world(scene)
    given = truth.clone()
    given[[0, 3, 4, 7]] = torch.nan
    fusion = PointmapFusion()
    for pair in scene.pairs:
        fusion.add(pair)
    views = [fusion.close(frame) for frame in range(8)]
    placed = fusion.solve(8, known_poses=given)
    torch.testing.assert_close(placed.world_from_camera, truth, rtol=0, atol=1e-3)
    known = [1, 2, 5, 6]
    torch.testing.assert_close(placed.world_from_camera[known], given[known], rtol=0, atol=1e-12)
    for view, scale, depth in zip(views, placed.scale, scene.depth, strict=True):
        assert view is not None
        found = view.points[..., 2].to(torch.float64) * scale
        torch.testing.assert_close(found, 2.5 * torch.from_numpy(depth), rtol=3e-4, atol=0)


def test_known_poses_join_components() -> None:
    fusion = PointmapFusion()
    for pair in joined_scenes():
        fusion.add(pair)
    for frame in range(8):
        fusion.close(frame)
    given = torch.full((8, 4, 4), torch.nan, dtype=torch.float64)
    given[3:7] = known_world(exact(4, seed=1))
    assert fusion.solve(8, known_poses=given).component.tolist() == [1, 1, 1, 0, 0, 0, 0, -1]
    given[0:3] = known_world(exact(3))
    placed = fusion.solve(8, known_poses=given)
    assert placed.component.tolist() == [0] * 7 + [-1]
    torch.testing.assert_close(placed.world_from_camera[:7], given[:7], rtol=0, atol=1e-9)


@pytest.mark.parametrize("count", [1, 4])
def test_known_poses_that_say_no_unit(count: int) -> None:
    scene = exact(4)
    fusion = PointmapFusion()
    for pair in scene.pairs:
        fusion.add(pair)
    for frame in range(4):
        fusion.close(frame)
    given = torch.full((4, 4, 4), torch.nan)
    given[:count] = torch.eye(4)
    with pytest.raises(WrongInput, match="at least two frames of one reconstructed stretch at different positions"):
        fusion.solve(4, known_poses=given)
    with pytest.raises(WrongInput, match="3 known poses were given for 4 frames"):
        fusion.solve(4, known_poses=given[:3])


def spoilt(pair: PairPointmaps, share: float, seed: int) -> PairPointmaps:
    """Blocks of pixels at wrong places, holes, and values that are no numbers."""
    random = torch.Generator().manual_seed(seed)

    def spoil(points: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        dice = torch.rand(confidence.shape, generator=random)
        wrong = points * (1 + 3 * torch.rand(confidence.shape, generator=random))[..., None]
        points = torch.where((dice < share)[..., None], wrong, points)
        points = torch.where((dice > 0.9)[..., None], torch.nan, points)
        return points, torch.where(dice > 0.7, 0.0, confidence)

    first, second = spoil(pair.points_first, pair.confidence_first), spoil(pair.points_second, pair.confidence_second)
    return replace(
        pair, points_first=first[0], confidence_first=first[1], points_second=second[0], confidence_second=second[1]
    )


def depth_error(scene: PointmapScene, depth: list[Tensor | None]) -> Tensor:
    found = torch.stack([d for d in depth if d is not None]).to(torch.float64)
    ratio = torch.from_numpy(scene.depth) / torch.where(found > 0, found, torch.nan)
    return (ratio / ratio.nanmedian() - 1).abs()


@pytest.mark.parametrize("motion", [False, True])
def test_outliers_and_holes_do_not_disturb_the_median(motion: bool) -> None:
    scene = exact(6)
    pairs = with_motion(scene) if motion else scene.pairs
    depth, placed = fused([spoilt(p, 0.15, k) for k, p in enumerate(pairs)], 6, average="median")
    assert float(depth_error(scene, depth).nanmedian()) < 0.01
    want = relative(torch.from_numpy(scene.world_from_camera))
    turned = placed.world_from_camera[:, :3, :3].transpose(-1, -2) @ want[:, :3, :3]
    assert float((turned - torch.eye(3)).abs().max()) < 0.02


def test_one_wrong_pair_is_distrusted() -> None:
    scene = make_scene(10, 24, 32, noise=0.01, pairs=window_pairs(10, 3))
    wrong = next(k for k, p in enumerate(scene.pairs) if (p.first, p.second) == (4, 5))
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    pairs = list(scene.pairs)
    pairs[wrong] = replace(pairs[wrong], points_second=pairs[wrong].points_second @ turn + torch.tensor([0.0, 0, 30]))
    depth, placed = fused(pairs, 10, average="median")
    assert placed.drift.distrusted >= 1
    assert float(depth_error(scene, depth).nanmedian()) < 0.02


def test_pairs_without_confidence_say_nothing() -> None:
    pairs = [
        replace(p, confidence_first=torch.ones_like(p.confidence_first)) if {p.first, p.second} == {2, 3} else p
        for p in exact(6, pairs=window_pairs(6, 1)).pairs
    ]
    _, placed = fused(pairs, 6, min_pair_confidence=1.5)
    assert placed.component.tolist() == [0, 0, 0, 1, 1, 1]


def test_pairs_come_before_their_frames_are_closed() -> None:
    scene = exact(4)
    fusion = PointmapFusion()
    fusion.add(scene.pairs[0])
    fusion.close(0)
    fusion.add(scene.pairs[0])
    with pytest.raises(WrongInput, match=r"frame 0 is closed; add pair \(1, 0\)"):
        fusion.add(next(p for p in scene.pairs if (p.first, p.second) == (1, 0)))
    with pytest.raises(WrongInput, match="frame 0 is closed already"):
        fusion.close(0)
    with pytest.raises(WrongInput, match="clip is said to have 0 frames"):
        fusion.solve(0)
    with pytest.raises(WrongInput, match="frame 1 differ in size"):
        fusion.add(make_scene(3, 12, 16).pairs[1])
