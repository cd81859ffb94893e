"""From a model's name to something that can be called."""

from dataclasses import fields
from typing import Any

from depthweave.classical import (
    BlockConfig,
    BlockMatching,
    OpenCVBlockConfig,
    OpenCVBlockMatching,
    SemiGlobalConfig,
    SemiGlobalMatching,
)
from depthweave.errors import WrongInput
from depthweave.models.registry import DEFAULT_STEREO, find_model
from depthweave.pipelines.stereo import StereoMatcher

_CLASSICAL: dict[str, tuple[type[Any], type[Any]]] = {
    "sgm": (SemiGlobalMatching, SemiGlobalConfig),
    "bm": (OpenCVBlockMatching, OpenCVBlockConfig),
    "block": (BlockMatching, BlockConfig),
}


def load(name: str | None = None, /, *, device: str = "auto", **options: Any) -> StereoMatcher:
    """The model of that name, ready to be called.

    Args:
        name: as `depthweave models` lists it; None gives the default for stereo pairs.
        device: ``auto`` (cuda, mps, cpu in that order) or a torch device. ``sgm`` and ``bm`` always run on the CPU.
        options: fields of the model's configuration, e.g. ``load("block", cost="zncc")``.

    Raises:
        UnknownModel: no such model.
        WrongInput: an option that the model does not have.
    """
    card = find_model(name or DEFAULT_STEREO)
    matcher, config = _CLASSICAL[card.name]
    known = [field.name for field in fields(config)]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise WrongInput(f"{card.name} has no option {', '.join(unknown)}; it has {', '.join(known)}.")
    return StereoMatcher(matcher(config(**options)), card=card, device=device if card.name == "block" else "cpu")
