import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from depthweave.cli.main import run
from depthweave.worlds import RenderedPair, render_pair, still_life
from depthweave.worlds.files import save_pair


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line of an error; fails when there is more than that."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["depthweave", *map(str, words)])
        code: int | str | None = 0
        try:
            run()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return Outcome(int(code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def world() -> RenderedPair:
    return render_pair(still_life(width=64, height=48))


@pytest.fixture
def pair(world: RenderedPair, tmp_path: Path) -> Path:
    """A folder with left.png, right.png and calib.txt of a 64x48 pair."""
    save_pair(world, tmp_path)
    return tmp_path
