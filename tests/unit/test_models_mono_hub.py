"""Models of other libraries in miniature: our preparation and ending against those of their authors."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_mono
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from depthweave import images
from depthweave.errors import MissingLibrary, MissingWeights, UnknownModel, WrongFile, WrongInput
from depthweave.models.conversion import write_hub
from depthweave.models.layers.imagenet import IMAGENET_MEAN, IMAGENET_STD
from depthweave.models.mono import hub
from depthweave.models.mono.depth_anything import DepthAnything, DepthAnythingConfig
from depthweave.models.mono.estimate import covering_size, nearest_size
from depthweave.models.mono.estimators import (
    DepthAnythingEstimator,
    DepthAnythingSettings,
    PredictedDepth,
)
from depthweave.models.registry import find_model
from depthweave.pipelines.mono import MonoEstimator, build
from depthweave.types import DepthMap, InverseDepthMap, Scale

HEIGHT, WIDTH = 40, 60


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "depth-anything": tiny_mono.write_depth_anything(root / "depth-anything"),
        "depth-anything-metric": tiny_mono.write_depth_anything(root / "depth-anything-metric", metric=True),
        "midas": tiny_mono.write_midas(root / "midas"),
        "zoedepth": tiny_mono.write_zoedepth(root / "zoedepth"),
        "depth-pro": tiny_mono.write_depth_pro(root / "depth-pro"),
        "depth-pro-without-focal": tiny_mono.write_depth_pro(root / "depth-pro-without-focal", with_focal=False),
        "marigold": tiny_mono.write_marigold(root / "marigold"),
        "marigold-disparity": tiny_mono.write_marigold(root / "marigold-disparity", prediction_type="disparity"),
    }


@pytest.fixture
def folder(folders: dict[str, Path], request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(folders[request.param], tmp_path / request.param))


@pytest.fixture(scope="module")
def pixels() -> Any:
    rough = np.random.default_rng(0).random((5, 7, 3))
    return (cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(pixels: Any) -> Tensor:
    return images.tensor_from_image(pixels)


@pytest.mark.parametrize(
    ("name", "kind", "scale", "options"),
    [
        ("depth-anything", InverseDepthMap, Scale.UNKNOWN_SCALE_AND_SHIFT, {"size": 70}),
        ("depth-anything-metric", DepthMap, Scale.METRIC, {"size": 70}),
        ("midas", InverseDepthMap, Scale.UNKNOWN_SCALE_AND_SHIFT, {}),
        ("zoedepth", DepthMap, Scale.METRIC, {}),
        ("depth-pro", DepthMap, Scale.METRIC, {}),
        ("depth-pro-without-focal", DepthMap, Scale.UNKNOWN_SCALE, {}),
        ("marigold", DepthMap, Scale.UNKNOWN_SCALE_AND_SHIFT, {}),
        ("marigold-disparity", InverseDepthMap, Scale.UNKNOWN_SCALE_AND_SHIFT, {}),
    ],
)
def test_every_model_says_what_it_found(
    name: str, kind: type, scale: Scale, options: dict[str, Any], folders: dict[str, Path], picture: Tensor
) -> None:
    estimator = build(folders[name], device="cpu", **options)
    found = estimator(picture)
    assert type(found) is kind
    assert found.scale == scale
    assert found.values.shape == (HEIGHT, WIDTH)
    assert float(found.values.std()) > 1e-3
    assert torch.equal(estimator(picture).values, found.values)
    assert (found.camera is not None) == (name == "depth-pro")
    facts = estimator.facts()
    assert (facts["model"], facts["licence"], facts["revision"]) == (str(folders[name]), "not stated", None)
    tall = estimator(picture.transpose(1, 2))
    assert tall.values.shape == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ["depth-anything", "midas", "zoedepth", "depth-pro", "marigold"])
def test_half_precision_comes_close(name: str, folders: dict[str, Path], picture: Tensor) -> None:
    options = {"size": 70} if name == "depth-anything" else {}
    whole = build(folders[name], device="cpu", **options)(picture).values
    half = build(folders[name], device="cpu", dtype="bfloat16", **options)(picture).values
    assert half.dtype == torch.float32
    difference = (half - whole).abs().median() / whole.abs().median()
    assert 0 < float(difference) < 0.1


# --- Depth Anything -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    # By hand: the shorter side to 518, then both to the nearest 14, and up if that is below 518.
    [((480, 640), (518, 686)), ((1080, 1920), (518, 924)), ((200, 300), (518, 784)), ((518, 519), (518, 518))],
)
def test_the_shorter_side_covers_the_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert covering_size(*size, 518, 14) == expected
    assert covering_size(*size[::-1], 518, 14) == expected[::-1]


def test_a_size_that_is_no_multiple_goes_up() -> None:
    assert covering_size(100, 100, 500, 14) == (504, 504)
    assert covering_size(100, 100, 508, 14) == (518, 518)


def test_depth_anything_is_prepared_as_published(pixels: Any, picture: Tensor) -> None:
    seen = []

    class Network(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return images[:, 0]

    estimate = DepthAnythingEstimator(Network(), metric=False, config=DepthAnythingSettings(size=70))(picture)
    # The published transform, with the library that it uses.
    resized = cv2.resize(pixels / 255.0, (112, 70), interpolation=cv2.INTER_CUBIC)
    expected = torch.from_numpy((resized - IMAGENET_MEAN) / IMAGENET_STD).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)
    back = torch.nn.functional.interpolate(seen[0][:, :1], size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)[
        0, 0
    ]
    torch.testing.assert_close(estimate.values, back)


def test_metric_depth_anything_stays_below_its_largest_depth(folders: dict[str, Path], picture: Tensor) -> None:
    found = build(folders["depth-anything-metric"], size=70, device="cpu")(picture)
    assert 1 < float(found.values.max()) <= 20
    assert found.valid.all()


@pytest.mark.parametrize("max_depth_m", [None, 20.0])
def test_depth_anything_of_ours_is_loaded_from_its_folder(
    max_depth_m: float | None, tmp_path: Path, picture: Tensor
) -> None:
    torch.manual_seed(0)
    network = DepthAnything(DepthAnythingConfig("nano", max_depth_m=max_depth_m)).eval()
    network.save_pretrained(tmp_path)
    found = build(tmp_path, size=70, device="cpu")(picture)
    expected = DepthAnythingEstimator(network, metric=max_depth_m is not None, config=DepthAnythingSettings(size=70))(
        picture
    )
    assert torch.equal(found.values, expected.values)
    assert found.scale == (Scale.UNKNOWN_SCALE_AND_SHIFT if max_depth_m is None else Scale.METRIC)


@pytest.mark.parametrize("max_depth_m", [None, 20.0])
def test_registered_depth_anything_v2_runs_on_the_network_of_ours(
    max_depth_m: float | None, tmp_path: Path, picture: Tensor
) -> None:
    torch.manual_seed(0)
    network = DepthAnything(DepthAnythingConfig("nano", max_depth_m=max_depth_m)).eval()
    write_hub(network, tmp_path)
    theirs = build(tmp_path, size=70, device="cpu")
    ours = build(tmp_path, card=find_model("depth-anything-v2-small"), size=70, device="cpu")
    assert type(theirs.estimating.network) is PredictedDepth
    assert type(ours.estimating.network) is DepthAnything
    found = ours(picture)
    assert type(found) is (InverseDepthMap if max_depth_m is None else DepthMap)
    assert type(theirs(picture)) is type(found)
    torch.testing.assert_close(theirs(picture).values, found.values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("folder", ["depth-anything-metric"], indirect=True)
def test_the_first_metric_files_used_another_word(folder: Path, picture: Tensor) -> None:
    expected = build(folder, size=70, device="cpu")(picture)
    config = json.loads((folder / "config.json").read_text())
    config["depth_estimation"] = config.pop("depth_estimation_type")
    (folder / "config.json").write_text(json.dumps(config))
    found = build(folder, size=70, device="cpu")(picture)
    assert found.scale == Scale.METRIC
    assert torch.equal(found.values, expected.values)


# --- MiDaS --------------------------------------------------------------------------------------------------------


def test_midas_agrees_with_the_pipeline_of_transformers(folders: dict[str, Path], pixels: Any) -> None:
    from PIL import Image
    from transformers import DPTForDepthEstimation, DPTImageProcessorPil, pipeline

    processor = DPTImageProcessorPil.from_pretrained(folders["midas"])
    network = DPTForDepthEstimation.from_pretrained(folders["midas"])
    theirs = pipeline("depth-estimation", model=network, image_processor=processor)(Image.fromarray(pixels))
    estimator = build(folders["midas"], device="cpu")
    prepared = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]

    def exchange(_: Any, __: Any, given: dict[str, Tensor]) -> tuple[tuple[()], dict[str, Tensor]]:
        # Theirs rounds the resized picture to 8 bits twice (rows, columns), ours does not: one level at most.
        assert float((given["pixel_values"] - prepared).abs().max()) <= 1.05 * 2 / 255
        return (), {"pixel_values": prepared}

    estimator.estimating.network.register_forward_pre_hook(exchange, with_kwargs=True)
    torch.testing.assert_close(estimator(pixels).values, theirs["predicted_depth"])


def test_midas_takes_what_its_checkpoint_states(folders: dict[str, Path]) -> None:
    config = build(folders["midas"], device="cpu").facts()["options"]
    assert (config["size"], config["multiple"], config["filter"], config["mean"]) == (
        (64, 64),
        32,
        "bicubic",
        (0.5, 0.5, 0.5),
    )
    assert build(folders["midas"], size=(96, 96), device="cpu").facts()["options"]["size"] == (96, 96)
    with pytest.raises(WrongInput, match="takes square pictures only"):
        build(folders["midas"], keep_aspect=True, device="cpu")
    with pytest.raises(WrongInput, match="takes square pictures only"):
        build(folders["midas"], size=(64, 96), device="cpu")


@pytest.mark.parametrize("folder", ["midas"], indirect=True)
def test_midas_squeezes_where_its_network_takes_squares_only(folder: Path, picture: Tensor) -> None:
    expected = build(folder, device="cpu")(picture).values
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**stated, "keep_aspect_ratio": True}))
    assert torch.equal(build(folder, device="cpu")(picture).values, expected)


def test_the_side_that_changes_less_decides() -> None:
    assert nearest_size(480, 640, (384, 384), 32, keep_aspect=True) == (384, 512)
    assert nearest_size(300, 200, (384, 384), 32, keep_aspect=True) == (384, 256)
    assert nearest_size(480, 640, (384, 384), 32, keep_aspect=False) == (384, 384)
    assert nearest_size(8, 200, (64, 64), 32, keep_aspect=True) == (32, 64)


# --- ZoeDepth -----------------------------------------------------------------------------------------------------


def test_zoedepth_agrees_with_the_processor_of_transformers(
    folders: dict[str, Path], pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image
    from transformers import ZoeDepthForDepthEstimation, ZoeDepthImageProcessorPil
    from transformers.models.zoedepth import image_processing_pil_zoedepth

    def resize(depth: Tensor, size: list[int], interpolation: str, antialias: bool) -> Tensor:
        return torch.nn.functional.interpolate(depth[None], size=size, mode=interpolation, antialias=antialias)[0]

    # Its ending calls one function of torchvision, which is not installed here.
    stand_in = SimpleNamespace(resize=resize, InterpolationMode=SimpleNamespace(BICUBIC="bicubic"))
    monkeypatch.setattr(image_processing_pil_zoedepth, "tvF", stand_in, raising=False)
    processor = ZoeDepthImageProcessorPil.from_pretrained(folders["zoedepth"])
    network = ZoeDepthForDepthEstimation.from_pretrained(folders["zoedepth"]).eval()
    inputs = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        outputs, flipped = network(inputs), network(inputs.flip(-1))
    sizes = [(HEIGHT, WIDTH)]
    once = processor.post_process_depth_estimation(outputs, sizes)[0]["predicted_depth"]
    both = processor.post_process_depth_estimation(outputs, sizes, outputs_flipped=flipped)[0]["predicted_depth"]
    assert not torch.allclose(once, both)
    torch.testing.assert_close(build(folders["zoedepth"], device="cpu")(pixels).values, both)
    torch.testing.assert_close(build(folders["zoedepth"], flip=False, device="cpu")(pixels).values, once)


def test_zoedepth_without_padding(folders: dict[str, Path], picture: Tensor) -> None:
    found = build(folders["zoedepth"], pad=False, device="cpu")(picture)
    assert found.values.shape == (HEIGHT, WIDTH)
    assert not torch.equal(found.values, build(folders["zoedepth"], device="cpu")(picture).values)


# --- Depth Pro ----------------------------------------------------------------------------------------------------


def test_depth_pro_gives_metres_by_its_field_of_view(folders: dict[str, Path], picture: Tensor) -> None:
    from transformers import DepthProForDepthEstimation

    found = build(folders["depth-pro"], device="cpu")(picture)
    network = DepthProForDepthEstimation.from_pretrained(folders["depth-pro"]).eval()
    seen = torch.nn.functional.interpolate((picture[None] - 0.5) / 0.5, size=(64, 64), mode="bilinear")
    with torch.no_grad():
        output = network(seen)
    focal_px = 0.5 * WIDTH / torch.tan(torch.deg2rad(output.field_of_view[0]) / 2)
    assert 45 < float(output.field_of_view[0]) < 75
    assert found.camera.focal_px == pytest.approx(float(focal_px), rel=1e-5)
    inverse = torch.nn.functional.interpolate(
        output.predicted_depth[:, None] * WIDTH / focal_px, size=(HEIGHT, WIDTH), mode="bilinear"
    )
    torch.testing.assert_close(found.values, 1 / inverse[0, 0].clamp(1e-4, 1e4))


# --- Marigold -----------------------------------------------------------------------------------------------------


def test_marigold_agrees_with_diffusers_per_seed(folders: dict[str, Path], picture: Tensor) -> None:
    from diffusers import MarigoldDepthPipeline

    pipeline = MarigoldDepthPipeline.from_pretrained(folders["marigold"])
    estimator = build(folders["marigold"], device="cpu")
    found = [estimator(picture, seed=seed).values for seed in (0, 1)]
    for seed, values in enumerate(found):
        theirs = pipeline(picture[None], generator=torch.Generator().manual_seed(seed), output_type="pt").prediction
        torch.testing.assert_close(values, theirs[0, 0])
    assert not torch.allclose(*found)
    assert estimator(picture).confidence is None
    assert torch.equal(build(folders["marigold"], seed=1, device="cpu")(picture).values, found[1])


def test_marigold_ensembles_know_where_they_agree(folders: dict[str, Path], picture: Tensor) -> None:
    from diffusers import MarigoldDepthPipeline

    estimator = build(folders["marigold"], ensemble=3, device="cpu")
    found = estimator(picture)
    assert found.confidence.shape == (HEIGHT, WIDTH)
    assert 0 <= float(found.confidence.min()) < float(found.confidence.max()) <= 1
    assert torch.equal(estimator(picture).values, found.values)
    assert not torch.equal(build(folders["marigold"], device="cpu")(picture).values, found.values)
    theirs = MarigoldDepthPipeline.from_pretrained(folders["marigold"])(
        picture[None],
        ensemble_size=3,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
        output_uncertainty=True,
    )
    torch.testing.assert_close(found.values, theirs.prediction[0, 0])
    torch.testing.assert_close(found.confidence, 1 - theirs.uncertainty[0, 0].clamp(0, 1))


def test_marigold_settings(folders: dict[str, Path], picture: Tensor) -> None:
    base = build(folders["marigold"], device="cpu")(picture).values
    for options in ({"steps": 1}, {"resolution": 16}, {"resolution": 0}):
        assert not torch.equal(build(folders["marigold"], device="cpu", **options)(picture).values, base)
    for options, words in (
        ({"steps": 0}, "0 denoising steps"),
        ({"ensemble": 0}, "no sample"),
        ({"resolution": 12}, "multiple of 8"),
    ):
        with pytest.raises(WrongInput, match=words):
            build(folders["marigold"], device="cpu", **options)


# --- loading ------------------------------------------------------------------------------------------------------


def test_loading_is_silent(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("midas", "marigold"):
        build(folders[name], device="cpu")(torch.rand(3, HEIGHT, WIDTH))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("folder", ["midas", "depth-pro"], indirect=True)
def test_a_missing_tensor_is_an_error(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    lost = sorted(state)[5]
    save_file({name: tensor for name, tensor in state.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(WrongFile, match=rf"lacks 1 tensors, .*{lost.split('.')[-1]} among them; get it again"):
        build(folder, device="cpu")


@pytest.mark.parametrize("folder", ["midas"], indirect=True)
def test_convolutions_that_are_never_used_may_be_missing(folder: Path, picture: Tensor) -> None:
    state = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "fusion_stage.layers.0.residual_layer1" not in name}
    assert len(kept) < len(state)
    expected = build(folder, device="cpu")(picture).values
    save_file(kept, folder / "model.safetensors")
    assert torch.equal(build(folder, device="cpu")(picture).values, expected)


@pytest.mark.parametrize("folder", ["marigold"], indirect=True)
def test_a_part_of_marigold_with_a_missing_tensor_is_an_error(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if name != "conv_in.bias"}, weights)
    with pytest.raises(WrongFile, match=r"\(unet\) lacks 1 tensors, conv_in.bias among them"):
        build(folder, device="cpu")


@pytest.mark.parametrize("folder", ["midas", "marigold"], indirect=True)
def test_weights_that_are_not_there_are_named(folder: Path) -> None:
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(WrongFile, match=rf"{folder}.* cannot be loaded \(.*\); get it again"):
        build(folder, device="cpu")


@pytest.mark.parametrize("folder", ["midas"], indirect=True)
def test_weights_of_another_shape_are_named(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = "head.head.4.bias"
    save_file({**state, name: torch.zeros(7)}, folder / "model.safetensors")
    with pytest.raises(WrongFile, match=rf"holds {name} in another shape than its config.json says"):
        build(folder, device="cpu")


@pytest.mark.parametrize("folder", ["midas", "marigold"], indirect=True)
def test_weights_cut_short_are_named(folder: Path) -> None:
    for weights in folder.rglob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WrongFile, match=rf"{folder}.* cannot be loaded \(.*\); get it again"):
        build(folder, device="cpu")


@pytest.mark.parametrize("folder", ["zoedepth"], indirect=True)
def test_other_models_and_damaged_descriptions(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(
        UnknownModel, match=r"holds bert, not one of depth-anything, mono-unet, depth_anything, dpt, zoedepth"
    ):
        build(folder, device="cpu")
    (folder / "config.json").write_text("{")
    with pytest.raises(WrongFile, match=r"config.json is damaged"):
        build(folder, device="cpu")
    (folder / "config.json").unlink()
    with pytest.raises(WrongFile, match=r"has neither config.json nor model_index.json"):
        build(folder, device="cpu")


@pytest.mark.parametrize("folder", ["midas"], indirect=True)
def test_dpt_that_is_not_of_midas_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "backbone_config": {"model_type": "dinov2"}}))
    with pytest.raises(UnknownModel, match=r"is a DPT on dinov2, not one of MiDaS"):
        build(folder, device="cpu")


@pytest.mark.parametrize("name", ["midas", "zoedepth", "depth-pro", "marigold"])
def test_options_that_a_model_does_not_have(name: str, folders: dict[str, Path]) -> None:
    with pytest.raises(WrongInput, match=r"no option iterations; it has "):
        build(folders[name], iterations=3, device="cpu")
    if name != "marigold":
        with pytest.raises(WrongInput, match="give a positive number"):
            build(folders[name], size=0 if name == "depth-pro" else (0, 0), device="cpu")


def test_a_library_that_is_not_installed(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingLibrary, match=r"needs the library transformers; run `pip install 'depthweave\[mono\]'`"):
        build(folders["midas"], device="cpu")


class Hub:
    """Answers as the hub would, from folders; nothing leaves the machine."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.asked: list[tuple[str, ...] | None] = []

    def __call__(self, repository: str, revision: str | None = None, files: tuple[str, ...] | None = None) -> Path:
        self.asked.append(files)
        return self.cache / repository / "snapshots" / "c0ffee"


@pytest.mark.parametrize("name", ["midas", "marigold"])
def test_a_hub_id_is_pinned_to_its_commit(
    name: str, folders: dict[str, Path], tmp_path: Path, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Hub(tmp_path)
    shutil.copytree(folders[name], fake("someone/model"))
    fake.asked.clear()
    monkeypatch.setattr(hub, "download_weights", fake)
    estimator = build("someone/model", device="cpu")
    facts = estimator.facts()
    assert (facts["model"], facts["revision"], facts["licence"]) == ("someone/model", "c0ffee", "not stated")
    assert fake.asked == [(hub.CONFIG, hub.INDEX), None if name == "midas" else hub.MARIGOLD_FILES]
    assert isinstance(estimator, MonoEstimator)


def test_an_older_hub_id_has_its_weights_in_a_bin_file(
    folders: dict[str, Path], tmp_path: Path, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Hub(tmp_path)
    place = Path(shutil.copytree(folders["midas"], fake("someone/model")))
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    monkeypatch.setattr(hub, "download_weights", fake)
    found = build("someone/model", device="cpu")(picture).values
    assert torch.equal(found, build(folders["midas"], device="cpu")(picture).values)
    assert fake.asked[-1] == ("*.json", "pytorch_model*.bin")


@pytest.mark.parametrize("name", ["midas", "marigold"])
def test_a_description_without_weights_says_how_to_get_them(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Hub(tmp_path)
    shutil.copytree(folders[name], fake("someone/model"), ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(hub, "download_weights", fake)
    with pytest.raises(MissingWeights, match=r"only the description.*`hf download someone/model`"):
        build("someone/model", device="cpu")


def test_without_a_network_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"apple/DepthPro-hf.*`hf download apple/DepthPro-hf`"):
        build(find_model("depth-pro"), device="cpu")
