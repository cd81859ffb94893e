"""`depthweave submit`: an archive for a benchmark's server."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    method: Annotated[str, typer.Option("--method", help="Short name of the method.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Archive to write.")] = Path("submission.zip"),
    root: Annotated[Path | None, typer.Option("--root", help="The benchmark's folder, if it has moved.")] = None,
) -> None:
    """Write the upload of a run for Middlebury v3, KITTI 2012, KITTI 2015 or ETH3D."""
    from depthweave.evaluation.predict import Run
    from depthweave.evaluation.submit import submit

    typer.echo(f"wrote {submit(Run.read(run), output, method=method, root=root)}")
