"""`depthweave export`: a network as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from depthweave.cli.options import Json, parse_size


def command(
    model: Annotated[str, typer.Argument(help="A network that `depthweave models` lists, or a converted folder.")],
    output: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="Replaced if it stands there.")],
    size: Annotated[str, typer.Option("--size", help="Of the pictures, WIDTHxHEIGHT; multiples of 32 (mono: 14).")],
    iterations: Annotated[int | None, typer.Option("--iterations", help="Of stereo; default: the model's.")] = None,
    scale_iterations: Annotated[
        int | None, typer.Option("--scale-iterations", help="How many of them scale (DEFOM-Stereo).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a network for one size, e.g. depthweave export depthweave-s s.onnx --size 640x480."""
    import json

    height, width = parse_size(size)

    from depthweave.export.onnx import export_model
    from depthweave.pipelines.load import load

    loaded = load(model, device="cpu", dtype="auto")
    settings = {"iterations": iterations, "scale_iterations": scale_iterations}
    exported = export_model(loaded, output, height=height, width=width, **settings)
    facts = {**exported.facts, "largest_difference": exported.difference, "output": str(exported.file)}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    unit = facts.pop("unit")
    facts["largest_difference"] = f"{exported.difference:.2g} from torch, on random pictures"
    for name, value in {**facts, "unit": unit}.items():
        typer.echo(f"{name:<20}{value}")
