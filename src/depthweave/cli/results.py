"""Result folders of a command: what made them, which stand already, and how a run over many of them ends."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer


def describe_files(files: Mapping[str, Path]) -> dict[str, Any]:
    """What a manifest says about input files, by role; those that are not there are left out."""
    return {
        role: {"path": str(path.resolve()), "bytes": path.stat().st_size}
        for role, path in files.items()
        if path.is_file()
    }


def unchanged(folder: Path, same: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a finished result that says all of this (inputs, settings, model), else None."""
    import json

    from depthweave import io
    from depthweave.errors import WrongFile

    try:
        manifest = io.read_manifest(folder)
    except WrongFile:
        return None
    return manifest if all(manifest.get(key) == value for key, value in json.loads(json.dumps(same)).items()) else None


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """Collect the sentences of warnings, each once, and print them at the end."""
    import warnings

    from depthweave.errors import DepthweaveWarning

    sentences: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DepthweaveWarning)
        yield sentences
    said = (str(warning.message) for warning in caught if issubclass(warning.category, DepthweaveWarning))
    sentences += dict.fromkeys(said)
    for sentence in sentences:
        typer.echo(f"warning: {sentence}", err=True)


@dataclass(frozen=True)
class Batch:
    """Many results into one folder: a failed one is reported and must not cost the others.

    Attributes:
        done: manifests by name.
        failed: sentences by name.
    """

    done: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run the work of one result, which returns its manifest."""
        try:
            self.done[name] = work()
        except Exception as error:  # reported, and the exit code is 1
            self.failed[name] = str(error)
            typer.echo(f"failed {name}: {error}", err=True)

    def finish(self, output: Path, what: str, *, as_json: bool) -> None:
        """Say how it went; exit code 1 if anything failed."""
        import json

        if as_json:
            typer.echo(json.dumps({"output": str(output), "done": self.done, "failed": self.failed}))
        else:
            typer.echo(f"{len(self.done)} of {len(self.done) + len(self.failed)} {what} done, results in {output}/")
        if self.failed:
            raise typer.Exit(1)
