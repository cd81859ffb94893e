"""The small encoder and decoder for single pictures: its network, its partners, and what `load` makes of its folder."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import depthweave as dw
from depthweave.errors import WrongInput
from depthweave.models.mono.encoder_decoder import MonoUnet, MonoUnetConfig
from depthweave.models.mono.estimators import MonoUnetEstimator, MonoUnetSettings
from depthweave.types import DepthMap, Scale

NANO = MonoUnetConfig.nano()
ALL = replace(NANO, pose=True, mask=True, flow=True, views=2)


def made(config: MonoUnetConfig = NANO) -> MonoUnet:
    torch.manual_seed(1)
    return MonoUnet(config).eval()


def pictures(batch: int = 2) -> Tensor:
    return 255 * torch.rand(batch, 3, 32, 64, generator=torch.Generator().manual_seed(2))


def test_inverse_depth_has_four_sizes_and_stays_in_its_range() -> None:
    config = replace(NANO, nearest=0.5, farthest=20.0, views=2)
    network = made(config)
    found = network.predictions(pictures())
    assert [tuple(each.shape) for each in found] == [(2, 2, 32 // s, 64 // s) for s in (1, 2, 4, 8)]
    assert all(bool((each >= 1 / 20).all() and (each <= 1 / 0.5).all()) for each in found)
    assert torch.equal(network(pictures()), 1 / found[0][:, 0])


@pytest.mark.parametrize(("logit", "depth"), [(0.0, 1 / (0.05 + 0.5 * 1.95)), (-50.0, 20.0), (50.0, 0.5)])
def test_the_end_function_by_hand(logit: float, depth: float) -> None:
    network = made(replace(NANO, nearest=0.5, farthest=20.0))
    head = network.depth.decoder.heads[0]
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, logit)
    assert torch.allclose(network(pictures()), torch.tensor(depth), rtol=1e-5)


def test_pictures_are_normalised_before_the_network() -> None:
    network = made()
    seen: list[Tensor] = []
    network.depth.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, 3, 32, 64), 255 * 0.675))
    assert torch.allclose(seen[0], torch.ones(1, 3, 32, 64), atol=1e-5)  # (0.675 - 0.45) / 0.225


def test_the_camera_hardly_moves_at_first_and_its_motion_is_rigid() -> None:
    network = made(ALL)
    pose = network.pose(pictures(), pictures().flip(-1))
    assert pose.shape == (2, 4, 4)
    assert torch.allclose(pose, torch.eye(4).expand(2, 4, 4), atol=0.05)
    assert not torch.equal(pose[0], torch.eye(4))
    nn.init.zeros_(network.pose_network.head.weight)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        network.pose_network.head.bias.copy_(torch.tensor([0.0, 50 * math.pi, 0.0, 100.0, 200.0, -300.0]))  # type: ignore[union-attr, union-attr]
    quarter = network.pose(pictures(1), pictures(1))[0]  # a hundredth of the head: pi / 2 about y, and (1, 2, -3)
    expected = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, -3], [0, 0, 0, 1]])
    assert torch.allclose(quarter, expected, atol=1e-5)


def test_flow_is_in_px_of_its_own_size() -> None:
    network = made(ALL)
    for head in network.flow_network.decoder.heads:  # type: ignore[union-attr, union-attr]
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, 0.5)
    found = network.flow(pictures(), pictures())
    assert [tuple(each.shape) for each in found] == [(2, 2, 32 // s, 64 // s) for s in (1, 2, 4, 8)]
    assert [float(each.detach().mean()) for each in found] == pytest.approx([5.0, 2.5, 1.25, 0.625])


def test_masks_are_logits_of_both_frames() -> None:
    network = made(ALL)
    found = network.mask(pictures(), pictures().flip(-1))
    assert [tuple(each.shape) for each in found] == [(2, 1, 32 // s, 64 // s) for s in (1, 2, 4, 8)]
    assert not torch.equal(found[0], network.mask(pictures(), pictures())[0])


@pytest.mark.parametrize("partner", ["pose", "mask", "flow"])
def test_partners_that_are_not_there(partner: str) -> None:
    with pytest.raises(WrongInput, match=f"no {partner} network; set {partner} = true"):
        getattr(made(), partner)(pictures(), pictures())


def test_pictures_of_other_sides_are_refused() -> None:
    with pytest.raises(WrongInput, match="pictures of 40x32 px do not fit; sides of mono-unet are multiples of 32"):
        made()(torch.zeros(1, 3, 32, 40))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nearest": 0.0}, "nearest 0 and farthest 100 must be"),
        ({"nearest": 200.0}, "nearest 200 and farthest 100"),
        ({"views": 3}, "views is 3"),
        ({"channels": (4, 4, 0, 4, 4)}, "channels and partner_channels are at least 1"),
        ({"size": (32, 48)}, "multiples of 32"),
        ({"size": (0, 32)}, "multiples of 32"),
    ],
)
def test_configurations_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongInput, match=said):
        replace(NANO, **change)


@pytest.mark.parametrize(("metric", "scale"), [(False, Scale.UNKNOWN_SCALE), (True, Scale.METRIC)])
def test_a_folder_is_loaded_like_other_models(tmp_path: Path, metric: bool, scale: Scale) -> None:
    network = made(replace(ALL, metric=metric))
    network.save_pretrained(tmp_path / "network")
    estimator = dw.load(tmp_path / "network", task="mono", device="cpu")
    picture = torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(3))
    found = estimator(picture)
    assert isinstance(found, DepthMap)
    assert found.scale == scale
    assert found.values.shape == (48, 80)
    assert estimator.facts()["options"] == {"size": (32, 64)}
    larger = dw.load(tmp_path / "network", device="cpu", size=(64, 128))(picture)
    assert not torch.allclose(larger.values, found.values, atol=1e-3)
    with pytest.raises(WrongInput, match="no option wide; it has size"):
        dw.load(tmp_path / "network", device="cpu", wide=3)
    with pytest.raises(WrongInput, match="is a model for mono, not for stereo"):
        dw.load(tmp_path / "network", task="stereo")


class Halves(nn.Module):
    """Depth 1 on the left and 4 on the right."""

    def forward(self, images: Tensor) -> Tensor:
        depth = torch.ones(len(images), *images.shape[-2:])
        depth[..., images.shape[-1] // 2 :] = 4
        return depth


def test_inverse_depth_is_what_is_enlarged() -> None:
    found = MonoUnetEstimator(Halves(), metric=False, config=MonoUnetSettings((32, 32)))(torch.rand(3, 64, 64)).values
    between = found[0, 31:33]  # a quarter of the way from 1 to 1/4, and back
    assert between.tolist() == pytest.approx([1 / (0.75 * 1 + 0.25 * 0.25), 1 / (0.25 * 1 + 0.75 * 0.25)])


def test_sizes_that_cannot_be() -> None:
    for size, said in (((32, 40), "multiples of 32"), ((0, 32), "give a positive number")):
        with pytest.raises(WrongInput, match=said):
            MonoUnetSettings(size)
