"""The background continued into the holes: no weights, a few milliseconds."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis.edges import least_of
from depthweave.synthesis.holes import Background, find_background, nearest_known_row, require_hole

# A median of three independent normal numbers lacks a share of their variance. How much larger its standard deviation
# is than the deviation of a number from that median, and than the median of the absolute difference.
_OF_DEVIATION, _OF_MEDIAN = 0.84, 2.367


@dataclass(frozen=True)
class BackgroundFiller:
    """Continues the background of every hole by its mirror image, row by row.

    Per run of unknown pixels on a row, the end with the smaller disparity is the background. The pixels beyond it are
    copied as in a mirror, as far as they are known and belong to the same surface; if the surface ends before, a second
    mirror stands there, so that one pixel alone is continued as a constant. Where a few rows find a nearer background
    than those above and below, they take the colours of those. A vertical median of three inside the holes then takes
    streaks away, and noise gives back the variance that the median took.

    Attributes:
        surface_px: disparities that differ by less belong to the same surface.
        steady_px: up to twice so many rows with a nearer background are overruled; 0 = none.
        noise: factor of the standard deviation of the noise; 0 = none.

    Source: our reconstruction.
    """

    surface_px: float | int = 1.0
    steady_px: int = 4
    noise: float | int = 1.0

    def __post_init__(self) -> None:
        if self.surface_px <= 0 or self.steady_px < 0 or self.noise < 0:
            raise WrongInput(
                "surface_px is positive, steady_px and noise are not negative, not "
                f"{self.surface_px}, {self.steady_px} and {self.noise}."
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
        hidden = unknown.all(1)
        if not bool(hidden.any()):
            return self._filled(image, unknown, wanted, disparity, rng)
        # Rows without a known pixel take the nearest row that has some.
        filled = self._filled(image, unknown, unknown, disparity, rng)[:, nearest_known_row(unknown)]
        return torch.where(wanted, filled, image)

    def _filled(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        rng: np.random.Generator,
    ) -> Float[Tensor, "3 h w"]:
        background = find_background(unknown, wanted, disparity)
        source = mirrored_pixels(background, unknown, disparity, surface_px=self.surface_px)
        copied = image.flatten(1).index_select(1, source)
        if self.steady_px:
            copied = copied.index_select(1, _steady(background, unknown.shape[1], self.steady_px, self.surface_px))
        smooth = _vertical_median(copied, background.pixel, unknown.shape[1])
        if self.noise > 0:
            smooth = smooth + self.noise * _lost_noise(copied - smooth, background, rng)
        filled = image.clone(memory_format=torch.contiguous_format)
        filled.view(3, -1)[:, background.pixel] = smooth.clamp(0, 1)
        return filled


def mirrored_pixels(
    background: Background, unknown: Bool[Tensor, "h w"], disparity: Float[Tensor, "h w"], *, surface_px: float | int
) -> Int64[Tensor, "n"]:
    """Number of the pixel that each wanted one is copied from, in its own row.

    Pixel number j of a run, counted from its source, takes pixel number j of the source's surface; where the surface
    has only m of them, the one at the place of the triangle wave of period 2 m.

    Args:
        background: of `find_background`.
        unknown: pixels that may not be copied.
        disparity: px.
        surface_px: pixels whose disparity differs by less from the source's belong to its surface.
    """
    width, run = unknown.shape[1], background.run
    edge, step = background.edge[run], background.step[run]
    # 0 next to the source; the room to the border of the picture is counted in the same way.
    number = (edge - background.pixel) * step - 1
    column = background.edge % width
    room = torch.where(background.step > 0, width - column, column + 1)
    opposite = edge + step * torch.minimum(number, room[run] - 1)
    near = background.disparity[run]

    def outside(pixel: Int64[Tensor, "n"]) -> Bool[Tensor, "n"]:
        return unknown.take(pixel) | ((disparity.take(pixel) - near).abs() >= surface_px)

    # The first pixel outside of the surface, looked for over all wanted pixels of the run.
    ended = outside(opposite)
    reach = room.scatter_reduce(0, run[ended], number[ended], "amin").clamp(min=1)[run]
    phase = number % (2 * reach)
    found = edge + step * torch.minimum(phase, 2 * reach - 1 - phase)
    # Where only part of a run is wanted, no wanted pixel may have looked there.
    return edge.where(outside(found), found)


def _steady(background: Background, width: int, reach_px: int, surface_px: float | int) -> Int64[Tensor, "n"]:
    """For each wanted pixel itself, or the nearest one above or below whose background is steady.

    Not steady are peaks of the background's disparity of at most 2 reach rows: what a morphological opening along
    columns lowers by more than a surface can rise in reach rows.
    """
    pixel = background.pixel
    itself = torch.arange(len(pixel), device=pixel.device)
    reach, margin = reach_px * width, 2 * reach_px * width
    number = torch.full((int(pixel.max()) + 1 + 2 * margin,), -1, device=pixel.device)
    number[pixel + margin] = itself
    behind = torch.full((len(number),), torch.inf, device=pixel.device)
    behind[pixel + margin] = background.disparity[background.run].to(behind)
    eroded = least_of(behind, 2 * reach_px + 1, stride=width)
    eroded = eroded.where(number[reach : len(number) - reach] >= 0, -torch.inf)
    opened = -least_of(-eroded, 2 * reach_px + 1, stride=width)
    steady = behind[pixel + margin] - opened[pixel] <= surface_px * reach_px
    searching, chosen = (~steady).nonzero()[:, 0], itself
    for rows in range(1, 2 * reach_px + 1):
        for way in (-rows, rows):
            found = number[pixel[searching] + margin + way * width]
            good = (found >= 0) & steady[found]
            chosen = chosen.index_put((searching[good],), found[good])
            searching = searching[~good]
    return chosen


def _vertical_median(copied: Float[Tensor, "3 n"], pixel: Int64[Tensor, "n"], width: int) -> Float[Tensor, "3 n"]:
    """Median of each wanted pixel and the ones above and below; the pixel itself stands for one that is not wanted."""
    itself = torch.arange(len(pixel), device=pixel.device)
    number = torch.full((int(pixel.max()) + 1 + 2 * width,), -1, device=pixel.device)
    number[pixel + width] = itself
    above, below = (
        copied.index_select(1, other.where(other >= 0, itself))
        for other in (number.take(pixel), number.take(pixel + 2 * width))
    )
    low, high = torch.minimum(above, below), torch.maximum(above, below)
    return torch.minimum(torch.maximum(copied, low), high)


def _lost_noise(lost: Float[Tensor, "3 n"], background: Background, rng: np.random.Generator) -> Float[Tensor, "3 n"]:
    """Gaussian noise with the deviation of what the median took: of the run or of all runs, whichever is smaller."""
    # Sums of whole numbers do not depend on the order of adding.
    squares = (lost**2 * 2**32).long()
    sums = torch.zeros((3, len(background.edge)), device=lost.device, dtype=torch.int64)
    sums.index_add_(1, background.run, squares)
    counts = torch.bincount(background.run, minlength=len(background.edge)).clamp(min=1)
    typical = _OF_MEDIAN * lost.abs().median(1, keepdim=True).values
    deviation = (_OF_DEVIATION * (sums / counts / 2**32).sqrt()).to(lost).clamp(max=typical)
    # Drawn on the host, so that devices agree on it.
    noise = torch.from_numpy(rng.standard_normal(lost.shape, dtype=np.float32)).to(lost)
    return noise * deviation.index_select(1, background.run)
