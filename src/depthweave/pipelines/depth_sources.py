"""Where the depth of a picture comes from: a model, files, or the other picture of a stereo pair."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.pipelines.synthesize import relative_inverse_depth
from depthweave.types import Camera, DepthMap, DisparityMap, InverseDepthMap, StereoPair, read_map

AnyMap = DisparityMap | DepthMap | InverseDepthMap
_KINDS: dict[str, type[AnyMap]] = {"disparity": DisparityMap, "inverse-depth": InverseDepthMap, "depth": DepthMap}
_SUFFIXES = (".npz", ".pfm", ".png", ".exr")


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture whose depth is asked for.

    Attributes:
        name: of its files.
        image: R, G, B in [0, 1], perhaps shrunk.
        path: its file; None for a frame of a video.
        size: (height, width) of the file in px.
        camera: of `image`, if it is known.
    """

    name: str
    image: Float[Tensor, "3 h w"]
    path: Path | None
    size: tuple[int, int]
    camera: Camera | None = None


@runtime_checkable
class DepthSource(Protocol):
    """Depth for pictures by name."""

    def facts(self) -> dict[str, Any]:
        """What decides on the depth, in plain values."""

    def files(self, name: str) -> dict[str, Path]:
        """Files beside the picture that its depth is read from, by role.

        Raises:
            WrongFile: there are none of that name.
        """

    def __call__(self, shot: Shot) -> AnyMap:
        """Depth of the size of `shot.image`.

        Raises:
            DepthweaveError: it cannot be had.
        """


class ModelDepth:
    """Depth by a model for single pictures.

    Args:
        estimator: any.
        confidence: also look at the mirrored picture, and trust the depth where both agree (`flip_confidence`).
    """

    def __init__(self, estimator: MonoEstimator, *, confidence: bool = True) -> None:
        self.estimator = estimator
        self.confidence = confidence

    def facts(self) -> dict[str, Any]:
        """The model, its options, and whether there is a flip test."""
        # Where it runs does not decide on what comes out.
        facts = {key: value for key, value in self.estimator.facts().items() if key != "device"}
        facts["model_seed"] = facts.pop("seed")
        return {"depth": "model", **facts, "flip_test": self.confidence}

    def files(self, name: str) -> dict[str, Path]:
        """None."""
        return {}

    def __call__(self, shot: Shot) -> AnyMap:
        """The estimate, with the confidence of the flip test."""
        found = self.estimator(shot.image, camera=shot.camera)
        if not self.confidence:
            return found
        mirrored = self.estimator(shot.image.flip(-1))
        direct, flipped = (relative_inverse_depth(each).values for each in (found, mirrored))
        return replace(found, confidence=flip_confidence(direct, flipped.flip(-1)))


class FileDepth:
    """Depth from files of the pictures' names.

    Args:
        place: folder of `NAME.npz`, `.pfm`, `.png` or `.exr`, or of result folders `NAME/`; or, for one picture, one
            such file or result folder.
        kind: what the numbers are, `disparity`, `inverse-depth` or `depth`; `.npz` and result folders say it.

    Raises:
        WrongFile: nothing stands there.
        WrongInput: an unknown kind.
    """

    def __init__(self, place: Path, kind: str | None = None) -> None:
        if not place.exists():
            raise WrongFile(f"{place} does not exist; give the folder of the depth files.")
        if kind not in (None, *_KINDS):
            raise WrongInput(f"'{kind}' is no kind of depth; take one of {', '.join(_KINDS)}.")
        self.place = place
        self.kind = kind

    def facts(self) -> dict[str, Any]:
        """That they are files, and what was said of them; each pair's manifest names its own file."""
        return {"depth": "files", "depth_kind": self.kind}

    def files(self, name: str) -> dict[str, Path]:
        """The one file of that name."""
        candidates = [self.place] if self.place.is_file() else [self.place / f"{name}{end}" for end in _SUFFIXES]
        for folder in (self.place / name, self.place):
            if (folder / MANIFEST_NAME).is_file():
                candidates.append(folder / str(io.read_manifest(folder).get("files", {}).get("data")))
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise WrongFile(
                f"{self.place} has no depth for {name}; expected {name}{{{','.join(_SUFFIXES)}}} or a result folder "
                f"{name}/."
            )
        return {"depth": found}

    def __call__(self, shot: Shot) -> AnyMap:
        """The map of the file, shrunk as the picture was."""
        path = self.files(shot.name)["depth"]
        found = read_depth(path, self.kind)
        return found.resized(*shot.image.shape[-2:]) if (found.height, found.width) == shot.size else found


class PairDepth:
    """Disparity in px that a matcher finds between the picture and its right partner.

    What only one of the two cameras sees, the matcher has filled from the background.

    Args:
        matcher: any.
        rights: folder of right pictures of the same names.

    Raises:
        WrongFile: not a folder.
    """

    def __init__(self, matcher: StereoMatcher, rights: Path) -> None:
        self.matcher = matcher
        self.rights = io.require_folder(rights)

    def facts(self) -> dict[str, Any]:
        """The matcher and its options."""
        return {"depth": "pair", **{key: value for key, value in self.matcher.facts().items() if key != "device"}}

    def files(self, name: str) -> dict[str, Path]:
        """The right picture."""
        found = [path for path in sorted(self.rights.glob(f"{name}.*")) if io.is_image(path) and path.stem == name]
        if not found:
            raise WrongFile(f"{self.rights} has no partner for {name}; both folders need the same file names.")
        return {"right": found[0]}

    def __call__(self, shot: Shot) -> AnyMap:
        """The matcher's disparity at the pair's own size, shrunk as the picture was."""
        right = self.files(shot.name)["right"]
        if shot.path is None:
            raise WrongInput("frames of a video have no right pictures; take depth from a model or from files.")
        found = self.matcher(StereoPair.read(shot.path, right, name=shot.name))
        return found.resized(*shot.image.shape[-2:])


def flip_confidence(inverse_depth: Float[Tensor, "h w"], flipped_back: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """How far the depth of a picture and of its mirror image agree, 1 where most.

    c = 1 - |n(m) - n(m_f)|, then stretched to [0, 1]; n stretches to [0, 1], too. Where both agree everywhere, 1.

    Args:
        inverse_depth: m, of any scale and shift.
        flipped_back: m_f, of the mirrored picture, mirrored back.

    Source: Wang et al., ZeroStereo, ICCV 2025.
    """
    agreement = 1 - (_stretched(inverse_depth) - _stretched(flipped_back)).abs()
    low, high = torch.aminmax(agreement)
    # Differences of rounding are no doubt.
    return torch.ones_like(agreement) if float(high - low) < 1e-5 else (agreement - low) / (high - low)


def read_depth(path: Path, kind: str | None = None) -> AnyMap:
    """A map from a file; what its numbers are says the file (`.npz`) or the caller.

    A PNG of inverse depth holds any numbers of 8 or 16 bit, larger is nearer; that of a disparity is KITTI's, that of a
    depth states its unit.

    Raises:
        WrongFile: missing, damaged, of another kind, or without one.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        found = read_map(path)
        held = found.quantity.replace("_", "-")
        if kind not in (None, held):
            raise WrongFile(f"{path} holds {held}, not {kind}; leave the kind away, the file knows it.")
        return found
    if kind is None:
        raise WrongFile(f"{path} does not say what it holds; give --depth-kind disparity, inverse-depth or depth.")
    if kind == "inverse-depth" and suffix == ".png":
        values = torch.from_numpy(io.read_scaled_png(path, 1)[0])
        return InverseDepthMap(values, torch.ones_like(values, dtype=torch.bool))
    return _KINDS[kind].read(path)


def _stretched(values: Tensor) -> Tensor:
    low, high = torch.aminmax(values)
    return (values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)
