import contextlib
import dataclasses
import json
import os
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import depthweave
from depthweave import io
from depthweave.errors import LicenceNotice, MissingWeights, NotWritable, UnknownModel, WrongFile, WrongInput
from depthweave.models import conversion, registry, weights
from depthweave.models.families import FAMILIES, Family, find_family
from depthweave.models.pretrained import PretrainedNetwork, describe, read_checkpoint
from depthweave.models.registry import ModelCard, find_model, list_models
from depthweave.pipelines import load as load_module


@dataclass(frozen=True)
class Sizes:
    channels: int = 3
    strides: tuple[int, ...] = (1, 1)


@dataclass(frozen=True)
class TinyConfig:
    name: str
    gain: float = 1.0
    sizes: Sizes = field(default_factory=Sizes)
    kind: Literal["a", "b"] = "a"
    corner: tuple[int, float] | None = None
    bias: bool = True


class Tiny(PretrainedNetwork):
    """A stereo network with a layer under two names and a buffer that no file holds."""

    family: ClassVar[str] = "tiny"
    config_class: ClassVar[type] = TinyConfig
    multiple: ClassVar[int] = 4

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(3, config.sizes.channels, 1, bias=config.bias)
        self.norm = nn.BatchNorm2d(config.sizes.channels)
        self.shortcut = nn.Sequential(self.first, self.norm)
        self.register_buffer("offsets", torch.linspace(0, config.gain, 3), persistent=False)

    def forward(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        return torch.full_like(left[:, :1], float(iterations)) + (self.shortcut(left) * self.offsets.sum()).abs()[:, :1]

    def memory_bytes(self, height: int, width: int) -> int:
        return height * width


CONFIG = TinyConfig("x", 0.5, Sizes(4, (2, 1, 1)), "b", (1, 2.5))


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    network = Tiny(CONFIG).eval()
    with torch.no_grad():
        network.norm.running_mean.uniform_()
    return network


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    return tiny.save_pretrained(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Weights in a folder of the test, no network, and the family that the tests bring along."""
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    network, convert = ModuleType("tiny_family.network"), ModuleType("tiny_family.convert")
    network.Tiny = Tiny
    convert.from_official = lambda state: Tiny.from_state(CONFIG, state)
    convert.to_official = lambda network: dict(network.state_dict())
    convert.from_hub = lambda state, config: Tiny.from_state(TinyConfig(config["called"], sizes=Sizes(4)), state)
    convert.to_hub = lambda network: (dict(network.state_dict()), {"called": network.config.name})
    for module in (ModuleType("tiny_family"), network, convert):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FAMILIES, "tiny", Family("stereo", "tiny_family", "Tiny"))
    load_module._notice.cache_clear()
    yield
    load_module._notice.cache_clear()


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rewrite(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


class TestFolder:
    def test_round_trip(self, tiny: Tiny, folder: Path) -> None:
        again = Tiny.from_pretrained(folder)
        assert again.config == CONFIG
        assert isinstance(again.config.sizes.strides, tuple)
        assert same(again, tiny)
        assert not again.training
        assert again.first is again.shortcut[0]
        assert torch.equal(again.offsets, tiny.offsets)
        assert all(parameter.requires_grad for parameter in again.parameters())
        left = torch.rand(1, 3, 4, 4)
        assert torch.equal(again(left, left), tiny(left, left))

    def test_the_file_holds_every_name_and_the_configuration_is_readable(self, tiny: Tiny, folder: Path) -> None:
        assert load_file(folder / "model.safetensors").keys() == tiny.state_dict().keys()
        content = json.loads((folder / "config.json").read_text())
        assert content["family"] == "tiny"
        assert content["config"]["sizes"] == {"channels": 4, "strides": [2, 1, 1]}
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]

    def test_loading_initialises_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[torch.device] = []
        uniform = nn.init._no_grad_uniform_

        def count(tensor: Tensor, *rest: Any) -> Tensor:
            drawn.append(tensor.device)
            return uniform(tensor, *rest)

        monkeypatch.setattr(nn.init, "_no_grad_uniform_", count)
        Tiny(CONFIG)
        assert drawn.pop().type == "cpu"
        state = torch.get_rng_state()
        network = Tiny.from_pretrained(folder)
        assert torch.equal(torch.get_rng_state(), state)
        assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"cpu"}
        assert {device.type for device in drawn} <= {"meta"}

    def test_a_half_precision_file_makes_a_network_of_its_own_number_types(self, tiny: Tiny) -> None:
        half = {name: tensor.half() for name, tensor in tiny.state_dict().items()}
        again = Tiny.from_state(CONFIG, half)
        assert {name: t.dtype for name, t in again.state_dict().items()} == {
            name: t.dtype for name, t in tiny.state_dict().items()
        }

    def test_optional_entries_may_lack(self, tiny: Tiny, folder: Path) -> None:
        network = Tiny(TinyConfig("y")).eval()
        network.save_pretrained(folder)
        rewrite(folder, config={"name": "y"})
        assert Tiny.from_pretrained(folder).config == TinyConfig("y")

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"nmae": "x"}, "config has the unknown entries nmae."),
            ({"sizes": {"channels": 4, "stride": 1}}, "config.sizes has the unknown entries stride."),
            ({"sizes": 4}, "config.sizes is no object."),
            ({"sizes": {"channels": "4"}}, "config.sizes.channels is '4', not int."),
            ({"kind": "c"}, "config.kind is 'c', not "),
            ({"gain": True}, "config.gain is True, not float."),
            ({"corner": [1]}, "config.corner is [1], not "),
            ({"bias": 1}, "config.bias is 1, not bool."),
        ],
    )
    def test_a_strange_configuration_is_an_error(self, folder: Path, change: dict[str, Any], sentence: str) -> None:
        rewrite(folder, config={**describe(folder).config, **change})
        expected = rf"config\.json does not fit Tiny: {re.escape(sentence)}"
        with pytest.raises(WrongFile, match=expected):
            Tiny.from_pretrained(folder)

    def test_a_required_entry_must_be_there(self, folder: Path) -> None:
        rewrite(folder, config={"gain": 1.0})
        with pytest.raises(WrongFile, match=r"config lacks name\."):
            Tiny.from_pretrained(folder)

    def test_tensors_must_fit_exactly(self, tiny: Tiny, folder: Path) -> None:
        state = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
        del state["first.weight"], state["norm.bias"]
        state["norm.weight"] = torch.ones(5)
        state |= {f"extra{i}": torch.ones(1) for i in range(4)}
        save_file(state, folder / "model.safetensors")
        with pytest.raises(WrongFile) as caught:
            Tiny.from_pretrained(folder)
        sentence = str(caught.value)
        assert str(folder / "model.safetensors") in sentence
        assert "Tiny needs 14 tensors; 2 missing (first.weight, norm.bias)" in sentence
        assert "4 unexpected (extra0, extra1, extra2, ...)" in sentence
        assert "1 of another shape (norm.weight (5,) instead of (4,))" in sentence

    def test_one_tensor_under_two_names_has_one_value(self, tiny: Tiny) -> None:
        state = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
        state["norm.weight"] += 1
        with pytest.raises(WrongInput, match=r"two names: 1 that share a tensor differ \(norm\.weight\)"):
            Tiny.from_state(CONFIG, state)

    def test_what_is_no_folder_of_ours(self, folder: Path, tmp_path: Path) -> None:
        rewrite(folder, family="defom")
        with pytest.raises(WrongFile, match="holds a network of the family 'defom', not 'tiny'"):
            Tiny.from_pretrained(folder)
        rewrite(folder, family="tiny", licence="MIT")
        with pytest.raises(WrongFile, match="holds config, family, licence, origin instead of config, family, origin"):
            describe(folder)
        (folder / "config.json").write_text('{"model_type": "dpt"}')
        with pytest.raises(WrongFile, match="was not written by depthweave: it names no family"):
            describe(folder)
        (folder / "config.json").write_text("{")
        with pytest.raises(WrongFile, match=r"config\.json is damaged"):
            describe(folder)
        (folder / "config.json").unlink()
        with pytest.raises(WrongFile, match=r"config\.json does not exist"):
            describe(folder)
        with pytest.raises(WrongFile, match=r"nowhere is neither a folder nor a name on the Hugging Face hub"):
            Tiny.from_pretrained("nowhere")
        with pytest.raises(NotWritable, match="is a file; give the name of a folder"):
            Tiny(CONFIG).save_pretrained(folder / "model.safetensors")

    def test_stopped_at_any_rename_it_loads_whole_or_not_at_all(
        self, tiny: Tiny, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every step of a save is stopped once; what stands then is the old network, the new one, or nothing."""
        other = Tiny(dataclasses.replace(CONFIG, name="other"))
        seen = []
        for step in range(6):
            tiny.save_pretrained(folder)
            left = step

            def stop(real: Any) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise KeyboardInterrupt
                    return real(*args, **kwargs)

                return call

            with monkeypatch.context() as patched:
                for name in ("replace", "unlink", "write_text"):
                    patched.setattr(Path, name, stop(getattr(Path, name)))
                with contextlib.suppress(KeyboardInterrupt):
                    other.save_pretrained(folder)
            try:
                found = Tiny.from_pretrained(folder)
            except WrongFile:
                seen.append("nothing")
            else:
                seen.append(found.config.name)
                assert same(found, tiny if found.config.name == "x" else other)
        assert set(seen) == {"x", "nothing", "other"}

    def test_from_the_hub_needs_a_connection(self) -> None:
        with pytest.raises(MissingWeights, match=r"someone/tiny is not on this machine .* `hf download someone/tiny`"):
            Tiny.from_pretrained("someone/tiny")


class TestCheckpoint:
    @pytest.fixture
    def state(self) -> dict[str, Tensor]:
        return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("wrap", ["none", "model", "state_dict", "module", "model+module"])
    def test_wrappings(self, state: dict[str, Tensor], tmp_path: Path, wrap: str, zipped: bool) -> None:
        content: Any = {f"module.{name}": t for name, t in state.items()} if "module" in wrap else state
        if wrap.split("+")[0] in ("model", "state_dict"):
            content = {wrap.split("+")[0]: content, "optimizer": {"state": {}}, "step": 3}
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        found = read_checkpoint(tmp_path / "x.pth")
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)

    def test_safetensors(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        save_file(state, tmp_path / "x.safetensors")
        assert read_checkpoint(tmp_path / "x.safetensors").keys() == state.keys()

    def test_a_prefix_of_some_names_stays(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save({**state, "module.b": torch.ones(1)}, tmp_path / "x.pt")
        assert "module.b" in read_checkpoint(tmp_path / "x.pt")

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return os.system, (f"touch {tmp_path / 'ran'}",)

        content = {"a": torch.ones(1), "b": Evil()}
        torch.save(content, tmp_path / "zip.pth")
        torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        for file in ("zip.pth", "old.pth"):
            with pytest.raises(WrongFile, match=rf"{file} holds more than tensors \(\w+\.system\) and could run code"):
                read_checkpoint(tmp_path / file)
        (tmp_path / "bare.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
        with pytest.raises(WrongFile, match=r"bare\.pth "):
            read_checkpoint(tmp_path / "bare.pth")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    def test_damaged_files(self, state: dict[str, Tensor], tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        (save_file if name.endswith("tensors") else torch.save)(state, file)
        whole = file.read_bytes()
        for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:-20]):
            file.write_bytes(content)
            with pytest.raises(WrongFile, match=rf"{re.escape(name)} is not a .*; get it again"):
                read_checkpoint(file)
        with pytest.raises(WrongFile, match="does not exist"):
            read_checkpoint(tmp_path / f"missing-{name}")

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (torch.ones(2), "holds no state dict but Tensor"),
            ({}, "holds no state dict but dict"),
            ({"a": torch.ones(1), "step": 3}, r"holds no plain state dict: 1 not a tensor \(step\)"),
            ({0: torch.ones(1)}, r"1 not a tensor \(0\)"),
        ],
    )
    def test_without_a_state_dict(self, tmp_path: Path, content: Any, sentence: str) -> None:
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(WrongFile, match=sentence):
            read_checkpoint(tmp_path / "x.pth")


class TestPlaces:
    def test_weights_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert weights.weights_folder() == tmp_path / "weights"
        monkeypatch.delenv("DEPTHWEAVE_WEIGHTS")
        assert weights.weights_folder() == Path.home() / ".cache" / "depthweave" / "weights"

    def test_missing_weights_name_the_command(self) -> None:
        card = find_model("defom-vits")
        assert not weights.has_weights(card)
        with pytest.raises(MissingWeights) as caught:
            weights.find_weights(card)
        assert str(caught.value) == (
            "defom-vits has no weights on this machine; download defomstereo_vits_rvc.pth from "
            "https://github.com/Insta360-Research-Team/DEFOM-Stereo and run `depthweave convert defom "
            "defomstereo_vits_rvc.pth`."
        )
        bare = dataclasses.replace(card, checkpoint=None)
        with pytest.raises(MissingWeights, match="there is nowhere to get them from"):
            weights.find_weights(bare)

    def test_converted_weights_are_found(self, tiny: Tiny) -> None:
        card = find_model("defom-vits")
        folder = tiny.save_pretrained(weights.weights_folder() / "defom-vits")
        assert weights.has_weights(card)
        assert weights.find_weights(card) == folder
        assert weights.converted_weights("../weights/defom-vits") is None

    def test_hub_weights_in_the_cache_are_found(self, tmp_path: Path) -> None:
        card = dataclasses.replace(find_model("sgm"), name="h", source="someone/tiny", revision="0" * 40)
        assert not weights.has_weights(card)
        with pytest.raises(
            MissingWeights, match=r"someone/tiny at revision 0+ .* `hf download someone/tiny --revision"
        ):
            weights.find_weights(card)
        snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / ("0" * 40)
        Tiny(CONFIG).save_pretrained(snapshot)
        assert weights.has_weights(card)
        assert weights.find_weights(card) == snapshot

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            ("RepositoryNotFoundError", "the Hugging Face hub has no a/b; check the name"),
            ("RevisionNotFoundError", "the Hugging Face hub has no a/b; check the name"),
            ("GatedRepoError", "a/b asks for an agreement first; accept it at https://huggingface.co/a/b, log in"),
        ],
    )
    def test_what_the_hub_may_answer(self, monkeypatch: pytest.MonkeyPatch, error: str, sentence: str) -> None:
        import huggingface_hub
        from huggingface_hub import errors

        kind = getattr(errors, error)

        def answer(*_: Any, **__: Any) -> str:
            raise kind.__new__(kind)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
        with pytest.raises(MissingWeights, match=sentence):
            weights.download_weights("a/b")


class TestLoad:
    def test_a_folder(self, folder: Path) -> None:
        matcher = depthweave.load(folder, device="cpu", iterations=5, consistency=True, check=False, scale=0.5)
        assert matcher.matching.config.settings == {"iterations": 5}
        assert matcher.matching.config.consistency
        assert matcher.resolution.scale == 0.5
        facts = matcher.facts()
        assert (facts["model"], facts["licence"], facts["revision"]) == ("tiny", "not stated", None)
        assert facts["options"]["network"]["sizes"]["channels"] == 4

    def test_a_registered_name_has_its_settings_and_a_revision(
        self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = dataclasses.replace(find_model("raft-stereo"), name="t", family="tiny", settings={"iterations": 7})
        monkeypatch.setattr(registry, "_CARDS", (*registry._CARDS, card))
        origin = {"model": "t", "file": "t.pth", "sha256": "0123456789abcdef"}
        tiny.save_pretrained(weights.weights_folder() / "t", origin=origin)
        matcher = depthweave.load("t", device="cpu")
        assert matcher.matching.config.settings == {"iterations": 7}
        assert matcher.facts()["revision"] == "t.pth sha256:0123456789ab"
        assert matcher.facts()["licence"] == "MIT"
        assert depthweave.load("t", device="cpu", iterations=2).matching.config.settings == {"iterations": 2}

    def test_a_network_of_the_users_own_has_what_its_family_shares(
        self, tiny: Tiny, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cards = [
            dataclasses.replace(find_model("raft-stereo"), name=name, family="tiny", settings=settings)
            for name, settings in (("t", {"iterations": 7, "scale": 0.5}), ("u", {"iterations": 9, "scale": 0.5}))
        ]
        monkeypatch.setattr(registry, "_CARDS", (*registry._CARDS, *cards))
        matcher = depthweave.load(folder, device="cpu")
        assert matcher.resolution.scale == 0.5
        assert matcher.matching.config.settings == {"iterations": 3}  # the network's own
        assert depthweave.load(folder, device="cpu", scale=2.0).resolution.scale == 2.0

    def test_a_name_of_the_users_own_is_the_model_it_was_made_from(self, tiny: Tiny) -> None:
        tiny.save_pretrained(weights.weights_folder() / "mine", origin={"model": "raft-stereo"})
        matcher = depthweave.load("mine", device="cpu")
        assert matcher.facts()["model"] == "mine"
        assert matcher.facts()["licence"] == "MIT"
        assert matcher.matching.config.settings == {"iterations": 32}

    def test_a_snapshot_of_the_hub(self, tiny: Tiny, tmp_path: Path) -> None:
        home = tmp_path / "hub" / "models--someone--tiny"
        tiny.save_pretrained(home / "snapshots" / ("1" * 40))
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text("1" * 40)
        matcher = depthweave.load("someone/tiny", device="cpu")
        assert matcher.facts()["model"] == "someone/tiny"
        assert matcher.facts()["revision"] == "1" * 40

    def test_restricted_licences_announce_themselves_once(self, tiny: Tiny) -> None:
        for name in ("defom-vits", "defom-vitl"):
            tiny.save_pretrained(weights.weights_folder() / name)
            tiny_settings = {"iterations": 1}
            sentence = "nobody has stated" if name == "defom-vits" else "may not be used commercially .*CC-BY-NC-4.0"
            with pytest.warns(LicenceNotice, match=sentence), pytest.raises(WrongInput, match="scale_iterations"):
                depthweave.load(name, device="cpu", **tiny_settings)
            with pytest.raises(WrongInput, match="scale_iterations"):
                depthweave.load(name, device="cpu")

    @pytest.mark.parametrize("name", ["tiny", "sgm"])
    def test_unknown_options_are_named_with_the_known_ones(self, folder: Path, name: str) -> None:
        own = "iterations, consistency, threshold_px, fill_background, max_disparity"
        known = own if name == "tiny" else "max_disparity, check"
        with pytest.raises(WrongInput, match=rf"{name} has no option colour; it has .*{known}"):
            depthweave.load(folder if name == "tiny" else name, colour=1)

    @pytest.mark.filterwarnings("ignore::depthweave.errors.LicenceNotice")
    def test_a_hub_id_of_a_registered_model_is_that_model(self) -> None:
        assert load_module._card("apple/DepthPro-hf") is find_model("depth-pro")
        assert load_module._card("convert") is None
        with pytest.raises(WrongInput, match="depth-pro is a model for mono, not for stereo"):
            depthweave.load("apple/DepthPro-hf", task="stereo")

    def test_the_task_is_checked_before_the_weights(self, folder: Path) -> None:
        for name in ("sgm", "defom-vits", folder):
            with pytest.raises(WrongInput, match="is a model for stereo, not for mono"):
                depthweave.load(name, task="mono")

    def test_names_that_mean_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownModel, match="there is no model 'defom-vitz'; did you mean defom-vit"):
            depthweave.load("defom-vitz")
        with pytest.raises(WrongFile, match="nowhere does not exist"):
            depthweave.load(tmp_path / "nowhere")
        with pytest.raises(MissingWeights, match="some/thing is not on this machine"):
            depthweave.load("some/thing")
        with pytest.raises(MissingWeights, match=r"depthweave convert raft raftstereo-middlebury\.pth"):
            depthweave.load("raft-stereo")

    def test_classical_matchers_compute_in_float32(self) -> None:
        assert depthweave.load("sgm", dtype="float32", scale=0.5).resolution.scale == 0.5
        with pytest.raises(WrongInput, match="sgm computes in float32"):
            depthweave.load("sgm", dtype="float16")


class TestRegistry:
    def test_families(self) -> None:
        with pytest.raises(UnknownModel, match="there is no family 'defoom'; did you mean defom"):
            find_family("defoom")
        with pytest.raises(UnknownModel, match="there is no family 'zzz'; there are defom, raft, igev, depth-anything"):
            find_family("zzz")

    @pytest.mark.parametrize("name", [card.name for card in list_models() if card.source == "convert"])
    def test_cards_tell_how_to_get_the_weights(self, name: str) -> None:
        card = find_model(name)
        assert card.family in FAMILIES
        assert FAMILIES[card.family].task == card.task
        assert card.checkpoint
        assert card.page
        assert card.checkpoint not in card.variants
        kind = FAMILIES[card.family].network_class()
        assert kind.family == card.family

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("defom-vits", {"encoder": "vits"}),
            ("defom-vitl", {"encoder": "vitl"}),
            ("raft-stereo", {}),
            ("raft-stereo-realtime", {"downsample": 3, "gru_levels": 2, "slow_fast": True, "shared_backbone": True}),
            ("igev-stereo", {}),
            ("psmnet", {}),
            ("anynet", {}),
        ],
    )
    def test_cards_count_the_parameters_of_their_network(self, name: str, changes: dict[str, Any]) -> None:
        card = find_model(name)
        kind = FAMILIES[card.family].network_class()
        with torch.device("meta"):
            network = kind(kind.config_class(**changes))
        assert conversion.count_parameters(network) == card.parameters
        assert conversion.recognise(network, "x.pth") is card

    def test_models_of_one_architecture_are_told_apart_by_file_or_name(
        self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def card(name: str, file: str) -> ModelCard:
            base = find_model("raft-stereo")
            size = conversion.count_parameters(tiny)
            return dataclasses.replace(base, name=name, family="tiny", parameters=size, checkpoint=file, variants=())

        monkeypatch.setattr(registry, "_CARDS", (*registry._CARDS, card("one", "1.pth"), card("two", "2.pth")))
        assert conversion.recognise(tiny, "some/2.pth").name == "two"
        assert conversion.recognise(tiny, "some/2.pth", "one").name == "one"
        assert conversion.recognise(tiny, "3.pth") is None
        assert conversion.recognise(tiny, "3.pth", "mine") is None
        with pytest.raises(WrongInput, match=r"x\.pth is not raft-stereo, it is one or two; choose another --name"):
            conversion.recognise(tiny, "x.pth", "raft-stereo")


def test_the_layout_of_the_hub(tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    hub = conversion.write_hub(tiny, tmp_path / "hub-layout")
    assert json.loads((hub / "config.json").read_text()) == {"called": "x"}
    again = conversion.read_hub("tiny", hub)
    assert same(again, tiny)
    assert again.config.name == "x"
    card = find_model("raft-stereo")
    origin = conversion.origin_of(hub, card)
    assert (origin["model"], origin["file"], len(origin["sha256"])) == ("raft-stereo", "hub-layout", 64)
    with pytest.raises(WrongFile, match="is a folder of depthweave already"):
        conversion.read_hub("tiny", folder)
    with pytest.raises(WrongInput, match="the Hugging Face hub has no layout for the family raft"):
        conversion.read_hub("raft", hub)
    save_file({"a": torch.ones(1)}, hub / "model.safetensors")
    with pytest.raises(WrongFile, match=r"hub-layout is no network of the family tiny \(Tiny needs 14 tensors"):
        conversion.read_hub("tiny", hub)
    (hub / "config.json").write_text("[")
    with pytest.raises(WrongFile, match=r"config\.json is damaged"):
        conversion.read_hub("tiny", hub)


def test_a_folder_is_written_through_a_rename(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = []
    real = io.files.Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (targets.append(Path(to).name), real(self, to))[1])
    tiny.save_pretrained(tmp_path / "new")
    assert targets == ["model.safetensors", "config.json"]
