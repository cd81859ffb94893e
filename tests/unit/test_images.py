import warnings

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from depthweave import images
from depthweave.errors import WrongInput

leading = pytest.mark.parametrize("leading", [(), (2,), (1, 2)], ids=str)


def ramp(*leading: int, height: int = 6, width: int = 8) -> Tensor:
    """Value x in every row."""
    return torch.arange(float(width)).expand(*leading, height, width).clone()


# Colour


@pytest.mark.parametrize(("dtype", "white"), [("u1", 255), ("u2", 65535), (">u2", 65535), ("f4", 1), ("f8", 1)])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_pictures_become_tensors(dtype: str, white: int, shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, dtype)
    image[1, 2] = white
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = images.tensor_from_image(image)
    assert tensor.dtype == torch.float32
    expected = torch.zeros(3, 4, 5)
    expected[:, 1, 2] = 1
    assert torch.equal(tensor, expected)


def test_channels_keep_their_order_and_alpha_goes() -> None:
    tensor = images.tensor_from_image(np.full((2, 2, 4), (255, 51, 0, 7), np.uint8))
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([1.0, 0.2, 0.0]))


def test_the_tensor_does_not_share_memory() -> None:
    image = np.zeros((4, 4), np.float32)
    images.tensor_from_image(image).fill_(1)
    assert (image == 0).all()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((2, 3, 5), np.uint8), r"not \(2, 3, 5\)"),
        (np.zeros(7, np.uint8), "a picture has shape"),
        (np.zeros((3, 3), np.int32), "not int32"),
        (np.full((3, 3), "x"), "holds uint8, uint16 or float"),
        (np.full((3, 3), 200.0), "divide 0-255 values by 255"),
        (np.full((3, 3), np.nan), r"lies in \[0, 1\]"),
    ],
)
def test_what_is_no_picture_is_refused(image: np.ndarray, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        images.tensor_from_image(image)


def test_tensor_to_picture_and_back_is_exact_for_bytes() -> None:
    image = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    np.testing.assert_array_equal(images.image_from_tensor(images.tensor_from_image(image)), image)
    clipped = images.image_from_tensor(torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1))
    assert clipped.tolist() == [[[0, 128, 255]]]


@leading
def test_luminance(leading: tuple[int, ...]) -> None:
    image = torch.tensor([1.0, 0.5, 0.25])[:, None, None].expand(*leading, 3, 2, 4)
    torch.testing.assert_close(images.luminance(image), torch.full((*leading, 2, 4), 0.299 + 0.2935 + 0.0285))


# Colour maps


def test_color_range_pools_and_ignores_fillers() -> None:
    values = torch.arange(101.0).reshape(1, 101).repeat(2, 1, 1)
    valid = torch.ones_like(values, dtype=torch.bool)
    values[1], valid[1] = 1e9, False
    assert images.color_range(values, valid) == images.ColorRange(2, 98)
    assert images.color_range(values, valid, low_percent=0.0, high_percent=100.0) == images.ColorRange(0, 100)
    assert images.color_range(values, ~valid & (values < 0)) == images.ColorRange(0, 1)
    assert images.color_range(torch.full((2, 2), 5.0), torch.ones(2, 2, dtype=torch.bool)) == (4.5, 5.5)


def test_color_range_of_a_large_map_is_near_the_exact_one() -> None:
    values = torch.rand(700, 800, generator=torch.Generator().manual_seed(0))
    low, high = images.color_range(values, torch.ones_like(values, dtype=torch.bool))
    assert (low, high) == pytest.approx((0.02, 0.98), abs=2e-3)


def test_colorize_is_warm_where_near_and_grey_where_unknown() -> None:
    values = torch.tensor([[-5.0, 0.0, 10.0, 99.0, 3.0]])
    valid = torch.tensor([[True, True, True, True, False]])
    picture = images.colorize(values, valid, images.ColorRange(0, 10))
    assert picture.shape == (1, 5, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 4].tolist() == [128, 128, 128]
    assert (picture[0, 0] == picture[0, 1]).all()
    assert (picture[0, 2] == picture[0, 3]).all()
    assert picture[0, 2, 0] > picture[0, 2, 2]
    again = images.colorize(values, valid, images.ColorRange(0, 10))
    np.testing.assert_array_equal(picture, again)
    grey = images.colorize(values, valid, images.ColorRange(0, 10), name="gray")
    assert grey[0, :4, 0].tolist() == [0, 0, 255, 255]


# Resizing


@leading
def test_resize_shapes(leading: tuple[int, ...]) -> None:
    image = torch.rand(*leading, 3, 6, 8)
    assert images.resize_image(image, 3, 16).shape == (*leading, 3, 3, 16)
    mask = images.resize_mask(torch.ones(*leading, 6, 8, dtype=torch.bool), 3, 16)
    assert mask.shape == (*leading, 3, 16)
    for valid in (None, torch.ones(*leading, 6, 8, dtype=torch.bool)):
        values, kept = images.resize_disparity(ramp(*leading), 3, 16, valid)
        assert values.shape == kept.shape == (*leading, 3, 16)
        assert kept.dtype == torch.bool


def test_resize_follows_the_half_pixel_rule() -> None:
    wider = images.resize_image(ramp()[None], 6, 16)[0, 0]
    expected = ((torch.arange(16.0) + 0.5) / 2 - 0.5).clamp(0, 7)
    torch.testing.assert_close(wider, expected)
    smaller = images.resize_image(ramp()[None], 3, 4)[0, 1, 1:3]
    torch.testing.assert_close(smaller, torch.tensor([2.5, 4.5]))


def test_a_picture_that_shrinks_is_filtered() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 16, 64)
    inner = images.resize_image(stripes, 4, 16)[..., 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), rtol=0, atol=0.05)


def test_disparity_counts_pixels_of_the_new_width() -> None:
    d = torch.full((6, 8), 10.0)
    assert (images.resize_disparity(d, 12, 4)[0] == 5).all()
    assert (images.resize_disparity(d, 3, 24)[0] == 30).all()
    dense, everywhere = images.resize_disparity(ramp(), 6, 16)
    torch.testing.assert_close(dense[0], 2 * ((torch.arange(16.0) + 0.5) / 2 - 0.5).clamp(0, 7))
    assert everywhere.all()


def test_sparse_disparity_is_never_mixed_with_fillers() -> None:
    d = torch.full((6, 8), 1e30)
    valid = torch.zeros(6, 8, dtype=torch.bool)
    d[2, 3], valid[2, 3] = 7.0, True
    for height, width in ((12, 16), (9, 13), (6, 8)):
        values, kept = images.resize_disparity(d, height, width, valid)
        assert kept.any()
        torch.testing.assert_close(values[kept], torch.full_like(values[kept], 7.0 * width / 8))


def test_mask_and_sparse_disparity_take_the_same_pixels() -> None:
    valid = torch.rand(7, 9, generator=torch.Generator().manual_seed(0)) > 0.5
    for size in ((14, 18), (5, 6), (3, 20)):
        assert torch.equal(images.resize_mask(valid, *size), images.resize_disparity(valid.float(), *size, valid)[1])


@pytest.mark.parametrize("size", [(3, 5), (9, 11)])
def test_gradient_of_resize(size: tuple[int, int]) -> None:
    image = torch.rand(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert gradcheck(lambda x: images.resize_image(x, *size), (image,))
    assert gradcheck(lambda x: images.resize_disparity(x, *size)[0], (image,))
    everywhere = torch.ones(2, 6, 8, dtype=torch.bool)
    assert gradcheck(lambda x: images.resize_disparity(x, *size, everywhere)[0], (image,))


# Padding


@leading
@pytest.mark.parametrize("place", ["centre", "corner"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_pad_and_unpad(leading: tuple[int, ...], place: str, dtype: torch.dtype) -> None:
    image = (ramp(*leading, 1, height=5, width=9) % 2).to(dtype)
    padded, padding = images.pad_to_multiple(image, 8, place=place)
    assert padded.shape == (*leading, 1, 8, 16)
    assert padded.dtype == dtype
    assert padding == ((3, 4, 1, 2) if place == "centre" else (0, 7, 0, 3))
    assert torch.equal(images.unpad(padded, padding), image)
    assert torch.equal(padded[..., -1], padded[..., padding.left + 8])


def test_a_fitting_picture_is_not_padded() -> None:
    image = torch.rand(3, 8, 16)
    padded, padding = images.pad_to_multiple(image, 8)
    assert padding == (0, 0, 0, 0)
    assert torch.equal(padded, image)


def test_padding_modes() -> None:
    image = ramp(1, height=4, width=3)
    assert images.pad_to_multiple(image, 4, place="corner", mode="constant")[0][0, 0].tolist() == [0, 1, 2, 0]
    assert images.pad_to_multiple(image, 4, place="corner", mode="reflect")[0][0, 0].tolist() == [0, 1, 2, 1]


# Tiles


@leading
def test_blend_gives_the_picture_back(leading: tuple[int, ...]) -> None:
    picture = torch.rand(*leading, 20, 30, generator=torch.Generator().manual_seed(0))
    tiles = images.split_tiles(20, 30, tile_height=9, tile_width=12, overlap=3)
    parts = [tile.crop(picture) for tile in tiles]
    assert {part.shape[-2:] for part in parts} == {(9, 12)}
    torch.testing.assert_close(images.blend_tiles(parts, tiles, height=20, width=30), picture)


def test_blend_moves_linearly_from_one_tile_to_the_next() -> None:
    tiles = images.split_tiles(9, 6, tile_height=9, tile_width=4, overlap=2)
    assert [(tile.left, tile.right) for tile in tiles] == [(0, 4), (2, 6)]
    blended = images.blend_tiles([torch.zeros(9, 4), torch.ones(9, 4)], tiles, height=9, width=6)
    torch.testing.assert_close(blended[4], torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 1]))


def test_a_small_picture_is_one_tile() -> None:
    assert images.split_tiles(5, 6, tile_height=8, tile_width=8, overlap=2) == [(0, 5, 0, 6)]
    assert images.split_tiles(5, 10, tile_height=8, tile_width=8, overlap=2) == [(0, 5, 0, 8), (0, 5, 2, 10)]


def test_rows_and_columns_can_share_different_amounts() -> None:
    tiles = images.split_tiles(20, 40, tile_height=8, tile_width=20, overlap=(2, 15))
    assert {(t.top, t.bottom) for t in tiles} == {(0, 8), (6, 14), (12, 20)}
    assert {(t.left, t.right) for t in tiles} == {(0, 20), (5, 25), (10, 30), (15, 35), (20, 40)}
    with pytest.raises(WrongInput, match="overlap of 20 px"):
        images.split_tiles(20, 40, tile_height=8, tile_width=20, overlap=(2, 20))


def test_wrong_tiles_are_refused() -> None:
    for overlap in (8, -1):
        with pytest.raises(WrongInput, match=f"overlap of {overlap} px does not fit tiles of 8x9"):
            images.split_tiles(20, 20, tile_height=8, tile_width=9, overlap=overlap)
    with pytest.raises(WrongInput, match="uncovered"):
        images.blend_tiles([torch.ones(4, 4)], [images.Tile(0, 4, 0, 4)], height=4, width=5)


def test_channels_are_mixed_as_by_a_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((2, 3, 4, 5), generator=generator)
    matrix, offsets = np.arange(9.0).reshape(3, 3) / 10, np.array([0.5, 0.0, -0.5])
    expected = torch.einsum("ij,bjhw->bihw", torch.from_numpy(matrix).float(), image)
    torch.testing.assert_close(images.mix_channels(image, matrix), expected)
    shifted = expected + torch.tensor([0.5, 0, -0.5])[:, None, None]
    torch.testing.assert_close(images.mix_channels(image, matrix, offsets), shifted)


def test_chroma_changes_and_luma_stays() -> None:
    np.testing.assert_allclose(images.chroma_matrix(1, 0), np.eye(3), atol=1e-12)
    luma = np.array([0.299, 0.587, 0.114])
    for saturation, hue in ((0.3, 0.5), (2.0, -1.0), (0.0, 0.0)):
        np.testing.assert_allclose(luma @ images.chroma_matrix(saturation, hue), luma, atol=1e-12)
    np.testing.assert_allclose(images.chroma_matrix(0, 1), np.ones((3, 1)) * luma, atol=2e-3)
    there_and_back = images.chroma_matrix(2, 0.7) @ images.chroma_matrix(0.5, -0.7)
    np.testing.assert_allclose(there_and_back, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_blur_keeps_flat_pictures_and_spreads_points(batch: tuple[int, ...]) -> None:
    point = torch.zeros((*batch, 3, 7, 9))
    point[..., 3, 4] = 1
    found = images.gaussian_blur(point, 0.8)
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    weights /= weights.sum()
    expected = torch.zeros(7, 9)
    expected[1:6, 2:7] = torch.from_numpy(np.outer(weights, weights)).float()
    torch.testing.assert_close(found, expected.expand_as(point))
    flat = torch.full((*batch, 1, 3, 4), 0.3)
    torch.testing.assert_close(images.gaussian_blur(flat, 1), flat)


def test_fit_size_shrinks_in_proportion_and_enlarges_nothing() -> None:
    assert images.fit_size(480, 640, 320) == (240, 320)
    assert images.fit_size(375, 1242, 640) == (193, 640)
    assert images.fit_size(48, 64, 320) == (48, 64)
    assert images.fit_size(4, 1000, 100) == (1, 100)
    assert images.fit_size(4, 1000, 100, least=8) == (8, 100)


def test_grey_image_is_luma_in_bytes() -> None:
    picture = torch.zeros(3, 2, 4)
    picture[0], picture[1, :, 2:] = 1.0, 1.0
    np.testing.assert_array_equal(images.grey_image(picture), [[76, 76, 226, 226]] * 2)
    np.testing.assert_array_equal(images.grey_image(picture, 1, 2), [[76, 226]])
