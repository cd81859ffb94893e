"""Weights that come with depthweave: where they are looked for, and what their model is loaded with."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

import depthweave
from depthweave.errors import MissingWeights, UnknownModel, WrongFile, WrongInput
from depthweave.models import conversion, weights
from depthweave.models.families import FAMILIES, find_family
from depthweave.models.registry import find_model, list_models
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.pipelines.network_stereo import default_settings

CARD = find_model("depthweave-s")


@pytest.fixture(autouse=True)
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for bundled weights, and one for converted ones."""
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(tmp_path / "converted"))
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path / "bundled")
    return tmp_path / "bundled"


@pytest.fixture
def network() -> CompactStereo:
    torch.manual_seed(0)
    return CompactStereo(CompactConfig.nano())


def test_bundled_weights_lie_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert weights.bundled_folder() == Path(depthweave.__file__).parent / "weights"


def test_bundled_weights_are_found_after_converted_ones(bundle: Path, network: CompactStereo, tmp_path: Path) -> None:
    assert not weights.has_weights(CARD)
    network.save_pretrained(bundle / "depthweave-s")
    assert weights.has_weights(CARD)
    assert weights.find_weights(CARD) == bundle / "depthweave-s"
    network.save_pretrained(tmp_path / "converted" / "depthweave-s")
    assert weights.find_weights(CARD) == tmp_path / "converted" / "depthweave-s"


def test_an_installation_without_them_says_so(bundle: Path) -> None:
    with pytest.raises(MissingWeights, match=re.escape(f"{bundle / 'depthweave-s'} is missing, so this installation")):
        depthweave.load("depthweave-s")


def test_only_bundled_cards_look_there(bundle: Path, network: CompactStereo) -> None:
    other = dataclasses.replace(find_model("raft-stereo"), name="depthweave-s")
    network.save_pretrained(bundle / "depthweave-s")
    assert not weights.has_weights(other)
    with pytest.raises(MissingWeights, match="depthweave convert raft"):
        weights.find_weights(other)


def test_the_cards_settings_choose_the_size_and_the_callers_go_before_them(
    bundle: Path, network: CompactStereo
) -> None:
    network.save_pretrained(bundle / "depthweave-s", origin={"model": "depthweave-s", "file": "r", "sha256": 64 * "0"})
    own = depthweave.load("depthweave-s", device="cpu")
    scale, max_pixels = CARD.settings["scale"], CARD.settings["max_pixels"]
    assert (own.resolution.scale, own.resolution.max_pixels) == (scale, max_pixels)
    assert (own.facts()["model"], own.facts()["revision"]) == ("depthweave-s", "r sha256:000000000000")
    for chosen in (0.75, 1.0, 2.0):
        assert depthweave.load("depthweave-s", device="cpu", scale=chosen).resolution == dataclasses.replace(
            own.resolution, scale=chosen, max_pixels=None
        )
    assert depthweave.load("depthweave-s", device="cpu", scale=2.0, max_pixels=900).resolution.max_pixels == 900
    limited = depthweave.load("depthweave-s", device="cpu", max_size=320, max_disparity=64)
    assert limited.resolution == dataclasses.replace(own.resolution, max_size=320)
    assert json.loads(json.dumps(limited.facts()))["max_disparity"] == 64


def test_the_card_is_that_of_the_network() -> None:
    with torch.device("meta"):
        network = CompactStereo(CompactConfig())
    assert conversion.count_parameters(network) == CARD.parameters
    family = FAMILIES[CARD.family]
    assert family.network_class() is CompactStereo
    assert (family.task, CompactStereo.family) == (CARD.task, CARD.family)
    assert default_settings(CompactStereo.forward) == {"iterations": 2}
    assert [card.name for card in list_models() if card.source == "bundled"] == ["depthweave-s", "depthweave-flow-s"]


def test_a_family_of_ours_has_nothing_to_convert(tmp_path: Path, network: CompactStereo) -> None:
    sentence = "CompactStereo is depthweave's own network: there is nothing to convert"
    (tmp_path / "x.pth").touch()
    for attempt in (
        lambda: conversion.read_official("compact", tmp_path / "x.pth"),
        lambda: conversion.read_hub("compact", tmp_path),
        lambda: conversion.write_official(network, tmp_path / "y.pth"),
        lambda: conversion.write_hub(network, tmp_path / "y"),
    ):
        with pytest.raises(WrongInput, match=sentence):
            attempt()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pth"]


def test_it_is_not_offered_for_conversion(tmp_path: Path, network: CompactStereo) -> None:
    torch.save(network.state_dict(), tmp_path / "x.pth")
    with pytest.raises(WrongFile, match=r"x\.pth is no checkpoint of the family raft .*\)\.$"):
        conversion.read_official("raft", tmp_path / "x.pth")
    with pytest.raises(UnknownModel, match=r"there are defom, .*, compact \(depthweave's own, nothing to convert\)"):
        find_family("zzz")
