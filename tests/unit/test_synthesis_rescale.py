"""Rescaling by hand, and the distributions of the rules."""

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis import DisparityRange, draw_range, inverse_depth_bounds, rescale_to_disparity, to_range


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(height: int = 3, width: int = 67) -> Tensor:
    """0 to 200, evenly."""
    return torch.arange(height * width, dtype=torch.float32).view(height, width)


def test_bounds_of_each_rule() -> None:
    values = ramp()
    assert inverse_depth_bounds(values) == pytest.approx((1.0, 199.0))
    assert inverse_depth_bounds(values, rule="zerostereo") == (0.0, 200.0)
    assert inverse_depth_bounds(values + 50, rule="mfs") == (0.0, 250.0)
    assert inverse_depth_bounds(values - 50, rule="mfs") == (-50.0, 150.0)
    assert inverse_depth_bounds(values, values > 100, rule="zerostereo") == (101.0, 200.0)


def test_bounds_ignore_what_is_not_finite_or_wild() -> None:
    values = ramp(30, 67)
    plain = inverse_depth_bounds(values)
    values[10, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    values[5, 5] = 1e9
    assert inverse_depth_bounds(values) == pytest.approx(plain, rel=1e-3, abs=0.1)


def test_a_clip_has_one_pair_of_bounds() -> None:
    clip = torch.stack((ramp(), 3 * ramp()))
    assert inverse_depth_bounds(clip, rule="zerostereo") == (0.0, 600.0)
    bounds = inverse_depth_bounds(clip, rule="zerostereo")
    frames = [to_range(frame, disparities=DisparityRange(0, 60), bounds=bounds) for frame in clip]
    assert torch.equal(torch.stack(frames), to_range(clip, disparities=DisparityRange(0, 60), bounds=bounds))
    assert float(frames[0].max()) == pytest.approx(20)


def test_to_range_by_hand() -> None:
    values = torch.tensor([[-2.0, 0.0, 1.0, 4.0, 9.0]])
    result = to_range(values, disparities=DisparityRange(10, 50), bounds=(0.0, 4.0))
    assert torch.equal(result, torch.tensor([[10.0, 10.0, 20.0, 50.0, 50.0]]))


def test_pixels_without_a_value_go_to_an_end() -> None:
    values = torch.tensor([[torch.nan, -torch.inf, torch.inf, 1.0, 3.0, 100.0]])
    valid = torch.tensor([[True, True, True, True, True, False]])
    result = to_range(values, valid, disparities=DisparityRange(2, 6))
    assert result[0, :3].tolist() == [2, 2, 6]
    assert float(result[0, 5]) == 6, "not valid, but finite: its own value, clipped"
    assert result[0, 3:5].tolist() == pytest.approx([2, 6])


def test_scale_and_shift_of_inverse_depth_do_not_matter() -> None:
    values = torch.rand(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for rule in ("ours", "zerostereo"):
        one = rescale_to_disparity(values, width=640, rule=rule, rng=rng())
        other = rescale_to_disparity(7.5 * values - 3, width=640, rule=rule, rng=rng())
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("rule", "low_px", "high_px"), [("mfs", 50.0, 1.15 * 192), ("zerostereo", 0.0, 200.0), ("ours", 10.0, 200.0)]
)
def test_ranges_follow_their_rule(rule: str, low_px: float, high_px: float) -> None:
    drawn = [draw_range(1000, rule, rng=rng(seed)) for seed in range(3000)]
    near = np.array([each.high_px for each in drawn])
    far = np.array([each.low_px for each in drawn])
    assert low_px <= near.min() < low_px + 5
    assert high_px - 5 < near.max() <= high_px
    if rule == "mfs":
        assert 0.005 < (near > 192).mean() < 0.02
        assert not ((near > 192) & (near < 1.05 * 192)).any()
        assert near[near <= 192].mean() == pytest.approx(121, abs=3)
    else:
        assert (near < 50).mean() == pytest.approx(0.1, abs=0.02)
        assert (near > 150).mean() == pytest.approx(0.1, abs=0.02)
        assert near[(near > 50) & (near < 150)].mean() == pytest.approx(100, abs=3)
    if rule == "ours":
        assert (far / near).max() == pytest.approx(0.1, abs=1e-3)
        assert (far / near).mean() == pytest.approx(0.05, abs=2e-3)
    else:
        assert not far.any()


def test_no_disparity_exceeds_the_limit() -> None:
    drawn = [draw_range(1000, rng=rng(seed), largest_px=80).high_px for seed in range(50)]
    assert max(drawn) == 80
    assert min(drawn) < 80
    assert float(rescale_to_disparity(ramp(), width=1000, largest_px=31, rng=rng()).max()) == pytest.approx(31)


def test_the_generator_decides() -> None:
    one, same, other = (rescale_to_disparity(ramp(), width=640, rng=rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_given_spread_is_not_drawn() -> None:
    result = rescale_to_disparity(ramp(), width=640, rule="zerostereo", spread_px=20, rng=rng())
    torch.testing.assert_close(result, ramp() / 10)


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_dimensions_and_number_types(batch: tuple[int, ...], dtype: torch.dtype) -> None:
    values = ramp().to(dtype).expand(*batch, -1, -1)
    result = rescale_to_disparity(values, torch.ones_like(values, dtype=torch.bool), width=640, rng=rng())
    assert result.shape == values.shape
    assert result.dtype == dtype


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (torch.full((4, 5), 3.0), "no near and far"),
        (torch.zeros(4, 5), "no near and far"),
        (torch.full((4, 5), torch.nan), "no usable pixel"),
        (torch.full((4, 5), torch.inf), "no usable pixel"),
    ],
)
@pytest.mark.parametrize("rule", ["ours", "mfs", "zerostereo"])
def test_maps_without_range_are_refused(values: Tensor, sentence: str, rule: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        rescale_to_disparity(values, width=640, rule=rule, rng=rng())


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(WrongInput, match="choose one of ours, mfs, zerostereo"):
        draw_range(640, "their", rng=rng())
    with pytest.raises(WrongInput, match="choose one of ours"):
        inverse_depth_bounds(ramp(), rule="their")
    with pytest.raises(WrongInput, match="width 0 px"):
        draw_range(0, rng=rng())
    with pytest.raises(WrongInput, match="largest_px 0"):
        draw_range(640, rng=rng(), largest_px=0)
    with pytest.raises(WrongInput, match="far < near"):
        to_range(ramp(), disparities=DisparityRange(0, 5), bounds=(2.0, 2.0))
    with pytest.raises(WrongInput, match="no usable pixel"):
        inverse_depth_bounds(ramp(), torch.zeros(3, 67, dtype=torch.bool))
    for low_px, high_px in ((-1, 5), (5, 5), (0, float("inf")), (float("nan"), 5)):
        with pytest.raises(WrongInput, match="are no range"):
            DisparityRange(low_px, high_px)
