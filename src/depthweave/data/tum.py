"""TUM RGB-D and Bonn RGB-D Dynamic: hand-held depth cameras, with text files that say when each picture was taken.

Sources: Sturm et al., A benchmark for the evaluation of RGB-D SLAM systems, IROS 2012,
https://cvg.cit.tum.de/data/datasets/rgbd-dataset (file formats, calibration); Palazzolo et al., ReFusion, IROS 2019,
https://www.ipb.uni-bonn.de/data/rgbd-dynamic-dataset/.
Depth PNGs hold m times 5000, 0 = unknown. Pictures and depth are paired by time, at most 20 ms apart, each file once,
the closest pairs first, as in the benchmark's associate.py.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from depthweave import io
from depthweave.data.clip_item import ClipItem, require_clips
from depthweave.data.item import found_in
from depthweave.errors import WrongFile

DEPTH_UNIT_M = 1 / 5000
MOST_APART_S = 0.02

BONN_SCENES = ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
"""Scenes of MonST3R's and DepthCrafter's benchmarks."""
BONN_FRAMES = (30, 140)

_BONN = (542.822841, 542.576870, 315.593520, 237.756098)
_TUM = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
_TUM_OTHERWISE = (525.0, 525.0, 319.5, 239.5)


def bonn(root: Path, choice: Literal["all", "depthcrafter", "monst3r"] = "all") -> list[ClipItem]:
    """Dynamic indoor scenes; keys such as `balloon2`. Poses are left out: the set's are those of a marker.

    Args:
        root: folder of `rgbd_bonn_<scene>/`, each with `rgb.txt`, `depth.txt`, `rgb/` and `depth/`; or one such folder.
        choice: "depthcrafter" and "monst3r" take frames 30 to 139 of the five scenes `BONN_SCENES`. The paper of
            StereoDiff takes six whole scenes and names one (balloon).

    Raises:
        WrongFile: no scenes, or no depth there.
    """
    items = (_item(folder, "rgbd_bonn_", _BONN, poses=False) for folder in _scenes(root))
    if choice != "all":
        items = (item.part(*BONN_FRAMES) for item in items if item.key in BONN_SCENES)
    return require_clips(items, root, "rgbd_bonn_balloon2/rgb.txt and depth.txt, and what they name")


def tum(root: Path) -> list[ClipItem]:
    """Hand-held indoor sequences with poses of the camera; keys such as `freiburg3_sitting_static`.

    Args:
        root: folder of `rgbd_dataset_<name>/`, each with `rgb.txt`, `depth.txt`, `groundtruth.txt`, `rgb/` and
            `depth/`; or one such folder.

    Raises:
        WrongFile: no sequences, or no depth there.
    """

    def intrinsics(folder: Path) -> tuple[float, float, float, float]:
        return next((found for name, found in _TUM.items() if name in folder.name), _TUM_OTHERWISE)

    items = (_item(folder, "rgbd_dataset_", intrinsics(folder), poses=True) for folder in _scenes(root))
    return require_clips(items, root, "rgbd_dataset_freiburg1_desk/rgb.txt and depth.txt, and what they name")


def _scenes(root: Path) -> list[Path]:
    return [path.parent for path in found_in(root, "rgb.txt") + found_in(root, "*/rgb.txt")]


def _item(folder: Path, prefix: str, intrinsics: tuple[float, float, float, float], *, poses: bool) -> ClipItem:
    times_s, frames = _listed(folder, "rgb.txt")
    depth_times_s, depths = _listed(folder, "depth.txt")
    pairs = associate(times_s, depth_times_s, MOST_APART_S)
    trajectory = folder / "groundtruth.txt"
    return ClipItem(
        folder.resolve().name.removeprefix(prefix),
        tuple(frames[i] for i, _ in pairs),
        tuple(depths[j] for _, j in pairs),
        partial(io.read_depth_png, unit_m=DEPTH_UNIT_M),
        fps=30.0,
        intrinsics_reader=partial(_matrix, intrinsics),
        poses_reader=partial(_poses, trajectory, tuple(times_s[i] for i, _ in pairs))
        if poses and trajectory.is_file()
        else None,
    )


def associate(
    first_s: NDArray[np.float64], second_s: NDArray[np.float64], most_apart_s: float
) -> list[tuple[int, int]]:
    """Pairs of moments of two lists, each at most once, the closest pairs first; in the order of the first list.

    Args:
        first_s, second_s: (n,) and (m,) seconds, rising.
        most_apart_s: pairs that are this far apart, or farther, are none.
    """
    candidates = []
    for i, time_s in enumerate(first_s):
        low, high = np.searchsorted(second_s, (time_s - most_apart_s, time_s + most_apart_s))
        candidates += [(abs(time_s - second_s[j]), i, j) for j in range(int(low), min(int(high) + 1, len(second_s)))]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for apart_s, i, j in sorted(candidates):
        if apart_s < most_apart_s and i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return sorted(pairs.items())


def _listed(folder: Path, name: str) -> tuple[NDArray[np.float64], list[Path]]:
    """Moments in s, rising, and files of a list such as `rgb.txt`."""
    file = folder / name
    rows = []
    for number, line in enumerate(io.require_file(file).read_text(encoding="utf-8").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            rows.append((float(words[0]), folder / words[1]))
        except (ValueError, IndexError) as error:
            raise WrongFile(f"{file}, line {number} is not `seconds file`; get it again.") from error
    rows.sort()
    return np.array([time_s for time_s, _ in rows], np.float64), [path for _, path in rows]


def _matrix(intrinsics: tuple[float, float, float, float]) -> NDArray[np.float64]:
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _poses(trajectory: Path, times_s: tuple[Any, ...]) -> NDArray[np.float64]:
    """The pose that is nearest in time to each moment, NaN where none is within 20 ms."""
    known_s, known = io.read_trajectory(trajectory)
    apart_s = np.abs(known_s[None] - np.array(times_s)[:, None])
    nearest = apart_s.argmin(1)
    poses: NDArray[np.float64] = known[nearest]
    poses[apart_s.min(1) > MOST_APART_S] = np.nan
    return poses
