"""The compact flow network: its correlations by hand, its two sources of flow, and what training makes of it."""

import pytest
import torch
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.families import find_family
from depthweave.models.flow.compact import CompactFlow, CompactFlowConfig
from depthweave.models.flow.compact.volume import all_pairs, correlate_near, halved, look_up, peak, positions
from depthweave.training.clips import TrainingClip
from depthweave.training.flow import FlowTrainee, cell_cross_entropy
from depthweave.training.objective import LossRecipe


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_all_pairs_and_its_peak_find_a_shift() -> None:
    second = features(2, 24, 7, 9)
    first = second.roll((-1, -2), (-2, -1))  # what is at (x, y) is at (x + 2, y + 1) in the second
    volume = all_pairs(first, second)
    own = F.normalize(first, dim=1)[1, :, 3, 4] @ F.normalize(second, dim=1)[1, :, 5, 6]
    torch.testing.assert_close(volume[1, 3, 4, 5, 6], own)
    flow, share = peak(volume, torch.tensor(60.0))
    inside = flow[:, :, :6, :7]
    torch.testing.assert_close(inside, torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand_as(inside), atol=1e-3, rtol=0)
    assert (share > 0.99).all()
    assert peak(volume, torch.tensor(0.0))[1].max() <= 25 / 63 + 1e-6


def test_peak_of_a_volume_smaller_than_its_window() -> None:
    first = features(1, 8, 2, 3)
    flow, _ = peak(all_pairs(first, first), torch.tensor(80.0))
    assert flow.abs().max() < 1e-3


def test_look_up_reads_linear_samples_around_the_match() -> None:
    volume = features(1, 3, 4, 6, 7)
    flow = torch.zeros(1, 2, 3, 4)
    flow[0, :, 1, 2] = torch.tensor([1.25, 2.5])  # cell (2, 1) goes to (3.25, 3.5)
    found = look_up(volume, flow, 1)
    assert found.shape == (1, 9, 3, 4)
    plane = volume[0, 1, 2]

    def at(x: float, y: float) -> torch.Tensor:
        left, top = int(x), int(y)
        mixed = torch.lerp(plane[top : top + 2, left], plane[top : top + 2, left + 1], x - left)
        return torch.lerp(mixed[0], mixed[1], y - top)

    expected = torch.stack([at(3.25 + dx, 3.5 + dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    torch.testing.assert_close(found[0, :, 1, 2], expected)
    assert (look_up(volume, flow + 100, 1) == 0).all()


def test_look_up_in_the_halved_volume_keeps_the_place() -> None:
    x = torch.arange(8.0).expand(1, 1, 8, 6, 8).clone()  # the volume says the column of the second picture
    flow = torch.zeros(1, 2, 1, 8)
    flow[:, 1] = 2
    small = halved(x)
    assert small.shape == (1, 1, 8, 3, 4)
    found = look_up(small, flow, 1, factor=2)[0, 4, 0]
    torch.testing.assert_close(found[1:7], torch.arange(1.0, 7.0))


@pytest.mark.parametrize("width", [5, 33, 70])
def test_near_correlation_is_the_product_with_shifted_features(width: int) -> None:
    first, second = features(2, 6, 4, width), features(2, 6, 4, width, seed=1)
    flow = torch.zeros(2, 2, 4, width)
    flow[:, 0], flow[:, 1] = 2, -1
    found = correlate_near(first, second, flow, radius=2)
    one, two = F.normalize(first, dim=1), F.normalize(second, dim=1)
    for channel, (dy, dx) in enumerate((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)):
        for y, x in ((1, 1), (2, width // 2), (3, width - 1)):
            fetched_y, fetched_x = y + dy, x + dx  # where the neighbour of the fetched picture lies
            there = fetched_y - 1, fetched_x + 2
            inside = 0 <= fetched_y < 4 and 0 <= fetched_x < width and 0 <= there[0] < 4 and 0 <= there[1] < width
            expected = (one[:, :, y, x] * two[:, :, there[0], there[1]]).sum(1) if inside else torch.zeros(2)
            torch.testing.assert_close(found[:, channel, y, x], expected, atol=1e-5, rtol=0)


def test_positions_are_x_then_y() -> None:
    assert positions(2, 3, torch.device("cpu")).tolist() == [[[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]]]


@pytest.fixture
def network() -> CompactFlow:
    torch.manual_seed(0)
    return CompactFlow(CompactFlowConfig.nano()).eval()


def test_sizes_of_all_predictions(network: CompactFlow) -> None:
    first, second = 255 * torch.rand(2, 3, 64, 96), 255 * torch.rand(2, 3, 64, 96)
    found = network.predictions(first, second, iterations=3)
    sizes = [tuple(step.shape[-2:]) for step in found.steps]
    assert sizes == [(8, 12)] * 4 + [(16, 24), (32, 48), (64, 96)]
    assert found.scores.shape == (2, 8, 12, 8, 12)
    assert found.rating.shape == (2, 1, 64, 96)
    with torch.no_grad():
        both = network.rated(first, second, iterations=3)
        torch.testing.assert_close(both[:, :2], network(first, second, iterations=3))
        single = network(first[1:], second[1:], iterations=3)
    torch.testing.assert_close(both[1:, :2], single, atol=1e-3, rtol=1e-4)
    assert both[:, 2].min() >= 0
    assert both[:, 2].max() <= 1


def test_before_training_it_takes_most_of_what_it_is_given(network: CompactFlow) -> None:
    first, second = 255 * torch.rand(1, 3, 64, 96), 255 * torch.rand(1, 3, 64, 96)
    given = torch.zeros(1, 3, 64, 96)
    given[:, 0], given[:, 1] = 8, -4
    own = network.predictions(first, second).steps[4]  # px of 1/8
    with torch.no_grad():
        found = network.predictions(first, second, given=given).steps
    # At 1/4 and again at 1/2 the share of its own is 1 - sigmoid(2), up to the weights of the upsampling.
    trust = float(torch.sigmoid(torch.tensor(2.0)))
    mean_own = 2 * own.mean((0, 2, 3))
    expected = (1 - trust) * mean_own + trust * torch.tensor([2.0, -1.0])
    torch.testing.assert_close(found[-3].mean((0, 2, 3)), expected, atol=0.6, rtol=0)
    error = (found[-1].mean((0, 2, 3)) - torch.tensor([8.0, -4.0])).abs()
    assert (error < 0.1 * (8 * own.mean((0, 2, 3)) - torch.tensor([8.0, -4.0])).abs() + 0.5).all()


def test_what_is_refused(network: CompactFlow) -> None:
    odd, fine = torch.zeros(1, 3, 48, 64), torch.zeros(1, 3, 32, 64)
    with pytest.raises(WrongInput, match="multiples of 32, not 64x48"):
        network(odd, odd)
    with pytest.raises(WrongInput, match="at least one iteration"):
        network(fine, fine, iterations=0)
    with pytest.raises(WrongInput, match="at least 1"):
        CompactFlowConfig(radius=0)
    assert find_family("compact-flow").network_class() is CompactFlow


def test_cross_entropy_of_cells_by_hand() -> None:
    scores = torch.zeros(1, 2, 2, 2, 2)
    scores[0, 0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, :, 0, 0] = torch.tensor([0.25, 0.5])
    flow[0, :, 1, 1] = torch.tensor([0.5, 0.0])  # out of the picture
    loss, counted = cell_cross_entropy(scores, flow, torch.tensor([[[True, False], [True, True]]]))
    weights = torch.tensor([0.75 * 0.5, 0.25 * 0.5, 0.75 * 0.5, 0.25 * 0.5])
    expected = torch.logsumexp(torch.tensor([1.0, 2, 3, 4]), 0) - (weights * torch.tensor([1.0, 2, 3, 4])).sum()
    torch.testing.assert_close(loss[0, 0, 0], expected)
    assert counted[0].tolist() == [[1, 0], [1, 0]]


def clip(frames: int = 3) -> TrainingClip:
    """A texture that moves by (3, -2) px per frame."""
    texture = F.interpolate(features(1, 3, 24, 32), (96, 128), mode="bicubic")[0].sigmoid() * 255
    images = torch.stack([texture[:, 16 + 2 * t : 80 + 2 * t, 16 - 3 * t : 112 - 3 * t] for t in range(frames)])[None]
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 64, 96).clone()
    flow[:, :, :4] = torch.nan
    unknown = torch.full((1, 64, 96), torch.nan)
    return TrainingClip(images, images, torch.eye(3)[None], unknown, flow, torch.full((1,), torch.nan), torch.zeros(1))


def test_a_trainee_learns_a_motion(network: CompactFlow) -> None:
    trainee = FlowTrainee(network, LossRecipe(iterations=2)).train()
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=3e-3)
    losses = []
    for step in range(24):
        outcome = trainee(clip(), step)
        assert tuple(outcome.terms) == trainee.columns
        losses.append({name: float(value.detach()) for name, value in outcome.terms.items()})
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
    # Where it is given nothing, in every eighth step, it starts far off; else dense inverse search is near.
    assert losses[23]["epe"] < 0.5 * losses[7]["epe"]
    assert losses[22]["volume"] < 0.7 * losses[0]["volume"]
    assert all(p.grad is not None for p in trainee.parameters())


def test_a_trainee_needs_a_next_frame(network: CompactFlow) -> None:
    with pytest.raises(WrongInput, match="set frames of the source to 3"):
        FlowTrainee(network, LossRecipe())(clip(1))
