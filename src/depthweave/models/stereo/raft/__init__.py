"""RAFT-Stereo: recurrent all-pairs field transforms on the rows of a rectified pair."""

from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.network import RaftStereo

__all__ = ["RaftConfig", "RaftStereo"]
