"""`depthweave predict`: the first pass of an evaluation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import Device, Json, MaxDisparity, Output, Settings, parse_settings, require_output_folder

if TYPE_CHECKING:
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

    from depthweave.data import CLIP_BENCHMARKS, PICTURE_BENCHMARKS

    how = {"device": device, **parse_settings(settings)}
    of_frames = _predict_clips if benchmark in CLIP_BENCHMARKS else _predict_pictures
    if benchmark in CLIP_BENCHMARKS or benchmark in PICTURE_BENCHMARKS:
        if max_disparity is not None:
            raise typer.BadParameter(f"{benchmark} is no benchmark of pairs; leave --max-disparity away.")
        found = of_frames(model, how, benchmark, root, output, parse_settings(reader), limit)
    else:
        found = _predict_pairs(model, how, max_disparity, benchmark, root, output, parse_settings(reader), limit)
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


def _predict_pairs(
    model: str,
    how: dict[str, Any],
    max_disparity: int | None,
    benchmark: str,
    root: Path,
    output: Path,
    options: dict[str, Any],
    limit: int | None,
) -> "Progress":
    from depthweave.evaluation.predict import predict
    from depthweave.pipelines.load import load

    matcher = load(model, **{"task": "stereo", **how})
    if max_disparity is not None:
        matcher.max_disparity = max_disparity
    require_output_folder(output)
    return predict(matcher, benchmark, root, output, benchmark_options=options, limit=limit)


def _predict_clips(
    model: str,
    how: dict[str, Any],
    benchmark: str,
    root: Path,
    output: Path,
    options: dict[str, Any],
    limit: int | None,
) -> "Progress":
    from depthweave.errors import WrongInput
    from depthweave.evaluation.clips_predict import predict_clips
    from depthweave.pipelines.load import load
    from depthweave.pipelines.stereo import StereoMatcher

    loaded = load(model, **how)
    if isinstance(loaded, StereoMatcher):
        raise WrongInput(f"{model} matches pairs, but {benchmark} is a benchmark of clips; choose a model for clips.")
    require_output_folder(output)
    return predict_clips(loaded, benchmark, root, output, benchmark_options=options, limit=limit)


def _predict_pictures(
    model: str,
    how: dict[str, Any],
    benchmark: str,
    root: Path,
    output: Path,
    options: dict[str, Any],
    limit: int | None,
) -> "Progress":
    from depthweave.evaluation.pictures_predict import predict_pictures
    from depthweave.pipelines.load import load

    loaded = load(model, **{"task": "mono", **how})
    require_output_folder(output)
    return predict_pictures(loaded, benchmark, root, output, benchmark_options=options, limit=limit)
