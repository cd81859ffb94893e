"""From light to picture: what a camera adds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.worlds.shapes import Vector

Taps = dict[tuple[int, int], float]
"""Weights of a kernel by (dy, dx)."""
SMALLEST_TAP = 5e-4
LUMINANCE = (0.299, 0.587, 0.114)
"""Of BT.601, as JFIF has it."""


@dataclass(frozen=True)
class Sensor:
    """One camera's way from linear light to the picture; every stage is off by default.

    Attributes, in the order of the stages:
        grey: a sensor without colours, which sees BT.601's luminance of the light after `white_balance`.
        shift_y_px: mis-rectification: the picture stands that much lower.
        roll_rad: mis-rectification: the picture is turned clockwise about its middle by that much, then shifted.
        blur_px: standard deviation of a Gaussian.
        motion_blur_px, motion_blur_rad: length and direction (0 along x, pi / 2 along y) of a streak.
        vignetting: share of the light that is lost in the corners, in [0, 1), by the cos^4 law of a lens.
        exposure: gain on linear light.
        white_balance: gain per channel.
        gradient: relative change of light from the middle to the right and to the lower edge.
        shot_noise: standard deviation at light 1; it grows with the square root of light. With gamma 2 it is half of
            that everywhere in the picture.
        read_noise: standard deviation in linear light.
        gamma: picture = clamp(light, 0, 1)^(1 / gamma).
        offset: black level, added to the picture.
        jpeg_quality: 1 to 100 as libjpeg has it, with 4:2:0 colours; None for no compression.
    """

    grey: bool = False
    shift_y_px: float = 0.0
    roll_rad: float = 0.0
    blur_px: float = 0.0
    motion_blur_px: float = 0.0
    motion_blur_rad: float = 0.0
    vignetting: float = 0.0
    exposure: float = 1.0
    white_balance: Vector = (1.0, 1.0, 1.0)
    gradient: tuple[float, float] = (0.0, 0.0)
    shot_noise: float = 0.0
    read_noise: float = 0.0
    gamma: float = 2.0
    offset: float = 0.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        for name in ("exposure", "blur_px", "motion_blur_px", "shot_noise", "read_noise"):
            if not getattr(self, name) >= 0:
                raise WrongInput(f"Sensor: {name} is {getattr(self, name)}; it is 0 or more.")
        if not self.gamma > 0:
            raise WrongInput(f"Sensor: gamma is {self.gamma}; it is more than 0.")
        if not abs(self.roll_rad) < math.pi / 4:
            raise WrongInput(f"Sensor: roll_rad is {self.roll_rad}; it is between -pi / 4 and pi / 4.")
        if not 0 <= self.vignetting < 1:
            raise WrongInput(f"Sensor: vignetting is {self.vignetting}; it is a share in [0, 1).")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise WrongInput(f"Sensor: jpeg_quality is {self.jpeg_quality}; it is 1 to 100, or None.")


IDEAL = Sensor()


def expose(light: Float[Tensor, "3 h w"], sensor: Sensor, generator: torch.Generator) -> Float[Tensor, "3 h w"]:
    """The picture that a sensor takes.

    Args:
        light: linear, 0 or more.
        sensor: what it does to the light.
        generator: of the noise, on the light's device; untouched where the sensor has no noise.

    Returns:
        The picture in [0, 1]; beyond its border the light is taken to go on unchanged.
    """
    balance = sensor.white_balance
    if sensor.grey:
        weights = [share * gain for share, gain in zip(LUMINANCE, balance, strict=True)]
        light, balance = _weighted([light[:1], light[1:2], light[2:]], weights), (1.0, 1.0, 1.0)
    light = _misrectify(light, sensor)
    if sensor.blur_px:
        weights = discrete_gaussian(sensor.blur_px)
        radius = len(weights) // 2
        light = _filter(light, {(0, place - radius): weight for place, weight in enumerate(weights)})
        light = _filter(light, {(place - radius, 0): weight for place, weight in enumerate(weights)})
    if sensor.motion_blur_px:
        light = _filter(light, _streak(sensor.motion_blur_px, sensor.motion_blur_rad))
    light = _gain(light, sensor, balance)
    if sensor.shot_noise or sensor.read_noise:
        light = _noisy(light, sensor, generator)
    picture = light.clamp(0, 1)
    picture = picture.sqrt_() if sensor.gamma == 2 else picture.pow_(1 / sensor.gamma)
    if sensor.offset:
        picture = picture.add_(sensor.offset).clamp_(0, 1)
    if sensor.jpeg_quality is not None:
        picture = jpeg(picture, sensor.jpeg_quality)
    return picture.repeat(3, 1, 1) if sensor.grey else picture


def jpeg(picture: Float[Tensor, "c h w"], quality: int) -> Float[Tensor, "c h w"]:
    """What is left of a picture after JPEG at a quality: 8x8 DCT, Annex K's tables scaled as libjpeg does, 4:2:0.

    Args:
        picture: in [0, 1], of one or three channels.
        quality: 1 to 100.

    Returns:
        The decoded picture in [0, 1], not rounded to bytes.
    """
    channels, height, width = picture.shape
    block = 8 if channels == 1 else 16
    right, below = -width % block, -height % block
    planes = F.pad(picture[None], (0, right, 0, below), mode="replicate")[0] if right or below else picture
    if channels == 1:
        decoded = _quantised(planes * 255 - 128, quality, 0).add_(128).mul_(1 / 255)
    else:
        encode, decode = _colour_matrices(picture.device)
        planes = (encode @ planes.flatten(1)).view_as(planes)
        brightness = _quantised(planes[:1] - 128, quality, 0).add_(128)
        pairs = planes[1:, ::2] + planes[1:, 1::2]
        colour = _quantised((pairs[..., ::2] + pairs[..., 1::2]) * 0.25, quality, 1)
        colour = F.interpolate(colour[None], scale_factor=2.0, mode="bilinear")[0]
        decoded = (decode @ torch.cat((brightness, colour)).flatten(1)).view_as(planes)
    return decoded[:, :height, :width].clamp(0, 1)


def discrete_gaussian(sigma: float) -> list[float]:
    """Weights of the discrete Gaussian, whose variance is sigma^2 for the smallest sigma, too.

    Lindeberg, Scale-space for discrete signals, PAMI 1990: its spectrum is exp(sigma^2 (cos w - 1)).
    """
    size = 2 * math.ceil(8 * sigma + 8)
    frequency = 2 * np.pi / size * np.arange(size // 2 + 1)
    half = np.fft.irfft(np.exp(sigma**2 * (np.cos(frequency) - 1)), size)[: size // 2]
    half = half[half > SMALLEST_TAP]
    weights = np.concatenate((half[:0:-1], half))
    return [float(weight) for weight in weights / weights.sum()]


def _weighted(planes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = planes[0] * weights[0]
    for plane, weight in zip(planes[1:], weights[1:], strict=True):
        total.add_(plane, alpha=weight)
    return total


def _filter(picture: Float[Tensor, "c h w"], taps: Taps) -> Float[Tensor, "c h w"]:
    """out(y, x) = sum of weight * picture(y + dy, x + dx): shifted sums, which are far faster than conv2d on a CPU."""
    height, width = picture.shape[-2:]
    top, left = -min(0, *(dy for dy, _ in taps)), -min(0, *(dx for _, dx in taps))
    below, right = max(0, *(dy for dy, _ in taps)), max(0, *(dx for _, dx in taps))
    padded = F.pad(picture[None], (left, right, top, below), mode="replicate")[0]
    shifted = [padded[:, top + dy : top + dy + height, left + dx : left + dx + width] for dy, dx in taps]
    return _weighted(shifted, list(taps.values()))


def _streak(length_px: float, direction_rad: float) -> Taps:
    """Mean over a line through the middle, light between pixels taken to be bilinear."""
    count = 16 * math.ceil(length_px)
    along = ((np.arange(count) + 0.5) / count - 0.5) * length_px
    taps: Taps = {}
    for x, y in zip(along * math.cos(direction_rad), along * math.sin(direction_rad), strict=True):
        column, row = math.floor(x), math.floor(y)
        for dx, share_x in ((column, 1 - (x - column)), (column + 1, x - column)):
            for dy, share_y in ((row, 1 - (y - row)), (row + 1, y - row)):
                taps[dy, dx] = taps.get((dy, dx), 0.0) + float(share_x * share_y) / count
    kept = {place: weight for place, weight in taps.items() if weight > SMALLEST_TAP}
    total = math.fsum(kept.values())
    return {place: weight / total for place, weight in kept.items()}


def _misrectify(light: Float[Tensor, "c h w"], sensor: Sensor) -> Float[Tensor, "c h w"]:
    """Light on a camera that stands a little turned; in square roots, so that highlights do not ring."""
    shift, roll = sensor.shift_y_px, sensor.roll_rad
    if not shift and not roll:
        return light
    root = light.sqrt()
    if roll:
        # A rotation is three shears (Paeth, A fast algorithm for general raster rotation, 1986).
        half = math.tan(roll / 2)
        root = _sheared(root, 2, half, 0.0)
        root = _sheared(root, 1, -math.sin(roll), -shift)
        root = _sheared(root, 2, half, -half * shift)
    else:
        root = _sheared(root, 1, 0.0, -shift)
    return root.clamp_(min=0).square_()


def _sheared(picture: Float[Tensor, "c h w"], dim: int, slope: float, offset_px: float) -> Float[Tensor, "c h w"]:
    """out(p, q) = picture(p + slope q + offset, q) by cubic convolution; p along dim, q the other one from its middle.

    Neighbours in q nearly always move by the same number of whole pixels, so that nothing need be gathered.
    """
    other = 3 - dim
    count, size = picture.shape[other], picture.shape[dim]
    by_px = slope * (np.arange(count) - (count - 1) / 2) + offset_px
    whole = np.floor(by_px).astype(np.int64)
    weights = torch.from_numpy(_cubic(by_px - whole)).to(picture).unsqueeze(dim)
    before, after = max(0, 1 - int(whole.min())), max(0, 2 + int(whole.max()))
    beside = (0, 0, before, after) if dim == 1 else (before, after, 0, 0)
    padded = F.pad(picture[None], beside, mode="replicate")[0]
    total = torch.zeros_like(picture)
    bounds = [0, *(np.flatnonzero(np.diff(whole)) + 1).tolist(), count]
    for start, stop in pairwise(bounds):
        source = padded.narrow(other, start, stop - start)
        target = total.narrow(other, start, stop - start)
        for k, weight in enumerate(weights.narrow(other, start, stop - start)):
            target.addcmul_(source.narrow(dim, before + int(whole[start]) + k - 1, size), weight)
    return total


def _cubic(f: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "4 n"]:
    """Weights of the pixels -1, 0, 1, 2 at 0 <= f < 1: exact for quadratic polynomials (Keys 1981, a = -1/2)."""
    g = 1 - f
    outer = -0.5 * f * g
    return np.stack((outer * g, g + outer * (1 - 3 * g), f + outer * (1 - 3 * f), outer * f))


def _gain(light: Float[Tensor, "c h w"], sensor: Sensor, balance: Vector) -> Float[Tensor, "c h w"]:
    """Vignetting, exposure, white balance and gradient: all that multiplies."""
    if sensor.vignetting or any(sensor.gradient):
        height, width = light.shape[-2:]
        x = torch.linspace(-1, 1, width, device=light.device)
        y = torch.linspace(-1, 1, height, device=light.device)[:, None]
        profile = x * sensor.gradient[0] + (y * sensor.gradient[1] + 1)
        if sensor.vignetting:
            # cos^4 = (1 + tan^2)^-2; tan grows with the distance from the middle, which is here 1 in the corners.
            strength = (1 / math.sqrt(1 - sensor.vignetting) - 1) / (width**2 + height**2)
            profile = profile / ((x * width).square() * strength + ((y * height).square() * strength + 1)).square_()
        light = light * profile.clamp_(min=0)
    gains = [sensor.exposure * gain for gain in balance[: len(light)]]
    if any(gain != 1 for gain in gains):
        light = torch.stack([plane * gain for plane, gain in zip(light, gains, strict=True)])
    return light


def _noisy(light: Float[Tensor, "c h w"], sensor: Sensor, generator: torch.Generator) -> Float[Tensor, "c h w"]:
    noise = torch.randn(light.shape, generator=generator, device=light.device, dtype=light.dtype)
    sigma = (light * sensor.shot_noise**2).add_(sensor.read_noise**2).sqrt_()
    return noise.mul_(sigma).add_(light)


def _quantised(plane: Float[Tensor, "c h w"], quality: int, kind: int) -> Float[Tensor, "c h w"]:
    """Through quantised 8x8 DCT and back; sizes are multiples of 8; kind 0 is brightness, 1 colour."""
    channels, height, width = plane.shape
    basis, step = _jpeg_constants(quality, kind, plane.device)
    along_rows, along_columns = (channels, height, width // 8, 8), (channels, height // 8, 8, width)
    steps = step.repeat(1, width // 8)
    spectrum = (basis @ plane.reshape(along_columns)).view(along_rows) @ basis.T
    spectrum = (spectrum.view(along_columns) / steps).round_().mul_(steps)
    return ((basis.T @ spectrum).view(along_rows) @ basis).view(plane.shape)


@lru_cache(maxsize=256)
def _jpeg_constants(quality: int, kind: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The DCT's matrix and the table of steps."""
    k, n = np.arange(8)[:, None], np.arange(8)
    basis = np.cos((2 * n + 1) * k * np.pi / 16) * np.where(k == 0, math.sqrt(1 / 8), 1 / 2)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = np.clip((np.array(STEPS[kind]) * scale + 50) // 100, 1, 255).reshape(8, 8)
    return (
        torch.tensor(basis, dtype=torch.float32, device=device),
        torch.tensor(steps, dtype=torch.float32, device=device),
    )


@lru_cache(maxsize=16)
def _colour_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """From RGB in [0, 1] to Y, Cb, Cr in bytes, Cb and Cr about 0 (JFIF 1.02), and back."""
    red, green, blue = LUMINANCE
    to_blue, to_red = 0.5 / (1 - blue), 0.5 / (1 - red)
    rows = (LUMINANCE, (-red * to_blue, -green * to_blue, 0.5), (0.5, -green * to_red, -blue * to_red))
    encode = 255 * torch.tensor(rows, dtype=torch.float64)
    return encode.to(device, torch.float32), encode.inverse().to(device, torch.float32)


# ITU-T T.81, tables K.1 and K.2.
# fmt: off
STEPS = (
    (
        16, 11, 10, 16, 24, 40, 51, 61,
        12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77,
        24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101,
        72, 92, 95, 98, 112, 100, 103, 99,
    ),
    (
        17, 18, 24, 47, 99, 99, 99, 99,
        18, 21, 26, 66, 99, 99, 99, 99,
        24, 26, 56, 99, 99, 99, 99, 99,
        47, 66, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
    ),
)
# fmt: on
