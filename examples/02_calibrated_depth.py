"""With a calibration: metres, their uncertainty, a coloured point cloud, and files that open elsewhere.

Run `depthweave demo` first, then `python examples/02_calibrated_depth.py demo/scene out`.
"""

import sys
from pathlib import Path

import depthweave as dw
from depthweave import geometry

scene = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/scene")
out = Path(sys.argv[2] if len(sys.argv) > 2 else "out")

pair = dw.StereoPair.read(scene / "left.png", scene / "right.png", calibration=scene / "calib.txt")
disparity = dw.load()(pair)
depth = disparity.to_depth()

camera = pair.camera
error_m = geometry.depth_uncertainty(
    depth.values, focal_px=camera.focal_px, baseline_m=camera.baseline_m, disparity_error_px=0.5
)
row, column = pair.height // 2, pair.width // 2
print(f"the centre is {depth.values[row, column]:.2f} m away, +- {error_m[row, column]:.2f} m for half a pixel")

depth.save(out / "depth.exr")  # float32 metres for film tools
depth.save(out / "depth.png")  # 16 bit, millimetres
depth.to_points().save(out / "cloud.ply")
depth.to_points().save(out / "cloud.glb")
disparity.save(out / "everything")  # a result folder with its manifest
print(f"wrote {out}/: depth.exr, depth.png, cloud.ply, cloud.glb, everything/")
