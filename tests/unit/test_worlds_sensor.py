import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.worlds.sensor import IDEAL, Sensor, discrete_gaussian, expose, jpeg

ALL = Sensor(
    exposure=1.1,
    white_balance=(1.05, 1.0, 0.9),
    gamma=2.2,
    offset=0.01,
    vignetting=0.3,
    gradient=(0.1, -0.05),
    blur_px=0.7,
    motion_blur_px=3.0,
    motion_blur_rad=0.5,
    shot_noise=0.02,
    read_noise=0.01,
    shift_y_px=0.4,
    roll_rad=0.004,
    jpeg_quality=80,
)
LINEAR = Sensor(gamma=1.0)


def taken(light: Tensor, sensor: Sensor, seed: int = 0) -> Tensor:
    return expose(light, sensor, torch.Generator().manual_seed(seed))


def random_light(height: int = 40, width: int = 56, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def smooth(y: Tensor, x: Tensor) -> Tensor:
    """A smooth function of the place, per channel, as linear light."""
    waves = [0.5 + 0.2 * torch.sin(0.05 * x + phase) + 0.2 * torch.cos(0.07 * y - phase) for phase in (0.0, 1.0, 2.0)]
    return torch.stack(waves)


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    return y, x


def photograph(height: int, width: int) -> Tensor:
    """Edges, gradients and some grain, in [0, 1]."""
    y, x = (values.float() for values in grid(height, width))
    picture = 0.6 * smooth(y * 3, x * 2).float() + 0.3 * ((x - 60) ** 2 + (y - 50) ** 2 < 900).float()
    picture[0] += 0.2 * ((x // 13 + y // 17) % 2)
    return (picture + 0.02 * torch.randn(3, height, width, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def moments(kernel: Tensor) -> tuple[float, float, float, float]:
    """Sum, and variances along x, along y and between them, of a picture of a point."""
    y, x = grid(*kernel.shape)
    y, x = y - kernel.shape[0] // 2, x - kernel.shape[1] // 2
    total = kernel.sum()
    assert (kernel * x).sum() / total == pytest.approx(0, abs=1e-4)
    assert (kernel * y).sum() / total == pytest.approx(0, abs=1e-4)
    variances = ((kernel * x * x).sum(), (kernel * y * y).sum(), (kernel * x * y).sum())
    return float(total), *(float(value / total) for value in variances)


def point(size: int = 41) -> Tensor:
    light = torch.zeros(3, size, size)
    light[:, size // 2, size // 2] = 1
    return light


def test_an_ideal_sensor_takes_the_root_of_light_exactly() -> None:
    light = 3 * random_light() - 0.5
    before = light.clone()
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert torch.equal(expose(light, IDEAL, generator), light.clamp(0, 1).sqrt())
    assert torch.equal(light, before)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 32), (33, 50), (37, 8)])
def test_every_size_is_served_and_light_is_kept(size: tuple[int, int], grey: bool) -> None:
    light = 2 * random_light(*size)
    before = light.clone()
    picture = taken(light, replace(ALL, grey=grey))
    assert picture.shape == light.shape
    assert picture.dtype == torch.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert torch.equal(light, before)


def test_same_seed_same_bytes() -> None:
    light = random_light()
    assert torch.equal(taken(light, ALL, 5), taken(light, ALL, 5))
    assert not torch.equal(taken(light, ALL, 5), taken(light, ALL, 6))


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 2.7])
def test_blur_has_its_variance(sigma: float) -> None:
    total, along_x, along_y, between = moments(taken(point(), replace(LINEAR, blur_px=sigma))[1])
    assert total == pytest.approx(1, abs=1e-5)
    assert (along_x, along_y) == pytest.approx((sigma**2, sigma**2), rel=0.03, abs=0.002)
    assert between == pytest.approx(0, abs=1e-5)
    assert len(discrete_gaussian(sigma)) <= 2 * math.ceil(4 * sigma + 1) + 1


@pytest.mark.parametrize("direction", [0.0, 0.6, math.pi / 2, 2.5])
@pytest.mark.parametrize("length", [2.0, 5.0, 9.0])
def test_a_streak_has_its_length_and_direction(length: float, direction: float) -> None:
    total, along_x, along_y, between = moments(
        taken(point(), replace(LINEAR, motion_blur_px=length, motion_blur_rad=direction))[1]
    )
    assert total == pytest.approx(1, abs=1e-5)
    variance, across = length**2 / 12, 1 / 6  # bilinear light adds up to 1/4 along each axis, 1/6 on average
    cosine, sine = math.cos(direction), math.sin(direction)
    assert along_x == pytest.approx(variance * cosine**2 + (across if abs(cosine) > 0.1 else 0), abs=0.08)
    assert along_y == pytest.approx(variance * sine**2 + (across if abs(sine) > 0.1 else 0), abs=0.08)
    assert between == pytest.approx(variance * cosine * sine, abs=0.02)


def test_vignetting_takes_its_share_in_the_corners_and_falls_like_cos_4() -> None:
    picture = taken(torch.full((3, 31, 51), 0.8), replace(LINEAR, vignetting=0.4))
    for y, x in ((0, 0), (0, 50), (30, 0), (30, 50)):
        assert picture[:, y, x].tolist() == pytest.approx([0.48] * 3, abs=1e-6)
    assert picture[:, 15, 25].tolist() == pytest.approx([0.8] * 3, abs=1e-6)
    tangent = math.sqrt(1 / math.sqrt(0.6) - 1)  # of the corner's angle
    radius = 25 * 51 / 50 / math.hypot(51 / 2, 31 / 2)
    angle = math.atan(tangent * radius)
    assert float(picture[0, 15, 50]) == pytest.approx(0.8 * math.cos(angle) ** 4, rel=1e-5)


def test_gains_and_gradient_multiply_light() -> None:
    light = 0.4 * random_light()
    picture = taken(light, replace(LINEAR, exposure=1.5, white_balance=(1.2, 1.0, 0.5)))
    assert torch.allclose(picture, light * torch.tensor([1.8, 1.5, 0.75])[:, None, None])
    flat = taken(torch.full((3, 21, 31), 0.5), replace(LINEAR, gradient=(0.2, -0.1)))
    assert flat[0, 10].tolist() == pytest.approx(np.linspace(0.4, 0.6, 31).tolist())
    assert flat[2, :, 15].tolist() == pytest.approx(np.linspace(0.55, 0.45, 21).tolist())


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_noise_has_its_deviation(level: float) -> None:
    light = torch.full((3, 120, 160), level)
    noise = taken(light, replace(LINEAR, shot_noise=0.03, read_noise=0.01)) - light
    assert float(noise.mean()) == pytest.approx(0, abs=5e-4)
    assert float(noise.std()) == pytest.approx(math.hypot(0.03 * math.sqrt(level), 0.01), rel=0.02)
    channels = noise.flatten(1)
    assert torch.corrcoef(channels).fill_diagonal_(0).abs().max() < 0.03
    assert abs(float((channels[:, 1:] * channels[:, :-1]).mean() / channels.var())) < 0.03


def test_shot_noise_is_even_in_the_picture_of_gamma_2() -> None:
    for level in (0.2, 0.6):
        picture = taken(torch.full((3, 120, 160), level), Sensor(shot_noise=0.03))
        assert float(picture.std()) == pytest.approx(0.015, rel=0.03)


def test_noise_comes_before_clipping() -> None:
    picture = taken(torch.full((3, 60, 80), 4.0), replace(LINEAR, read_noise=0.05))
    assert torch.equal(picture, torch.ones_like(picture))


def test_encoding_and_black_level() -> None:
    light = random_light()
    assert torch.allclose(taken(light, Sensor(gamma=2.4)), light ** (1 / 2.4), atol=1e-6)
    assert torch.allclose(taken(light, Sensor(offset=0.05)), (light.sqrt() + 0.05).clamp(max=1))
    assert torch.allclose(taken(light, Sensor(offset=-0.05)), (light.sqrt() - 0.05).clamp(min=0))


def test_a_grey_sensor_sees_luminance() -> None:
    light = random_light()
    picture = taken(light, replace(LINEAR, grey=True, white_balance=(0.5, 1.0, 1.0)))
    assert torch.allclose(picture[0], 0.1495 * light[0] + 0.587 * light[1] + 0.114 * light[2], atol=1e-6)
    assert torch.equal(picture[0], picture[1])
    assert torch.equal(picture[0], picture[2])


@pytest.mark.parametrize("shift", [-6.0, -1.3, 0.25, 0.5, 1.0, 4.7])
def test_a_shift_moves_the_picture_down_by_that_much(shift: float) -> None:
    y, x = grid(60, 70)
    picture = taken(smooth(y, x).float() ** 2, Sensor(shift_y_px=shift))
    expected = smooth(y - shift, x).float()
    assert torch.allclose(picture[:, 8:-8], expected[:, 8:-8], atol=2e-5)


def test_whole_shifts_are_exact_and_borders_go_on() -> None:
    light = random_light()
    picture, ideal = taken(light, Sensor(shift_y_px=3.0)), taken(light, IDEAL)
    assert torch.allclose(picture[:, 3:], ideal[:, :-3], atol=1e-6)
    assert torch.allclose(picture[:, :3], ideal[:, :1].expand(-1, 3, -1), atol=1e-6)
    taken(light, Sensor(shift_y_px=100.0))


@pytest.mark.parametrize("shift", [0.0, 1.6])
@pytest.mark.parametrize("roll", [-0.03, 0.002, 0.05])
def test_a_roll_turns_the_picture_clockwise_about_its_middle(roll: float, shift: float) -> None:
    y, x = grid(90, 121)
    picture = taken(smooth(y, x).float() ** 2, Sensor(roll_rad=roll, shift_y_px=shift))
    from_x, from_y = x - 60, y - 44.5 - shift
    cosine, sine = math.cos(roll), math.sin(roll)
    expected = smooth(from_y * cosine - from_x * sine + 44.5, from_x * cosine + from_y * sine + 60).float()
    assert torch.allclose(picture[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], atol=5e-5)
    # Clockwise: what was at the right edge stands lower.
    mark = torch.zeros(3, 91, 121)
    mark[:, 44:47, 115] = 1
    lower = taken(mark, Sensor(roll_rad=roll))[0].sum(1)
    assert float((lower * torch.arange(91)).sum() / lower.sum()) == pytest.approx(45 + 55 * math.sin(roll), abs=0.15)


def pillow_jpeg(picture: Tensor, quality: int) -> Tensor:
    array = picture.mul(255).round().byte()
    image = Image.fromarray(array[0].numpy() if len(array) == 1 else array.permute(1, 2, 0).numpy())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(file))).float() / 255
    return decoded[None] if decoded.ndim == 2 else decoded.permute(2, 0, 1)


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 90, 98])
@pytest.mark.parametrize("size", [(96, 128), (85, 111)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_loses_what_pillows_loses(quality: int, size: tuple[int, int], channels: int) -> None:
    picture = photograph(*size)[:channels].mul(255).round() / 255
    ours, theirs = jpeg(picture, quality).mul(255).round() / 255, pillow_jpeg(picture, quality)
    assert psnr_db(ours, picture) == pytest.approx(psnr_db(theirs, picture), abs=0.3)
    assert float((ours - theirs).abs().mean()) < 0.25 * float((theirs - picture).abs().mean()) + 0.5 / 255


def test_jpeg_comes_last() -> None:
    light = photograph(48, 64) ** 2
    assert torch.equal(taken(light, Sensor(jpeg_quality=60)), jpeg(light.sqrt(), 60))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"exposure": -1.0}, "exposure is -1.0"),
        ({"blur_px": -0.1}, "blur_px"),
        ({"read_noise": math.nan}, "read_noise"),
        ({"gamma": 0.0}, "gamma"),
        ({"vignetting": 1.0}, "vignetting"),
        ({"roll_rad": 1.0}, "roll_rad"),
        ({"jpeg_quality": 0}, "jpeg_quality"),
    ],
)
def test_impossible_numbers_are_refused(fields: dict, word: str) -> None:
    with pytest.raises(WrongInput, match=word):
        Sensor(**fields)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_the_same_picture() -> None:
    light = photograph(50, 70) ** 2
    quiet = replace(ALL, shot_noise=0.0, read_noise=0.0, jpeg_quality=None)
    on_gpu = expose(light.cuda(), quiet, torch.Generator("cuda"))
    assert torch.allclose(on_gpu.cpu(), taken(light, quiet), atol=1e-5)
    assert expose(light.cuda(), ALL, torch.Generator("cuda")).is_cuda
