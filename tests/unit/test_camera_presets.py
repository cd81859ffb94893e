"""Cameras by name: makers' numbers, expected depth errors, the command that prints them."""

import json
import math

import pytest
from typer.testing import CliRunner

from depthweave.cli.main import app
from depthweave.errors import NeedsCalibration, WrongInput
from depthweave.geometry import field_of_view, intrinsics_matrix
from depthweave.types import Camera
from depthweave.types.camera_presets import CAMERA_PRESETS

FOV_DEG = {
    "zed-mini": 85,
    "zed-mini-2k": 76,
    "realsense-d455": 87,
    "oak-d-lite": 73,
    "bumblebee2": 66,
    "bumblebee2-6mm": 43,
    "bumblebee-xb3": 66,
    "bumblebee-xb3-wide": 66,
}
"""What the makers state; Stereolabs rounds."""
BASELINE_MM = (63, 63, 95, 75, 120, 120, 120, 240)


def test_presets_have_the_fields_of_view_and_baselines_of_their_makers() -> None:
    assert list(CAMERA_PRESETS) == list(FOV_DEG)
    for (name, fov_deg), baseline_mm in zip(FOV_DEG.items(), BASELINE_MM, strict=True):
        camera = Camera.preset(name)
        assert field_of_view(camera.intrinsics, camera.width, camera.height)[0] == pytest.approx(fov_deg, abs=1)
        assert camera.baseline_m == pytest.approx(baseline_mm / 1000)
        assert camera.intrinsics[:2, 2].tolist() == [(camera.width - 1) / 2, (camera.height - 1) / 2]
        assert CAMERA_PRESETS[name].source


def test_depth_errors_by_hand() -> None:
    camera = Camera.preset("zed-mini")  # f b = 700 * 0.063 = 44.1
    assert camera.depth_error_m(2) == pytest.approx(4 / 44.1)
    assert camera.depth_error_m(2, 0.25) == pytest.approx(1 / 44.1)
    assert Camera.preset("bumblebee-xb3-wide").depth_error_m(8) == pytest.approx(
        Camera.preset("bumblebee-xb3").depth_error_m(8) / 2
    )
    with pytest.raises(NeedsCalibration, match="baseline"):
        Camera(intrinsics_matrix(10.0, 10.0, 1.0, 1.0), 4, 4).depth_error_m(1)


def test_an_unknown_camera_is_answered_with_close_ones() -> None:
    with pytest.raises(WrongInput, match="did you mean realsense-d455"):
        Camera.preset("realsense-d435")
    with pytest.raises(WrongInput, match="zed-mini"):
        Camera.preset("???")


def test_the_command_prints_numbers_and_errors() -> None:
    outcome = CliRunner().invoke(app, ["info", "--camera", "oak-d-lite", "--json"])
    facts = json.loads(outcome.output)
    focal_px = 320 / math.tan(math.radians(36.5))
    assert facts["focal length px"] == round(focal_px, 1)
    assert (
        facts["error at 2 m"] == f"{1 / (focal_px * 0.075):.3g} m for 0.25 px, {4 / (focal_px * 0.075):.3g} m for 1 px"
    )
    names = json.loads(CliRunner().invoke(app, ["info", "--camera", "list", "--json"]).output)
    assert list(names) == list(CAMERA_PRESETS)
    assert CliRunner().invoke(app, ["info", "calib.txt", "--camera", "zed-mini"]).exit_code == 2
