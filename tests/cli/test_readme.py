"""What the README tells people to type works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from .conftest import Cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_make_targets_exist() -> None:
    named = re.findall(r"^make (\w+)", README, flags=re.MULTILINE)
    assert named == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in named:
        assert re.search(rf"^{target}: setup$", makefile, flags=re.MULTILINE)


def test_commands_and_lines_of_python_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("demo", "-o", "demo").code == 0
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) == 3
    for line in commands:
        program, *words = shlex.split(line)
        assert program == "depthweave"
        assert cli(*words).code == 0, line
    (python,) = blocks("python")
    assert len(python.strip().splitlines()) == 4
    exec(compile(python, "README.md", "exec"), {})
    assert (tmp_path / "cloud.ply").stat().st_size > 1_000_000


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_models_table_is_the_registry() -> None:
    from depthweave.models.registry import DEFAULT_STEREO, list_models

    rows = dict(re.findall(r"^\| `([\w-]+)`( \(default\))? \|", README, flags=re.MULTILINE))
    assert list(rows) == [card.name for card in list_models()]
    assert [name for name, default in rows.items() if default] == [DEFAULT_STEREO]
    for card in list_models():
        (row,) = re.findall(rf"^\| `{card.name}`.*$", README, flags=re.MULTILINE)
        assert card.licence in row
        assert row.rstrip(" |").endswith({True: "yes", False: "no", None: "not stated"}[card.commercial_use])


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(script: Path, cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy
    import sys

    monkeypatch.setattr(sys, "argv", [str(script), str(pair), str(pair / "out")])
    runpy.run_path(str(script), run_name="__main__")
