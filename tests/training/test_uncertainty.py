"""The head that says how large the error is: what learns, what stays, and what the network then says."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import PLAIN, rows, tiny_recipe
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.pretrained import read_checkpoint
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.models.stereo.compact.network import probability_within
from depthweave.models.weights import WEIGHTS_NAME
from depthweave.pipelines.load import load
from depthweave.training.loop import train
from depthweave.training.objective import LossRecipe, VolumeTrainee
from depthweave.training.recipe import TrainingRecipe
from depthweave.training.sample import TrainingView
from depthweave.training.trainees import make_trainee
from depthweave.training.uncertainty import UncertaintyTrainee

RECIPE = Path(__file__).parents[2] / "src" / "depthweave" / "recipes" / "uncertainty-head.toml"
FROZEN = TrainingRecipe.read(RECIPE).model.frozen
JUDGING = replace(CompactConfig.nano(), uncertainty=True)


def seeded(config: CompactConfig) -> CompactStereo:
    torch.manual_seed(0)
    return CompactStereo(config)


def views() -> tuple[Tensor, Tensor]:
    left = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1)) * 255
    return left, left.roll(-4, -1)


def view(truth: float = 4.0) -> TrainingView:
    left, _ = views()
    everywhere = torch.ones(2, 32, 64, dtype=torch.bool)
    disparity = torch.full((2, 32, 64), truth)
    return TrainingView(left, disparity, everywhere, everywhere, torch.ones(2, dtype=torch.bool))


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Weights without a head, those after training one, and the run's folder."""
    folder = tmp_path_factory.mktemp("head")
    seeded(CompactConfig.nano()).save_pretrained(folder / "start")
    model: dict[str, Any] = {
        "family": "compact",
        "start": str(folder / "start"),
        "frozen": list(FROZEN),
        "config": asdict(JUDGING),
    }
    plain = [f"augment.{name}=0" for name in PLAIN]
    recipe = tiny_recipe(pairs, "run.steps=12", "optimizer.lr=3e-2", "run.ema=0", *plain, model=model)
    return folder / "start", train(recipe, folder / "run", device="cpu", show_progress=False), folder / "run"


def test_by_default_there_is_no_head() -> None:
    network = seeded(CompactConfig.nano()).eval()
    assert not any("scale" in name for name in network.state_dict())
    found = network.predictions(*views(), max_disparity=32)
    assert found.log_scale is None
    assert type(make_trainee("compact", network, LossRecipe())) is VolumeTrainee
    assert type(make_trainee("compact", seeded(JUDGING), LossRecipe())) is UncertaintyTrainee


def test_the_bundled_weights_have_none() -> None:
    assert not load("depthweave-s", device="cpu").matching.network.config.uncertainty  # type: ignore[attr-defined]


def test_a_new_head_says_one_pixel() -> None:
    network = seeded(JUDGING).eval()
    found = network.predictions(*views(), max_disparity=32)
    assert found.log_scale is not None
    assert torch.equal(found.log_scale, torch.zeros(2, 1, 32, 64))
    rated = network.rated(*views(), max_disparity=32)
    assert torch.allclose(rated[:, 1], torch.full((2, 32, 64), 1 - math.exp(-1)))
    assert torch.allclose(rated[:, 2], torch.sigmoid(found.ratings[:, 1]))
    assert torch.equal(rated[:, 0], found.steps[-1][:, 0])


def test_probability_is_that_of_a_laplace_error() -> None:
    scale = torch.tensor([0.2, 1.0, 30.0])
    laplace = torch.distributions.Laplace(torch.zeros(3), scale)
    expected = laplace.cdf(torch.tensor(1.5)) - laplace.cdf(torch.tensor(-1.5))
    assert torch.allclose(probability_within(scale.log(), 1.5), expected, rtol=1e-5)


def test_the_loss_is_the_likelihood_of_the_error() -> None:
    network = seeded(JUDGING)
    trainee = make_trainee("compact", network, LossRecipe(max_disparity=32, largest=3.0)).train()
    with torch.no_grad():
        network.refine_half.scale[-1].bias.fill_(0.5)  # type: ignore[index, operator, union-attr]
    outcome = trainee(view(), views()[1])
    error = (outcome.disparity.detach() - 4).abs().clamp_max(3)
    expected = (error * math.exp(-0.5) + 0.5 + math.log(2)).mean()
    assert float(outcome.loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert trainee.columns == ("uncertainty", "epe", "bad-2.0")
    assert outcome.confidence is not None
    assert outcome.confidence.unique().tolist() == pytest.approx([1 - math.exp(-math.exp(-0.5))])


def test_unfrozen_disparity_learns_too() -> None:
    network = seeded(JUDGING)
    make_trainee("compact", network, LossRecipe(max_disparity=32)).train()(view(), views()[1]).loss.backward()
    gradient = network.refine_half.change.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_a_network_without_head_is_refused() -> None:
    trainee = UncertaintyTrainee(seeded(CompactConfig.nano()), LossRecipe(max_disparity=32))
    with pytest.raises(WrongInput, match=r"model\.config\.uncertainty"):
        trainee(view(), views()[1])


def test_only_the_head_changes(trained: tuple[Path, Path, Path]) -> None:
    before, after = (read_checkpoint(folder / WEIGHTS_NAME) for folder in trained[:2])
    assert {name for name in after if name not in before} == {
        f"refine_half.scale.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")
    }
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert float(after["refine_half.scale.2.weight"].abs().sum()) > 0


def test_the_likelihood_gets_better(trained: tuple[Path, Path, Path]) -> None:
    losses = [float(row["uncertainty"]) for row in rows(trained[2])]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_the_trained_network_loads_and_rates(trained: tuple[Path, Path, Path]) -> None:
    left, right = (images[0] / 255 for images in views())
    judging, plain = (load(folder, device="cpu", check=False) for folder in (trained[1], trained[0]))
    found, known = (matcher((left, right), max_disparity=32) for matcher in (judging, plain))
    assert torch.equal(found.values, known.values)
    assert torch.equal(found.valid, known.valid)
    network = judging.matching.network
    with torch.no_grad():
        rated = network.rated(left[None] * 255, right[None] * 255, max_disparity=32)[0, 1]
    assert float(rated.std()) > 0
    assert found.confidence is not None
    assert torch.equal(found.confidence, rated * found.valid)


def test_the_shipped_recipe_leaves_only_the_head_to_learn() -> None:
    recipe = TrainingRecipe.read(RECIPE)
    names = [name for name, _ in CompactStereo(recipe.model.network_config()).named_parameters()]
    learning = [name for name in names if not name.startswith(FROZEN)]
    assert learning
    assert all(name.startswith("refine_half.scale.") for name in learning)
    assert recipe.model.start == "depthweave-s"
