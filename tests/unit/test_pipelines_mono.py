import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import depthweave as dw
from depthweave import images, io
from depthweave.errors import DepthweaveWarning, NotFinite, WrongInput
from depthweave.geometry import intrinsics_matrix
from depthweave.models.mono.estimate import Estimate
from depthweave.models.registry import find_model
from depthweave.pipelines.mono import Estimating, MonoEstimator, Sampling
from depthweave.types import Camera, DepthMap, InverseDepthMap, Scale

HEIGHT, WIDTH = 18, 24


@dataclass
class Config:
    size: int = 14


@dataclass
class Oracle:
    """Says that red is depth."""

    kind: str = "depth"
    scale: Scale = Scale.METRIC
    focal_px: float | None = None
    confidence: Tensor | None = None
    config: Config = field(default_factory=Config)
    asked: list[Tensor] = field(default_factory=list)
    where: list[torch.device] = field(default_factory=list)

    def to(self, device: torch.device) -> None:
        self.where.append(device)

    def __call__(self, image: Tensor) -> Estimate:
        self.asked.append(image)
        return Estimate(image[0].clone(), self.kind, self.scale, self.focal_px, self.confidence)


class Dice(Oracle):
    def sample(self, image: Tensor, *, seed: int) -> Estimate:
        noise = torch.rand(image.shape[-2:], generator=torch.Generator().manual_seed(seed))
        return Estimate(noise, "depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


class Fragile(Oracle):
    """Overflows wherever autocast is on."""

    whole: float = 1.0

    def __call__(self, image: Tensor) -> Estimate:
        half = torch.is_autocast_enabled("cpu")
        self.asked.append(image)
        return Estimate(torch.full(image.shape[-2:], torch.inf if half else self.whole), self.kind, self.scale)


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["depth", "inverse_depth"])
@pytest.mark.parametrize("scale", list(Scale))
def test_the_type_says_what_the_numbers_are(picture: Tensor, kind: str, scale: Scale) -> None:
    oracle = Oracle(kind, scale, confidence=picture[1])
    found = MonoEstimator(oracle, device="cpu")(picture)
    assert type(found) is (DepthMap if kind == "depth" else InverseDepthMap)
    assert found.scale == scale
    assert found.values.dtype == torch.float32
    assert torch.equal(found.values, picture[0])
    assert torch.equal(found.confidence, picture[1])
    assert torch.equal(found.image, picture)
    assert found.camera is None
    assert oracle.where == [torch.device("cpu")]


def test_only_metric_zeros_are_invalid(picture: Tensor) -> None:
    picture[0, 3, 4] = 0
    for scale, usable in ((Scale.METRIC, False), (Scale.UNKNOWN_SCALE_AND_SHIFT, True)):
        found = MonoEstimator(Oracle(scale=scale), device="cpu")(picture)
        assert bool(found.valid[3, 4]) is usable
        assert int((~found.valid).sum()) == (0 if usable else 1)


def test_results_can_be_trained_on(picture: Tensor) -> None:
    found = MonoEstimator(Oracle(confidence=picture[1]), device="cpu")(picture)
    weight = torch.ones((), requires_grad=True)
    (weight * found.values * found.confidence).sum().backward()
    assert weight.grad is not None


def test_a_focal_length_makes_a_camera(picture: Tensor) -> None:
    found = MonoEstimator(Oracle(focal_px=30.0), device="cpu")(picture)
    assert torch.equal(found.camera.intrinsics, intrinsics_matrix(30.0, 30.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2))
    assert len(found.to_points(keep_flying=True)) == int(found.valid.sum())


def test_a_known_camera_stands_above_the_found_one(picture: Tensor) -> None:
    camera = Camera(intrinsics_matrix(60.0, 60.0, 10.0, 9.0), WIDTH, HEIGHT)
    without = MonoEstimator(Oracle(), device="cpu")(picture, camera=camera)
    assert without.camera is camera
    assert torch.equal(without.values, picture[0])
    found = MonoEstimator(Oracle(focal_px=30.0), device="cpu")(picture, camera=camera)
    assert found.camera is camera
    torch.testing.assert_close(found.values, 2 * picture[0])
    with pytest.raises(WrongInput, match=r"camera is for 24x18 px, but the picture has 12x18"):
        MonoEstimator(Oracle(), device="cpu")(picture[..., :12], camera=camera)


def test_every_picture_that_a_user_may_have(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    io.write_image(tmp_path / "picture.png", pixels)
    tensor = images.tensor_from_image(pixels)
    given = [pixels, tensor, Image.fromarray(pixels), tmp_path / "picture.png", str(tmp_path / "picture.png")]
    found = MonoEstimator(Oracle(), device="cpu")(given)
    assert [type(item) for item in found] == [DepthMap] * 5
    assert all(torch.equal(item.values, tensor[0]) for item in found)
    assert MonoEstimator(Oracle(), device="cpu")(pixels[..., 0]).values.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(("size", "words"), [((7, 40), "too small"), ((8, 400), "too narrow")])
def test_pictures_that_no_model_can_see_depth_in(size: tuple[int, int], words: str) -> None:
    with pytest.raises(WrongInput, match=rf"a picture of {size[1]}x{size[0]} px is {words}"):
        MonoEstimator(Oracle(), device="cpu")(torch.rand(3, *size))


def test_seeds_belong_to_models_that_draw(picture: Tensor) -> None:
    assert isinstance(Oracle(), Estimating)
    assert not isinstance(Oracle(), Sampling)
    dice = MonoEstimator(Dice(), device="cpu")
    assert dice.facts()["seed"] == 0
    assert torch.equal(dice(picture).values, dice(picture, seed=0).values)
    assert not torch.equal(dice(picture).values, dice(picture, seed=1).values)
    assert torch.equal(MonoEstimator(Dice(), seed=1, device="cpu")(picture).values, dice(picture, seed=1).values)
    first, second = dice([picture, picture], seed=5)
    assert torch.equal(first.values, second.values)
    with pytest.raises(WrongInput, match=r"Oracle draws no random numbers.*leave it away"):
        MonoEstimator(Oracle(), seed=1, device="cpu")
    with pytest.raises(WrongInput, match="takes no seed"):
        MonoEstimator(Oracle(), device="cpu")(picture, seed=1)
    assert MonoEstimator(Oracle(), device="cpu").facts()["seed"] is None


def test_half_precision_that_overflows_is_done_again(picture: Tensor) -> None:
    fragile = Fragile()
    with pytest.warns(DepthweaveWarning, match=r"not finite in bfloat16.*--dtype float32"):
        found = MonoEstimator(fragile, device="cpu", dtype="bfloat16")(picture)
    assert float(found.values.max()) == 1
    assert len(fragile.asked) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MonoEstimator(Fragile(), device="cpu")(picture)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore::depthweave.errors.DepthweaveWarning")
def test_values_that_are_never_finite_are_an_error(picture: Tensor, dtype: str) -> None:
    broken = Fragile()
    broken.whole = torch.nan
    estimator = MonoEstimator(broken, device="cpu", dtype=dtype)
    with pytest.raises(NotFinite, match="Fragile gave values that are not finite in float32"):
        estimator(picture)


def test_facts_say_what_made_a_result() -> None:
    facts = MonoEstimator(Oracle(), device="cpu", dtype="bfloat16").facts()
    assert facts == {
        "model": "Oracle",
        "revision": None,
        "licence": None,
        "options": {"size": 14},
        "seed": None,
        "device": "cpu",
        "dtype": "bfloat16",
    }
    card = find_model("depth-pro")
    facts = MonoEstimator(Oracle(), card=card, revision="abc", device="cpu").facts()
    assert (facts["model"], facts["revision"], facts["licence"]) == ("depth-pro", "abc", "apple-amlr")


def test_it_is_public() -> None:
    assert dw.MonoEstimator is MonoEstimator
