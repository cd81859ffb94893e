"""`depthweave video`: a clip to depth that is consistent from the first frame to the last."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from depthweave.cli.options import (
    Calibration,
    Device,
    DType,
    Json,
    Model,
    Output,
    Settings,
    parse_settings,
    require_output_folder,
)
from depthweave.models.registry import DEFAULT_VIDEO


def command(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video, or a folder of pictures in natural order.")],
    calibration: Calibration = None,
    model: Model = DEFAULT_VIDEO,
    output: Output = Path("out"),
    stage1_only: Annotated[
        bool, typer.Option("--stage1-only", help="Leave the second stage away: consistent, but with its noise.")
    ] = False,
    start: Annotated[int, typer.Option("--start", min=0, help="First frame, from 0.")] = 0,
    stop: Annotated[int | None, typer.Option("--stop", min=1, help="Frame to stop before.")] = None,
    step: Annotated[int, typer.Option("--step", min=1, help="Take every so many frames.")] = 1,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of models that draw random numbers.")] = None,
    runs: Annotated[int | None, typer.Option("--runs", min=1, help="Average so many runs of diffusion.")] = None,
    max_memory: Annotated[
        str | None,
        typer.Option("--max-memory", help="Of the device, for diffusion, e.g. 8GB: chooses window and chunks."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--formats", help="Further files: exr, png16, clouds, side-by-side, joined by commas.")
    ] = "npz",
    quantity: Annotated[
        Literal["depth", "inverse_depth"] | None,
        typer.Option("--quantity", help="In exr and png16; by default that of the frames."),
    ] = None,
    device: Device = "auto",
    dtype: DType = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result there.")] = False,
    as_json: Json = False,
) -> None:
    """Depth of every frame of a clip under one scale, without flicker.

    Writes a result folder: result.json (which stages were used, too), frames/*.npz, preview.mp4 and what --formats
    names. Started again, it goes on where it was stopped. Models for single pictures (-m depth-anything-v2-small) and
    for pointmaps (-m monst3r) get a second stage.
    """
    import json

    from depthweave.pipelines.load import load
    from depthweave.pipelines.video_folder import require_formats
    from depthweave.types import Clip

    wanted = require_formats([name.strip() for name in formats.split(",") if name.strip()])
    asked = {"seed": seed, "runs": runs, "max_memory": None if max_memory is None else parse_memory(max_memory)}
    options = {name: value for name, value in asked.items() if value is not None}
    if stage1_only:
        options["stage1_only"] = True
    depth = load(model, task="video", device=device, dtype=dtype, **options, **parse_settings(settings))
    opened = Clip.read(clip, start=start, stop=stop, step=step, calibration=calibration)
    require_output_folder(output)
    needed = depth.memory_needed(opened)
    if needed is not None:
        typer.echo(f"memory: {needed}", err=True)
    facts = depth.write(opened, output, formats=wanted, quantity=quantity, overwrite=overwrite)
    for sentence in facts["warnings"]:
        typer.echo(f"warning: {sentence}", err=True)
    typer.echo(json.dumps(facts) if as_json else describe(output, facts))


def parse_memory(text: str) -> float:
    """GB (1e9 bytes) of `8GB`, `800MB` or `8`."""
    number, factor = text.strip().upper(), 1.0
    for unit, of_gb in (("GB", 1.0), ("MB", 1e-3)):
        if number.endswith(unit):
            number, factor = number.removesuffix(unit), of_gb
    try:
        found = float(number) * factor
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no amount of memory; write it like 8GB.") from None
    if not found > 0:
        raise typer.BadParameter(f"'{text}' is no amount of memory; write it like 8GB.")
    return found


def describe(folder: Path, facts: dict[str, Any]) -> str:
    """A few lines about a result folder."""
    what = f"{facts['type'].removesuffix('_video').replace('_', ' ')} of {facts['frames']} frames"
    unit = "in metres" if facts["scale"] == "metric" else f"up to {facts['scale'][8:].replace('_', ' ')}"
    parts = len(facts["components"])
    within = "" if parts == 1 else f" for each of {parts} parts of the clip"
    stages = " + ".join(stage["model"] for stage in facts["stages"])
    seconds = sum(facts["timings_s"].values())
    share = facts["valid_share"]["result"]
    lines = [
        f"{what} {unit}{within}, {facts['width']}x{facts['height']}, {stages} on {facts['device']}, {seconds:.1f} s",
        f"  {share:.0%} of the pixels are valid; the others hold fillers",
        *(f"  {folder / name}" for name in facts["files"].values()),
    ]
    return "\n".join(lines)
