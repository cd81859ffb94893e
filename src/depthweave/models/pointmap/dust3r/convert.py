"""DUSt3R and MonST3R between their authors' checkpoints, the Hugging Face hub's folders, and ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.pointmap import official
from depthweave.models.pointmap.dust3r.config import Dust3rConfig, Head
from depthweave.models.pointmap.dust3r.network import Dust3r

CLASS = "AsymmetricCroCo3DStereo"


def from_official(state: Mapping[str, Tensor], *, model: str | None = None) -> Dust3r:
    """The network of its authors' tensors.

    Args:
        state: tensors by name.
        model: the constructor call of the training (``args.model`` of the file); without it, sizes are read from the
            tensors and the rest is as in the official 512 px models.

    Raises:
        WrongInput: another network, or tensors are missing, unexpected or of another shape.
    """
    return _network(state, official.keywords_of(model, Dust3r.family))


def stated_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `from_official` that the arguments of the training, which a file holds, state."""
    return {"model": arguments["model"]} if isinstance(arguments.get("model"), str) else {}


def to_official(network: Dust3r) -> dict[str, Tensor]:
    """The authors' state dict."""
    return official.official_state(network.state_dict(), network.config.decoder_dim)


def official_arguments(network: Dust3r) -> dict[str, Any]:
    """The arguments of the training that the authors' loader reads."""
    return {"model": official.write_call(CLASS, _keywords(network.config))}


def from_hub(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Dust3r:
    """The network of a folder of the hub.

    Args:
        state: contents of its `model.safetensors`.
        config: contents of its `config.json`, the keywords of the authors' class.

    Raises:
        WrongInput: another network, or tensors that do not fit.
    """
    return _network(state, config)


def to_hub(network: Dust3r) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration in the layout that the authors' class loads from the hub."""
    state = official.official_state(network.state_dict(), network.config.decoder_dim, twice=False)
    return state, _keywords(network.config)


def _network(state: Mapping[str, Tensor], keywords: official.Keywords | None) -> Dust3r:
    own = official.own_state(state)
    by_tensors = "dpt" if any(".dpt." in name for name in own) else "linear"
    stated = by_tensors if keywords is None else keywords.get("head_type", "linear")
    heads: dict[Any, Head] = {"linear": "linear", "dpt": "dpt"}
    if stated not in heads:
        raise WrongInput(f"head_type={stated!r} is none of DUSt3R's ({', '.join(heads)}).")
    return Dust3r.from_state(Dust3rConfig(head=heads[stated], **official.sizes_of(keywords, own)), own)


def _keywords(config: Dust3rConfig) -> dict[str, Any]:
    return official.keywords_for(config, head_type=config.head, output_mode="pts3d")
