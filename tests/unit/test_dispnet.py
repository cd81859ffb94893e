from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import depthweave as dw
from depthweave.errors import WrongInput
from depthweave.models.stereo.dispnet import Dispnet, DispnetConfig
from depthweave.pipelines.network_stereo import NetworkMatching

NANO = DispnetConfig.nano()
KINDS = [{}, {"correlation": False}, {"edges": True}, {"edges": True, "correlation": False}, {"normalise": False}]


def pair(height: int = 64, width: int = 128, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


def nano(**changes: Any) -> Dispnet:
    torch.manual_seed(7)
    return Dispnet(replace(NANO, **changes)).eval()


def caught(module: nn.Module) -> list[Tensor]:
    """What goes into a module, from now on."""
    found: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    return found


@pytest.mark.parametrize(
    "wrong", [{"widths": (8, 8, 8, 8, 8, 0)}, {"decoder": (0, 8, 8, 8, 8)}, {"levels": 0}, {"kept": 0}]
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WrongInput, match="at least 1"):
        replace(NANO, **wrong)


def test_the_paper_s_sizes() -> None:
    with torch.device("meta"):
        correlated, plain = Dispnet(DispnetConfig()), Dispnet(DispnetConfig(correlation=False))
    shapes = {name: tuple(parameter.shape) for name, parameter in correlated.named_parameters()}
    assert shapes["to_half.0.weight"] == (64, 3, 7, 7)
    assert shapes["to_quarter.0.weight"] == (128, 64, 5, 5)
    assert shapes["deeper.0.0.0.weight"] == (256, 64 + 41, 5, 5)
    assert shapes["deeper.3.1.0.weight"] == (1024, 1024, 3, 3)
    assert shapes["decoder.enlarge.0.0.weight"] == (1024, 512, 4, 4)
    assert shapes["decoder.merge.4.0.weight"] == (32, 32 + 64 + 1, 3, 3)
    assert dict(plain.named_parameters())["to_half.0.weight"].shape == (64, 6, 7, 7)
    assert dict(plain.named_parameters())["deeper.0.0.0.weight"].shape == (256, 128, 5, 5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in correlated.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_every_size_has_its_disparity(kind: dict[str, Any]) -> None:
    network = nano(**kind)
    left, right = pair(batch=2)
    with torch.inference_mode():
        found = network.predictions(left, right)
        alone = network.predictions(left[1:], right[1:])
        answer = network(left, right)
    assert [tuple(step.shape) for step in found.steps] == [(2, 1, 64 >> n, 128 >> n) for n in (6, 5, 4, 3, 2, 1)]
    assert answer.shape == (2, 1, 64, 128)
    assert torch.equal(found.disparity, answer)
    torch.testing.assert_close(alone.disparity, answer[1:], atol=1e-3, rtol=0)
    assert len(found.edges) == (4 if kind.get("edges") else 0)
    assert all(edges.shape == answer.shape for edges in found.edges)


def test_what_a_convolution_says_becomes_px_of_the_picture() -> None:
    network = nano()
    for number, layer in enumerate(network.decoder.predict):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, number / 4)
    with torch.inference_mode():
        found = network.predictions(*pair())
    for number, step in enumerate(found.steps):
        torch.testing.assert_close(step, torch.full_like(step, 4.0 * number))
    torch.testing.assert_close(found.disparity, torch.full((1, 1, 64, 128), 20.0))


def test_the_decoder_sees_the_coarser_disparity() -> None:
    network = nano()
    seen = caught(network.decoder.merge[2])
    with torch.inference_mode():
        found = network.predictions(*pair())
    coarse = F.interpolate(found.steps[2] / 16, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen[0][:, -1:], coarse)


class Features(nn.Module):
    """Features of either sign at half of the size, whatever it is given."""

    def forward(self, views: Tensor) -> Tensor:
        count, _, height, width = views.shape
        generator = torch.Generator().manual_seed(6)
        return torch.randn(count, NANO.widths[1], height // 2, width // 2, generator=generator)


def test_rows_are_correlated_at_a_quarter_of_the_size() -> None:
    network = nano()
    network.to_quarter = Features()
    seen, kept = caught(network.deeper[0]), caught(network.keep)
    with torch.inference_mode():
        network(*pair())
    one, other = Features()(torch.zeros(2, 8, 32, 64))
    torch.testing.assert_close(kept[0][0], one)
    assert seen[0].shape[1] == NANO.kept + NANO.levels
    for d, x in ((0, 0), (0, 31), (3, 3), (5, 20), (8, 31)):
        wanted = F.leaky_relu((one[:, 7, x] * other[:, 7, x - d]).mean(), 0.1)
        torch.testing.assert_close(seen[0][0, NANO.kept + d, 7, x], wanted)
    assert float(seen[0][0, NANO.kept :].min()) < 0
    assert float(seen[0][0, NANO.kept + 4, :, :4].abs().max()) == 0  # the match lies outside


def test_without_a_correlation_one_encoder_sees_six_channels() -> None:
    network = nano(correlation=False)
    seen = caught(network.to_half)
    left, right = pair()
    with torch.inference_mode():
        answer = network(left, right)
        assert not torch.equal(answer, network(right, left))
    torch.testing.assert_close(seen[0], torch.cat([left, right], 1) / 127.5 - 1)
    assert not hasattr(network, "keep")


class TestEdges:
    def test_the_fused_map_weighs_three_side_outputs(self) -> None:
        network = nano(edges=True)
        with torch.inference_mode():
            *sides, fused = network.predictions(*pair()).edges
            torch.testing.assert_close(fused, sum(sides) / 3)  # before training
            network.edges.fuse.weight.copy_(torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1))
            network.edges.fuse.bias.fill_(0.25)
            again = network.predictions(*pair()).edges[-1]
            torch.testing.assert_close(again, sides[0] - 2 * sides[1] + 0.5 * sides[2] + 0.25)
            torch.testing.assert_close(network.edge_map(*pair()), torch.sigmoid(again))

    def test_the_decoder_gets_the_edges_and_their_features(self) -> None:
        network = nano(edges=True)
        at_quarter, at_half = caught(network.decoder.merge[3]), caught(network.decoder.merge[4])
        with torch.inference_mode():
            edges = torch.sigmoid(network.predictions(*pair()).edges[-1])
        torch.testing.assert_close(at_half[0][:, -1:], F.avg_pool2d(edges, 2))
        torch.testing.assert_close(at_quarter[0][:, -1:], F.avg_pool2d(edges, 4))
        more = NANO.edge_channels + 1
        assert at_half[0].shape[1] == NANO.decoder[4] + NANO.widths[0] + 1 + more

    def test_a_disparity_moves_edge_features_but_not_the_map(self) -> None:
        network = nano(edges=True).train()
        network.predictions(*pair(batch=2)).disparity.sum().backward()
        assert all(layer.weight.grad is None for layer in (*network.edges.score, network.edges.fuse))
        assert network.edges.sides[0][0].weight.grad.abs().sum() > 0

    def test_a_network_without_the_branch_has_no_map(self) -> None:
        with pytest.raises(WrongInput, match="no edge branch; train one with `edges = true`"):
            nano().edge_map(*pair())


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: dict[str, Any]) -> None:
    network = nano(**kind).train()
    found = network.predictions(*pair(batch=2))
    total = sum(each.square().mean() for each in (*found.steps, *found.edges))
    total.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_inputs_that_do_not_fit_are_refused() -> None:
    left, right = pair()
    with pytest.raises(WrongInput, match="multiples of 64, not 100x64; pad"):
        nano()(left[..., :100], right[..., :100])
    with pytest.raises(WrongInput, match="leave initial out"):
        nano()(left, right, initial=torch.zeros(1, 1, 64, 128))


def test_half_precision_answers_nearly_the_same() -> None:
    network, (left, right) = nano(edges=True), pair()
    with torch.inference_mode():
        full = network(left, right)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network.predictions(left, right)
    assert {each.dtype for each in (*found.steps, *found.edges, found.disparity)} == {torch.float32}
    assert 0 < float((found.disparity - full).abs().mean()) < 0.1 * float(full.abs().mean()) + 0.1


def test_the_estimate_of_memory_follows_the_picture() -> None:
    for kind in KINDS:
        network = Dispnet(replace(NANO, **kind))
        half, full = network.memory_bytes(640, 960), network.memory_bytes(1280, 1920)
        assert half >= 4 * 320 * 480 * NANO.widths[0]
        assert full == 4 * half


@pytest.mark.parametrize("edges", [False, True])
def test_a_saved_network_matches_pictures_of_any_size(tmp_path: Path, edges: bool) -> None:
    network = nano(edges=edges)
    folder = network.save_pretrained(tmp_path / "net")
    matcher = dw.load(folder, device="cpu")
    left, right = (image[0] / 255 for image in pair(70, 90))
    found = matcher(dw.StereoPair(left, right))
    assert found.values.shape == (70, 90)
    assert torch.equal(found.values, NetworkMatching(network)(left, right).disparity)
    assert Dispnet.from_pretrained(folder).config == network.config
