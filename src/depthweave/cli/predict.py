"""`depthweave predict`: the first pass of an evaluation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import Device, Json, MaxDisparity, Output, Settings, parse_settings, require_output_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from depthweave.evaluation.predict import Progress


def command(
    model: Annotated[str, typer.Argument(help="A name that `depthweave models` lists.")],
    benchmark: Annotated[
        str,
        typer.Argument(
            help="Pairs: middlebury-v3, kitti-2015, folder, ... Clips: bonn, 7scenes, sintel-depth, ... Pictures: diw, "
            "redweb."
        ),
    ],
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

    first_pass = _first_pass(model, {"device": device, **parse_settings(settings)}, max_disparity, benchmark)
    require_output_folder(output)
    found = first_pass(benchmark, root, output, benchmark_options=parse_settings(reader), limit=limit)
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


def _first_pass(
    model: str, how: dict[str, Any], max_disparity: int | None, benchmark: str
) -> "Callable[..., Progress]":
    """What predicts that kind of benchmark, with its model."""
    from functools import partial

    from depthweave.data import CLIP_BENCHMARKS, PICTURE_BENCHMARKS
    from depthweave.errors import WrongInput
    from depthweave.evaluation.clips_predict import predict_clips
    from depthweave.evaluation.pictures_predict import predict_pictures
    from depthweave.evaluation.predict import predict
    from depthweave.pipelines.load import load
    from depthweave.pipelines.stereo import StereoMatcher

    if benchmark not in CLIP_BENCHMARKS and benchmark not in PICTURE_BENCHMARKS:
        matcher = load(model, **{"task": "stereo", **how})
        if max_disparity is not None:
            matcher.max_disparity = max_disparity
        return partial(predict, matcher)
    if max_disparity is not None:
        raise typer.BadParameter(f"{benchmark} is no benchmark of pairs; leave --max-disparity away.")
    if benchmark in PICTURE_BENCHMARKS:
        return partial(predict_pictures, load(model, **{"task": "mono", **how}))
    loaded = load(model, **how)
    if isinstance(loaded, StereoMatcher):
        raise WrongInput(f"{model} matches pairs, but {benchmark} is a benchmark of clips; choose a model for clips.")
    return partial(predict_clips, loaded)
