"""Official checkpoints of IGEV-Stereo to our network and back.

Files: https://github.com/gangweiX/IGEV (sceneflow.pth and its fine-tunings).
"""

from collections.abc import Mapping

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.stereo.igev.config import IgevConfig
from depthweave.models.stereo.igev.network import IgevStereo

RADIUS = 4
"""Of every official look-up; a file's shapes tell only its product with the number of levels."""

_TRUNK = (
    "feature.conv_stem.weight",
    "feature.block0.0.0.conv_pw.weight",
    "feature.block1.0.0.conv_pwl.weight",
    "feature.block2.0.0.conv_pwl.weight",
    "feature.block3.0.0.conv_pwl.weight",
    "feature.block3.1.0.conv_pwl.weight",
    "feature.block4.0.0.conv_pwl.weight",
)
_CONTEXT = ("cnet.conv1.weight", "cnet.layer2.0.conv1.weight", "cnet.layer3.0.conv1.weight")
_STEM = ("stem_2.0.conv.weight", "stem_4.0.conv.weight")
_HIDDEN = "context_zqr_convs.0.weight"
_SAMPLES = "update_block.encoder.convc1.weight"
_GROUPS = "corr_stem.conv.weight"


def from_official(state: Mapping[str, Tensor], *, max_disparity: int = 192) -> IgevStereo:
    """The network of an official checkpoint, its configuration read from the shapes.

    Args:
        state: tensors under their official names.
        max_disparity: reach of the volume in px, which leaves no trace in the weights: 192 in all official models.

    Raises:
        WrongInput: not IGEV-Stereo, or tensors that are missing, unexpected or of another shape.
    """
    return IgevStereo.from_state(official_config(state, max_disparity=max_disparity), state)


def to_official(network: IgevStereo) -> dict[str, Tensor]:
    """The tensors under their official names (without the ``module.`` that official files put before them)."""
    return dict(network.state_dict())


def official_config(state: Mapping[str, Tensor], *, max_disparity: int = 192) -> IgevConfig:
    """The configuration of an official checkpoint, see `from_official`."""
    for name in (*_TRUNK, *_CONTEXT, *_STEM, _HIDDEN, _SAMPLES, _GROUPS):
        if name not in state or state[name].ndim < 4:
            raise WrongInput(f"this is no checkpoint of IGEV-Stereo: it has no convolution {name}.")
    stem_conv, *stages = (state[name].shape[0] for name in _TRUNK)
    first, second, third = (state[name].shape[0] for name in _CONTEXT)
    half, quarter = (state[name].shape[0] for name in _STEM)
    groups = state[_GROUPS].shape[0]
    return IgevConfig(
        max_disparity=max_disparity,
        groups=groups,
        levels=state[_SAMPLES].shape[1] // ((2 * RADIUS + 1) * (groups + 1)),
        radius=RADIUS,
        hidden=state[_HIDDEN].shape[1],
        widths=(first, second, third),
        trunk=(stem_conv, *stages),  # type: ignore[arg-type]
        stem=(half, quarter),
    )
