from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import depthweave
from depthweave.errors import WrongFile, WrongInput
from depthweave.models import conversion
from depthweave.models.layers.batch_norm import with_counters
from depthweave.models.registry import find_model
from depthweave.models.stereo.psmnet import PsmNet, PsmNetConfig
from depthweave.models.stereo.psmnet.blocks import WindowMean
from depthweave.models.stereo.psmnet.convert import from_official, official_config, to_official
from depthweave.pipelines.network_stereo import NetworkMatching

NANO = PsmNetConfig.nano()


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


def nano(**changes: Any) -> PsmNet:
    torch.manual_seed(7)
    return PsmNet(replace(NANO, **changes)).eval()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_disparity": 200}, "a multiple of 16 px, not 200"),
        ({"max_disparity": 0}, "a multiple of 16 px, not 0"),
        ({"channels": 0}, "at least 1"),
        ({"blocks": (3, 16, 0, 3)}, "at least 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        replace(PsmNetConfig(), **wrong)


def test_windows_are_cut_to_the_picture() -> None:
    values = torch.arange(12.0).view(1, 1, 2, 6)
    assert WindowMean(2)(values).tolist() == [[[[3.5, 5.5, 7.5]]]]
    # Both rows, and four of the six columns: the other two fill no window.
    assert WindowMean(4)(values).tolist() == [[[[4.5]]]]
    assert WindowMean(64)(values).tolist() == [[[[5.5]]]]


def test_every_hourglass_answers_and_the_last_one_is_the_result() -> None:
    net = nano()
    left, right = pair(32, 48, batch=2)
    with torch.no_grad():
        answers = net.predictions(left, right)
        assert [tuple(answer.shape) for answer in answers] == [(2, 1, 32, 48)] * 3
        assert torch.equal(net(left, right), answers[-1])
        assert not torch.equal(answers[0], answers[1])
        assert not torch.equal(answers[1], answers[2])
        one = net.predictions(left[1:], right[1:])
    torch.testing.assert_close(answers[-1][1:], one[-1], rtol=0, atol=5e-3)
    assert len(nano(aggregation="basic").predictions(left, right)) == 1


@pytest.mark.parametrize(("asked", "reach"), [(None, 32), (16, 16), (17, 32), (80, 80), (0, 16)])
def test_the_search_ends_where_it_is_told_to(asked: int | None, reach: int) -> None:
    net = nano()
    assert net.disparities(asked) == reach
    seen: list[int] = []
    net.dres0.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2]))
    with torch.no_grad():
        # Scores that prefer the far end by far expect its last disparity.
        net.classif3[2].register_forward_hook(lambda _m, _i, s: 1e4 * torch.arange(s.shape[2]).view(-1, 1, 1) + 0 * s)
        found = net(*pair(16, 32), max_disparity=asked)
    assert seen == [reach // 4]
    assert reach - 2.5 - 1e-3 <= float(found.min()) <= float(found.max()) <= reach - 1


def test_corners_that_stay_stretch_the_disparities() -> None:
    """Level i of the volume stands for 4 i + 1.5 px, or with corners in place for i (32 - 1) / (8 - 1) px."""
    for align, wanted in ((False, 4 * 5 + 1.5), (True, 5 * 31 / 7)):
        net = nano(align_corners=align)
        scores = torch.zeros(1, 1, 8, 4, 4)
        scores[:, :, 5] = 300.0
        found = net._expected(scores, torch.zeros(1, 3, 16, 16))
        torch.testing.assert_close(found, torch.full_like(found, wanted), rtol=0, atol=0.5)


def test_training_reaches_every_parameter_and_learns_a_pair() -> None:
    torch.manual_seed(0)
    net = PsmNet(PsmNetConfig(max_disparity=16, channels=4, blocks=(1, 1, 1, 1))).train()
    left, _ = pair(32, 64, batch=2)
    right = torch.roll(left, -6, -1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    errors = []
    for _ in range(15):
        answers = net.predictions(left, right)
        losses = [(answer - 6).abs().mean() for answer in answers]
        optimizer.zero_grad()
        sum(weight * loss for weight, loss in zip((0.5, 0.7, 1.0), losses, strict=True)).backward()  # type: ignore[union-attr]
        optimizer.step()
        errors.append(losses[-1].item())
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert idle == []
    assert errors[-1] < 0.3 * errors[0]


def test_sizes_and_starts_that_it_does_not_take() -> None:
    net = nano()
    with pytest.raises(WrongInput, match="multiples of 16, not 40x32"):
        net(*pair(32, 40))
    with pytest.raises(WrongInput, match="takes no initial disparity"):
        net(*pair(16, 16), initial=torch.zeros(1, 1, 16, 16))


def test_pictures_of_any_size(tmp_path: Path) -> None:
    net = nano()
    left, right = (view[0] / 255 for view in pair(21, 37))
    found = NetworkMatching(net)(left, right, max_disparity=16)
    assert found.disparity.shape == (21, 37)
    assert float(found.disparity.max()) <= 15
    folder = net.save_pretrained(tmp_path / "psm")
    matcher = depthweave.load(folder, device="cpu")
    again = matcher(depthweave.StereoPair(left, right), max_disparity=16)
    torch.testing.assert_close(again.values, found.disparity)


@pytest.mark.parametrize("changes", [{}, {"aggregation": "basic", "blocks": (2, 1, 3, 1)}])
def test_official_weights_there_and_back(changes: dict[str, Any]) -> None:
    net = nano(**changes)
    state = to_official(net)
    again = from_official(state, max_disparity=32)
    assert again.config == net.config
    assert all(torch.equal(tensor, state[name]) for name, tensor in to_official(again).items())
    assert from_official(state, max_disparity=64, align_corners=True).config == replace(
        net.config, max_disparity=64, align_corners=True
    )


def test_files_of_torch_before_0_4_1_count_no_batches(tmp_path: Path) -> None:
    net = nano()
    state = {f"module.{name}": t for name, t in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    file = tmp_path / "pretrained_model_KITTI2015.tar"
    torch.save({"epoch": 3, "state_dict": state, "train_loss": 0.5}, file, _use_new_zipfile_serialization=False)
    found = conversion.read_official("psmnet", file, max_disparity=32)
    left, right = pair(16, 32)
    with torch.no_grad():
        assert torch.equal(found(left, right), net(left, right))
    counted = with_counters({"a.running_var": torch.ones(1), "a.num_batches_tracked": torch.tensor(9)})
    assert {name: t.tolist() for name, t in counted.items()} == {"a.running_var": [1.0], "a.num_batches_tracked": 9}


def test_what_is_no_checkpoint_of_it(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="no checkpoint of PSMNet: it has no convolutions"):
        official_config({"classif3.2.weight": torch.ones(1)})
    state = to_official(nano())
    with pytest.raises(WrongInput, match="align_corners is True or False, not yes"):
        from_official(state, align_corners="yes")
    state.pop("dres0.0.0.weight")
    with pytest.raises(WrongInput, match=r"1 missing \(dres0"):
        from_official(state)
    file = tmp_path / "other.tar"
    torch.save({"state_dict": {"a": torch.ones(1)}}, file)
    with pytest.raises(WrongFile, match="no checkpoint of the family psmnet"):
        conversion.read_official("psmnet", file)


def test_the_card() -> None:
    card = find_model("psmnet")
    with torch.device("meta"):
        assert conversion.count_parameters(PsmNet(PsmNetConfig())) == card.parameters
    assert card.commercial_use is None


def test_memory_grows_with_the_search() -> None:
    net = nano()
    assert net.memory_bytes(256, 512, max_disparity=64) > 1.9 * net.memory_bytes(256, 512, max_disparity=32)
