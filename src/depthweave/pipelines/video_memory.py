"""How much memory video diffusion takes, counted before it runs, and settings that keep below a limit.

The network is run once without numbers (on torch's meta device), and every tensor that is alive is counted. What is not
counted: the workspace of convolution kernels and what the allocator keeps in reserve.
"""

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from depthweave.errors import NotEnoughMemory
from depthweave.models.video.depthcrafter import Conditions, PartName, PartsFolder, PerFrameUNet
from depthweave.models.video.depthcrafter.conditions import embed_frames
from depthweave.models.video.depthcrafter.latents import decode_disparity, encode_pictures
from depthweave.models.video.depthcrafter.network import predict_velocity
from depthweave.models.video.depthcrafter.parts import weight_bytes
from depthweave.models.video.depthcrafter.schedule import step_to
from depthweave.pipelines.video_settings import DiffusionSettings

_WINDOWS = ((72, 16), (48, 16), (25, 8), (16, 4))
_CHUNKS = (8, 4, 2, 1)
_PARTS = 8


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a clip takes on the device, by stage.

    Attributes:
        embed, encode, denoise, decode: bytes of the tensors at the worst moment of each.
        weights: bytes of each part's weights.
        keeps_all: whether all weights stay on the device, or only those of the stage.
        what: sizes, for the sentence.
    """

    embed: int
    encode: int
    denoise: int
    decode: int
    weights: dict[str, int]
    keeps_all: bool
    what: str

    def stages(self) -> dict[str, int]:
        """Bytes of each stage with the weights that are on the device then."""
        needs = {"encode": ("image_encoder", "encoder"), "denoise": ("unet",), "decode": ("decoder",)}
        work = {"encode": max(self.embed, self.encode), "denoise": self.denoise, "decode": self.decode}
        present = {stage: self.weights if self.keeps_all else parts for stage, parts in needs.items()}
        return {stage: work[stage] + sum(self.weights[part] for part in present[stage]) for stage in needs}

    @property
    def peak(self) -> int:
        """Bytes at the worst moment of all."""
        return max(self.stages().values())

    def sentence(self) -> str:
        """What will be needed, for people."""
        stages = ", ".join(f"{name} {_gigabytes(count)}" for name, count in self.stages().items())
        return f"about {_gigabytes(self.peak)} for {self.what}: {stages}"


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made and still alive in its block.

    Attributes:
        peak: the most at any moment.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in args if isinstance(tensor, Tensor)}
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:  # else a view
                self._count(tensor.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen[key] = weakref.finalize(storage, self._forget, key, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        self.now -= size
        self._seen.pop(key, None)


class _FlashAttention(TorchFunctionMode):
    """Attention as kernels do it that keep no matrix of scores; without numbers, torch would count that matrix."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3] if len(args) >= 3 else (kwargs[name] for name in ("query", "key", "value"))
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


@cache
def _outline(folders: PartsFolder, name: PartName, dtype: torch.dtype) -> nn.Module:
    return folders.outline(name, dtype)


@cache
def _weights(folders: PartsFolder, name: PartName, dtype: torch.dtype) -> int:
    return weight_bytes(_outline(folders, name, dtype))


@cache
def _embed_bytes(folders: PartsFolder, size: tuple[int, int], dtype: torch.dtype, frames: int) -> int:
    part = _outline(folders, "image_encoder", dtype)
    return _peak(lambda: embed_frames(part, _empty(frames, 3, *size)))


@cache
def _encode_bytes(folders: PartsFolder, size: tuple[int, int], frames: int) -> int:
    part = _outline(folders, "encoder", torch.float32)
    return _peak(lambda: encode_pictures(part, _empty(frames, 3, *size)))


@cache
def _denoise_bytes(folders: PartsFolder, size: tuple[int, int], dtype: torch.dtype, frames: int, parts: int) -> int:
    unet = _outline(folders, "unet", dtype)
    assert isinstance(unet, PerFrameUNet)
    unet.split_feed_forward(parts)

    def run() -> Tensor:
        noisy, sigma = _latents(frames, size), torch.tensor(1.0)
        known = Conditions(_empty(frames, unet.unet.config.cross_attention_dim), _latents(frames, size))
        return step_to(predict_velocity(unet, noisy, sigma, known), noisy, sigma, sigma / 2)

    return _peak(run)


@cache
def _decode_bytes(folders: PartsFolder, size: tuple[int, int], dtype: torch.dtype, frames: int) -> int:
    part = _outline(folders, "decoder", decoder_dtype(dtype))
    return _peak(lambda: decode_disparity(part, _latents(frames, size)))


def _latents(frames: int, size: tuple[int, int]) -> Tensor:
    return _empty(frames, 4, size[0] // 8, size[1] // 8)


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _peak(run: Callable[[], Tensor]) -> int:
    with torch.no_grad(), LiveBytes() as counted, _FlashAttention():
        run()
    peak: int = counted.peak
    return peak


def decoder_dtype(dtype: torch.dtype) -> torch.dtype:
    """Number type of the decoder: bfloat16 has too few digits for pictures."""
    return dtype if dtype == torch.float16 else torch.float32


def estimate_memory(
    folders: PartsFolder,
    settings: DiffusionSettings,
    *,
    size: tuple[int, int],
    frames: int | None,
    dtype: torch.dtype,
    keeps_all: bool,
) -> MemoryEstimate:
    """Bytes that a clip will take on the device with these settings.

    Args:
        folders: of the parts; only their descriptions are read.
        settings: how to sample.
        size: (height, width) in px to work at.
        frames: of the clip, None if unknown.
        dtype: of the denoiser and the image encoder.
        keeps_all: whether all parts stay on the device.

    Raises:
        WrongFile, MissingLibrary: see `PartsFolder`.
    """

    def limited(count: int) -> int:
        return count if frames is None else min(count, frames)

    window, encoded = limited(settings.window), limited(settings.encode_chunk)
    decoded = limited(settings.decode_chunk + 2 * settings.decode_context)
    return MemoryEstimate(
        embed=_embed_bytes(folders, size, dtype, encoded),
        encode=_encode_bytes(folders, size, encoded),
        denoise=_denoise_bytes(folders, size, dtype, window, settings.feed_forward_parts),
        decode=_decode_bytes(folders, size, dtype, decoded),
        weights={
            "image_encoder": _weights(folders, "image_encoder", dtype),
            "encoder": _weights(folders, "encoder", torch.float32),
            "unet": _weights(folders, "unet", dtype),
            "decoder": _weights(folders, "decoder", decoder_dtype(dtype)),
        },
        keeps_all=keeps_all,
        what=f"{window} frames at once of {size[1]}x{size[0]} px in {str(dtype).removeprefix('torch.')}",
    )


def fit_settings(
    folders: PartsFolder,
    settings: DiffusionSettings,
    *,
    size: tuple[int, int],
    frames: int | None,
    dtype: torch.dtype,
    free_dtype: bool,
    keeps_all: bool,
    limit: int | None,
) -> tuple[DiffusionSettings, torch.dtype, MemoryEstimate]:
    """Settings and number type below a limit of bytes; what costs least quality changes first.

    Every stage for itself: frames are encoded and decoded in smaller chunks; for the denoiser, feed-forward layers are
    split, then a number type that was free becomes bfloat16, and last the window shrinks.

    Args:
        folders, settings, size, frames, dtype, keeps_all: as in `estimate_memory`.
        free_dtype: whether the number type may change.
        limit: bytes; None takes the settings as they are.

    Raises:
        NotEnoughMemory: the smallest settings need more; the sentence says how much.
    """

    def estimated(kind: torch.dtype) -> MemoryEstimate:
        return estimate_memory(folders, settings, size=size, frames=frames, dtype=kind, keeps_all=keeps_all)

    found = estimated(dtype)
    if limit is None or found.peak <= limit:
        return settings, dtype, found
    kinds = (dtype, torch.bfloat16) if free_dtype and dtype == torch.float32 else (dtype,)
    whole, parts = settings, max(settings.feed_forward_parts, _PARTS)
    smaller = [pair for pair in _WINDOWS if pair[0] < min(whole.window, frames or whole.window)]
    tries: dict[str, list[dict[str, Any]]] = {
        "encode": [{"encode_chunk": chunk} for chunk in _CHUNKS if chunk < whole.encode_chunk],
        "decode": [{"decode_chunk": chunk} for chunk in _CHUNKS if chunk < whole.decode_chunk],
    }
    windows: list[dict[str, Any]] = [
        {"window": window, "overlap": min(overlap, whole.overlap)} for window, overlap in smaller
    ]
    for kind in kinds:
        settings = replace(whole, feed_forward_parts=parts)
        found = estimated(kind)
        for stage, changes in {**tries, "denoise": windows if kind == kinds[-1] else []}.items():
            for change in changes:
                if found.stages()[stage] <= limit:
                    break
                settings = replace(settings, **change)
                found = estimated(kind)
        if found.peak <= limit:
            return settings, kind, found
    raise NotEnoughMemory(
        f"video diffusion needs {found.sentence()}; the limit is {_gigabytes(limit)}, so give a smaller max_size, a "
        "larger max_memory or another device."
    )


def _gigabytes(count: int) -> str:
    return f"{math.ceil(count / 1e8) / 10:.1f} GB"
