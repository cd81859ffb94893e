import math
from itertools import pairwise

import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.models.video.depthcrafter import frame_noise, noise_levels, plan_windows
from depthweave.models.video.depthcrafter.conditions import clip_pixels, working_size
from depthweave.models.video.depthcrafter.latents import context_span, maps_from_pictures, pictures_from_maps
from depthweave.models.video.depthcrafter.schedule import (
    SCHEDULES,
    clean_from_velocity,
    first_noise_level,
    model_time,
    step_to,
)
from depthweave.models.video.depthcrafter.windows import cross_fade


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("karras", (700, 70.541, 2.2691, 0.002, 0)),
        ("karras-trailing", (700, 70.541, 2.2691, 0.002, 0)),
        ("table-leading", (4.1167, 1.6237, 0.69840, 0.041314, 0)),
        ("table-trailing", (14.6146, 4.0817, 1.6129, 0.69321, 0)),
        ("zero-snr", (4096, 5.3987, 1.7681, 0.72706, 0)),
    ],
)
def test_four_steps(schedule: str, wanted: tuple[float, ...]) -> None:
    assert noise_levels(4, schedule).tolist() == pytest.approx(wanted, rel=2e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 25])
def test_levels_fall_to_zero(schedule: str, steps: int) -> None:
    levels = noise_levels(steps, schedule)
    assert len(levels) == steps + 1
    assert bool((levels[1:] < levels[:-1]).all())
    assert levels[-1] == 0


def test_wrong_schedules() -> None:
    with pytest.raises(WrongInput, match="karras, karras-trailing"):
        noise_levels(4, "linear")
    for steps in (0, 1001):
        with pytest.raises(WrongInput, match="1 to 1000"):
            noise_levels(steps, "karras")


def test_first_noise_is_larger_with_leading_spacing() -> None:
    levels = torch.tensor([2.0, 0.0])
    assert first_noise_level(levels, "table-leading") == pytest.approx(math.sqrt(5))
    assert first_noise_level(levels, "table-trailing") == 2


@pytest.mark.parametrize("shape", [(), (2,), (1, 2)])
def test_true_velocity_gives_the_clean_latent_and_the_noise(shape: tuple[int, ...]) -> None:
    """v = alpha noise - sigma' x0 with alpha = 1 / sqrt(sigma^2 + 1) and sigma' = sigma alpha (v-prediction)."""
    clean, noise = torch.randn(*shape, 3), torch.randn(*shape, 3)
    sigma = torch.tensor(1.6)
    alpha = 1 / math.sqrt(1.6**2 + 1)
    velocity = alpha * noise - 1.6 * alpha * clean
    noisy = clean + 1.6 * noise
    assert torch.allclose(clean_from_velocity(velocity, noisy, sigma), clean, atol=1e-5)
    assert torch.allclose(step_to(velocity, noisy, sigma, torch.tensor(0.5)), clean + 0.5 * noise, atol=1e-5)
    assert torch.equal(step_to(velocity, noisy, sigma, torch.tensor(0.0)), clean_from_velocity(velocity, noisy, sigma))


def test_time_of_a_noise_level() -> None:
    assert float(model_time(torch.tensor(700.0))) == pytest.approx(1.6378, abs=1e-4)
    assert float(model_time(torch.tensor(1.0))) == 0


def test_windows_of_a_long_clip() -> None:
    plan = plan_windows(438, 110, 25)
    assert [first for first, _ in plan.spans] == [0, 85, 170, 255, 340]
    assert plan.spans[-1] == (340, 438)
    assert plan_windows(12, 6, 2).spans == ((0, 6), (4, 10), (8, 12))


@pytest.mark.parametrize(("count", "window", "overlap"), [(1, 110, 25), (110, 110, 25), (5, 6, 2)])
def test_a_short_clip_is_one_window(count: int, window: int, overlap: int) -> None:
    plan = plan_windows(count, window, overlap)
    assert (plan.spans, plan.overlap) == (((0, count),), 0)


@pytest.mark.parametrize(("count", "window", "overlap"), [(111, 110, 25), (137, 25, 8), (9, 4, 3), (8, 4, 0)])
def test_windows_cover_every_frame(count: int, window: int, overlap: int) -> None:
    spans = plan_windows(count, window, overlap).spans
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    for (_, stop), (start, end) in pairwise(spans):
        assert stop - start == overlap
        assert end - start > overlap


def test_wrong_windows() -> None:
    with pytest.raises(WrongInput, match="take 0 to 5"):
        plan_windows(12, 6, 6)
    with pytest.raises(WrongInput, match="without frames"):
        plan_windows(0, 6, 2)


def test_noise_belongs_to_seed_stream_and_frame() -> None:
    noise = frame_noise(1, "latents", 5, (4, 30, 40))
    assert torch.equal(noise, frame_noise(1, "latents", 5, (4, 30, 40)))
    for other in ((2, "latents", 5), (1, "augmentation", 5), (1, "latents", 6)):
        assert abs(float((noise * frame_noise(*other, (4, 30, 40))).mean())) < 0.05
    assert noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(1, abs=0.03)


def test_cross_fade_keeps_both_ends() -> None:
    before, after = torch.zeros(5, 2, 3), torch.ones(5, 2, 3)
    assert cross_fade(before, after)[:, 0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert float(cross_fade(before[:1], after[:1])[0, 0, 0]) == 0


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((436, 1024), (448, 1024)),
        ((480, 640), (512, 640)),
        ((375, 1242), (320, 1024)),
        ((96, 160), (128, 128)),  # 1.5 and 2.5 go to the even neighbour
        ((1080, 1920), (576, 1024)),
        ((20, 20), (64, 64)),
    ],
)
def test_size_by_the_rule_of_depthcrafter(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert working_size(*size) == wanted


def test_size_at_other_multiples() -> None:
    assert working_size(436, 1020, multiple=8) == (432, 1024)
    assert working_size(480, 640, max_size=320, multiple=8) == (240, 320)
    for multiple, limit in ((12, 512), (0, 512), (64, 32)):
        with pytest.raises(WrongInput, match="multiple of 8"):
            working_size(480, 640, max_size=limit, multiple=multiple)


def test_clip_sees_even_pictures_as_they_are() -> None:
    pixels = clip_pixels(torch.full((2, 3, 500, 300), 0.2))
    mean, deviation = 0.48145466, 0.26862954
    assert pixels.shape == (2, 3, 224, 224)
    assert torch.allclose(pixels[:, 0], torch.tensor((0.6 - mean) / deviation), atol=1e-5)


def test_maps_and_pictures() -> None:
    maps = torch.rand(2, 3, 4)
    pictures = pictures_from_maps(maps)
    assert pictures.shape == (2, 3, 3, 4)
    assert torch.allclose(maps_from_pictures(pictures), maps, atol=1e-6)
    # Each channel is limited before the mean is taken: (1 + 1 + 0.25) / 3.
    found = maps_from_pictures(torch.tensor([5.0, 1.0, -0.5]).reshape(1, 3, 1, 1))
    assert found.item() == pytest.approx(0.75)


def test_context_around_a_chunk() -> None:
    assert context_span(8, 16, 30, 3) == (5, 19, slice(3, 11))
    assert context_span(0, 8, 9, 3) == (0, 9, slice(0, 8))
