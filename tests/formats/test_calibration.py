from pathlib import Path

import cv2
import numpy as np
import pytest

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import StereoCalibration, read_calibration, write_calibration

MIDDLEBURY = """cam0=[ 900.5 0 300.25 ; 0 900.5 240.125 ; 0 0 1 ]
cam1=[ 900.5 0 331.5 ; 0 900.5 240.125 ; 0 0 1 ]
 doffs= 31.25
baseline= 176.252
width= 720
 height= 480
 ndisp= 64
 isint= 0
vmin= 5
vmax= 60
 dyavg= 0.2
dymax= 0.4
"""

KITTI = """P0: 7.0e+02 0 6.0e+02 0 0 7.0e+02 1.8e+02 0 0 0 1 0
P1: 7.0e+02 0 6.0e+02 -3.78e+02 0 7.0e+02 1.8e+02 0 0 0 1 0
P2: 7.0e+02 0 6.01e+02 4.2e+01 0 7.0e+02 1.81e+02 0.2 0 0 1 0.003
P3: 7.0e+02 0 6.04e+02 -3.36e+02 0 7.0e+02 1.81e+02 2.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
"""

KITTI_RAW = """calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
S_02: 1.392000e+03 5.120000e+02
P_rect_00: 700 0 600 0 0 700 180 0 0 0 1 0
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 700 0 601 42 0 700 181 0.2 0 0 1 0.003
P_rect_03: 700 0 601 -336 0 700 181 2.2 0 0 1 0.003
"""

ROS = """image_width: 640
image_height: 480
camera_name: head/{side}
camera_matrix:
  rows: 3
  cols: 3
  data: [510.0, 0.0, 325.0, 0.0, 511.0, 245.0, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.3, 0.1, 0.0, 0.0, 0.0]
projection_matrix:
  rows: 3
  cols: 4
  data: [500.0, 0.0, 320.0, {shift},
         0.0, 500.0, 240.0, 0.0,
         0.0, 0.0, 1.0, 0.0]
"""

ROS_TOPIC = """header:
  stamp:
    sec: 12
height: 480
width: 640
d:
- 0.0
k:
- 510.0
- 0.0
- 325.0
- 0.0
- 511.0
- 245.0
- 0.0
- 0.0
- 1.0
p:
- 500.0
- 0.0
- 320.0
- {shift}
- 0.0
- 500.0
- 240.0
- 0.0
- 0.0
- 0.0
- 1.0
- 0.0
binning_x: 0
---
"""


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def opencv_file(path: Path, **entries: np.ndarray | float) -> Path:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in entries.items():
        storage.write(name, value)
    storage.release()
    return path


def k(focal: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])


def test_middlebury(tmp_path: Path) -> None:
    found = read_calibration(text_file(tmp_path / "calib.txt", MIDDLEBURY))
    np.testing.assert_array_equal(found.intrinsics, k(900.5, 300.25, 240.125))
    assert found.baseline_m == pytest.approx(0.176252, rel=1e-12)
    assert found.doffs_px == 31.25
    assert (found.width, found.height, found.max_disparity_px) == (720, 480, 64)
    assert found.source == "calib.txt (Middlebury)"
    # Z = b f / (d + doffs), by hand: 0.176252 * 900.5 / (48.75 + 31.25) = 1.983936...
    assert found.baseline_m * found.intrinsics[0, 0] / (48.75 + found.doffs_px) == pytest.approx(1.98393657, rel=1e-7)


def test_middlebury_without_doffs_or_baseline(tmp_path: Path) -> None:
    lines = [line for line in MIDDLEBURY.splitlines() if "doffs" not in line and "baseline" not in line]
    found = read_calibration(text_file(tmp_path / "calib.txt", "\r\n".join(lines)))
    assert found.doffs_px == pytest.approx(31.25)
    assert found.baseline_m is None


def test_kitti_colour_and_grey_pair(tmp_path: Path) -> None:
    file = text_file(tmp_path / "000000.txt", KITTI)
    colour = read_calibration(file)
    np.testing.assert_array_equal(colour.intrinsics, k(700, 601, 181))
    assert colour.baseline_m == pytest.approx((42 + 336) / 700)
    assert colour.doffs_px == pytest.approx(3.0)
    grey = read_calibration(file, cameras=("P0", "P1"))
    np.testing.assert_array_equal(grey.intrinsics, k(700, 600, 180))
    assert grey.baseline_m == pytest.approx(0.54)
    assert grey.doffs_px == 0
    assert (grey.width, grey.height) == (None, None)


def test_kitti_raw(tmp_path: Path) -> None:
    file = text_file(tmp_path / "calib_cam_to_cam.txt", KITTI_RAW)
    found = read_calibration(file)
    assert found.baseline_m == pytest.approx(0.54)
    assert (found.width, found.height) == (1242, 375)
    assert found.source == "calib_cam_to_cam.txt (KITTI)"
    with pytest.raises(WrongFile, match="it has no P1, only P0, P2, P3"):
        read_calibration(file, cameras=("P1", "P2"))


def test_kitti_single_camera_and_swapped_pair(tmp_path: Path) -> None:
    file = text_file(tmp_path / "one.txt", KITTI.splitlines()[2])
    assert read_calibration(file).baseline_m is None
    with pytest.raises(WrongFile, match="its right camera stands to the left of its left camera; swap"):
        read_calibration(text_file(tmp_path / "two.txt", KITTI), cameras=("P3", "P2"))
    with pytest.raises(WrongFile, match="no baseline"):
        read_calibration(tmp_path / "two.txt", cameras=("P0", "P0"))


@pytest.mark.parametrize(
    ("text", "baseline_m"),
    [
        ("754.6 0.0 489.3 0.0 754.7 265.2 0.0 0.0 1.0\n0.063\n", 0.063),
        ("754.6 0 489.3\n0 754.7 265.2\n0 0 1\n", None),
        ("7.546e2 0 489.3 0 754.7 265.2 0 0 1", None),
    ],
)
def test_k_txt(tmp_path: Path, text: str, baseline_m: float | None) -> None:
    found = read_calibration(text_file(tmp_path / "K.txt", text))
    np.testing.assert_array_equal(found.intrinsics, [[754.6, 0, 489.3], [0, 754.7, 265.2], [0, 0, 1]])
    assert found.baseline_m == baseline_m
    assert found.doffs_px == 0
    assert found.source == "K.txt (K.txt)"


@pytest.mark.parametrize("suffix", ["yml", "xml", "json"])
@pytest.mark.parametrize("direction", [-1, 1])
def test_opencv_q_gives_the_depth_of_opencv(tmp_path: Path, suffix: str, direction: int) -> None:
    left, right = k(500, 320, 240), k(500, 322, 240)
    pose = np.array([[direction * 0.12], [0], [0]])
    rotation = np.eye(3)
    *_, q, _, _ = cv2.stereoRectify(left, np.zeros(5), right, np.zeros(5), (640, 480), rotation, pose, flags=0)
    q[3, 3] = 6.5 * q[3, 2]  # principal points 6.5 px apart
    found = read_calibration(opencv_file(tmp_path / f"stereo.{suffix}", Q=q))
    disparity = np.array([[10.0, 20.5], [64.25, 100.0]], np.float32)
    expected = np.abs(cv2.reprojectImageTo3D(disparity, q)[..., 2])
    depth_m = found.intrinsics[0, 0] * found.baseline_m / (disparity + found.doffs_px)
    np.testing.assert_allclose(depth_m, expected, rtol=1e-6)
    assert found.baseline_m == pytest.approx(0.12)
    assert found.doffs_px == pytest.approx(6.5)
    np.testing.assert_allclose(found.intrinsics, k(q[2, 3], -q[0, 3], -q[1, 3]))


def test_opencv_sample_q_with_turned_axes(tmp_path: Path) -> None:
    q = np.array([[1, 0, 0, -320], [0, -1, 0, 240], [0, 0, 0, -512], [0, 0, 8, 0.0]])
    found = read_calibration(opencv_file(tmp_path / "q.yml", Q=q))
    np.testing.assert_array_equal(found.intrinsics, k(512, 320, 240))
    assert found.baseline_m == 0.125


def test_opencv_projections_with_a_board_in_millimetres(tmp_path: Path) -> None:
    p1 = np.hstack([k(500, 320, 240), np.zeros((3, 1))])
    p2 = np.hstack([k(500, 326, 240), [[-60000.0], [0], [0]]])
    file = opencv_file(tmp_path / "extrinsics.yml", R=np.eye(3), P1=p1, P2=p2, image_width=640, image_height=480)
    found = read_calibration(file, baseline_unit_m=0.001)
    np.testing.assert_array_equal(found.intrinsics, k(500, 320, 240))
    assert found.baseline_m == pytest.approx(0.12)
    assert found.doffs_px == 6
    assert (found.width, found.height) == (640, 480)


@pytest.mark.parametrize("names", [("M1", "M2"), ("K1", "K2"), ("cameraMatrix1", "cameraMatrix2")])
def test_opencv_matrices_and_translation(tmp_path: Path, names: tuple[str, str]) -> None:
    matrices = {names[0]: k(500, 320, 240), names[1]: k(500, 323, 240)}
    file = opencv_file(tmp_path / "pair.xml", **matrices, T=np.array([[-0.2], [0], [0]]))
    found = read_calibration(file)
    assert found.baseline_m == pytest.approx(0.2)
    assert found.doffs_px == 3


def test_opencv_translation_as_a_plain_list(tmp_path: Path) -> None:
    file = opencv_file(tmp_path / "pair.yml", M1=k(500, 320, 240), M2=k(500, 320, 240))
    text_file(file, file.read_text() + "T: [ -0.25, 0., 0. ]\n")
    assert read_calibration(file).baseline_m == 0.25


def test_opencv_unrectified_pair(tmp_path: Path) -> None:
    turn = cv2.Rodrigues(np.array([0, np.radians(1.0), 0]))[0]
    straight, sideways = np.array([[-0.2], [0], [0]]), np.array([[-0.2], [0.05], [0]])
    for rotation, shift in ((turn, straight), (np.eye(3), sideways)):
        file = opencv_file(tmp_path / "raw.yml", M1=k(5, 3, 2), M2=k(5, 3, 2), R=rotation, T=shift)
        with pytest.raises(WrongFile, match=r"raw\.yml .* not rectified; rectify the pictures with cv2\.stereoRectify"):
            read_calibration(file)
    file = opencv_file(tmp_path / "raw.yml", M1=k(500, 320, 240), M2=k(520, 320, 240), T=straight)
    with pytest.raises(WrongFile, match="different focal lengths"):
        read_calibration(file)


@pytest.mark.parametrize("name", ["K", "M", "cameraMatrix", "camera_matrix", "M1"])
def test_opencv_single_camera_has_no_baseline(tmp_path: Path, name: str) -> None:
    found = read_calibration(opencv_file(tmp_path / "cam.yml", **{name: k(500, 320, 240)}))
    np.testing.assert_array_equal(found.intrinsics, k(500, 320, 240))
    assert found.baseline_m is None


@pytest.mark.parametrize("template", [ROS, ROS_TOPIC])
def test_ros_pair(tmp_path: Path, template: str) -> None:
    left = text_file(tmp_path / "left.yaml", template.format(side="left", shift="0.0"))
    right = text_file(tmp_path / "right.yaml", template.format(side="right", shift="-35.0"))
    found = read_calibration(left, right)
    np.testing.assert_array_equal(found.intrinsics, k(500, 320, 240))
    assert found.baseline_m == pytest.approx(0.07)
    assert (found.width, found.height) == (640, 480)
    alone = read_calibration(left)
    np.testing.assert_array_equal(alone.intrinsics, k(500, 320, 240))
    assert alone.baseline_m is None
    with pytest.raises(WrongFile, match="belongs to the right camera"):
        read_calibration(right)
    with pytest.raises(WrongFile, match="swap"):
        read_calibration(right, left)


def test_ros_flow_lists_and_missing_projection(tmp_path: Path) -> None:
    both = "height: 4\nwidth: 6\nK: [5.0, 0, 3, 0, 5, 2, 0, 0, 1]\nP: [4.0, 0, 3, {}, 0, 4, 2, 0, 0, 0, 1, 0]\nroi: 0\n"
    left, right = (text_file(tmp_path / f"{s}.yaml", both.format(s)) for s in ("0.", "-1e0"))
    assert read_calibration(left, right=right).baseline_m == 0.25
    only_k = text_file(tmp_path / "k.yaml", both.split("P:")[0])
    found = read_calibration(only_k)
    np.testing.assert_array_equal(found.intrinsics, k(5, 3, 2))
    assert found.baseline_m is None
    with pytest.raises(WrongFile, match="no projection_matrix"):
        read_calibration(only_k, right)
    with pytest.raises(WrongFile, match="the right camera's file has no projection_matrix"):
        read_calibration(left, only_k)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("these are only words", "is not a calibration that can be read; give Middlebury"),
        ("", "is not a calibration that can be read"),
        ("1 2 3", "it has 3 numbers"),
        ("nan 0 3 0 5 2 0 0 1", "is not a calibration that can be read"),
        ("0 0 3 0 5 2 0 0 1 0.1", "focal lengths are not positive"),
        ("5 0 3 0 5 2 0 0 2 0.1", "last row"),
        ("5 0 3 0 5 2 0 0 1 0", "baseline 0.0 is not a positive length"),
        ("1" * 500_000 + "x", "is not a calibration that can be read"),
        ("cam0=[1 2 3]\nbaseline=1", "3 numbers stand where 9 are needed"),
        (MIDDLEBURY.replace("176.252", "abc"), "0 numbers stand where 1"),
        (MIDDLEBURY.replace("176.252", "-176.252"), "is not a positive length"),
        (MIDDLEBURY.replace("720", "1e999"), "cannot convert float infinity"),
        ("P2: 1 2 3", "3 numbers stand where 12"),
        ("%YAML:1.0\n---\nM1: [", "OpenCV cannot parse it"),
        ("%YAML:1.0\n---\nname: 3\n", "it has none of P1, Q, M1"),
        ("%YAML:1.0\n---\nK: [ 1., 2. ]\n", "K is not a 3x3 matrix"),
        ("%YAML:1.0\n---\nK: [ a, b, c, d, e, f, g, h, i ]\n", "K is not a 3x3 matrix"),
        ("%YAML:1.0\n---\nK: hello\n", "K is not a 3x3 matrix"),
        ("%YAML:1.0\n---\nK:\n   a: 1\n", "K is not a 3x3 matrix"),
        ('{"intrinsics": 3}', "it has none of P1"),
        ("P: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "focal lengths are not positive"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    file = text_file(tmp_path / "bad.txt", text)
    with pytest.raises(WrongFile, match=rf"bad\.txt (?s:.*){sentence}"):
        read_calibration(file)
    assert capfd.readouterr() == ("", "")


def test_q_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="Q does not turn disparity into depth"):
        read_calibration(opencv_file(tmp_path / "q.yml", Q=np.zeros((4, 4))))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(50), bytes(100), b"1 " * 600_000):
        file.write_bytes(content)
        with pytest.raises(WrongFile, match=r"x\.txt is not a (text file|calibration but some other data)"):
            read_calibration(file)
    with pytest.raises(WrongFile, match="does not exist"):
        read_calibration(tmp_path / "none.txt")


def test_arguments_of_other_formats(tmp_path: Path) -> None:
    file = text_file(tmp_path / "calib.txt", MIDDLEBURY)
    for arguments in ({"right": file}, {"cameras": ("P0", "P1")}, {"baseline_unit_m": 0.001}):
        with pytest.raises(WrongInput, match=f"{next(iter(arguments))} has a meaning for .* only"):
            read_calibration(file, **arguments)
    with pytest.raises(WrongInput, match="baseline_unit_m must be a positive number"):
        read_calibration(file, baseline_unit_m=0.0)


@pytest.mark.parametrize("doffs_px", [0.0, 31.086])
@pytest.mark.parametrize("baseline_m", [0.193001, None])
@pytest.mark.parametrize("bound_px", [70, None])
def test_written_files_read_back(
    tmp_path: Path, doffs_px: float, baseline_m: float | None, bound_px: int | None
) -> None:
    calibration = StereoCalibration(k(999.421, 294.182, 252.932), baseline_m, doffs_px, 741, 497, bound_px)
    write_calibration(tmp_path / "c.txt", calibration)
    again = read_calibration(tmp_path / "c.txt")
    np.testing.assert_array_equal(again.intrinsics, calibration.intrinsics)
    assert again.baseline_m == (None if baseline_m is None else pytest.approx(baseline_m, rel=1e-15))
    assert again.doffs_px == doffs_px
    kept = (741, 497, bound_px) if doffs_px or bound_px else (None, None, None)
    assert (again.width, again.height, again.max_disparity_px) == kept


def test_written_text(tmp_path: Path) -> None:
    write_calibration(tmp_path / "K.txt", StereoCalibration(k(500, 320.5, 240), 0.12))
    assert (tmp_path / "K.txt").read_text() == "500 0 320.5 0 500 240 0 0 1\n0.12\n"
    write_calibration(tmp_path / "calib.txt", StereoCalibration(k(500, 320.5, 240), 0.125, 2.0, 640, 480))
    assert (tmp_path / "calib.txt").read_text() == (
        "cam0=[500 0 320.5; 0 500 240; 0 0 1]\ncam1=[500 0 322.5; 0 500 240; 0 0 1]\n"
        "doffs=2\nbaseline=125\nwidth=640\nheight=480\n"
    )
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_calibration(tmp_path / "file" / "K.txt", StereoCalibration(k(5, 3, 2), None))
