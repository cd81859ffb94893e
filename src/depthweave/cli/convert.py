"""`depthweave convert`: official checkpoints and the hub's folders to ours, and back."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import Json, Settings, parse_settings

if TYPE_CHECKING:
    from depthweave.models.pretrained import PretrainedNetwork
    from depthweave.models.registry import ModelCard


class Layout(StrEnum):
    """Where a conversion leads."""

    depthweave = "depthweave"
    official = "official"
    hub = "hub"


def command(
    family: Annotated[str, typer.Argument(help="defom, igev, raft, psmnet, anynet, depth-anything, dust3r or mast3r.")],
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="The authors' file, or a folder of the Hugging Face hub; with --to a folder of depthweave or its name."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder, or file with --to official; default: where -m looks.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Keep it under this name instead of the model's.")] = None,
    to: Annotated[Layout, typer.Option("--to", help="Layout to write.")] = Layout.depthweave,
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands there.")] = False,
    as_json: Json = False,
) -> None:
    """Convert weights, every tensor accounted for, e.g. depthweave convert defom defomstereo_vits_rvc.pth."""
    import json

    if to == Layout.depthweave:
        facts = import_weights(family, checkpoint, output, name, parse_settings(settings), overwrite)
    elif settings:
        raise typer.BadParameter(f"--to {to} takes no --set.")
    elif name is not None or output is None:
        raise typer.BadParameter(f"--to {to} needs -o (where to write) and no --name.")
    else:
        facts = export_weights(family, checkpoint, output, to, overwrite)
    typer.echo(json.dumps(facts) if as_json else describe(facts))


def import_weights(
    family: str, source: Path, output: Path | None, name: str | None, options: dict[str, Any], overwrite: bool
) -> dict[str, Any]:
    """An official checkpoint or a folder of the hub to a folder of ours."""
    from depthweave.errors import WrongInput
    from depthweave.models.conversion import origin_of, read_hub, read_official, recognise
    from depthweave.models.weights import weights_folder

    if name is not None and (Path(name).name != name or name.startswith(".")):
        raise typer.BadParameter(f"'{name}' is no name but a path; use -o for a folder elsewhere.")
    if source.is_dir() and options:
        raise typer.BadParameter("a folder tells everything that --set could say.")
    network = read_hub(family, source) if source.is_dir() else read_official(family, source, **options)
    card = recognise(network, source, name)
    called = name or (None if card is None else card.name)
    if called is None and output is None:
        raise WrongInput(
            f"{source} is no model that depthweave knows by name; say what to call it with --name, or use -o."
        )
    target = output or weights_folder() / str(called)
    _require_free(target, overwrite)
    network.save_pretrained(target, origin=origin_of(source, card))
    return _facts(network, card, target, str(target if output is not None else called))


def export_weights(family: str, source: Path, output: Path, to: Layout, overwrite: bool) -> dict[str, Any]:
    """A folder of ours, or the name of one, to the layout of others."""
    from depthweave.models import pretrained
    from depthweave.models.conversion import read_saved, write_hub, write_official
    from depthweave.models.registry import find_model
    from depthweave.models.weights import converted_weights

    folder = source if source.is_dir() else converted_weights(str(source)) or source
    _require_free(output, overwrite)
    network = read_saved(family, folder)
    known = pretrained.describe(folder).origin.get("model")
    written = (write_official if to == Layout.official else write_hub)(network, output)
    return _facts(network, None if known is None else find_model(known), written, None)


def describe(facts: dict[str, Any]) -> str:
    """What a person reads after a conversion."""
    config = ", ".join(f"{name}={value}" for name, value in facts["config"].items())
    lines = [
        f"family          {facts['family']}",
        f"model           {facts['model'] or 'none that depthweave knows by name'}",
        f"configuration   {config}",
        f"parameters      {facts['parameters']:,}",
        f"licence         {facts['licence'] or 'not stated'}",
        f"written to      {facts['output']}",
    ]
    return "\n".join(lines if facts["use"] is None else [*lines, f"use it with     {facts['use']}"])


def _facts(network: "PretrainedNetwork", card: "ModelCard | None", output: Path, called: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    from depthweave.models.conversion import count_parameters
    from depthweave.models.families import find_family

    commands = {"stereo": "stereo LEFT RIGHT", "mono": "mono IMAGE", "pointmap": "reconstruct FRAMES"}
    words = commands.get(find_family(network.family).task)
    return {
        "family": network.family,
        "model": None if card is None else card.name,
        "config": asdict(network.config),
        "parameters": count_parameters(network),
        "licence": None if card is None else card.licence,
        "commercial_use": None if card is None else card.commercial_use,
        "output": str(output),
        "use": None if called is None or words is None else f"depthweave {words} -m {called}",
    }


def _require_free(target: Path, overwrite: bool) -> None:
    from depthweave.errors import NotWritable

    taken = target.is_file() or (target.is_dir() and any(target.iterdir()))
    if taken and not overwrite:
        raise NotWritable(f"{target} exists already; choose another place with -o, or replace it with --overwrite.")
