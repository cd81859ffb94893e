"""Diffusion as a filler, with a pipeline in miniature."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_inpainting
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from depthweave.errors import MissingLibrary, MissingWeights, WrongFile, WrongInput
from depthweave.synthesis.fill import Filler, make_filler
from depthweave.synthesis.fill_background import BackgroundFiller
from depthweave.synthesis.fill_diffusion import PIPELINE_FILES, DiffusionFiller, load_inpainting

HEIGHT, WIDTH = 20, 30


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_inpainting.write_inpainting(tmp_path_factory.mktemp("models") / "inpainting")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return load_inpainting(folder, "cpu")


class Painter:
    """Stands for a pipeline: keeps what it was asked and answers with one colour."""

    vae_scale_factor = 8

    def __init__(self, blocked: bool = False) -> None:
        self.blocked = blocked
        self.asked: dict[str, Any] = {}

    def set_progress_bar_config(self, disable: bool) -> None:
        assert disable

    def __call__(self, **asked: Any) -> SimpleNamespace:
        self.asked = asked
        noise = torch.rand((1, 3, 1, 1), generator=asked["generator"])
        return SimpleNamespace(
            images=noise.expand(asked["image"].shape), nsfw_content_detected=[True] if self.blocked else None
        )


def scene() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    image = torch.rand((3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0))
    wanted = torch.zeros((HEIGHT, WIDTH), dtype=torch.bool)
    wanted[6:12, 17:22] = True
    unknown = wanted.clone()
    unknown[6:12, 10:17] = True
    disparity = torch.full((HEIGHT, WIDTH), 3.0)
    disparity[6:12, 5:17] = 9
    return image, unknown, wanted, disparity


def fill(filler: DiffusionFiller, seed: int = 0) -> Tensor:
    return filler(*scene(), np.random.default_rng(seed))


def test_a_pipeline_fills_what_is_wanted(pipeline: Any) -> None:
    image, _, wanted, _ = scene()
    filler = DiffusionFiller(pipeline, steps=2)
    assert isinstance(filler, Filler)
    first, same, other = (fill(filler, seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(first[:, ~wanted], image[:, ~wanted])
    assert float(first[:, wanted].std()) > 0
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_it_is_the_call_of_diffusers(pipeline: Any) -> None:
    image, unknown, wanted, disparity = scene()
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    start = BackgroundFiller(noise=0)(image, unknown, unknown, disparity, rng)
    padded = torch.nn.functional.pad(start[None], (0, 2, 0, 4), mode="replicate")
    mask = torch.zeros((1, 1, 24, 32))
    mask[..., 0:16, 8:24] = 1  # the cells of 8 px that rows 6 to 11 and columns 10 to 21 touch
    theirs = pipeline(
        prompt="a",
        image=padded,
        mask_image=mask,
        height=24,
        width=32,
        num_inference_steps=3,
        guidance_scale=1.5,
        generator=generator,
        output_type="pt",
    )
    found = fill(DiffusionFiller(pipeline, steps=3, guidance=1.5, prompt="a"))
    assert torch.equal(found, torch.where(wanted, theirs.images[0, :, :HEIGHT, :WIDTH], image))
    assert not torch.equal(found, fill(DiffusionFiller(pipeline, steps=3, guidance=1.5, prompt="a a")))


def test_the_pipeline_sees_nothing_unknown(pipeline: Any) -> None:
    image, unknown, wanted, disparity = scene()
    filler = DiffusionFiller(pipeline, steps=2)
    found = filler(image, unknown, wanted, disparity, np.random.default_rng(0))
    image[:, unknown], disparity[unknown] = 0.5, 0
    again = filler(image, unknown, wanted, disparity, np.random.default_rng(0))
    assert torch.equal(again[:, wanted], found[:, wanted])


def test_what_a_pipeline_is_asked() -> None:
    painter = Painter()
    image, unknown, wanted, disparity = scene()
    found = fill(DiffusionFiller(painter, steps=7, guidance=3, prompt="moss", strength=0.5))
    asked = painter.asked
    assert (asked["prompt"], asked["num_inference_steps"], asked["guidance_scale"]) == ("moss", 7, 3.0)
    assert (asked["strength"], asked["height"], asked["width"], asked["output_type"]) == (0.5, 24, 32, "pt")
    assert asked["image"].shape == (1, 3, 24, 32)
    seen = asked["image"][0, :, :HEIGHT, :WIDTH]
    assert torch.equal(seen[:, ~unknown], image[:, ~unknown])
    start = BackgroundFiller(noise=0)(image, unknown, unknown, disparity, np.random.default_rng(0))
    assert torch.equal(seen, start)
    assert len(found[:, wanted].unique()) == 3
    edge = unknown.clone()
    edge[:, -1] = True
    DiffusionFiller(painter)(image, edge, wanted, disparity, np.random.default_rng(0))
    assert bool((painter.asked["mask_image"][..., -8:] == 1).all())  # a hole at the border goes on beyond it


def test_larger_cells_of_other_autoencoders() -> None:
    painter = Painter()
    painter.vae_scale_factor = 16
    fill(DiffusionFiller(painter))
    assert painter.asked["image"].shape == (1, 3, 32, 32)
    assert float(painter.asked["mask_image"].sum()) == 16 * 32


def test_nothing_wanted_nothing_asked() -> None:
    painter = Painter()
    image, unknown, wanted, disparity = scene()
    rng = np.random.default_rng(0)
    assert torch.equal(DiffusionFiller(painter)(image, unknown, wanted & False, disparity, rng), image)
    assert painter.asked == {}


def test_a_safety_checker_that_withholds_the_picture() -> None:
    with pytest.raises(WrongInput, match="safety checker withholds its picture"):
        fill(DiffusionFiller(Painter(blocked=True)))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"guidance": -1}, {"strength": 0}, {"strength": 1.5}, {"steps": 3, "strength": 0.2}]
)
def test_settings_that_do_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(WrongInput, match="steps"):
        DiffusionFiller(Painter(), **wrong)


# --- loading ------------------------------------------------------------------------------------------------------


def test_by_name_from_a_folder(folder: Path, pipeline: Any) -> None:
    filler = make_filler("diffusion", source=folder, device="cpu", steps=2)
    assert torch.equal(fill(filler), fill(DiffusionFiller(pipeline, steps=2)))
    with pytest.raises(WrongInput, match="give its hub id or folder as source, and read its licence first"):
        make_filler("diffusion", steps=2)
    with pytest.raises(WrongInput, match="filler diffusion has no setting speed; it has source, device"):
        make_filler("diffusion", source=folder, speed=3)


def test_half_precision(folder: Path) -> None:
    half = load_inpainting(folder, "cpu", dtype="bfloat16")
    assert {part.dtype for part in (half.unet, half.vae, half.text_encoder)} == {torch.bfloat16}
    found = fill(DiffusionFiller(half, steps=2))
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(DiffusionFiller(load_inpainting(folder, "cpu"), steps=1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_missing_tensor_is_an_error(part: str, copied: Path) -> None:
    weights = copied / part / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    lost = sorted(state)[3]
    save_file({name: tensor for name, tensor in state.items() if name != lost}, weights)
    with pytest.raises(WrongFile, match=rf"\({part}\) lacks 1 tensors, {lost} among them; get it again"):
        load_inpainting(copied, "cpu")


def test_damaged_folders(copied: Path, tmp_path: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WrongFile, match=r"cannot be loaded \(.*\); give a pipeline for inpainting, or get it again"):
        load_inpainting(copied, "cpu")
    weights.unlink()
    with pytest.raises(WrongFile, match="cannot be loaded"):
        load_inpainting(copied, "cpu")
    (copied / "model_index.json").write_text("{")
    with pytest.raises(WrongFile, match=r"model_index.json is damaged"):
        load_inpainting(copied, "cpu")
    (copied / "model_index.json").write_text("[]")
    with pytest.raises(WrongFile, match="not the description of a pipeline"):
        load_inpainting(copied, "cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongFile, match=r"model_index.json"):
        load_inpainting(tmp_path / "empty", "cpu")


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_a_library_that_is_not_installed(library: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibrary, match=rf"needs the library {library}; run `pip install"):
        load_inpainting(folder, "cpu")


def test_without_a_network_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"someone/model is not on this machine .*`hf download someone/model"):
        load_inpainting("someone/model", "cpu", revision="main")
    with pytest.raises(MissingWeights, match=r"no/such/place is neither a folder here nor a model"):
        load_inpainting("no/such/place", "cpu")


def test_from_the_hub_only_what_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert load_inpainting("someone/model", "cpu", revision="v2").unet.config.in_channels == 9
    assert asked == [("someone/model", "v2", list(PIPELINE_FILES))]
    from fnmatch import fnmatch

    needed = [
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "words" not in path.parts
    ]
    assert all(any(fnmatch(name, pattern) for pattern in PIPELINE_FILES) for name in needed)
    for name in ("v1-5-inpainting.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/x.bin"):
        assert not any(fnmatch(name, pattern) for pattern in PIPELINE_FILES)
