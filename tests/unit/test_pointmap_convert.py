"""Official checkpoints of pointmap networks to ours and back, and what their cards say."""

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from depthweave.errors import DepthweaveWarning, WrongFile, WrongInput
from depthweave.models import conversion
from depthweave.models.families import FAMILIES
from depthweave.models.pointmap import official
from depthweave.models.pointmap.dust3r import Dust3r, Dust3rConfig
from depthweave.models.pointmap.dust3r import convert as dust3r
from depthweave.models.pointmap.mast3r import Mast3r, Mast3rConfig
from depthweave.models.pointmap.mast3r import convert as mast3r
from depthweave.models.pretrained import PretrainedNetwork, describe, open_checkpoint
from depthweave.models.registry import find_model, list_models

KINDS = ("linear", "dpt", "mast3r")


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def made(kind: str) -> Dust3r | Mast3r:
    torch.manual_seed(1)
    if kind == "mast3r":
        return Mast3r(Mast3rConfig.nano()).eval()
    return Dust3r(Dust3rConfig.nano("dpt" if kind == "dpt" else "linear")).eval()


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def call_of(network: Dust3r | Mast3r) -> str:
    converter: Any = FAMILIES[network.family].converter()
    text: str = converter.official_arguments(network)["model"]
    return text


def save(file: Path, state: dict[str, Tensor], call: str | None, **more: Any) -> Path:
    """As a training leaves it."""
    args = argparse.Namespace(model=call, lr=1e-4, epochs=3, pretrained=None)
    torch.save({"args": args, "model": state, "optimizer": {"state": {}}, "epoch": 3, "best_so_far": 0.5, **more}, file)
    return file


class TestFile:
    @pytest.mark.parametrize("kind", KINDS)
    def test_there_and_back(self, kind: str, tmp_path: Path) -> None:
        own = made(kind)
        file = conversion.write_official(own, tmp_path / "own.pth")
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, weights_only=True)
        assert content["args"].model == call_of(own)
        assert ("downstream_head2.dpt.scratch.layer_rn.3.weight" in content["model"]) == (kind != "linear")
        found = conversion.read_official(own.family, file)
        assert found.config == own.config  # heads of 24 and 16 channels, which no tensor tells
        assert same(found, own)
        images = torch.rand(2, 1, 3, 32, 16) * 2 - 1
        with torch.inference_mode():
            assert torch.equal(found(*images).second.points, own(*images).second.points)

    def test_what_else_a_training_leaves_is_passed_over(self, tmp_path: Path) -> None:
        own = made("linear")
        state = {f"module.{name}": tensor for name, tensor in dust3r.to_official(own).items()}
        state["module.prediction_head.weight"] = torch.ones(2)
        opened = open_checkpoint(save(tmp_path / "x.pth", state, call_of(own), scaler={"scale": 2.0}))
        assert opened.arguments["model"] == call_of(own)
        assert opened.arguments["lr"] == 1e-4
        assert same(conversion.read_official("dust3r", tmp_path / "x.pth"), own)

    def test_what_the_user_says_goes_before_the_file(self, tmp_path: Path) -> None:
        own = made("linear")
        file = save(tmp_path / "x.pth", dust3r.to_official(own), "AsymmetricCroCo3DStereo(head_type='linear')")
        with pytest.raises(WrongFile, match=r"Dust3r needs 876 tensors; \d+ missing"):
            conversion.read_official("dust3r", file)
        assert conversion.read_official("dust3r", file, model=call_of(own)).config == own.config

    def test_a_namespace_opens_the_door_to_nothing_else(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "ran"),)

        args = argparse.Namespace(model=Evil())
        torch.save({"args": args, "model": {"a": torch.ones(1)}}, tmp_path / "x.pth")
        with pytest.raises(WrongFile, match="could run code, so it is not read"):
            conversion.read_official("dust3r", tmp_path / "x.pth")
        assert not (tmp_path / "ran").exists()

    def test_the_wrong_family_gets_the_right_one(self, tmp_path: Path) -> None:
        config = Dust3rConfig(64, 1, 1, 64, 10, 1, image_size=512)
        file = conversion.write_official(Dust3r(config), tmp_path / "d.pth")
        with pytest.raises(WrongFile, match=r"its class is AsymmetricCroCo3DStereo.*it is one of the family dust3r"):
            conversion.read_official("mast3r", file)
        descriptors = Mast3r(Mast3rConfig(64, 1, 1, 64, 10, 1, descriptor_dim=2))
        torch.save(mast3r.to_official(descriptors), tmp_path / "m.pth")
        with pytest.raises(WrongFile, match=r"unexpected \(downstream_head1\.head_local.*of the family mast3r"):
            conversion.read_official("dust3r", tmp_path / "m.pth")
        assert same(conversion.read_official("mast3r", tmp_path / "m.pth"), descriptors)

    @pytest.mark.parametrize(
        ("remove", "sentence"),
        [
            ("downstream_head1.proj.bias", r"1 missing \(downstream_head1.proj.bias\)"),
            ("downstream_head", r"it has no heads for points \(downstream_head1, downstream_head2\)"),
            ("enc_norm", r"2 missing \(enc_norm.bias, enc_norm.weight\)"),
        ],
    )
    def test_a_checkpoint_must_be_complete(self, tmp_path: Path, remove: str, sentence: str) -> None:
        own = made("linear")
        state = {name: tensor for name, tensor in dust3r.to_official(own).items() if not name.startswith(remove)}
        with pytest.raises(WrongFile, match=sentence):
            conversion.read_official("dust3r", save(tmp_path / "x.pth", state, call_of(own)))


class TestTensors:
    def test_laterals_under_either_name_or_both(self) -> None:
        own = made("dpt")
        both = dust3r.to_official(own)
        call = call_of(own)
        assert sum("layer_rn" in name for name in both) == 8
        for lacking in ("scratch.layer_rn.", "_rn.weight"):
            state = {name: tensor for name, tensor in both.items() if lacking not in name}
            assert len(state) == len(both) - 8
            assert same(dust3r.from_official(state, model=call), own)
        both["downstream_head1.dpt.scratch.layer_rn.2.weight"] = torch.zeros(256, 384, 3, 3)
        with pytest.raises(WrongInput, match=r"scratch\.layer3_rn\.weight and its second copy .* differ"):
            dust3r.from_official(both, model=call)

    def test_a_missing_second_decoder_starts_as_the_first(self) -> None:
        own = made("linear")
        state = {name: tensor for name, tensor in dust3r.to_official(own).items() if "dec_blocks2" not in name}
        found = dust3r.from_official(state, model=call_of(own))
        assert same(found.dec_blocks2, own.dec_blocks)
        assert same(found.dec_blocks, own.dec_blocks)
        first, second = found.dec_blocks[0].mlp.fc1.weight, found.dec_blocks2[0].mlp.fc1.weight
        assert first.data_ptr() != second.data_ptr()

    def test_without_a_call_sizes_come_from_the_tensors(self) -> None:
        config = Dust3rConfig(128, 3, 2, 64, 2, 1, head="linear")
        own = Dust3r(config)
        assert dust3r.from_official(dust3r.to_official(own)).config == config
        with pytest.raises(WrongInput, match=r"attention heads of the encoder \(48 wide\); say with --set model="):
            dust3r.from_official(dust3r.to_official(made("linear")))
        with pytest.raises(WrongInput, match="blocks dec_blocks"):
            dust3r.from_official({name: t for name, t in own.state_dict().items() if "dec_blocks" not in name})


class TestCall:
    def test_all_that_matters_is_understood(self) -> None:
        text = (
            "AsymmetricMASt3R(pos_embed='RoPE50', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 384), "
            "head_type='catmlp+dpt', output_mode='pts3d+desc16', depth_mode=('exp', -inf, inf), "
            "conf_mode=('exp', 2, inf), enc_embed_dim=48, enc_depth=3, enc_num_heads=2, dec_embed_dim=32, "
            "dec_depth=11, dec_num_heads=4, two_confs=True, desc_conf_mode=('exp', 0.5, inf), "
            "landscape_only=False, freeze='encoder')"
        )
        kind, keywords = official.parse_call(text)
        assert kind == "AsymmetricMASt3R"
        assert keywords["depth_mode"] == ("exp", -math.inf, math.inf)
        config = Mast3rConfig(48, 3, 2, 32, 11, 4, 50.0, 512, 2.0, 16, True, 0.5)
        with torch.device("meta"):
            state = official.official_state(Mast3r(config).state_dict(), 32)
        assert mast3r.from_official(state, model=text).config == config
        # Without a mode of their own, the descriptors' confidence goes by that of the points.
        plain = text.replace(", desc_conf_mode=('exp', 0.5, inf)", "")
        assert mast3r.from_official(state, model=plain).config.least_descriptor_confidence == 2.0

    @pytest.mark.parametrize("kind", KINDS)
    def test_written_and_parsed(self, kind: str) -> None:
        text = call_of(made(kind))
        assert official.write_call(*official.parse_call(text)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "__import__('os').system('true')",
            "AsymmetricCroCo3DStereo(img_size=__import__('os').getpid())",
            "AsymmetricCroCo3DStereo(img_size=(512, x))",
            "AsymmetricCroCo3DStereo(**{'a': 1})",
            "AsymmetricCroCo3DStereo('dpt')",
            "AsymmetricCroCo3DStereo(enc_depth=2 ** 9)",
            "AsymmetricCroCo3DStereo(enc_depth=-'a')",
            "AsymmetricCroCo3DStereo",
            "a.b(c=1)",
            "x(",
            "x(a=1); y(b=2)",
        ],
    )
    def test_nothing_is_evaluated(self, text: str) -> None:
        with pytest.raises(WrongInput, match="is not the call of a class with plain keywords"):
            official.parse_call(text)

    @pytest.mark.parametrize(
        ("keyword", "sentence"),
        [
            ("head_type='catconv'", "head_type='catconv' is none of DUSt3R's"),
            ("pos_embed='cosine'", "pos_embed='cosine' is not known"),
            ("depth_mode=('linear', -inf, inf)", "depth_mode=.* is not known"),
            ("depth_mode=('exp', 0, inf)", "depth_mode=.* is not known"),
            ("conf_mode=('sigmoid', 0, 1)", "conf_mode=.* is not known"),
            ("conf_mode=('exp', 1, 9)", "conf_mode=.* is not known"),
            ("conf_mode=3", "3 is no mode of an output"),
        ],
    )
    def test_modes_that_are_not_known(self, keyword: str, sentence: str) -> None:
        own = made("linear")
        name = keyword.partition("=")[0]
        kind, keywords = official.parse_call(call_of(own))
        changed = official.write_call(kind, {k: v for k, v in keywords.items() if k != name})[:-1] + f", {keyword})"
        with pytest.raises(WrongInput, match=sentence):
            dust3r.from_official(dust3r.to_official(own), model=changed)

    def test_unknown_keywords_are_passed_over_aloud(self) -> None:
        own = made("linear")
        call = call_of(own)[:-1] + ", colour='red', freeze='none')"
        with pytest.warns(DepthweaveWarning, match=r"passing over what depthweave does not know: colour\."):
            found = dust3r.from_official(dust3r.to_official(own), model=call)
        assert found.config == own.config


class TestHub:
    @pytest.mark.parametrize("kind", KINDS)
    def test_there_and_back(self, kind: str, tmp_path: Path) -> None:
        own = made(kind)
        folder = conversion.write_hub(own, tmp_path / "hub")
        names = load_file(folder / "model.safetensors").keys()
        assert "mask_token" in names
        assert not any("layer_rn" in name for name in names)
        keywords = json.loads((folder / "config.json").read_text())
        assert keywords["depth_mode"] == ["exp", -math.inf, math.inf]
        found = conversion.read_hub(own.family, folder)
        assert found.config == own.config
        assert same(found, own)

    def test_infinity_may_be_a_word(self, tmp_path: Path) -> None:
        own = made("linear")
        state, keywords = dust3r.to_hub(own)
        words = {**keywords, "depth_mode": ["exp", "-inf", "inf"], "conf_mode": ["exp", 1, "inf"]}
        assert dust3r.from_hub(state, words).config == own.config

    def test_another_family(self, tmp_path: Path) -> None:
        folder = conversion.write_hub(made("mast3r"), tmp_path / "hub")
        with pytest.raises(WrongFile, match=r"no network of the family dust3r \(head_type='catmlp\+dpt' is none of"):
            conversion.read_hub("dust3r", folder)
        folder = conversion.write_hub(made("dpt"), tmp_path / "hub2")
        with pytest.raises(WrongFile, match=r"family mast3r \(downstream_head1.*fc2.bias is missing"):
            conversion.read_hub("mast3r", folder)


CARDS = [card.name for card in list_models() if card.family in ("dust3r", "mast3r")]


class TestCards:
    @staticmethod
    def network_of(name: str) -> PretrainedNetwork:
        with torch.device("meta"):
            if name == "mast3r":
                return Mast3r(Mast3rConfig())
            return Dust3r(Dust3rConfig(head="linear" if "linear" in name else "dpt"))

    @pytest.mark.parametrize("name", CARDS)
    def test_they_say_what_a_user_must_know(self, name: str) -> None:
        card = find_model(name)
        assert card.licence.startswith("CC BY-NC-SA 4.0")
        assert card.commercial_use is False
        assert FAMILIES[card.family].task == "pointmap"
        network = self.network_of(name)
        assert conversion.count_parameters(network) == card.parameters
        folder = card.source.partition("/")[2]
        assert card.checkpoint == f"{folder}.pth"
        assert conversion.recognise(network, f"some/{card.checkpoint}") is card
        assert conversion.recognise(network, f"some/{folder}") is card

    def test_one_architecture_is_not_guessed_at(self) -> None:
        assert CARDS == ["dust3r-512", "dust3r-512-linear", "dust3r-224-linear", "monst3r", "mast3r"]
        assert conversion.recognise(self.network_of("monst3r"), "mine.pth") is None
        found = conversion.recognise(self.network_of("monst3r"), "mine.pth", "monst3r")
        assert found is find_model("monst3r")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_ours_holds_every_tensor_once(kind: str, tmp_path: Path) -> None:
    own = made(kind)
    folder = own.save_pretrained(tmp_path / "ours", origin={"file": "x.pth"})
    names = load_file(folder / "model.safetensors").keys()
    assert not any("layer_rn" in name or name == "mask_token" for name in names)
    assert describe(folder).family == own.family
    again = type(own).from_pretrained(folder)
    assert again.config == own.config
    assert same(again, own)
