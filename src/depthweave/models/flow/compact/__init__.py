"""The compact flow network of depthweave: all pairs at 1/8, a recurrent two-dimensional look-up, finer refinement."""

from depthweave.models.flow.compact.config import CompactFlowConfig
from depthweave.models.flow.compact.network import CompactFlow

__all__ = ["CompactFlow", "CompactFlowConfig"]
