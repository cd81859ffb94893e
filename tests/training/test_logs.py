"""Logs: the rows of a resumed run are those of an uninterrupted one."""

import csv
import io
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from depthweave.errors import MissingLibrary, NotWritable, WrongFile, WrongInput
from depthweave.metrics import Measurement
from depthweave.training.logs import Logs


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def run(folder: Path, first: int, last: int, columns: tuple[str, ...] = ("loss", "volume"), **options: Any) -> None:
    with Logs(folder, columns, steps=40, start=first, **options) as logs:
        for step in range(first + 10, last + 1, 10):
            logs.step(step, 4 * step, 1e-3 / step, {"loss": 1 / step, "volume": float("nan")})
            if step % 20 == 0:
                logs.validation(step, "garden, left", {"epe": Measurement(2.0 / step, 99), "d1": Measurement(1.5, 9)})


def timeless(path: Path) -> list[dict[str, str]]:
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows(path)]


def test_rows(tmp_path: Path) -> None:
    run(tmp_path / "new", 0, 20)
    log = rows(tmp_path / "new" / "log.csv")
    assert list(log[0]) == ["step", "samples", "seconds", "lr", "loss", "volume"]
    assert [row["step"] for row in log] == ["10", "20"]
    assert (log[0]["samples"], float(log[0]["lr"]), float(log[0]["loss"]), log[0]["volume"]) == ("40", 1e-4, 0.1, "nan")
    assert float(log[1]["seconds"]) >= float(log[0]["seconds"]) >= 0
    assert rows(tmp_path / "new" / "validation.csv") == [
        {"step": "20", "set": "garden, left", "metric": "epe", "value": "0.1", "count": "99"},
        {"step": "20", "set": "garden, left", "metric": "d1", "value": "1.5", "count": "9"},
    ]


def test_a_resumed_run_has_the_rows_of_an_uninterrupted_one(tmp_path: Path) -> None:
    run(tmp_path / "whole", 0, 40)
    run(tmp_path / "cut", 0, 30)
    with (tmp_path / "cut" / "log.csv").open("a") as stream:
        stream.write("40,160,1.0,0.0")  # killed in the middle of a row
    run(tmp_path / "cut", 20, 40)
    for name in ("log.csv", "validation.csv"):
        assert timeless(tmp_path / "cut" / name) == timeless(tmp_path / "whole" / name)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["log.csv", "validation.csv"]


def test_rows_cut_at_a_digit_do_not_count(tmp_path: Path) -> None:
    run(tmp_path, 0, 20)
    log = tmp_path / "log.csv"
    log.write_text(log.read_text()[:-2])  # all columns are there, the last number is not whole
    run(tmp_path, 20, 30)
    assert [row["step"] for row in rows(log)] == ["10", "30"]


def test_rows_are_there_at_once(tmp_path: Path) -> None:
    with Logs(tmp_path, ("loss",), steps=10) as logs:
        logs.step(1, 4, 1.0, {"loss": 2.0})
        assert rows(tmp_path / "log.csv")[0]["loss"] == "2.0"


def test_a_new_run_begins_anew(tmp_path: Path) -> None:
    run(tmp_path, 0, 20)
    run(tmp_path, 0, 10, ("loss", "volume", "other"))
    run(tmp_path, 0, 10)
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["10"]
    assert "other" not in rows(tmp_path / "log.csv")[0]
    assert rows(tmp_path / "validation.csv") == []


def test_time_goes_on(tmp_path: Path) -> None:
    run(tmp_path, 0, 20)
    log = tmp_path / "log.csv"
    header, first, second = log.read_text().splitlines()
    cells = second.split(",")
    log.write_text("\n".join([header, first, ",".join([*cells[:2], "5000.25", *cells[3:]])]) + "\n")
    with Logs(tmp_path, ("loss", "volume"), steps=40, start=20) as logs:
        assert 5000.25 <= logs.seconds < 5060
    with Logs(tmp_path, ("loss", "volume"), steps=40, start=10) as logs:
        assert logs.seconds < 60


def test_columns_that_come_and_go(tmp_path: Path) -> None:
    run(tmp_path, 0, 10)
    with Logs(tmp_path, ("loss", "smooth, both"), steps=40, start=10) as logs:
        logs.step(20, 80, 1.0, {"smooth, both": 3})
        with pytest.raises(WrongInput, match="no column los; it has step,"):
            logs.step(30, 80, 1.0, {"los": 3})
    first, second = rows(tmp_path / "log.csv")
    assert (first["smooth, both"], first["volume"]) == ("", "nan")
    assert (second["smooth, both"], second["volume"], second["loss"]) == ("3", "", "")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("name,value\na,1\n")
    with pytest.raises(WrongFile, match="is no log of training"):
        Logs(tmp_path, ("loss",), steps=10, start=10)
    assert (tmp_path / "log.csv").read_text() == "name,value\na,1\n"
    with pytest.raises(NotWritable):
        Logs(tmp_path / "log.csv" / "inside", ("loss",), steps=10)


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []
    scalars: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            made.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            scalars.append((name, value, step))

        def close(self) -> None:
            scalars.append(("closed", 0, 0))

    module: Any = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run(tmp_path, 10, 20, tensorboard=True)
    assert made == [(str(tmp_path / "tensorboard"), 11)]
    assert ("training/loss", 0.05, 20) in scalars
    assert ("training/lr", 5e-5, 20) in scalars
    assert ("garden, left/epe", 0.1, 20) in scalars
    assert scalars[-1] == ("closed", 0, 0)


def test_tensorboard_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingLibrary, match=r"depthweave\[train\]"):
        Logs(tmp_path, ("loss",), steps=10, tensorboard=True)


def test_the_line_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, 0, 20)
    captured = capsys.readouterr()
    assert captured.out == captured.err == "", "no terminal, no line"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Logs(tmp_path, ("loss", "volume"), steps=40) as logs:
        logs.step(10, 40, 1.0, {"loss": 0.12345, "volume": 7.0})
        logs.step(30, 120, 1.0, {"loss": 0.25, "volume": 7.0})
    said = terminal.getvalue()
    assert "30/40" in said
    assert "loss 0.25" in said
    assert "pairs/s" in said
