"""Monocular models from a local folder or the hub: those of `transformers` and `diffusers`, and Depth Anything of ours.

What stands there decides: ``config.json`` with a ``model_type`` or family known here, or ``model_index.json`` of a
Marigold pipeline. Loading is strict: a tensor that the checkpoint lacks is an error, since both libraries would fill it
with random numbers.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import nn

from depthweave import io, runtime
from depthweave.errors import MissingWeights, UnknownModel, WrongFile, WrongInput
from depthweave.models.conversion import read_hub
from depthweave.models.mono.depth_anything import DepthAnything
from depthweave.models.mono.encoder_decoder import MonoUnet
from depthweave.models.mono.estimators import (
    DepthAnythingEstimator,
    DepthAnythingSettings,
    DepthProEstimator,
    DepthProSettings,
    MidasEstimator,
    MidasSettings,
    MonoUnetEstimator,
    MonoUnetSettings,
    PredictedDepth,
    ZoeDepthEstimator,
    ZoeDepthSettings,
)
from depthweave.models.mono.marigold import MarigoldEstimator, MarigoldSettings
from depthweave.models.mono.prompt_depth_anything import PromptDepthAnythingEstimator, PromptDepthAnythingSettings
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.weights import CONFIG_NAME, INDEX_NAME, download_weights

Options = Mapping[str, Any]
HubEstimator = (
    DepthAnythingEstimator
    | MidasEstimator
    | ZoeDepthEstimator
    | DepthProEstimator
    | MarigoldEstimator
    | MonoUnetEstimator
    | PromptDepthAnythingEstimator
)
S = TypeVar("S")

CONFIG, INDEX, PREPARATION = CONFIG_NAME, INDEX_NAME, "preprocessor_config.json"
MARIGOLD = "MarigoldDepthPipeline"
MARIGOLD_FILES = ("*.json", "*.txt", "*/model.safetensors", "*/diffusion_pytorch_model.safetensors")

_MIDAS_BACKBONES = ("bit", "beit", "swinv2")
"""DPT on other backbones (DINOv2 for NYU and KITTI) predicts depth and not inverse depth."""

_UNUSED = re.compile(r"fusion_stage\.layers\.0\.residual_layer1\.")
"""The deepest fusion has nothing to add, so checkpoints may lack its first convolutions."""


@dataclass(frozen=True)
class SavedModel:
    """A folder that a library saved a model to, or the hub's snapshot of one.

    Attributes:
        folder: where the files are.
        description: its ``config.json`` or ``model_index.json``.
    """

    folder: Path
    description: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """``model_type`` of transformers, the pipeline's class of diffusers, or the family of a network of ours."""
        stated = (self.description.get(word) for word in ("model_type", "_class_name", "family"))
        return next((str(word) for word in stated if word is not None), "nothing known")


def fetch(repository: str, revision: str | None = None) -> Path:
    """Folder of a hub id in the cache, with the files that its kind of model needs; what is missing is downloaded.

    Raises:
        MissingWeights: no such repository, or no connection.
        UnknownModel, WrongFile: as `read_estimator`.
    """
    saved = open_saved(download_weights(repository, revision, (CONFIG, INDEX)))
    _require_known(saved, repository)
    folder = download_weights(repository, revision, MARIGOLD_FILES if saved.kind == MARIGOLD else None)
    if not any(folder.rglob("*.safetensors")):
        folder = download_weights(repository, revision, ("*.json", "pytorch_model*.bin"))  # an older repository
        if not any(folder.glob("pytorch_model*.bin")):
            raise MissingWeights(
                f"of {repository}, only the description is on this machine; run `hf download {repository}` where the "
                "Hugging Face hub can be reached."
            )
    return folder


def open_saved(folder: Path) -> SavedModel:
    """Find out what a folder holds.

    Raises:
        WrongFile: it has no description, or a damaged one.
    """
    for name in (CONFIG, INDEX):
        if (folder / name).is_file():
            return SavedModel(folder, _read_json(folder / name))
    raise WrongFile(f"{folder} has neither {CONFIG} nor {INDEX}; give a folder that a model was saved to.")


def read_estimator(folder: Path, options: Options, *, family: str | None = None) -> HubEstimator:
    """Load the model of a folder.

    Args:
        folder: what ``save_pretrained`` of transformers, diffusers or a network of ours wrote, or the hub's snapshot.
        options: fields of the estimator's settings.
        family: ``depth-anything`` runs the hub's layout of Depth Anything V2 on the network of ours.

    Raises:
        UnknownModel: a kind of model that is not known here.
        WrongFile: no model, or a tensor is missing or has another shape.
        MissingLibrary: transformers or diffusers is not installed.
        WrongInput: an option that the model does not have.
    """
    saved = open_saved(folder)
    _require_known(saved, str(folder))
    if family == DepthAnything.family and saved.kind == "depth_anything":
        return _own_depth_anything(read_hub(family, folder), options)
    return _READERS[saved.kind](saved, options)


def settings_of(kind: type[S], options: Options, stated: Options | None = None) -> S:
    """Settings with what a checkpoint states and, above it, what the user asks for.

    Raises:
        WrongInput: an option that the settings do not have.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise WrongInput(f"this model has no option {', '.join(unknown)}; it has {', '.join(known)}.")
    return kind(**{**(stated or {}), **options})


def _own_depth_anything(network: PretrainedNetwork, options: Options) -> DepthAnythingEstimator:
    config = settings_of(DepthAnythingSettings, options)
    return DepthAnythingEstimator(network, metric=network.config.max_depth_m is not None, config=config)


def _read_mono_unet(saved: SavedModel, options: Options) -> MonoUnetEstimator:
    network = MonoUnet.from_pretrained(saved.folder)
    config = settings_of(MonoUnetSettings, options, {"size": network.config.size})
    return MonoUnetEstimator(network, metric=network.config.metric, config=config)


def _read_depth_anything(saved: SavedModel, options: Options) -> DepthAnythingEstimator:
    config = settings_of(DepthAnythingSettings, options)
    older = saved.description.get("depth_estimation", "relative")  # the first metric files call it that
    kind = saved.description.get("depth_estimation_type", older)
    network = PredictedDepth(_read_network(saved, depth_estimation_type=kind))
    return DepthAnythingEstimator(network, metric=kind == "metric", config=config)


def _read_midas(saved: SavedModel, options: Options) -> MidasEstimator:
    stated = _stated_preparation(saved)
    backbone = saved.description.get("backbone_config")
    if backbone is not None and backbone.get("model_type") not in _MIDAS_BACKBONES:
        raise UnknownModel(
            f"{saved.folder} is a DPT on {backbone.get('model_type')}, not one of MiDaS; its files do not say what it "
            "predicts."
        )
    square_only = backbone is None or bool(saved.description.get("is_hybrid"))  # so is the code of transformers
    if square_only:
        stated["keep_aspect"] = False
    config = settings_of(MidasSettings, options, stated)
    if square_only and (config.keep_aspect or config.size[0] != config.size[1]):
        raise WrongInput(f"{saved.folder} takes square pictures only; leave keep_aspect away and give a square size.")
    return MidasEstimator(_read_network(saved), config)


def _read_zoedepth(saved: SavedModel, options: Options) -> ZoeDepthEstimator:
    stated = _stated_preparation(saved)
    stated.pop("filter", None)  # always bilinear with aligned corners
    return ZoeDepthEstimator(_read_network(saved), settings_of(ZoeDepthSettings, options, stated))


def _read_depth_pro(saved: SavedModel, options: Options) -> DepthProEstimator:
    size = _stated_preparation(saved).get("size")
    stated = {} if size is None else {"size": size[0]}
    return DepthProEstimator(_read_network(saved), settings_of(DepthProSettings, options, stated))


def _read_prompt_depth_anything(saved: SavedModel, options: Options) -> PromptDepthAnythingEstimator:
    size = _stated_preparation(saved).get("size")
    stated = {} if size is None else {"size": size[0]}
    return PromptDepthAnythingEstimator(_read_network(saved), settings_of(PromptDepthAnythingSettings, options, stated))


def _read_marigold(saved: SavedModel, options: Options) -> MarigoldEstimator:
    config = settings_of(MarigoldSettings, options)
    diffusers = _library("diffusers")
    parts = {}
    with _reading(saved.folder, "transformers", "diffusers"):
        for name in ("unet", "vae", "text_encoder"):
            library, kind = saved.description[name]
            part = getattr(_library(library), kind)
            parts[name], found = part.from_pretrained(saved.folder, subfolder=name, output_loading_info=True)
            _require_complete(f"{saved.folder} ({name})", found)
        pipeline = diffusers.MarigoldDepthPipeline.from_pretrained(saved.folder, **parts)
    return MarigoldEstimator(pipeline, config)


def _read_network(saved: SavedModel, **config: str) -> nn.Module:
    transformers = _library("transformers")
    with _reading(saved.folder, "transformers"):
        network: nn.Module
        network, found = transformers.AutoModelForDepthEstimation.from_pretrained(
            saved.folder, output_loading_info=True, ignore_mismatched_sizes=True, dtype="float32", **config
        )
    _require_complete(str(saved.folder), found)
    return network


def _require_complete(source: str, found: Mapping[str, Any]) -> None:
    missing = sorted(name for name in found["missing_keys"] if not _UNUSED.search(name))
    if missing:
        raise WrongFile(f"{source} lacks {len(missing)} tensors, {missing[0]} among them; get it again.")
    if found["mismatched_keys"]:
        name = sorted(found["mismatched_keys"])[0][0]
        raise WrongFile(f"{source} holds {name} in another shape than its {CONFIG} says; get it again.")


def _stated_preparation(saved: SavedModel) -> dict[str, Any]:
    """What a checkpoint's ``preprocessor_config.json`` says, in the words of the settings here."""
    file = saved.folder / PREPARATION
    if not file.is_file():
        return {}
    stated = _read_json(file)
    words = {"keep_aspect_ratio": "keep_aspect", "ensure_multiple_of": "multiple", "do_pad": "pad"}
    if saved.kind == "dpt":
        del words["do_pad"]  # pads to a divisor, which networks for depth do not use
    found = {ours: stated[theirs] for theirs, ours in words.items() if theirs in stated}
    for theirs, ours in (("image_mean", "mean"), ("image_std", "std")):
        if theirs in stated:
            found[ours] = tuple(stated[theirs])
    if "size" in stated:
        size = stated["size"]
        found["size"] = (size, size) if isinstance(size, int) else (size["height"], size["width"])
    if stated.get("resample") in (2, 3):
        found["filter"] = {2: "bilinear", 3: "bicubic"}[stated["resample"]]
    return found


def _read_json(file: Path) -> dict[str, Any]:
    content = io.read_json(file, remedy="get it again.")
    if not isinstance(content, dict):
        raise WrongFile(f"{file} is not the description of a model; get it again.")
    return content


def _library(name: str) -> Any:
    return runtime.require_library(name, user="this model", extra="mono")


@contextmanager
def _reading(folder: Path, *libraries: str) -> Iterator[None]:
    """Quiet libraries, and their errors about files as one of ours."""
    with runtime.quiet_loggers([_library(f"{name}.utils.logging") for name in libraries]):
        try:
            yield
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise WrongFile(f"{folder} cannot be loaded ({first_line}); get it again.") from error


def _require_known(saved: SavedModel, place: str) -> None:
    if saved.kind not in _READERS:
        raise UnknownModel(f"{place} holds {saved.kind}, not one of {', '.join(_READERS)}.")


_READERS: dict[str, Callable[[SavedModel, Options], HubEstimator]] = {
    DepthAnything.family: lambda saved, options: _own_depth_anything(
        DepthAnything.from_pretrained(saved.folder), options
    ),
    MonoUnet.family: _read_mono_unet,
    "depth_anything": _read_depth_anything,
    "dpt": _read_midas,
    "zoedepth": _read_zoedepth,
    "depth_pro": _read_depth_pro,
    "prompt_depth_anything": _read_prompt_depth_anything,
    MARIGOLD: _read_marigold,
}
