import pytest
import torch
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.fusion.focal import focal_from_pointmap, plausible_focal, shared_focal

HEIGHT, WIDTH, FOCAL = 24, 32, 40.0
CENTRED = geometry.intrinsics_matrix(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)


def pointmap(*leading: int, intrinsics: Tensor = CENTRED, noise: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    depth = 2 + torch.rand(*leading, HEIGHT, WIDTH, generator=generator)
    points = geometry.unproject(depth, intrinsics)
    return points * (1 + noise * torch.randn(points.shape, generator=generator))


@pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
def test_exact_points_give_the_focal_length(leading: tuple[int, ...]) -> None:
    found = focal_from_pointmap(pointmap(*leading))
    assert found.shape == leading
    torch.testing.assert_close(found, torch.full(leading, FOCAL), rtol=1e-5, atol=0)


def test_a_batch_is_its_members() -> None:
    points = pointmap(3, noise=0.05)
    together = focal_from_pointmap(points)
    torch.testing.assert_close(together, torch.stack([focal_from_pointmap(each) for each in points]))
    assert together.unique().numel() == 3


def test_the_scale_of_the_points_does_not_matter() -> None:
    points = pointmap(noise=0.05)
    torch.testing.assert_close(focal_from_pointmap(points), focal_from_pointmap(7 * points), rtol=1e-5, atol=0)


def test_without_reweighting_it_is_least_squares() -> None:
    # Pixels (-1, -0.5) and (0, -0.5) from the centre (1, 0.5); the slopes are (-1, 0) and (0, -1): f = 1.5 / 2.
    points = torch.tensor([[[-1.0, 0.0, 1.0], [0.0, -2.0, 2.0]]])
    assert focal_from_pointmap(points, iterations=0).item() == 0.75
    # One reweighting by 1 / |(-0.25, -0.5)| and 1 / |(0, 0.25)|.
    w = torch.tensor([1 / (0.25**2 + 0.5**2) ** 0.5, 4.0])
    expected = (w[0] * 1.0 + w[1] * 0.5) / w.sum()
    assert focal_from_pointmap(points, iterations=1).item() == pytest.approx(expected.item())


def test_outliers_bend_it_less_than_least_squares() -> None:
    points = pointmap()
    points[:, ::5, 2] *= 0.5
    assert abs(focal_from_pointmap(points).item() / FOCAL - 1) < 0.02
    assert abs(focal_from_pointmap(points, iterations=0).item() / FOCAL - 1) > 0.2


def test_weights_count_and_zero_leaves_out() -> None:
    points, weights = pointmap(), torch.ones(HEIGHT, WIDTH)
    points[:12] *= torch.tensor([1.0, 1.0, 0.5])
    weights[:12] = 0
    assert focal_from_pointmap(points, weights=weights).item() == pytest.approx(FOCAL, rel=1e-5)
    points[:12] = float("nan")
    assert focal_from_pointmap(points, weights=weights).item() == pytest.approx(FOCAL, rel=1e-5)


def test_points_without_a_slope_count_as_straight_ahead() -> None:
    points = pointmap()
    for filler in (torch.tensor([1.0, 1.0, 0.0]), torch.full((3,), float("nan")), torch.tensor([float("inf"), 1, 1])):
        spoilt = points.clone()
        spoilt[3, 4] = filler
        assert focal_from_pointmap(spoilt).item() == pytest.approx(FOCAL, rel=1e-4)


def test_principal_point_of_its_own() -> None:
    points = pointmap(intrinsics=geometry.intrinsics_matrix(FOCAL, FOCAL, 10.0, 14.5))
    assert focal_from_pointmap(points, principal_point=(10.0, 14.5)).item() == pytest.approx(FOCAL, rel=1e-5)
    assert abs(focal_from_pointmap(points).item() / FOCAL - 1) > 0.01
    assert focal_from_pointmap(points, principal_point=torch.tensor([10.0, 14.5])).item() == pytest.approx(FOCAL)


def test_every_fourth_pixel_keeps_its_place() -> None:
    assert focal_from_pointmap(pointmap(), stride=4).item() == pytest.approx(FOCAL, rel=1e-5)


def test_never_negative() -> None:
    assert focal_from_pointmap(pointmap() * torch.tensor([1.0, 1.0, -1.0])).item() == 0.0


def test_nothing_usable_is_refused() -> None:
    with pytest.raises(WrongInput, match="finite points off the optical axis"):
        focal_from_pointmap(pointmap(), weights=torch.zeros(HEIGHT, WIDTH))
    with pytest.raises(WrongInput, match="finite points off the optical axis"):
        focal_from_pointmap(torch.full((4, 4, 3), float("nan")))


def test_plausible_by_hand() -> None:
    # 60 degrees over 512 px is 512 / 1.1547 = 443.4 px.
    focal = torch.tensor([0.0, 221.0, 222.0, 1551.0, 1553.0, float("inf"), float("nan")])
    expected = [False, False, True, True, False, False, False]
    assert plausible_focal(focal, 512, 384).tolist() == plausible_focal(focal, 288, 512).tolist() == expected


def test_shared_focal_is_the_weighted_median() -> None:
    candidates = torch.tensor([30.0, 500.0, 31.0, 0.0, float("nan")])
    assert shared_focal(candidates) == 31.0
    assert shared_focal(candidates, torch.tensor([1.0, 5.0, 1.0, 9.0, 9.0])) == 500.0
    assert shared_focal(candidates, torch.tensor([1.0, 0.0, 1.0, 9.0, 9.0])) == 30.5
    for nothing in (candidates[3:], torch.zeros(0)):
        with pytest.raises(WrongInput, match="give the camera's intrinsics"):
            shared_focal(nothing)
