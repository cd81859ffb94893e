"""Fits, pixels and averages of the protocols for clips, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from depthweave.data import CLIP_BENCHMARKS
from depthweave.errors import NeedsMetric, UnknownBenchmark, WrongInput
from depthweave.evaluation import clips_fit
from depthweave.evaluation.clips_fit import LeastSquares, PooledFit
from depthweave.evaluation.clips_measure import ClipScore, closed_gaps, measure_clip
from depthweave.evaluation.clips_protocols import CLIP_PROTOCOLS, ClipProtocol, clip_protocol, clip_protocols_for
from depthweave.evaluation.clips_score import averages
from depthweave.types import DepthMap, InverseDepthMap, Scale

STEREODIFF = clip_protocol("bonn/stereodiff")
DEPTHCRAFTER = clip_protocol("bonn/depthcrafter")
MONST3R = clip_protocol("bonn/monst3r")
DISPARITY = [name for name in CLIP_PROTOCOLS if name.startswith("bonn/") and CLIP_PROTOCOLS[name].space == "disparity"]
DEPTH = [name for name in CLIP_PROTOCOLS if name.startswith("bonn/") and CLIP_PROTOCOLS[name].space == "depth"]
FRAMES = 6


def truth_of(frames: int = FRAMES) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 1 + 4 * torch.rand(frames, 8, 10, generator=generator)


def noisy(truth: Tensor) -> Tensor:
    return truth * (1 + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(5))).clamp(0.6, 1.4)


def measured(
    under: ClipProtocol,
    values: Tensor,
    truth: Tensor,
    *,
    kind: type[DepthMap] | type[InverseDepthMap] = DepthMap,
    valid: Tensor | None = None,
    known: Tensor | None = None,
    moving: Tensor | None = None,
    scale: Scale = Scale.UNKNOWN_SCALE,
) -> ClipScore:
    everywhere = torch.ones_like(values, dtype=torch.bool)
    usable = everywhere if valid is None else valid
    seen = torch.ones_like(truth, dtype=torch.bool) if known is None else known
    scores, left_out = measure_clip(
        [under],
        "clip",
        len(truth),
        lambda i: kind(values[i], usable[i], scale=scale),
        lambda i: (truth[i], seen[i]),
        dynamic=None if moving is None else lambda i: moving[i],
    )
    if left_out:
        raise left_out[under.name]
    return scores[under.name]


def numbers(score: ClipScore) -> list[float]:
    return [m.value for m in score.regions["all"].values.values()]


@pytest.mark.parametrize("name", ["bonn/stereodiff", *DISPARITY])
def test_a_global_affine_change_of_disparity_alters_nothing(name: str) -> None:
    truth = truth_of()
    disparity = 1 / noisy(truth)
    plain = measured(clip_protocol(name), disparity, truth, kind=InverseDepthMap)
    for scale, shift in ((7.0, 0.0), (0.01, 3.0), (2.0, -0.9)):
        changed = measured(clip_protocol(name), scale * disparity + shift, truth, kind=InverseDepthMap)
        assert numbers(changed) == pytest.approx(numbers(plain), rel=2e-4)
        assert changed.flicker_percent == pytest.approx(plain.flicker_percent, rel=2e-4)


@pytest.mark.parametrize("name", ["bonn/stereodiff", *DEPTH])
def test_a_global_change_of_depth_alters_nothing(name: str) -> None:
    truth = truth_of()
    depth = noisy(truth)
    plain = measured(clip_protocol(name), depth, truth)
    shifts = (0.0,) if clip_protocol(name).fit == "median-scale" else (0.0, 2.5)
    for shift in shifts:
        changed = measured(clip_protocol(name), 7 * depth + shift, truth)
        assert numbers(changed) == pytest.approx(numbers(plain), rel=2e-4)


@pytest.mark.parametrize("name", [name for name in CLIP_PROTOCOLS if name.startswith("bonn/")])
def test_a_change_per_frame_hurts(name: str) -> None:
    truth = truth_of()
    perfect = measured(clip_protocol(name), truth, truth)
    assert perfect.regions["all"].values["abs-rel"].value < 1e-4
    jitter = torch.tensor([1.0, 1.1, 0.9, 1.05, 0.95, 1.0])[:, None, None]
    hurt = measured(clip_protocol(name), jitter * truth, truth)
    assert hurt.regions["all"].values["abs-rel"].value > 0.02
    assert hurt.flicker_percent > 2
    assert hurt.drift.range_percent > 15
    assert sum(hurt.regions["all"].bands["abs-rel"][1:]) > 100 * sum(perfect.regions["all"].bands["abs-rel"][1:])


def test_metrics_by_hand() -> None:
    # Depth of 1 and 3 m is fitted without error; 2 m of a third frame is not in the fit, for it is predicted nowhere.
    truth = torch.tensor([[[1.0, 3.0]], [[1.0, 3.0]], [[2.0, 2.0]]])
    predicted = torch.tensor([[[1.0, 3.0]], [[2.0, 2.0]], [[9.0, 9.0]]])
    valid = torch.tensor([[[True, True]], [[True, True]], [[False, False]]])
    score = measured(replace(STEREODIFF, resizing="nearest"), predicted, truth, valid=valid)
    # p = 1, 3, 2, 2 and g = 1, 3, 1, 3: s = cov / var = (1 + 1) / 2 = 1, t = 0.
    assert (score.scale, score.shift) == (pytest.approx(1), pytest.approx(0))
    found = score.regions["all"]
    assert found.series["abs-rel"][:2] == [0, pytest.approx((1 / 1 + 1 / 3) / 2)]
    assert math.isnan(found.series["abs-rel"][2])
    assert found.values["abs-rel"].value == pytest.approx(1 / 3)
    assert found.values["rmse"].value == pytest.approx(0.5)
    assert found.values["delta-1"] == (0.5, 4)
    assert found.counts == [2, 2, 0]
    assert (score.missing, score.frames) == (1, 3)
    assert score.coverage_percent == pytest.approx(100 * 4 / 6)
    # Flicker: pixels go from ln 1 to ln 2 and ln 2/3; the third frame has none.
    assert score.flicker_percent == pytest.approx(50 * (math.log(2) + math.log(1.5)))


def test_pooled_and_per_frame_averages_differ() -> None:
    truth = torch.full((2, 1, 4), 2.0)
    truth[:, :, 1] = 4.0
    truth[:, :, 2] = 6.0
    predicted = truth.clone()
    predicted[1, 0, 0] = 3.0
    known = torch.ones_like(truth, dtype=torch.bool)
    known[1, 0, 1:] = False
    pooled = measured(replace(MONST3R, space=None), predicted, truth, known=known)
    per_frame = measured(replace(MONST3R, space=None, averaging="per-frame"), predicted, truth, known=known)
    assert (pooled.scale, pooled.shift) == (pytest.approx(1), pytest.approx(0, abs=1e-6))  # L1 passes the outlier over
    assert pooled.regions["all"].values["abs-rel"] == (pytest.approx(0.5 / 5), 5)
    assert per_frame.regions["all"].values["abs-rel"] == (pytest.approx(0.25), 5)
    assert pooled.regions["all"].values["rmse"].value == pytest.approx(math.sqrt(1 / 5))
    assert per_frame.regions["all"].values["rmse"].value == pytest.approx(0.5)


def test_clips_are_averaged_as_the_protocol_says() -> None:
    truth = truth_of(2)
    score = measured(STEREODIFF, noisy(truth), truth)
    region = score.regions["all"]
    few = replace(region, values={n: m._replace(value=0.0, count=80) for n, m in region.values.items()})
    other = replace(score, regions={"all": few})
    value, pixels = region.values["abs-rel"]
    assert pixels == 160
    assert averages(STEREODIFF, [score, other])["all"].values["abs-rel"] == pytest.approx(value / 2)
    assert averages(MONST3R, [score, other])["all"].values["abs-rel"] == pytest.approx(value * 2 / 3)


def test_limits_of_depth_by_hand() -> None:
    # 12 m is beyond 10 m and does not count; the fitted 2 * 6 = 12 m is clamped to 10 m.
    truth = torch.tensor([[[2.0, 4.0, 9.0, 12.0]]])
    depth = torch.tensor([[[1.0, 2.0, 6.0, 1.0]]])
    fixed = replace(STEREODIFF, fit="median-scale")
    score = measured(fixed, depth, truth)
    assert score.scale == pytest.approx(4 / 2)
    assert score.regions["all"].counts == [3]
    assert score.regions["all"].values["abs-rel"].value == pytest.approx((0 + 0 + 1 / 9) / 3)
    assert score.regions["all"].values["delta-1"].value == 1


def test_disparity_that_is_not_positive_is_far() -> None:
    truth = torch.tensor([[[1.0, 2.0, 4.0, 5.0]], [[1.0, 2.0, 4.0, 5.0]]])
    disparity = 1 / truth
    disparity[1, 0, 3] = -2.0
    score = measured(DEPTHCRAFTER, disparity, truth, kind=InverseDepthMap, scale=Scale.UNKNOWN_SCALE_AND_SHIFT)
    # The outlier bends the fit; its own disparity falls below 1e-3 and reads the largest depth, 10 m.
    assert score.scale * -2 + score.shift < 1e-3
    rmse = score.regions["all"].series["rmse"]
    assert rmse[1] > rmse[0]
    assert rmse[1] < 5


def test_static_and_dynamic_pixels_apart() -> None:
    truth = truth_of()
    moving = torch.zeros_like(truth, dtype=torch.bool)
    moving[1:, :, :3] = True
    predicted = truth.clone()
    predicted[1::2, :, :3] *= 1.3
    score = measured(STEREODIFF, predicted, truth, moving=moving)
    whole, static, dynamic = (score.regions[name] for name in ("all", "static", "dynamic"))
    assert [a + b for a, b in zip(static.counts, dynamic.counts, strict=True)] == whole.counts
    assert dynamic.counts[0] == 0
    assert math.isnan(dynamic.series["abs-rel"][0])
    for index in range(1, FRAMES):
        parts = (r.series["abs-rel"][index] * r.counts[index] for r in (static, dynamic))
        assert sum(parts) == pytest.approx(whole.series["abs-rel"][index] * whole.counts[index])
    assert dynamic.values["abs-rel"].value > 2 * static.values["abs-rel"].value
    assert sum(dynamic.bands["abs-rel"][6:]) > 2 * sum(static.bands["abs-rel"][6:])


def test_frames_without_truth_and_masks_that_begin_late() -> None:
    truth = truth_of(4)
    scores, left_out = measure_clip(
        [STEREODIFF],
        "clip",
        4,
        lambda i: None if i == 2 else DepthMap(truth[i], torch.ones(8, 10, dtype=torch.bool)),
        lambda i: None if i == 0 else (truth[i], torch.ones(8, 10, dtype=torch.bool)),
        dynamic=lambda i: torch.ones(8, 10, dtype=torch.bool) if i == 3 else None,
    )
    assert left_out == {}
    score = scores[STEREODIFF.name]
    assert score.regions["all"].counts == [0, 80, 0, 80]
    assert score.regions["dynamic"].counts == [0, 0, 0, 80]
    assert score.regions["static"].counts == [0, 0, 0, 0]
    assert score.regions["static"].bands["abs-rel"] == []
    assert score.missing == 1  # frame 0 has no truth, so nothing is missing there
    assert math.isnan(score.flicker_percent)  # no two neighbours
    assert score.regions["all"].bands["abs-rel"][0] == pytest.approx(0, abs=1e-7)


def test_an_empty_clip_cannot_be_fitted() -> None:
    truth = truth_of(2)
    with pytest.raises(WrongInput, match="no two pixels"):
        measured(STEREODIFF, truth, truth, known=torch.zeros_like(truth, dtype=torch.bool))
    for under in (STEREODIFF, MONST3R):
        with pytest.raises(WrongInput, match="same everywhere"):
            measured(under, torch.full_like(truth, 0.3), truth)
    with pytest.raises(WrongInput, match="median of the prediction"):
        measured(clip_protocol("bonn/monst3r-median"), -truth, truth)


def test_disparity_of_unknown_shift_is_not_inverted() -> None:
    truth = truth_of(2)
    with pytest.raises(NeedsMetric, match="bonn/monst3r fits depth"):
        measured(MONST3R, 1 / truth, truth, kind=InverseDepthMap, scale=Scale.UNKNOWN_SCALE_AND_SHIFT)
    known = measured(MONST3R, 1 / truth, truth, kind=InverseDepthMap)
    assert known.space == "depth"
    assert known.regions["all"].values["abs-rel"].value < 1e-4


def test_predictions_of_another_size_are_resized_by_the_protocol() -> None:
    truth = torch.tensor([[[1.0, 1.0, 3.0, 3.0]]])
    small = torch.tensor([[[1.0, 3.0]]])
    nearest = measured(STEREODIFF, small, truth)
    assert nearest.regions["all"].values["abs-rel"].value == pytest.approx(0, abs=1e-9)
    bilinear = measured(replace(STEREODIFF, resizing="bilinear"), small, truth)  # 1, 1.5, 2.5, 3
    assert bilinear.regions["all"].values["abs-rel"].value > 0.02
    half = torch.tensor([[[True, False]]])
    part = measured(
        STEREODIFF, torch.tensor([[[1.0, 99.0]], [[1.0, 3.0]]]), truth.expand(2, 1, 4), valid=torch.cat((half, ~half))
    )
    assert part.regions["all"].counts == [2, 2]
    assert part.regions["all"].values["abs-rel"].value == pytest.approx(0, abs=1e-9)


def test_the_fit_is_that_of_all_frames_together() -> None:
    generator = np.random.default_rng(1)
    p, g = generator.normal(50, 0.1, (5, 40)), generator.normal(0.2, 0.1, (5, 40))
    fit = LeastSquares()
    for prediction, truth in zip(p, g, strict=True):
        fit.add(torch.from_numpy(prediction), torch.from_numpy(truth))
    fit.add(torch.zeros(0).double(), torch.zeros(0).double())
    expected = np.linalg.lstsq(np.stack((p.ravel(), np.ones(p.size)), 1), g.ravel(), rcond=None)[0]
    assert fit.solve() == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_least_absolute_deviation_is_that_of_linear_programming(seed: int) -> None:
    generator = np.random.default_rng(seed)
    p = generator.uniform(2, 9, 60).astype(np.float32)
    g = (3 - 0.7 * p * (seed % 2 or -1) + generator.laplace(0, 0.4, 60)).astype(np.float32)
    fit = PooledFit(scale_only=False)
    fit.add(torch.from_numpy(p[:25]), torch.from_numpy(g[:25]))
    fit.add(torch.from_numpy(p[25:]), torch.from_numpy(g[25:]))
    scale, shift = fit.solve()
    # min sum r with -r <= s p + t - g <= r
    design, minus = np.stack((p, np.ones(60)), 1).astype(np.float64), -np.eye(60)
    bounds = np.block([[design, minus], [-design, minus]])
    best = linprog(np.r_[0, 0, np.ones(60)], bounds, np.r_[g, -g], bounds=[(None, None)] * 2 + [(0, None)] * 60)
    assert np.abs(scale * p.astype(np.float64) + shift - g).sum() == pytest.approx(best.fun, rel=1e-7)


def test_a_long_clip_is_fitted_on_an_even_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_fit, "MOST_PIXELS", 100)
    fit = PooledFit(scale_only=True)
    for index in range(10):
        values = torch.full((64,), float(index + 1))
        fit.add(values, 2 * values)
    assert fit._kept == 80
    assert [pixels.shape[1] for pixels in fit._pixels] == [8] * 10
    assert fit.solve() == (2.0, 0.0)


def test_gaps_are_closed_by_straight_lines() -> None:
    closed = closed_gaps([math.nan, 1.0, math.nan, math.nan, 4.0, math.nan])
    assert closed is not None
    assert closed.tolist() == [1, 1, 2, 3, 4, 4]
    assert closed_gaps([math.nan, math.nan]) is None


def test_the_table_of_protocols() -> None:
    assert {p.benchmark for p in CLIP_PROTOCOLS.values()} == set(CLIP_BENCHMARKS)
    assert all(p.name == name and p.citation and p.notes for name, p in CLIP_PROTOCOLS.items())
    default = [p.name for p in clip_protocols_for("kitti-depth") if p.by_default]
    assert default == ["kitti-depth/stereodiff", "kitti-depth/depthcrafter", "kitti-depth/monst3r"]
    most = {name: clip_protocol(f"{name}/depthcrafter").clip_range_m[1] for name in CLIP_BENCHMARKS}
    assert (most["kitti-depth"], most["sintel-depth"], most["bonn"], most["scannet"]) == (80, 70, 10, 10)
    assert clip_protocol("kitti-depth/monst3r").clip_range_m[1] == math.inf
    with pytest.raises(UnknownBenchmark, match="bonn/monst3r"):
        clip_protocol("bonn/monster")
    with pytest.raises(UnknownBenchmark, match="no protocol of clips for 'eth3d'"):
        clip_protocols_for("eth3d")
