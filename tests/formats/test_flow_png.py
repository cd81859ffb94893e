"""KITTI's flow PNG and the NPZ of flow: bits by hand, the way there and back, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from depthweave.errors import WrongFile, WrongInput
from depthweave.io import read_flow_png, write_flow_png, write_image
from depthweave.io.flow_npz import FlowFile, read_flow_npz, write_flow_npz


def test_bits_are_those_of_the_development_kit(tmp_path: Path) -> None:
    flow = np.array([[[0.0, 0.0], [1.0, -2.0], [511.984375, -512.0]]])
    write_flow_png(tmp_path / "flow.png", flow, np.array([[True, True, True]]))
    codes = cv2.imread(str(tmp_path / "flow.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert codes.dtype == np.uint16
    assert codes.tolist() == [[[32768, 32768, 1], [32832, 32640, 1], [65535, 0, 1]]]


def test_a_file_of_the_kit_is_read(tmp_path: Path) -> None:
    codes = np.array([[[32768 + 64 * 3, 32768 - 32, 1], [40000, 40000, 0]]], np.uint16)
    cv2.imwrite(str(tmp_path / "kitti.png"), codes[..., ::-1])
    flow, valid = read_flow_png(tmp_path / "kitti.png")
    assert flow.tolist() == [[[3.0, -0.5], [0.0, 0.0]]]
    assert valid.tolist() == [[True, False]]


def test_the_way_there_and_back_loses_half_a_step_at_most(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flow = rng.uniform(-500, 500, (13, 17, 2)).astype(np.float32)
    valid = rng.random((13, 17)) < 0.7
    flow[~valid] = np.nan
    write_flow_png(tmp_path / "flow.png", flow, valid)
    found, known = read_flow_png(tmp_path / "flow.png")
    assert (known == valid).all()
    assert np.abs(found - flow)[valid].max() <= 0.5 / 64 + 1e-6
    assert (found[~valid] == 0).all()


@pytest.mark.parametrize("value", [512.0, -512.1, np.nan, np.inf])
def test_motion_that_does_not_fit_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(WrongInput, match="1 of 2 flow vectors"):
        write_flow_png(tmp_path / "flow.png", np.array([[[0.0, 0.0], [0.0, value]]]))
    assert not (tmp_path / "flow.png").exists()


def test_other_shapes_and_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"\(height, width, 2\)"):
        write_flow_png(tmp_path / "flow.png", np.zeros((3, 4)))
    with pytest.raises(WrongInput, match="valid must be bool"):
        write_flow_png(tmp_path / "flow.png", np.zeros((3, 4, 2)), np.ones((4, 3), bool))
    write_image(tmp_path / "preview.png", np.zeros((3, 4, 3), np.uint8))
    write_image(tmp_path / "grey.png", np.zeros((3, 4), np.uint16))
    for name in ("preview.png", "grey.png"):
        with pytest.raises(WrongFile, match="not a 16-bit colour PNG"):
            read_flow_png(tmp_path / name)
    with pytest.raises(WrongFile):
        read_flow_png(tmp_path / "missing.png")


def test_npz_keeps_every_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    flow = rng.normal(size=(5, 6, 2)).astype(np.float32)
    valid, confidence = rng.random((5, 6)) < 0.5, rng.random((5, 6)).astype(np.float32)
    write_flow_npz(tmp_path / "flow.npz", FlowFile(flow, valid, confidence, (7, 9)))
    found = read_flow_npz(tmp_path / "flow.npz")
    assert (found.flow == flow).all()
    assert (found.valid == valid).all()
    assert found.target_size == (7, 9)
    assert found.confidence is not None
    assert (found.confidence == confidence).all()


def test_npz_of_others_needs_flow_only(tmp_path: Path) -> None:
    flow = np.array([[[1.0, 2.0], [np.nan, 0.0]]])
    np.savez(tmp_path / "flow.npz", flow=flow)
    found = read_flow_npz(tmp_path / "flow.npz")
    assert found.valid.tolist() == [[True, False]]
    assert found.flow.tolist() == [[[1.0, 2.0], [0.0, 0.0]]]
    assert found.target_size == (1, 2)
    assert found.confidence is None


def test_npz_that_is_not_usable_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "flow.npz"
    np.savez(file, depth=np.zeros((2, 2)))
    with pytest.raises(WrongFile, match="holds no flow"):
        read_flow_npz(file)
    np.savez(file, flow=np.full((2, 2, 2), np.inf), valid=np.ones((2, 2), bool))
    with pytest.raises(WrongFile, match="NaN or infinite"):
        read_flow_npz(file)
    np.savez(file, flow=np.zeros((2, 2, 3)))
    with pytest.raises(WrongFile, match=r"\(height, width, 2\)"):
        read_flow_npz(file)
    file.write_bytes(b"PK")
    with pytest.raises(WrongFile, match="not an NPZ file"):
        read_flow_npz(file)
    wrong = FlowFile(np.zeros((2, 2, 2), np.float32), np.ones((2, 2), bool), np.full((2, 2), 2, np.float32), (2, 2))
    with pytest.raises(WrongInput, match="confidence"):
        write_flow_npz(file, wrong)
