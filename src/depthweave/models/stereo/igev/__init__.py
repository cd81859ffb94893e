"""IGEV-Stereo: a filtered cost volume that guides a recurrent matcher."""

from depthweave.models.stereo.igev.config import IgevConfig
from depthweave.models.stereo.igev.network import IgevStereo

__all__ = ["IgevConfig", "IgevStereo"]
