"""DEFOM-Stereo between its authors' checkpoints and ours; the names are the same."""

from collections.abc import Mapping

from torch import Tensor

from depthweave.models.layers.dinov2 import encoder_of
from depthweave.models.stereo.defom.config import DefomConfig
from depthweave.models.stereo.defom.network import DefomStereo


def from_official(state: Mapping[str, Tensor]) -> DefomStereo:
    """The network of a flat state dict of the authors' code, which stores no configuration: its constants are theirs.

    Raises:
        WrongInput: tensors are missing, unexpected or of another shape.
    """
    encoder = encoder_of(state, "defomencoder.depth_anything.pretrained.")
    return DefomStereo.from_state(DefomConfig(encoder=encoder), state)


def to_official(network: DefomStereo) -> dict[str, Tensor]:
    """The authors' state dict."""
    return dict(network.state_dict())
