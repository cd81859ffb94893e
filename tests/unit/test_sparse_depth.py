"""Sparse metres: zones and points, the robust fit, the grid of scales, and the fused map."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import alignment, io
from depthweave.errors import NeedsMetric, WrongFile, WrongInput
from depthweave.geometry import intrinsics_matrix, pixel_grid
from depthweave.pipelines.sparse_depth import FusedDepth, fuse_sparse
from depthweave.types import Camera, DepthMap, DisparityMap, InverseDepthMap, Scale, SparseDepth

HEIGHT, WIDTH = 48, 64
CAMERA = Camera(intrinsics_matrix(50.0, 50.0, 31.5, 23.5), WIDTH, HEIGHT)
ALL = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


def scene() -> Tensor:
    """A slanted wall with a box in front of it, in m."""
    x, y = pixel_grid(HEIGHT, WIDTH).unbind(-1)
    depth = 3 + 0.03 * x + 0.01 * y
    depth[12:36, 20:41] = 1.6
    return depth


def zones_of(depth: Tensor, quantile: float = 0.5, rows: int = 8, columns: int = 8) -> SparseDepth:
    layout = SparseDepth.zones(torch.ones(rows, columns), camera=CAMERA)
    values, usable = alignment.region_quantile(depth, ALL, layout.regions_px, quantile=quantile)
    return replace(layout, depth_m=values, valid=usable)


def abs_rel(found: DepthMap, truth: Tensor) -> float:
    return float(((found.values - truth).abs() / truth).mean())


# --- the type ---------------------------------------------------------------------------------------------------------


def test_zones_over_the_whole_picture_tile_it() -> None:
    zones = SparseDepth.zones(np.arange(1, 65).reshape(8, 8), camera=CAMERA)
    assert (len(zones), zones.grid, zones.height, zones.width) == (64, (8, 8), 48, 64)
    assert zones.regions_px[0].tolist() == [-0.5, -0.5, 7.5, 5.5]
    assert zones.regions_px[-1].tolist() == [55.5, 41.5, 63.5, 47.5]
    assert zones.points_px[1].tolist() == [11.5, 2.5]
    assert zones.depth_m[9] == 10
    assert zones.valid.all()


def test_zones_of_a_field_of_view_stand_in_the_middle() -> None:
    zones = SparseDepth.zones(torch.ones(2, 2), camera=CAMERA, fov_deg=2 * math.degrees(math.atan(0.2)))
    torch.testing.assert_close(zones.regions_px[0], torch.tensor([21.5, 13.5, 31.5, 23.5]))
    torch.testing.assert_close(zones.regions_px[3], torch.tensor([31.5, 23.5, 41.5, 33.5]))
    wide = SparseDepth.zones(torch.ones(8, 8), camera=CAMERA, fov_deg=(120, 30.0))
    assert wide.valid.reshape(8, 8).any(0).tolist() == [False, False, False, True, True, False, False, False]
    with pytest.raises(WrongInput, match="a field of view needs the camera"):
        SparseDepth.zones(torch.ones(2, 2), height=4, width=4, fov_deg=45)


def test_status_and_depth_say_which_zones_count() -> None:
    depth = torch.tensor([[1.0, 2.0, 0.0], [3.0, float("nan"), 4.0]])
    status = [[5, 9, 5], [255, 5, 6]]
    zones = SparseDepth.zones(depth, status, height=10, width=9, sigma_m=0.1)
    assert zones.valid.tolist() == [True, True, False, False, False, False]
    assert zones.sigma_m is not None
    assert zones.sigma_m.tolist() == pytest.approx([0.1] * 6)
    assert SparseDepth.zones(depth, status, height=10, width=9, valid_status=(6,)).valid.tolist()[-1]
    with pytest.raises(WrongInput, match=r"status has shape \(1, 2\)"):
        SparseDepth.zones(depth, [[5, 5]], height=10, width=9)
    with pytest.raises(WrongInput, match="size of the picture is unknown"):
        SparseDepth.zones(depth)
    with pytest.raises(WrongInput, match="rows and columns"):
        SparseDepth.zones([1.0, 2.0], height=4, width=4)
    with pytest.raises(WrongInput, match="valid depths must be positive"):
        SparseDepth(torch.zeros(1, 2), torch.zeros(1), torch.ones(1, dtype=torch.bool), 4, 4)
    with pytest.raises(WrongInput, match="2x2 zones are not 1"):
        SparseDepth(torch.zeros(1, 2), torch.ones(1), torch.ones(1, dtype=torch.bool), 4, 4, grid=(2, 2))


def test_lidar_points_are_projected_and_those_out_of_sight_left_out() -> None:
    points = torch.tensor([[0.0, 0, 2], [0.4, -0.2, 2], [0, 0, -2], [9, 0, 2], [0, 0, 0]])
    sparse = SparseDepth.from_lidar(points, CAMERA, sigma_m=0.03)
    assert sparse.depth_m.tolist() == [2, 2]
    torch.testing.assert_close(sparse.points_px, torch.tensor([[31.5, 23.5], [41.5, 18.5]]))
    assert sparse.sigma_m is not None
    assert sparse.grid is None


def test_points_of_a_map_are_its_valid_pixels() -> None:
    valid = torch.zeros_like(ALL)
    valid[3, 5] = valid[40, 60] = True
    sparse = SparseDepth.from_map(DepthMap(scene(), valid, scale=Scale.METRIC))
    assert sparse.points_px.tolist() == [[5, 3], [60, 40]]
    assert sparse.depth_m.tolist() == [float(scene()[3, 5]), float(scene()[40, 60])]
    with pytest.raises(NeedsMetric):
        SparseDepth.from_map(DepthMap(scene(), valid))


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_files_keep_everything_but_the_camera(tmp_path: Path, suffix: str) -> None:
    first = SparseDepth.zones(torch.rand(8, 8) + 1, torch.randint(4, 6, (8, 8)), camera=CAMERA, sigma_m=0.05)
    first.save(tmp_path / f"zones{suffix}")
    second = SparseDepth.read(tmp_path / f"zones{suffix}")
    assert (second.height, second.width, second.grid) == (48, 64, (8, 8))
    for name in ("points_px", "depth_m", "valid", "sigma_m", "half_size_px"):
        torch.testing.assert_close(getattr(second, name), getattr(first, name))
    points = SparseDepth.from_lidar(torch.tensor([[0.0, 0, 2]]), CAMERA)
    points.save(tmp_path / f"points{suffix}")
    again = SparseDepth.read(tmp_path / f"points{suffix}", camera=CAMERA)
    assert again.half_size_px is None
    assert again.grid is None
    assert again.camera is CAMERA


def test_a_table_of_points_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("depth_m, x_px, y_px\n2.5, 3, 4\n0, 1, 1\n")
    sparse = SparseDepth.read(path, height=8, width=9)
    assert sparse.points_px.tolist() == [[3, 4], [1, 1]]
    assert sparse.valid.tolist() == [True, False]
    with pytest.raises(WrongInput, match="size of the picture"):
        SparseDepth.read(path)
    path.write_text("x_px,y_px\n1,2\n")
    with pytest.raises(WrongFile, match=r"points\.csv has no column depth_m"):
        SparseDepth.read(path)
    path.write_text("x_px,y_px,depth_m\n1,2,near\n")
    with pytest.raises(WrongFile, match="something else than numbers"):
        SparseDepth.read(path)
    (tmp_path / "points.npz").write_bytes(b"no archive")
    with pytest.raises(WrongFile, match="not an NPZ file or is cut short; write it with SparseDepth"):
        SparseDepth.read(tmp_path / "points.npz")
    np.savez(tmp_path / "points.npz", depth_m=np.ones(3))
    with pytest.raises(WrongFile, match="does not hold sparse depth"):
        SparseDepth.read(tmp_path / "points.npz")
    with pytest.raises(WrongFile, match=r"\.csv or \.npz"):
        sparse.save(tmp_path / "points.txt")


def test_resizing_moves_points_by_the_half_pixel_rule() -> None:
    twice = zones_of(scene()).resized(96, 128)
    assert twice.regions_px[0].tolist() == [-0.5, -0.5, 15.5, 11.5]
    assert twice.camera is not None
    assert twice.camera.width == 128


# --- statistics, fits, grids ------------------------------------------------------------------------------------------


def test_region_quantiles_by_hand() -> None:
    values = torch.arange(16.0).reshape(4, 4)
    valid = torch.ones(4, 4, dtype=torch.bool)
    valid[0, :3] = False
    regions = torch.tensor([[-0.5, -0.5, 1.5, 1.5], [1.5, -0.5, 3.5, 1.5], [2.6, 2.6, 3.4, 3.4], [8.0, 8.0, 9.0, 9.0]])
    found, usable = alignment.region_quantile(values, valid, regions)
    assert found.tolist() == [4.5, 6, 15, 0]
    assert usable.tolist() == [True, True, True, False]
    assert alignment.region_quantile(values, valid, regions, quantile=0.0)[0].tolist()[:2] == [4, 3]
    valid[1, 0] = False  # one of four pixels is left: just enough
    assert alignment.region_quantile(values, valid, regions)[0][0] == 5
    valid[1, 1] = False
    assert not alignment.region_quantile(values, valid, regions)[1][0]
    with pytest.raises(WrongInput, match="quantile lies in"):
        alignment.region_quantile(values, valid, regions, quantile=20)


def test_the_fit_withstands_wrong_zones_and_refuses_to_turn_the_scene_inside_out() -> None:
    predicted = torch.linspace(0.2, 2.0, 64)
    measured = 0.4 * predicted + 0.05
    measured[::8] *= 3
    usable = torch.ones(64, dtype=torch.bool)
    fit, used = alignment.fit_regions(predicted, measured, usable)
    assert used == "scale and shift"
    assert (float(fit.scale), float(fit.shift)) == pytest.approx((0.4, 0.05), abs=2e-3)
    fit, used = alignment.fit_regions(predicted, 1.0 - 0.1 * predicted, usable)
    assert used == "scale"
    assert float(fit.scale) > 0
    assert float(fit.shift) == 0
    fit, used = alignment.fit_regions(torch.full((64,), 2.0), torch.full((64,), 1.0), usable)
    assert (used, float(fit.scale)) == ("scale", 0.5)
    usable[2:] = False
    with pytest.raises(WrongInput, match="2 measured regions lie on valid depth, and a fit needs 3"):
        alignment.fit_regions(predicted, measured, usable)
    with pytest.raises(WrongInput, match="no positive scale"):
        alignment.fit_regions(-predicted, measured, torch.ones(64, dtype=torch.bool), shift=False)


def test_weights_decide_between_measurements() -> None:
    predicted, measured = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([2.0, 2.0, 4.0, 4.0])
    usable, weights = torch.ones(4, dtype=torch.bool), torch.tensor([1e6, 1e6, 1.0, 1.0])
    fit, _ = alignment.fit_regions(predicted, measured, usable, shift=False, weights=weights)
    assert float(fit.scale) == pytest.approx(2.0, abs=1e-3)


def test_a_smooth_field_of_scales_is_found_and_one_wrong_zone_hardly_bends_it() -> None:
    points = zones_of(scene()).points_px
    truth = 0.1 + 0.004 * points[:, 0] - 0.003 * points[:, 1]
    nodes = alignment.fit_log_grid(truth, points, (HEIGHT, WIDTH), smoothness=1e-4)
    torch.testing.assert_close(nodes, truth.reshape(8, 8), atol=1e-3, rtol=0)
    spread = alignment.spread_grid(nodes, (HEIGHT, WIDTH))
    inner = pixel_grid(HEIGHT, WIDTH)[3:-3, 4:-4]
    expected = 0.1 + 0.004 * inner[..., 0] - 0.003 * inner[..., 1]
    torch.testing.assert_close(spread[3:-3, 4:-4], expected, atol=1e-3, rtol=0)
    wrong = truth.clone()
    wrong[27] += 1.0
    bent = alignment.fit_log_grid(wrong, points, (HEIGHT, WIDTH))
    assert float((bent.reshape(-1)[27] - truth[27]).abs()) < 0.1


def test_a_grid_of_few_points_continues_as_a_constant() -> None:
    nodes = alignment.fit_log_grid(torch.tensor([0.3]), torch.tensor([[10.0, 10.0]]), (HEIGHT, WIDTH), grid=(3, 5))
    torch.testing.assert_close(nodes, torch.full((3, 5), 0.3))
    single = alignment.fit_log_grid(
        torch.tensor([0.1, 0.1]), torch.tensor([[0.0, 0], [9, 9]]), (HEIGHT, WIDTH), grid=(1, 1)
    )
    assert single.tolist() == [[pytest.approx(0.1)]]
    with pytest.raises(WrongInput, match="a grid of scales needs"):
        alignment.fit_log_grid(torch.zeros(0), torch.zeros(0, 2), (HEIGHT, WIDTH))


def test_heavier_regions_win_in_the_grid() -> None:
    points = torch.tensor([[20.0, 20.0], [20.0, 20.0], [20.0, 20.0]])
    ratio, weights = torch.tensor([0.0, 0.2, 0.2]), torch.tensor([98.0, 1.0, 1.0])
    nodes = alignment.fit_log_grid(ratio, points, (HEIGHT, WIDTH), weights=weights, grid=(1, 1))
    assert float(nodes) < 0.02


def test_upsampled_zones_are_bilinear_and_fill_bad_ones_from_the_nearest() -> None:
    plane = 1 + 0.05 * pixel_grid(HEIGHT, WIDTH)[..., 0]
    zones = zones_of(plane)
    found = zones.upsampled()
    assert found.scale == Scale.METRIC
    torch.testing.assert_close(found.values[:, 4:60], plane[:, 4:60], atol=1e-4, rtol=0)
    assert (found.values[:, 62:] == found.values[0, 62]).all()
    valid = zones.valid.clone()
    valid[0] = False
    holed = replace(zones, valid=valid, depth_m=torch.where(valid, zones.depth_m, 0.0)).upsampled()
    assert float(holed.values[0, 0]) == pytest.approx(float(zones.depth_m[8]), abs=1e-5)
    with pytest.raises(WrongInput, match="no measurement is usable"):
        replace(zones, valid=torch.zeros_like(valid)).upsampled()


def test_scattered_points_are_interpolated_in_triangles() -> None:
    places = torch.tensor([[0.0, 0], [63, 0], [0, 47], [63, 47], [20, 30]])
    depth = 2 + 0.02 * places[:, 0] + 0.01 * places[:, 1]
    sparse = SparseDepth(places, depth, torch.ones(5, dtype=torch.bool), HEIGHT, WIDTH)
    x, y = pixel_grid(HEIGHT, WIDTH).unbind(-1)
    torch.testing.assert_close(sparse.upsampled().values, 2 + 0.02 * x + 0.01 * y, atol=1e-4, rtol=0)
    one = replace(sparse, valid=torch.tensor([False, False, False, False, True]))
    assert (one.upsampled().values == depth[4]).all()


def test_expected_errors_are_small_on_a_wall_and_large_at_steps_and_far_away() -> None:
    zones = zones_of(scene())
    sigma = alignment.spread_log_sigma(zones.upsampled().values, zones.points_px, zones.valid, relative_sigma=0.02)
    assert 0.02 <= float(sigma[2, 2]) < 0.06
    assert float(sigma[24, 20]) > 0.1
    few = zones.valid.clone()
    few[32:] = False
    lower = alignment.spread_log_sigma(zones.upsampled().values, zones.points_px, few, relative_sigma=0.02)
    assert float(lower[46, 2]) > float(sigma[46, 2]) + 0.1


# --- the fused map ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", [0.5, 0.2])
def test_affine_inverse_depth_becomes_the_true_depth(quantile: float) -> None:
    truth = scene()
    shape = InverseDepthMap(4 / truth + 1.5, ALL)
    fused = fuse_sparse(shape, zones_of(truth, quantile), quantile=quantile)
    assert isinstance(fused, FusedDepth)
    assert fused.scale == Scale.METRIC
    assert fused.valid.all()
    assert fused.fit is not None
    assert (fused.fit.domain, fused.fit.fitted, fused.fit.used) == ("inverse_depth", "scale and shift", 64)
    assert fused.fit.scale == pytest.approx(0.25, rel=0.02)
    assert fused.fit.shift == pytest.approx(-0.375, rel=0.05)
    # By steps 1 to 3 the map is the truth itself; the fourth takes a little of the zones.
    assert abs_rel(fuse_sparse(shape, zones_of(truth, quantile), quantile=quantile, weigh=False), truth) < 2e-3
    assert abs_rel(fused, truth) < 0.3 * abs_rel(zones_of(truth, quantile).upsampled(), truth)


def test_disparity_without_calibration_and_depth_up_to_scale_need_a_scale_only() -> None:
    truth = scene()
    for shape in (
        DisparityMap(30 / truth, ALL),
        DepthMap(truth / 7, ALL),
        InverseDepthMap(0.1 / truth, ALL, scale=Scale.METRIC),
    ):
        fused = fuse_sparse(shape, zones_of(truth), grid=None, weigh=False)
        assert fused.fit is not None
        assert (fused.fit.fitted, fused.fit.shift) == ("scale", 0)
        assert abs_rel(fused, truth) < 1e-3
    cropped = DisparityMap(30 / truth + 4, ALL)
    assert abs_rel(fuse_sparse(cropped, zones_of(truth), grid=None, weigh=False, shift=True), truth) < 1e-3


def test_affine_depth_is_fitted_in_depth() -> None:
    truth = scene()
    fused = fuse_sparse(
        DepthMap(truth / 3 - 0.2, ALL, scale=Scale.UNKNOWN_SCALE_AND_SHIFT), zones_of(truth), weigh=False
    )
    assert fused.fit is not None
    assert fused.fit.domain == "depth"
    assert abs_rel(fused, truth) < 1e-3


def test_the_grid_takes_a_smooth_error_of_scale_and_wrong_zones_do_no_harm() -> None:
    truth = scene()
    bend = (0.006 * pixel_grid(HEIGHT, WIDTH)[..., 0]).exp()
    shape, zones = DepthMap(truth * bend, ALL), zones_of(truth)
    plain = fuse_sparse(shape, zones, grid=None, weigh=False)
    fused = fuse_sparse(shape, zones, weigh=False)
    assert abs_rel(fused, truth) < 0.25 * abs_rel(plain, truth)
    assert fused.fit is not None
    assert fused.fit.relative_error < 0.25 * fused.fit.relative_error_before
    assert fused.fit.least_factor < 0.9
    assert fused.fit.most_factor > 1.1
    wrong = zones.depth_m.clone()
    wrong[[5, 30, 51]] *= 3
    assert abs_rel(fuse_sparse(DepthMap(truth, ALL), replace(zones, depth_m=wrong), weigh=False), truth) < 0.02


def test_a_poor_shape_leaves_walls_to_the_zones() -> None:
    truth = 2 + 0.01 * pixel_grid(HEIGHT, WIDTH)[..., 0]
    noise = torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    zone_noise = (
        torch.randn(8, 8, generator=torch.Generator().manual_seed(1)).repeat_interleave(6, 0).repeat_interleave(8, 1)
    )
    poor = DepthMap(truth * (0.2 * noise + 0.1 * zone_noise).exp(), ALL)
    zones = zones_of(truth)
    unweighed, weighed = (abs_rel(fuse_sparse(poor, zones, weigh=weigh), truth) for weigh in (False, True))
    assert weighed < 0.25 * unweighed
    confidence = torch.full((HEIGHT, WIDTH), 0.9)
    confidence[:, 32:] = 0.05
    bad_half = replace(DepthMap(truth * torch.where(confidence < 0.5, 1.5, 1.0), ALL), confidence=confidence)
    found = fuse_sparse(bad_half, zones, grid=None)
    told = fuse_sparse(replace(bad_half, confidence=None), zones, grid=None)
    assert float((found.values - truth).abs()[:, 36:].mean()) < float((told.values - truth).abs()[:, 36:].mean())


def test_where_the_map_has_nothing_the_zones_are_fillers() -> None:
    truth = scene()
    valid = ALL.clone()
    valid[:, :16] = False
    zones = zones_of(truth)
    fused = fuse_sparse(DepthMap(torch.where(valid, truth, 0.0), valid, confidence=valid.float()), zones)
    assert torch.equal(fused.valid, valid)
    torch.testing.assert_close(fused.values[:, :16], zones.upsampled().values[:, :16])
    assert fused.fit is not None
    assert fused.fit.filled == 0.25
    assert fused.fit.used == 48
    assert fused.confidence is not None
    assert (fused.confidence[:, :16] == 0).all()


def test_sigmas_let_good_zones_decide() -> None:
    truth, zones = scene(), zones_of(scene())
    bad = torch.arange(64) % 2 == 0
    mixed = replace(zones, depth_m=torch.where(bad, zones.depth_m * 1.3, zones.depth_m))
    told = replace(mixed, sigma_m=torch.where(bad, 10.0, 0.001))
    shape = DepthMap(truth / 3, ALL)
    assert abs_rel(fuse_sparse(shape, told, grid=None, weigh=False), truth) < 1e-3
    assert abs_rel(fuse_sparse(shape, mixed, grid=None, weigh=False), truth) > 0.02
    assert abs_rel(fuse_sparse(shape, told, weigh=False), truth) < 0.01


def test_lidar_points_serve_as_zones_do(tmp_path: Path) -> None:
    truth = scene()
    valid = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) < 0.03
    points = SparseDepth.from_map(DepthMap(truth, valid, camera=CAMERA, scale=Scale.METRIC))
    fused = fuse_sparse(InverseDepthMap(2 / truth - 0.3, ALL), points)
    assert abs_rel(fused, truth) < 0.02
    assert fused.camera is CAMERA
    fused.save(tmp_path / "fused")
    manifest = io.read_manifest(tmp_path / "fused")
    assert manifest["sparse_fit"]["measured"] == int(valid.sum())
    assert manifest["scale"] == "metric"


def test_sizes_and_too_few_zones_are_refused() -> None:
    zones = zones_of(scene())
    with pytest.raises(WrongInput, match=r"use sparse\.resized"):
        fuse_sparse(DepthMap(scene()[:40], ALL[:40]), zones)
    few = replace(zones, valid=torch.arange(64) < 2)
    with pytest.raises(WrongInput, match="2 measured regions"):
        fuse_sparse(DepthMap(scene(), ALL), few)
