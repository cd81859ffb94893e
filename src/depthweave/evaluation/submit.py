"""Predictions in the layouts that benchmark servers take."""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from depthweave import io
from depthweave.data import StereoItem
from depthweave.errors import WrongFile, WrongInput
from depthweave.evaluation.predict import Run
from depthweave.evaluation.score import prediction_path, read_prediction
from depthweave.types import DisparityMap


def submit(run: Run, output: str | Path, *, method: str, root: str | Path | None = None) -> Path:
    """Write the upload of a run: an archive in the layout of its benchmark's server.

    Middlebury v3: ``<split>/<scene>/disp0<METHOD>.pfm`` and ``time<METHOD>.txt``. KITTI 2015: ``disp_0/<frame>.png``,
    KITTI 2012: ``<frame>.png``, both 16 bit, value x 256. ETH3D: ``low_res_two_view/<scene>.pfm`` and ``.txt``.
    All predictions are dense: fillers count as measurements.

    Args:
        run: of one of these benchmarks, complete.
        output: the ``.zip`` to write.
        method: short name of the method, letters, digits, ``-`` and ``_``.
        root: where the benchmark lies, if not where `predict` found it.

    Returns:
        The archive's path.

    Raises:
        WrongInput: a benchmark without a server, or a method name that file names cannot hold.
        WrongFile: a prediction or its time is missing.
    """
    if run.benchmark not in _LAYOUTS:
        raise WrongInput(f"{run.benchmark} takes no uploads; {', '.join(_LAYOUTS)} do.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", method):
        raise WrongInput(f"the method name '{method}' becomes part of file names; use letters, digits, - and _ only.")
    items = run.items(root)
    missing = [item.key for item in items if prediction_path(run, item.key) is None]
    if missing:
        raise WrongFile(
            f"{run.folder} lacks {len(missing)} of {len(items)} predictions, e.g. {missing[0]}; finish predict first."
        )
    path = Path(output)
    with tempfile.TemporaryDirectory() as folder:
        for item in items:
            seconds = run.facts(item.key)["seconds"]
            _LAYOUTS[run.benchmark](Path(folder), item, read_prediction(run, item.key), seconds, method)
        with io.atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file():
                    with file.open("rb") as source, archive.open(file.relative_to(folder).as_posix(), "w") as target:
                        shutil.copyfileobj(source, target)
    return path


def _middlebury(folder: Path, item: StereoItem, prediction: DisparityMap, seconds: float, method: str) -> None:
    split = item.left.parent.parent.name
    if not re.fullmatch(r"(training|test)[QHF]", split):
        raise WrongInput(
            f"{item.left.parent} lies in a folder '{split}', but uploads are sorted by trainingQ, testQ and so on; "
            "put the scenes into a folder of that name and predict again."
        )
    scene = folder / split / item.left.parent.name
    scene.mkdir(parents=True)
    _write_dense_pfm(scene / f"disp0{method}.pfm", prediction)
    (scene / f"time{method}.txt").write_text(f"{seconds:.4f}\n")


def _kitti_2015(folder: Path, item: StereoItem, prediction: DisparityMap, seconds: float, method: str) -> None:
    (folder / "disp_0").mkdir(exist_ok=True)
    io.write_kitti_png(folder / "disp_0" / f"{item.left.stem}.png", prediction.values.clamp(0, 255.99).numpy())


def _kitti_2012(folder: Path, item: StereoItem, prediction: DisparityMap, seconds: float, method: str) -> None:
    io.write_kitti_png(folder / f"{item.left.stem}.png", prediction.values.clamp(0, 255.99).numpy())


def _eth3d(folder: Path, item: StereoItem, prediction: DisparityMap, seconds: float, method: str) -> None:
    scenes = folder / "low_res_two_view"
    scenes.mkdir(exist_ok=True)
    _write_dense_pfm(scenes / f"{item.left.parent.name}.pfm", prediction)
    (scenes / f"{item.left.parent.name}.txt").write_text(f"runtime {seconds:.4f}\n")


def _write_dense_pfm(path: Path, prediction: DisparityMap) -> None:
    io.write_pfm(path, prediction.values.numpy())


_LAYOUTS: dict[str, Callable[[Path, StereoItem, DisparityMap, float, str], None]] = {
    "middlebury-v3": _middlebury,
    "kitti-2015": _kitti_2015,
    "kitti-2012": _kitti_2012,
    "eth3d": _eth3d,
}
