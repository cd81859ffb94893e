"""What runs start from, and what they are measured on."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_runs import rows, run_tiny, tiny_recipe
from torch import Tensor

from depthweave import io
from depthweave.errors import DifferentConfiguration, UnknownModel, WrongFile, WrongInput
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.models.stereo.raft import RaftConfig, RaftStereo
from depthweave.training import start
from depthweave.training.prerendered import Prerendered
from depthweave.training.recipe import ModelRecipe, SourceRecipe, TrainingRecipe, ValidationRecipe
from depthweave.training.sources import PrerenderedSource
from depthweave.training.start import open_sources, starting_network
from depthweave.training.validation import Validation

NANO = CompactConfig.nano()
SIZE = (48, 64)


def model(**changes: Any) -> ModelRecipe:
    return ModelRecipe(**{"family": "compact", "config": asdict(NANO), **changes})


@pytest.fixture
def learnt(tmp_path: Path) -> tuple[Path, CompactStereo]:
    """A folder of weights that no seed gives."""
    torch.manual_seed(1234)
    network = CompactStereo(NANO)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(0.01 if tensor.is_floating_point() else 1)
    return network.save_pretrained(tmp_path / "learnt"), network


def same(one: PretrainedNetwork, other: PretrainedNetwork) -> set[str]:
    """Names of the tensors that are the same in both."""
    its = other.state_dict()
    return {name for name, tensor in one.state_dict().items() if torch.equal(tensor, its[name])}


def test_a_network_starts_from_scratch_as_its_configuration_says() -> None:
    network = starting_network(model(family="raft", config=asdict(RaftConfig.nano())))
    assert isinstance(network, RaftStereo)
    assert network.config == RaftConfig.nano()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_network_starts_from_the_weights_of_a_folder(
    learnt: tuple[Path, CompactStereo], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, network = learnt
    assert same(starting_network(model(start=str(folder))), network) == set(network.state_dict())
    untouched = starting_network(model(start=str(folder)), fresh=False)
    assert "encoder.to_half.0.conv.weight" not in same(untouched, network)
    # Or of a model that is known by its name.
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(folder.parent))
    folder.rename(folder.with_name("depthweave-s"))
    assert same(starting_network(model(start="depthweave-s")), network) == set(network.state_dict())


def test_a_network_that_has_grown_keeps_what_it_has_learnt(learnt: tuple[Path, CompactStereo]) -> None:
    folder, network = learnt
    grown = replace(NANO, half_hidden=20)
    found = starting_network(model(start=str(folder), config=asdict(grown)))
    kept = {
        name: tensor for name, tensor in found.state_dict().items() if tensor.shape == network.state_dict()[name].shape
    }
    assert same(found, network) == set(kept)
    assert "encoder.to_half.0.conv.weight" in kept
    assert 0 < len(found.state_dict()) - len(kept) < 20
    assert bool(found.eval()(*torch.rand(2, 1, 3, 32, 32)).isfinite().all())


def test_starts_that_cannot_be_are_named(tmp_path: Path) -> None:
    RaftStereo(RaftConfig.nano()).save_pretrained(tmp_path / "raft")
    with pytest.raises(WrongInput, match=r"no tensor of model\.start = '.*raft' fits CompactStereo; leave it out\.$"):
        starting_network(model(start=str(tmp_path / "raft")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongFile, match=r"empty/model\.safetensors"):
        starting_network(model(start=str(tmp_path / "empty")))
    with pytest.raises(UnknownModel, match="nowhere"):
        starting_network(model(start="nowhere"))


def test_frozen_names_are_prefixes_of_parameters() -> None:
    network = starting_network(model(frozen=("encoder.", "to_half_match.bias")))
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert "to_half_match.bias" in frozen
    assert frozen - {"to_half_match.bias"} == {
        name for name, _ in network.named_parameters() if name.startswith("encoder.")
    }
    with pytest.raises(WrongInput, match=r"model\.frozen names 'backbone', but no parameter's name begins so"):
        starting_network(model(frozen=("encoder.", "backbone")))


def test_a_run_starts_from_weights_once(learnt: tuple[Path, CompactStereo], pairs: Path, tmp_path: Path) -> None:
    folder, network = learnt
    still = (f"model.start='{folder}'", "optimizer.lr=1e-9", "optimizer.weight_decay=0.0", "run.ema=0.0")
    recipe = tiny_recipe(pairs, *still, "run.steps=2", "run.checkpoint_every=1")
    trained = CompactStereo.from_pretrained(run_tiny(recipe, tmp_path / "run"))
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter, network.get_parameter(name), rtol=0, atol=1e-6)
    (folder / "model.safetensors").unlink()
    run_tiny(recipe.changed(["run.steps=3"]), tmp_path / "run")  # goes on without them
    assert rows(tmp_path / "run")[-1]["step"] == "3"


def test_missing_pairs_are_rendered_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start.runtime, "available_cores", lambda: 0)
    (tmp_path / "worlds.toml").write_text("")
    recipe = SourceRecipe("prerendered", str(tmp_path / "made"), size=(32, 48), count=1, seed=3)
    (source,) = open_sources([recipe], show_progress=False)
    assert isinstance(source, PrerenderedSource)
    assert len(source) == 1
    facts = json.loads((tmp_path / "made" / "facts.json").read_text())["worlds"]
    assert (facts["seed"], facts["height"], facts["width"]) == (3, 32, 48)
    first = (tmp_path / "made" / "left.npy").stat().st_mtime_ns
    named = replace(recipe, options={"recipe": str(tmp_path / "worlds.toml")})  # the default, from a file
    assert len(open_sources([named], show_progress=False)[0].pairs) == 1  # type: ignore[attr-defined]
    assert (tmp_path / "made" / "left.npy").stat().st_mtime_ns == first
    (grown,) = open_sources([replace(recipe, count=2)], show_progress=False)
    assert len(grown) == len(Prerendered(tmp_path / "made")) == 2  # type: ignore[arg-type]
    (fewer,) = open_sources([recipe], show_progress=False)
    assert len(fewer) == 1  # type: ignore[arg-type]
    with pytest.raises(DifferentConfiguration, match="another seed"):
        open_sources([replace(recipe, seed=4)], show_progress=False)
    with pytest.raises(WrongFile, match="none"):
        open_sources([SourceRecipe("prerendered", str(tmp_path / "none"))], show_progress=False)


@dataclass(frozen=True)
class ConstantConfig:
    answer_px: float = 6.5


class Constant(PretrainedNetwork):
    """One disparity whatever it sees, in px of the picture that it is given."""

    family: ClassVar[str] = "constant"
    config_class: ClassVar[type] = ConstantConfig
    multiple: ClassVar[int] = 8

    def __init__(self, config: ConstantConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.widths: list[int] = []

    def forward(self, left: Tensor, right: Tensor, *, initial: Tensor | None = None) -> Tensor:
        assert not self.training
        self.widths.append(left.shape[-1])
        return torch.full_like(left[:, :1], self.config.answer_px)

    def memory_bytes(self, height: int, width: int) -> int:
        return height * width


def write_pair(root: Path, name: str, disparity: float, *, hidden: float | None = None, known: bool = True) -> None:
    """A pair of constant disparity; hidden pixels, the left quarter, may have another one."""
    pictures = np.random.default_rng(3).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    for side, picture in zip(("left", "right"), pictures, strict=True):
        io.write_image(root / side / f"{name}.png", picture)
    values = np.full(SIZE, disparity, np.float32)
    if hidden is not None:
        values[:, :16] = hidden
        seen = np.full(SIZE, 255, np.uint8)
        seen[:, :16] = 128
        io.write_image(root / "mask0nocc" / f"{name}.png", seen)
    io.write_pfm(root / "disparity" / f"{name}.pfm", values, np.full(SIZE, known))


def test_validation_is_the_mean_over_pairs_of_visible_pixels(tmp_path: Path) -> None:
    for name, disparity in (("a", 4.0), ("b", 6.0), ("c", 16.5), ("d", 6.5)):
        write_pair(tmp_path, name, disparity, hidden=60.0 if name == "a" else None)
    metrics = ("epe", "bad-2.0")
    recipe = ValidationRecipe("tiny", "folder", str(tmp_path), metrics=metrics)
    network = Constant(ConstantConfig()).train()
    some = Validation(replace(recipe, limit=2))
    assert some.name == "tiny"
    pixels, fewer = SIZE[0] * SIZE[1], SIZE[0] * (SIZE[1] - 16)
    found = some.measure(network)
    assert list(found) == list(metrics)
    assert found["epe"] == pytest.approx(((2.5 + 0.5) / 2, fewer + pixels))
    assert found["bad-2.0"] == pytest.approx((50.0, fewer + pixels))
    assert not network.training
    assert Validation(recipe).measure(network)["epe"].value == pytest.approx((2.5 + 0.5 + 10 + 0) / 4)
    assert Validation(replace(recipe, every=2)).measure(network)["epe"].value == pytest.approx((2.5 + 10) / 2)
    assert Validation(replace(recipe, every=2, limit=1)).measure(network)["epe"].value == pytest.approx(2.5)
    assert set(network.widths) == {64}
    half = Constant(ConstantConfig(3.25))
    assert Validation(replace(recipe, scale=0.5, limit=2)).measure(half)["epe"] == pytest.approx(found["epe"], rel=1e-5)
    assert set(half.widths) == {32}


def test_pairs_of_which_nothing_is_known_take_no_part(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", 4.0, known=False)
    recipe = ValidationRecipe("tiny", "folder", str(tmp_path), metrics=("epe",))
    nothing = Validation(recipe).measure(Constant(ConstantConfig()))["epe"]
    assert math.isnan(nothing.value)
    assert nothing.count == 0
    write_pair(tmp_path, "b", 6.0)
    assert Validation(recipe).measure(Constant(ConstantConfig()))["epe"] == (0.5, SIZE[0] * SIZE[1])


def test_validation_needs_truth(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", 4.0)
    write_pair(tmp_path, "b", 4.0)
    (tmp_path / "disparity" / "b.pfm").unlink()
    with pytest.raises(WrongInput, match=r"\[\[validation\]\] tiny: .* holds no pairs with ground truth"):
        Validation(ValidationRecipe("tiny", "folder", str(tmp_path)))
    with pytest.raises(WrongFile):
        Validation(ValidationRecipe("tiny", "folder", str(tmp_path / "none")))


def test_a_run_validates_the_average_that_it_saves(pairs: Path, tmp_path: Path) -> None:
    for name, disparity in (("a", 4.0), ("b", 6.0)):
        write_pair(tmp_path / "set", name, disparity)
    recipe = replace(
        tiny_recipe(pairs, "run.steps=3", "run.validate_every=2"),
        validation=(
            ValidationRecipe("first", "folder", str(tmp_path / "set"), metrics=("epe", "d1")),
            ValidationRecipe("second", "folder", str(tmp_path / "set"), limit=1, metrics=("epe",)),
        ),
    )
    trained = run_tiny(recipe, tmp_path / "run")
    found = rows(tmp_path / "run", "validation.csv")
    assert [(row["step"], row["set"], row["metric"]) for row in found] == [
        (step, *column) for step in ("2", "3") for column in (("first", "epe"), ("first", "d1"), ("second", "epe"))
    ]
    network = CompactStereo.from_pretrained(trained)
    for row, each in zip(found[3::2], recipe.validation, strict=True):
        assert float(row["value"]) == pytest.approx(Validation(each).measure(network)["epe"].value, rel=1e-4)
    # Measuring changes nothing of what is learnt.
    run_tiny(replace(recipe, validation=()), tmp_path / "silent")
    assert rows(tmp_path / "silent") == rows(tmp_path / "run")
    assert (tmp_path / "silent" / "network" / "model.safetensors").read_bytes() == (
        trained / "model.safetensors"
    ).read_bytes()


def test_the_recipe_of_the_bundled_network_is_valid() -> None:
    recipe = TrainingRecipe.read(Path(start.__file__).parents[1] / "recipes" / "depthweave-s.toml")
    assert recipe.model.family == "compact"
    assert recipe.model.network_config() == CompactConfig()
    assert [side % CompactStereo.multiple for side in recipe.data.crop] == [0, 0]
    assert recipe.loss.max_disparity <= recipe.data.crop[1]
