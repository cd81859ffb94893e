"""One picture and its disparity become a stereo pair with masks."""

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis.edges import (
    background_rim,
    close_holes,
    foreground_halo,
    isolate_foreground,
    sharpen,
    thin_holes,
)
from depthweave.synthesis.fill import Filler, make_filler
from depthweave.synthesis.splat import check_disparity, check_sizes, splat

Border = Literal["fill", "crop", "mask"]


@dataclass(frozen=True)
class SynthesisSettings:
    """How a pair is made.

    Attributes:
        filler: name of the filler, one of `FILLERS`, for the holes.
        edge_aware: remove the background rim from the warp and hide the foreground from the filler; without it the
            filler gets the plain holes, as in naive inpainting.
        border: what becomes of the strip at the right that the left picture does not show: `fill` it like other holes,
            `crop` it from both views, or leave it black (`mask`).
        sharpen: remove flying pixels from the disparity first.
        grow_px: let near things grow by so many px before that, see `sharpen`.
        interpolation: of colours along a surface, see `splat`.
    """

    filler: str = "background"
    edge_aware: bool = True
    border: str = "fill"
    sharpen: bool = True
    grow_px: int = 0
    interpolation: str = "cubic"

    def __post_init__(self) -> None:
        if self.border not in get_args(Border):
            raise WrongInput(f"{self.border!r} is no way with borders; choose one of {', '.join(get_args(Border))}.")


@dataclass(frozen=True, eq=False)
class SyntheticPair:
    """A stereo pair made of one picture, with what is known about every pixel.

    Attributes:
        left, right: pictures in [0, 1].
        disparity: of the left view in px, dense: the label, sharpened if that was asked for.
        disparity_right: of the right view in px, x_left = x_right + d; 0 where `visible_right` is False.
        visible: left pixels whose surface the right view sees.
        visible_right: right pixels whose colour and disparity come from the left picture.
        inpainted: right pixels whose colour was invented.
        rim: left pixels just right of a nearer thing, whose colours were not used.
        border: right pixels to the right of what the left picture shows.
    """

    left: Float[Tensor, "3 h w"]
    right: Float[Tensor, "3 h w"]
    disparity: Float[Tensor, "h w"]
    disparity_right: Float[Tensor, "h w"]
    visible: Bool[Tensor, "h w"]
    visible_right: Bool[Tensor, "h w"]
    inpainted: Bool[Tensor, "h w"]
    rim: Bool[Tensor, "h w"]
    border: Bool[Tensor, "h w"]

    @property
    def photometric(self) -> Bool[Tensor, "h w"]:
        """Left pixels whose colour the right view shows: visible, and not of the rim."""
        return self.visible & ~self.rim


@torch.no_grad()
def synthesize_pair(
    image: Float[Tensor, "3 h w"],
    disparity: Float[Tensor, "h w"],
    *,
    settings: SynthesisSettings = SynthesisSettings(),
    filler: Filler | None = None,
    rng: np.random.Generator,
) -> SyntheticPair:
    """The right view of a picture, and the truth that follows from its disparity.

    Sharpen, find the background rim, splat without its colours, close the holes, hide the foreground beside them, fill,
    and put what was filled into the warp: pixels that come from the left picture stay exactly as they were warped.

    Args:
        image: the left view in [0, 1], on any device.
        disparity: of the left view in px, 0 or more, on the same device.
        settings: see there.
        filler: in place of the one that settings name; make it once for many pictures.
        rng: what fillers draw from; the same state gives the same pair.

    Raises:
        WrongInput: sizes that differ, disparity that is negative or not finite or moves all out of view, an unknown
            filler.

    Source: our reconstruction of the pipeline of Mono2Stereo (arXiv 2411.09151): warp, Edge-Aware step, filling.
    """
    check_sizes(image, disparity)
    check_disparity(disparity)
    label = sharpen(disparity, grow_px=settings.grow_px) if settings.sharpen else disparity
    rim = background_rim(label) if settings.edge_aware else torch.zeros_like(label, dtype=torch.bool)
    warp = splat(image, label, keep=~rim, interpolation=settings.interpolation)
    if not bool(warp.hit.any()):
        raise WrongInput(
            f"disparities from {float(label.min()):g} px on move every pixel out of a picture {label.shape[-1]} px "
            "wide; scale them down."
        )
    hole = close_holes(~warp.hit) if settings.edge_aware else ~warp.hit
    pair = SyntheticPair(
        left=image,
        right=warp.image * ~hole,
        disparity=label,
        disparity_right=warp.disparity * ~hole,
        visible=warp.visible,
        visible_right=~hole,
        inpainted=hole,
        rim=rim,
        border=warp.border & hole,
    )
    if settings.border == "crop":
        pair = _without_border(pair)
    elif settings.border == "mask":
        pair = replace(pair, inpainted=pair.inpainted & ~pair.border)
    return replace(pair, right=_filled(pair, settings.edge_aware, filler or make_filler(settings.filler), rng))


def _without_border(pair: SyntheticPair) -> SyntheticPair:
    """Both views without the columns that hold border anywhere."""
    width = pair.border.shape[-1]
    left_over = width - int(pair.border.sum(-1).max())
    if left_over < 1:
        raise WrongInput(
            f"cropping the border of a picture {width} px wide leaves nothing; scale disparities down, or fill borders."
        )
    return SyntheticPair(*(getattr(pair, each.name)[..., :left_over].contiguous() for each in fields(pair)))


def _filled(pair: SyntheticPair, edge_aware: bool, filler: Filler, rng: np.random.Generator) -> Tensor:
    hole, wanted, right = ~pair.visible_right, pair.inpainted, pair.right
    unknown = hole
    if edge_aware:
        thin = thin_holes(hole, pair.disparity_right) & wanted
        row, column = thin.nonzero(as_tuple=True)
        right[:, row, column] = (right[:, row, column - 1] + right[:, row, column + 1]) / 2
        wanted, unknown = wanted & ~thin, unknown & ~thin
        halo = foreground_halo(pair.disparity)
        source = (torch.arange(hole.shape[-1], device=hole.device) + pair.disparity_right).round().long()
        suspect = halo.gather(-1, source.clamp(max=hole.shape[-1] - 1))
        unknown = unknown | isolate_foreground(unknown, pair.disparity_right, suspect=suspect)
        if bool(unknown.all()):
            unknown = hole
    if not bool(wanted.any()):
        return right
    return filler(right, unknown, wanted, pair.disparity_right, rng)
