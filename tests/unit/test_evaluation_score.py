"""Second pass: values by hand, averages, and what happens to items that cannot be scored."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from miniature_benchmarks import HEIGHT, SCENES, folder_tree, kitti_2015_tree, middlebury_tree, step_run

from depthweave import io
from depthweave.data import StereoItem, StereoTruth
from depthweave.errors import UnknownBenchmark, WrongFile, WrongInput
from depthweave.evaluation.predict import Run
from depthweave.evaluation.score import read_prediction, score
from depthweave.metrics import Measurement
from depthweave.pipelines import load
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import DisparityMap

ALL = "middlebury-v3/all/per-image"
VISIBLE = "middlebury-v3/visible/per-image"
WEIGHTED = "middlebury-v3/all/weighted"


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Middlebury tree and a finished run: 4 px in the left half, 6 px in the right half."""
    folder = tmp_path_factory.mktemp("bench")
    step_run("middlebury-v3", middlebury_tree(folder / "data"), folder / "run")
    return folder


@pytest.fixture
def bench(shared_bench: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(shared_bench, tmp_path / "bench"))
    description = json.loads((folder / "run" / "run.json").read_text())
    description["root"] = str(folder / "data")
    (folder / "run" / "run.json").write_text(json.dumps(description))
    return folder


def scene(bench: Path, name: str) -> Path:
    return bench / "data" / "MiddEval3" / "trainingQ" / name


def test_values_of_every_item_by_hand(bench: Path) -> None:
    scores = score(Run.read(bench / "run"))
    assert (scores.name, scores.model, scores.failed, scores.left_out) == ("run", "StepMatching", {}, {})
    assert [p.name for p in scores.protocols] == [
        f"middlebury-v3/{region}/{averaging}"
        for averaging in ("weighted", "per-image")
        for region in ("visible", "all")
    ]
    items = {item.key: item for item in scores.items}
    assert list(items) == list(SCENES)
    # Truth 3, 5 and 8 px: errors in the left half (columns 1 to 31) and in the right half (columns 32 to 63).
    errors = {"Adirondack": (1, 3), "Piano": (1, 1), "PianoL": (4, 2)}
    for name, (left, right) in errors.items():
        for protocol, left_columns in ((ALL, 31), (VISIBLE, 32 - SCENES[name])):
            columns = left_columns + 32
            found = items[name].measured[protocol]
            assert found["epe"] == Measurement(
                pytest.approx((left_columns * left + 32 * right) / columns), 48 * columns
            )
            mean_square = (left_columns * left**2 + 32 * right**2) / columns
            assert found["rms"].value == pytest.approx(math.sqrt(mean_square))
            for threshold in (0.5, 1.0, 2.0, 4.0):
                bad = 100 * (left_columns * (left > threshold) + 32 * (right > threshold)) / columns
                assert found[f"bad-{threshold}"].value == pytest.approx(bad), (name, protocol, threshold)
            assert found["a99"].value == max(left, right)
        assert items[name].valid_percent == pytest.approx(100 * 60 / 64)
        assert items[name].seconds == Run.read(bench / "run").facts(name)["seconds"]
    assert scores.median_seconds == sorted(item.seconds or 0 for item in scores.items)[1]


def test_averages_by_hand(bench: Path) -> None:
    averages = score(Run.read(bench / "run")).averages
    epes = [(31 * 1 + 32 * 3) / 63, 1.0, (31 * 4 + 32 * 2) / 63]
    bad_2 = [100 * 32 / 63, 0.0, 100 * 31 / 63]
    assert averages[ALL]["epe"] == (pytest.approx(sum(epes) / 3), 3, 0, 3 * 48 * 63)
    assert averages[ALL]["bad-2.0"].value == pytest.approx(sum(bad_2) / 3)
    assert averages[WEIGHTED]["epe"].value == pytest.approx((epes[0] + epes[1] + 0.5 * epes[2]) / 2.5)
    assert averages[WEIGHTED]["bad-2.0"].value == pytest.approx((bad_2[0] + bad_2[1] + 0.5 * bad_2[2]) / 2.5)


def test_pooled_averages_by_hand(tmp_path: Path) -> None:
    run = step_run("kitti-2015", kitti_2015_tree(tmp_path / "data"), tmp_path / "run", 9.0, 5.0).run
    averages = score(run).averages
    # Truth 5 px on 48 rows, errors 4 and 0; truth 2 px on 24 rows, errors 7 and 3 (3 px is no outlier).
    pixels = [48 * 63, 24 * 63]
    d1 = averages["kitti-2015/occ/pooled"]["d1"]
    assert d1 == (pytest.approx(100 * (48 + 24) * 31 / sum(pixels)), 2, 0, sum(pixels))
    epe = averages["kitti-2015/occ/pooled"]["epe"]
    assert epe.value == pytest.approx((48 * 31 * 4 + 24 * (31 * 7 + 32 * 3)) / sum(pixels))
    assert averages["kitti-2015/occ/per-image"]["epe"].value == pytest.approx((31 * 4 + 31 * 7 + 32 * 3) / 63 / 2)
    noc = averages["kitti-2015/noc/pooled"]["d1"]
    assert noc.pixels == 48 * 59 + 24 * 62
    assert noc.value == pytest.approx(100 * (48 * 27 + 24 * 30) / noc.pixels)


def test_only_the_run_and_the_truth_are_read(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = score(Run.read(bench / "run"))
    for name in SCENES:
        for picture in ("im0.png", "im1.png", "calib.txt"):
            (scene(bench, name) / picture).write_bytes(b"")

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("scoring needs no model and no pictures")

    monkeypatch.setattr(load, "load", forbidden)
    monkeypatch.setattr(StereoMatcher, "__call__", forbidden)
    monkeypatch.setattr(StereoItem, "read_pair", forbidden)
    assert score(Run.read(bench / "run")) == expected
    assert call(monkeypatch, "score", bench / "run") == 0
    assert (bench / "run" / "sheet.png").is_file()


def test_missing_prediction_is_reported(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.read(bench / "run")
    run.map_path("Piano").unlink()
    scores = score(run)
    assert [item.key for item in scores.items] == ["Adirondack", "PianoL"]
    assert scores.averages[ALL]["epe"].used == 2
    sentence = f"{run.folder} has no prediction for Piano; run `depthweave predict` again to finish it."
    assert scores.failed == {"Piano": sentence}
    assert call(monkeypatch, "score", bench / "run", "--json") == 1
    printed = capsys.readouterr()
    assert f"failed Piano: {sentence}" in printed.err
    (found,) = json.loads(printed.out)
    assert list(found["items"]) == ["Adirondack", "PianoL"]
    assert found["failed"] == {"Piano": sentence}
    assert step_run("middlebury-v3", bench / "data", run.folder).done == 1
    assert score(run).failed == {}


def test_damaged_files_are_named_and_the_rest_is_scored(bench: Path) -> None:
    run = Run.read(bench / "run")
    run.map_path("Adirondack").write_bytes(run.map_path("Adirondack").read_bytes()[:500])
    (scene(bench, "Piano") / "disp0GT.pfm").write_bytes(b"Pf\n64 48\n-1.0\nshort")
    scores = score(run)
    assert [item.key for item in scores.items] == ["PianoL"]
    assert str(run.map_path("Adirondack")) in scores.failed["Adirondack"]
    assert str(scene(bench, "Piano") / "disp0GT.pfm") in scores.failed["Piano"]
    run.facts_path("PianoL").write_text("{")
    scores = score(run)
    assert scores.items == ()
    assert str(run.facts_path("PianoL")) in scores.failed["PianoL"]
    assert math.isnan(scores.averages[ALL]["epe"].value)
    assert scores.median_seconds is None


def test_predictions_of_another_program(bench: Path) -> None:
    configuration = {"benchmark": "middlebury-v3", "benchmark_options": {}, "model": {}}
    folder = bench / "theirs"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"root": str(bench / "data"), "configuration": configuration}))
    values = np.full((48, 64), 5, np.float32)
    values[:, 32:] = 4.5
    for name in SCENES:
        io.write_pfm(folder / "items" / f"{name}.pfm", values, values > (4.6 if name == "Piano" else 0))
    scores = score(Run.read(folder))
    assert (scores.model, scores.median_seconds, scores.failed) == (None, None, {})
    found = {item.key: item for item in scores.items}
    assert found["Adirondack"].measured[ALL]["epe"].value == pytest.approx((31 * 2 + 32 * 1.5) / 63)
    # inf is unknown: it counts as the filler 0, since predictions are dense.
    assert found["Piano"].measured[ALL]["epe"].value == pytest.approx(32 * 5 / 63)
    assert [item.valid_percent for item in scores.items] == [100, 50, 100]


def test_a_pfm_with_nan_is_named_and_the_rest_is_scored(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.read(bench / "run")
    pfm = run.map_path("Piano").with_suffix(".pfm")
    run.map_path("Piano").unlink()
    values = np.full((48, 64), 5, "<f4")
    values[3, 4:7] = np.nan
    pfm.write_bytes(b"Pf\n64 48\n-1.0\n" + values.tobytes())
    assert score(run).failed == {"Piano": f"{pfm} has NaN at 3 of 3072 pixels; write unknown pixels as +inf"}
    assert call(monkeypatch, "score", bench / "run") == 1
    assert f"failed Piano: {pfm} has NaN" in capsys.readouterr().err
    values[3, 4:7] = np.inf
    pfm.write_bytes(b"Pf\n64 48\n-1.0\n" + values.tobytes())
    scores = score(run)
    assert scores.failed == {}
    assert scores.items[1].measured[ALL]["epe"].value == pytest.approx(3 * 5 / (48 * 63))


def test_a_prediction_of_another_size_is_named(bench: Path) -> None:
    run = Run.read(bench / "run")
    small = torch.zeros(24, 32)
    DisparityMap(small, small == 0).save(run.map_path("Piano"))
    scores = score(run)
    assert list(scores.failed) == ["Piano"]
    assert "(24, 32), (48, 64)" in scores.failed["Piano"]
    assert len(scores.items) == 2


def test_items_without_truth_are_not_scored(bench: Path) -> None:
    run = Run.read(bench / "run")
    (scene(bench, "Piano") / "disp0GT.pfm").unlink()
    scores = score(run)
    assert ([item.key for item in scores.items], scores.failed) == (["Adirondack", "PianoL"], {})
    for name in ("Adirondack", "PianoL"):
        (scene(bench, name) / "disp0GT.pfm").unlink()
    with pytest.raises(WrongFile, match="has no ground truth for middlebury-v3; use `depthweave submit` instead"):
        score(run)


def test_an_item_without_known_pixels_is_skipped(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "data", 2)
    nothing = np.zeros((48, 64), np.float32)
    io.write_pfm(root / "disparity" / "00.pfm", nothing, nothing > 0)
    scores = score(step_run("folder", root, tmp_path / "run").run)
    measured = scores.items[0].measured["folder/all/per-image"]["epe"]
    assert math.isnan(measured.value)
    assert measured.count == 0
    assert scores.averages["folder/all/per-image"]["epe"] == (1.0, 1, 1, 48 * 64)


def test_protocols_that_the_truth_does_not_allow_are_left_out(bench: Path) -> None:
    (scene(bench, "Piano") / "mask0nocc.png").unlink()
    run = Run.read(bench / "run")
    scores = score(run)
    reason = "Piano has no mask for region 'visible'"
    assert scores.left_out == {"middlebury-v3/visible/weighted": reason, VISIBLE: reason}
    assert [p.name for p in scores.protocols] == [WEIGHTED, ALL]
    assert set(scores.averages) == {WEIGHTED, ALL}
    assert len(scores.items) == 3
    with pytest.raises(WrongInput, match=f"{VISIBLE} cannot be measured: Piano has no mask"):
        score(run, protocols=[ALL, VISIBLE])
    assert [p.name for p in score(run, protocols=[ALL]).protocols] == [ALL]


def test_scenes_without_weight_leave_the_official_average_out(tmp_path: Path) -> None:
    root = middlebury_tree(tmp_path / "data")
    (root / "MiddEval3" / "trainingQ" / "Piano").rename(root / "MiddEval3" / "trainingQ" / "Kitchen")
    run = step_run("middlebury-v3", root, tmp_path / "run").run
    scores = score(run)
    assert [p.name for p in scores.protocols] == [VISIBLE, ALL]
    assert "no weight for 'Kitchen'" in scores.left_out[WEIGHTED]
    assert "use the per-image protocol" in scores.left_out[WEIGHTED]
    with pytest.raises(WrongInput, match="no weight for 'Kitchen'"):
        score(run, protocols=[WEIGHTED])


def test_protocol_names_are_checked(bench: Path) -> None:
    run = Run.read(bench / "run")
    with pytest.raises(UnknownBenchmark, match=f"did you mean .*{ALL}"):
        score(run, protocols=["middlebury-v3/all/per-pixel"])
    with pytest.raises(WrongInput, match=r"kitti-2015/occ/pooled is a protocol of kitti-2015, but the run is on midd"):
        score(run, protocols=["kitti-2015/occ/pooled"])


def test_the_benchmark_may_have_moved(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.read(bench / "run")
    expected = score(run)
    moved = (bench / "data").rename(bench / "moved")
    with pytest.raises(WrongFile, match="is not a folder"):
        score(run)
    assert score(run, root=moved) == expected
    monkeypatch.chdir(moved)
    assert score(run, root=".") == expected


def test_each_is_called_with_every_scored_item(bench: Path) -> None:
    run = Run.read(bench / "run")
    run.map_path("Adirondack").unlink()
    seen = []

    def note(item: StereoItem, prediction: DisparityMap, truth: StereoTruth) -> None:
        seen.append((item.key, float(prediction.values[0, 0]), float(truth.disparity[0, 1])))

    score(run, each=note)
    assert seen == [("Piano", 4, 5), ("PianoL", 4, 8)]


def test_the_map_that_predict_wrote_comes_first(bench: Path) -> None:
    run = Run.read(bench / "run")
    io.write_pfm(run.map_path("Piano").with_suffix(".pfm"), np.ones((HEIGHT, 64), np.float32))
    assert float(read_prediction(run, "Piano").values[0, 0]) == 4
