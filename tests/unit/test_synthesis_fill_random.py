"""Holes with colours of other pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hole_scene import rng, scene
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.synthesis.fill import make_filler
from depthweave.synthesis.fill_random import RandomFiller, transfer_colors


def statistics_by_hand(image: Tensor) -> tuple[Any, Any]:
    """Mean and deviation of l, alpha, beta."""
    red, green, blue = image.double().flatten(1).numpy()
    log_l = np.log10(0.3811 * red + 0.5783 * green + 0.0402 * blue)
    log_m = np.log10(0.1967 * red + 0.7244 * green + 0.0782 * blue)
    log_s = np.log10(0.0241 * red + 0.1288 * green + 0.8444 * blue)
    lab = np.stack([(log_l + log_m + log_s) / 3**0.5, (log_l + log_m - 2 * log_s) / 6**0.5, (log_l - log_m) / 2**0.5])
    return lab.mean(1), lab.std(1)


def test_colours_are_transferred_by_mean_and_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((3, 30, 40), generator=generator) * 0.5 + 0.2
    like = image.flip(-1) ** 1.5 * torch.tensor([0.6, 0.5, 0.6])[:, None, None]
    found = transfer_colors(image, like[:, :7])
    assert float(found.max()) < 1  # nothing is cut off
    for mine, theirs in zip(statistics_by_hand(found), statistics_by_hand(like[:, :7]), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    torch.testing.assert_close(transfer_colors(image, image), image, atol=1e-5, rtol=0)
    doubled = transfer_colors(image, image / 2)
    torch.testing.assert_close(doubled, image / 2, atol=1e-5, rtol=0)
    flat = torch.full((3, 4, 4), 0.5)
    torch.testing.assert_close(transfer_colors(flat, image).std(dim=(1, 2)), torch.zeros(3), atol=1e-5, rtol=0)


def test_holes_get_parts_of_other_pictures(tmp_path: Path) -> None:
    image, unknown, wanted, disparity = scene()
    columns = torch.linspace(0.1, 0.9, 300).expand(3, 200, 300)
    small = torch.rand((3, 6, 9), generator=torch.Generator().manual_seed(1))
    found = [
        RandomFiller(pictures)(image, unknown, wanted, disparity, rng())
        for pictures in ([columns], [small], [columns, small])
    ]
    assert not torch.equal(found[0], found[1])
    hole = found[0][:, 10:30, 30:39]
    assert torch.equal(hole[:, 0], hole[:, 7])  # columns all the way
    for name, picture in (("a.png", columns), ("b.png", small)):
        io.write_image(tmp_path / name, (picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
    (tmp_path / "notes.txt").write_text("not a picture")
    from_folder = RandomFiller(tmp_path)(image, unknown, wanted, disparity, rng())
    torch.testing.assert_close(from_folder, found[2], atol=0.05, rtol=0)


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="holds no pictures; name a folder that does"):
        RandomFiller(tmp_path)
    with pytest.raises(WrongFile, match="missing"):
        make_filler("random", pictures=tmp_path / "missing")
    with pytest.raises(WrongInput, match="pictures is empty"):
        RandomFiller([])
    (tmp_path / "a.png").write_bytes(b"damaged")
    image, unknown, wanted, disparity = scene()
    with pytest.raises(WrongFile, match=r"a\.png"):
        RandomFiller(str(tmp_path))(image, unknown, wanted, disparity, rng())


def test_without_other_pictures_tiles_of_this_one_are_moved() -> None:
    image = torch.arange(16.0).reshape(4, 4).repeat_interleave(10, 0).repeat_interleave(10, 1)[None] / 16
    image = image.expand(3, 40, 40).contiguous()
    hole = torch.zeros((40, 40), dtype=torch.bool)
    hole[3:37, 18:22] = True
    found = RandomFiller()(image, hole, hole, torch.zeros((40, 40)), rng())
    assert float((found - image)[:, hole].abs().mean()) > 0.1
    assert set(found.unique().tolist()) <= set(image.unique().tolist())


def test_tiles_are_mirrored() -> None:
    y, x = torch.meshgrid(torch.arange(40) % 10, torch.arange(40) % 10, indexing="ij")
    image = ((10 * y + x) / 100).expand(3, 40, 40).contiguous()
    hole = torch.zeros((40, 40), dtype=torch.bool)
    hole[12:18, 12:18] = True
    found = RandomFiller()(image, hole, hole, torch.zeros((40, 40)), rng())
    torch.testing.assert_close(found[:, hole], (0.99 - image)[:, hole])
