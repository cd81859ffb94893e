"""Pointmap networks by their folder, down to a reconstruction."""

from pathlib import Path

import pytest
import torch

from depthweave import Scale, load
from depthweave.errors import DepthweaveWarning, WrongInput
from depthweave.models.pointmap.dust3r import Dust3r, Dust3rConfig


def wall_network() -> Dust3r:
    """Random weights place points behind the camera; biases of these make a rough wall in front of it."""
    torch.manual_seed(0)
    network = Dust3r(Dust3rConfig.nano())
    y, x = torch.meshgrid(torch.linspace(-0.4, 0.4, 16), torch.linspace(-0.4, 0.4, 16), indexing="ij")
    wall = torch.stack((x, y, 1 + 0.2 * x * y, torch.ones_like(x))).flatten()
    for name, parameter in network.named_parameters():
        if name.startswith("downstream_head"):
            parameter.data.copy_(wall) if name.endswith("bias") else parameter.data.mul_(0.1)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    wall_network().save_pretrained(place)
    return place


def test_a_folder_reconstructs(folder: Path) -> None:
    model = load(folder, task="pointmap", size=64, upsample="edge-aware", device="cpu")
    facts = model.facts()
    assert facts["model"] == folder.name
    assert {key: facts["options"][key] for key in ("size", "graph", "upsample")} == {
        "size": 64,
        "graph": "swin-2-noncyclic",
        "upsample": "edge-aware",
    }
    pictures = [torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with pytest.warns(DepthweaveWarning, match="focal length"):  # the weights are random
        found = model(pictures)
    assert found.depth.values.shape == (3, 48, 64)
    assert found.scale == Scale.UNKNOWN_SCALE
    with pytest.warns(DepthweaveWarning, match="focal length"):
        alone = model(pictures[:1])
    assert alone.component.tolist() == [0]
    assert bool(alone.depth.valid.any())
    torch.testing.assert_close(alone.world_from_camera[0], torch.eye(4))


def test_options_and_tasks_are_checked(folder: Path) -> None:
    with pytest.raises(WrongInput, match="has no option iterations; it has graph"):
        load(folder, iterations=3)
    with pytest.raises(WrongInput, match="is a model for pointmap, not for stereo"):
        load(folder, task="stereo")
