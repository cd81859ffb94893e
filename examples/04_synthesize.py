"""One picture and its depth to a stereo pair with truth: for training, and for red-cyan glasses.

Run `depthweave demo` first, then `python examples/04_synthesize.py demo/scene out`.
"""

import sys
from pathlib import Path

import depthweave as dw
from depthweave import images, io

scene = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/scene")
out = Path(sys.argv[2] if len(sys.argv) > 2 else "out")

# Any depth will do: dw.load("depth-anything-v2-small")(picture) gives relative inverse depth of a single picture.
# Here it is the disparity of the scene's real pair, which is in px and used as it is.
picture = scene / "left.png"
disparity = dw.load()((picture, scene / "right.png"))
made = dw.synthesize(picture, disparity)
print(f"{made.visible.float().mean():.0%} of the left picture stay visible, {made.inpainted.float().mean():.0%} of")
print("the right one are invented: inpainted says where, right_disparity.valid where there is truth")

# As inverse depth of unknown scale, it is stretched to a range of px that the seed draws, or to one that you give.
relative = disparity.to_inverse_depth()
for seed in (0, 1):
    other = dw.synthesize(picture, relative, seed=seed)
    print(f"seed {seed}: {other.disparity.values.min():.1f} to {other.disparity.values.max():.1f} px")
shallow = dw.synthesize(picture, relative, max_disparity=4, border="crop")

made.save(out / "pairs", "scene")  # a folder that `depthweave train` takes: kind = "folder", path = "out/pairs"
io.write_image(out / "anaglyph.png", images.image_from_tensor(shallow.anaglyph()))
print(f"wrote {out}/: pairs/, anaglyph.png")
