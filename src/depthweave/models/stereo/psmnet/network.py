"""PSMNet: features from a spatial pyramid, both views' side by side for every disparity, filtered in three dimensions.

Source: Chang and Chen, "Pyramid Stereo Matching Network", CVPR 2018. Parameter names are those of the official
checkpoints.
"""

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers.cost_volume import concatenation_volume, soft_argmin
from depthweave.models.layers.first_weights import draw_convolutions
from depthweave.models.layers.imagenet import over_imagenet
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.psmnet.blocks import Hourglass, PyramidFeatures, residual, scoring
from depthweave.models.stereo.psmnet.config import COARSEST, FACTOR, PsmNetConfig


class PsmNet(PretrainedNetwork):
    """PSMNet.

    Args:
        config: sizes and choices.
    """

    family: ClassVar[str] = "psmnet"
    config_class: ClassVar[type] = PsmNetConfig
    multiple: ClassVar[int] = 16
    config: PsmNetConfig

    def __init__(self, config: PsmNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.feature_extraction = PyramidFeatures(config)
        self.dres0 = residual(2 * channels, channels, relu=True)
        self.dres1 = residual(channels, channels)
        stacked = config.aggregation == "stacked"
        for name in ("dres2", "dres3", "dres4"):
            self.add_module(name, Hourglass(channels) if stacked else residual(channels, channels))
        for name in ("classif1", "classif2", "classif3") if stacked else ("classify",):
            self.add_module(name, scoring(channels))
        draw_convolutions(self)

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        *,
        initial: Float[Tensor, "b 1 h w"] | None = None,
        max_disparity: int | None = None,
    ) -> Float[Tensor, "b 1 h w"]:
        """Disparity of the left image, x_right = x_left - d, in px, from 0 to the end of the search.

        Args:
            left, right: RGB, 0 to 255; sides are multiples of 16.
            initial: has to be None; the network has no start that it could replace.
            max_disparity: search below it, px, rounded up to a multiple of 16; None takes the configured range.

        Raises:
            WrongInput: sizes that do not fit, or a start.
        """
        if initial is not None:
            raise WrongInput("PSMNet searches its whole range and takes no initial disparity; leave it away.")
        return self._expected(self._scores(left, right, max_disparity)[-1], left)

    def predictions(
        self, left: Float[Tensor, "b 3 h w"], right: Float[Tensor, "b 3 h w"], *, max_disparity: int | None = None
    ) -> list[Float[Tensor, "b 1 h w"]]:
        """The disparity after every hourglass in px, the result last; the basic network has the result only.

        ``predictions(left, right, *, max_disparity=None) -> [(b, 1, h, w), ...]``. The authors weigh the smooth L1
        losses of the three with 0.5, 0.7 and 1.0 (equation 3). In training mode, pictures on which the largest of the
        pyramid's windows lies only once (both sides below 512 px) come in batches of two or more, for the
        statistics. Arguments as in `forward`.
        """
        return [self._expected(scores, left) for scores in self._scores(left, right, max_disparity)]

    def memory_bytes(self, height: int, width: int, *, max_disparity: int | None = None) -> int:
        """Estimate of the largest memory that a float32 `forward` of one pair takes beside the weights."""
        disparities, channels = self.disparities(max_disparity), self.config.channels
        cells = disparities // FACTOR * (height // FACTOR) * (width // FACTOR)
        encoder = 4 * height * width // 4 * channels * 8
        scores = 4 * disparities * height * width * 3
        return max(encoder, 4 * cells * channels * 7, scores + 4 * cells * channels * 3)

    def disparities(self, max_disparity: int | None = None) -> int:
        """Disparities that are searched: the configured ones, or as many as are asked for."""
        reach = self.config.max_disparity if max_disparity is None else max(max_disparity, 1)
        return -(-reach // (FACTOR * COARSEST)) * FACTOR * COARSEST

    def _scores(self, left: Tensor, right: Tensor, max_disparity: int | None) -> list[Tensor]:
        """Scores (b, 1, d / 4, h / 4, w / 4) of every answer, high where the views agree."""
        height, width = left.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise WrongInput(f"PSMNet takes sides that are multiples of {self.multiple}, not {width}x{height}; pad.")
        # One view after the other: in training, each has batch statistics of its own.
        own, other = (self.feature_extraction(over_imagenet(view)) for view in (left, right))
        volume = concatenation_volume(own, other, self.disparities(max_disparity) // FACTOR)
        volume = self.dres0(volume)
        volume = self.dres1(volume) + volume
        parts: Any = self
        if self.config.aggregation == "basic":
            for part in (parts.dres2, parts.dres3, parts.dres4):
                volume = part(volume) + volume
            return [parts.classify(volume)]
        first, down, up = parts.dres2(volume)
        second, _, up = parts.dres3(first + volume, down, up)
        third, _, _ = parts.dres4(second + volume, down, up)
        scores = [parts.classif1(first + volume)]
        scores.append(parts.classif2(second + volume) + scores[-1])
        scores.append(parts.classif3(third + volume) + scores[-1])
        return scores

    def _expected(self, scores: Tensor, left: Tensor) -> Tensor:
        size = (FACTOR * scores.shape[2], *left.shape[-2:])
        large = F.interpolate(scores.float(), size, mode="trilinear", align_corners=self.config.align_corners)
        return soft_argmin(-large[:, 0])[:, None]
