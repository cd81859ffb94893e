"""`predict` and `score` on pictures with ordered points."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave import Scale, io
from depthweave.models.mono.depth_anything import DepthAnythingConfig
from depthweave.models.mono.estimate import Estimate
from depthweave.pipelines import load as loading
from depthweave.pipelines.mono import MonoEstimator
from tests.cli.conftest import Cli

HEIGHT, WIDTH = 12, 16


class Columns:
    """A model that says that everything is farther to the right."""

    config = DepthAnythingConfig()

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, image: torch.Tensor) -> Estimate:
        columns = torch.arange(image.shape[-1], dtype=torch.float32).expand(image.shape[-2:]).clone()
        return Estimate(columns, "depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DIW's layout, three pictures of which one is told to be farther to the left; a model named columns."""
    load = loading.load

    def loaded(name: str, **how: Any) -> Any:
        return MonoEstimator(Columns(), device="cpu") if name == "columns" else load(name, **how)

    monkeypatch.setattr(loading, "load", loaded)
    root = tmp_path / "DIW"
    lines = []
    for name, told in (("a", "<"), ("b", "<"), ("c", ">")):
        io.write_image(root / f"DIW_test/{name}.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        lines.append(f"./DIW_test/{name}.png\n3,2,3,9,{told},{WIDTH},{HEIGHT}\n")
    (root / "DIW_test.csv").write_text("".join(lines))
    return root


def test_predict_and_score_pictures(cli: Cli, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("predict", "columns", "diw", "--root", data, "-o", run)
    assert "2 predicted, 0 kept from before, 0 failed; next: depthweave score" in cli(*words, "--limit", "2").out
    assert json.loads(cli(*words, "--json").out) == {"run": str(run), "done": 1, "reused": 2, "failed": {}}
    scored = cli("score", run, "--format", "csv")
    assert (scored.code, scored.err) == (0, "")
    assert "DIW_test/c,100.00,1," in scored.out
    assert "run,Columns,diw,33.33,3,3," in scored.out
    assert "DIW_test/c" not in cli("score", run, "--no-items").out
    found = json.loads(cli("score", run, "--root", data, "--json").out)
    assert found[0]["whdr"] == pytest.approx(1 / 3)
    assert found == [json.loads((run / "scores.json").read_text())]


def test_failures_are_reported(cli: Cli, data: Path, tmp_path: Path) -> None:
    (data / "DIW_test/b.png").write_bytes(b"damaged")
    predicted = cli("predict", "columns", "diw", "--root", data, "-o", tmp_path / "run")
    assert predicted.code == 1
    assert predicted.err.startswith("failed DIW_test/b: ")
    scored = cli("score", tmp_path / "run", "--json")
    assert scored.code == 1
    assert "failed DIW_test/b: " in scored.err
    assert json.loads(scored.out)[0]["pairs"] == 2


def test_misuse_is_one_sentence(cli: Cli, data: Path, tmp_path: Path) -> None:
    words = ("diw", "--root", data, "-o", tmp_path / "run")
    pairs = cli("predict", "sgm", *words)
    assert pairs.code == 1
    assert "sgm" in pairs.sentence
    assert cli("predict", "columns", *words, "--max-disparity", "64").code == 2
    assert "split of diw is one of" in cli("predict", "columns", *words, "--reader", "split=all").sentence
    assert cli("predict", "columns", *words).code == 0
    assert "have one number, whdr" in cli("score", tmp_path / "run", "--protocol", "x").sentence
    (tmp_path / "pairs").mkdir()
    run = {"root": str(data), "configuration": {"benchmark": "eth3d", "benchmark_options": {}, "model": {}}}
    (tmp_path / "pairs/run.json").write_text(json.dumps(run))
    mixed = cli("score", tmp_path / "run", tmp_path / "pairs")
    assert "runs on pairs and runs on pictures have no common numbers; score them apart" in mixed.sentence
