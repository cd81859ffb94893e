"""The compact matcher, its parts against plain loops."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongFile, WrongInput
from depthweave.models.registry import find_model
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.models.stereo.compact.blocks import ConvNorm
from depthweave.models.stereo.compact.network import _normalise, _peak
from depthweave.models.stereo.compact.volume import correlate, correlate_around, look_up


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=torch.Generator().manual_seed(5))
    return left, right


def nano(*, keeps_start: bool = False) -> CompactStereo:
    """An untrained network; one that keeps its start adds nothing to the disparity that it begins with."""
    torch.manual_seed(7)
    network = CompactStereo(CompactConfig.nano()).eval()
    for change in (network.refine_quarter.change, network.refine_half.change) if keeps_start else ():
        torch.nn.init.zeros_(change.weight)
        torch.nn.init.zeros_(change.bias)
    return network


def unit(features: Tensor, groups: int) -> Tensor:
    """(b, g, c / g, h, w), of length 1 per group."""
    b, c, h, w = features.shape
    split = features.view(b, groups, c // groups, h, w)
    return split / split.square().sum(2, keepdim=True).sqrt()


def plain_correlation(left: Tensor, right: Tensor, groups: int, levels: int) -> Tensor:
    b, _, h, w = left.shape
    own, other = unit(left, groups), unit(right, groups)
    columns = []
    for x in range(w):
        for d in range(levels):
            seen = (own[..., x] * other[..., x - d]).sum(2) if d <= x else torch.zeros(b, groups, h, dtype=left.dtype)
            columns.append(seen)
    return torch.stack(columns, -1).view(b, groups, h, w, levels)


@pytest.mark.parametrize("levels", [1, 3, 7, 12])
def test_the_volume_is_that_of_a_plain_loop(levels: int) -> None:
    left, right = random(2, 2, 6, 3, 7).double()
    found = correlate(left.float(), right.float(), groups=3, levels=levels)
    wanted = plain_correlation(left, right, 3, levels)
    assert found.shape == (2, 3, 3, 7, levels)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)
    for d in range(levels):
        assert not found[:, :, :, :d, d].any()
        assert found[:, :, :, d:, d].all()


def test_the_volume_of_equal_pictures_is_best_without_disparity() -> None:
    same = random(1, 8, 2, 6)
    torch.testing.assert_close(correlate(same, same, groups=2, levels=4)[..., 0], torch.ones(1, 2, 2, 6))
    assert correlate(torch.zeros(1, 4, 2, 6), same[:, :4], groups=1, levels=4).abs().max() == 0


@pytest.mark.parametrize("levels", [3, 9])
def test_the_volume_hands_gradients_back_like_a_plain_loop(levels: int) -> None:
    left, right, weights = random(1, 4, 2, 5), random(1, 4, 2, 5, seed=1), random(1, 2, 2, 5, levels, seed=2)
    found, wanted = [], []
    for kind, gradients in ((torch.float32, found), (torch.float64, wanted)):
        inputs = [values.to(kind).requires_grad_() for values in (left, right)]
        call = correlate if kind == torch.float32 else plain_correlation
        volume = call(*inputs, groups=2, levels=levels)
        gradients += torch.autograd.grad((volume * weights.to(kind)).sum(), inputs)
    for mine, its in zip(found, wanted, strict=True):
        assert its.abs().max() > 0.1
        torch.testing.assert_close(mine.double(), its, rtol=0, atol=1e-6)


def test_the_volume_stays_in_float32() -> None:
    left, right = random(2, 1, 16, 3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = correlate(left, right, groups=2, levels=4)
    torch.testing.assert_close(found, correlate(left, right, groups=2, levels=4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("radius", [1, 2])
def test_a_look_up_samples_the_volume_linearly_and_ends_at_its_borders(radius: int) -> None:
    levels = 5
    volume = random(1, 2, 2, 9, levels)
    places = torch.tensor([0.0, 0.25, 1.0, 2.5, 3.75, 4.0, 4.6, 6.0, 40.0])
    disparity = torch.stack((places, places.flip(0)))[None, None]
    found = look_up(volume, disparity, radius)
    window = 2 * radius + 1
    assert found.shape == (1, 2 * window, 2, 9)
    for group in range(2):
        for k in range(window):
            for y in range(2):
                for x in range(9):
                    place = min(max(float(disparity[0, 0, y, x]) + k - radius, 0), levels - 1)
                    low = min(math.floor(place), levels - 2)
                    before, after = volume[0, group, y, x, low : low + 2].tolist()
                    wanted = before + (place - low) * (after - before)
                    assert float(found[0, group * window + k, y, x]) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("radius", [1, 2])
def test_features_are_fetched_by_the_disparity(radius: int) -> None:
    h, w, groups = 2, 8, 2
    left, right = random(1, 6, h, w, seed=1), random(1, 6, h, w, seed=2)
    disparity = 4 * torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(3)) - 0.5
    disparity[..., 3] = 2  # whole numbers, too
    disparity[..., 6] = 20
    found = correlate_around(left, right, disparity, groups=groups, radius=radius)
    own, other = unit(left, groups), unit(right, groups)
    fetched = torch.zeros_like(other)
    for y in range(h):
        for x in range(w):
            place = x - float(disparity[0, 0, y, x])
            low = math.floor(place)
            for column, share in ((low, 1 - place + low), (low + 1, place - low)):
                if 0 <= column < w:
                    fetched[..., y, x] += share * other[..., y, column]
    window = 2 * radius + 1
    assert found.shape == (1, groups * window, h, w)
    for k in range(window):
        for x in range(w):
            near = x + k - radius
            wanted = (own[..., x] * fetched[..., near]).sum(2) if 0 <= near < w else torch.zeros(1, groups, h)
            torch.testing.assert_close(found.view(1, groups, window, h, w)[:, :, k, :, x], wanted, rtol=0, atol=1e-5)


def test_the_peak_is_a_mean_around_the_best_disparity() -> None:
    scores = torch.full((1, 1, 4, 16), -50.0)
    scores[0, 0, 0, 7] = 0.0
    scores[0, 0, 1, 7:9] = torch.tensor([math.log(3), 0.0])  # three quarters and one quarter
    scores[0, 0, 2, 0] = 0.0
    scores[0, 0, 3, 3], scores[0, 0, 3, 12] = math.log(3), 0.0  # the other one is too far away
    disparity, share = _peak(scores)
    assert disparity.flatten().tolist() == pytest.approx([7.0, 7.25, 0.0, 3.0], abs=1e-5)
    assert share.flatten().tolist() == pytest.approx([1.0, 1.0, 1.0, 0.75], abs=1e-5)
    high = scores.flip(-1)
    assert _peak(high)[0].flatten().tolist() == pytest.approx([8.0, 7.75, 15.0, 12.0], abs=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("relu", [False, True])
def test_the_folded_normalisation_is_the_unfolded_one(dims: int, relu: bool) -> None:
    torch.manual_seed(1)
    block = ConvNorm(3, 5, stride=2, dims=dims, relu=relu)
    x = random(2, 3, *(7,) * dims)
    for statistics in (block.norm.running_mean, block.norm.weight.data, block.norm.bias.data):
        statistics.normal_()
    block.norm.running_var.uniform_(0.5, 2)
    block.eval()
    wanted = block.norm(block.conv(x)).detach()
    found = block(x)
    assert float(wanted.min()) < 0
    torch.testing.assert_close(found, wanted.relu() if relu else wanted, rtol=0, atol=1e-5)
    block.train()
    learnt = block.norm.running_mean.clone()
    trained = block(x)
    assert not torch.equal(block.norm.running_mean, learnt)
    assert not torch.allclose(trained, found, atol=0.01)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 96), (96, 64)])
def test_any_multiple_of_32_gives_finite_disparities_that_are_not_negative(height: int, width: int) -> None:
    left, right = pair(height, width)
    with torch.inference_mode():
        found = nano()(left, right)
    assert found.shape == (1, 1, height, width)
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 0
    assert float(found.max()) > 0


def test_a_batch_is_as_its_pairs_one_by_one() -> None:
    network = nano()
    left, right = pair(32, 64, batch=2)
    with torch.inference_mode():
        together = network.rated(left, right)
        apart = torch.cat([network.rated(left[n : n + 1], right[n : n + 1]) for n in range(2)])
    assert not torch.allclose(together[0], together[1], atol=0.01)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-3)


def test_the_rated_answer_is_that_of_the_predictions() -> None:
    network = nano()
    left, right = pair(32, 64)
    with torch.inference_mode():
        found = network.predictions(left, right, iterations=3, max_disparity=48)
        rated = network.rated(left, right, iterations=3, max_disparity=48)
        answer = network(left, right, iterations=3, max_disparity=48)
    assert [tuple(step.shape[-2:]) for step in found.steps] == [(8, 16)] * 3 + [(16, 32), (32, 64)]
    assert found.scores.shape == (1, 8, 16, 16)
    assert found.start.shape == (1, 1, 8, 16)
    assert torch.equal(rated[:, :1], found.steps[-1])
    assert torch.equal(answer, found.steps[-1])
    assert torch.equal(rated[:, 1:], found.ratings.sigmoid())
    assert 0 <= float(rated[:, 1:].min()) < float(rated[:, 1:].max()) <= 1


@pytest.mark.parametrize(
    ("width", "asked", "levels"),
    [
        (1024, None, 64),  # a quarter of the width, 256 px
        (1056, None, 72),  # 264 px, the next multiple of 8 at 1/4
        (96, None, 16),  # never fewer
        (384, 128, 32),
        (384, 129, 40),
        (64, 1000, 16),  # no more than the width
    ],
)
def test_the_volume_reaches_as_far_as_was_asked_for(width: int, asked: int | None, levels: int) -> None:
    assert nano().levels(width, asked) == levels
    assert levels % 8 == 0


def test_the_share_of_the_width_can_be_configured() -> None:
    network = CompactStereo(replace(CompactConfig.nano(), range_share=0.5)).eval()
    assert network.levels(1024) == 128
    left, right = pair(32, 160)
    with torch.inference_mode():
        assert network.predictions(left, right).scores.shape[-1] == 24
        assert network.predictions(left, right, max_disparity=64).scores.shape[-1] == 16


def test_a_start_is_where_the_iterations_begin() -> None:
    network = nano(keeps_start=True)
    left, right = pair(32, 64)
    initial = torch.full((1, 1, 32, 64), 9.0)
    initial[..., 1::2] = 11
    with torch.inference_mode():
        moved = network(left, right, initial=initial)
        still = network.predictions(left, right)
    torch.testing.assert_close(moved, torch.full_like(moved, 10.0), rtol=0, atol=1e-4)  # at the borders, too
    for step in still.steps[:2]:
        assert torch.equal(step, still.start)
    low, high = still.start.aminmax()
    assert (
        4 * float(low) - 1e-3 <= float(still.steps[-1].min()) <= float(still.steps[-1].max()) <= 4 * float(high) + 1e-3
    )
    assert float(high) > 1


def test_inputs_that_do_not_fit_are_refused() -> None:
    network = nano()
    left, right = pair(32, 64)
    with pytest.raises(WrongInput, match=r"takes sides that are multiples of 32, not 64x16; pad\.$"):
        network(left[..., :16, :], right[..., :16, :])
    with pytest.raises(WrongInput, match="multiples of 32, not 48x32"):
        network(left[..., :48], right[..., :48])
    with pytest.raises(WrongInput, match="at least one iteration"):
        network(left, right, iterations=0)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"groups": 0}, "every width, count and radius of a compact matcher is at least 1"),
        ({"widths": (16, 0, 80, 128)}, "at least 1"),
        ({"half_radius": 0}, "at least 1"),
        ({"range_share": 0.0}, "above 0 and at most 1, not 0"),
        ({"range_share": 1.5}, "not 1.5"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        replace(CompactConfig(), **wrong)  # type: ignore[arg-type]


def test_brightness_and_contrast_of_a_picture_change_little() -> None:
    views = pair(32, 64)[0]
    plain = _normalise(views)
    assert float(plain.mean()) == pytest.approx(0, abs=1e-5)
    assert 0.9 < float(plain.square().mean().sqrt()) < 1
    torch.testing.assert_close(_normalise(views / 2 + 90), _normalise(views / 2), rtol=0, atol=1e-4)
    half = _normalise(views / 2)
    torch.testing.assert_close(half, plain * float(half.std() / plain.std()), rtol=0, atol=1e-4)
    assert 0.9 < float(half.std() / plain.std()) < 1
    assert _normalise(torch.full((1, 3, 4, 4), 200.0)).abs().max() == 0
    both = torch.cat([views, views / 2 + 90])
    torch.testing.assert_close(_normalise(both)[:1], plain)  # each picture by itself
    assert _normalise(torch.full((1, 3, 4, 4), 200.0) + random(1, 3, 4, 4)).abs().max() < 1  # noise stays small


def test_every_weight_learns() -> None:
    network = nano().train()
    found = network.predictions(*pair(64, 64, batch=2), iterations=2)
    parts = (found.scores, found.start, found.ratings, *found.steps)
    sum((part * random(*part.shape)).sum() for part in parts).backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert idle == []
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())


def test_half_precision_answers_in_float32() -> None:
    network = nano(keeps_start=True)
    left, right = pair(32, 64)
    start = torch.full((1, 1, 32, 64), 6.0)
    with torch.inference_mode():
        full = network.rated(left, right, initial=start)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network.rated(left, right, initial=start)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0, atol=0.05)


def test_the_bundled_configuration_is_small(tmp_path: Path) -> None:
    network = CompactStereo(CompactConfig()).eval()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count <= 4_000_000
    assert count == find_model("depthweave-s").parameters
    network.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size <= 16_000_000


def test_a_saved_network_answers_the_same(tmp_path: Path) -> None:
    network = nano()
    left, right = pair(32, 64)
    network.save_pretrained(tmp_path)
    again = CompactStereo.from_pretrained(tmp_path)
    assert again.config == CompactConfig.nano()
    with torch.inference_mode():
        assert torch.equal(again.rated(left, right), network.rated(left, right))
    described = json.loads((tmp_path / "config.json").read_text())
    described["config"]["wings"] = 2
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(WrongFile, match="wings"):
        CompactStereo.from_pretrained(tmp_path)


def test_the_estimate_of_memory_follows_picture_and_range() -> None:
    network = nano()
    small = network.memory_bytes(384, 768)
    assert network.memory_bytes(768, 1536) > 4 * small
    assert network.memory_bytes(384, 768, max_disparity=64) < small < network.memory_bytes(384, 768, max_disparity=768)
