"""Networks that judge their answer, networks that take a search range, and the size at which pictures are matched."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from stereo_networks import Ranged, Rated, Search, SearchConfig
from torch import Tensor

from depthweave import runtime
from depthweave.classical import default_max_disparity, left_right_difference
from depthweave.errors import DepthweaveWarning, NotEnoughMemory, NotFinite, WrongInput
from depthweave.geometry import intrinsics_matrix
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.pipelines.network_stereo import RatedStereoNetwork
from depthweave.pipelines.resolution import Resolution
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import Camera, StereoPair

HEIGHT, WIDTH = 24, 40


def noise(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def shifted(px: int, height: int = HEIGHT, width: int = WIDTH) -> StereoPair:
    scene = noise(height, width + px)
    return StereoPair(scene[..., :width].clone(), scene[..., px:].clone())


def matcher(network: torch.nn.Module, **options: object) -> StereoMatcher:
    return StereoMatcher(network, check=False, device="cpu", **options)


# The network's own judgement


def judged(*, sure: float = 0.75) -> StereoPair:
    """Green 0.75; blue 0.25 in the rows below 12, 0.75 above."""
    left = noise()
    left[1] = sure
    left[2] = torch.where(torch.arange(HEIGHT) < 12, 0.75, 0.25)[:, None]
    return StereoPair(left, noise(seed=1))


def test_valid_is_what_both_cameras_see_and_confidence_is_the_networks() -> None:
    found = matcher(Rated())(judged(), previous=torch.full((HEIGHT, WIDTH), 5.0))
    expected = (torch.arange(HEIGHT)[:, None] < 12) & (torch.arange(WIDTH) >= 5)
    assert torch.equal(found.valid, expected)
    torch.testing.assert_close(found.confidence, 0.75 * expected)
    assert (found.values == 5).all()


def test_what_one_camera_sees_can_be_filled_from_behind() -> None:
    pair = judged()
    pair.left[0] = torch.where(torch.arange(WIDTH) < WIDTH // 2, 4 / 255, 9 / 255)
    pair.left[2, :12, WIDTH // 2 - 3 : WIDTH // 2 + 6] = 0.25
    own, filled = (matcher(Rated(), fill_background=fill)(pair) for fill in (False, True))
    assert torch.equal(own.valid, filled.valid)
    assert torch.equal(own.values[own.valid], filled.values[own.valid])
    hidden = filled.values[:12, WIDTH // 2 - 3 : WIDTH // 2 + 6]
    torch.testing.assert_close(hidden, torch.full_like(hidden, 4.0))
    torch.testing.assert_close(own.values[:12, WIDTH // 2 + 1], torch.full((12,), 9.0))
    assert filled.values[0, 0] == pytest.approx(4), "the strip that the right view does not show"


def test_ratings_have_their_place_in_padded_pictures_and_mirrored_ones() -> None:
    left, right = 0.5 * noise(21, 37), 0.5 * noise(21, 37, seed=1)
    for view in (left, right):
        view[0] = 0.01
        view[2] = 0.5 + view[2]
    pair = StereoPair(left, right)
    for of_right in (False, True):
        found = matcher(Rated())(pair, right=of_right)
        seen = right if of_right else left
        assert found.valid[:, 5:-5].all()
        torch.testing.assert_close(found.confidence[found.valid], seen[1][found.valid])


def test_a_check_asks_for_both_and_takes_the_smaller_confidence() -> None:
    pair = judged(sure=0.6)
    # Red is the disparity: 3 px from left, 3.2 px from right, whose agreement is exp(-0.2) = 0.82, then 4 px: 0.37.
    pair.left[0] = 3 / 255
    for other_px, confidence in ((3.2, 0.6), (3.9, float(torch.exp(torch.tensor(-0.9))))):
        pair.right[0] = other_px / 255
        found = matcher(Rated(), consistency=True)(pair)
        expected = (torch.arange(HEIGHT)[:, None] < 12) & (torch.arange(WIDTH) >= 3)
        assert torch.equal(found.valid, expected)
        torch.testing.assert_close(found.confidence, confidence * expected, atol=1e-5, rtol=0)
    pair.right[0] = 5 / 255
    assert not matcher(Rated(), consistency=True)(pair).valid.any()


def test_ratings_outlive_another_size_and_tiles() -> None:
    left = torch.stack([torch.full((48, 96), 2 / 255), torch.full((48, 96), 0.8), torch.full((48, 96), 0.9)])
    left[2, :, 60:] = 0.1
    left[0, 0, 0] = 3 / 255
    pair = StereoPair(left, noise(48, 96))
    for options, px in (({"scale": 0.5}, 4.0), ({"tile": (32, 48), "max_disparity": 8}, 2.0)):
        found = matcher(Rated(), **options)(pair)
        inside = torch.zeros(48, 96, dtype=torch.bool)
        inside[3:, 8:56] = True
        assert found.valid[inside].all()
        assert not found.valid[:, 64:].any()
        torch.testing.assert_close(found.confidence[inside], torch.full_like(found.confidence[inside], 0.8))
        assert (found.confidence[~found.valid] == 0).all()
        torch.testing.assert_close(found.values[inside], torch.full_like(found.values[inside], px))


class Unsure(Rated):
    def rated(self, left: Tensor, right: Tensor, *, iterations: int = 3, initial: Tensor | None = None) -> Tensor:
        found = super().rated(left, right, iterations=iterations, initial=initial)
        found[:, 1, 3, 3] = torch.nan
        return found


def test_a_rating_that_is_not_finite_is_an_error_too() -> None:
    with pytest.raises(NotFinite, match="Unsure"):
        matcher(Unsure())(judged())


def test_only_networks_with_ratings_are_rated() -> None:
    assert isinstance(Rated(), RatedStereoNetwork)
    assert not isinstance(Search(), RatedStereoNetwork)
    assert matcher(Search())(shifted(3)).confidence is None


# The search range


def ranges(network: Ranged) -> list[object]:
    asked = [call["max_disparity"] for call in network.calls]
    network.calls.clear()
    return asked


def test_a_range_comes_from_the_caller_or_the_calibration_else_it_is_the_networks() -> None:
    pair = shifted(3)
    camera = Camera(intrinsics_matrix(50.0, 50.0, 19.5, 11.5), WIDTH, HEIGHT, baseline_m=0.1, max_disparity_px=9)
    calibrated = replace(pair, camera=camera)
    network = Ranged()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DepthweaveWarning)
        matcher(network)(pair)
        matcher(network)(replace(pair, camera=replace(camera, max_disparity_px=None)))
        assert ranges(network) == [None, None]
        matcher(network)(calibrated)
        matcher(network, max_disparity=7)(calibrated)
        matcher(network, max_disparity=7)(calibrated, max_disparity=11)
        matcher(network, max_disparity=1000)(pair)
        assert ranges(network) == [9, 7, 11, WIDTH]
        matcher(network, consistency=True)(pair, max_disparity=8, right=True)
        assert ranges(network) == [8, 8]
    with pytest.raises(WrongInput, match="search range of 0 px"):
        matcher(network)(pair, max_disparity=0)


def test_a_range_is_in_px_of_the_matched_size() -> None:
    network = Ranged()
    for scale, reach in ((0.5, 5), (1.5, 15), (0.75, 8)):
        matcher(network, scale=scale)(shifted(3, 40), max_disparity=10)
        assert ranges(network) == [reach]
    matcher(network, scale=0.5)(shifted(3, 40))
    assert ranges(network) == [None]


def test_a_range_decides_what_is_found() -> None:
    for reach, enough in ((16, True), (6, False)):
        found = matcher(Ranged(SearchConfig(4, 3)), max_disparity=reach)(shifted(9))
        near = (found.values[:, 12:-2] - 9).abs() < 0.5
        assert (near.float().mean() > 0.9) == enough


def test_tiles_always_have_a_range() -> None:
    pair = shifted(3, 24, 120)
    network = Ranged()
    matcher(network, tile=(24, 64))(pair)
    assert set(ranges(network)) == {default_max_disparity(120)}
    matcher(network, tile=(24, 64), max_disparity=10)(pair)
    assert set(ranges(network)) == {10}


def test_facts_record_a_range_that_counts() -> None:
    assert matcher(Ranged(), max_disparity=9).facts()["max_disparity"] == 9
    assert matcher(Ranged()).facts()["max_disparity"] is None
    assert matcher(Search(), max_disparity=9).facts()["max_disparity"] is None


def test_memory_is_that_of_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = shifted(3, 64, 96)
    need = 64 * 96 * 10
    monkeypatch.setattr(runtime, "available_memory_bytes", lambda device: need * 20)
    matcher(Ranged(), max_disparity=20)(pair)
    for options in ({}, {"max_disparity": 21}):
        with pytest.raises(NotEnoughMemory):
            matcher(Ranged(), **options)(pair)
    # At half the size a range of 40 px is one of 20 px.
    monkeypatch.setattr(runtime, "available_memory_bytes", lambda device: need * 20 // 4)
    matcher(Ranged(), max_disparity=40, scale=0.5)(pair)
    with pytest.raises(NotEnoughMemory, match=r"scale=0.5 "):
        matcher(Ranged(), max_disparity=40)(pair)


# The size


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({"scale": 1.5, "max_pixels": 900_000}, (500, 800), (750, 1200)),
        ({"scale": 1.5, "max_pixels": 899_000}, (500, 800), (750, 1199)),
        ({"scale": 1.5, "max_pixels": 1_210_000}, (1000, 1000), (1100, 1100)),
        ({"scale": 1.5, "max_pixels": 1_000_000}, (1000, 1000), (1000, 1000)),
        ({"scale": 1.5, "max_pixels": 1_000_000}, (2000, 3000), (2000, 3000)),
        ({"scale": 1.5, "max_pixels": 1_000_000, "max_size": 600}, (2000, 3000), (400, 600)),
        ({"scale": 1.5, "max_pixels": 1_000_000, "max_size": 900}, (400, 800), (450, 900)),
        ({"scale": 0.5, "max_pixels": 100}, (500, 800), (250, 400)),
        ({"scale": 1.0, "max_pixels": 100}, (500, 800), (500, 800)),
        ({"scale": 1.5}, (2000, 3000), (3000, 4500)),
    ],
)
def test_pictures_are_enlarged_up_to_a_number_of_pixels(
    options: dict[str, float | int], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Resolution(**options).working_size(*size) == expected


def test_a_number_of_pixels_that_cannot_be_meant() -> None:
    with pytest.raises(WrongInput, match="max_pixels=0 is too small"):
        Resolution(max_pixels=0)


def test_the_limit_reaches_the_network_and_the_facts() -> None:
    network = Ranged()
    made = matcher(network, scale=1.5, max_pixels=1500)
    made(shifted(3))
    # sqrt(1500 / 960) = 1.25: 30 x 50, padded to 32 x 56.
    assert network.calls[0]["left"].shape[-2:] == (32, 56)
    facts = json.loads(json.dumps(made.facts()))
    assert facts["resolution"]["max_pixels"] == 1500


# The network of depthweave-s


@pytest.fixture(scope="module")
def compact() -> CompactStereo:
    torch.manual_seed(0)
    return CompactStereo(CompactConfig.nano())


def test_the_compact_network_is_rated_and_takes_a_range(compact: CompactStereo) -> None:
    made = matcher(compact, scale=1.5, max_pixels=10_000)
    assert (made.matching.rates, made.matching.takes_range) == (True, True)
    pair = shifted(5, 32, 250)
    found, narrow = made(pair), made(pair, max_disparity=8)
    assert found.values.shape == found.confidence.shape == (32, 250)
    assert bool(((found.confidence >= 0) & (found.confidence <= 1)).all())
    assert (found.confidence[~found.valid] == 0).all()
    assert not torch.equal(found.values, narrow.values)
    plain, right = (matcher(compact)(pair, right=of_right) for of_right in (False, True))
    checked = matcher(compact, consistency=True)(pair)
    agree = left_right_difference(plain.values, right.values) <= 1
    assert torch.equal(checked.valid, plain.valid & agree)
    assert bool((checked.confidence <= plain.confidence).all())
