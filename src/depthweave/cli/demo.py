"""`depthweave demo`: a first result, with nothing at hand."""

from pathlib import Path

import typer

from depthweave.cli.options import Model, Output, require_output_folder


def command(model: Model = "sgm", output: Output = Path("demo")) -> None:
    """Render a small scene with exact truth, match it, score it, and say what to try next."""
    import time

    import torch

    from depthweave import images, io
    from depthweave.cli.stereo import describe, match_files
    from depthweave.cli.tables import print_table
    from depthweave.metrics import disparity_metrics
    from depthweave.pipelines.load import load
    from depthweave.types import DisparityMap
    from depthweave.worlds import render_pair, still_life

    require_output_folder(output)
    start = time.perf_counter()
    world = render_pair(still_life(), name="still-life")
    files = {name: output / f"{name}.png" for name in ("left", "right")}
    io.write_image(files["left"], images.image_from_tensor(world.pair.left))
    io.write_image(files["right"], images.image_from_tensor(world.pair.right))
    calibration, truth = output / "calib.txt", output / "truth.pfm"
    camera = world.pair.camera
    assert camera is not None
    intrinsics = camera.intrinsics.double().numpy()
    io.write_calibration(calibration, io.StereoCalibration(intrinsics, camera.baseline_m))
    world.left_disparity.save(truth)
    typer.echo(
        f"rendered {files['left']}, {files['right']}, {calibration} and {truth} in {time.perf_counter() - start:.1f} s"
    )
    result = output / "result"
    facts = match_files(load(model), files["left"], files["right"], calibration, result, grey=False, of_right=False)
    typer.echo(describe(result, facts))
    found = DisparityMap.read(result)
    masks = {
        "visible in both views": world.visible,
        "all pixels": torch.ones_like(world.visible),
    }
    names = ("epe", "bad-1.0", "bad-2.0", "d1")
    rows = []
    for label, mask in masks.items():
        measured = disparity_metrics(found.values, world.left_disparity.values, mask, names)
        rows.append([label, *(f"{measured[name].value:.2f}" for name in names)])
    print_table(
        f"{model} against the exact truth", ["pixels", "epe [px]", "bad-1.0 [%]", "bad-2.0 [%]", "D1 [%]"], rows
    )
    typer.echo(
        f"look at {result / 'preview.png'} and open {result / 'cloud.ply'} in a viewer, then try\n"
        f"  depthweave stereo {files['left']} {files['right']} -c {calibration} -m block -o {output / 'block'}\n"
        "  depthweave stereo LEFT.png RIGHT.png -o out        your own rectified pair\n"
        "  depthweave models                                  what else there is"
    )
