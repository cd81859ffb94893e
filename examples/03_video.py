"""A clip to depth that does not flicker: what `depthweave video` does.

`python examples/03_video.py CLIP out` takes a video or a folder of pictures; without one, or with a folder of a stereo
scene, a small clip with exact truth is rendered first.
"""

import sys
from dataclasses import replace
from pathlib import Path

import depthweave as dw
from depthweave import images, io
from depthweave.worlds import render_clip, still_life
from depthweave.worlds.motion import HandHeld

given = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/scene")
out = Path(sys.argv[2] if len(sys.argv) > 2 else "out")

if (given / "left.png").is_file() or not given.exists():
    # The camera slides past a still life, 0.2 m in a second.
    scene = still_life(width=160, height=120)
    path = HandHeld(scene.path.position, scene.path.rotation, velocity_m_s=(0.2, 0.0, 0.0))
    rendered = render_clip(replace(scene, path=path), frames=8, fps=8, stereo=False)
    given = out / "clip"
    io.write_frames(given, [images.image_from_tensor(picture) for picture in rendered.left.image])
    clip = dw.Clip.read(given, calibration=rendered.camera)
else:
    clip = dw.Clip.read(given)

# Clips of any length: a window of frames in memory. dw.load(task="video")(clip) keeps all of it there.
facts = dw.load("stereodiff-offline").write(clip, out / "depth", formats=("exr", "side-by-side"))
print(" + ".join(stage["model"] for stage in facts["stages"]), facts["scale"], facts["valid_share"])

found = dw.DepthVideo.read(out / "depth")
print(f"{found.quantity} of {len(found)} frames, {found.values.shape[2]}x{found.values.shape[1]}")
middle = found[len(found) // 2].values
print(f"the middle frame reaches from {middle.min():.2f} to {middle.max():.2f}, in a unit that nobody knows")
print(f"wrote {out}/depth: frames/, exr/, preview.mp4, side-by-side.mp4")
