"""Disparity, depth and inverse depth: the unit is the type, the scale ambiguity is a field."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import alignment, geometry, images, io
from depthweave.errors import NeedsCalibration, NeedsMetric, WrongFile, WrongInput
from depthweave.io.npz import MapKind
from depthweave.types.camera import Camera
from depthweave.types.cloud import PointCloud
from depthweave.types.picture import Picture, read_picture

M = TypeVar("M", bound="_Map")


class Scale(StrEnum):
    """What is unknown about the numbers of a depth or inverse depth map."""

    METRIC = "metric"
    UNKNOWN_SCALE = "unknown_scale"
    UNKNOWN_SCALE_AND_SHIFT = "unknown_scale_and_shift"


@dataclass(frozen=True, eq=False)
class _Map(ABC):
    values: Float[Tensor, "h w"]
    valid: Bool[Tensor, "h w"]
    confidence: Float[Tensor, "h w"] | None = None
    camera: Camera | None = None
    image: Float[Tensor, "3 _ _"] | None = None

    quantity: ClassVar[MapKind]
    unit: ClassVar[str]

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        others = {"valid": self.valid, "confidence": self.confidence}
        for name, field in others.items():
            if field is not None and tuple(field.shape) != shape:
                raise WrongInput(f"{name} has shape {tuple(field.shape)}, but the values have {shape}.")
        if self.image is not None and tuple(self.image.shape[-2:]) != shape:
            raise WrongInput(f"the image has size {tuple(self.image.shape[-2:])}, but the values have {shape}.")
        if self.camera is not None and (self.camera.height, self.camera.width) != shape:
            raise WrongInput(
                f"the camera is for {self.camera.width}x{self.camera.height} px, but the map is "
                f"{shape[1]}x{shape[0]} px; use camera.resized(height, width)."
            )
        if not bool(torch.isfinite(self.values).all()):
            raise WrongInput("values must be finite; mark unknown pixels in `valid` and put any number under them.")

    @property
    def height(self) -> int:
        """Rows."""
        return self.values.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.values.shape[1]

    def numpy(self, *, invalid: float = np.nan) -> NDArray[np.float32]:
        """Values as float32 (H, W) with ``invalid`` at invalid pixels."""
        return torch.where(self.valid, self.values, invalid).cpu().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.numpy(), dtype=dtype)

    def colorize(self, limits: images.ColorRange | None = None, *, name: str = "turbo") -> NDArray[np.uint8]:
        """Picture (H, W, 3): near is warm, invalid is grey; 2-98 % of the valid values unless ``limits`` says more."""
        shown = self._shown()
        return images.colorize(shown, self.valid, limits or images.color_range(shown, self.valid), name=name)

    def with_image(self: M, image: Picture) -> M:
        """The same map with the picture it belongs to, for coloured clouds and previews."""
        return replace(self, image=read_picture(image))

    def resized(self: M, height: int, width: int) -> M:
        """The map at another size by the nearest pixel, so that no filler leaks; disparity is scaled with the width."""
        if (self.height, self.width) == (height, width):
            return self
        values, valid = images.resize_disparity(self.values, height, width, self.valid)
        if self.quantity != "disparity":
            values = values * (self.width / width)
        confidence = None
        if self.confidence is not None:
            confidence = images.resize_image(self.confidence[None], height, width)[0].clamp(0, 1)
        image = None if self.image is None else images.resize_image(self.image, height, width).clamp(0, 1)
        camera = None if self.camera is None else self.camera.resized(height, width)
        return replace(self, values=values, valid=valid, confidence=confidence, camera=camera, image=image)

    def save(self, path: str | PathLike[str], *, facts: Mapping[str, Any] | None = None) -> None:
        """Write the map to a file, or everything about it to a folder.

        ``.npz`` keeps all (values, mask, confidence, camera); ``.pfm`` and ``.exr`` keep values with invalid = inf;
        ``.png`` is 16 bit: KITTI's value x 256 for disparity, whole millimetres for metric depth. A path without suffix
        is a result folder: ``result.json``, the map as ``.npz`` and ``.pfm``, ``preview.png`` and, when the camera is
        known, ``depth.npz`` (unless the map is one) and, unless it has no point, ``cloud.ply``.

        Args:
            path: file or folder.
            facts: further entries of ``result.json``, e.g. model and timings.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == "":
            self._save_folder(path, facts or {})
        elif suffix == ".npz":
            io.write_npz(path, self._to_file())
        elif suffix == ".pfm":
            io.write_pfm(path, _numpy(self.values), _numpy(self.valid))
        elif suffix == ".exr":
            io.write_exr(path, _numpy(self.values), _numpy(self.valid))
        elif suffix == ".png":
            self._save_png(path)
        else:
            raise WrongFile(f"{path}: a {self.quantity} map is saved as .npz, .pfm, .exr, .png or a folder.")

    @classmethod
    def read(cls: type[M], path: str | PathLike[str], *, camera: Camera | None = None) -> M:
        """Read what `save` wrote: a result folder or one of its files.

        Files other than ``.npz`` know no camera and no scale: pass the one, and see the class for the other. A camera
        that is passed stands above the one in the file.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == "":
            found = cls._read_folder(path)
            return found if camera is None else replace(found, camera=camera)
        if suffix == ".npz":
            found = cls._from_file(io.read_npz(path), path)
            return found if camera is None else replace(found, camera=camera)
        readers = {".pfm": io.read_pfm, ".exr": io.read_exr, ".png": cls._read_png}
        if suffix not in readers:
            raise WrongFile(f"{path}: a {cls.quantity} map is read from .npz, .pfm, .exr, .png or a result folder.")
        values, valid = readers[suffix](path)
        return cls._make(values, valid, camera=camera)

    def _shown(self) -> Tensor:
        return self.values

    def _scale(self) -> Scale | None:
        return None

    def _with_scale(self: M, scale: Scale) -> M:
        return self

    def _save_png(self, path: Path) -> None:
        raise WrongFile(f"{path}: a {self.quantity} map has no 16-bit PNG form; save it as .npz, .pfm or .exr.")

    @classmethod
    def _read_png(cls, path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        raise WrongFile(f"{path}: a {cls.quantity} map has no 16-bit PNG form; use .npz, .pfm or .exr.")

    @classmethod
    def _make(
        cls: type[M],
        values: NDArray[np.float32],
        valid: NDArray[np.bool_],
        *,
        camera: Camera | None = None,
        confidence: NDArray[np.float32] | None = None,
        scale: Scale | None = None,
    ) -> M:
        known = None if confidence is None else torch.from_numpy(confidence)
        found = cls(torch.from_numpy(values), torch.from_numpy(valid), known, camera)
        return found if scale is None else found._with_scale(scale)

    def _to_file(self) -> io.MapFile:
        camera, scale = self.camera, self._scale()
        return io.MapFile(
            kind=self.quantity,
            values=_numpy(self.values),
            valid=_numpy(self.valid),
            confidence=None if self.confidence is None else _numpy(self.confidence),
            intrinsics=None if camera is None else camera.intrinsics.double().numpy(),
            baseline_m=None if camera is None else camera.baseline_m,
            doffs_px=0.0 if camera is None else camera.doffs_px,
            scale=None if scale is None else str(scale),
        )

    @classmethod
    def _from_file(cls: type[M], file: io.MapFile, path: Path) -> M:
        if file.kind != cls.quantity:
            raise WrongFile(f"{path} holds {file.kind}, not {cls.quantity}; read it with the type of that name.")
        camera = None
        if file.intrinsics is not None:
            height, width = file.values.shape
            intrinsics = torch.from_numpy(file.intrinsics).to(torch.float32)
            camera = Camera(intrinsics, width, height, file.baseline_m, file.doffs_px)
        scale = None if file.scale is None else Scale(file.scale)
        return cls._make(file.values, file.valid, camera=camera, confidence=file.confidence, scale=scale)

    def _save_folder(self, folder: Path, facts: Mapping[str, Any]) -> None:
        io.discard_result(folder)
        limits = images.color_range(self._shown(), self.valid)
        files = {"data": f"{self.quantity}.npz", "pfm": f"{self.quantity}.pfm", "preview": "preview.png"}
        self.save(folder / files["data"])
        self.save(folder / files["pfm"])
        preview = self.colorize(limits)
        if self.image is not None:
            preview = np.concatenate((images.image_from_tensor(self.image), preview), axis=1)
        io.write_image(folder / files["preview"], preview)
        depth = self._known_depth()
        if depth is not None:
            if depth is not self:
                files["depth"] = "depth.npz"
                depth.save(folder / files["depth"])
            cloud = depth.to_points()
            if len(cloud) > 0:
                files["cloud"] = "cloud.ply"
                cloud.save(folder / files["cloud"])
        scale = self._scale()
        shown = "disparity" if self.quantity == "disparity" else "inverse_depth"
        # The manifest comes last: a folder that has one is complete.
        io.write_manifest(
            folder,
            {
                "type": self.quantity,
                "unit": self.unit if scale in (None, Scale.METRIC) else "relative",
                "scale": None if scale is None else str(scale),
                "height": self.height,
                "width": self.width,
                "valid_share": float(self.valid.float().mean()),
                "camera": None if self.camera is None else self.camera.to_dict(),
                "color_range": {"of": shown, "low": limits.low, "high": limits.high, "map": "turbo"},
                "files": files,
                **facts,
            },
        )

    @classmethod
    def _read_folder(cls: type[M], folder: Path) -> M:
        manifest = io.read_manifest(folder)
        if manifest.get("type") != cls.quantity:
            raise WrongFile(
                f"{folder} holds {manifest.get('type', 'no map')}, not {cls.quantity}; "
                "read it with the type of that name."
            )
        found = cls.read(folder / manifest["files"]["data"])
        camera = manifest["camera"]
        return found if camera is None else replace(found, camera=Camera.from_dict(camera))

    @abstractmethod
    def _known_depth(self) -> "DepthMap | None": ...


@dataclass(frozen=True, eq=False)
class DisparityMap(_Map):
    """Disparity in px of the left image: x_right = x_left - d, positive in front of the cameras.

    Attributes:
        values: (h, w) float32, finite everywhere.
        valid: (h, w) bool; False marks pixels without a measurement, whose value is a filler.
        confidence: (h, w) in [0, 1] or None.
        camera: of the left image, with the baseline if the pair is calibrated.
        image: (3, h, w) left image in [0, 1], for colours.
    """

    quantity = "disparity"
    unit = "px"

    def to_depth(self) -> "DepthMap":
        """Depth in metres: Z = f b / (d + doffs). Pixels with d + doffs <= 0 (at or beyond infinity) become invalid.

        Raises:
            NeedsCalibration: focal length or baseline is unknown.
        """
        camera = self._calibrated()
        depth_m = geometry.depth_from_disparity(
            self.values,
            focal_px=camera.focal_px,
            baseline_m=camera.baseline_m or 0.0,
            doffs_px=camera.doffs_px,
        )
        finite = torch.isfinite(depth_m)
        return DepthMap(
            torch.where(finite, depth_m, 0.0), self.valid & finite, self.confidence, camera, self.image, Scale.METRIC
        )

    def to_inverse_depth(self) -> "InverseDepthMap":
        """Inverse depth: in 1/m when the pair is calibrated, else d + doffs (0 if unknown) with UNKNOWN_SCALE."""
        camera = self.camera
        if camera is None or camera.baseline_m is None:
            doffs_px = 0.0 if camera is None else camera.doffs_px
            total, scale = self.values + doffs_px, Scale.UNKNOWN_SCALE
        else:
            total = (self.values + camera.doffs_px) / (camera.focal_px * camera.baseline_m)
            scale = Scale.METRIC
        return InverseDepthMap(total, self.valid & (total > 0), self.confidence, camera, self.image, scale)

    def to_points(self, image: Picture | None = None, *, keep_flying: bool = False) -> PointCloud:
        """The cloud of `to_depth`; see `DepthMap.to_points`."""
        return self.to_depth().to_points(image, keep_flying=keep_flying)

    def _calibrated(self) -> Camera:
        if self.camera is None or self.camera.baseline_m is None:
            missing = "camera" if self.camera is None else "baseline"
            raise NeedsCalibration(
                f"metres need the pair's calibration, and its {missing} is unknown: give the pair calibration=... "
                "(-c on the command line) with focal length and baseline, or use to_inverse_depth() for relative depth."
            )
        return self.camera

    def _save_png(self, path: Path) -> None:
        io.write_kitti_png(path, _numpy(self.values), _numpy(self.valid))

    @classmethod
    def _read_png(cls, path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return io.read_kitti_png(path)

    def _known_depth(self) -> "DepthMap | None":
        known = self.camera is not None and self.camera.baseline_m is not None
        return self.to_depth() if known else None


@dataclass(frozen=True, eq=False)
class DepthMap(_Map):
    """Depth along the optical axis (z, not ray length), in metres if ``scale`` is METRIC.

    Other attributes as in `DisparityMap`. Files without a scale (``.pfm``, ``.exr``) are read as UNKNOWN_SCALE; PNG
    files state their unit and are METRIC.
    """

    scale: Scale = Scale.UNKNOWN_SCALE

    quantity = "depth"
    unit = "m"

    def to_disparity(self, camera: Camera | None = None) -> DisparityMap:
        """Disparity in px of a pair with the given (or own) camera: d = f b / Z - doffs.

        Raises:
            NeedsMetric: the depth is not metric.
            NeedsCalibration: no camera with a baseline.
        """
        _require_metric(self.scale, "disparity")
        camera = camera or self.camera
        if camera is None or camera.baseline_m is None:
            raise NeedsCalibration("disparity needs a camera with focal length and baseline; pass camera=Camera(...).")
        d = geometry.disparity_from_depth(
            self.values, focal_px=camera.focal_px, baseline_m=camera.baseline_m, doffs_px=camera.doffs_px
        )
        finite = torch.isfinite(d)
        return DisparityMap(torch.where(finite, d, 0.0), self.valid & finite, self.confidence, camera, self.image)

    def to_inverse_depth(self) -> "InverseDepthMap":
        """1 / Z with the same scale.

        Raises:
            NeedsMetric: the shift is unknown, so that the inverse means nothing.
        """
        _require_shift(self.scale, "inverse depth")
        values, valid = _reciprocal(self.values, self.valid)
        return InverseDepthMap(values, valid, self.confidence, self.camera, self.image, self.scale)

    def to_points(self, image: Picture | None = None, *, keep_flying: bool = False) -> PointCloud:
        """Coloured points of the valid pixels in camera axes, without the flying pixels at edges.

        Args:
            image: picture for the colours; by default the one that the map carries.
            keep_flying: keep pixels that hang between two surfaces (see `depthweave.geometry.flying_pixels`).

        Raises:
            NeedsCalibration: the camera is unknown.
            NeedsMetric: the shift is unknown, which bends every surface.
        """
        _require_shift(self.scale, "a point cloud")
        if self.camera is None:
            raise NeedsCalibration("a point cloud needs the camera's intrinsics; give the map a camera.")
        keep = self.valid & (self.values > 0)
        if not keep_flying:
            keep &= ~geometry.flying_pixels(self.values, keep)
        points = geometry.unproject(self.values, self.camera.intrinsics)[keep]
        picture = self.image if image is None else self.with_image(image).image
        colors = None
        if picture is not None:
            colors = (picture * 255).round().to(torch.uint8).permute(1, 2, 0)[keep]
        return PointCloud(points, colors, self.scale)

    def align_to(
        self, reference: "DepthMap", *, method: alignment.Method = "least_squares", shift: bool | None = None
    ) -> "DepthMap":
        """The depth brought to a reference by a fit **in depth**; its scale becomes the reference's.

        Args:
            reference: depth of the same size, e.g. metric LiDAR depth; pixels valid in both count.
            method: ``least_squares``, ``huber`` (outliers count less) or ``median``.
            shift: fit a shift too; by default only when this map's shift is unknown.
        """
        values, valid = _aligned(self, reference, self.scale, method, shift)
        return replace(self, values=values, valid=valid, scale=reference.scale)

    def _shown(self) -> Tensor:
        return _reciprocal(self.values, self.valid)[0] if self.scale != Scale.UNKNOWN_SCALE_AND_SHIFT else -self.values

    def _scale(self) -> Scale | None:
        return self.scale

    def _with_scale(self, scale: Scale) -> "DepthMap":
        return replace(self, scale=scale)

    def _save_png(self, path: Path) -> None:
        _require_metric(self.scale, "a depth PNG in millimetres")
        io.write_depth_png(path, _numpy(self.values), _numpy(self.valid))

    @classmethod
    def _read_png(cls, path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return io.read_depth_png(path)

    @classmethod
    def read(cls, path: str | PathLike[str], *, camera: Camera | None = None) -> "DepthMap":
        """As `DisparityMap.read`; a PNG states its unit and so is METRIC."""
        found = super().read(path, camera=camera)
        return replace(found, scale=Scale.METRIC) if Path(path).suffix.lower() == ".png" else found

    def _known_depth(self) -> "DepthMap | None":
        known = self.camera is not None and self.scale != Scale.UNKNOWN_SCALE_AND_SHIFT
        return self if known else None


@dataclass(frozen=True, eq=False)
class InverseDepthMap(_Map):
    """Inverse depth 1 / Z, in 1/m if ``scale`` is METRIC: what most relative monocular models predict.

    Other attributes as in `DisparityMap`. Files without a scale are read as UNKNOWN_SCALE_AND_SHIFT.
    """

    scale: Scale = Scale.UNKNOWN_SCALE_AND_SHIFT

    quantity = "inverse_depth"
    unit = "1/m"

    def to_depth(self) -> DepthMap:
        """Depth, with the same scale; pixels with 1 / Z <= 0 become invalid.

        Raises:
            NeedsMetric: the shift is unknown, so that the inverse means nothing.
        """
        _require_shift(self.scale, "depth")
        values, valid = _reciprocal(self.values, self.valid)
        return DepthMap(values, valid, self.confidence, self.camera, self.image, self.scale)

    def to_disparity(self, camera: Camera | None = None) -> DisparityMap:
        """Disparity in px; see `DepthMap.to_disparity`."""
        _require_metric(self.scale, "disparity")
        return self.to_depth().to_disparity(camera)

    def to_points(self, image: Picture | None = None, *, keep_flying: bool = False) -> PointCloud:
        """The cloud of `to_depth`; see `DepthMap.to_points`."""
        return self.to_depth().to_points(image, keep_flying=keep_flying)

    def align_to(
        self,
        reference: "DepthMap | InverseDepthMap",
        *,
        method: alignment.Method = "least_squares",
        shift: bool | None = None,
    ) -> "InverseDepthMap":
        """The map brought to a reference by a fit **in inverse depth**; its scale becomes the reference's.

        Arguments as in `DepthMap.align_to`; a depth reference is inverted first.
        """
        target = reference.to_inverse_depth() if isinstance(reference, DepthMap) else reference
        values, valid = _aligned(self, target, self.scale, method, shift)
        return replace(self, values=values, valid=valid, scale=target.scale)

    def _scale(self) -> Scale | None:
        return self.scale

    def _with_scale(self, scale: Scale) -> "InverseDepthMap":
        return replace(self, scale=scale)

    def _known_depth(self) -> "DepthMap | None":
        known = self.camera is not None and self.scale != Scale.UNKNOWN_SCALE_AND_SHIFT
        return self.to_depth() if known else None


def _numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _reciprocal(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    positive = values > 0
    return torch.where(positive, 1 / values.clamp_min(1e-12), 0.0), valid & positive


def _aligned(
    prediction: DepthMap | InverseDepthMap,
    reference: DepthMap | InverseDepthMap,
    scale: Scale,
    method: alignment.Method,
    shift: bool | None,
) -> tuple[Tensor, Tensor]:
    if prediction.values.shape != reference.values.shape:
        raise WrongInput(
            f"a map of {tuple(prediction.values.shape)} cannot be aligned to one of {tuple(reference.values.shape)}; "
            "bring both to one size first."
        )
    with_shift = scale == Scale.UNKNOWN_SCALE_AND_SHIFT if shift is None else shift
    fit = alignment.fit_scale_shift if with_shift else alignment.fit_scale
    fitted = fit(prediction.values, reference.values, prediction.valid & reference.valid, method=method)
    values = fitted.apply(prediction.values)
    usable = prediction.valid & (values > 0)
    return torch.where(usable, values, 0.0), usable


def _require_metric(scale: Scale, wanted: str) -> None:
    if scale != Scale.METRIC:
        raise NeedsMetric(
            f"{wanted} needs metres, but this map has {scale.replace('_', ' ')}: align_to(reference) brings it to a "
            "metric reference, or choose a metric model."
        )


def _require_shift(scale: Scale, wanted: str) -> None:
    if scale == Scale.UNKNOWN_SCALE_AND_SHIFT:
        raise NeedsMetric(
            f"{wanted} needs a known shift, but this map has unknown scale and shift: align_to(reference) brings it "
            "to a reference, or choose a metric model."
        )


def read_map(path: str | PathLike[str]) -> DisparityMap | DepthMap | InverseDepthMap:
    """A map from an ``.npz`` file, of the type that the file states.

    Raises:
        WrongFile: missing, damaged, or without a map.
    """
    path = Path(path)
    found = io.read_npz(path)
    kinds: tuple[type[DisparityMap | DepthMap | InverseDepthMap], ...] = (DisparityMap, DepthMap, InverseDepthMap)
    return next(kind for kind in kinds if kind.quantity == found.kind)._from_file(found, path)
