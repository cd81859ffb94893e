"""The compact matcher of depthweave: a small volume, filtered in three dimensions, then refinement at finer sizes."""

from depthweave.models.stereo.compact.config import CompactConfig
from depthweave.models.stereo.compact.network import CompactStereo

__all__ = ["CompactConfig", "CompactStereo"]
