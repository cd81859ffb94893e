"""AnyNet: disparity from coarse to fine, with an answer after every stage."""

from depthweave.models.stereo.anynet.config import AnyNetConfig
from depthweave.models.stereo.anynet.network import AnyNet

__all__ = ["AnyNet", "AnyNetConfig"]
