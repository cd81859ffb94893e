"""First pass: what is on disk, what is run again, and what an interruption leaves."""

import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from miniature_benchmarks import StepMatching, folder_tree, middlebury_tree, step_matcher
from torch import Tensor

import depthweave
from depthweave import io
from depthweave.classical import Match
from depthweave.errors import DifferentConfiguration, NotWritable, UnknownBenchmark, WrongFile
from depthweave.evaluation.predict import Progress, Run, predict
from depthweave.evaluation.report import to_json
from depthweave.evaluation.score import score
from depthweave.pipelines import stereo
from depthweave.pipelines.load import load
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import DisparityMap


@pytest.fixture(scope="session")
def shared_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_tree(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def pairs(shared_pairs: Path, tmp_path: Path) -> Path:
    """Pairs 00, 01, 02 that a test may damage."""
    return Path(shutil.copytree(shared_pairs, tmp_path / "pairs"))


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def counts(progress: Progress) -> tuple[int, int, int]:
    return progress.done, progress.reused, len(progress.failed)


def calls(matcher: StereoMatcher) -> int:
    assert isinstance(matcher.matching, StepMatching)
    return matcher.matching.calls


def truncate(path: Path) -> bytes:
    """Cut a file in half and return its old content."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return content


def test_a_run_is_run_json_and_two_files_per_item(tmp_path: Path) -> None:
    root, output = middlebury_tree(tmp_path / "data"), tmp_path / "run"
    progress = predict(step_matcher(), "middlebury-v3", root, output, benchmark_options={"split": "training"})
    assert counts(progress) == (3, 0, 0)
    scenes = ("Adirondack", "Piano", "PianoL")
    assert files_below(output) == sorted(
        ["run.json", *(f"items/{scene}.{suffix}" for scene in scenes for suffix in ("json", "npz"))]
    )
    run = Run.read(output)
    assert run == progress.run
    assert (run.name, run.benchmark, run.benchmark_options) == ("run", "middlebury-v3", {"split": "training"})
    assert run.root == root.resolve()
    assert run.model["model"] == "StepMatching"
    assert run.model["options"] == {"left_half_px": 4.0, "right_half_px": 6.0}
    assert json.loads((output / "run.json").read_text())["configuration"]["version"] == depthweave.__version__
    assert [item.key for item in run.items()] == list(scenes)
    found = DisparityMap.read(run.map_path("Piano"))
    assert (found.values[:, :32] == 4).all()
    assert (found.values[:, 32:] == 6).all()
    assert torch.equal(found.valid, torch.arange(64).expand(48, 64) >= 4)
    assert found.camera is not None
    assert found.camera.baseline_m == pytest.approx(0.2)
    facts = run.facts("Piano")
    assert 0 < facts["seconds"] < 10
    assert facts["valid_share"] == pytest.approx(60 / 64)
    assert (facts["height"], facts["width"], facts["warnings"]) == (48, 64, [])


def test_finished_items_are_not_run_again(pairs: Path, tmp_path: Path) -> None:
    matcher = step_matcher()
    assert counts(predict(matcher, "folder", pairs, tmp_path / "run", limit=2)) == (2, 0, 0)
    assert calls(matcher) == 2
    before = {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in files_below(tmp_path / "run")}
    assert counts(predict(matcher, "folder", pairs, tmp_path / "run")) == (1, 2, 0)
    assert calls(matcher) == 3
    again = step_matcher()
    assert counts(predict(again, "folder", pairs, tmp_path / "run")) == (0, 3, 0)
    assert calls(again) == 0
    assert all((tmp_path / "run" / name).stat().st_mtime_ns == time for name, time in before.items())


def test_another_model_option_or_benchmark_option_is_refused(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    predict(step_matcher(), "folder", pairs, output)
    kept = {name: (output / name).read_bytes() for name in files_below(output)}

    def refused(matcher: StereoMatcher, benchmark: str = "folder", root: Path = pairs, **options: float) -> str:
        with pytest.raises(DifferentConfiguration) as caught:
            predict(matcher, benchmark, root, output, benchmark_options=options)
        sentence = str(caught.value)
        assert sentence.startswith(f"{output} holds predictions of another configuration: ")
        assert sentence.endswith("; choose another folder with -o, or delete this one.")
        return sentence

    assert "model (model, " in refused(load("block"))
    assert ": model (options);" in refused(step_matcher(right_half_px=7.0))
    searching = step_matcher()
    searching.max_disparity = 32
    assert ": model (max_disparity);" in refused(searching)
    assert ": benchmark options (disparity_scale);" in refused(step_matcher(), disparity_scale=100)
    middlebury = middlebury_tree(tmp_path / "middlebury")
    assert ": benchmark, data (sha256);" in refused(step_matcher(), "middlebury-v3", middlebury)
    monkeypatch.setattr(depthweave, "__version__", "0.0.0")
    assert ": version;" in refused(step_matcher())
    assert {name: (output / name).read_bytes() for name in files_below(output)} == kept


def test_other_data_are_refused(pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    predict(step_matcher(), "folder", pairs, output)
    right = pairs / "right" / "01.png"
    whole = right.read_bytes()
    io.write_image(right, np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(DifferentConfiguration, match=r"input files of 01; choose another folder"):
        predict(step_matcher(), "folder", pairs, output)
    right.write_bytes(whole)
    assert counts(predict(step_matcher(), "folder", pairs, output)) == (0, 3, 0)
    for side in ("left", "right"):
        shutil.copy(pairs / side / "00.png", pairs / side / "03.png")
    with pytest.raises(DifferentConfiguration, match=r"data \(items, sha256\)"):
        predict(step_matcher(), "folder", pairs, output)


def test_the_same_data_at_another_place_go_on_there(pairs: Path, tmp_path: Path) -> None:
    predict(step_matcher(), "folder", pairs, tmp_path / "run", limit=1)
    moved = pairs.rename(tmp_path / "moved")
    progress = predict(step_matcher(), "folder", moved, tmp_path / "run")
    assert counts(progress) == (2, 1, 0)
    assert Run.read(tmp_path / "run").root == moved.resolve()
    assert len(score(progress.run).items) == 3


def test_a_path_may_be_a_benchmark_option(pairs: Path, tmp_path: Path) -> None:
    camera = tmp_path / "camera.txt"
    camera.write_text("100 0 31.5 0 100 23.5 0 0 1\n0.2\n")
    for expected in ((3, 0, 0), (0, 3, 0)):
        progress = predict(step_matcher(), "folder", pairs, tmp_path / "run", benchmark_options={"calibration": camera})
        assert counts(progress) == expected
    assert DisparityMap.read(progress.run.map_path("00")).camera is not None


def test_a_broken_item_is_reported_and_tried_again(pairs: Path, tmp_path: Path) -> None:
    broken = pairs / "right" / "01.png"
    whole = truncate(broken)
    matcher = step_matcher()
    for expected in ((2, 0, 1), (0, 2, 1)):
        progress = predict(matcher, "folder", pairs, tmp_path / "run")
        assert counts(progress) == expected
        assert list(progress.failed) == ["01"]
        assert str(broken) in progress.failed["01"]
        assert "damaged or cut short" in progress.failed["01"]
    assert calls(matcher) == 2
    assert [key for key in ("00", "01", "02") if progress.run.is_finished(key)] == ["00", "02"]
    broken.write_bytes(whole)
    assert counts(predict(matcher, "folder", pairs, tmp_path / "run")) == (1, 2, 0)
    assert calls(matcher) == 3


def test_an_output_that_cannot_be_written_stops_at_once(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "items").write_text("a file where a folder must be")
    matcher = step_matcher()
    with pytest.raises(NotWritable, match="choose another output folder"):
        predict(matcher, "folder", pairs, tmp_path / "run")
    assert calls(matcher) == 1


def test_pair_checks_are_left_out_and_the_matcher_stays_as_it_was(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    monkeypatch.setattr(stereo, "pair_warnings", lambda pair: checked.append(pair.name) or [])
    matcher = step_matcher()
    predict(matcher, "folder", pairs, tmp_path / "run")
    assert (checked, matcher.check) == ([], True)


def test_warnings_of_a_matcher_stay_with_the_item(pairs: Path, tmp_path: Path) -> None:
    class Warning_(StepMatching):
        def __call__(self, left: Tensor, right: Tensor, *, max_disparity: int) -> Match:
            warnings.warn("low light", stacklevel=1)
            return super().__call__(left, right, max_disparity=max_disparity)

    progress = predict(StereoMatcher(Warning_(), device="cpu"), "folder", pairs, tmp_path / "run", limit=1)
    assert progress.run.facts("00")["warnings"] == ["low light"]


def test_only_whole_items_are_finished(pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run = predict(step_matcher(), "folder", pairs, output).run
    whole = run.map_path("00").read_bytes()
    run.facts_path("00").unlink()
    run.map_path("00").write_bytes(whole[:100])
    run.map_path("01").unlink()
    for key in ("00", "02"):
        (output / "items" / f".{key}-0123456789ab.npz").write_bytes(whole[:100])
        (output / "items" / f".{key}-0123456789ab.json").write_text("{")
    matcher = step_matcher()
    assert counts(predict(matcher, "folder", pairs, output)) == (2, 1, 0)
    assert calls(matcher) == 2
    assert run.map_path("00").read_bytes() == whole
    assert run.map_path("01").read_bytes() == whole


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"holds no run; make one with `depthweave predict"):
        Run.read(tmp_path)
    for content in ("{", "[]", "{}", '{"configuration": {"benchmark": "folder"}}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(WrongFile, match=r"run\.json is damaged \(.+\); delete the folder and predict again"):
            Run.read(tmp_path)


def test_damaged_facts_are_named(pairs: Path, tmp_path: Path) -> None:
    run = predict(step_matcher(), "folder", pairs, tmp_path / "run").run
    for content in ("", "[]", "{}", '{"seconds": "soon"}'):
        run.facts_path("01").write_text(content)
        with pytest.raises(WrongFile, match=r"01\.json is damaged .*; delete it and run `depthweave predict` again"):
            predict(step_matcher(), "folder", pairs, tmp_path / "run")
    run.facts_path("01").unlink()
    assert counts(predict(step_matcher(), "folder", pairs, tmp_path / "run")) == (1, 2, 0)


def test_nothing_is_left_where_a_benchmark_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UnknownBenchmark, match="middlebury-v3"):
        predict(step_matcher(), "middlebury", tmp_path, tmp_path / "run")
    with pytest.raises(WrongFile, match="does not look right"):
        predict(step_matcher(), "folder", tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


STOPPED = """
import sys
import time
from pathlib import Path

import numpy

from depthweave.evaluation import predict as first_pass
from depthweave.pipelines.load import load

stage, root, output = sys.argv[1:]
matcher = load("sgm")
match, write_map, write_json = matcher.matching, numpy.savez, first_pass._write_json


def stop():
    print("stopped", flush=True)
    time.sleep(600)


class Matching:
    config, calls = match.config, 0

    def __call__(self, left, right, *, max_disparity):
        self.calls += 1
        if stage == "matching" and self.calls == 3:
            stop()
        return match(left, right, max_disparity=max_disparity)


def half_a_map(stream, **entries):
    if stage == "half a map" and Path(stream.name).name.startswith(".02-"):
        stream.write(entries["disparity"].tobytes()[:1000])
        stream.flush()
        stop()
    write_map(stream, **entries)


def no_facts(path, data):
    if stage == "map without facts" and path.name == "02.json":
        stop()
    write_json(path, data)


matcher.matching, numpy.savez, first_pass._write_json = Matching(), half_a_map, no_facts
first_pass.predict(matcher, "folder", root, output)
"""


@pytest.fixture(scope="session")
def six_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_tree(tmp_path_factory.mktemp("six"), 6)


@pytest.fixture(scope="session")
def uninterrupted(six_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return predict(load("sgm"), "folder", six_pairs, tmp_path_factory.mktemp("runs") / "whole").run


def require_same_predictions(run: Run, expected: Run) -> None:
    keys = [item.key for item in expected.items()]
    for key in keys:
        with np.load(run.map_path(key)) as one, np.load(expected.map_path(key)) as other:
            assert one.files == other.files
            for name in other.files:
                np.testing.assert_array_equal(one[name], other[name], strict=True)
        assert run.map_path(key).read_bytes() == expected.map_path(key).read_bytes()
    found, wanted = (to_json(score(each)) for each in (run, expected))
    assert len(wanted["items"]) == len(keys)
    assert found["averages"] == wanted["averages"]
    for key in keys:
        assert found["items"][key]["measured"] == wanted["items"][key]["measured"]


@pytest.mark.parametrize("stage", ["matching", "half a map", "map without facts"])
def test_killed_and_resumed_equals_uninterrupted(
    stage: str, six_pairs: Path, uninterrupted: Run, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, stage, str(six_pairs), str(output)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
        assert (line, process.wait()) == ("stopped\n", -signal.SIGKILL)
    run = Run.read(output)
    finished = [item.key for item in run.items() if run.is_finished(item.key)]
    assert finished == ["00", "01"]
    leftovers = [path for path in (output / "items").iterdir() if path.name.startswith(".")]
    assert len(leftovers) == (stage == "half a map")
    assert run.map_path("02").is_file() == (stage == "map without facts")
    progress = predict(load("sgm"), "folder", six_pairs, output)
    assert counts(progress) == (4, 2, 0)
    require_same_predictions(progress.run, uninterrupted)


def test_killed_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 16
    root, output = folder_tree(tmp_path / "pairs", count, size=(120, 160)), tmp_path / "run"
    words = ["predict", "block", "folder", "--root", str(root), "--set", "cost=zncc", "--max-disparity", "16"]
    start = "from depthweave.cli.main import run; run()"
    with subprocess.Popen([sys.executable, "-c", start, *words, "-o", str(output)]) as process:
        while not list(output.glob("items/[0-9]*.json")):
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    run = Run.read(output)
    finished = sum(run.is_finished(item.key) for item in run.items())
    assert 0 < finished < count
    assert call(monkeypatch, *words, "-o", output, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"run": str(output), "done": count - finished, "reused": finished, "failed": {}}
    assert call(monkeypatch, *words, "-o", tmp_path / "whole") == 0
    require_same_predictions(run, Run.read(tmp_path / "whole"))


def test_command_reports_failures_and_refusals(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(pairs / "left" / "02.png")
    words = ["predict", "bm", "folder", "--root", pairs, "-o", tmp_path / "run"]
    assert call(monkeypatch, *words) == 1
    printed = capsys.readouterr()
    assert "2 predicted, 0 kept from before, 1 failed; next: depthweave score" in printed.out
    assert printed.err.startswith("failed 02: ")
    assert call(monkeypatch, *words, "--set", "block_size=21") == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'run'} holds predictions of another configuration: model (options); choose another folder "
        "with -o, or delete this one.\n"
    )
    assert call(monkeypatch, *words, "--limit", "0") == 2
