"""What two views of a still scene allow: scenes with a known camera, rectified pairs by hand, and plain matrices."""

import math

import pytest
import torch
from torch import Tensor

from depthweave import geometry
from depthweave.errors import WrongInput
from depthweave.losses import low_rank, masked_mean, sampson_loss, subspace

NAN, INF = math.nan, math.inf
leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)
RECTIFIED = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
INTRINSICS = geometry.intrinsics_matrix(20.0, 20.0, 5.5, 3.5).double()


def moved(z: float = 0.3) -> Tensor:
    c, s = math.cos(0.1), math.sin(0.1)
    pose = torch.tensor([[c, 0, s, 0.2], [0, 1, 0, -0.1], [-s, 0, c, z], [0, 0, 0, 1]])
    return pose.double()


def still_scene(*leading: int, z: float = 0.3) -> Tensor:
    """Motion of a scene of random depth under a moving camera."""
    depth = 2 + torch.rand((*leading, 8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flow, in_front = geometry.rigid_flow(depth, INTRINSICS, moved(z))
    assert in_front.all()
    return flow


def fundamental() -> Tensor:
    essential = geometry.essential_from_pose(moved())
    return geometry.fundamental_from_essential(essential, INTRINSICS, INTRINSICS)


def everywhere(flow: Tensor) -> Tensor:
    return torch.ones(*flow.shape[:-3], *flow.shape[-2:], dtype=torch.bool)


def constraints(flow: Tensor, mask: Tensor) -> Tensor:
    """H / sqrt M, one column at a time."""
    _, height, width = flow.shape
    half, columns = max(height, width) / 2, []
    for y, x in mask.nonzero().tolist():
        first = torch.tensor([(x - (width - 1) / 2) / half, (y - (height - 1) / 2) / half, 1.0], dtype=torch.float64)
        second = first.clone()
        second[:2] += flow[:, y, x] / half
        columns.append(torch.outer(second, first).flatten())
    return torch.stack(columns, dim=-1) / math.sqrt(len(columns))


def test_sampson_by_hand() -> None:
    """Rectified: half of the squared motion along y, whatever the motion along x."""
    flow = torch.zeros(2, 3, 4)
    flow[0] = torch.rand(3, 4)
    flow[1, 1, 2] = 3.0
    expected = torch.zeros(3, 4)
    expected[1, 2] = 4.5
    torch.testing.assert_close(sampson_loss(flow, RECTIFIED), expected)
    torch.testing.assert_close(sampson_loss(flow, -7 * RECTIFIED), expected)


@leading
def test_still_scenes_keep_to_their_lines(leading: tuple[int, ...]) -> None:
    flow = still_scene(*leading)
    values = sampson_loss(flow, fundamental())
    assert values.shape == (*leading, 8, 12)
    assert values.max() < 1e-18
    away = flow.clone()
    away[..., 1, 2, 3] += 2.0
    grown = sampson_loss(away, fundamental())
    assert (grown > 0.1).sum() == math.prod(leading)
    assert (grown[..., 2, 3] > 0.1).all()


def test_each_of_a_batch_has_its_own_lines() -> None:
    flow = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    both = torch.stack((RECTIFIED, RECTIFIED.roll((1, 1), (0, 1))))
    values = sampson_loss(flow, both)
    for item in range(2):
        torch.testing.assert_close(values[item], sampson_loss(flow[item], both[item]))


def test_sampson_has_gradients_and_survives_fillers() -> None:
    flow = still_scene() + 0.5
    inputs = flow[:, :3, :4].clone().requires_grad_(), fundamental().requires_grad_()
    assert torch.autograd.gradcheck(sampson_loss, inputs)
    broken = flow.clone()
    broken[0, 1, 2], broken[1, 3, 4] = NAN, INF
    broken.requires_grad_()
    values = sampson_loss(broken, fundamental())
    assert values.isnan().nonzero().tolist() == [[1, 2], [3, 4]]
    masked_mean(values, ~values.isnan()).backward()
    assert broken.grad is not None
    assert broken.grad.isfinite().all()
    assert (broken.grad[:, [1, 3], [2, 4]] == 0).all()


def test_sampson_is_exact_under_autocast() -> None:
    flow = still_scene().float() + 0.5
    expected = sampson_loss(flow, fundamental().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sampson_loss(flow, fundamental().float()), expected)
    assert sampson_loss(flow.half(), RECTIFIED).dtype == torch.float32


@leading
def test_both_are_those_of_the_plain_matrix(leading: tuple[int, ...]) -> None:
    flow = still_scene(*leading)
    flow = flow + 0.3 * torch.randn(flow.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = everywhere(flow)
    mask[..., :3, :5] = False
    norms, losses = low_rank(flow, mask), subspace(flow, mask, weight=40)
    assert norms.shape == losses.shape == leading
    items = zip(flow.reshape(-1, 2, 8, 12), mask.reshape(-1, 8, 12), norms.flatten(), losses.flatten(), strict=True)
    for one, inside, norm, loss in items:
        h = constraints(one, inside)
        torch.testing.assert_close(norm, torch.linalg.matrix_norm(h, "nuc"))
        # The definition: the best C, and what it costs.
        gram, eye = 40 * h.T @ h, torch.eye(h.shape[1], dtype=torch.float64)
        best = torch.linalg.solve(eye + gram, gram)
        cost = best.square().sum() / 2 + 20 * (h @ best - h).square().sum()
        torch.testing.assert_close(loss, cost)
        for way in (0.01 * eye, 0.01 * torch.ones_like(eye)):
            other = best + way
            assert other.square().sum() / 2 + 20 * (h @ other - h).square().sum() > cost


def test_one_camera_is_of_rank_eight() -> None:
    still, mask = still_scene(), torch.ones(8, 12, dtype=torch.bool)
    values = torch.linalg.svdvals(constraints(still, mask))
    assert values[8] < 1e-12 < 1e-6 < values[7]
    moving = still.clone()
    moving[:, 2:6, 3:8] += torch.tensor([1.5, -2.0], dtype=torch.float64)[:, None, None]
    both = low_rank(still, mask), low_rank(moving, mask)
    assert both[1] > both[0]
    assert subspace(moving, mask, weight=1e4) > subspace(still, mask, weight=1e4) + 0.1
    # Noise grows the ninth value; with a large weight the loss counts the dimensions, half of 8 and of 9.
    assert subspace(still, mask, weight=1e9).item() == pytest.approx(4, abs=0.01)
    assert subspace(moving, mask, weight=1e9).item() == pytest.approx(4.5, abs=0.01)


@pytest.mark.parametrize("loss", [low_rank, subspace])
def test_gradients_of_the_regional_ones(loss: object) -> None:
    assert callable(loss)
    flow = still_scene()[:, :4, :5] + 0.2 * torch.randn(2, 4, 5, dtype=torch.float64)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[1, 2] = False
    assert torch.autograd.gradcheck(lambda f: loss(f, mask), (flow.requires_grad_(),))
    # At rank 8, and at a picture that stands still, the norm has a kink: no NaN.
    for kink in (still_scene(), torch.zeros(2, 8, 12, dtype=torch.float64)):
        kink.requires_grad_()
        loss(kink, torch.ones(8, 12, dtype=torch.bool)).backward()
        assert kink.grad is not None
        assert kink.grad.isfinite().all()


@pytest.mark.parametrize("loss", [low_rank, subspace])
def test_masks_of_the_regional_ones(loss: object) -> None:
    assert callable(loss)
    flow = torch.stack([still_scene()] * 3)
    flow[0, 0, 1, 1] = flow[1, 1, 2, 2] = NAN
    mask = everywhere(flow)
    mask[0, 1, 1] = False
    mask[2] = False
    flow.requires_grad_()
    values = loss(flow, mask)
    assert values.isnan().tolist() == [False, True, False]
    assert values[2] == 0
    values[[0, 2]].sum().backward()
    assert flow.grad is not None
    assert flow.grad.isfinite().all()
    assert (flow.grad[0, :, 1, 1] == 0).all()
    assert (flow.grad[0] != 0).any()


def test_impossible_weights_are_refused() -> None:
    with pytest.raises(WrongInput, match="weight is 0"):
        subspace(torch.zeros(2, 3, 4), torch.ones(3, 4, dtype=torch.bool), weight=0)
