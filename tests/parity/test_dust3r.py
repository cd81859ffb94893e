"""DUSt3R and MASt3R against outputs of the originals, recorded under weights from names (see `fill`)."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import fill
import numpy as np
import pytest
import torch
from recordings import read_recording
from torch import Tensor

from depthweave.models.families import FAMILIES
from depthweave.models.pointmap.dust3r import Dust3r, Dust3rConfig
from depthweave.models.pointmap.mast3r import Mast3r, Mast3rConfig
from depthweave.models.pointmap.network import PointmapNetwork, View
from depthweave.models.pointmap.preparation import prepare_cropped

DATA = Path(__file__).parent / "data" / "dust3r"
CASES = ("linear", "dpt", "dpt10_portrait", "mast3r")
TOLERANCE = 2e-4
"""Of the recorded values' deviation; measured: 4e-5 at most. A wrong constant in the network is off by 1e-2 or more."""
OFFICIAL = {
    "dust3r_512_dpt": ("dust3r", Dust3rConfig()),
    "dust3r_512_linear": ("dust3r", Dust3rConfig(head="linear")),
    "dust3r_224_linear": ("dust3r", Dust3rConfig(head="linear", image_size=224)),
    "mast3r_512_catmlpdpt": ("mast3r", Mast3rConfig()),
}


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """As the recordings had them: residual units in full, the last convolution at 0.3."""
    gain = 2 if fill.RESIDUAL_SECOND.search(name) else 0.3 if name.endswith(".dpt.head.4.weight") else 1
    return gain * fill.tensor_for(name, shape)


def filled(kind: type[PointmapNetwork], config: Dust3rConfig | Mast3rConfig) -> PointmapNetwork:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in kind(config).state_dict().items()}
    return kind.from_state(config, {name: weight(name, shape) for name, shape in shapes.items()})


@cache
def recorded(case: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return read_recording(DATA / f"small_{case}.npz")


@cache
def network(case: str) -> PointmapNetwork:
    about = recorded(case)[1]
    sizes = {
        f"{part}_{ours}": about[f"{part[:3]}_{theirs}"]
        for part in ("encoder", "decoder")
        for ours, theirs in (("dim", "embed_dim"), ("depth", "depth"), ("heads", "num_heads"))
    }
    if case == "mast3r":
        return filled(Mast3r, Mast3rConfig(**sizes))
    return filled(Dust3r, Dust3rConfig(head="linear" if case == "linear" else "dpt", **sizes))


def error(found: Tensor, wanted: np.ndarray) -> float:
    assert tuple(found.shape) == wanted.shape
    return float((found - torch.from_numpy(wanted)).abs().max() / wanted.std())


@pytest.mark.parametrize("case", CASES)
def test_every_stage_is_the_originals(case: str) -> None:
    arrays, about = recorded(case)
    net, depth = network(case), about["dec_depth"]
    images = torch.from_numpy(fill.smooth_images(2, about["h"], about["w"]))
    with torch.inference_mode():
        tokens = net.encode(images)
        one, two = tokens[:1], tokens[1:]
        states = net.states(one, two, (about["h"] // 16, about["w"] // 16), tuple(range(1, depth + 1)))
        answer = net.decode(one, two, (about["h"], about["w"]))
    errors = {}
    stride = 4 if case == "dpt10_portrait" else 3
    for side, (view, kept, seen) in enumerate(zip((answer.first, answer.second), states, (one, two), strict=True), 1):
        errors[f"enc{side}"] = error(seen[0, ::2, ::4], arrays[f"enc{side}"])
        for layer in (1, depth // 2, depth):
            errors[f"dec{side}_{layer}"] = error(kept[layer][0, ::2, ::4], arrays[f"dec{side}_{layer}"])
        errors[f"pts3d{side}"] = error(view.points[0, ::stride, ::stride], arrays[f"pts3d{side}"])
        errors[f"conf{side}"] = error(view.confidence[0, ::stride, ::stride], arrays[f"conf{side}"])
        if view.descriptors is not None and view.descriptor_confidence is not None:
            errors[f"desc{side}"] = error(view.descriptors[0, ::4, ::4, ::3], arrays[f"desc{side}"])
            errors[f"desc_conf{side}"] = error(view.descriptor_confidence[0, ::3, ::3], arrays[f"desc_conf{side}"])
    assert errors.keys() == arrays.keys()
    assert {name: value for name, value in errors.items() if not value < TOLERANCE} == {}


def test_pairs_of_frames_that_were_encoded_once() -> None:
    arrays, _ = recorded("dpt_pairs")
    net = network("dpt")
    first, second = (list(arrays["edges"][:, side]) for side in (0, 1))
    with torch.inference_mode():
        tokens = net.encode(torch.from_numpy(fill.smooth_images(4, 48, 80)))
        answer = net.decode(tokens[first], tokens[second], (48, 80))

    def check(view: View, points: str, confidence: str) -> None:
        assert error(view.points[:, ::8, ::8], arrays[points]) < TOLERANCE
        assert error(view.confidence[:, ::8, ::8], arrays[confidence]) < TOLERANCE

    check(answer.first, "pts_i", "conf_i")
    check(answer.second, "pts_j", "conf_j")


@cache
def official(name: str) -> dict[str, Any]:
    lists = json.loads(gzip.decompress((DATA / "keys.json.gz").read_bytes()))
    found: dict[str, Any] = lists[name]
    shapes = found["shapes"]
    return {**found, "shapes": lists[shapes]["shapes"] if isinstance(shapes, str) else shapes}


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("with_call", [True, False])
def test_official_tensors_and_calls_make_the_official_networks(name: str, with_call: bool) -> None:
    """Tensors without values, so that half a thousand million of them cost nothing."""
    found, (family, config) = official(name), OFFICIAL[name]
    converter = FAMILIES[family].converter()
    state = {key: torch.empty(shape, device="meta") for key, shape in found["shapes"].items()}
    stated = converter.stated_options({"model": found["model"]}) if with_call else {}
    net = converter.from_official(state, **stated)
    assert net.config == (config if with_call or config.image_size == 512 else OFFICIAL["dust3r_512_linear"][1])
    again = converter.to_official(net)
    assert {key: list(tensor.shape) for key, tensor in again.items()} == found["shapes"]
    once = sum(parameter.numel() for parameter in net.parameters())
    assert once + net.config.decoder_dim == found["parameters"]  # mask_token, which nothing uses


def test_pictures_are_prepared_as_the_original_does() -> None:
    arrays, shapes = read_recording(DATA / "preprocess.npz")
    picture = torch.from_numpy(arrays["img"]).permute(2, 0, 1).float() / 255
    for size, stride in ((512, 16), (224, 4), (48, 1)):
        prepared = prepare_cropped(picture, size)
        assert list(prepared.shape[1:]) == shapes[str(size)]
        np.testing.assert_allclose(prepared[:, ::stride, ::stride].numpy(), arrays[f"out_{size}"], atol=1e-6)


@pytest.mark.parametrize(("given", "at_512", "at_224"), json.loads((DATA / "sizes.json").read_text()))
def test_sizes_are_those_of_the_original(given: list[int], at_512: list[int], at_224: list[int]) -> None:
    picture = torch.zeros(3, given[1], given[0])
    assert [list(prepare_cropped(picture, size).shape[:0:-1]) for size in (512, 224)] == [at_512, at_224]
