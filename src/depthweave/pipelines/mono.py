"""Single pictures: a picture in, depth or inverse depth out."""

from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import geometry, runtime
from depthweave.errors import WrongInput
from depthweave.models.mono.estimate import Estimate
from depthweave.models.registry import ModelCard
from depthweave.pipelines.precision import compute_finite
from depthweave.types import Camera, DepthMap, InverseDepthMap, Picture, Scale, SparseDepth, read_picture

SMALLEST_SIDE_PX = 8
LONGEST_ASPECT = 32


@runtime_checkable
class Estimating(Protocol):
    """What a model is to this pipeline: a picture in [0, 1] to an estimate of the same size."""

    config: Any

    def to(self, device: torch.device) -> None:
        """Move the weights."""

    def __call__(self, image: Float[Tensor, "3 h w"]) -> Estimate:
        """Estimate the depth of a picture."""


@runtime_checkable
class Sampling(Estimating, Protocol):
    """A model that draws random numbers: the same seed gives the same estimate."""

    def sample(self, image: Float[Tensor, "3 h w"], *, seed: int) -> Estimate:
        """Estimate the depth of a picture from the noise of this seed."""


@runtime_checkable
class Prompted(Estimating, Protocol):
    """A model that needs a coarse map in metres beside the picture."""

    def prompt_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the coarse map of a picture of that size."""

    def prompted(self, image: Float[Tensor, "3 h w"], prompt_m: Float[Tensor, "_ _"]) -> Estimate:
        """Estimate the depth of a picture with a coarse map of it in m."""


class MonoEstimator:
    """Any model for single pictures behind one call.

    >>> depth = MonoEstimator(ZoeDepthEstimator(network, ZoeDepthSettings()))("picture.jpg")

    Args:
        estimating: the model; its weights move to the device.
        seed: of models that sample, which draw from 0 without one; the others refuse it.
        card: facts for manifests.
        revision: commit of the weights in use; without one, what the card pins.
        device: where the model runs; results return to the CPU.
        dtype: auto, float32, float16 or bfloat16; half precision runs under autocast. Values that are not finite are
            computed once more in float32, with a warning.

    Raises:
        WrongInput: a device or number type that there is not, or a seed for a model that draws no random numbers.
    """

    def __init__(
        self,
        estimating: Estimating,
        *,
        seed: int | None = None,
        card: ModelCard | None = None,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.estimating = estimating
        self.card = card
        self.revision = revision
        self.device = runtime.choose_device(device)
        self.dtype = runtime.choose_dtype(dtype, self.device)
        self.seed = self._seed(seed, otherwise=0)
        estimating.to(self.device)

    @property
    def name(self) -> str:
        """Of the model."""
        return type(self.estimating).__name__ if self.card is None else self.card.name

    @overload
    def __call__(
        self,
        image: Picture,
        *,
        camera: Camera | None = None,
        seed: int | None = None,
        prompt: SparseDepth | None = None,
    ) -> DepthMap | InverseDepthMap: ...

    @overload
    def __call__(
        self,
        image: list[Picture],
        *,
        camera: Camera | None = None,
        seed: int | None = None,
        prompt: SparseDepth | None = None,
    ) -> list[DepthMap | InverseDepthMap]: ...

    def __call__(
        self,
        image: Picture | list[Picture],
        *,
        camera: Camera | None = None,
        seed: int | None = None,
        prompt: SparseDepth | None = None,
    ) -> DepthMap | InverseDepthMap | list[DepthMap | InverseDepthMap]:
        """Estimate the depth of a picture, or of each in a list (a list comes back).

        Args:
            image: path, PIL picture, array or tensor.
            camera: of the picture, if it is known. The result carries it; depth that a model found together with a
                focal length of its own is scaled to this one.
            seed: instead of the pipeline's. Every picture of a list starts from it.
            prompt: sparse depth of the picture, for models that need it; to bring another model's answer to metres, see
                `depthweave.pipelines.sparse_depth.fuse_sparse`.

        Returns:
            A `DepthMap` or `InverseDepthMap` of the picture's size; its ``scale`` says what is unknown. Where the
            model finds the focal length, the camera has it, with the principal point in the middle.

        Raises:
            WrongInput: a picture too small or too narrow, a camera of another size, a seed or a prompt that is not
                wanted.
            NotFinite: the model's values are not finite in float32 either.
        """
        if isinstance(image, list):
            return [self(item, camera=camera, seed=seed, prompt=prompt) for item in image]
        chosen = self._seed(seed, otherwise=self.seed)
        picture = read_picture(image)
        height, width = picture.shape[-2:]
        _require_size(height, width)
        if camera is not None and (camera.height, camera.width) != (height, width):
            raise WrongInput(
                f"the camera is for {camera.width}x{camera.height} px, but the picture has {width}x{height}; "
                "use camera.resized(height, width)."
            )
        found = self._estimate(picture.to(self.device), chosen, self._coarse(prompt, height, width))
        # Clones made out here are ordinary tensors, which a loss may use later.
        values = found.values.to("cpu", torch.float32).clone()
        confidence = None if found.confidence is None else found.confidence.to("cpu", torch.float32).clone()
        if found.focal_px is not None:
            if camera is None:
                intrinsics = geometry.intrinsics_matrix(
                    found.focal_px, found.focal_px, (width - 1) / 2, (height - 1) / 2
                )
                camera = Camera(intrinsics, width, height)
            else:
                values = values * (camera.focal_px / found.focal_px)
        valid = values > 0 if found.scale == Scale.METRIC else torch.ones_like(values, dtype=torch.bool)
        kind = DepthMap if found.kind == "depth" else InverseDepthMap
        return kind(values, valid, confidence, camera, picture, found.scale)

    def facts(self) -> dict[str, Any]:
        """What made a result, for its manifest."""
        card = self.card
        return {
            "model": self.name,
            "revision": card.revision if self.revision is None and card is not None else self.revision,
            "licence": None if card is None else card.licence,
            "options": asdict(self.estimating.config),
            "seed": self.seed,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def _seed(self, asked: int | None, *, otherwise: int | None) -> int | None:
        if isinstance(self.estimating, Sampling):
            return otherwise if asked is None else asked
        if asked is not None:
            raise WrongInput(f"{self.name} draws no random numbers, so it takes no seed; leave it away.")
        return None

    def _coarse(self, prompt: SparseDepth | None, height: int, width: int) -> Float[Tensor, "_ _"] | None:
        """The prompt as a coarse map on the device, None for a model without one."""
        if prompt is None:
            return None
        if not isinstance(self.estimating, Prompted):
            raise WrongInput(
                f"{self.name} takes no prompt; bring its answer to metres with fuse_sparse(answer, sparse)."
            )
        if (prompt.height, prompt.width) != (height, width):
            raise WrongInput(
                f"the prompt is for {prompt.width}x{prompt.height} px, but the picture has {width}x{height}; "
                "use prompt.resized(height, width)."
            )
        return prompt.upsampled(*self.estimating.prompt_shape(height, width)).values.to(self.device)

    def _estimate(
        self, picture: Float[Tensor, "3 h w"], seed: int | None, coarse_m: Float[Tensor, "_ _"] | None
    ) -> Estimate:
        model = self.estimating

        def run() -> Estimate:
            if isinstance(model, Sampling) and seed is not None:
                return model.sample(picture, seed=seed)
            if isinstance(model, Prompted) and coarse_m is not None:
                return model.prompted(picture, coarse_m)
            return model(picture)

        return compute_finite(
            run, lambda found: found.values, name=self.name, what="picture", device=self.device, dtype=self.dtype
        )


def build(
    source: ModelCard | str | PathLike[str],
    *,
    card: ModelCard | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int | None = None,
    **options: Any,
) -> MonoEstimator:
    """The estimator of a card, a local folder or a hub id.

    Args:
        source: a card of a model on the hub, a folder with ``config.json`` or ``model_index.json``, or a hub id.
        card: facts about a folder.
        device, dtype, seed: as in `MonoEstimator`.
        options: settings of the model, above those of its card.

    Raises:
        UnknownModel, MissingWeights, MissingLibrary, WrongFile, WrongInput: see `depthweave.models.mono.hub`.
    """
    from depthweave.models.mono import hub

    if isinstance(source, ModelCard):
        card = source
        folder = hub.fetch(card.source, card.revision)
    else:
        folder = Path(source) if Path(source).is_dir() else hub.fetch(str(source))
    if card is None:
        unstated = "not stated"
        kind = hub.open_saved(folder).kind
        card = ModelCard(str(source), "mono", kind, "", str(source), unstated, None, 0, unstated, unstated)
    estimating = hub.read_estimator(folder, {**card.settings, **options}, family=card.family)
    commit = folder.name if folder.parent.name == "snapshots" else None
    return MonoEstimator(estimating, seed=seed, card=card, revision=commit, device=device, dtype=dtype)


def _require_size(height: int, width: int) -> None:
    if min(height, width) < SMALLEST_SIDE_PX:
        raise WrongInput(
            f"a picture of {width}x{height} px is too small to see depth in; "
            f"both sides need at least {SMALLEST_SIDE_PX} px."
        )
    if max(height, width) > LONGEST_ASPECT * min(height, width):
        raise WrongInput(
            f"a picture of {width}x{height} px is too narrow for models of depth; cut it into parts whose longer side "
            f"is at most {LONGEST_ASPECT} times the shorter one."
        )
