"""Prompt Depth Anything: a picture and a coarse map in metres to fine depth in metres.

The network is that of `transformers`; nothing here imports the library.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave.errors import WrongInput
from depthweave.models.layers.imagenet import IMAGENET_MEAN, IMAGENET_STD
from depthweave.models.mono.estimate import Estimate, nearest_size, normalized, resized
from depthweave.types import Scale


@dataclass(frozen=True)
class PromptDepthAnythingSettings:
    """Settings of Prompt Depth Anything; a checkpoint's ``preprocessor_config.json`` states its own.

    Attributes:
        size: side in px of the square near which the network sees the picture, aspect kept, multiples of 14.
        prompt_size: the shorter side in px of the coarse map that it gets; 192 as from the phones of its training.
    """

    size: int = 756
    prompt_size: int = 192

    def __post_init__(self) -> None:
        if self.size < 14 or self.prompt_size < 1:
            raise WrongInput(f"size is {self.size} and prompt_size {self.prompt_size}; give at least 14 and 1.")


class PromptDepthAnythingEstimator:
    """Prompt Depth Anything behind one call: depth in metres (Lin et al., CVPR 2025).

    Preparation as published: bicubic with a low-pass filter to about 756 px, multiples of 14, ImageNet's mean and
    deviation; the prompt is brought to [0, 1] by its own least and largest value inside the network, and the answer
    back; bicubic to the picture's size.

    Args:
        network: `PromptDepthAnythingForDepthEstimation` of transformers.
        config: see `PromptDepthAnythingSettings`.
    """

    def __init__(self, network: nn.Module, config: PromptDepthAnythingSettings) -> None:
        self.network = network.eval()
        self.config = config

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self.network.to(device)

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Refuses: without a prompt the network's numbers mean nothing.

        Raises:
            WrongInput: always; `prompted` takes the coarse map.
        """
        raise WrongInput(
            "this model needs sparse depth of the picture: pass prompt=SparseDepth.zones(...); for pictures alone, "
            "take depth-anything-v2-small."
        )

    def prompt_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the coarse map of a picture of that size."""
        scale = self.config.prompt_size / min(height, width)
        return max(1, round(scale * height)), max(1, round(scale * width))

    def prompted(self, image: Float[Tensor, "3 h w"], prompt_m: Float[Tensor, "_ _"]) -> Estimate:
        """Estimate the depth of a picture in [0, 1].

        Args:
            image: (3, h, w).
            prompt_m: coarse depth of the whole picture in m, of any size, known everywhere.

        Raises:
            WrongInput: a prompt that is not positive everywhere.
        """
        if not bool((prompt_m > 0).all()):
            raise WrongInput("a prompt is positive everywhere; fill unknown places from their neighbours first.")
        height, width = image.shape[-2:]
        size = nearest_size(height, width, (self.config.size, self.config.size), 14, keep_aspect=True)
        seen = resized(image[None], size, mode="bicubic", antialias=True).clamp(0, 1)
        prompt = prompt_m.float().clone()
        if bool(prompt.max() == prompt.min()):
            prompt[0, 0] *= 1 + 1e-5  # the network divides by the prompt's range
        found = self.network(
            pixel_values=normalized(seen[0], IMAGENET_MEAN, IMAGENET_STD), prompt_depth=prompt[None, None]
        ).predicted_depth
        values = resized(found[:, None], (height, width), mode="bicubic")[0, 0]
        return Estimate(values, "depth", Scale.METRIC)
