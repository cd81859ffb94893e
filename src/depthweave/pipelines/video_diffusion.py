"""Depth of clips by video diffusion: DepthCrafter, and the one step of it that StereoDiff takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import runtime
from depthweave.errors import WrongInput
from depthweave.models.registry import ModelCard
from depthweave.models.video.depthcrafter import PartsFolder, find_parts
from depthweave.models.video.depthcrafter.conditions import working_size
from depthweave.models.video.depthcrafter.network import Conditions, PerFrameUNet, denoise
from depthweave.models.video.depthcrafter.windows import frame_noise
from depthweave.pipelines.disparity_range import FilledDisparity, disparity_range
from depthweave.pipelines.video_memory import MemoryEstimate, decoder_dtype, fit_settings
from depthweave.pipelines.video_settings import OFFLOADS, DiffusionSettings
from depthweave.pipelines.video_stages import DiffusionRun, MapOfFrame, PartsOnDevice
from depthweave.pipelines.video_work import VideoWork
from depthweave.types import Clip, DepthMap


class VideoDiffusion:
    """DepthCrafter's model, loaded part by part when it is needed.

    Results do not depend on the device, the number type's noise or the clip's length: noise is drawn on the host in
    float32 for every frame from (seed, purpose, frame).

    Args:
        folders: of the parts.
        settings: how to sample.
        card: facts for manifests.
        device: where the model runs.
        dtype: float32, float16 or bfloat16 of the weights; ``auto`` is float16 on cuda, else float32. Arithmetic
            between the calls of the network is float32.
        offload: where parts wait that a stage does not need: ``none`` (on the device), ``cpu``, ``disk`` (read again
            for each stage); ``auto`` is cpu beside an accelerator, else none, and disk under ``max_memory``.
        max_memory: GB (1e9 bytes) of the device that the work may take; chunks, window and (under ``auto``) the number
            type are chosen to keep below it.

    Raises:
        WrongInput: a device, number type, offload or limit that there is not.
    """

    def __init__(
        self,
        folders: PartsFolder,
        settings: DiffusionSettings | None = None,
        *,
        card: ModelCard | None = None,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "auto",
        max_memory: float | int | None = None,
    ) -> None:
        if offload not in OFFLOADS:
            raise WrongInput(f"parts cannot wait in '{offload}'; use one of {', '.join(OFFLOADS)}.")
        if max_memory is not None and not max_memory > 0:
            raise WrongInput(f"max_memory is {max_memory} GB; give the GB that the work may take.")
        self.settings = settings or DiffusionSettings()
        self.card = card
        self.device = runtime.choose_device(device)
        self.max_memory = max_memory
        half_by_itself = dtype == "auto" and self.device.type == "cuda"
        self.dtype = torch.float16 if half_by_itself else runtime.choose_dtype(dtype, self.device)
        self._free_dtype = dtype == "auto"
        if offload == "auto":
            on_host = self.device.type == "cpu"
            offload = ("disk" if max_memory is not None else "none") if on_host else "cpu"
        self.offload = offload
        self.parts = PartsOnDevice(folders, self.device, offload)

    @property
    def name(self) -> str:
        """Of the model."""
        return "depthcrafter" if self.card is None else self.card.name

    @property
    def revision(self) -> str | None:
        """Commit of the denoiser's weights, None where they came from a folder."""
        return self.parts.folders.revision

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest."""
        return {
            "options": asdict(self.settings),
            "revision": self.revision,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "offload": self.offload,
            "max_memory": self.max_memory,
        }

    def plan(
        self, height: int, width: int, *, frames: int | None = None
    ) -> tuple[DiffusionSettings, torch.dtype, MemoryEstimate]:
        """Settings and number type that a clip is worked on with, and the memory that takes; nothing is loaded.

        Args:
            height, width: of the pictures in px.
            frames: of the clip, where that is known: a short clip takes less.

        Raises:
            NotEnoughMemory: nothing fits into ``max_memory``.
        """
        limit = None if self.max_memory is None else int(self.max_memory * 1e9)
        return fit_settings(
            self.parts.folders,
            self.settings,
            size=self._size(height, width),
            frames=frames,
            dtype=self.dtype,
            free_dtype=self._free_dtype,
            keeps_all=self.offload == "none",
            limit=limit,
        )

    def generate(
        self, clip: Clip, work: Path, *, latents: Tensor | None = None, aug_noise: Tensor | None = None
    ) -> Iterator[Float[Tensor, "h w"]]:
        """DepthCrafter: affine-invariant disparity of every frame in [0, 1], large is near, at the pictures' size.

        The values are the decoder's own, not stretched to the clip's range. Windows start from equal noise on equal
        frames and, from the second on, from the result before; what is finished is kept in ``work``.

        Args:
            clip: the pictures.
            work: folder for this clip alone; a stopped run goes on from it.
            latents: unit noise (window, 4, h / 8, w / 8) in place of the seed's; frame f takes entry f mod window.
            aug_noise: unit noise (t, 3, h, w) for the frames, in place of the seed's.

        Raises:
            WrongInput: frames of several sizes, or none.
            NotEnoughMemory: see `plan`.
            NotFinite: the network's answers are no numbers.
        """
        settings = self.settings.for_generation()
        levels = settings.generation_levels()
        first_level = settings.first_noise()

        def window_of(
            run: DiffusionRun, unet: PerFrameUNet, frames: range, conditions: Conditions, before: Tensor | None
        ) -> Tensor:
            shape = tuple(conditions.latents.shape[1:])
            noise = run.noise_of((frame % run.settings.window for frame in frames), shape)
            noisy = noise * first_level
            if before is not None:
                noisy[: len(before)] = before + noise[: len(before)] * levels[0]
            return denoise(unet, noisy, levels, conditions, guidance=settings.guidance)

        return self._runs(settings, clip, None, work, window_of, latents, aug_noise)

    def refine_disparity(
        self,
        clip: Clip,
        disparity01: MapOfFrame,
        work: Path,
        *,
        latents: Tensor | None = None,
        aug_noise: Tensor | None = None,
    ) -> Iterator[Float[Tensor, "h w"]]:
        """StereoDiff's step: disparity in [0, 1] of every frame, noised and denoised once, at the pictures' size.

        Windows do not know of each other but through equal noise on equal frames; where they overlap they are
        cross-faded (StereoDiff, section 3; the reading of its noise level stands in docs/models/depthcrafter.md).

        Args:
            clip: the pictures.
            disparity01: dense disparity (h, w) in [0, 1] of a frame at the pictures' size, under one affine map for the
                whole clip.
            work: folder for this clip and these maps alone; a stopped run goes on from it.
            latents: unit noise (t, 4, h / 8, w / 8) in place of the seed's.
            aug_noise: unit noise (t, 3, h, w) for the frames, in place of the seed's.

        Raises:
            WrongInput, NotEnoughMemory, NotFinite: as `generate`.
        """
        settings = self.settings.for_refinement()
        levels = settings.refinement_levels()

        def window_of(
            run: DiffusionRun, unet: PerFrameUNet, frames: range, conditions: Conditions, before: Tensor | None
        ) -> Tensor:
            clean = run.disparity_latents(frames)
            noisy = clean + levels[0] * run.noise_of(frames, tuple(clean.shape[1:]))
            return denoise(unet, noisy, levels, conditions, guidance=settings.guidance)

        return self._runs(settings, clip, disparity01, work, window_of, latents, aug_noise)

    def _runs(
        self,
        settings: DiffusionSettings,
        clip: Clip,
        disparity01: MapOfFrame | None,
        work: Path,
        window_of: Callable[..., Tensor],
        latents: Tensor | None,
        aug_noise: Tensor | None,
    ) -> Iterator[Float[Tensor, "h w"]]:
        first = next(iter(clip), None)
        if first is None:
            raise WrongInput("the clip has no frames; check where it begins and ends.")
        height, width = first.shape[-2:]
        dtype = self.dtype
        if self.max_memory is not None:
            fitted, dtype, _ = self.plan(height, width, frames=_known_count(clip))
            settings = replace(settings, **{name: getattr(fitted, name) for name in _FITTED})
        size = self._size(height, width)
        runs = []
        for number in range(settings.runs):
            seed = settings.seed + number
            noise = _noise_source(seed, latents, aug_noise)
            facts = {
                "settings": asdict(replace(settings, seed=seed, runs=1)),
                "refines": disparity01 is not None,
                "size": size,
                "revision": self.revision,
                "dtype": str(dtype),
            }
            run = DiffusionRun(self.parts, settings, dtype, VideoWork(work / f"run_{number:03d}", facts), size, noise)
            run.encode(clip, disparity01)
            run.denoise(lambda *inputs, run=run: window_of(run, *inputs))
            runs.append(run)
        with self.parts.using(("decoder", decoder_dtype(dtype))) as (decoder,):
            for maps in zip(*(run.decode(decoder) for run in runs), strict=True):
                yield maps[0] if len(maps) == 1 else torch.stack(maps).mean(0)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        own = self.settings
        return own.size or working_size(height, width, max_size=own.max_size, multiple=own.multiple)


_FITTED = ("window", "overlap", "encode_chunk", "decode_chunk", "feed_forward_parts")


def _known_count(clip: Clip) -> int | None:
    """Frames of a clip; None for a video, whose container may claim too few."""
    if isinstance(clip.frames, Sequence):
        return len(clip.frames)
    return None if clip.frames.files is None else len(clip.frames.files)


def _noise_source(
    seed: int, latents: Tensor | None, aug_noise: Tensor | None
) -> Callable[[str, int, tuple[int, ...]], Tensor]:
    given = {"latents": latents, "augmentation": aug_noise}

    def noise(stream: str, frame: int, shape: tuple[int, ...]) -> Tensor:
        stored = given[stream]
        if stored is None:
            return frame_noise(seed, stream, frame, shape)
        if frame >= len(stored) or tuple(stored.shape[1:]) != shape:
            raise WrongInput(f"frame {frame} needs noise of {shape}, but {stream} has {tuple(stored.shape)}.")
        return stored[frame].float()

    return noise


class DiffusionRefiner:
    """Stage two by one step of DepthCrafter (StereoDiff, arXiv 2506.20756, section 3).

    Args:
        diffusion: the model.
        quantiles: of the clip's valid inverse depths that become 0 and 1; (0, 1) is the paper's plain range, which one
            wrong pixel can stretch.
        reach: frames on either side in which an invalid pixel looks for a value of its own place, before it takes the
            nearest one of its frame.

    Raises:
        WrongInput: quantiles that are no range, or a negative reach.
    """

    name = "depthcrafter"

    def __init__(
        self,
        diffusion: VideoDiffusion,
        *,
        quantiles: tuple[float | int, float | int] = (0.005, 0.995),
        reach: int = 5,
    ) -> None:
        if not 0 <= quantiles[0] < quantiles[1] <= 1:
            raise WrongInput(
                f"quantiles {quantiles} are no range; take two numbers between 0 and 1, the smaller first."
            )
        if reach < 0:
            raise WrongInput(f"a reach of {reach} frames does not exist; take 0 or more.")
        self.diffusion = diffusion
        self.quantiles = quantiles
        self.reach = reach

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest."""
        found = self.diffusion.facts()
        settings = self.diffusion.settings.for_refinement()
        sigma, to_sigma = settings.refinement_levels()
        own = {"quantiles": list(self.quantiles), "reach": self.reach, "sigma": sigma, "to_sigma": to_sigma}
        named = ("schedule", "steps", "stitch", "back")
        return {**found, "options": {**found["options"], **{name: getattr(settings, name) for name in named}, **own}}

    def refine(self, clip: Clip, depth: Sequence[DepthMap], work: Path) -> Iterator[DepthMap]:
        """Depth of all frames in the scale of stage one, see `depthweave.pipelines.video_refiner.Refiner`.

        ``valid``, ``confidence`` and camera stay those of stage one.

        Raises:
            NeedsMetric: the depth's shift is unknown.
            WrongInput: no valid pixel in the clip, or only one depth.
        """
        limits = disparity_range(depth, self.quantiles)
        filled = FilledDisparity(depth, self.reach)
        refined = self.diffusion.refine_disparity(clip, lambda index: limits.normalized(filled[index]), work)
        for index, share in enumerate(refined):
            stage_one = depth[index]
            yield replace(stage_one, values=1 / limits.restored(share.float()))


def build(
    source: ModelCard | str | PathLike[str] | None = None,
    *,
    card: ModelCard | None = None,
    unet: str | PathLike[str] | None = None,
    svd: str | PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_memory: float | int | None = None,
    **options: Any,
) -> VideoDiffusion:
    """The model of a card or of local folders.

    Args:
        source: a card, whose source is the denoiser's hub id; or a folder that holds ``unet``, ``vae`` and
            ``image_encoder``. None takes ``unet`` and ``svd``, and from the hub what is not named.
        card: facts about a folder.
        unet, svd: folders of the denoiser, and of Stable Video Diffusion with ``vae`` and ``image_encoder``.
        device, dtype, offload, max_memory: as in `VideoDiffusion`.
        options: fields of `DiffusionSettings`, above those of the card.

    Raises:
        MissingWeights, WrongFile, MissingLibrary: see `depthweave.models.video.depthcrafter.parts`.
        WrongInput: an option that the model does not have.
    """
    known = [field.name for field in fields(DiffusionSettings)]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise WrongInput(f"this model has no option {', '.join(unknown)}; it has {', '.join(known)}.")
    folder: str | PathLike[str] | None = None
    on_hub: dict[str, Any] = {}
    if isinstance(source, ModelCard):
        card = source
        if "/" in card.source:
            on_hub = {"repository": card.source, "revision": card.revision}
    else:
        folder = source
    stated = {} if card is None else {name: value for name, value in card.settings.items() if name in known}
    folders = find_parts(folder, unet=unet, svd=svd, **on_hub)
    return VideoDiffusion(
        folders,
        DiffusionSettings(**{**stated, **options}),
        card=card,
        device=device,
        dtype=dtype,
        offload=offload,
        max_memory=max_memory,
    )
