"""Holes made of patches of the picture's own background."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.synthesis.fill_background import BackgroundFiller
from depthweave.synthesis.holes import Background, compose, find_background, nearest_known_row, require_hole

SHARPNESS = 20.0
"""How fast the vote of a patch falls with its error, in units of the mean error around."""
DISTRUST = 2.0
"""Every px farther from the background that is continued, colours of the hole weigh so many times less."""
STEPS_PX = (4, 1)
"""How far away the neighbours stand whose finds are tried."""
RADII = (0.5, 0.125, 0.03)
"""How far away from the find others are tried at random, as shares of the longer side."""


@dataclass(frozen=True)
class PatchFiller:
    """Makes the holes of patches of the known background that fit to what is around and to each other.

    For every wanted pixel, a patch around a known pixel is looked for that resembles the patch around the wanted one:
    the mirrored one first, then the finds of neighbours and random ones. Patches that hold anything unknown, or
    anything nearer than the background of the hole by more than ``nearer_px``, are not taken. The new colour is the
    mean of what the patches over the pixel show, weighted by how well they fit. Slow: seconds where `BackgroundFiller`
    needs hundredths; that filler's result is the start, and the answer where no patch can be taken. Looking for patches
    in coarser pictures first made the holes of layered scenes worse: a coarse patch hardly fits into any background.

    Attributes:
        patch_px: side of the patches, an odd number.
        rounds: of search and vote.
        nearer_px: how much nearer than the background of the hole a patch may be.

    Source: search by Barnes et al., "PatchMatch", SIGGRAPH 2009; votes by Wexler et al., "Space-time completion of
    video", PAMI 2007, section 3.2. The bound on the disparity is ours.
    """

    patch_px: int = 7
    rounds: int = 3
    nearer_px: float | int = 1.0

    def __post_init__(self) -> None:
        if self.patch_px < 3 or self.patch_px % 2 == 0:
            raise WrongInput(f"a patch has an odd side of at least 3 px, not {self.patch_px}.")
        if self.rounds < 1 or self.nearer_px < 0:
            raise WrongInput(
                f"rounds is at least 1 and nearer_px not negative, not {self.rounds} and {self.nearer_px}."
            )

    def __call__(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        rng: np.random.Generator,
    ) -> Float[Tensor, "3 h w"]:
        """Give the wanted pixels new colours, see `Filler`.

        Raises:
            WrongInput: sizes differ, a wanted pixel is not unknown, or nothing is known.
        """
        require_hole(image, unknown, wanted, disparity)
        if not bool(wanted.any()):
            return image.clone()
        start = BackgroundFiller(noise=0)(image, unknown, unknown, disparity, rng)
        search = _Search(start, unknown, wanted, disparity, self.patch_px, self.nearer_px, rng)
        for _ in range(self.rounds):
            search.improve(rng)
        return compose(image, search.image, wanted)


class _Search:
    """A patch for each wanted pixel, by the pixel (y, x) in its middle."""

    def __init__(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        patch_px: int,
        nearer_px: float | int,
        rng: np.random.Generator,
    ) -> None:
        device = unknown.device
        self.image, self._source = image, image
        self._height, self._width = height, width = unknown.shape
        background = find_background(unknown, unknown, disparity)
        limits = _far_disparity(background, unknown, disparity)[wanted] + nearer_px
        self._nearest = _nearest_of_patch(unknown, disparity, patch_px)
        order = self._nearest.flatten().argsort(stable=True)
        counts = torch.searchsorted(self._nearest.flatten()[order], limits, right=True)
        # A pixel that no patch may stand for is left as it is.
        some = counts > 0
        self._row, self._column = (each[some] for each in wanted.nonzero(as_tuple=True))
        self._limits = limits[some]
        drawn = (self._random(rng) * counts[some]).long().clamp(max=counts[some] - 1)
        self._y, self._x = order[drawn] // width, order[drawn] % width
        y, x = self._row, _mirrored(background, unknown, patch_px // 2)[self._row, self._column]
        allowed = self._allowed(y, x)
        self._y, self._x = y.where(allowed, self._y), x.where(allowed, self._x)

        taps = torch.arange(patch_px, device=device) - patch_px // 2
        self._tap_y, self._tap_x = (each.flatten() for each in torch.meshgrid(taps, taps, indexing="ij"))
        around_y, around_x = self._row[:, None] + self._tap_y, self._column[:, None] + self._tap_x
        inside = (around_y >= 0) & (around_y < height) & (around_x >= 0) & (around_x < width)
        self._around = around_y.clamp(0, height - 1) * width + around_x.clamp(0, width - 1)
        foreground = (disparity.flatten()[self._around] > self._limits[:, None]) & ~unknown.flatten()[self._around]
        self._weight = (inside & ~foreground) * _trust(background, unknown).to(image).flatten()[self._around]
        self._number = torch.full((height, width), -1, device=device)
        self._number[self._row, self._column] = torch.arange(len(self._row), device=device)
        self._neighbours = self._number.flatten()[self._around].where(inside, -1)
        self._vote(self._error(self._y, self._x))

    def improve(self, rng: np.random.Generator) -> None:
        """Try the finds of neighbours and random places; then new colours."""
        error = self._error(self._y, self._x)
        for step in STEPS_PX:
            for down, right in ((0, step), (0, -step), (step, 0), (-step, 0)):
                y, x = self._row + down, self._column + right
                inside = (y >= 0) & (y < self._height) & (x >= 0) & (x < self._width)
                number = self._number[y.clamp(0, self._height - 1), x.clamp(0, self._width - 1)].where(inside, -1)
                error = self._take(self._y[number] - down, self._x[number] - right, number >= 0, error)
        for radius in RADII:
            reach_px = radius * max(self._height, self._width)
            y, x = (
                (at + ((2 * self._random(rng) - 1) * reach_px).round().long()).clamp(0, size - 1)
                for at, size in ((self._y, self._height), (self._x, self._width))
            )
            error = self._take(y, x, torch.ones_like(y, dtype=torch.bool), error)
        self._vote(error)

    def _take(
        self, y: Int64[Tensor, "n"], x: Int64[Tensor, "n"], offered: Bool[Tensor, "n"], error: Float[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Move to the offered places that are better; the errors then."""
        allowed = offered & self._allowed(y, x)
        y, x = y.where(allowed, self._y), x.where(allowed, self._x)
        found = self._error(y, x)
        better = found < error
        self._y, self._x = y.where(better, self._y), x.where(better, self._x)
        return found.where(better, error)

    def _allowed(self, y: Int64[Tensor, "n"], x: Int64[Tensor, "n"]) -> Bool[Tensor, "n"]:
        inside = (y >= 0) & (y < self._height) & (x >= 0) & (x < self._width)
        nearest = self._nearest[y.clamp(0, self._height - 1), x.clamp(0, self._width - 1)]
        return inside & (nearest <= self._limits)

    def _error(self, y: Int64[Tensor, "n"], x: Int64[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Mean squared difference between the patches around these places and around the wanted pixels."""
        place = (y * self._width + x)[:, None] + (self._tap_y * self._width + self._tap_x)
        differences = self._source.flatten(1)[:, place] - self.image.flatten(1)[:, self._around]
        return (differences.square().mean(0) * self._weight).sum(1) / self._weight.sum(1)

    def _vote(self, error: Float[Tensor, "n"]) -> None:
        """Each wanted pixel becomes the mean of what the patches over it show there."""
        has = self._neighbours >= 0
        place = (self._y * self._width + self._x)[self._neighbours] - (self._tap_y * self._width + self._tap_x)
        colors = self._source.flatten(1)[:, place.where(has, 0)]
        errors = error[self._neighbours]
        mean = (errors * has).sum(1, keepdim=True) / has.sum(1, keepdim=True)
        votes = (-SHARPNESS * errors / (mean + 1e-8)).masked_fill(~has, -torch.inf).softmax(1)
        self.image = self.image.clone()
        self.image[:, self._row, self._column] = (colors * votes).sum(2)

    def _random(self, rng: np.random.Generator) -> Float64[Tensor, "n"]:
        """In [0, 1), drawn on the host, so that devices agree on it."""
        return torch.from_numpy(rng.random(len(self._row))).to(self._row.device)


def _far_disparity(
    background: Background, unknown: Bool[Tensor, "h w"], disparity: Float[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """Disparity, in holes that of their background."""
    far = disparity.clone(memory_format=torch.contiguous_format)
    far.view(-1)[background.pixel] = background.disparity[background.run]
    return far[nearest_known_row(unknown)]


def _nearest_of_patch(
    unknown: Bool[Tensor, "h w"], disparity: Float[Tensor, "h w"], patch_px: int
) -> Float[Tensor, "h w"]:
    """Largest disparity in the patch around each pixel, inf where it holds something unknown or leaves the picture."""
    reach = patch_px // 2
    blocked = disparity.masked_fill(unknown, torch.inf)
    if min(blocked.shape) < patch_px:
        return torch.full_like(blocked, torch.inf)
    nearest = F.max_pool2d(blocked[None, None], patch_px, stride=1)[0, 0]
    return F.pad(nearest, (reach, reach, reach, reach), value=torch.inf)


def _trust(background: Background, unknown: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Weight of each pixel's colour: 1 where known, in holes less with the distance from the source."""
    trust = torch.ones(unknown.shape, device=unknown.device)
    distance = (background.edge[background.run] - background.pixel).abs()
    trust.view(-1)[background.pixel] = DISTRUST ** -distance.float()
    return trust[nearest_known_row(unknown)]


def _mirrored(background: Background, unknown: Bool[Tensor, "h w"], reach_px: int) -> Int64[Tensor, "h w"]:
    """Column in which a mirror shows each unknown pixel that stands so many px beyond the edge of its hole, else -1."""
    width = unknown.shape[1]
    columns = torch.full(unknown.shape, -1, device=unknown.device)
    mirror = background.edge % width + reach_px * background.step
    columns.view(-1)[background.pixel] = 2 * mirror[background.run] - background.pixel % width
    return columns
