"""Options that mean the same in every command."""

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str,
    typer.Option("-m", "--model", help="A name that `depthweave models` lists, a folder, or owner/name on the hub."),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder (made if missing).")]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--calibration",
        help="Middlebury calib.txt, KITTI, K.txt, OpenCV YAML/XML or ROS: gives depth in metres and a cloud.",
    ),
]
Sparse = Annotated[
    Path | None,
    typer.Option(
        "--sparse",
        help="Measured depth in m: points or zones as .csv or .npz, or a map as .pfm, .exr or 16-bit .png; of folders, "
        "a folder with the same names. The result is metric depth.",
    ),
]
SparseUnit = Annotated[
    float | None,
    typer.Option("--sparse-unit", help="Metres per step of depth PNGs that do not state them, e.g. 0.001."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
MaxDisparity = Annotated[
    int | None,
    typer.Option(
        "--max-disparity", help="Search disparities below this, px; default from the calibration or the width."
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A field of the model's configuration, e.g. --set cost=zncc.")
]
DType = Annotated[
    str, typer.Option("--dtype", help="Networks: auto (half precision on cuda), float32, float16 or bfloat16.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """`name=value` words as a dictionary; values are Python literals where they can be, else text."""
    parsed: dict[str, Any] = {}
    for setting in settings or []:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"'{setting}' is not of the form name=value.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parsed[name] = text
    return parsed


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of `WIDTHxHEIGHT`."""
    width, x, height = text.partition("x")
    if not x or not width.isdigit() or not height.isdigit():
        raise typer.BadParameter(f"'{text}' is not a size; write WIDTHxHEIGHT, e.g. 1024x512.")
    return int(height), int(width)


def require_output_folder(folder: Path) -> None:
    """Make the folder now, so that an output that cannot be written fails before the work and not after it."""
    from depthweave import io

    with io.atomic_path(folder / ".writable") as probe:
        probe.touch()
    (folder / ".writable").unlink()
