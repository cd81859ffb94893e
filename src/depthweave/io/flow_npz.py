"""NPZ of a flow field: everything known about it, under fixed keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path
from depthweave.io.maps import FloatMap, Mask
from depthweave.io.npz import read_arrays


@dataclass(frozen=True, eq=False)
class FlowFile:
    """The content of an NPZ file of a flow field.

    Attributes:
        flow: (H, W, 2) float32, motion along x and y in px, finite; fillers at pixels that are not usable are kept.
        valid: (H, W) bool, True = usable.
        confidence: (H, W) float32 in [0, 1], or None.
        target_size: height and width in px of the picture that the motion leads to.
    """

    flow: NDArray[np.float32]
    valid: Mask
    confidence: FloatMap | None
    target_size: tuple[int, int]


def read_flow_npz(path: AnyPath) -> FlowFile:
    """Read a flow field from an NPZ file; Python objects in it are never loaded.

    A file without `valid` counts as usable wherever its numbers are finite, one without `target_size` leads to a
    picture of its own size. Keys of others are passed over.

    Args:
        path: the file.

    Raises:
        WrongFile: missing, damaged, not NPZ, without `flow`, or with shapes that do not agree.
    """
    file, entries = Path(path), read_arrays(path, _KEYS)
    if "flow" not in entries:
        raise WrongFile(f"{file} holds no flow; give a file that has the key 'flow'")
    flow = entries["flow"]
    try:
        finite = np.isfinite(flow).all(-1)
        size = entries.get("target_size", np.array(flow.shape[:2]))
        found = FlowFile(
            np.nan_to_num(flow.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0),
            entries.get("valid", finite),
            entries.get("confidence"),
            (int(size[0]), int(size[1])),
        )
        _check(found)
        if bool((found.valid & ~finite).any()):
            raise WrongInput("a usable flow vector is NaN or infinite")
    except (WrongInput, TypeError, ValueError, IndexError) as error:
        raise WrongFile(f"{file} does not hold a usable flow field: {error}") from error
    return found


def write_flow_npz(path: AnyPath, content: FlowFile) -> None:
    """Write a flow field with all that is known about it, uncompressed.

    Args:
        path: the file to write.
        content: the field; without a confidence there is no such key.

    Raises:
        WrongInput: shapes or types that do not agree, numbers that are not finite, or a confidence outside [0, 1].
        NotWritable: the file cannot be written.
    """
    _check(content)
    entries: dict[str, Any] = {"flow": content.flow, "valid": content.valid, "target_size": content.target_size}
    if content.confidence is not None:
        entries["confidence"] = content.confidence
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **entries)


_KEYS = ("flow", "valid", "confidence", "target_size")


def _check(content: FlowFile) -> None:
    flow, valid, confidence = content.flow, content.valid, content.confidence
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0:
        raise WrongInput(f"a flow field needs the shape (height, width, 2), not {flow.shape}")
    if not bool(np.isfinite(flow).all()):
        raise WrongInput("flow vectors must be finite; mark unknown pixels in valid and put any number under them")
    if valid.shape != flow.shape[:2] or valid.dtype != np.bool_:
        raise WrongInput(f"valid must be bool of shape {flow.shape[:2]}, not {valid.dtype} of shape {valid.shape}")
    if confidence is not None and (
        confidence.shape != valid.shape or not bool(((confidence >= 0) & (confidence <= 1)).all())
    ):
        raise WrongInput(f"confidence must lie in [0, 1] and have the shape {valid.shape}")
