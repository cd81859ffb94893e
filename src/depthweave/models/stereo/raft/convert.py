"""Official checkpoints of RAFT-Stereo to our network and back.

Files: https://github.com/princeton-vl/RAFT-Stereo (raftstereo-*.pth; iraftstereo_rvc.pth by Jiang et al., 2022).
"""

import math
from collections.abc import Mapping

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.network import RaftStereo

RADIUS = 4
"""Of every official look-up; a file's shapes tell only its product with the number of levels."""

_TELLING = (
    "cnet.conv1.weight",
    "cnet.layer2.0.conv1.weight",
    "cnet.layer3.0.conv1.weight",
    "context_zqr_convs.0.weight",
    "update_block.encoder.convc1.weight",
    "update_block.mask.2.weight",
)


def from_official(state: Mapping[str, Tensor]) -> RaftStereo:
    """The network of an official checkpoint, its configuration read from the shapes.

    Two choices leave no trace in the weights and are taken from the official models: coarse states take extra steps
    (``slow_fast``) exactly where the encoder is shared, and a context encoder without statistics normalises each image.

    Args:
        state: tensors under their official names.

    Raises:
        WrongInput: not RAFT-Stereo, or tensors that are missing, unexpected or of another shape.
    """
    return RaftStereo.from_state(official_config(state), state)


def to_official(network: RaftStereo) -> dict[str, Tensor]:
    """The tensors under their official names (without the ``module.`` that official files put before them)."""
    return dict(network.state_dict())


def official_config(state: Mapping[str, Tensor]) -> RaftConfig:
    """The configuration of an official checkpoint, see `from_official`."""
    missing = [name for name in _TELLING if name not in state or state[name].ndim != 4]
    if missing:
        raise WrongInput(f"this is no checkpoint of RAFT-Stereo: it has no convolution {missing[0]}.")
    first, second, third, context, correlation, mask = (state[name].shape for name in _TELLING)
    shared = "fnet.conv2.weight" not in state
    features = state.get("conv2.1.weight" if shared else "fnet.conv2.weight")
    if features is None:
        raise WrongInput("this is no checkpoint of RAFT-Stereo: it has neither fnet.conv2.weight nor conv2.1.weight.")
    return RaftConfig(
        downsample=round(math.log2(mask[0] / 9) / 2),
        gru_levels=sum(name.startswith("context_zqr_convs.") and name.endswith(".weight") for name in state),
        slow_fast=shared,
        shared_backbone=shared,
        norm="batch" if "cnet.norm1.running_mean" in state else "instance",
        levels=correlation[1] // (2 * RADIUS + 1),
        radius=RADIUS,
        hidden=context[1],
        widths=(first[0], second[0], third[0]),
        features=features.shape[0],
    )
