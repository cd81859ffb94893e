import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthweave import io
from depthweave.errors import WrongFile, WrongInput

K = np.array([[100.0, 0, 31.5], [0, 110.0, 23.5], [0, 0, 1]])
TURNED = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])
"""World from camera: by 90 degrees around z, the camera stands at (1, 2, 3)."""


def model() -> io.ColmapModel:
    poses = np.stack((np.eye(4), TURNED))
    points, colors = np.array([[0.5, 0.25, 4.0]]), np.array([[255, 128, 0]], np.uint8)
    return io.ColmapModel(K, 64, 48, ("a.png", "b c.png"), poses, points, colors)


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def test_the_files_by_hand(tmp_path: Path) -> None:
    io.write_colmap(tmp_path, model())
    assert lines(tmp_path / "cameras.txt") == ["1 PINHOLE 64 48 100 110 32 24"]  # the first pixel's middle is at 0.5
    first, blank, second, end = lines(tmp_path / "images.txt")
    assert (first, blank, end) == ("1 1 0 0 0 0 0 0 1 a.png".replace(" 0 0 0 0 0 0", " 0 0 0 -0 -0 -0"), "", "")
    words = second.split()
    half = 0.5**0.5
    # Camera from world: the quaternion is turned back, and x_camera = R^T (x_world - centre).
    np.testing.assert_allclose([float(w) for w in words[1:8]], [half, 0, 0, -half, -2, 1, -3], atol=1e-12)
    assert words[8:] == ["1", "b", "c.png"]
    assert lines(tmp_path / "points3D.txt") == ["1 0.5 0.25 4 255 128 0 0"]


def test_a_point_lands_where_it_should(tmp_path: Path) -> None:
    """What COLMAP would do with the files: R x + t, then the pinhole, in its pixels."""
    io.write_colmap(tmp_path, model())
    _, _, second, _ = lines(tmp_path / "images.txt")
    _, qw, qx, qy, qz, *t = (float(word) for word in second.split()[:8])
    rotation = np.array(
        [
            [1 - 2 * (qy**2 + qz**2), 2 * (qx * qy - qz * qw), 2 * (qx * qz + qy * qw)],
            [2 * (qx * qy + qz * qw), 1 - 2 * (qx**2 + qz**2), 2 * (qy * qz - qx * qw)],
            [2 * (qx * qz - qy * qw), 2 * (qy * qz + qx * qw), 1 - 2 * (qx**2 + qy**2)],
        ]
    )
    in_camera = np.array([0.3, -0.2, 2.0])
    world = TURNED[:3, :3] @ in_camera + TURNED[:3, 3]
    np.testing.assert_allclose(rotation @ world + t, in_camera, atol=1e-12)
    fx, fy, cx, cy = (float(word) for word in lines(tmp_path / "cameras.txt")[0].split()[4:])
    ours = K @ in_camera / 2.0
    np.testing.assert_allclose([fx * 0.15 + cx, fy * -0.1 + cy], ours[:2] + 0.5)


def test_round_trip(tmp_path: Path) -> None:
    io.write_colmap(tmp_path / "model", model())
    read, written = io.read_colmap(tmp_path / "model"), model()
    for name in ("intrinsics", "world_from_camera", "points", "colors"):
        np.testing.assert_allclose(getattr(read, name), getattr(written, name), atol=1e-12)
    assert (read.width, read.height, read.names) == (64, 48, ("a.png", "b c.png"))


def test_colmaps_own_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("# Camera list\n# Number of cameras: 1\n3 SIMPLE_PINHOLE 64 48 90 32 24\n")
    (tmp_path / "images.txt").write_text(
        "# Image list\n# Number: 2\n7 1 0 0 0 0 0 -2 3 b.jpg\n1.5 2.5 -1 3.5 4.5 9\n8 1 0 0 0 0 0 0 3 a.jpg\n\n"
    )
    (tmp_path / "points3D.txt").write_text("# 3D points\n9 1 2 3 10 20 30 0.7 7 0 8 1\n")
    found = io.read_colmap(tmp_path)
    np.testing.assert_allclose(found.intrinsics, [[90, 0, 31.5], [0, 90, 23.5], [0, 0, 1]])
    assert found.names == ("b.jpg", "a.jpg")
    np.testing.assert_allclose(found.world_from_camera[0, :3, 3], [0, 0, 2])
    assert (found.points.tolist(), found.colors.tolist()) == ([[1, 2, 3]], [[10, 20, 30]])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    skewed = K.copy()
    skewed[0, 1] = 2
    for wrong, sentence in (
        ({"names": ("a",)}, "2 poses for 1 names"),
        ({"intrinsics": skewed}, "without skew"),
        ({"world_from_camera": np.full((2, 4, 4), np.nan)}, "finite numbers only"),
        ({"colors": np.zeros((0, 3), np.uint8)}, "1 points for 0 colours"),
    ):
        with pytest.raises(WrongInput, match=sentence):
            io.write_colmap(tmp_path / "model", replace(model(), **wrong))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("cameras.txt", "1 OPENCV 64 48 1 1 1 1 0 0 0 0\n", "OPENCV camera; undistort"),
        ("cameras.txt", "1 PINHOLE 64 48 1 1 1 1\n2 PINHOLE 64 48 1 1 1 1\n", "2 cameras"),
        ("cameras.txt", "1 PINHOLE 64 48 1 1\n", "does not hold 6 numbers"),
        ("images.txt", "# none\n", "names no picture"),
        ("images.txt", "1 1 0 0 0 x 0 0 1 a.png\n\n", "line 1 does not hold 7 numbers"),
        ("points3D.txt", "1 2 3\n", "line 1 does not hold 6 numbers"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    io.write_colmap(tmp_path, model())
    (tmp_path / name).write_text(text)
    with pytest.raises(WrongFile, match=sentence):
        io.read_colmap(tmp_path)


def test_a_binary_model_is_not_text(tmp_path: Path) -> None:
    io.write_colmap(tmp_path, model())
    (tmp_path / "images.txt").write_bytes(b"\xff\x00\x80")
    with pytest.raises(WrongFile, match="model_converter"):
        io.read_colmap(tmp_path)
    with pytest.raises(WrongFile, match="check the path"):
        io.read_colmap(tmp_path / "nowhere")


def test_nerfstudio_has_opengl_axes(tmp_path: Path) -> None:
    io.write_transforms(tmp_path / "transforms.json", K, 64, 48, ["a.png", "b.png"], model().world_from_camera)
    found = json.loads((tmp_path / "transforms.json").read_text())
    stated = {"fl_x": 100, "fl_y": 110, "cx": 32, "cy": 24, "w": 64, "h": 48}
    assert {key: found[key] for key in stated} == stated
    assert [frame["file_path"] for frame in found["frames"]] == ["a.png", "b.png"]
    pose = np.array(found["frames"][1]["transform_matrix"])
    # A point 2 in front of the camera, 1 below its axis: (0, 1, 2) in OpenCV's axes, (0, -1, -2) in OpenGL's.
    np.testing.assert_allclose(pose @ [0, -1, -2, 1], TURNED @ [0, 1, 2, 1])
    with pytest.raises(WrongInput, match="1 pictures need as many finite poses"):
        io.write_transforms(tmp_path / "t.json", K, 64, 48, ["a.png"], model().world_from_camera)
