"""DepthCrafter's parts: the denoiser in one repository, the rest in that of Stable Video Diffusion.

Loading is strict: a tensor that a file lacks is an error, since the libraries would fill it with random numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from torch import nn

from depthweave import io, runtime
from depthweave.errors import WrongFile
from depthweave.models.video.depthcrafter.network import PerFrameUNet
from depthweave.models.weights import CONFIG_NAME, download_weights

PartName = Literal["image_encoder", "encoder", "unet", "decoder"]
PARTS: tuple[PartName, ...] = get_args(PartName)

UNET_REPOSITORY = "tencent/DepthCrafter"
SVD_REPOSITORY = "stabilityai/stable-video-diffusion-img2vid-xt"

_UNET_FILES = (CONFIG_NAME, "diffusion_pytorch_model.safetensors")
_SVD_FILES = tuple(
    f"{folder}/{name}"
    for folder, weights in (("vae", "diffusion_pytorch_model"), ("image_encoder", "model"))
    for name in (CONFIG_NAME, f"{weights}.safetensors")
)


@dataclass(frozen=True)
class PartsFolder:
    """Folders of the parts, each with ``config.json`` and safetensors.

    Attributes:
        unet: of the denoiser (``UNetSpatioTemporalConditionModel``).
        vae: of the autoencoder (``AutoencoderKLTemporalDecoder``).
        image_encoder: of CLIP (``CLIPVisionModelWithProjection``).
        revision: commit of the denoiser's repository, None where it is a folder.
    """

    unet: Path
    vae: Path
    image_encoder: Path
    revision: str | None = None

    def read(self, name: PartName, dtype: torch.dtype) -> nn.Module:
        """A part with its weights, in evaluation mode on the CPU.

        Args:
            name: ``encoder`` and ``decoder`` are the halves of the autoencoder.
            dtype: of the weights.

        Raises:
            WrongFile: files are missing or damaged, or a tensor is missing or has another shape.
            MissingLibrary: diffusers or transformers is not installed.
        """
        kind, folder = _class_of(name), self._folder(name)
        variant = {} if any(folder.glob("*model.safetensors")) else {"variant": "fp16"}
        type_word = "dtype" if name == "image_encoder" else "torch_dtype"
        libraries = [_library(f"{library}.utils.logging") for library in ("transformers", "diffusers")]
        with runtime.quiet_loggers(libraries), _errors_of(folder):
            part, found = kind.from_pretrained(folder, output_loading_info=True, **{type_word: dtype}, **variant)
        if found["missing_keys"]:
            missing = sorted(found["missing_keys"])
            raise WrongFile(f"{folder} lacks {len(missing)} tensors, {missing[0]} among them; get it again.")
        if found["mismatched_keys"]:
            other = sorted(found["mismatched_keys"])[0][0]
            raise WrongFile(f"{folder} holds {other} in another shape than its {CONFIG_NAME} says; get it again.")
        return _finished(name, part)

    def outline(self, name: PartName, dtype: torch.dtype) -> nn.Module:
        """A part without memory for its weights (on the meta device), to count with.

        Raises:
            WrongFile, MissingLibrary: as `read`.
        """
        kind, folder = _class_of(name), self._folder(name)
        description = io.read_json(folder / CONFIG_NAME, remedy="get it again.")
        with _errors_of(folder), torch.device("meta"):
            if name == "image_encoder":
                part = kind(_library("transformers").CLIPVisionConfig.from_dict(description))
            else:
                part = kind.from_config(description)
        return _finished(name, nn.Module.to(part, "meta", dtype))

    def _folder(self, name: PartName) -> Path:
        folder = {"unet": self.unet, "image_encoder": self.image_encoder}.get(name, self.vae)
        io.require_file(folder / CONFIG_NAME)
        return folder


def find_parts(
    folder: str | PathLike[str] | None = None,
    *,
    unet: str | PathLike[str] | None = None,
    svd: str | PathLike[str] | None = None,
    repository: str = UNET_REPOSITORY,
    revision: str | None = None,
) -> PartsFolder:
    """Parts from folders of this machine, and from the hub what no folder is named for.

    Args:
        folder: holds ``unet``, ``vae`` and ``image_encoder``.
        unet: a copy of the denoiser's repository, before ``folder``.
        svd: a copy of Stable Video Diffusion with ``vae`` and ``image_encoder``, before ``folder``.
        repository, revision: of the denoiser on the hub, where no folder is named for it.

    Raises:
        WrongFile: a folder without the part that it should hold.
        MissingWeights: a repository is neither on this machine nor can it be reached.
    """
    own = Path(unet) if unet is not None else None if folder is None else Path(folder) / "unet"
    rest = Path(svd) if svd is not None else None if folder is None else Path(folder)
    commit = None
    if own is None:
        own = download_weights(repository, revision, _UNET_FILES)
        commit = own.name
    if rest is None:
        rest = download_weights(SVD_REPOSITORY, None, _SVD_FILES)
    for part in (own, rest / "vae", rest / "image_encoder"):
        if not (part / CONFIG_NAME).is_file():
            raise WrongFile(
                f"{part} has no {CONFIG_NAME}; give a folder that holds unet, vae and image_encoder, "
                "or one folder for each of unet= and svd=."
            )
    return PartsFolder(own, rest / "vae", rest / "image_encoder", commit)


def weight_bytes(part: nn.Module) -> int:
    """Memory that the weights take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*part.parameters(), *part.buffers()))


def _class_of(name: PartName) -> Any:
    if name == "image_encoder":
        return _library("transformers").CLIPVisionModelWithProjection
    diffusers = _library("diffusers")
    return diffusers.UNetSpatioTemporalConditionModel if name == "unet" else diffusers.AutoencoderKLTemporalDecoder


def _finished(name: PartName, part: Any) -> nn.Module:
    part.eval().requires_grad_(False)
    if name == "unet":
        return PerFrameUNet(part)
    if name == "encoder":
        del part.decoder
    if name == "decoder":
        del part.encoder, part.quant_conv
    network: nn.Module = part
    return network


def _library(name: str) -> Any:
    return runtime.require_library(name, user="DepthCrafter", extra="mono")


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise WrongFile(f"{folder} cannot be loaded ({first_line}); get it again.") from error
