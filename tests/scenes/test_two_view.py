"""What sparse features say about a rendered pair whose order and rows are known."""

import pytest
import torch

from depthweave.classical import check_pair
from depthweave.pipelines.stereo import pair_warnings
from depthweave.types import StereoPair
from depthweave.worlds import RenderedPair, render_pair, still_life


@pytest.fixture(scope="module")
def world() -> RenderedPair:
    return render_pair(still_life(width=320, height=240))


def test_a_good_pair_raises_no_doubt(world: RenderedPair) -> None:
    found = check_pair(world.pair.left, world.pair.right)
    assert found.matches > 50
    assert abs(found.vertical_offset_px) < 0.5
    assert found.behind_share < 0.1
    assert pair_warnings(world.pair) == []


@pytest.mark.parametrize("rows", [-5, 3])
def test_rows_that_do_not_correspond(world: RenderedPair, rows: int) -> None:
    moved = world.pair.right.roll(rows, dims=-2)
    found = check_pair(world.pair.left, moved)
    assert found.vertical_offset_px == pytest.approx(-rows, abs=0.75)
    (sentence,) = pair_warnings(StereoPair(world.pair.left, moved, sources=("a.png", "b.png")))
    assert "a.png and b.png do not look rectified" in sentence
    assert "rectify them first" in sentence


def test_offsets_are_in_px_of_the_input_when_it_is_shrunk_for_the_check(world: RenderedPair) -> None:
    large = [
        torch.nn.functional.interpolate(view[None], scale_factor=4, mode="bilinear")[0].clamp(0, 1)
        for view in (world.pair.left, world.pair.right.roll(3, dims=-2))
    ]
    assert check_pair(large[0], large[1]).vertical_offset_px == pytest.approx(-12, abs=2.0)


def test_swapped_views(world: RenderedPair) -> None:
    found = check_pair(world.pair.right, world.pair.left)
    assert found.looks_swapped
    (sentence,) = pair_warnings(StereoPair(world.pair.right, world.pair.left, sources=("a.png", "b.png")))
    assert "look swapped" in sentence


def test_nothing_is_claimed_of_a_flat_picture(world: RenderedPair) -> None:
    flat = torch.full_like(world.pair.left, 0.5)
    found = check_pair(flat, world.pair.right)
    assert (found.matches, found.vertical_offset_px, found.looks_swapped) == (0, 0.0, False)
