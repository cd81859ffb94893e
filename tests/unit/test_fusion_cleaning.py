import pytest
import torch
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.fusion.cleaning import clean_confidence

HEIGHT, WIDTH = 10, 14
INTRINSICS = geometry.intrinsics_matrix(12.0, 12.0, 7.0, 5.0)


def walls(frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Depth 4 everywhere, confidence 2, and cameras in one place."""
    poses = torch.eye(4).repeat(frames, 1, 1)
    return torch.full((frames, HEIGHT, WIDTH), 4.0), torch.full((frames, HEIGHT, WIDTH), 2.0), poses


def plain(depth: Tensor, confidence: Tensor, poses: Tensor, window: int, tolerance: float = 0.001) -> Tensor:
    """One point after the other."""
    cleaned = confidence.clone()
    for a in range(len(depth)):
        points = geometry.unproject(depth[a], INTRINSICS)
        for b in range(max(0, a - window), min(len(depth), a + window + 1)):
            if b == a:
                continue
            b_from_a = geometry.relative_pose(poses[a], poses[b])
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    point = b_from_a[:3, :3] @ points[y, x] + b_from_a[:3, 3]
                    if point[2] <= 0:
                        continue
                    u, v = (round(float(c)) for c in (INTRINSICS @ point)[:2] / point[2])
                    if not (0 <= u < WIDTH and 0 <= v < HEIGHT):
                        continue
                    in_front = point[2] < (1 - tolerance) * depth[b, v, u]
                    if in_front and confidence[a, y, x] < confidence[b, v, u]:
                        cleaned[a, y, x] = min(0.0, float(confidence[a, y, x]))
    return cleaned


def test_a_point_in_front_of_a_surer_surface_loses_its_confidence() -> None:
    depth, confidence, poses = walls(2)
    depth[0, 3, 4] = 2.0
    confidence[0, 3, 4] = 1.0
    cleaned = clean_confidence(depth, confidence, poses, INTRINSICS)
    assert (cleaned != confidence).nonzero().tolist() == [[0, 3, 4]]
    assert cleaned[0, 3, 4] == 0
    assert confidence[0, 3, 4] == 1


@pytest.mark.parametrize(("nearer", "own"), [(0.9995, 1.0), (1.2, 1.0), (0.5, 2.0), (0.5, 3.0)])
def test_what_is_not_in_front_or_not_less_sure_stays(nearer: float, own: float) -> None:
    depth, confidence, poses = walls(2)
    depth[0, 3, 4] *= nearer
    confidence[0, 3, 4] = own
    cleaned = clean_confidence(depth, confidence, poses, INTRINSICS)
    assert cleaned[0, 3, 4] == own


def test_tolerance_is_a_share_of_the_depth() -> None:
    depth, confidence, poses = walls(2)
    depth[0], confidence[0] = 3.7, 1.0
    assert bool((clean_confidence(depth, confidence, poses, INTRINSICS)[0] == 0).all())
    assert bool((clean_confidence(depth, confidence, poses, INTRINSICS, tolerance=0.1)[0] == 1).all())


def test_confidence_below_zero_stays_below() -> None:
    depth, confidence, poses = walls(2)
    depth[0], confidence[0] = 2.0, -1.0
    assert bool((clean_confidence(depth, confidence, poses, INTRINSICS)[0] == -1).all())


def test_neighbours_beyond_the_window_do_not_judge() -> None:
    depth, confidence, poses = walls(5)
    depth[0], confidence[0] = 2.0, 1.0
    confidence[1:3] = 0.5
    for window, cleaned in ((0, False), (2, False), (3, True), (None, True), (99, True)):
        found = clean_confidence(depth, confidence, poses, INTRINSICS, window=window)
        assert bool((found[0] == 0).all()) == cleaned
        assert torch.equal(found[1:], confidence[1:])


def test_unusable_pixels_neither_judge_nor_are_judged() -> None:
    depth, confidence, poses = walls(2)
    depth[0], confidence[0] = 2.0, 1.0
    valid = torch.ones_like(depth, dtype=torch.bool)
    valid[1, :, :7] = False
    valid[0, 2] = False
    depth[1, 4, 9] = float("nan")
    expected = torch.ones(HEIGHT, WIDTH)
    expected[:, 7:] = 0
    expected[2] = 1
    expected[4, 9] = 1
    assert torch.equal(clean_confidence(depth, confidence, poses, INTRINSICS, valid=valid)[0], expected)


def test_frames_without_a_pose_neither_judge_nor_are_judged() -> None:
    depth, confidence, poses = walls(3)
    depth[0], confidence[0] = 2.0, 1.0
    poses[0] = torch.nan
    assert torch.equal(clean_confidence(depth, confidence, poses, INTRINSICS), confidence)
    poses = walls(3)[2]
    poses[1:] = torch.nan
    assert torch.equal(clean_confidence(depth, confidence, poses, INTRINSICS), confidence)


@pytest.mark.parametrize("window", [1, 3])
def test_moving_cameras_as_point_after_point(window: int) -> None:
    generator = torch.Generator().manual_seed(2)
    depth = 2 + 2 * torch.rand(4, HEIGHT, WIDTH, generator=generator)
    confidence = torch.rand(depth.shape, generator=generator)
    quaternions = torch.randn(4, 4, generator=generator) * 0.05 + torch.tensor([0.0, 0.0, 0.0, 1.0])
    poses = geometry.pose_from_quaternion(quaternions, 0.4 * torch.randn(4, 3, generator=generator))
    # A camera that looks back, so that points lie behind it.
    poses[3] = poses[3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    found = clean_confidence(depth, confidence, poses, INTRINSICS, window=window)
    assert torch.equal(found, plain(depth, confidence, poses, window))
    assert 0.05 < float((found != confidence).float().mean()) < 0.9
    each = clean_confidence(depth, confidence, poses, INTRINSICS.expand(4, 3, 3), window=window)
    assert torch.equal(found, each)


def test_a_negative_window_is_refused() -> None:
    with pytest.raises(WrongInput, match="must not be negative, but is -1"):
        clean_confidence(*walls(2), INTRINSICS, window=-1)
