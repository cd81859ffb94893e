"""Networks as ONNX files against torch, on the smallest configurations."""

import builtins
import collections
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from depthweave.errors import ExportFailed, MissingLibrary, WrongInput
from depthweave.export import onnx as export
from depthweave.models.layers.strips import saves_time
from depthweave.models.mono.depth_anything.config import DepthAnythingConfig
from depthweave.models.mono.depth_anything.network import DepthAnything
from depthweave.models.mono.estimators import MidasEstimator, MidasSettings
from depthweave.models.registry import find_model
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.models.stereo.defom.config import DefomConfig
from depthweave.models.stereo.defom.network import DefomStereo
from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.network import RaftStereo
from depthweave.pipelines.load import load
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.stereo import StereoMatcher

MEAN, STD = (torch.tensor(x).reshape(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class Plain(nn.Module):
    """A network without anything that is slow to export."""

    multiple: ClassVar[int] = 8

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        return self.gain * iterations * (left - right).mean(1, keepdim=True)

    def memory_bytes(self, height: int, width: int) -> int:
        return height * width


def varied(network: nn.Module) -> Any:
    """Random weights under which the closing ReLU of a monocular decoder does not leave zeros only."""
    torch.manual_seed(3)
    for name, parameter in network.named_parameters():
        if name.endswith("depth_head.scratch.output_conv2.2.weight"):
            parameter.data.abs_()
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return network.eval()


def noise(count: int, height: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    return list((255 * torch.rand(count, 3, height, width, generator=generator)).split(1))


def answer(file: Path, **inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(found)


def operators(file: Path) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in onnx.load(file).graph.node)


def cubic(file: Path) -> int:
    """How many nodes resize bicubically, as a position table would be."""
    modes = [attribute.s for node in onnx.load(file).graph.node for attribute in node.attribute]
    return modes.count(b"cubic")


def test_defom(tmp_path: Path) -> None:
    network = varied(DefomStereo(replace(DefomConfig.nano(), scales=(0.5, 1.0, 2.0))))
    table = network.defomencoder.depth_anything.pretrained
    card = replace(find_model("defom-vits"), name="mine")
    done = export.export_stereo(
        network, tmp_path / "a.onnx", height=64, width=96, card=card, iterations=2, scale_iterations=1
    )
    left, right = noise(2, 64, 96)
    with torch.inference_mode():
        expected = network(left, right, iterations=2, scale_iterations=1)
    found = answer(done.file, left=left, right=right)
    assert found.shape == (1, 1, 64, 96)
    assert float((found - expected).abs().max()) < 1e-2 < float(expected.abs().max()) / 100
    assert 0 < done.difference < 1e-2
    counted = operators(done.file)
    assert counted["GridSample"] == 0
    # A scale update looks at all its scales at once, another one at two levels.
    assert counted["GatherElements"] == 1 + 2
    assert cubic(done.file) == 0
    assert "positions" not in vars(table)
    model = onnx.load(done.file)
    assert {entry.key: entry.value for entry in model.metadata_props} == done.facts
    assert done.facts["size"] == "96x64"
    assert (done.facts["iterations"], done.facts["scale_iterations"], done.facts["unit"]) == ("2", "1", "px")
    assert (done.facts["model"], done.facts["licence"]) == ("mine", card.licence)
    assert b"site-packages" not in done.file.read_bytes()  # stack traces name places of the machine
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_raft(tmp_path: Path) -> None:
    tiny = RaftConfig(gru_levels=2, levels=2, hidden=8, widths=(8, 8, 8), features=8)
    network = varied(RaftStereo(tiny))
    done = export.export_stereo(network, tmp_path / "raft.onnx", height=64, width=96, iterations=2)
    left, right = noise(2, 64, 96)
    with torch.inference_mode():
        expected = network(left, right, iterations=2)
    assert float((answer(done.file, left=left, right=right) - expected).abs().max()) < 1e-2
    assert float(expected.abs().max()) > 0.1
    counted = operators(done.file)
    assert (counted["GridSample"], counted["GatherElements"]) == (0, 2 * 2)


def test_compact(tmp_path: Path) -> None:
    network = varied(CompactStereo(CompactConfig.nano()))
    done = export.export_stereo(network, tmp_path / "compact.onnx", height=64, width=96, iterations=2)
    left, right = noise(2, 64, 96)
    with torch.inference_mode():
        expected = network(left, right, iterations=2)
    assert float((answer(done.file, left=left, right=right) - expected).abs().max()) < 1e-2
    assert float(expected.max() - expected.min()) > 1
    assert operators(done.file)["GridSample"] == 1


def test_depth_anything(tmp_path: Path) -> None:
    network = varied(DepthAnything(DepthAnythingConfig("nano")))
    done = export.export_mono(network, tmp_path / "mono.onnx", height=42, width=56)
    (image,) = noise(1, 42, 56)
    with torch.inference_mode():
        expected = network((image / 255 - MEAN) / STD)[:, None]
    found = answer(done.file, image=image)
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.max())
    assert float(expected.max() - expected.min()) > 0.1
    graph = onnx.load(done.file).graph
    assert [value.name for value in graph.output] == ["inverse_depth"]
    assert cubic(done.file) == 0
    assert done.facts["unit"] == "none (unknown scale and shift)"


def test_the_plain_path_is_exported() -> None:
    class Which(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if saves_time(x) else x - 1

    x = torch.zeros(2)
    with torch.no_grad():
        assert bool((Which()(x) == 1).all())
        assert bool((torch.export.export(Which(), (x,)).module()(x) == -1).all())


def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kept.onnx"
    file.write_bytes(b"old")

    class Strange(Plain):
        def forward(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
            offset = 0.1 if torch.compiler.is_compiling() else 0.0
            return super().forward(left, right, iterations=iterations) + offset

    with pytest.raises(ExportFailed, match=r"kept\.onnx was not written, for it would differ .* by up to 0\.1 px"):
        export.export_stereo(Strange(), file, height=16, width=24)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
    done = export.export_stereo(Plain(), file, height=16, width=24, iterations=5)
    left, right = noise(2, 16, 24)
    assert torch.allclose(answer(file, left=left, right=right), 2.5 * (left - right).mean(1, keepdim=True), atol=1e-3)
    assert done.facts["licence"] == "not stated"


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    network = Plain()
    network.gain.data.fill_(torch.nan)
    with pytest.raises(ExportFailed, match="differ from torch by up to nan px"):
        export.export_stereo(network, tmp_path / "nan.onnx", height=16, width=24)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"height": 60}, r"Plain takes sides that are multiples of 8, not 24x60; export it at 24x64"),
        ({"width": 1}, r"not 1x16; export it at 8x16"),
        ({"scale_iterations": 2}, "Plain has no setting scale_iterations"),
        ({"iterations": 0}, "0 iterations give no answer"),
    ],
)
def test_what_a_network_does_not_take_is_refused(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        export.export_stereo(Plain(), tmp_path / "x.onnx", **{"height": 16, "width": 24, **changed})
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="from the CPU in float32"):
        export.export_stereo(Plain().half(), tmp_path / "x.onnx", height=16, width=24)


def test_models_without_a_network_of_ours_are_refused(tmp_path: Path) -> None:
    size: Any = {"height": 16, "width": 24}
    with pytest.raises(WrongInput, match="sgm is no network, so there is nothing to export"):
        export.export_model(load("sgm"), tmp_path / "x.onnx", **size)
    midas = MonoEstimator(MidasEstimator(nn.Identity(), MidasSettings()), device="cpu")
    with pytest.raises(WrongInput, match="MidasEstimator runs on another library's network"):
        export.export_model(midas, tmp_path / "x.onnx", **size)


def test_a_loaded_model_is_exported_with_its_settings(tmp_path: Path) -> None:
    matcher = StereoMatcher(Plain(), device="cpu", iterations=7)
    size: Any = {"height": 16, "width": 24}
    assert export.export_model(matcher, tmp_path / "x.onnx", iterations=None, **size).facts["iterations"] == "7"
    assert export.export_model(matcher, tmp_path / "x.onnx", iterations=2, **size).facts["iterations"] == "2"


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        if name == "onnxruntime":
            raise ImportError(name)
        return builtins.__import__(name)

    monkeypatch.setattr(export, "import_module", refuse)


@pytest.mark.usefixtures("without_onnxruntime")
def test_a_missing_extra_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        MissingLibrary, match=r'needs the library onnxruntime; run `pip install "depthweave\[export\]"`'
    ):
        export.export_stereo(Plain(), tmp_path / "x.onnx", height=16, width=24)
