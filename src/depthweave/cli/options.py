"""Options that mean the same in every command."""

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Option("-m", "--model", help="A name that `depthweave models` lists.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder (made if missing).")]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--calibration",
        help="Middlebury calib.txt, KITTI, K.txt, OpenCV YAML/XML or ROS: gives depth in metres and a cloud.",
    ),
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


def require_output_folder(folder: Path) -> None:
    """Make the folder now, so that an output that cannot be written fails before the work and not after it."""
    from depthweave import io

    with io.atomic_path(folder / ".writable") as probe:
        probe.touch()
    (folder / ".writable").unlink()
