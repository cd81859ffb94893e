"""Files of measured depth beside pictures: which belongs to which, and what it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthweave.types import SparseDepth

POINTS = (".csv", ".npz")
MAPS = (".pfm", ".exr", ".png")


@dataclass(frozen=True)
class Measured:
    """One file of `--sparse`.

    Attributes:
        path: the file.
        unit_m: metres per step of a depth PNG that does not state them, else None.
    """

    path: Path
    unit_m: float | None = None

    def facts(self) -> dict[str, Any]:
        """What a manifest says about it: files of one sensor have one size, so only their content tells them apart.

        Raises:
            WrongFile: the file is missing.
        """
        import hashlib

        from depthweave import io

        content = io.require_file(self.path).read_bytes()
        stated = {} if self.unit_m is None else {"unit_m": self.unit_m}
        return {"path": str(self.path.resolve()), "sha256": hashlib.sha256(content).hexdigest(), **stated}

    def read(self, picture: Path, height: int, width: int) -> "SparseDepth":
        """The measurements, which must be of this picture.

        Args:
            picture: named in errors.
            height, width: of the picture in px.

        Raises:
            WrongFile: missing, damaged, or of another kind.
            WrongInput: of another size than the picture, with points outside it, or without a measurement that counts.
        """
        from depthweave.errors import WrongInput

        found = self._read_map() if self.path.suffix.lower() in MAPS else self._read_points(height, width)
        if (found.height, found.width) != (height, width):
            raise WrongInput(
                f"{self.path} is for {found.width}x{found.height} px, but {picture} has {width}x{height}; "
                "give the measurements of this picture."
            )
        points = found.points_px[found.valid]
        if len(points) == 0:
            raise WrongInput(f"{self.path} holds no measurement that counts; give one with positive depths in m.")
        limit = points.new_tensor((width - 0.5, height - 0.5))
        outside = int((~((points >= -0.5) & (points <= limit)).all(-1)).sum())
        if outside:
            raise WrongInput(
                f"{outside} of {len(points)} points of {self.path} lie outside {picture} ({width}x{height} px); "
                "leave them away, or give the measurements of this picture."
            )
        return found

    def _read_points(self, height: int, width: int) -> "SparseDepth":
        from depthweave.errors import WrongFile
        from depthweave.types import SparseDepth

        if self.path.suffix.lower() not in POINTS:
            raise WrongFile(f"{self.path}: --sparse reads {', '.join((*POINTS, *MAPS))}.")
        return SparseDepth.read(self.path, height=height, width=width)

    def _read_map(self) -> "SparseDepth":
        from dataclasses import replace

        import torch

        from depthweave import io
        from depthweave.types import DepthMap, Scale, SparseDepth

        if self.path.suffix.lower() != ".png":
            return SparseDepth.from_map(replace(DepthMap.read(self.path), scale=Scale.METRIC))
        depth_m, valid = (torch.from_numpy(each) for each in io.read_depth_png(self.path, self.unit_m))
        return SparseDepth.from_map(DepthMap(depth_m, valid, scale=Scale.METRIC))


def describe_fit(facts: Mapping[str, Any]) -> list[str]:
    """A line about the fit to sparse depth, none for a result without one."""
    fit = facts.get("sparse_fit")
    if fit is None:
        return []
    return [
        f"  {fit['fitted']} fitted to {fit['used']} of {fit['measured']} measurements, "
        f"median error {fit['relative_error']:.1%}"
    ]


def measured_files(sparse: Path | None, unit_m: float | None, pictures: Mapping[str, Path]) -> dict[str, Measured]:
    """The file of measurements of every picture, by the picture's name; empty without `--sparse`.

    Args:
        sparse: one file for one picture, or a folder of files with the stems of the pictures.
        unit_m: metres per step of depth PNGs that do not state them.
        pictures: by name.

    Raises:
        WrongFile: missing, or a folder without exactly one file per picture.
        WrongInput: one file for several pictures, or a unit that is not positive or not wanted.
    """
    from depthweave import io
    from depthweave.errors import WrongInput

    if unit_m is not None and (sparse is None or unit_m <= 0):
        why = "is not a length" if sparse is not None else "belongs to the depth PNGs of --sparse"
        raise WrongInput(f"--sparse-unit {unit_m:g} {why}; give metres per step, 0.001 for millimetres.")
    if sparse is None:
        return {}
    if not sparse.is_dir():
        io.require_file(sparse)
        if len(pictures) > 1:
            raise WrongInput(
                f"{sparse} is one file of measurements for {len(pictures)} pictures; "
                "give a folder of files with their names."
            )
        return {name: Measured(sparse, unit_m) for name in pictures}
    return {name: Measured(_beside(sparse, picture), unit_m) for name, picture in pictures.items()}


def _beside(folder: Path, picture: Path) -> Path:
    """The one file of the folder with the picture's stem that is not the picture."""
    from depthweave.errors import WrongFile

    named = (folder / f"{picture.stem}{suffix}" for suffix in (*POINTS, *MAPS))
    found = [path for path in named if path.is_file() and path.resolve() != picture.resolve()]
    if len(found) != 1:
        names = " and ".join(path.name for path in found) or f"no {picture.stem}{'|'.join((*POINTS, *MAPS))}"
        raise WrongFile(f"{folder} holds {names}, but {picture} needs one file of measurements with its name.")
    return found[0]
