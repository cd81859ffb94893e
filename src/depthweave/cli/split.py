"""`depthweave split`: 3-D videos that hold both views in one frame, to pairs."""

from pathlib import Path
from typing import Annotated

import typer

from depthweave.cli.options import Json, Output


def command(
    video: Annotated[Path, typer.Argument(help="A 3-D video, or a folder of such frames.")],
    output: Output = Path("pairs"),
    packing: Annotated[
        str | None, typer.Option("--packing", help="side-by-side or over-under; guessed if not given.")
    ] = None,
    half: Annotated[
        bool | None, typer.Option("--half/--full", help="Whether each view was squeezed to half; guessed if not given.")
    ] = None,
    swapped: Annotated[bool, typer.Option("--swapped", help="The right view comes first.")] = False,
    start: Annotated[int, typer.Option("--start", min=0, help="First frame.")] = 0,
    stop: Annotated[int | None, typer.Option("--stop", help="Frame to stop before.")] = None,
    step: Annotated[int, typer.Option("--step", min=1, help="Every so many frames.")] = 1,
    as_json: Json = False,
) -> None:
    """Cut every frame into its two views: left/000000.png and right/000000.png, a folder for all commands on pairs.

    Stereo pairs of films are not always rectified, and things behind the screen have a negative disparity.
    """
    import json
    from typing import Any

    from depthweave.cli.options import require_output_folder
    from depthweave.io.side_by_side import Layout, guess_layout, write_views
    from depthweave.io.video import open_frames

    require_output_folder(output)
    guessed = guess_layout(next(iter(open_frames(video, start, stop, step))))
    layout = Layout(guessed.packing if packing is None else packing, guessed.half if half is None else half, swapped)
    count = write_views(output, video, layout, start, stop, step)
    facts: dict[str, Any] = {"pairs": count, "packing": layout.packing, "half": layout.half, "swapped": layout.swapped}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    size = "half" if layout.half else "full"
    typer.echo(f"{count} pairs, cut as {layout.packing}, {size} size, {'right' if swapped else 'left'} first")
    typer.echo(f"  {output / 'left'}\n  {output / 'right'}")
