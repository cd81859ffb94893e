"""Whole pairs: the edge-aware step, masks, borders, determinism and bad input."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.synthesis import SynthesisSettings, SyntheticPair, splat, synthesize_pair
from depthweave.synthesis.fill import make_filler

RED, GREEN = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.7, 0.2])
NAIVE = SynthesisSettings(edge_aware=False, sharpen=False)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def red_box(
    *, rim_px: int = 0, near: float = 24.0, far: float = 4.0, noise: float = 0.01, size: tuple[int, int] = (40, 640)
) -> tuple[Tensor, Tensor]:
    """A red box before a green wall; `rim_px` of red lie around it on the wall's disparity."""
    height, width = size
    rows, columns = torch.arange(height)[:, None], torch.arange(width)

    def box(margin: int) -> Tensor:
        return (rows >= 10 - margin) & (rows < 30 + margin) & (columns >= 60 - margin) & (columns < 100 + margin)

    disparity = torch.full(size, far).masked_fill(box(0), near)
    image = torch.where(box(rim_px), RED[:, None, None], GREEN[:, None, None])
    generator = torch.Generator().manual_seed(0)
    return (image + noise * torch.randn(3, *size, generator=generator)).clamp(0, 1), disparity


def reddish(image: Tensor) -> Tensor:
    """Pixels in whose mixture red has more than a tenth."""
    share = (image - GREEN[:, None, None]).mul((RED - GREEN)[:, None, None]).sum(0) / (RED - GREEN).square().sum()
    return share > 0.1


class Recorder:
    """Fills with one grey and keeps what it was given."""

    def __call__(
        self, image: Tensor, unknown: Tensor, wanted: Tensor, disparity: Tensor, rng: np.random.Generator
    ) -> Tensor:
        self.image, self.unknown, self.wanted, self.disparity = image, unknown, wanted, disparity
        return torch.where(wanted, 0.5, image)


@pytest.mark.parametrize("filler", ["background", "telea", "patch"])
def test_edge_aware_filling_has_no_foreground_in_it(filler: str) -> None:
    image, disparity = red_box(rim_px=2)
    pair = synthesize_pair(image, disparity, settings=SynthesisSettings(filler=filler, border="mask"), rng=rng())
    filled = pair.inpainted & ~pair.border
    assert int(filled.sum()) == 20 * 24 + 2 * 4
    assert not reddish(pair.right)[filled].any()
    farthest = (pair.right - GREEN[:, None, None]).abs().amax(0)[filled].max()
    assert float(farthest) < 0.01 * 5, "no farther from the wall's colour than its noise"


@pytest.mark.parametrize("filler", ["background", "telea"])
def test_naive_filling_continues_the_rim(filler: str) -> None:
    image, disparity = red_box(rim_px=2)
    pair = synthesize_pair(image, disparity, settings=SynthesisSettings(filler, False, "mask", False), rng=rng())
    filled = pair.inpainted & ~pair.border
    assert float(reddish(pair.right)[filled].float().mean()) >= 0.1


def test_the_parts_of_a_pair() -> None:
    image, disparity = red_box()
    recorder = Recorder()
    pair = synthesize_pair(image, disparity, filler=recorder, rng=rng())
    warp = splat(image, disparity, keep=~pair.rim)
    assert pair.left is image
    assert torch.equal(pair.disparity, disparity)
    # The rim: 4 px right of the box; in the right view its place is at 96 to 99, after the hole of 20 px.
    rim = torch.zeros(40, 640, dtype=torch.bool)
    rim[9:31, 100:104] = True
    assert torch.equal(pair.rim, rim)
    hole = torch.zeros(40, 640, dtype=torch.bool)
    hole[10:30, 76:100] = True
    hole[9, 96:100] = hole[30, 96:100] = True
    border = torch.zeros(40, 640, dtype=torch.bool)
    border[:, 636:] = True
    assert torch.equal(pair.border, border)
    assert torch.equal(pair.inpainted, hole | border)
    assert torch.equal(pair.visible_right, ~pair.inpainted)
    assert torch.equal(pair.right, torch.where(pair.inpainted, 0.5, warp.image))
    assert torch.equal(pair.disparity_right, warp.disparity)
    assert (pair.disparity_right[pair.inpainted] == 0).all()
    seen = torch.arange(640).expand(40, -1) >= 4
    seen[10:30, 40:60] = False
    assert torch.equal(pair.visible, seen)
    assert torch.equal(pair.photometric, seen & ~rim)
    # The filler may change what is invented. Beside that it does not see the box, as far as the hole is wide, nor what
    # lies 4 px above and below the box in the left picture, up to 12 px from the hole.
    assert torch.equal(recorder.wanted, pair.inpainted)
    hidden = torch.zeros(40, 640, dtype=torch.bool)
    hidden[10:30, 52:76] = True
    hidden[6:10, 64:100] = hidden[30:34, 64:100] = True
    assert torch.equal(recorder.unknown, pair.inpainted | hidden)
    assert torch.equal(recorder.disparity, pair.disparity_right)
    assert (recorder.image.masked_fill(~recorder.wanted, 0) == 0).all()


def test_naive_settings_give_the_filler_the_plain_holes() -> None:
    image, disparity = red_box(rim_px=2)
    recorder = Recorder()
    pair = synthesize_pair(image, disparity, settings=NAIVE, filler=recorder, rng=rng())
    holes = ~splat(image, disparity).hit
    assert torch.equal(recorder.unknown, holes)
    assert torch.equal(recorder.wanted, holes)
    assert torch.equal(pair.inpainted, holes)
    assert not pair.rim.any()


def test_labels_are_sharp_only_if_asked() -> None:
    image, disparity = red_box()
    disparity = disparity.unfold(-1, 5, 1).mean(-1)
    image = image[..., 2:-2].contiguous()
    assert torch.equal(synthesize_pair(image, disparity, settings=NAIVE, rng=rng()).disparity, disparity)
    sharp = synthesize_pair(image, disparity, rng=rng()).disparity
    assert set(sharp.unique().tolist()) == {4.0, 24.0}
    grown = synthesize_pair(image, disparity, settings=SynthesisSettings(grow_px=2), rng=rng()).disparity
    assert int((grown == 24).sum()) > int((sharp == 24).sum())


def test_cracks_are_interpolated_not_inpainted() -> None:
    image, disparity = red_box()
    disparity[5, 40] = 5.5  # moves over its left neighbour and leaves a crack of one px
    recorder = Recorder()
    pair = synthesize_pair(image, disparity, filler=recorder, rng=rng())
    assert bool(pair.inpainted[5, 36])
    assert not pair.visible_right[5, 36]
    assert not recorder.wanted[5, 36]
    torch.testing.assert_close(pair.right[:, 5, 36], (pair.right[:, 5, 35] + pair.right[:, 5, 37]) / 2)


def test_specks_in_holes_are_filled_like_the_hole() -> None:
    image, disparity = red_box()
    disparity[15, 112] = 24.0  # lands on 88, in the middle of the hole
    naive = synthesize_pair(image, disparity, settings=NAIVE, filler=Recorder(), rng=rng())
    assert bool(naive.visible_right[15, 88])
    pair = synthesize_pair(image, disparity, filler=Recorder(), rng=rng())
    assert bool(pair.inpainted[15, 88])
    assert not pair.visible_right[15, 88]
    assert float(pair.disparity_right[15, 88]) == 0
    assert (pair.right[:, 15, 88] == 0.5).all()


def test_borders() -> None:
    image, disparity = red_box()
    disparity[20:, 630:] = 9.0
    whole = synthesize_pair(image, disparity, rng=rng())
    assert whole.right.shape == image.shape
    assert torch.equal(whole.inpainted & whole.border, whole.border)
    assert whole.border[:20].sum() == 20 * 4
    assert whole.border[20:].sum() == 20 * 9
    masked = synthesize_pair(image, disparity, settings=SynthesisSettings(border="mask"), rng=rng())
    assert torch.equal(masked.border, whole.border)
    assert (masked.right[:, masked.border] == 0).all()
    assert not (masked.inpainted & masked.border).any()
    assert not (masked.visible_right & masked.border).any()
    cropped = synthesize_pair(image, disparity, settings=SynthesisSettings(border="crop"), rng=rng())
    assert not cropped.border.any()
    for each in fields(SyntheticPair):
        kept = getattr(whole, each.name)[..., :631]
        assert getattr(cropped, each.name).shape == kept.shape
        if each.name != "right":
            assert torch.equal(getattr(cropped, each.name), kept), each.name
    known = cropped.visible_right
    assert torch.equal(cropped.right[:, known], whole.right[..., :631][:, known])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_seed_gives_one_pair(dtype: torch.dtype) -> None:
    image, disparity = (values.to(dtype) for values in red_box(rim_px=1))
    before = image.clone(), disparity.clone()
    one, same, other = (synthesize_pair(image, disparity, rng=rng(seed)) for seed in (1, 1, 2))
    for each in fields(SyntheticPair):
        assert torch.equal(getattr(one, each.name), getattr(same, each.name)), each.name
        if getattr(one, each.name).is_floating_point():
            assert getattr(one, each.name).dtype == dtype
    assert torch.equal(one.right[:, one.visible_right], other.right[:, one.visible_right])
    assert not torch.equal(one.right, other.right), "the noise of filled pixels"
    assert torch.equal(image, before[0])
    assert torch.equal(disparity, before[1])


def test_the_named_filler_is_the_given_one() -> None:
    image, disparity = red_box()
    settings = SynthesisSettings(filler="telea")
    named = synthesize_pair(image, disparity, settings=settings, rng=rng())
    given = synthesize_pair(image, disparity, filler=make_filler("telea"), rng=rng())
    assert torch.equal(named.right, given.right)


def test_pairs_without_holes_need_no_filler() -> None:
    image, _ = red_box()
    recorder = Recorder()
    pair = synthesize_pair(image, torch.zeros(40, 640), filler=recorder, rng=rng())
    assert torch.equal(pair.right, image)
    assert not hasattr(recorder, "wanted")


def test_bad_input_is_refused() -> None:
    image, disparity = red_box()
    with pytest.raises(WrongInput, match="negative or not finite"):
        synthesize_pair(image, disparity - 5, rng=rng())
    with pytest.raises(WrongInput, match="negative or not finite"):
        synthesize_pair(image, disparity.masked_fill(disparity > 9, torch.inf), rng=rng())
    with pytest.raises(WrongInput, match="from 640 px on move every pixel out of a picture 640 px wide"):
        synthesize_pair(image, torch.full((40, 640), 640.0), rng=rng())
    far_out = torch.full((40, 640), 4.0)
    far_out[7] = 650.0
    with pytest.raises(WrongInput, match="leaves nothing"):
        synthesize_pair(image, far_out, settings=SynthesisSettings(border="crop"), rng=rng())
    with pytest.raises(WrongInput, match="choose one of fill, crop, mask"):
        SynthesisSettings(border="stretch")
    with pytest.raises(WrongInput, match="there is no filler"):
        synthesize_pair(image, disparity, settings=SynthesisSettings(filler="magic"), rng=rng())
