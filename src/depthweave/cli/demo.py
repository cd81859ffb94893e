"""`depthweave demo`: a first result, with nothing at hand."""

from pathlib import Path

import typer

from depthweave.cli.options import Model, Output, require_output_folder
from depthweave.models.registry import DEFAULT_STEREO


def command(model: Model = DEFAULT_STEREO, output: Output = Path("demo")) -> None:
    """Render a small scene with exact truth, match it, score it, and say what to try next."""
    import time

    import torch

    from depthweave.cli.stereo import describe, match_files
    from depthweave.cli.tables import print_table
    from depthweave.metrics import disparity_metrics
    from depthweave.pipelines.load import load
    from depthweave.types import DisparityMap
    from depthweave.worlds import render_pair, still_life
    from depthweave.worlds.files import save_pair

    require_output_folder(output)
    scene, result = output / "scene", output / "result"
    start = time.perf_counter()
    world = render_pair(still_life())
    save_pair(world, scene)
    typer.echo(f"rendered {scene}/ with exact truth in {time.perf_counter() - start:.1f} s")
    left, right, calibration = scene / "left.png", scene / "right.png", scene / "calib.txt"
    facts = match_files(load(model, task="stereo"), left, right, calibration, result, grey=False, of_right=False)
    typer.echo(describe(result, facts))
    found, truth = DisparityMap.read(result), world.left_disparity.values
    masks = {"visible in both views": world.visible, "all pixels": torch.ones_like(world.visible)}
    names = ("epe", "bad-1.0", "bad-2.0", "d1")
    rows = []
    for label, mask in masks.items():
        measured = disparity_metrics(found.values, truth, mask, names)
        rows.append([label, *(f"{measured[name].value:.2f}" for name in names)])
    header = ["pixels", "epe [px]", "bad-1.0 [%]", "bad-2.0 [%]", "d1 [%]"]
    print_table(f"{model} against the exact truth", header, rows)
    typer.echo(
        f"look at {result / 'preview.png'}, open {result / 'cloud.ply'} in a viewer, then try\n"
        f"  depthweave stereo {left} {right} -c {calibration} -m block -o {output / 'block'}\n"
        f"  depthweave predict {model} folder --root {output} -o {output / 'run'}\n"
        f"  depthweave score {output / 'run'}\n"
        "  depthweave worlds -n 20 -o worlds                  more scenes, with recipes of your own\n"
        "  depthweave stereo LEFT.png RIGHT.png -o out        your own rectified pair"
    )
