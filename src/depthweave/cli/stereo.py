"""`depthweave stereo`: one pair or two folders of pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import (
    Calibration,
    Device,
    DType,
    Json,
    MaxDisparity,
    Model,
    Output,
    Settings,
    Sparse,
    SparseUnit,
    parse_settings,
    parse_size,
    require_output_folder,
)
from depthweave.cli.sparse import describe_fit
from depthweave.models.registry import DEFAULT_STEREO

if TYPE_CHECKING:
    from depthweave.cli.sparse import Measured
    from depthweave.pipelines.stereo import StereoMatcher


def command(
    left: Annotated[Path, typer.Argument(help="Left picture, or a folder of them.")],
    right: Annotated[Path, typer.Argument(help="Right picture, or a folder with the same names.")],
    calibration: Calibration = None,
    right_calibration: Annotated[
        Path | None, typer.Option("--right-calibration", help="Second file of a ROS pair.")
    ] = None,
    sparse: Sparse = None,
    sparse_unit: SparseUnit = None,
    model: Model = DEFAULT_STEREO,
    output: Output = Path("out"),
    max_disparity: MaxDisparity = None,
    grey: Annotated[bool, typer.Option("--grey", help="Match both pictures as grey.")] = False,
    of_right: Annotated[bool, typer.Option("--right", help="Answer for the right picture instead.")] = False,
    scale: Annotated[float | None, typer.Option("--scale", help="Match at another size, e.g. 0.5.")] = None,
    max_size: Annotated[
        int | None, typer.Option("--max-size", help="Shrink pictures whose longer side is above this, px.")
    ] = None,
    tile: Annotated[
        str | None, typer.Option("--tile", metavar="WIDTHxHEIGHT", help="Match large pictures in windows of this size.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Networks: steps; fewer are faster and less exact.")
    ] = None,
    consistency: Annotated[
        bool, typer.Option("--consistency", help="Networks: match both ways, and keep what agrees.")
    ] = False,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Networks, folders of frames: start from the frame before.")
    ] = False,
    device: Device = "auto",
    dtype: DType = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished pairs of a folder again.")] = False,
    as_json: Json = False,
) -> None:
    """Disparity (and with a calibration depth in metres and a point cloud) of a rectified pair.

    Writes a result folder: result.json, disparity.npz and .pfm, preview.png; with -c also depth.npz and cloud.ply.
    Two folders are matched by file name, with one result folder per pair; finished pairs are kept. With --sparse (of
    the picture that is answered for) the disparity is brought to metres, calibrated or not, and the folder holds depth.
    """
    import json
    from functools import partial

    from depthweave import runtime
    from depthweave.cli.results import Batch
    from depthweave.cli.sparse import measured_files
    from depthweave.pipelines.load import load

    asked = {
        "max_disparity": max_disparity,
        "scale": scale,
        "max_size": max_size,
        "tile": None if tile is None else parse_size(tile),
        "iterations": iterations,
        "consistency": consistency or None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    matcher = load(model, task="stereo", **{"device": device, "dtype": dtype, **given, **parse_settings(settings)})
    if warm_start:
        matcher.require_previous()
        if not left.is_dir():
            raise typer.BadParameter("--warm-start needs two folders of consecutive frames.")
        if sparse is not None:
            raise typer.BadParameter("--warm-start goes on from disparity, but --sparse writes depth; leave one away.")
    pairs = pair_up(left, right) if left.is_dir() else [(left.stem, left, right)]
    measured = measured_files(sparse, sparse_unit, {name: first for name, first, _ in pairs})
    require_output_folder(output)
    match = partial(match_files, matcher, grey=grey, of_right=of_right)
    if not left.is_dir():
        found = _calibration(calibration, right_calibration, left)
        facts = match(left, right, found, output, measured=measured.get(left.stem))
        typer.echo(json.dumps(facts) if as_json else describe(output, facts))
        return

    def match_frame(name: str, first: Path, second: Path, before: Path | None) -> dict[str, Any]:
        found = _calibration(calibration, right_calibration, first)
        place, depth = output / name, measured.get(name)
        return match(first, second, found, place, previous=before, measured=depth, keep=not overwrite)

    batch = Batch()
    before: Path | None = None
    for name, first, second in runtime.progress(pairs, label="matching", total=len(pairs)):
        batch.attempt(name, partial(match_frame, name, first, second, before))
        before = output / name if warm_start and name in batch.done else None
    batch.finish(output, "pairs", as_json=as_json)


def match_files(
    matcher: "StereoMatcher",
    left: Path,
    right: Path,
    calibration: Any,
    folder: Path,
    *,
    grey: bool,
    of_right: bool,
    previous: Path | None = None,
    measured: "Measured | None" = None,
    keep: bool = False,
) -> dict[str, Any]:
    """One pair from files to a result folder; returns what its manifest says.

    Args:
        matcher: loaded.
        left, right, calibration: files; the calibration may be two, or None.
        folder: for the result.
        grey, of_right: see the options of the command.
        previous: result folder of the frame before, from which a network starts.
        measured: depth of the picture that is answered for, with which the result is fused.
        keep: whether a finished result of the same files, model and settings is left as it is.
    """
    import time

    from depthweave import io
    from depthweave.cli.results import heard_warnings, unchanged
    from depthweave.errors import NeedsCalibration
    from depthweave.pipelines.sparse_depth import fuse_sparse
    from depthweave.types import DisparityMap, StereoPair

    same = {
        **matcher.facts(),
        "inputs": _inputs(left, right, calibration, previous, measured),
        "settings": {"grey": grey, "of_right": of_right},
    }
    finished = unchanged(folder, same) if keep else None
    if finished is not None:
        return finished
    start = time.perf_counter()
    pair = StereoPair.read(left, right, calibration=calibration, grey=grey)
    if pair.camera is not None and pair.camera.baseline_m is None and measured is None:
        raise NeedsCalibration(
            f"{calibration} states no baseline, so it gives no metres: write the nine numbers of K and then the "
            "baseline in metres into a K.txt, or leave -c away for disparity alone."
        )
    sparse = None if measured is None else measured.read(right if of_right else left, pair.height, pair.width)
    read = time.perf_counter()
    with heard_warnings() as sentences:
        found = matcher(pair, right=of_right, previous=None if previous is None else DisparityMap.read(previous))
        timings_s = {"read": read - start, "match": time.perf_counter() - read}
        result = found if sparse is None else fuse_sparse(found, sparse)
        if sparse is not None:
            timings_s["fuse"] = time.perf_counter() - read - timings_s["match"]
    facts = {
        **same,
        "view": "right" if of_right else "left",
        "warnings": sentences,
        "timings_s": timings_s,
    }
    result.save(folder, facts=facts)
    return io.read_manifest(folder)


def pair_up(left: Path, right: Path) -> list[tuple[str, Path, Path]]:
    """Pictures of two folders with the same names (suffixes may differ), in natural order.

    Raises:
        WrongFile: no folder on the right side, no pictures, or a left picture without a partner.
    """
    from depthweave import io
    from depthweave.errors import WrongFile

    io.require_folder(right)
    partners = {path.stem: path for path in right.iterdir() if io.is_image(path)}
    lefts = sorted((path for path in left.iterdir() if io.is_image(path)), key=io.natural_key)
    if not lefts:
        raise WrongFile(f"{left} holds no pictures; give the folder of the left ones.")
    lonely = [path.name for path in lefts if path.stem not in partners]
    if lonely:
        raise WrongFile(
            f"{right} has no partner for {', '.join(lonely[:3])} of {left}; both folders need the same file names."
        )
    return [(path.stem, path, partners[path.stem]) for path in lefts]


def describe(folder: Path, facts: dict[str, Any]) -> str:
    """A few lines about a result folder."""
    lines = [
        f"{facts['type']} in {facts['unit']}, {facts['width']}x{facts['height']}, {facts['valid_share']:.0%} measured, "
        f"{facts['model']} on {facts['device']}, {facts['timings_s']['match']:.2f} s",
        *(f"  {folder / name}" for name in facts["files"].values()),
    ]
    lines += describe_fit(facts)
    if facts["camera"] is None:
        metres = "" if facts["type"] == "depth" else "depth in metres and "
        lines.append(f"  give -c calib.txt for {metres}a point cloud")
    return "\n".join(lines)


def _calibration(calibration: Path | None, right: Path | None, picture: Path) -> Any:
    """The file for all pairs, or of a folder the file with the picture's stem."""
    from depthweave.errors import WrongFile

    if calibration is None or not calibration.is_dir():
        return (calibration, right) if calibration is not None and right is not None else calibration
    found = sorted(calibration.glob(f"{picture.stem}.*"))
    if not found:
        raise WrongFile(
            f"{calibration} has no calibration named {picture.stem}.*; give one file for all pairs instead."
        )
    return found[0]


def _inputs(
    left: Path, right: Path, calibration: Any, previous: Path | None, measured: "Measured | None"
) -> dict[str, Any]:
    import hashlib

    from depthweave.cli.results import describe_files

    files = {"left": left, "right": right}
    if calibration is not None:
        given = calibration if isinstance(calibration, tuple) else (calibration,)
        files |= dict(zip(("calibration", "right_calibration"), given, strict=False))
    described = describe_files(files)
    if previous is not None:
        # Maps of one size have files of one size, so that only their content tells two of them apart.
        data = previous / "disparity.npz"
        described["previous"] = {"path": str(data.resolve()), "sha256": hashlib.sha256(data.read_bytes()).hexdigest()}
    if measured is not None:
        described["sparse"] = measured.facts()
    return described
