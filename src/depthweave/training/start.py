"""What a run starts from: its sources, and its network with first weights."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from depthweave import runtime
from depthweave.errors import WrongFile, WrongInput
from depthweave.models.families import find_family
from depthweave.models.pretrained import PretrainedNetwork, read_checkpoint
from depthweave.models.registry import find_model
from depthweave.models.weights import WEIGHTS_NAME, find_weights
from depthweave.training.clip_sources import CLIPS, render_clips
from depthweave.training.distill import Distillation
from depthweave.training.mono import make_mono_trainee
from depthweave.training.objective import Trainee
from depthweave.training.prerendered import prerender
from depthweave.training.recipe import ModelRecipe, SourceRecipe, TrainingRecipe
from depthweave.training.self_supervised import SelfSupervisedTrainee
from depthweave.training.sources import Source, open_source
from depthweave.training.trainees import make_trainee
from depthweave.worlds import Recipe, Worlds

_RECIPES = Path(__file__).parents[1] / "recipes"
_NOT_FOR_TRAINING = ("worlds", "worlds-driving", "worlds-traffic")


def starting_network(recipe: ModelRecipe, *, fresh: bool = True) -> PretrainedNetwork:
    """The network that a recipe describes, with the weights that it starts from.

    Tensors of ``recipe.start`` are taken where name and shape are those of the network, so that a network that has
    grown keeps what it has learnt. Parameters of ``recipe.frozen`` need no gradient.

    Args:
        recipe: of the network.
        fresh: False leaves ``start`` alone, for a run that goes on from a checkpoint.

    Raises:
        WrongInput: no tensor of ``start`` fits, or no parameter has a frozen name.
        MissingWeights: the model that ``start`` names has no weights here.
        WrongFile: the folder that ``start`` names holds none.
    """
    network = find_family(recipe.family).network_class()(recipe.network_config())
    if fresh and recipe.start:
        folder = Path(recipe.start)
        source = folder if folder.is_dir() else find_weights(find_model(recipe.start))
        state = read_checkpoint(source / WEIGHTS_NAME)
        own = network.state_dict()
        fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
        if not fitting:
            raise WrongInput(
                f"no tensor of model.start = '{recipe.start}' fits {type(network).__name__}; leave it out."
            )
        network.load_state_dict({**own, **fitting})
    for prefix in recipe.frozen:
        found = [parameter for name, parameter in network.named_parameters() if name.startswith(prefix)]
        if not found:
            raise WrongInput(f"model.frozen names '{prefix}', but no parameter's name begins so.")
        for parameter in found:
            parameter.requires_grad_(False)
    return network


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe.

    Args:
        name: a file, or the name of a recipe that depthweave brings: "depthweave-s" is recipes/depthweave-s.toml.

    Raises:
        WrongFile: neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {each.stem: each for each in _RECIPES.glob("*.toml") if not each.stem.startswith(_NOT_FOR_TRAINING)}
    if str(name) in shipped:
        return shipped[str(name)]
    close = difflib.get_close_matches(path.stem, shipped, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"depthweave brings {', '.join(sorted(shipped))}."
    raise WrongFile(f"there is no recipe {name}; {hint} `depthweave train --print-recipe > mine.toml` writes one.")


def starting_trainee(recipe: TrainingRecipe, network: PretrainedNetwork) -> Trainee:
    """The network with the loss that the recipe describes, with truth or without.

    Args:
        recipe: of the run.
        network: with first weights or those of a checkpoint.

    Raises:
        WrongInput: nobody has said how that family is trained, or terms that the recipe cannot have.
        DepthweaveError: of the weights to start from.
    """
    if recipe.mono.is_on:
        return make_mono_trainee(network, recipe.mono)
    distillation = Distillation(recipe.distill, steps=recipe.run.steps, seed=recipe.run.seed)
    trainee = make_trainee(recipe.model.family, network, recipe.loss, distillation)
    if not recipe.self_supervision.is_on:
        return trainee
    teacher = starting_network(recipe.model) if recipe.model.start else None
    return SelfSupervisedTrainee(trainee, recipe.self_supervision, teacher)


def open_sources(recipes: Sequence[SourceRecipe], *, show_progress: bool | None = None) -> list[Source]:
    """The sources of a mixture; prerendered folders with a count are filled up to it first.

    Args:
        recipes: of the sources.
        show_progress: a bar on stderr while rendering; by default only in a terminal.

    Raises:
        DepthweaveError: a folder does not hold what it should, or cannot be written.
    """
    for each in recipes:
        if each.kind == "prerendered" and each.count is not None:
            worlds = Worlds(_worlds_recipe(each), seed=each.seed, height=each.size[0], width=each.size[1])
            workers = runtime.available_cores()
            prerender(worlds, each.path, count=each.count, workers=workers, show_progress=show_progress)
        if each.kind == CLIPS and "recipe" in each.options and each.count is not None:
            recipe = str(each.options["recipe"])
            render_clips(recipe, each.path, each.options, count=each.count, seed=each.seed, size=each.size)
    return [
        open_source(
            each.kind,
            each.path,
            seed=each.seed,
            size=each.size,
            count=each.count,
            sparse=each.sparse,
            options=dict(each.options),
            teacher=each.teacher or None,
        )
        for each in recipes
    ]


def _worlds_recipe(source: SourceRecipe) -> Recipe:
    path = source.options.get("recipe")
    return Recipe() if path is None else Recipe.read(path)
