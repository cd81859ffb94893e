"""Differences of pictures: by hand, against plain loops, and by what they must not see."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    census_difference,
    gradient_difference,
    masked_mean,
    robust_difference,
    ssim,
    ssim_l1,
)

NAN, INF = math.nan, math.inf
NEAR = {"atol": 1e-4, "rtol": 0.0}
Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "ssim": ssim,
    "ssim_l1": ssim_l1,
    "robust": robust_difference,
    "gradient": gradient_difference,
    "census": census_difference,
    "census 3": partial(census_difference, window=3),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def pictures(*leading: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand((2, *leading, 3, 6, 9), generator=generator, dtype=dtype)
    return first, second


def phi(error: float, epsilon: float = 1e-3, exponent: float = 0.45) -> float:
    return (error**2 + epsilon**2) ** exponent


def plain_ssim(first: Tensor, second: Tensor) -> Tensor:
    """One channel and one window at a time, with the means of a window listed out."""
    channels, height, width = first.shape
    result = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                # -1 mirrors to 1, the size to the size - 2.
                rows = [abs(y + n) if y + n < height else 2 * height - 2 - y - n for n in (-1, 0, 1)]
                columns = [abs(x + n) if x + n < width else 2 * width - 2 - x - n for n in (-1, 0, 1)]
                a, b = (picture[c][rows][:, columns].double() for picture in (first, second))
                var_a, var_b = a.var(correction=0), b.var(correction=0)
                covariance = ((a - a.mean()) * (b - b.mean())).mean()
                light = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
                result[y, x] += light * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4) / channels
    return result


def plain_census(first: Tensor, second: Tensor, reach: int) -> Tensor:
    """One pixel and one neighbour at a time."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    greys = [255 * (weights * picture.double()).sum(0) for picture in (first, second)]
    height, width = greys[0].shape
    result = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            total = 0.0
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    t = [(g[v, u] - g[y, x]).item() / math.sqrt(0.81 + (g[v, u] - g[y, x]).item() ** 2) for g in greys]
                    total += (t[0] - t[1]) ** 2 / (0.1 + (t[0] - t[1]) ** 2)
            result[y, x] = phi(total)
    return result


@every_loss
@pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
def test_one_value_per_pixel(loss: Loss, leading: tuple[int, ...]) -> None:
    first, second = pictures(*leading)
    values = loss(first, second)
    assert values.shape == (*leading, 6, 9)
    flat = [loss(a, b) for a, b in zip(first.reshape(-1, 3, 6, 9), second.reshape(-1, 3, 6, 9), strict=True)]
    torch.testing.assert_close(values.reshape(-1, 6, 9), torch.stack(flat))


@every_loss
def test_neither_picture_comes_first(loss: Loss) -> None:
    first, second = pictures()
    torch.testing.assert_close(loss(first, second), loss(second, first))


@every_loss
def test_gradients(loss: Loss) -> None:
    first, second = pictures(dtype=torch.float64)
    first, second = first[:, :3, :4].clone().requires_grad_(), second[:, :3, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (first, second))


@every_loss
def test_equal_pictures_are_best_and_pull_nowhere(loss: Loss) -> None:
    first, second = pictures()
    same = first.clone().requires_grad_()
    best = loss(first, same)
    sign = -1 if loss is ssim else 1
    assert (sign * best <= sign * loss(first, second) + 1e-6).all()
    best.sum().backward()
    assert same.grad is not None
    torch.testing.assert_close(same.grad, torch.zeros_like(same), atol=2e-5, rtol=0)


@every_loss
@pytest.mark.parametrize("filler", [NAN, INF])
def test_fillers_spoil_their_windows_only(loss: Loss, filler: float) -> None:
    first, second = pictures()
    whole = loss(first, second)
    second[1, 2, 3] = filler
    second.requires_grad_()
    values = loss(first, second)
    assert values[2, 3].isnan()
    torch.testing.assert_close(values[~values.isnan()], whole[~values.isnan()])
    masked_mean(values, ~values.isnan()).backward()
    assert second.grad is not None
    assert second.grad.isfinite().all()
    assert second.grad[1, 2, 3] == 0


def test_which_windows_see_a_filler() -> None:
    first, second = pictures()
    second[0, 2, 3] = NAN
    places = {
        name: {tuple(place) for place in LOSSES[name](first, second).isnan().nonzero().tolist()} for name in LOSSES
    }
    box = {(y, x) for y in (1, 2, 3) for x in (2, 3, 4)}
    assert places["ssim"] == places["ssim_l1"] == places["census 3"] == box
    assert places["robust"] == {(2, 3)}
    assert places["gradient"] == {(2, 3), (2, 2), (1, 3)}
    assert places["census"] == {(y, x) for y in range(6) for x in range(7)}


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    first, second = (picture.to(dtype) for picture in pictures())
    values = loss(first, second)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, loss(first.float(), second.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(first, second), values)


def test_ssim_is_the_plain_one() -> None:
    first, second = pictures()
    torch.testing.assert_close(ssim(first, second).double(), plain_ssim(first, second), atol=1e-5, rtol=1e-4)


def test_ssim_by_hand() -> None:
    """Flat pictures: only the means differ. A negative: the covariance is the negative variance."""
    dark, light = torch.full((1, 3, 3), 0.2), torch.full((1, 3, 3), 0.6)
    torch.testing.assert_close(ssim(dark, light), torch.full((3, 3), (0.24 + 1e-4) / (0.4 + 1e-4)), **NEAR)
    stripes = torch.tensor([0.2, 0.5, 0.8]).expand(1, 3, 3)
    negative = ssim(stripes, 1 - stripes)[1, 1].item()
    assert negative == pytest.approx((-2 * 0.06 + 9e-4) / (2 * 0.06 + 9e-4), abs=1e-5)


def test_appearance_by_hand() -> None:
    dark, light = torch.full((1, 2, 2), 0.2), torch.full((1, 2, 2), 0.6)
    similarity = (0.24 + 1e-4) / (0.4 + 1e-4)
    torch.testing.assert_close(ssim_l1(dark, light), torch.full((2, 2), 0.85 * (1 - similarity) / 2 + 0.06), **NEAR)
    torch.testing.assert_close(ssim_l1(dark, light, alpha=0), torch.full((2, 2), 0.4))
    torch.testing.assert_close(ssim_l1(dark, light, alpha=1), torch.full((2, 2), (1 - similarity) / 2), **NEAR)
    assert (ssim_l1(dark, dark) == 0).all()


def test_robust_by_hand() -> None:
    target, synthesised = torch.zeros(2, 1, 2), torch.tensor([[[0.0, 0.3]], [[0.0, -0.1]]])
    values = robust_difference(target, synthesised)
    torch.testing.assert_close(values, torch.tensor([[phi(0), (phi(0.3) + phi(0.1)) / 2]]))
    plain = robust_difference(target, synthesised, epsilon=1e-6, exponent=0.5)
    torch.testing.assert_close(plain, torch.tensor([[0.0, 0.2]]), atol=2e-6, rtol=0)


def test_visibility_is_the_mask() -> None:
    target, synthesised = torch.zeros(1, 1, 3), torch.tensor([[[0.1, 0.4, 0.9]]])
    visible = torch.tensor([[1.0, 0.5, 0.0]])
    mean = masked_mean(robust_difference(target, synthesised), visible).item()
    assert mean == pytest.approx((phi(0.1) + 0.5 * phi(0.4)) / 1.5)


def test_gradients_by_hand() -> None:
    target = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    synthesised = torch.tensor([[[0.0, 0.2, 0.2], [0.5, 0.5, 0.5]]])
    values = gradient_difference(target, synthesised)
    expected = [[phi(0.2) + phi(0.5), phi(0) + phi(0.3), phi(0.3)], [phi(0), phi(0), 0.0]]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_gradients_do_not_see_added_light() -> None:
    first, second = pictures()
    torch.testing.assert_close(
        gradient_difference(first, second + 0.25), gradient_difference(first, second), atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("window", [3, 5, 7])
def test_census_is_the_plain_one(window: int) -> None:
    first, second = (picture[:, :5, :6] for picture in pictures())
    # Nearly equal pictures have the values in which the exact formula shows.
    for other in (second, first + 0.01 * second):
        values = census_difference(first, other, window=window)
        torch.testing.assert_close(values.double(), plain_census(first, other, window // 2), atol=1e-4, rtol=1e-3)


def test_census_by_hand() -> None:
    """Two pixels of one channel, 3 grey values apart in one picture and equal in the other."""
    target, synthesised = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.5, 0.5 + 3 / 255]]])
    t = 3 / math.sqrt(0.81 + 9)
    torch.testing.assert_close(
        census_difference(target, synthesised), torch.full((1, 2), phi(t**2 / (0.1 + t**2))), atol=1e-5, rtol=0
    )


def test_census_does_not_see_light() -> None:
    first, second = pictures()
    by_census, by_light = (loss(first, first + 0.2).mean().item() for loss in (census_difference, robust_difference))
    assert by_census < 0.01 < 0.2 < by_light
    assert census_difference(first, 0.7 * first).mean() < 0.2 * census_difference(first, second).mean()
    assert census_difference(first, second).max() < 33


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1)], ids=str)
def test_census_of_narrow_pictures(size: tuple[int, int]) -> None:
    first, second = torch.rand(3, *size), torch.rand(3, *size)
    torch.testing.assert_close(
        census_difference(first, second).double(), plain_census(first, second, 3), atol=1e-4, rtol=1e-3
    )


def test_impossible_options_are_refused() -> None:
    first, second = pictures()
    with pytest.raises(WrongInput, match="alpha is 2"):
        ssim_l1(first, second, alpha=2)
    with pytest.raises(WrongInput, match="1x9 px has no 3x3 windows"):
        ssim(first[:, :1], second[:, :1])
    for window in (1, 4):
        with pytest.raises(WrongInput, match=f"census window of {window} px"):
            census_difference(first, second, window=window)
    with pytest.raises(WrongInput, match="epsilon is 0"):
        robust_difference(first, second, epsilon=0)
    with pytest.raises(WrongInput, match="exponent -1"):
        gradient_difference(first, second, exponent=-1)
