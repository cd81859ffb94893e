"""Every metric against numbers worked by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.metrics import (
    Measurement,
    abs_rel,
    bad,
    d1,
    delta,
    depth_metric,
    depth_metrics,
    disparity_metric,
    disparity_metrics,
    epe,
    error_quantile,
    log10,
    rms,
    rmse,
    rmse_log,
    select,
    silog,
    sq_rel,
)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


def everywhere(like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.bool)


TRUTH = row(10.0, 20.0, 100.0, 40.0, 7.0)
PRED = row(10.5, 17.0, 104.0, 44.0, 999.0)  # errors 0.5, 3, 4, 4 and one pixel outside the mask
VALID = torch.tensor([[True, True, True, True, False]])


def test_epe_and_rms_by_hand() -> None:
    assert epe(PRED, TRUTH, VALID) == Measurement(11.5 / 4, 4)
    value, count = rms(PRED, TRUTH, VALID)
    assert value == pytest.approx(math.sqrt((0.25 + 9 + 16 + 16) / 4))
    assert count == 4


def test_bad_is_strict_and_in_percent() -> None:
    assert bad(PRED, TRUTH, VALID, 0.5).value == 75.0  # the error of exactly 0.5 is not bad
    assert bad(PRED, TRUTH, VALID, 3.0).value == 50.0
    assert bad(PRED, TRUTH, VALID, 4.0).value == 0.0


def test_d1_needs_both_conditions_and_differs_from_bad_3() -> None:
    # an error of 4 px is 4 % of the truth 100 and fine, but 10 % of the truth 40; one of 3 px is fine at any truth
    assert d1(PRED, TRUTH, VALID) == Measurement(25.0, 4)
    both = disparity_metrics(PRED, TRUTH, VALID, ("bad-3.0", "d1"))
    assert both["bad-3.0"].value == 50.0
    assert both["d1"].value == 25.0


def test_d1_at_exactly_five_percent_is_no_outlier() -> None:
    truth = row(80.0, 80.0)
    assert d1(row(84.0, 84.25), truth, everywhere(truth)).value == 50.0


def test_error_quantile_interpolates_between_sorted_errors() -> None:
    truth = torch.zeros(1, 5)
    pred = row(4.0, 0.0, 1.0, -2.0, 3.0)  # errors 0 1 2 3 4
    mask = everywhere(truth)
    assert error_quantile(pred, truth, mask, 50).value == pytest.approx(2.0)
    assert error_quantile(pred, truth, mask, 90).value == pytest.approx(3.6)  # position 4 * 0.9
    assert error_quantile(pred, truth, mask, 95).value == pytest.approx(3.8)
    assert error_quantile(pred, truth, mask, 99).value == pytest.approx(3.96)


def test_depth_errors_by_hand() -> None:
    truth, pred = row(2.0, 4.0), row(3.0, 2.0)
    mask = everywhere(truth)
    e = (math.log(1.5), math.log(0.5))
    assert abs_rel(pred, truth, mask) == Measurement(0.5, 2)  # (1/2 + 2/4) / 2
    assert sq_rel(pred, truth, mask).value == pytest.approx((1 / 2 + 4 / 4) / 2)
    assert rmse(pred, truth, mask).value == pytest.approx(math.sqrt(2.5))
    assert rmse_log(pred, truth, mask).value == pytest.approx(math.sqrt((e[0] ** 2 + e[1] ** 2) / 2))
    variance = (e[0] ** 2 + e[1] ** 2) / 2 - ((e[0] + e[1]) / 2) ** 2
    assert silog(pred, truth, mask).value == pytest.approx(100 * math.sqrt(variance))
    assert log10(pred, truth, mask).value == pytest.approx((math.log10(1.5) + math.log10(2)) / 2)


def test_silog_ignores_scale_and_rmse_log_does_not() -> None:
    truth = row(1.0, 2.0, 5.0)
    mask = everywhere(truth)
    assert silog(3 * truth, truth, mask).value == pytest.approx(0, abs=1e-4)
    assert rmse_log(3 * truth, truth, mask).value == pytest.approx(math.log(3), rel=1e-6)


def test_delta_is_strict_and_symmetric() -> None:
    truth = row(1.0, 1.0, 1.0, 1.0)
    pred = row(1.25, 0.8125, 1.5, 0.5)  # ratios 1.25, 1.2308, 1.5, 2
    mask = everywhere(truth)
    assert delta(pred, truth, mask).value == 0.25  # 1.25 itself is out
    assert delta(pred, truth, mask, 2).value == 0.75  # 1.5625
    assert delta(pred, truth, mask, 3).value == 0.75  # 1.953
    assert delta(truth / 1.5, truth, mask, 2) == delta(truth * 1.5, truth, mask, 2)


ALL_DISPARITY = ("epe", "rms", "bad-1.0", "d1", "a50", "a99")
ALL_DEPTH = ("abs-rel", "sq-rel", "rmse", "rmse-log", "silog", "log10", "delta-1", "delta-2", "delta-3")


def test_an_empty_mask_is_nan_with_count_zero() -> None:
    nothing = torch.zeros_like(VALID)
    for measured in (
        disparity_metrics(PRED, TRUTH, nothing, ALL_DISPARITY),
        depth_metrics(PRED, TRUTH, nothing, ALL_DEPTH),
    ):
        for value, count in measured.values():
            assert math.isnan(value)
            assert count == 0


def test_one_pass_equals_single_metrics() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand(9, 11, generator=generator) * 50 + 1
    pred = truth + torch.randn(9, 11, generator=generator) * 3
    valid = torch.rand(9, 11, generator=generator) > 0.3
    together = disparity_metrics(pred, truth, valid, ALL_DISPARITY)
    assert list(together) == list(ALL_DISPARITY)
    assert together["epe"] == epe(pred, truth, valid)
    assert together["rms"] == rms(pred, truth, valid)
    assert together["bad-1.0"] == bad(pred, truth, valid, 1)
    assert together["d1"] == d1(pred, truth, valid)
    assert together["a99"] == error_quantile(pred, truth, valid, 99)
    depth = depth_metrics(pred.abs(), truth, valid, ALL_DEPTH)
    assert depth["rmse"].value == pytest.approx(disparity_metrics(pred.abs(), truth, valid, ("rms",))["rms"].value)
    assert depth["delta-3"].value >= depth["delta-2"].value >= depth["delta-1"].value


def test_non_finite_predictions_count_only_inside_the_mask() -> None:
    pred = row(float("nan"), float("inf"), 3.0)
    truth = row(1.0, 2.0, 3.0)
    assert epe(pred, truth, torch.tensor([[False, False, True]])) == Measurement(0.0, 1)
    with pytest.raises(WrongInput, match="2 of 3 valid pixels have a prediction that is not finite"):
        epe(pred, truth, everywhere(truth))
    with pytest.raises(WrongInput, match="1 of 1 valid pixels have a truth that is not finite"):
        epe(row(1.0), row(float("inf")), torch.tensor([[True]]))


@pytest.mark.parametrize("name", ["abs-rel", "sq-rel", "rmse-log", "silog", "log10", "delta-1"])
def test_depth_metrics_refuse_a_truth_that_is_not_positive(name: str) -> None:
    with pytest.raises(WrongInput, match="1 of 2 valid pixels have a truth that is not positive"):
        depth_metrics(row(1.0, 2.0), row(1.0, 0.0), torch.tensor([[True, True]]), (name,))


@pytest.mark.parametrize("name", ["rmse-log", "silog", "log10", "delta-1"])
def test_a_negative_prediction_does_not_pass_as_correct(name: str) -> None:
    with pytest.raises(WrongInput, match="prediction that is not positive"):
        depth_metrics(row(-1.0, 2.0), row(1.0, 2.0), torch.tensor([[True, True]]), (name,))


def test_another_size_is_refused_with_the_way_out() -> None:
    with pytest.raises(WrongInput, match=r"\(2, 3\), \(4, 6\).*resize the prediction"):
        select(torch.zeros(2, 3), torch.zeros(4, 6), torch.ones(4, 6, dtype=torch.bool))


@pytest.mark.parametrize("name", ["bad", "bad-3", "A50", "a0", "a100", "mae", "bad--1.0"])
def test_unknown_disparity_names(name: str) -> None:
    with pytest.raises(WrongInput, match="there is no disparity metric"):
        disparity_metric(name)


def test_unknown_depth_names() -> None:
    with pytest.raises(WrongInput, match="there are abs-rel, sq-rel"):
        depth_metric("absrel")
    with pytest.raises(WrongInput, match="delta-4"):
        delta(TRUTH, TRUTH, VALID, 4)


def test_metrics_say_unit_direction_and_how_they_pool() -> None:
    assert disparity_metric("bad-2.0").unit == "%"
    assert disparity_metric("epe").unit == "px"
    assert disparity_metric("rms").pooling == "root-mean-square"
    assert disparity_metric("a95").pooling is None
    assert depth_metric("silog").pooling is None
    assert depth_metric("delta-1").higher_is_better
    assert not depth_metric("abs-rel").higher_is_better


def test_float32_sums_do_not_drift() -> None:
    truth = torch.zeros(1000, 1000)
    pred = torch.full((1000, 1000), 0.1)
    expected = float(np.float32(0.1))
    assert epe(pred, truth, everywhere(truth)).value == pytest.approx(expected, rel=1e-12)
