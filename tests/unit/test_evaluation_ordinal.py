"""Two passes over pictures with ordered points: maps on disk, and their disagreement."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave import io
from depthweave.errors import DifferentConfiguration, UnknownBenchmark, WrongFile, WrongInput
from depthweave.evaluation.ordinal import order_table, picture_table, score_order, to_json, write_order_report
from depthweave.evaluation.pictures_predict import PictureModel, predict_pictures
from depthweave.evaluation.predict import Progress, Run
from depthweave.types import DepthMap, InverseDepthMap, Picture, Scale, read_picture

HEIGHT, WIDTH = 12, 16


class Ramp:
    """A model whose answer grows to the right; it counts the pictures that it has seen."""

    def __init__(self, kind: type[DepthMap] | type[InverseDepthMap] = InverseDepthMap, name: str = "ramp") -> None:
        self.kind = kind
        self.name = name
        self.seen = 0

    def facts(self) -> dict[str, Any]:
        return {"model": self.name, "options": {}}

    def __call__(self, image: Picture) -> DepthMap | InverseDepthMap:
        self.seen += 1
        height, width = read_picture(image).shape[-2:]
        columns = torch.arange(width, dtype=torch.float32).expand(height, width).clone()
        return self.kind(columns, columns > 3, scale=Scale.UNKNOWN_SCALE_AND_SHIFT)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """ReDWeb's layout: a.png and b.png, nearer to the right."""
    root = tmp_path / "redweb"
    for name in ("a", "b"):
        io.write_image(root / f"Imgs/{name}.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        io.write_image(root / f"RDs/{name}.png", np.tile(np.arange(WIDTH, dtype=np.uint8) * 15, (HEIGHT, 1)))
    return root


def counts(progress: Progress) -> tuple[int, int, list[str]]:
    return progress.done, progress.reused, list(progress.failed)


OPTIONS = {"pairs": 50}


def test_a_model_that_is_right_or_wrong(photographs: Path, tmp_path: Path) -> None:
    right = predict_pictures(Ramp(), "redweb", photographs, tmp_path / "right", benchmark_options=OPTIONS).run
    scores = score_order(right)
    assert (scores.name, scores.model, scores.benchmark) == ("right", "ramp", "redweb")
    assert (scores.whdr, [each.key for each in scores.pictures], scores.failed) == (0, ["a", "b"], {})
    assert 80 < scores.pairs <= 100  # without the equal ones
    assert scores.pairs == sum(each.pairs for each in scores.pictures)
    assert scores.median_seconds is not None
    wrong = predict_pictures(Ramp(DepthMap), "redweb", photographs, tmp_path / "wrong", benchmark_options=OPTIONS).run
    assert score_order(wrong).whdr == 1


def test_every_pair_counts_once(tmp_path: Path) -> None:
    io.write_image(tmp_path / "a.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    for name in ("b", "c", "d"):
        io.write_image(tmp_path / f"{name}.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    # y,x,y,x of A and B, counted from 1; the answer's inverse depth grows to the right, so that A is farther.
    lines = [f"./{name}.png\n3,2,3,9,{told},{WIDTH},{HEIGHT}" for name, told in zip("abcd", ">><>", strict=True)]
    (tmp_path / "DIW_test.csv").write_text("\n".join(lines) + "\n")
    run = predict_pictures(Ramp(), "diw", tmp_path, tmp_path / "run").run
    scores = score_order(run)
    assert (scores.whdr, scores.pairs) == (0.25, 4)
    assert {each.key: each.whdr for each in scores.pictures} == {"a": 0, "b": 0, "c": 1, "d": 0}
    assert order_table([scores])[1][0][:6] == ["run", "ramp", "diw", "25.00", "4", "4"]


def test_pictures_of_many_pairs_count_more(photographs: Path, tmp_path: Path) -> None:
    # b is one grey but for its last column, and nearer to the left.
    relative = np.full((HEIGHT, WIDTH), 200, np.uint8)
    relative[:, -1] = 10
    io.write_image(photographs / "RDs/b.png", relative)
    scores = score_order(
        predict_pictures(Ramp(), "redweb", photographs, tmp_path / "run", benchmark_options=OPTIONS).run
    )
    a, b = scores.pictures
    assert (a.whdr, b.whdr) == (0, 1)
    assert 0 < b.pairs < a.pairs
    assert scores.whdr == b.pairs / (a.pairs + b.pairs)


def test_a_stopped_run_goes_on_and_another_model_is_refused(photographs: Path, tmp_path: Path) -> None:
    model, output = Ramp(), tmp_path / "run"
    assert isinstance(model, PictureModel)
    assert counts(predict_pictures(model, "redweb", photographs, output, limit=1)) == (1, 0, [])
    assert counts(predict_pictures(model, "redweb", photographs, output)) == (1, 1, [])
    assert model.seen == 2
    facts = Run.read(output).facts("a")
    assert (facts["height"], facts["width"], facts["valid_share"], facts["warnings"]) == (HEIGHT, WIDTH, 0.75, [])
    with pytest.raises(DifferentConfiguration, match=r"another configuration: model \(model\)"):
        predict_pictures(Ramp(name="other"), "redweb", photographs, output)
    io.write_image(photographs / "Imgs/b.png", np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8))
    with pytest.raises(DifferentConfiguration, match="input files of b"):
        predict_pictures(model, "redweb", photographs, output)
    with pytest.raises(WrongInput, match=r"function has no facts\(\)"):
        predict_pictures(lambda image: model(image), "redweb", photographs, tmp_path / "none")
    with pytest.raises(UnknownBenchmark, match="redweb"):
        predict_pictures(model, "redwep", photographs, tmp_path / "none")


def test_a_broken_picture_does_not_cost_the_others(photographs: Path, tmp_path: Path) -> None:
    whole = (photographs / "Imgs/a.png").read_bytes()
    (photographs / "Imgs/a.png").write_bytes(whole[:60])
    progress = predict_pictures(Ramp(), "redweb", photographs, tmp_path / "run", benchmark_options=OPTIONS)
    assert counts(progress) == (1, 0, ["a"])
    scores = score_order(progress.run)
    assert [each.key for each in scores.pictures] == ["b"]
    assert "has no map for a; run `depthweave predict` again" in scores.failed["a"]
    progress.run.map_path("b").write_bytes(b"damaged")
    nothing = score_order(progress.run)
    assert math.isnan(nothing.whdr)
    assert list(nothing.failed) == ["a", "b"]
    assert to_json(nothing)["whdr"] is None


def test_truth_is_read_in_the_second_pass_only(photographs: Path, tmp_path: Path) -> None:
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.arange(3, dtype=np.uint8)
    io.write_image(photographs / "RDs/b.png", colours)
    progress = predict_pictures(Ramp(), "redweb", photographs, tmp_path / "run")
    assert counts(progress) == (2, 0, [])
    assert "colour" in score_order(progress.run).failed["b"]
    with pytest.raises(WrongFile, match="is not a folder"):
        score_order(progress.run, root=tmp_path / "gone")
    assert score_order(progress.run, root=photographs).pictures[0].key == "a"


def test_the_report_says_it_all(photographs: Path, tmp_path: Path) -> None:
    run = predict_pictures(Ramp(), "redweb", photographs, tmp_path / "run", benchmark_options=OPTIONS).run
    (run.facts_path("a")).unlink()  # as if another program had put the map there
    scores = score_order(run)
    write_order_report(run, scores)
    content = json.loads((tmp_path / "run/scores.json").read_text())
    assert (content["run"], content["whdr"], content["pairs"]) == ("run", 0, scores.pairs)
    assert content["items"]["a"] == {"whdr": 0, "pairs": scores.pictures[0].pairs, "seconds": None}
    assert "| run | ramp | redweb | 0.00 |" in (tmp_path / "run/scores.md").read_text()
    header, first, _ = (tmp_path / "run/items.csv").read_text().splitlines()
    assert header == "picture,whdr [%],pairs,time [s]"
    assert first == f"a,0.00,{scores.pictures[0].pairs},"
    assert picture_table(scores)[1][0][0] == "a"
