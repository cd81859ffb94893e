"""AnyNet: a full search at 1/16, small corrections at 1/8 and 1/4, and a refinement; each stage is an answer.

Source: Wang et al., "Anytime Stereo Image Depth Estimation on Mobile Devices", ICRA 2019. Parameter names are those of
the official checkpoints.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.cost_volume import distance_volume, residual_volume, soft_argmin
from depthweave.models.layers.first_weights import draw_convolutions
from depthweave.models.layers.imagenet import over_imagenet
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.anynet.blocks import Features, propagate, refinement_layers, volume_filter
from depthweave.models.stereo.anynet.config import FACTORS, AnyNetConfig


class AnyNet(PretrainedNetwork):
    """AnyNet.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "anynet"
    config_class: ClassVar[type] = AnyNetConfig
    multiple: ClassVar[int] = 16
    config: AnyNetConfig

    def __init__(self, config: AnyNetConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_extraction = Features(config)
        self.volume_postprocess = nn.ModuleList(
            volume_filter(config.volume_layers, channels) for channels in config.volume_channels
        )
        self.refine_spn = refinement_layers(config.refinement) if config.refinement else None
        draw_convolutions(self)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        stages: int = 4,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        max_disparity: int | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px; nothing keeps it positive.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 16.
            stages: stop after so many, 1 to 4; nothing of the later ones is computed. A network without the refinement
                ends with the third.
            initial: has to be None; the network has no start that it could replace.
            max_disparity: reach of the first stage, px, rounded up to a multiple of 16; None takes the configured one.

        Raises:
            WrongInput: sizes that do not fit, a number of stages that the network does not have, or a start.
        """
        if initial is not None:
            raise WrongInput("AnyNet searches its whole range and takes no initial disparity; leave it away.")
        (last,) = deque(self._answers(left, right, stages, max_disparity), maxlen=1)
        return last

    def predictions(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        stages: int = 4,
        max_disparity: int | None = None,
    ) -> list[Float[Tensor, "b 1 h w"]]:
        """The disparity after every stage in px of the picture, at its size.

        ``predictions(left, right, *, stages=4, max_disparity=None) -> [(b, 1, h, w), ...]``. The authors weigh the
        smooth L1 losses of the four with 0.25, 0.5, 1 and 1. Arguments as in `forward`.
        """
        return list(self._answers(left, right, stages, max_disparity))

    def memory_bytes(self, height: int, width: int, *, max_disparity: int | None = None) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        config = self.config
        coarse = self.disparities(max_disparity) // FACTORS[0] * (height // FACTORS[0]) * (width // FACTORS[0])
        fine = (2 * config.radii[1] + 1) * (height // FACTORS[2]) * (width // FACTORS[2])
        volumes = 4 * max(coarse * config.volume_channels[0], fine * config.volume_channels[2])
        return 4 * height * width * (48 + 8 * config.channels) + 4 * volumes

    def disparities(self, max_disparity: int | None = None) -> int:
        """Disparities of the first stage in px of the picture: the configured ones, or as many as are asked for."""
        reach = self.config.max_disparity if max_disparity is None else max(max_disparity, 1)
        return -(-reach // FACTORS[0]) * FACTORS[0]

    def _answers(
        self, left: Tensor, right: Tensor, stages: int, max_disparity: int | None
    ) -> Iterator[Float[Tensor, "b 1 h w"]]:
        size = left.shape[-2:]
        if size[0] % self.multiple or size[1] % self.multiple:
            raise WrongInput(f"AnyNet takes sides that are multiples of {self.multiple}, not {size[1]}x{size[0]}; pad.")
        if not 1 <= stages <= len(FACTORS) + 1:
            raise WrongInput(f"AnyNet has the stages 1 to {len(FACTORS) + 1}, not {stages}.")
        left, right = over_imagenet(left), over_imagenet(right)
        views = zip(self.feature_extraction(left), self.feature_extraction(right), strict=True)
        found = left.new_zeros(())
        for stage, factor in enumerate(FACTORS[:stages]):
            own, other = next(views)
            if stage == 0:
                radius, costs = 0, distance_volume(own, other, self.disparities(max_disparity) // factor)
            else:
                radius = self.config.radii[stage - 1]
                coarser = _resize(found, own.shape[-2:]) / factor
                costs = residual_volume(own, other, coarser[:, 0], radius)
                costs = costs.flip(1) if self.config.reversed_residuals else costs
            costs = self.volume_postprocess[stage](costs[:, None])[:, 0]
            found = found + _resize(factor * soft_argmin(costs, first=-radius)[:, None], size)
            yield found
        if stages > len(FACTORS) and self.refine_spn is not None:
            yield self._refine(left, found)

    def _refine(self, left: Tensor, found: Tensor) -> Tensor:
        """Propagation at 1/4, with gates that the left picture decides."""
        layers: Any = self.refine_spn
        size = left.shape[-2:]
        small = (size[0] // FACTORS[2], size[1] // FACTORS[2])
        gates = layers[0](_resize(left, small)).chunk(3, 1)
        total = sum(gate.abs() for gate in gates) + 1e-8
        above, beside, below = (gate / total for gate in gates)
        return _resize(layers[2](propagate(layers[1](_resize(found, small)), above, beside, below)), size)


def _resize(values: Tensor, size: Any) -> Tensor:
    return F.interpolate(values, tuple(size), mode="bilinear", align_corners=False)
