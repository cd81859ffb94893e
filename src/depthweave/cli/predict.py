"""`depthweave predict`: the first pass of an evaluation."""

from pathlib import Path
from typing import Annotated

import typer

from depthweave.cli.options import Device, Json, MaxDisparity, Output, Settings, parse_settings, require_output_folder


def command(
    model: Annotated[str, typer.Argument(help="A name that `depthweave models` lists.")],
    benchmark: Annotated[str, typer.Argument(help="middlebury-v3, kitti-2015, eth3d, sceneflow, folder, ...")],
    root: Annotated[Path, typer.Option("--root", help="Where the benchmark was unpacked.")],
    output: Output = Path("run"),
    reader: Annotated[
        list[str] | None, typer.Option("--reader", help="Option of the benchmark's reader, e.g. --reader split=test.")
    ] = None,
    max_disparity: MaxDisparity = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many items.")] = None,
    device: Device = "auto",
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Run a model over a benchmark and keep every prediction. Started again, it goes on where it was stopped."""
    import json

    from depthweave.evaluation.predict import predict
    from depthweave.pipelines.load import load

    matcher = load(model, **{"task": "stereo", "device": device, **parse_settings(settings)})
    if max_disparity is not None:
        matcher.max_disparity = max_disparity
    require_output_folder(output)
    found = predict(matcher, benchmark, root, output, benchmark_options=parse_settings(reader), limit=limit)
    for key, sentence in found.failed.items():
        typer.echo(f"failed {key}: {sentence}", err=True)
    if as_json:
        facts = {"run": str(output), "done": found.done, "reused": found.reused, "failed": found.failed}
        typer.echo(json.dumps(facts))
    else:
        typer.echo(
            f"{found.done} predicted, {found.reused} kept from before, {len(found.failed)} failed; "
            f"next: depthweave score {output}"
        )
    if found.failed:
        raise typer.Exit(1)
