"""Archives in the layouts of benchmark servers."""

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import call
from miniature_benchmarks import (
    FRAMES,
    SCENES,
    TWO_VIEWS,
    eth3d_tree,
    folder_tree,
    kitti_2012_tree,
    kitti_2015_tree,
    middlebury_tree,
    step_matcher,
    step_run,
)

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.evaluation.predict import Run, predict
from depthweave.evaluation.submit import submit
from depthweave.types import DisparityMap

TREES = {
    "middlebury-v3": middlebury_tree,
    "kitti-2015": kitti_2015_tree,
    "kitti-2012": kitti_2012_tree,
    "eth3d": eth3d_tree,
    "folder": folder_tree,
}


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished run of the step matcher on every benchmark: 4.3 px in the left half, 6.7 px in the right half."""
    runs = {}
    for name, tree in TREES.items():
        folder = tmp_path_factory.mktemp(name)
        runs[name] = step_run(name, tree(folder / "data"), folder / "run", 4.3, 6.7).run
    return runs


def copied(run: Run, tmp_path: Path) -> Run:
    """The same run in a folder that a test may damage."""
    return Run.read(shutil.copytree(run.folder, tmp_path / "copy"))


def unpacked(archive: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """Where an archive was unpacked to, and the names in it."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(tmp_path / "unpacked")
        return tmp_path / "unpacked", sorted(opened.namelist())


def expected_values() -> np.ndarray:
    values = np.full((48, 64), 4.3, np.float32)
    values[:, 32:] = 6.7
    return values


def test_middlebury(shared_runs: dict[str, Run], tmp_path: Path) -> None:
    run = shared_runs["middlebury-v3"]
    path = submit(run, tmp_path / "up" / "load.zip", method="MINE_2-a")
    assert path == tmp_path / "up" / "load.zip"
    assert [each.name for each in path.parent.iterdir()] == ["load.zip"]
    folder, names = unpacked(path, tmp_path)
    assert names == sorted(
        f"trainingQ/{scene}/{file}" for scene in SCENES for file in ("disp0MINE_2-a.pfm", "timeMINE_2-a.txt")
    )
    for scene in SCENES:
        values, valid = io.read_pfm(folder / "trainingQ" / scene / "disp0MINE_2-a.pfm")
        np.testing.assert_array_equal(values, expected_values())
        assert valid.all()
        seconds = (folder / "trainingQ" / scene / "timeMINE_2-a.txt").read_text()
        assert seconds == f"{run.facts(scene)['seconds']:.4f}\n"


@pytest.mark.parametrize(("benchmark", "place"), [("kitti-2015", "disp_0/"), ("kitti-2012", "")])
def test_kitti(benchmark: str, place: str, shared_runs: dict[str, Run], tmp_path: Path) -> None:
    folder, names = unpacked(submit(shared_runs[benchmark], tmp_path / "load.zip", method="MINE"), tmp_path)
    assert names == [f"{place}{frame}.png" for frame in FRAMES]
    for name in names:
        codes = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        assert codes.dtype == np.uint16
        assert codes.shape == (48, 64)
        np.testing.assert_array_equal(codes, np.rint(expected_values() * 256))
        np.testing.assert_allclose(codes / 256, expected_values(), atol=1 / 512)


def test_kitti_holds_what_16_bits_can(shared_runs: dict[str, Run], tmp_path: Path) -> None:
    run = copied(shared_runs["kitti-2015"], tmp_path)
    key = next(iter(FRAMES))
    found = DisparityMap.read(run.map_path(key))
    found.values[0, :3] = found.values.new_tensor([-2.0, 0.0, 400.0])
    found.save(run.map_path(key))
    folder, _ = unpacked(submit(run, tmp_path / "load.zip", method="MINE"), tmp_path)
    codes = cv2.imread(str(folder / "disp_0" / f"{key}.png"), cv2.IMREAD_UNCHANGED)
    # 0 would mean unknown, so nothing becomes 0.
    assert codes[0, :4].tolist() == [1, 1, round(255.99 * 256), round(4.3 * 256)]


def test_eth3d(shared_runs: dict[str, Run], tmp_path: Path) -> None:
    run = shared_runs["eth3d"]
    folder, names = unpacked(submit(run, tmp_path / "load.zip", method="MINE"), tmp_path)
    assert names == sorted(f"low_res_two_view/{scene}.{suffix}" for scene in TWO_VIEWS for suffix in ("pfm", "txt"))
    for scene in TWO_VIEWS:
        np.testing.assert_array_equal(io.read_pfm(folder / "low_res_two_view" / f"{scene}.pfm")[0], expected_values())
        text = (folder / "low_res_two_view" / f"{scene}.txt").read_text()
        assert text == f"runtime {run.facts(scene)['seconds']:.4f}\n"


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    root = kitti_2015_tree(tmp_path / "data")
    run = predict(step_matcher(), "kitti-2015", root, tmp_path / "run", limit=1).run
    with pytest.raises(WrongFile, match=r"lacks 1 of 2 predictions, e\.g\. 000001_10; finish predict first"):
        submit(run, tmp_path / "load.zip", method="MINE")
    predict(step_matcher(), "kitti-2015", root, tmp_path / "run")
    run.map_path("000000_10").unlink()
    with pytest.raises(WrongFile, match=r"lacks 1 of 2 predictions, e\.g\. 000000_10"):
        submit(run, tmp_path / "load.zip", method="MINE")
    predict(step_matcher(), "kitti-2015", root, tmp_path / "run")
    run.facts_path("000000_10").write_text("{")
    with pytest.raises(WrongFile, match=r"000000_10\.json is damaged"):
        submit(run, tmp_path / "load.zip", method="MINE")
    assert not (tmp_path / "load.zip").exists()


def test_predictions_of_another_program_need_their_times(shared_runs: dict[str, Run], tmp_path: Path) -> None:
    run = copied(shared_runs["eth3d"], tmp_path)
    for scene in TWO_VIEWS:
        run.map_path(scene).unlink()
        run.facts_path(scene).unlink()
        io.write_pfm(run.map_path(scene).with_suffix(".pfm"), np.full((48, 64), 2, np.float32))
    with pytest.raises(WrongFile, match=r'delivery_area_1l\.json does not exist; .* write \{"seconds": 1.0\} there'):
        submit(run, tmp_path / "load.zip", method="THEIRS")
    for scene in TWO_VIEWS:
        run.facts_path(scene).write_text('{"seconds": 1}')
    folder, names = unpacked(submit(run, tmp_path / "load.zip", method="THEIRS"), tmp_path)
    assert len(names) == 2 * len(TWO_VIEWS)
    assert (folder / "low_res_two_view" / "forest_1s.txt").read_text() == "runtime 1.0000\n"
    assert (io.read_pfm(folder / "low_res_two_view" / "forest_1s.pfm")[0] == 2).all()


@pytest.mark.parametrize("method", ["", "my method", "a/b", "../a", "ä", "MINE.pfm", "MINE\n"])
def test_method_names_that_files_cannot_hold(method: str, shared_runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="use letters, digits, - and _ only"):
        submit(shared_runs["middlebury-v3"], tmp_path / "load.zip", method=method)
    assert not (tmp_path / "load.zip").exists()


def test_benchmarks_without_a_server(shared_runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="folder takes no uploads; middlebury-v3, kitti-2015, kitti-2012, eth3d do"):
        submit(shared_runs["folder"], tmp_path / "load.zip", method="MINE")


def test_scenes_must_lie_in_the_folder_that_the_server_asks_for(
    shared_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = shutil.copytree(shared_runs["middlebury-v3"].root / "MiddEval3" / "trainingQ", tmp_path / "quarter")
    run = copied(shared_runs["middlebury-v3"], tmp_path)
    with pytest.raises(WrongInput, match="a folder 'quarter', but uploads are sorted by trainingQ, testQ"):
        submit(run, tmp_path / "load.zip", method="MINE", root=scenes)
    monkeypatch.chdir(scenes.rename(tmp_path / "trainingH"))
    _, names = unpacked(submit(run, tmp_path / "load.zip", method="MINE", root="."), tmp_path)
    assert names[0] == "trainingH/Adirondack/disp0MINE.pfm"


def test_command(
    shared_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "load.zip"
    words = ("--method", "MINE", "-o", archive)
    assert call(monkeypatch, "submit", shared_runs["eth3d"].folder, *words) == 0
    assert capsys.readouterr().out == f"wrote {archive}\n"
    assert zipfile.is_zipfile(archive)
    assert call(monkeypatch, "submit", shared_runs["folder"].folder, *words) == 1
    assert capsys.readouterr().err.startswith("error: folder takes no uploads; ")
    assert call(monkeypatch, "submit", shared_runs["eth3d"].folder) == 2
