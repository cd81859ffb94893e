"""Bands, spectra, flicker and drift by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthweave.errors import WrongInput
from depthweave.metrics import (
    BANDS,
    amplitude_ratio,
    amplitude_spectrum,
    band_signals,
    band_values,
    drift,
    frequency_bands,
    mean_change,
    pixel_change,
    second_difference,
    split_by_motion,
    warped_change,
)
from depthweave.metrics.temporal import BandEdges

EDGES: tuple[BandEdges, ...] = ("exponential", "dyadic", "doubling")


def wave(frames: int, k: int) -> torch.Tensor:
    return torch.cos(2 * math.pi * k * torch.arange(frames, dtype=torch.float64) / frames)


@pytest.mark.parametrize("edges", EDGES)
@given(frames=st.integers(1, 2100))
def test_every_frequency_is_in_one_band(edges: BandEdges, frames: int) -> None:
    bands = frequency_bands(frames, edges=edges)
    assert len(bands) == BANDS
    assert bands[0] == range(1)
    assert [k for band in bands for k in band] == list(range(frames // 2 + 1))


def test_exponential_edges_by_hand() -> None:
    # K = 1024 = 2^10: F_b = [2^(b-1), 2^b), the last one closed.
    expected = [range(1), *(range(2**b, 2 ** (b + 1)) for b in range(9)), range(512, 1025)]
    assert list(frequency_bands(2048)) == expected
    # K = 290 (580 frames): 290^(1/10) = 1.763, ^(2/10) = 3.108, ^(3/10) = 5.479.
    assert list(frequency_bands(580))[:4] == [range(1), range(1, 2), range(2, 4), range(4, 6)]


def test_dyadic_and_doubling_edges_by_hand() -> None:
    dyadic, doubling = (frequency_bands(580, edges=edges) for edges in ("dyadic", "doubling"))
    assert [list(band) for band in dyadic[:4]] == [[0], [1], [2, 3], [4, 5, 6, 7]]
    assert (dyadic[9], len(dyadic[10])) == (range(256, 291), 0)
    assert [list(band) for band in doubling[:5]] == [[0], [1], [2], [3, 4], [5, 6, 7, 8]]
    assert doubling[10] == range(257, 291)


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("frames", [1, 2, 3, 17, 64, 438])
def test_band_signals_add_up_to_the_series(edges: BandEdges, frames: int) -> None:
    series = torch.rand(2, 3, frames, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))
    signals = band_signals(series, edges=edges)
    assert signals.shape == (2, 3, BANDS, frames)
    torch.testing.assert_close(signals.sum(-2), series, rtol=0, atol=1e-13)


@pytest.mark.parametrize("leading", [(), (2,), (1, 2)])
def test_a_wave_is_in_its_band_alone(leading: tuple[int, ...]) -> None:
    frames = 64
    series = (0.3 + 0.1 * wave(frames, 20)).expand(*leading, frames)
    values = band_values(series)
    assert values.shape == (*leading, BANDS)
    # K = 32 and 32^(8/10) = 16, 32^(9/10) = 22.6: k = 20 is in F9.
    expected = torch.zeros(BANDS, dtype=torch.float64)
    expected[0], expected[9] = 0.3, 0.1 * wave(frames, 20).abs().mean()
    torch.testing.assert_close(values, expected.expand(*leading, BANDS), rtol=0, atol=1e-12)


def test_the_first_band_is_the_mean() -> None:
    series = torch.tensor([0.1, 0.2, 0.6])
    assert band_values(series)[0] == pytest.approx(0.3)
    assert band_values(series).dtype == torch.float32


def test_amplitudes_and_their_ratio_by_hand() -> None:
    series = 2 + wave(8, 2)
    torch.testing.assert_close(
        amplitude_spectrum(series), torch.tensor([16.0, 0, 4, 0, 0]).double(), rtol=0, atol=1e-12
    )
    ratio = amplitude_ratio(1 + 0.5 * wave(8, 2) + wave(8, 4), 2 + wave(8, 2) + 4 * wave(8, 4))
    assert ratio[[0, 2, 4]].tolist() == pytest.approx([0.5, 0.5, 0.25])


def test_what_has_no_spectrum_is_refused() -> None:
    with pytest.raises(WrongInput, match="1 of 2 errors are not finite"):
        band_values(torch.tensor([0.1, math.nan]))
    with pytest.raises(WrongInput, match="no frames"):
        amplitude_spectrum(torch.zeros(0))
    with pytest.raises(WrongInput, match="same frames"):
        amplitude_ratio(torch.zeros(3), torch.zeros(4))
    with pytest.raises(WrongInput, match="at least one frame"):
        frequency_bands(0)


def test_mean_change_passes_over_gaps() -> None:
    series = torch.tensor([[0.0, 1.0, 3.0, math.nan, 4.0], [math.nan] * 5])
    changes = mean_change(series)
    assert changes[0] == 1.5
    assert changes[1].isnan()


def test_second_difference_ignores_steady_change() -> None:
    times = torch.arange(4.0)[:, None, None]
    valid = torch.ones(4, 1, 2, dtype=torch.bool)
    assert second_difference(times * torch.tensor([1.0, -3.0]), valid) == 0
    values = torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None, None].expand(4, 1, 2)
    assert second_difference(values, valid) == 2
    valid[1, 0, 0] = False
    assert second_difference(torch.where(valid, values, 99.0), valid) == 2
    assert math.isnan(second_difference(values, torch.zeros_like(valid)))


def test_pixel_change_counts_what_both_frames_know() -> None:
    current, previous = torch.tensor([[1.0, 2.0, 50.0]]), torch.tensor([[0.0, 5.0, 0.0]])
    assert pixel_change(current, previous, torch.tensor([[True, True, False]])) == (2.0, 2)
    value, count = pixel_change(current, previous, torch.zeros(1, 3, dtype=torch.bool))
    assert math.isnan(value)
    assert count == 0


def test_warped_change_follows_the_motion() -> None:
    previous = torch.arange(1.0, 13.0).reshape(2, 6)
    current = torch.roll(previous, 1, dims=1)  # everything has moved one pixel to the right
    known = torch.ones(2, 6, dtype=torch.bool)
    back = torch.zeros(2, 6, 2)
    back[..., 0] = -1
    value, count = warped_change(current, known, previous, known, back, known)
    assert value == pytest.approx(0, abs=1e-6)
    assert count == 10  # the first column comes from outside
    value, _ = warped_change(1.25 * current, known, previous, known, back, known)
    assert value == pytest.approx(0.2, abs=1e-6)
    # An unknown pixel of the frame before takes its own match out, and no other.
    hole = known.clone()
    hole[0, 2] = False
    filled = torch.where(hole, previous, 1e6)
    value, count = warped_change(current, known, filled, hole, back, known)
    assert value == pytest.approx(0, abs=1e-5)
    assert count == 9
    assert warped_change(current, known, previous, known, back, ~known)[1] == 0


def test_drift_of_a_growing_scale() -> None:
    scales = torch.exp(0.002 * torch.arange(51, dtype=torch.float64))
    scales[7] = math.nan
    found = drift(scales)
    assert found.percent_per_100_frames == pytest.approx(20)
    assert found.range_percent == pytest.approx(10)
    assert drift(torch.ones(5)) == (0, 0)
    assert all(math.isnan(value) for value in drift(torch.tensor([1.0, math.nan])))
    with pytest.raises(WrongInput, match="scale is positive"):
        drift(torch.tensor([1.0, 0.0]))


def test_regions_make_up_the_whole() -> None:
    valid, moving = torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])
    regions = split_by_motion(valid, moving)
    assert {name: mask.tolist() for name, mask in regions.items()} == {
        "all": [[True, True, False]],
        "static": [[False, True, False]],
        "dynamic": [[True, False, False]],
    }
    assert list(split_by_motion(valid, None)) == ["all"]
