"""The page on uncertainty runs as it stands there, and its figures are small."""

import json
import re
import shlex
from pathlib import Path

import pytest

from .conftest import Cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "uncertainty.md"
TEXT = PAGE.read_text(encoding="utf-8")
LARGEST_BYTES = 300_000


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_lines_of_python_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = "".join(blocks("python"))
    assert len(blocks("python")) == 2
    names: dict[str, object] = {}
    exec(compile(code, PAGE.name, "exec"), names)
    trusted, doubted = (float(number) for number in re.findall(r"tensor\((.*?)\)", capsys.readouterr().out)[:2])
    assert trusted < doubted


def test_commands_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("bash")
    for line in block.splitlines():
        program, *words = shlex.split(line)
        assert program == "depthweave"
        found = cli(*words)
        assert found.code == 0, found.err
    told = json.loads((tmp_path / "runs" / "s" / "uncertainty.json").read_text())
    assert set(told["regions"]) == {"all", "visible"}


def test_figures_are_there_and_small() -> None:
    figures = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert len(figures) == 2
    assert sum((PAGE.parent / figure).stat().st_size for figure in figures) < LARGEST_BYTES


def test_named_files_exist() -> None:
    for name in re.findall(r"(?:benchmarks|src/depthweave/recipes)/[\w-]+\.(?:py|toml)", TEXT):
        assert (ROOT / name).is_file(), name
