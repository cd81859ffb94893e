"""What moves by itself, in a scene whose camera motion is known."""

import numpy as np
import pytest
import torch

from depthweave.classical.flow import dis_flow, farneback_flow, flow_both_ways
from depthweave.classical.motion_segmentation import moving_by_residual, moving_by_sampson
from depthweave.errors import WrongInput
from depthweave.geometry import intrinsics_matrix, rigid_flow

K = intrinsics_matrix(50.0, 50.0, 15.5, 11.5)
SIDEWAYS = torch.eye(4)
SIDEWAYS[0, 3] = -0.5  # the camera moves to the right, so that points move to the left
DEPTH = torch.full((24, 32), 5.0)
BOX = (slice(8, 16), slice(10, 20))


def scene(extra: tuple[float, float]) -> torch.Tensor:
    """Flow of a wall at 5 m, with a box that moves by so many px more."""
    flow, in_front = rigid_flow(DEPTH, K, SIDEWAYS)
    assert in_front.all()
    torch.testing.assert_close(flow[0], torch.full((24, 32), -5.0))  # f t / Z
    flow[:, BOX[0], BOX[1]] += torch.tensor(extra)[:, None, None]
    return flow


def in_box() -> torch.Tensor:
    inside = torch.zeros(24, 32, dtype=torch.bool)
    inside[BOX] = True
    return inside


@pytest.mark.parametrize("extra", [(3.0, 0.0), (0.0, 3.0), (-2.0, 2.0)])
def test_the_residual_finds_every_direction(extra: tuple[float, float]) -> None:
    found = moving_by_residual(scene(extra), DEPTH, K, SIDEWAYS)
    assert (found == in_box()).all()


def test_bounds_of_the_residual_add_up() -> None:
    # The box moves by 5 + 2 px; the bound is 1 + relative * 7.
    flow = scene((-2.0, 0.0))
    assert moving_by_residual(flow, DEPTH, K, SIDEWAYS, relative=0.14)[10, 12]
    assert not moving_by_residual(flow, DEPTH, K, SIDEWAYS, relative=0.15)[10, 12]
    assert not moving_by_residual(flow, DEPTH, K, SIDEWAYS, absolute_px=2.0, relative=0).any()
    assert moving_by_residual(flow, DEPTH, K, SIDEWAYS, absolute_px=1.9, relative=0)[10, 12]


def test_nothing_is_said_where_nothing_is_known() -> None:
    flow, depth = scene((0.0, 3.0)), DEPTH.clone()
    depth[8:12] = torch.nan
    valid = torch.ones(24, 32, dtype=torch.bool)
    valid[:, 10:15] = False
    found = moving_by_residual(flow, depth, K, SIDEWAYS, valid=valid)
    expected = in_box()
    expected[8:12], expected[:, 10:15] = False, False
    assert (found == expected).all()


def test_sampson_sees_what_leaves_its_epipolar_line() -> None:
    assert (moving_by_sampson(scene((0.0, 3.0)), K, SIDEWAYS) == in_box()).all()
    assert not moving_by_sampson(scene((3.0, 0.0)), K, SIDEWAYS).any()
    # Of a vertical error of 3 px each of the two points takes half: Sampson's distance is 3 / sqrt(2).
    assert not moving_by_sampson(scene((0.0, 3.0)), K, SIDEWAYS, threshold_px=2.13).any()
    assert moving_by_sampson(scene((0.0, 3.0)), K, SIDEWAYS, threshold_px=2.11).any()
    far = SIDEWAYS.clone()
    far[0, 3] *= 7
    assert (moving_by_sampson(scene((0.0, 3.0)), K, far) == in_box()).all()
    assert not moving_by_sampson(scene((0.0, 3.0)), K, SIDEWAYS, valid=~in_box()).any()


def test_batches_are_those_of_single_views() -> None:
    flows = torch.stack([scene((0.0, 3.0)), scene((3.0, 0.0))])
    residual = moving_by_residual(flows, DEPTH.expand(2, -1, -1), K, SIDEWAYS)
    sampson = moving_by_sampson(flows, K.expand(2, 3, 3), SIDEWAYS.expand(2, 4, 4))
    assert residual.shape == sampson.shape == (2, 24, 32)
    assert residual[1].equal(in_box())
    assert sampson[0].equal(in_box())
    assert not sampson[1].any()


def test_what_is_refused() -> None:
    flow = scene((0.0, 0.0))
    with pytest.raises(WrongInput, match="bounds"):
        moving_by_residual(flow, DEPTH, K, SIDEWAYS, relative=-1)
    with pytest.raises(WrongInput, match="threshold"):
        moving_by_sampson(flow, K, SIDEWAYS, threshold_px=-1)
    with pytest.raises(WrongInput, match="only turns"):
        moving_by_sampson(flow, K, torch.eye(4))


def test_classical_methods_find_a_shift_and_its_way_back() -> None:
    rng = np.random.default_rng(0)
    import cv2

    wide = cv2.GaussianBlur(rng.integers(0, 256, (96, 140)).astype(np.uint8), (0, 0), 2)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    first, second = wide[8:88, 8:136].copy(), wide[6:86, 5:133].copy()  # everything moves by (3, 2)
    middle = (slice(16, -16), slice(16, -16))
    for flow in (*(dis_flow(first, second, preset=p) for p in ("fast", "medium")), farneback_flow(first, second)):
        assert flow.shape == (80, 128, 2)
        np.testing.assert_allclose(np.median(flow[middle], axis=(0, 1)), [3, 2], atol=0.1)
    exact = flow_both_ways(first, second, quick=False)
    assert (exact.forward == dis_flow(first, second)).all()
    assert (exact.backward == dis_flow(second, first)).all()
    assert (exact.forward != flow_both_ways(first, second).forward).any()
    with pytest.raises(WrongInput, match="no preset 'best'"):
        dis_flow(first, second, preset="best")
    with pytest.raises(WrongInput, match="at least 1"):
        farneback_flow(first, second, levels=0)
