"""What rendering gives: pictures with their truth."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Float64, Int32, UInt8
from torch import Tensor

from depthweave.types import Camera, DepthMap, DisparityMap, Scale, StereoPair


class Match(IntEnum):
    """What became of a pixel in another picture."""

    MATCHED = 0
    OCCLUDED = 1
    OUT_OF_VIEW = 2


@dataclass(frozen=True, eq=False)
class View:
    """One picture and its truth, with any leading dimensions.

    Attributes:
        image: in [0, 1].
        depth: z in m, inf for the sky.
        disparity: px towards the other picture of the pair, 0 for the sky; zero everywhere without a baseline.
        normals: unit, in camera axes, towards the camera; 0 for the sky.
        things: places in `Scene.things`, -1 for the sky.
        match: codes of `Match` of the pixel in the other picture of the pair.
    """

    image: Float[Tensor, "*b 3 h w"]
    depth: Float[Tensor, "*b h w"]
    disparity: Float[Tensor, "*b h w"]
    normals: Float[Tensor, "*b 3 h w"]
    things: Int32[Tensor, "*b h w"]
    match: UInt8[Tensor, "*b h w"]

    def __getitem__(self, index: int | slice) -> "View":
        return View(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def stack(cls, views: Sequence["View"]) -> "View":
        """Views of one size with a new leading dimension."""
        if len(views) == 1:
            return cls(*(getattr(views[0], field.name)[None] for field in fields(cls)))
        return cls(*(torch.stack([getattr(view, field.name) for view in views]) for field in fields(cls)))


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """A stereo pair with the truth of both views."""

    left: View
    right: View
    camera: Camera
    name: str

    @property
    def pair(self) -> StereoPair:
        """Both pictures and the camera."""
        return StereoPair(self.left.image, self.right.image, self.camera, self.name)

    @property
    def left_disparity(self) -> DisparityMap:
        """Dense; the sky has 0."""
        return self._disparity(self.left)

    @property
    def right_disparity(self) -> DisparityMap:
        """Dense; the sky has 0. x_left = x_right + d."""
        return self._disparity(self.right)

    @property
    def left_depth(self) -> DepthMap:
        """Metres; the sky is not valid."""
        valid = torch.isfinite(self.left.depth)
        return DepthMap(
            self.left.depth.nan_to_num(posinf=0.0), valid, camera=self.camera, scale=Scale.METRIC, image=self.left.image
        )

    @property
    def visible(self) -> Bool[Tensor, "h w"]:
        """Left pixels whose point the right camera sees."""
        return self.left.match == Match.MATCHED

    def _disparity(self, view: View) -> DisparityMap:
        everywhere = torch.ones_like(view.disparity, dtype=torch.bool)
        return DisparityMap(view.disparity, everywhere, None, self.camera, view.image)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pairs of one size: views with a leading dimension."""

    left: View
    right: View
    cameras: tuple[Camera, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: int) -> RenderedPair:
        return RenderedPair(self.left[index], self.right[index], self.cameras[index], self.names[index])


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """Frames of one scene with the truth of every frame and of the motion between frames.

    Attributes:
        left, right: views with a leading time dimension; right is None without stereo.
        camera: of all frames.
        world_from_camera: poses of the left camera.
        fps: frames per second.
        flow_forward: (x, y) px from frame i to i + 1; the sky moves with the camera's rotation. Points that pass
            behind the camera have no place in the picture: 0, and out of view.
        flow_backward: from frame i + 1 to i.
        forward_match, backward_match: codes of `Match` of the pixel in that other frame.
        moving: pixels of things that move by themselves.
        name: of the scene.
    """

    left: View
    right: View | None
    camera: Camera
    world_from_camera: Float64[Tensor, "t 4 4"]
    fps: float
    flow_forward: Float[Tensor, "t-1 h w 2"]
    flow_backward: Float[Tensor, "t-1 h w 2"]
    forward_match: UInt8[Tensor, "t-1 h w"]
    backward_match: UInt8[Tensor, "t-1 h w"]
    moving: Bool[Tensor, "t h w"]
    name: str
