"""Readers of MegaDepth, DIML, Cityscapes, DIW and ReDWeb, on folders of their layouts."""

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from depthweave import io
from depthweave.data import PICTURE_BENCHMARKS, open_benchmark, open_clips, open_pictures
from depthweave.errors import MissingLibrary, UnknownBenchmark, WrongFile, WrongInput
from depthweave.evaluation.protocols import protocols_for

HEIGHT, WIDTH = 12, 16


def picture(path: Path, value: int = 90) -> Path:
    io.write_image(path, np.full((HEIGHT, WIDTH, 3), value, np.uint8))
    return path


def ramp(path: Path, *, step: int = 15) -> None:
    """Grey, larger to the right."""
    io.write_image(path, np.tile(np.arange(WIDTH, dtype=np.uint8) * step, (HEIGHT, 1)))


# --- Cityscapes -------------------------------------------------------------------------------------------------------


def test_cityscapes_disparity_is_one_step_below_the_code(tmp_path: Path) -> None:
    stem = "aachen_000000_000019"
    for side in ("left", "right"):
        picture(tmp_path / f"{side}Img8bit/val/aachen/{stem}_{side}Img8bit.png")
    codes = np.full((HEIGHT, WIDTH), 10 * 256 + 1, np.uint16)
    codes[0], codes[1] = 0, 1
    io.write_image(tmp_path / f"disparity/val/aachen/{stem}_disparity.png", codes)
    (item,) = open_benchmark("cityscapes", tmp_path)
    assert item.key == f"aachen/{stem}"
    truth = pickle.loads(pickle.dumps(item)).read_truth()
    assert not truth.valid[0].any()
    assert truth.valid[1:].all()
    assert (truth.disparity[0:2] == 0).all()
    assert (truth.disparity[2:] == 10).all()
    assert [each.region for each in protocols_for("cityscapes")] == ["all"]
    with pytest.raises(WrongFile, match="leftImg8bit/train"):
        open_benchmark("cityscapes", tmp_path, split="train")
    (tmp_path / f"rightImg8bit/val/aachen/{stem}_rightImg8bit.png").unlink()
    with pytest.raises(WrongFile, match="has no partner"):
        open_benchmark("cityscapes", tmp_path)


# --- DIML and MegaDepth -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("color", "depth"),
    [
        ("hall/color/a_c.png", "hall/depth_filled/a_depth_filled.png"),
        ("color/a.png", "depth/a.png"),
        ("hall/col/a.png", "hall/depthmap/a.png"),
    ],
)
def test_diml_depth_is_in_millimetres(tmp_path: Path, color: str, depth: str) -> None:
    picture(tmp_path / color)
    codes = np.full((HEIGHT, WIDTH), 2500, np.uint16)
    codes[0] = 0
    io.write_image(tmp_path / depth, codes)
    (item,) = open_clips("diml", tmp_path)
    assert item.key == color.removesuffix(".png")
    found = item.truth(0)
    assert found is not None
    assert (found[0][1:] == 2.5).all()
    assert found[1].float().mean() == 1 - 1 / HEIGHT


def megadepth_tree(root: Path) -> Path:
    picture(root / "0000/dense0/imgs/a.jpg")
    picture(root / "0000/dense0/imgs/without.jpg")
    (root / "0000/dense0/depths").mkdir()
    (root / "0000/dense0/depths/a.h5").write_bytes(b"stand-in")
    return root


def test_megadepth_needs_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = open_clips("megadepth", megadepth_tree(tmp_path))
    assert [(item.key, item.has_truth) for item in items] == [("0000/dense0/a", True), ("0000/dense0/without", False)]
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingLibrary, match="pip install h5py"):
        items[0].truth(0)


def test_megadepth_depth_is_known_where_it_is_positive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = np.array([[0.0, 2.5], [-1.0, np.nan]], np.float32)

    class File:
        content: ClassVar[dict[str, Any]] = {"depth": depth}

        def __init__(self, path: Path, mode: str) -> None:
            assert (path.name, mode) == ("a.h5", "r")

        def __enter__(self) -> dict[str, Any]:
            return self.content

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=File))
    item = open_clips("megadepth", megadepth_tree(tmp_path))[0]
    found = item.truth(0)
    assert found is not None
    assert found[0].tolist() == [[0, 2.5], [0, 0]]
    assert found[1].tolist() == [[False, True], [False, False]]
    File.content = {}
    with pytest.raises(WrongFile, match=r"a\.h5 is damaged or holds no entry"):
        item.truth(0)


# --- DIW and ReDWeb ---------------------------------------------------------------------------------------------------


def write_diw(root: Path, lines: str) -> None:
    for name in ("a", "b"):
        picture(root / f"DIW_test/{name}.png")
    (root / "DIW_test.csv").write_text(lines)


def test_diw_points_count_from_one_and_rows_come_first(tmp_path: Path) -> None:
    write_diw(
        tmp_path,
        "./DIW_test/a.png\n3,5,12,16,>,16,12\n./DIW_test/b.png\n1,1,99,99,<,16,12\n./DIW_test/gone.png\n1,1,2,2,<,9,9\n",
    )
    first, second = open_pictures("diw", tmp_path)
    assert (first.key, second.key) == ("DIW_test/a", "DIW_test/b")
    pairs = first.read_pairs(HEIGHT, WIDTH)
    assert (pairs.first_px.tolist(), pairs.second_px.tolist(), pairs.relation.tolist()) == ([[4, 2]], [[15, 11]], [1])
    clamped = pickle.loads(pickle.dumps(second)).read_pairs(HEIGHT, WIDTH)
    assert (clamped.second_px.tolist(), clamped.relation.tolist()) == ([[15, 11]], [-1])


def test_damaged_lists_of_diw_are_named(tmp_path: Path) -> None:
    write_diw(tmp_path, "./DIW_test/a.png\n3,5,12,16,=,16,12\n")
    with pytest.raises(WrongFile, match=r"DIW_test\.csv holds '3,5,12,16,=,16,12' instead"):
        open_pictures("diw", tmp_path)
    write_diw(tmp_path, "./DIW_test/a.png\n")
    with pytest.raises(WrongFile, match="odd number of lines"):
        open_pictures("diw", tmp_path)
    with pytest.raises(WrongInput, match="split of diw is one of test, train, val"):
        open_pictures("diw", tmp_path, split="all")


def test_redweb_pairs_follow_the_relative_disparity(tmp_path: Path) -> None:
    picture(tmp_path / "Imgs/a.png")
    ramp(tmp_path / "RDs/a.png")
    picture(tmp_path / "Imgs/without.png")
    (item,) = open_pictures("redweb", tmp_path, pairs=200)
    pairs = item.read_pairs(HEIGHT, WIDTH)
    x_first, x_second = pairs.first_px[:, 0], pairs.second_px[:, 0]
    assert torch.equal(pairs.relation, torch.sign(x_second - x_first))  # larger is nearer
    assert {-1, 0, 1} == set(pairs.relation.tolist())
    assert torch.equal(pairs.first_px, item.read_pairs(HEIGHT, WIDTH).first_px)
    twice = item.read_pairs(2 * HEIGHT, 2 * WIDTH)
    assert torch.equal(twice.relation, torch.sign(twice.second_px[:, 0] // 2 - twice.first_px[:, 0] // 2))
    with pytest.raises(WrongFile, match=r"a\.png is 16x12 px and its picture 16x30"):
        item.read_pairs(30, WIDTH)


@pytest.mark.parametrize("name", PICTURE_BENCHMARKS)
def test_an_empty_folder_names_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not look right: expected"):
        open_pictures(name, tmp_path)
    with pytest.raises(UnknownBenchmark, match=f"did you mean {name}"):
        open_pictures(f"{name}x", tmp_path)
