"""Right views as another camera would have taken them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.images import luminance
from depthweave.synthesis.appearance import vary_right_view

SAME = {
    "noise": 0,
    "blur": 0,
    "brightness": (1, 1),
    "contrast": (1, 1),
    "saturation": (1, 1),
    "hue_turns": (0, 0),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def vary(image: Tensor, seed: int = 0, **changes: Any) -> Tensor:
    return vary_right_view(image, rng(seed), **{**SAME, **changes})


@pytest.fixture
def picture() -> Tensor:
    return 0.3 + 0.4 * torch.rand((3, 24, 32), generator=torch.Generator().manual_seed(0))


def test_nothing_asked_nothing_changed(picture: Tensor) -> None:
    torch.testing.assert_close(vary(picture), picture, atol=1e-6, rtol=0)


def test_a_seed_gives_one_view(picture: Tensor) -> None:
    given = picture.clone()
    first, same, other = (vary_right_view(picture, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(picture, given)
    assert 0 <= float(first.min()) < float(first.max()) <= 1


def test_noise_has_its_deviation() -> None:
    grey = torch.full((3, 100, 100), 0.5)
    found = vary(grey, noise=0.02)
    assert float(found.std()) == pytest.approx(0.02, rel=0.03)
    assert float(found.mean()) == pytest.approx(0.5, abs=1e-3)
    bounded = vary(torch.ones((3, 9, 9)), noise=0.5)
    assert float(bounded.max()) == 1


def test_blur_is_gaussian_and_happens_as_often_as_asked() -> None:
    point = torch.zeros((3, 9, 9))
    point[:, 4, 4] = 1
    found = vary(point, blur=1, blur_px=(0.7, 0.7))
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.7**2))
    weights /= weights.sum()
    np.testing.assert_allclose(found[1, 2:7, 2:7].numpy(), np.outer(weights, weights), atol=1e-6)
    blurred = sum(float(vary(point, seed, blur=0.5, blur_px=(0.5, 1))[0, 4, 4]) < 0.99 for seed in range(200))
    assert 80 <= blurred <= 120
    assert torch.equal(vary(point, blur=1, blur_px=(0, 0)), vary(point))


def test_colours_change_by_their_factors(picture: Tensor) -> None:
    torch.testing.assert_close(vary(picture, brightness=(0.8, 0.8)), 0.8 * picture)
    grey = float(luminance(picture).mean())
    torch.testing.assert_close(vary(picture, contrast=(1.2, 1.2)), grey + 1.2 * (picture - grey), atol=1e-5, rtol=0)
    luma = luminance(picture)
    without = vary(picture, saturation=(0, 0))
    torch.testing.assert_close(without, luma.expand(3, -1, -1), atol=1e-3, rtol=0)
    half = vary(picture, saturation=(0.5, 0.5))
    torch.testing.assert_close(half, luma + 0.5 * (picture - luma), atol=1e-3, rtol=0)


def test_hue_turns_and_keeps_luma() -> None:
    red = torch.tensor([0.7, 0.4, 0.4])[:, None, None].expand(3, 4, 4).contiguous()
    once = vary(red, hue_turns=(1, 1))
    torch.testing.assert_close(once, red, atol=1e-5, rtol=0)
    third = vary(red, hue_turns=(1 / 3, 1 / 3))
    torch.testing.assert_close(luminance(third), luminance(red), atol=1e-3, rtol=0)
    assert int(third[:, 0, 0].argmax()) != 0
    turned = vary(vary(red, hue_turns=(0.01, 0.01)), hue_turns=(-0.01, -0.01))
    torch.testing.assert_close(turned, red, atol=1e-5, rtol=0)


def test_draws_stay_within_their_bounds() -> None:
    grey = torch.full((3, 2, 2), 0.5)
    factors = [float(vary(grey, seed, brightness=(0.8, 1.2))[0, 0, 0]) / 0.5 for seed in range(300)]
    assert 0.8 <= min(factors) < 0.81
    assert 1.19 < max(factors) <= 1.2
    assert sum(factors) / 300 == pytest.approx(1, abs=3 * 0.4 / math.sqrt(12 * 300))


def test_one_change_does_not_move_the_others(picture: Tensor) -> None:
    plain = vary(picture, 3, brightness=(0.8, 1.2))
    other = vary(picture, 3, brightness=(0.8, 1.2), contrast=(0.9, 0.9), blur=0.5, blur_px=(0, 0))
    factor = float((plain / picture).mean())
    grey = factor * float(luminance(picture).mean())
    torch.testing.assert_close(other, grey + 0.9 * (plain - grey), atol=1e-5, rtol=0)


def test_double_precision(picture: Tensor) -> None:
    found = vary_right_view(picture.double(), rng())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), vary_right_view(picture, rng()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"blur": 1.5}, "blur is a probability"),
        ({"noise": -0.1}, "noise not negative"),
        ({"brightness": (1.2, 0.8)}, r"brightness is \(low, high\), both not negative, not \(1.2, 0.8\)"),
        ({"blur_px": (-1, 1)}, "blur_px is"),
        ({"hue_turns": (0.1, -0.1)}, r"hue_turns is \(low, high\), not \(0.1, -0.1\)"),
    ],
)
def test_settings_that_do_not_fit(wrong: dict[str, Any], words: str, picture: Tensor) -> None:
    with pytest.raises(WrongInput, match=words):
        vary(picture, **wrong)
