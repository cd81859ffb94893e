"""The blocks of the page on losses run as they stand there, one after another, and give what the page says."""

import re

import pytest
import torch

from .pages import GUIDE, ROOT, links, run_blocks

PAGE = GUIDE / "losses.md"


def test_blocks_run() -> None:
    torch.manual_seed(0)
    names = run_blocks(PAGE)
    numbers = ("loss", "appearance", "smooth", "per_pixel", "bodies", "nats", "likelihood", "free")
    values = {name: names[name] for name in numbers}
    assert all(isinstance(value, torch.Tensor) and value.isfinite().all() for value in values.values())
    torch.testing.assert_close(values["loss"], torch.tensor((0.125 + 2.5) / 2))
    assert abs(values["free"].item()) < 1e-6
    # A camera that moves along x keeps every point in its row.
    torch.testing.assert_close(names["distance"], torch.zeros(32, 48))


def test_blocks_of_the_reference_run() -> None:
    names = run_blocks(ROOT / "docs" / "losses.md")
    assert names["pred"].grad.tolist() == [[1, 0]]


def test_the_reference_names_every_loss() -> None:
    from depthweave import losses

    page = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    # A table of names, and a part of `edge_matching`, which the page explains.
    assert {name for name in losses.__all__ if f"`{name}`" not in page} <= {"PENALTIES", "near_edges"}


@pytest.mark.parametrize("link", links(PAGE))
def test_links_lead_somewhere(link: str) -> None:
    assert (PAGE.parent / link).exists()


def test_pictures_are_few_and_small() -> None:
    pictures = sorted((ROOT / "docs" / "images" / "guide").glob("losses_*.png"))
    shown = set(re.findall(r"losses_\w+\.png", PAGE.read_text(encoding="utf-8")))
    assert {picture.name for picture in pictures} == shown
    assert sum(picture.stat().st_size for picture in pictures) < 400_000
