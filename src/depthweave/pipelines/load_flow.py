"""From the name of a model for optical flow to something that can be called."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from depthweave import runtime
from depthweave.errors import WrongInput
from depthweave.models.families import find_family
from depthweave.models.pretrained import describe
from depthweave.models.registry import ModelCard
from depthweave.models.weights import find_weights
from depthweave.pipelines.flow import DenseInverseSearch, FlowMatcher, NetworkFlow, PolynomialExpansion
from depthweave.pipelines.network_stereo import default_settings

_CLASSICAL: Mapping[str, type[Any]] = {"dis": DenseInverseSearch, "farneback": PolynomialExpansion}

_OF_NETWORKS = ("search", "change_px", "max_pixels")


def build(card: ModelCard, folder: Path | None = None, *, device: str, dtype: str, **options: Any) -> FlowMatcher:
    """The matcher of a card.

    Args:
        card: of the task flow.
        folder: of the network's weights; None = where the card says.
        device: where networks run; ``dis`` and ``farneback`` always run on the CPU.
        dtype: what networks compute in.
        options: ``check``, settings of the method (``preset`` of ``dis``; ``levels``, ``window`` and ``iterations`` of
            ``farneback``; ``iterations``, ``search``, ``change_px`` and ``max_pixels`` of networks), above those of
            the card.

    Raises:
        WrongInput: an option that the model does not have, or a number type for a classical method.
        MissingWeights, WrongFile: see `load`.
    """
    check = options.pop("check", True)
    kind = _CLASSICAL.get(card.name)
    if kind is not None:
        if runtime.choose_dtype(dtype, torch.device("cpu")) != torch.float32:
            raise WrongInput(f"{card.name} computes in float32; leave dtype (--dtype) away.")
        _require_known(card, options, [each.name for each in fields(kind)])
        return FlowMatcher(kind(**options), check=check, card=card)
    folder = find_weights(card) if folder is None else folder
    network_class: Any = find_family(describe(folder).family).network_class()
    settings = {**card.settings, **options}
    _require_known(card, options, [*default_settings(network_class.rated), *_OF_NETWORKS])
    own = {name: settings.pop(name) for name in _OF_NETWORKS if name in settings}
    network = network_class.from_pretrained(folder)
    method = NetworkFlow(network, runtime.choose_device(device), dtype, options=settings, **own)
    return FlowMatcher(method, check=check, card=card)


def _require_known(card: ModelCard, options: Mapping[str, Any], own: list[str]) -> None:
    known = [*own, "check"]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise WrongInput(f"{card.name} has no option {', '.join(unknown)}; it has {', '.join(known)}.")
