"""Depth edges by hand, against brute force, and on what monocular depth does to them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis import background_rim, isolate_foreground, sharpen, splat
from depthweave.synthesis.edges import close_holes, foreground_halo, scaled_px, thin_holes


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


def mask(*rows: str) -> Tensor:
    return torch.tensor([[character == "x" for character in line] for line in rows])


def blurred(disparity: Tensor, radius: int) -> Tensor:
    """Ramps of 2 radius + 1 px along rows in place of steps."""
    padded = torch.nn.functional.pad(disparity[None], (radius, radius), mode="replicate")[0]
    return padded.unfold(-1, 2 * radius + 1, 1).mean(-1)


def between_planes(*values: float) -> Tensor:
    """A row with 20 px more of its first and its last value, four times."""
    return row(*values[:1] * 20, *values, *values[-1:] * 20).expand(4, -1)


def test_sharpen_makes_ramps_steps() -> None:
    ramp = between_planes(5, 5, 8, 11, 14, 17, 20, 20)
    # 8 and 11 are nearer to the 5 before them, 14 and 17 to the 20 after them.
    expected = between_planes(5, 5, 5, 5, 20, 20, 20, 20)
    assert torch.equal(sharpen(ramp, threshold_px=3), expected)
    assert torch.equal(sharpen(ramp.mT.contiguous(), threshold_px=3), expected.mT)
    assert torch.equal(sharpen(ramp, threshold_px=4.5), ramp), "a slope of 3 has the magnitude 3 sqrt(2)"
    assert torch.equal(sharpen(ramp, threshold_px=4.2), expected)
    assert torch.equal(sharpen(ramp), expected), "at a width of 48 px the threshold is 0.2 px"


def test_equally_near_pixels_give_the_larger_disparity() -> None:
    for values in ((5, 5, 12, 20, 20), (20, 20, 12, 5, 5)):
        expected = between_planes(*(20 if value == 12 else value for value in values))
        assert torch.equal(sharpen(between_planes(*values), threshold_px=3), expected)


def test_sharp_maps_stay_as_they_are() -> None:
    disparity = torch.full((30, 40), 4.0) + 0.2 * torch.arange(40.0)
    disparity[5:20, 10:20] = 25.0
    disparity[3:28, 30] = 30.0  # a wire of one px
    disparity[25, 4:28] = 22.0
    assert torch.equal(sharpen(disparity), disparity)


def test_sharpened_ramps_leave_nothing_flying() -> None:
    clean = torch.full((24, 640), 6.0)
    clean[4:20, 200:300] = 31.0
    soft = blurred(clean, 4)
    image = torch.zeros(3, 24, 640)

    def flying(disparity: Tensor) -> int:
        warped = splat(image, disparity)
        return int((warped.hit & (warped.disparity > 8) & (warped.disparity < 29)).sum())

    assert flying(soft) > 16 * 6
    assert flying(sharpen(soft)) == 0
    assert torch.equal(sharpen(soft)[10], clean[10])
    # Twice blurred, a ramp has shoulders too flat for the threshold.
    rounded = sharpen(blurred(blurred(clean, 3), 3))
    assert flying(rounded) == 0
    assert (rounded - clean)[10].abs().max() < 1


def test_sharpen_takes_the_nearest_kept_pixel() -> None:
    from depthweave.synthesis.edges import _from_nearest

    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.integers(1, 9, (2, 14, 11)).astype(np.float32))
    dropped = torch.from_numpy(rng.random((2, 14, 11)) < 0.9)
    dropped[:, 7] = True
    filled = _from_nearest(maps, dropped)
    assert torch.equal(filled[~dropped], maps[~dropped])
    for picture, y, x in dropped.nonzero().tolist():
        kept = (~dropped[picture]).nonzero()
        away = (kept[:, 0] - y).square() + (kept[:, 1] - x).square()
        nearest = kept[away == away.min()]
        assert filled[picture, y, x] == maps[picture][nearest[:, 0], nearest[:, 1]].max(), (picture, y, x)


def test_a_map_full_of_edges_keeps_most_of_itself() -> None:
    disparity = torch.from_numpy(np.random.default_rng(1).uniform(0, 60, (40, 50))).float()
    result = sharpen(disparity)
    assert torch.isfinite(result).all()
    assert 0 < float((result != disparity).float().mean()) < 0.95
    assert torch.isin(result, disparity).all()


def test_the_threshold_rises_to_a_quantile() -> None:
    # Slopes 2, 3, 4, 5 px, 25 columns each; 75 % of the map lies above the threshold, the steepest 30 % are taken.
    slopes = torch.tensor([2.0, 3.0, 4.0, 5.0]).repeat_interleave(25)
    disparity = slopes.cumsum(0).expand(8, -1).contiguous()
    changed = sharpen(disparity, threshold_px=3) != disparity
    assert not changed[:, :70].any()
    assert changed[:, 80:95].any(-1).all()


def test_grown_things_swallow_their_rim() -> None:
    disparity = torch.full((9, 12), 3.0)
    disparity[3:6, 4:8] = 20.0
    grown = sharpen(disparity, grow_px=1)
    expected = torch.full((9, 12), 3.0)
    expected[3:6, 3:9] = 20.0
    expected[2:7, 4:8] = 20.0
    assert torch.equal(grown, expected)


def test_rim_is_the_background_right_of_an_edge() -> None:
    disparity = torch.full((5, 14), 3.0)
    disparity[2, 4:7] = 20.0
    rim = background_rim(disparity, threshold_px=2, reach_px=3)
    expected = mask("." * 14, ".......xxx....", ".......xxx....", ".......xxx....", "." * 14)
    assert torch.equal(rim, expected)
    assert not background_rim(disparity, threshold_px=17, reach_px=3).any()
    assert not background_rim(disparity, reach_px=0).any()


def test_rim_stops_at_the_next_thing() -> None:
    rim = background_rim(row(20, 20, 3, 3, 19, 19, 3, 3, 3), threshold_px=2, reach_px=3)
    assert torch.equal(rim, mask("..xx..xxx"))
    # What is nearer than the edge's far side but farther than its near side is background, too.
    assert torch.equal(background_rim(row(20, 3, 3, 9, 9, 9), threshold_px=2, reach_px=4), mask(".xxxx."))


def test_halo_surrounds_things() -> None:
    disparity = torch.full((9, 12), 3.0) + 0.1 * torch.arange(12.0)
    disparity[4, 5:7] = 20.0
    disparity[4, 7] = 9.0
    halo = foreground_halo(disparity, threshold_px=2, reach_px=2)
    expected = torch.zeros(9, 12, dtype=torch.bool)
    expected[2:7, 3:10] = True
    expected[4, 5:7] = False
    assert torch.equal(halo, expected)
    assert not foreground_halo(disparity, threshold_px=2, reach_px=0)[4, :5].any()
    assert not foreground_halo(disparity, threshold_px=20, reach_px=2).any()


def test_lengths_follow_the_width() -> None:
    assert [scaled_px(4, width) for width in (32, 640, 1280)] == [1, 4, 8]
    wide = torch.full((3, 1280), 3.0)
    wide[:, 100:200] = 30.0
    assert int(background_rim(wide)[1].sum()) == 8
    narrow = torch.full((3, 320), 3.0)
    narrow[:, 100:200] = 4.1
    assert int(background_rim(narrow)[1].sum()) == 2
    narrow[:, 100:200] = 3.9
    assert not background_rim(narrow).any(), "2 px at 640 are 1 px at 320"


def test_closing_swallows_specks_and_keeps_pictures() -> None:
    hole = mask("xxxxxxx", "xxx.xxx", "xxxxxxx", ".......", ".......", ".......", "...x...", ".......")
    expected = hole.clone()
    expected[1, 3] = True
    assert torch.equal(close_holes(hole), expected)
    assert not close_holes(torch.zeros(5, 5, dtype=torch.bool)).any()
    gap = mask("xx.xx...", "xx.xx...", "xx.xx...")
    assert torch.equal(close_holes(gap), mask("xxxxx...", "xxxxx...", "xxxxx..."))


def test_thin_holes_lie_in_one_surface() -> None:
    hole = mask(".x..xx..x.x..x.", "x.............x")
    disparity = torch.full((2, 15), 7.0)
    disparity[0, 7:9], disparity[0, 9:] = 7.9, 8.95
    # The hole of column 8 lies between 7.9 and 8.95, a jump.
    assert torch.equal(thin_holes(hole, disparity), mask(".x........x..x.", "." * 15))


def test_isolation_hides_foreground_beside_holes_only() -> None:
    hole = mask("......xxx....", ".............")
    disparity = row(9, 9, 9, 9, 9, 9, 0, 0, 0, 3, 3, 3, 9).expand(2, -1)
    hidden = isolate_foreground(hole, disparity, reach_px=4)
    assert torch.equal(hidden, mask("..xxxx......x", "..xxxx......x"))
    narrow = isolate_foreground(hole, disparity, reach_px=1)
    assert torch.equal(narrow, mask("...xxx.......", ".....x.......")), "as far as the hole is wide"
    mirrored = isolate_foreground(hole.flip(-1), disparity.flip(-1), reach_px=1)
    assert torch.equal(mirrored, narrow.flip(-1))
    suspect = mask("x........xx..", "......x.....x")
    found = isolate_foreground(hole, disparity, suspect=suspect, reach_px=1)
    assert torch.equal(found & ~narrow, mask(".........x...", "......x......"))
    # Within 1 px of the background's disparity nothing is foreground.
    flat = row(4, 4, 4, 4, 4, 4, 0, 0, 0, 3, 3, 3, 3).expand(2, -1)
    assert not isolate_foreground(hole, flat, reach_px=4).any()
    # A hole at the border continues the only side it has.
    assert not isolate_foreground(mask(".....xx"), row(9, 9, 9, 9, 9, 0, 0), reach_px=4).any()
    assert torch.equal(isolate_foreground(mask("xx....."), row(0, 0, 2, 2, 9, 9, 9), reach_px=4), mask("....xx."))


def test_isolation_reaches_a_third_as_far_up_and_down() -> None:
    hole = torch.zeros(9, 9, dtype=torch.bool)
    hole[4, 4] = True
    disparity = torch.full((9, 9), 9.0)
    disparity[4, 5:] = 2.0
    hidden = isolate_foreground(hole, disparity, reach_px=3)
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[3:6, 1:8] = True
    expected[4, 4:] = False
    assert torch.equal(hidden, expected)


@pytest.mark.parametrize("batch", [(), (2,), (1, 3)])
def test_leading_dimensions(batch: tuple[int, ...]) -> None:
    disparity = torch.rand(*batch, 12, 40, generator=torch.Generator().manual_seed(0)) * 30
    hole = disparity > 22
    for index in np.ndindex(*batch):
        one, holes = disparity[index], hole[index]
        assert torch.equal(sharpen(disparity, grow_px=1)[index], sharpen(one, grow_px=1))
        assert torch.equal(background_rim(disparity)[index], background_rim(one))
        assert torch.equal(foreground_halo(disparity)[index], foreground_halo(one))
        assert torch.equal(isolate_foreground(hole, disparity)[index], isolate_foreground(holes, one))
        assert torch.equal(close_holes(hole)[index], close_holes(holes))
        assert torch.equal(thin_holes(hole, disparity)[index], thin_holes(holes, one))


def test_wrong_input_is_refused() -> None:
    disparity = torch.ones(4, 5)
    for settings in ({"threshold_px": -1}, {"grow_px": -1}):
        with pytest.raises(WrongInput, match="must be 0 or more"):
            sharpen(disparity, **settings)
    for settings in ({"threshold_px": -1}, {"reach_px": -1}):
        with pytest.raises(WrongInput, match="must be 0 or more"):
            background_rim(disparity, **settings)
        with pytest.raises(WrongInput, match="must be 0 or more"):
            foreground_halo(disparity, **settings)
    with pytest.raises(WrongInput, match="reach_px is -1"):
        isolate_foreground(disparity > 2, disparity, reach_px=-1)
    with pytest.raises(WrongInput, match="1 of 20 disparities"):
        sharpen(torch.where(torch.arange(20).view(4, 5) == 3, torch.nan, disparity))
