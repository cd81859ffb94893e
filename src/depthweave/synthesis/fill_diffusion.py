"""Holes filled by a diffusion model of the user's choice."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from depthweave import io, runtime
from depthweave.errors import MissingWeights, WrongFile, WrongInput
from depthweave.images import pad_to_multiple, unpad
from depthweave.synthesis.fill_background import BackgroundFiller
from depthweave.synthesis.holes import compose, require_hole

INDEX = "model_index.json"
"""What a pipeline of diffusers is made of."""
PIPELINE_FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "*/model.safetensors",
    "*/model-?????-of-?????.safetensors",
    "*/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-?????-of-?????.safetensors",
)
_LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True, eq=False)
class DiffusionFiller:
    """Asks an inpainting pipeline of `diffusers` for the holes, and keeps its colours for the wanted pixels only.

    The pipeline works on cells of 8 px (of its autoencoder). A cell with one unknown pixel is unknown as a whole, so
    that no cell mixes foreground with background. The picture is continued to whole cells, and its holes are given
    filled from the background, which matters for a strength below 1 only.

    Attributes:
        pipeline: such as `load_inpainting` gives.
        steps: of denoising.
        guidance: how much the prompt counts; 1 = no more than in training, and half the time.
        prompt: what to paint; the empty one leaves it to the picture.
        strength: in (0, 1], share of the steps that are taken; below 1, traces of the background filling remain.

    Source: Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022, section 4.5;
    hiding the foreground and whole cells are our reconstruction.
    """

    pipeline: Any
    steps: int = 30
    guidance: float | int = 1.0
    prompt: str = ""
    strength: float | int = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.guidance < 0 or not 0 < self.strength <= 1:
            raise WrongInput(
                "steps is at least 1, guidance not negative and strength in (0, 1], not "
                f"{self.steps}, {self.guidance} and {self.strength}."
            )
        if int(self.steps * self.strength) < 1:
            raise WrongInput(f"a strength of {self.strength} leaves none of {self.steps} steps; raise one of them.")
        self.pipeline.set_progress_bar_config(disable=True)

    def __call__(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        rng: np.random.Generator,
    ) -> Float[Tensor, "3 h w"]:
        """Give the wanted pixels new colours, see `Filler`.

        Raises:
            WrongInput: sizes differ, a wanted pixel is not unknown, nothing is known, or the pipeline's safety checker
                withholds its picture.
        """
        require_hole(image, unknown, wanted, disparity)
        # Drawn on the host, so that devices agree on it.
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if not bool(wanted.any()):
            return image.clone()
        start = BackgroundFiller(noise=0)(image, unknown, unknown, disparity, rng)
        cell = max(8, int(getattr(self.pipeline, "vae_scale_factor", 8)))
        picture, padding = pad_to_multiple(start[None], cell, place="corner")
        cells = F.max_pool2d(pad_to_multiple(unknown[None, None].float(), cell, place="corner")[0], cell)
        found = self.pipeline(
            prompt=self.prompt,
            image=picture,
            mask_image=F.interpolate(cells, scale_factor=cell, mode="nearest"),
            height=picture.shape[-2],
            width=picture.shape[-1],
            strength=float(self.strength),
            num_inference_steps=self.steps,
            guidance_scale=float(self.guidance),
            generator=generator,
            output_type="pt",
        )
        if any(getattr(found, "nsfw_content_detected", None) or ()):
            raise WrongInput("the pipeline's safety checker withholds its picture; leave this one out.")
        return compose(image, unpad(found.images[0], padding), wanted)


def make_diffusion_filler(
    *,
    source: str | Path | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
    revision: str | None = None,
    steps: int = 30,
    guidance: float | int = 1.0,
    prompt: str = "",
    strength: float | int = 1.0,
) -> DiffusionFiller:
    """Load a pipeline and make a filler of it.

    Args:
        source: hub id or folder; there is no default, since its licence is for the user to choose.
        device, dtype, revision: see `load_inpainting`.
        steps, guidance, prompt, strength: see `DiffusionFiller`.

    Raises:
        WrongInput: no source, or a value that does not fit.
        MissingLibrary, MissingWeights, WrongFile: see `load_inpainting`.
    """
    if source is None:
        raise WrongInput(
            "the filler diffusion needs an inpainting pipeline; give its hub id or folder as source, and read its "
            "licence first."
        )
    pipeline = load_inpainting(source, device, dtype=dtype, revision=revision)
    return DiffusionFiller(pipeline, steps, guidance, prompt, strength)


def load_inpainting(
    source: str | Path,
    device: str = "auto",
    *,
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
    revision: str | None = None,
) -> Any:
    """Load any pipeline that ``AutoPipelineForInpainting`` of diffusers knows, strictly.

    Args:
        source: a folder that ``save_pretrained`` wrote, or a hub id, of which what is missing is downloaded.
        device: as in `runtime.choose_device`.
        dtype: as in `runtime.choose_dtype`.
        revision: commit, tag or branch of the hub id.

    Raises:
        MissingLibrary: diffusers or transformers is not installed.
        MissingWeights: no such repository, or no connection.
        WrongFile: no pipeline for inpainting, a damaged one, or one that lacks a tensor.
    """
    place = runtime.choose_device(device)
    number = runtime.choose_dtype(dtype, place)
    diffusers = _library("diffusers")
    folder = Path(source) if Path(source).is_dir() else _download(str(source), revision)
    description = io.read_json(folder / INDEX, remedy="get it again.")
    if not isinstance(description, dict):
        raise WrongFile(f"{folder / INDEX} is not the description of a pipeline; get it again.")
    with _reading(folder):
        parts = {}
        for name, entry in description.items():
            if isinstance(entry, list) and entry[0] in _LIBRARIES:
                kind = getattr(_library(entry[0]), entry[1])
                if issubclass(kind, torch.nn.Module):
                    parts[name] = _read_network(kind, folder, name)
        pipeline = diffusers.AutoPipelineForInpainting.from_pretrained(folder, **parts)
    return pipeline.to(place, number)


def _read_network(kind: Any, folder: Path, name: str) -> torch.nn.Module:
    network: torch.nn.Module
    found: Mapping[str, Any]
    network, found = kind.from_pretrained(folder, subfolder=name, output_loading_info=True)
    missing = sorted(found["missing_keys"])
    if missing:
        # Both libraries would fill them with random numbers.
        raise WrongFile(f"{folder} ({name}) lacks {len(missing)} tensors, {missing[0]} among them; get it again.")
    return network


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    command = f"`hf download {repository}{'' if revision is None else f' --revision {revision}'}`"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(PIPELINE_FILES)))
    except GatedRepoError as error:
        raise MissingWeights(
            f"{repository} asks for an agreement first; accept it at https://huggingface.co/{repository}, log in with "
            f"`hf auth login` and run {command}."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise MissingWeights(
            f"{repository} is neither a folder here nor a model of the Hugging Face hub; check the name."
        ) from error
    except OSError as error:
        raise MissingWeights(
            f"{repository} is not on this machine and the Hugging Face hub cannot be reached; run {command} where it "
            "can."
        ) from error


def _library(name: str) -> Any:
    return runtime.require_library(name, user="the filler diffusion", extra="mono")


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Quiet libraries, and their errors about files as one of ours."""
    with runtime.quiet_loggers([_library(f"{name}.utils.logging") for name in _LIBRARIES]):
        try:
            yield
        except (OSError, RuntimeError, ValueError, AttributeError, SafetensorError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise WrongFile(
                f"{folder} cannot be loaded ({first_line}); give a pipeline for inpainting, or get it again."
            ) from error
