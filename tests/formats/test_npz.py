import zipfile
from pathlib import Path

import numpy as np
import pytest

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import MapFile, read_npz, write_npz

VALUES = np.array([[1.5, 2.5], [3.5, 4.5]], np.float32)
VALID = np.array([[True, False], [True, True]])


@pytest.mark.parametrize("kind", ["disparity", "depth", "inverse_depth"])
def test_round_trip_of_everything(tmp_path: Path, kind: str) -> None:
    intrinsics = np.array([[500.1, 0, 320.2], [0, 500.3, 240.4], [0, 0, 1]])
    confidence = np.array([[0, 1], [0.25, 0.5]], np.float32)
    content = MapFile(kind, VALUES, VALID, confidence, intrinsics, 0.193001, 31.086, "metric")
    write_npz(tmp_path / "map.npz", content)
    again = read_npz(tmp_path / "map.npz")
    assert (again.kind, again.baseline_m, again.doffs_px, again.scale) == (kind, 0.193001, 31.086, "metric")
    np.testing.assert_array_equal(again.values, VALUES)
    np.testing.assert_array_equal(again.valid, VALID)
    np.testing.assert_array_equal(again.confidence, confidence)
    np.testing.assert_array_equal(again.intrinsics, intrinsics)


def test_keys_in_the_file_are_fixed(tmp_path: Path) -> None:
    write_npz(tmp_path / "few.npz", MapFile("depth", VALUES, VALID))
    with np.load(tmp_path / "few.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["depth", "doffs_px", "valid"]
        assert archive["depth"].dtype == np.float32
        assert archive["valid"].dtype == np.bool_
    with zipfile.ZipFile(tmp_path / "few.npz") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    again = read_npz(tmp_path / "few.npz")
    assert (again.confidence, again.intrinsics, again.baseline_m, again.scale) == (None, None, None, None)
    assert again.doffs_px == 0


def test_only_finite_fillers_are_kept(tmp_path: Path) -> None:
    values = np.array([[1.5, np.nan], [-np.inf, 7.0]], np.float32)
    write_npz(tmp_path / "map.npz", MapFile("depth", values, np.array([[True, False], [False, False]])))
    with np.load(tmp_path / "map.npz") as archive:
        np.testing.assert_array_equal(archive["depth"], [[1.5, 0], [0, 7]])
    again = read_npz(tmp_path / "map.npz")
    np.testing.assert_array_equal(again.values, [[1.5, 0], [0, 7]])
    np.testing.assert_array_equal(again.valid, [[True, False], [False, False]])


def test_any_name_is_kept(tmp_path: Path) -> None:
    write_npz(tmp_path / "map.data", MapFile("depth", VALUES, VALID))
    assert [file.name for file in tmp_path.iterdir()] == ["map.data"]


def test_file_of_another_program(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "other.npz", depth=np.array([[1.0, np.nan], [np.inf, 2.0]]), picture=np.zeros(3))
    again = read_npz(tmp_path / "other.npz")
    np.testing.assert_array_equal(again.values, [[1, 0], [0, 2]])
    np.testing.assert_array_equal(again.valid, [[True, False], [False, True]])
    assert again.values.dtype == np.float32


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"depth": VALUES, "disparity": VALUES}, "has disparity and depth"),
        ({"depths": VALUES}, "it has none"),
        ({"depth": np.array([[np.nan]]), "valid": np.array([[True]])}, "1 of 1 values are NaN"),
        ({"depth": VALUES, "valid": np.ones((3, 3), bool)}, "valid must be bool of shape"),
        ({"depth": VALUES, "valid": np.ones((2, 2))}, "valid must be bool"),
        ({"depth": VALUES, "confidence": np.ones((3, 3))}, "confidence has the shape"),
        ({"depth": VALUES, "confidence": np.full((2, 2), 2.0)}, r"confidence must lie in \[0, 1\]"),
        ({"depth": VALUES, "intrinsics": np.eye(4)}, "intrinsics must be 3x3"),
        ({"depth": VALUES, "baseline_m": np.ones(2)}, "usable depth map"),
        ({"depth": np.array([["a"]])}, "usable depth map"),
        ({"depth": np.array([[{"a": 1}]], dtype=object)}, "more than plain arrays"),
    ],
)
def test_unusable_content(tmp_path: Path, entries: dict[str, np.ndarray], sentence: str) -> None:
    np.savez(tmp_path / "bad.npz", **entries)
    with pytest.raises(WrongFile, match=rf"bad\.npz .*{sentence}"):
        read_npz(tmp_path / "bad.npz")


def test_damaged_files(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    write_npz(file, MapFile("depth", np.ones((50, 50), np.float32), np.ones((50, 50), bool)))
    whole = file.read_bytes()
    damaged = whole[:200] + b"\xff" * 200 + whole[400:]
    for content, sentence in ((whole[:1000], "cut short"), (damaged, "is damaged"), (b"text", "not an NPZ file")):
        file.write_bytes(content)
        with pytest.raises(WrongFile, match=sentence):
            read_npz(file)
    np.save(tmp_path / "one.npy", VALUES)
    with pytest.raises(WrongFile, match="not an NPZ file"):
        read_npz(tmp_path / "one.npy")


def test_refused_input(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"confidence must lie in \[0, 1\]"):
        write_npz(tmp_path / "x.npz", MapFile("depth", VALUES, VALID, np.full((2, 2), np.nan, np.float32)))
    with pytest.raises(WrongInput, match="NaN"):
        write_npz(tmp_path / "x.npz", MapFile("depth", np.full((2, 2), np.nan, np.float32), VALID))
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_npz(tmp_path / "file" / "x.npz", MapFile("depth", VALUES, VALID))
