"""DEFOM-Stereo: a depth foundation model inside recurrent stereo matching."""

from depthweave.models.stereo.defom.config import DefomConfig
from depthweave.models.stereo.defom.network import DefomStereo

__all__ = ["DefomConfig", "DefomStereo"]
