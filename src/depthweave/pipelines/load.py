"""From a model's name to something that can be called."""

import inspect
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from depthweave import runtime
from depthweave.classical import (
    BlockConfig,
    BlockMatching,
    OpenCVBlockConfig,
    OpenCVBlockMatching,
    SemiGlobalConfig,
    SemiGlobalMatching,
)
from depthweave.errors import LicenceNotice, WrongFile, WrongInput
from depthweave.io.files import AnyPath
from depthweave.models.families import find_family
from depthweave.models.pointmap.official import hub_family
from depthweave.models.pretrained import Description, PretrainedNetwork, describe
from depthweave.models.registry import (
    DEFAULT_FLOW,
    DEFAULT_MONO,
    DEFAULT_POINTMAP,
    DEFAULT_STEREO,
    DEFAULT_VIDEO,
    ModelCard,
    Task,
    find_model,
    list_models,
)
from depthweave.models.weights import CONFIG_NAME, converted_weights, download_weights, find_weights
from depthweave.pipelines import mono
from depthweave.pipelines.network_stereo import NetworkMatching, default_settings
from depthweave.pipelines.stereo import StereoMatcher

if TYPE_CHECKING:
    from depthweave.pipelines.flow import FlowMatcher
    from depthweave.pipelines.reconstruct import Reconstructor
    from depthweave.pipelines.video import VideoDepth

_CLASSICAL: dict[str, tuple[type[Any], type[Any]]] = {
    "sgm": (SemiGlobalMatching, SemiGlobalConfig),
    "bm": (OpenCVBlockMatching, OpenCVBlockConfig),
    "block": (BlockMatching, BlockConfig),
}
_DEFAULTS: Mapping[Task, str] = {
    "stereo": DEFAULT_STEREO,
    "mono": DEFAULT_MONO,
    "pointmap": DEFAULT_POINTMAP,
    "video": DEFAULT_VIDEO,
    "flow": DEFAULT_FLOW,
}
_ANY_DEVICE = ("block",)
_NOT_OPTIONS = ("card", "device", "dtype")


def load(
    name: AnyPath | None = None,
    /,
    *,
    task: Task | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **options: Any,
) -> Any:
    """The model of that name, ready to call: a `StereoMatcher`, `MonoEstimator`, `Reconstructor`,
    `VideoDepth` or `FlowMatcher`.

    Args:
        name: as `depthweave models` lists it, the name under which `depthweave convert` keeps weights, a folder with
            ``config.json``, or ``owner/name`` on the Hugging Face hub; None gives the task's default, without a task
            that for stereo pairs.
        task: what the caller needs the model for; another kind of model is refused before its weights are read. For
            ``video``, models for pointmaps and for single pictures get a second stage, for consistency.
        device: ``auto`` (cuda, mps, cpu in that order) or a torch device. ``sgm``, ``bm`` and ``geometric`` always run
            on the CPU.
        dtype: what networks compute in: ``auto`` (half precision on cuda), float32, float16 or bfloat16.
        options: fields of the model's configuration or settings of its pipeline, above those of its card, e.g.
            ``load("block", cost="zncc")`` or ``load("defom-vits", iterations=16)``. For clips also ``stage1_only`` and
            ``stage1``, a dictionary of the first stage's options; the others are the second stage's where it has them.

    Raises:
        UnknownModel: no such model.
        MissingWeights: its weights are not on this machine and cannot be fetched.
        WrongFile: a folder that holds something else, or weights that do not fit their configuration.
        WrongInput: an option that the model does not have, or a model for another task.
    """
    if name is None:
        name = _DEFAULTS[task or "stereo"]
    how = {"device": device, "dtype": dtype, **options}
    card = _card(str(name))
    if task == "video" or (card is not None and card.task == "video"):
        return _video(name, card, task, how)
    if card is None:
        folder = _folder(name)
        if folder is not None:
            return _from_folder(name, folder, task, how)
        card = find_model(str(name))  # raises, with names that are close
    _require_task(card.name, card.task, task)
    if card.task == "flow":
        return _flow(card, **how)
    if card.name in _CLASSICAL:
        return _classical(card, **how)
    if card.name == DEFAULT_POINTMAP:
        return _geometric(card, **how)
    announce(card)
    if card.task == "stereo":
        return _network(find_weights(card), card, **how)
    if card.task == "pointmap":
        folder = find_weights(card)
        return _network(folder, card, **how) if _is_ours(folder) else _pointmap_network(folder, card, **how)
    converted = converted_weights(card.name)
    return mono.build(card, **how) if converted is None else _network(converted, card, **how)


def _video(name: AnyPath, card: ModelCard | None, task: Task | None, how: Mapping[str, Any]) -> "VideoDepth":
    """A model for clips, or one for pointmaps or single pictures with a second stage."""
    from depthweave.pipelines import load_video

    if card is not None and card.task not in ("mono", "pointmap"):
        _require_task(card.name, card.task, "video" if task is None else task)
        return load_video.build(name, card, **how)
    return load_video.build(name, None, **how)


def _from_folder(name: AnyPath, folder: Path, task: Task | None, how: Mapping[str, Any]) -> Any:
    if not _is_ours(folder):
        family = hub_family(folder)
        if family is not None:
            _require_task(str(name), "pointmap", task)
            return _pointmap_network(folder, _unknown_card(str(name), "pointmap", family, name), **how)
        # What transformers or diffusers have saved. A hub id stays one, for they need other files of it.
        _require_task(str(name), "mono", task)
        return mono.build(name if Path(name).is_dir() else str(name), **how)
    found = describe(folder)
    kind = find_family(found.family).task
    _require_task(str(name), kind, task)
    base = found.origin.get("model")
    label = folder.name if folder in (Path(name), converted_weights(str(name))) else str(name)
    if base is None:
        card = _unknown_card(label, kind, found.family, name)
    else:
        card = replace(find_model(base), name=label)
        announce(card)
    return _network(folder, card, **how)


def _unknown_card(label: str, task: Task, family: str, source: AnyPath) -> ModelCard:
    """Of weights that are no registered model's."""
    unstated = "not stated"
    settings = _shared_settings(family)
    return ModelCard(label, task, family, "", str(source), unstated, None, 0, unstated, unstated, settings=settings)


def _classical(card: ModelCard, *, device: str, dtype: str, **options: Any) -> StereoMatcher:
    kind, config = _CLASSICAL[card.name]
    if runtime.choose_dtype(dtype, torch.device("cpu")) != torch.float32:
        raise WrongInput(f"{card.name} computes in float32; leave dtype (--dtype) away.")
    own, pipeline = [field.name for field in fields(config)], _keywords(StereoMatcher.__init__)
    _require_known(card.name, options, [*own, *pipeline])
    matching = kind(config(**{option: value for option, value in options.items() if option in own}))
    settings = {option: value for option, value in options.items() if option in pipeline}
    return StereoMatcher(matching, card=card, device=device if card.name in _ANY_DEVICE else "cpu", **settings)


def _network(folder: Path, card: ModelCard, **how: Any) -> Any:
    """A network of ours from its folder."""
    found = describe(folder)
    card = replace(card, revision=card.revision or _revision(folder, found))
    if card.task == "mono":
        return mono.build(folder, card=card, **how)
    if card.task == "pointmap":
        return _pointmap_network(folder, card, **how)
    if card.task == "flow":
        return _flow(card, folder, **how)
    return _stereo_network(folder, find_family(found.family).network_class(), card, **how)


def _stereo_network(
    folder: Path, kind: type[PretrainedNetwork], card: ModelCard, *, device: str, dtype: str, **options: Any
) -> StereoMatcher:
    known = [*default_settings(kind.forward), *_keywords(NetworkMatching.__init__), *_keywords(StereoMatcher.__init__)]
    _require_known(card.name, options, known)
    network = kind.from_pretrained(folder)
    # The card limits the enlarging that it asks for, not a scale that the caller has chosen.
    settings = {name: value for name, value in card.settings.items() if name != "max_pixels" or "scale" not in options}
    return StereoMatcher(network, card=card, device=device, dtype=dtype, **{**settings, **options})


def _flow(card: ModelCard, folder: Path | None = None, **how: Any) -> "FlowMatcher":
    from depthweave.pipelines import load_flow

    return load_flow.build(card, folder, **how)


def _geometric(card: ModelCard, *, device: str, dtype: str, **options: Any) -> "Reconstructor":
    from depthweave.pipelines.geometric_pairs import GeometricPairs
    from depthweave.pipelines.reconstruct import Reconstructor

    if runtime.choose_dtype(dtype, torch.device("cpu")) != torch.float32:
        raise WrongInput(f"{card.name} computes in float32; leave dtype (--dtype) away.")
    own, pipeline = _split(card, options, GeometricPairs.__init__, Reconstructor.__init__)
    return Reconstructor(GeometricPairs(**own), card=card, **pipeline)


def _pointmap_network(folder: Path, card: ModelCard, *, device: str, dtype: str, **options: Any) -> "Reconstructor":
    from depthweave.pipelines import network_pairs
    from depthweave.pipelines.reconstruct import Reconstructor

    own, pipeline = _split(card, options, network_pairs.NetworkPairs.__init__, Reconstructor.__init__)
    estimator = network_pairs.build(folder, card=card, device=device, dtype=dtype, **own)
    return Reconstructor(estimator, card=card, **pipeline)


def _split(
    card: ModelCard, options: Mapping[str, Any], estimator: Callable[..., Any], pipeline: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options above the card's settings, those of the estimator and those of its pipeline."""
    own, rest = ([name for name in _keywords(call) if name != "revision"] for call in (estimator, pipeline))
    _require_known(card.name, options, [*own, *rest])
    settings = {**card.settings, **options}
    return (
        {name: value for name, value in settings.items() if name in own},
        {name: value for name, value in settings.items() if name in rest},
    )


def _card(name: str) -> ModelCard | None:
    """The card of a registry name, or of the hub id where its weights come from."""
    return next((card for card in list_models() if name == card.name or ("/" in name and name == card.source)), None)


def _folder(name: AnyPath) -> Path | None:
    """The folder that a name without a card means, None where it means none."""
    if Path(name).is_dir():
        return Path(name)
    if str(name).startswith((".", "/", "~")):
        raise WrongFile(f"{name} does not exist; give a folder that holds {CONFIG_NAME}")
    if str(name).count("/") != 1:
        return converted_weights(str(name))
    snapshot = download_weights(str(name), files=(CONFIG_NAME,))
    return download_weights(str(name)) if _is_ours(snapshot) else snapshot


def _is_ours(folder: Path) -> bool:
    """Whether a folder was written by `save_pretrained` here; the libraries' descriptions name no family."""
    try:
        content = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "family" in content


def _revision(folder: Path, found: Description) -> str | None:
    """What tells these weights from others of the same model."""
    if folder.parent.name == "snapshots":  # the hub's cache has one folder per commit
        return folder.name
    file, sha256 = found.origin.get("file"), found.origin.get("sha256")
    return None if file is None or sha256 is None else f"{file} sha256:{sha256[:12]}"


def _shared_settings(family: str) -> dict[str, Any]:
    """Settings in which all registered models of a family agree, for a network that is none of them."""
    found = [card.settings for card in list_models() if card.family == family]
    common = found[0].items() if found else ()
    return {name: value for name, value in common if all(other.get(name) == value for other in found)}


def _keywords(call: Callable[..., Any]) -> list[str]:
    """Keywords of a call that are settings; the others are for the pipeline itself to give."""
    parameters = inspect.signature(call).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _NOT_OPTIONS]


def _require_known(name: str, options: Iterable[str], known: Iterable[str]) -> None:
    unknown = [option for option in options if option not in known]
    if unknown:
        raise WrongInput(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}.")


def _require_task(name: str, kind: Task, task: Task | None) -> None:
    if task not in (None, kind):
        raise WrongInput(f"{name} is a model for {kind}, not for {task}; `depthweave models` lists what there is.")


def announce(card: ModelCard) -> None:
    """Say once per process where the weights of a model may not be used for everything."""
    if card.commercial_use is None:
        _notice(f"nobody has stated whether the weights of {card.name} may be used commercially ({card.licence}).")
    elif not card.commercial_use:
        _notice(f"the weights of {card.name} may not be used commercially ({card.licence}).")


@cache
def _notice(sentence: str) -> None:
    """Say it once per process."""
    warnings.warn(sentence, LicenceNotice, stacklevel=5)
