"""Plain folders of pairs."""

from pathlib import Path

import numpy as np
import pytest

from depthweave import io
from depthweave.data import open_benchmark
from depthweave.errors import WrongFile

CALIBRATION = "100 0 9.5 0 100 7.5 0 0 1\n0.2\n"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_image(path, np.full((16, 20, 3), 90, np.uint8))


def disparity(value: float) -> np.ndarray:
    return np.full((16, 20), value, np.float32)


def test_left_and_right_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        picture(tmp_path / "left" / name)
    picture(tmp_path / "right" / "a.png")
    picture(tmp_path / "right" / "b.jpg")
    (tmp_path / "left" / "notes.txt").write_text("not a picture")
    (tmp_path / "disparity").mkdir()
    io.write_pfm(tmp_path / "disparity" / "a.pfm", disparity(4.5))
    io.write_kitti_png(tmp_path / "disparity" / "b.png", disparity(7.5))
    (tmp_path / "K.txt").write_text(CALIBRATION)
    a, b = open_benchmark("folder", tmp_path)
    assert (a.key, b.key, b.right.name) == ("a", "b", "b.jpg")
    assert (a.read_truth().disparity == 4.5).all()
    assert (b.read_truth().disparity == 7.5).all()
    for item in (a, b):
        camera = item.read_pair().camera
        assert camera is not None
        assert camera.baseline_m == pytest.approx(0.2)
    (_, hundredths) = open_benchmark("folder", tmp_path, disparity_scale=100)
    assert hundredths.read_truth().disparity[0, 0] == pytest.approx(7.5 * 256 / 100)


def test_suffixes(tmp_path: Path) -> None:
    for name in ("door_left.png", "door_right.jpg", "car_left.png", "car_right.png"):
        picture(tmp_path / name)
    car, door = open_benchmark("folder", tmp_path)
    assert (car.key, door.key, door.right.name) == ("car", "door", "door_right.jpg")
    assert not car.has_truth
    assert car.read_pair().camera is None


def test_a_folder_per_pair(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "left.png")
    picture(tmp_path / "one" / "right.png")
    picture(tmp_path / "two" / "im0.png")
    picture(tmp_path / "two" / "im1.png")
    (tmp_path / "one" / "K.txt").write_text(CALIBRATION.replace("0.2", "0.4"))
    (tmp_path / "K.txt").write_text(CALIBRATION)
    io.write_pfm(tmp_path / "two" / "disp0GT.pfm", disparity(3))
    mask = np.full((16, 20), 255, np.uint8)
    mask[0] = 128
    io.write_image(tmp_path / "two" / "mask0nocc.png", mask)
    one, two = open_benchmark("folder", tmp_path)
    baselines = [camera.baseline_m for item in (one, two) if (camera := item.read_pair().camera) is not None]
    assert baselines == pytest.approx([0.4, 0.2])
    assert not one.has_truth
    assert two.read_truth().regions["visible"].sum() == 15 * 20


def test_one_pair_in_the_root(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    picture(folder / "left.png")
    picture(folder / "right.png")
    io.write_kitti_png(folder / "disparity.png", disparity(2))
    (item,) = open_benchmark("folder", folder)
    assert item.key == "desk"
    assert (item.read_truth().disparity == 2).all()


@pytest.mark.parametrize(
    ("left", "truth", "mask", "right_truth"),
    [
        ("left/a.png", "disparity/a.pfm", "mask0nocc/a.png", "disparity_right/a.pfm"),
        ("a/left.png", "a/disparity.pfm", "a/mask0nocc.png", "a/disparity_right.pfm"),
    ],
)
def test_truth_of_the_right_picture(tmp_path: Path, left: str, truth: str, mask: str, right_truth: str) -> None:
    picture(tmp_path / left)
    picture(tmp_path / left.replace("left", "right"))
    io.write_pfm(tmp_path / truth, disparity(3))
    (item,) = open_benchmark("folder", tmp_path)
    assert item.read_truth().right_disparity is None
    assert set(item.read_truth().regions) == {"all"}
    known = np.arange(320).reshape(16, 20) % 7 != 0
    io.write_pfm(tmp_path / right_truth, disparity(4), known)
    (tmp_path / mask).parent.mkdir(exist_ok=True)
    io.write_image(tmp_path / mask, np.where(known, 255, 128).astype(np.uint8))
    found = item.read_truth()
    assert found.right_disparity is not None
    assert found.right_valid is not None
    np.testing.assert_array_equal(found.right_valid.numpy(), known)
    assert (found.right_disparity[found.right_valid] == 4).all()
    np.testing.assert_array_equal(found.regions["visible"].numpy(), known)


@pytest.mark.parametrize("own_folder", [False, True])
@pytest.mark.parametrize(("left_suffix", "right_suffix"), [(".png", ".png"), (".png", ".pfm"), (".pfm", ".png")])
def test_png_truth_has_visibility_and_a_right_picture_too(
    tmp_path: Path, own_folder: bool, left_suffix: str, right_suffix: str
) -> None:
    def place(what: str, suffix: str) -> Path:
        return tmp_path / "a" / f"{what}{suffix}" if own_folder else tmp_path / what / f"a{suffix}"

    def write(path: Path, value: float, known: np.ndarray) -> None:
        path.parent.mkdir(exist_ok=True)
        (io.write_kitti_png if path.suffix == ".png" else io.write_pfm)(path, disparity(value), known)

    known = np.arange(320).reshape(16, 20) % 7 != 0
    for side in ("left", "right"):
        picture(place(side, ".png"))
    write(place("disparity", left_suffix), 2.5, known)
    write(place("disparity_right", right_suffix), 3.5, ~known)
    place("mask0nocc", ".png").parent.mkdir(exist_ok=True)
    io.write_image(place("mask0nocc", ".png"), np.where(np.arange(320).reshape(16, 20) % 3, 255, 128).astype(np.uint8))
    (item,) = open_benchmark("folder", tmp_path)
    found = item.read_truth()
    assert (found.disparity[found.valid] == 2.5).all()
    np.testing.assert_array_equal(found.valid.numpy(), known)
    assert found.right_disparity is not None
    assert found.right_valid is not None
    assert (found.right_disparity[found.right_valid] == 3.5).all()
    np.testing.assert_array_equal(found.right_valid.numpy(), ~known)
    expected = known & (np.arange(320).reshape(16, 20) % 3 != 0)
    np.testing.assert_array_equal(found.regions["visible"].numpy(), expected)


def test_the_scale_is_of_both_pictures(tmp_path: Path) -> None:
    for side in ("left", "right"):
        picture(tmp_path / side / "a.png")
        io.write_kitti_png(tmp_path / ("disparity" if side == "left" else "disparity_right") / "a.png", disparity(4))
    (item,) = open_benchmark("folder", tmp_path, disparity_scale=128)
    found = item.read_truth()
    assert (found.disparity == 8).all()
    assert found.right_disparity is not None
    assert (found.right_disparity == 8).all()


def test_one_calibration_for_all_comes_first(tmp_path: Path) -> None:
    for name in ("left.png", "right.png"):
        picture(tmp_path / "pairs" / "a" / name)
    (tmp_path / "pairs" / "a" / "K.txt").write_text(CALIBRATION)
    (tmp_path / "mine.txt").write_text(CALIBRATION.replace("0.2", "0.7"))
    (item,) = open_benchmark("folder", tmp_path / "pairs", calibration=tmp_path / "mine.txt")
    camera = item.read_pair().camera
    assert camera is not None
    assert camera.baseline_m == pytest.approx(0.7)
    with pytest.raises(WrongFile, match=r"other\.txt does not exist"):
        open_benchmark("folder", tmp_path / "pairs", calibration=tmp_path / "other.txt")


@pytest.mark.parametrize("left", ["left/a.png", "a_left.png", "a/left.png", "a/im0.png"])
def test_a_picture_without_partner_is_named(tmp_path: Path, left: str) -> None:
    picture(tmp_path / left)
    with pytest.raises(WrongFile, match="has no partner"):
        open_benchmark("folder", tmp_path)
