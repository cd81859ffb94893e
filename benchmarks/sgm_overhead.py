"""Time of `load("sgm")` from files to a typed map, against the bare OpenCV calls that it makes, in one run.

    python benchmarks/sgm_overhead.py middlebury-v3 --root DIR [--reader split=training]

"same calls": both pictures read with cv2, the two SGBM passes on the pictures and with the settings that the matcher
uses, one after the other, and the speckle filter; no grey or structure pictures made, no check, no filling.
"one plain pass": what a first script does: grey pictures, one 8-path SGBM pass with block 5, speckle filter. It answers
for the left view only, and not for its left border.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

import depthweave as dw
from depthweave.classical import SemiGlobalConfig, default_max_disparity, structure_channels
from depthweave.cli.options import parse_settings
from depthweave.data import StereoItem, open_benchmark

RUNS = 5


def same_calls(item: StereoItem, bound: int) -> Callable[[], object]:
    config = SemiGlobalConfig()
    pair = item.read_pair()
    views = [structure_channels(view) for view in (pair.left, pair.right)]
    count = -(-bound // 16) * 16
    area = 3 * config.block_size**2
    matcher = cv2.StereoSGBM.create(
        0, count, config.block_size, config.p1 * area, config.p2 * area, 1, config.prefilter_cap,
        config.uniqueness_percent, 0, 0, cv2.STEREO_SGBM_MODE_HH,
    )  # fmt: skip

    def padded(view: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(view, 0, 0, count, 0, cv2.BORDER_REPLICATE)

    def call() -> None:
        for path in (item.left, item.right):
            cv2.imread(str(path))
        first = matcher.compute(padded(views[0]), padded(views[1]))
        matcher.compute(padded(cv2.flip(views[1], 1)), padded(cv2.flip(views[0], 1)))
        cv2.filterSpeckles(first, -16, config.speckle_size_px, 16)

    return call


def one_plain_pass(item: StereoItem, bound: int) -> Callable[[], object]:
    count = -(-bound // 16) * 16
    matcher = cv2.StereoSGBM.create(0, count, 5, 200, 800, 1, 31, 10, 100, 2, cv2.STEREO_SGBM_MODE_HH)
    return lambda: matcher.compute(cv2.imread(str(item.left), 0), cv2.imread(str(item.right), 0))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark")
    parser.add_argument("--root", required=True)
    parser.add_argument("--reader", action="append")
    arguments = parser.parse_args()
    matcher = dw.load("sgm")
    totals = {"ours": 0.0, "same calls": 0.0, "one plain pass": 0.0}
    for item in open_benchmark(arguments.benchmark, arguments.root, **parse_settings(arguments.reader)):
        pair = item.read_pair()
        known = None if pair.camera is None else pair.camera.max_disparity_px
        bound = min(known or default_max_disparity(pair.width), pair.width)
        calls: dict[str, Callable[[], object]] = {
            "ours": lambda item=item: matcher(item.read_pair()),
            "same calls": same_calls(item, bound),
            "one plain pass": one_plain_pass(item, bound),
        }
        # Rounds alternate between the three, so that a slow moment of the machine falls on all of them.
        rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(RUNS + 1)][1:]
        medians = {name: statistics.median(each[name] for each in rounds) for name in calls}
        totals = {name: totals[name] + medians[name] for name in totals}
        print(item.key, {name: round(value, 3) for name, value in medians.items()}, flush=True)
    ratios = {name: round(totals["ours"] / totals[name], 2) for name in totals}
    print(f"total {totals}\nours / each {ratios}")
    print(f"depthweave {dw.__version__}, OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads, {platform.machine()}")


if __name__ == "__main__":
    main()
