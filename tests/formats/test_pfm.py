import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import read_pfm, write_pfm

ROWS_TOP_FIRST = ((1.0, 2.0, 3.0), (4.0, 5.0, -6.5))


@pytest.mark.parametrize(("order", "scale"), [("<", "-1.0"), (">", "1"), ("<", "-0.003922"), (">", "2.5e0")])
def test_bytes_by_hand(tmp_path: Path, order: str, scale: str) -> None:
    file = tmp_path / "hand.pfm"
    bottom_up = [*ROWS_TOP_FIRST[1], *ROWS_TOP_FIRST[0]]
    file.write_bytes(f"Pf\n3 2\n{scale}\n".encode() + struct.pack(f"{order}6f", *bottom_up))
    values, valid = read_pfm(file)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array(ROWS_TOP_FIRST, dtype=np.float32))
    assert valid.all()


def test_written_bytes(tmp_path: Path) -> None:
    file = tmp_path / "out.pfm"
    write_pfm(file, np.array(ROWS_TOP_FIRST, dtype=np.float32), np.array([[True, False, True], [True, True, True]]))
    assert file.read_bytes() == b"Pf\n3 2\n-1.0\n" + struct.pack("<6f", 4.0, 5.0, -6.5, 1.0, float("inf"), 3.0)


def test_infinity_is_invalid_with_a_finite_filler(tmp_path: Path) -> None:
    file = tmp_path / "inf.pfm"
    file.write_bytes(b"Pf\n3 1\n-1\n" + struct.pack("<3f", float("inf"), 7.0, float("-inf")))
    values, valid = read_pfm(file)
    np.testing.assert_array_equal(valid, [[False, True, False]])
    np.testing.assert_array_equal(values, [[0.0, 7.0, 0.0]])


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, (17, 23), dtype=np.uint32).view(np.float32)
    valid = np.isfinite(bits)
    values = np.where(valid, bits, np.float32(0))
    write_pfm(tmp_path / "bits.pfm", values, valid)
    again, again_valid = read_pfm(tmp_path / "bits.pfm")
    np.testing.assert_array_equal(again.view(np.uint32), values.view(np.uint32))
    np.testing.assert_array_equal(again_valid, valid)


def test_opencv_reads_and_writes_the_same(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
    write_pfm(tmp_path / "ours.pfm", values)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "ours.pfm"), cv2.IMREAD_UNCHANGED), values)
    assert cv2.imwrite(str(tmp_path / "theirs.pfm"), values)
    np.testing.assert_array_equal(read_pfm(tmp_path / "theirs.pfm")[0], values)


def test_other_number_types_and_layouts(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    write_pfm(tmp_path / "double.pfm", values)
    np.testing.assert_array_equal(read_pfm(tmp_path / "double.pfm")[0], values)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"Pf\n2 2\n-1\n" + struct.pack("<4f", 1, float("nan"), 3, float("nan")), "NaN at 2 of 4 pixels"),
        (b"PF\n1 1\n-1\n" + bytes(12), "three-channel"),
        (b"Pf\n2 2\n-1\n" + bytes(15), "holds 15 bytes of data where 2x2 needs 16"),
        (b"Pf\n2 2\n-1\n" + bytes(17), "holds 17 bytes"),
        (b"Pf\n0 2\n-1\n", "needs 0"),
        (b"P5\n2 2\n255\n" + bytes(4), "not a PFM file"),
        (b"", "not a PFM file"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "bad.pfm"
    file.write_bytes(content)
    with pytest.raises(WrongFile, match=rf"bad\.pfm .*{sentence}"):
        read_pfm(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not exist"):
        read_pfm(tmp_path / "none.pfm")


@pytest.mark.parametrize(
    ("values", "valid", "sentence"),
    [
        (np.array([[1.0, np.nan]]), None, "1 of 2 values are NaN or infinite"),
        (np.array([[1.0, np.inf]]), np.array([[True, True]]), "1 of 2 values"),
        (np.ones((2, 3)), np.ones((3, 2), bool), "valid must be bool of shape"),
        (np.ones((2, 3, 1)), None, "shape"),
        (np.ones((0, 3)), None, "shape"),
    ],
)
def test_refused_maps(tmp_path: Path, values: np.ndarray, valid: np.ndarray | None, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        write_pfm(tmp_path / "never.pfm", values, valid)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_pfm(tmp_path / "file" / "map.pfm", np.ones((1, 1)))
