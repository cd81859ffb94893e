"""What a teacher of unknown scale and shift tells: by hand, and by what must not matter."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses import (
    crop_alignment,
    draw_crops,
    edge_matching,
    gradient_distribution_kl,
    histogram_kl,
    masked_mean,
    metric_teacher,
)

NAN, INF = math.nan, math.inf
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
CROPS = [(0, 0, 12, 16), (2, 3, 5, 6), (4, 8, 8, 8)]
Values = tuple[Tensor, Tensor]


def sparse_truth(teacher: Tensor, scale: float, shift: float) -> Values:
    """The teacher in px at every third pixel of every second row."""
    known = torch.zeros_like(teacher, dtype=torch.bool)
    known[..., ::2, ::3] = True
    return torch.where(known, scale * teacher + shift, NAN), known


def alignment(p: Tensor, m: Tensor, mask: Tensor) -> Values:
    return crop_alignment(p, m, mask, CROPS)


def robust(p: Tensor, m: Tensor, mask: Tensor) -> Values:
    return crop_alignment(p, m, mask, CROPS, statistic="mad", trim=0.0)


def histograms(p: Tensor, m: Tensor, mask: Tensor) -> Values:
    return histogram_kl(p, m, mask, CROPS, bins=16)


def gradients(p: Tensor, m: Tensor, mask: Tensor) -> Values:
    return gradient_distribution_kl(p, m, mask, patch=5)


def metric(p: Tensor, m: Tensor, mask: Tensor) -> Values:
    """Truth is that of the unchanged teacher, whatever the teacher is now."""
    _, original, _ = maps(*p.shape[:-2])
    return metric_teacher(p, m, mask, *sparse_truth(original, 3.0, 5.0))


def edges(p: Tensor, m: Tensor, mask: Tensor) -> Values:
    return edge_matching(p, m, mask, near_px=1)


TERMS: list[Callable[[Tensor, Tensor, Tensor], Values]] = [alignment, robust, histograms, gradients, metric, edges]
EACH = pytest.mark.parametrize("term", TERMS)


def maps(*leading: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, teacher and mask of float64 at 12x16 px."""
    generator = torch.Generator().manual_seed(5)
    p, m = (torch.rand((*leading, 12, 16), generator=generator, dtype=torch.float64) for _ in range(2))
    return 5 + 30 * p, m, torch.rand((*leading, 12, 16), generator=generator) < 0.85


@EACH
@leading
def test_the_teacher_may_have_any_scale_and_shift(term: Callable[..., Values], leading: tuple[int, ...]) -> None:
    p, m, mask = maps(*leading)
    values, counted = term(p, m, mask)
    assert counted.any()
    assert (values[counted] >= 0).all()
    assert not values[~counted].any()
    for scale, shift in ((1e-4, 0.0), (250.0, -1e3), (1.0, 40.0)):
        other, same = term(p, scale * m + shift, mask)
        assert torch.equal(same, counted)
        torch.testing.assert_close(other, values, rtol=1e-6, atol=1e-8)
    whole = masked_mean(values, counted)
    assert whole > 0.01, "noise against noise"


@EACH
@leading
def test_an_affine_copy_of_the_teacher_costs_nothing(term: Callable[..., Values], leading: tuple[int, ...]) -> None:
    _, m, mask = maps(*leading)
    values, counted = term(3.0 * m + 5.0, m, mask)
    assert counted.any()
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=1e-9)
    if term is not metric:  # which knows the px from the truth
        values, _ = term(0.5 * m + 80.0, m, mask)
        torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=1e-9)
    against, counted = term(40 - 3.0 * m, m, mask)
    if term not in (histograms, gradients):  # a mirrored histogram may be the same, and so may a gradient's length
        assert masked_mean(against, counted) > 0.1


@EACH
def test_each_map_of_a_batch_stands_alone(term: Callable[..., Values]) -> None:
    if term is metric:
        return  # its truth is drawn for the batch
    p, m, mask = maps(2)
    values, counted = term(p, m, mask)
    for place in range(2):
        one, its = term(p[place], m[place], mask[place])
        torch.testing.assert_close(one, values[place])
        assert torch.equal(its, counted[place])


@EACH
def test_fillers_take_no_part_and_the_teacher_gets_no_gradient(term: Callable[..., Values]) -> None:
    p, m, mask = maps(2)
    wanted, counted = term(p, m, mask)
    for filler in (NAN, INF, -INF, 1e30):
        mine, its = (torch.where(mask, x, filler).requires_grad_() for x in (p, m))
        values, same = term(mine, its, mask)
        torch.testing.assert_close(values, wanted)
        assert torch.equal(same, counted)
        masked_mean(values, same).backward()
        assert its.grad is None
        assert mine.grad is not None
        assert mine.grad.isfinite().all()
        assert not mine.grad[~mask].any()
        assert mine.grad.any()


@EACH
def test_nothing_to_learn_costs_nothing(term: Callable[..., Values]) -> None:
    p, m, mask = maps(3)
    mask[0] = False
    m[1] = 0.25
    p.requires_grad_()
    values, counted = term(p, m, mask)
    assert not counted[:2].any()
    assert not values[:2].any()
    assert counted[2].any()
    masked_mean(values, counted).backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()
    assert not p.grad[:2].any()
    flat = torch.full_like(m, 7.0).requires_grad_()
    values, counted = term(flat, m, mask)
    masked_mean(values, counted).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


@EACH
def test_a_broken_prediction_shows(term: Callable[..., Values]) -> None:
    p, m, mask = maps(2)
    known = sparse_truth(m, 3.0, 5.0)[1]
    place = tuple((mask & ~known).nonzero()[0].tolist())
    p[place] = NAN
    values, counted = term(p, m, mask)
    assert masked_mean(values, counted).isnan()
    assert values[1].isfinite().all()


@EACH
def test_gradients_are_those_of_the_values(term: Callable[..., Values]) -> None:
    p, m, mask = maps()
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term(x, m, mask)[0], (p,), fast_mode=True)


def test_crops_by_hand() -> None:
    p = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 90.0]])
    m = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 16.0, 1e3]])
    mask = torch.ones(1, 9, dtype=torch.bool)
    (loss,), (counted,) = crop_alignment(p, m, mask, [(0, 0, 1, 8)], trim=0.125)
    assert counted
    # Median 3.5; mean distances 2 and 25/8 = 3.125; the last error is the largest of eight.
    errors = [abs(x - 3.5) * (1 / 2 - 1 / 3.125) for x in range(7)]
    assert loss.item() == pytest.approx(sum(errors) / 7)
    (robust,), _ = crop_alignment(p, m, mask, [(0, 0, 1, 8)], trim=0.0, statistic="mad")
    assert robust.item() == pytest.approx((16 - 7) / 2 / 8)  # the median distance is 2 in both
    (floor,), _ = crop_alignment(p, m, mask, [(0, 0, 1, 8)], trim=0.0, least_spread=4.0, statistic="mad")
    wanted = [abs((x - 3.5) / 4 - ((16 if x == 7 else x) - 3.5) / 2) for x in range(8)]
    assert floor.item() == pytest.approx(sum(wanted) / 8)


def test_crops_where_the_teacher_says_nothing_are_left_out() -> None:
    p, m, mask = maps()
    m[:, :8] = m[:, :8] * 1e-4  # less than a thousandth of the range
    crops = [(0, 0, 12, 8), (0, 8, 12, 8), (0, 8, 1, 7), (0, 0, 12, 16)]
    assert crop_alignment(p, m, mask, crops)[1].tolist() == [False, True, False, True]
    assert histogram_kl(p, m, mask, crops)[1].tolist() == [False, True, False, True]


def test_drawn_crops_lie_inside_and_repeat() -> None:
    drawn = draw_crops(48, 100, count=400, rng=np.random.default_rng(1))
    assert drawn == draw_crops(48, 100, count=400, rng=np.random.default_rng(1))
    assert drawn != draw_crops(48, 100, count=400, rng=np.random.default_rng(2))
    top, left, height, width = np.array(drawn).T
    assert (height.min(), height.max()) == (6, 24)
    assert (width.min(), width.max()) in [(12, 50), (13, 50), (12, 49), (13, 49)]
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() == 48
    assert (left + width).max() == 100
    assert abs(np.corrcoef(height, width)[0, 1]) < 0.2
    assert draw_crops(3, 2, count=2, side=(1, 1), rng=np.random.default_rng(0)) == [(0, 0, 3, 2)] * 2


def test_histograms_by_hand() -> None:
    m = torch.tensor([[-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 12.0]], dtype=torch.float64)
    mask = torch.ones(1, 8, dtype=torch.bool)
    # Median 0, spread 3.5; three bins with centres at -2, 0 and 2.
    shares = np.zeros(3)
    for x in np.minimum(m[0].numpy() / 3.5, 2):
        shares += np.maximum(0, 1 - np.abs(x - np.array([-2.0, 0.0, 2.0])) / 2)
    p = torch.tensor([[-2.0, -2.0, -2.0, -2.0, 2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)  # N(p) is -1 and 1
    q_m, q_p = ((1 - 1e-3) * s / s.sum() + 1e-3 / 3 for s in (shares, np.array([2.0, 4.0, 2.0])))
    ((loss,), _) = histogram_kl(p, m, mask, [(0, 0, 1, 8)], bins=3)
    assert loss.item() == pytest.approx((q_m * np.log(q_m / q_p)).sum())
    ((shuffled,), _) = histogram_kl(p.flip(-1), m, mask, [(0, 0, 1, 8)], bins=3)
    assert shuffled.item() == pytest.approx(loss.item()), "blind to where the values are"


def test_values_beyond_the_histogram_are_in_its_last_bins() -> None:
    m = torch.zeros(1, 100, dtype=torch.float64)
    m[0, ::2], m[0, 1] = 0.5, 1e3
    p = m.clone()
    p[0, 1] = 9e4
    mask = torch.ones(1, 100, dtype=torch.bool)
    ((loss,), (counted,)) = histogram_kl(p, m, mask, [(0, 0, 1, 100)], bins=8)
    assert counted
    assert 0 <= loss.item() < 1


def test_gradient_distributions_by_hand() -> None:
    m = torch.zeros(5, 5, dtype=torch.float64)
    m[:, 3:] = 1.0
    p = torch.tensor([0.0, 0.0, 1.0, 1.0, 3.0], dtype=torch.float64).expand(5, 5)
    mask = torch.ones(5, 5, dtype=torch.bool)
    # Medians 0 and 1, spreads 0.4 and 0.8; 4x4 pixels have both neighbours.
    ((loss,),), ((counted,),) = gradient_distribution_kl(p, m, mask, patch=5, temperature=2.5)
    assert counted
    of_m, of_p = (w / (4 * w.sum()) for w in (np.exp([0, 0, 1.0, 0]), np.exp([0, 0.5, 0, 1.0])))
    assert loss.item() == pytest.approx(4 * (of_m * np.log(of_m / of_p)).sum())
    mask[:, :3] = False
    assert not gradient_distribution_kl(p, m, mask, patch=5)[1].any()
    both, _ = gradient_distribution_kl(p.repeat(2, 3), m.repeat(2, 3), torch.ones(10, 15, dtype=torch.bool), patch=4)
    assert both.shape == (2, 3)


def test_the_metric_teacher_by_hand() -> None:
    _, m, _ = maps()
    truth, known = sparse_truth(m, 20.0, 1.0)
    truth[0, 0] = 300.0  # one wrong point of 36, whose pull the fit takes away
    p = 20 * m + 1 + 3
    confidence = torch.full_like(m, 0.5)
    everywhere = torch.ones_like(known)
    values, counted = metric_teacher(p, m, everywhere, truth, known)
    assert torch.equal(counted, ~known)
    torch.testing.assert_close(values[counted], torch.full_like(values[counted], 0.75), rtol=0, atol=0.02)
    weighted, _ = metric_teacher(p, m, everywhere, truth, known, confidence)
    torch.testing.assert_close(weighted, values / 2)
    for broken in (-m, torch.zeros_like(m)):
        assert not metric_teacher(p, broken, everywhere, truth, known)[1].any()
    assert not metric_teacher(p, m, everywhere, truth, torch.zeros_like(known))[1].any()
    two = torch.stack([m, -m])
    counted = metric_teacher(torch.stack([p, p]), two, *(torch.stack([x, x]) for x in (everywhere, truth, known)))[1]
    assert torch.equal(counted[0], ~known)
    assert not counted[1].any()


def test_edges_weigh_more_than_the_rest() -> None:
    m = torch.zeros(20, 40, dtype=torch.float64)
    m[:, 20:] = 1.0
    mask = torch.ones(20, 40, dtype=torch.bool)

    def cost(column: int, elsewhere: float) -> float:
        """Of a bump at that column; the edge is between 19 and 20."""
        p = m.clone()
        p[10, column] += 0.25
        value, counted = edge_matching(p, m, mask, scales=1, elsewhere=elsewhere)
        assert counted
        return value.item()

    far, just_outside, at_left, at_right, beyond, far_right = (cost(c, 0.1) for c in (3, 13, 14, 25, 26, 36))
    # A bump is four steps, two of which belong to the pixel itself, one to that before it and one to that above it.
    assert just_outside == pytest.approx(far, rel=0.01)
    assert far_right == pytest.approx(far, rel=0.01)
    assert at_left == pytest.approx((0.1 + 3) / 0.4 * far, rel=0.1)
    assert at_right == pytest.approx(4 / 0.4 * far, rel=0.1)
    assert beyond == pytest.approx((1 + 0.3) / 0.4 * far, rel=0.1)
    assert cost(14, 1.0) == pytest.approx(cost(3, 1.0), rel=0.01)
    assert cost(3, 0.0) < 0.05 * cost(14, 0.0)


def test_edge_matching_by_hand() -> None:
    m = torch.zeros(3, 4, dtype=torch.float64)
    m[:, 2:] = 2.0  # median 1, spread 1
    p = torch.zeros(3, 4, dtype=torch.float64)
    p[:, 1:] = 4.0  # median 4, spread 1
    mask = torch.ones(3, 4, dtype=torch.bool)
    # R is -4 + 1, 1, -1, -1 in each row; of 2x3 pixels those in columns 1 to 2 lie at the edge.
    value, counted = edge_matching(p, m, mask, scales=1, near_px=0, elsewhere=0.5)
    assert counted
    assert value.item() == pytest.approx((0.5 * 4 + 1 * 2 + 1 * 0) / 2.5)
    two, _ = edge_matching(p, m, mask, scales=2, near_px=0, elsewhere=0.5)  # columns 0 and 2: 1 of 1x1 pixels
    assert two.item() == pytest.approx(value.item() + 2)


def test_what_cannot_be() -> None:
    p, m, mask = maps()
    with pytest.raises(WrongInput, match="no crops to compare in"):
        crop_alignment(p, m, mask, [])
    with pytest.raises(WrongInput, match="with 1 bins"):
        histogram_kl(p, m, mask, CROPS, bins=1)
    with pytest.raises(WrongInput, match=r"patches of 13 px with temperature 0\.1 do not suit a map of 16x12 px"):
        gradient_distribution_kl(p, m, mask, patch=13)
    with pytest.raises(WrongInput, match="temperature 0 "):
        gradient_distribution_kl(p, m, mask, patch=4, temperature=0)
    with pytest.raises(WrongInput, match="elsewhere 2"):
        edge_matching(p, m, mask, elsewhere=2)
    for changes in ({"count": 0}, {"side": (0.5, 0.1)}, {"side": (0.0, 0.1)}, {"side": (0.5, 1.1)}):
        with pytest.raises(WrongInput, match="crops with sides from"):
            draw_crops(10, 10, rng=np.random.default_rng(0), **changes)  # type: ignore[arg-type]
