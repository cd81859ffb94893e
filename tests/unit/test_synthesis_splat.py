"""Splatting against values by hand, a loop over pixels, and itself."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from splat_loop import splat_by_loop
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.geometry import warp_by_disparity
from depthweave.synthesis import soft_splat, splat
from depthweave.synthesis.splat import check_sizes


def random_picture(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth_picture(height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.arange(width, dtype=dtype)
    y = torch.arange(height, dtype=dtype)[:, None]
    return torch.stack([0.5 + 0.4 * torch.sin(0.07 * (k + 1) * x + 0.2 * y) for k in range(3)])


def box_scene(height: int = 12, width: int = 60, near: float = 20.0, far: float = 5.0) -> tuple[Tensor, Tensor]:
    """A box over columns 30 to 49 of rows 3 to 8; colours are random and differ everywhere."""
    disparity = torch.full((height, width), far)
    disparity[3:9, 30:50] = near
    return random_picture(3, height, width), disparity


def anything() -> Tensor:
    """Rows of slopes, boxes, noise and round numbers in float64."""
    rng = np.random.default_rng(3)
    x = np.arange(37.0)
    rows = []
    for kind in range(24):
        row = 4 + rng.uniform(-0.9, 0.9) * x
        if kind % 2:
            row = np.where((x > 12) & (x < 20 + kind % 5), row + rng.uniform(0.5, 14), row)
        if kind % 3 == 0:
            row = row + rng.uniform(-1.5, 1.5, 37)
        if kind % 4 == 0:
            row = np.round(row * 2) / 2
        rows.append(np.abs(row))
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize("share_dropped", [0.0, 0.2, 1.0])
def test_splat_is_what_a_loop_over_pixels_gives(share_dropped: float) -> None:
    disparity = anything()
    image = random_picture(3, *disparity.shape, dtype=torch.float64)
    keep = random_picture(*disparity.shape, seed=1) >= share_dropped
    expected = splat_by_loop(image, disparity, keep)
    result = splat(image, disparity, keep=keep, interpolation="linear")
    assert torch.equal(result.hit, expected.hit)
    torch.testing.assert_close(result.image, expected.image, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.disparity, expected.disparity, atol=1e-9, rtol=0)
    assert torch.equal(result.visible, expected.visible)
    assert torch.equal(result.border, expected.border)


def test_constant_disparity_shifts_the_picture() -> None:
    image = random_picture(3, 6, 40)
    result = splat(image, torch.full((6, 40), 7.0))
    columns = torch.arange(40)
    assert torch.equal(result.image[..., :33], image[..., 7:])
    assert (result.disparity[:, :33] == 7).all()
    assert torch.equal(result.hit, (columns < 33).expand(6, 40))
    assert torch.equal(result.border, ~result.hit)
    assert torch.equal(result.visible, (columns >= 7).expand(6, 40))
    assert (result.image[..., 33:] == 0).all()
    assert (result.disparity[:, 33:] == 0).all()


def test_a_box_opens_a_hole_right_of_itself_as_wide_as_the_jump() -> None:
    image, disparity = box_scene()
    result = splat(image, disparity)
    inside = slice(3, 9)
    assert torch.equal(result.image[:, inside, 10:30], image[:, inside, 30:50])
    assert (result.disparity[inside, 10:30] == 20).all()
    hole = ~result.hit & ~result.border
    assert hole[inside, 30:45].all()
    assert hole.sum() == 6 * 15
    assert not result.visible[inside, 15:30].any(), "background that the box hides"
    assert result.visible[inside, 30:].all(), "the box itself and what is right of it"
    assert result.visible[inside, 5:15].all()
    assert not result.visible[:, :5].any()
    assert not result.border[:, :55].any()
    assert result.border[:, 55:].all()


@pytest.mark.parametrize("slope", [-0.4, -0.97, 0.4, 0.97])
def test_slanted_surfaces_have_no_cracks(slope: float) -> None:
    x = torch.arange(80.0)
    row = 40 + slope * (x - 40)
    result = splat(random_picture(3, 1, 80), row[None])
    target = x - row
    columns = torch.arange(80)
    covered = (columns >= target.min() - 0.49) & (columns <= target.max() + 0.49)
    assert torch.equal(result.hit[0], covered)
    # x_left = x_right + d and d = 40 + slope (x_left - 40) give d as a function of x_right.
    expected = (40 + slope * (columns - 40)) / (1 - slope)
    inner = (columns >= target.min()) & (columns <= target.max())
    torch.testing.assert_close(result.disparity[0][inner], expected[inner], atol=2e-4, rtol=1e-5)


def test_colour_at_half_a_pixel_is_the_mean_of_its_neighbours() -> None:
    image = random_picture(3, 4, 30)
    result = splat(image, torch.full((4, 30), 2.5), interpolation="linear")
    torch.testing.assert_close(result.image[..., :27], (image[..., 2:29] + image[..., 3:30]) / 2)
    assert torch.equal(result.hit, (torch.arange(30) < 27).expand(4, 30)), "from -3.0 up to, and without, 27.0"
    assert (result.disparity[:, :27] == 2.5).all()


def test_a_spline_needs_four_pixels_of_one_surface() -> None:
    image, row = random_picture(3, 1, 20), torch.full((1, 20), 1.5)
    row[0, 10:] = 6.5
    result = splat(image, row).image[:, 0]
    four = image[:, 0, 14:18] @ torch.tensor([-1.0, 9.0, 9.0, -1.0]) / 16
    torch.testing.assert_close(result[:, 9], four.clamp(0, 1))
    # Columns 10 and 11 lie at the end of their surface and 18 and 19 at that of the picture: two neighbours only.
    torch.testing.assert_close(result[:, 4], image[:, 0, 10:12].mean(-1))
    torch.testing.assert_close(result[:, 12], image[:, 0, 18:20].mean(-1))


def test_things_keep_their_width_at_fractions_of_a_pixel() -> None:
    for fraction in np.arange(0, 1, 0.125):
        row = torch.zeros(1, 40)
        row[0, 20:25] = 8 + float(fraction)
        result = splat(random_picture(3, 1, 40), row)
        assert int((result.disparity == row.max()).sum()) == 5, fraction


def test_dropped_pixels_leave_holes_but_still_hide() -> None:
    image, disparity = box_scene()
    keep = torch.ones(12, 60, dtype=torch.bool)
    keep[5, 33] = False
    result, everything = splat(image, disparity, keep=keep), splat(image, disparity)
    changed = torch.zeros(12, 60, dtype=torch.bool)
    changed[5, 13] = True
    assert torch.equal(everything.hit & ~result.hit, changed)
    assert torch.equal(result.visible, everything.visible)
    assert torch.equal(result.border, everything.border)
    assert torch.equal(result.image.masked_fill(changed, 0), everything.image.masked_fill(changed, 0))
    assert float(result.disparity[5, 13]) == 0
    nothing = splat(image, disparity, keep=torch.zeros_like(keep))
    assert not nothing.hit.any()
    assert not nothing.image.any()


def test_colours_of_dropped_pixels_reach_nowhere() -> None:
    disparity = anything().float()
    keep = random_picture(*disparity.shape, seed=1) > 0.3
    image = random_picture(3, *disparity.shape)
    other = torch.where(keep, image, random_picture(3, *disparity.shape, seed=5))
    assert torch.equal(splat(image, disparity, keep=keep).image, splat(other, disparity, keep=keep).image)


def test_reading_the_right_view_back_gives_the_left_one() -> None:
    image = smooth_picture(12, 96)
    disparity = 6 + torch.arange(96.0).mul(0.1).sin().mul(1.3) + torch.arange(12.0)[:, None] * 0.2
    disparity[4:9, 40:60] += 11.3
    result = splat(image, disparity)
    back, inside = warp_by_disparity(result.image, disparity)
    # Reading between two right pixels needs both to be of the surface and not beyond its end.
    seen = result.disparity.where(result.hit, torch.inf)
    target = (torch.arange(96) - disparity).floor().long()
    around = torch.stack([seen.gather(-1, (target + k).clamp(0, 95)) for k in (-1, 0, 1, 2)])
    whole = result.visible & inside & (target >= 0) & ((around - disparity).abs() < 1).all(0)
    assert whole.float().mean() > 0.75
    assert (back - image).abs().amax(0)[whole].max() < 0.006


def test_right_disparity_is_the_left_one_where_both_see() -> None:
    _, disparity = box_scene(near=23.0, far=4.0)
    disparity += torch.arange(12.0)[:, None]
    result = splat(random_picture(3, 12, 60), disparity)
    target = (torch.arange(60) - disparity).long()
    there = result.disparity.gather(-1, target.clamp(0, 59))
    assert torch.equal(there[result.visible], disparity[result.visible])
    assert (there[~result.visible & (target >= 0)] > disparity[~result.visible & (target >= 0)] + 1).all()
    slanted = 5 + 0.35 * torch.arange(60.0).expand(12, 60)
    result = splat(random_picture(3, 12, 60), slanted)
    back = result.disparity + torch.arange(60)
    expected = 5 + 0.35 * back
    torch.testing.assert_close(result.disparity[result.hit], expected[result.hit], atol=0.36 / 2, rtol=0)
    inner = result.hit & (back < 59) & (back > 0)
    torch.testing.assert_close(result.disparity[inner], expected[inner], atol=1e-4, rtol=0)


def test_upside_down_is_upside_down() -> None:
    image, disparity = random_picture(3, 24, 37), anything().float()
    upright, turned = splat(image, disparity), splat(image.flip(-2), disparity.flip(-2))
    for name in ("image", "disparity", "hit", "visible", "border"):
        assert torch.equal(getattr(turned, name).flip(-2), getattr(upright, name)), name


def test_mirrored_views_change_places() -> None:
    image, disparity = box_scene(near=21.0, far=4.0)
    right = splat(image, disparity)
    left = splat(right.image.flip(-1), right.disparity.flip(-1), keep=right.hit.flip(-1))
    seen = left.hit.flip(-1)
    assert torch.equal(seen, right.visible & (disparity > 0))
    assert torch.equal(left.image.flip(-1)[:, seen], image[:, seen])
    assert torch.equal(left.disparity.flip(-1)[seen], disparity[seen])


def test_the_same_input_gives_the_same_bytes() -> None:
    disparity = anything().float()
    image = random_picture(3, *disparity.shape)
    first = splat(image, disparity)
    for _ in range(3):
        again = splat(image, disparity)
        for name in ("image", "disparity", "hit", "visible", "border"):
            assert torch.equal(getattr(again, name), getattr(first, name)), name


def test_zero_has_no_sign() -> None:
    image = random_picture(3, 1, 4)
    assert torch.equal(splat(image, torch.tensor([[0.0, 0.0, -0.0, -0.0]])).image, image)


@pytest.mark.parametrize("function", [splat, soft_splat])
@pytest.mark.parametrize("batch", [(), (2,), (1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_dimensions_and_number_types(
    function: Callable[..., object], batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    image = random_picture(*batch, 3, 5, 30, dtype=dtype)
    disparity = random_picture(*batch, 5, 30, seed=2, dtype=dtype) * 9
    whole = function(image, disparity)
    parts = whole if isinstance(whole, tuple) else tuple(vars(whole).values())
    assert parts[0].dtype == dtype
    for index in np.ndindex(*batch):
        one = function(image[index], disparity[index])
        for part, expected in zip(parts, one if isinstance(one, tuple) else vars(one).values(), strict=True):
            assert torch.equal(part[index], expected)


@pytest.mark.parametrize(
    ("image", "disparity", "sentence"),
    [
        (torch.zeros(3, 4, 5), torch.full((4, 5), -0.1), "20 of 20 disparities are negative or not finite"),
        (torch.zeros(3, 4, 5), torch.tensor([0, 1, 2, torch.inf, torch.nan]).expand(4, 5), "8 of 20 disparities"),
    ],
)
@pytest.mark.parametrize("function", [splat, soft_splat])
def test_what_cannot_be_splatted_is_refused(
    function: Callable[..., object], image: Tensor, disparity: Tensor, sentence: str
) -> None:
    with pytest.raises(WrongInput, match=sentence):
        function(image, disparity)


@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (2, 4, 5)])
def test_disparity_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongInput, match="resize the disparity"):
        check_sizes(torch.zeros(3, 4, 5), torch.zeros(shape))


def test_wrong_settings_are_refused() -> None:
    image, disparity = torch.zeros(3, 4, 5), torch.zeros(4, 5)
    with pytest.raises(WrongInput, match="choose one of cubic, linear"):
        splat(image, disparity, interpolation="nearest")
    with pytest.raises(WrongInput, match="sharpness is 0"):
        soft_splat(image, disparity, sharpness=0)


def test_soft_splat_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.6, 0.8]).expand(3, 1, 4)
    colours, weight = soft_splat(image, torch.tensor([[0.0, 0.0, 0.0, 2.0]]), sharpness=4.0)
    # Column 3 lands on 1 with e^(2 * 2) = e^4 times the weight of column 1, whose disparity is 2 px smaller.
    strong = np.exp(4.0)
    torch.testing.assert_close(weight, torch.tensor([[1.0, 2.0, 1.0, 0.0]]))
    expected = torch.tensor([[0.2, (0.4 + strong * 0.8) / (1 + strong), 0.6, 0.0]], dtype=torch.float32)
    torch.testing.assert_close(colours[0], expected)
    colours, weight = soft_splat(image, torch.full((1, 4), 1.25))
    torch.testing.assert_close(weight, torch.tensor([[1.0, 1.0, 0.75, 0.0]]))
    torch.testing.assert_close(colours[0, 0, :2], 0.75 * image[0, 0, 1:3] + 0.25 * image[0, 0, 2:4])


def test_soft_splat_has_the_gradients_of_its_formula() -> None:
    image = random_picture(3, 2, 9, dtype=torch.float64).requires_grad_()
    # Away from whole targets, where the weight has a corner.
    disparity = (random_picture(2, 9, seed=1, dtype=torch.float64) * 0.8 + 0.1 + torch.arange(9) % 3).requires_grad_()
    assert torch.autograd.gradcheck(soft_splat, (image, disparity))


def test_soft_and_hard_agree_on_smooth_scenes() -> None:
    image = smooth_picture(8, 80)
    disparity = (4 + torch.arange(80.0).mul(0.05).sin() + torch.arange(8.0)[:, None] * 0.1).contiguous()
    hard, (soft, weight) = splat(image, disparity), soft_splat(image, disparity)
    assert (soft - hard.image).abs()[..., hard.hit & (weight > 0.8)].max() < 0.01
    assert torch.equal(weight[:, 1:70] > 0.5, hard.hit[:, 1:70])
