"""The three stages of video diffusion: encode all frames, denoise window after window, decode into maps.

Each needs other parts of the model, so the rest can be elsewhere; each leaves its results in a `VideoWork`.
"""

import gc
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave import images
from depthweave.errors import DepthweaveWarning, NotFinite, WrongInput
from depthweave.models.video.depthcrafter import Conditions, PartName, PartsFolder, PerFrameUNet, WindowPlan
from depthweave.models.video.depthcrafter.conditions import embed_frames
from depthweave.models.video.depthcrafter.latents import (
    context_span,
    decode_disparity,
    encode_pictures,
    is_finite,
    latent_scale,
    pictures_from_maps,
)
from depthweave.models.video.depthcrafter.windows import cross_fade, plan_windows
from depthweave.pipelines.video_settings import DiffusionSettings
from depthweave.pipelines.video_work import VideoWork

MapOfFrame = Callable[[int], Tensor]
NoiseOfFrame = Callable[[str, int, tuple[int, ...]], Tensor]


@dataclass(eq=False)
class PartsOnDevice:
    """Parts of the model, each on the device while it is needed.

    Attributes:
        folders: where they are read from.
        device: where they run.
        offload: ``none`` keeps them on the device, ``cpu`` in the host's memory, ``disk`` only in their files.
    """

    folders: PartsFolder
    device: torch.device
    offload: str
    _kept: dict[tuple[PartName, torch.dtype], nn.Module] = field(default_factory=dict)

    @contextmanager
    def using(self, *wanted: tuple[PartName, torch.dtype]) -> Iterator[list[nn.Module]]:
        """Parts on the device for as long as the block lasts, each in a number type."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._using(*part)) for part in wanted]

    @contextmanager
    def _using(self, name: PartName, dtype: torch.dtype) -> Iterator[nn.Module]:
        part = self._kept.get((name, dtype))
        if part is None:
            if self.offload == "disk":
                gc.collect()  # an earlier part may be held by its hooks alone, which point back at it
            part = self.folders.read(name, dtype)
            if self.offload != "disk":
                self._kept[name, dtype] = part
        part.to(self.device)
        try:
            yield part
        finally:
            if self.offload == "cpu":
                part.to("cpu")


@dataclass(frozen=True, eq=False)
class DiffusionRun:
    """One run over a clip: one seed, one folder of finished work.

    Attributes:
        parts: of the model.
        settings: complete ones, see `DiffusionSettings`.
        dtype: of the denoiser, the image encoder and, if it is float16, the decoder.
        work: what is finished.
        size: (height, width) in px to work at.
        noise: unit normal noise for a stream (``augmentation`` or ``latents``), a frame and a shape.
    """

    parts: PartsOnDevice
    settings: DiffusionSettings
    dtype: torch.dtype
    work: VideoWork
    size: tuple[int, int]
    noise: NoiseOfFrame

    # -- encode

    def encode(self, clip: Iterable[Tensor], disparity01: MapOfFrame | None) -> None:
        """Embed and encode all frames, and the first stage's maps where there are such; finished blocks are kept.

        Args:
            clip: pictures (3, h, w) in [0, 1].
            disparity01: map (h, w) in [0, 1] of a frame, at the pictures' size.

        Raises:
            WrongInput: no frames, or frames of several sizes.
        """
        if self.work.has("frames"):
            return
        count, shape, block = 0, (0, 0), []
        with self.parts.using(("image_encoder", self.dtype), ("encoder", torch.float32)) as parts:
            for picture in clip:
                shape = shape if count else (picture.shape[-2], picture.shape[-1])
                if tuple(picture.shape[-2:]) != shape:
                    raise WrongInput(
                        f"frame {count} has {picture.shape[-1]}x{picture.shape[-2]} px, those before have "
                        f"{shape[1]}x{shape[0]}; give frames of one size."
                    )
                block.append(picture)
                count += 1
                if len(block) == self.settings.encode_chunk:
                    self._encode_block(count - len(block), block, disparity01, parts)
                    block = []
            if block:
                self._encode_block(count - len(block), block, disparity01, parts)
        if count == 0:
            raise WrongInput("the clip has no frames; check where it begins and ends.")
        self.work.save("frames", numbers=torch.tensor([count, *shape]))

    def _encode_block(
        self, first: int, pictures: list[Tensor], disparity01: MapOfFrame | None, parts: list[nn.Module]
    ) -> None:
        name = self._block_name(first)
        if self.work.has(name):
            return
        image_encoder, encoder = parts
        device = self.parts.device
        small = images.resize_image(torch.stack(pictures), *self.size).clamp(0, 1)
        frames = 2 * small - 1
        strength = float(self.settings.noise_augmentation)
        shape = tuple(frames.shape[1:])
        noise = torch.stack([self.noise("augmentation", first + k, shape) for k in range(len(frames))])
        found = {
            "embeddings": self._finite(image_encoder, first, lambda: embed_frames(image_encoder, frames.to(device))),
            "latents": self._finite(
                encoder, first, lambda: encode_pictures(encoder, (frames + strength * noise).to(device))
            ),
        }
        if disparity01 is not None:
            maps = torch.stack([self._checked_map(first + k, disparity01, pictures[k]) for k in range(len(frames))])
            maps = F.interpolate(maps[:, None], size=self.size, mode="nearest-exact")[:, 0]
            found["disparity"] = latent_scale(encoder) * self._finite(
                encoder, first, lambda: encode_pictures(encoder, pictures_from_maps(maps).to(device))
            )
        self.work.save(name, **found)

    def _checked_map(self, frame: int, disparity01: MapOfFrame, picture: Tensor) -> Tensor:
        found = disparity01(frame)
        if found.shape != picture.shape[-2:]:
            raise WrongInput(
                f"the map of frame {frame} has {tuple(found.shape)}, its picture {tuple(picture.shape[-2:])}; "
                "give maps at the pictures' size."
            )
        if not is_finite(found) or float(found.min()) < 0 or float(found.max()) > 1:
            raise WrongInput(f"the map of frame {frame} leaves [0, 1]; scale disparity over the whole clip first.")
        return found.float()

    def _block_name(self, frame: int) -> str:
        return f"encoded_{frame // self.settings.encode_chunk:06d}"

    def _encoded(self, key: str, first: int, stop: int) -> Float[Tensor, "t *s"]:
        chunk = self.settings.encode_chunk
        start = first - first % chunk
        blocks = [self.work.read(self._block_name(at), key)[0] for at in range(start, stop, chunk)]
        return torch.cat(blocks)[first - start : stop - start]

    def frames(self) -> tuple[int, int, int]:
        """Number of frames, and height and width in px of the pictures, of an encoded clip."""
        count, height, width = (int(number) for number in self.work.read("frames", "numbers")[0])
        return count, height, width

    # -- denoise

    def denoise(self, window_of: Callable[..., Tensor]) -> None:
        """Latents of every window, finished ones kept; with ``stitch="latents"`` cross-faded into the one before.

        Args:
            window_of: called with the denoiser, the numbers of the window's frames, their `Conditions`, the frames'
                maps as latents and the previous window's last latents (None where there are none).
        """
        plan = self._plan()
        if self.work.has(self._window_name(len(plan.spans) - 1)):
            return
        with self.parts.using(("unet", self.dtype)) as (unet,):
            assert isinstance(unet, PerFrameUNet)
            unet.split_feed_forward(self.settings.feed_forward_parts)
            for number, (first, stop) in enumerate(plan.spans):
                if self.work.has(self._window_name(number)):
                    continue
                before = None
                if number and plan.overlap:
                    before = self.work.read(self._window_name(number - 1), "latents")[0][-plan.overlap :]
                latents = self._denoise_window(unet, range(first, stop), window_of, before)
                if before is not None and self.settings.stitch == "latents":
                    latents = torch.cat([cross_fade(before, latents[: plan.overlap]), latents[plan.overlap :]])
                self.work.save(self._window_name(number), latents=latents)

    def _denoise_window(
        self, unet: PerFrameUNet, frames: range, window_of: Callable[..., Tensor], before: Tensor | None
    ) -> Float[Tensor, "t 4 h w"]:
        device = self.parts.device
        embeddings, latents = (
            self._encoded(key, frames.start, frames.stop).to(device) for key in ("embeddings", "latents")
        )
        conditions = Conditions(embeddings, latents, float(self.settings.noise_augmentation))
        return self._finite(
            unet,
            frames.start,
            lambda: window_of(unet, frames, conditions, None if before is None else before.to(device)),
        ).cpu()

    def disparity_latents(self, frames: range) -> Float[Tensor, "t 4 h w"]:
        """Scaled latents of the first stage's maps, on the device."""
        return self._encoded("disparity", frames.start, frames.stop).to(self.parts.device)

    def noise_of(self, frames: Iterable[int], shape: tuple[int, ...]) -> Float[Tensor, "t 4 h w"]:
        """Unit normal noise for latents, on the device."""
        return torch.stack([self.noise("latents", frame, shape) for frame in frames]).to(self.parts.device)

    def _plan(self) -> WindowPlan:
        return plan_windows(self.frames()[0], self.settings.window, self.settings.overlap)

    @staticmethod
    def _window_name(number: int) -> str:
        return f"window_{number:05d}"

    # -- decode

    def decode(self, decoder: nn.Module) -> Iterator[Float[Tensor, "h w"]]:
        """Maps in [0, 1] of all frames in order, at the pictures' size."""
        _, height, width = self.frames()
        for found in self._stitched_maps(decoder):
            if tuple(found.shape) == (height, width):
                yield found
            elif self.settings.back == "nearest":
                yield F.interpolate(found[None, None], size=(height, width), mode="nearest-exact")[0, 0]
            else:
                yield images.resize_image(found[None], height, width)[0]

    def _stitched_maps(self, decoder: nn.Module) -> Iterator[Float[Tensor, "h w"]]:
        plan = self._plan()
        if self.settings.stitch == "latents":
            yield from self._decoded(decoder, lambda first, stop: self._final(plan, first, stop), self.frames()[0])
            return
        shared: list[Tensor] = []
        for number, (first, stop) in enumerate(plan.spans):
            (latents,) = self.work.read(self._window_name(number), "latents")
            step = stop - first if number == len(plan.spans) - 1 else stop - first - plan.overlap
            later: list[Tensor] = []
            for place, found in enumerate(self._decoded(decoder, partial(_between, latents), stop - first)):
                if place < len(shared):
                    weight = place / max(len(shared) - 1, 1)
                    found = found * weight + shared[place] * (1 - weight)
                if place < step:
                    yield found
                else:
                    later.append(found)
            shared = later

    def _final(self, plan: WindowPlan, first: int, stop: int) -> Float[Tensor, "t 4 h w"]:
        """Latents of frames after the windows were cross-faded: a frame's last word is its last window's."""
        pieces = []
        for number, (begin, end) in enumerate(plan.spans):
            last = plan.spans[number + 1][0] if number + 1 < len(plan.spans) else end
            low, high = max(first, begin), min(stop, last)
            if low < high:
                pieces.append(self.work.read(self._window_name(number), "latents")[0][low - begin : high - begin])
        return torch.cat(pieces)

    def _decoded(
        self, decoder: nn.Module, latents_of: Callable[[int, int], Tensor], count: int
    ) -> Iterator[Float[Tensor, "h w"]]:
        chunk, context = self.settings.decode_chunk, self.settings.decode_context
        for start in range(0, count, chunk):
            first, last, keep = context_span(start, min(start + chunk, count), count, context)
            latents = latents_of(first, last).to(self.parts.device)
            yield from self._finite(decoder, start, partial(decode_disparity, decoder, latents, keep=keep)).cpu()

    def _finite(self, part: nn.Module, frame: int, compute: Callable[[], Tensor]) -> Tensor:
        """An answer whose values are finite: half precision that fails is computed once more in float32."""
        dtype = next(part.parameters()).dtype
        with torch.inference_mode():
            answer = compute()
            if is_finite(answer):
                return answer
            if dtype != torch.float32:
                warnings.warn(
                    f"{type(part).__name__} gave values that are not finite in {str(dtype).removeprefix('torch.')}, so "
                    f"the frames from {frame} on were computed in float32; choose dtype='float32' (--dtype float32) "
                    "to do so at once.",
                    DepthweaveWarning,
                    stacklevel=2,
                )
                part.float()
                try:
                    answer = compute()
                finally:
                    part.to(dtype)
        if is_finite(answer):
            return answer
        raise NotFinite(
            f"{type(part).__name__} gave values that are not finite in float32 too, so its weights are damaged or not "
            "its own; get them again."
        )


def _between(latents: Tensor, first: int, stop: int) -> Tensor:
    return latents[first:stop]
