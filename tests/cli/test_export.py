"""`depthweave export` on networks of a few thousand parameters."""

import json
from pathlib import Path

import onnx
import pytest
import torch

from depthweave.export import onnx as onnx_export
from depthweave.export.onnx import Exported
from depthweave.models.mono.depth_anything.config import DepthAnythingConfig
from depthweave.models.mono.depth_anything.network import DepthAnything
from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.network import RaftStereo

from .conftest import Cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tiny = RaftConfig(
        downsample=3, gru_levels=2, shared_backbone=True, levels=1, hidden=8, widths=(8, 8, 8), features=8
    )
    return RaftStereo(tiny).save_pretrained(tmp_path / "tiny", origin={"model": "raft-stereo-realtime"})


@pytest.fixture
def mono(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = DepthAnything(DepthAnythingConfig("nano", max_depth_m=20.0))
    return network.save_pretrained(tmp_path / "mono", origin={"model": "depth-anything-v2-metric-indoor-small"})


def test_a_converted_folder_becomes_a_file(cli: Cli, mono: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "mono.onnx"
    done = cli("export", mono, file, "--size", "42x28", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["model"], facts["licence"], facts["unit"]) == ("mono", "Apache-2.0", "m")
    assert (facts["size"], facts["output"]) == ("42x28", str(file))
    assert 0 <= facts["largest_difference"] < 1e-2
    graph = onnx.load(file).graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == ["depth"]
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 28, 42]


def test_a_person_reads_what_was_checked(cli: Cli, mono: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: object, path: Path, *, height: int, width: int, **settings: int | None) -> Exported:
        assert settings == {"iterations": 7, "scale_iterations": None}
        return Exported(path, 0.00123, {"model": "mono", "unit": "m", "size": f"{width}x{height}"})

    monkeypatch.setattr(onnx_export, "export_model", write)
    done = cli("export", mono, tmp_path / "mono.onnx", "--size", "42x28", "--iterations", "7")
    assert (done.code, done.err) == (0, "")
    assert dict(line.split(maxsplit=1) for line in done.out.splitlines()) == {
        "model": "mono",
        "size": "42x28",
        "largest_difference": "0.0012 from torch, on random pictures",
        "output": str(tmp_path / "mono.onnx"),
        "unit": "m",
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("sgm", "--size", "96x64"), "sgm is no network, so there is nothing to export"),
        (("sgm", "--size", "96x64", "--iterations", "4"), "sgm is no network, so there is nothing to export"),
        (("raft-sterio", "--size", "96x64"), "did you mean raft-stereo"),
        (("FOLDER", "--size", "100x64"), "multiples of 32, not 100x64; export it at 96x64"),
        (("FOLDER", "--size", "96x64", "--iterations", "0"), "0 iterations give no answer"),
        (("FOLDER", "--size", "96x64", "--scale-iterations", "2"), "RaftStereo has no setting scale_iterations"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    cli: Cli, folder: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    model, *rest = words
    file = tmp_path / "x.onnx"
    failed = cli("export", folder if model == "FOLDER" else model, file, *rest)
    assert failed.code == 1
    assert sentence in failed.sentence
    assert not file.exists()


def test_a_size_is_asked_for(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert cli("export", folder, tmp_path / "x.onnx").code == 2
    assert cli("export", folder, tmp_path / "x.onnx", "--size", "large").code == 2
