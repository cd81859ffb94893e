"""`depthweave stereo`: one pair or two folders of pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import (
    Calibration,
    Device,
    Json,
    MaxDisparity,
    Model,
    Output,
    Settings,
    parse_settings,
    require_output_folder,
)

if TYPE_CHECKING:
    from depthweave.pipelines.stereo import StereoMatcher


def command(
    left: Annotated[Path, typer.Argument(help="Left picture, or a folder of them.")],
    right: Annotated[Path, typer.Argument(help="Right picture, or a folder with the same names.")],
    calibration: Calibration = None,
    right_calibration: Annotated[
        Path | None, typer.Option("--right-calibration", help="Second file of a ROS pair.")
    ] = None,
    model: Model = "sgm",
    output: Output = Path("out"),
    max_disparity: MaxDisparity = None,
    grey: Annotated[bool, typer.Option("--grey", help="Match both pictures as grey.")] = False,
    of_right: Annotated[bool, typer.Option("--right", help="Answer for the right picture instead.")] = False,
    device: Device = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished pairs of a folder again.")] = False,
    as_json: Json = False,
) -> None:
    """Disparity (and with a calibration depth in metres and a point cloud) of a rectified pair.

    Writes a result folder: result.json, disparity.npz and .pfm, preview.png; with -c also depth.npz and cloud.ply.
    Two folders are matched by file name, with one result folder per pair; finished pairs are kept.
    """
    import json

    from depthweave import runtime
    from depthweave.pipelines.load import load

    matcher = load(model, **{"device": device, **parse_settings(settings)})
    matcher.max_disparity = max_disparity
    how = {"grey": grey, "of_right": of_right}
    require_output_folder(output)
    if not left.is_dir():
        facts = match_files(matcher, left, right, _calibration(calibration, right_calibration, left), output, **how)
        typer.echo(json.dumps(facts) if as_json else describe(output, facts))
        return
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    pairs = pair_up(left, right)
    for name, first, second in runtime.progress(pairs, label="matching", total=len(pairs)):
        folder = output / name
        try:
            given = _calibration(calibration, right_calibration, first)
            finished = None if overwrite else unchanged(folder, matcher, _inputs(first, second, given), how)
            done[name] = finished or match_files(matcher, first, second, given, folder, **how)
        except Exception as error:  # one bad pair must not cost the others; it is reported and the exit code is 1
            failed[name] = str(error)
            typer.echo(f"failed {name}: {error}", err=True)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "done": done, "failed": failed}))
    else:
        typer.echo(f"{len(done)} of {len(pairs)} pairs done, results in {output}/")
    if failed:
        raise typer.Exit(1)


def match_files(
    matcher: "StereoMatcher", left: Path, right: Path, calibration: Any, folder: Path, *, grey: bool, of_right: bool
) -> dict[str, Any]:
    """One pair from files to a result folder; returns what its manifest says."""
    import time
    import warnings

    from depthweave import io
    from depthweave.errors import DepthweaveWarning, NeedsCalibration
    from depthweave.types import StereoPair

    start = time.perf_counter()
    pair = StereoPair.read(left, right, calibration=calibration, grey=grey)
    if pair.camera is not None and pair.camera.baseline_m is None:
        raise NeedsCalibration(
            f"{calibration} states no baseline, so it gives no metres: write the nine numbers of K and then the "
            "baseline in metres into a K.txt, or leave -c away for disparity alone."
        )
    read = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DepthweaveWarning)
        result = matcher(pair, right=of_right)
    matched = time.perf_counter()
    sentences = [str(warning.message) for warning in caught if issubclass(warning.category, DepthweaveWarning)]
    for sentence in sentences:
        typer.echo(f"warning: {sentence}", err=True)
    facts = {
        **matcher.facts(),
        "inputs": _inputs(left, right, calibration),
        "settings": {"grey": grey, "of_right": of_right},
        "view": "right" if of_right else "left",
        "warnings": sentences,
        "timings_s": {"read": read - start, "match": matched - read},
    }
    result.save(folder, facts=facts)
    return io.read_manifest(folder)


def unchanged(
    folder: Path, matcher: "StereoMatcher", inputs: dict[str, Any], how: dict[str, bool]
) -> dict[str, Any] | None:
    """The manifest of a finished result of the same files, model and settings, else None."""
    import json

    from depthweave import io
    from depthweave.errors import WrongFile

    try:
        manifest = io.read_manifest(folder)
    except WrongFile:
        return None
    same = {"inputs": inputs, "settings": how, **matcher.facts()}
    return manifest if all(manifest.get(key) == value for key, value in json.loads(json.dumps(same)).items()) else None


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
    if facts["camera"] is None:
        lines.append("  give -c calib.txt for depth in metres and a point cloud")
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


def _inputs(left: Path, right: Path, calibration: Any) -> dict[str, Any]:
    files = {"left": left, "right": right}
    if calibration is not None:
        given = calibration if isinstance(calibration, tuple) else (calibration,)
        files |= dict(zip(("calibration", "right_calibration"), given, strict=False))
    return {
        role: {"path": str(path.resolve()), "bytes": path.stat().st_size}
        for role, path in files.items()
        if path.is_file()
    }
