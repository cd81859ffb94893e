import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import gltf_from_opencv, read_glb, read_ply, write_glb, write_ply

POINTS = np.array([[0.1, 0.2, 1.5], [-1, 2, 3], [1e-3, -4.25, 100]], np.float32)
COLORS = np.array([[255, 0, 0], [0, 128, 1], [7, 8, 9]], np.uint8)


def test_axes() -> None:
    np.testing.assert_array_equal(gltf_from_opencv(np.array([[1.0, 2.0, 3.0]])), [[1, -2, -3]])
    np.testing.assert_array_equal(gltf_from_opencv(gltf_from_opencv(POINTS)), POINTS)


@pytest.mark.parametrize(("write", "read", "name"), [(write_ply, read_ply, "c.ply"), (write_glb, read_glb, "c.glb")])
@pytest.mark.parametrize("colors", [COLORS, None])
def test_round_trip(tmp_path: Path, write, read, name: str, colors: np.ndarray | None) -> None:
    write(tmp_path / name, POINTS, colors)
    points, again = read(tmp_path / name)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, POINTS)
    if colors is None:
        assert again is None
    else:
        assert again.dtype == np.uint8
        np.testing.assert_array_equal(again, colors)


def test_repeated_points_stay(tmp_path: Path) -> None:
    points = np.repeat(POINTS[:1], 5, axis=0)
    for write, read, name in ((write_ply, read_ply, "c.ply"), (write_glb, read_glb, "c.glb")):
        write(tmp_path / name, points)
        np.testing.assert_array_equal(read(tmp_path / name)[0], points)


def test_ply_header_and_first_point(tmp_path: Path) -> None:
    write_ply(tmp_path / "c.ply", POINTS, COLORS)
    header, body = (tmp_path / "c.ply").read_bytes().split(b"end_header\n")
    lines = [line for line in header.decode().splitlines() if not line.startswith("comment")]
    assert lines[:6] == [
        "ply",
        "format binary_little_endian 1.0",
        "element vertex 3",
        "property float x",
        "property float y",
        "property float z",
    ]
    assert lines[6:9] == ["property uchar red", "property uchar green", "property uchar blue"]
    assert body[:15] == struct.pack("<3f3B", *POINTS[0], *COLORS[0])


def test_ply_by_hand(tmp_path: Path) -> None:
    header = b"ply\nformat binary_little_endian 1.0\nelement vertex 2\n"
    header += b"".join(b"property float %c\n" % axis for axis in b"xyz")
    header += b"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    body = struct.pack("<3f3B", 1, 2, 3, 10, 20, 30) + struct.pack("<3f3B", -1, -2, -3, 40, 50, 60)
    (tmp_path / "hand.ply").write_bytes(header + body)
    points, colors = read_ply(tmp_path / "hand.ply")
    np.testing.assert_array_equal(points, [[1, 2, 3], [-1, -2, -3]])
    np.testing.assert_array_equal(colors, [[10, 20, 30], [40, 50, 60]])


def test_trimesh_opens_both(tmp_path: Path) -> None:
    write_ply(tmp_path / "c.ply", POINTS, COLORS)
    np.testing.assert_array_equal(trimesh.load(tmp_path / "c.ply", process=False).vertices, POINTS)
    write_glb(tmp_path / "c.glb", POINTS, COLORS)
    (cloud,) = trimesh.load(tmp_path / "c.glb", process=False).geometry.values()
    np.testing.assert_array_equal(cloud.vertices, POINTS * [1, -1, -1])
    np.testing.assert_array_equal(cloud.colors[:, :3], COLORS)


def test_vertices_of_a_mesh(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.export(tmp_path / "box.ply")
    points, colors = read_ply(tmp_path / "box.ply")
    assert points.shape == (8, 3)
    assert colors is None


@pytest.mark.parametrize(("write", "read", "suffix"), [(write_ply, read_ply, "ply"), (write_glb, read_glb, "glb")])
def test_damaged_files(tmp_path: Path, write, read, suffix: str) -> None:
    file = tmp_path / f"bad.{suffix}"
    write(file, POINTS, COLORS)
    whole = file.read_bytes()
    for content in (whole[:-20], b"hello", b""):
        file.write_bytes(content)
        with pytest.raises(WrongFile, match=rf"bad\.{suffix} is not a {suffix.upper()} file or is damaged"):
            read(file)
    with pytest.raises(WrongFile, match="does not exist"):
        read(tmp_path / "none")


@pytest.mark.parametrize("write", [write_ply, write_glb])
def test_refused_clouds(tmp_path: Path, write) -> None:
    target = tmp_path / "x"
    with pytest.raises(WrongInput, match="at least one point"):
        write(target, POINTS[:0])
    with pytest.raises(WrongInput, match=r"shape \(N, 3\)"):
        write(target, POINTS[:, :2])
    with pytest.raises(WrongInput, match="1 of 3 points are NaN"):
        write(target, np.where(POINTS == 100, np.float32(np.nan), POINTS))
    with pytest.raises(WrongInput, match="colors must be uint8"):
        write(target, POINTS, COLORS.astype(np.float32))
    with pytest.raises(WrongInput, match="colors must be uint8"):
        write(target, POINTS, COLORS[:2])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write(tmp_path / "file" / "x", POINTS)
