"""Tiles that are drawn shape by shape: writing, prints, dead leaves, foliage."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depthweave.worlds.fields import (
    TILE,
    Colours,
    Draw,
    Picture,
    colour,
    log_uniform,
    mix,
    palette,
    pick,
    spread,
)

_FONTS = (0, 2, 3, 4, 6, 7)
_SIXTEENTHS = 4
Outline = NDArray[Any]
"""(n, 2), x and y in px, float32."""


def _repeats(outline: Outline, reach: float | int = 2.0) -> list[tuple[int, int]]:
    """Shifts that bring every part of an outline that leaves the tile back into it."""
    low, high = outline.min(0) - reach, outline.max(0) + reach
    first, last = np.ceil(-high / TILE).astype(int), np.floor((TILE - low) / TILE).astype(int)
    return [(x * TILE, y * TILE) for x in range(first[0], last[0] + 1) for y in range(first[1], last[1] + 1)]


def _fixed(outline: Outline, shift: tuple[int, int]) -> NDArray[np.int32]:
    """Coordinates as OpenCV draws fractions of a pixel."""
    fixed: NDArray[np.int32] = np.rint((outline + shift) * 2**_SIXTEENTHS).astype(np.int32)
    return fixed


def _fill(canvas: NDArray[np.uint8], outline: Outline, paint: Colours) -> None:
    for shift in _repeats(outline):
        cv2.fillPoly(canvas, [_fixed(outline, shift)], tuple(map(float, paint)), cv2.LINE_AA, _SIXTEENTHS)


def _stroke(canvas: NDArray[np.uint8], lines: list[Outline], paint: tuple[float, ...], thickness: int) -> None:
    """Draw many open lines of one colour."""
    everything = np.concatenate(lines)
    ends = np.cumsum([len(line) for line in lines])[:-1]
    for shift in _repeats(everything, thickness):
        moved = np.split(_fixed(everything, shift), ends)
        cv2.polylines(canvas, moved, False, paint, thickness, cv2.LINE_AA, _SIXTEENTHS)


def _ellipse(rng: Draw, half: NDArray[Any], points: int = 24) -> Outline:
    """A turned ellipse about 0."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return _turned(np.stack([half[0] * np.cos(angle), half[1] * np.sin(angle)], -1), rng.uniform(0, np.pi))


def _turned(outline: NDArray[Any], angle: float) -> Outline:
    sine, cosine = np.sin(angle), np.cos(angle)
    turned: Outline = (outline @ np.array([[cosine, sine], [-sine, cosine]])).astype(np.float32)
    return turned


def _alphabet(rng: Draw, letters: int) -> list[list[Outline]]:
    """Invented letters, each of a few strokes and bows within [0, 0.6] x [-1, 0]."""
    alphabet = []
    for _ in range(letters):
        strokes: list[Outline] = []
        for _ in range(rng.integers(1, 4)):
            if rng.random() < 0.6:
                corners = rng.integers(0, [3, 4], (rng.integers(2, 4), 2)) * [0.3, 0.333] - [0, 1]
                strokes.append(corners.astype(np.float32))
            else:
                start, sweep = rng.choice(4) * np.pi / 2, rng.choice([np.pi, 1.5 * np.pi, 2 * np.pi])
                angle = start + np.linspace(0, sweep, 9)
                bow = np.stack([0.3 + 0.3 * np.cos(angle), 0.27 * np.sin(angle) - rng.choice([0.27, 0.5, 0.73])], -1)
                strokes.append(bow.astype(np.float32))
        alphabet.append(strokes)
    return alphabet


def _text(rng: Draw, length: int) -> str:
    codes = rng.integers(97, 123, length) if rng.random() < 0.7 else rng.integers(48, 91, length)
    return "".join(map(chr, codes))


def _page(rng: Draw) -> NDArray[np.uint8]:
    """Lines of words: 255 where there is ink."""
    page = np.zeros((TILE, TILE), np.uint8)
    lines = round(log_uniform(rng, 3, 28))
    size = TILE / lines * rng.uniform(0.4, 0.75)
    thickness = max(1, round(size * rng.uniform(0.05, 0.22)))
    own, font = rng.random() < 0.65, int(pick(rng, *_FONTS))
    shear = np.array([[size, 0.0], [-size * pick(rng, 0.0, 0.0, 0.25), size]], np.float32)
    alphabet = [[stroke @ shear for stroke in letter] for letter in _alphabet(rng, int(rng.integers(8, 30)))]
    pitch = size * (0.85 if own else 0.75)
    gap, short, margin = size * rng.uniform(0.4, 0.9), pick(rng, 0.0, 0.1, 0.4), pick(rng, 0.0, 15.0, 30.0)
    strokes: list[Outline] = []
    for line in range(lines):
        foot, x = (line + 0.8) * TILE / lines, margin
        end = (TILE - margin) * (rng.random() if rng.random() < short else 1.0)
        while (letters := min(int(rng.integers(1, 10)), int((end - x) / pitch))) > 0:
            if own:
                word = enumerate(rng.integers(0, len(alphabet), letters))
                strokes += [
                    stroke + np.array([x + place * pitch, foot], np.float32)
                    for place, letter in word
                    for stroke in alphabet[letter]
                ]
            else:
                _label(page, _text(rng, letters), np.array([x, foot], np.float32), (255.0,), font, size / 22, thickness)
            x += letters * pitch + gap
    if strokes:
        _stroke(page, strokes, (255.0,), thickness)
    return page


def _label(
    canvas: NDArray[np.uint8],
    text: str,
    foot: Outline,
    paint: tuple[float, ...],
    font: int,
    scale: float,
    thickness: int,
) -> None:
    """Letters of a font of OpenCV, from `foot` (x, y) on to the right."""
    (width, height), below = cv2.getTextSize(text, font, scale, thickness)
    for shift in _repeats(foot + np.array([[0, -height], [width, below]], np.float32)):
        corner = (round(float(foot[0]) + shift[0]), round(float(foot[1]) + shift[1]))
        cv2.putText(canvas, text, corner, font, scale, paint, thickness, cv2.LINE_AA)


def writing(rng: Draw) -> Picture:
    """Lines of letters, invented or Latin, on paper, cards and signs."""
    paper, ink = colour(rng), colour(rng)
    if rng.random() < 0.6:
        paper = 255 - np.abs(rng.normal(0, 25, 3)).astype(np.float32) - rng.uniform(0, 90)
        ink = paper * np.float32(rng.uniform(0.1, 0.5))
    if np.abs(paper - ink).max() < 50:
        ink = np.where(paper > 128, paper - 90, paper + 90)
    if rng.random() < 0.15:
        paper, ink = ink, paper
    return mix(_page(rng).astype(np.float32) / 255, paper, ink)


def collage(rng: Draw) -> Picture:
    """Ellipses, lines, boxes, polygons and words over each other, as on posters and packages."""
    canvas = np.empty((TILE, TILE, 3), np.uint8)
    canvas[:] = colour(rng)
    colours = palette(rng, int(rng.integers(4, 14)))
    for _ in range(rng.integers(8, 80)):
        paint = colours[rng.integers(len(colours))]
        center = rng.uniform(0, TILE, 2).astype(np.float32)
        match rng.integers(0, 5):
            case 0:
                _fill(canvas, center + _ellipse(rng, rng.uniform(2, 40, 2)), paint)
            case 1:
                line = np.stack([center, center + rng.normal(0, 80, 2).astype(np.float32)])
                _stroke(canvas, [line], tuple(map(float, paint)), int(rng.integers(1, 6)))
            case 2:
                half = rng.uniform(2, 35, 2)
                box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
                _fill(canvas, center + _turned(box, pick(rng, 0.0, 0.0, rng.normal(0, 0.4))), paint)
            case 3:
                font, scale = int(pick(rng, *_FONTS)), log_uniform(rng, 0.3, 2.0)
                text, thickness = _text(rng, int(rng.integers(2, 12))), int(rng.integers(1, 4))
                _label(canvas, text, center, tuple(map(float, paint)), font, scale, thickness)
            case _:
                corners = rng.uniform(-45, 45, (rng.integers(3, 6), 2)).astype(np.float32)
                _fill(canvas, center + corners, paint)
    return canvas.astype(np.float32)


def leaves(rng: Draw) -> Picture:
    """Dead leaves: shapes over each other with sizes r as r^-3, which gives the statistics of photographs.

    Source: Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001.
    """
    canvas = np.empty((TILE, TILE, 3), np.uint8)
    canvas[:] = colour(rng)
    colours = palette(rng, int(rng.integers(5, 20)))
    count = round(log_uniform(rng, 80, 300))
    smallest, largest = log_uniform(rng, 2, 8), rng.uniform(30, 90)
    radii = (largest**-2 + rng.random(count) * (smallest**-2 - largest**-2)) ** -0.5
    sides = int(pick(rng, 3, 4, 5, 20))
    tints = colours[rng.integers(len(colours), size=count)] + rng.normal(0, 8, (count, 1))
    for radius, paint in zip(np.sort(radii)[::-1], np.clip(tints, 0, 255), strict=True):
        half = radius * np.exp(rng.normal(0, 0.3, 2))
        _fill(canvas, rng.uniform(0, TILE, 2).astype(np.float32) + _ellipse(rng, half, sides), paint)
    return canvas.astype(np.float32)


def foliage(rng: Draw) -> Picture:
    """Leaves with a midrib, or blades of grass, the upper ones lighter."""
    dark = (
        palette(rng, 1)[0]
        if rng.random() < 0.3
        else np.array([rng.uniform(10, 90), rng.uniform(30, 110), 20], np.float32)
    )
    light = np.clip(dark * rng.uniform(1.4, 3.2) + rng.normal(10, 15, 3), 0, 255).astype(np.float32)
    canvas = np.clip(mix(spread(rng, 1.5) * 0.2, dark * 0.5, light * 0.5), 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        _grass(rng, canvas, dark, light)
        return canvas.astype(np.float32)
    count = round(log_uniform(rng, 50, 170))
    length = 320 / count**0.5 * rng.uniform(0.8, 1.6)
    slimness, main, scatter = rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi), pick(rng, 0.3, 1.0, 4.0)
    along = np.linspace(0, 1, 7)
    bow = slimness * np.sin(np.pi * along**0.8) / 2
    upper, lower = np.stack([along, bow], -1), np.stack([along, -bow], -1)
    for height in np.linspace(0, 1, count):
        paint = dark + (height + rng.normal(0, 0.2)) * (light - dark) + rng.normal(0, 6, 3)
        size, angle = length * np.exp(rng.normal(0, 0.25)), main + rng.normal(0, scatter)
        root = rng.uniform(0, TILE, 2).astype(np.float32)
        _fill(canvas, root + _turned(np.concatenate([upper, lower[::-1]]) * size, angle), np.clip(paint, 0, 255))
        _fill(canvas, root + _turned(lower * size, angle), np.clip(paint * 0.8, 0, 255))
    return canvas.astype(np.float32)


def _grass(rng: Draw, canvas: NDArray[np.uint8], dark: Colours, light: Colours) -> None:
    length, scatter = log_uniform(rng, 8, 70), rng.uniform(0.1, 0.6)
    thickness, main = int(pick(rng, 1, 1, 2)), rng.uniform(0, 2 * np.pi)
    for height in np.linspace(0, 1, 9):
        blades = round(3000 / length)
        root = rng.uniform(0, TILE, (blades, 2))
        first = main + rng.normal(0, scatter, blades)
        second = first + rng.normal(0, 0.4, blades)
        size = length / 2 * np.exp(rng.normal(0, 0.3, (blades, 1)))
        middle = root + size * np.stack([np.cos(first), np.sin(first)], -1)
        tip = middle + size * np.stack([np.cos(second), np.sin(second)], -1)
        paint = np.clip(dark + height * (light - dark) + rng.normal(0, 12, 3), 0, 255)
        lines = list(np.stack([root, middle, tip], 1).astype(np.float32))
        _stroke(canvas, lines, tuple(map(float, paint)), thickness)
