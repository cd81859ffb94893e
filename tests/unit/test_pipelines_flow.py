"""Flow behind one call: sizes, checks both ways, and what `load` makes of names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import depthweave
from depthweave.errors import NotEnoughMemory, NotFinite, WrongInput
from depthweave.images import gaussian_blur
from depthweave.models.flow.compact import CompactFlow, CompactFlowConfig
from depthweave.models.registry import list_models
from depthweave.pipelines.flow import (
    DenseInverseSearch,
    FlowMatcher,
    FlowMethod,
    NetworkFlow,
    agreement,
    searched_flow,
)


def pictures(height: int = 80, width: int = 112) -> tuple[Tensor, Tensor]:
    """Two windows of a texture; everything moves by (3, 2)."""
    noise = torch.rand(3, height + 16, width + 16, generator=torch.Generator().manual_seed(0))
    texture = gaussian_blur(noise, 1.5)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    return texture[:, 8 : 8 + height, 8 : 8 + width], texture[:, 6 : 6 + height, 5 : 5 + width]


class Shift(nn.Module):
    """Says that all moves by (3, 2) px of what it sees, or back where its first picture is the second of `pictures`."""

    multiple = 32

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor | None]] = []
        self.needed = 0

    def rated(self, first: Tensor, second: Tensor, *, given: Tensor | None = None, iterations: int = 4) -> Tensor:
        self.seen.append((first, given))
        found = torch.ones(len(first), 3, *first.shape[-2:])
        found[:, 0], found[:, 1], found[:, 2] = 3, 2, 0.5
        if len(self.seen) % 2 == 0:
            found[:, :2] *= -1
        return found

    def memory_bytes(self, height: int, width: int) -> int:
        return self.needed


@pytest.mark.parametrize("name", ["dis", "farneback"])
def test_classical_models_find_a_shift(name: str) -> None:
    first, second = pictures()
    found = depthweave.load(name)(first, second)
    inner = found.values[:, 12:-12, 12:-12]
    torch.testing.assert_close(inner.flatten(1).median(1).values, torch.tensor([3.0, 2.0]), atol=0.1, rtol=0)
    assert found.valid[12:-12, 12:-12].float().mean() > 0.9
    assert not found.valid[:, -3:].any()  # it leaves the picture
    assert found.confidence is not None
    assert (found.confidence[~found.valid] == 0).all()
    assert found.image is not None
    assert found.image.equal(first)


def test_a_network_sees_padded_pictures_and_a_search() -> None:
    network = Shift()
    first, second = pictures(40, 50)
    found = FlowMatcher(network)(first, second)
    seen, given = network.seen[0]
    assert seen.shape == (1, 3, 64, 64)
    torch.testing.assert_close(seen[0, :, 12:52, 7:57], 255 * first)
    assert given is not None
    assert given.shape == (1, 3, 64, 64)
    torch.testing.assert_close(given, searched_flow(seen, network.seen[1][0]))
    assert found.values.shape == (2, 40, 50)
    assert (found.values[0] == 3).all()
    assert (found.values[1] == 2).all()
    assert found.valid.sum() == 38 * 47  # x + 3 and y + 2 stay inside, and the way back agrees
    assert found.confidence is not None
    assert found.confidence.max() == 0.5


def test_a_network_can_be_held_near_the_searched_flow() -> None:
    first, second = pictures(40, 50)
    network = Shift()
    free = FlowMatcher(NetworkFlow(network), check=False)(first, second).values
    searched = network.seen[0][1][0, :2, 12:52, 7:57]  # type: ignore[index]
    wanted = free - searched
    length = wanted.norm(dim=0)
    farthest = float(length.max())
    for share in (0.25, 0.75):  # with the first, some changes are too large; with the second, some are in between
        c = share * farthest
        got = FlowMatcher(NetworkFlow(Shift(), change_px=c), check=False)(first, second).values - searched
        near, far = length <= c, length >= 3 * c
        assert near.any()
        assert far.any() == (share < 0.3)
        torch.testing.assert_close(got[:, near], wanted[:, near], atol=1e-5, rtol=1e-4)
        assert got[:, far].abs().sum() < 1e-4
    between = ~near
    torch.testing.assert_close(got[:, between], wanted[:, between] * (1.5 - length[between] / (2 * c)))
    with pytest.raises(WrongInput, match="change_px is 0; give a positive number"):
        NetworkFlow(Shift(), change_px=0)


def test_large_pictures_are_shrunk_and_their_motion_is_enlarged() -> None:
    network = Shift()
    first, second = pictures(80, 160)
    found = FlowMatcher(NetworkFlow(network, search=False, max_pixels=3200))(first, second)
    assert network.seen[0][0].shape == (1, 3, 64, 96)  # 40x80, padded
    assert network.seen[0][1] is None
    assert found.values.shape == (2, 80, 160)
    torch.testing.assert_close(found.values[:, 40, 80], torch.tensor([6.0, 4.0]))


def test_without_check_the_network_answers_once() -> None:
    network = Shift()
    first, second = pictures(32, 64)
    found = FlowMatcher(network, check=False)(first, second)
    assert len(network.seen) == 1
    assert found.valid.sum() == 30 * 61
    assert FlowMatcher(DenseInverseSearch(), check=False)(first, second).confidence is None


def test_agreement_by_hand() -> None:
    forward, backward = torch.zeros(2, 4, 8), torch.zeros(2, 4, 8)
    forward[0] = 2
    backward[0] = -2
    backward[0, :, 4] = -2.5  # |u + v| = 0.5: 0.25 < 0.01 (4 + 6.25) + 0.5
    backward[0, :, 5] = -3.0  # 1 > 0.01 (4 + 9) + 0.5
    valid, confidence = agreement(forward, backward)
    assert valid[0].tolist() == [True, True, True, False, True, True, False, False]
    expected = [1, 1, np.exp(-0.5), np.exp(-1), 1, 1, 0, 0]
    np.testing.assert_allclose(confidence[0].numpy(), expected, atol=1e-5)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pictures(32, 64)
    matcher = FlowMatcher(Shift())
    with pytest.raises(WrongInput, match="64x32 and 60x32 px"):
        matcher(first, second[..., :60])
    with pytest.raises(WrongInput, match="too small"):
        matcher(first[:, :10], second[:, :10])
    with pytest.raises(WrongInput, match="Linear is not a flow network"):
        NetworkFlow(nn.Linear(1, 1))
    with pytest.raises(WrongInput, match=r"Shift has no option steps = 3; it takes iterations \(such as 4\)"):
        NetworkFlow(Shift(), options={"steps": 3})
    with pytest.raises(WrongInput, match="at least 1024"):
        NetworkFlow(Shift(), max_pixels=10)
    huge = Shift()
    huge.needed = 10**18
    with pytest.raises(NotEnoughMemory, match="--set max_pixels=1024"):
        FlowMatcher(huge)(first, second)
    monkeypatch.setattr(Shift, "rated", lambda self, first, second, **_: torch.full((1, 3, 32, 64), torch.nan))
    with pytest.raises(NotFinite):
        matcher(first, second)


def test_load_takes_options_and_refuses_others(tmp_path: Path) -> None:
    first, second = pictures(32, 64)
    fast = depthweave.load("dis", preset="fast", check=False)
    assert fast.facts()["options"] == {"preset": "fast"}
    assert fast.facts()["check"] is False
    assert isinstance(fast.method, FlowMethod)
    with pytest.raises(WrongInput, match="dis has no option levels; it has preset, check"):
        depthweave.load("dis", levels=3)
    with pytest.raises(WrongInput, match="model for flow, not for stereo"):
        depthweave.load("dis", task="stereo")
    with pytest.raises(WrongInput, match="leave dtype"):
        depthweave.load("farneback", dtype="bfloat16")
    torch.manual_seed(0)
    CompactFlow(CompactFlowConfig.nano()).save_pretrained(tmp_path / "mine")
    own = depthweave.load(tmp_path / "mine", task="flow", iterations=2, device="cpu")
    assert own.name == "mine"
    assert own.facts()["options"]["iterations"] == 2
    assert own.facts()["network"]["hidden"] == 16
    found = own(first, second)
    assert bool(torch.isfinite(found.values).all())
    with pytest.raises(WrongInput, match="mine has no option preset"):
        depthweave.load(tmp_path / "mine", preset="fast")


def test_cards_of_flow() -> None:
    assert [card.name for card in list_models("flow")] == ["depthweave-flow-s", "dis", "farneback"]
    assert depthweave.load(task="flow").name == "dis"
