"""Official checkpoints of AnyNet to our network and back.

Files: https://github.com/mileyan/AnyNet (`checkpoint.tar` and `sceneflow.tar`, which `torch.save` wrote: they are not
unpacked).
"""

from collections.abc import Mapping

from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.layers.batch_norm import with_counters
from depthweave.models.stereo.anynet.config import FACTORS, AnyNetConfig
from depthweave.models.stereo.anynet.network import AnyNet

_FIRST = "feature_extraction.block0.0.0.weight"
_FILTERS = tuple(f"volume_postprocess.{stage}.0.2.weight" for stage in range(len(FACTORS)))
_REFINEMENT = "refine_spn.1.weight"
_LAST = "feature_extraction.blocks.1."
_FILTER = "volume_postprocess.0."


def from_official(state: Mapping[str, Tensor], *, max_disparity: int = 192, radii: tuple[int, int] = (2, 2)) -> AnyNet:
    """The network of an official checkpoint, its configuration read from names and shapes.

    Args:
        state: tensors under their official names.
        max_disparity: reach of the first stage in px, which leaves no trace in the weights (192 in all official
            models).
        radii: of the later stages, the same.

    Raises:
        WrongInput: not AnyNet, or tensors that are missing, unexpected or of another shape.
    """
    return AnyNet.from_state(official_config(state, max_disparity=max_disparity, radii=radii), with_counters(state))


def to_official(network: AnyNet) -> dict[str, Tensor]:
    """The tensors under their official names (without the ``module.`` that official files put before them)."""
    return dict(network.state_dict())


def official_config(
    state: Mapping[str, Tensor], *, max_disparity: int = 192, radii: tuple[int, int] = (2, 2)
) -> AnyNetConfig:
    """The configuration of an official checkpoint, see `from_official`."""
    for name in (_FIRST, *_FILTERS):
        if name not in state or state[name].ndim < 4:
            raise WrongInput(f"this is no checkpoint of AnyNet: it has no convolution {name}.")
    first, second, third = (state[name].shape[0] for name in _FILTERS)
    return AnyNetConfig(
        max_disparity=max_disparity,
        channels=state[_FIRST].shape[0],
        blocks=_count(state, _LAST),
        radii=radii,
        volume_channels=(first, second, third),
        volume_layers=_count(state, _FILTER) - 2,
        refinement=state[_REFINEMENT].shape[0] if _REFINEMENT in state else 0,
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})
