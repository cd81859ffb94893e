"""Fillers: what they look at, what they leave alone, and what they make of it."""

import pytest
import torch
from hole_scene import rng, scene
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis.fill import FILLERS, Filler, make_filler
from depthweave.synthesis.fill_background import BackgroundFiller
from depthweave.synthesis.fill_patch import PatchFiller, _nearest_of_patch
from depthweave.synthesis.holes import find_background, require_hole

HERE = tuple(name for name in FILLERS if name != "diffusion")
PLAIN = BackgroundFiller(steady_px=0, noise=0)


def row(*values: float) -> Tensor:
    """One row of grey."""
    return torch.tensor(values, dtype=torch.float32).expand(3, 1, -1).contiguous()


def mask(text: str) -> Tensor:
    """Rows of `#` (True) and `.`, apart by spaces."""
    return torch.tensor([[letter == "#" for letter in line] for line in text.split()])


def fill(
    image: Tensor, unknown: Tensor, disparity: Tensor, filler: Filler = PLAIN, wanted: Tensor | None = None
) -> Tensor:
    return filler(image, unknown, unknown if wanted is None else wanted, disparity, rng())


# --- all fillers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HERE)
def test_only_wanted_pixels_change(name: str) -> None:
    image, unknown, wanted, disparity = scene()
    given = image.clone()
    filler = make_filler(name)
    assert isinstance(filler, Filler)
    found = filler(image, unknown, wanted, disparity, rng())
    assert torch.equal(image, given)
    assert torch.equal(found[:, ~wanted], image[:, ~wanted])
    assert (found[:, wanted] > 0.01).all()
    assert found.dtype == image.dtype
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize("name", HERE)
def test_nothing_is_read_under_unknown(name: str) -> None:
    image, unknown, wanted, disparity = scene()
    found = make_filler(name)(image, unknown, wanted, disparity, rng())
    image[:, unknown], disparity[unknown] = torch.rand(3, int(unknown.sum())), 77
    assert torch.equal(make_filler(name)(image, unknown, wanted, disparity, rng())[:, wanted], found[:, wanted])


@pytest.mark.parametrize("name", [name for name in HERE if name != "random"])
def test_no_foreground_comes_into_the_hole(name: str) -> None:
    image, unknown, wanted, disparity = scene()
    found = make_filler(name)(image, unknown, wanted, disparity, rng())[:, wanted]
    assert float(found[0].mean()) < 0.19
    if name not in ("telea", "ns"):  # they blend in a little of the thing from above and below
        assert float(found[0].max()) < 0.19


@pytest.mark.parametrize("name", HERE)
def test_a_seed_gives_one_answer(name: str) -> None:
    image, unknown, wanted, disparity = scene()
    first, same, other = (make_filler(name)(image, unknown, wanted, disparity, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert torch.equal(first, other) == (name in ("telea", "ns"))


@pytest.mark.parametrize("name", HERE)
def test_where_nothing_is_wanted_nothing_changes(name: str) -> None:
    image, unknown, _, disparity = scene()
    assert torch.equal(make_filler(name)(image, unknown, torch.zeros_like(unknown), disparity, rng()), image)


@pytest.mark.parametrize("name", HERE)
def test_double_precision_and_pictures_of_other_layout(name: str) -> None:
    image, unknown, wanted, disparity = scene()
    found = make_filler(name)(image, unknown, wanted, disparity, rng())
    for layout in (image.permute(1, 2, 0).contiguous().permute(2, 0, 1), image.mT.contiguous().mT):
        assert torch.equal(make_filler(name)(layout, unknown, wanted, disparity, rng()), found)
    double = make_filler(name)(image.double(), unknown, wanted, disparity.double(), rng())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), found, atol=2e-2 if name in ("telea", "ns") else 1e-4, rtol=0)


@pytest.mark.parametrize("name", HERE)
def test_what_cannot_be_filled(name: str) -> None:
    image, unknown, wanted, disparity = scene()
    filler = make_filler(name)
    with pytest.raises(WrongInput, match="a wanted pixel is not unknown"):
        filler(image, unknown, ~wanted, disparity, rng())
    every = torch.ones_like(wanted)
    with pytest.raises(WrongInput, match="no pixel of the right view is known"):
        filler(image, every, every, disparity, rng())


def test_sizes_that_differ() -> None:
    image, unknown, wanted, disparity = scene()
    with pytest.raises(WrongInput, match=r"\(40, 60\) rows and columns, the disparity \(39, 60\)"):
        require_hole(image, unknown, wanted, disparity[1:])
    with pytest.raises(WrongInput, match=r"unknown \(40, 59\); give both the same size"):
        require_hole(image, unknown[:, 1:], wanted, disparity)


def test_names_and_settings() -> None:
    assert list(FILLERS) == ["background", "telea", "ns", "patch", "random", "diffusion"]
    assert make_filler("telea", radius_px=5) == FILLERS["telea"](radius_px=5)
    with pytest.raises(WrongInput, match="no filler 'magic'; take one of background, telea, ns, patch"):
        make_filler("magic")
    with pytest.raises(WrongInput, match="filler ns has no setting steps; it has radius_px"):
        make_filler("ns", steps=3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("background", {"surface_px": 0}),
        ("background", {"noise": -1}),
        ("background", {"steady_px": -1}),
        ("telea", {"radius_px": 0}),
        ("patch", {"patch_px": 4}),
        ("patch", {"patch_px": 1}),
        ("patch", {"rounds": 0}),
        ("patch", {"nearer_px": -1}),
    ],
)
def test_settings_that_do_not_fit(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(WrongInput, match=r"not|give a positive one"):
        make_filler(name, **settings)


# --- background ---------------------------------------------------------------------------------------------------


def test_the_hole_mirrors_its_background() -> None:
    image = row(0.9, 0.9, 0, 0, 0, 0.1, 0.2, 0.3, 0.4)
    disparity = torch.tensor([[9, 9, 0, 0, 0, 2, 2.5, 2.9, 2.0]])
    expected = row(0.9, 0.9, 0.3, 0.2, 0.1, 0.1, 0.2, 0.3, 0.4)
    assert torch.equal(fill(image, mask("..###...."), disparity), expected)
    assert torch.equal(fill(image.flip(-1), mask("....###.."), disparity.flip(-1)), expected.flip(-1))


def test_of_two_equal_sides_the_right_one_is_continued() -> None:
    image, disparity = row(0.9, 0.8, 0, 0, 0.1, 0.2), torch.full((1, 6), 4.0)
    assert torch.equal(fill(image, mask("..##.."), disparity), row(0.9, 0.8, 0.2, 0.1, 0.1, 0.2))


@pytest.mark.parametrize("after", [3.0, 1.0])
def test_a_surface_that_ends_is_mirrored_back_and_forth(after: float) -> None:
    image = row(0.9, 0, 0, 0, 0, 0, 0.1, 0.2, 0.7, 0.7)
    disparity = torch.tensor([[9, 0, 0, 0, 0, 0, 2, 2, after, after]])
    found = fill(image, mask(".#####...."), disparity)
    assert torch.equal(found, row(0.9, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.2, 0.7, 0.7))
    disparity[0, 7] = after
    assert torch.equal(fill(image, mask(".#####...."), disparity)[:, 0, 1:6], torch.full((3, 5), 0.1))


def test_other_holes_are_not_copied() -> None:
    image, disparity = row(0.9, 0, 0, 0, 0.1, 0, 0.6), torch.tensor([[9.0, 0, 0, 0, 2, 0, 2]])
    assert torch.equal(fill(image, mask(".###.#."), disparity), row(0.9, 0.1, 0.1, 0.1, 0.1, 0.6, 0.6))


def test_where_part_of_a_hole_is_wanted_nothing_unknown_is_copied() -> None:
    image = row(0.9, 0, 0, 0, 0, 0, 0.1, 0, 0.3, 0.9)
    disparity = torch.tensor([[9.0, 0, 0, 0, 0, 0, 2, 0, 2, 9]])
    found = fill(image, mask(".#####.#.."), disparity, wanted=mask(".###......"))
    # The first pixel would show the hole on the right, which none of the others looks at.
    assert torch.equal(found, row(0.9, 0.1, 0.3, 0.3, 0, 0, 0.1, 0, 0.3, 0.9))


def test_at_the_borders_there_is_one_side_only() -> None:
    image, disparity = row(0, 0, 0.1, 0.2, 0.3, 0, 0), torch.tensor([[0, 0, 2.0, 2, 2, 0, 0]])
    assert torch.equal(fill(image, mask("##...##"), disparity), row(0.2, 0.1, 0.1, 0.2, 0.3, 0.3, 0.2))


def test_rows_without_a_known_pixel_take_the_nearest_that_has_one() -> None:
    image = torch.tensor([[0.0, 0, 0], [0, 0.5, 0], [0, 0, 0], [0, 0, 0], [0.9, 0.2, 0.9]]).expand(3, 5, 3)
    unknown = mask("### #.# ### ### .#.")
    found = fill(image, unknown, torch.full((5, 3), 2.0), wanted=unknown & mask("### ... ### ### ..."))
    first, last = [0.5, 0.5, 0.5], [0.9, 0.9, 0.9]
    torch.testing.assert_close(found[0], torch.tensor([first, [0, 0.5, 0], first, last, [0.9, 0.2, 0.9]]))


def test_streaks_go_and_the_noise_of_the_background_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 0.5 + 0.02 * torch.randn((3, 200, 80), generator=generator)
    unknown = torch.zeros((200, 80), dtype=torch.bool)
    unknown[:, 20:50] = True
    disparity = torch.full((200, 80), 9.0)
    disparity[:, 50:] = 2
    image[:, unknown] = 0
    smooth, noisy = (
        fill(image, unknown, disparity, BackgroundFiller(noise=noise))[:, unknown].std() for noise in (0, 1)
    )
    assert 0.012 < float(smooth) < 0.0145  # the median of three normal numbers deviates by 0.67 of one's deviation
    assert float(noisy) == pytest.approx(0.02, rel=0.1)
    image[:, 100, 50:] = 0.9
    found = fill(image, unknown, disparity, BackgroundFiller())
    assert float(found[:, 100, 20:50].mean()) < 0.55


def test_noise_stays_within_colours() -> None:
    image, unknown, wanted, disparity = scene()
    found = BackgroundFiller(noise=50)(image, unknown, wanted, disparity, rng())
    assert (float(found.min()), float(found.max())) == (0, 1)


def test_a_flat_background_gets_no_noise() -> None:
    image = torch.where(mask("..###..... " * 6), 0.0, torch.tensor(0.25)).expand(3, 6, 10).contiguous()
    assert torch.equal(
        fill(image, mask("..###..... " * 6), torch.ones((6, 10)), BackgroundFiller()), torch.full((3, 6, 10), 0.25)
    )


def test_a_few_rows_with_a_nearer_background_take_the_colours_beside_them() -> None:
    image = torch.full((3, 40, 12), 0.2)
    unknown = torch.zeros((40, 12), dtype=torch.bool)
    unknown[:, 3:8] = True
    disparity = torch.full((40, 12), 2.0)
    disparity[:, :3] = 20
    image[:, 10:14, 8:], disparity[10:14, 8:] = 0.9, 8  # a thin thing: not what is behind the hole
    image[:, 24:, 8:], disparity[24:, 8:] = 0.7, 8  # another background
    hole = fill(image, unknown, disparity, BackgroundFiller(noise=0))[0, :, 3:8]
    assert torch.equal(hole[:24], torch.full((24, 5), 0.2))
    assert torch.equal(hole[24:], torch.full((16, 5), 0.7))
    assert torch.equal(fill(image, unknown, disparity)[0, 11, 3:8], torch.full((5,), 0.9))


def test_a_slope_is_no_peak() -> None:
    disparity = torch.arange(40.0)[:, None].expand(40, 12) * 0.9
    image = (torch.arange(40.0)[:, None] / 40).expand(3, 40, 12).contiguous()
    unknown = torch.zeros((40, 12), dtype=torch.bool)
    unknown[:, 3:8] = True
    assert torch.equal(fill(image, unknown, disparity, BackgroundFiller(noise=0)), image)


def background_by_hand(unknown: Tensor, disparity: Tensor, y: int, x: int) -> tuple[int, int, float]:
    """Source column, way to it and its disparity, step by step."""
    left, right = x, x
    while left >= 0 and unknown[y, left]:
        left -= 1
    while right < unknown.shape[1] and unknown[y, right]:
        right += 1
    if right < unknown.shape[1] and (left < 0 or disparity[y, right] <= disparity[y, left]):
        return right, 1, float(disparity[y, right])
    return left, -1, float(disparity[y, left])


def test_runs_and_copies_agree_with_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(3)
    unknown = torch.rand((30, 24), generator=generator) < 0.6
    unknown[7] = True
    wanted = unknown & (torch.rand((30, 24), generator=generator) < 0.7)
    disparity = torch.randint(0, 4, (30, 24), generator=generator) / 2
    image = torch.rand((3, 30, 24), generator=generator)
    background = find_background(unknown, wanted, disparity)
    rows = [y for y in range(30) if y != 7]
    assert background.pixel.tolist() == [24 * y + x for y in rows for x in range(24) if wanted[y, x]]
    for pixel, run in zip(background.pixel.tolist(), background.run.tolist(), strict=True):
        y, x = divmod(pixel, 24)
        column, step, near = background_by_hand(unknown, disparity, y, x)
        found = (background.edge[run], background.step[run], background.disparity[run])
        assert tuple(map(float, found)) == (24 * y + column, step, near)
    # Where all unknown pixels are wanted, copies are those of the two mirrors.
    unknown[7, 3] = False
    found = fill(image, unknown, disparity, BackgroundFiller(steady_px=0, noise=0))
    copied = image.clone()
    for y, x in unknown.nonzero().tolist():
        column, step, near = background_by_hand(unknown, disparity, y, x)
        length = 0
        while (
            0 <= (at := column + step * length) < 24 and not unknown[y, at] and abs(float(disparity[y, at]) - near) < 1
        ):
            length += 1
        number = abs(column - x) - 1
        there = [*range(length), *reversed(range(length))][number % (2 * length)]
        copied[:, y, x] = image[:, y, column + step * there]
    expected = copied.clone()
    for y, x in unknown.nonzero().tolist():
        column = [copied[:, y, x]] * 3
        for i, other in ((0, y - 1), (2, y + 1)):
            if 0 <= other < 30 and unknown[other, x]:
                column[i] = copied[:, other, x]
        expected[:, y, x] = torch.stack(column).median(0).values
    assert torch.equal(found, expected)


# --- OpenCV -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["telea", "ns"])
def test_opencv_closes_holes_smoothly(name: str) -> None:
    ramp = torch.linspace(0.2, 0.8, 30)[:, None].expand(3, 30, 20).contiguous()
    unknown = torch.zeros((30, 20), dtype=torch.bool)
    unknown[:, 8:11] = True
    damaged = ramp.masked_fill(unknown, 0)
    found = make_filler(name)(damaged, unknown, unknown, torch.zeros((30, 20)), rng())
    assert float((found - ramp)[:, 3:-3].abs().max()) < 0.03


# --- patch --------------------------------------------------------------------------------------------------------


def stripes(period: int) -> Tensor:
    columns = torch.arange(64)
    return ((columns // (period // 2)) % 2).float().mul(0.6).add(0.2).expand(3, 48, 64).contiguous()


def test_patches_continue_a_pattern() -> None:
    image = stripes(8)
    unknown = torch.zeros((48, 64), dtype=torch.bool)
    unknown[10:38, 20:29] = True
    found = fill(image.masked_fill(unknown, 0), unknown, torch.full((48, 64), 2.0), PatchFiller())
    assert float((found - image).abs().mean(0)[unknown].mean()) < 0.02
    mirrored = fill(image.masked_fill(unknown, 0), unknown, torch.full((48, 64), 2.0))
    assert float((mirrored - image).abs().mean(0)[unknown].mean()) > 0.1


def test_patches_come_from_no_nearer_thing() -> None:
    image, unknown, wanted, disparity = scene()
    disparity[10:30, :22] = 12
    unknown[10:30, 44:] = True  # no room for a patch right of the hole, so they come from elsewhere
    other = image.clone()
    for picture, seed in ((image, 1), (other, 2)):
        generator = torch.Generator().manual_seed(seed)
        picture[:, 10:30, :22] = 0.4 + 0.2 * torch.rand((3, 20, 22), generator=generator)
        picture[0, 10:30, :22] *= 0.3
    found = [
        [
            PatchFiller(nearer_px=nearer_px)(picture, unknown, wanted, disparity, rng())[:, wanted]
            for picture in (image, other)
        ]
        for nearer_px in (1, 20)
    ]
    assert torch.equal(*found[0])
    assert not torch.equal(*found[1])


def test_patches_are_known_and_inside_the_picture() -> None:
    disparity = torch.arange(48.0).reshape(6, 8)
    unknown = torch.zeros((6, 8), dtype=torch.bool)
    unknown[1, 1] = True
    found = _nearest_of_patch(unknown, disparity, 3)
    assert torch.isinf(found[[0, -1]]).all()
    assert torch.isinf(found[:, [0, -1]]).all()
    assert torch.isinf(found[1:3, 1:3]).all()
    assert torch.equal(found[3:5, 1:7], disparity[4:6, 2:8])


@pytest.mark.parametrize("size", [(5, 40), (40, 5)])
def test_without_room_for_a_patch_the_background_filler_answers(size: tuple[int, int]) -> None:
    image = torch.rand((3, *size), generator=torch.Generator().manual_seed(0))
    unknown = torch.zeros(size, dtype=torch.bool)
    unknown[1:4, 1:3] = True
    found = fill(image, unknown, torch.ones(size), PatchFiller())
    assert torch.equal(found, fill(image, unknown, torch.ones(size), BackgroundFiller(noise=0)))
