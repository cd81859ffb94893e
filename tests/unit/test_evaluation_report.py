"""Scores as tables, files and a picture."""

import csv
import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from miniature_benchmarks import SCENES, folder_tree, middlebury_tree, step_run

from depthweave import images, io
from depthweave.evaluation import report
from depthweave.evaluation.predict import Run
from depthweave.evaluation.protocols import Average
from depthweave.evaluation.score import Scores, score

ALL = "middlebury-v3/all/per-image"
WEIGHTED = "middlebury-v3/all/weighted"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two runs on the same pairs: `far` is 4 and 6 px, `near` is 5 px everywhere."""
    folder = tmp_path_factory.mktemp("runs")
    root = middlebury_tree(folder / "data")
    return {
        "far": step_run("middlebury-v3", root, folder / "far").run,
        "near": step_run("middlebury-v3", root, folder / "near", 5.0, 5.0).run,
    }


@pytest.fixture(scope="session")
def far(runs: dict[str, Run]) -> Scores:
    return score(runs["far"])


@pytest.fixture(scope="session")
def without_pixels(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on two pairs, of which the first has no known truth."""
    folder = tmp_path_factory.mktemp("unknown")
    root = folder_tree(folder / "data", 2)
    nothing = np.zeros((48, 64), np.float32)
    io.write_pfm(root / "disparity" / "00.pfm", nothing, nothing > 0)
    return step_run("folder", root, folder / "run").run


def parse_markdown(text: str) -> list[list[str]]:
    """Rows of the first table in a text, without the line below its header."""
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert set("".join(rows[1])) == {"-", ":"}
    return [rows[0], *rows[2:]]


def parse_strict_json(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_summary_table(far: Scores) -> None:
    header, rows = report.summary_table(far)
    assert header[:2] == ["protocol", "bad-0.5 [%]"]
    assert header[-1] == "items"
    assert "epe [px]" in header
    assert [row[0] for row in rows] == [p.name for p in far.protocols]
    assert all(len(row) == len(header) for row in rows)
    row = rows[[p.name for p in far.protocols].index(ALL)]
    assert row[header.index("epe [px]")] == f"{far.averages[ALL]['epe'].value:.3f}"
    assert row[header.index("bad-2.0 [%]")] == f"{far.averages[ALL]['bad-2.0'].value:.2f}"
    assert row[-1] == "3"


def test_item_table(far: Scores) -> None:
    header, rows = report.item_table(far, ALL)
    assert header[0] == "item"
    assert header[-3:] == ["pixels", "valid [%]", "time [s]"]
    assert [row[0] for row in rows] == list(SCENES)
    piano = dict(zip(header, rows[1], strict=True))
    assert (piano["epe [px]"], piano["bad-0.5 [%]"], piano["bad-1.0 [%]"]) == ("1.000", "100.00", "0.000")
    assert (piano["pixels"], piano["valid [%]"]) == (str(48 * 63), "93.8")
    assert piano["time [s]"] == f"{far.items[1].seconds:.3f}"


def test_items_without_pixels_show_as_such(without_pixels: Run) -> None:
    scores = score(without_pixels)
    header, rows = report.item_table(scores, "folder/all/per-image")
    assert rows[0][1 : header.index("pixels") + 1] == ["-"] * (header.index("pixels") - 1) + ["0"]
    assert report.summary_table(scores)[1][0][-1] == "1 (1 without pixels)"


def test_comparison_marks_the_best(runs: dict[str, Run], far: Scores) -> None:
    near = score(runs["near"])
    header, rows = report.comparison_table([far, near])
    assert header == ["run", "model", *(f"bad-2.0 {p.name}" for p in far.protocols), "items", "time [s]"]
    assert [row[:2] for row in rows] == [["far", "StepMatching"], ["near", "StepMatching"]]
    # far: bad are 32 of 63 columns, none, 31 of 63; near: none, none, all 63.
    column = header.index(f"bad-2.0 {ALL}")
    assert [row[column] for row in rows] == ["33.33 *", "33.33 *"]
    column = header.index(f"bad-2.0 {WEIGHTED}")
    weighted = 100 * (32 + 0.5 * 31) / 63 / 2.5
    assert [row[column] for row in rows] == [f"{weighted:.2f}", "20.00 *"]
    assert [row[-2] for row in rows] == ["3", "3"]
    assert rows[0][-1] == f"{far.median_seconds:.3f}"


def test_comparison_without_a_winner(far: Scores) -> None:
    assert "*" not in "".join(report.comparison_table([far])[1][0])
    unknown = {name: {m: Average(math.nan, 0, 3, 0) for m in found} for name, found in far.averages.items()}
    header, rows = report.comparison_table([replace(far, averages=unknown, median_seconds=None, model=None), far])
    assert rows[0][1:3] == ["", "-"]
    assert rows[0][-1] == ""
    assert all(cell.endswith(" *") for cell in rows[1][2:-2])
    only_one = replace(
        far, averages={ALL: far.averages[ALL]}, protocols=tuple(p for p in far.protocols if p.name == ALL)
    )
    header, _ = report.comparison_table([far, only_one])
    assert header == ["run", "model", f"bad-2.0 {ALL}", "items", "time [s]"]


def test_csv_and_markdown_parse_back() -> None:
    table = (["item", "epe [px]"], [['a, "b"', "1.5"], ["c|d", "-"]])
    assert list(csv.reader(StringIO(report.to_csv(table)))) == [table[0], *table[1]]
    text = report.to_markdown(table)
    assert text.splitlines()[1] == "| --- | ---: |"
    assert parse_markdown(text) == [table[0], table[1][0], ["c\\|d", "-"]]


def test_json_has_null_for_nan(without_pixels: Run) -> None:
    found = parse_strict_json(json.dumps(report.to_json(score(without_pixels))))
    assert isinstance(found, dict)
    assert found["items"]["00"]["measured"]["folder/all/per-image"]["epe"] == {"value": None, "count": 0}
    assert found["items"]["01"]["measured"]["folder/all/per-image"]["epe"] == {"value": 1.0, "count": 48 * 64}
    average = found["averages"]["folder/all/per-image"]["epe"]
    assert average == {"value": 1.0, "used": 1, "skipped": 1, "pixels": 48 * 64}
    assert found["left_out"] == {"folder/visible/per-image": "00 has no mask for region 'visible'"}
    assert set(found["protocols"]) == {"folder/all/per-image"}
    assert "Scharstein" in found["protocols"]["folder/all/per-image"]["citation"]
    assert found["median_seconds"] > 0


def test_report_files_parse_back(runs: dict[str, Run], far: Scores) -> None:
    run = runs["far"]
    report.write_report(run, far)
    assert parse_strict_json((run.folder / "scores.json").read_text()) == json.loads(json.dumps(report.to_json(far)))
    with (run.folder / "items.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["protocol"], row["item"]) for row in rows] == [
        (p.name, item.key) for p in far.protocols for item in far.items
    ]
    items = {item.key: item for item in far.items}
    for row in rows:
        measured = items[row["item"]].measured[row["protocol"]]
        assert {name: float(row[name]) for name in measured} == {name: m.value for name, m in measured.items()}
        assert int(row["pixels"]) == measured["epe"].count
    text = (run.folder / "scores.md").read_text()
    assert text.startswith("# far\n\n| protocol |")
    sections = text.split("\n## ")
    header, table = report.summary_table(far)
    assert parse_markdown(sections[0].split("\n\n", 1)[1]) == [header, *table]
    assert [section.splitlines()[0] for section in sections[1:]] == [p.name for p in far.protocols]
    for section, p in zip(sections[1:], far.protocols, strict=True):
        assert p.citation in section
        header, table = report.item_table(far, p.name)
        assert parse_markdown(section[section.index("| item") :]) == [header, *table]


def test_sheet_shows_image_truth_prediction_and_error(runs: dict[str, Run], tmp_path: Path) -> None:
    sheet = report.Sheet(rows=2, cell_width=128)
    score(runs["far"], each=sheet.add)
    sheet.save(tmp_path / "sheet.png")
    picture = io.read_image(tmp_path / "sheet.png")
    assert picture.shape == (2 * (16 + 96), 4 * 128, 3)
    image, truth, prediction, error = (picture[16:112, x : x + 128] for x in range(0, 512, 128))
    left = io.read_image(runs["far"].root / "MiddEval3" / "trainingQ" / "Adirondack" / "im0.png")
    np.testing.assert_array_equal(image[::2, ::2], left)
    # Both in the truth's colours, where 4 and 6 px lie beyond the end of its range of 2.5 to 3.5 px.
    ends = images.colorize(torch.tensor([[3.0, 4.0]]), torch.tensor([[True, True]]), images.ColorRange(2.5, 3.5))[0]
    assert (truth[:, 2:] == ends[0]).all()
    assert (prediction == ends[1]).all()
    # Truth 3 px, predicted 4 and 6 px; the first column is unknown and becomes two px wide.
    errors, known = torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([[True, True, False]])
    colors = images.colorize(errors, known, images.ColorRange(0.0, 5.0), name="inferno")[0]
    assert (error[:, 2:64] == colors[0]).all()
    assert (error[:, 64:] == colors[1]).all()
    assert (error[:, :2] == colors[2]).all()
    assert (truth[:, :2] == colors[2]).all()
    assert picture[:16].max() > 150


def test_sheet_does_not_need_the_picture(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["far"]
    item = run.items()[0]
    sheet = report.Sheet(rows=1, cell_width=64)
    damaged = tmp_path / "im0.png"
    damaged.write_bytes(b"\x89PNG")
    score(run, each=lambda each, prediction, truth: sheet.add(replace(item, left=damaged), prediction, truth))
    sheet.save(tmp_path / "sheet.png")
    picture = io.read_image(tmp_path / "sheet.png")
    assert (picture[16:, :64] == 128).all()
    assert not (picture[16:, 192:] == 128).all()


def test_empty_sheet_writes_nothing(tmp_path: Path) -> None:
    report.Sheet().save(tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def test_command_compares_runs(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [run.folder for run in runs.values()]
    assert call(monkeypatch, "score", *folders) == 0
    printed = capsys.readouterr()
    for words in ("far: middlebury-v3/visible/weighted", "near: averages", "comparison", "Adirondack", "20.00 *"):
        assert words in printed.out
    for folder in folders:
        assert io.read_image(folder / "sheet.png").shape == (3 * (16 + 225), 1200, 3)
        assert {"scores.json", "scores.md", "items.csv"} <= {path.name for path in folder.iterdir()}
    assert call(monkeypatch, "score", *folders, "--json") == 0
    found = parse_strict_json(capsys.readouterr().out)
    assert isinstance(found, list)
    assert [each["run"] for each in found] == ["far", "near"]


def test_command_prints_other_layouts(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("score", runs["far"].folder, "--protocol", ALL)
    assert call(monkeypatch, *words, "--format", "csv") == 0
    items, averages, *_ = capsys.readouterr().out.split("\n\n")
    assert [row["item"] for row in csv.DictReader(StringIO(items))] == list(SCENES)
    assert [row["protocol"] for row in csv.DictReader(StringIO(averages))] == [ALL]
    assert call(monkeypatch, *words, "--format", "markdown", "--no-items") == 0
    assert [row[0] for row in parse_markdown(capsys.readouterr().out)] == ["protocol", ALL]
    assert call(monkeypatch, *words[:-1], "middlebury-v3/all/per-scene") == 1
    assert f"did you mean {ALL}" in capsys.readouterr().err
