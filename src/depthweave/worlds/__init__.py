"""Procedural scenes with exact truth."""

from depthweave.worlds.render import RenderedPair, render_pair
from depthweave.worlds.scene import Plane, Scene, Sphere, still_life

__all__ = ["Plane", "RenderedPair", "Scene", "Sphere", "render_pair", "still_life"]
