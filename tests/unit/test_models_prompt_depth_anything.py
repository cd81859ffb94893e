"""Prompt Depth Anything in miniature: our preparation, the prompt, and what comes back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_mono import write_prompt_depth_anything
from torch import Tensor

from depthweave import images
from depthweave.errors import WrongInput
from depthweave.models.mono.prompt_depth_anything import PromptDepthAnythingEstimator, PromptDepthAnythingSettings
from depthweave.models.registry import find_model
from depthweave.pipelines.load import load
from depthweave.pipelines.mono import MonoEstimator, Prompted
from depthweave.types import DepthMap, Scale, SparseDepth

HEIGHT, WIDTH = 40, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompt_depth_anything(tmp_path_factory.mktemp("prompted"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def prompt() -> SparseDepth:
    return SparseDepth.zones(
        1 + torch.rand(8, 8, generator=torch.Generator().manual_seed(1)), height=HEIGHT, width=WIDTH
    )


@pytest.fixture(scope="module")
def estimator(folder: Path) -> MonoEstimator:
    found = load(folder, device="cpu", prompt_size=24)
    assert isinstance(found, MonoEstimator)
    return found


def theirs(folder: Path, pixels: np.ndarray, prompt_m: Tensor) -> Tensor:
    """The library's own way from a picture to depth."""
    from transformers import PromptDepthAnythingForDepthEstimation
    from transformers.models.prompt_depth_anything.image_processing_pil_prompt_depth_anything import (
        PromptDepthAnythingImageProcessorPil,
    )

    processor = PromptDepthAnythingImageProcessorPil.from_pretrained(folder)
    network = PromptDepthAnythingForDepthEstimation.from_pretrained(folder).eval()
    inputs = processor(images=pixels, prompt_depth=prompt_m.numpy(), prompt_scale_to_meter=1.0, return_tensors="pt")
    with torch.no_grad():
        found = processor.post_process_depth_estimation(network(**inputs), target_sizes=[(HEIGHT, WIDTH)])
    depth: Tensor = found[0]["predicted_depth"]
    return depth


def test_depth_is_that_of_the_library(
    folder: Path, estimator: MonoEstimator, pixels: np.ndarray, prompt: SparseDepth
) -> None:
    found = estimator(images.tensor_from_image(pixels), prompt=prompt)
    assert isinstance(found, DepthMap)
    assert found.scale == Scale.METRIC
    coarse = prompt.upsampled(24, 36).values
    expected = theirs(folder, pixels, coarse)
    # The library rounds the resized picture to 8 bits, which this noise shows.
    torch.testing.assert_close(found.values, expected, atol=2e-2, rtol=0)
    assert float((found.values - expected).abs().mean()) < 2e-3
    assert float((found.values - found.values.mean()).abs().mean()) > 1e-2


def test_depth_scales_with_the_prompt(estimator: MonoEstimator, pixels: np.ndarray, prompt: SparseDepth) -> None:
    from dataclasses import replace

    once = estimator(pixels, prompt=prompt)
    twice = estimator(pixels, prompt=replace(prompt, depth_m=2 * prompt.depth_m))
    torch.testing.assert_close(twice.values, 2 * once.values, atol=1e-4, rtol=1e-4)


def test_a_constant_prompt_gives_finite_depth_near_it(estimator: MonoEstimator, pixels: np.ndarray) -> None:
    flat = estimator(pixels, prompt=SparseDepth.zones(torch.full((8, 8), 2.0), height=HEIGHT, width=WIDTH))
    assert flat.valid.all()
    torch.testing.assert_close(flat.values, torch.full((HEIGHT, WIDTH), 2.0), atol=1e-3, rtol=0)


def test_what_is_refused(estimator: MonoEstimator, pixels: np.ndarray, prompt: SparseDepth) -> None:
    assert isinstance(estimator.estimating, Prompted)
    assert estimator.facts()["options"] == {"size": 84, "prompt_size": 24}
    with pytest.raises(WrongInput, match="needs sparse depth of the picture"):
        estimator(pixels)
    with pytest.raises(WrongInput, match=r"use prompt\.resized"):
        estimator(pixels, prompt=prompt.resized(20, 30))
    network = estimator.estimating
    assert isinstance(network, PromptDepthAnythingEstimator)
    with pytest.raises(WrongInput, match="positive everywhere"):
        network.prompted(images.tensor_from_image(pixels), torch.zeros(8, 8))
    with pytest.raises(WrongInput, match="give at least 14 and 1"):
        PromptDepthAnythingSettings(size=3)


def test_a_model_without_prompt_points_to_the_fusion(tmp_path: Path, pixels: np.ndarray, prompt: SparseDepth) -> None:
    import tiny_mono

    plain = load(tiny_mono.write_depth_anything(tmp_path / "plain"), device="cpu", size=70)
    with pytest.raises(WrongInput, match="takes no prompt; bring its answer to metres with fuse_sparse"):
        plain(pixels, prompt=prompt)


def test_cards() -> None:
    small, large = find_model("prompt-depth-anything-vits"), find_model("prompt-depth-anything-vitl")
    assert (small.task, small.licence, small.commercial_use) == ("mono", "Apache-2.0", True)
    assert large.commercial_use is False
