"""Tiles: square pictures of surfaces that repeat without a seam, each kind drawn from a seed.

Values are bytes, encoded with gamma 2.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import UInt8

from depthweave.errors import WrongInput
from depthweave.worlds.drawings import collage, foliage, leaves, writing
from depthweave.worlds.fields import (
    TILE,
    Draw,
    Lattice,
    Picture,
    Plane,
    X,
    Y,
    blur,
    colour,
    jitter,
    log_uniform,
    mix,
    natural,
    noise,
    palette,
    pick,
    relief,
    soft,
    spread,
    voronoi,
)


def _stray(rng: Draw) -> float:
    """How far the lines of a regular pattern stray, in px: mostly not at all."""
    return pick(rng, 0.0, 0.0, 0.5, 1.5, 4.0)


def _clouds(rng: Draw) -> Picture:
    """Fractal noise in two colours: plaster, carpet, sand, rust."""
    slope, stretch = rng.uniform(0.5, 2.0), pick(rng, 1.0, 1.0, log_uniform(rng, 0.1, 10))
    fields = noise(rng, slope, 2, stretch=stretch)
    if rng.random() < 0.2:
        fields = 1.2 - 2 * np.abs(fields)
    amplitude = log_uniform(rng, 5, 50)
    tint = (1 + jitter(rng, 0.5, 3)) * amplitude
    picture: Picture = colour(rng) + fields[..., :1] * tint + fields[..., 1:] * jitter(rng, 0.35 * amplitude, 3)
    return picture


def _stucco(rng: Draw) -> Picture:
    """A rough surface of one colour under light from one side: render, bark, crumpled cloth, water."""
    height = spread(rng, rng.uniform(1.0, 2.2), stretch=log_uniform(rng, 0.2, 5))
    if rng.random() < 0.3:
        height = np.abs(height)
    light = relief(rng, height, log_uniform(rng, 0.02, 0.3))
    picture: Picture = colour(rng) * light + spread(rng, 1.8)[..., None] * rng.uniform(0, 12)
    return picture


def _patches(rng: Draw) -> Picture:
    """Noise in a few flat colours: camouflage, lichen, peeling paint, hides."""
    count = int(rng.integers(2, 6))
    height = spread(rng, rng.uniform(1.0, 2.2), stretch=log_uniform(rng, 0.5, 2))
    levels = np.clip((height + 1.5) / 3 * count, 0, count - 1)
    step = np.floor(levels)
    edge = soft(levels - step - 1, 0.06) * 2
    colours = palette(rng, count)
    index = step.astype(np.int64)
    after = colours[np.minimum(index + 1, count - 1)]
    return mix(edge, colours[index], after)


def _plain(rng: Draw) -> Picture:
    """Paint, paper, plastic: hardly anything to see."""
    fine = noise(rng, rng.uniform(0.4, 2.0), stretch=pick(rng, 1.0, 1.0, log_uniform(rng, 0.05, 20)))
    stains = noise(rng, 2.2, stretch=log_uniform(rng, 0.5, 2))
    return colour(rng) + fine * log_uniform(rng, 0.25, 4.5) + stains * pick(rng, 0.0, rng.uniform(0, 10))


def _stripes(rng: Draw) -> Picture:
    """Equal or random stripes: cloth, blinds, book spines, corrugated sheet."""
    count = round(log_uniform(rng, 3, 64))
    if rng.random() < 0.4:
        return _spines(rng, count)
    grid = Lattice(rng, count, 1, warp_px=_stray(rng))
    wide = TILE / count
    if rng.random() < 0.3:
        rounded = np.sin(np.pi * grid.u) ** rng.uniform(0.3, 1.5)
        return colour(rng) * (rng.uniform(0.3, 0.8) + 0.5 * rounded[..., None])
    width = rng.uniform(0.15, 0.7) * wide
    colours = palette(rng, 2)
    tone = mix(soft(width / 2 - np.abs(grid.u - 0.5) * wide), colours[0], colours[1])
    picture: Picture = tone + grid.each(jitter(rng, pick(rng, 0, 12), 1, count, 1))
    return picture


def _spines(rng: Draw, count: int) -> Picture:
    """Stripes of random widths and colours."""
    widths = np.exp(rng.normal(0, rng.uniform(0.2, 0.8), count))
    ends = np.cumsum(widths) / widths.sum() * TILE
    place = (X + noise(rng, 2.0)[..., 0] * _stray(rng)) % TILE
    index = np.minimum(np.searchsorted(ends, place), count - 1)
    inside = np.minimum(place - (ends - widths / widths.sum() * TILE)[index], ends[index] - place).astype(np.float32)
    several = palette(rng, int(rng.integers(3, 12)))
    colours = several[rng.integers(len(several), size=count)]
    shadow = 1 - rng.uniform(0, 0.7) * np.exp(-inside / rng.uniform(0.5, 3))
    picture: Picture = colours[index] * shadow[..., None].astype(np.float32)
    return picture


def _checkers(rng: Draw) -> Picture:
    """Chessboards, gingham and floors of two or three colours."""
    pairs = round(log_uniform(rng, 1.5, 24))
    rows = max(1, round(pairs * pick(rng, 1.0, 1.0, 0.5, 2.0)))
    grid = Lattice(rng, 2 * pairs, 2 * rows, warp_px=_stray(rng))
    odd_x, odd_y = (grid.column % 2).astype(np.float32), (grid.row % 2).astype(np.float32)
    colours = palette(rng, 2)
    share = (odd_x + odd_y) / 2 if rng.random() < 0.3 else np.abs(odd_x - odd_y)
    tone = mix(blur(share, rng.uniform(0.3, 0.9)), colours[0], colours[1])
    picture: Picture = tone + grid.each(jitter(rng, pick(rng, 0, 6, 15), 2 * rows, 2 * pairs, 1))
    return picture


def _dots(rng: Draw) -> Picture:
    """Dots in rows, staggered or not, of one size or of many: cloth, perforated sheet, rivets."""
    rows = 2 * round(log_uniform(rng, 2, 20))
    shifts = np.arange(rows) % 2 * pick(rng, 0.0, 0.5) + pick(rng, 0.0, 0.0, 1.0) * rng.random(rows)
    grid = Lattice(rng, rows, rows, warp_px=_stray(rng), shifts=shifts)
    pitch = TILE / rows
    vary = pick(rng, 0.0, 0.0, 0.5)
    radius = pitch * rng.uniform(0.15, 0.45) * (1 - vary * rng.random((rows, rows), np.float32))
    away = np.hypot(grid.u - 0.5, grid.v - 0.5) * pitch
    several = palette(rng, int(pick(rng, 1, 1, 4)))
    dots = grid.each(several[rng.integers(len(several), size=(rows, rows))])
    return mix(soft(grid.each(radius) - away), colour(rng), dots)


def _bricks(rng: Draw) -> Picture:
    """Courses of bricks or shingles with mortar, each a little different."""
    rows = 2 * round(log_uniform(rng, 2, 14))
    columns = max(1, round(rows * pick(rng, 0.33, 0.4, 0.5, 0.5, 1.0)))
    shifts = np.arange(rows) % 2 * 0.5 if rng.random() < 0.7 else rng.random(rows)
    grid = Lattice(rng, columns, rows, warp_px=_stray(rng), shifts=shifts)
    return _masonry(rng, grid, joint_px=max(0.8, TILE / rows * rng.uniform(0.04, 0.2)), roughness=rng.uniform(0.3, 1.3))


def _squares(rng: Draw) -> Picture:
    """Floor and wall tiles, window fronts, grids of thin lines."""
    columns = round(log_uniform(rng, 2, 32))
    rows = max(1, round(columns * pick(rng, 1.0, 1.0, 0.5, 2.0, 0.25)))
    grid = Lattice(rng, columns, rows, warp_px=pick(rng, 0.0, _stray(rng)))
    return _masonry(rng, grid, joint_px=max(0.8, TILE / columns * rng.uniform(0.02, 0.25)), roughness=0.3)


def _masonry(rng: Draw, grid: Lattice, *, joint_px: float | int, roughness: float | int) -> Picture:
    """Stones of a lattice with joints between them."""
    shape = (grid.rows, grid.columns)
    base, joint = palette(rng, 2, natural(rng) if rng.random() < 0.6 else None)
    stones = base + jitter(rng, pick(rng, 2.0, 8.0, 20.0), *shape, 1) + jitter(rng, 5, *shape, 3)
    if rng.random() < 0.25:
        several = palette(rng, int(rng.integers(2, 6)))
        stones = several[rng.integers(len(several), size=shape)]
    surface = spread(rng, rng.uniform(0.6, 1.6))
    inside = grid.inside_px + surface * roughness - joint_px / 2
    face = grid.each(stones) + surface[..., None] * log_uniform(rng, 1, 16)
    if rng.random() < 0.6:
        face = face * relief(rng, np.clip(inside / max(1.5, joint_px), 0, 1), rng.uniform(0.03, 0.18))
    return mix(soft(inside), joint, face)


def _weave(rng: Draw) -> Picture:
    """Cloth, seen thread by thread or as a check of coloured yarns: linen, twill, denim, tartan, wicker."""
    repeat = int(pick(rng, 2, 2, 3, 4))
    across, down = (repeat * round(log_uniform(rng, 10, 90) / repeat) for _ in range(2))
    if rng.random() < 0.7:
        down = across
    grid = Lattice(rng, across, down, warp_px=pick(rng, 0.0, 0.4, 1.0))
    over = (grid.column + grid.row) % repeat < (repeat + 1) // 2
    yarns = palette(rng, int(rng.integers(2, 5)))
    warp, weft = (_yarn_order(rng, yarns, count) for count in (across, down))
    threads = np.where(over[..., None], warp[grid.column], weft[grid.row])
    across_x, across_y = 4 * grid.u * (1 - grid.u), 4 * grid.v * (1 - grid.v)
    profile, bend = np.where(over, across_x, across_y), np.where(over, across_y, across_x)
    depth = rng.uniform(0.1, 0.7)
    shade = 1 - depth + depth * np.sqrt(profile) * (0.6 + 0.4 * bend)
    fibre = 1 + spread(rng, 0.4) * rng.uniform(0.02, 0.12)
    picture: Picture = threads * (shade * fibre)[..., None]
    return picture


def _yarn_order(rng: Draw, yarns: Picture, count: int) -> Picture:
    """Colours of `count` threads side by side: one colour, or bands of several."""
    if rng.random() < 0.5:
        return np.repeat(yarns[rng.integers(len(yarns))][None], count, 0)
    bands = rng.integers(2, 9)
    borders = np.sort(rng.integers(0, count, bands))
    return yarns[rng.integers(len(yarns), size=bands + 1)][np.searchsorted(borders, np.arange(count))]


def _wood(rng: Draw) -> Picture:
    """Planks or veneer: growth rings, fibres, gaps."""
    planks = int(pick(rng, 1, 1, 2, 3, 4, 6, 10))
    boards = int(rng.integers(1, 3))
    grid = Lattice(rng, boards, planks, shifts=rng.random(planks))
    places = rng.integers(0, TILE, (planks, boards, 2), np.int32)
    flow = spread(rng, 2.2, stretch=rng.uniform(4, 20))
    rings = round(log_uniform(rng, 3, 30))
    if planks > 1:
        offset = grid.each(places)
        flow = flow[(Y.astype(np.int32) + offset[..., 1]) % TILE, (X.astype(np.int32) + offset[..., 0]) % TILE]
    phase = 2 * np.pi * (rings * Y / TILE + flow * rng.uniform(0.3, 2.5))
    ring = (0.5 + 0.5 * np.sin(phase)) ** pick(rng, 1, 1, 2, 3)
    fibres = spread(rng, rng.uniform(0.3, 0.9), stretch=log_uniform(rng, 10, 60))
    light = colour(rng)
    if rng.random() < 0.75:
        light = np.array([1.0, rng.uniform(0.65, 0.88), rng.uniform(0.35, 0.75)], np.float32) * rng.uniform(60, 245)
    dark = light * np.float32(rng.uniform(0.4, 0.85))
    tone = mix(ring * rng.uniform(0.2, 1), light, dark)
    tone = tone * (1 + fibres[..., None] * rng.uniform(0.02, 0.14))
    if planks == 1:
        return tone
    tone = tone * grid.each(np.exp(jitter(rng, rng.uniform(0.02, 0.2), planks, boards, 1)))
    return mix(soft(grid.inside_px - rng.uniform(0.2, 1.5)), dark * np.float32(0.4), tone)


def _marble(rng: Draw) -> Picture:
    """Veins through clouds, or the speckles of granite and terrazzo."""
    base, vein = palette(rng, 2)
    if rng.random() < 0.3:
        field = noise(rng, rng.uniform(0.5, 1.1), 2)
        tone = mix(soft(np.abs(field[..., 0]) - rng.uniform(0.6, 1.4), 0.3), base, vein)
        return mix(soft(field[..., 1] - rng.uniform(0.8, 1.6), 0.3), tone, colour(rng))
    stretch = log_uniform(rng, 1, 6)
    bed = noise(rng, rng.uniform(1.3, 2.0), 3, stretch=stretch)
    thin, bold = (np.exp(-np.abs(bed[..., k]) / rng.uniform(0.02, 0.15)) for k in (0, 1))
    share = np.clip(bold * np.clip(bed[..., 2] + 0.5, 0, 1) + 0.5 * thin * (bed[..., 1] > 0), 0, 1)
    clouded = base + bed[..., 2:] * rng.uniform(2, 25)
    return mix(share * rng.uniform(0.4, 1), clouded, vein)


def _cells(rng: Draw) -> Picture:
    """Cells around random points in a few colours: mosaics, cracked mud, leather, giraffes."""
    count = round(log_uniform(rng, 20, 1500))
    cell, inside = voronoi(rng, count, pick(rng, 0.0, rng.uniform(0, 6)))
    colours = palette(rng, 8)
    tone = colours[rng.integers(8, size=count)][cell]
    if rng.random() < 0.3:
        tone = np.broadcast_to(colours[0], tone.shape)
        inside = np.abs(inside * (0.6 + 0.4 * spread(rng, 1.0)))
    if rng.random() < 0.7:
        border = np.exp(-inside / rng.uniform(0.5, 3.5)) * rng.uniform(0.2, 0.95)
        tone = mix(border, tone, colours[1] if rng.random() < 0.4 else tone * np.float32(0.1))
    return blur(np.ascontiguousarray(tone), rng.uniform(0.4, 0.8))


def _pebbles(rng: Draw) -> Picture:
    """Round stones, cobbles, gravel, beads, with light from one side."""
    count = round(log_uniform(rng, 25, 1200))
    cell, inside = voronoi(rng, count, rng.uniform(0, 3))
    size = TILE / count**0.5
    outline = blur(inside, max(0.5, size * rng.uniform(0.03, 0.09)))
    rise = np.clip((outline - size * rng.uniform(0.02, 0.1)) / (size * rng.uniform(0.2, 0.5)), 0, 1)
    dome = np.sqrt(rise * (2 - rise))
    base = natural(rng) if rng.random() < 0.6 else colour(rng)
    stones = base * np.exp(jitter(rng, rng.uniform(0.05, 0.4), count, 1)) + jitter(rng, rng.uniform(2, 14), count, 3)
    surface = spread(rng, rng.uniform(0.8, 1.5))
    light = relief(rng, dome + surface * rng.uniform(0, 0.03), rng.uniform(0.1, 0.3))
    shadow = rng.uniform(0.1, 0.6)
    depth = shadow + (1 - shadow) * np.minimum(dome * rng.uniform(1.0, 2.5), 1)
    faces = np.clip(stones, 0, 255)[cell] + surface[..., None] * rng.uniform(0, 12)
    picture: Picture = faces * light * depth[..., None]
    return picture


def _repetitive(rng: Draw) -> Picture:
    """A small motif that repeats exactly, many times: wallpaper, grilles, printed cloth."""
    times = int(pick(rng, 4, 4, 8, 8, 16, 32))
    source = (leaves, collage, _patches, _clouds, _motif)[rng.integers(5)](rng)
    side = TILE // times
    motif = cv2.resize(np.clip(source, 0, 255), (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:
        half = motif[: side // 2]
        motif = np.concatenate([half, half[::-1]])
    return np.tile(motif, (times, times, 1))


def _motif(rng: Draw) -> Picture:
    """A flower or star on plain ground."""
    x, y = (X - TILE / 2) / (TILE / 2), (Y - TILE / 2) / (TILE / 2)
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    petals, depth = int(rng.integers(2, 9)), rng.uniform(0.1, 0.6)
    edge = rng.uniform(0.5, 0.9) * (1 - depth * (0.5 + 0.5 * np.cos(petals * angle)))
    colours = palette(rng, 3)
    flower = mix(soft((edge - radius) * TILE / 2, 6), colours[0], colours[1])
    return mix(soft((rng.uniform(0.1, 0.3) - radius) * TILE / 2, 6), flower, colours[2])


_MAKERS: dict[str, tuple[float, Callable[[Draw], Picture]]] = {
    "noise": (0.11, _clouds),
    "stucco": (0.05, _stucco),
    "marble": (0.04, _marble),
    "wood": (0.05, _wood),
    "patches": (0.05, _patches),
    "leaves": (0.07, leaves),
    "foliage": (0.06, foliage),
    "stripes": (0.03, _stripes),
    "checkers": (0.02, _checkers),
    "dots": (0.02, _dots),
    "bricks": (0.03, _bricks),
    "tiles": (0.03, _squares),
    "weave": (0.03, _weave),
    "repetitive": (0.03, _repetitive),
    "plain": (0.11, _plain),
    "voronoi": (0.07, _cells),
    "pebbles": (0.05, _pebbles),
    "glyphs": (0.06, writing),
    "collage": (0.09, collage),
}

KINDS: Mapping[str, float] = MappingProxyType({kind: weight for kind, (weight, _) in _MAKERS.items()})
"""Kinds of tiles and how often each is drawn by default; the weights add up to 1."""


def make_tile(kind: str, seed: int) -> UInt8[np.ndarray, "256 256 3"]:
    """Draw a tile.

    Args:
        kind: one of `KINDS`.
        seed: at least 0; the same kind and seed give the same bytes.

    Raises:
        WrongInput: no such kind.
    """
    if kind not in _MAKERS:
        raise WrongInput(f"no texture is of the kind {kind!r}; the kinds are {', '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    picture = _MAKERS[kind][1](rng)
    if kind not in ("plain", "stucco"):
        picture = _worn(rng, picture)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _worn(rng: Draw, picture: Picture) -> Picture:
    """Grain always; often faded or more light and dark, sometimes stains or lost sharpness."""
    change, mean = rng.random(), picture.mean((0, 1))
    if change < 0.25:
        picture = mean + (picture - mean) * rng.uniform(0.15, 0.9)
    elif change < 0.8:
        # Of brightness alone: stronger colours would not look like anything.
        brightness = (picture - mean).mean(-1, keepdims=True)
        picture = picture + brightness * (log_uniform(rng, 1.3, 5) - 1)
    if rng.random() < 0.15:
        picture = blur(picture, log_uniform(rng, 0.6, 2.5))
    grain: Plane = spread(rng, rng.uniform(0.3, 1.5)) * log_uniform(rng, 0.7, 14)
    if rng.random() < 0.35:
        grain = grain + spread(rng, 2.0) * rng.uniform(2, 16)
    return picture + grain[..., None]
