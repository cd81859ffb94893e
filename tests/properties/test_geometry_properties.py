import math
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from depthweave import geometry, images

few = settings(max_examples=40, deadline=None, derandomize=True)

seeds = st.integers(0, 2**31)
sides = st.integers(2, 24)
focals = st.floats(50, 2000)


def uniform(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def camera(focal_px: float, width: int, height: int) -> Tensor:
    return geometry.intrinsics_matrix(focal_px, 0.9 * focal_px, 0.4 * width, 0.6 * height).double()


@few
@given(seeds, focals, st.floats(0.01, 2), st.floats(-50, 50))
def test_disparity_to_depth_and_back(seed: int, focal_px: float, baseline_m: float, doffs_px: float) -> None:
    rig = {"focal_px": focal_px, "baseline_m": baseline_m, "doffs_px": doffs_px}
    d = uniform(seed, 4, 5, low=0.1, high=200) - doffs_px
    depth = geometry.depth_from_disparity(d, **rig)
    assert (depth > 0).all()
    torch.testing.assert_close(geometry.disparity_from_depth(depth, **rig), d, rtol=1e-9, atol=1e-9)


@few
@given(seeds, st.floats(-10, 10))
def test_inverse_pose_undoes_the_pose(seed: int, shift: float) -> None:
    quaternion = uniform(seed, 2, 4, low=-1) + torch.tensor([0.0, 0, 0, 0.1])
    pose = geometry.pose_from_quaternion(quaternion, shift + uniform(seed, 2, 3))
    inverse = geometry.invert_pose(pose)
    torch.testing.assert_close(inverse @ pose, torch.eye(4).double().expand(2, 4, 4))
    torch.testing.assert_close(inverse, torch.inverse(pose))
    torch.testing.assert_close(geometry.invert_pose(inverse), pose)


@few
@given(seeds, sides, sides, focals)
def test_unprojected_pixels_project_to_themselves(seed: int, height: int, width: int, focal_px: float) -> None:
    k = camera(focal_px, width, height)
    depth = uniform(seed, height, width, low=0.1, high=100)
    pixels, z = geometry.project(geometry.unproject(depth, k).reshape(-1, 3), k)
    torch.testing.assert_close(pixels, geometry.pixel_grid(height, width, dtype=torch.float64).reshape(-1, 2))
    torch.testing.assert_close(z, depth.flatten())


@few
@given(seeds, sides, sides, focals)
def test_depth_to_ray_length_and_back(seed: int, height: int, width: int, focal_px: float) -> None:
    k = camera(focal_px, width, height)
    depth = uniform(seed, height, width, low=0.1, high=100)
    length = geometry.ray_length_from_depth(depth, k)
    assert (length >= depth).all()
    torch.testing.assert_close(length, geometry.unproject(depth, k).norm(dim=-1))
    torch.testing.assert_close(geometry.depth_from_ray_length(length, k), depth)


@few
@given(seeds, sides, sides)
def test_a_mirrored_pair_warps_to_the_mirrored_picture(seed: int, height: int, width: int) -> None:
    # A mirror turns x_right = x - d into x_right = x + d: the sign of the disparity flips with the picture.
    right = uniform(seed, 3, height, width)
    d = uniform(seed + 1, height, width, low=-width, high=width)
    warped, inside = geometry.warp_by_disparity(right, d)
    mirrored, mirrored_inside = geometry.warp_by_disparity(right.flip(-1), -d.flip(-1))
    torch.testing.assert_close(mirrored.flip(-1), warped, rtol=0, atol=1e-9)
    assert torch.equal(mirrored_inside.flip(-1), inside)


@few
@given(seeds, sides, sides)
def test_left_and_right_occlusion_mirror_each_other(seed: int, height: int, width: int) -> None:
    left, right = (uniform(seed + i, height, width, low=-2, high=6) for i in range(2))
    hidden = geometry.occlusion_from_disparity(left, right)
    upside_down = geometry.occlusion_from_disparity(left.flip(-2), right.flip(-2))
    assert torch.equal(upside_down.flip(-2), hidden)
    outside = geometry.warp_by_disparity(right[None], left)[1].logical_not()
    assert (hidden | ~outside).all()


@few
@given(seeds, sides, sides, sides, sides)
def test_resizing_scales_disparity(seed: int, height: int, width: int, new_height: int, new_width: int) -> None:
    d = uniform(seed, height, width, low=1, high=9)
    valid = uniform(seed + 1, height, width) > 0.3
    scale = new_width / width
    dense, _ = images.resize_disparity(d, new_height, new_width)
    assert dense.min() >= scale * d.min() - 1e-9
    assert dense.max() <= scale * d.max() + 1e-9
    sparse, kept = images.resize_disparity(torch.where(valid, d, 1e9), new_height, new_width, valid)
    assert torch.isin((sparse / scale)[kept].round(decimals=9), d[valid].round(decimals=9)).all()
    constant, _ = images.resize_disparity(torch.full_like(d, 3.0), new_height, new_width)
    torch.testing.assert_close(constant, torch.full_like(constant, 3.0 * scale))


@few
@given(seeds, focals, sides, sides, st.integers(1, 4))
def test_depth_is_the_same_after_a_resize(seed: int, focal_px: float, height: int, width: int, factor: int) -> None:
    # Disparity grows with the width as the focal length does, so metres stay.
    k = camera(focal_px, width, height)
    scaled = geometry.scale_intrinsics(k, scale_x=float(factor), scale_y=1.0)
    d = uniform(seed, height, width, low=1, high=9)
    resized, _ = images.resize_disparity(d, height, factor * width, torch.ones_like(d, dtype=torch.bool))
    depth = geometry.depth_from_disparity(d, focal_px=float(k[0, 0]), baseline_m=0.1)
    again = geometry.depth_from_disparity(resized, focal_px=float(scaled[0, 0]), baseline_m=0.1)
    torch.testing.assert_close(again, depth.repeat_interleave(factor, dim=-1))


@few
@given(st.floats(10, 150), st.integers(2, 4000), st.integers(2, 4000))
def test_field_of_view_is_the_inverse_of_intrinsics_from_fov(fov_deg: float, width: int, height: int) -> None:
    found = geometry.field_of_view(geometry.intrinsics_from_fov(fov_deg, width, height), width, height)[0]
    assert math.isclose(found, fov_deg, rel_tol=1e-4)


@few
@given(seeds, st.integers(1, 60), st.integers(1, 60), st.integers(1, 30), st.integers(1, 30), st.data())
def test_tiles_blend_back(
    seed: int, height: int, width: int, tile_height: int, tile_width: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, min(tile_height, tile_width) - 1))
    # Tiles that advance by one pixel are many: a few hundred prove as much.
    height, width = min(height, tile_height + 12), min(width, tile_width + 12)
    tiles = images.split_tiles(height, width, tile_height=tile_height, tile_width=tile_width, overlap=overlap)
    picture = uniform(seed, height, width)
    blended = images.blend_tiles([tile.crop(picture) for tile in tiles], tiles, height=height, width=width)
    torch.testing.assert_close(blended, picture)
    for name, size in (("left", min(tile_width, width)), ("top", min(tile_height, height))):
        starts = sorted({getattr(tile, name) for tile in tiles})
        assert all(size - (b - a) >= overlap for a, b in pairwise(starts))


@few
@given(seeds, st.integers(1, 40), st.integers(1, 40), st.integers(1, 32), st.sampled_from(["centre", "corner"]))
def test_unpad_undoes_pad(seed: int, height: int, width: int, multiple: int, place: str) -> None:
    image = uniform(seed, 2, height, width)
    padded, padding = images.pad_to_multiple(image, multiple, place=place)
    assert padded.shape[-1] % multiple == padded.shape[-2] % multiple == 0
    assert torch.equal(images.unpad(padded, padding), image)
