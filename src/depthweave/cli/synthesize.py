"""`depthweave synthesize`: single pictures to stereo pairs with truth, a video to a stereo video."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from depthweave.cli.options import Calibration, Device, DType, Json, Settings, parse_settings

if TYPE_CHECKING:
    from depthweave.pipelines.depth_sources import DepthSource
    from depthweave.pipelines.synthetic_folder import Task

VIEWS = ("side-by-side", "anaglyph")


def command(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them; or one video.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder (made if missing).")] = Path("pairs"),
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help="Model for single pictures that finds the depth; with --right, a matcher."),
    ] = None,
    depth: Annotated[
        Path | None,
        typer.Option("--depth", help="Folder of depth files with the pictures' names, or of result folders."),
    ] = None,
    depth_kind: Annotated[
        str | None,
        typer.Option("--depth-kind", help="Of files that do not say it: disparity, inverse-depth or depth."),
    ] = None,
    right: Annotated[
        Path | None,
        typer.Option("--right", help="Folder of the right pictures of real pairs, whose disparity is matched."),
    ] = None,
    calibration: Calibration = None,
    baseline_m: Annotated[
        float | None, typer.Option("--baseline", help="Of the camera pair to imitate, m; needs metric depth.")
    ] = None,
    max_disparity: Annotated[
        float | None,
        typer.Option("--max-disparity", help="Of the nearest thing, px; if not given, drawn for every pair."),
    ] = None,
    rule: Annotated[str, typer.Option("--rule", help="Of drawing it: ours, zerostereo or mfs.")] = "ours",
    filler: Annotated[
        str, typer.Option("--filler", help="background, telea, ns, patch, random or diffusion.")
    ] = "background",
    filler_settings: Annotated[
        list[str] | None, typer.Option("--filler-set", help="A setting of the filler, e.g. --filler-set steps=20.")
    ] = None,
    edge_aware: Annotated[
        bool, typer.Option("--edge-aware/--no-edge-aware", help="Keep foreground out of what is filled.")
    ] = True,
    border: Annotated[
        str, typer.Option("--border", help="Right strip that the left picture does not show: fill, crop or mask.")
    ] = "fill",
    vary: Annotated[
        bool, typer.Option("--vary", help="Give right pictures noise, blur and colours of their own.")
    ] = False,
    confidence: Annotated[
        bool,
        typer.Option("--confidence/--no-confidence", help="Keep where the mirrored picture's depth agrees."),
    ] = True,
    per_image: Annotated[int, typer.Option("--per-image", min=1, help="Pairs of every picture.")] = 1,
    max_size: Annotated[
        int | None, typer.Option("--max-size", min=16, help="Shrink pictures whose longer side is above this, px.")
    ] = None,
    also: Annotated[
        str, typer.Option("--also", help="side-by-side, anaglyph, of a video also pairs; several with commas.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same files.")] = 0,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes; one per core if not given, 0 = no further one.")
    ] = None,
    device: Device = "auto",
    dtype: DType = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished pairs again.")] = False,
    as_json: Json = False,
) -> None:
    """Make stereo pairs of single pictures, with truth: disparity of both views, what is hidden, what is invented.

    The folder is one that `depthweave train` takes (kind "folder"). A video becomes side-by-side.mp4. Started again, it
    goes on where it was stopped.
    """
    from depthweave import runtime
    from depthweave.errors import WrongInput
    from depthweave.pipelines.synthesize import Synthesizer, make_settings
    from depthweave.pipelines.synthetic_folder import Task
    from depthweave.synthesis.fill import make_filler
    from depthweave.synthesis.pair import Border
    from depthweave.synthesis.rescale import Rule

    views = tuple(view.strip() for view in also.split(",") if view.strip())
    video = len(pictures) == 1 and is_video(pictures[0])
    allowed = (*VIEWS, "pairs") if video else VIEWS
    asked = [("--border", border, get_args(Border)), ("--rule", rule, get_args(Rule))]
    for option, value, known in [*asked, *(("--also", view, allowed) for view in views)]:
        if value not in known:
            raise typer.BadParameter(f"{option} has no '{value}'; take {', '.join(known)}.")
    if depth is not None and right is not None:
        raise typer.BadParameter("--depth and --right are two sources of depth; give one.")
    if depth_kind is not None and depth is None:
        raise typer.BadParameter("--depth-kind is about --depth; give that folder, too.")
    chosen = parse_settings(filler_settings)
    # A diffusion model is too large to stand in every process.
    heavy = filler == "diffusion" or runtime.choose_device(device).type != "cpu"
    if workers and heavy:
        raise WrongInput("workers make pairs on the CPU without a diffusion model; give --workers 0 or --device cpu.")
    if filler == "diffusion":
        chosen = {"device": device, **chosen}
    maker = Synthesizer(
        make_settings(filler=filler, edge_aware=edge_aware, border=border),
        make_filler(filler, **chosen),
        cast(Rule, rule),
        max_disparity,
        vary,
        device,
    )
    source = _source(
        model, depth, depth_kind, right, confidence, {"device": device, "dtype": dtype, **parse_settings(settings)}
    )
    task = Task(source, maker, seed, per_image, max_size, calibration, baseline_m, filler_settings or [])
    processes = (0 if heavy else runtime.available_cores()) if workers is None else workers
    if video:
        _run_video(pictures[0], task, output, views, processes, as_json=as_json)
    else:
        _run_pictures(pictures, task, output, views, processes, overwrite=overwrite, as_json=as_json)


def is_video(path: Path) -> bool:
    """Whether a path is a file that does not end like a picture."""
    from depthweave import io

    return path.is_file() and not io.is_image(path)


def _source(
    model: str | None,
    depth: Path | None,
    depth_kind: str | None,
    right: Path | None,
    confidence: bool,
    options: dict[str, Any],
) -> "DepthSource":
    from depthweave.pipelines.depth_sources import FileDepth, ModelDepth, PairDepth
    from depthweave.pipelines.load import load

    if depth is not None:
        if model is not None:
            raise typer.BadParameter("--depth brings the depth, so no model is needed; leave -m away.")
        return FileDepth(depth, depth_kind)
    if right is not None:
        return PairDepth(load(model, task="stereo", **options), right)
    return ModelDepth(load(model, task="mono", **options), confidence=confidence)


def _run_pictures(
    pictures: list[Path],
    task: "Task",
    output: Path,
    views: tuple[Any, ...],
    workers: int,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    import json

    from depthweave.cli.mono import name_pictures
    from depthweave.pipelines.synthetic_folder import synthesize_folder

    found = synthesize_folder(name_pictures(pictures), task, output, also=views, overwrite=overwrite, workers=workers)
    for name, sentence in found.failed.items():
        typer.echo(f"failed {name}: {sentence}", err=True)
    if as_json:
        facts = {"output": str(output), "done": found.done, "reused": found.reused, "failed": found.failed}
        typer.echo(json.dumps(facts))
    else:
        sentence = f"{found.done} pairs made, {found.reused} kept from before, {len(found.failed)} failed, in {output}/"
        ready = found.done + found.reused > 0
        typer.echo(
            f'{sentence}\nnext: in a training recipe, [[data.sources]] kind = "folder" path = "{output}"'
            if ready
            else sentence
        )
    if found.failed:
        raise typer.Exit(1)


def _run_video(video: Path, task: "Task", output: Path, views: tuple[Any, ...], workers: int, *, as_json: bool) -> None:
    import json

    from depthweave.pipelines.stereo_video import synthesize_video

    found = synthesize_video(video, task, output, also=views, workers=workers)
    if as_json:
        facts = {"output": str(output), "frames": found.frames, "files": found.files, "reused": found.reused}
        typer.echo(json.dumps(facts))
        return
    sentence = f"{found.frames} frames, kept from before" if found.reused else f"{found.frames} frames made"
    typer.echo("\n".join((sentence, *(f"  {output / name}" for name in found.files.values()))))
