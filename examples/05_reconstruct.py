"""A clip to depth, poses and one point cloud: what `depthweave reconstruct` does.

`python examples/05_reconstruct.py CLIP out` takes a video or a folder of pictures; without one, or with a folder of a
stereo scene, a small clip with exact truth is rendered first.
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
    pictures = [images.image_from_tensor(picture) for picture in rendered.left.image]
    given = out / "clip"
    io.write_frames(given, pictures)
    clip = dw.Clip.read(given, calibration=rendered.camera)
else:
    clip = dw.Clip.read(given)

# The whole clip in memory; dw.load("geometric").write(clip, folder) keeps only a window of frames there.
found = dw.load(task="pointmap")(clip)
placed = found.frames_of(0)
print(f"{len(placed)} of {len(found)} frames placed, {found.scale}, focal length {found.camera.focal_px:.0f} px")
print(f"{found.depth.valid.float().mean():.0%} of the pixels have depth; drift: {found.drift['position_percent']}")
way = found.world_from_camera[placed, :3, 3]
print(f"the camera went {way.diff(dim=0).norm(dim=1).sum():.2f}, in a unit that nobody knows without known poses")

found.cloud(max_points=200_000).save(out / "cloud.ply")
found.save(out / "reconstruction")
print(f"wrote {out}/: cloud.ply, reconstruction/")
