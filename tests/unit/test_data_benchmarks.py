"""Readers of official layouts, on miniature trees."""

# ruff: noqa: NPY002  (the published subset of Scene Flow is drawn by the legacy generator)

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import io
from depthweave.data import BENCHMARKS, StereoItem, open_benchmark
from depthweave.data.sceneflow import TEST_COUNT, subset_places
from depthweave.errors import UnknownBenchmark, WrongFile, WrongInput

HEIGHT, WIDTH = 16, 20
MIDDLEBURY_CALIBRATION = (
    "cam0=[100 0 9.5; 0 100 7.5; 0 0 1]\ncam1=[100 0 12.5; 0 100 7.5; 0 0 1]\n"
    "doffs=3\nbaseline=200\nwidth=20\nheight=16\nndisp=12\n"
)
KITTI_CALIBRATION = (
    "P0: 100 0 9.5 0 0 100 7.5 0 0 0 1 0\nP1: 100 0 9.5 -54 0 100 7.5 0 0 0 1 0\n"
    "P2: 100 0 9.5 4 0 100 7.5 0 0 0 1 0\nP3: 100 0 9.5 -46 0 100 7.5 0 0 0 1 0\n"
)


def picture(path: Path, value: int = 100, *, width: int = WIDTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_image(path, np.full((HEIGHT, width, 3), value, np.uint8))


def grey(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_image(path, values.astype(np.uint8))


def ramp(start: float = 1.0) -> np.ndarray:
    """Disparities 1, 2, 3 ... along each row."""
    return np.tile(np.arange(WIDTH, dtype=np.float32) + start, (HEIGHT, 1))


def first_column_unknown() -> np.ndarray:
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, 0] = False
    return valid


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def keys(items: list[StereoItem]) -> list[str]:
    return [item.key for item in items]


def middlebury_v3_scene(scene: Path) -> None:
    picture(scene / "im0.png", 10)
    picture(scene / "im1.png", 20)
    (scene / "calib.txt").write_text(MIDDLEBURY_CALIBRATION)
    io.write_pfm(scene / "disp0GT.pfm", ramp(), first_column_unknown())
    mask = np.full((HEIGHT, WIDTH), 255)
    mask[:, 1], mask[:, 0] = 128, 0
    grey(scene / "mask0nocc.png", mask)


def test_middlebury_v3(tmp_path: Path) -> None:
    for scene in ("Piano", "Adirondack"):
        middlebury_v3_scene(tmp_path / "MiddEval3" / "trainingQ" / scene)
    picture(tmp_path / "MiddEval3" / "testQ" / "Crusade" / "im0.png")
    picture(tmp_path / "MiddEval3" / "testQ" / "Crusade" / "im1.png")
    for root in (tmp_path, tmp_path / "MiddEval3", tmp_path / "MiddEval3" / "trainingQ"):
        items = open_benchmark("middlebury-v3", root)
        assert keys(items) == ["Adirondack", "Piano"]
    pair = items[0].read_pair()
    assert pair.name == "Adirondack"
    assert float(pair.left[0, 0, 0]) < float(pair.right[0, 0, 0])
    assert pair.camera is not None
    assert pair.camera.baseline_m == pytest.approx(0.2)
    assert (pair.camera.doffs_px, pair.camera.max_disparity_px) == (3, 12)
    truth = items[0].read_truth()
    assert torch.equal(truth.disparity[:, 1:], torch.from_numpy(ramp())[:, 1:])
    assert torch.isfinite(truth.disparity).all()
    assert torch.equal(truth.valid, torch.from_numpy(first_column_unknown()))
    assert torch.equal(truth.regions["all"], truth.valid)
    assert truth.regions["visible"].sum() == HEIGHT * (WIDTH - 2)
    test = open_benchmark("middlebury-v3", tmp_path, split="test", resolution="Q")
    assert keys(test) == ["Crusade"]
    assert not test[0].has_truth
    with pytest.raises(WrongFile, match="no ground truth"):
        test[0].read_truth()


def test_middlebury_v3_asks_which_resolution(tmp_path: Path) -> None:
    for size in "HQ":
        middlebury_v3_scene(tmp_path / f"training{size}" / "Piano")
    with pytest.raises(WrongInput, match="resolutions H, Q; choose with resolution="):
        open_benchmark("middlebury-v3", tmp_path)
    assert open_benchmark("middlebury-v3", tmp_path, resolution="H")[0].left.parts[-3] == "trainingH"
    with pytest.raises(WrongFile, match="trainingF/Adirondack"):
        open_benchmark("middlebury-v3", tmp_path, resolution="F")


def test_middlebury_2014(tmp_path: Path) -> None:
    for kind, value in (("perfect", 1.0), ("imperfect", 5.0)):
        scene = tmp_path / f"Bicycle1-{kind}"
        for name in ("im0.png", "im1.png", "im1E.png"):
            picture(scene / name)
        (scene / "calib.txt").write_text(MIDDLEBURY_CALIBRATION)
        io.write_pfm(scene / "disp0.pfm", ramp(value))
        io.write_pfm(scene / "disp1.pfm", ramp(value + 1))
    (item,) = open_benchmark("middlebury-2014", tmp_path)
    assert item.key == "Bicycle1-perfect"
    truth = item.read_truth()
    assert truth.disparity[0, 0] == 1
    assert set(truth.regions) == {"all"}
    assert truth.right_disparity is not None
    assert truth.right_disparity[0, 0] == 2
    (item,) = open_benchmark("middlebury-2014", tmp_path, rectification="imperfect", right="exposure")
    assert (item.key, item.right.name) == ("Bicycle1-imperfect", "im1E.png")
    with pytest.raises(WrongFile, match=r"im1L\.png does not exist.*no partner"):
        open_benchmark("middlebury-2014", tmp_path, right="lighting")


def test_middlebury_2021(tmp_path: Path) -> None:
    scene = tmp_path / "data" / "artroom1"
    for name in ("im0.png", "im1.png"):
        picture(scene / name)
    io.write_pfm(scene / "disp0.pfm", ramp(), first_column_unknown())
    for root in (tmp_path, tmp_path / "data"):
        (item,) = open_benchmark("middlebury-2021", root)
        assert item.key == "artroom1"
        assert item.read_truth().valid.sum() == HEIGHT * (WIDTH - 1)
        assert item.read_pair().camera is None


@pytest.mark.parametrize(
    ("names", "width", "factor"),
    [
        (("view1.png", "view5.png", "disp1.png", "disp5.png"), 463, 3),
        (("view1.png", "view5.png", "disp1.png", "disp5.png"), 695, 2),
        (("view1.png", "view5.png", "disp1.png", "disp5.png"), 1390, 1),
        (("im2.png", "im6.png", "disp2.png", "disp6.png"), 450, 4),
        (("im2.png", "im6.png", "disp2.png", "disp6.png"), 900, 2),
        (("im2.png", "im6.png", "disp2.png", "disp6.png"), 1800, 1),
        (("im2.ppm", "im6.ppm", "disp2.pgm", "disp6.pgm"), 434, 8),
    ],
)
def test_middlebury_2001_2006_factors(
    tmp_path: Path, names: tuple[str, str, str, str], width: int, factor: int
) -> None:
    codes = np.full((HEIGHT, width), 48)
    codes[:, 0] = 0
    for name in names[:2]:
        picture(tmp_path / "Scene" / name, width=width)
    for name in names[2:]:
        grey(tmp_path / "Scene" / name, codes)
    (item,) = open_benchmark("middlebury-2001-2006", tmp_path)
    assert item.read_pair().width == width
    truth = item.read_truth()
    assert truth.disparity[0, 1] == 48 / factor
    assert not truth.valid[:, 0].any()
    assert truth.valid[:, 1:].all()
    assert truth.right_valid is not None
    assert set(truth.regions) == {"all"}


def test_middlebury_2001_2006_refuses_a_resized_truth(tmp_path: Path) -> None:
    for name in ("im2.ppm", "im6.ppm"):
        picture(tmp_path / "bull" / name, width=900)
    grey(tmp_path / "bull" / "disp2.pgm", np.full((HEIGHT, 900), 8))
    with pytest.raises(WrongFile, match="900 px wide"):
        open_benchmark("middlebury-2001-2006", tmp_path)[0].read_truth()


def test_middlebury_2001_2006_with_meta(tmp_path: Path) -> None:
    scene = tmp_path / "Tsukuba"
    for name in ("left.png", "right.png"):
        picture(scene / name)
    grey(scene / "disp_left.png", np.full((HEIGHT, WIDTH), 80))
    mask = np.zeros((HEIGHT, WIDTH))
    mask[4:] = 255
    grey(scene / "nonocc.png", mask)
    (scene / "meta.json").write_text(json.dumps({"scale": 16}))
    (tmp_path / "notes").mkdir()
    (item,) = open_benchmark("middlebury-2001-2006", tmp_path)
    truth = item.read_truth()
    assert (truth.disparity == 5).all()
    assert truth.regions["visible"].sum() == (HEIGHT - 4) * WIDTH
    for useless in ("{}", '{"scale": 0}', '{"scale": null}', "scale 16"):
        (scene / "meta.json").write_text(useless)
        with pytest.raises(WrongFile, match=r"meta\.json must state the factor"):
            item.read_truth()


def kitti_tree(folder: Path, pictures: tuple[str, str], truths: tuple[str, str], calibration: str) -> None:
    for frame in ("000000_10", "000000_11", "000003_10"):
        for name in pictures:
            picture(folder / name / f"{frame}.png")
    touch(folder / pictures[0] / "._000000_10.png")
    for frame in ("000000_10", "000003_10"):
        for name, valid in zip(truths, (ramp() > 5, ramp() > 2), strict=True):
            (folder / name).mkdir(exist_ok=True)
            io.write_kitti_png(folder / name / f"{frame}.png", ramp(), valid)
        (folder / calibration).mkdir(exist_ok=True)
        (folder / calibration / f"{frame[:6]}.txt").write_text(KITTI_CALIBRATION)


def test_kitti_2015(tmp_path: Path) -> None:
    kitti_tree(tmp_path / "training", ("image_2", "image_3"), ("disp_noc_0", "disp_occ_0"), "calib_cam_to_cam")
    for name in ("image_2", "image_3"):
        picture(tmp_path / "testing" / name / "000007_10.png")
    for root in (tmp_path, tmp_path / "training"):
        items = open_benchmark("kitti-2015", root)
        assert keys(items) == ["000000_10", "000003_10"]
    truth = items[0].read_truth()
    assert torch.equal(truth.regions["all"], torch.from_numpy(ramp() > 2))
    assert torch.equal(truth.regions["visible"], torch.from_numpy(ramp() > 5))
    assert truth.disparity[0, 9] == 10
    camera = items[0].read_pair().camera
    assert camera is not None
    assert camera.baseline_m == pytest.approx(0.5)
    test = open_benchmark("kitti-2015", tmp_path, split="testing")
    assert keys(test) == ["000007_10"]
    assert not test[0].has_truth
    with pytest.raises(WrongFile, match="testing/image_2"):
        open_benchmark("kitti-2015", tmp_path / "training", split="testing")


def test_kitti_2015_with_only_visible_truth_does_not_claim_all(tmp_path: Path) -> None:
    kitti_tree(tmp_path / "training", ("image_2", "image_3"), ("disp_noc_0", "disp_occ_0"), "calib_cam_to_cam")
    for path in (tmp_path / "training" / "disp_occ_0").iterdir():
        path.unlink()
    item = open_benchmark("kitti-2015", tmp_path)[0]
    assert set(item.read_truth().regions) == {"visible"}
    (tmp_path / "training" / "calib_cam_to_cam" / "000000.txt").unlink()
    assert open_benchmark("kitti-2015", tmp_path)[0].read_pair().camera is None


def test_kitti_2012_in_color_and_grey(tmp_path: Path) -> None:
    truths = ("disp_noc", "disp_occ")
    kitti_tree(tmp_path / "training", ("colored_0", "colored_1"), truths, "calib")
    (color, _) = open_benchmark("kitti-2012", tmp_path)
    kitti_tree(tmp_path / "training", ("image_0", "image_1"), truths, "calib")
    (grey_item, _) = open_benchmark("kitti-2012", tmp_path, pictures="grey")
    baselines = []
    for item, folder in ((color, "colored_0"), (grey_item, "image_0")):
        assert item.left.parent.name == folder
        assert set(item.read_truth().regions) == {"all", "visible"}
        camera = item.read_pair().camera
        assert camera is not None
        assert (camera.width, camera.height, camera.focal_px) == (WIDTH, HEIGHT, 100)
        baselines.append(camera.baseline_m)
    assert baselines == pytest.approx([0.5, 0.54])


def test_eth3d(tmp_path: Path) -> None:
    scene, truth_folder = tmp_path / "two_view_training" / "forest_1s", tmp_path / "two_view_training_gt" / "forest_1s"
    middlebury_v3_scene(scene)
    truth_folder.mkdir(parents=True)
    for name in ("disp0GT.pfm", "mask0nocc.png"):
        (scene / name).rename(truth_folder / name)
    for name in ("im0.png", "im1.png"):
        picture(tmp_path / "two_view_test" / "lakeside_1l" / name)
    for root in (tmp_path, tmp_path / "two_view_training"):
        (item,) = open_benchmark("eth3d", root)
        assert item.key == "forest_1s"
        assert item.read_truth().regions["visible"].sum() == HEIGHT * (WIDTH - 2)
        assert item.read_pair().camera is not None
    (test,) = open_benchmark("eth3d", tmp_path, split="test")
    assert (test.key, test.has_truth) == ("lakeside_1l", False)


def sceneflow_frame(folder: Path, frames: str, place: str, frame: str) -> None:
    for side, start in (("left", 1.0), ("right", 2.0)):
        picture(folder / frames / place / side / f"{frame}.png", 50 if frames == "frames_finalpass" else 200)
        target = folder / "disparity" / place / side / f"{frame}.pfm"
        target.parent.mkdir(parents=True, exist_ok=True)
        io.write_pfm(target, ramp(start))


def test_sceneflow(tmp_path: Path) -> None:
    for frames in ("frames_finalpass", "frames_cleanpass"):
        for place in ("TEST/B/0001", "TEST/A/0000", "TRAIN/C/0002"):
            sceneflow_frame(tmp_path / "FlyingThings3D", frames, place, "0006")
        sceneflow_frame(tmp_path / "monkaa", frames, "a_rain_of_stones_x2", "0000")
        sceneflow_frame(tmp_path / "Driving", frames, "15mm_focallength/scene_forwards/fast", "0001")
    test = open_benchmark("sceneflow", tmp_path)
    assert keys(test) == ["FlyingThings3D/TEST/A/0000/0006", "FlyingThings3D/TEST/B/0001/0006"]
    assert keys(open_benchmark("sceneflow", tmp_path / "FlyingThings3D")) == keys(test)
    assert keys(open_benchmark("sceneflow", tmp_path, split="train")) == [
        "Driving/15mm_focallength/scene_forwards/fast/0001",
        "FlyingThings3D/TRAIN/C/0002/0006",
        "Monkaa/a_rain_of_stones_x2/0000",
    ]
    truth = test[0].read_truth()
    assert truth.disparity[0, 0] == 1
    assert truth.right_disparity is not None
    assert truth.right_disparity[0, 0] == 2
    clean = open_benchmark("sceneflow", tmp_path, rendering="clean")
    assert clean[0].read_pair().left.mean() > test[0].read_pair().left.mean()
    with pytest.raises(WrongFile, match=f"holds 2 of the {TEST_COUNT}"):
        open_benchmark("sceneflow-400", tmp_path)


def test_sceneflow_400_is_the_published_subset_and_opens_no_picture(tmp_path: Path) -> None:
    folder = tmp_path / "FlyingThings3D"
    for side in ("left", "right"):
        for number in range(TEST_COUNT):
            touch(folder / "frames_finalpass" / "TEST" / "A" / f"{number // 10:04}" / side / f"{number % 10:04}.png")
    items = open_benchmark("sceneflow-400", tmp_path)
    state = np.random.get_state()
    np.random.seed(1000)
    published = set(np.random.permutation(TEST_COUNT)[:400].tolist())
    np.random.set_state(state)
    everything = open_benchmark("sceneflow", tmp_path)
    assert len(everything) == TEST_COUNT
    assert keys(items) == [item.key for place, item in enumerate(everything) if place in published]
    assert len(items) == 400


def test_subset_places_do_not_touch_the_global_generator() -> None:
    before = np.random.get_state()[1].copy()
    assert subset_places(TEST_COUNT) == subset_places(TEST_COUNT)
    assert (np.random.get_state()[1] == before).all()


def test_sintel(tmp_path: Path) -> None:
    folder, name = tmp_path / "training", Path("alley_1/frame_0001.png")
    for place in ("clean_left", "clean_right", "final_left", "final_right"):
        picture(folder / place / name)
    codes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    codes[...] = (3, 32, 128)
    (folder / "disparities" / name).parent.mkdir(parents=True)
    io.write_image(folder / "disparities" / name, codes)
    for place, column in (("occlusions", 0), ("outofframe", 1)):
        mask = np.zeros((HEIGHT, WIDTH))
        mask[:, column] = 255
        grey(folder / place / name, mask)
    (item,) = open_benchmark("sintel", tmp_path, rendering="clean")
    assert (item.key, item.left.parts[-3]) == ("alley_1/frame_0001", "clean_left")
    truth = item.read_truth()
    assert (truth.disparity == 3 * 4 + 32 / 64 + 128 / 16384).all()
    assert truth.regions["all"].all()
    assert not truth.regions["visible"][:, :2].any()
    assert truth.regions["visible"][:, 2:].all()
    (folder / "outofframe" / name).unlink()
    assert set(open_benchmark("sintel", folder)[0].read_truth().regions) == {"all"}


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    middlebury_v3_scene(tmp_path / "Piano")
    grey(tmp_path / "Piano" / "mask0nocc.png", np.full((HEIGHT, WIDTH - 1), 255))
    with pytest.raises(WrongFile, match=r"disp0GT\.pfm has size \(16, 20\) but its mask has \(16, 19\)"):
        open_benchmark("middlebury-v3", tmp_path)[0].read_truth()
    picture(tmp_path / "Piano" / "mask0nocc.png")
    io.write_image(tmp_path / "Piano" / "mask0nocc.png", np.random.default_rng(0).integers(0, 9, (16, 20, 3), np.uint8))
    with pytest.raises(WrongFile, match=r"mask0nocc\.png is a colour picture"):
        open_benchmark("middlebury-v3", tmp_path)[0].read_truth()


def test_items_travel_to_loader_processes(tmp_path: Path) -> None:
    middlebury_v3_scene(tmp_path / "Piano")
    (item,) = open_benchmark("middlebury-v3", tmp_path)
    copy = pickle.loads(pickle.dumps(item))
    assert torch.equal(copy.read_truth().disparity, item.read_truth().disparity)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_folder_that_does_not_look_right_names_the_layout(tmp_path: Path, name: str) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(WrongFile) as caught:
        open_benchmark(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "expected" in str(caught.value)
    with pytest.raises(WrongFile, match="is not a folder"):
        open_benchmark(name, tmp_path / "nowhere")


def test_wrong_names_and_options(tmp_path: Path) -> None:
    with pytest.raises(UnknownBenchmark, match="did you mean middlebury-v3"):
        open_benchmark("middlebury-v4", tmp_path)
    with pytest.raises(WrongInput, match="kitti-2015 has no option 'resolution'; its options are split"):
        open_benchmark("kitti-2015", tmp_path, resolution="Q")
    with pytest.raises(WrongInput, match="middlebury-2021 has no option 'split'; it has no options"):
        open_benchmark("middlebury-2021", tmp_path, split="test")
    with pytest.raises(WrongInput, match="split of kitti-2015 is one of training, testing, not 'test'"):
        open_benchmark("kitti-2015", tmp_path, split="test")
    with pytest.raises(WrongInput, match="resolution of middlebury-v3 is one of F, H, Q, None, not 'X'"):
        open_benchmark("middlebury-v3", tmp_path, resolution="X")
