"""Maps of a monocular teacher on disk: one for each left picture, found by the name of its pair."""

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongFile
from depthweave.types import Scale

SUFFIXES = (".npz", ".pfm", ".png")


def find_map(folder: str | Path, key: str) -> Path:
    """The map of a pair.

    Args:
        folder: holds, for the key `a/b`, one of `a/b.npz`, `a/b.pfm` and `a/b.png`, or a result folder of
            `depthweave mono` in `a/b/`, whose map is taken.
        key: of the pair.

    Raises:
        WrongFile: there is none.
    """
    root = Path(folder)
    for suffix in SUFFIXES:
        if (path := root / f"{key}{suffix}").is_file():
            return path
    if (root / key).is_dir() and "data" in (files := io.read_manifest(root / key).get("files", {})):
        return root / key / str(files["data"])
    raise WrongFile(
        f"the teacher in {root} has no map for {key}: neither {key}{', '.join(SUFFIXES)} nor a result folder {key}; "
        f"make one with `depthweave mono LEFT -o {root / key}`."
    )


def read_map(path: Path, size: tuple[int, int]) -> Float32[Tensor, "h w"]:
    """Something affine in inverse depth (height, width), NaN where not known.

    `.npz` holds disparity or inverse depth, in which 0 counts as not known (where models end at 0, as for the sky,
    they say nothing), or depth whose shift is known, which is inverted. `.pfm` and `.png` hold inverse depth or
    disparity, of any scale; in 16 bit PNG 0 is not known.

    Args:
        path: the file.
        size: height and width in px that it must have.

    Raises:
        WrongFile: missing, damaged, of another size, or depth of unknown shift.
    """
    kind = "inverse_depth"
    if path.suffix == ".npz":
        content = io.read_npz(path)
        kind, values, valid = content.kind, content.values, content.valid & (content.values != 0)
        if kind == "depth" and content.scale == Scale.UNKNOWN_SCALE_AND_SHIFT:
            raise WrongFile(f"{path} holds depth of unknown shift, which has no inverse; take a model of another kind.")
    elif path.suffix == ".png":
        values, valid = io.read_scaled_png(path, 1)
    else:
        values, valid = io.read_pfm(path)
    if values.shape != size:
        raise WrongFile(
            f"the teacher's map {path} is {values.shape[1]}x{values.shape[0]} px but the picture is "
            f"{size[1]}x{size[0]} px; make it from the same picture."
        )
    known = torch.where(torch.from_numpy(valid), torch.from_numpy(values), torch.nan)
    return torch.where(known > 0, 1 / known, torch.nan) if kind == "depth" else known
