"""`depthweave score`: the second pass of an evaluation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from depthweave.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from depthweave.evaluation.clips_score import Motion
    from depthweave.evaluation.predict import Run
    from depthweave.metrics import BandEdges

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
    edges: Annotated[
        Literal["exponential", "dyadic", "doubling"], typer.Option("--bands", help="Clips: edges of F0 to F10.")
    ] = "exponential",
    motion: Annotated[
        Literal["masks", "flow"],
        typer.Option("--motion", help="Clips: what tells moving parts, masks of the reader or optical flow."),
    ] = "masks",
    as_json: Json = False,
) -> None:
    """Score runs under the named protocols of their benchmark.

    Every run folder gets scores.json, scores.md, items.csv and sheet.png (image, truth, prediction, error); with
    confidence also uncertainty.json, uncertainty.png (sparsification, reliability) and outliers.png. Runs on clips get
    frames.csv and plots (error over time, its spectrum and bands); several also plots of the comparison. Runs on
    pictures with ordered points get scores.json, scores.md and items.csv.
    """
    import json

    from depthweave.data import CLIP_BENCHMARKS, PICTURE_BENCHMARKS
    from depthweave.errors import WrongInput
    from depthweave.evaluation import report
    from depthweave.evaluation.predict import Run
    from depthweave.evaluation.score import score
    from depthweave.evaluation.uncertainty import Trust

    opened = [Run.read(folder) for folder in runs]
    kinds = {"clips": CLIP_BENCHMARKS, "pictures": PICTURE_BENCHMARKS}
    of = {next((kind for kind, names in kinds.items() if run.benchmark in names), "pairs") for run in opened}
    if len(of) > 1:
        raise WrongInput(f"runs on {' and runs on '.join(sorted(of))} have no common numbers; score them apart.")
    if "pictures" in of:
        if protocol is not None:
            raise WrongInput("runs on ordered points have one number, whdr; leave --protocol away.")
        _score_pictures(opened, root, items, layout, as_json)
        return
    if "clips" in of:
        _score_clips(opened, root, protocol, items, layout, edges, motion, as_json)
        return
    found, trusts = [], []
    for run, folder in zip(opened, runs, strict=True):
        sheet, trust = report.Sheet(), Trust()
        scores = score(run, root=root, protocols=protocol, each=_every(sheet.add, trust.add))
        report.write_report(run, scores)
        sheet.save(folder / "sheet.png")
        trust.write(folder)
        found.append(scores)
        trusts.append(trust)
        _say_failures(scores.failed, folder)
        for name, reason in scores.left_out.items():
            typer.echo(f"left out {name}: {reason}", err=True)
    if as_json:
        typer.echo(json.dumps([report.to_json(scores) for scores in found]))
    else:
        for scores, trust in zip(found, trusts, strict=True):
            if items and scores.protocols:
                first = scores.protocols[0].name
                _print(f"{scores.name}: {first}", report.item_table(scores, first), layout)
            _print(f"{scores.name}: averages", report.summary_table(scores), layout)
            if trust.items:
                _print(f"{scores.name}: confidence", trust.table(), layout)
        if len(found) > 1:
            _print("comparison", report.comparison_table(found), layout)
    if any(scores.failed for scores in found):
        raise typer.Exit(1)


def _every(*calls: "Callable[..., None]") -> "Callable[..., None]":
    """One call that makes all of them."""

    def each(*arguments: Any) -> None:
        for call in calls:
            call(*arguments)

    return each


def _score_clips(
    runs: "list[Run]",
    root: Path | None,
    protocols: list[str] | None,
    items: bool,
    layout: str,
    edges: "BandEdges",
    motion: "Motion",
    as_json: bool,
) -> None:
    import json

    from depthweave.evaluation import clips_report
    from depthweave.evaluation.clips_score import score_clips

    found = []
    for run in runs:
        scores = score_clips(run, root=root, protocols=protocols, edges=edges, motion=motion)
        clips_report.write_clip_report(run, scores)
        found.append(scores)
        for key, sentence in scores.failed.items():
            typer.echo(f"failed {key}: {sentence}", err=True)
        for name, reason in scores.left_out.items():
            typer.echo(f"left out {name}: {reason}", err=True)
    if len(found) > 1:
        clips_report.write_comparison(runs[0].folder / "compared", found)
    if as_json:
        typer.echo(json.dumps([clips_report.to_json(scores) for scores in found]))
    else:
        for scores in found:
            for p in scores.protocols if items else ():
                _print(f"{scores.name}: {p.name}", clips_report.clip_table(scores, p.name), layout)
                _print(f"{scores.name}: bands of {p.name}", clips_report.band_table(scores, p.name), layout)
            _print(f"{scores.name}: averages", clips_report.average_table(scores), layout)
        if len(found) > 1:
            _print("comparison", clips_report.comparison_table(found), layout)
    if any(scores.failed for scores in found):
        raise typer.Exit(1)


def _score_pictures(runs: "list[Run]", root: Path | None, items: bool, layout: str, as_json: bool) -> None:
    import json

    from depthweave.evaluation import ordinal

    found = []
    for run in runs:
        scores = ordinal.score_order(run, root=root)
        ordinal.write_order_report(run, scores)
        found.append(scores)
        _say_failures(scores.failed, run.folder)
    if as_json:
        typer.echo(json.dumps([ordinal.to_json(scores) for scores in found]))
    else:
        for scores in found if items else ():
            _print(f"{scores.name}: {scores.benchmark}", ordinal.picture_table(scores), layout)
        _print("ordered points", ordinal.order_table(found), layout)
    if any(scores.failed for scores in found):
        raise typer.Exit(1)


def _say_failures(failed: "Mapping[str, str]", folder: Path) -> None:
    """The first failures of a run; all of them stand in its scores.json."""
    for key, sentence in list(failed.items())[:MOST_FAILURES_SHOWN]:
        typer.echo(f"failed {key}: {sentence}", err=True)
    if (more := len(failed) - MOST_FAILURES_SHOWN) > 0:
        typer.echo(f"failed: {more} more, see {folder / 'scores.json'}", err=True)


def _print(title: str, table: tuple[list[str], list[list[str]]], layout: str) -> None:
    from depthweave.evaluation import report

    if layout == "csv":
        typer.echo(report.to_csv(table))
    elif layout == "markdown":
        typer.echo(report.to_markdown(table))
    else:
        from depthweave.cli.tables import print_table

        print_table(title, *table)
