"""`depthweave train`: a network from a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from depthweave.cli.options import Device, Json

_TRY = {"stereo": "stereo LEFT RIGHT", "mono": "mono IMAGE", "flow": "flow A B"}
"""What takes a trained network, by its task."""


def command(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="TOML file, or the name of one that depthweave brings: self-supervised-stereo."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; runs/ and the recipe's name if not given.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as optimizer.lr=2e-4; repeatable."),
    ] = None,
    device: Device = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files, too.")] = False,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print the whole recipe with its explanations, and train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network. Started again with the same folder, it goes on where it was stopped.

    Your own pairs, without truth: depthweave train self-supervised-stereo --set data.root=pairs/

    On several GPUs or cores: torchrun --nproc_per_node 4 -m depthweave train RECIPE -o runs/name
    """
    import json
    import os

    from depthweave.models.families import find_family
    from depthweave.training.loop import train
    from depthweave.training.recipe import TrainingRecipe
    from depthweave.training.start import find_recipe

    chosen = (TrainingRecipe() if recipe is None else TrainingRecipe.read(find_recipe(recipe))).changed(changes or [])
    if print_recipe:
        typer.echo(chosen.to_toml(), nl=False)
        return
    if recipe is None:
        raise typer.BadParameter("name a recipe; --print-recipe > mine.toml writes one to start from.")
    folder = output or Path("runs") / recipe.stem
    network = train(chosen, folder, device=device, tensorboard=tensorboard)
    if os.environ.get("RANK", "0") != "0":
        return  # one of the launched processes speaks
    if as_json:
        typer.echo(json.dumps({"run": str(folder), "network": str(network), "steps": chosen.run.steps}))
    else:
        command_line = _TRY[find_family(chosen.model.family).task]
        typer.echo(f"trained {chosen.run.steps} steps; try it: depthweave {command_line} -m {network}")
