"""Depth Anything between three layouts, against the implementation of `transformers` where both can be run."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from depthweave.errors import WrongFile, WrongInput
from depthweave.models import conversion
from depthweave.models.layers import dinov2
from depthweave.models.layers.dinov2 import TransformerSize
from depthweave.models.mono.depth_anything import DepthAnything, DepthAnythingConfig
from depthweave.models.mono.depth_anything.convert import from_hub, from_official, to_hub, to_official

DEEP = TransformerSize(24, 6, 2, (0, 2, 4, 5), 16, (8, 16, 24, 32))
"""Deep enough for the last four blocks not to be the tapped ones."""
CONFIGS = [
    DepthAnythingConfig("nano"),
    DepthAnythingConfig("nano", None, 20.0),
    DepthAnythingConfig("deep", (2, 3, 4, 5)),
]


@pytest.fixture(autouse=True)
def _deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dinov2.SIZES, "deep", DEEP)


def network(config: DepthAnythingConfig) -> DepthAnything:
    """Faint tokens, so that what keeps a variance from zero counts; depth that is neither flat nor all zero."""
    torch.manual_seed(11)
    found = DepthAnything(config).eval()
    for name, parameter in found.named_parameters():
        faint = 3e-3 if "gamma" in name else 3e-5 if re.search("cls_token|pos_embed|patch_embed", name) else 0.1
        nn.init.normal_(parameter, std=faint)
    nn.init.constant_(found.depth_head.scratch.output_conv2[2].bias, 0.3)
    return found


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("wrapper", ["plain", "model", "state_dict"])
def test_official_checkpoints_there_and_back(wrapper: str, tmp_path: Path) -> None:
    own = network(CONFIGS[0])
    state = {f"module.{name}": tensor for name, tensor in to_official(own).items()}
    torch.save(state if wrapper == "plain" else {wrapper: state}, tmp_path / "official.pth")
    found = conversion.read_official("depth-anything", tmp_path / "official.pth")
    assert found.config == own.config
    assert same(found.state_dict(), own.state_dict())
    again = conversion.read_official("depth-anything", conversion.write_official(found, tmp_path / "again.pth"))
    assert same(again.state_dict(), own.state_dict())


@pytest.mark.parametrize("config", CONFIGS)
def test_the_layout_of_the_hub_there_and_back(config: DepthAnythingConfig, tmp_path: Path) -> None:
    own = network(config)
    found = conversion.read_hub("depth-anything", conversion.write_hub(own, tmp_path))
    assert found.config == config
    assert not found.training
    assert same(found.state_dict(), own.state_dict())


@pytest.mark.parametrize("config", CONFIGS)
def test_transformers_loads_it_and_sees_the_same(config: DepthAnythingConfig, tmp_path: Path) -> None:
    """At 518 px, where both take the position table as it is."""
    from transformers import DepthAnythingForDepthEstimation

    own, images = network(config), torch.randn(1, 3, 518, 518)
    folder = conversion.write_hub(own, tmp_path / "ours")
    other, report = DepthAnythingForDepthEstimation.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.inference_mode():
        found, wanted = own(images), other.eval()(images).predicted_depth
    assert float(found.std()) > 1e-3 * float(found.mean()) > 0
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.std()))
    other.save_pretrained(tmp_path / "theirs")
    again = conversion.read_hub("depth-anything", tmp_path / "theirs")
    assert again.config == config
    assert same(again.state_dict(), own.state_dict())


def test_names_of_newer_releases_are_understood() -> None:
    own = network(CONFIGS[0])
    state, config = to_hub(own)
    renamed = {
        re.sub(r"attention\.(query|key|value)\.", lambda m: f"{m[1][0]}_proj.", name).replace(
            "output.dense", "o_proj"
        ): t
        for name, t in state.items()
    }
    assert sum("attention.q_proj" in name or "attention.o_proj" in name for name in renamed) == 4 * 4
    assert renamed.keys() != state.keys()
    assert same(from_hub(renamed, config).state_dict(), own.state_dict())


@pytest.mark.parametrize("encoder", ["vits", "vitb", "vitl"])
@pytest.mark.parametrize("last_four", [False, True], ids=["V2", "V1"])
def test_blocks_of_both_versions_are_told_apart(encoder: str, last_four: bool) -> None:
    depth = dinov2.SIZES[encoder].depth
    config = DepthAnythingConfig(encoder, (depth - 4, depth - 3, depth - 2, depth - 1) if last_four else None)
    with torch.device("meta"):
        state, described = to_hub(DepthAnything(config))
    v2 = {12: [3, 6, 9, 12], 24: [5, 12, 18, 24]}[depth]
    assert described["backbone_config"]["out_indices"] == (list(range(depth - 3, depth + 1)) if last_four else v2)
    assert from_hub(state, described).config == config


def test_stages_may_stand_for_blocks() -> None:
    state, described = to_hub(network(CONFIGS[2]))
    del described["backbone_config"]["out_indices"]
    assert from_hub(state, described).config == CONFIGS[2]


def test_other_blocks_say_something_else() -> None:
    own, images = network(CONFIGS[2]), torch.randn(1, 3, 28, 42)
    v2 = DepthAnything.from_state(DepthAnythingConfig("deep"), own.state_dict())
    with torch.inference_mode():
        assert float((own(images) - v2(images)).abs().max()) > 1e-3


def test_a_metric_network_squashes_what_a_relative_one_cuts_off() -> None:
    relative = network(CONFIGS[0])
    metric = DepthAnything.from_state(CONFIGS[1], relative.state_dict())
    images = 3 * torch.randn(2, 3, 42, 56)
    with torch.inference_mode():
        cut, metres = relative(images), metric(images)
    assert cut.shape == metres.shape == (2, 42, 56)
    assert float(cut.min()) >= 0
    assert 0 < float(metres.min()) < float(metres.max()) < 20
    positive = cut > 0
    assert bool(positive.any())
    torch.testing.assert_close(metres[positive], 20 * torch.sigmoid(cut[positive]))
    assert bool((metres[~positive] <= 10).all())
    nn.init.constant_(metric.depth_head.scratch.output_conv2[2].bias, 1e3)
    with torch.inference_mode():
        assert float(metric(images).max()) == 20


def test_the_first_metric_files_named_the_entry_otherwise() -> None:
    state, described = to_hub(network(CONFIGS[1]))
    described["depth_estimation"] = described.pop("depth_estimation_type")
    assert from_hub(state, described).config == CONFIGS[1]


def test_other_networks_are_refused_in_a_sentence(tmp_path: Path) -> None:
    own = network(CONFIGS[0])
    state, described = to_hub(own)
    with pytest.raises(WrongInput, match=r"of the kind dpt, not depth_anything"):
        from_hub(state, {**described, "model_type": "dpt"})
    with pytest.raises(WrongInput, match=r"no size of Depth Anything's \(vits, .*\) but \(48, 4, 3, 17, "):
        from_hub(state, {**described, "fusion_hidden_size": 17})
    lost = {name: t for name, t in state.items() if "layer.2.attention.attention.key.bias" not in name}
    with pytest.raises(WrongInput, match=r"1 missing \(pretrained\.blocks\.2\.attn\.qkv\.bias\)"):
        from_hub(lost, described)
    with pytest.raises(WrongInput, match=r"1 unexpected \(extra\)"):
        from_hub({**state, "extra": torch.zeros(1)}, described)
    official = to_official(own)
    with pytest.raises(WrongInput, match=r"pretrained\.cls_token is missing"):
        from_official({name: t for name, t in official.items() if "cls_token" not in name})
    with pytest.raises(WrongInput, match=r"1 missing \(pretrained\.norm\.bias\)"):
        from_official({name: t for name, t in official.items() if name != "pretrained.norm.bias"})
    with pytest.raises(WrongFile, match="is a folder of depthweave already"):
        conversion.read_hub("depth-anything", own.save_pretrained(tmp_path))


def test_tensors_on_disk_are_whole(tmp_path: Path) -> None:
    """Query, key and value are parts of one tensor; each is written as its own."""
    own = network(CONFIGS[0])
    written = load_file(conversion.write_hub(own, tmp_path) / "model.safetensors")
    assert same(written, to_hub(own)[0])
    assert sum(t.numel() for t in written.values()) == conversion.count_parameters(own)
