"""`depthweave`: the commands, and what happens when one fails."""

import os
import sys
import warnings
from typing import Annotated

import typer

from depthweave import __version__
from depthweave.cli import (
    convert,
    demo,
    export,
    flow,
    info,
    models,
    mono,
    predict,
    reconstruct,
    score,
    split,
    stereo,
    submit,
    synthesize,
    train,
    video,
    worlds,
)
from depthweave.errors import DepthweaveError, DepthweaveWarning

app = typer.Typer(
    help="Depth from stereo pairs, single pictures and videos, with results that say what their numbers are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("stereo")(stereo.command)
app.command("mono")(mono.command)
app.command("predict")(predict.command)
app.command("score")(score.command)
app.command("submit")(submit.command)
app.command("reconstruct")(reconstruct.command)
app.command("video")(video.command)
app.command("flow")(flow.command)
app.command("synthesize")(synthesize.command)
app.command("split")(split.command)
app.command("worlds")(worlds.command)
app.command("train")(train.command)
app.command("convert")(convert.command)
app.command("export")(export.command)
app.command("models")(models.command)
app.command("info")(info.command)
app.command("demo")(demo.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"depthweave {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def run() -> None:
    """Entry point: exit code 0 done, 1 failed with one sentence on stderr, 2 misuse."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    warnings.showwarning = _show_warning
    # Threads that spin while they wait make torch many times slower as soon as another program wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # --debug is accepted anywhere, since it is typed after something has failed.
        app(args=[argument for argument in arguments if argument != "--debug"])
    except DepthweaveError as error:
        if debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; run the same command again to go on where it can resume.")
    except Exception as error:
        if debug:
            raise
        first_line = (str(error).splitlines() or [""])[0]
        _fail(f"unexpected {type(error).__name__}: {first_line} (run again with --debug and report what it prints).")


def _fail(sentence: str) -> None:
    typer.echo(f"error: {sentence}", err=True)
    sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, DepthweaveWarning):
        typer.echo(f"warning: {message}", err=True)
