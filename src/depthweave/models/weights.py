"""Where weights lie: converted on this machine, in the installed package, or in the Hugging Face hub's cache."""

import os
from importlib import resources
from pathlib import Path

from depthweave.errors import MissingWeights
from depthweave.models.registry import ModelCard, find_model

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model_index.json"
"""Of a pipeline of diffusers."""

_HUB_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def weights_folder() -> Path:
    """Where `depthweave convert` keeps weights, one folder per model; `DEPTHWEAVE_WEIGHTS` says another place."""
    chosen = os.environ.get("DEPTHWEAVE_WEIGHTS")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "depthweave" / "weights"


def converted_weights(name: str) -> Path | None:
    """Folder of the converted weights of that name, None where there are none."""
    # A name is one folder: "../x" or "a/b" would lead elsewhere.
    folder = weights_folder() / name
    return folder if Path(name).name == name and (folder / CONFIG_NAME).is_file() else None


def bundled_folder() -> Path:
    """Where the weights that come with depthweave lie, one folder per model."""
    return Path(str(resources.files("depthweave"))) / "weights"


def bundled_weights(card: ModelCard) -> Path | None:
    """Folder of the weights that come with depthweave, None where none do or this installation lacks them."""
    folder = bundled_folder() / card.name
    return folder if card.source == "bundled" and (folder / CONFIG_NAME).is_file() else None


def has_weights(card: ModelCard) -> bool:
    """Whether a model can be loaded without a download; looks for files only."""
    if card.source == "built-in" or converted_weights(card.name) or bundled_weights(card):
        return True
    if card.source == "parts":
        return all(has_weights(find_model(part)) for part in card.parts)
    if "/" not in card.source:
        return False
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(card.source, name, revision=card.revision) for name in (CONFIG_NAME, INDEX_NAME))
    folders = [Path(path).parent for path in found if isinstance(path, str)]
    return any(next(folder.rglob(pattern), None) for folder in folders for pattern in _HUB_WEIGHTS)


def find_weights(card: ModelCard) -> Path:
    """Folder of a model's weights: converted ones first, else those that come with depthweave or from the hub.

    What the hub has is downloaded on first use.

    Raises:
        MissingWeights: they are not here and cannot be fetched; the sentence has the command that brings them.
    """
    folder = converted_weights(card.name) or bundled_weights(card)
    if folder is not None:
        return folder
    if card.source == "bundled":
        raise MissingWeights(
            f"{bundled_folder() / card.name} is missing, so this installation of depthweave is not complete; install "
            "it again, or choose another model (-m sgm needs no weights)."
        )
    if "/" in card.source:
        return download_weights(card.source, card.revision)
    if card.checkpoint is None:
        raise MissingWeights(f"{card.name} has no weights on this machine, and there is nowhere to get them from.")
    raise MissingWeights(
        f"{card.name} has no weights on this machine; download {card.checkpoint} from {card.page} and run "
        f"`depthweave convert {card.family} {card.checkpoint}`."
    )


def download_weights(repository: str, revision: str | None = None, files: tuple[str, ...] | None = None) -> Path:
    """Folder of a repository of the Hugging Face hub in its cache; what is missing there is downloaded.

    Args:
        repository: ``owner/name``.
        revision: commit, tag or branch; None takes the newest.
        files: patterns of the names to fetch; None takes configuration and safetensors.

    Raises:
        MissingWeights: no such repository or no connection.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = files or ("*.json", "*.safetensors")
    at = "" if revision is None else f" at revision {revision}"
    command = f"`hf download {repository}{'' if revision is None else f' --revision {revision}'}`"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(wanted)))
    except GatedRepoError as error:
        raise MissingWeights(
            f"{repository} asks for an agreement first; accept it at https://huggingface.co/{repository}, log in with "
            f"`hf auth login` and run {command}."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise MissingWeights(
            f"the Hugging Face hub has no {repository}{at}; check the name at https://huggingface.co/models."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise MissingWeights(
            f"{repository}{at} is not on this machine and the Hugging Face hub cannot be reached; run {command} where "
            "it can."
        ) from error
