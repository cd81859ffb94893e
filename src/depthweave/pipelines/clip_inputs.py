"""What tells one clip from another, and what holds for all its frames."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongInput
from depthweave.types import Clip, Scale, read_picture


def require_same_size(
    image: Float[Tensor, "3 h w"], before: tuple[int, int] | None, number: int, clip: Clip
) -> tuple[int, int]:
    """(height, width) of a frame, which is that of the frames before and of the clip's camera.

    Args:
        image: (3, h, w) the frame.
        before: (height, width) of the frames before; None for the first.
        number: of the frame, for the sentence.
        clip: which it is of.

    Raises:
        WrongInput: another size.
    """
    size = (image.shape[-2], image.shape[-1])
    if before is not None and size != before:
        raise WrongInput(
            f"frame {number} of {clip.name} is {size[1]}x{size[0]}, those before are {before[1]}x{before[0]}; "
            "give frames of one size."
        )
    if clip.camera is not None and size != (clip.camera.height, clip.camera.width):
        raise WrongInput(
            f"the camera is for {clip.camera.width}x{clip.camera.height} px, but frame {number} of {clip.name} has "
            f"{size[1]}x{size[0]}; use the calibration of this resolution."
        )
    return size


def describe_inputs(
    clip: Clip, known_poses: Float[Tensor, "t 4 4"] | None = None, poses_scale: Scale = Scale.METRIC
) -> dict[str, Any]:
    """Entries of a manifest that tell this clip and these poses from others: path, selection, SHA-256, camera, poses.

    Args:
        clip: all its files or pictures are read once.
        known_poses: (t, 4, 4) world_from_camera, None without any.
        poses_scale: of their translations.
    """
    digest = hashlib.sha256()
    path, selection = None, None
    for part in _parts(clip):
        digest.update(part)
    if isinstance(clip.frames, io.FrameStream):
        path, selection = str(clip.frames.path.resolve()), list(clip.frames.selection)
    poses = None
    if known_poses is not None:
        poses = {
            "sha256": hashlib.sha256(known_poses.double().cpu().numpy().tobytes()).hexdigest(),
            "scale": str(poses_scale),
        }
    return {
        "path": path,
        "selection": selection,
        "sha256": digest.hexdigest(),
        "camera": None if clip.camera is None else clip.camera.to_dict(),
        "known_poses": poses,
    }


def _parts(clip: Clip) -> Iterator[bytes]:
    if not isinstance(clip.frames, io.FrameStream):
        for picture in clip.frames:
            yield np.ascontiguousarray(read_picture(picture).numpy()).tobytes()
    elif clip.frames.files is not None:
        for file in clip.frames.files:
            yield hashlib.sha256(file.name.encode() + file.read_bytes()).digest()
    else:
        with clip.frames.path.open("rb") as opened:
            yield hashlib.file_digest(opened, "sha256").digest()
