"""The command line inside the test process."""

import sys

import pytest

from depthweave.cli.main import run


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit code of `depthweave` with these words."""
    monkeypatch.setattr(sys, "argv", ["depthweave", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        run()
    return int(stopped.value.code or 0)
