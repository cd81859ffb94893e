import pytest
import roma
import torch
from torch import Tensor

from depthweave import geometry
from depthweave.alignment import align, fit_scale, fit_scale_shift, fit_similarity
from depthweave.errors import WrongInput

METHODS = ["least_squares", "huber", "median"]
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)


def maps(*leading: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A prediction in [1, 2] and a mask that leaves out one pixel in five."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*leading, 12, 16)
    return 1 + torch.rand(shape, generator=generator), torch.rand(shape, generator=generator) > 0.2


@leading
@pytest.mark.parametrize("method", METHODS)
def test_exact_recovery_per_map(leading: tuple[int, ...], method: str) -> None:
    p, valid = maps(*leading)
    scale = torch.arange(1.0, p[..., 0, 0].numel() + 1).reshape(leading)
    shift = scale - 3
    g = scale[..., None, None] * p + shift[..., None, None]
    fit = fit_scale_shift(p, g, valid, method=method)
    assert fit.scale.shape == fit.shift.shape == leading
    torch.testing.assert_close(fit.scale, scale, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fit.shift, shift, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fit.apply(p), g)
    only = fit_scale(p, scale[..., None, None] * p, valid, method=method)
    torch.testing.assert_close(only.scale, scale)
    assert (only.shift == 0).all()


def test_least_squares_by_hand() -> None:
    p, g = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 2.0, 6.0]])
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    fit = fit_scale_shift(p, g, everywhere)
    assert (fit.scale.item(), fit.shift.item()) == pytest.approx((2.5, 0.5))
    assert fit_scale(p, g, everywhere).scale.item() == pytest.approx(14 / 5)


def test_median_by_hand() -> None:
    p, g = torch.tensor([[1.0, 2.0, 3.0, 6.0]]), torch.tensor([[2.0, 4.0, 8.0, 100.0]])
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    assert fit_scale(p, g, everywhere, method="median").scale.item() == pytest.approx(6 / 2.5)
    fit = fit_scale_shift(p, g, everywhere, method="median")
    # Median 2.5 and mean absolute deviation 1.5 against median 6 and deviation 25.5.
    assert (fit.scale.item(), fit.shift.item()) == pytest.approx((17.0, 6 - 17 * 2.5))


def test_weights_count_like_repetition() -> None:
    p, g = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[2.0, 3.0, 9.0]])
    weights = torch.tensor([[1.0, 3.0, 2.0]])
    often = [0, 1, 1, 1, 2, 2]
    for fitter in (fit_scale, fit_scale_shift):
        for method in METHODS:
            weighted = fitter(p, g, torch.ones(1, 3, dtype=torch.bool), weights=weights, method=method)
            repeated = fitter(p[:, often], g[:, often], torch.ones(1, 6, dtype=torch.bool), method=method)
            torch.testing.assert_close(weighted.scale, repeated.scale)
            torch.testing.assert_close(weighted.shift, repeated.shift)


def test_weight_zero_is_the_same_as_invalid() -> None:
    p, valid = maps()
    g = torch.where(valid, 2 * p + 1, 77.0)
    fit = fit_scale_shift(p, g, torch.ones_like(valid), weights=valid.float())
    assert (fit.scale.item(), fit.shift.item()) == pytest.approx((2, 1), rel=1e-5)


@pytest.mark.parametrize("both_sides", [True, False])
def test_huber_bears_outliers_that_bend_least_squares(both_sides: bool) -> None:
    p, _ = maps(seed=4)
    everywhere = torch.ones_like(p, dtype=torch.bool)
    generator = torch.Generator().manual_seed(5)
    wrong = torch.rand(p.shape, generator=generator) < 0.3
    sign = torch.where(torch.rand(p.shape, generator=generator) < 0.5 * both_sides, -1.0, 1.0)
    off = 20 * sign * wrong

    def error(method: str) -> float:
        return float(
            (fit_scale_shift(p, 2 * p + 1 + off, everywhere, method=method).apply(p) - (2 * p + 1)).abs().max()
        )

    def scale_error(method: str) -> float:
        return abs(fit_scale(p, 2 * p + off, everywhere, method=method).scale.item() - 2)

    assert error("huber") < 0.05
    assert error("least_squares") > 1
    assert scale_error("huber") < 0.02
    assert scale_error("least_squares") > 0.2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("filler", [1e30, -1e30, 0.0, float("inf"), float("nan")])
def test_fillers_have_no_influence(method: str, filler: float) -> None:
    p, valid = maps(2)
    g = 3 * p - 1
    for fitter in (fit_scale, fit_scale_shift):
        clean = fitter(p, g, valid, method=method)
        dirty = fitter(torch.where(valid, p, filler), torch.where(valid, g, -filler), valid, method=method)
        assert torch.equal(clean.scale, dirty.scale)
        assert torch.equal(clean.shift, dirty.shift)


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_input_is_refused(method: str) -> None:
    p, valid = maps(2)
    one = torch.zeros_like(valid)
    one[0], one[1, 0, 0] = True, True
    with pytest.raises(WrongInput, match="at least two valid pixels in every map"):
        fit_scale_shift(p, p, one, method=method)
    with pytest.raises(WrongInput, match="at least one valid pixel in every map"):
        fit_scale(p, p, one & (p > 5), method=method)
    constant = p.clone()
    constant[1] = 0.7
    with pytest.raises(WrongInput, match="constant"):
        fit_scale_shift(constant, p, valid, method=method)
    with pytest.raises(WrongInput, match="zero"):
        fit_scale(torch.zeros_like(p), p, valid, method=method)


def test_one_fit_over_a_clip_pools_the_frames() -> None:
    p, valid = maps(3)
    factor = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    per_image = fit_scale(p, factor * p, valid)
    torch.testing.assert_close(per_image.scale, factor.flatten())
    pooled = fit_scale(p, factor * p, valid, over="clip")
    assert pooled.scale.shape == (3,)
    energy = (p.square() * valid).sum((-1, -2))
    expected = (factor.flatten() * energy).sum() / energy.sum()
    torch.testing.assert_close(pooled.scale, expected.expand(3))
    assert fit_scale_shift(p[0], 2 * p[0], valid[0], over="clip").scale.shape == ()


def test_a_clip_fit_needs_no_valid_pixel_in_each_frame() -> None:
    p, valid = maps(2)
    valid[1] = False
    assert fit_scale_shift(p, 2 * p + 1, valid, over="clip").scale.tolist() == pytest.approx([2, 2], rel=1e-5)


@leading
def test_align_in_both_domains(leading: tuple[int, ...]) -> None:
    depth, valid = maps(*leading)
    affine = 3 * depth + 2
    torch.testing.assert_close(align(affine, depth, valid, domain="depth"), depth)
    inverse_affine = 1 / (0.4 / depth + 0.1)
    found = align(inverse_affine, depth, valid, domain="inverse_depth")
    torch.testing.assert_close(found, depth, rtol=1e-4, atol=0)
    found = align(5 * depth, depth, valid, domain="inverse_depth", shift=False)
    torch.testing.assert_close(found, depth)


def test_align_puts_what_lies_beyond_infinity_at_infinity() -> None:
    # 1/p = 1, 2, 3 meets 1/g = 1, 3, 5 by s = 2 and t = -1: the fourth pixel, 1/p = 0.25, gets -0.5.
    prediction, reference = torch.tensor([[1.0, 1 / 2, 1 / 3, 4.0]]), torch.tensor([[1.0, 1 / 3, 1 / 5, 0.0]])
    found = align(prediction, reference, torch.ones(1, 4, dtype=torch.bool), domain="inverse_depth")
    torch.testing.assert_close(found, torch.tensor([[1.0, 1 / 3, 1 / 5, torch.inf]]))


# Similarity


def cloud(*leading: int) -> Tensor:
    return torch.randn(*leading, 9, 3, generator=torch.Generator().manual_seed(1))


@leading
def test_similarity_finds_a_known_motion(leading: tuple[int, ...]) -> None:
    source = cloud(*leading)
    pose = geometry.pose_from_quaternion(torch.tensor([0.1, -0.3, 0.2, 0.9]), torch.tensor([1.0, -2, 3]))
    target = 2.5 * source @ pose[:3, :3].T + pose[:3, 3]
    found = fit_similarity(source, target)
    assert found.scale.shape == leading
    torch.testing.assert_close(found.scale, torch.full(leading, 2.5), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.rotation, pose[:3, :3].expand(*leading, 3, 3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.translation, pose[:3, 3].expand(*leading, 3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.apply(source), target, rtol=1e-4, atol=1e-4)


@leading
def test_rigid_motion_keeps_the_scale(leading: tuple[int, ...]) -> None:
    source = cloud(*leading)
    found = fit_similarity(source, 2 * source + 1, with_scale=False)
    assert torch.equal(found.scale, torch.ones(leading))
    torch.testing.assert_close(found.rotation, torch.eye(3).expand(*leading, 3, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filler", [1e30, float("nan")])
def test_points_of_weight_zero_are_left_out(filler: float) -> None:
    source = cloud()
    target = 2 * source + 1
    weights = torch.ones(9)
    weights[4] = 0
    source[4], target[4] = filler, -filler
    found = fit_similarity(source, target, weights=weights)
    assert found.scale.item() == pytest.approx(2, rel=1e-4)
    torch.testing.assert_close(found.translation, torch.ones(3), rtol=1e-4, atol=1e-4)


def test_weights_pull_the_similarity() -> None:
    source = cloud()
    target = source.clone()
    target[0] += 1
    even = fit_similarity(source, target, weights=torch.ones(9))
    weights = torch.ones(9)
    weights[0] = 1e-6
    uneven = fit_similarity(source, target, weights=weights)
    assert (even.apply(source) - source)[1:].abs().max() > 0.02
    assert (uneven.apply(source) - source)[1:].abs().max() < 1e-3


def test_similarity_needs_three_points() -> None:
    source = cloud()
    with pytest.raises(WrongInput, match="three points"):
        fit_similarity(source[:2], source[:2])
    weights = torch.zeros(2, 9)
    weights[:, :3] = 1
    weights[1, 0] = 0
    with pytest.raises(WrongInput, match="positive weight"):
        fit_similarity(cloud(2), cloud(2), weights=weights)


def test_least_squares_and_symmetric_scale_by_hand() -> None:
    source = torch.tensor([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0]])
    target = torch.tensor([[2.0, 0, 0], [-2, 0, 0], [0, 1, 1.5], [0, -1, 1.5]])
    least = fit_similarity(source, target)
    symmetric = fit_similarity(source, target, scale="symmetric")
    assert least.scale.item() == pytest.approx(1.0)
    # Spread of y: 8 + 2 in the plane, and (1.5 - 0.75)^2 for each of the four points across it.
    assert symmetric.scale.item() == pytest.approx(((10 + 4 * 0.75**2) / 10) ** 0.5)
    assert symmetric.translation.tolist() == pytest.approx([0, 0, 0.75], abs=1e-6)
    torch.testing.assert_close(symmetric.rotation, least.rotation)


@leading
def test_symmetric_scale_is_undone_by_the_way_back(leading: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(2)
    source = torch.randn(*leading, 40, 3, generator=generator)
    target = 3 * source + 0.5 * torch.randn(source.shape, generator=generator) + 1
    weights = torch.rand(*leading, 40, generator=generator)
    there = fit_similarity(source, target, weights=weights, scale="symmetric")
    back = fit_similarity(target, source, weights=weights, scale="symmetric")
    assert there.scale.shape == leading
    torch.testing.assert_close(there.scale * back.scale, torch.ones(leading))
    torch.testing.assert_close(there.rotation, back.rotation.transpose(-1, -2), rtol=1e-4, atol=1e-5)
    least = (
        fit_similarity(source, target, weights=weights).scale * fit_similarity(target, source, weights=weights).scale
    )
    assert bool((least < 0.999).all())


def test_equal_noise_on_both_sides_leaves_the_symmetric_scale_alone() -> None:
    generator = torch.Generator().manual_seed(4)
    truth = torch.randn(20000, 3, generator=generator)
    source, target = (scale * (truth + 0.4 * torch.randn(truth.shape, generator=generator)) for scale in (1, 2))
    assert fit_similarity(source, target, scale="symmetric").scale.item() == pytest.approx(2, rel=0.01)
    assert fit_similarity(source, target).scale.item() == pytest.approx(2 / 1.16, rel=0.01)


def test_similarity_agrees_with_roma() -> None:
    generator = torch.Generator().manual_seed(6)
    source, target = torch.randn(2, 3, 30, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(3, 30, generator=generator, dtype=torch.float64)
    found = fit_similarity(source, target, weights=weights)
    rotation, translation, scale = roma.rigid_points_registration(source, target, weights, compute_scaling=True)
    torch.testing.assert_close(found.rotation, rotation)
    torch.testing.assert_close(found.translation, translation)
    torch.testing.assert_close(found.scale, scale)
    # Noise against noise: some of these would be reflections.
    assert bool((torch.linalg.det(found.rotation) > 0.999).all())
    rigid = fit_similarity(source, target, weights=weights, with_scale=False)
    rotation, translation = roma.rigid_points_registration(source, target, weights)
    torch.testing.assert_close(rigid.translation, translation)


def test_points_far_from_the_origin_keep_their_scale() -> None:
    source = cloud().double() + 1e4
    found = fit_similarity(source.float(), 2 * source.float())
    assert found.scale.dtype == torch.float32
    assert found.scale.item() == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("scale", ["least_squares", "symmetric"])
def test_points_all_in_one_place_have_no_scale(scale: str) -> None:
    source = torch.full((2, 9, 3), 0.3)
    source[0] = cloud()
    with pytest.raises(WrongInput, match="lie in one place"):
        fit_similarity(source, cloud(2), scale=scale)
    fit_similarity(source, cloud(2), with_scale=False, scale=scale)
