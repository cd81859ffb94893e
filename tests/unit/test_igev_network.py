from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from depthweave.errors import WrongFile, WrongInput
from depthweave.models import conversion
from depthweave.models.layers.cost_volume import group_wise_correlation
from depthweave.models.stereo.igev.blocks import BatchConv, FeatureGate
from depthweave.models.stereo.igev.config import IgevConfig
from depthweave.models.stereo.igev.convert import from_official, official_config, to_official
from depthweave.models.stereo.igev.network import IgevStereo
from depthweave.models.stereo.igev.volume import GeometryLookUp
from depthweave.pipelines.network_stereo import NetworkMatching

NANO = IgevConfig.nano()


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


def nano(**changes: Any) -> IgevStereo:
    torch.manual_seed(7)
    return IgevStereo(replace(NANO, **changes)).eval()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_disparity": 200}, "a multiple of 32 px, not 200"),
        ({"max_disparity": 0}, "a multiple of 32 px, not 0"),
        ({"groups": 7}, "96 matched features cannot be split into 7 groups"),
        ({"levels": 0}, "1 to 4 levels, not 0"),
        ({"levels": 5}, "not 5"),
        ({"radius": 0}, "at least 1"),
        ({"stem": (0, 48)}, "at least 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        replace(IgevConfig(), **wrong)


class TestVolume:
    def test_correlation_by_hand(self) -> None:
        left = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 2, 1, 3)
        right = torch.tensor([1.0, 10.0, 100.0, 1.0, -1.0, 2.0]).view(1, 2, 1, 3)
        one = group_wise_correlation(left, right, 4, 1)
        assert one.shape == (1, 1, 4, 1, 3)
        # Means of both channels: (1 1 + 4 1) / 2, (2 10 - 5 1) / 2, (3 100 + 6 2) / 2; then a step to the left each.
        wanted = torch.tensor([[2.5, 7.5, 156.0], [0, 3.5, 12.0], [0, 0, 4.5], [0, 0, 0]])
        torch.testing.assert_close(one[0, 0, :, 0], wanted)
        # Four channels in two groups: 1 and 2, then 3 and 4.
        left, right = (view.view(1, 2, 1, 3).repeat_interleave(2, 1) for view in (left, right))
        two = group_wise_correlation(left, right * torch.tensor([1.0, 3.0, 1.0, 5.0]).view(1, 4, 1, 1), 2, 2)
        torch.testing.assert_close(two[0, :, 1, 0], torch.tensor([[0, 4.0, 60.0], [0, 15.0, -18.0]]))

    def test_look_up_by_hand(self) -> None:
        ramp = torch.arange(8.0).view(1, 1, 8, 1, 1)
        geometry = torch.cat([1 + ramp, 10 * (1 + ramp)], 1).expand(1, 2, 8, 1, 4)
        features = torch.ones(1, 4, 1, 4)
        right = features * torch.tensor([1.0, 2.0, 3.0, 4.0])
        look_up = GeometryLookUp(features, right, geometry, levels=2)
        found = look_up.around(torch.full((1, 1, 1, 4), 2.5), 1)[0, :, 0]
        assert found.shape == (2 * 3 * (2 + 1), 4)
        # Volume at 1.5, 2.5, 3.5 for both groups, and the rows of four products at x - 2.5 - 1, x - 2.5, x - 2.5 + 1.
        torch.testing.assert_close(found[:6, 0], torch.tensor([2.5, 3.5, 4.5, 25.0, 35.0, 45.0]))
        torch.testing.assert_close(found[6:9, 3], 4 * torch.tensor([0.5, 1.5, 2.5]))
        torch.testing.assert_close(found[6:9, 0], torch.tensor([0.0, 0.0, 0.0]))
        # The second level holds 1.5, 3.5, 5.5, 7.5 and 1.5, 3.5 (times 4); it is read around 1.25 and (3 - 2.5) / 2.
        torch.testing.assert_close(found[9:12, 0], torch.tensor([2.0, 4.0, 6.0]))
        torch.testing.assert_close(found[15:, 3], 4 * torch.tensor([0.375, 2.0, 2.625]))

    def test_outside_of_the_volume_there_are_zeros(self) -> None:
        geometry = torch.ones(2, 3, 8, 1, 4)
        features = torch.zeros(2, 6, 1, 4)
        look_up = GeometryLookUp(features, features, geometry, levels=1)
        at = torch.tensor([-1.5, -0.25, 7.25, 8.5]).view(1, 1, 1, 4).expand(2, 1, 1, 4)
        found = look_up.around(at, 1)[:, 0:3, 0]
        wanted = torch.tensor([[0, 0, 0.5], [0, 0.75, 1.0], [1.0, 0.75, 0], [0.5, 0, 0]]).T
        torch.testing.assert_close(found, wanted.expand(2, 3, 4))
        for far in (1e12, -1e12, torch.nan, torch.inf):
            assert float(look_up.around(torch.full((2, 1, 1, 4), far), 1).abs().max()) == 0


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_fixed_statistics_become_part_of_a_convolution(dims: int, up: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = BatchConv(3, 5, dims=dims, up=up).eval()
    for values in (layer.bn.running_mean, layer.bn.running_var, layer.bn.weight, layer.bn.bias):
        values.data.copy_(0.5 + torch.rand(5, generator=generator))
    x = torch.randn(2, 3, *(4,) * dims, generator=generator, requires_grad=True)
    found = layer(x)
    torch.testing.assert_close(found, nn.functional.leaky_relu(layer.bn(layer.conv(x))))
    assert found.shape[2:] == (8 if up else 4,) * dims
    found.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_the_gate_is_the_same_for_all_disparities() -> None:
    gate = FeatureGate(2, 4).eval()
    nn.init.zeros_(gate.feat_att[1].weight)
    gate.feat_att[1].bias.data.copy_(torch.tensor([0.0, 100.0]))
    volume = torch.rand(1, 2, 3, 4, 5)
    found = gate(volume, torch.rand(1, 4, 4, 5))
    torch.testing.assert_close(found, volume * torch.tensor([0.5, 1.0]).view(1, 2, 1, 1, 1))


class TestNetwork:
    def test_it_answers_at_the_smallest_size(self) -> None:
        left, right = pair(32, 32, batch=2)
        with torch.inference_mode():
            both = nano()(left, right, iterations=2)
            second = nano()(left[1:], right[1:], iterations=2)
        assert both.shape == (2, 1, 32, 32)
        assert bool(both.isfinite().all())
        torch.testing.assert_close(both[1:], second, rtol=0, atol=1e-3)

    def test_inputs_that_do_not_fit_are_refused(self) -> None:
        left, right = pair(32, 64)
        with pytest.raises(WrongInput, match="multiples of 32, not 64x28; pad"):
            nano()(left[..., :28, :], right[..., :28, :])
        with pytest.raises(WrongInput, match="at least one iteration"):
            nano().predictions(left, right, iterations=0)

    def test_the_first_prediction_is_the_volumes_and_the_last_the_answer(self) -> None:
        network = nano()
        nn.init.zeros_(network.update_block.disp_head.conv2.weight)
        nn.init.ones_(network.update_block.disp_head.conv2.bias)
        nn.init.zeros_(network.classifier.weight)
        left, right = pair(32, 64)
        with torch.inference_mode():
            found = network.predictions(left, right, iterations=3)
            answer = network(left, right, iterations=3)
        inner = [prediction[..., 4:-4, 4:-4] for prediction in found]
        # Sixteen disparities of the same score have the mean 7.5; every step adds one px of 1/4.
        for prediction, wanted in zip(inner, (30.0, 34.0, 38.0, 42.0), strict=True):
            torch.testing.assert_close(prediction, torch.full_like(prediction, wanted))
        assert torch.equal(found[-1], answer)

    def test_a_start_replaces_the_volumes(self) -> None:
        network = nano()
        nn.init.zeros_(network.update_block.disp_head.conv2.weight)
        nn.init.zeros_(network.update_block.disp_head.conv2.bias)
        left, right = pair(32, 64)
        with torch.inference_mode():
            found = network(left, right, iterations=1, initial=torch.full((1, 1, 32, 64), 10.0))
        torch.testing.assert_close(found[..., 4:-4, 4:-4], torch.full((1, 1, 24, 56), 10.0))

    def test_the_volume_grows_with_the_search_range_and_never_shrinks(self) -> None:
        network = nano()
        assert [network.disparities(px) for px in (None, 16, 64, 65, 200)] == [16, 16, 16, 24, 56]
        assert network.memory_bytes(512, 512, max_disparity=2000) > network.memory_bytes(512, 512)
        left, right = pair(32, 64)
        with torch.inference_mode():
            usual = network(left, right, iterations=1)
            assert torch.equal(network(left, right, iterations=1, max_disparity=32), usual)
            assert not torch.equal(network(left, right, iterations=1, max_disparity=96), usual)
        assert NetworkMatching(network).takes_range

    def test_half_precision_answers_nearly_the_same(self) -> None:
        left, right = pair(64, 64)
        with torch.inference_mode():
            full = nano()(left, right, iterations=2)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                half = nano()(left, right, iterations=2)
        assert half.dtype == torch.float32
        assert 0 < float((half - full).abs().mean()) < 0.05 * float(full.abs().mean())

    def test_every_weight_that_is_used_learns(self) -> None:
        network = nano().train()
        found = network.predictions(*pair(32, 64, batch=2), iterations=2)
        sum(prediction.square().mean() for prediction in found).backward()
        idle = {name for name, p in network.named_parameters() if p.grad is None}
        assert idle == {"cost_agg.conv1_up.bn.weight", "cost_agg.conv1_up.bn.bias"}

    def test_the_estimate_of_memory_follows_the_picture(self) -> None:
        network = IgevStereo(NANO)
        half, full = network.memory_bytes(640, 960), network.memory_bytes(1280, 1920)
        assert half >= 4 * 640 * 960 * 16 * 4
        assert full >= 4 * half


class TestConversion:
    def test_the_reach_of_the_volume_is_what_the_file_does_not_tell(self, tmp_path: Path) -> None:
        network = nano()
        file = conversion.write_official(network, tmp_path / "nano.pth")
        assert official_config(to_official(network), max_disparity=64) == NANO
        assert conversion.read_official("igev", file).config == replace(NANO, max_disparity=192)
        again = conversion.read_official("igev", file, max_disparity=64)
        assert again.config == NANO
        saved = IgevStereo.from_pretrained(again.save_pretrained(tmp_path / "nano"))
        left, right = pair(32, 64)
        with torch.inference_mode():
            assert torch.equal(saved(left, right, iterations=1), network(left, right, iterations=1))

    def test_other_files_are_no_checkpoint_of_igev_stereo(self, tmp_path: Path) -> None:
        state = to_official(nano())
        with pytest.raises(WrongInput, match=r"it has no convolution feature\.conv_stem\.weight"):
            from_official({"fc.weight": torch.zeros(3, 3)})
        with pytest.raises(WrongInput, match=r"1 missing \(update_block\.gru16\.convz\.bias\)"):
            from_official({name: tensor for name, tensor in state.items() if name != "update_block.gru16.convz.bias"})
        with pytest.raises(WrongInput, match=r"1 unexpected \(extra\)"):
            from_official({**state, "extra": torch.zeros(1)})
        file = conversion.write_official(nano(), tmp_path / "igev.pth")
        with pytest.raises(WrongFile, match=r"no checkpoint of the family raft .*it is one of the family igev, so use"):
            conversion.read_official("raft", file)
