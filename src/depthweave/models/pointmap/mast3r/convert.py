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


LAYOUT = official.OfficialLayout(Mast3r.family, CLASS, _network, _keywords)

from_official = LAYOUT.from_official
stated_options = LAYOUT.stated_options
to_official = LAYOUT.to_official
official_arguments = LAYOUT.official_arguments
from_hub = LAYOUT.from_hub
to_hub = LAYOUT.to_hub
