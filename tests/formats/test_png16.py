import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depthweave.errors import WrongFile, WrongInput
from depthweave.io import read_depth_png, read_kitti_png, read_scaled_png, write_depth_png, write_kitti_png


def png(rows: list[bytes], width: int, depth: int, colour: int) -> bytes:
    """Build a PNG file by hand (PNG specification, chapters 5 and 11)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_kitti_bytes_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "kitti.png"
    file.write_bytes(png([struct.pack(">3H", 0, 1, 256), struct.pack(">3H", 384, 25600, 65535)], 3, 16, 0))
    values, valid = read_kitti_png(file)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[0, 1 / 256, 1], [1.5, 100, 65535 / 256]])
    np.testing.assert_array_equal(valid, [[False, True, True], [True, True, True]])


def test_kitti_written_codes_as_opencv_sees_them(tmp_path: Path) -> None:
    file = tmp_path / "kitti.png"
    values = np.array([[0.0, 0.001, 1.5, 200.25], [9.0, 255.99609375, 1 + 0.6 / 256, 3.0]])
    valid = np.array([[True, True, True, True], [False, True, True, True]])
    write_kitti_png(file, values, valid)
    codes = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16
    np.testing.assert_array_equal(codes, [[1, 1, 384, 51264], [0, 65535, 257, 768]])


def test_kitti_round_trip_of_every_code(tmp_path: Path) -> None:
    values = (np.arange(65536, dtype=np.float32) / 256).reshape(256, 256)
    valid = values > 0
    write_kitti_png(tmp_path / "all.png", values, valid)
    again, again_valid = read_kitti_png(tmp_path / "all.png")
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(again_valid, valid)


@pytest.mark.parametrize(
    ("values", "valid", "sentence"),
    [
        ([[256.0]], None, r"values up to 256 do not fit 16 bits at 256 steps per unit \(largest 255\.996\)"),
        ([[-1.0]], None, "negative"),
        ([[float("nan")]], None, "NaN"),
        ([[1.0]], [[True, True]], "valid must be bool"),
    ],
)
def test_kitti_refuses(tmp_path: Path, values: list, valid: list | None, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        write_kitti_png(tmp_path / "x.png", np.array(values), None if valid is None else np.array(valid))
    assert list(tmp_path.iterdir()) == []


def test_unusable_values_may_be_anything(tmp_path: Path) -> None:
    write_kitti_png(tmp_path / "x.png", np.array([[1e9, -5.0, 2.0]]), np.array([[False, False, True]]))
    np.testing.assert_array_equal(read_kitti_png(tmp_path / "x.png")[0], [[0, 0, 2]])


@pytest.mark.parametrize(
    ("depth", "row", "largest"), [(8, bytes([0, 8, 255]), 255), (16, struct.pack(">3H", 0, 8, 4000), 4000)]
)
def test_scaled(tmp_path: Path, depth: int, row: bytes, largest: int) -> None:
    file = tmp_path / "scaled.png"
    file.write_bytes(png([row], 3, depth, 0))
    values, valid = read_scaled_png(file, 4)
    np.testing.assert_array_equal(values, [[0, 2, largest / 4]])
    np.testing.assert_array_equal(valid, [[False, True, True]])
    assert values.dtype == np.float32
    with pytest.raises(WrongInput, match="scale must be a positive number"):
        read_scaled_png(file, 0)


def test_depth_states_its_unit(tmp_path: Path) -> None:
    file = tmp_path / "depth.png"
    depth_m = np.array([[1.234, 0.0001, 65.535], [0.5, 7.0, 2.0]])
    valid = np.array([[True, True, True], [True, False, True]])
    write_depth_png(file, depth_m, valid)
    np.testing.assert_array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), [[1234, 1, 65535], [500, 0, 2000]])
    with Image.open(file) as image:
        image.load()
        assert image.info["depthweave:unit_m"] == "0.001"
    again, again_valid = read_depth_png(file)
    np.testing.assert_allclose(again, [[1.234, 0.001, 65.535], [0.5, 0, 2.0]], rtol=1e-7)
    np.testing.assert_array_equal(again_valid, valid)


def test_depth_with_another_unit(tmp_path: Path) -> None:
    file = tmp_path / "kitti_depth.png"
    write_depth_png(file, np.array([[100.5]]), unit_m=1 / 256)
    np.testing.assert_array_equal(read_depth_png(file)[0], [[100.5]])
    np.testing.assert_array_equal(read_kitti_png(file)[0], [[100.5]])
    np.testing.assert_allclose(read_depth_png(file, unit_m=0.5)[0], [[100.5 * 256 * 0.5]])


def test_depth_without_unit(tmp_path: Path) -> None:
    file = tmp_path / "bare.png"
    file.write_bytes(png([struct.pack(">H", 1500)], 1, 16, 0))
    with pytest.raises(WrongFile, match=r"bare\.png does not say its unit; give unit_m"):
        read_depth_png(file)
    np.testing.assert_array_equal(read_depth_png(file, unit_m=0.001)[0], np.array([[1.5]], np.float32))
    with pytest.raises(WrongInput, match="unit_m must be a positive number"):
        read_depth_png(file, unit_m=-1.0)


def test_depth_with_a_false_unit(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("depthweave:unit_m", "furlong")
    Image.fromarray(np.array([[5]], np.uint16)).save(tmp_path / "x.png", pnginfo=text)
    with pytest.raises(WrongFile, match="states the unit 'furlong'"):
        read_depth_png(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png([bytes([1, 2])], 2, 8, 0), "holds 8-bit grey pixels"),
        (png([bytes(6)], 2, 8, 2), "holds 8-bit colour or alpha pixels"),
        (png([bytes(12)], 2, 16, 2), "holds 16-bit colour or alpha pixels"),
        (png([bytes(range(200))] * 9, 100, 16, 0)[:-80], "is damaged or cut short"),
        (b"hello, I am a text", "is not a PNG file"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "is not a PNG file"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    for read in (read_kitti_png, read_depth_png):
        with pytest.raises(WrongFile, match=rf"bad\.png {sentence}"):
            read(file)


def test_four_bit_grey_is_not_taken_for_eight(tmp_path: Path) -> None:
    file = tmp_path / "four.png"
    file.write_bytes(png([bytes([0x12])], 2, 4, 0))
    with pytest.raises(WrongFile, match="holds 4-bit grey pixels"):
        read_scaled_png(file, 16)
