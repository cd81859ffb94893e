"""Every change of a pair keeps its truth true."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.geometry import sample
from depthweave.training.augment import Augment, augment
from depthweave.training.sample import RawPair, RawView, TrainingPair, TrainingView
from depthweave.worlds import Match

SIZE = (96, 160)
CROP = (48, 80)
OFF = Augment.off()


def pattern(x: NDArray[np.float64], y: NDArray[np.float64]) -> Tensor:
    """Steep enough that a tenth of a px shows, smooth enough for bilinear reading."""
    waves = [np.sin(x / 4 + phase) * 70 + np.sin(y / 5 + 2 * phase + x / 17) * 40 for phase in (0.0, 1.0, 2.0)]
    return torch.from_numpy(np.rint(127.5 + np.stack(waves, -1)).astype(np.uint8))


def slanted(
    at: float = 6.0, along_x: float = 0.1, along_y: float = 0.04, *, right_truth: bool = True, sparse: bool = False
) -> RawPair:
    """A plane whose disparity is exact in both views."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    left = at + along_x * x + along_y * y
    right = (x + at + along_y * y) / (1 - along_x) - x
    views = [RawView(pattern(x - left, y), torch.from_numpy(left).float())]
    views.append(RawView(pattern(x, y), torch.from_numpy(right).float() if right_truth else None))
    if sparse:
        known = torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) < 0.1
        views[0] = replace(views[0], known=known)
    return RawPair(*views, sparse)


def error_of(image: Tensor, other: Tensor, truth: TrainingView, sign: int = 1, shift_px: float = 0.0) -> float:
    """Mean difference, in grey levels, between a view and the other one read where the truth says."""
    height, width = truth.disparity.shape
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    read, inside = sample(other, torch.stack((x - sign * truth.disparity, y - shift_px), -1))
    assert (inside | ~truth.visible).all()
    assert truth.visible.float().mean() > 0.005
    return float((read - image).abs().mean(0)[truth.visible].mean())


def draws(raw: RawPair, settings: Augment, count: int = 12, crop: tuple[int, int] = CROP) -> list[TrainingPair]:
    return [augment(raw, settings, np.random.default_rng(seed), crop) for seed in range(count)]


def assert_equal(first: TrainingPair, second: TrainingPair) -> None:
    for side in ("left", "right"):
        mine, other = (getattr(pair, side).tensors() for pair in (first, second))
        assert mine.keys() == other.keys()
        for name, tensor in mine.items():
            assert torch.equal(tensor, other[name]), f"{side}.{name}"


@pytest.mark.parametrize(
    "settings",
    [
        OFF,
        replace(OFF, mirror=1),
        replace(OFF, flip=1),
        replace(OFF, mirror=1, flip=1),
        replace(OFF, zoom=1, zoom_range=(0.1, 0.6)),
        replace(OFF, zoom=1, zoom_range=(-0.6, -0.1)),
        replace(OFF, stretch=1, stretch_range=(-0.5, 0.5)),
        replace(OFF, mirror=0.5, flip=0.5, zoom=1, stretch=1),
    ],
    ids=["crop", "mirror", "flip", "both", "enlarge", "shrink", "stretch", "all"],
)
def test_the_truth_still_says_where_the_other_view_shows_a_point(settings: Augment) -> None:
    for pair in draws(slanted(), settings):
        assert pair.left.image.shape == (3, *CROP)
        assert pair.left.known.all()
        assert pair.right.known.all()
        assert error_of(pair.left.image, pair.right_image, pair.left) < 1.5
        assert error_of(pair.right_image, pair.left.image, pair.right, sign=-1) < 1.5


def test_the_photometric_check_sees_a_fifth_of_a_px() -> None:
    pair = draws(slanted(), OFF, 1)[0]
    moved = replace(pair.left, disparity=pair.left.disparity + 0.2, visible=pair.left.visible & (pair.left.known[0, 0]))
    moved = replace(moved, visible=moved.visible & (torch.arange(CROP[1]) >= moved.disparity))
    assert error_of(pair.left.image, pair.right_image, moved) > 2


def test_a_crop_is_a_window() -> None:
    raw = slanted()
    pair = draws(raw, OFF, 1)[0]
    found = [
        (top, left)
        for top in range(SIZE[0] - CROP[0] + 1)
        for left in range(SIZE[1] - CROP[1] + 1)
        if torch.equal(pair.left.image, raw.left.cut(top, left, *CROP).image.permute(2, 0, 1).float())
    ]
    assert len(found) == 1
    assert raw.left.disparity is not None
    assert torch.equal(pair.left.disparity, raw.left.cut(*found[0], *CROP).truth()[0])
    assert {tuple(pair.left.image.shape) for pair in draws(raw, OFF, 3, SIZE)} == {(3, *SIZE)}


def test_sizes_follow_the_range_and_disparities_the_width() -> None:
    raw = slanted(along_x=0.0, along_y=0.0)
    ratios = {round(float(pair.left.disparity.max()) / 6, 3) for pair in draws(raw, replace(OFF, zoom=1), 40)}
    assert 0.66 < min(ratios) < 0.75
    assert 1.25 < max(ratios) < 1.37
    for pair in draws(raw, OFF, 3, (192, 240)):  # larger than the picture: enlarged by 2 and by 1.5
        assert torch.allclose(pair.left.disparity, torch.full((192, 240), 9.0))
        assert error_of(pair.left.image, pair.right_image, pair.left) < 3


def test_resized_truth_of_a_slope_has_no_steps() -> None:
    for pair in draws(slanted(along_x=0.3), replace(OFF, zoom=1, zoom_range=(0.3, 0.6)), 4):
        bends = pair.left.disparity[:, 2:-2].diff(dim=-1).diff(dim=-1)
        assert bends.abs().max() < 1e-3


def test_resizing_mixes_no_surfaces() -> None:
    disparity = torch.full(SIZE, 3.0)
    disparity[:, 70:] = 20
    raw = slanted()
    raw = replace(raw, left=replace(raw.left, disparity=disparity))
    for pair in draws(raw, replace(OFF, zoom=1, zoom_range=(0.3, 0.5)), 8):
        values = (pair.left.disparity * 1000).round().unique().div(1000).tolist()
        assert len(values) <= 2
        assert all(3.9 < value < 5.1 or 26 < value < 33.5 for value in values)


def test_points_that_leave_the_crop_or_are_occluded_are_known_but_not_visible() -> None:
    raw = slanted(at=10, along_x=0, along_y=0)
    match = torch.zeros(SIZE, dtype=torch.uint8)
    match[::2] = Match.OCCLUDED
    seen = replace(raw, left=replace(raw.left, match=match))
    for pair in draws(raw, OFF, 4):
        assert pair.left.known.all()
        assert pair.left.visible[:, 10:].all()
        assert not pair.left.visible[:, :10].any()
        assert pair.right.visible[:, :-10].all()
        assert not pair.right.visible[:, -10:].any()
        assert not pair.has_visibility
    for pair in draws(seen, OFF, 4):
        assert pair.has_visibility
        assert not pair.right.has_visibility
        assert pair.left.visible[:, 10:].float().mean() == 0.5
    assert draws(seen, replace(OFF, mirror=1), 1)[0].right.has_visibility


def test_what_is_too_large_or_unknown_is_not_known() -> None:
    raw = slanted()
    assert raw.left.disparity is not None
    pair = draws(raw, Augment.off(largest_px=14), 1)[0]
    assert torch.equal(pair.left.known, pair.left.disparity <= 14)
    assert 0.05 < pair.left.known.float().mean() < 0.95
    assert not (pair.left.visible & ~pair.left.known).any()
    enlarged = draws(raw, replace(Augment.off(largest_px=14), zoom=1, zoom_range=(0.4, 0.4)), 1)[0]
    assert enlarged.left.disparity[enlarged.left.known].max() <= 14  # px of the crop, not of the source
    steps = (raw.left.disparity * 128).round().to(torch.int32)
    steps[:, ::3] = 65535
    stored = replace(raw, left=replace(raw.left, disparity=steps.to(torch.uint16)))
    pair = augment(stored, OFF, np.random.default_rng(0), SIZE)
    assert torch.equal(pair.left.known, (steps != 65535))
    assert (pair.left.disparity - raw.left.disparity)[pair.left.known].abs().max() <= 0.5 / 128 + 1e-6
    assert pair.left.disparity.isfinite().all()


def test_without_right_truth_nothing_is_mirrored() -> None:
    raw = slanted(right_truth=False)
    for pair in draws(raw, replace(OFF, mirror=1), 3):
        assert not pair.right.known.any()
        assert error_of(pair.left.image, pair.right_image, pair.left) < 1.5
    both = slanted()
    for seed in range(4):
        settings = replace(OFF, mirror=0.5)
        whole = augment(both, settings, np.random.default_rng(seed), CROP)
        short = augment(both, settings, np.random.default_rng(seed), CROP, right_truth=False)
        assert not short.right.known.any()
        assert torch.equal(short.left.disparity, whole.left.disparity)
        assert torch.equal(short.right_image, whole.right_image)


def test_mirroring_twice_changes_nothing() -> None:
    pair = draws(slanted(), OFF, 1)[0]
    assert_equal(pair.mirrored().mirrored(), pair)
    assert not torch.equal(pair.mirrored().left.image, pair.left.image)


@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("mirror", [0, 1])
def test_only_the_right_view_is_shifted(subpixel: bool, mirror: int) -> None:
    settings = replace(OFF, mirror=mirror, shift=1, shift_subpixel=subpixel)
    found = set()
    for pair in draws(slanted(), settings):
        candidates = np.arange(-2, 2.01, 0.25 if subpixel else 1)
        errors = []
        for shift in candidates:
            rows = torch.arange(CROP[0]) - float(shift)
            inside = pair.left.visible & ((rows >= 0) & (rows <= CROP[0] - 1))[:, None]
            view = replace(pair.left, visible=inside)
            errors.append(error_of(pair.left.image, pair.right_image, view, shift_px=float(shift)))
        best = int(np.argmin(errors))
        assert errors[best] < (4 if subpixel else 1.5)
        found.add(float(candidates[best]))
        hidden = (~pair.left.visible).all(1).nonzero()[:, 0].tolist()
        if not subpixel:  # rows whose match is above or below the right crop
            gone = round(float(candidates[best]))
            assert hidden == (list(range(gone)) if gone >= 0 else list(range(CROP[0] + gone, CROP[0])))
    assert len(found) >= 4
    assert min(found) < -0.9
    assert max(found) > 0.9


def test_erased_boxes_have_the_mean_colour_and_their_points_are_not_visible() -> None:
    settings = replace(OFF, erase=1, erase_px=(10, 20), erase_boxes=2)
    numbers = set()
    for seed in range(12):
        plain, erased = (
            augment(slanted(), each, np.random.default_rng(seed), CROP)
            for each in (replace(settings, erase=0), settings)
        )
        assert torch.equal(plain.left.image, erased.left.image)
        changed = (plain.right_image != erased.right_image).any(0)
        color = erased.right_image[:, changed][:, 0]
        assert (erased.right_image[:, changed] == color[:, None]).all()
        assert (color - plain.right_image.mean((1, 2))).abs().max() < 15
        area = int(changed.sum())
        assert 80 < area <= 800
        numbers.add(area > 410)
        read, inside = read_nearest(changed, erased.left.disparity)
        assert not (erased.left.visible & read & inside).any()
        assert torch.equal(erased.left.visible, plain.left.visible & ~(read & inside))
        assert torch.equal(erased.left.known, plain.left.known)
        assert not (erased.right.visible & changed).any()
    small = draws(slanted(), replace(settings, erase_px=(500, 500), erase_share=0.25, erase_boxes=1), 1)[0]
    whole = draws(slanted(), OFF, 1)[0]
    changed = (small.right_image != whole.right_image).any(0)
    assert changed.any(1).sum() == 12
    assert changed.any(0).sum() == 20


def read_nearest(mask: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor]:
    """A mask of the right view read at the nearest px of the match, and whether that is in the picture."""
    height, width = mask.shape
    x = (torch.arange(width) - disparity + 0.5).floor().long()
    rows = torch.arange(height)[:, None].expand(height, width)
    return mask[rows, x.clamp(0, width - 1)], (x >= 0) & (x < width)


def test_sparse_points_are_moved_and_not_interpolated() -> None:
    raw = slanted(sparse=True)
    known, disparity = raw.left.known, raw.left.disparity
    assert known is not None
    assert disparity is not None
    source_values = disparity[known].double()
    settings = replace(OFF, zoom=1, zoom_range=(0.5, 0.7), stretch=1, shift=1, color=1, color_apart=1)
    settings = replace(settings, hue_deg=0, saturation=(1, 1), gamma=(1, 1), brightness=0.2, contrast=0)
    for pair, plain in zip(draws(raw, settings), draws(raw, replace(settings, color=0)), strict=True):
        share = float(pair.left.known.float().mean())
        assert 0.1 / 2.2**2 < share < 0.1 / 1.5**2  # as many points on a larger area
        scale = find_scale(pair.left.disparity[pair.left.known].double(), source_values)
        assert 1.6 < scale < 2.1
        left, right = (
            float((getattr(pair, side).image / getattr(plain, side).image).nanmedian()) for side in ("left", "right")
        )
        assert abs(left - right) < 1e-3  # one colour change for both
        assert abs(left - 1) > 1e-3
    settings = replace(OFF, zoom=1, zoom_range=(0.5, 0.7))
    for pair in draws(raw, settings, 6):
        error = error_of(pair.left.image, pair.right_image, pair.left)
        assert error < 2.5  # half a px of rounding at a slope of a tenth


@pytest.mark.parametrize(("sparse", "disparity"), [(True, 12), (False, 6)])
def test_sparse_pairs_have_one_scale_for_both_axes(sparse: bool, disparity: int) -> None:
    """A crop of twice the height of the picture and half its width."""
    pair = draws(slanted(along_x=0, along_y=0, sparse=sparse), OFF, 1, (2 * SIZE[0], SIZE[1] // 2))[0]
    assert torch.allclose(pair.left.disparity[pair.left.known], torch.tensor(float(disparity)))


def test_a_sparse_point_lands_where_the_half_pixel_rule_says() -> None:
    known = torch.zeros(SIZE, dtype=torch.bool)
    known[10, 20] = known[95, 159] = True
    raw = slanted(sparse=True)
    pair = draws(replace(raw, left=replace(raw.left, known=known)), OFF, 1, (3 * SIZE[0], 3 * SIZE[1]))[0]
    assert pair.left.known.nonzero().tolist() == [[31, 61], [286, 478]]


def find_scale(values: Tensor, source: Tensor) -> float:
    """The one factor that makes every value one of the source's."""
    for candidate in (values.min() / source).tolist():
        if (values / candidate - source[:, None]).abs().min(0).values.max() < 2e-4:
            return float(candidate)
    raise AssertionError("no factor explains the values")


def test_of_several_sparse_points_at_one_place_the_nearest_stays() -> None:
    raw = slanted(sparse=True)
    everywhere = torch.ones(SIZE, dtype=torch.bool)
    disparity = torch.full(SIZE, 4.0)
    disparity[::2, ::2] = 9.0
    match = torch.where(disparity == 9, int(Match.MATCHED), int(Match.OCCLUDED)).to(torch.uint8)
    raw = replace(raw, left=RawView(raw.left.image, disparity, everywhere, match))
    pair = augment(raw, replace(OFF, zoom=1, zoom_range=(-9, -9)), np.random.default_rng(0), CROP)
    assert pair.left.known.all()
    assert (pair.left.disparity == 4.5).all()  # 9 px at half the size
    assert pair.left.visible[:, 5:].all()


def test_colours_change_only_colours() -> None:
    raw = slanted(along_x=0, along_y=0)
    only = replace(OFF, color=1)
    for pair, plain in zip(draws(raw, only, 8), draws(raw, OFF, 8), strict=True):
        assert torch.equal(pair.left.disparity, plain.left.disparity)
        assert 0 <= pair.left.image.min() < pair.left.image.max() <= 255
        assert not torch.equal(pair.left.image, plain.left.image)
        shift = 6  # joint: equal points keep equal colours
        assert (pair.left.image[..., shift:] - pair.right_image[..., :-shift]).abs().max() <= 1e-3
    apart = draws(raw, replace(only, color_apart=1), 4)
    assert all((each.left.image[..., 6:] - each.right_image[..., :-6]).abs().mean() > 3 for each in apart)
    for pair in draws(raw, replace(OFF, grey=1), 2):
        assert torch.allclose(pair.left.image[0], pair.left.image[2], atol=1e-3)
    permuted = draws(raw, replace(OFF, permute=1), 8)
    kept = draws(raw, OFF, 8)
    for pair, plain in zip(permuted, kept, strict=True):
        assert torch.allclose(pair.left.image.sum(0), plain.left.image.sum(0), atol=1e-3)
    assert any(not torch.equal(pair.left.image, plain.left.image) for pair, plain in zip(permuted, kept, strict=True))


def test_each_colour_change_does_what_its_name_says() -> None:
    raw = slanted()
    still = replace(OFF, color=1, brightness=0, contrast=0, saturation=(1, 1), hue_deg=0, gamma=(1, 1))
    plain = draws(raw, OFF, 1)[0].left.image
    same = draws(raw, still, 1)[0].left.image
    assert torch.allclose(plain, same, atol=1e-2)
    gamma = draws(raw, replace(still, gamma=(2, 2)), 1)[0].left.image
    assert torch.allclose(gamma, 255 * (plain / 255) ** 2, atol=1e-2)
    grey = draws(raw, replace(still, saturation=(0, 0)), 1)[0].left.image
    luma = (torch.tensor([0.299, 0.587, 0.114])[:, None, None] * plain).sum(0)
    assert torch.allclose(grey, luma.expand(3, -1, -1), atol=1e-2)
    bright = draws(raw, replace(still, brightness=0.3), 1)[0].left.image
    inner = (plain > 5) & (bright < 250)
    factors = (bright / plain)[inner]
    assert factors.max() - factors.min() < 1e-3
    assert abs(float(factors.mean()) - 1) > 0.01
    contrast = draws(raw, replace(still, contrast=0.3), 1)[0].left.image
    inner = (contrast > 1) & (contrast < 254)
    slope = torch.diff(contrast.flatten()[inner.flatten()]).abs().sum() / torch.diff(plain[inner]).abs().sum()
    assert 0.69 < slope < 1.31
    assert abs(float(slope) - 1) > 0.01
    assert (contrast.mean() - plain.mean()).abs() < 5


def test_noise_and_blur() -> None:
    raw = slanted()
    plain = draws(raw, OFF, 8)
    for pair, before in zip(draws(raw, replace(OFF, noise=1, noise_range=(3, 3)), 8), plain, strict=True):
        left, right = pair.left.image - before.left.image, pair.right_image - before.right_image
        assert 2.8 < left.std() < 3.2
        assert abs(float((left * right).mean())) < 0.5
    sides = set()
    for pair, before in zip(draws(raw, replace(OFF, blur=1, blur_px=(0.8, 0.8)), 8), plain, strict=True):
        changed = [
            float(roughness(getattr(pair, side).image) / roughness(getattr(before, side).image))
            for side in ("left", "right")
        ]
        assert max(changed) == 1
        assert min(changed) < 0.99
        sides.add(int(np.argmin(changed)))
        assert (pair.left.image.mean() - before.left.image.mean()).abs() < 0.5
    assert sides == {0, 1}


def roughness(image: Tensor) -> Tensor:
    return image.diff(dim=-1).abs().mean()


def test_the_generator_decides_on_everything() -> None:
    settings = Augment(erase_px=(5, 10), noise=1, blur=1, color=1, erase=1, shift=1, shift_subpixel=True)
    first, second = (draws(slanted(), settings, 6) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_equal(one, other)
    assert not torch.equal(first[0].left.image, first[1].left.image)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mirror", 1.5), ("zoom_range", (1, 0)), ("gamma", (0, 1)), ("erase_boxes", 0), ("shift_px", -1), ("noise", -0.1)],
)
def test_settings_that_cannot_be_are_named(name: str, value: object) -> None:
    with pytest.raises(WrongInput, match=name):
        Augment(**{name: value})  # type: ignore[arg-type]


def test_a_batch_needs_pairs() -> None:
    with pytest.raises(WrongInput, match="at least one pair"):
        TrainingPair.stack([])
    batch = TrainingPair.stack(draws(slanted(), OFF, 3))
    assert len(batch) == 3
    assert batch.has_visibility.shape == (3,)
    assert batch.mirrored().left.image.shape == (3, 3, *CROP)


def taught(raw: RawPair, teacher: Tensor | None = None, confidence: Tensor | None = None) -> RawPair:
    """The pair with a teacher, by default its own truth in another unit."""
    assert raw.left.disparity is not None
    own = 7 - 0.02 * raw.left.disparity if teacher is None else teacher
    return replace(raw, left=replace(raw.left, teacher=own, confidence=confidence))


@pytest.mark.parametrize(
    "settings",
    [
        OFF,
        replace(OFF, flip=1),
        replace(OFF, zoom=1, zoom_range=(0.1, 0.6)),
        replace(OFF, zoom=1, zoom_range=(-0.6, -0.1)),
        replace(OFF, stretch=1, stretch_range=(-0.5, 0.5)),
        replace(OFF, shift=1, shift_px=3, shift_subpixel=True),
        replace(OFF, flip=0.5, zoom=1, stretch=1, shift=1, erase=1, color=1),
    ],
    ids=["crop", "flip", "enlarge", "shrink", "stretch", "shift", "all"],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_teacher_goes_where_the_truth_goes(settings: Augment, sparse: bool) -> None:
    for pair in draws(taught(slanted(sparse=sparse)), settings):
        assert pair.left.teacher is not None
        assert pair.left.teacher.shape == CROP
        assert pair.left.teacher.isfinite().all()
        assert (pair.right.teacher, pair.left.confidence) == (None, None)
        known = pair.left.known
        known[:2] = known[-2:] = known[:, :2] = known[:, -2:] = False
        x, y = (7 - pair.left.teacher[known]).double(), pair.left.disparity[known].double()
        # Without its own unit, the teacher is the truth up to the width of the crop; sparse points are moved by a half.
        scale = (x * y).sum() / (x * x).sum()
        assert (scale * x - y).abs().max() < (1.0 if sparse else 2e-3)
        assert scale > 10


def test_mirrored_pairs_have_no_teacher() -> None:
    raw = taught(slanted(), confidence=torch.full(SIZE, 0.5))
    for settings in (replace(OFF, mirror=1), replace(OFF, mirror=1, flip=1, zoom=1)):
        pair = augment(raw, settings, np.random.default_rng(0), CROP, right_truth=False)
        assert pair.left.teacher is pair.left.confidence is pair.right.teacher is pair.right.confidence is None
        whole = draws(raw, settings, 1)[0]
        assert whole.left.teacher is None
        assert whole.right.teacher is not None, "it has gone to the other side"
    right = replace(raw, right=replace(raw.right, confidence=torch.linspace(0, 1, SIZE[1]).expand(SIZE)))
    mirrored = draws(right, replace(OFF, mirror=1), 1, SIZE)[0].left.confidence
    assert mirrored is not None
    torch.testing.assert_close(mirrored, torch.linspace(1, 0, SIZE[1]).expand(SIZE))


def test_a_resized_teacher_mixes_no_surfaces_and_keeps_its_gaps() -> None:
    teacher = torch.full(SIZE, 3.0)
    teacher[:, 70:] = 5
    teacher[:30] = torch.nan
    confidence = torch.zeros(SIZE)
    confidence[:, 70:] = 0.75
    for pair in draws(taught(slanted(), teacher, confidence), replace(OFF, zoom=1, zoom_range=(0.3, 0.5)), 8):
        assert pair.left.teacher is not None
        assert pair.left.confidence is not None
        levels = (pair.left.teacher * 1000).round() / 1000
        assert set(levels[levels.isfinite()].unique().tolist()) <= {3.0, 5.0}
        assert torch.equal(pair.left.confidence[-1], 0.75 * (levels[-1] == 5))
    gaps = [pair.left.teacher.isnan().any(-1) for pair in draws(taught(slanted(), teacher), OFF, 8)]  # type: ignore[union-attr]
    assert any(gap.any() and not gap.all() for gap in gaps)


def test_views_with_and_without_a_teacher_share_a_batch() -> None:
    raw = slanted()
    plain, with_it = draws(raw, OFF, 1)[0], draws(taught(raw, confidence=torch.full(SIZE, 0.5)), OFF, 1)[0]
    nobody = TrainingPair.stack([plain, plain])
    assert nobody.left.teacher is nobody.left.confidence is None
    assert set(nobody.left.tensors()) == {"image", "disparity", "known", "visible", "has_visibility"}
    batch = TrainingPair.stack([plain, with_it])
    assert batch.left.teacher is not None
    assert batch.left.confidence is not None
    assert batch.left.teacher[0].isnan().all()
    assert (batch.left.confidence[0] == 1).all()
    assert torch.equal(batch.left.teacher[1], with_it.left.teacher)
    assert batch.right.teacher is None
    second = batch.to("cpu").split(2)[1]
    assert_equal(second, TrainingPair.stack([with_it]))
