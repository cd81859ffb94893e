"""`depthweave worlds`: rendered pairs or clips with exact truth, as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthweave.cli.options import Json, Output, parse_size

if TYPE_CHECKING:
    from depthweave.worlds.files import Written


def command(
    output: Output = Path("worlds"),
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many pairs or clips.")] = 100,
    clips: Annotated[bool, typer.Option("--clips", help="Clips of a moving stereo camera instead of pairs.")] = False,
    size: Annotated[str, typer.Option("--size", metavar="WIDTHxHEIGHT", help="Of the pictures.")] = "768x384",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same files.")] = 0,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="TOML file of what to change; --print-recipe shows all there is.")
    ] = None,
    photos: Annotated[Path | None, typer.Option("--photos", help="Folder of photographs to make textures of.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=2, help="Of a clip; 16 if not given.")] = None,
    fps: Annotated[float | None, typer.Option("--fps", min=0.1, help="Of a clip; 10 if not given.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes; one per core if not given, 0 = no further one.")
    ] = None,
    extras: Annotated[
        bool, typer.Option("--extras", help="Depth and things of pairs, normals, the right truth of clips, too.")
    ] = False,
    sheet: Annotated[bool, typer.Option("--sheet/--no-sheet", help="Write sheet.png of the first 48.")] = True,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print the recipe with its explanations, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Render stereo pairs or clips with exact truth into a folder. Started again, it goes on where it was stopped.

    A pair is a folder with left.png, right.png, calib.txt, the disparity of both pictures (.pfm) and masks of what both
    cameras see. A clip holds such files per frame, depth with poses, optical flow both ways, things and what moves.
    """
    import json

    from depthweave import runtime
    from depthweave.worlds.dataset import Worlds
    from depthweave.worlds.files import write_sheet, write_worlds
    from depthweave.worlds.recipe import Recipe

    chosen = Recipe() if recipe is None else Recipe.read(recipe)
    if print_recipe:
        typer.echo(chosen.to_toml(), nl=False)
        return
    if not clips and (frames is not None or fps is not None):
        raise typer.BadParameter("--frames and --fps are of clips; add --clips.")
    height, width = parse_size(size)
    written = write_worlds(
        Worlds(chosen, seed=seed, height=height, width=width, photos=photos),
        output,
        number,
        frames=(frames or 16) if clips else None,
        fps=fps or 10.0,
        extras=extras,
        workers=runtime.available_cores() if workers is None else workers,
    )
    for name, sentence in written.failed.items():
        typer.echo(f"failed {name}: {sentence}", err=True)
    picture = write_sheet(output, written.names) if sheet and written.names else None
    if as_json:
        facts = {
            "output": str(output),
            "done": written.done,
            "reused": written.reused,
            "failed": written.failed,
            "sheet": None if picture is None else str(picture),
        }
        typer.echo(json.dumps(facts))
    else:
        typer.echo(describe(output, written, picture, clips=clips))
    if written.failed:
        raise typer.Exit(1)


def describe(output: Path, written: "Written", sheet: Path | None, *, clips: bool) -> str:
    """What was written, and what to do with it."""
    what = "clips" if clips else "pairs"
    sentence = (
        f"{written.done} {what} rendered, {written.reused} kept from before, {len(written.failed)} failed, in {output}/"
    )
    if sheet is not None:
        sentence += f"; look at {sheet}"
    if not written.names:
        return sentence
    root = output / written.names[0] if clips else output
    return f"{sentence}\nnext: depthweave predict sgm folder --root {root} -o {output.name}-run"
