"""Marigold: depth by diffusion, sampled several times and averaged if asked for."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.mono.estimate import Estimate, Kind
from depthweave.types import Scale


@dataclass(frozen=True)
class MarigoldSettings:
    """Settings of Marigold.

    Attributes:
        steps: denoising steps; None takes the checkpoint's own.
        ensemble: samples that are aligned to each other and whose median is the result; from three on their spread is
            a useful confidence.
        resolution: the longer side in px at which the picture is processed, a multiple of 8; 0 takes the picture's own
            size, None the checkpoint's.
    """

    steps: int | None = None
    ensemble: int = 1
    resolution: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise WrongInput(f"{self.steps} denoising steps give no depth; take at least 1.")
        if self.ensemble < 1:
            raise WrongInput(f"an ensemble of {self.ensemble} has no sample; take at least 1.")
        if self.resolution is not None and (self.resolution < 0 or self.resolution % 8):
            raise WrongInput(f"a resolution of {self.resolution} px cannot be processed; take a multiple of 8.")


class MarigoldEstimator:
    """Depth up to scale and shift, of a ``MarigoldDepthPipeline`` of diffusers (Ke et al., CVPR 2024).

    The confidence of an ensemble is one minus the median deviation of its aligned samples, as a share of the depth
    range.
    """

    def __init__(self, pipeline: Any, config: MarigoldSettings) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline
        self.config = config

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self.pipeline.to(device)

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the depth of a picture in [0, 1] from the noise of seed 0."""
        return self.sample(image, seed=0)

    def sample(self, image: Float[Tensor, "3 h w"], *, seed: int) -> Estimate:
        """Estimate the depth of a picture in [0, 1]; the noise is drawn on the host, so that devices agree on it."""
        several = self.config.ensemble > 1
        found = self.pipeline(
            image[None],
            num_inference_steps=self.config.steps,
            ensemble_size=self.config.ensemble,
            processing_resolution=self.config.resolution,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
            output_uncertainty=several,
        )
        kind: Kind = "inverse_depth" if self.pipeline.config.prediction_type == "disparity" else "depth"
        confidence = 1 - found.uncertainty[0, 0].float().clamp(0, 1) if several else None
        return Estimate(found.prediction[0, 0].float(), kind, self._scale(), None, confidence)

    def _scale(self) -> Scale:
        if self.pipeline.config.shift_invariant:
            return Scale.UNKNOWN_SCALE_AND_SHIFT
        return Scale.UNKNOWN_SCALE if self.pipeline.config.scale_invariant else Scale.METRIC
