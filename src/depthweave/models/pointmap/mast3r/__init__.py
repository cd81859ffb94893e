"""MASt3R: DUSt3R with descriptors, and a checkpoint that speaks of metres."""

from depthweave.models.pointmap.mast3r.config import Mast3rConfig
from depthweave.models.pointmap.mast3r.network import Mast3r

__all__ = ["Mast3r", "Mast3rConfig"]
