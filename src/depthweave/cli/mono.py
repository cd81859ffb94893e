"""`depthweave mono`: pictures, or folders of them, one at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthweave.cli.options import (
    Calibration,
    Device,
    DType,
    Json,
    Model,
    Output,
    Settings,
    Sparse,
    SparseUnit,
    parse_settings,
    require_output_folder,
)
from depthweave.cli.sparse import describe_fit
from depthweave.models.registry import DEFAULT_MONO

if TYPE_CHECKING:
    from depthweave.cli.sparse import Measured
    from depthweave.pipelines.mono import MonoEstimator


def command(
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")],
    calibration: Calibration = None,
    sparse: Sparse = None,
    sparse_unit: SparseUnit = None,
    model: Model = DEFAULT_MONO,
    output: Output = Path("out"),
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of models that draw random numbers; 0 if not given.")
    ] = None,
    device: Device = "auto",
    dtype: DType = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished pictures again.")] = False,
    as_json: Json = False,
) -> None:
    """Depth or inverse depth of single pictures; result.json says what is unknown about the numbers.

    Writes a result folder: result.json, the map as .npz and .pfm, preview.png; depth.npz and cloud.ply where the
    camera is known (-c, or found by the model). Several pictures get one result folder each; finished ones are kept.
    With --sparse the map is brought to metres and the fit stands in result.json; models that need sparse depth get it
    as their input.
    """
    import json
    from functools import partial

    from depthweave import runtime
    from depthweave.cli.results import Batch
    from depthweave.cli.sparse import measured_files
    from depthweave.pipelines.load import load

    options = {"device": device, "dtype": dtype, **parse_settings(settings)}
    if seed is not None:
        options["seed"] = seed
    estimator = load(model, task="mono", **options)
    named = name_pictures(pictures)
    measured = measured_files(sparse, sparse_unit, named)
    if not measured:
        require_no_prompt(estimator)
    require_output_folder(output)
    if len(pictures) == 1 and not pictures[0].is_dir():
        facts = estimate_file(estimator, pictures[0], calibration, output, measured=next(iter(measured.values()), None))
        typer.echo(json.dumps(facts) if as_json else describe(output, facts))
        return
    batch = Batch()
    for name, picture in runtime.progress(named.items(), label="estimating", total=len(named)):
        work = partial(estimate_file, estimator, picture, calibration, output / name, keep=not overwrite)
        batch.attempt(name, partial(work, measured=measured.get(name)))
    batch.finish(output, "pictures", as_json=as_json)


def estimate_file(
    estimator: "MonoEstimator",
    picture: Path,
    calibration: Path | None,
    folder: Path,
    *,
    measured: "Measured | None" = None,
    keep: bool = False,
) -> dict[str, Any]:
    """One picture from a file to a result folder; returns what its manifest says.

    Args:
        estimator: loaded.
        picture: file.
        calibration: file, or None.
        folder: for the result.
        measured: depth of the picture, the prompt of a model that takes one, else what its answer is fused with.
        keep: whether a finished result of the same files, model and settings is left as it is.
    """
    import time

    from depthweave import io
    from depthweave.cli.results import describe_files, heard_warnings, unchanged
    from depthweave.pipelines.mono import Prompted
    from depthweave.pipelines.sparse_depth import fuse_sparse
    from depthweave.types import Camera, read_picture

    files = {"image": picture} if calibration is None else {"image": picture, "calibration": calibration}
    same = {**estimator.facts(), "inputs": describe_files(files)}
    if measured is not None:
        same["inputs"]["sparse"] = measured.facts()
    finished = unchanged(folder, same) if keep else None
    if finished is not None:
        return finished
    start = time.perf_counter()
    image = read_picture(picture)
    height, width = image.shape[-2:]
    camera = None if calibration is None else Camera.read(calibration, width=width, height=height)
    sparse = None if measured is None else measured.read(picture, height, width)
    prompt = sparse if isinstance(estimator.estimating, Prompted) else None
    read = time.perf_counter()
    with heard_warnings() as sentences:
        result = estimator(image, camera=camera, prompt=prompt)
        timings_s = {"read": read - start, "estimate": time.perf_counter() - read}
        if sparse is not None and prompt is None:
            result = fuse_sparse(result, sparse)
            timings_s["fuse"] = time.perf_counter() - read - timings_s["estimate"]
    facts = {
        **same,
        "warnings": sentences,
        "timings_s": timings_s,
    }
    result.save(folder, facts=facts)
    return io.read_manifest(folder)


def require_no_prompt(estimator: "MonoEstimator") -> None:
    """Pass if this model estimates depth from pictures alone.

    Raises:
        WrongInput: it needs sparse depth, too.
    """
    from depthweave.errors import WrongInput
    from depthweave.pipelines.mono import Prompted

    if isinstance(estimator.estimating, Prompted):
        raise WrongInput(f"{estimator.name} needs measured depth beside every picture; give --sparse points.csv.")


def name_pictures(pictures: list[Path]) -> dict[str, Path]:
    """A name for each picture, those of folders in natural order.

    Raises:
        WrongFile: a folder without pictures.
        WrongInput: two pictures of one name, whose results would be written to one folder.
    """
    from depthweave import io
    from depthweave.errors import WrongFile, WrongInput

    named: dict[str, Path] = {}
    for place in pictures:
        found = [place]
        if place.is_dir():
            found = sorted((path for path in place.iterdir() if io.is_image(path)), key=io.natural_key)
            if not found:
                raise WrongFile(f"{place} holds no pictures; give a folder of PNG, JPEG or TIFF files.")
        for picture in found:
            if picture.stem in named:
                raise WrongInput(
                    f"{named[picture.stem]} and {picture} are both named {picture.stem}; run them with one -o each."
                )
            named[picture.stem] = picture
    return named


def describe(folder: Path, facts: dict[str, Any]) -> str:
    """A few lines about a result folder."""
    what = f"{facts['type'].replace('_', ' ')} in {facts['unit']}"
    if facts["scale"] != "metric":
        what = f"{facts['type'].replace('_', ' ')} up to {facts['scale'].removeprefix('unknown_').replace('_', ' ')}"
    lines = [
        f"{what}, {facts['width']}x{facts['height']}, {facts['model']} on {facts['device']}, "
        f"{facts['timings_s']['estimate']:.2f} s",
        *(f"  {folder / name}" for name in facts["files"].values()),
    ]
    lines += describe_fit(facts)
    if facts["scale"] != "metric":
        lines.append(
            "  for metres, take a metric model: -m depth-anything-v2-metric-indoor-small, -m zoedepth, ..., "
            "or give --sparse points.csv"
        )
    elif facts["camera"] is None:
        lines.append("  give -c K.txt for a point cloud")
    return "\n".join(lines)
