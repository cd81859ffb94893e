"""Stereo cameras that people own, as their makers describe them; a calibration of your own camera is better.

Focal lengths are nominal: from the stated one, or from the stated horizontal field of view over the picture's width,
f = 0.5 width / tan(fov / 2). Two cameras of one model differ by a few percent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class CameraPreset:
    """A maker's numbers.

    Attributes:
        summary: what it is.
        width, height: of one picture in px.
        focal_px: horizontal focal length of the rectified pictures at that size.
        baseline_m: distance of the two cameras.
        source: where the numbers stand.
    """

    summary: str
    width: int
    height: int
    focal_px: float
    baseline_m: float
    source: str


def _focal_px(width: int, fov_deg: float | int) -> float:
    return 0.5 * width / math.tan(math.radians(fov_deg) / 2)


_ZED = "Stereolabs support article 360007395634 (focal length and field of view); ZED Mini: 63 mm"
_D455 = "Intel RealSense D400 series data sheet 337029 (D455: 95 mm, depth field of view 87 x 58 degrees at 16:9)"
_OAK = "Luxonis hardware documentation, OAK-D Lite DM9095 and sensor OV7251 (73 degrees, 640x480, 75 mm)"
_BUMBLEBEE2 = "Point Grey Bumblebee2 data sheet (120 mm; 3.8 mm lens: 66 degrees, 6 mm lens: 43 degrees)"
_XB3 = "Point Grey Bumblebee XB3 data sheet (120 and 240 mm; 3.8 mm lens: 66 degrees)"

CAMERA_PRESETS: Mapping[str, CameraPreset] = MappingProxyType(
    {
        "zed-mini": CameraPreset("ZED Mini, HD720", 1280, 720, 700.0, 0.063, _ZED),
        "zed-mini-2k": CameraPreset("ZED Mini, HD2K", 2208, 1242, 1400.0, 0.063, _ZED),
        "realsense-d455": CameraPreset("RealSense D455, infrared pair", 1280, 720, _focal_px(1280, 87), 0.095, _D455),
        "oak-d-lite": CameraPreset("OAK-D Lite, grey pair", 640, 480, _focal_px(640, 73), 0.075, _OAK),
        "bumblebee2": CameraPreset("Bumblebee2, 3.8 mm lens", 1032, 776, _focal_px(1032, 66), 0.12, _BUMBLEBEE2),
        "bumblebee2-6mm": CameraPreset("Bumblebee2, 6 mm lens", 1032, 776, _focal_px(1032, 43), 0.12, _BUMBLEBEE2),
        "bumblebee-xb3": CameraPreset("Bumblebee XB3, narrow pair", 1280, 960, _focal_px(1280, 66), 0.12, _XB3),
        "bumblebee-xb3-wide": CameraPreset("Bumblebee XB3, wide pair", 1280, 960, _focal_px(1280, 66), 0.24, _XB3),
    }
)
"""Name of a preset and its numbers."""
