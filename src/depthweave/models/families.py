"""The families of networks whose code is ours: where each one lives."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from depthweave.errors import UnknownModel, WrongInput
from depthweave.models.registry import Task

if TYPE_CHECKING:
    from types import ModuleType

    from depthweave.models.pretrained import PretrainedNetwork


@dataclass(frozen=True)
class Family:
    """A kind of network; its code is imported when it is asked for.

    Attributes:
        task: stereo, mono, pointmap, video or flow.
        package: has the modules ``network`` (the class) and, where others have published weights, ``convert``:
            ``from_official(state)`` makes a network of the authors' tensors, ``to_official(network)`` is the way back.
            Where the tensors do not tell everything, ``required_options(file_name)`` says what else ``from_official``
            needs; ``stated_options(arguments)`` takes it from the arguments of the training, where a file holds them,
            and ``official_arguments(network)`` is the way back. Where the Hugging Face hub has a layout of its own
            there are also ``from_hub(state, config)`` and ``to_hub(network)``, which gives both.
        network: name of the class.
        official: whether others have published weights, so that there is a ``convert``.
    """

    task: Task
    package: str
    network: str
    official: bool = True

    def network_class(self) -> "type[PretrainedNetwork]":
        """The class of its networks."""
        found: Any = getattr(import_module(f"{self.package}.network"), self.network)
        return found

    def converter(self) -> "ModuleType":
        """The module with its converters.

        Raises:
            WrongInput: the family is depthweave's own, and has no other layout.
        """
        if not self.official:
            raise WrongInput(
                f"{self.network} is depthweave's own network: there is nothing to convert; load its folder as it is."
            )
        return import_module(f"{self.package}.convert")


FAMILIES: Mapping[str, Family] = {
    "defom": Family("stereo", "depthweave.models.stereo.defom", "DefomStereo"),
    "raft": Family("stereo", "depthweave.models.stereo.raft", "RaftStereo"),
    "igev": Family("stereo", "depthweave.models.stereo.igev", "IgevStereo"),
    "depth-anything": Family("mono", "depthweave.models.mono.depth_anything", "DepthAnything"),
    "mono-unet": Family("mono", "depthweave.models.mono.encoder_decoder", "MonoUnet", official=False),
    "dust3r": Family("pointmap", "depthweave.models.pointmap.dust3r", "Dust3r"),
    "mast3r": Family("pointmap", "depthweave.models.pointmap.mast3r", "Mast3r"),
    "psmnet": Family("stereo", "depthweave.models.stereo.psmnet", "PsmNet"),
    "anynet": Family("stereo", "depthweave.models.stereo.anynet", "AnyNet"),
    "compact": Family("stereo", "depthweave.models.stereo.compact", "CompactStereo", official=False),
    "compact-flow": Family("flow", "depthweave.models.flow.compact", "CompactFlow", official=False),
    "dispnet": Family("stereo", "depthweave.models.stereo.dispnet", "Dispnet", official=False),
}


def find_family(name: str) -> Family:
    """The family of that name.

    Raises:
        UnknownModel: no such family; the sentence lists them.
    """
    if name not in FAMILIES:
        close = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(map(_listed, FAMILIES))}."
        raise UnknownModel(f"there is no family '{name}'; {hint}")
    return FAMILIES[name]


def _listed(name: str) -> str:
    return name if FAMILIES[name].official else f"{name} (depthweave's own, nothing to convert)"
