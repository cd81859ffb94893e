"""Links between frames, the series of scales, and smoothing along motion: values by hand and behaviour."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from depthweave import geometry
from depthweave.classical.frame_links import FrameLink, LogDepth, link_frames, log_depth_change, measure_step
from depthweave.classical.temporal import (
    Passage,
    enlarge_on_surfaces,
    scale_series,
    smooth_along_motion,
)
from depthweave.errors import WrongInput

HEIGHT, WIDTH = 48, 64
SIZE = (HEIGHT, WIDTH)
INTRINSICS = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
EVERYWHERE = np.ones(SIZE, dtype=bool)


def level(value: float, weight: float = 1.0) -> LogDepth:
    return LogDepth(np.full(SIZE, value, np.float32), np.full(SIZE, weight, np.float32))


def passage(x: float = 0.0, growth: float = 0.0, ok: NDArray[np.bool_] = EVERYWHERE) -> Passage:
    motion = np.zeros((*SIZE, 2), np.float32)
    motion[..., 0] = x
    return Passage(motion, np.full(SIZE, growth, np.float32), ok)


def texture(seed: int, shift: int = 0) -> NDArray[np.uint8]:
    rough = torch.rand(1, 1, HEIGHT, WIDTH + 20, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool2d(rough, 5, 1, 2)[0, 0].numpy()
    stretched = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.ascontiguousarray(np.round(255 * stretched[:, 10 - shift : 10 - shift + WIDTH])).astype(np.uint8)


# -- links


def test_motion_points_from_the_first_picture_to_the_second() -> None:
    link = link_frames(texture(0), texture(0, shift=3))
    inside = (slice(8, -8), slice(12, -12))
    assert link.connected
    assert np.median(link.forward[inside][..., 0]) == pytest.approx(3, abs=0.1)
    assert np.median(link.backward[inside][..., 0]) == pytest.approx(-3, abs=0.1)
    assert link.forward_ok[inside].mean() > 0.9


def test_a_cut_is_seen_and_equal_pictures_are_none() -> None:
    assert not link_frames(texture(0), texture(1)).connected
    same = link_frames(texture(0), texture(0))
    assert same.connected
    assert same.forward_ok.all()
    flat = np.full(SIZE, 90, np.uint8)
    assert link_frames(flat, flat).connected
    assert not link_frames(flat, np.full(SIZE, 160, np.uint8)).connected


def scene(seed: int) -> NDArray[np.float64]:
    """Depth of blocks from 2 to 6."""
    blocks = np.random.default_rng(seed).uniform(2, 6, (6, 8))
    return np.kron(blocks, np.ones((8, 8))).astype(np.float64)


def moved(depth: NDArray[np.float64], pose: NDArray[np.float64], jump: float) -> tuple[FrameLink, LogDepth, LogDepth]:
    """An exact link whose second frame is given at the first one's pixels plus motion: by a motion of whole pixels."""
    points = geometry.unproject(torch.from_numpy(depth), torch.from_numpy(INTRINSICS))
    after = geometry.transform_points(torch.from_numpy(pose), points.reshape(-1, 3))
    pixels, z = geometry.project(after, torch.from_numpy(INTRINSICS))
    grid = geometry.pixel_grid(HEIGHT, WIDTH, dtype=torch.float64)
    flow = (pixels.reshape(*SIZE, 2) - grid).numpy().astype(np.float32)
    second = np.full(SIZE, np.nan)
    place = pixels.round().long().reshape(*SIZE, 2).numpy()
    inside = (place[..., 0] >= 0) & (place[..., 0] < WIDTH) & (place[..., 1] >= 0) & (place[..., 1] < HEIGHT)
    second[place[inside][:, 1], place[inside][:, 0]] = (z.reshape(SIZE).numpy() * np.exp(jump))[inside]
    known = np.isfinite(second)
    link = FrameLink(flow, -flow, inside, inside, True)
    weight = known.astype(np.float32)
    log_second = np.log(np.where(known, second, 1)).astype(np.float32)
    return link, level_of(depth), LogDepth(log_second, weight)


def level_of(depth: NDArray[np.float64]) -> LogDepth:
    return LogDepth(np.log(depth).astype(np.float32), np.ones(SIZE, np.float32))


@pytest.mark.parametrize("jump", [0.0, 0.05, -0.04])
@pytest.mark.parametrize("translation", [(0.0, 0.0, 0.0), (0.0, 0.0, 0.1), (0.06, -0.02, -0.08)])
def test_a_jump_of_scale_is_told_from_the_camera_s_motion(jump: float, translation: tuple[float, ...]) -> None:
    pose = np.eye(4)
    pose[:3, :3] = geometry.pose_from_quaternion(
        torch.tensor([0.004, -0.006, 0.003, 1.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    ).numpy()[:3, :3]
    pose[:3, 3] = translation
    link, first, second = moved(scene(3), pose, jump)
    found = measure_step(link, first, second, INTRINSICS)
    assert found.known
    assert found.log_scale == pytest.approx(jump, abs=2e-3)
    assert np.abs(found.second_from_first - pose).max() < 0.01
    given = measure_step(link, first, second, INTRINSICS, second_from_first=pose)
    assert given.log_scale == pytest.approx(jump, abs=1e-3)
    assert (given.second_from_first == pose).all()


def test_things_that_move_do_not_count() -> None:
    link, first, second = moved(scene(3), np.eye(4), 0.05)
    flow, values = link.forward.copy(), second.values.copy()
    flow[:, :20, 1] += 1.0
    values[:, :20] += 0.3
    changed = FrameLink(flow, -flow, link.forward_ok, link.backward_ok, True)
    found = measure_step(changed, first, LogDepth(values, second.weight), INTRINSICS)
    assert found.log_scale == pytest.approx(0.05, abs=5e-3)
    assert np.abs(found.second_from_first - np.eye(4)).max() < 2e-3


def test_depth_tells_a_motion_that_the_flow_does_not() -> None:
    # Without flow and with depth that leans in time, the camera can only have turned a little and moved against it.
    lean = (0.05 * (np.arange(WIDTH) - 31.5) / 31.5).astype(np.float32)
    still = FrameLink(np.zeros((*SIZE, 2), np.float32), np.zeros((*SIZE, 2), np.float32), EVERYWHERE, EVERYWHERE, True)
    first = level(np.log(3.0))
    found = measure_step(still, first, LogDepth(first.values + lean, first.weight), INTRINSICS)
    change = log_depth_change(found.second_from_first, first, INTRINSICS)
    assert float((change * lean).sum()) > 0


def test_nothing_is_said_without_depth_or_across_a_cut() -> None:
    link, first, second = moved(scene(3), np.eye(4), 0.05)
    blind = measure_step(link, LogDepth(first.values, np.zeros(SIZE, np.float32)), second, INTRINSICS)
    cut = FrameLink(link.forward, link.backward, link.forward_ok, link.backward_ok, False)
    for found in (blind, measure_step(cut, first, second, INTRINSICS)):
        assert not found.known
        assert found.log_scale == 0
        assert (found.second_from_first == np.eye(4)).all()


def test_change_of_depth_by_hand() -> None:
    pose = np.eye(4)
    pose[2, 3] = 0.5
    assert log_depth_change(pose, level(np.log(2.0)), INTRINSICS) == pytest.approx(np.log(2.5 / 2), abs=1e-6)
    pose[2, 3], pose[2, 0] = 0, 0.1
    change = log_depth_change(pose, level(0.0), INTRINSICS)
    assert change[0, 41] == pytest.approx(np.log(1 + 0.1 * (41 - 31.5) / 50), abs=1e-6)


# -- the series of scales


def steps_of(series: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.diff(series), np.ones(len(series) - 1, dtype=bool)


def test_mean_slope_and_bend_are_not_jitter() -> None:
    t = np.arange(30.0)
    series, jitter = scale_series(*steps_of(0.3 - 0.02 * t + 0.001 * t**2))
    assert series[-1] == pytest.approx(-0.02 * 29 + 0.001 * 29**2)
    assert np.abs(jitter).max() < 1e-9
    noisy = np.random.default_rng(0).normal(0, 0.03, 30)
    assert scale_series(*steps_of(noisy))[1].mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("wave", "share"), [(6.0, 0.98), (12.0, 0.5), (24.0, 0.02)])
def test_waves_are_jitter_by_their_length(wave: float, share: float) -> None:
    t = np.arange(240.0)
    signal = np.sin(2 * np.pi * t / wave)
    jitter = scale_series(*steps_of(signal), period=12)[1]
    middle = slice(60, -60)
    assert (jitter * signal)[middle].sum() / (signal**2)[middle].sum() == pytest.approx(share, abs=0.02)


def test_shots_are_apart_and_short_ones_are_left() -> None:
    steps = np.array([0.1, -0.1, 0.1, 5.0, 0.1, -0.1, 0.1, -0.1, 0.1])
    connected = np.array([True] * 3 + [False] + [True] * 5)
    series, jitter = scale_series(steps, connected)
    alone = scale_series(steps[4:], connected[4:])
    assert series[:4] == pytest.approx([0, 0.1, 0, 0.1])
    assert (series[4:] == alone[0]).all()
    assert (jitter[4:] == alone[1]).all()
    nothing = scale_series(np.zeros(0), np.zeros(0, dtype=bool))
    assert nothing[0].tolist() == nothing[1].tolist() == [0]
    assert scale_series(np.array([0.5, -0.5]), np.ones(2, dtype=bool))[1] == pytest.approx(np.zeros(3), abs=1e-12)


def test_a_period_of_two_frames_is_refused() -> None:
    with pytest.raises(WrongInput, match="more than 2 frames"):
        scale_series(np.zeros(3), np.ones(3, dtype=bool), period=2)


# -- smoothing


def window(values: list[float], centre: int) -> dict[int, LogDepth]:
    return {place - centre: level(value) for place, value in enumerate(values)}


def test_a_spike_is_flattened() -> None:
    smoothed = smooth_along_motion(window([0, 0, 0.1, 0, 0], 2), [passage()] * 2, [passage()] * 2)
    # The fit is linear here, so the weight of the spike itself is Gauss's share.
    gauss = np.exp(-0.5 * (np.arange(-2, 3) / 1.7) ** 2) * np.array([0.7056, 0.7056, 1, 0.7056, 0.7056])
    assert smoothed.correction == pytest.approx(0.1 * gauss[2] / gauss.sum() - 0.1, abs=2e-3)
    assert (smoothed.fill_weight == 0).all()


def test_a_steady_change_stays() -> None:
    rising = window([0.1 * i for i in range(9)], 4)
    flat = smooth_along_motion({k: rising[k] for k in range(-2, 3)}, [passage()] * 2, [passage()] * 2)
    assert np.abs(flat.correction).max() < 1e-3


def test_a_clear_bend_stays_and_noise_goes() -> None:
    places = np.arange(-4, 5)
    bent = smooth_along_motion({int(k): level(0.01 * k * k) for k in places}, [passage()] * 4, [passage()] * 4)
    assert np.abs(bent.correction).max() < 2e-3
    alternating = smooth_along_motion(
        {int(k): level(0.02 * (-1) ** abs(int(k))) for k in places}, [passage()] * 4, [passage()] * 4
    )
    assert alternating.correction == pytest.approx(-0.02, abs=2e-3)


def test_pixels_are_followed_and_the_camera_s_motion_is_taken_out() -> None:
    ramp = np.broadcast_to(0.002 * np.arange(WIDTH, dtype=np.float32), SIZE).copy()
    # The picture moves by 2 px to the right per frame, and one step of the camera makes all depth grow by 10 %.
    frames = {
        k: LogDepth(ramp + np.float32(-0.004 * k + (0.1 if k >= 0 else 0.0)), np.ones(SIZE, np.float32))
        for k in range(-2, 3)
    }
    inside = (slice(None), slice(26, 38))

    def correction(motion: float, growth: float) -> NDArray[np.float32]:
        behind = [passage(-motion, growth), passage(-motion)]
        return smooth_along_motion(frames, [passage(motion)] * 2, behind).correction

    assert np.abs(correction(2, -0.1)[inside]).max() < 1e-3
    assert np.abs(correction(2, 0)[inside]).min() > 5e-3
    assert (correction(40, -0.1)[inside] == 0).all()


def test_other_surfaces_untrusted_motion_and_unknown_depth_do_not_count() -> None:
    for frame, way in (
        (level(0.5), passage()),
        (level(0.1), passage(ok=~EVERYWHERE)),
        (level(0.1, weight=0), passage()),
        (level(0.1), passage(x=500)),
    ):
        smoothed = smooth_along_motion({0: level(0), 1: frame}, [way], [])
        assert (smoothed.correction == 0).all()


def test_a_lost_pixel_stays_lost() -> None:
    frames = {0: level(0), 1: level(0.0), 2: level(0.2)}
    through = smooth_along_motion(frames, [passage(), passage()], [])
    lost = smooth_along_motion(frames, [passage(ok=~EVERYWHERE), passage()], [])
    assert np.abs(through.correction).min() > 1e-3
    assert (lost.correction == 0).all()


def test_holes_are_filled_from_the_neighbours() -> None:
    weight = np.ones(SIZE, np.float32)
    weight[10:20, 10:20] = 0
    here = LogDepth(np.where(weight > 0, 1.0, 7.0).astype(np.float32), weight)
    smoothed = smooth_along_motion({0: here, 1: level(1.03), -1: level(0.97)}, [passage()], [passage()])
    hole = (slice(12, 18), slice(12, 18))
    assert smoothed.filled[hole] == pytest.approx(1.0, abs=0.005)
    assert smoothed.fill_weight[hole] == pytest.approx(0.8, abs=0.21)
    assert (smoothed.fill_weight[weight > 0] == 0).all()
    assert (smoothed.correction[hole] == 0).all()
    alone = smooth_along_motion({0: here}, [], [])
    assert (alone.fill_weight == 0).all()
    assert (alone.correction == 0).all()


def test_a_large_map_takes_corrections_from_its_own_surface() -> None:
    near = np.zeros((6, 8), dtype=bool)
    near[:, 4:] = True
    small = LogDepth(np.where(near, 0.0, 1.0).astype(np.float32), np.ones((6, 8), np.float32))
    large = np.repeat(np.repeat(small.values, 2, 0), 2, 1)
    # One column more belongs to the near surface than the small map says.
    large[:, 7] = 0
    found = enlarge_on_surfaces(np.where(near, 0.05, -0.05).astype(np.float32), small, large)
    assert found.shape == (12, 16)
    assert found[:, 7:] == pytest.approx(0.05, abs=2e-3)
    assert found[:, :7] == pytest.approx(-0.05, abs=2e-3)
