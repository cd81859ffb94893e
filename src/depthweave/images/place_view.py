"""A reconstruction in one picture: the cloud and the camera's way from above and from the side, and a few maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

_WIDTH_IN, _HEIGHT_IN, _DPI = 12.0, 9.0, 100
_WAY, _START = "#d62728", "#2ca02c"
_MOST_POINTS = 60_000


def draw_places(
    points: Float[Tensor, "n 3"],
    colors: UInt8[Tensor, "n 3"] | None,
    centres: Float[Tensor, "t 3"],
    forward: Float[Tensor, "t 3"],
    maps: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    unit: str,
    title: str,
) -> NDArray[np.uint8]:
    """Picture (H, W, 3): above, the cloud with the cameras from above (x right, z up) and from the side; below, maps.

    Args:
        points: of the cloud in the world's axes (x right, y down, z forward); may be none.
        colors: R, G, B of the points.
        centres: of the cameras, in order.
        forward: directions in which they look.
        maps: titles and pictures for the lower row.
        unit: of the world, for the axes.
        title: of the whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(2, 6, height_ratios=(2, 1))
    step = max(1, -(-len(points) // _MOST_POINTS))
    shown = points[::step].double().numpy()
    paint = "#888888" if colors is None else colors[::step].numpy() / 255
    way, look = centres.double().numpy(), forward.double().numpy()
    views = (("from above", 0, 2, "x", "z (forward)"), ("from the side", 2, 1, "z (forward)", "y (down)"))
    low, high = _bounds(shown, way)
    arrow = 0.06 * float((high - low).max())
    for column, (name, across, up, across_label, up_label) in zip((0, 3), views, strict=True):
        axes = figure.add_subplot(grid[0, column : column + 3])
        axes.scatter(shown[:, across], shown[:, up], c=paint, s=1.5, linewidths=0)
        axes.plot(way[:, across], way[:, up], color=_WAY, linewidth=1.5, label="camera")
        chosen = np.unique(np.linspace(0, len(way) - 1, min(len(way), 12)).round().astype(int))
        axes.quiver(
            way[chosen, across],
            way[chosen, up],
            arrow * look[chosen, across],
            arrow * look[chosen, up],
            color=_WAY,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.004,
        )
        axes.plot(*way[0, [across, up]], "o", color=_START, markersize=6, label="first frame")
        middle, half = (low + high) / 2, max(high[across] - low[across], high[up] - low[up]) / 2
        axes.set_xlim(middle[across] - half, middle[across] + half)
        upwards = -1 if up == 1 else 1  # y points down
        axes.set_ylim(middle[up] - upwards * half, middle[up] + upwards * half)
        axes.set_aspect("equal")
        axes.set_xlabel(f"{across_label} [{unit}]")
        axes.set_ylabel(f"{up_label} [{unit}]")
        axes.set_title(name)
        axes.legend(loc="best", fontsize=8)
    for number, (name, picture) in enumerate(maps[:3]):
        axes = figure.add_subplot(grid[1, 2 * number : 2 * number + 2])
        axes.imshow(picture)
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    canvas.draw()
    drawn: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return drawn


def _bounds(points: NDArray[np.float64], way: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Box around the way and 98 % of the points, with a margin; never empty."""
    boxes = [way]
    if len(points):
        boxes.append(np.percentile(points, (1, 99), axis=0))
    corners = np.concatenate(boxes)
    low, high = corners.min(0), corners.max(0)
    margin = max(0.05 * float((high - low).max()), 1e-6)
    return low - margin, high + margin
