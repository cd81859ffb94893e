"""Changes of a pair that keep its truth true: windows, sizes, mirrors, colours, and what a real rig does wrong.

The windows come first and colours last, so that no pixel outside the window is read. All is made of torch operations
that run on the device of the pair, and whose results do not depend on the number of threads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from depthweave.errors import WrongInput
from depthweave.images import LUMA, chroma_matrix, gaussian_blur, mix_channels, resize_disparity
from depthweave.training.sample import RawPair, RawView, TrainingPair, TrainingView

Bounds = tuple[float | int, float | int]

SMOOTH_PX = 0.25
"""Resized truth is interpolated where that changes it by less than so many px of the source; it never mixes surfaces
that are farther apart than twice as much."""
SMOOTH_SHARE = 0.02
"""The same for a teacher without unit, as a share of its range in the window."""
_LUMA = np.array(LUMA)
_FLAWS = ("shift", "color", "color_apart", "permute", "grey", "noise", "blur", "erase")
_PROBABILITIES = ("mirror", "flip", "zoom", "stretch", *_FLAWS)


@dataclass(frozen=True)
class Augment:
    """What is done to a pair, how often and how much. Sparse truth: no stretch, no shift, colours always of both.

    The defaults follow the training of RAFT-Stereo (Lipson et al., 3DV 2021) and its successors, with noise and blur
    of one view in addition.

    Attributes:
        mirror: probability that left and right change places, where the truth of both is there.
        flip: probability of upside down.
        zoom: probability of another size.
        zoom_range: natural logarithm of the size, below 0 = smaller. A picture that is too small for the crop is always
            enlarged.
        stretch: probability that width and height change by numbers of their own, in addition.
        stretch_range: natural logarithm of these numbers.
        shift: probability that the right view is not at the height where it should be.
        shift_px: by at most so many px of the source.
        shift_subpixel: shift by any part of a px, not by whole ones only.
        color: probability of other brightness, contrast, saturation, hue and gamma.
        color_apart: probability that the two views get colours of their own.
        brightness, contrast: largest change of the factor 1.
        saturation: factor, 0 = grey.
        hue_deg: largest turn of the colours.
        gamma: exponent.
        permute: probability that red, green and blue change places, in both views.
        grey: probability of no colour in both views.
        noise: probability of Gaussian noise.
        noise_range: standard deviation, of 255.
        blur: probability that one of the views is blurred.
        blur_px: standard deviation in px of the crop.
        erase: probability that boxes of the right view get its mean colour (Yang et al., CVPR 2019, HSM).
        erase_boxes: at most so many.
        erase_px: sides of the boxes.
        erase_share: no box takes a larger share of the width or height of the crop.
        largest_px: larger disparities of the crop count as not known.
    """

    mirror: float | int = 0.5
    flip: float | int = 0.1
    zoom: float | int = 0.8
    zoom_range: Bounds = (-0.4, 0.3)
    stretch: float | int = 0.5
    stretch_range: Bounds = (-0.15, 0.15)
    shift: float | int = 0.3
    shift_px: int = 2
    shift_subpixel: bool = False
    color: float | int = 0.9
    color_apart: float | int = 0.2
    brightness: float | int = 0.4
    contrast: float | int = 0.4
    saturation: Bounds = (0.0, 1.4)
    hue_deg: float | int = 57.0
    gamma: Bounds = (0.8, 1.25)
    permute: float | int = 0.1
    grey: float | int = 0.1
    noise: float | int = 0.3
    noise_range: Bounds = (0.0, 4.0)
    blur: float | int = 0.15
    blur_px: Bounds = (0.3, 1.0)
    erase: float | int = 0.5
    erase_boxes: int = 2
    erase_px: Bounds = (50, 100)
    erase_share: float | int = 0.5
    largest_px: float | int = 512.0

    def __post_init__(self) -> None:
        for name in (*_PROBABILITIES, "brightness", "contrast", "erase_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise WrongInput(f"{name} of [augment] lies between 0 and 1, not at {getattr(self, name)}.")
        for each in fields(self):
            bounds = getattr(self, each.name)
            if isinstance(bounds, tuple) and not bounds[0] <= bounds[1]:
                raise WrongInput(f"{each.name} of [augment] is [low, high], not [{bounds[0]}, {bounds[1]}].")
        for name in ("saturation", "gamma", "noise_range", "blur_px", "erase_px"):
            if getattr(self, name)[0] < 0 or (name in ("gamma", "blur_px") and getattr(self, name)[0] == 0):
                raise WrongInput(f"{name} of [augment] is positive, not {getattr(self, name)[0]}.")
        if self.shift_px < 0 or self.erase_boxes < 1 or self.hue_deg < 0 or self.largest_px <= 0:
            raise WrongInput(
                f"shift_px {self.shift_px}, erase_boxes {self.erase_boxes}, hue_deg {self.hue_deg} and largest_px "
                f"{self.largest_px} of [augment] must be at least 0, 1, 0 and above 0."
            )

    @classmethod
    def off(cls, largest_px: float | int = 512.0) -> "Augment":
        """Windows only: every probability is 0."""
        never: Any = dict.fromkeys(_PROBABILITIES, 0)
        return cls(**never, largest_px=largest_px)


class Place(NamedTuple):
    """Where a crop lies in its source, in px of the source; `shift` is the right window's further way down."""

    top: int
    left: int
    height: int
    width: int
    shift: float


def augment(
    raw: RawPair, settings: Augment, rng: np.random.Generator, crop: tuple[int, int], *, right_truth: bool = True
) -> TrainingPair:
    """One crop of a pair, changed at random.

    Args:
        raw: the pair; tensors on any device.
        settings: what is done.
        rng: decides on everything.
        crop: height and width of the result in px.
        right_truth: give the truth of the right view, too; without it nothing of that view is known, which is faster.

    Returns:
        Views (3, crop[0], crop[1]). A left pixel whose match lies outside the right crop or in an erased box is known
        but not visible.
    """
    place = _place(raw, settings, rng, crop)
    mirror = raw.right.disparity is not None and rng.random() < settings.mirror
    # Only the view that will be the right one moves, so that the left truth stays exact.
    sides = [raw.left, raw.right]
    if not right_truth:
        sides[0 if mirror else 1] = RawView(sides[0 if mirror else 1].image)
    shifts = (place.shift, 0.0) if mirror else (0.0, place.shift)
    left, right = (_view(view, place, shift, crop, raw.sparse) for view, shift in zip(sides, shifts, strict=True))
    pair = TrainingPair(left, right).mirrored() if mirror else TrainingPair(left, right)
    shift_px = place.shift * crop[0] / place.height
    if rng.random() < settings.flip:
        pair, shift_px = TrainingPair(pair.left.flipped(-2), pair.right.flipped(-2)), -shift_px
    pair = _within(pair, settings.largest_px, shift_px)
    if rng.random() < settings.erase:
        pair = _erased(pair, settings, rng, shift_px)
    return _photographed(pair, settings, rng, apart=not raw.sparse and rng.random() < settings.color_apart)


def _place(raw: RawPair, settings: Augment, rng: np.random.Generator, crop: tuple[int, int]) -> Place:
    height, width = raw.left.image.shape[:2]
    size = math.exp(rng.uniform(*settings.zoom_range)) if rng.random() < settings.zoom else 1.0
    scales = np.full(2, size)
    if rng.random() < settings.stretch and not raw.sparse:
        scales *= np.exp(rng.uniform(*settings.stretch_range, size=2))
    smallest = np.array(crop) / (height, width)
    scales = np.maximum(scales, smallest.max() if raw.sparse else smallest)
    window_height, window_width = (
        min(full, max(1, round(side / scale)))
        for full, side, scale in zip((height, width), crop, scales.tolist(), strict=True)
    )
    top = int(rng.integers(height - window_height + 1))
    left = int(rng.integers(width - window_width + 1))
    shift = 0.0
    if rng.random() < settings.shift and not raw.sparse:
        largest = settings.shift_px
        drawn = rng.uniform(-largest, largest) if settings.shift_subpixel else rng.integers(-largest, largest + 1)
        shift = float(min(max(float(drawn), -top), height - window_height - top))
    return Place(top, left, window_height, window_width, shift)


def _view(view: RawView, place: Place, shift: float, crop: tuple[int, int], sparse: bool) -> TrainingView:
    window = view.cut(place.top + round(shift), place.left, place.height, place.width)
    disparity, known, visible = window.truth()
    image = window.image
    if shift != int(shift):
        above = math.floor(shift)
        rows = view.cut(place.top + above, place.left, place.height + 1, place.width).image.float()
        image = torch.lerp(rows[:-1], rows[1:], shift - above).round_().to(torch.uint8)
    teacher, confidence = window.teacher, window.confidence
    if crop != (place.height, place.width):
        teacher = None if teacher is None else _teacher_resized(teacher, crop)
        confidence = None if confidence is None else _nearest(confidence, crop)
    if sparse:
        disparity, known, visible = _scattered(disparity, known, visible, crop)
    elif crop != (place.height, place.width):
        smooth, _ = resize_disparity(disparity, *crop)
        disparity = _nearest(disparity, crop) * (crop[1] / place.width)
        near = (smooth - disparity).abs() <= SMOOTH_PX * crop[1] / place.width
        codes = _nearest(known.to(torch.uint8) + visible, crop)
        known, visible = codes > 0, codes > 1
        disparity = torch.where(near & known, smooth, disparity)
    has_visibility = torch.tensor(view.match is not None, device=image.device)
    return TrainingView(_resized(image, crop), disparity, known, visible, has_visibility, teacher, confidence)


def _resized(image: UInt8[Tensor, "h w 3"], crop: tuple[int, int]) -> Float32[Tensor, "3 h2 w2"]:
    """Whole numbers from 0 to 255, by the half-pixel rule, with a low-pass filter where the picture shrinks."""
    picture = image.permute(2, 0, 1)[None]
    if picture.shape[-2:] != crop:
        shrinks = crop[0] < picture.shape[-2] or crop[1] < picture.shape[-1]
        # torch resizes bytes fast, but on the CPU only.
        values = picture if picture.device.type == "cpu" else picture.float()
        picture = interpolate(values, crop, mode="bilinear", align_corners=False, antialias=shrinks)
    return picture[0].float().contiguous().round_().clamp_(0, 255)


def _teacher_resized(teacher: Float32[Tensor, "h w"], crop: tuple[int, int]) -> Float32[Tensor, "h2 w2"]:
    """Interpolated where that changes it by little of its range in the window, so that it mixes no surfaces."""
    known = teacher.isfinite()
    filled = torch.where(known, teacher, 0.0)
    span = torch.where(known, teacher, -torch.inf).max() - torch.where(known, teacher, torch.inf).min()
    smooth = interpolate(filled[None, None], crop, mode="bilinear", align_corners=False)[0, 0]
    nearest = _nearest(teacher, crop)
    return torch.where((smooth - nearest).abs() <= SMOOTH_SHARE * span, smooth, nearest)


def _nearest(values: Tensor, crop: tuple[int, int]) -> Tensor:
    return interpolate(values[None, None], crop, mode="nearest-exact")[0, 0]


def _scattered(
    disparity: Float32[Tensor, "h w"], known: Bool[Tensor, "h w"], visible: Bool[Tensor, "h w"], crop: tuple[int, int]
) -> tuple[Float32[Tensor, "h2 w2"], Bool[Tensor, "h2 w2"], Bool[Tensor, "h2 w2"]]:
    """Each known point at its rounded new place; of several at one place the nearest to the camera."""
    rows, columns = known.nonzero(as_tuple=True)
    y, x = (
        (((old.double() + 0.5) * (new / full) - 0.5).round().long()).clamp(0, new - 1)
        for old, new, full in zip((rows, columns), crop, known.shape, strict=True)
    )
    places, values = y * crop[1] + x, disparity[rows, columns] * (crop[1] / known.shape[1])
    found = torch.full((crop[0] * crop[1],), -1.0, device=disparity.device)
    found = found.scatter_reduce(0, places, values, "amax")
    front = visible[rows, columns] & (values == found[places])
    seen = torch.zeros_like(found).scatter_reduce(0, places, front.float(), "amax")
    return found.clamp(min=0).reshape(crop), (found >= 0).reshape(crop), (seen > 0).reshape(crop)


def _within(pair: TrainingPair, largest_px: float | int, shift_px: float) -> TrainingPair:
    """Take back what is too large, and the visibility of what the other crop does not hold."""
    height, width = pair.left.known.shape
    columns = torch.arange(width, dtype=torch.float32, device=pair.left.known.device)
    rows = torch.arange(height, device=columns.device)
    views = []
    for view, room, y in (
        (pair.left, columns, rows - shift_px),
        (pair.right, width - 1 - columns, rows + shift_px),
    ):
        known = view.known & (view.disparity <= largest_px)
        visible = view.visible & known & (view.disparity <= room)
        if shift_px:
            visible &= ((y >= 0) & (y <= height - 1))[:, None]
        views.append(replace(view, known=known, visible=visible))
    return TrainingPair(*views)


def _erased(pair: TrainingPair, settings: Augment, rng: np.random.Generator, shift_px: float) -> TrainingPair:
    height, width = pair.left.known.shape
    image, hidden = pair.right.image.clone(), pair.left.visible.clone()
    visible = pair.right.visible.clone()
    mean = _mean(image).round().float()[:, None, None]
    # Where the right crop shows the left pixels.
    x = torch.arange(width, device=image.device) - pair.left.disparity
    y = torch.arange(height, device=image.device) - shift_px
    for _ in range(int(rng.integers(1, settings.erase_boxes + 1))):
        sides = rng.uniform(*settings.erase_px, size=2)
        box_height, box_width = (
            max(1, round(min(side, settings.erase_share * full)))
            for side, full in zip(sides.tolist(), (height, width), strict=True)
        )
        top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
        box = (..., slice(top, top + box_height), slice(left, left + box_width))
        image[box], visible[box] = mean, False
        in_columns = (x >= left - 0.5) & (x < left + box_width - 0.5)
        in_rows = (y >= top - 0.5) & (y < top + box_height - 0.5)
        hidden &= ~(in_columns & in_rows[:, None])
    return TrainingPair(replace(pair.left, visible=hidden), replace(pair.right, image=image, visible=visible))


class _Colors(NamedTuple):
    gamma: float
    contrast: float
    matrix: NDArray[np.float64]
    """With brightness, on R, G, B."""


def _photographed(pair: TrainingPair, settings: Augment, rng: np.random.Generator, *, apart: bool) -> TrainingPair:
    pictures = [pair.left.image, pair.right.image]
    after = _channel_changes(settings, rng)
    jitter = rng.random() < settings.color
    if jitter or (after != np.eye(3)).any():
        plain = _Colors(1.0, 1.0, np.eye(3))
        first = _drawn_colors(settings, rng) if jitter else plain
        second = _drawn_colors(settings, rng) if jitter and apart else first
        greys = [float(_mean(picture).cpu().numpy() @ _LUMA) for picture in pictures]
        if not apart:
            greys = [sum(greys) / 2] * 2
        pictures = [
            _recolored(picture, colors, after, grey)
            for picture, colors, grey in zip(pictures, (first, second), greys, strict=True)
        ]
    if rng.random() < settings.blur:
        side = int(rng.integers(2))
        pictures[side] = gaussian_blur(pictures[side], float(rng.uniform(*settings.blur_px)))
    if rng.random() < settings.noise:
        pictures = list(_noised(pictures, settings, rng))
    return TrainingPair(replace(pair.left, image=pictures[0]), replace(pair.right, image=pictures[1]))


def recolored_alike(
    frames: Float32[Tensor, "t 3 h w"], settings: Augment, rng: np.random.Generator
) -> Float32[Tensor, "t 3 h w"]:
    """Frames with one change of colours for all: permute, grey, color and noise of the settings.

    Args:
        frames: whole numbers from 0 to 255.
        settings: what is done.
        rng: decides on everything.
    """
    after = _channel_changes(settings, rng)
    jitter = rng.random() < settings.color
    if jitter or (after != np.eye(3)).any():
        colors = _drawn_colors(settings, rng) if jitter else _Colors(1.0, 1.0, np.eye(3))
        grey = sum(float(_mean(frame).cpu().numpy() @ _LUMA) for frame in frames) / len(frames)
        frames = torch.stack([_recolored(frame, colors, after, grey) for frame in frames])
    return _noised(list(frames), settings, rng) if rng.random() < settings.noise else frames


def _channel_changes(settings: Augment, rng: np.random.Generator) -> NDArray[np.float64]:
    """Of R, G, B: another order, or all grey."""
    after = np.eye(3)
    if rng.random() < settings.permute:
        after = after[rng.permutation(3)]
    if rng.random() < settings.grey:
        after = np.ones((3, 1)) * _LUMA @ after
    return after


def _noised(
    pictures: Sequence[Float32[Tensor, "3 h w"]], settings: Augment, rng: np.random.Generator
) -> Float32[Tensor, "n 3 h w"]:
    device = pictures[0].device
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    sigma = float(rng.uniform(*settings.noise_range))
    return torch.stack(
        [
            (picture + sigma * torch.randn(picture.shape, generator=generator, device=device)).clamp_(0, 255)
            for picture in pictures
        ]
    )


def _mean(image: Float32[Tensor, "3 h w"]) -> Float64[Tensor, "3"]:
    """Mean colour of a sixteenth of the pixels. They are whole numbers: no order of adding them changes the mean."""
    return image[:, ::4, ::4].mean((-2, -1), dtype=torch.float64)


def _drawn_colors(settings: Augment, rng: np.random.Generator) -> _Colors:
    brightness, contrast = (
        float(rng.uniform(1 - change, 1 + change)) for change in (settings.brightness, settings.contrast)
    )
    saturation = float(rng.uniform(*settings.saturation))
    turn = math.radians(rng.uniform(-settings.hue_deg, settings.hue_deg))
    gamma = float(np.exp(rng.uniform(*np.log(settings.gamma))))
    return _Colors(gamma, contrast, brightness * chroma_matrix(saturation, turn))


def _recolored(
    image: Float32[Tensor, "3 h w"], colors: _Colors, after: NDArray[np.float64], grey: float
) -> Float32[Tensor, "3 h w"]:
    """Gamma by table, then one matrix: hue and saturation in YIQ, brightness, contrast around the mean grey."""
    if colors.gamma != 1:
        table = 255 * np.linspace(0, 1, 256) ** colors.gamma
        codes = image.to(torch.int32).flatten()
        image = torch.from_numpy(table.astype(np.float32)).to(image.device).index_select(0, codes).view_as(image)
        grey = 255 * (grey / 255) ** colors.gamma
    offsets = (1 - colors.contrast) * grey * after @ colors.matrix.sum(1)
    return mix_channels(image, colors.contrast * after @ colors.matrix, offsets).clamp_(0, 255)
