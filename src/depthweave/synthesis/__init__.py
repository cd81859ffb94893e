"""A second view from one picture and its disparity."""

from depthweave.synthesis.edges import background_rim, isolate_foreground, sharpen
from depthweave.synthesis.pair import SynthesisSettings, SyntheticPair, synthesize_pair
from depthweave.synthesis.rescale import (
    DisparityRange,
    draw_range,
    inverse_depth_bounds,
    rescale_to_disparity,
    to_range,
)
from depthweave.synthesis.splat import Splat, soft_splat, splat

__all__ = [
    "DisparityRange",
    "Splat",
    "SynthesisSettings",
    "SyntheticPair",
    "background_rim",
    "draw_range",
    "inverse_depth_bounds",
    "isolate_foreground",
    "rescale_to_disparity",
    "sharpen",
    "soft_splat",
    "splat",
    "synthesize_pair",
    "to_range",
]
