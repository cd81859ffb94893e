"""DUSt3R, and MonST3R, which has the same network."""

from depthweave.models.pointmap.dust3r.config import Dust3rConfig
from depthweave.models.pointmap.dust3r.network import Dust3r

__all__ = ["Dust3r", "Dust3rConfig"]
