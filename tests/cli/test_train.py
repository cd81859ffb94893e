"""`depthweave train` on the smallest of runs."""

import json
from pathlib import Path

import pytest

from depthweave.training.recipe import TrainingRecipe
from tests.cli.conftest import Cli

TINY = """
[model.config]
widths = [4, 4, 4, 4]
fused = [4, 4]
groups = 1
group = 4
volume = [2, 2, 2]
hidden = 4
half_hidden = 4
[data]
crop = [32, 64]
batch = 2
workers = 0
sources = [{ kind = "worlds", size = [32, 64] }]
[loss]
max_disparity = 32
iterations = 1
[run]
steps = 1
dtype = "float32"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_a_recipe_is_trained_and_its_network_matches(
    cli: Cli, recipe: Path, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("train", recipe, "--device", "cpu", "--json")
    assert (done.code, done.err) == (0, "")
    network = Path("runs/tiny/network")
    assert json.loads(done.out) == {"run": "runs/tiny", "network": str(network), "steps": 1}
    assert cli("stereo", pair / "left.png", pair / "right.png", "-m", network, "-o", "seen").code == 0
    assert Path("seen/result.json").is_file()
    again = cli("train", recipe, "--device", "cpu", "--set", "run.steps=2", "-o", "runs/tiny")
    assert again.code == 0
    assert again.out == f"trained 2 steps; try it: depthweave stereo LEFT RIGHT -m {network}\n"
    assert len(Path("runs/tiny/log.csv").read_text().splitlines()) == 3
    other = cli("train", recipe, "--device", "cpu", "--set", "optimizer.lr=0.5", "-o", "runs/tiny")
    assert other.code == 1
    assert "differs in optimizer.lr" in other.sentence


def test_the_printed_recipe_is_the_recipe(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    bare = cli("train", "--print-recipe")
    assert (bare.code, bare.err) == (0, "")
    (tmp_path / "bare.toml").write_text(bare.out)
    assert TrainingRecipe.read(tmp_path / "bare.toml") == TrainingRecipe()
    assert "# Largest learning rate" in bare.out
    printed = cli("train", recipe, "--print-recipe", "--set", "optimizer.lr=2e-4", "--set", "data.batch=6")
    (tmp_path / "printed.toml").write_text(printed.out)
    wanted = TrainingRecipe.read(recipe, ["optimizer.lr=2e-4", "data.batch=6"])
    assert TrainingRecipe.read(tmp_path / "printed.toml") == wanted
    assert wanted.optimizer.lr == 2e-4
    assert not (tmp_path / "runs").exists()


def test_a_recipe_must_be_named(cli: Cli) -> None:
    done = cli("train")
    assert done.code == 2
    assert "name a recipe; --print-recipe" in " ".join(done.err.replace("│", "").split())


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (TINY + "stepps = 3\n", (), "[run] has no 'stepps' (did you mean 'steps'?)"),
        (TINY + "steps = [\n", (), "is not a TOML file"),
        (TINY, ("--set", "optimiser.lr=1"), "optimiser"),
        (TINY, ("--set", "optimizer.lr=fast"), "optimizer.lr"),
        (TINY, ("--set", "data.crop=[30, 64]"), "multiples of 32"),
        (TINY, ("--set", "data.batch=3", "--set", "run.accumulate=2"), "[data] batch is 3"),
        (TINY, ("--set", "data.sources.0.kind=prerendered", "--set", "data.sources.0.path=none"), "none"),
        (TINY, ("--device", "abacus"), "'abacus' is not a device"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    cli: Cli, recipe: Path, tmp_path: Path, text: str, words: tuple[str, ...], said: str
) -> None:
    recipe.write_text(text)
    done = cli("train", recipe, "-o", tmp_path / "run", "--device", "cpu", *words)
    assert done.code == 1
    assert said in done.sentence


def test_a_missing_recipe_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    done = cli("train", tmp_path / "none.toml")
    assert done.code == 1
    assert "none.toml" in done.sentence
