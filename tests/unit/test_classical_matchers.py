"""The matchers on band-limited textures of known disparity, at borders, on flat pictures, and against a plain loop."""

import math

import cv2
import jaxtyping
import numpy as np
import pytest
import torch

from depthweave.classical import (
    BlockConfig,
    BlockMatching,
    OpenCVBlockConfig,
    OpenCVBlockMatching,
    SemiGlobalConfig,
    SemiGlobalMatching,
    background_fill,
    left_right_difference,
    semiglobal,
    structure_channels,
)
from depthweave.errors import WrongInput

BLOCKS = [BlockMatching(BlockConfig(cost=cost)) for cost in ("census", "zncc", "sad", "ssd", "nssd")]
MATCHERS = [*BLOCKS, SemiGlobalMatching(), OpenCVBlockMatching()]


def named(matcher):
    return f"{type(matcher).__name__}-{getattr(matcher.config, 'cost', '')}"


every_matcher = pytest.mark.parametrize("matcher", MATCHERS, ids=named)


def texture(x, y, *, seed=0):
    """A sum of waves of 6 px and longer, in [0.1, 0.9], defined between pixels too; (3, h, w)."""
    generator = np.random.default_rng(seed)
    value = np.zeros((3, *np.broadcast_shapes(x.shape, y.shape)))
    for _ in range(40):
        frequency, angle = generator.uniform(0.15, 1.0), generator.uniform(0, 2 * math.pi)
        phase = generator.uniform(0, 2 * math.pi, (3, 1, 1))
        value += np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    return torch.from_numpy(0.5 + 0.4 * value / np.abs(value).max()).float()


def shifted_pair(shift, *, height=48, width=96, seed=0):
    """Left and right picture of a plane at one disparity: right(x) = left(x + shift)."""
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    return texture(x, y, seed=seed), texture(x + shift, y, seed=seed)


@every_matcher
@pytest.mark.parametrize("shift", [0, 5, 12])
def test_a_whole_shift_is_recovered(matcher, shift):
    match = matcher(*shifted_pair(shift), max_disparity=32)
    seen = torch.arange(96) >= shift
    error = (match.disparity - shift).abs()
    assert match.valid[:, seen].float().mean() > 0.97
    assert error[:, seen].mean() < 0.05
    assert error[:, seen].quantile(0.99) < 0.3
    assert error.max() <= 1.0  # what the right camera misses is filled from beside it
    assert not match.valid[:, : max(shift - 1, 0)].any()
    assert match.confidence[match.valid].mean() > 0.7


@every_matcher
@pytest.mark.parametrize("shift", [4.25, 9.5, 6.75])
def test_a_shift_between_pixels_is_recovered(matcher, shift):
    match = matcher(*shifted_pair(shift), max_disparity=32)
    error = (match.disparity - shift)[8:-8, 16:-8].abs()
    assert match.valid[8:-8, 16:-8].float().mean() > 0.97
    assert error.mean() < 0.22  # parabolas pull towards whole px; without them the error is 0.25 and 0.5
    assert error.max() < 0.4


def test_the_parabola_earns_its_place():
    errors = []
    for subpixel in (False, True):
        match = BlockMatching(BlockConfig(cost="zncc", subpixel=subpixel))(*shifted_pair(6.5), max_disparity=32)
        errors.append((match.disparity - 6.5)[:, 16:-8].abs().mean())
    assert errors[0] == pytest.approx(0.5)
    assert errors[1] < 0.05


@every_matcher
def test_the_left_border_is_matched(matcher):
    # disparity 3 with a range of 32: columns 3 ... 31 see their match, though not their whole range
    match = matcher(*shifted_pair(3), max_disparity=32)
    assert match.valid[:, 3:32].float().mean() > 0.97
    assert (match.disparity[:, 3:32] - 3).abs().mean() < 0.05


@every_matcher
def test_a_hidden_strip_takes_the_background(matcher):
    # a square 10 px in front of a ground at 2 px hides the columns 52 ... 59 beside it
    height, width = 64, 128
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    left, right = texture(x, y, seed=1), texture(x + 2, y, seed=1)
    left[:, 16:48, 60:100] = texture(x, y, seed=2)[:, 16:48, 60:100]
    right[:, 16:48, 50:90] = texture(x + 10, y, seed=2)[:, 16:48, 50:90]
    match = matcher(left, right, max_disparity=32)
    hidden = slice(22, 42), slice(53, 57)
    assert match.valid[hidden].float().mean() < 0.3
    assert ((match.disparity[hidden] - 2).abs() < 1.5).float().mean() > 0.7
    assert ((match.disparity[22:42, 68:92] - 10).abs() < 0.3).all()


@every_matcher
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_flat_pair_has_no_match(matcher, level):
    flat = torch.full((3, 40, 60), level)
    match = matcher(flat, flat, max_disparity=16)
    assert not match.valid.any()
    assert match.disparity.eq(0).all()
    assert match.confidence.eq(0).all()


@pytest.mark.parametrize("cost", ["census", "zncc", "sad", "ssd", "nssd", "cc"])
@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_a_flat_pair_has_no_match_even_where_speckles_are_kept(cost, count):
    flat = torch.full((3, 9, 30), 0.4)
    assert not BlockMatching(BlockConfig(cost=cost, support_share=0.0))(flat, flat, max_disparity=count).valid.any()


@every_matcher
def test_a_pair_of_horizontal_stripes_has_no_match(matcher):
    stripes = texture(np.zeros((1, 60)), np.arange(40)[:, None])
    assert not matcher(stripes, stripes, max_disparity=16).valid.any()


@pytest.mark.parametrize("cost", ["census", "zncc", "sad", "ssd", "nssd", "cc"])
def test_chunks_change_nothing(cost):
    left, right = shifted_pair(6.5, height=37, width=50)
    whole = BlockMatching(BlockConfig(cost=cost, chunk_rows=1000))(left, right, max_disparity=16)
    for rows in (1, 5, 16, 36):
        parts = BlockMatching(BlockConfig(cost=cost, chunk_rows=rows))(left, right, max_disparity=16)
        assert torch.equal(parts.disparity, whole.disparity)
        assert torch.equal(parts.valid, whole.valid)
        assert torch.equal(parts.confidence, whole.confidence)


@pytest.mark.parametrize("matcher", [BlockMatching(), SemiGlobalMatching(), OpenCVBlockMatching()], ids=named)
def test_threads_change_nothing(matcher):
    left, right = shifted_pair(7.3, height=90, width=160)
    before, before_cv = torch.get_num_threads(), cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            results.append(matcher(left, right, max_disparity=32))
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv)
    one, two = results
    assert torch.equal(one.disparity, two.disparity)
    assert torch.equal(one.valid, two.valid)
    assert torch.equal(one.confidence, two.confidence)


@pytest.mark.parametrize("matcher", [BLOCKS[0], BLOCKS[1], SemiGlobalMatching()], ids=named)
def test_a_change_of_exposure_is_survived(matcher):
    left, right = shifted_pair(6)
    match = matcher(left, 0.6 * right**1.4 + 0.05, max_disparity=32)
    assert (match.disparity[:, 8:] - 6).abs().mean() < 0.2


@pytest.mark.parametrize("channels", ["structure", "grey", "colour"])
def test_semiglobal_matching_of_all_kinds_of_channels(channels):
    match = SemiGlobalMatching(SemiGlobalConfig(channels=channels))(*shifted_pair(6), max_disparity=32)
    assert (match.disparity[:, 6:] - 6).abs().mean() < 0.05


def test_structure_channels_by_hand():
    levels = torch.full((7, 7), 100.0)
    levels[3:] = 110.0  # rows 3 ... 6 are brighter
    channels = structure_channels((levels / 255).expand(3, 7, 7))
    assert channels.shape == (7, 7, 3)
    assert channels[0, 3].tolist()[0] == 100
    assert channels[3, 3, 0] == 110
    mean, variance = (3 * 100 + 4 * 110) / 7, 10**2 * (3 / 7) * (4 / 7)
    assert channels[3, 3, 1] == round(128 + 40 * (110 - mean) / math.sqrt(variance + 16))
    assert channels[3, 3, 2] == 128 + 4 * 10
    assert channels[5, 3, 2] == 128


@pytest.mark.parametrize("seed", range(8))
def test_host_twins_equal_the_tensor_functions(seed):
    generator = np.random.default_rng(seed)
    left, right = (generator.integers(-16, 130, (2, 9, 14)) / 16).astype(np.float32)
    difference = semiglobal._left_right_difference(left, right)
    assert np.array_equal(difference, left_right_difference(*map(torch.from_numpy, (left, right))).numpy())
    # ever more rows without anything valid, up to all of them
    valid = (generator.random((9, 14)) < 0.4) & (generator.random((9, 1)) < 1 - seed / 7)
    filled = semiglobal._background_fill(left, valid)
    assert np.array_equal(filled, background_fill(*map(torch.from_numpy, (left, valid))).numpy())


def test_a_range_that_is_no_multiple_of_16_is_rounded_up():
    pair = shifted_pair(13)
    for matcher in (SemiGlobalMatching(), OpenCVBlockMatching()):
        assert torch.equal(matcher(*pair, max_disparity=18).disparity, matcher(*pair, max_disparity=32).disparity)


def test_a_range_wider_than_the_picture():
    pair = shifted_pair(4, width=40)
    for matcher in (BlockMatching(), SemiGlobalMatching(), OpenCVBlockMatching()):
        assert (matcher(*pair, max_disparity=64).disparity[:, 4:] - 4).abs().mean() < 0.3


def test_block_matching_rejects_unknown_settings():
    with pytest.raises(WrongInput, match="census, zncc, sad, ssd, nssd, cc"):
        BlockConfig(cost="mutual-information")
    with pytest.raises(WrongInput, match="chunk_rows"):
        BlockConfig(chunk_rows=0)


@pytest.mark.parametrize(
    "matcher", [BlockMatching(), SemiGlobalMatching(), OpenCVBlockMatching(OpenCVBlockConfig())], ids=named
)
def test_wrong_input(matcher, monkeypatch):
    left, right = shifted_pair(2, width=40)
    with pytest.raises(WrongInput, match="at least 1 px"):
        matcher(left, right, max_disparity=0)
    # what a user meets, who has no annotation checks
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(WrongInput, match="equal"):
        matcher(left, right[..., :-1], max_disparity=16)


def plain_block_matching(left, right, count, window, support_window, support_share, median_size):
    """Block matching with absolute differences, pixel by pixel: the twin of the tensor code."""
    height, width = left.shape
    reach = window // 2

    def in_image(y, x):
        return 0 <= y < height and 0 <= x < width

    volume = np.full((count, height, width), np.inf)
    for d, y, x in np.ndindex(count, height, width):
        if x >= d:
            around = [
                abs(left[j, i] - right[j, i - d])
                for j in range(y - reach, y + reach + 1)
                for i in range(x - reach, x + reach + 1)
                if in_image(j, i) and i >= d
            ]
            volume[d, y, x] = sum(around) / len(around)

    def refine(costs):
        best = min(range(count), key=lambda d: (costs[d], d))
        offset = 0.0
        if 0 < best < count - 1 and np.isfinite(costs[best + 1]):
            before, at, after = costs[best - 1 : best + 2]
            if before - 2 * at + after > 0:
                offset = max(-0.5, min(0.5, (before - after) / (2 * (before - 2 * at + after))))
        return best, best + offset

    best, disparity, distinct = (np.zeros((height, width)) for _ in range(3))
    back = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        best[y, x], disparity[y, x] = refine(volume[:, y, x])
        lowest, nearest = volume[int(best[y, x]), y, x], round(disparity[y, x])
        farther = [volume[d, y, x] for d in range(min(count, x + 1)) if abs(d - nearest) > 1]
        nearby = [volume[d, y, x] for d in range(min(count, x + 1)) if d != nearest]
        rival = min(farther or nearby, default=np.inf)
        tie = rival - lowest <= 1e-5 or np.isinf(rival)
        distinct[y, x] = 0 if tie else 1 - min(lowest / max(rival, 1e-5), 1)
        back[y, x] = refine([volume[d, y, x + d] if x + d < width else np.inf for d in range(count)])[1]

    agreed, difference = np.zeros((height, width), bool), np.full((height, width), np.inf)
    for y, x in np.ndindex(height, width):
        target = x - round(disparity[y, x])
        if target >= 0:
            difference[y, x] = abs(disparity[y, x] - back[y, target])
            agreed[y, x] = difference[y, x] <= 1 and distinct[y, x] > 0

    valid = np.zeros((height, width), bool)
    reach = support_window // 2
    for y, x in np.ndindex(height, width):
        around = [
            agreed[j, i] and abs(disparity[j, i] - disparity[y, x]) <= 1
            for j in range(y - reach, y + reach + 1)
            for i in range(x - reach, x + reach + 1)
            if in_image(j, i)
        ]
        valid[y, x] = agreed[y, x] and sum(around) / len(around) >= support_share

    filled = disparity.copy()
    for y, x in np.ndindex(height, width):
        if not valid[y, x]:
            before = [disparity[y, i] for i in range(x) if valid[y, i]][-1:]
            after = [disparity[y, i] for i in range(x + 1, width) if valid[y, i]][:1]
            filled[y, x] = min(before + after, default=np.nan)
    rows = [y for y in range(height) if valid[y].any()]
    for y in range(height):
        if y not in rows:
            filled[y] = filled[min(rows, key=lambda other: (abs(other - y), other))]

    median, reach = np.zeros((height, width)), median_size // 2
    for y, x in np.ndindex(height, width):
        median[y, x] = np.median(
            [
                filled[min(max(j, 0), height - 1), min(max(i, 0), width - 1)]
                for j in range(y - reach, y + reach + 1)
                for i in range(x - reach, x + reach + 1)
            ]
        )
    return median, valid, np.where(valid, np.exp(-difference) * distinct, 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_block_matching_equals_its_plain_twin(seed):
    height, width = 14, 22
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    left, right = texture(x, y, seed=seed), texture(x + 2.3, y, seed=seed)
    right[:, 3:7, 4:12] = texture(x, y, seed=seed + 10)[:, 3:7, 4:12]  # a patch without a match
    left, right = (picture[:1].double().expand(3, -1, -1) for picture in (left, right))
    config = BlockConfig(cost="sad", window=3, support_window=5, support_share=0.3, median_size=3, chunk_rows=4)
    match = BlockMatching(config)(left, right, max_disparity=6)
    disparity, valid, confidence = plain_block_matching(left[0].numpy(), right[0].numpy(), 6, 3, 5, 0.3, 3)
    assert 0.3 < valid.mean() < 0.95
    assert np.array_equal(match.valid.numpy(), valid)
    np.testing.assert_allclose(match.disparity.numpy(), disparity, atol=1e-6)
    np.testing.assert_allclose(match.confidence.numpy(), confidence, atol=1e-6)
