from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.parity.pointmap_scenes import PointmapScene, make_scene, window_pairs
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.fusion.reference import Initialisation, initialise, initialise_pair
from depthweave.types import PairPointmaps

HEIGHT, WIDTH = 18, 24
FOCAL = 1.1 * WIDTH
INTRINSICS = geometry.intrinsics_matrix(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
UNKNOWN = torch.full((4, 4), torch.nan)
both_rules = pytest.mark.parametrize("faithful", [True, False])


def scene(frames: int = 4, **options: object) -> PointmapScene:
    return make_scene(frames, HEIGHT, WIDTH, **{"noise": 0.0, "seed": 1, **options})


def scaled(pair: PairPointmaps, factor: float) -> PairPointmaps:
    return replace(pair, points_first=factor * pair.points_first, points_second=factor * pair.points_second)


def surer(pair: PairPointmaps, factor: float) -> PairPointmaps:
    return replace(
        pair, confidence_first=factor * pair.confidence_first, confidence_second=factor * pair.confidence_second
    )


def spread_of_scale(found: Initialisation, scene: PointmapScene) -> tuple[float, Tensor]:
    """Largest deviation of the depth from the truth after one scale, and each frame's own scale over their median."""
    ratio = (found.depth.double() / torch.from_numpy(scene.depth)).flatten(1)
    middle = ratio.median()
    return float((ratio / middle - 1).abs().max()), ratio.median(1).values / middle


def assert_true_shape(found: Initialisation, scene: PointmapScene, tolerance: float = 1e-3) -> None:
    assert spread_of_scale(found, scene)[0] < tolerance
    truth = torch.from_numpy(scene.world_from_camera)
    unit = float((found.depth.double() / torch.from_numpy(scene.depth)).median())
    relative = geometry.invert_pose(found.world_from_camera[0]) @ found.world_from_camera
    wanted = geometry.invert_pose(truth[0]) @ truth
    wanted[:, :3, 3] *= unit
    torch.testing.assert_close(relative, wanted, rtol=0, atol=tolerance)


@both_rules
def test_exact_pairs_give_the_truth_in_one_scale(faithful: bool) -> None:
    made = scene(5)
    found = initialise(made.pairs, faithful=faithful)
    assert_true_shape(found, made)
    torch.testing.assert_close(found.focal_px, torch.full((5,), FOCAL, dtype=torch.float64), rtol=1e-5, atol=0)
    assert bool(found.valid.all())
    assert found.pose_source.count("root") == 1
    assert len(found.tree) == 4
    # The average pair has a scale of one half, and every pair's first camera is where that frame is.
    assert found.pair_scale.log().mean().exp().item() == pytest.approx(0.5)
    for pair, pose in zip(made.pairs, found.world_from_pair, strict=True):
        torch.testing.assert_close(pose, found.world_from_camera[pair.first], rtol=0, atol=1e-3)


@both_rules
def test_the_unit_of_a_pair_changes_the_unit_of_the_whole_only(faithful: bool) -> None:
    made = scene(noise=0.01)
    pairs = [scaled(pair, 10.0) if k == 3 else pair for k, pair in enumerate(made.pairs)]
    before, after = (initialise(each, faithful=faithful) for each in (made.pairs, pairs))
    assert before.tree == after.tree
    ratio = after.depth / before.depth
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)
    assert float(ratio.mean()) == pytest.approx(10 ** (1 / len(pairs)), rel=1e-4)
    turned = (before.world_from_camera - after.world_from_camera)[:, :3, :3]
    assert float(turned.abs().max()) < 1e-5


@both_rules
def test_pairs_that_touch_nothing_yet_wait(faithful: bool) -> None:
    made = scene(5, pairs=[(0, 1), (2, 3), (1, 2), (3, 4)])
    pairs = [surer(pair, factor) for pair, factor in zip(made.pairs, (9.0, 7.0, 3.0, 5.0), strict=True)]
    found = initialise(pairs, faithful=faithful, intrinsics=INTRINSICS)
    assert found.tree == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert found.pose_source == ["root", "registered", "registered", "registered", "resected"]
    assert_true_shape(found, made, tolerance=0.02)


def test_frames_are_placed_by_the_second_frame_of_a_pair_too() -> None:
    made = scene(3, pairs=[(1, 0), (2, 1)])
    found = initialise([surer(made.pairs[0], 9.0), made.pairs[1]], intrinsics=INTRINSICS)
    assert found.tree == [(1, 0), (2, 1)]
    assert found.pose_source == ["resected", "root", "registered"]
    assert_true_shape(found, made, tolerance=0.02)


def test_the_reference_takes_focal_lengths_from_other_frames() -> None:
    made = scene(pairs=[(0, 1), (1, 2), (2, 3), (3, 2)], focal_jitter=0.2)
    pairs = [surer(pair, factor) for pair, factor in zip(made.pairs, (9.0, 7.0, 5.0, 1.0), strict=True)]
    truth = torch.from_numpy(made.focal_px)
    quirk = initialise(pairs).focal_px
    torch.testing.assert_close(quirk, truth[[0, 0, 1, 3]], rtol=1e-5, atol=0)
    torch.testing.assert_close(initialise(pairs, faithful=False).focal_px, truth, rtol=1e-5, atol=0)


def test_one_focal_length_for_all() -> None:
    made = scene(pairs=[(0, 1), (1, 2), (2, 0)], frames=3, focal_jitter=0.2)
    pairs = [surer(pair, factor) for pair, factor in zip(made.pairs, (9.0, 7.0, 5.0), strict=True)]
    found = initialise(pairs, one_focal=True).focal_px
    expected = np.mean(initialise(pairs).focal_px.numpy())
    assert found.tolist() == pytest.approx([expected] * 3)
    median = initialise(pairs, faithful=False, one_focal=True).focal_px
    assert median.tolist() == pytest.approx([made.focal_px[0]] * 3, rel=1e-4)


def test_focal_lengths_that_cannot_be_are_left_out() -> None:
    made = scene()
    wild = [
        replace(pair, points_first=pair.points_first * torch.tensor([0.1, 0.1, 1.0])) if pair.first == 2 else pair
        for pair in made.pairs
    ]
    assert initialise(wild, faithful=False).focal_px[2].item() == pytest.approx(FOCAL, rel=1e-4)


def test_symmetric_scale_does_not_shrink_frames_far_from_the_root() -> None:
    made = scene(16, noise=0.08, seed=3)
    faithful, ours = (spread_of_scale(initialise(made.pairs, faithful=rule), made)[1] for rule in (True, False))
    assert float(faithful.max() / faithful.min()) > 1.15
    assert float(ours.max() / ours.min()) < 1.1


def test_unusable_pixels_are_marked_and_move_nothing() -> None:
    made = scene()
    generator = torch.Generator().manual_seed(0)

    def spoilt(pair: PairPointmaps) -> PairPointmaps:
        hole = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        hole[3:6, 4:9] = True
        filler = 1e6 * torch.randn(HEIGHT, WIDTH, 3, generator=generator)
        filler[4] = float("nan")
        return replace(
            pair,
            points_first=torch.where(hole[..., None], filler, pair.points_first),
            points_second=torch.where(hole[..., None], filler, pair.points_second),
            confidence_first=torch.where(hole, 0.0, pair.confidence_first),
            confidence_second=torch.where(hole, 0.0, pair.confidence_second),
        )

    found = initialise([spoilt(pair) for pair in made.pairs])
    assert not bool(found.valid[:, 3:6, 4:9].any())
    assert bool((found.depth[:, 3:6, 4:9] == 1).all())
    assert bool((found.confidence[:, 3:6, 4:9] == 0).all())
    clean = initialise(made.pairs)
    outside = found.valid
    torch.testing.assert_close(found.depth[outside], clean.depth[outside], rtol=1e-4, atol=0)


@both_rules
def test_every_pair_may_miss_other_pixels(faithful: bool) -> None:
    made = scene()
    generator = torch.Generator().manual_seed(0)
    for pair in made.pairs:
        for points in (pair.points_first, pair.points_second):
            points[torch.rand(HEIGHT, WIDTH, generator=generator) < 0.1] = torch.nan
    found = initialise(made.pairs, faithful=faithful, min_confidence=1)
    assert bool((found.valid == (found.depth != 1)).all())
    assert 0.05 < 1 - float(found.valid.float().mean()) < 0.15
    ratio = (found.depth.double() / torch.from_numpy(made.depth))[found.valid]
    torch.testing.assert_close(ratio, ratio.median().expand_as(ratio), rtol=1e-3, atol=0)


def test_points_behind_the_camera_are_not_valid() -> None:
    made = scene(2, pairs=[(0, 1), (1, 0)])
    for pair in made.pairs:
        pair.points_first[5, 6, 2] *= -1
    found = initialise(made.pairs)
    root = found.pose_source.index("root")
    assert found.depth[root, 5, 6].item() == 1.0
    assert found.valid[root].logical_not().nonzero().tolist() == [[5, 6]]


def test_frames_without_a_pose_say_so() -> None:
    made = scene(noise=0.01, unsure=[3])
    found = initialise(made.pairs)
    assert found.pose_source[3] == "none"
    assert torch.equal(found.world_from_camera[3], torch.eye(4, dtype=torch.float64))
    assert not bool(found.valid[3].any())
    # The correct rule looks at pairs that look out of the frame, whatever their confidence.
    ours = initialise(made.pairs, faithful=False)
    assert ours.pose_source[3] == "registered"
    assert_true_shape(ours, made, tolerance=0.3)
    blind = initialise([pair for pair in made.pairs if pair.first != 3], faithful=False)
    assert blind.pose_source[3] == "none"
    assert bool(blind.world_from_camera[3].isnan().any())
    assert bool(blind.world_from_camera[:3].isfinite().all())


def test_a_sure_frame_without_a_pose_is_not_valid() -> None:
    made = scene(3, pairs=[(0, 1), (1, 2)])
    made.pairs[1].points_second[:] = torch.tensor([0.0, 0.0, 1.0])
    found = initialise([surer(made.pairs[0], 2.0), made.pairs[1]])
    assert found.pose_source == ["root", "registered", "none"]
    assert float(found.confidence[2].min()) > 3
    assert not bool(found.valid[2].any())


def test_a_lower_bound_lets_unsure_frames_be_resected() -> None:
    made = scene(noise=0.001, unsure=[3])
    found = initialise(made.pairs, min_confidence=1)
    assert found.pose_source[3] == "resected"
    assert bool(found.valid[3].all())


def test_a_focal_length_that_no_pair_shows_is_searched() -> None:
    made = scene(3, pairs=[(0, 1), (1, 2), (0, 2)])
    found = initialise(made.pairs)
    assert found.pose_source[2] == "resected"
    # In so small a picture many focal lengths agree with all points to 5 px, and the shortest of them is taken.
    distance = np.abs(found.focal_px[2].item() / np.geomspace(WIDTH / 2, 3 * WIDTH, 21) - 1)
    assert distance.min() < 1e-9
    assert found.focal_px[2].item() <= 1.05 * FOCAL


@both_rules
def test_known_intrinsics_are_kept(faithful: bool) -> None:
    made = scene(3)
    intrinsics = geometry.intrinsics_matrix(30.0, 31.0, 11.0, 8.0)
    for given in (intrinsics, intrinsics.expand(3, 3, 3)):
        found = initialise(made.pairs, faithful=faithful, intrinsics=given, one_focal=True)
        assert torch.equal(found.intrinsics, intrinsics.double().expand(3, 3, 3))
    assert found.focal_px.tolist() == [30.0] * 3
    with pytest.raises(WrongInput, match="2 intrinsics were given for 3 frames"):
        initialise(made.pairs, faithful=faithful, intrinsics=intrinsics.expand(2, 3, 3))


@both_rules
@pytest.mark.parametrize("given", [[0, 3, 4], [1, 4]], ids=str)
def test_known_poses_set_world_and_unit(faithful: bool, given: list[int]) -> None:
    made = scene(5)
    truth = torch.from_numpy(made.world_from_camera)
    known = UNKNOWN.double().repeat(5, 1, 1)
    known[given] = truth[given]
    found = initialise(made.pairs, faithful=faithful, known_poses=known)
    assert found.normaliser == 1.0
    assert [t for t, source in enumerate(found.pose_source) if source == "given"] == given
    assert torch.equal(found.world_from_camera[given], truth[given])
    torch.testing.assert_close(found.world_from_camera, truth, rtol=0, atol=2e-3)
    torch.testing.assert_close(found.depth.double(), torch.from_numpy(made.depth), rtol=2e-3, atol=0)
    torch.testing.assert_close(1 / found.pair_scale, torch.from_numpy(made.pair_scale), rtol=2e-3, atol=0)
    for pair, pose in zip(made.pairs, found.world_from_pair, strict=True):
        torch.testing.assert_close(pose, truth[pair.first], rtol=0, atol=2e-3)


def test_a_known_pose_stands_in_for_one_that_was_not_found() -> None:
    made = scene(noise=0.0001, unsure=[3])
    truth = torch.from_numpy(made.world_from_camera)
    found = initialise(made.pairs, known_poses=truth, min_confidence=3.0)
    assert found.pose_source == ["given"] * 4
    assert torch.equal(found.world_from_camera, truth)
    torch.testing.assert_close(found.depth[3].double(), torch.from_numpy(made.depth)[3], rtol=0.1, atol=0)


def test_known_poses_that_say_too_little_are_refused() -> None:
    made = scene(3)
    truth = torch.from_numpy(made.world_from_camera)
    one = truth.clone()
    one[1:] = UNKNOWN.double()
    with pytest.raises(WrongInput, match="1 known poses cannot set the world"):
        initialise(made.pairs, known_poses=one)
    with pytest.raises(WrongInput, match="2 known poses were given for 3 frames"):
        initialise(made.pairs, known_poses=truth[:2])
    with pytest.raises(WrongInput, match="all in one place"):
        initialise(made.pairs, known_poses=truth[:1].expand(3, 4, 4))


def test_every_second_pixel_says_nearly_the_same() -> None:
    made = scene(noise=0.01)
    full, part = (initialise(made.pairs, stride=step) for step in (1, 2))
    assert full.tree == part.tree
    ratio = part.depth / full.depth
    assert 0 < float((ratio / ratio.median() - 1).abs().max()) < 0.02


def test_one_frame_paired_with_itself() -> None:
    made = scene(1, pairs=[(0, 0)])
    found = initialise(made.pairs)
    assert found.pose_source == ["root"]
    assert found.pair_scale.item() == pytest.approx(0.5)
    assert_true_shape(found, made)


def test_groups_that_no_pair_connects_are_named() -> None:
    made = scene(9)
    pairs = [pair for pair in made.pairs if (pair.first < 6) == (pair.second < 6)]
    with pytest.raises(WrongInput, match=r"connects the 2 groups of frames 0, 1, 2, 3, 4 \.\.; 6, 7, 8; a tree"):
        initialise(pairs)


def test_what_cannot_be_placed_is_refused() -> None:
    made = scene(3, pairs=[(0, 1), (1, 2)])
    with pytest.raises(WrongInput, match="there are no pairs"):
        initialise([])
    small = make_scene(3, 12, WIDTH, pairs=[(1, 2)]).pairs
    with pytest.raises(WrongInput, match=r"several sizes.*\(12, 24\), \(18, 24\)"):
        initialise([made.pairs[0], *small])
    blank = replace(made.pairs[1], confidence_first=torch.zeros(HEIGHT, WIDTH))
    with pytest.raises(WrongInput, match=r"pair \(1, 2\) shares fewer than three usable points of frame 1"):
        initialise([made.pairs[0], blank])


@both_rules
def test_a_pair_that_tells_no_scale_is_left_out_of_the_normalisation(faithful: bool) -> None:
    made = scene(3)
    before = initialise(made.pairs, faithful=faithful)
    spare = next(k for k, pair in enumerate(made.pairs) if (pair.first, pair.second) not in before.tree)
    blank = torch.zeros(HEIGHT, WIDTH)
    pairs = [replace(pair, confidence_first=blank) if k == spare else pair for k, pair in enumerate(made.pairs)]
    found = initialise(pairs, faithful=faithful)
    assert found.pair_scale.isnan().nonzero().flatten().tolist() == [spare]
    assert found.pair_scale.log().nanmean().exp().item() == pytest.approx(0.5)
    assert_true_shape(found, made, tolerance=0.02)


# Two frames


@both_rules
@pytest.mark.parametrize("best", [0, 1])
def test_two_frames_stand_in_the_better_direction(faithful: bool, best: int) -> None:
    made = scene(2, pairs=[(0, 1), (1, 0)])
    pairs = [surer(pair, 2.0) if k == best else pair for k, pair in enumerate(made.pairs)]
    found = initialise_pair(pairs, faithful=faithful)
    assert found.tree == [((0, 1), (1, 0))[best]]
    assert found.pose_source == (["root", "resected"], ["resected", "root"])[best]
    assert torch.equal(found.world_from_camera[best], torch.eye(4, dtype=torch.float64))
    assert torch.equal(found.depth[best], pairs[best].points_first[..., 2])
    assert_true_shape(found, made, tolerance=0.02)
    assert found.pair_scale[best].item() == pytest.approx(1.0)
    assert found.pair_scale[1 - best].item() == pytest.approx(
        made.pair_scale[best] / made.pair_scale[1 - best], rel=0.02
    )


def test_two_frames_in_one_direction_search_the_focal_length() -> None:
    made = scene(2, pairs=[(0, 1)])
    found = initialise_pair(made.pairs)
    assert found.focal_px[0].item() == pytest.approx(FOCAL, rel=1e-4)
    assert found.focal_px[1].item() != found.focal_px[0].item()
    assert WIDTH / 2 < found.focal_px[1].item() < 1.05 * FOCAL
    assert found.pose_source == ["root", "resected"]


def test_two_frames_of_which_one_is_unsure() -> None:
    made = scene(2, pairs=window_pairs(2), noise=0.001, unsure=[1])
    first = [surer(made.pairs[0], 1.0), surer(made.pairs[1], 0.5)]
    assert initialise_pair(first).pose_source == ["root", "none"]
    ours = initialise_pair(first, faithful=False)
    assert ours.pose_source == ["root", "registered"]
    assert_true_shape(ours, made, tolerance=0.1)


def test_two_frames_are_two() -> None:
    for pairs in (scene(3).pairs, scene(1, pairs=[(0, 0)]).pairs):
        with pytest.raises(WrongInput, match="expected pairs of frames 0 and 1"):
            initialise_pair(pairs)
