"""Networks as ONNX files: one size, iterations unrolled, compared with torch before the file appears."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave import __version__, io
from depthweave.errors import ExportFailed, MissingLibrary, WrongInput
from depthweave.models.layers.dinov2 import VisionTransformer
from depthweave.models.layers.imagenet import IMAGENET_MEAN, IMAGENET_STD
from depthweave.models.mono.depth_anything.network import DepthAnything
from depthweave.models.mono.estimate import normalized
from depthweave.models.registry import ModelCard
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.network_stereo import NetworkMatching, network_settings
from depthweave.pipelines.stereo import StereoMatcher

TOLERANCE_PX = 1e-2
"""A stereo network's file may differ from torch by this much."""

TOLERANCE_SHARE = 1e-3
"""A mono network's file may differ from torch by this share of its largest value."""

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        file: where.
        difference: largest one from torch on a random input, in the unit of the output.
        facts: what the file says about itself.
    """

    file: Path
    difference: float
    facts: Mapping[str, str]


def export_model(
    model: StereoMatcher | MonoEstimator, path: io.files.AnyPath, *, height: int, width: int, **settings: Any
) -> Exported:
    """Export what `depthweave.load` gives; arguments as in `export_stereo` and `export_mono`.

    Args:
        model: with a network of depthweave, on the CPU; its settings hold where none are given.
        settings: keywords of a stereo network's forward; None keeps the model's.

    Raises:
        WrongInput: a model without such a network, or what its export raises.
    """
    if isinstance(model, StereoMatcher):
        matching = model.matching
        if not isinstance(matching, NetworkMatching):
            raise WrongInput(
                f"{model.name} is no network, so there is nothing to export; choose depthweave-s, defom-*, "
                "igev-stereo or raft-*."
            )
        given = {name: value for name, value in settings.items() if value is not None}
        chosen = {**matching.config.settings, **given}
        return export_stereo(matching.network, path, height=height, width=width, card=model.card, **chosen)
    network = getattr(model.estimating, "network", None)
    if not isinstance(network, DepthAnything):
        raise WrongInput(f"{model.name} runs on another library's network; of mono models export depth-anything-v2-*.")
    unknown = [name for name, value in settings.items() if value is not None]
    if unknown:
        raise WrongInput(f"a network for single pictures has no {' and no '.join(unknown)}; leave it away.")
    return export_mono(network, path, height=height, width=width, card=model.card)


def export_stereo(
    network: nn.Module,
    path: io.files.AnyPath,
    *,
    height: int,
    width: int,
    card: ModelCard | None = None,
    **settings: Any,
) -> Exported:
    """Write a stereo network: ``left``, ``right`` (1, 3, h, w) RGB 0 to 255 in, ``disparity`` (1, 1, h, w) in px out.

    Args:
        network: see `depthweave.pipelines.network_stereo.StereoNetwork`; float32, on the CPU.
        path: the file; one that stands there is replaced when the new one is good.
        height, width: of its pictures, multiples of the network's ``multiple``.
        card: facts for the file.
        settings: keywords of the network's forward, e.g. iterations; baked in.

    Raises:
        WrongInput: a size or a setting that the network does not take, or a network elsewhere than on the CPU.
        MissingLibrary: the extra `export` is not installed.
        ExportFailed: the file is not valid or does not answer as torch does; nothing is written.
    """
    chosen = network_settings(network, settings)  # type: ignore[arg-type]
    facts = {**{name: str(value) for name, value in chosen.items()}, "unit": "px"}
    graph = _Graph(_Stereo(network, chosen), ("left", "right"), "disparity", height, width)
    return graph.write(path, _facts(card, network, facts), lambda _: TOLERANCE_PX)


def export_mono(
    network: DepthAnything, path: io.files.AnyPath, *, height: int, width: int, card: ModelCard | None = None
) -> Exported:
    """Write a network for single pictures: ``image`` (1, 3, h, w) RGB 0 to 255 in, (1, 1, h, w) out.

    The output is ``inverse_depth`` of unknown scale and shift, or ``depth`` in metres where the network is metric.

    Args:
        network: float32, on the CPU.
        path: the file; one that stands there is replaced when the new one is good.
        height, width: of its pictures, multiples of 14; best with a shorter side of 518.
        card: facts for the file.

    Raises:
        WrongInput, MissingLibrary, ExportFailed: as in `export_stereo`.
    """
    metric = network.config.max_depth_m is not None
    graph = _Graph(_Mono(network), ("image",), "depth" if metric else "inverse_depth", height, width)
    facts = _facts(card, network, {"unit": "m" if metric else "none (unknown scale and shift)"})
    return graph.write(path, facts, lambda largest: TOLERANCE_SHARE * largest)


class _Stereo(nn.Module):
    def __init__(self, network: nn.Module, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def forward(self, left: Float[Tensor, "1 3 h w"], right: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 1 h w"]:
        return self.network(left, right, **self.settings)  # type: ignore[no-any-return]


class _Mono(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 1 h w"]:
        return self.network(normalized(image[0] / 255, IMAGENET_MEAN, IMAGENET_STD))[:, None]  # type: ignore[no-any-return]


class _Graph:
    """A module with a network inside, at one size."""

    def __init__(self, module: nn.Module, inputs: Sequence[str], output: str, height: int, width: int) -> None:
        _require_size(module.network, height, width)  # type: ignore[arg-type]
        self.module = module.eval()
        self.inputs = inputs
        self.output = output
        self.height, self.width = height, width

    def write(
        self, path: io.files.AnyPath, facts: Mapping[str, str], tolerance_of: Callable[[float], float]
    ) -> Exported:
        """Write the file; ``tolerance_of`` says from the output's largest value what may differ."""
        onnx, _, runtime = (_library(name) for name in _LIBRARIES)
        given = _random_views(self.height, self.width)[: len(self.inputs)]
        facts = {**facts, "size": f"{self.width}x{self.height}"}
        with io.atomic_path(path) as temporary, torch.no_grad(), _fixed_positions(self.module):
            expected = self.module(*given)
            self._translate(given, facts).save(temporary, external_data=False)
            try:
                onnx.checker.check_model(str(temporary))
            except onnx.checker.ValidationError as error:
                raise ExportFailed(f"{path} was not written, for it would be no valid ONNX file: {error}") from error
            session = runtime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
            (found,) = session.run(None, {name: view.numpy() for name, view in zip(self.inputs, given, strict=True)})
            difference = float((torch.from_numpy(found) - expected).abs().max())
            tolerance = tolerance_of(float(expected.abs().max()))
            if not difference <= tolerance:  # NaN is not good either
                raise ExportFailed(
                    f"{path} was not written, for it would differ from torch by up to {difference:.3g} {facts['unit']} "
                    f"({tolerance:.3g} is allowed); report it with the versions of onnx and onnxruntime."
                )
        return Exported(Path(path), difference, facts)

    def _translate(self, given: tuple[Tensor, ...], facts: Mapping[str, str]) -> torch.onnx.ONNXProgram:
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass

        with _quiet_exporter():
            program = torch.onnx.export(
                self.module,
                given,
                dynamo=True,
                input_names=self.inputs,
                output_names=[self.output],
                verbose=False,
            )
        assert program is not None
        ClearMetadataAndDocStringPass()(program.model)  # holds paths of this machine
        program.model.metadata_props.update(facts)
        return program


@contextmanager
def _fixed_positions(module: nn.Module) -> Iterator[None]:
    """Resample position tables when the module first runs, so that a graph made afterwards has them as constants."""
    transformers = [part for part in module.modules() if isinstance(part, VisionTransformer)]
    for transformer in transformers:
        vars(transformer)["positions"] = cache(_detached(transformer.positions))
    try:
        yield
    finally:
        for transformer in transformers:
            del vars(transformer)["positions"]


def _detached(positions: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
    return lambda rows, columns: positions(rows, columns).detach().clone()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep what the exporter says about libraries that no network here uses to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _random_views(height: int, width: int) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "1 3 h w"]]:
    """A smooth random texture and the same shifted by a known disparity, so that matching has an answer."""
    shift = max(1, width // 32)
    coarse = torch.rand(1, 3, height // 4 + 1, (width + shift) // 4 + 1, generator=torch.Generator().manual_seed(0))
    texture = 255 * F.interpolate(coarse, size=(height, width + shift), mode="bilinear")
    return texture[..., :width].contiguous(), texture[..., shift:].contiguous()


def _facts(card: ModelCard | None, network: nn.Module, own: Mapping[str, str]) -> dict[str, str]:
    return {
        "depthweave": __version__,
        "model": type(network).__name__ if card is None else card.name,
        "licence": "not stated" if card is None else card.licence,
        **own,
    }


def _require_size(network: nn.Module, height: int, width: int) -> None:
    multiple = int(network.multiple)  # type: ignore[arg-type]
    nearest = [max(1, round(side / multiple)) * multiple for side in (width, height)]
    if [width, height] != nearest:
        raise WrongInput(
            f"{type(network).__name__} takes sides that are multiples of {multiple}, not {width}x{height}; "
            f"export it at {nearest[0]}x{nearest[1]}."
        )
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in network.parameters()):
        raise WrongInput("a network is exported from the CPU in float32; call .to('cpu', torch.float32) before.")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingLibrary(f'exporting needs the library {name}; run `pip install "depthweave[export]"`.') from error
