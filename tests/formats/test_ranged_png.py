from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depthweave.errors import WrongFile, WrongInput
from depthweave.io import read_ranged_png, write_image, write_ranged_png


def test_codes_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    values = np.array([[2.0, 6.0, 4.0], [1.0, 9.0, np.nan]])
    valid = np.array([[True, True, True], [True, True, False]])
    write_ranged_png(file, values, valid, low=2.0, high=6.0, text={"quantity": "depth"})
    codes = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16
    assert codes.tolist() == [[1, 65535, 32768], [1, 65535, 0]]
    with Image.open(file) as picture:
        stated = {key: value for key, value in picture.info.items() if key.startswith("depthweave:")}
    assert stated == {"depthweave:low": "2.0", "depthweave:high": "6.0", "depthweave:quantity": "depth"}
    found, known = read_ranged_png(file)
    assert (found.dtype, known.tolist()) == (np.float32, valid.tolist())
    np.testing.assert_allclose(found, [[2, 6, 4], [2, 6, 0]], rtol=1e-7)


def test_a_step_is_a_65534th_of_the_range(tmp_path: Path) -> None:
    values = np.linspace(-3, 5, 500, dtype=np.float32).reshape(20, 25)
    write_ranged_png(tmp_path / "a.png", values, low=-3.0, high=5.0)
    found, valid = read_ranged_png(tmp_path / "a.png")
    assert valid.all()
    assert np.abs(found - values).max() <= 0.5 * 8 / 65534 * 1.01


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, np.inf)):
        with pytest.raises(WrongInput, match="from a lower to a higher"):
            write_ranged_png(tmp_path / "a.png", np.ones((2, 2)), low=low, high=float(high))
    with pytest.raises(WrongInput, match="NaN"):
        write_ranged_png(tmp_path / "a.png", np.full((2, 2), np.nan), low=0.0, high=1.0)
    assert not (tmp_path / "a.png").exists()
    write_image(tmp_path / "b.png", np.ones((2, 2), np.uint16))
    with pytest.raises(WrongFile, match="does not say its range"):
        read_ranged_png(tmp_path / "b.png")
    write_image(tmp_path / "c.png", np.ones((2, 2), np.uint8))
    with pytest.raises(WrongFile, match="8-bit"):
        read_ranged_png(tmp_path / "c.png")
