import struct
from pathlib import Path

import numpy as np
import pytest

from depthweave.errors import WrongFile, WrongInput
from depthweave.io import read_dpt, write_dpt


def test_bytes_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "hand.dpt"
    file.write_bytes(struct.pack("<fii6f", 202021.25, 3, 2, 1, 2, 3, 0, float("nan"), float("inf")))
    depth, valid = read_dpt(file)
    np.testing.assert_array_equal(depth, np.array([[1, 2, 3], [0, 0, 0]], np.float32))
    np.testing.assert_array_equal(valid, [[True] * 3, [False] * 3])


def test_written_bytes_and_round_trip(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(0.1, 70, (5, 7)).astype(np.float32)
    valid = depth < 60
    write_dpt(tmp_path / "a.dpt", depth, valid)
    assert (tmp_path / "a.dpt").read_bytes()[:12] == b"PIEH" + struct.pack("<ii", 7, 5)
    again, known = read_dpt(tmp_path / "a.dpt")
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(again[valid], depth[valid])


@pytest.mark.parametrize("content", [b"", b"PIEH", struct.pack("<fii", 1.0, 1, 1) + bytes(4), b"PIEH" + bytes(8)])
def test_what_is_no_dpt_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.dpt").write_bytes(content)
    with pytest.raises(WrongFile, match=r"bad\.dpt"):
        read_dpt(tmp_path / "bad.dpt")


def test_a_cut_file_says_what_is_missing(tmp_path: Path) -> None:
    write_dpt(tmp_path / "cut.dpt", np.ones((2, 3)))
    content = (tmp_path / "cut.dpt").read_bytes()
    (tmp_path / "cut.dpt").write_bytes(content[:-4])
    with pytest.raises(WrongFile, match="20 bytes of data where 3x2 needs 24"):
        read_dpt(tmp_path / "cut.dpt")
    with pytest.raises(WrongInput, match="height, width"):
        write_dpt(tmp_path / "wrong.dpt", np.ones(3))
