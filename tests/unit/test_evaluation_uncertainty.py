"""Confidence in the report of a run: numbers by hand, pictures, files, the command."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from miniature_benchmarks import folder_tree, middlebury_tree, step_run

from depthweave import io
from depthweave.data import StereoItem, StereoTruth, open_benchmark
from depthweave.errors import WrongInput
from depthweave.evaluation.predict import Run
from depthweave.evaluation.score import read_prediction, score
from depthweave.evaluation.uncertainty import Trust, judge, outlier_map, plot_judgements, pooled
from depthweave.types import DisparityMap

RIGHT_TRUSTED, RIGHT_DOUBTED, WRONG_DOUBTED, WRONG_TRUSTED = (
    (38, 64, 92),
    (64, 160, 200),
    (245, 190, 60),
    (225, 45, 45),
)


def prediction(error: list[float], confidence: list[float] | None) -> DisparityMap:
    """A map of one row on a truth of 10 px."""
    values = 10 + torch.tensor([error])
    rated = None if confidence is None else torch.tensor([confidence])
    return DisparityMap(values, torch.ones_like(values, dtype=torch.bool), rated)


def truth(known: list[bool], visible: list[bool] | None = None) -> StereoTruth:
    regions = {"all": torch.tensor([known])}
    if visible is not None:
        regions["visible"] = torch.tensor([visible])
    return StereoTruth(torch.full((1, len(known)), 10.0), regions["all"], regions)


def test_judgement_by_hand() -> None:
    found = judge(
        prediction([0.5, -4.0, 0.0, 9.0], [0.9, 0.2, 0.6, 1.0]),
        truth([True, True, True, False], [True, False, True, False]),
        steps=3,
    )
    everything = found["all"]
    assert everything.pixels == 3
    # 4 px go first, then 0 px at confidence 0.6 although 0.5 px is worse.
    assert everything.curves["epe"].error.tolist() == pytest.approx([1.5, 0.25, 0.5])
    assert everything.curves["epe"].oracle.tolist() == pytest.approx([1.5, 0.25, 0.0])
    assert everything.curves["bad-2.0"].error.tolist() == pytest.approx([100 / 3, 0, 0])
    assert everything.curves["bad-2.0"].ause == 0
    assert everything.calibration.expected_calibration_error == pytest.approx((0.1 + 0.2 + 0.4) / 3, abs=1e-6)
    assert everything.log_loss == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.6)) / 3, abs=1e-6)
    assert found["visible"].pixels == 2


def test_right_is_below_the_threshold() -> None:
    one = prediction([0.5, 1.5], [0.8, 0.8])
    narrow = judge(one, truth([True, True]))["all"]
    wide = judge(one, truth([True, True]), right_px=2)["all"]
    assert narrow.calibration.right.sum() == 1
    assert wide.calibration.right.sum() == 2


def test_a_certainty_that_fails_costs_much_but_not_everything() -> None:
    found = judge(prediction([5.0], [1.0]), truth([True]))["all"]
    assert found.log_loss == pytest.approx(-math.log(1e-3))


def test_nothing_to_judge() -> None:
    assert judge(prediction([1.0], None), truth([True])) == {}
    assert judge(prediction([1.0], [0.5]), truth([False])) == {}


def test_judge_refuses_another_size() -> None:
    with pytest.raises(WrongInput, match="sizes"):
        judge(prediction([0.0, 0.0], [0.5, 0.5]), truth([True]))


def test_pooled_means_of_curves_and_all_pixels() -> None:
    one = judge(prediction([0.0, 4.0], [0.9, 0.1]), truth([True, True]), steps=2)["all"]
    other = judge(prediction([2.0], [0.5]), truth([True]), steps=2)["all"]
    both = pooled([one, other])
    assert both.curves["epe"].error.tolist() == pytest.approx([2.0, 1.0])
    assert both.curves["epe"].oracle.tolist() == pytest.approx([2.0, 1.0])
    assert both.curves["epe"].count == both.pixels == both.calibration.count.sum() == 3
    assert both.log_loss == pytest.approx((one.log_loss + other.log_loss) / 2)
    with pytest.raises(WrongInput):
        pooled([])


def test_outlier_map_by_hand() -> None:
    error = torch.tensor([[0.0, 1.0, 3.0, 3.0, 9.0, 2.0]])
    confidence = torch.tensor([[0.9, 0.3, 0.1, 0.8, 0.0, 0.5]])
    known = torch.tensor([[True, True, True, True, False, True]])
    drawn = [tuple(int(x) for x in pixel) for pixel in outlier_map(error, confidence, known)[0]]
    assert drawn[:4] == [RIGHT_TRUSTED, RIGHT_DOUBTED, WRONG_DOUBTED, WRONG_TRUSTED]
    assert drawn[4] not in drawn[:4]
    # 2 px are not above 2 px, and a confidence of one half is not above it.
    assert drawn[5] == RIGHT_DOUBTED


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Pairs with disparities 3, 4 and 5, answered with 4 px on the left and 6 px on the right, confidence 1 or 0."""
    folder = tmp_path_factory.mktemp("trust")
    root = middlebury_tree(folder / "data")
    return step_run("middlebury-v3", root, folder / "run").run


def test_trust_of_a_run(run: Run, tmp_path: Path) -> None:
    trust = Trust(rows=2)
    score(run, each=trust.add)
    assert len(trust.items) == 3
    header, rows = trust.table()
    assert [row[:2] for row in rows[:2]] == [["all", "epe [px]"], ["all", "bad-2.0 [%]"]]
    assert all(len(row) == len(header) for row in rows)
    assert rows[0][-1] == "3"
    trust.write(tmp_path)
    found = json.loads((tmp_path / "uncertainty.json").read_text())
    assert set(found["items"]) == set(trust.items)
    epe = found["regions"]["all"]["sparsification"]["epe"]
    assert epe["ause"] + epe["aurg"] == pytest.approx(epe["random_ause"])
    assert epe["ause"] == pytest.approx(np.mean(np.subtract(epe["error"], epe["oracle"])))
    assert sum(found["regions"]["all"]["reliability"]["pixels"]) == found["regions"]["all"]["pixels"]
    curves = io.read_image(tmp_path / "uncertainty.png")
    assert min(curves.shape[:2]) > 100
    drawn = io.read_image(tmp_path / "outliers.png")
    assert drawn.shape[1] == 2 * trust.cell_width
    assert 2 * 16 < drawn.shape[0] < 3 * trust.cell_width


def test_means_are_over_items(run: Run) -> None:
    trust = Trust()
    score(run, each=trust.add)
    each = [found["all"].curves["epe"].ause for found in trust.items.values()]
    assert trust.regions()["all"].curves["epe"].ause == pytest.approx(sum(each) / len(each))


def test_a_run_without_confidence_writes_nothing(run: Run, tmp_path: Path) -> None:
    trust = Trust()

    def without(item: StereoItem, found: DisparityMap, known: StereoTruth) -> None:
        trust.add(item, replace(found, confidence=None), known)

    score(run, each=without)
    trust.write(tmp_path)
    assert not list(tmp_path.iterdir())
    assert trust.table()[1] == []


def test_json_has_no_nan(tmp_path: Path) -> None:
    """A prediction without any error has no normalised AUSE."""
    root = folder_tree(tmp_path / "data", 1)
    run = step_run("folder", root, tmp_path / "run", 3.0, 3.0).run
    trust = Trust()
    score(run, each=trust.add)
    trust.write(run.folder)
    text = (run.folder / "uncertainty.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["regions"]["all"]["sparsification"]["epe"]["normalised_ause"] is None


def test_plot_needs_no_full_bins(run: Run, tmp_path: Path) -> None:
    item = open_benchmark(run.benchmark, run.root)[0]
    found = judge(read_prediction(run, item.key), item.read_truth())
    plot_judgements(tmp_path / "plot.png", found, right_px=0.5)
    assert io.read_image(tmp_path / "plot.png").std() > 0


def test_the_command_writes_and_prints(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "score", run.folder, "--format", "csv") == 0
    assert "region,of,AUSE" in capsys.readouterr().out
    for name in ("uncertainty.json", "uncertainty.png", "outliers.png"):
        assert (run.folder / name).is_file()
