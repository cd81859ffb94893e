"""`depthweave convert` on networks of a few thousand parameters."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from depthweave.models import conversion, registry
from depthweave.models.families import find_family
from depthweave.models.pretrained import PretrainedNetwork, describe
from depthweave.models.registry import find_model
from depthweave.pipelines import load

from .conftest import Cli


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def network() -> PretrainedNetwork:
    torch.manual_seed(0)
    kind = find_family("raft").network_class()
    return kind(kind.config_class(hidden=8, widths=(8, 8, 8), features=8)).eval()


@pytest.fixture
def checkpoint(network: PretrainedNetwork, tmp_path: Path) -> Path:
    """As the authors save it: of DataParallel."""
    file = tmp_path / "raft-tiny.pth"
    torch.save({f"module.{name}": tensor for name, tensor in network.state_dict().items()}, file)
    return file


@pytest.fixture
def registered(network: PretrainedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = conversion.count_parameters(network)
    card = dataclasses.replace(find_model("raft-stereo"), name="raft-tiny", parameters=parameters)
    monkeypatch.setattr(registry, "_CARDS", (*registry._CARDS, card))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("registered")
def test_an_official_checkpoint_becomes_a_model_that_matches(
    cli: Cli, checkpoint: Path, weights: Path, pair: Path, network: PretrainedNetwork
) -> None:
    done = cli("convert", "raft", checkpoint)
    assert done.code == 0, done.err
    assert dict(line.split(maxsplit=1) for line in done.out.splitlines() if line.startswith(("family", "model"))) == {
        "family": "raft",
        "model": "raft-tiny",
    }
    assert "hidden=8, widths=(8, 8, 8)" in done.out
    assert f"parameters      {conversion.count_parameters(network):,}" in done.out
    assert "licence         MIT" in done.out
    assert f"written to      {weights / 'raft-tiny'}" in done.out
    assert "use it with     depthweave stereo LEFT RIGHT -m raft-tiny" in done.out
    origin = describe(weights / "raft-tiny").origin
    assert (origin["model"], origin["file"], len(origin["sha256"])) == ("raft-tiny", "raft-tiny.pth", 64)
    words = ("-m", "raft-tiny", "--set", "iterations=1", "--device", "cpu", "-o", pair / "out")
    matched = cli("stereo", pair / "left.png", pair / "right.png", *words)
    assert matched.code == 0, matched.err
    facts = json.loads((pair / "out" / "result.json").read_text())
    assert (facts["model"], facts["licence"]) == ("raft-tiny", "MIT")
    assert facts["revision"] == f"raft-tiny.pth sha256:{origin['sha256'][:12]}"


def test_and_back(cli: Cli, checkpoint: Path, network: PretrainedNetwork, tmp_path: Path) -> None:
    assert cli("convert", "raft", checkpoint, "--name", "mine").code == 0
    for source, target in (("mine", tmp_path / "a.pth"), (tmp_path / "weights" / "mine", tmp_path / "b.pth")):
        done = cli("convert", "raft", source, "--to", "official", "-o", target, "--json")
        assert done.code == 0, done.err
        facts = json.loads(done.out)
        assert (facts["family"], facts["output"], facts["use"]) == ("raft", str(target), None)
        assert same(torch.load(target, weights_only=True), dict(network.state_dict()))
        assert target.stat().st_size < 1.5 * checkpoint.stat().st_size
    again = cli("convert", "raft", tmp_path / "a.pth", "-o", tmp_path / "c", "--json")
    assert json.loads(again.out)["use"] == f"depthweave stereo LEFT RIGHT -m {tmp_path / 'c'}"
    assert same(dict(conversion.read_saved("raft", tmp_path / "c").state_dict()), dict(network.state_dict()))


def test_a_model_without_a_name_must_be_given_one(cli: Cli, checkpoint: Path) -> None:
    done = cli("convert", "raft", checkpoint)
    assert done.code == 1
    assert done.sentence.endswith(
        "is no model that depthweave knows by name; say what to call it with --name, or use -o."
    )


@pytest.mark.usefixtures("registered")
def test_the_name_of_another_model_is_refused(cli: Cli, checkpoint: Path, weights: Path) -> None:
    done = cli("convert", "raft", checkpoint, "--name", "defom-vits")
    assert done.code == 1
    assert done.sentence.endswith("raft-tiny.pth is not defom-vits, it is raft-tiny; choose another --name.")
    assert not weights.exists()


def test_nothing_is_replaced_unasked(cli: Cli, checkpoint: Path, weights: Path, tmp_path: Path) -> None:
    words = ("convert", "raft", checkpoint, "--name", "mine")
    assert cli(*words).code == 0
    before = (weights / "mine" / "model.safetensors").stat().st_ino
    done = cli(*words)
    assert done.code == 1
    assert done.sentence.endswith("exists already; choose another place with -o, or replace it with --overwrite.")
    assert (weights / "mine" / "model.safetensors").stat().st_ino == before
    assert cli(*words, "--overwrite").code == 0
    assert cli("convert", "raft", "mine", "--to", "official", "-o", checkpoint).code == 1


def test_misuse_says_so(cli: Cli, checkpoint: Path, weights: Path) -> None:
    assert cli("convert", "raft", checkpoint, "--to", "official").code == 2
    assert cli("convert", "raft", checkpoint, "--name", "../elsewhere").code == 2
    assert cli("convert", "raft", checkpoint, "--to", "onnx", "-o", "x").code == 2
    done = cli("convert", "rafd", checkpoint)
    assert (done.code, done.sentence) == (1, "error: there is no family 'rafd'; did you mean raft?")
    assert not weights.exists()


def test_a_wrong_family_gets_the_right_one(cli: Cli, checkpoint: Path) -> None:
    done = cli("convert", "defom", checkpoint)
    assert done.code == 1
    assert "raft-tiny.pth is no checkpoint of the family defom (" in done.sentence
    assert done.sentence.endswith("; it is one of the family raft, so use that.")


def test_a_checkpoint_must_be_complete(cli: Cli, network: PretrainedNetwork, tmp_path: Path, weights: Path) -> None:
    state = network.state_dict()
    del state["cnet.layer1.0.conv1.bias"]
    torch.save(state, tmp_path / "x.pth")
    done = cli("convert", "raft", tmp_path / "x.pth", "--name", "mine")
    assert done.code == 1
    assert "x.pth is no checkpoint of the family raft (" in done.sentence
    assert "1 missing (cnet.layer1.0.conv1.bias)" in done.sentence
    assert not weights.exists()


def test_code_in_a_checkpoint_is_not_run(cli: Cli, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"a": Evil()}, tmp_path / "x.pth")
    done = cli("convert", "raft", tmp_path / "x.pth")
    assert done.code == 1
    assert "could run code, so it is not read" in done.sentence
    assert not (tmp_path / "ran").exists()


def test_folders_that_hold_something_else(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    assert cli("convert", "raft", checkpoint, "-o", tmp_path / "ours").code == 0
    done = cli("convert", "raft", tmp_path / "ours", "-o", tmp_path / "b")
    assert done.sentence.endswith(
        "the Hugging Face hub has no layout for the family raft; use its official checkpoint."
    )
    done = cli("convert", "depth-anything", tmp_path / "ours", "-o", tmp_path / "b")
    assert done.sentence.endswith("ours is a folder of depthweave already; load it, or choose another layout with --to")
    done = cli("convert", "depth-anything", tmp_path / "ours", "--to", "hub", "-o", tmp_path / "b")
    assert done.sentence.endswith("ours holds a network of the family 'raft', not 'depth-anything'")
    done = cli("convert", "raft", tmp_path / "ours", "--to", "hub", "-o", tmp_path / "b")
    assert done.sentence.endswith(
        "the Hugging Face hub has no layout for the family raft; use its official checkpoint."
    )
    assert not (tmp_path / "b").exists()


def test_models_and_info_say_what_is_here(cli: Cli, weights: Path, network: PretrainedNetwork) -> None:
    def here() -> dict[str, bool]:
        return {card["name"]: card["here"] for card in json.loads(cli("models", "--json").out)}

    assert here()["sgm"]
    assert not here()["raft-stereo"]
    network.save_pretrained(weights / "raft-stereo")
    assert here()["raft-stereo"]
    assert json.loads(cli("info", "--json").out)["weights"] == str(weights)


def test_missing_weights_are_one_sentence_with_the_command(cli: Cli, pair: Path) -> None:
    done = cli("stereo", pair / "left.png", pair / "right.png", "-m", "raft-stereo", "-o", pair / "out")
    assert done.code == 1
    assert done.sentence.endswith("and run `depthweave convert raft raftstereo-middlebury.pth`.")


@pytest.mark.filterwarnings("default::depthweave.errors.LicenceNotice")
def test_a_licence_without_a_statement_is_announced(cli: Cli, pair: Path) -> None:
    load._notice.cache_clear()
    done = cli("stereo", pair / "left.png", pair / "right.png", "-m", "defom-vits", "-o", pair / "out")
    assert "warning: nobody has stated whether the weights of defom-vits may be used commercially (code MIT" in done.err
    assert "depthweave convert defom defomstereo_vits_rvc.pth" in done.sentence


def depth_anything(tmp_path: Path, name: str) -> Path:
    kind = find_family("depth-anything").network_class()
    file = tmp_path / name
    torch.save(kind(kind.config_class("nano")).state_dict(), file)
    return file


@pytest.mark.parametrize(
    ("name", "setting", "field", "value"),
    [
        ("depth_anything_v2_metric_hypersim_vits.pth", "max_depth_m=20", "max_depth_m", 20.0),
        ("depth_anything_vits14.pth", "taps=0,1,2,3", "taps", [0, 1, 2, 3]),
    ],
)
def test_what_tensors_do_not_tell_is_asked_for(
    cli: Cli, tmp_path: Path, weights: Path, name: str, setting: str, field: str, value: object
) -> None:
    file = depth_anything(tmp_path, name)
    refused = cli("convert", "depth-anything", file, "--name", "mine")
    assert refused.code == 1
    assert f"--set {field}=VALUE" in refused.err
    done = cli("convert", "depth-anything", file, "--name", "mine", "--set", setting)
    assert done.code == 0, done.err
    assert json.loads((weights / "mine" / "config.json").read_text())["config"][field] == value


def test_a_setting_that_a_family_does_not_have(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    failed = cli("convert", "raft", checkpoint, "-o", tmp_path / "out", "--set", "levels=3")
    assert failed.code == 1
    assert "the family raft has no option levels" in failed.err
