"""`depthweave reconstruct`: a clip to depth, poses, camera and a point cloud in one world."""

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
    parse_settings,
    require_output_folder,
)
from depthweave.models.registry import DEFAULT_POINTMAP

if TYPE_CHECKING:
    from torch import Tensor


def command(
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="A video, or a folder of pictures in natural order.")
    ],
    calibration: Calibration = None,
    model: Model = DEFAULT_POINTMAP,
    output: Output = Path("out"),
    poses: Annotated[
        Path | None,
        typer.Option("--poses", help="Known poses of all used frames (TUM: time tx ty tz qx qy qz qw), in metres."),
    ] = None,
    poses_up_to_scale: Annotated[
        bool, typer.Option("--poses-up-to-scale", help="The positions of --poses are not metres.")
    ] = False,
    start: Annotated[int, typer.Option("--start", min=0, help="First frame, from 0.")] = 0,
    stop: Annotated[int | None, typer.Option("--stop", min=1, help="Frame to stop before.")] = None,
    step: Annotated[int, typer.Option("--step", min=1, help="Take every so many frames.")] = 1,
    device: Device = "auto",
    dtype: DType = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier reconstruction there.")] = False,
    as_json: Json = False,
) -> None:
    """Depth of every frame, poses, intrinsics and one coloured point cloud of a clip, with no optimisation loop.

    Writes a result folder: result.json, frames/*.npz, trajectory_tum.txt, cloud.ply and .glb, colmap/, preview.png and
    .mp4. Started again, it goes on where it was stopped.
    """
    import json

    from depthweave.pipelines.load import load
    from depthweave.types import Clip, Scale

    reconstructor = load(model, task="pointmap", device=device, dtype=dtype, **parse_settings(settings))
    clip = Clip.read(frames, start=start, stop=stop, step=step, calibration=calibration)
    known = None if poses is None else _poses(poses)
    require_output_folder(output)
    facts = reconstructor.write(
        clip,
        output,
        known_poses=known,
        poses_scale=Scale.UNKNOWN_SCALE if poses_up_to_scale else Scale.METRIC,
        overwrite=overwrite,
    )
    for sentence in facts["warnings"]:
        typer.echo(f"warning: {sentence}", err=True)
    typer.echo(json.dumps(facts) if as_json else describe(output, facts))


def describe(folder: Path, facts: dict[str, Any]) -> str:
    """A few lines about a result folder."""
    unit = "metres" if facts["scale"] == "metric" else "one unknown unit"
    placed = len(facts["components"][0])
    seconds = sum(facts["timings_s"].values())
    focal = "" if facts["camera"] is None else f", focal length {facts['camera']['intrinsics'][0][0]:.0f} px"
    lines = [
        f"{placed} of {facts['frames']} frames placed in one world, in {unit}{focal}, {facts['points']} points, "
        f"{facts['model']} on {facts['device']}, {seconds:.1f} s",
        *(f"  {folder / name}" for name in facts["files"].values()),
    ]
    spread = facts["drift"].get("position_percent")
    if spread is not None:
        lines.append(
            f"  measurements disagree by {spread['median']:.1f} % of the step between two cameras (median), "
            f"{spread['p95']:.1f} % (95th percentile)"
        )
    if facts["scale"] != "metric":
        lines.append("  for metres, give --poses of a motion capture or odometry, or take -m mast3r (about metres)")
    return "\n".join(lines)


def _poses(file: Path) -> "Tensor":
    import torch

    from depthweave import io

    return torch.from_numpy(io.read_trajectory(file)[1])
