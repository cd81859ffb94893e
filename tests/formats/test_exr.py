from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import read_exr, write_exr


def foreign(path: Path, header: dict | None = None, **channels: np.ndarray) -> Path:
    """Write a file with OpenEXR itself."""
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION} | (header or {}), channels).write(str(path))
    return path


def test_openexr_reads_what_we_write(tmp_path: Path) -> None:
    values = np.array([[1.5, 2.5, 3.25], [4.0, 5.0, 6.0]], np.float32)
    write_exr(tmp_path / "z.exr", values, np.array([[True, False, True], [True, True, True]]))
    file = OpenEXR.File(str(tmp_path / "z.exr"), separate_channels=True)
    assert list(file.channels()) == ["Z"]
    pixels = file.channels()["Z"].pixels
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, [[1.5, np.inf, 3.25], [4, 5, 6]])
    assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, (33, 41), dtype=np.uint32).view(np.float32)
    valid = np.isfinite(bits)
    values = np.where(valid, bits, np.float32(0))
    write_exr(tmp_path / "bits.exr", values, valid, channel="disparity")
    again, again_valid = read_exr(tmp_path / "bits.exr", channel="disparity")
    np.testing.assert_array_equal(again.view(np.uint32), values.view(np.uint32))
    np.testing.assert_array_equal(again_valid, valid)


def test_half_floats_and_nan_of_others(tmp_path: Path) -> None:
    pixels = np.array([[0.5, np.nan], [-np.inf, 2.0]], np.float16)
    values, valid = read_exr(foreign(tmp_path / "half.exr", Z=pixels))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[0.5, 0], [0, 2]])
    np.testing.assert_array_equal(valid, [[True, False], [False, True]])


def test_one_channel_of_a_colour_file(tmp_path: Path) -> None:
    red, green, blue = (np.full((2, 2), number, np.float32) for number in (1, 2, 3))
    file = foreign(tmp_path / "rgb.exr", R=red, G=green, B=blue)
    np.testing.assert_array_equal(read_exr(file, channel="G")[0], green)
    with pytest.raises(WrongFile, match=r"rgb\.exr has no channel 'Z'; choose one of B, G, R"):
        read_exr(file)


def test_cropped_picture(tmp_path: Path) -> None:
    window = (np.array([0, 0], np.int32), np.array([9, 9], np.int32))
    file = foreign(tmp_path / "crop.exr", {"displayWindow": window}, Z=np.ones((4, 4), np.float32))
    with pytest.raises(WrongFile, match="cropped"):
        read_exr(file)


def test_damage_is_named_and_standard_output_stays_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.exr"
    write_exr(file, np.random.default_rng(0).random((64, 64)))
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"plain text"):
        file.write_bytes(content)
        with pytest.raises(WrongFile, match=r"bad\.exr is not an OpenEXR file or is damaged"):
            read_exr(file)
    assert capsys.readouterr().out == ""


def test_missing_file_and_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="does not exist"):
        read_exr(tmp_path / "none.exr")
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_exr(tmp_path / "file" / "map.exr", np.ones((1, 1)))


def test_refused_values(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="1 of 2 values are NaN"):
        write_exr(tmp_path / "x.exr", np.array([[np.nan, 1.0]]))
