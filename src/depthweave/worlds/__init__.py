"""Procedural scenes with exact truth."""

from depthweave.worlds.compose import compose, still_life
from depthweave.worlds.dataset import PairStream, Worlds
from depthweave.worlds.materials import Textures
from depthweave.worlds.recipe import Recipe
from depthweave.worlds.render import render_clip, render_pair, render_pairs
from depthweave.worlds.scene import Light, Material, Part, Scene, Sky, Thing
from depthweave.worlds.views import Match, PairBatch, RenderedClip, RenderedPair, View

__all__ = [
    "Light",
    "Match",
    "Material",
    "PairBatch",
    "PairStream",
    "Part",
    "Recipe",
    "RenderedClip",
    "RenderedPair",
    "Scene",
    "Sky",
    "Textures",
    "Thing",
    "View",
    "Worlds",
    "compose",
    "render_clip",
    "render_pair",
    "render_pairs",
    "still_life",
]
