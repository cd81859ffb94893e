"""Laws of matching: mirrored pairs, filling, and what a match promises."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthweave.classical import (
    BlockConfig,
    BlockMatching,
    OpenCVBlockMatching,
    SemiGlobalMatching,
    background_fill,
    census,
    cross_correlation,
    nssd,
    right_cost_volume,
    sad,
    ssd,
    winner_take_all,
    zncc,
)

few = settings(max_examples=25, deadline=None)


def pictures(seed, height, width, channels=1):
    # dyadic grey levels: their sums are exact, so that the order of addition changes no winner
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, channels, height, width), generator=generator) / 256


@pytest.mark.parametrize("cost", [sad, ssd, nssd, cross_correlation, zncc, census])
@few
@given(seed=st.integers(0, 10**6), height=st.integers(1, 7), width=st.integers(1, 14), count=st.integers(1, 8))
def test_the_mirrored_swapped_pair_has_the_right_volume(cost, seed, height, width, count):
    left, right = pictures(seed, height, width, channels=2)
    volume = cost(left, right, count, 3)
    mirrored = cost(right.flip(-1), left.flip(-1), count, 3)
    # window means of few pixels may be nearly flat: zncc then divides small numbers
    tolerance = 1e-2 if cost is zncc else 1e-5
    torch.testing.assert_close(mirrored.flip(-1), right_cost_volume(volume), atol=tolerance, rtol=0)


@few
@given(seed=st.integers(0, 10**6), d=st.integers(1, 6))
def test_the_right_disparity_is_that_of_the_mirrored_swapped_pair(seed, d):
    left, right = pictures(seed, 6, 20)
    direct, _ = winner_take_all(right_cost_volume(sad(left, right, d, 3)))
    mirrored, _ = winner_take_all(sad(right.flip(-1), left.flip(-1), d, 3))
    assert torch.equal(direct, mirrored.flip(-1))


maps = arrays.arrays(np.float32, (5, 6), elements=st.floats(0, 100, width=32))
masks = arrays.arrays(np.bool_, (5, 6))


@few
@given(disparity=maps, valid=masks)
def test_filling_keeps_what_is_valid_and_invents_no_value(disparity, valid):
    disparity, valid = torch.from_numpy(disparity), torch.from_numpy(valid)
    filled = background_fill(disparity, valid)
    assert torch.equal(filled[valid], disparity[valid])
    known = set(disparity[valid].tolist()) or {0.0}
    assert set(filled.flatten().tolist()) <= known
    assert torch.equal(background_fill(filled, valid), filled)


@pytest.mark.parametrize("matcher", [BlockMatching(), SemiGlobalMatching(), OpenCVBlockMatching()])
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 24),
    width=st.integers(1, 40),
    count=st.integers(1, 40),
)
def test_any_pair_gives_a_finite_map(matcher, seed, height, width, count):
    left, right = pictures(seed, height, width, channels=3)
    match = matcher(left, right, max_disparity=count)
    assert match.disparity.shape == match.valid.shape == match.confidence.shape == (height, width)
    assert torch.isfinite(match.disparity).all()
    assert (match.disparity >= 0).all()
    assert ((match.confidence >= 0) & (match.confidence <= 1)).all()
    assert (match.confidence[~match.valid] == 0).all()
    if isinstance(matcher, BlockMatching):  # without a median the valid pixels point into the right image
        bare = BlockMatching(BlockConfig(median_size=1))(left, right, max_disparity=count)
        x_right = torch.arange(width) - bare.disparity
        assert (x_right[bare.valid] >= -0.5).all()
