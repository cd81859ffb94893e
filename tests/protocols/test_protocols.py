"""Averaging, regions and limits of the named protocols."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import UnknownBenchmark, WrongInput
from depthweave.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    average,
    evaluate_item,
    protocol,
    protocols_for,
)
from depthweave.metrics import Measurement

PER_IMAGE = protocol("kitti-2015/occ/per-image")
POOLED = protocol("kitti-2015/occ/pooled")


def mask(*values: int) -> Tensor:
    return torch.tensor([values], dtype=torch.bool)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


def measured(under: Protocol, errors: list[float], truth: float = 10.0) -> dict[str, Measurement]:
    target = torch.full((1, len(errors)), truth)
    known = torch.ones_like(target, dtype=torch.bool)
    return evaluate_item(under, target + row(*errors), target, {"all": known, "visible": known})


def test_per_image_and_pooled_differ() -> None:
    items = {"small": [9.0], "large": [1.0, 1.0, 1.0]}
    per_image = average(PER_IMAGE, {key: measured(PER_IMAGE, errors) for key, errors in items.items()})
    pooled = average(POOLED, {key: measured(POOLED, errors) for key, errors in items.items()})
    assert per_image["epe"].value == 5.0
    assert pooled["epe"].value == 3.0
    assert per_image["d1"].value == 50.0
    assert pooled["d1"].value == 25.0
    assert pooled["d1"][1:] == (2, 0, 4)


def test_pooled_values_equal_those_of_all_pixels_together() -> None:
    under = replace(POOLED, metrics=("d1", "epe", "bad-2.0", "rms"))
    generator = np.random.default_rng(0)
    parts = [generator.normal(0, 3, size).tolist() for size in (3, 50, 17)]
    pooled = average(under, {str(i): measured(under, part) for i, part in enumerate(parts)})
    together = measured(under, [error for part in parts for error in part])
    for name in under.metrics:
        assert pooled[name].value == pytest.approx(together[name].value, rel=1e-6), name


@pytest.mark.parametrize("under", [PER_IMAGE, POOLED])
def test_an_item_without_pixels_is_skipped_and_counted(under: Protocol) -> None:
    truth = row(5.0, 5.0)
    empty = evaluate_item(under, truth, truth, {"all": mask(0, 0)})
    assert math.isnan(empty["epe"].value)
    averaged = average(under, {"empty": empty, "full": measured(under, [2.0])})
    assert averaged["epe"] == (2.0, 1, 1, 1)  # counting it as 0 px would give 1 px


def test_nothing_left_is_nan() -> None:
    truth = row(5.0)
    empty = evaluate_item(POOLED, truth, truth, {"all": mask(0)})
    for items, skipped in (({"empty": empty}, 1), ({}, 0)):
        averaged = average(POOLED, items)["d1"]
        assert math.isnan(averaged.value)
        assert averaged[1:] == (0, skipped, 0)


def test_regions_choose_the_pixels() -> None:
    truth = row(10.0, 10.0, 10.0)
    pred = row(10.0, 10.0, 20.0)
    regions = {"all": mask(1, 1, 1), "visible": mask(1, 1, 0)}
    assert evaluate_item(protocol("kitti-2015/noc/pooled"), pred, truth, regions)["d1"] == Measurement(0.0, 2)
    assert evaluate_item(POOLED, pred, truth, regions)["d1"].value == pytest.approx(100 / 3)


def test_a_missing_region_is_one_sentence() -> None:
    truth = row(1.0)
    with pytest.raises(WrongInput, match=r"kitti-2015/occ/pooled scores the region 'all'.*only has 'visible'"):
        evaluate_item(POOLED, truth, truth, {"visible": mask(1)})


def test_a_prediction_of_another_size_is_refused() -> None:
    truth = torch.ones(4, 6)
    with pytest.raises(WrongInput, match="resize the prediction"):
        evaluate_item(POOLED, torch.ones(2, 3), truth, {"all": truth > 0})


def test_sceneflow_leaves_out_192_px_and_more() -> None:
    truth = row(191.5, 192.0, 300.0)
    found = evaluate_item(protocol("sceneflow/all/per-image"), truth + 1, truth, {"all": mask(1, 1, 1)})
    assert found["epe"] == Measurement(1.0, 1)


def test_middlebury_weights() -> None:
    weighted, plain = protocol("middlebury-v3/visible/weighted"), protocol("middlebury-v3/visible/per-image")
    half = {name for name, weight in weighted.weights.items() if weight == 0.5}
    assert half == {"PianoL", "Playroom", "Playtable", "Shelves", "Vintage"}
    assert len(weighted.weights) == 15
    assert sum(weighted.weights.values()) == 12.5
    items = {"Adirondack": measured(weighted, [1.0]), "PianoL": measured(weighted, [4.0])}
    assert average(weighted, items)["epe"].value == pytest.approx((1 * 1.0 + 0.5 * 4.0) / 1.5)
    assert average(plain, items)["epe"].value == 2.5
    with pytest.raises(WrongInput, match="no weight for 'Crusade'"):
        average(weighted, {"Crusade": measured(weighted, [1.0])})


def test_a_skipped_item_takes_its_weight_along() -> None:
    weighted = protocol("middlebury-v3/all/weighted")
    truth = row(1.0)
    empty = evaluate_item(weighted, truth, truth, {"all": mask(0)})
    items = {"Piano": empty, "PianoL": measured(weighted, [4.0])}
    assert average(weighted, items)["epe"] == (4.0, 1, 1, 1)


def test_items_of_another_protocol_are_refused() -> None:
    with pytest.raises(WrongInput, match=r"a has no bad-2\.0, bad-4\.0, bad-5\.0; measure it again"):
        average(protocol("kitti-2012/noc/pooled"), {"a": measured(POOLED, [1.0])})


def test_quantiles_are_not_offered_pooled() -> None:
    with pytest.raises(WrongInput, match="a95 cannot be pooled"):
        replace(POOLED, metrics=("d1", "a95"))
    with pytest.raises(WrongInput, match="headline"):
        replace(POOLED, headline="rms")
    with pytest.raises(WrongInput, match="weights"):
        replace(PER_IMAGE, averaging="weighted")


def test_names_are_close_matched() -> None:
    with pytest.raises(UnknownBenchmark, match="kitti-2015/noc/pooled"):
        protocol("kitti-2015/noc/pool")
    with pytest.raises(UnknownBenchmark, match="middlebury-v3"):
        protocols_for("middlebury")


def test_every_protocol_says_region_averaging_and_source() -> None:
    words = {"visible": ("visible", "noc"), "all": ("all", "occ")}
    for name, each in PROTOCOLS.items():
        assert each.name == name
        assert name.startswith(each.benchmark)
        assert name.endswith(f"/{each.averaging}")
        if each.quantity == "disparity":
            assert name.split("/")[1] in words[each.region]
        assert "https://" in each.citation or "http://" in each.citation
        assert each in protocols_for(each.benchmark)


def test_kitti_facts() -> None:
    official_2012, official_2015 = protocols_for("kitti-2012")[0], protocols_for("kitti-2015")[0]
    assert official_2012.averaging == "per-image"
    assert {"bad-2.0", "bad-3.0", "bad-4.0", "bad-5.0", "epe"} <= set(official_2012.metrics)
    assert official_2015.averaging == "pooled"
    assert official_2015.headline == "d1"


EIGEN = protocol("kitti-eigen-garg/per-image")
EIGEN_MEDIAN = protocol("kitti-eigen-garg-median/per-image")


def test_garg_crop_rows_and_columns() -> None:
    truth = torch.full((100, 100), 10.0)
    counted = EIGEN.mask(truth, {"all": torch.ones(100, 100, dtype=torch.bool)})
    rows, columns = counted.any(1).nonzero().flatten(), counted.any(0).nonzero().flatten()
    assert (int(rows[0]), int(rows[-1])) == (40, 98)  # int(40.81), int(99.19) exclusive
    assert (int(columns[0]), int(columns[-1])) == (3, 95)  # int(3.59), int(96.41) exclusive
    assert int(counted.sum()) == 59 * 93


def eigen(under: Protocol, pred: Tensor, truth: Tensor) -> dict[str, Measurement]:
    return evaluate_item(under, pred, truth, {"all": truth > 0})


def test_depth_cap_leaves_out_truth_and_clamps_predictions() -> None:
    truth = torch.full((100, 100), 40.0)
    truth[60] = 80.0  # at the cap: does not count
    found = eigen(EIGEN, torch.full((100, 100), 500.0), truth)
    assert found["rmse"] == Measurement(40.0, 58 * 93)  # predictions became 80


def test_median_scaling_is_a_protocol_of_its_own() -> None:
    truth = torch.rand(100, 100, generator=torch.Generator().manual_seed(1)) * 30 + 2
    pred = truth / 7
    assert eigen(EIGEN_MEDIAN, pred, truth)["abs-rel"].value == pytest.approx(0, abs=1e-6)
    assert eigen(EIGEN, pred, truth)["abs-rel"].value == pytest.approx(6 / 7, rel=1e-5)


def test_median_scaling_needs_positive_predictions_and_takes_an_empty_mask() -> None:
    truth = torch.full((100, 100), 10.0)
    with pytest.raises(WrongInput, match="prediction that is not positive"):
        eigen(EIGEN_MEDIAN, torch.zeros(100, 100), truth)
    assert eigen(EIGEN_MEDIAN, truth, torch.zeros(100, 100))["abs-rel"].count == 0


def test_an_infinite_depth_is_not_hidden_by_the_clamp() -> None:
    truth = torch.full((100, 100), 10.0)
    with pytest.raises(WrongInput, match="not finite"):
        eigen(EIGEN, torch.full((100, 100), float("inf")), truth)
