"""A clip reconstructed: depth, poses, camera and how sure all this is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from depthweave import io
from depthweave.errors import NeedsCalibration, WrongFile, WrongInput
from depthweave.types.camera import Camera
from depthweave.types.clip import Clip, DepthVideo
from depthweave.types.cloud import PointCloud
from depthweave.types.maps import DepthMap, Scale
from depthweave.types.picture import read_picture

MANIFEST_TYPE = "reconstruction"
MOST_POINTS = 1_000_000
CLOUD_CONFIDENCE = 0.5
"""Least confidence of a cloud's points where nobody says more: half of the way from a guess to certainty."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Frames of a clip, each with its depth and the place of its camera.

    Frames that could be tied together form a component with a world and a unit of its own: the axes of its first frame,
    unless poses were given. Component 0 is the largest; the cloud and the plain `trajectory` are of it. Frames that
    nothing tied to another have component -1, no pose (NaN) and no valid depth.

    Attributes:
        depth: of all frames, with camera and poses (t, 4, 4); its scale holds within a component.
        confidence: (t, h, w) in [0, 1], 0 where not valid.
        component: (t,) number of each frame's component.
        drift: how well the measurements agree that were brought into one, in plain values.
        clip: the pictures, for the colours of a cloud; None where they are not at hand.
        times_s: (t,) seconds of the frames.
    """

    depth: DepthVideo
    confidence: Float[Tensor, "t h w"]
    component: Int[Tensor, "_"]
    drift: Mapping[str, Any] = field(default_factory=dict)
    clip: Clip | None = None
    times_s: Float[Tensor, "t"] | None = None

    def __post_init__(self) -> None:
        frames = len(self.depth)
        given = (self.confidence.shape[0], self.component.shape[0])
        if given != (frames, frames) or self.depth.world_from_camera is None:
            raise WrongInput(
                f"a reconstruction of {frames} frames needs a pose, a confidence and a component for each, not {given}."
            )

    def __len__(self) -> int:
        return len(self.depth)

    def __getitem__(self, index: int) -> DepthMap:
        """Depth of one frame with its confidence and camera."""
        found = self.depth[index]
        assert isinstance(found, DepthMap)
        return replace(found, confidence=self.confidence[index])

    @property
    def camera(self) -> Camera | None:
        """Of the pictures in their own size; None where nothing told the focal length."""
        return self.depth.camera

    @property
    def scale(self) -> Scale:
        """METRIC, or UNKNOWN_SCALE: one factor for all frames of a component."""
        return self.depth.scale

    @property
    def world_from_camera(self) -> Float[Tensor, "t 4 4"]:
        """Poses; NaN for frames that have none."""
        poses = self.depth.world_from_camera
        assert poses is not None
        return poses

    def frames_of(self, component: int = 0) -> list[int]:
        """Numbers of the frames of a component."""
        return torch.nonzero(self.component == component).flatten().tolist()

    def cloud(
        self, *, max_points: int = MOST_POINTS, min_confidence: float | int = CLOUD_CONFIDENCE, component: int = 0
    ) -> PointCloud:
        """The points of a component in its world, taken evenly from its frames.

        Points that hang between two surfaces are left out, as in `DepthMap.to_points`. Colours come from ``clip``.

        Args:
            max_points: at most so many.
            min_confidence: in [0, 1]; of every point.
            component: which.

        Raises:
            NeedsCalibration: the focal length is unknown.
            WrongInput: the component has no frames.
        """
        if self.camera is None:
            raise NeedsCalibration("a point cloud needs the camera's intrinsics; reconstruct with calibration=...")
        chosen = self.frames_of(component)
        if not chosen:
            raise WrongInput(f"component {component} has no frames; there are {int(self.component.max()) + 1}.")
        share = max(1, max_points // len(chosen))
        if self.clip is None:
            pictures: Any = ((index, None) for index in range(len(self)))
        else:
            pictures = ((index, read_picture(picture)) for index, picture in enumerate(self.clip.frames))
        clouds = [
            place_points(
                replace(self[index], image=picture), self.world_from_camera[index], share, min_confidence, seed=index
            )
            for index, picture in pictures
            if index in chosen
        ]
        return join_clouds(clouds, self.scale)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write ``frames/000000.npz`` and so on, the trajectories, ``preview.mp4`` and ``result.json`` to a folder."""
        folder = Path(folder)
        io.discard_result(folder)
        for index in range(len(self)):
            self[index].save(folder / frame_file(index))
        times_s = torch.arange(len(self)).double() / (self.depth.fps or 1.0) if self.times_s is None else self.times_s
        files = write_trajectories(folder, times_s, self.world_from_camera, self.component)
        limits = self.depth.color_range()
        io.write_video(
            folder / "preview.mp4",
            (self[index].colorize(limits) for index in range(len(self))),
            fps=self.depth.fps or 10.0,
        )
        facts = {
            "drift": dict(self.drift),
            "fps": self.depth.fps,
            "files": {"data": "frames", **files, "preview": "preview.mp4"},
            "color_range": {"low": limits.low, "high": limits.high, "map": "turbo"},
        }
        io.write_manifest(
            folder,
            {
                **describe(self.scale, self.camera, self.world_from_camera, self.component, times_s),
                **facts,
                "type": MANIFEST_TYPE,
            },
        )

    @classmethod
    def read(cls, folder: str | PathLike[str], *, clip: Clip | None = None) -> "Reconstruction":
        """Read what `save` or `depthweave reconstruct` wrote, all frames into memory.

        Args:
            folder: the result folder.
            clip: its pictures, for the colours of clouds.

        Raises:
            WrongFile: the folder holds something else, or work that was not finished.
        """
        folder = Path(folder)
        manifest = io.read_manifest(folder)
        if manifest.get("type") != MANIFEST_TYPE:
            raise WrongFile(
                f"{folder} holds {manifest.get('type', 'no result')}, not a reconstruction; read it with that type."
            )
        if "files" not in manifest:
            raise WrongFile(f"{folder} holds a reconstruction that was not finished; run the same command again.")
        maps = [DepthMap.read(folder / frame_file(index)) for index in range(manifest["frames"])]
        camera = None if manifest["camera"] is None else Camera.from_dict(manifest["camera"])
        poses = [[[np.nan] * 4] * 4 if pose is None else pose for pose in manifest["world_from_camera"]]
        confidence = [m.valid.float() if m.confidence is None else m.confidence for m in maps]
        depth = DepthVideo(
            torch.stack([found.values for found in maps]),
            torch.stack([found.valid for found in maps]),
            "depth",
            Scale(manifest["scale"]),
            manifest["fps"],
            camera,
            torch.tensor(poses, dtype=torch.float32),
        )
        component, times_s = torch.tensor(manifest["component"]), torch.tensor(manifest["times_s"], dtype=torch.float64)
        return cls(depth, torch.stack(confidence), component, manifest["drift"], clip, times_s)


def frame_file(index: int) -> str:
    """Where the depth of a frame stands in a result folder."""
    return f"frames/{index:06d}.npz"


def describe(
    scale: Scale,
    camera: Camera | None,
    world_from_camera: Float[Tensor, "t 4 4"],
    component: Int[Tensor, "t"],
    times_s: Float[Tensor, "t"],
) -> dict[str, Any]:
    """Entries of a manifest, in plain values; frames without a pose have none."""
    numbers = component.tolist()
    poses = world_from_camera.tolist()
    return {
        "frames": len(numbers),
        "scale": str(scale),
        "unit": "m" if scale == Scale.METRIC else None,
        "camera": None if camera is None else camera.to_dict(),
        "world_from_camera": [None if n < 0 else pose for n, pose in zip(numbers, poses, strict=True)],
        "component": numbers,
        "components": [
            [frame for frame, n in enumerate(numbers) if n == number] for number in range(max([*numbers, -1]) + 1)
        ],
        "not_placed": [frame for frame, number in enumerate(numbers) if number < 0],
        "times_s": times_s.tolist(),
    }


def write_trajectories(
    folder: Path,
    times_s: Float[Tensor, "t"],
    world_from_camera: Float[Tensor, "t 4 4"],
    component: Int[Tensor, "t"],
) -> dict[str, str]:
    """Write ``trajectory_tum.txt`` of component 0, ``trajectory_1_tum.txt`` of the next, and so on.

    Returns:
        Files' names by what they are.
    """
    files = {}
    for number in range(int(component.max()) + 1 if component.numel() else 0):
        name = "trajectory" if number == 0 else f"trajectory_{number}"
        chosen = component == number
        io.write_trajectory(
            folder / f"{name}_tum.txt", _array(times_s[chosen].double()), _array(world_from_camera[chosen].double())
        )
        files[name] = f"{name}_tum.txt"
    return files


def place_points(
    depth: DepthMap,
    world_from_camera: Float[Tensor, "4 4"],
    most: int,
    min_confidence: float | int = 0.0,
    *,
    seed: int = 0,
) -> PointCloud:
    """Points of a frame in the world, at most ``most`` of them, drawn evenly over the picture.

    Args:
        depth: with a camera, and with a picture for colours.
        world_from_camera: rigid, in the unit of the depth.
        most: how many points at most.
        min_confidence: in [0, 1]; of every point, where the map has a confidence.
        seed: the same seed draws the same points.
    """
    if depth.confidence is not None:
        depth = replace(depth, valid=depth.valid & (depth.confidence >= min_confidence))
    found = depth.to_points()
    if len(found) > most:
        drawn = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:most].sort().values
        colors = None if found.colors is None else found.colors[drawn]
        found = PointCloud(found.points[drawn], colors, found.scale)
    return found.transformed(world_from_camera)


def join_clouds(clouds: list[PointCloud], scale: Scale) -> PointCloud:
    """Clouds of one world as one; it has colours if all have."""
    points = torch.cat([torch.empty(0, 3), *(cloud.points for cloud in clouds)])
    colors = [cloud.colors for cloud in clouds if cloud.colors is not None]
    complete = len(colors) == len(clouds) and len(colors) > 0
    return PointCloud(points, torch.cat(colors) if complete else None, scale)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
