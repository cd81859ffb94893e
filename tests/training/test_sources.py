"""Where training pairs come from."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.training.prerendered import prerender
from depthweave.training.sources import BenchmarkSource, PrerenderedSource, WorldsSource, open_source
from depthweave.worlds import Match, Worlds

SIZE = (32, 48)


def write_pair(root: Path, name: str, disparity: int, *, mask: bool = False, right: bool = False) -> None:
    rng = np.random.default_rng(disparity)
    texture = rng.integers(0, 256, (SIZE[0], SIZE[1] + disparity, 3), dtype=np.uint8)
    io.write_image(root / "left" / f"{name}.png", texture[:, : SIZE[1]])
    io.write_image(root / "right" / f"{name}.png", texture[:, disparity:])
    values = np.full(SIZE, disparity, np.float32)
    known = np.ones(SIZE, bool)
    known[0] = False
    io.write_pfm(root / "disparity" / f"{name}.pfm", values, known)
    if mask:
        seen = np.full(SIZE, 255, np.uint8)
        seen[:, :disparity] = 128
        io.write_image(root / "mask0nocc" / f"{name}.png", seen)
    if right:
        io.write_pfm(root / "disparity_right" / f"{name}.pfm", values)


def test_a_benchmark_gives_all_truth_that_it_has(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", 4, mask=True, right=True)
    write_pair(tmp_path, "b", 6)
    source = open_source("folder", tmp_path)
    assert isinstance(source, BenchmarkSource)
    assert len(source) == 2
    whole, bare = source.raw(0), source.raw(1)
    assert torch.equal(whole.left.image, torch.from_numpy(io.read_image(tmp_path / "left" / "a.png")))
    assert torch.equal(whole.right.image, torch.from_numpy(io.read_image(tmp_path / "right" / "a.png")))
    disparity, known, visible = whole.left.truth()
    assert not known[0].any()
    assert known[1:].all()
    assert (disparity[1:] == 4).all()
    assert not visible[:, :4].any()
    assert visible[1:, 4:].all()
    assert whole.left.match is not None
    assert set(whole.left.match.unique().tolist()) == {int(Match.MATCHED), int(Match.OCCLUDED)}
    assert whole.right.match is None
    assert whole.right.truth()[1].all()
    assert bare.left.match is None
    assert bare.right.disparity is None
    assert not bare.sparse
    assert not bare.right.truth()[1].any()
    assert torch.equal(bare.left.truth()[1], bare.left.truth()[2])
    assert open_source("folder", tmp_path, sparse=True).raw(0).sparse
    assert source.facts()["pairs"] == 2
    assert str(tmp_path) in source.name


def test_pairs_without_truth_are_left_out(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", 4)
    write_pair(tmp_path, "b", 6)
    (tmp_path / "disparity" / "a.pfm").unlink()
    source = BenchmarkSource("folder", tmp_path)
    assert [item.key for item in source.items] == ["b"]
    assert source.raw(0).left.truth()[0].max() == 6
    (tmp_path / "disparity" / "b.pfm").unlink()
    with pytest.raises(WrongFile, match="no truth to"):
        BenchmarkSource("folder", tmp_path)


def test_truth_of_another_size_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", 4)
    io.write_pfm(tmp_path / "disparity" / "a.pfm", np.zeros((30, 40), np.float32))
    with pytest.raises(WrongFile, match=r"truth of .*a\.png is 40x30 px but the picture is 48x32"):
        open_source("folder", tmp_path).raw(0)


def kitti(root: Path, *folders: str) -> Path:
    rng = np.random.default_rng(0)
    for side in ("image_2", "image_3"):
        io.write_image(root / "training" / side / "000000_10.png", rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    for name in folders:
        known = np.zeros(SIZE, bool)
        known[::4, :: 4 if name == "disp_occ_0" else 8] = True
        io.write_kitti_png(root / "training" / name / "000000_10.png", np.full(SIZE, 3, np.float32), known)
    return root


def test_kitti_is_sparse_and_its_visible_points_alone_say_nothing_of_visibility(tmp_path: Path) -> None:
    both = open_source("kitti-2015", kitti(tmp_path / "a", "disp_occ_0", "disp_noc_0")).raw(0)
    assert both.sparse
    _, known, visible = both.left.truth()
    assert visible.sum() * 2 == known.sum()
    only = open_source("kitti-2015", kitti(tmp_path / "b", "disp_noc_0"), options={"split": "training"}).raw(0)
    assert only.left.match is None
    assert not open_source("kitti-2015", tmp_path / "b", sparse=False).raw(0).sparse


def test_worlds_take_the_sample_number_and_keep_both_truths() -> None:
    source = open_source("worlds", size=SIZE, seed=2)
    assert isinstance(source, WorldsSource)
    source = WorldsSource(Worlds(height=32, width=48, pool=6, seed=2))
    assert source.choose(7, np.random.default_rng(0)) == 7
    expected = source.worlds[3]
    raw = source.raw(3)
    for view, truth in ((raw.left, expected.left), (raw.right, expected.right)):
        assert (view.image.permute(2, 0, 1) / 255 - truth.image).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(view.truth()[0], truth.disparity)
        assert torch.equal(view.truth()[2], truth.match == Match.MATCHED)
    several = source.rendered([source.describe(index) for index in (3, 4)], "cpu")
    assert torch.equal(several[0].left.image, raw.left.image)
    assert source.facts()["seed"] == 2
    assert pickle.loads(pickle.dumps(source)).facts() == source.facts()


def test_a_recipe_file_decides_on_worlds(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[camera]\nfov_deg = 60\n")
    source = open_source("worlds", recipe)
    assert isinstance(source, WorldsSource)
    assert source.worlds.recipe.camera.fov_deg.low == 60
    assert (source.worlds.height, source.worlds.width) == (384, 768)
    with pytest.raises(WrongFile, match="no recipe"):
        open_source("worlds", tmp_path / "missing.toml")


def test_a_prerendered_folder_is_drawn_from_evenly(tmp_path: Path) -> None:
    prerender(Worlds(height=32, width=48, pool=6), tmp_path / "a", count=2)
    source = open_source("prerendered", tmp_path / "a")
    assert isinstance(source, PrerenderedSource)
    assert len(source) == 2
    assert source.name == str(tmp_path / "a")
    chosen = [source.choose(0, np.random.default_rng(seed)) for seed in range(200)]
    assert 70 < sum(chosen) < 130
    assert torch.equal(source.raw(1).left.image, source.pairs[1].left.image)
    one = open_source("prerendered", tmp_path / "a", count=1)
    assert {one.choose(0, np.random.default_rng(seed)) for seed in range(20)} == {0}
    assert one.facts()["pairs"] == 1


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(WrongInput, match=r"no source of kind 'kitty'; take prerendered, worlds, pairs, middlebury"):
        open_source("kitty", "x")
