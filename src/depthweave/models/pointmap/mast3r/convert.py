"""MASt3R between its authors' checkpoints, the Hugging Face hub's folders, and ours."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.pointmap import official
from depthweave.models.pointmap.heads import PATCH_PX
from depthweave.models.pointmap.mast3r.config import Mast3rConfig
from depthweave.models.pointmap.mast3r.network import Mast3r

CLASS = "AsymmetricMASt3R"
HEAD = "catmlp+dpt"
_LAST = "downstream_head1.head_local_features.fc2.bias"


def from_official(state: Mapping[str, Tensor], *, model: str | None = None) -> Mast3r:
    """The network of its authors' tensors.

    Args:
        state: tensors by name.
        model: the constructor call of the training (``args.model`` of the file); without it, sizes are read from the
            tensors and the rest is as in the published checkpoint.

    Raises:
        WrongInput: another network, or tensors are missing, unexpected or of another shape.
    """
    return _network(state, official.keywords_of(model, Mast3r.family))


def stated_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `from_official` that the arguments of the training, which a file holds, state."""
    return {"model": arguments["model"]} if isinstance(arguments.get("model"), str) else {}


def to_official(network: Mast3r) -> dict[str, Tensor]:
    """The authors' state dict."""
    return official.official_state(network.state_dict(), network.config.decoder_dim)


def official_arguments(network: Mast3r) -> dict[str, Any]:
    """The arguments of the training that the authors' loader reads."""
    return {"model": official.write_call(CLASS, _keywords(network.config))}


def from_hub(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mast3r:
    """The network of a folder of the hub.

    Args:
        state: contents of its `model.safetensors`.
        config: contents of its `config.json`, the keywords of the authors' class.

    Raises:
        WrongInput: another network, or tensors that do not fit.
    """
    return _network(state, config)


def to_hub(network: Mast3r) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration in the layout that the authors' class loads from the hub."""
    state = official.official_state(network.state_dict(), network.config.decoder_dim, twice=False)
    return state, _keywords(network.config)


def _network(state: Mapping[str, Tensor], keywords: official.Keywords | None) -> Mast3r:
    own = official.own_state(state)
    if _LAST not in own:
        raise WrongInput(f"{_LAST} is missing, so it has no descriptors.")
    return Mast3r.from_state(
        Mast3rConfig(**official.sizes_of(keywords, own), **_descriptors(keywords, own[_LAST].shape[0])), own
    )


def _descriptors(keywords: official.Keywords | None, outputs: int) -> dict[str, Any]:
    if keywords is None:
        return {"descriptor_dim": outputs // PATCH_PX**2 - 1}
    head, output = keywords.get("head_type"), str(keywords.get("output_mode"))
    numbers = re.fullmatch(r"pts3d\+desc(\d+)", output)
    if head != HEAD or numbers is None:
        raise WrongInput(f"head_type={head!r} with output_mode={output!r} is not MASt3R's {HEAD} with descriptors.")
    both = keywords.get("two_confs", False)
    mode = keywords.get("desc_conf_mode", keywords.get("conf_mode", ("exp", 1, math.inf)))
    return {
        "descriptor_dim": int(numbers[1]),
        "two_confidences": bool(both),
        "least_descriptor_confidence": official.least(mode, "desc_conf_mode"),
    }


def _keywords(config: Mast3rConfig) -> dict[str, Any]:
    return {
        **official.keywords_for(config, head_type=HEAD, output_mode=f"pts3d+desc{config.descriptor_dim}"),
        "two_confs": config.two_confidences,
        "desc_conf_mode": ("exp", config.least_descriptor_confidence, math.inf),
    }
