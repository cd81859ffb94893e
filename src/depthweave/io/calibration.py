"""Calibrations of stereo pairs as others write them, always in px and metres inside."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file

Matrix = NDArray[np.float64]

_FORMATS = (
    "Middlebury calib.txt (cam0=, cam1=, baseline=), KITTI (P2:, P3:), K.txt (nine numbers, then metres), "
    "OpenCV YAML, XML or JSON (P1 and P2, or Q), ROS camera info"
)
_LONGEST_BYTES = 1 << 20
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_UNRECTIFIED_DEG = 0.1
_SAME_FOCAL = 1e-3


@dataclass(frozen=True, eq=False)
class StereoCalibration:
    """A rectified pair of cameras.

    Depth follows as z = fx * baseline_m / (disparity_px + doffs_px).

    Attributes:
        intrinsics: (3, 3) float64 of the left camera in px, integer = pixel centre.
        baseline_m: distance of the cameras in m, or None where the file does not say.
        doffs_px: cx of the right camera minus cx of the left one, in px.
        width, height: size of the pictures in px, or None.
        max_disparity_px: bound on the disparities (Middlebury's ndisp), or None.
        source: the file's name and format.
    """

    intrinsics: Matrix
    baseline_m: float | None
    doffs_px: float = 0.0
    width: int | None = None
    height: int | None = None
    max_disparity_px: int | None = None
    source: str = ""


def read_calibration(
    path: AnyPath,
    right: AnyPath | None = None,
    *,
    cameras: tuple[str, str] | None = None,
    baseline_unit_m: float = 1.0,
) -> StereoCalibration:
    """Read the calibration of a rectified pair; the format is known by the content.

    - Middlebury: baseline in mm.
    - KITTI: P = K [I | t] in m, baseline = t_left - t_right along x.
    - K.txt: nine numbers of K row by row, then the baseline in m.
    - OpenCV: P1 and P2 with P2[0,3] = -f B; or Q with f = |Q[2,3]|, B = 1 / |Q[3,2]|, doffs = Q[3,3] / Q[3,2]; or M1,
      M2 and T of a pair that needs no rectification; or one camera matrix (no baseline).
    - ROS: projection matrices of the left and the `right` file, P_right[0,3] = -fx B; the left one has no baseline.

    Args:
        path: the file (ROS: of the left camera).
        right: the right camera's file, for ROS camera info only.
        cameras: which two of a KITTI file; None = ("P2", "P3"), the colour cameras.
        baseline_unit_m: metres per unit of an OpenCV file, which has the unit of the calibration board (0.001 for a
            board measured in mm); for OpenCV files only.

    Returns:
        The calibration; its baseline_m is None where the file gives no baseline.

    Raises:
        WrongFile: missing, damaged, of no known format, left and right swapped, or of a pair that is not rectified.
        WrongInput: an argument that the file's format has no use for, or a unit that is not positive.

    Source: development kits of Middlebury v3 and KITTI; OpenCV `stereoRectify`; ROS REP 104; FoundationStereo (K.txt).
    """
    if not (math.isfinite(baseline_unit_m) and baseline_unit_m > 0):
        raise WrongInput(f"baseline_unit_m must be a positive number of metres, not {baseline_unit_m}")
    file = require_file(path)
    text = _text(file)
    name = _format(text)
    if name is None:
        raise WrongFile(f"{file} is not a calibration that can be read; give {_FORMATS}")
    for argument, used, owner in (
        ("right", right is not None, "ROS"),
        ("cameras", cameras is not None, "KITTI"),
        ("baseline_unit_m", baseline_unit_m != 1.0, "OpenCV"),
    ):
        if used and name != owner:
            raise WrongInput(f"{argument} has a meaning for {owner} files only, {file} is {name}; leave it out")
    try:
        if name == "Middlebury":
            known = _middlebury(text)
        elif name == "KITTI":
            known = _kitti(text, cameras or ("P2", "P3"))
        elif name == "K.txt":
            known = _k_txt(text)
        elif name == "OpenCV":
            known = _opencv(text, baseline_unit_m)
        else:
            known = _ros(text, None if right is None else _text(require_file(right)))
        return _checked(known, f"{file.name} ({name})")
    except (ValueError, OverflowError) as error:
        raise WrongFile(f"{file} is not a usable {name} calibration: {error}; correct it or give {_FORMATS}") from error


def write_calibration(path: AnyPath, calibration: StereoCalibration) -> None:
    """Write K.txt (metres) or Middlebury's calib.txt (mm); `read_calibration` knows both.

    K.txt has no room for a bound on the disparities, nor for cameras whose cx differ: with either it is Middlebury's.

    Args:
        path: the file to write.
        calibration: what to write; without a baseline its line is left out.

    Raises:
        NotWritable: the file cannot be written.
    """
    left = calibration.intrinsics
    if calibration.doffs_px == 0 and calibration.max_disparity_px is None:
        lines = [" ".join(_digits(number) for number in left.ravel())]
        if calibration.baseline_m is not None:
            lines.append(_digits(calibration.baseline_m))
    else:
        right = left.copy()
        right[0, 2] += calibration.doffs_px
        entries = {
            "cam0": _middlebury_matrix(left),
            "cam1": _middlebury_matrix(right),
            "doffs": _digits(calibration.doffs_px),
            "baseline": None if calibration.baseline_m is None else _digits(calibration.baseline_m * 1000),
            "width": calibration.width,
            "height": calibration.height,
            "ndisp": calibration.max_disparity_px,
        }
        lines = [f"{key}={value}" for key, value in entries.items() if value is not None]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        data = stream.read(_LONGEST_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongFile(f"{file} is not a text file; give {_FORMATS}") from error
    if len(data) > _LONGEST_BYTES or "\0" in text:
        raise WrongFile(f"{file} is not a calibration but some other data; give {_FORMATS}")
    return text


def _format(text: str) -> str | None:
    start = text.lstrip()
    if start.startswith(("%YAML", "<?xml", "<opencv_storage", "{")) or "opencv-matrix" in text:
        return "OpenCV"
    if re.search(r"^\s*cam0\s*=", text, re.MULTILINE):
        return "Middlebury"
    if re.search(r"^P(_rect_0)?\d\s*:", text, re.MULTILINE):
        return "KITTI"
    if re.search(r"^(projection_matrix|camera_matrix|[PpKk])\s*:", text, re.MULTILINE):
        return "ROS"
    words = text.split()
    return "K.txt" if words and all(re.fullmatch(_NUMBER, word) for word in words) else None


def _middlebury(text: str) -> dict[str, Any]:
    entries = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    left = _numbers(entries["cam0"], 9).reshape(3, 3)
    doffs_px = 0.0
    if "doffs" in entries:
        doffs_px = _number(entries["doffs"])
    elif "cam1" in entries:
        doffs_px = float(_numbers(entries["cam1"], 9)[2] - left[0, 2])
    return {
        "intrinsics": left,
        "baseline_m": _number(entries["baseline"]) / 1000 if "baseline" in entries else None,
        "doffs_px": doffs_px,
        "width": entries.get("width"),
        "height": entries.get("height"),
        "max_disparity_px": entries.get("ndisp"),
    }


def _kitti(text: str, cameras: tuple[str, str]) -> dict[str, Any]:
    rows = re.findall(r"^(P|P_rect_0|S_rect_0)(\d)\s*:\s*(.*?)\s*$", text, re.MULTILINE)
    projections = {f"P{digit}": row for kind, digit, row in rows if kind != "S_rect_0"}
    sizes = {f"P{digit}": row for kind, digit, row in rows if kind == "S_rect_0"}
    first, second = cameras
    if first not in projections:
        raise ValueError(f"it has no {first}, only {', '.join(sorted(projections))} (choose with cameras)")
    left = _numbers(projections[first], 12).reshape(3, 4)
    known: dict[str, Any] = {"intrinsics": left[:, :3], "baseline_m": None}
    if second in projections:
        known |= _pair(left, _numbers(projections[second], 12).reshape(3, 4))
    if first in sizes:
        width, height = _numbers(sizes[first], 2)
        known |= {"width": width, "height": height}
    return known


def _k_txt(text: str) -> dict[str, Any]:
    numbers = _numbers(text)
    if len(numbers) not in (9, 10):
        raise ValueError(f"K.txt needs nine numbers and the baseline, it has {len(numbers)} numbers")
    return {"intrinsics": numbers[:9].reshape(3, 3), "baseline_m": numbers[9] if len(numbers) == 10 else None}


_LEFT_NAMES = ("M1", "K1", "cameraMatrix1", "camera_matrix", "cameraMatrix", "K", "M")
_RIGHT_NAMES = ("M2", "K2", "cameraMatrix2")


def _opencv(text: str, unit_m: float) -> dict[str, Any]:
    import cv2

    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    except (cv2.error, SystemError) as error:
        raise ValueError("OpenCV cannot parse it") from error

    def matrix(shape: tuple[int, int], *names: str) -> Matrix | None:
        for name in names:
            found = _opencv_numbers(storage.getNode(name))
            if found is not None:
                if found.size != shape[0] * shape[1]:
                    raise ValueError(f"{name} is not a {shape[0]}x{shape[1]} matrix")
                return found.reshape(shape)
        return None

    def size(name: str) -> float | None:
        nodes = (storage.getNode(key) for key in (f"image_{name}", name))
        return next((node.real() for node in nodes if node.isInt() or node.isReal()), None)

    p1, p2, q = matrix((3, 4), "P1"), matrix((3, 4), "P2"), matrix((4, 4), "Q")
    m1 = matrix((3, 3), *_LEFT_NAMES)
    if p1 is not None and p2 is not None:
        known: dict[str, Any] = _pair(p1, p2, any_direction=True)
    elif q is not None:
        known = _from_q(q)
    elif p1 is not None:
        known = {"intrinsics": p1[:, :3], "baseline_m": None}
    elif m1 is not None:
        m2, r, t = matrix((3, 3), *_RIGHT_NAMES), matrix((3, 3), "R"), matrix((3, 1), "T")
        if m2 is None or t is None:
            known = {"intrinsics": m1, "baseline_m": None}
        else:
            known = _from_pose(m1, m2, np.eye(3) if r is None else r, t)
    else:
        raise ValueError(f"it has none of P1, Q, {', '.join(_LEFT_NAMES)}")
    if known["baseline_m"] is not None:
        known["baseline_m"] *= unit_m
    return known | {"width": size("width"), "height": size("height")}


def _opencv_numbers(node: Any) -> Matrix | None:
    """Return the numbers of a matrix or list in an OpenCV file: None if it is absent, none if it is something else."""
    import cv2

    if node.empty():
        return None
    try:
        if node.isMap():
            return np.asarray(node.mat(), dtype=np.float64)
    except cv2.error:
        return np.empty(0)
    items = [node.at(i) for i in range(node.size())] if node.isSeq() else []
    return np.array([item.real() for item in items if item.isInt() or item.isReal()])


def _from_q(q: Matrix) -> dict[str, Any]:
    if q[2, 3] == 0 or q[3, 2] == 0 or q[0, 0] == 0 or q[1, 1] == 0:
        raise ValueError("its Q does not turn disparity into depth (Q[2,3] or Q[3,2] is zero)")
    focal = abs(q[2, 3])
    return {
        "intrinsics": np.array([[focal, 0, -q[0, 3] / q[0, 0]], [0, focal, -q[1, 3] / q[1, 1]], [0, 0, 1]]),
        "baseline_m": 1 / abs(q[3, 2]),
        "doffs_px": q[3, 3] / q[3, 2],
    }


def _from_pose(m1: Matrix, m2: Matrix, r: Matrix, t: Matrix) -> dict[str, Any]:
    angle_deg = math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(r)) - 1) / 2))))
    tilt_deg = math.degrees(math.atan2(math.hypot(t[1, 0], t[2, 0]), abs(t[0, 0])))
    if max(angle_deg, tilt_deg) > _UNRECTIFIED_DEG:
        raise ValueError("the pair is not rectified; rectify the pictures with cv2.stereoRectify and store P1 and P2")
    return _pair(np.hstack([m1, np.zeros((3, 1))]), np.hstack([m2, m2 @ t]), any_direction=True)


_ROS_MATRIX = rf"\s*:(?:\s*rows\s*:\s*\d+\s*cols\s*:\s*\d+\s*data\s*:)?\s*\[?((?:[\s,]|-\s|{_NUMBER}(?![\w:]))+)"


def _ros(text: str, right_text: str | None) -> dict[str, Any]:
    def matrix(side: str, names: str, columns: int) -> Matrix | None:
        found = re.search(rf"^({names}){_ROS_MATRIX}", side, re.MULTILINE)
        return None if found is None else _numbers(found[2], 3 * columns).reshape(3, columns)

    def size(name: str) -> str | None:
        found = re.search(rf"^(?:image_)?{name}\s*:\s*(\d+)\s*$", text, re.MULTILINE)
        return None if found is None else found[1]

    left = matrix(text, "projection_matrix|P|p", 4)
    if left is None:
        intrinsics = matrix(text, "camera_matrix|K|k", 3)
        if intrinsics is None or right_text is not None:
            raise ValueError("it has no projection_matrix of twelve numbers")
        known: dict[str, Any] = {"intrinsics": intrinsics, "baseline_m": None}
    elif right_text is None:
        if left[0, 3] < 0:
            raise ValueError("it belongs to the right camera; give the left one's file and this one as right")
        known = {"intrinsics": left[:, :3], "baseline_m": None}
    else:
        second = matrix(right_text, "projection_matrix|P|p", 4)
        if second is None:
            raise ValueError("the right camera's file has no projection_matrix of twelve numbers")
        known = _pair(left, second)
    return known | {"width": size("width"), "height": size("height")}


def _pair(left: Matrix, right: Matrix, any_direction: bool = False) -> dict[str, Any]:
    """Take baseline and doffs from two 3x4 projection matrices of rectified cameras."""
    if not (left[0, 0] > 0 and right[0, 0] > 0):
        raise ValueError("its focal lengths are not positive numbers")
    if abs(left[0, 0] - right[0, 0]) > _SAME_FOCAL * abs(left[0, 0]):
        raise ValueError("left and right have different focal lengths, so the pair is not rectified")
    baseline = float(left[0, 3] / left[0, 0] - right[0, 3] / right[0, 0])
    if baseline < 0 and not any_direction:
        raise ValueError("its right camera stands to the left of its left camera; swap the two")
    if baseline == 0:
        raise ValueError("both cameras have the same position along the rows, so there is no baseline")
    return {
        "intrinsics": left[:, :3],
        "baseline_m": abs(baseline),
        "doffs_px": float(right[0, 2] - left[0, 2]),
    }


def _checked(known: dict[str, Any], source: str) -> StereoCalibration:
    intrinsics = np.array(known["intrinsics"], dtype=np.float64)
    if not np.isfinite(intrinsics).all() or intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise ValueError("its focal lengths are not positive numbers")
    if not np.allclose(intrinsics[2], (0, 0, 1)):
        raise ValueError("the last row of its camera matrix is not 0 0 1")
    baseline_m, doffs_px = known["baseline_m"], float(known.get("doffs_px", 0.0))
    if baseline_m is not None and not (math.isfinite(baseline_m) and baseline_m > 0):
        raise ValueError(f"its baseline {baseline_m} is not a positive length")
    if not math.isfinite(doffs_px):
        raise ValueError("its doffs is not a number")
    width, height, ndisp = (known.get(key) for key in ("width", "height", "max_disparity_px"))
    return StereoCalibration(
        intrinsics=intrinsics,
        baseline_m=None if baseline_m is None else float(baseline_m),
        doffs_px=doffs_px,
        width=None if width is None else int(float(width)),
        height=None if height is None else int(float(height)),
        max_disparity_px=None if ndisp is None else int(float(ndisp)),
        source=source,
    )


def _numbers(text: str, count: int | None = None) -> Matrix:
    numbers = np.array([float(number) for number in re.findall(_NUMBER, text)])
    if count is not None and len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers stand where {count} are needed")
    return numbers


def _number(text: str) -> float:
    return float(_numbers(text, 1)[0])


def _digits(number: float) -> str:
    """Return the shortest text that reads back as the same float."""
    return repr(float(number)).removesuffix(".0")


def _middlebury_matrix(matrix: Matrix) -> str:
    return "[" + "; ".join(" ".join(_digits(number) for number in row) for row in matrix) + "]"
