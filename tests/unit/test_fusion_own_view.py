"""A frame's fused view and the registration of a pair, by hand."""

import math

import pytest
import torch

from depthweave import geometry
from depthweave.fusion import own_view
from depthweave.fusion.own_view import (
    Candidate,
    average_in,
    fuse_own_views,
    register_points,
    usable_confidence,
    weighted_median,
)


def test_what_cannot_be_used_has_no_confidence() -> None:
    points = torch.ones(1, 6, 3)
    points[0, 1, 2], points[0, 2, 0], points[0, 3, 1] = -1.0, torch.nan, torch.inf
    confidence = torch.tensor([[2.0, 2.0, 2.0, 2.0, torch.inf, -1.0]])
    assert usable_confidence(points, confidence).tolist() == [[2.0, 0.0, 0.0, 0.0, 0.0, 0.0]]


def wall(depth: float, confidence: float, height: int = 6, width: int = 8) -> Candidate:
    rays = geometry.ray_directions(geometry.intrinsics_matrix(8.0, 8.0, 4.0, 3.0), height, width)
    tilt = 1 + torch.arange(width) / width
    return Candidate(rays * (depth * tilt)[None, :, None], torch.full((height, width), confidence))


def test_own_views_by_hand() -> None:
    one, two = wall(1.0, 2.0), wall(3.0, 1.0)
    view = fuse_own_views([one, two])
    assert view is not None
    first, second = view.log_scales
    assert first is not None
    assert second is not None
    assert first - second == pytest.approx(math.log(3), abs=1e-6)
    assert float(view.points[..., 2].median()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(view.points, one.points * math.exp(first))
    assert torch.equal(view.confidence, one.confidence)
    assert torch.equal(view.mass, torch.full((6, 8), 3.0))


def changed(candidate: Candidate, factor: float, *, pixel: tuple[int, int] = (2, 2)) -> Candidate:
    points = candidate.points.clone()
    points[pixel] *= factor
    return Candidate(points, candidate.confidence)


def test_mean_and_median_of_one_pixel_that_differs() -> None:
    candidates = [wall(1.0, 1.0), wall(2.0, 2.0), changed(wall(5.0, 2.5), 1.6)]
    mean, median = (fuse_own_views(candidates, average=average) for average in ("mean", "median"))
    assert mean is not None
    assert median is not None
    assert float(mean.points[2, 2, 2] / mean.points[1, 2, 2]) == pytest.approx((1 + 2 + 2.5 * 1.6) / 5.5, rel=1e-5)
    assert float(median.points[2, 2, 2] / median.points[1, 2, 2]) == pytest.approx(1, rel=1e-5)
    # What agrees less what does not.
    assert float(median.confidence[2, 2]) == pytest.approx(0.5)
    assert float(median.confidence[0, 0]) == pytest.approx(5.5)
    assert float(mean.confidence[2, 2]) == 2.5


def test_candidates_without_overlap_are_left_out() -> None:
    whole = torch.zeros(12, 8)
    whole[:6] = 2
    points = torch.cat((wall(1.0, 1.0).points, wall(2.0, 1.0).points))
    view = fuse_own_views([Candidate(points, whole), Candidate(points, (2 - whole) / 2)])
    assert view is not None
    assert view.log_scales[0] is not None
    assert view.log_scales[1] is None
    assert torch.equal(view.confidence > 0, whole > 0)
    assert fuse_own_views([Candidate(points, torch.zeros(12, 8))]) is None
    assert fuse_own_views([]) is None


def test_further_candidates_fill_holes() -> None:
    seen = torch.ones(6, 8)
    seen[0] = 0
    view = fuse_own_views([Candidate(wall(1.0, 1.0).points, seen)])
    assert view is not None
    assert view.log_scales[0] is not None
    scaled = wall(1.0, 3.0).points * math.exp(view.log_scales[0])
    more = average_in(view, [Candidate(scaled * 1.4, torch.full((6, 8), 3.0))])
    torch.testing.assert_close(more.points[0], scaled[0] * 1.4)
    torch.testing.assert_close(more.points[1:], scaled[1:] * (1 + 3 * 1.4) / 4)
    assert torch.equal(more.confidence, torch.full((6, 8), 3.0))
    assert torch.equal(view.points[0], torch.tensor([0.0, 0.0, 1.0]).expand(8, 3))


def test_registration_by_hand_and_with_a_third_of_outliers() -> None:
    own = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 2.0])
    turn = geometry.pose_from_quaternion(torch.tensor([0.0, 0.1, 0.0, 0.99]), torch.tensor([0.3, 0.0, 0.1]))
    pair = geometry.transform_points(geometry.invert_pose(turn), own * 2)
    pair[:60] += 1.5
    found = register_points(pair, torch.ones(400), own)
    assert found is not None
    assert found.log_scale == pytest.approx(-math.log(2), abs=2e-3)
    torch.testing.assert_close(found.rotation, turn[:3, :3].to(torch.float64), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.translation, turn[:3, 3].to(torch.float64), rtol=0, atol=1e-2)
    assert register_points(pair, (torch.arange(400) < 29).to(torch.float32), own) is None
    scattered = torch.randn(2, 400, 3, generator=torch.Generator().manual_seed(1))
    assert register_points(scattered[0], torch.ones(400), scattered[1]) is None


@pytest.mark.parametrize(
    ("weights", "median"), [([1, 1, 1, 1], 2.5), ([1, 1, 1, 0], 2), ([5, 1, 1, 1], 1), ([1, 0, 0, 1], 2.5)]
)
def test_weighted_median(weights: list[int], median: float) -> None:
    values = torch.tensor([2.0, 1.0, 3.0, 4.0])[[1, 0, 2, 3]]
    assert float(weighted_median(values, torch.tensor(weights, dtype=torch.float32))) == median


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_medians_of_few_maps_are_those_of_sorting(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(count)
    values = torch.rand(count, 20, 30, generator=generator).mul(8).round()  # with ties
    weights = torch.randint(0, 3, (count, 20, 30), generator=generator).float()
    weights[0] += (weights.sum(0) == 0).float()
    values[weights == 0] = torch.inf
    few = weighted_median(values, weights)
    monkeypatch.setattr(own_view, "_FEW", 0)
    assert torch.equal(few, weighted_median(values, weights))
