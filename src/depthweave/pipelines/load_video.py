"""From a model's name to depth of clips: which stages it takes, and which options are whose."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from depthweave.errors import WrongInput
from depthweave.io.files import AnyPath
from depthweave.models.card import ModelCard
from depthweave.models.registry import find_model
from depthweave.pipelines.load import announce, load
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.reconstruct import Reconstructor
from depthweave.pipelines.video import VideoDepth

DIFFUSION = "depthcrafter"
_OF_LOAD = ("device", "dtype", "card")


def build(
    name: AnyPath,
    card: ModelCard | None,
    *,
    device: str,
    dtype: str,
    stage1_only: bool = False,
    stage1: Mapping[str, Any] | None = None,
    **options: Any,
) -> VideoDepth:
    """Depth of clips by a model for clips, or by any first stage and a second one that needs no weights.

    Args:
        name: of a model for pointmaps or single pictures, where there is no card.
        card: of a model for clips.
        device, dtype: of the networks.
        stage1_only: leave the second stage, and its weights, away.
        stage1: options of the first stage.
        options: of the second stage where it has them, else of the first.

    Raises:
        WrongInput: an option that no stage has, or a model that cannot be a first stage.
    """
    where: dict[str, Any] = {"device": device, "dtype": dtype}
    options = {**({} if card is None else card.settings), **options}
    if card is not None and not card.parts:
        if stage1_only or stage1 is not None:
            raise WrongInput(f"{card.name} works in one stage; leave stage1 and --stage1-only away.")
        return VideoDepth(diffusion=_diffusion(card, where, options), card=card)
    diffuses = card is not None and DIFFUSION in card.parts
    if stage1_only:
        known = []
    elif diffuses:
        known = [*_options(_diffusion_refiner()), *_diffusion_options()]
    else:
        # Only when it is loaded is a model for single pictures told from one for pointmaps.
        known = _options(_refiner_class(), *([] if card is not None else [_stabiliser_class()]))
    second = {option: value for option, value in options.items() if option in known}
    rest = {option: value for option, value in options.items() if option not in known}
    first = load(name if card is None else card.parts[0], **where, **{**rest, **(stage1 or {})})
    if not isinstance(first, Reconstructor | MonoEstimator):
        raise WrongInput(f"{name} is no first stage for clips; take a model for pointmaps or single pictures.")
    if stage1_only:
        return VideoDepth(first, card=card)
    if diffuses:
        refining = {option: second.pop(option) for option in _options(_diffusion_refiner()) if option in second}
        diffusion = _diffusion(find_model(DIFFUSION), where, second)
        return VideoDepth(first, _diffusion_refiner()(diffusion, **refining), card=card)
    kind = _refiner_class() if isinstance(first, Reconstructor) else _stabiliser_class()
    return VideoDepth(first, kind(**_checked(first.name, second, _options(kind))), card=card)


def _diffusion(card: ModelCard, where: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    from depthweave.pipelines import video_diffusion

    announce(card)
    return video_diffusion.build(card, **where, **_checked(card.name, options, _diffusion_options()))


def _diffusion_options() -> list[str]:
    from depthweave.pipelines.video_diffusion import build as build_diffusion
    from depthweave.pipelines.video_settings import DiffusionSettings

    return [*_options(build_diffusion), *(field.name for field in fields(DiffusionSettings))]


def _diffusion_refiner() -> Callable[..., Any]:
    from depthweave.pipelines.video_diffusion import DiffusionRefiner

    return DiffusionRefiner


def _refiner_class() -> Callable[..., Any]:
    from depthweave.pipelines.temporal_refiner import TemporalRefiner

    return TemporalRefiner


def _stabiliser_class() -> Callable[..., Any]:
    from depthweave.pipelines.stabilise import MapStabiliser

    return MapStabiliser


def _options(*calls: Callable[..., Any]) -> list[str]:
    found = [p for call in calls for p in inspect.signature(call).parameters.values()]
    return [p.name for p in found if p.kind is p.KEYWORD_ONLY and p.name not in _OF_LOAD]


def _checked(name: str, options: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    unknown = [option for option in options if option not in known]
    if unknown:
        raise WrongInput(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}.")
    return dict(options)
