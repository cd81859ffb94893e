"""`depthweave flow`: the motion between two pictures, or from frame to frame of a clip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import Device, DType, Json, Model, Output, Settings, parse_settings, require_output_folder
from depthweave.models.registry import DEFAULT_FLOW

if TYPE_CHECKING:
    from depthweave.pipelines.flow import FlowMatcher
    from depthweave.types import Picture


def command(
    first: Annotated[Path, typer.Argument(help="First picture; or alone a video or a folder of frames.")],
    second: Annotated[Path | None, typer.Argument(help="Second picture, of the same size.")] = None,
    model: Model = DEFAULT_FLOW,
    output: Output = Path("out"),
    backward: Annotated[bool, typer.Option("--backward", help="Motion from the second picture to the first.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Match both ways, and keep what agrees; twice the time.")
    ] = True,
    device: Device = "auto",
    dtype: DType = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished frames of a clip again.")] = False,
    as_json: Json = False,
) -> None:
    """Optical flow: where every pixel of a picture goes in the next one, in px along x and y.

    Writes a result folder: result.json, flow.npz, flow.flo, flow_kitti.png, and preview.png with the colours of the
    Middlebury wheel. Of a clip there is one result folder per frame, with the motion to the next; finished ones are
    kept.
    """
    import json
    from functools import partial
    from itertools import pairwise

    from depthweave import io, runtime
    from depthweave.cli.results import Batch, describe_files
    from depthweave.pipelines.load import load

    matcher = load(model, task="flow", device=device, dtype=dtype, check=check, **parse_settings(settings))
    require_output_folder(output)
    match = partial(match_pictures, matcher, backward=backward)
    if second is not None:
        facts = match(first, second, output, describe_files({"first": first, "second": second}))
        typer.echo(json.dumps(facts) if as_json else describe(output, facts))
        return
    if first.is_file() and io.is_image(first):
        raise typer.BadParameter("one picture does not move: give a second one, a video or a folder of frames.")
    stream = io.open_frames(first)
    batch = Batch()
    total = None if stream.count is None else stream.count - 1
    for number, (one, two) in enumerate(runtime.progress(pairwise(stream), label="matching", total=total)):
        if stream.files is None:
            inputs = {**describe_files({"clip": first}), "frame": number}
        else:
            inputs = describe_files({"first": stream.files[number], "second": stream.files[number + 1]})
        work = partial(match, one, two, output / f"{number:06d}", inputs, keep=not overwrite)
        batch.attempt(f"{number:06d}", work)
    batch.finish(output, "frames", as_json=as_json)


def match_pictures(
    matcher: "FlowMatcher",
    first: "Picture",
    second: "Picture",
    folder: Path,
    inputs: dict[str, Any],
    *,
    backward: bool,
    keep: bool = False,
) -> dict[str, Any]:
    """One pair to a result folder; returns what its manifest says.

    Args:
        matcher: loaded.
        first, second: pictures.
        folder: for the result.
        inputs: what the manifest says of where the pictures are from.
        backward: from the second to the first.
        keep: whether a finished result of the same inputs, model and settings is left as it is.
    """
    import time

    from depthweave import io
    from depthweave.cli.results import heard_warnings, unchanged

    same = {**matcher.facts(), "inputs": inputs, "direction": "backward" if backward else "forward"}
    finished = unchanged(folder, same) if keep else None
    if finished is not None:
        return finished
    start = time.perf_counter()
    with heard_warnings() as sentences:
        found = matcher(second, first) if backward else matcher(first, second)
    facts = {**same, "warnings": sentences, "timings_s": {"match": time.perf_counter() - start}}
    found.save(folder, facts=facts)
    return io.read_manifest(folder)


def describe(folder: Path, facts: dict[str, Any]) -> str:
    """A few lines about a result folder."""
    fastest = facts["color_range"]["largest_px"]
    lines = [
        f"flow in px, {facts['width']}x{facts['height']}, {facts['valid_share']:.0%} measured, 99 % move at most "
        f"{fastest:.1f} px, {facts['model']} on {facts['device']}, {facts['timings_s']['match']:.2f} s",
        *(f"  {folder / name}" for name in facts["files"].values()),
    ]
    return "\n".join(lines)
