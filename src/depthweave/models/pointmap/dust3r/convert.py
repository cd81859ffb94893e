"""DUSt3R and MonST3R between their authors' checkpoints, the Hugging Face hub's folders, and ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.pointmap import official
from depthweave.models.pointmap.dust3r.config import Dust3rConfig, Head
from depthweave.models.pointmap.dust3r.network import Dust3r

CLASS = "AsymmetricCroCo3DStereo"


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


LAYOUT = official.OfficialLayout(Dust3r.family, CLASS, _network, _keywords)

from_official = LAYOUT.from_official
stated_options = LAYOUT.stated_options
to_official = LAYOUT.to_official
official_arguments = LAYOUT.official_arguments
from_hub = LAYOUT.from_hub
to_hub = LAYOUT.to_hub
