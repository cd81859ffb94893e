"""Holes closed from their rim inwards by OpenCV."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.images import image_from_tensor
from depthweave.synthesis.holes import compose, require_hole


@dataclass(frozen=True)
class _OpenCvFiller:
    radius_px: float | int = 3.0

    method: ClassVar[int]

    def __post_init__(self) -> None:
        if self.radius_px <= 0:
            raise WrongInput(f"a radius of {self.radius_px} px reaches no pixel; give a positive one.")

    def __call__(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        rng: np.random.Generator,
    ) -> Float[Tensor, "3 h w"]:
        """Give the wanted pixels new colours of 8 bit, on the CPU; see `Filler`.

        Raises:
            WrongInput: sizes differ, a wanted pixel is not unknown, or nothing is known.
        """
        require_hole(image, unknown, wanted, disparity)
        mask = unknown.to(torch.uint8).cpu().numpy()
        filled = cv2.inpaint(image_from_tensor(image), mask, self.radius_px, self.method)
        return compose(image, torch.from_numpy(filled).to(image.device).permute(2, 0, 1) / 255, wanted)


@dataclass(frozen=True)
class TeleaFiller(_OpenCvFiller):
    """Weighted means of what is known around, from the rim of the hole inwards by fast marching.

    Attributes:
        radius_px: known pixels farther away have no weight.

    Source: Telea, "An image inpainting technique based on the fast marching method", Journal of Graphics Tools 2004.
    """

    method = cv2.INPAINT_TELEA


@dataclass(frozen=True)
class NavierStokesFiller(_OpenCvFiller):
    """Lines of equal brightness continued into the hole as a fluid flows.

    Attributes:
        radius_px: known pixels farther away have no weight.

    Source: Bertalmio et al., "Navier-Stokes, fluid dynamics, and image and video inpainting", CVPR 2001.
    """

    method = cv2.INPAINT_NS
