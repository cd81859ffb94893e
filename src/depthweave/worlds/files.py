"""Rendered pairs and clips as files, in layouts that the readers of this package and of others know.

A folder of worlds holds `result.json`, `recipe.toml`, and a folder per pair (000000, 000001, ...) or per clip
(clip-000000, ...). Item folders appear whole or not at all.

| file of a pair | holds |
|---|---|
| `left.png`, `right.png` | the pictures |
| `disparity.pfm`, `disparity_right.pfm` | px, of the left and of the right picture; 0 is the sky |
| `mask0nocc.png`, `mask1nocc.png` | of left and right: 255 where both cameras see the point, else 128 |
| `calib.txt` | intrinsics, baseline and a bound on the disparities |
| extra: `depth.npz` | metres, of the left picture; the sky is not valid |
| extra: `normals.png` | 16 bit per channel, (n + 1) * 32767, in axes of the left camera; the sky is (0, 0, 0) |
| extra: `things.png` | 16 bit, which thing is seen, from 1; 0 is the sky |

| file of a clip | holds |
|---|---|
| `left/`, `right/`, `disparity/`, `mask0nocc/`, `calib.txt` | as above, a file per frame: 000000, 000001, ... |
| `depth/` | a folder of `DepthVideo`, with poses |
| `poses.txt` | `time tx ty tz qx qy qz qw` per frame, world from left camera (TUM) |
| `flow_forward/`, `flow_backward/` | `.flo`, px, from the frame of that number to the next, and to the one before |
| `flow_forward_match/`, `flow_backward_match/` | 255 where the other frame sees it too, 128 occluded, 0 out of view |
| `moving/` | 255 where a thing moves by itself, else 0 |
| `things/` | as above |
| extra: `disparity_right/`, `normals/` | as above |
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from depthweave import images, io, runtime
from depthweave.errors import DifferentConfiguration, NotWritable, WrongInput, sentence_of
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.types import Camera, DepthVideo, DisparityMap, Scale
from depthweave.worlds.dataset import Worlds
from depthweave.worlds.recipe import Recipe
from depthweave.worlds.views import Match, RenderedClip, RenderedPair
from depthweave.worlds.workers import run_in_workers

RECIPE_NAME = "recipe.toml"
SHEET_NAME = "sheet.png"
SHEET_PAIRS = 48
_LAST_FILE = "calib.txt"
_MATCH_GREYS = {Match.MATCHED: 255, Match.OCCLUDED: 128, Match.OUT_OF_VIEW: 0}


@dataclass(frozen=True)
class Written:
    """How a call of `write_worlds` ended.

    Attributes:
        names: of the item folders that stand now.
        done: how many of them this call has made.
        reused: how many stood before.
        failed: sentences by name.
    """

    names: tuple[str, ...]
    done: int
    reused: int
    failed: dict[str, str]


def write_worlds(
    worlds: Worlds,
    folder: str | Path,
    count: int,
    *,
    frames: int | None = None,
    fps: float | int = 10.0,
    extras: bool = False,
    workers: int = 0,
    show_progress: bool | None = None,
) -> Written:
    """Fill a folder with the first pairs or clips of `worlds`; what stands there from an earlier call is kept.

    An item that fails is reported and the rest goes on; the next call tries it again.

    Args:
        worlds: what to render.
        folder: made if it is missing.
        count: items.
        frames: of a clip; None = write pairs.
        fps: of a clip.
        extras: write the extra files, too.
        workers: processes; 0 = this one.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds other worlds.
        NotWritable: the folder cannot be written.
    """
    writer = _Writer(worlds, Path(folder), frames, float(fps), extras)
    writer.claim()
    names = [writer.name(index) for index in range(count)]
    missing = [index for index, name in enumerate(names) if not writer.is_finished(name)]
    results = run_in_workers(writer, missing, min(workers, len(missing)))
    shown = runtime.progress(results, label="rendering", total=len(missing), show=show_progress)
    failed = {name: sentence for name, sentence in shown if sentence is not None}
    stand = tuple(name for name in names if name not in failed)
    return Written(stand, len(missing) - len(failed), count - len(missing), failed)


@dataclass(frozen=True)
class _Writer:
    worlds: Worlds
    folder: Path
    frames: int | None
    fps: float
    extras: bool

    def __call__(self, index: int) -> tuple[str, str | None]:
        """Make one item; its name, and a sentence if it failed."""
        name = self.name(index)
        try:
            with _whole_folder(self.folder / name) as temporary:
                if self.frames is None:
                    save_pair(self.worlds.batch([index])[0], temporary, extras=self.extras)
                else:
                    clip = self.worlds.clip(index, frames=self.frames, fps=self.fps)
                    save_clip(clip, temporary, extras=self.extras)
        except NotWritable:
            raise
        except Exception as error:  # whatever it is, one item must not cost the others; it is reported
            return name, sentence_of(error)
        return name, None

    def name(self, index: int) -> str:
        return f"{index:06d}" if self.frames is None else f"clip-{index:06d}"

    def is_finished(self, name: str) -> bool:
        return (self.folder / name / _LAST_FILE).is_file()

    def claim(self) -> None:
        """Say what the folder holds, or find that it holds the same.

        Raises:
            DifferentConfiguration: it holds something else.
        """
        now: dict[str, Any] = {
            "type": "worlds",
            "items": "pairs" if self.frames is None else "clips",
            **self.worlds.facts(),
            "recipe": RECIPE_NAME,
            "extras": self.extras,
            **({} if self.frames is None else {"frames": self.frames, "fps": self.fps}),
        }
        recipe = self.folder / RECIPE_NAME
        if not (self.folder / MANIFEST_NAME).is_file():
            with io.atomic_path(recipe) as temporary:
                temporary.write_text(self.worlds.recipe.to_toml(), encoding="utf-8")
        io.claim_folder(self.folder, now)
        if Recipe.read(recipe) != self.worlds.recipe:
            raise DifferentConfiguration(
                f"{self.folder} holds worlds of another recipe, see {recipe}; choose another folder with -o, or delete "
                "this one."
            )


def save_pair(pair: RenderedPair, folder: str | Path, *, extras: bool = False) -> None:
    """Write a pair's files, which the `folder` reader takes; the table above says what they hold.

    Args:
        pair: the pair and its truth.
        folder: made if it is missing; files of the same names are replaced.
        extras: write depth, normals and things, too.
    """
    folder = Path(folder)
    for side, number, view in (("left", 0, pair.left), ("right", 1, pair.right)):
        io.write_image(folder / f"{side}.png", images.image_from_tensor(view.image))
        io.write_image(folder / f"mask{number}nocc.png", _visible_greys(view.match))
    io.write_pfm(folder / "disparity.pfm", _array(pair.left.disparity))
    io.write_pfm(folder / "disparity_right.pfm", _array(pair.right.disparity))
    if extras:
        pair.left_depth.save(folder / "depth.npz")
        io.write_image(folder / "normals.png", _normal_codes(pair.left.normals))
        io.write_image(folder / "things.png", _thing_codes(pair.left.things))
    _write_camera(folder / _LAST_FILE, pair.camera, pair.left.disparity)


def save_clip(clip: RenderedClip, folder: str | Path, *, extras: bool = False) -> None:
    """Write a clip's files; the table above says what they hold.

    Args:
        clip: frames and truth; without right pictures what belongs to them is left out.
        folder: made if it is missing.
        extras: write the right picture's disparity and the normals, too.
    """
    folder = Path(folder)
    left, right = clip.left, clip.right
    known = torch.isfinite(left.depth)
    depth = torch.where(known, left.depth, 0.0).cpu()
    poses = clip.world_from_camera.cpu()
    DepthVideo(depth, known.cpu(), "depth", Scale.METRIC, clip.fps, clip.camera, poses).save(folder / "depth")
    for frame in range(left.image.shape[0]):
        number = f"{frame:06d}"
        io.write_image(folder / "left" / f"{number}.png", images.image_from_tensor(left.image[frame]))
        io.write_image(folder / "things" / f"{number}.png", _thing_codes(left.things[frame]))
        io.write_image(folder / "moving" / f"{number}.png", _array(clip.moving[frame]).astype(np.uint8) * 255)
        if extras:
            io.write_image(folder / "normals" / f"{number}.png", _normal_codes(left.normals[frame]))
        if right is None:
            continue
        io.write_image(folder / "right" / f"{number}.png", images.image_from_tensor(right.image[frame]))
        io.write_image(folder / "mask0nocc" / f"{number}.png", _visible_greys(left.match[frame]))
        io.write_pfm(folder / "disparity" / f"{number}.pfm", _array(left.disparity[frame]))
        if extras:
            io.write_pfm(folder / "disparity_right" / f"{number}.pfm", _array(right.disparity[frame]))
    _write_flow(folder, "forward", clip.flow_forward, clip.forward_match, first=0)
    _write_flow(folder, "backward", clip.flow_backward, clip.backward_match, first=1)
    times_s = np.arange(len(poses)) / clip.fps
    io.write_trajectory(folder / "poses.txt", times_s, _array(poses))
    _write_camera(folder / _LAST_FILE, clip.camera, clip.left.disparity)


def write_sheet(folder: str | Path, names: Sequence[str]) -> Path:
    """Contact sheet of the first item folders of a folder of worlds; of a clip its first frame. Returns its path."""
    folder = Path(folder)
    maps = []
    for item in (folder / name for name in names[:SHEET_PAIRS]):
        truth, picture = item / "disparity.pfm", item / "left.png"
        if not truth.is_file():
            truth, picture = item / "disparity" / "000000.pfm", item / "left" / "000000.png"
        maps.append(DisparityMap.read(truth).with_image(picture))
    io.write_image(folder / SHEET_NAME, contact_sheet(maps))
    return folder / SHEET_NAME


def contact_sheet(maps: Sequence[DisparityMap], *, columns: int = 4, width: int = 240) -> NDArray[np.uint8]:
    """One picture of many: each map's picture and beside it its colours, in rows.

    Args:
        maps: with pictures, e.g. `RenderedPair.left_disparity`.
        columns: maps per row.
        width: of a picture in px; smaller ones keep their width. All get the size of the first.

    Returns:
        (H, W, 3) in the order R, G, B; places without a map are black.

    Raises:
        WrongInput: no maps, or one without a picture.
    """
    if not maps:
        raise WrongInput("a contact sheet needs at least one map.")
    wide = min(width, maps[0].width)
    high = max(1, round(wide * maps[0].height / maps[0].width))
    columns = min(columns, len(maps))
    sheet = np.zeros((-(-len(maps) // columns) * high, columns * 2 * wide, 3), np.uint8)
    for place, shown in enumerate(maps):
        if shown.image is None:
            raise WrongInput(f"map {place} of the contact sheet has no picture; with_image(picture) gives it one.")
        y, x = place // columns * high, place % columns * 2 * wide
        both = torch.stack((shown.image, images.tensor_from_image(shown.colorize())))
        for number, small in enumerate(images.resize_image(both, high, wide)):
            sheet[y : y + high, x + number * wide : x + (number + 1) * wide] = images.image_from_tensor(small)
    return sheet


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which it becomes when the block ends well."""
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        try:
            temporary.rename(folder)
        except OSError as error:
            raise NotWritable(f"{folder} cannot be written ({error.strerror}); delete what stands there.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_flow(
    folder: Path, direction: str, flow: Float[Tensor, "t h w 2"], match: UInt8[Tensor, "t h w"], *, first: int
) -> None:
    for step in range(flow.shape[0]):
        number = f"{first + step:06d}"
        io.write_flo(folder / f"flow_{direction}" / f"{number}.flo", _array(flow[step]))
        io.write_image(folder / f"flow_{direction}_match" / f"{number}.png", _match_greys(match[step]))


def _write_camera(path: Path, camera: Camera, disparity: Float[Tensor, "*b h w"]) -> None:
    """With a bound on the disparities, in steps of 16 px, as Middlebury's calibrations state one."""
    intrinsics = camera.intrinsics.double().cpu().numpy()
    bound = 16 * (int(disparity.amax()) // 16 + 1)
    calibration = io.StereoCalibration(
        intrinsics, camera.baseline_m, camera.doffs_px, camera.width, camera.height, max_disparity_px=bound
    )
    io.write_calibration(path, calibration)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _match_greys(match: UInt8[Tensor, "h w"]) -> NDArray[np.uint8]:
    table = np.array([_MATCH_GREYS[code] for code in sorted(Match)], np.uint8)
    greys: NDArray[np.uint8] = table[_array(match)]
    return greys


def _visible_greys(match: UInt8[Tensor, "h w"]) -> NDArray[np.uint8]:
    return np.where(_array(match) == Match.MATCHED, np.uint8(255), np.uint8(128))


def _thing_codes(things: Int[Tensor, "h w"]) -> NDArray[np.uint16]:
    return (_array(things) + 1).astype(np.uint16)


def _normal_codes(normals: Float[Tensor, "3 h w"]) -> NDArray[np.uint16]:
    codes: NDArray[np.uint16] = np.rint((_array(normals) + 1) * 32767).astype(np.uint16).transpose(1, 2, 0)
    return codes
