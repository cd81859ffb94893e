"""Accuracy of optical flow on clips of worlds that no model was trained on.

    python benchmarks/flow.py --clips 24 --size 448x320 -m runs/flow/network -m dis -m farneback -m dis:preset=ultrafast

Each clip has two frames at 10 frames per second, of a seed that no training has. Printed are means over the pairs of
the end-point error (px), of KITTI's Fl-all and of the share of errors above 1 px (percent): over all pixels with truth,
and over those that the second picture shows. Settings follow a name after a colon. Flow is measured everywhere, also
where the check both ways does not trust it, so the check is left out.
"""

import argparse
import ast
import statistics
import time
from typing import Any

import torch

import depthweave
from depthweave.metrics import flow_metrics
from depthweave.pipelines.flow import FlowMatcher
from depthweave.worlds import Match, Textures, Worlds, render_clip

METRICS = ("epe", "fl-all", "bad-1.0")
FPS = 10.0


def matcher(text: str, device: str) -> FlowMatcher:
    """The model of `name` or `name:setting=value,...`."""
    name, _, settings = text.partition(":")
    pairs = (setting.split("=", 1) for setting in settings.split(",") if setting)
    options = {key: _value(value) for key, value in pairs}
    found: FlowMatcher = depthweave.load(name, task="flow", device=device, check=False, **options)
    return found


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append", required=True, help="name, or name:setting=value")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--size", default="448x320", metavar="WIDTHxHEIGHT")
    parser.add_argument("--seed", type=int, default=7007)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    matchers = {text: matcher(text, arguments.device) for text in arguments.model}
    worlds = Worlds(seed=arguments.seed, height=height, width=width)
    textures = Textures(arguments.seed, capacity=512)
    found: dict[tuple[str, str, str], list[float]] = {}
    seconds = dict.fromkeys(matchers, 0.0)
    for index in range(arguments.clips):
        scene = worlds.scene(index, duration_s=2 / FPS)
        clip = render_clip(scene, frames=2, fps=FPS, stereo=False, textures=textures)
        first, second = clip.left.image
        truth = clip.flow_forward[0].permute(2, 0, 1)
        # What passes behind the camera has no place in the picture: its truth is 0, and out of view.
        known = (truth.abs().amax(0) > 0) & (truth.abs().amax(0) < 512)
        regions = {"all": known, "seen": known & (clip.forward_match[0] == Match.MATCHED)}
        for text, match in matchers.items():
            start = time.process_time()
            flow = match(first.clamp(0, 1), second.clamp(0, 1)).values
            seconds[text] += time.process_time() - start
            for region, mask in regions.items():
                for name, (value, count) in flow_metrics(flow, truth, mask, METRICS).items():
                    if count:
                        found.setdefault((text, region, name), []).append(value)
        print(f"{index + 1} of {arguments.clips} clips", end="\r", flush=True)
    print(f"| model | {' | '.join(f'{name}, {region}' for region in ('all', 'seen') for name in METRICS)} | CPU s |")
    print(f"|---|{'---|' * (2 * len(METRICS) + 1)}")
    for text in matchers:
        values = [statistics.fmean(found[text, region, name]) for region in ("all", "seen") for name in METRICS]
        print(f"| {text} | {' | '.join(f'{value:.2f}' for value in values)} | {seconds[text] / arguments.clips:.2f} |")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
