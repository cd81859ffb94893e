"""Side by side and anaglyphs."""

import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.images.stereo_view import anaglyph, side_by_side


def plain(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float32)[:, None, None].expand(3, 2, 4).contiguous()


def test_left_stands_on_the_left() -> None:
    left, right = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    found = side_by_side(left, right)
    assert found.shape == (2, 3, 4, 10)
    assert bool((found[..., :5] == 0).all())
    assert bool((found[..., 5:] == 1).all())


@pytest.mark.parametrize("grey", [0.0, 0.02, 0.5, 1.0])
def test_equal_greys_stay_grey(grey: float) -> None:
    found = anaglyph(plain(grey, grey, grey), plain(grey, grey, grey))
    torch.testing.assert_close(found, plain(grey, grey, grey), atol=2e-4, rtol=0)


def test_each_eye_gets_its_filter() -> None:
    only_left, only_right = anaglyph(plain(1, 1, 1), plain(0, 0, 0)), anaglyph(plain(0, 0, 0), plain(1, 1, 1))
    # In linear light, a white left picture gives red 0.4561 + 0.5005 + 0.1764 (clipped at 1) and next to no cyan.
    torch.testing.assert_close(only_left, plain(1, 0, 0), atol=1e-5, rtol=0)
    assert float(only_right[0].max()) == 0
    assert float(only_right[1:].min()) > 0.99


def test_a_red_left_picture_by_hand() -> None:
    light = 0.4561
    red = 1.055 * light ** (1 / 2.4) - 0.055
    torch.testing.assert_close(anaglyph(plain(1, 0, 0), plain(0, 0, 0)), plain(red, 0, 0), atol=1e-5, rtol=0)


def test_half_color_by_hand() -> None:
    found = anaglyph(plain(0.2, 0.4, 0.6)[None], plain(0.1, 0.3, 0.9)[None], method="half-color")
    expected = plain(0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6, 0.3, 0.9)
    torch.testing.assert_close(found[0], expected)


def test_batches_and_number_types() -> None:
    left, right = torch.rand(2, 1, 3, 4, 5, dtype=torch.float64), torch.rand(2, 1, 3, 4, 5, dtype=torch.float64)
    found = anaglyph(left, right)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[1, 0], anaglyph(left[1, 0], right[1, 0]))


def test_an_unknown_method() -> None:
    with pytest.raises(WrongInput, match="no anaglyph 'green'; take dubois or half-color"):
        anaglyph(plain(0, 0, 0), plain(0, 0, 0), method="green")
