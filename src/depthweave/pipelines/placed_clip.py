"""Frames whose place is known, to the files of a result folder: one frame in memory at a time."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from depthweave import geometry, images, io, runtime
from depthweave.errors import WrongFile
from depthweave.fusion.placement import Drift, Placement
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.types import Camera, Clip, DepthMap, Picture, PointCloud, Scale, read_picture
from depthweave.types.picture import source_name
from depthweave.types.reconstruction import (
    MANIFEST_TYPE,
    describe,
    frame_file,
    join_clouds,
    place_points,
    write_trajectories,
)

Upsampling = Literal["nearest", "edge-aware"]

WORK = "work"
COLMAP = "colmap"
_MOST_COLMAP_POINTS = 100_000
_SAMPLES = 2**18
"""Of inverse depth, over all frames of a component, for its range of colours."""
_PREVIEW_MAPS = 3


def work_file(frame: int) -> str:
    """Where the depth of a frame stands while its place is not known."""
    return f"{WORK}/{frame:06d}.npz"


def clear_results(folder: Path) -> None:
    """Remove an earlier reconstruction from a folder, finished or not; other files stay.

    Raises:
        WrongFile: the folder's `result.json` is of something else.
    """
    if not (folder / MANIFEST_NAME).is_file():
        return
    found = io.read_manifest(folder).get("type")
    if found != MANIFEST_TYPE:
        raise WrongFile(f"{folder} holds {found}, not a reconstruction; choose another folder with -o.")
    io.discard_result(folder)
    for name in (WORK, "frames", COLMAP):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.glob("trajectory*_tum.txt"):
        path.unlink()


@dataclass(frozen=True, eq=False)
class PlacedClip:
    """A clip whose frames' depth stands in `work`, and whose places are known.

    Attributes:
        clip: the pictures.
        camera: of the pictures in their own size; None where the focal length is unknown.
        picture_size, working_size: (height, width) in px.
        scale: of the world.
        factor: (t,) that brings a frame's own unit to the world's.
        world_from_camera: (t, 4, 4); NaN where not placed.
        component: (t,); -1 where not placed.
        drift: of the measurements.
    """

    clip: Clip
    camera: Camera | None
    picture_size: tuple[int, int]
    working_size: tuple[int, int]
    scale: Scale
    factor: Float[Tensor, "t"]
    world_from_camera: Float[Tensor, "t 4 4"]
    component: Int[Tensor, "t"]
    drift: Drift

    @classmethod
    def of(
        cls, placement: Placement, clip: Clip, camera: Camera | None, working_size: tuple[int, int], scale: Scale
    ) -> "PlacedClip":
        """From what fusion says, in units of the working size.

        Args:
            placement: of the frames.
            clip: the pictures.
            camera: of the pictures where it was known beforehand; else it follows from the focal length that was found.
            working_size: (height, width) in px of the pointmaps.
            scale: of the world.
        """
        first = next(iter(clip.frames))
        shape = read_picture(first).shape
        picture_size = (int(shape[-2]), int(shape[-1]))
        if camera is None and placement.focal_px is not None:
            height, width = working_size
            # Networks mean the middle of the picture at (width / 2, height / 2).
            k = geometry.intrinsics_matrix(placement.focal_px, placement.focal_px, width / 2, height / 2)
            camera = Camera(k, width, height).resized(*picture_size)
        return cls(
            clip,
            camera,
            picture_size,
            working_size,
            scale,
            placement.scale.float(),
            placement.world_from_camera.float(),
            placement.component,
            placement.drift,
        )

    def write(
        self,
        folder: Path,
        facts: dict[str, Any],
        timings: dict[str, float],
        notes: Sequence[str],
        *,
        upsample: Upsampling,
        max_points: int,
        min_confidence: float,
        plain: bool,
        show: bool | None,
    ) -> dict[str, Any]:
        """Write all files, the manifest last, and remove `work`. Frames that stand there already are kept.

        Args:
            folder: of the result.
            facts: what made it, for the manifest.
            timings: seconds so far, by step.
            notes: sentences that the manifest lists as warnings, with those about the frames' places.
            upsample: from the working size to the pictures'.
            max_points: of the cloud.
            min_confidence: of the cloud's points.
            plain: only what `Reconstruction.read` needs.
            show: a bar on stderr.
        """
        start = time.perf_counter()
        cloud, limits, valid_share = self._write_frames(
            folder, upsample, 0 if plain else max_points, min_confidence, show
        )
        times_s = source_times(self.clip, len(self.component))
        files = {"data": "frames"}
        files |= write_trajectories(folder, times_s, self.world_from_camera, self.component)
        sentences = [*notes, *self._notes()]
        if not plain:
            files |= self._write_cloud(folder, cloud)
            files |= self._write_views(folder, cloud, limits, show)
            if len(cloud) == 0:
                sentences.append(
                    "no pixel is sure enough for a cloud; lower cloud_confidence (--set cloud_confidence=0.2)."
                )
        shown = limits.get(0, images.ColorRange(0.0, 1.0))
        said = {
            **facts,
            **describe(self.scale, self.camera, self.world_from_camera, self.component, times_s),
            "fps": frame_rate(self.clip),
            "width": self.picture_size[1],
            "height": self.picture_size[0],
            "working_size": {"width": self.working_size[1], "height": self.working_size[0]},
            "points": len(cloud),
            "valid_share": valid_share,
            "drift": self.drift.to_dict(),
            "warnings": sentences,
            "color_range": {"low": shown.low, "high": shown.high, "map": "turbo"},
            "timings_s": {**timings, "write": time.perf_counter() - start},
            "files": files,
        }
        # Only now, so that a reconstruction whose manifest names files is complete.
        io.write_manifest(folder, said)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return io.read_manifest(folder)

    def small_map(self, folder: Path, frame: int) -> DepthMap:
        """Depth of a frame at the working size in the world's unit; not valid anywhere where it is not placed."""
        height, width = self.working_size
        camera = None if self.camera is None else self.camera.resized(height, width)
        path = folder / work_file(frame)
        if int(self.component[frame]) < 0 or not path.is_file():
            nothing = torch.zeros(height, width)
            return DepthMap(nothing, nothing > 0, nothing.clone(), camera, scale=self.scale)
        found = DepthMap.read(path)
        return replace(found, values=found.values * self.factor[frame], camera=camera, scale=self.scale)

    def _write_frames(
        self, folder: Path, upsample: Upsampling, max_points: int, min_confidence: float, show: bool | None
    ) -> tuple[PointCloud, dict[int, images.ColorRange], float]:
        """Frames at the pictures' size; the cloud of component 0, a range of colours each, and the valid share."""
        counts = torch.bincount(self.component.clamp_min(0)[self.component >= 0])
        clouds: list[PointCloud] = []
        samples: dict[int, list[Tensor]] = {number: [] for number in range(len(counts))}
        total, valid = len(self.component), 0.0
        pictures = enumerate(self.clip.frames)
        for frame, picture in runtime.progress(pictures, label="writing frames", total=total, show=show):
            image, small = read_picture(picture), self.small_map(folder, frame)
            target = folder / frame_file(frame)
            if target.is_file():
                full = DepthMap.read(target)
            else:
                full = self._full_map(small, image, upsample)
                full.save(target)
            valid += float(full.valid.float().mean())
            number = int(self.component[frame])
            if number < 0:
                continue
            known = small.to_inverse_depth()
            usable = known.values[known.valid]
            samples[number].append(usable[:: max(1, len(usable) * int(counts[number]) // _SAMPLES)].clone())
            if number == 0 and self.camera is not None and max_points > 0:
                shown = small.with_image(images.resize_image(image, *self.working_size).clamp(0, 1))
                share = max(1, max_points // int(counts[0]))
                clouds.append(place_points(shown, self.world_from_camera[frame], share, min_confidence, seed=frame))
        pooled = {number: torch.cat(found)[None, :] for number, found in samples.items()}
        limits = {
            number: images.color_range(found[None], torch.ones_like(found[None], dtype=torch.bool))
            for number, found in pooled.items()
        }
        return join_clouds(clouds, self.scale), limits, valid / total

    def _full_map(self, small: DepthMap, image: Float[Tensor, "3 h w"], upsample: Upsampling) -> DepthMap:
        height, width = self.picture_size
        if upsample == "nearest" or (height, width) == self.working_size:
            full = replace(small.resized(height, width), camera=self.camera)
        else:
            rows, columns = images.guided_sources(image, *self.working_size)
            confidence = None if small.confidence is None else small.confidence[rows, columns]
            values, valid = small.values[rows, columns], small.valid[rows, columns]
            full = DepthMap(values, valid, confidence, self.camera, scale=self.scale)
        known = torch.zeros_like(full.values) if full.confidence is None else full.confidence
        return replace(full, confidence=torch.where(full.valid, known, 0.0))

    def _write_cloud(self, folder: Path, cloud: PointCloud) -> dict[str, str]:
        files = {}
        if len(cloud) > 0:
            for suffix in ("ply", "glb"):
                cloud.save(folder / f"cloud.{suffix}")
                files[f"cloud_{suffix}"] = f"cloud.{suffix}"
        if self.camera is None:
            return files
        chosen = torch.nonzero(self.component == 0).flatten().tolist()
        names = source_names(self.clip, len(self.component))
        poses = self.world_from_camera[chosen].double().numpy()
        k = self.camera.intrinsics.double().numpy()
        size = (self.camera.width, self.camera.height)
        step = max(1, -(-len(cloud) // _MOST_COLMAP_POINTS))
        points = cloud.points[::step].double().numpy()
        grey = np.full(points.shape, 128, np.uint8)
        colors = grey if cloud.colors is None else cloud.colors[::step].numpy()
        stems = tuple(Path(names[index]).name for index in chosen)
        io.write_colmap(folder / COLMAP, io.ColmapModel(k, *size, stems, poses, points, colors))
        io.write_transforms(folder / "transforms.json", k, *size, [names[index] for index in chosen], poses)
        return {**files, "colmap": COLMAP, "nerfstudio": "transforms.json"}

    def _write_views(
        self, folder: Path, cloud: PointCloud, limits: dict[int, images.ColorRange], show: bool | None
    ) -> dict[str, str]:
        chosen = torch.nonzero(self.component == 0).flatten().tolist()
        some = sorted({chosen[round(place)] for place in np.linspace(0, len(chosen) - 1, _PREVIEW_MAPS)})
        poses = self.world_from_camera[chosen]
        unit = "m" if self.scale == Scale.METRIC else "unknown unit"
        drawn = images.draw_places(
            cloud.points,
            cloud.colors,
            poses[:, :3, 3],
            poses[:, :3, 2],
            [(f"depth of frame {frame}", self._colored(folder, frame, limits)) for frame in some],
            unit=unit,
            title=f"{self.clip.name}: {len(chosen)} of {len(self.component)} frames",
        )
        io.write_image(folder / "preview.png", drawn)
        numbers = runtime.progress(range(len(self.component)), label="writing preview", show=show)
        frames = (self._colored(folder, frame, limits) for frame in numbers)
        io.write_video(folder / "preview.mp4", frames, fps=frame_rate(self.clip) or 10.0)
        return {"preview": "preview.png", "video": "preview.mp4"}

    def _colored(self, folder: Path, frame: int, limits: dict[int, images.ColorRange]) -> NDArray[np.uint8]:
        return self.small_map(folder, frame).colorize(limits.get(int(self.component[frame])))

    def _notes(self) -> list[str]:
        """Sentences about frames that are not in the one world."""
        numbers = self.component.tolist()
        lost = [frame for frame, number in enumerate(numbers) if number < 0]
        notes = []
        if lost:
            notes.append(
                f"frames {ranges(lost)} could not be tied to any other, so they have no pose and no depth; take more "
                "frames around them (a smaller --step) or another model (-m)."
            )
        for number in range(1, max(numbers) + 1):
            own = [frame for frame, component in enumerate(numbers) if component == number]
            notes.append(
                f"frames {ranges(own)} could not be tied to the largest part, as after a cut: they have a world and a "
                f"unit of their own (trajectory_{number}_tum.txt), and the cloud leaves them out."
            )
        if self.camera is None:
            notes.append("the focal length could not be found, so there is no cloud; give a calibration (-c).")
        return notes


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order as people write them: 0-3, 7, 9-10."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def source_names(clip: Clip, frames: int) -> list[str]:
    """A name for every frame: the picture's path, or its number."""
    if isinstance(clip.frames, io.FrameStream):
        if clip.frames.files is not None:
            return [str(file.resolve()) for file in clip.frames.files]
        return [f"{number:06d}.png" for number in range(frames)]
    pictures: Sequence[Picture] = clip.frames
    return [source_name(picture, f"{number:06d}.png") for number, picture in enumerate(pictures)]


def frame_rate(clip: Clip) -> float | None:
    """Of the frames that are used, where some are left out."""
    step = clip.frames.selection[2] if isinstance(clip.frames, io.FrameStream) else 1
    return None if clip.fps is None else clip.fps / step


def source_times(clip: Clip, frames: int) -> Float[Tensor, "t"]:
    """Seconds of every frame in its source; of a folder, the number of the picture."""
    start, step = 0, 1
    if isinstance(clip.frames, io.FrameStream):
        start, _, step = clip.frames.selection
    return (start + step * torch.arange(frames, dtype=torch.float64)) / (clip.fps or 1.0)
