"""Weights between layouts: official checkpoints, the Hugging Face hub's, and folders of `PretrainedNetwork`."""

import argparse
import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from depthweave import io
from depthweave.errors import DepthweaveError, WrongFile, WrongInput
from depthweave.models.families import FAMILIES, find_family
from depthweave.models.pretrained import PretrainedNetwork, open_checkpoint, read_checkpoint
from depthweave.models.registry import ModelCard, list_models
from depthweave.models.weights import CONFIG_NAME, WEIGHTS_NAME


def read_official(family: str, checkpoint: io.files.AnyPath, **options: Any) -> PretrainedNetwork:
    """The network of its authors' checkpoint.

    Args:
        family: see `depthweave.models.families.FAMILIES`.
        checkpoint: a file, see `read_checkpoint`.
        options: what the family's ``from_official`` takes beside the tensors, where they do not tell everything; they
            go before what the file says of its training.

    Raises:
        UnknownModel: no such family.
        WrongFile: no readable checkpoint, or not of this family; the sentence proposes the one that it is of.
        WrongInput: an option that the family does not have, or one that the file cannot do without.
    """
    converter = find_family(family).converter()
    _require_options(family, converter, Path(checkpoint), options)
    opened = open_checkpoint(checkpoint)
    state = opened.state
    stated = converter.stated_options(opened.arguments) if hasattr(converter, "stated_options") else {}
    try:
        found: PretrainedNetwork = converter.from_official(state, **{**stated, **options})
    except WrongInput as error:
        others = [name for name in FAMILIES if name != family and _fits(name, state)]
        hint = f"; it is one of the family {others[0]}, so use that" if others else ""
        raise WrongFile(
            f"{checkpoint} is no checkpoint of the family {family} ({str(error).rstrip('.')}){hint}."
        ) from error
    return found


def read_hub(family: str, folder: io.files.AnyPath) -> PretrainedNetwork:
    """The network of a folder in the hub's layout, as `transformers` saves it.

    Raises:
        UnknownModel: no such family.
        WrongFile: not such a folder, or not of this family.
        WrongInput: the hub has no layout for this family.
    """
    converter = _hub_converter(family)
    description, weights = Path(folder) / CONFIG_NAME, Path(folder) / WEIGHTS_NAME
    io.require_file(weights)
    config = io.read_json(description, remedy="get it again")
    if isinstance(config, dict) and "family" in config:
        raise WrongFile(f"{folder} is a folder of depthweave already; load it, or choose another layout with --to")
    try:
        found: PretrainedNetwork = converter.from_hub(read_checkpoint(weights), config)
    except WrongInput as error:
        raise WrongFile(f"{folder} is no network of the family {family} ({str(error).rstrip('.')}).") from error
    return found


def read_saved(family: str, folder: io.files.AnyPath) -> PretrainedNetwork:
    """The network of a folder that `save_pretrained` wrote.

    Raises:
        UnknownModel, WrongFile: no such family; not such a folder, or one of another family.
    """
    kind = find_family(family).network_class()
    return kind.from_pretrained(io.require_folder(folder))


def write_official(network: PretrainedNetwork, file: io.files.AnyPath) -> Path:
    """Write the network as its authors do: a state dict for `torch.load`, with the arguments that their loader needs.

    Raises:
        NotWritable: the file cannot be written.
    """
    converter = find_family(network.family).converter()
    # Clones, because torch writes the whole storage of which a tensor may be a part.
    content: dict[str, Any] = {name: tensor.clone() for name, tensor in converter.to_official(network).items()}
    if hasattr(converter, "official_arguments"):
        content = {"args": argparse.Namespace(**converter.official_arguments(network)), "model": content}
    with io.atomic_path(file) as temporary:
        torch.save(content, temporary)
    return Path(file)


def write_hub(network: PretrainedNetwork, folder: io.files.AnyPath) -> Path:
    """Write the network in the layout of the Hugging Face hub, which `transformers` loads.

    Raises:
        WrongInput: the hub has no layout for this family.
        NotWritable: the folder cannot be written.
    """
    state, config = _hub_converter(network.family).to_hub(network)
    target = Path(folder)
    with io.atomic_path(target / WEIGHTS_NAME) as temporary:
        save_file({name: tensor.clone() for name, tensor in state.items()}, temporary, metadata={"format": "pt"})
    with io.atomic_path(target / CONFIG_NAME) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return target


def recognise(network: PretrainedNetwork, source: io.files.AnyPath, name: str | None = None) -> ModelCard | None:
    """The registered model that converted weights are of: same family, as many parameters.

    Args:
        network: what was converted.
        source: where it came from; official file names tell models of one architecture apart.
        name: under which it shall be kept.

    Returns:
        None where it is no registered model, or one of several and nothing tells which.

    Raises:
        WrongInput: the name is that of another registered model.
    """
    parameters = count_parameters(network)
    same = [card for card in list_models() if (card.family, card.parameters) == (network.family, parameters)]
    named = [card for card in list_models() if card.name == name]
    if named:
        if named[0] not in same:
            kind = " or ".join(card.name for card in same) or "of another size"
            raise WrongInput(f"{source} is not {name}, it is {kind}; choose another --name.")
        return named[0]
    if len(same) > 1:
        same = [card for card in same if Path(source).name in _names_of(card)]
    return same[0] if len(same) == 1 else None


def _names_of(card: ModelCard) -> tuple[str | None, ...]:
    """Names of files and folders that hold the weights of a model."""
    _, slash, repository = card.source.rpartition("/")
    return (card.checkpoint, *card.variants, repository if slash else None)


def origin_of(source: io.files.AnyPath, card: ModelCard | None) -> dict[str, str]:
    """What `save_pretrained` shall say about where converted weights come from.

    Args:
        source: file or folder that was converted.
        card: the model that it was recognised as.
    """
    path = Path(source) / WEIGHTS_NAME if Path(source).is_dir() else Path(source)
    with path.open("rb") as stream:
        origin = {"file": Path(source).name, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    return origin if card is None else {"model": card.name, **origin}


def count_parameters(network: PretrainedNetwork) -> int:
    """Number of its parameters; one under two names counts once."""
    return sum(parameter.numel() for parameter in network.parameters())


def _require_options(family: str, converter: Any, checkpoint: Path, options: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(converter.from_official).parameters if name != "state"]
    unknown = [name for name in options if name not in known]
    if unknown:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise WrongInput(f"the family {family} has no option {', '.join(unknown)}; {has}.")
    required = converter.required_options(checkpoint.name) if hasattr(converter, "required_options") else {}
    for name, values in required.items():
        if name not in options:
            raise WrongInput(f"{checkpoint} does not tell its {name}; say it with --set {name}=VALUE ({values}).")


def _hub_converter(family: str) -> Any:
    converter = find_family(family).converter()
    if not hasattr(converter, "from_hub"):
        raise WrongInput(f"the Hugging Face hub has no layout for the family {family}; use its official checkpoint.")
    return converter


def _fits(family: str, state: Mapping[str, torch.Tensor]) -> bool:
    try:
        FAMILIES[family].converter().from_official(state)
    except (DepthweaveError, ImportError):
        return False
    return True
