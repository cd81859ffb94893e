"""Training recipes: their TOML, overrides, what is refused, and what a resumed run may change."""

import pickle
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from depthweave.errors import WrongFile, WrongInput
from depthweave.training.recipe import (
    DataRecipe,
    ModelRecipe,
    OptimizerRecipe,
    RunRecipe,
    SourceRecipe,
    TrainingRecipe,
    ValidationRecipe,
)
from depthweave.training.tables import Bounds, Table, as_tables, flat, read_table, set_value, write_toml, write_value

EXAMPLE = """
[model]
family = "compact"
start = "depthweave-s"
[model.config]
hidden = 32
fused = [32, 40]
[data]
crop = [96, 128]
batch = 8
[[data.sources]]
kind = "prerendered"
path = "runs/worlds-a"
count = 100
[[data.sources]]
kind = "kitti-2015"
path = "kitti"
weight = 3
sparse = true
options = { split = "training" }
[augment]
flip = 0
zoom_range = [-0.2, 0]
[optimizer]
lr = 2e-4
[schedule]
kind = "one-cycle"
[run]
steps = 60
accumulate = 2
[[validation]]
name = "garden"
reader = "folder"
root = "pairs"
metrics = ["epe", "d1"]
"""


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


def test_a_file_changes_what_it_names(example: Path) -> None:
    recipe = TrainingRecipe.read(example)
    assert recipe.model.config == {"hidden": 32, "fused": [32, 40]}
    assert recipe.model.network_config().fused == (32, 40)
    assert recipe.data.crop == (96, 128)
    assert [source.kind for source in recipe.data.sources] == ["prerendered", "kitti-2015"]
    assert recipe.data.sources[0].count == 100
    assert recipe.data.sources[1] == SourceRecipe(
        "kitti-2015", "kitti", 3.0, sparse=True, options={"split": "training"}
    )
    assert (recipe.augment.flip, recipe.augment.zoom_range) == (0, (-0.2, 0))
    assert recipe.augment.mirror == TrainingRecipe().augment.mirror
    assert recipe.optimizer == OptimizerRecipe(lr=2e-4)
    assert recipe.validation == (ValidationRecipe("garden", "folder", "pairs", metrics=("epe", "d1")),)


def test_a_recipe_survives_its_toml(example: Path) -> None:
    for recipe in (TrainingRecipe(), TrainingRecipe.read(example)):
        assert TrainingRecipe.from_tables(tomllib.loads(recipe.to_toml())) == recipe
        assert TrainingRecipe.from_tables(recipe.to_tables()) == recipe
        assert pickle.loads(pickle.dumps(recipe)) == recipe
        assert max(map(len, recipe.to_toml().splitlines())) <= 120


def test_the_default_toml_can_be_written_on() -> None:
    text = TrainingRecipe().to_toml() + '[[validation]]\nname = "a"\nreader = "folder"\nroot = "b"\n'
    assert TrainingRecipe.from_tables(tomllib.loads(text)).validation[0].root == "b"


def test_every_value_of_ours_is_documented() -> None:
    lines = TrainingRecipe().to_toml().splitlines()
    section = ""
    for line, before in zip(lines[1:], lines, strict=False):
        section = line if line.startswith("[") else section
        if section not in ("[augment]", "[loss]") and " = " in line and not line.startswith("#"):
            assert before.startswith("# "), f"{section} {line} has no text"


def test_overrides_come_after_the_file(example: Path) -> None:
    recipe = TrainingRecipe.read(
        example,
        [
            "optimizer.lr=1e-3",
            "data.sources.0.weight=2",
            "data.sources.2.kind=worlds",
            "model.config.hidden = 16",
            "data.crop=[64, 96]",
            "run.compile=true",
            "run.dtype=bfloat16",
            "validation.0.name=a=b",
        ],
    )
    assert recipe.optimizer.lr == 1e-3
    assert [source.weight for source in recipe.data.sources] == [2, 3, 1]
    assert recipe.data.sources[2].kind == "worlds"
    assert recipe.model.config == {"hidden": 16, "fused": [32, 40]}
    assert recipe.data.crop == (64, 96)
    assert recipe.run == RunRecipe(steps=60, accumulate=2, compile=True, dtype="bfloat16")
    assert recipe.validation[0].name == "a=b"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer.lr", "sets nothing; write the name"),
        ("optimizer..lr=1", "sets nothing"),
        ("optimizer.beta=1", r"\[optimizer\] has no 'beta' \(did you mean 'betas'\?\); it has name, lr,"),
        ("optimizer.x=1", r"\[optimizer\] has no 'x'; it has name, lr,"),
        ("optimiser.lr=1", r"a recipe has no 'optimiser' \(did you mean 'optimizer'\?\)"),
        ("optimizer.lr=fast", "optimizer.lr is 'fast'; it is a number"),
        ("run.steps=10.0", "run.steps is 10.0; it is a whole number"),
        ("run.steps.more=3", "leads nowhere: run.steps is 60 and no table"),
        ("data.sources.5.weight=1", "leads nowhere: data.sources is a list of 2"),
        ("data.sources.x.weight=1", "leads nowhere: data.sources is a list of 2"),
        ("data.batch=1\nseed=2", r"data.batch is '1\\nseed=2'; it is a whole number"),
        ("model.config.hiden=1", r"^\[model.config\] has no 'hiden' \(did you mean 'hidden'\?\)"),
    ],
)
def test_overrides_that_cannot_be(example: Path, override: str, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        TrainingRecipe.read(example, [override])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[modle]", r"a recipe has no 'modle' \(did you mean 'model'\?\); it has model, data"),
        ("model = 3", r"model is 3; it is a table, write \[model\]"),
        ('[model]\nfamily = "compct"', r"\[model\] family: there is no family 'compct'; did you mean compact"),
        ('[model.config]\nhidden = "big"', "model.config.hidden is 'big'; it is a whole number"),
        ("[model.config]\nhidden = 0", r"\[model.config\] every width"),
        ("[model]\nconfig = 3", "model.config is 3; it is a table"),
        ("[model.config]\nhidden = 1979-05-27", "cannot stand in a TOML file"),
        ("[data]\ncrop = [96]", r"data.crop is \[96\]; it is a list of 2, each a whole number"),
        ("[data]\ncrop = [96, 8]", r"\[data\] crop is 8; it is at least 16"),
        ("[data]\nbatch = true", "data.batch is True; it is a whole number"),
        ("[data]\nsources = []", r"\[data\] sources: there is none with a weight above 0"),
        ('[[data.sources]]\npath = "a"', r"\[data.sources.0\] lacks kind; it has kind, path"),
        ('[[data.sources]]\nkind = "folder"', r"\[data.sources.0\] path is empty"),
        ('[[data.sources]]\nkind = "kiti-2015"', r"did you mean 'kitti-2015'\?\); there are prerendered, worlds,"),
        ('[[data.sources]]\nkind = "worlds"\nweight = -1', r"\[data.sources.0\] weight is -1; it is at least 0"),
        ("[augment]\nflip = 2", r"\[augment\]"),
        ("[augment]\nflop = 0", r"\[augment\] has no 'flop' \(did you mean 'flip'\?\)"),
        ("[loss]\nno_such = 1", r"\[loss\] has no 'no_such'"),
        ("[optimizer]\nlr = nan", r"\[optimizer\] lr is nan; it is from 1e-09 to 10"),
        ("[optimizer]\nbetas = [0.9, 1.0]", r"\[optimizer\] betas hold a 1"),
        ('[optimizer]\nname = "adam"', "optimizer.name is 'adam'; it is one of adamw"),
        ("[schedule]\nwarm_up = 1.5", r"\[schedule\] warm_up is 1.5; it is from 0 to 1"),
        ("[run]\nema = 1", r"\[run\] ema is 1, an average"),
        ("[run]\naccumulate = 3", r"batch is 4 and cannot be taken in 3 equal parts"),
        ('[[validation]]\nname = "a"\nreader = "foldr"\nroot = "b"', r"\[validation.0\] reader is 'foldr' \(did you"),
        ('[[validation]]\nname="a"\nreader="folder"\nroot="b"\nmetrics=["bad"]', "no disparity metric 'bad'"),
        ('[[validation]]\nname="a"\nreader="folder"\nroot="b"\n' * 2, "has a name twice among a, a"),
        ("[data", "is not a TOML file"),
    ],
)
def test_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WrongFile, match=sentence) as error:
        TrainingRecipe.read(path)
    assert str(error.value).startswith(str(path)) or "TOML" in sentence
    with pytest.raises(WrongFile) as error:
        TrainingRecipe.read(path)
    assert str(error.value).count("[augment]") <= 1, "the table is named once"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="There is no recipe"):
        TrainingRecipe.read(tmp_path / "none.toml")


def test_what_a_resumed_run_may_change(example: Path) -> None:
    recipe = TrainingRecipe.read(example)
    free = ["run.steps=9", "run.keep=1", "run.log_every=1", "run.checkpoint_every=1", "run.sheet_every=0"]
    free += [
        "run.validate_every=0",
        "data.workers=0",
        "validation.0.limit=3",
        "validation.1={name='b', reader='folder', root='c'}",
    ]
    assert recipe.differences(recipe.changed(free)) == ()
    assert recipe.differences(replace(recipe, validation=())) == ()
    fixed = ["run.seed=1", "optimizer.lr=1", "data.sources.1.weight=4", "model.config.radius=2", "augment.flip=0.5"]
    assert recipe.differences(recipe.changed(fixed)) == (
        "augment.flip",
        "data.sources.1.weight",
        "model.config.radius",
        "optimizer.lr",
        "run.seed",
    )
    assert recipe.changed(fixed).differences(recipe) == recipe.differences(recipe.changed(fixed))
    assert recipe.differences(recipe.changed(["data.sources.1.weight=3.0"])) == ()


@dataclass(frozen=True)
class _Leaf(Table):
    name: str
    share: Annotated[float | int, "A share.", Bounds(0, 1)] = 0.5
    free: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tree(Table):
    word: Literal["a", "b"] = "a"
    pair: tuple[float | int, int] = (1.5, 2)
    maybe: int | None = None
    leaf: _Leaf = _Leaf("x")
    leaves: tuple[_Leaf, ...] = ()


@pytest.mark.parametrize(
    "tree",
    [
        _Tree(),
        _Tree("b", (1e-300, -3), 7, _Leaf('quote " \\ \n\t\x7f é 深 😀', 1), (_Leaf("[x]", 0.1), _Leaf("", 0))),
        _Tree(leaf=_Leaf("a", free={"a b": [1, [2.5, "é"]], "é.": {"deep": True}, "": -1e22})),
        _Tree(leaves=(_Leaf("a", free={"t": {}}),)),
    ],
)
def test_texts_and_numbers_survive(tree: _Tree) -> None:
    assert read_table(_Tree, tomllib.loads(write_toml(tree)), "") == tree
    assert read_table(_Tree, as_tables(tree), "") == tree


def test_tuples_in_free_tables_become_lists() -> None:
    assert _Leaf("a", free={"sizes": (1, (2, 3))}).free == {"sizes": [1, [2, 3]]}
    with pytest.raises(WrongInput, match="cannot stand in a TOML file"):
        _Leaf("a", free={"none": None})
    with pytest.raises(WrongInput, match="cannot stand in a TOML file"):
        write_value({1: 2})


def test_direct_construction_is_checked_too() -> None:
    with pytest.raises(WrongInput, match=r"share is 1\.5; it is from 0 to 1"):
        _Leaf("a", 1.5)
    with pytest.raises(WrongInput, match="batch is 0; it is at least 1"):
        DataRecipe(batch=0)
    with pytest.raises(WrongInput, match=r"\[model.config\] has no 'x'"):
        ModelRecipe(config={"x": 1})


def test_flat_names() -> None:
    assert flat({"a": {"b": 1, "c": [{"d": 2}, {"d": [3, 4]}]}, "e": []}) == {
        "a.b": 1,
        "a.c.0.d": 2,
        "a.c.1.d": [3, 4],
        "e": [],
    }


def test_overrides_of_plain_tables() -> None:
    tables: dict[str, Any] = {"a": {"b": [1, 2]}}
    for override in ("a.b.1=5", "a.b.2=6", 'a.c="7"', "a.d.e=x y"):
        set_value(tables, override)
    assert tables == {"a": {"b": [1, 5, 6], "c": "7", "d": {"e": "x y"}}}
