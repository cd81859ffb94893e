"""A stereo pair to a disparity map: one call, any matcher.

Run `depthweave demo` first, then `python examples/01_stereo_pair.py demo/scene`.
"""

import sys
from pathlib import Path

import depthweave as dw

scene = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/scene")
pair = dw.StereoPair.read(scene / "left.png", scene / "right.png")

for name in ("sgm", "block"):
    disparity = dw.load(name)(pair)
    near, far = disparity.values[disparity.valid].max(), disparity.values[disparity.valid].min()
    print(f"{name}: {far:.1f} to {near:.1f} px, {disparity.valid.float().mean():.0%} measured, {disparity.camera=}")

# Without a calibration there are no metres, and nobody invents them:
try:
    disparity.to_depth()
except dw.NeedsCalibration as error:
    print(error)
