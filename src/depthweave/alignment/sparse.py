"""A dense shape and a few measured distances: robust scale and shift, then a smooth correction in log depth.

A measurement stands for a **region** of the picture, (left, top, right, bottom) in px between pixel centres' borders:
a zone of a time-of-flight sensor covers many pixels, a LiDAR point the one pixel that it falls into.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from depthweave.alignment.scale_shift import Domain, Fit, fit_scale, fit_scale_shift, weighted_median
from depthweave.errors import WrongInput

LEAST_REGIONS = 3
LEAST_SHARE = 0.25
"""Share of a region's pixels that must be valid for its statistic to stand for it."""
LEAST_LIMIT = 0.02
"""Log ratios that close to the grid are never outliers: without it, rounds on exact data would drop the corners."""
_ROUNDS = 10

Used = Literal["scale and shift", "scale"]


def region_quantile(
    values: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    regions_px: Float[Tensor, "n 4"],
    *,
    quantile: float | int = 0.5,
) -> tuple[Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """A quantile of the valid values in each region, and which regions have enough of them.

    A pixel belongs to a region when its centre lies in it; a region smaller than a pixel is the pixel that its centre
    falls into. The quantile is interpolated between the two nearest values.

    Args:
        values: map (h, w) in any unit.
        valid: pixels that count.
        regions_px: (n, 4) left, top, right, bottom in px, integer coordinates at pixel centres.
        quantile: 0.5 is the median, the robust mean of a zone; 0.2 of depth imitates a sensor's first return.

    Returns:
        values (n,), 0 where the region lacks pixels, and a mask (n,): a quarter of the region's pixels must be valid.

    Raises:
        WrongInput: a quantile outside [0, 1].
    """
    if not 0 <= quantile <= 1:
        raise WrongInput(f"a quantile lies in [0, 1], not {quantile}; 0.5 is the median.")
    height, width = values.shape
    found, usable = values.new_zeros(len(regions_px)), torch.zeros(len(regions_px), dtype=torch.bool)
    x, y = (regions_px[:, 0::2].mean(-1).round().long(), regions_px[:, 1::2].mean(-1).round().long())
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    first = torch.ceil(regions_px[:, :2]).long()
    last = torch.ceil(regions_px[:, 2:]).long()  # the border to the right belongs to the next region
    points = ((last - first) <= 1).all(-1)
    single = points & inside
    usable[single] = valid[y[single], x[single]]
    found[single] = torch.where(usable[single], values[y[single], x[single]], 0.0)
    for index in torch.nonzero(~points)[:, 0].tolist():
        (left, top), (right, bottom) = first[index].clamp_min(0).tolist(), last[index].clamp_min(0).tolist()
        part, known = values[top:bottom, left:right], valid[top:bottom, left:right]
        if part.numel() and float(known.float().mean()) >= LEAST_SHARE:
            found[index] = torch.quantile(part[known].double(), quantile).to(values.dtype)
            usable[index] = True
    return found, usable


def fit_regions(
    predicted: Float[Tensor, "n"],
    measured: Float[Tensor, "n"],
    usable: Bool[Tensor, "n"],
    *,
    shift: bool = True,
    weights: Float[Tensor, "n"] | None = None,
) -> tuple[Fit, Used]:
    """Scale a and shift b with a m + b close to what was measured, by Huber's iteratively reweighted least squares.

    Where the best a is not positive, or the predictions do not vary, a scale alone is fitted: a negative one would turn
    the scene inside out.

    Args:
        predicted: m, one number per region, e.g. affine inverse depth.
        measured: in the same domain, e.g. 1/Z in 1/m.
        usable: regions that count.
        shift: False fits a scale alone.
        weights: of each region, e.g. 1 / sigma^2 of what was measured; equal without.

    Raises:
        WrongInput: fewer than three usable regions, or no positive scale fits them.

    Source: Huber, Robust Statistics, 1981, section 7.8, with the limits of `fit_scale_shift`.
    """
    count = int(usable.sum())
    if count < LEAST_REGIONS:
        raise WrongInput(
            f"{count} measured regions lie on valid depth, and a fit needs {LEAST_REGIONS}; check the status of the "
            "zones, their place in the picture, and the map's valid pixels."
        )
    p, g, mask = predicted[None], measured[None], usable[None]
    w = None if weights is None else weights[None]
    if shift and float(p[mask].max() - p[mask].min()) > 1e-6 * float(p[mask].abs().max()):
        found = fit_scale_shift(p, g, mask, weights=w, method="huber")
        if float(found.scale) > 0:
            return found, "scale and shift"
    found = fit_scale(p, g, mask, weights=w, method="huber")
    if not float(found.scale) > 0:
        raise WrongInput("no positive scale brings the map to what was measured; check that both are of one scene.")
    return found, "scale"


def fit_log_grid(
    log_ratio: Float[Tensor, "n"],
    centres_px: Float[Tensor, "n 2"],
    size: tuple[int, int],
    *,
    weights: Float[Tensor, "n"] | None = None,
    grid: tuple[int, int] = (8, 8),
    smoothness: float = 0.1,
) -> Float[Tensor, "rows columns"]:
    """A smooth grid g of log scales: its bilinear interpolation is close to the log ratio at every region's centre.

    Minimises sum_i w_i huber(g(x_i) - r_i) + smoothness * sum over neighbours (g_a - g_b)^2, by ten rounds of
    reweighted least squares with the limit 1.345 * 1.4826 * median |residual|, at least 0.02. Weights are scaled to
    mean 1.

    Args:
        log_ratio: r = ln measured - ln predicted depth (n,).
        centres_px: where (n, 2), (x, y) px of the picture.
        size: height and width of the picture in px.
        weights: of each region; equal without.
        grid: rows and columns; nodes stand in the centres of its cells, beyond the outer ones it is constant.
        smoothness: weight of a difference between neighbours, against regions of mean weight 1.

    Raises:
        WrongInput: no region, a grid without cells, or a smoothness that is not positive.

    Source: the scale map of Wofk et al., Monocular Visual-Inertial Depth Estimation, ICRA 2023, section III, as a
    least-squares grid instead of a network.
    """
    rows, columns = grid
    if len(log_ratio) == 0 or rows < 1 or columns < 1 or not smoothness > 0:
        raise WrongInput("a grid of scales needs a region, a row, a column, and a positive smoothness.")
    nodes, shares = _bilinear(centres_px.double(), size, grid)
    w = torch.ones_like(shares[:, 0]) if weights is None else weights.double() / weights.double().mean()
    target, stiff = log_ratio.double(), smoothness * _differences(rows, columns)
    found, robust = torch.zeros(rows * columns, dtype=torch.float64), torch.ones_like(w)
    for _ in range(_ROUNDS):
        found = _solve(nodes, shares, w * robust, target, stiff)
        residual = ((found[nodes] * shares).sum(-1) - target).abs()
        limit = 1.345 * 1.4826 * weighted_median(residual[None], w[None])
        robust = (limit.clamp_min(LEAST_LIMIT) / residual.clamp_min(1e-9)).clamp_max(1.0)
    return found.reshape(rows, columns).to(log_ratio.dtype)


def spread_grid(nodes: Float[Tensor, "rows columns"], size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """A grid of numbers at a picture's size: bilinear by the half-pixel rule, constant beyond the outer nodes."""
    return torch.nn.functional.interpolate(nodes[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def spread_regions(
    values: Float[Tensor, "n"],
    centres_px: Float[Tensor, "n 2"],
    usable: Bool[Tensor, "n"],
    size: tuple[int, int],
    *,
    grid: tuple[int, int] | None = None,
    domain: Domain = "depth",
) -> Float[Tensor, "h w"]:
    """A map of nothing but the measurements: the plain upsampling that every fusion has to beat.

    Zones of a sensor in rows and columns are interpolated bilinearly between their centres, after the unusable ones
    have taken the value of the nearest usable one; other measurements linearly in the triangles between them. Beyond
    the outer ones the nearest counts.

    Args:
        values: depth (n,).
        centres_px: (n, 2) px; of zones row by row.
        usable: measurements that count.
        size: height and width of the map.
        grid: rows and columns of a sensor's zones, None for scattered points.
        domain: interpolate depth, or inverse depth.

    Raises:
        WrongInput: nothing is usable.
    """
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    if not bool(usable.any()):
        raise WrongInput("no measurement is usable, so there is nothing to spread; check the status of the zones.")
    height, width = size
    known = values[usable] if domain == "depth" else 1 / values[usable]
    places = centres_px[usable].double().numpy()
    nearest = NearestNDInterpolator(places, known.double().numpy())
    if grid is not None:
        filled = torch.from_numpy(nearest(centres_px.double().numpy())).reshape(grid)
        x, y = (centres_px[..., axis].double().reshape(grid) for axis in (0, 1))
        spread = _spread_zones(filled, x[0], y[:, 0], size)
    else:
        row, column = np.mgrid[:height, :width]
        found = np.full(size, np.nan)
        if len(places) > LEAST_REGIONS and np.linalg.matrix_rank(places - places.mean(0)) == 2:
            found = LinearNDInterpolator(places, known.double().numpy())(column, row)
        outside = ~np.isfinite(found)
        found[outside] = nearest(column[outside], row[outside])
        spread = torch.from_numpy(found)
    return (spread if domain == "depth" else 1 / spread).to(values.dtype)


def spread_log_sigma(
    spread: Float[Tensor, "h w"],
    centres_px: Float[Tensor, "n 2"],
    usable: Bool[Tensor, "n"],
    *,
    relative_sigma: float,
) -> Float[Tensor, "h w"]:
    """Expected error of the logarithm of `spread_regions`: small on a wall, large between two things and far outside.

    sigma = relative_sigma + range / sqrt(12) + (distance - 0.75)+ * deviation, with the range of ln Z over a window of
    one spacing (a depth anywhere between two neighbours has the deviation of a uniform draw), the distance to the
    nearest usable measurement in spacings, and the deviation of ln Z over the whole map. The spacing is the square
    root of the area of the measurements' bounding box per measurement.

    Args:
        spread: depth (h, w), positive.
        centres_px: of all measurements (n, 2).
        usable: measurements that count.
        relative_sigma: of a measurement itself, sigma_Z / Z.
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

    height, width = spread.shape
    corners = centres_px.amin(0), centres_px.amax(0)
    spacing = max(1.0, float((corners[1] - corners[0]).clamp_min(1).prod() / len(centres_px)) ** 0.5)
    window = 2 * round(spacing / 2) + 1
    logs = spread.log().double().numpy()
    change = maximum_filter(logs, window, mode="nearest") - minimum_filter(logs, window, mode="nearest")
    away = np.ones((height, width), dtype=np.bool_)
    x, y = centres_px[usable].round().long().unbind(-1)
    away[y.clamp(0, height - 1).numpy(), x.clamp(0, width - 1).numpy()] = False
    beyond = np.maximum(distance_transform_edt(away) / spacing - 0.75, 0)
    return torch.from_numpy(relative_sigma + change / 12**0.5 + beyond * logs.std()).to(spread.dtype)


def _spread_zones(values: Tensor, x_px: Tensor, y_px: Tensor, size: tuple[int, int]) -> Tensor:
    rows = _between(torch.arange(size[0], dtype=torch.float64), y_px.contiguous())
    columns = _between(torch.arange(size[1], dtype=torch.float64), x_px.contiguous())
    return rows @ values @ columns.T


def _between(places: Tensor, nodes: Tensor) -> Tensor:
    """(m, k) shares of k ascending nodes in a linear interpolation at m places, constant beyond the ends."""
    shares = torch.zeros(len(places), len(nodes), dtype=places.dtype)
    if len(nodes) == 1:
        return shares + 1
    upper = torch.searchsorted(nodes, places).clamp(1, len(nodes) - 1)
    part = ((places - nodes[upper - 1]) / (nodes[upper] - nodes[upper - 1])).clamp(0, 1)
    shares.scatter_(1, (upper - 1)[:, None], (1 - part)[:, None])
    return shares.scatter_(1, upper[:, None], part[:, None])


def _bilinear(
    centres_px: Float[Tensor, "n 2"], size: tuple[int, int], grid: tuple[int, int]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Nodes and shares with which `spread_grid` would make the value at each centre."""
    (height, width), (rows, columns) = size, grid
    x = ((centres_px[:, 0] + 0.5) * columns / width - 0.5).clamp(0, columns - 1)
    y = ((centres_px[:, 1] + 0.5) * rows / height - 0.5).clamp(0, rows - 1)
    left, top = x.floor().long().clamp_max(max(columns - 2, 0)), y.floor().long().clamp_max(max(rows - 2, 0))
    right, bottom = (left + 1).clamp_max(columns - 1), (top + 1).clamp_max(rows - 1)
    dx, dy = x - left, y - top
    nodes = torch.stack(
        (top * columns + left, top * columns + right, bottom * columns + left, bottom * columns + right)
    )
    return nodes.T, torch.stack(((1 - dx) * (1 - dy), dx * (1 - dy), (1 - dx) * dy, dx * dy)).T


def _differences(rows: int, columns: int) -> Float[Tensor, "k k"]:
    """Normal matrix of the differences between neighbours in rows and columns."""
    number = torch.arange(rows * columns).reshape(rows, columns)
    pairs = torch.cat(
        (
            torch.stack((number[:, 1:].reshape(-1), number[:, :-1].reshape(-1)), -1),
            torch.stack((number[1:].reshape(-1), number[:-1].reshape(-1)), -1),
        )
    )
    steps = torch.zeros(len(pairs), rows * columns, dtype=torch.float64)
    steps[torch.arange(len(pairs)), pairs[:, 0]] = 1
    steps[torch.arange(len(pairs)), pairs[:, 1]] = -1
    return steps.T @ steps


def _solve(nodes: Tensor, shares: Tensor, weights: Tensor, target: Tensor, stiff: Tensor) -> Tensor:
    # Each region touches four nodes, so its part of the normal matrix has sixteen entries.
    matrix, right = stiff.clone(), torch.zeros(len(stiff), dtype=torch.float64)
    products = weights[:, None, None] * shares[:, :, None] * shares[:, None, :]
    places = nodes[:, :, None] * len(stiff) + nodes[:, None, :]
    matrix.view(-1).index_add_(0, places.reshape(-1), products.reshape(-1))
    right.index_add_(0, nodes.reshape(-1), (weights[:, None] * shares * target[:, None]).reshape(-1))
    found: Tensor = torch.linalg.solve(matrix, right)
    return found
