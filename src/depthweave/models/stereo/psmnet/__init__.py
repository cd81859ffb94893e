"""PSMNet: spatial pyramid features, a concatenation volume, and three stacked hourglasses over it."""

from depthweave.models.stereo.psmnet.config import PsmNetConfig
from depthweave.models.stereo.psmnet.network import PsmNet

__all__ = ["PsmNet", "PsmNetConfig"]
