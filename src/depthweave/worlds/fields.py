"""What tiles are made of: periodic noise, lattices, cells, colours and relief."""

import colorsys
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 256
"""Width and height of a tile in texels."""

Plane = NDArray[Any]
"""(TILE, TILE), float32 as all of these: the hints of numpy lose it along the way."""
Picture = NDArray[Any]
"""(TILE, TILE, 3), bytes as floats, not yet clipped."""
Colours = NDArray[Any]
"""(n, 3), or (3,) for one."""
Draw = np.random.Generator

X = np.arange(0.5, TILE, dtype=np.float32)[None]
Y = X.T
"""Centres of the texels."""
FREQUENCY_X = np.fft.rfftfreq(TILE).astype(np.float32)[None]
FREQUENCY_Y = np.fft.fftfreq(TILE).astype(np.float32)[:, None]


def log_uniform(rng: Draw, low: float | int, high: float | int) -> float:
    """A number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def pick(rng: Draw, *values: float | int) -> float:
    """One of the values, each equally likely."""
    return float(values[rng.integers(len(values))])


def natural(rng: Draw) -> Colours:
    """A colour (3,) of brick, wood, sand, stone, leaves or sky."""
    hue = pick(rng, 0.03, 0.06, 0.08, 0.1, 0.13, 0.27, 0.58) + rng.normal(0, 0.02)
    rgb = colorsys.hsv_to_rgb(hue % 1.0, rng.beta(2, 3.5), rng.uniform(0.12, 1.0))
    return np.asarray(rgb, np.float32) * 250


def colour(rng: Draw) -> Colours:
    """Any colour (3,): 38 % nearly grey, 48 % natural, 14 % anything."""
    choice = rng.random()
    if choice < 0.38:
        return np.clip(rng.uniform(10, 245) + rng.normal(0, 6, 3), 4, 252).astype(np.float32)
    if choice < 0.86:
        return natural(rng)
    return rng.uniform(10, 245, 3).astype(np.float32)


def palette(rng: Draw, count: int, base: Colours | None = None) -> Colours:
    """`count` colours that mostly are shades of one, `base` or any."""
    center = colour(rng) if base is None else base
    related = [np.clip(center + rng.normal(0, rng.uniform(8, 70), 3), 0, 255) for _ in range(count)]
    return np.stack([shade if rng.random() < 0.7 else colour(rng) for shade in related]).astype(np.float32)


def jitter(rng: Draw, deviation: float | int, *shape: int) -> NDArray[Any]:
    """Normal numbers about 0."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


def mix(share: Plane, first: NDArray[Any], second: NDArray[Any]) -> Picture:
    """`second` where share is 1, `first` where it is 0; both are colours (3,) or pictures."""
    weight = share[..., None]
    mixed: Picture = first + weight * (second - first)
    return mixed


def soft(distance_px: Plane, width_px: float | int = 1.0) -> Plane:
    """0 outside (negative distance), 1 inside, with an edge `width_px` wide."""
    return np.clip(distance_px / width_px + 0.5, 0, 1)


def noise(rng: Draw, slope: float | int, channels: int = 1, *, stretch: float | int = 1.0) -> NDArray[Any]:
    """Periodic Gaussian noise (TILE, TILE, channels) of mean 0 and standard deviation 1.

    Args:
        rng: draws it.
        slope: amplitude falls as frequency^-slope: 0 is white, 1 is like photographs, 2 is clouds.
        channels: independent planes.
        stretch: how much longer its features are along x than along y.
    """
    squares = FREQUENCY_Y**2 / np.float32(stretch) + FREQUENCY_X**2 * np.float32(stretch)
    squares[0, 0] = 1.0
    amplitude = squares ** np.float32(-slope / 2)
    amplitude[0, 0] = 0.0
    planes = np.empty((TILE, TILE, channels), np.float32)
    for channel in range(channels):
        spectrum = rng.standard_normal((TILE, TILE + 2), dtype=np.float32).view(np.complex64) * amplitude
        plane = np.fft.irfft2(spectrum, s=(TILE, TILE))
        planes[..., channel] = plane / plane.std()
    return planes


def spread(rng: Draw, slope: float | int, *, stretch: float | int = 1.0) -> Plane:
    """One plane of `noise`."""
    return noise(rng, slope, stretch=stretch)[..., 0]


def blur(picture: NDArray[Any], sigma_px: float | int) -> NDArray[Any]:
    """Gaussian blur of a periodic picture or plane, up to about 8 px."""
    margin = min(TILE, int(3 * sigma_px) + 2)
    smooth: NDArray[Any] = cv2.GaussianBlur(_wrapped(picture, margin), (0, 0), sigma_px)
    return smooth[margin:-margin, margin:-margin]


def relief(rng: Draw, height: Plane, strength: float | int) -> NDArray[Any]:
    """Factor (TILE, TILE, 1) by which light from one side changes a surface.

    Args:
        rng: draws the side.
        height: of the surface, in any unit.
        strength: standard deviation of the factor.
    """
    angle = rng.uniform(0, 2 * np.pi)
    across = math.cos(angle) * (np.roll(height, -1, 1) - np.roll(height, 1, 1))
    slope = across + math.sin(angle) * (np.roll(height, -1, 0) - np.roll(height, 1, 0))
    light = 1 + slope * np.float32(strength / (slope.std() + 1e-6))
    return np.clip(light, 0.35, 1.6)[..., None]


class Lattice:
    """A warped grid of `columns` x `rows` cells.

    Attributes:
        u, v: place inside of the cell, in [0, 1).
        column, row: of the cell.
        inside_px: distance to the nearest border of the cell.
    """

    def __init__(
        self, rng: Draw, columns: int, rows: int, *, warp_px: float | int = 0.0, shifts: NDArray[Any] | None = None
    ) -> None:
        """Lay it out.

        Args:
            rng: draws the warp.
            columns, rows: number of cells.
            warp_px: standard deviation of how far its lines stray.
            shifts: of each row, in cells.
        """
        self.columns, self.rows = columns, rows
        x, y = np.broadcast_arrays(X, Y)
        if warp_px > 0:
            stray = noise(rng, 2.0, 2) * np.float32(warp_px)
            x, y = x + stray[..., 0], y + stray[..., 1]
        self.v, self.row = _split(y * (rows / TILE), rows)
        u = x * (columns / TILE)
        if shifts is not None:
            u = u + shifts.astype(np.float32)[self.row]
        self.u, self.column = _split(u, columns)
        self.inside_px = np.minimum(
            np.minimum(self.u, 1 - self.u) * (TILE / columns), np.minimum(self.v, 1 - self.v) * (TILE / rows)
        )

    def each(self, values: NDArray[Any]) -> NDArray[Any]:
        """Look up `values` (rows, columns, ...) of every texel's cell."""
        return values[self.row, self.column]


def _split(place: Plane, cells: int) -> tuple[Plane, NDArray[np.int32]]:
    """Place inside of a cell, and which of the repeating `cells` it is."""
    whole = np.floor(place)
    periods = np.floor(whole * np.float32(1 / cells) + np.float32(0.5 / cells))
    return place - whole, (whole - periods * cells).astype(np.int32)


def voronoi(rng: Draw, count: int, warp_px: float | int) -> tuple[NDArray[np.int32], Plane]:
    """Cells around random points.

    Args:
        rng: draws the points.
        count: how many.
        warp_px: how far the borders stray from straight lines.

    Returns:
        the number of the cell at every texel, and the distance to its border in px.
    """
    margin = min(TILE // 2, round(3 * TILE / count**0.5) + 4)
    seeds = np.unravel_index(rng.choice(TILE * TILE, count, replace=False), (TILE, TILE))
    free = np.ones((TILE, TILE), np.uint8)
    free[seeds] = 0
    number = np.zeros((TILE, TILE), np.int32)
    number[seeds] = np.arange(count)
    wide = _wrapped(free, margin)
    _, labels = cv2.distanceTransformWithLabels(wide, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(wide == 0)
    owner = np.zeros(len(rows) + 1, np.int32)
    owner[labels[rows, columns]] = number[(rows - margin) % TILE, (columns - margin) % TILE]
    cell = owner[labels[margin:-margin, margin:-margin]]
    if warp_px > 0:
        stray = noise(rng, 1.8, 2) * np.float32(warp_px)
        cell = cell[(Y + stray[..., 1]).astype(np.int32) % TILE, (X + stray[..., 0]).astype(np.int32) % TILE]
    border = (cell != np.roll(cell, 1, 0)) | (cell != np.roll(cell, 1, 1))
    inside = cv2.distanceTransform(_wrapped((~border).astype(np.uint8), margin), cv2.DIST_L2, 5)
    return cell, inside[margin:-margin, margin:-margin]


def _wrapped(picture: NDArray[Any], margin: int) -> NDArray[Any]:
    """Continue a periodic picture by `margin` on every side."""
    wide: NDArray[Any] = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_WRAP)
    return wide
