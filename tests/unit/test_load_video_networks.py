"""Video models by their names, with the weights of tiny networks, down to depth of a clip."""

from pathlib import Path

import pytest
import torch
from test_pipelines_load_pointmap import wall_network
from tiny_video_diffusion import write_parts

from depthweave import Scale, load
from depthweave.errors import WrongInput

FRAMES, HEIGHT, WIDTH = 4, 64, 96

pytestmark = pytest.mark.filterwarnings("ignore::depthweave.errors.DepthweaveWarning")  # licences, unknown cameras


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = write_parts(tmp_path_factory.mktemp("parts"))
    return {"unet": folder / "unet", "svd": folder}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(tmp_path / "weights"))
    wall_network().save_pretrained(tmp_path / "weights" / "dust3r-512", origin={"model": "dust3r-512"})


@pytest.fixture(scope="module")
def pictures() -> list[torch.Tensor]:
    return [torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in range(FRAMES)]


def test_depthcrafter_gives_inverse_depth_up_to_scale_and_shift(
    parts: dict[str, Path], pictures: list[torch.Tensor]
) -> None:
    model = load("depthcrafter", device="cpu", steps=2, **parts)
    assert str(model.memory_needed(pictures)).startswith("about 0.")
    found = model(pictures)
    assert found.values.shape == (FRAMES, HEIGHT, WIDTH)
    assert (found.quantity, found.scale) == ("inverse_depth", Scale.UNKNOWN_SCALE_AND_SHIFT)
    torch.testing.assert_close(model(pictures).values, found.values, rtol=0, atol=0)


@pytest.mark.usefixtures("weights")
def test_stereodiff_refines_the_depth_of_pointmaps(parts: dict[str, Path], pictures: list[torch.Tensor]) -> None:
    both = load("stereodiff-dust3r", device="cpu", stage1={"size": 64}, **parts)
    assert [stage["model"] for stage in both.facts()["stages"]] == ["dust3r-512", "depthcrafter"]
    refined, first = (
        both(pictures),
        load("stereodiff-dust3r", device="cpu", stage1={"size": 64}, stage1_only=True)(pictures),
    )
    assert refined.values.shape == first.values.shape == (FRAMES, HEIGHT, WIDTH)
    assert (refined.quantity, refined.scale) == ("depth", Scale.UNKNOWN_SCALE)
    torch.testing.assert_close(refined.valid, first.valid)
    assert not torch.allclose(refined.values[refined.valid], first.values[first.valid])
    assert bool((refined.values[refined.valid] > 0).all())


@pytest.mark.usefixtures("weights")
def test_options_that_no_stage_has_are_refused(parts: dict[str, Path]) -> None:
    with pytest.raises(WrongInput, match="stepz"):
        load("stereodiff-dust3r", device="cpu", stepz=2, **parts)
