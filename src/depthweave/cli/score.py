"""`depthweave score`: the second pass of an evaluation."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from depthweave.cli.options import Json

MOST_FAILURES_SHOWN = 8


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")],
    root: Annotated[Path | None, typer.Option("--root", help="The benchmark's folder, if it has moved.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", help="Only these, e.g. middlebury-v3/visible/per-image.")
    ] = None,
    items: Annotated[bool, typer.Option("--items/--no-items", help="Print every item too.")] = True,
    layout: Annotated[Literal["table", "csv", "markdown"], typer.Option("--format", help="Of what is printed.")] = (
        "table"
    ),
    as_json: Json = False,
) -> None:
    """Score runs under the named protocols of their benchmark.

    Every run folder gets scores.json, scores.md, items.csv and sheet.png (image, truth, prediction, error).
    """
    import json

    from depthweave.evaluation import report
    from depthweave.evaluation.predict import Run
    from depthweave.evaluation.score import score

    found = []
    for folder in runs:
        run, sheet = Run.read(folder), report.Sheet()
        scores = score(run, root=root, protocols=protocol, each=sheet.add)
        report.write_report(run, scores)
        sheet.save(folder / "sheet.png")
        found.append(scores)
        for key, sentence in list(scores.failed.items())[:MOST_FAILURES_SHOWN]:
            typer.echo(f"failed {key}: {sentence}", err=True)
        if (more := len(scores.failed) - MOST_FAILURES_SHOWN) > 0:
            typer.echo(f"failed: {more} more, see {folder / 'scores.json'}", err=True)
        for name, reason in scores.left_out.items():
            typer.echo(f"left out {name}: {reason}", err=True)
    if as_json:
        typer.echo(json.dumps([report.to_json(scores) for scores in found]))
    else:
        for scores in found:
            if items and scores.protocols:
                first = scores.protocols[0].name
                _print(f"{scores.name}: {first}", report.item_table(scores, first), layout)
            _print(f"{scores.name}: averages", report.summary_table(scores), layout)
        if len(found) > 1:
            _print("comparison", report.comparison_table(found), layout)
    if any(scores.failed for scores in found):
        raise typer.Exit(1)


def _print(title: str, table: tuple[list[str], list[list[str]]], layout: str) -> None:
    from depthweave.evaluation import report

    if layout == "csv":
        typer.echo(report.to_csv(table))
    elif layout == "markdown":
        typer.echo(report.to_markdown(table))
    else:
        from depthweave.cli.tables import print_table

        print_table(title, *table)
