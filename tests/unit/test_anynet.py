from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import depthweave
from depthweave.errors import WrongInput
from depthweave.models import conversion
from depthweave.models.registry import find_model
from depthweave.models.stereo.anynet import AnyNet, AnyNetConfig
from depthweave.models.stereo.anynet.blocks import propagate
from depthweave.models.stereo.anynet.convert import from_official, official_config, to_official
from depthweave.pipelines.network_stereo import NetworkMatching

NANO = AnyNetConfig.nano()


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


def nano(**changes: Any) -> AnyNet:
    torch.manual_seed(7)
    return AnyNet(replace(NANO, **changes)).eval()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_disparity": 200}, "a multiple of 16 px, not 200"),
        ({"channels": 0}, "at least 1"),
        ({"radii": (2, 0)}, "at least 1"),
        ({"volume_layers": -1}, "at least 0"),
        ({"refinement": -1}, "at least 0"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        replace(AnyNetConfig(), **wrong)


class TestPropagation:
    def test_by_hand(self) -> None:
        values = torch.tensor([[1.0, 0.0, 8.0], [3.0, 0.0, 0.0]]).view(1, 1, 2, 3)
        gate = torch.full_like(values, 0.25)
        # Column 1: 0.5 0 + 0.25 (1 + 3) for both rows: one of three neighbours is outside. Column 2: 0.5 8 + 0.25 2.
        found = propagate(values, gate, gate, gate)
        assert found[0, 0].tolist() == [[1.0, 1.0, 4.5], [3.0, 1.0, 0.5]]
        above = propagate(values, gate, 0 * gate, 0 * gate)
        assert above[0, 0].tolist() == [[1.0, 0.0, 8.0], [3.0, 0.25, 0.0]]
        below = propagate(values, 0 * gate, 0 * gate, gate)
        assert below[0, 0].tolist() == [[1.0, 0.75, 6.0], [3.0, 0.0, 0.0]]

    def test_a_loop_over_every_cell_says_the_same(self) -> None:
        values, *gates = torch.randn(4, 2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        wanted = torch.zeros_like(values)
        for x in range(5):
            for y in range(4):
                rows = [(gate, y + step) for gate, step in zip(gates, (-1, 0, 1), strict=True)]
                near = [(gate[..., y, x], wanted[..., row, x - 1]) for gate, row in rows if x and 0 <= row < 4]
                kept = 1 - sum(gate for gate, _ in near)
                wanted[..., y, x] = kept * values[..., y, x] + sum(gate * before for gate, before in near)
        torch.testing.assert_close(propagate(values, *gates), wanted)

    def test_what_is_constant_stays(self) -> None:
        gates = torch.rand(3, 1, 2, 6, 9, generator=torch.Generator().manual_seed(2)) / 3
        torch.testing.assert_close(propagate(torch.full((1, 2, 6, 9), 7.0), *gates), torch.full((1, 2, 6, 9), 7.0))

    def test_gradients(self) -> None:
        inputs = torch.randn(4, 1, 1, 3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        assert torch.autograd.gradcheck(propagate, tuple(inputs.requires_grad_()))


class Texture(nn.Module):
    """Features of random rows, the right ones moved by 1, 3 and 5 px at 1/16, 1/8 and 1/4."""

    def forward(self, view: Tensor) -> Iterator[Tensor]:
        is_right = bool(view.mean() > 0)
        for factor, shift in ((16, 1), (8, 3), (4, 5)):
            height, width = view.shape[-2] // factor, view.shape[-1] // factor
            wide = torch.rand(1, 9, height, width + 8, generator=torch.Generator().manual_seed(factor))
            yield wide[..., shift:][..., :width] if is_right else wide[..., :width]


class Sharp(nn.Module):
    def forward(self, costs: Tensor) -> Tensor:
        return 100 * costs


@pytest.mark.parametrize(("reversed_residuals", "wanted"), [(False, (16, 24, 20)), (True, (16, 8, 12))])
def test_stages_correct_one_another(reversed_residuals: bool, wanted: tuple[int, ...]) -> None:
    """16 px, then 3 px of 1/8 = 16 + 8, then 5 px of 1/4 = 24 - 4; the authors' order goes the other way at first."""
    net = nano(refinement=0, reversed_residuals=reversed_residuals, max_disparity=48)
    net.feature_extraction = Texture()  # type: ignore[assignment]
    net.volume_postprocess = nn.ModuleList(Sharp() for _ in range(3))
    black, white = torch.zeros(1, 3, 64, 160), torch.full((1, 3, 64, 160), 255.0)
    answers = net.predictions(black, white)
    middle = [answer[..., 24:40, 80:112] for answer in answers]
    for found, px in zip(middle[: 2 if reversed_residuals else 3], wanted, strict=False):
        torch.testing.assert_close(found, torch.full_like(found, px), rtol=0, atol=0.01)


class TestStages:
    def test_each_is_an_answer(self) -> None:
        net = nano()
        left, right = pair(32, 64, batch=2)
        with torch.no_grad():
            answers = net.predictions(left, right)
            assert [tuple(answer.shape) for answer in answers] == [(2, 1, 32, 64)] * 4
            for stages, answer in enumerate(answers, 1):
                assert torch.equal(net(left, right, stages=stages), answer)
                assert len(net.predictions(left, right, stages=stages)) == stages
            assert torch.equal(net(left, right), answers[-1])

    def test_nothing_of_later_ones_is_computed(self) -> None:
        net = nano()
        calls: list[str] = []
        names = ("feature_extraction.upblocks.0", "feature_extraction.upblocks.1", "refine_spn.1")
        for name in (*names, *(f"volume_postprocess.{stage}" for stage in range(3))):
            net.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
        first, second, third, refinement = (
            ["volume_postprocess.0"],
            [names[0]] * 2 + ["volume_postprocess.1"],
            [names[1]] * 2 + ["volume_postprocess.2"],
            [names[2]],
        )
        for stages, wanted in enumerate((first, first + second, first + second + third), 1):
            calls.clear()
            net(*pair(16, 32), stages=stages)
            assert calls == wanted
        calls.clear()
        net(*pair(16, 32), stages=4)
        assert calls == first + second + third + refinement

    def test_without_the_refinement_the_third_is_the_last(self) -> None:
        net = nano(refinement=0)
        assert net.config.stages == 3
        assert NANO.stages == 4
        left, right = pair(16, 32)
        assert len(net.predictions(left, right)) == 3
        assert torch.equal(net(left, right), net(left, right, stages=3))

    @pytest.mark.parametrize("stages", [0, 5, -1])
    def test_others_are_refused(self, stages: int) -> None:
        with pytest.raises(WrongInput, match=f"the stages 1 to 4, not {stages}"):
            nano()(*pair(16, 32), stages=stages)


def test_the_first_stage_searches_as_far_as_it_is_told_to() -> None:
    net = nano()
    assert [net.disparities(asked) for asked in (None, 0, 16, 17, 100)] == [32, 16, 16, 32, 112]
    net.volume_postprocess[0].register_forward_hook(
        lambda _m, _i, costs: -1e4 * torch.arange(costs.shape[2]).view(-1, 1, 1) + 0 * costs
    )
    assert net(*pair(16, 32), stages=1, max_disparity=100).mean().item() == pytest.approx(96)


def test_training_reaches_every_parameter_and_learns_a_pair() -> None:
    torch.manual_seed(0)
    net = AnyNet(replace(NANO, channels=2)).train()
    left, _ = pair(64, 128)
    left = nn.functional.avg_pool2d(left, 9, 1, 4)
    left = 255 * (left - left.min()) / (left.max() - left.min())
    right = torch.roll(left, -12, -1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    errors = []
    for _ in range(25):
        losses = [(answer - 12).abs().mean() for answer in net.predictions(left, right)]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        errors.append([loss.item() for loss in losses])
    # The convolution before a normalisation has a bias, which the normalisation takes out again.
    silent = {"feature_extraction.block0.0.0.bias"}
    idle = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert idle <= silent
    assert errors[-1][2] < 0.5 * errors[0][2]
    assert errors[-1][3] < 0.5 * errors[0][3]


def test_sizes_and_starts_that_it_does_not_take() -> None:
    net = nano()
    with pytest.raises(WrongInput, match="multiples of 16, not 40x32"):
        net(*pair(32, 40))
    with pytest.raises(WrongInput, match="takes no initial disparity"):
        net(*pair(16, 16), initial=torch.zeros(1, 1, 16, 16))


def test_pictures_of_any_size_and_an_early_exit(tmp_path: Path) -> None:
    net = nano()
    left, right = (view[0] / 255 for view in pair(21, 37))
    whole, early = (NetworkMatching(net, stages=stages)(left, right).disparity for stages in (4, 2))
    assert whole.shape == (21, 37)
    assert not torch.equal(whole, early)
    folder = net.save_pretrained(tmp_path / "any")
    matcher = depthweave.load(folder, device="cpu", stages=2)
    torch.testing.assert_close(matcher(depthweave.StereoPair(left, right)).values, early)


@pytest.mark.parametrize("changes", [{}, {"refinement": 0, "blocks": 3, "volume_layers": 2, "channels": 2}])
def test_official_weights_there_and_back(changes: dict[str, Any]) -> None:
    net = nano(reversed_residuals=True, radii=(1, 3), **changes)
    state = to_official(net)
    again = from_official(state, max_disparity=32, radii=(1, 3))
    assert again.config == net.config
    assert all(torch.equal(tensor, state[name]) for name, tensor in to_official(again).items())
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert from_official(old).config == replace(net.config, max_disparity=192, radii=(2, 2))


def test_what_is_no_checkpoint_of_it() -> None:
    with pytest.raises(WrongInput, match="no checkpoint of AnyNet: it has no convolution"):
        official_config({"feature_extraction.block0.0.0.weight": torch.ones(1)})


def test_the_card() -> None:
    card = find_model("anynet")
    with torch.device("meta"):
        assert conversion.count_parameters(AnyNet(AnyNetConfig())) == card.parameters
    assert card.settings["stages"] == AnyNetConfig().stages
