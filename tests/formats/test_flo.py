import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import read_flo, write_flo

ROWS = (((1.0, -2.0), (3.5, 4.0), (5.0, 6.0)), ((-7.25, 8.0), (9.0, 10.0), (11.0, -12.0)))
NUMBERS = [number for row in ROWS for vector in row for number in vector]


def test_bytes_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "hand.flo"
    file.write_bytes(struct.pack("<fii", 202021.25, 3, 2) + struct.pack("<12f", *NUMBERS))
    flow, valid = read_flo(file)
    assert flow.dtype == np.float32
    np.testing.assert_array_equal(flow, np.array(ROWS, dtype=np.float32))
    assert valid.shape == (2, 3)
    assert valid.all()


def test_written_bytes(tmp_path: Path) -> None:
    file = tmp_path / "out.flo"
    write_flo(file, np.array(ROWS), np.array([[True, False, True], [True, True, True]]))
    assert file.read_bytes() == b"PIEH" + struct.pack("<ii12f", 3, 2, *NUMBERS[:2], 1e10, 1e10, *NUMBERS[4:])


@pytest.mark.parametrize("unknown", [(1e10, 1e10), (0.0, -2e9), (float("nan"), 1.0), (1.0, float("inf"))])
def test_unknown_vectors_get_a_finite_filler(tmp_path: Path, unknown: tuple[float, float]) -> None:
    file = tmp_path / "unknown.flo"
    file.write_bytes(struct.pack("<fii4f", 202021.25, 2, 1, *unknown, 1e9, -3.0))
    flow, valid = read_flo(file)
    np.testing.assert_array_equal(valid, [[False, True]])
    np.testing.assert_array_equal(flow, np.array([[[0.0, 0.0], [1e9, -3.0]]], dtype=np.float32))


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, (17, 23, 2), dtype=np.uint32).view(np.float32)
    valid = (np.abs(bits) <= 1e9).all(axis=2)
    flow = np.where(valid[..., None], bits, np.float32(0))
    write_flo(tmp_path / "bits.flo", flow, valid)
    again, again_valid = read_flo(tmp_path / "bits.flo")
    np.testing.assert_array_equal(again.view(np.uint32), flow.view(np.uint32))
    np.testing.assert_array_equal(again_valid, valid)


def test_opencv_reads_and_writes_the_same(tmp_path: Path) -> None:
    flow = np.arange(24, dtype=np.float32).reshape(3, 4, 2) / 7
    write_flo(tmp_path / "ours.flo", flow)
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "ours.flo")), flow)
    assert cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), flow)
    np.testing.assert_array_equal(read_flo(tmp_path / "theirs.flo")[0], flow)


def test_other_number_types_and_layouts(tmp_path: Path) -> None:
    flow = np.asfortranarray(np.arange(12.0).reshape(2, 3, 2))
    write_flo(tmp_path / "double.flo", flow)
    np.testing.assert_array_equal(read_flo(tmp_path / "double.flo")[0], flow)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(31), "holds 31 bytes of data where 2x2 needs 32"),
        (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(33), "holds 33 bytes"),
        (b"PIEH" + struct.pack("<ii", 0, 2), "where 0x2 needs 0"),
        (b"PIEH" + struct.pack("<ii", -1, -2) + bytes(16), "where -1x-2"),
        (b"HEIP" + struct.pack(">ii", 1, 1) + bytes(8), "not a .flo file"),
        (b"PIEH", "not a .flo file"),
        (b"", "not a .flo file"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "bad.flo"
    file.write_bytes(content)
    with pytest.raises(WrongFile, match=rf"bad\.flo .*{sentence}"):
        read_flo(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not exist"):
        read_flo(tmp_path / "none.flo")


@pytest.mark.parametrize(
    ("flow", "valid", "sentence"),
    [
        (np.full((1, 2, 2), np.nan), None, "2 of 2 flow vectors are NaN"),
        (np.full((1, 2, 2), 2e9), np.array([[True, False]]), "1 of 2 flow vectors"),
        (np.ones((2, 3, 2)), np.ones((3, 2), bool), "valid must be bool of shape"),
        (np.ones((2, 3)), None, "shape"),
        (np.ones((2, 3, 3)), None, "shape"),
        (np.ones((0, 3, 2)), None, "shape"),
    ],
)
def test_refused_fields(tmp_path: Path, flow: np.ndarray, valid: np.ndarray | None, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        write_flo(tmp_path / "never.flo", flow, valid)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_flo(tmp_path / "file" / "flow.flo", np.ones((1, 1, 2)))
