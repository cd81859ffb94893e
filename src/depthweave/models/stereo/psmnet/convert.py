"""Official checkpoints of PSMNet to our network and back.

Files: https://github.com/JiaRenChang/PSMNet (Scene Flow, KITTI 2012 and KITTI 2015); a `.tar` of theirs is what
`torch.save` wrote, and is not unpacked.
"""

from collections.abc import Mapping

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.layers.batch_norm import with_counters
from depthweave.models.stereo.psmnet.config import PsmNetConfig
from depthweave.models.stereo.psmnet.network import PsmNet

_FEATURES = "feature_extraction.lastconv.2.weight"
_BASIC = "classify.2.weight"
_STACKED = "classif3.2.weight"


def from_official(
    state: Mapping[str, Tensor], *, max_disparity: int = 192, align_corners: bool | str = False
) -> PsmNet:
    """The network of an official checkpoint, its configuration read from names and shapes.

    Args:
        state: tensors under their official names.
        max_disparity: searched range in px, which leaves no trace in the weights: 192 in all official models.
        align_corners: see `PsmNetConfig`; the authors advise it for the weights of their first release.

    Raises:
        WrongInput: not PSMNet, or tensors that are missing, unexpected or of another shape.
    """
    return PsmNet.from_state(
        official_config(state, max_disparity=max_disparity, align_corners=align_corners), with_counters(state)
    )


def to_official(network: PsmNet) -> dict[str, Tensor]:
    """The tensors under their official names (without the ``module.`` that official files put before them)."""
    return dict(network.state_dict())


def official_config(
    state: Mapping[str, Tensor], *, max_disparity: int = 192, align_corners: bool | str = False
) -> PsmNetConfig:
    """The configuration of an official checkpoint, see `from_official`."""
    found = next((name for name in (_STACKED, _BASIC) if name in state), None)
    if found is None or _FEATURES not in state or state[_FEATURES].ndim < 4:
        raise WrongInput(f"this is no checkpoint of PSMNet: it has no convolutions {_FEATURES} and {_STACKED}.")
    if not isinstance(align_corners, bool):
        raise WrongInput(f"align_corners is True or False, not {align_corners}.")
    stages = (_count(state, f"feature_extraction.layer{stage}.") for stage in range(1, 5))
    return PsmNetConfig(
        max_disparity=max_disparity,
        channels=state[_FEATURES].shape[0],
        blocks=tuple(stages),  # type: ignore[arg-type]
        aggregation="stacked" if found == _STACKED else "basic",
        align_corners=align_corners,
    )


def _count(state: Mapping[str, Tensor], stage: str) -> int:
    return len({name.removeprefix(stage).split(".")[0] for name in state if name.startswith(stage)})
