"""`predict` and `score` on benchmarks of clips."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from depthweave.pipelines import load as loading
from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def clips() -> ModuleType:
    path = Path(__file__).parents[1] / "unit" / "miniature_clips.py"
    spec = importlib.util.spec_from_file_location("miniature_clips", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("miniature_clips", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(clips: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark, and two models for clips: `steady` and `shaking`."""
    changes = {
        "steady": lambda depth, index: depth / 2,
        "shaking": lambda depth, index: depth * (1 + 0.2 * (index % 2)),
    }
    load = loading.load

    def loaded(name: str, **how: Any) -> Any:
        return clips.SlopeModel(changes[name], name) if name in changes else load(name, **how)

    monkeypatch.setattr(loading, "load", loaded)
    root: Path = clips.sevenscenes_tree(tmp_path / "data", frames=6)
    return root


def test_predict_and_score_clips(cli: Cli, data: Path, tmp_path: Path) -> None:
    for name in ("steady", "shaking"):
        done = cli("predict", name, "7scenes", "--root", data, "-o", tmp_path / name, "--reader", "stop=5")
        assert done.code == 0, done.err
        assert "1 predicted, 0 kept from before" in done.out
    again = cli(
        "predict", "steady", "7scenes", "--root", data, "-o", tmp_path / "steady", "--reader", "stop=5", "--json"
    )
    assert json.loads(again.out)["reused"] == 1
    scored = cli("score", tmp_path / "steady", tmp_path / "shaking", "--bands", "dyadic")
    assert scored.code == 0, scored.err
    for text in ("steady: 7scenes/stereodiff", "shaking: bands of 7scenes/depthcrafter", "comparison", "flicker [%]"):
        assert text in scored.out
    for file in ("scores.json", "scores.md", "frames.csv", "plots/chess/seq-01.png", "compared/chess/seq-01.png"):
        assert (tmp_path / "steady" / file).is_file()
    content = json.loads((tmp_path / "steady/scores.json").read_text())
    assert content["band_edges"] == "dyadic"
    assert content["clips"]["7scenes/monst3r"]["chess/seq-01"]["frames"] == 5
    one = cli("score", tmp_path / "shaking", "--protocol", "7scenes/stereodiff-disparity", "--motion", "flow", "--json")
    assert list(json.loads(one.out)[0]["averages"]) == ["7scenes/stereodiff-disparity"]


def test_models_and_runs_of_another_kind_are_refused(cli: Cli, data: Path, tmp_path: Path) -> None:
    pairs = cli("predict", "sgm", "7scenes", "--root", data, "-o", tmp_path / "run")
    assert pairs.code == 1
    assert "sgm matches pairs, but 7scenes is a benchmark of clips" in pairs.sentence
    misuse = cli("predict", "steady", "7scenes", "--root", data, "--max-disparity", "64", "-o", tmp_path / "run")
    assert misuse.code == 2
    assert cli("predict", "steady", "7scenes", "--root", data, "-o", tmp_path / "clips").code == 0
    (tmp_path / "pairs").mkdir()
    run = {"root": str(data), "configuration": {"benchmark": "eth3d", "benchmark_options": {}, "model": {}}}
    (tmp_path / "pairs/run.json").write_text(json.dumps(run))
    mixed = cli("score", tmp_path / "clips", tmp_path / "pairs")
    assert "no common numbers; score them apart" in mixed.sentence
    (tmp_path / "clips/items/chess/seq-01/frames/000000.npz").write_bytes(b"")
    damaged = cli("score", tmp_path / "clips")
    assert damaged.code == 1
    assert "failed chess/seq-01" in damaged.err
