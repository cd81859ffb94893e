"""Clips on their way into training: a few frames in a row, with the camera, and what is known of the middle one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from depthweave.errors import WrongInput
from depthweave.geometry import scale_intrinsics
from depthweave.training.augment import Augment, recolored_alike

SHOWN_BASELINE_M = 0.5
"""Sheets show inverse depth as the disparity, in px, that a second camera at that distance would see."""


@dataclass(frozen=True, eq=False)
class RawClip:
    """A few frames of one size as their source has them.

    Attributes:
        frames: R, G, B; an odd number, of which the middle one is the target.
        intrinsics: of all frames, px.
        second: the same frames from a second camera on the right, rectified; None = there is none.
        baseline_m: distance of the two cameras; NaN without a second one.
        doffs_px: cx of the right camera minus cx of the left one.
        depth: of the target in m, NaN where not known; None = no truth.
        second_depth: the same of the second camera.
        flow: from the target to the next frame, px, NaN where not known; None = no truth.
    """

    frames: UInt8[Tensor, "t h w 3"]
    intrinsics: Float32[Tensor, "3 3"]
    second: UInt8[Tensor, "t h w 3"] | None = None
    baseline_m: float = float("nan")
    doffs_px: float = 0.0
    depth: Float32[Tensor, "h w"] | None = None
    second_depth: Float32[Tensor, "h w"] | None = None
    flow: Float32[Tensor, "2 h w"] | None = None


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """One or many samples of clips, on any device. Losses compare `images`; the network sees `seen`.

    Attributes:
        images: frames in order, R, G, B from 0 to 255; the middle one is the target.
        seen: the same with other colours.
        intrinsics: of all frames, px.
        depth: of the target in m, NaN where not known.
        flow: from the target to the next frame (from a single one: of no use), px, NaN where not known.
        second: the frames of a camera on the right, R, G, B from 0 to 255; None = there is none.
        baseline_m, doffs_px: distance of the two cameras, NaN without a second one, and cx right minus cx left.
    """

    images: Float[Tensor, "*b t 3 h w"]
    seen: Float[Tensor, "*b t 3 h w"]
    intrinsics: Float[Tensor, "*b 3 3"]
    depth: Float[Tensor, "*b h w"]
    flow: Float[Tensor, "*b 2 h w"]
    baseline_m: Float[Tensor, "*b"]
    doffs_px: Float[Tensor, "*b"]
    second: Float[Tensor, "*b t 3 h w"] | None = None

    @property
    def inputs(self) -> tuple["TrainingClip"]:
        """What a trainee takes."""
        return (self,)

    @property
    def middle(self) -> int:
        """Place of the target among the frames."""
        return self.images.shape[-4] // 2

    @property
    def target(self) -> Float[Tensor, "*b 3 h w"]:
        """The middle frame, R, G, B from 0 to 255."""
        return self.images[..., self.middle, :, :, :]

    def __len__(self) -> int:
        """How many samples; of one without leading dimension, 1."""
        return self.baseline_m.numel()

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def shown(self, number: int) -> tuple[Tensor, Tensor, Tensor, None]:
        """For a sheet: target, disparity at `SHOWN_BASELINE_M` in px, where it is known, and no teacher."""
        depth = self.depth[number]
        known = depth.isfinite()
        disparity = SHOWN_BASELINE_M * self.intrinsics[number, 0, 0] / torch.where(known, depth, 1.0)
        return self.target[number], torch.where(known, disparity, 0.0), known, None

    def to(self, device: torch.device | str) -> "TrainingClip":
        """The same on another device."""
        return TrainingClip(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def split(self, parts: int) -> list["TrainingClip"]:
        """As many batches of equal size, in the same order.

        Raises:
            WrongInput: the samples cannot be shared evenly.
        """
        if len(self) % parts:
            raise WrongInput(f"{len(self)} samples of clips cannot be taken in {parts} equal parts.")
        size = len(self) // parts
        tensors = self.tensors()
        return [
            TrainingClip(**{name: tensor[first : first + size] for name, tensor in tensors.items()})
            for first in range(0, len(self), size)
        ]

    @classmethod
    def stack(cls, clips: Sequence["TrainingClip"]) -> "TrainingClip":
        """Samples of one size with a new leading dimension.

        Raises:
            WrongInput: no samples, another number of frames, or a second camera in some of them only.
        """
        if not clips:
            raise WrongInput("a batch needs at least one sample of a clip.")
        found = [clip.tensors() for clip in clips]
        if any(each.keys() != found[0].keys() for each in found):
            raise WrongInput("some samples have a second camera and some have none; give all sources the same stereo.")
        if len({clip.images.shape for clip in clips}) > 1:
            raise WrongInput("samples of one batch have other numbers of frames; give all sources the same frames.")
        return cls(**{name: torch.stack([each[name] for each in found]) for name in found[0]})


def augment_clip(raw: RawClip, settings: Augment, rng: np.random.Generator, crop: tuple[int, int]) -> TrainingClip:
    """One crop of a few frames, changed at random; truth and camera follow.

    Of `settings` zoom, mirror, and colours, grey, permute and noise are used. Colours are those of all frames alike,
    and of `seen` only. In the mirror the two cameras change places if there are two.

    Args:
        raw: the frames.
        settings: what is done.
        rng: decides on everything.
        crop: height and width of the result in px.
    """
    height, width = raw.frames.shape[1:3]
    size = float(np.exp(rng.uniform(*settings.zoom_range))) if rng.random() < settings.zoom else 1.0
    scale = max(size, crop[0] / height, crop[1] / width)
    window_height, window_width = (
        min(full, round(side / scale)) for full, side in zip((height, width), crop, strict=True)
    )
    top = int(rng.integers(height - window_height + 1))
    left = int(rng.integers(width - window_width + 1))
    rows, columns = slice(top, top + window_height), slice(left, left + window_width)
    ratio_y, ratio_x = crop[0] / window_height, crop[1] / window_width
    intrinsics = raw.intrinsics.clone()
    intrinsics[0, 2] -= left
    intrinsics[1, 2] -= top
    images = _resized(raw.frames[:, rows, columns], crop)
    unknown = torch.full(crop, torch.nan)
    depth = unknown if raw.depth is None else _nearest(raw.depth[None, rows, columns], crop)[0]
    flow = unknown.expand(2, *crop)
    if raw.flow is not None:
        flow = _nearest(raw.flow[:, rows, columns], crop) * torch.tensor([ratio_x, ratio_y])[:, None, None]
    made = TrainingClip(
        images,
        images,
        scale_intrinsics(intrinsics, scale_x=ratio_x, scale_y=ratio_y),
        depth,
        flow.contiguous(),
        torch.tensor(raw.baseline_m, dtype=torch.float32),
        torch.tensor(raw.doffs_px * ratio_x, dtype=torch.float32),
        None if raw.second is None else _resized(raw.second[:, rows, columns], crop),
    )
    if rng.random() < settings.mirror:
        other = None if raw.second_depth is None else _nearest(raw.second_depth[None, rows, columns], crop)[0]
        made = _mirrored(made, other)
    return replace(made, seen=recolored_alike(made.images, settings, rng))


def _mirrored(clip: TrainingClip, second_depth: Tensor | None) -> TrainingClip:
    """In a mirror; where there are two cameras the second one becomes the first, whose truth takes the place."""
    width = clip.images.shape[-1]
    intrinsics, depth, flow, images, second = clip.intrinsics.clone(), clip.depth, clip.flow, clip.images, clip.second
    if second is not None:
        images, second = second, images.flip(-1)
        intrinsics[0, 2] += clip.doffs_px
        depth = torch.full_like(depth, torch.nan) if second_depth is None else second_depth
        flow = torch.full_like(flow, torch.nan)
    intrinsics[0, 2] = width - 1 - intrinsics[0, 2]
    images = images.flip(-1)
    flow = flow.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    return replace(clip, images=images, intrinsics=intrinsics, depth=depth.flip(-1), flow=flow, second=second)


def _resized(frames: UInt8[Tensor, "t h w 3"], size: tuple[int, int]) -> Float32[Tensor, "t 3 h2 w2"]:
    """Whole numbers from 0 to 255."""
    pictures = frames.permute(0, 3, 1, 2)
    if pictures.shape[-2:] != size:
        shrinks = size[0] < pictures.shape[-2] or size[1] < pictures.shape[-1]
        pictures = interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=shrinks)
    return pictures.float().contiguous()


def _nearest(values: Float32[Tensor, "c h w"], size: tuple[int, int]) -> Float32[Tensor, "c h2 w2"]:
    return interpolate(values[None], size, mode="nearest-exact")[0] if values.shape[-2:] != size else values
