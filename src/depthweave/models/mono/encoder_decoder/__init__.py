"""A small encoder and decoder for single pictures, with the partners that clips train it with."""

from depthweave.models.mono.encoder_decoder.config import MonoUnetConfig
from depthweave.models.mono.encoder_decoder.network import MonoUnet

__all__ = ["MonoUnet", "MonoUnetConfig"]
