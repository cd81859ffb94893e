"""The figures and the table of docs/guide/uncertainty.md: what the confidence says where pictures are bad.

    python benchmarks/guide_uncertainty.py -o docs/images/guide

One rendered scene, five times: as it is, out of focus on the right, shiny, overexposed, and with things that move
between the two exposures. Writes uncertainty_maps.png and uncertainty_curves.png, and prints a row per case.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

SIZE = (352, 264)
"""Of the pictures, width and height in px."""

CELL_WIDTH = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/guide"))
    parser.add_argument("--model", default="depthweave-s")
    arguments = parser.parse_args()

    import numpy as np
    import torch

    import depthweave
    from depthweave import io
    from depthweave.evaluation.uncertainty import judge, plot_judgements

    matcher = depthweave.load(arguments.model, task="stereo", check=False)
    judged, drawn = {}, []
    print(
        "| case | EPE [px] | bad-2.0 [%] | mean confidence | of bad pixels | AUSE of EPE [px] | of chance [%] | ECE |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (pair, truth) in cases().items():
        found = matcher(pair)
        known = truth.valid
        error = (found.values - truth.disparity).abs()
        judged[name] = judge(found, truth)["all"]
        curve = judged[name].curves["epe"]
        bad = error[known] > 2
        confidence = found.confidence[known]
        doubt = float(confidence[bad].mean()) if bool(bad.any()) else float("nan")
        numbers = [f"{float(error[known].mean()):.2f}", f"{100 * float(bad.float().mean()):.1f}"]
        numbers += [f"{float(confidence.mean()):.2f}", f"{doubt:.2f}", f"{curve.ause:.2f}"]
        numbers += [
            f"{100 * curve.share_of_random:.0f}",
            f"{judged[name].calibration.expected_calibration_error:.3f}",
        ]
        print(f"| {name} | {' | '.join(numbers)} |", flush=True)
        drawn.append(row(name, pair.left, found, error, torch.as_tensor(known)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    maps, curves = (arguments.output / f"uncertainty_{name}.png" for name in ("maps", "curves"))
    io.write_image(maps, np.concatenate(drawn, axis=0))
    shown = {name: judged[name] for name in ("as it is", "moving")}
    plot_judgements(curves, shown)
    for path in (maps, curves):
        make_small(path)


def make_small(path: Path) -> None:
    """The picture in 256 colours, as pages need it."""
    from PIL import Image

    with Image.open(path) as opened:
        few = opened.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
    few.save(path, optimize=True)


def row(name: str, left: Any, found: Any, error: Any, known: Any) -> Any:
    """Left picture, error, confidence and outliers."""
    import numpy as np
    import torch

    from depthweave import images
    from depthweave.evaluation.report import titled_cell
    from depthweave.evaluation.uncertainty import outlier_map

    height = round(CELL_WIDTH * SIZE[1] / SIZE[0])
    everywhere = torch.ones_like(found.valid)
    cells = {
        name: images.image_from_tensor(left),
        "error 0 to 5 px": images.colorize(error, known, images.ColorRange(0.0, 5.0), name="inferno"),
        "confidence 0 to 1": images.colorize(found.confidence, everywhere, images.ColorRange(0.0, 1.0), name="viridis"),
        "red: wrong, trusted": outlier_map(error, found.confidence, known),
    }
    return np.concatenate([titled_cell(cell, title, height, CELL_WIDTH) for title, cell in cells.items()], axis=1)


def cases() -> dict[str, tuple[Any, Any]]:
    """Pair and truth of the left picture by the name of the case."""
    from depthweave.worlds import still_life
    from depthweave.worlds.sensor import Sensor

    scene = still_life(width=SIZE[0], height=SIZE[1])
    moved = replace(scene, things=tuple(later(thing, number) for number, thing in enumerate(scene.things)))
    shining = replace(scene, things=tuple(shiny(thing, number) for number, thing in enumerate(scene.things)))
    glare = Sensor(exposure=20.0)
    return {
        "as it is": rendered(scene),
        "blur": rendered(replace(scene, sensors=(Sensor(), Sensor(blur_px=2.0)))),
        "shine": rendered(shining),
        "blown out": rendered(replace(scene, sensors=(glare, glare))),
        "moving": rendered(scene, right=moved),
    }


def rendered(scene: Any, right: Any = None) -> tuple[Any, Any]:
    """The pair, its right picture perhaps of another moment, and the truth of the left one."""
    from depthweave.data import StereoTruth
    from depthweave.worlds import render_pair

    found = render_pair(scene)
    pair = found.pair if right is None else replace(found.pair, right=render_pair(right).pair.right)
    truth = found.left_disparity
    return pair, StereoTruth(truth.values, truth.valid, {"all": truth.valid})


def shiny(thing: Any, number: int) -> Any:
    """Every other thing mirrors and has highlights."""
    if number % 2 == 0:
        return thing
    parts = (
        replace(part, material=replace(part.material, mirror=0.6, specular=0.8, shininess=60.0)) for part in thing.parts
    )
    return replace(thing, parts=tuple(parts))


def later(thing: Any, number: int) -> Any:
    """The thing a moment later: every other one has moved by 8 cm."""
    if number % 2 == 0:
        return thing
    x, y, z = thing.position
    return replace(thing, position=(x + 0.08, y - 0.03, z))


if __name__ == "__main__":
    main()
