"""DispNet-C, the encoder-decoder without a correlation, and both with an edge branch."""

from depthweave.models.stereo.dispnet.config import DispnetConfig
from depthweave.models.stereo.dispnet.network import Dispnet

__all__ = ["Dispnet", "DispnetConfig"]
