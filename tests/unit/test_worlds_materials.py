import itertools
import math

import numpy as np
import pytest
import torch

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.image import write_image
from depthweave.worlds.materials import (
    KINDS,
    LEVELS,
    TEXELS,
    TILE,
    Textures,
    make_tile,
    mip_pyramid,
    photo_tile,
    photographs,
)


def levels(pyramid):
    bytes_ = np.ascontiguousarray(pyramid).view(np.uint8).reshape(-1, 4)
    starts = np.cumsum([0] + [(TILE >> k) ** 2 for k in range(LEVELS)])
    return [bytes_[a:b].reshape(math.isqrt(b - a), -1, 4) for a, b in itertools.pairwise(starts)]


def seam_ratio(tile, axis):
    """Difference across the border over the largest one between neighbours inside."""
    difference = np.abs(tile.astype(float) - np.roll(tile.astype(float), 1, axis)).mean((1 - axis, 2))
    return difference[0] / (difference[1:].max() + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_repeats_without_a_seam(kind):
    tiles = [make_tile(kind, seed) for seed in range(6)]
    for tile in tiles:
        assert tile.shape == (TILE, TILE, 3)
        assert tile.dtype == np.uint8
    assert np.median([seam_ratio(tile, axis) for tile in tiles for axis in (0, 1)]) < 1.05
    assert max(seam_ratio(tile, axis) for tile in tiles for axis in (0, 1)) < 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_bytes(kind):
    assert make_tile(kind, 3).tobytes() == make_tile(kind, 3).tobytes()
    assert make_tile(kind, 3).tobytes() != make_tile(kind, 4).tobytes()


def test_default_weights_add_up_to_one():
    assert math.isclose(sum(KINDS.values()), 1)


def test_contrast_and_edges_span_those_of_photographs():
    pool = Textures(seed=5, capacity=1)
    grey = np.stack([pool.tile(number).mean(-1) for number in range(100)])
    contrast = grey.std((1, 2))
    edges = np.abs(np.diff(grey, axis=2)).mean((1, 2))
    assert np.percentile(contrast, 5) < 4
    assert np.percentile(contrast, 90) > 35
    assert np.percentile(edges, 5) < 0.8
    assert np.percentile(edges, 95) > 12
    assert np.percentile(grey.mean((1, 2)), 5) < 60
    assert np.percentile(grey.mean((1, 2)), 95) > 170


def test_unknown_kind():
    with pytest.raises(WrongInput, match="'lava'; the kinds are noise"):
        make_tile("lava", 0)


def test_pyramid_of_one_colour_is_that_colour_everywhere():
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = (10, 200, 99)
    pyramid = mip_pyramid(tile)
    assert pyramid.shape == (TEXELS,) == (87381,)
    assert pyramid.dtype == np.int32
    assert (pyramid.view(np.uint32) == 10 + (200 << 8) + (99 << 16) + (255 << 24)).all()


def test_pyramid_averages_light_not_bytes():
    tile = np.zeros((TILE, TILE, 3), np.uint8)
    tile[:, ::2, 0] = 200
    tile[: TILE // 2, :, 1] = 255
    pyramid = levels(mip_pyramid(tile))
    assert [len(level) for level in pyramid] == [256, 128, 64, 32, 16, 8, 4, 2, 1]
    np.testing.assert_array_equal(pyramid[0][..., :3], tile)
    assert (pyramid[1][..., 0] == round(200 / math.sqrt(2))).all()
    assert (pyramid[7][..., 1] == [[255, 255], [0, 0]]).all()
    assert tuple(pyramid[8][0, 0]) == (round(200 / math.sqrt(2)), round(255 / math.sqrt(2)), 0, 255)


def test_pyramid_matches_means_of_blocks():
    tile = make_tile("collage", 1)
    for level, picture in enumerate(levels(mip_pyramid(tile))):
        size = 1 << level
        blocks = (tile.astype(float) ** 2).reshape(TILE // size, size, TILE // size, size, 3).mean((1, 3))
        assert np.abs(np.sqrt(blocks) - picture[..., :3]).max() <= 0.51


def pyramid_in(pool, slot):
    return pool.texels[slot * TEXELS : (slot + 1) * TEXELS].numpy()


def test_slots_hold_the_pyramids_of_their_tiles():
    pool = Textures(seed=2, capacity=4)
    numbers = [7, 1, 7, 4]
    slots = pool.slots(numbers)
    assert slots[0] == slots[2] == 3
    assert slots == [3, 1, 3, 0]
    for number, slot in zip(numbers, slots, strict=True):
        np.testing.assert_array_equal(pyramid_in(pool, slot), mip_pyramid(pool.tile(number)))


def test_colliding_numbers_get_slots_of_their_own():
    pool = Textures(seed=2, capacity=3)
    for numbers in ([0, 3, 6], [3, 9, 1], [1, 0, 12]):
        slots = pool.slots(numbers)
        assert sorted(slots) == [0, 1, 2]
        for number, slot in zip(numbers, slots, strict=True):
            np.testing.assert_array_equal(pyramid_in(pool, slot), mip_pyramid(pool.tile(number)))


def test_tiles_in_the_pool_are_not_made_again(monkeypatch):
    pool = Textures(capacity=4)
    pool.slots([0, 1, 2])
    made = []
    monkeypatch.setattr(pool, "tile", lambda number: made.append(number) or np.zeros((TILE, TILE, 3), np.uint8))
    assert pool.slots([2, 1, 3]) == [2, 1, 3]
    assert made == [3]


def test_a_tile_depends_on_its_number_alone():
    first, second = Textures(seed=9, capacity=2), Textures(seed=9, capacity=5)
    first.slots([4, 11])
    first.slots([20, 3])
    assert (pyramid_in(first, first.slots([11])[0]) == pyramid_in(second, second.slots([11])[0])).all()
    assert (Textures(seed=10, capacity=1).tile(11) != first.tile(11)).any()


def test_more_tiles_than_room():
    with pytest.raises(WrongInput, match=r"3 different textures .* holds 2"):
        Textures(capacity=2).slots([0, 1, 2, 2])


def test_weights_choose_the_kinds():
    pool = Textures(weights={"plain": 1.0, "collage": 0.0}, capacity=1)
    assert all(pool.tile(number).std((0, 1)).max() < 25 for number in range(8))
    assert pool.texels.dtype == torch.int32


@pytest.mark.parametrize("weights", [{}, {"plain": 0.0}, {"plain": -1.0, "noise": 2.0}, {"plain": math.nan}])
def test_weights_that_cannot_be_drawn_from(weights):
    with pytest.raises(WrongInput, match="0 or more"):
        Textures(weights=weights)


def test_unknown_kind_in_weights():
    with pytest.raises(WrongInput, match="'lava'"):
        Textures(weights={"lava": 1.0})


@pytest.fixture
def folder(tmp_path):
    gradient = np.linspace(0, 255, 300, dtype=np.float32)[None, :, None]
    picture = np.broadcast_to(gradient, (200, 300, 3)).astype(np.uint8)
    (tmp_path / "deep").mkdir()
    write_image(tmp_path / "deep" / "b.png", picture)
    write_image(tmp_path / "a.png", picture[..., 0])
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_photographs_are_found_in_sub_folders(folder):
    assert photographs(folder) == [folder / "a.png", folder / "deep" / "b.png"]


def test_photographs_missing(tmp_path):
    with pytest.raises(WrongFile, match="does not exist"):
        photographs(tmp_path / "nowhere")
    with pytest.raises(WrongFile, match="holds no pictures"):
        photographs(tmp_path)


def test_photographs_become_tiles(folder):
    pool = Textures(photos=folder, photo_share=1.0, capacity=2)
    tile = pool.tile(0)
    assert np.abs(tile.astype(int) - tile[:1]).max() <= 1
    assert (tile == pool.tile(0)).all()
    assert pool.slots([0, 1]) == [0, 1]


def test_photo_tiles_keep_the_picture_and_have_no_seam():
    gradient = np.broadcast_to(np.linspace(0, 255, 320)[None, :, None], (320, 320, 3))
    for picture in (gradient.astype(np.uint8), (gradient * 257).astype(np.uint16), gradient[..., 0].astype(np.uint8)):
        tile = photo_tile(picture, 1).astype(float)
        assert np.abs(tile[0, 0] - tile[0, -1]).max() < 8
        assert np.abs(np.diff(tile[0, 40:], axis=0) - np.diff(tile[0, 40:], axis=0).mean(0)).max() <= 1
        assert tile.max() > 100


def test_a_small_photograph_is_enlarged():
    assert photo_tile(np.full((40, 90), 77, np.uint8), 0).tobytes() == np.full((TILE, TILE, 3), 77, np.uint8).tobytes()


def test_a_share_of_photographs_needs_a_folder():
    with pytest.raises(WrongInput, match="no folder of photographs"):
        Textures(photo_share=0.5)
    with pytest.raises(WrongInput, match="from 0 to 1"):
        Textures(photo_share=1.5)


def test_a_damaged_photograph_is_named(folder):
    (folder / "a.png").write_bytes(b"broken")
    (folder / "deep" / "b.png").unlink()
    with pytest.raises(WrongFile, match=r"a\.png"):
        Textures(photos=folder, photo_share=1.0, capacity=1).tile(0)
