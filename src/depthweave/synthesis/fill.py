"""Colours for what the left picture does not show: one interface, several fillers."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis.fill_background import BackgroundFiller
from depthweave.synthesis.fill_diffusion import make_diffusion_filler
from depthweave.synthesis.fill_opencv import NavierStokesFiller, TeleaFiller
from depthweave.synthesis.fill_patch import PatchFiller
from depthweave.synthesis.fill_random import RandomFiller


@runtime_checkable
class Filler(Protocol):
    """Gives the holes of a right view new colours; the same answer for the same state of the generator."""

    def __call__(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        rng: np.random.Generator,
    ) -> Float[Tensor, "3 h w"]:
        """Fill.

        Args:
            image: right view in [0, 1].
            unknown: pixels that the filler may not look at: the holes, and the foreground beside them.
            wanted: the part of them whose new colours are kept. All other pixels come back bit for bit.
            disparity: of the right view in px, where it is known.
            rng: the only source of chance.

        Raises:
            WrongInput: sizes differ, a wanted pixel is not unknown, or nothing is known.
        """
        ...


FILLERS: Mapping[str, Callable[..., Filler]] = MappingProxyType(
    {
        "background": BackgroundFiller,
        "telea": TeleaFiller,
        "ns": NavierStokesFiller,
        "patch": PatchFiller,
        "random": RandomFiller,
        "diffusion": make_diffusion_filler,
    }
)
"""What makes each filler; its keywords are the filler's settings."""


def make_filler(name: str, **settings: Any) -> Filler:
    """Make the filler of that name.

    Args:
        name: one of `FILLERS`.
        settings: of this filler.

    Raises:
        WrongInput: no such filler, a setting that it does not have, or a value that does not fit.
        MissingLibrary, MissingWeights, WrongFile: the diffusion filler's pipeline cannot be loaded.
    """
    if name not in FILLERS:
        raise WrongInput(f"there is no filler '{name}'; take one of {', '.join(FILLERS)}.")
    known = inspect.signature(FILLERS[name]).parameters
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise WrongInput(f"the filler {name} has no setting {', '.join(unknown)}; {has}.")
    return FILLERS[name](**settings)
