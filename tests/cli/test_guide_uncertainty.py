"""The page on uncertainty runs as it stands there, and its figures are small."""

import json
import re
import shlex
from pathlib import Path

import pytest

from .conftest import Cli
from .pages import GUIDE, ROOT, blocks, pictures, run_blocks

PAGE = GUIDE / "uncertainty.md"
LARGEST_BYTES = 300_000


def test_lines_of_python_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(blocks(PAGE)) == 2
    run_blocks(PAGE)
    trusted, doubted = (float(number) for number in re.findall(r"tensor\((.*?)\)", capsys.readouterr().out)[:2])
    assert trusted < doubted


def test_commands_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(PAGE, "bash")
    for line in block.splitlines():
        program, *words = shlex.split(line)
        assert program == "depthweave"
        found = cli(*words)
        assert found.code == 0, found.err
    told = json.loads((tmp_path / "runs" / "s" / "uncertainty.json").read_text())
    assert set(told["regions"]) == {"all", "visible"}


def test_figures_are_there_and_small() -> None:
    figures = pictures(PAGE)
    assert len(figures) == 2
    assert sum(figure.stat().st_size for figure in figures) < LARGEST_BYTES


def test_named_files_exist() -> None:
    for name in re.findall(
        r"(?:benchmarks|src/depthweave/recipes)/[\w-]+\.(?:py|toml)", PAGE.read_text(encoding="utf-8")
    ):
        assert (ROOT / name).is_file(), name
