import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from depthweave import io
from depthweave.errors import NeedsCalibration, NeedsMetric, WrongFile, WrongInput
from depthweave.geometry import intrinsics_matrix
from depthweave.types import (
    Camera,
    Clip,
    DepthMap,
    DepthVideo,
    DisparityMap,
    InverseDepthMap,
    PointCloud,
    Scale,
    StereoPair,
    read_picture,
)

HEIGHT, WIDTH = 18, 24
METRIC, UNKNOWN_SCALE, UNKNOWN_SCALE_AND_SHIFT = Scale


def smooth(low: float, high: float) -> Tensor:
    """A surface that is slanted from ``low`` to ``high``."""
    return torch.linspace(low, high, WIDTH).expand(HEIGHT, WIDTH).clone()


def holes() -> Tensor:
    """All pixels but a block of twelve."""
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    valid[2:5, 3:7] = False
    return valid


@pytest.fixture
def camera() -> Camera:
    return Camera(intrinsics_matrix(100.0, 90.0, 11.5, 8.5), WIDTH, HEIGHT, baseline_m=0.2)


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def a_map(kind: type, camera: Camera | None, *, scale: Scale = METRIC) -> DisparityMap | DepthMap | InverseDepthMap:
    """Each kind of map, filler 1e6 under its holes, with confidence."""
    low, high = {DisparityMap: (2.0, 20.0), DepthMap: (1.0, 10.0), InverseDepthMap: (0.1, 1.0)}[kind]
    valid = holes()
    values = torch.where(valid, smooth(low, high), 1e6)
    options = {} if kind is DisparityMap else {"scale": scale}
    return kind(values, valid, smooth(0, 1), camera, **options)


KINDS = [DisparityMap, DepthMap, InverseDepthMap]


# Maps and their files


@pytest.mark.parametrize("kind", KINDS)
def test_npz_keeps_everything(kind: type, camera: Camera, tmp_path: Path) -> None:
    written = a_map(kind, replace(camera, doffs_px=3.5))
    written.save(tmp_path / "map.npz")
    found = kind.read(tmp_path / "map.npz")
    assert torch.equal(found.values, written.values)
    assert torch.equal(found.valid, written.valid)
    assert torch.equal(found.confidence, written.confidence)
    assert torch.equal(found.camera.intrinsics, camera.intrinsics)
    assert (found.camera.baseline_m, found.camera.doffs_px) == (0.2, 3.5)
    assert (found.camera.width, found.camera.height) == (WIDTH, HEIGHT)
    assert getattr(found, "scale", METRIC) == METRIC


@pytest.mark.parametrize("scale", list(Scale))
@pytest.mark.parametrize("kind", [DepthMap, InverseDepthMap])
def test_npz_and_folder_keep_the_scale(kind: type, scale: Scale, camera: Camera, tmp_path: Path) -> None:
    written = a_map(kind, camera, scale=scale)
    for name in ("map.npz", "folder"):
        written.save(tmp_path / name)
        assert kind.read(tmp_path / name).scale == scale


@pytest.mark.parametrize("suffix", [".pfm", ".exr"])
@pytest.mark.parametrize("kind", KINDS)
def test_float_files_keep_values_and_mask(kind: type, suffix: str, camera: Camera, tmp_path: Path) -> None:
    written = a_map(kind, camera)
    written.save(tmp_path / f"map{suffix}")
    found = kind.read(tmp_path / f"map{suffix}")
    assert torch.equal(found.valid, written.valid)
    assert torch.equal(found.values[found.valid], written.values[written.valid])
    assert found.camera is None
    assert found.confidence is None
    expected = {DepthMap: UNKNOWN_SCALE, InverseDepthMap: UNKNOWN_SCALE_AND_SHIFT}
    assert getattr(found, "scale", None) == expected.get(kind)
    assert kind.read(tmp_path / f"map{suffix}", camera=camera).camera is camera


@pytest.mark.parametrize(("kind", "step"), [(DisparityMap, 1 / 256), (DepthMap, 0.001)])
def test_png_keeps_values_to_its_step(kind: type, step: float, tmp_path: Path) -> None:
    written = a_map(kind, None)
    written.save(tmp_path / "map.png")
    found = kind.read(tmp_path / "map.png")
    assert torch.equal(found.valid, written.valid)
    torch.testing.assert_close(found.values[found.valid], written.values[written.valid], rtol=0, atol=0.51 * step)
    assert getattr(found, "scale", METRIC) == METRIC


@pytest.mark.parametrize("kind", KINDS)
def test_folder_keeps_everything_and_shows_it(kind: type, camera: Camera, picture: Tensor, tmp_path: Path) -> None:
    written = a_map(kind, replace(camera, max_disparity_px=64)).with_image(picture)
    written.save(tmp_path / "out", facts={"model": "by hand"})
    found = kind.read(tmp_path / "out")
    assert torch.equal(found.values, written.values)
    assert torch.equal(found.confidence, written.confidence)
    assert found.camera.to_dict() == written.camera.to_dict()
    manifest = json.loads((tmp_path / "out" / "result.json").read_text())
    assert manifest["model"] == "by hand"
    assert manifest["type"] == written.quantity
    assert manifest["unit"] == {"disparity": "px", "depth": "m", "inverse_depth": "1/m"}[written.quantity]
    assert manifest["valid_share"] == pytest.approx(1 - 12 / (HEIGHT * WIDTH))
    for name in manifest["files"].values():
        assert (tmp_path / "out" / name).is_file()
    assert io.read_image(tmp_path / "out" / "preview.png").shape == (HEIGHT, 2 * WIDTH, 3)
    assert len(PointCloud.read(tmp_path / "out" / "cloud.ply")) == len(written.to_points())


def test_folder_without_camera_or_metres_has_no_cloud(camera: Camera, tmp_path: Path) -> None:
    a_map(DisparityMap, None).save(tmp_path / "pixels")
    a_map(InverseDepthMap, camera, scale=UNKNOWN_SCALE_AND_SHIFT).save(tmp_path / "affine")
    for name in ("pixels", "affine"):
        manifest = io.read_manifest(tmp_path / name)
        assert "cloud" not in manifest["files"]
        assert not (tmp_path / name / "cloud.ply").exists()
    assert manifest["unit"] == "relative"


def test_map_without_a_valid_pixel_can_be_saved(camera: Camera, tmp_path: Path) -> None:
    nothing = replace(a_map(DisparityMap, camera), valid=torch.zeros(HEIGHT, WIDTH, dtype=torch.bool))
    nothing.save(tmp_path / "out")
    found = DisparityMap.read(tmp_path / "out")
    assert not found.valid.any()
    assert torch.equal(found.values, nothing.values)


@pytest.mark.parametrize("name", ["map.npz", "out"])
def test_a_camera_that_is_passed_stands_above_the_file(name: str, camera: Camera, tmp_path: Path) -> None:
    a_map(DisparityMap, None).save(tmp_path / name)
    assert DisparityMap.read(tmp_path / name).camera is None
    assert DisparityMap.read(tmp_path / name, camera=camera).to_depth().scale == METRIC


def test_reading_another_quantity_is_refused(camera: Camera, tmp_path: Path) -> None:
    for name in ("map.npz", "out"):
        a_map(DepthMap, camera).save(tmp_path / name)
        with pytest.raises(WrongFile, match=f"{name} holds depth, not disparity"):
            DisparityMap.read(tmp_path / name)


def test_formats_that_do_not_exist_are_named(camera: Camera, tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"map\.tiff: a depth map is saved as \.npz"):
        a_map(DepthMap, camera).save(tmp_path / "map.tiff")
    with pytest.raises(WrongFile, match=r"map\.tiff: a depth map is read from \.npz"):
        DepthMap.read(tmp_path / "map.tiff")
    with pytest.raises(WrongFile, match="inverse_depth map has no 16-bit PNG form"):
        a_map(InverseDepthMap, camera).save(tmp_path / "map.png")
    with pytest.raises(WrongFile, match="inverse_depth map has no 16-bit PNG form"):
        InverseDepthMap.read(tmp_path / "map.png")
    with pytest.raises(NeedsMetric, match="millimetres needs metres, but this map has unknown scale"):
        a_map(DepthMap, camera, scale=UNKNOWN_SCALE).save(tmp_path / "map.png")
    assert list(tmp_path.iterdir()) == []


# What a map is


def test_a_map_checks_its_parts(camera: Camera, picture: Tensor) -> None:
    values, valid = smooth(1, 2), holes()
    with pytest.raises(WrongInput, match="values must be finite"):
        DisparityMap(torch.where(valid, values, torch.inf), valid)
    with pytest.raises(WrongInput, match=r"camera is for 24x18 px, but the map is 20x18 px; use camera\.resized"):
        DisparityMap(values[:, :20], valid[:, :20], camera=camera)
    with pytest.raises(WrongInput, match=r"image has size \(4, 5\)"):
        a_map(DepthMap, camera).with_image(np.zeros((4, 5, 3), np.uint8))


def test_arrays_mark_what_is_invalid() -> None:
    disparity = a_map(DisparityMap, None)
    array = np.asarray(disparity)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(array), ~holes().numpy())
    assert (disparity.numpy(invalid=-1.0)[~holes().numpy()] == -1).all()
    assert (disparity.height, disparity.width) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_warm_where_near(kind: type, camera: Camera) -> None:
    found = a_map(kind, camera)
    picture = found.colorize().astype(int)
    near, far = (0, -1) if kind is DepthMap else (-1, 0)
    assert picture[0, near, 0] - picture[0, near, 2] > picture[0, far, 0] - picture[0, far, 2]
    assert (picture[~holes().numpy()] == 128).all()


def test_affine_depth_is_coloured_near_warm_too() -> None:
    picture = a_map(DepthMap, None, scale=UNKNOWN_SCALE_AND_SHIFT).colorize().astype(int)
    assert picture[0, 0, 0] - picture[0, 0, 2] > picture[0, -1, 0] - picture[0, -1, 2]


# Between the quantities


def test_disparity_to_depth_by_hand(camera: Camera) -> None:
    values = torch.tensor([20.0, 10.0, 0.0, -5.0]).repeat(HEIGHT, WIDTH // 4)
    disparity = DisparityMap(values, torch.ones_like(values, dtype=torch.bool), camera=camera)
    depth = disparity.to_depth()
    assert depth.scale == METRIC
    assert depth.values[0, :4].tolist() == [1, 2, 0, 0]
    assert depth.valid[0, :4].tolist() == [True, True, False, False]
    back = depth.to_disparity()
    assert torch.equal(back.valid, depth.valid)
    torch.testing.assert_close(back.values[back.valid], values[back.valid])
    inverse = disparity.to_inverse_depth()
    assert inverse.scale == METRIC
    torch.testing.assert_close(inverse.values[0, :2], torch.tensor([1.0, 0.5]))
    assert torch.equal(inverse.valid, depth.valid)


def test_doffs_moves_infinity(camera: Camera) -> None:
    moved = replace(camera, doffs_px=5.0)
    values = torch.full((HEIGHT, WIDTH), -5.0)
    values[0] = 15.0
    disparity = DisparityMap(values, torch.ones_like(values, dtype=torch.bool), camera=moved)
    depth = disparity.to_depth()
    assert depth.values[0, 0] == 1
    assert depth.valid[0].all()
    assert not depth.valid[1:].any()
    torch.testing.assert_close(disparity.to_inverse_depth().values[0], depth.to_inverse_depth().values[0])
    torch.testing.assert_close(depth.to_disparity().values[0], values[0])
    relative = replace(disparity, camera=replace(moved, baseline_m=None)).to_inverse_depth()
    assert relative.scale == UNKNOWN_SCALE
    assert relative.values[0, 0] == 20


def test_metres_without_calibration_name_the_way_out(camera: Camera) -> None:
    for known, missing in ((None, "camera"), (replace(camera, baseline_m=None), "baseline")):
        disparity = a_map(DisparityMap, known)
        for ask in (disparity.to_depth, disparity.to_points):
            with pytest.raises(NeedsCalibration, match=rf"its {missing} is unknown: give the pair calibration=.*-c"):
                ask()
        assert disparity.to_inverse_depth().scale == UNKNOWN_SCALE
        with pytest.raises(NeedsCalibration, match=r"pass camera=Camera"):
            a_map(DepthMap, known).to_disparity()
    with pytest.raises(NeedsCalibration, match="give the map a camera"):
        a_map(DepthMap, None).to_points()
    assert a_map(DepthMap, None).to_disparity(camera).camera is camera


@pytest.mark.parametrize("kind", [DepthMap, InverseDepthMap])
def test_metres_of_a_relative_map_name_the_way_out(kind: type, camera: Camera) -> None:
    for scale in (UNKNOWN_SCALE, UNKNOWN_SCALE_AND_SHIFT):
        words = scale.replace("_", " ")
        with pytest.raises(NeedsMetric, match=rf"has {words}: align_to\(reference\).*metric model"):
            a_map(kind, camera, scale=scale).to_disparity()
    affine = a_map(kind, camera, scale=UNKNOWN_SCALE_AND_SHIFT)
    for ask in (affine.to_points, affine.to_depth if kind is InverseDepthMap else affine.to_inverse_depth):
        with pytest.raises(NeedsMetric, match=r"needs a known shift.*align_to\(reference\)"):
            ask()
    assert a_map(kind, camera, scale=UNKNOWN_SCALE).to_points().scale == UNKNOWN_SCALE


@pytest.mark.parametrize("scale", [METRIC, UNKNOWN_SCALE])
def test_depth_and_inverse_depth_are_each_others_reciprocal(scale: Scale, camera: Camera) -> None:
    depth = a_map(DepthMap, camera, scale=scale)
    inverse = depth.to_inverse_depth()
    assert inverse.scale == scale
    torch.testing.assert_close(inverse.values, 1 / depth.values)
    again = inverse.to_depth()
    torch.testing.assert_close(again.values, depth.values)
    assert torch.equal(again.valid, depth.valid)
    below = replace(depth, values=depth.values - 5, valid=torch.ones_like(depth.valid)).to_inverse_depth()
    assert torch.equal(below.valid, depth.values > 5)


def test_resized_disparity_keeps_its_depth(camera: Camera, picture: Tensor) -> None:
    disparity = replace(a_map(DisparityMap, replace(camera, doffs_px=2.0, max_disparity_px=21)), image=picture)
    small = disparity.resized(HEIGHT // 2, WIDTH // 2)
    assert small.camera.doffs_px == 1
    assert small.camera.max_disparity_px == 11
    torch.testing.assert_close(small.to_depth().values, disparity.to_depth().values[::2, ::2])
    assert small.image.shape == (3, HEIGHT // 2, WIDTH // 2)


def test_resized_confidence_can_be_saved(tmp_path: Path) -> None:
    sure = replace(a_map(DisparityMap, None), confidence=torch.ones(HEIGHT, WIDTH), image=torch.ones(3, HEIGHT, WIDTH))
    for size in ((7, 9), (13, 11), (41, 64)):
        resized = sure.resized(*size)
        assert resized.confidence.max() <= 1
        assert resized.image.max() <= 1
        resized.save(tmp_path / "map.npz")
        assert DisparityMap.read(tmp_path / "map.npz").confidence.shape == size


# Alignment


@pytest.mark.parametrize("method", ["least_squares", "huber", "median"])
def test_affine_depth_meets_metric_depth(method: str, camera: Camera) -> None:
    truth = a_map(DepthMap, camera)
    affine = replace(truth, values=torch.where(truth.valid, truth.values / 3 + 2, 3e38), scale=UNKNOWN_SCALE_AND_SHIFT)
    found = affine.align_to(truth, method=method)
    assert found.scale == METRIC
    assert torch.equal(found.valid, truth.valid)
    torch.testing.assert_close(found.values[found.valid], truth.values[truth.valid], rtol=1e-4, atol=1e-4)


def test_inverse_depth_is_aligned_in_inverse_depth(camera: Camera) -> None:
    truth = a_map(DepthMap, camera)
    inverse = truth.to_inverse_depth()
    affine = replace(inverse, values=(inverse.values - 0.05) / 4, scale=UNKNOWN_SCALE_AND_SHIFT)
    for reference in (truth, inverse):
        found = affine.align_to(reference)
        assert isinstance(found, InverseDepthMap)
        assert found.scale == METRIC
        torch.testing.assert_close(found.to_depth().values[found.valid], truth.values[found.valid], rtol=1e-4, atol=0)


def test_a_map_of_known_shift_gets_a_scale_only(camera: Camera) -> None:
    truth = a_map(DepthMap, camera)
    shifted = replace(truth, values=truth.values / 2 + 1, scale=UNKNOWN_SCALE)
    assert (shifted.align_to(truth).values - truth.values)[truth.valid].abs().max() > 0.1
    found = shifted.align_to(truth, shift=True)
    torch.testing.assert_close(found.values[found.valid], truth.values[found.valid], rtol=1e-4, atol=1e-4)


def test_alignment_uses_pixels_valid_in_both_and_drops_what_is_not_positive(camera: Camera) -> None:
    truth = a_map(DepthMap, camera)
    affine = replace(truth, values=truth.values + 5, scale=UNKNOWN_SCALE_AND_SHIFT)
    affine.values[-1] = 1.0
    sparse = replace(truth, valid=truth.valid & (torch.arange(HEIGHT) < 9)[:, None])
    found = affine.align_to(sparse)
    assert found.valid[9:-1].all()
    assert not found.valid[-1].any()
    torch.testing.assert_close(found.values[8:-1], truth.values[8:-1], rtol=1e-4, atol=1e-4)


def test_maps_of_two_sizes_are_not_aligned(camera: Camera) -> None:
    with pytest.raises(WrongInput, match=r"map of \(18, 24\) cannot be aligned to one of \(9, 12\)"):
        a_map(DepthMap, camera).align_to(DepthMap(torch.ones(9, 12), torch.ones(9, 12, dtype=torch.bool)))


# Points


def test_points_have_axes_and_colours(camera: Camera) -> None:
    valid = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    valid[8, 11:13] = valid[9, 11:13] = True
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[0, 8, 11], image[2, 9, 12] = 1.0, 0.5
    cloud = DepthMap(torch.full((HEIGHT, WIDTH), 2.0), valid, camera=camera, scale=METRIC).to_points(image)
    x, y = 0.5 * 2 / 100, 0.5 * 2 / 90
    expected = torch.tensor([[-x, -y, 2], [x, -y, 2], [-x, y, 2], [x, y, 2]])
    torch.testing.assert_close(cloud.points, expected)
    assert cloud.colors.tolist() == [[255, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 128]]
    assert cloud.scale == METRIC


def test_points_take_the_picture_of_the_map_unless_another_is_given(camera: Camera, picture: Tensor) -> None:
    depth = a_map(DepthMap, camera)
    assert depth.to_points().colors is None
    own = depth.with_image(picture).to_points(keep_flying=True)
    assert torch.equal(own.colors, (picture * 255).round().byte().permute(1, 2, 0)[depth.valid])
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert depth.with_image(picture).to_points(black).colors.max() == 0
    with pytest.raises(WrongInput, match="image has size"):
        depth.to_points(black[1:])


def test_a_veil_goes_and_surfaces_stay(camera: Camera) -> None:
    columns = torch.arange(WIDTH)
    near_slant, far = 1 + 0.02 * columns, torch.full((WIDTH,), 4.0)
    row = torch.where(columns < 12, near_slant, far)
    solid = DepthMap(row.expand(HEIGHT, WIDTH).clone(), holes(), camera=camera, scale=METRIC)
    assert len(solid.to_points()) == int(holes().sum())
    row = row.clone()
    row[12] = 2.5
    veiled = replace(solid, values=row.expand(HEIGHT, WIDTH).clone())
    assert len(veiled.to_points()) == int(holes().sum()) - HEIGHT
    assert len(veiled.to_points(keep_flying=True)) == int(holes().sum())
    assert not ((veiled.to_points().points[:, 2] - 2.5).abs() < 1e-6).any()


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_cloud_files(suffix: str, camera: Camera, picture: Tensor, tmp_path: Path) -> None:
    cloud = a_map(DepthMap, camera).to_points(picture)
    cloud.save(tmp_path / f"cloud{suffix}")
    found = PointCloud.read(tmp_path / f"cloud{suffix}", scale=METRIC)
    torch.testing.assert_close(found.points, cloud.points)
    assert torch.equal(found.colors, cloud.colors)
    assert found.scale == METRIC
    assert PointCloud.read(tmp_path / f"cloud{suffix}").scale == UNKNOWN_SCALE


def test_cloud_in_other_axes_and_in_other_files(camera: Camera, tmp_path: Path) -> None:
    cloud = a_map(DepthMap, camera).to_points()
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(cloud.transformed(pose).points, cloud.points + pose[:3, 3])
    with pytest.raises(WrongFile, match=r"saved as \.ply or \.glb"):
        cloud.save(tmp_path / "cloud.xyz")
    with pytest.raises(WrongFile, match=r"read from \.ply or \.glb"):
        PointCloud.read(tmp_path / "cloud.xyz")


# Cameras


def test_camera_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text(
        "cam0=[100 0 11.5; 0 90 8.5; 0 0 1]\ncam1=[100 0 14.5; 0 90 8.5; 0 0 1]\n"
        "doffs=3\nbaseline=200\nwidth=24\nheight=18\nndisp=20\n"
    )
    camera = Camera.read(tmp_path / "calib.txt")
    assert (camera.width, camera.height, camera.doffs_px, camera.max_disparity_px) == (24, 18, 3, 20)
    assert (camera.focal_px, camera.baseline_m) == (100, pytest.approx(0.2))
    with pytest.raises(WrongInput, match=r"calib\.txt is for pictures of 24x18 px, but these have 48x36"):
        Camera.read(tmp_path / "calib.txt", width=48, height=36)
    (tmp_path / "K.txt").write_text("100 0 11.5 0 90 8.5 0 0 1\n0.2\n")
    with pytest.raises(WrongInput, match=r"K\.txt does not state the size.*width= and height="):
        Camera.read(tmp_path / "K.txt")
    assert Camera.read(tmp_path / "K.txt", width=24, height=18).baseline_m == 0.2


def test_camera_survives_a_manifest(camera: Camera) -> None:
    written = replace(camera, doffs_px=1.5, max_disparity_px=7)
    found = Camera.from_dict(json.loads(json.dumps(written.to_dict())))
    assert torch.equal(found.intrinsics, written.intrinsics)
    assert found.to_dict() == written.to_dict()


def test_a_bound_stays_a_bound_after_a_resize(camera: Camera) -> None:
    for bound in range(1, 40):
        resized = replace(camera, max_disparity_px=bound).resized(9, 7)
        assert resized.max_disparity_px >= bound * 7 / WIDTH
        assert resized.max_disparity_px < bound * 7 / WIDTH + 1


# Pairs


def test_pair_refuses_what_cannot_be_matched(camera: Camera, picture: Tensor, tmp_path: Path) -> None:
    grey, color = np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3), np.uint8)
    io.write_image(tmp_path / "a.png", color)
    with pytest.raises(WrongInput, match=r"a\.png is 30x20 px but the right picture is 30x18 px; give two rectified"):
        StereoPair.read(tmp_path / "a.png", color[2:])
    with pytest.raises(WrongInput, match=r"the left picture is 15x20 px, too small.*at least 16x16"):
        StereoPair.read(color[:, :15], color[:, :15])
    with pytest.raises(WrongInput, match=r"left picture is grey but .*a\.png is colour.*--grey"):
        StereoPair.read(grey, tmp_path / "a.png")
    with pytest.raises(WrongInput, match=r"calibration is for 24x18 px but .*a\.png is 30x20 px"):
        StereoPair.read(tmp_path / "a.png", color, calibration=camera)
    with pytest.raises(WrongFile, match=r"b\.png does not exist"):
        StereoPair.read(tmp_path / "a.png", tmp_path / "b.png")
    with pytest.raises(WrongInput, match=r"a picture is a path, a PIL image, an array or a tensor, not int"):
        StereoPair.read(3, 4)


def test_pair_of_files(tmp_path: Path) -> None:
    color = np.full((20, 30, 3), (255, 0, 51), np.uint8)
    io.write_image(tmp_path / "one.png", color)
    io.write_image(tmp_path / "two.png", color[..., 0])
    (tmp_path / "K.txt").write_text("100 0 11.5 0 90 8.5 0 0 1\n0.2\n")
    pair = StereoPair.read(tmp_path / "one.png", tmp_path / "one.png", calibration=tmp_path / "K.txt")
    assert (pair.name, pair.height, pair.width) == ("one", 20, 30)
    assert pair.camera.baseline_m == 0.2
    assert pair.sources == (str(tmp_path / "one.png"),) * 2
    mixed = StereoPair.read(tmp_path / "one.png", tmp_path / "two.png", grey=True, name="mixed")
    assert mixed.name == "mixed"
    torch.testing.assert_close(mixed.left, torch.full((3, 20, 30), 0.299 + 0.114 * 0.2))
    assert torch.equal(mixed.right, torch.ones(3, 20, 30))


def test_every_kind_of_picture_is_the_same_picture() -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    opaque = np.concatenate((array, np.full((20, 30, 1), 255, np.uint8)), axis=-1)
    expected = tensor.float() / 255
    pictures = {
        "array": array,
        "RGBA array": opaque,
        "16 bit": array.astype(np.uint16) * 257,
        "floats": array / 255,
        "PIL": Image.fromarray(array),
        "PIL RGBA": Image.fromarray(opaque),
        "tensor": tensor,
        "float tensor": expected,
        "double tensor": expected.double(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, picture in pictures.items():
            pair = StereoPair.read(picture, array)
            assert pair.left.dtype == torch.float32, name
            torch.testing.assert_close(pair.left, expected, msg=name)
            torch.testing.assert_close(read_picture(picture), expected, msg=name)
            assert (pair.name, pair.sources[0]) == ("pair", "the left picture")


def test_every_kind_of_grey_is_grey() -> None:
    array = np.tile(np.array([0, 255], np.uint8), (20, 15))
    pil = Image.fromarray(array)
    tensor = torch.from_numpy(array)
    pictures = [
        array,
        array[..., None],
        array.astype(np.uint16) * 257,
        tensor,
        tensor[None],
        (tensor[None] / 255).half(),
    ]
    pictures += [(tensor[None] / 255).bfloat16(), *(pil.convert(mode) for mode in ("L", "LA", "1", "I;16"))]
    pictures[-1] = Image.fromarray(array.astype(np.uint16) * 257)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for picture in pictures:
            pair = StereoPair.read(picture, array)
            assert torch.equal(pair.left, pair.right)
            assert pair.left.shape == (3, 20, 30)


def test_indexed_colour_is_colour() -> None:
    array = np.zeros((20, 30, 3), np.uint8)
    array[:, 15:] = (255, 0, 0)
    pair = StereoPair.read(Image.fromarray(array).convert("P", palette=Image.Palette.ADAPTIVE), array)
    assert torch.equal(pair.left, pair.right)


def test_float_tensors_outside_the_unit_range_are_refused() -> None:
    for wrong in (torch.full((3, 20, 20), 255.0), torch.full((20, 20), -1.0)):
        with pytest.raises(WrongInput, match="divide 0-255 values by 255"):
            read_picture(wrong)


def test_mirrored_pair_swaps_the_views(picture: Tensor) -> None:
    pair = StereoPair(picture, 1 - picture, name="x", sources=("l.png", "r.png"))
    mirrored = pair.mirrored()
    assert torch.equal(mirrored.left, (1 - picture).flip(-1))
    assert mirrored.sources == ("r.png", "l.png")
    assert torch.equal(mirrored.mirrored().left, pair.left)


# Clips and depth videos


def test_clip_reads_one_frame_at_a_time(tmp_path: Path) -> None:
    for index in range(12):
        io.write_image(tmp_path / "frames" / f"{index}.png", np.full((16, 20, 3), 10 * index, np.uint8))
    (tmp_path / "frames" / "11.png").write_bytes(b"damaged")
    clip = Clip.read(tmp_path / "frames", start=1, step=2)
    assert clip.name == "frames"
    for _ in range(2):
        frames = iter(clip)
        found = [round(float(next(frames)[0, 0, 0]) * 255) for _ in range(5)]
        assert found == [10, 30, 50, 70, 90]
        with pytest.raises(WrongFile, match=r"11\.png"):
            next(frames)


def test_clip_of_pictures_and_with_calibration(camera: Camera, tmp_path: Path) -> None:
    frames = [np.full((16, 20), value, np.uint8) for value in (0, 255)]
    assert [float(frame.mean()) for frame in Clip(frames)] == [0, 1]
    assert next(iter(Clip(frames))).shape == (3, 16, 20)
    io.write_image(tmp_path / "frames" / "0.png", frames[0])
    (tmp_path / "K.txt").write_text("100 0 9.5 0 100 7.5 0 0 1\n")
    found = Clip.read(tmp_path / "frames", calibration=tmp_path / "K.txt").camera
    assert (found.width, found.height, found.baseline_m) == (20, 16, None)
    assert Clip.read(tmp_path / "frames", calibration=camera).camera is camera


def depth_video(values: Tensor, scale: Scale = METRIC, **options: object) -> DepthVideo:
    return DepthVideo(values, torch.ones_like(values, dtype=torch.bool), "depth", scale, **options)


def test_one_fit_for_a_clip_shows_flicker_and_a_fit_per_frame_hides_it() -> None:
    truth = depth_video(torch.stack([smooth(1, 4)] * 4))
    flicker = torch.tensor([0.8, 1.2, 0.8, 1.2])[:, None, None]
    prediction = depth_video(truth.values * flicker, UNKNOWN_SCALE)
    per_frame = prediction.align_to(truth, over="image")
    assert (per_frame.values / truth.values - 1).abs().max() < 1e-5
    whole = prediction.align_to(truth)
    assert whole.scale == METRIC
    ratio = (whole.values / truth.values).mean((1, 2))
    torch.testing.assert_close(ratio[1] / ratio[0], torch.tensor(1.5))


def test_clip_alignment_checks_its_reference() -> None:
    video = depth_video(torch.ones(3, 4, 5))
    with pytest.raises(WrongInput, match=r"clip of \(3, 4, 5\) cannot be aligned to one of \(2, 4, 5\)"):
        video.align_to(depth_video(torch.ones(2, 4, 5)))
    with pytest.raises(WrongInput, match="clip of depth is aligned to depth, not to inverse_depth"):
        video.align_to(video.to_inverse_depth())


def test_affine_clip_with_huge_fillers_is_aligned() -> None:
    truth = depth_video(torch.stack([smooth(1, 4), smooth(2, 5)]))
    valid = holes().expand(2, -1, -1)
    values = torch.where(valid, truth.values / 4 + 1, 3e38)
    affine = DepthVideo(values, valid, "depth", UNKNOWN_SCALE_AND_SHIFT)
    found = affine.align_to(truth)
    assert torch.equal(found.valid, valid)
    torch.testing.assert_close(found.values[valid], truth.values[valid], rtol=1e-4, atol=1e-4)


def test_video_to_inverse_and_back() -> None:
    video = depth_video(torch.stack([smooth(1, 4), smooth(-1, 5)]), UNKNOWN_SCALE)
    inverse = video.to_inverse_depth()
    assert (inverse.quantity, inverse.scale) == ("inverse_depth", UNKNOWN_SCALE)
    assert torch.equal(inverse.valid, video.values > 0)
    again = inverse.to_depth()
    torch.testing.assert_close(again.values[again.valid], video.values[again.valid])
    assert video.to_depth() is video
    affine = replace(video, scale=UNKNOWN_SCALE_AND_SHIFT)
    with pytest.raises(NeedsMetric, match=r"inverse depth needs a known shift.*align_to\(reference\)"):
        affine.to_inverse_depth()


def test_video_is_a_sequence_of_maps(camera: Camera) -> None:
    video = depth_video(torch.stack([smooth(1, 4), smooth(2, 5)]), camera=camera)
    assert len(video) == 2
    assert isinstance(video[1], DepthMap)
    assert isinstance(video.to_inverse_depth()[1], InverseDepthMap)
    assert video[1].camera is camera
    assert [frame.scale for frame in video] == [METRIC, METRIC]


@pytest.mark.parametrize("quantity", ["depth", "inverse_depth"])
def test_video_folder(quantity: str, camera: Camera, tmp_path: Path) -> None:
    values = torch.stack([torch.where(holes(), smooth(1, 4), 1e6), smooth(2, 5)])
    valid = torch.stack([holes(), torch.ones_like(holes())])
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 0.25
    written = DepthVideo(values, valid, quantity, UNKNOWN_SCALE_AND_SHIFT, 12.5, camera, poses)
    written.save(tmp_path / "out")
    found = DepthVideo.read(tmp_path / "out")
    for name in ("values", "valid", "world_from_camera"):
        assert torch.equal(getattr(found, name), getattr(written, name))
    assert (found.quantity, found.scale, found.fps) == (quantity, UNKNOWN_SCALE_AND_SHIFT, 12.5)
    assert found.camera.to_dict() == camera.to_dict()
    assert io.open_frames(tmp_path / "out" / "preview.mp4").size == (HEIGHT, WIDTH)
    with pytest.raises(WrongFile, match=rf"out holds {quantity}_video, not disparity"):
        DisparityMap.read(tmp_path / "out")
    a_map(DepthMap, camera).save(tmp_path / "still")
    with pytest.raises(WrongFile, match="still holds depth, not a depth video"):
        DepthVideo.read(tmp_path / "still")


def test_video_checks_its_parts() -> None:
    with pytest.raises(WrongInput, match="values must be finite"):
        depth_video(torch.full((2, 4, 5), torch.nan))


def test_video_has_one_range_of_colours() -> None:
    dark_to_bright = depth_video(torch.stack([torch.full((4, 5), 4.0), torch.full((4, 5), 1.0)]))
    low, high = dark_to_bright.color_range()
    assert (low, high) == pytest.approx((0.25, 1.0))


def test_a_pil_picture_is_turned_upright_like_a_file(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(16 * 20 * 3, dtype=np.uint8).reshape(16, 20, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    from_file = read_picture(tmp_path / "turned.png")
    assert from_file.shape == (3, 20, 16)
    torch.testing.assert_close(read_picture(Image.open(tmp_path / "turned.png")), from_file)


def test_a_manifest_of_another_kind_is_named(tmp_path: Path) -> None:
    io.write_manifest(tmp_path, {"note": "no map here"})
    with pytest.raises(WrongFile, match="no map"):
        DisparityMap.read(tmp_path)
