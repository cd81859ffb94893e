import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature_benchmarks import folder_tree
from stereo_networks import Echo, Search, SearchConfig
from torch import Tensor, nn

from depthweave import io, runtime
from depthweave.classical import BlockConfig, BlockMatching, left_right_difference
from depthweave.errors import DepthweaveWarning, DifferentConfiguration, NotEnoughMemory, NotFinite, WrongInput
from depthweave.evaluation.predict import predict
from depthweave.pipelines.network_stereo import NetworkMatching
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import DisparityMap, StereoPair
from depthweave.worlds import RenderedPair, render_pair, still_life

SIZES = ((33, 47), (16, 16), (32, 64), (25, 40), (17, 101))


def noise(height: int, width: int, *, grain: int = 1, seed: int = 0) -> Tensor:
    small = torch.rand(3, height // grain + 2, width // grain + 2, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(small[None], scale_factor=grain, mode="bilinear")[0]
    return large[:, :height, :width].contiguous()


def shifted(height: int, width: int, px: int, *, grain: int = 1) -> StereoPair:
    """A pair with one disparity everywhere."""
    scene = noise(height, width + px, grain=grain)
    return StereoPair(scene[..., :width].clone(), scene[..., px:].clone())


def stepped(height: int, width: int) -> tuple[StereoPair, Tensor]:
    """A pair whose disparity changes with the row, 0 to 7 px, and that disparity."""
    scene = noise(height, width + 8)
    px = (torch.arange(height) // 5) % 8
    columns = torch.arange(width)[None] + px[:, None]
    right = scene.gather(-1, columns.expand(3, -1, -1))
    return StereoPair(scene[..., :width].clone(), right), px[:, None].expand(height, width).float()


def matcher(network: nn.Module, **options: object) -> StereoMatcher:
    return StereoMatcher(network, check=False, device="cpu", **options)


@pytest.fixture(scope="module")
def world() -> RenderedPair:
    # Large enough that outlines are steps of several px, which the check can find.
    return render_pair(still_life(width=240, height=176))


# Any size, any picture


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_comes_back_to_its_place(size: tuple[int, int]) -> None:
    pair = StereoPair(noise(*size), noise(*size, seed=1))
    network = Echo()
    found = matcher(network)(pair)
    torch.testing.assert_close(found.values, 255 * pair.left[0])
    call = network.calls[0]
    assert {side % 8 for view in ("left", "right") for side in call[view].shape[-2:]} == {0}
    # The border is repeated on both sides, the odd pixel right and below.
    height, width = call["left"].shape[-2:]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    for view, picture in (("left", pair.left), ("right", pair.right)):
        seen = call[view][0] / 255
        torch.testing.assert_close(seen[:, top : top + size[0], left : left + size[1]], picture)
        torch.testing.assert_close(seen[:, 0, 0], picture[:, 0, 0])
        torch.testing.assert_close(seen[:, -1, -1], picture[:, -1, -1])


@pytest.mark.parametrize("size", SIZES)
def test_disparity_of_any_size(size: tuple[int, int]) -> None:
    pair, truth = stepped(*size)
    found = matcher(Search())(pair)
    inside = torch.arange(size[1]) > truth
    assert ((found.values - truth).abs()[inside] < 0.1).float().mean() > 0.99
    assert found.valid[inside].all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_16_bit_pictures(dtype: type[np.generic], channels: int, tmp_path: Path) -> None:
    # Wider than the network's range, so that grey values of noise rarely coincide.
    views = shifted(33, 47, 5)
    for name, view in (("left", views.left), ("right", views.right)):
        picture = (view[0] if channels == 1 else view.permute(1, 2, 0)).numpy() * np.iinfo(dtype).max
        io.write_image(tmp_path / f"{name}.png", picture.round().astype(dtype))
    network = Search()
    found = matcher(network)((tmp_path / "left.png", tmp_path / "right.png"))
    seen = network.calls[0]["left"]
    assert seen.shape[1] == 3
    assert 240 < seen.max() <= 255
    assert torch.equal(seen[:, 0], seen[:, 1]) == (channels == 1)
    error = (found.values - 5).abs()[:, 5:]
    assert error.median() < 0.01
    assert (error < 0.5).float().mean() > 0.9


def test_lists_give_lists() -> None:
    pairs = [shifted(16, 24, 2), shifted(20, 33, 4)]
    found = matcher(Search())(pairs)
    assert [tuple(item.values.shape) for item in found] == [(16, 24), (20, 33)]
    assert [round(float(item.values.median())) for item in found] == [2, 4]
    with pytest.raises(WrongInput, match="one by one"):
        matcher(Search())(pairs, previous=torch.zeros(16, 24))


# What is valid


def test_matches_outside_the_right_picture_are_invalid_and_nothing_is_negative() -> None:
    asked = torch.full((16, 24), 5.0)
    asked[3] = -2.0
    found = matcher(Echo())(shifted(16, 24, 1), previous=asked)
    columns = torch.arange(24)
    assert torch.equal(found.valid[0], columns >= 5)
    assert not found.valid[3].any()
    assert (found.values[3] == 0).all()
    assert (found.values[0] == 5).all()
    assert found.confidence is None
    # A match in the outer half of the first pixel is inside.
    assert torch.equal(matcher(Echo())(shifted(16, 24, 1), previous=asked + 0.25).valid[0], columns >= 5)


def test_right_answer_is_that_of_the_mirrored_pair() -> None:
    pair, _ = stepped(33, 47)
    network = Search()
    found = matcher(network)(pair, right=True)
    mirrored = matcher(network)(pair.mirrored())
    assert torch.equal(found.values, mirrored.values.flip(-1))
    assert torch.equal(found.valid, mirrored.valid.flip(-1))
    assert torch.equal(found.image, pair.right)
    rows = (torch.arange(33) // 5) % 8
    inside = torch.arange(47) < 46 - rows[:, None]
    assert ((found.values - rows[:, None]).abs()[inside] < 0.1).float().mean() > 0.99


def test_consistency_finds_occlusions(world: RenderedPair) -> None:
    network = Search(SearchConfig(largest_px=14, window=5))
    plain = matcher(network)(world.pair)
    network.calls.clear()
    found = matcher(network, consistency=True)(world.pair)
    assert len(network.calls) == 2
    torch.testing.assert_close(network.calls[1]["left"], network.calls[0]["right"].flip(-1))
    assert torch.equal(found.values, plain.values)
    right = matcher(network)(world.pair, right=True)
    difference = left_right_difference(plain.values, right.values)
    assert torch.equal(found.valid, difference <= 1)
    expected = torch.where(found.valid, torch.exp(-difference), 0.0)
    torch.testing.assert_close(found.confidence, expected)
    hidden, seen = (found.valid[mask].float().mean() for mask in (~world.visible, world.visible))
    assert hidden < 0.35
    assert seen > 0.75
    error = (found.values - world.left_disparity.values).abs()
    assert error[found.valid].mean() < 0.5 * error[~found.valid].mean()


def test_threshold_of_the_check(world: RenderedPair) -> None:
    network = Search(SearchConfig(largest_px=14, window=5))
    strict, loose = (matcher(network, consistency=True, threshold_px=px)(world.pair) for px in (0.1, 3.0))
    assert strict.valid.sum() < loose.valid.sum()
    assert not (strict.valid & ~loose.valid).any()


# Resolution


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"scale": 0.5}, (30, 62)),
        ({"scale": 0.4}, (24, 50)),
        ({"max_size": 62}, (30, 62)),
        ({"scale": 2.0}, (120, 248)),
    ],
)
def test_disparity_at_another_scale_is_in_px_of_the_input(options: dict[str, float], size: tuple[int, int]) -> None:
    network = Search(SearchConfig(largest_px=24, window=5))
    found = matcher(network, **options)(shifted(60, 124, 10, grain=8))
    assert found.values.shape == (60, 124)
    seen = network.calls[0]["left"].shape[-2:]
    assert all(0 <= padded - side < 8 for padded, side in zip(seen, size, strict=True))
    error = (found.values - 10).abs()[4:-4, 16:-8]
    assert error.median() < 0.2
    assert found.valid[:, 16:].float().mean() > 0.95


def test_scaling_keeps_places_and_multiplies_by_the_true_ratio() -> None:
    # A ramp stays a ramp under the half-pixel rule, away from the borders; 47 px become 24, a ratio of 47 / 24. One
    # column is 4 units; the low-pass filter alone costs 0.2.
    ramp = torch.linspace(0.1, 0.9, 47).expand(3, 33, 47).contiguous()
    found = matcher(Echo(), scale=0.51)(StereoPair(ramp, noise(33, 47)))
    torch.testing.assert_close(found.values[:, 4:-4], (255 * ramp[0] * 47 / 24)[:, 4:-4], atol=0.3, rtol=0)
    found = matcher(Echo(), scale=0.51)(StereoPair(ramp, noise(33, 47)), previous=torch.full((33, 47), 6.0))
    torch.testing.assert_close(found.values, torch.full((33, 47), 6.0))


def test_a_picture_within_max_size_stays_as_it_is() -> None:
    pair, _ = stepped(20, 40)
    assert torch.equal(matcher(Search(), max_size=40)(pair).values, matcher(Search())(pair).values)


def test_fillers_do_not_leak_into_measurements() -> None:
    # Invalid values of a half-size map are negative ones, clamped to 0; upscaled neighbours must not fall towards 0.
    asked = torch.full((32, 48), 8.0)
    asked[:, 24:] = -400.0
    found = matcher(Echo(), scale=0.5)(shifted(32, 48, 1), previous=asked)
    assert found.valid[:, 10:23].all()
    assert not found.valid[:, 26:].any()
    torch.testing.assert_close(found.values[found.valid], torch.full_like(found.values[found.valid], 8.0))


@pytest.mark.parametrize("tile", [(32, 40), (24, 200), (100, 48), (200, 200)])
@pytest.mark.parametrize("overlap", [0, 8])
def test_tiles_equal_the_whole(tile: tuple[int, int], overlap: int) -> None:
    pair, truth = stepped(70, 100)
    network = Search()
    whole = matcher(network)(pair)
    network.calls.clear()
    found = matcher(network, tile=tile, overlap=overlap, max_disparity=8)(pair)
    # Where the match is the first column, its repetition in the padding matches as well.
    inside = torch.arange(100) > truth
    torch.testing.assert_close(found.values[inside], whole.values[inside], atol=1e-3, rtol=0)
    assert torch.equal(found.valid[inside], whole.valid[inside])
    for call in network.calls:
        height, width = call["left"].shape[-2:]
        assert height <= tile[0] + 7
        assert width <= tile[1] + 7
    assert len(network.calls) > 1 or tile == (200, 200)


def test_tiles_hold_the_range_in_px_of_the_matched_size() -> None:
    # 24 px at full size are 12 at half: a window of 40 columns holds them and leaves 28.
    network = Search(SearchConfig(window=3))
    found = matcher(network, tile=(40, 40), overlap=0, scale=0.5, max_disparity=24)(shifted(64, 192, 22, grain=8))
    assert len(network.calls) == 3
    assert (found.values - 22).abs()[:, 26:].median() < 0.3


def test_tiles_of_the_right_view_and_of_a_start() -> None:
    pair, _ = stepped(40, 100)
    options = {"tile": (24, 48), "overlap": 4, "max_disparity": 8}
    found, whole = (matcher(Search(), **o)(pair, right=True) for o in (options, {}))
    inside = torch.arange(100) < 92
    torch.testing.assert_close(found.values[:, inside], whole.values[:, inside], atol=1e-3, rtol=0)
    start = torch.rand(40, 100, generator=torch.Generator().manual_seed(0)) * 8
    torch.testing.assert_close(matcher(Echo(), **options)(pair, previous=start).values, start)
    torch.testing.assert_close(matcher(Echo(), **options)(pair, previous=start, right=True).values, start)


def test_tiles_that_do_not_hold_the_search_range() -> None:
    with pytest.raises(WrongInput, match=r"tile of 40x32 px does not hold a search range of 38 px and an overlap of 4"):
        matcher(Search(), tile=(32, 40), max_disparity=38)(shifted(70, 100, 3))


def test_sizes_that_cannot_be_meant() -> None:
    with pytest.raises(WrongInput, match=r"scale=0.0 is no size"):
        matcher(Search(), scale=0.0)
    with pytest.raises(WrongInput, match=r"max_size=8 is too small; choose at least 16 px"):
        matcher(Search(), max_size=8)
    with pytest.raises(WrongInput, match=r"tile=\(32, 4\) is too small"):
        matcher(Search(), tile=(32, 4))
    with pytest.raises(WrongInput, match="40x30 px would be matched at 12x9 px"):
        matcher(Search(), scale=0.3)(shifted(30, 40, 3))


def test_classical_matchers_scale_and_tile_too() -> None:
    block = BlockMatching(BlockConfig())
    options = {"check": False, "device": "cpu", "max_disparity": 16}
    pair = shifted(64, 160, 10, grain=6)
    for more in ({"scale": 0.5}, {"tile": (40, 80)}, {"scale": 0.75, "tile": (40, 80), "overlap": 8}):
        found = StereoMatcher(block, **options, **more)(pair)
        error = (found.values - 10).abs()[found.valid]
        assert error.median() < 0.25
        assert found.valid.float().mean() > 0.6
        assert found.confidence[~found.valid].max() == 0
        assert 0 < found.confidence.max() <= 1


# Warm start


def test_a_previous_disparity_reaches_the_network_in_its_units() -> None:
    pair = shifted(38, 52, 3)
    previous = 3 + torch.arange(52).expand(38, 52) / 10
    network = Echo()
    matcher(network)(pair, previous=DisparityMap(previous, previous > 0))
    start = network.calls[0]["initial"]
    assert start.shape == (1, 1, 40, 56)
    torch.testing.assert_close(start[0, 0, 1:39, 2:54], previous)
    torch.testing.assert_close(start[0, 0, 0, :2], previous[0, :1].expand(2))
    matcher(network, scale=0.5)(pair, previous=previous)
    # 19x26 px in 24x32 padded ones; a pixel of half the size lies between two of the ramp.
    torch.testing.assert_close(network.calls[1]["initial"][0, 0, 12, 3:-3], (previous[0, ::2] + 0.05) / 2)
    # A previous frame of twice the size has twice the disparity.
    large = torch.full((76, 104), 8.0)
    assert (matcher(network)(pair, previous=large).values == 4).all()


def test_a_previous_disparity_of_the_right_view() -> None:
    previous = torch.rand(30, 52, generator=torch.Generator().manual_seed(0)) * 5
    network = Echo()
    found = matcher(network)(shifted(30, 52, 3), previous=previous, right=True)
    torch.testing.assert_close(found.values, previous)
    torch.testing.assert_close(network.calls[0]["initial"][0, 0, 1:31, 2:54], previous.flip(-1))


def test_the_check_starts_on_its_own() -> None:
    network = Echo()
    matcher(network, consistency=True)(shifted(16, 24, 3), previous=torch.ones(16, 24))
    assert [call["initial"] is None for call in network.calls] == [False, True]


def test_starts_that_are_refused() -> None:
    pair = shifted(16, 24, 3)
    with pytest.raises(WrongInput, match="finite"):
        matcher(Echo())(pair, previous=torch.full((16, 24), torch.nan))
    with pytest.raises(WrongInput, match=r"BlockMatching does not start from an earlier disparity.*--warm-start"):
        StereoMatcher(BlockMatching(BlockConfig()), device="cpu")(pair, previous=torch.ones(16, 24))


# Number types and values that are not finite


class Overflowing(Search):
    """Not finite in half precision (or always)."""

    def __init__(self, *, always: bool = False) -> None:
        super().__init__()
        self.always = always

    def forward(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        found = super().forward(left, right, iterations=iterations, initial=initial)
        if self.always or self.calls[-1]["half"]:
            found[..., 12, 13] = torch.inf
        return found


def test_half_precision_runs_once_under_autocast() -> None:
    network = Search()
    found = matcher(network, dtype="bfloat16")(shifted(16, 24, 3))
    assert [call["half"] for call in network.calls] == [True]
    assert found.values.dtype == torch.float32
    matcher(network)(shifted(16, 24, 3))
    assert network.calls[-1]["half"] is False


def test_what_is_not_finite_is_computed_once_more_in_float32() -> None:
    network = Overflowing()
    with pytest.warns(DepthweaveWarning, match=r"Overflowing gave .* not finite in bfloat16.*float32"):
        found = matcher(network, dtype="bfloat16")(shifted(16, 24, 3))
    assert [call["half"] for call in network.calls] == [True, False]
    assert torch.isfinite(found.values).all()


@pytest.mark.filterwarnings("ignore::depthweave.errors.DepthweaveWarning")
@pytest.mark.parametrize(("dtype", "calls"), [("bfloat16", 2), ("float32", 1)])
def test_what_is_not_finite_in_float32_either_is_an_error(dtype: str, calls: int) -> None:
    network = Overflowing(always=True)
    with pytest.raises(NotFinite, match="Overflowing gave values that are not finite in float32 too"):
        matcher(network, dtype=dtype)(shifted(16, 24, 3))
    assert len(network.calls) == calls


def test_results_can_be_used_in_a_graph() -> None:
    found = matcher(Search())(shifted(16, 24, 3))
    assert not found.values.is_inference()
    assert not found.values.requires_grad
    weight = torch.ones(16, 24, requires_grad=True)
    (found.values * weight).sum().backward()
    torch.testing.assert_close(weight.grad, found.values)


# Settings and facts


def test_settings_reach_the_network() -> None:
    network = Search().train()
    matcher(network, iterations=7)(shifted(16, 24, 3))
    StereoMatcher(NetworkMatching(network, iterations=None, step=0.5), check=False, device="cpu")(shifted(16, 24, 3))
    assert [(call["iterations"], call["step"]) for call in network.calls] == [(7, 1.0), (3, 0.5)]
    assert not network.training


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"scale_iterations": 4},
            "Search has no setting scale_iterations; it has iterations, step, consistency, thres",
        ),
        ({"initial": None, "trace": {}}, "Search has no setting trace"),
        ({"iterations": 0}, "0 iterations give no answer; choose at least 1"),
        ({"iterations": "many"}, "iterations is int, for example 3, not 'many'"),
        ({"dtype": "int8"}, "'int8' is not a number type"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(WrongInput, match=re.escape(words)):
        NetworkMatching(Search(), **settings)


def test_a_compiled_network_keeps_its_name_and_settings() -> None:
    network = Search()
    made = matcher(torch.compile(network, backend="eager"), iterations=4)
    assert made.facts()["model"] == "Search"
    assert made.facts()["options"]["settings"]["iterations"] == 4
    assert torch.equal(made(shifted(16, 24, 3)).values, matcher(network)(shifted(16, 24, 3)).values)


def test_what_is_no_stereo_network() -> None:
    with pytest.raises(WrongInput, match="Linear is not a stereo network"):
        StereoMatcher(nn.Linear(2, 2))
    with pytest.raises(WrongInput, match="BlockMatching is ready made; give iterations where it is made"):
        StereoMatcher(BlockMatching(BlockConfig()), iterations=3)


def test_facts_say_what_made_a_result() -> None:
    made = matcher(Search(), dtype="bfloat16", consistency=True, iterations=5, scale=0.5, max_disparity=9)
    facts = json.loads(json.dumps(made.facts()))
    assert facts["model"] == "Search"
    assert facts["options"] == {
        "network": {"largest_px": 12, "window": 1},
        "settings": {"iterations": 5, "step": 1.0},
        "consistency": True,
        "threshold_px": 1.0,
        "fill_background": False,
    }
    size = {"scale": 0.5, "max_size": None, "tile": None, "overlap": None, "max_pixels": None}
    assert facts["resolution"] == size
    assert facts["max_disparity"] is None
    assert (facts["device"], facts["dtype"]) == ("cpu", "bfloat16")
    assert matcher(Search()).facts()["dtype"] == "float32"
    tiled = matcher(Search(), tile=(32, 64), max_disparity=9).facts()
    assert (tiled["resolution"]["tile"], tiled["max_disparity"]) == ((32, 64), 9)


def test_a_search_range_without_use_is_warned_of() -> None:
    pair = shifted(20, 64, 3)
    with pytest.warns(DepthweaveWarning, match=r"Search searches the whole row, so max_disparity .* changes nothing"):
        matcher(Search())(pair, max_disparity=8)
    matcher(Search(), tile=(16, 32))(pair, max_disparity=8)
    matcher(Search())(pair)


def test_a_run_folder_keeps_one_configuration(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "pairs")
    done = predict(matcher(Search(), scale=0.9), "folder", root, tmp_path / "run", limit=1)
    assert (done.done, done.failed) == (1, {})
    model = json.loads((tmp_path / "run" / "run.json").read_text())["configuration"]["model"]
    assert model["resolution"]["scale"] == 0.9
    assert model["options"]["settings"]["iterations"] == 3
    for other in (matcher(Search(), iterations=4, scale=0.9), matcher(Search())):
        with pytest.raises(DifferentConfiguration, match="model"):
            predict(other, "folder", root, tmp_path / "run", limit=1)
    assert predict(matcher(Search(), scale=0.9), "folder", root, tmp_path / "run", limit=1).reused == 1


# Memory


def refusal(monkeypatch: pytest.MonkeyPatch, free: int, **options: object) -> str:
    monkeypatch.setattr(runtime, "available_memory_bytes", lambda device: free)
    network = Search()
    with pytest.raises(NotEnoughMemory) as caught:
        matcher(network, **options)(shifted(130, 250, 3))
    assert network.calls == []
    return str(caught.value)


def test_what_does_not_fit_is_said_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    # 136 x 256 padded px at 1000 bytes.
    sentence = refusal(monkeypatch, 20_000_000)
    assert "Search needs about 0.0 GB to match 250x130 px at once on cpu" in sentence
    scale = re.search(r"scale=([\d.]+) \(--scale \1\)", sentence)
    tile = re.search(r"tile=\((\d+), (\d+)\) \(--tile \2x\1\)", sentence)
    assert float(scale[1]) == 0.75
    for way in ({"scale": float(scale[1])}, {"tile": (int(tile[1]), int(tile[2]))}):
        assert matcher(Search(), **way)(shifted(130, 250, 3)).values.shape == (130, 250)
    monkeypatch.setattr(runtime, "available_memory_bytes", lambda device: 136 * 256 * 1000)
    matcher(Search())(shifted(130, 250, 3))
    monkeypatch.setattr(runtime, "available_memory_bytes", lambda device: None)
    matcher(Search())(shifted(130, 250, 3))


def test_advice_starts_from_the_size_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "scale=0.375 " in refusal(monkeypatch, 8_000_000, scale=0.5)
    assert "choose a smaller model" in refusal(monkeypatch, 1000)


def test_half_precision_needs_half_of_it_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "available_memory_bytes", lambda device: 136 * 256 * 500)
    matcher(Search(), dtype="bfloat16")(shifted(130, 250, 3))
    with pytest.raises(NotEnoughMemory):
        matcher(Search())(shifted(130, 250, 3))


class Greedy(Search):
    def forward(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        if left.shape[-2] > 70:
            torch.empty(2**60)
        return super().forward(left, right)


def test_an_allocator_that_runs_out_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotEnoughMemory, match=r"Greedy needs about .* are free; match at scale=0.5 .* or with tile"):
        matcher(Greedy())(shifted(130, 250, 3))
    monkeypatch.setattr(Search, "forward", lambda *_, **__: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        matcher(Search())(shifted(130, 250, 3))


def test_matchers_without_an_estimate_get_advice_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(BlockMatching, "__call__", run_out)
    with pytest.raises(NotEnoughMemory, match=r"BlockMatching needs more memory than there is .*scale=0.5 "):
        StereoMatcher(BlockMatching(BlockConfig()), check=False, device="cpu")(shifted(130, 250, 3))
