"""Recipes of worlds: distributions, their TOML, and what is refused."""

import math
import pickle
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from random import Random

import pytest

from depthweave.errors import WrongFile, WrongInput
from depthweave.worlds.recipe import Range, Recipe, SceneRecipe, ShapesRecipe, choose


def test_the_shipped_recipe_is_the_default() -> None:
    shipped = files("depthweave") / "recipes" / "worlds.toml"
    assert shipped.read_text(encoding="utf-8") == Recipe().to_toml()


def test_a_recipe_survives_its_toml() -> None:
    text = Recipe().to_toml()
    assert Recipe.from_toml(text) == Recipe()
    changed = Recipe(scene=SceneRecipe(kinds={"wall": 1.0}), shapes=ShapesRecipe(aspect=Range(1, 1.5, "normal")))
    assert Recipe.from_toml(changed.to_toml()) == changed
    assert all(len(line) <= 120 for line in text.splitlines())


def test_every_value_is_documented() -> None:
    lines = Recipe().to_toml().splitlines()
    for line, before in zip(lines[1:], lines, strict=False):
        key = line.split(" = ")[0].split(".")[0]
        if " = " in line and not line.startswith("#"):
            assert before.startswith(("# ", key)), f"{key} has no text"


def test_a_recipe_can_be_sent_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(Recipe())) == Recipe()


def test_numbers_stay_between_their_bounds() -> None:
    random = Random(0)
    for kind in ("uniform", "log", "normal"):
        numbers = [Range(2, 8, kind).draw(random) for _ in range(2000)]
        assert 2 <= min(numbers) < 2.5
        assert 7.5 < max(numbers) <= 8
    assert Range(3, 3, "normal").draw(random) == 3


def test_the_middle_of_each_kind() -> None:
    random = Random(0)

    def median(span: Range) -> float:
        return sorted(span.draw(random) for _ in range(4001))[2000]

    assert median(Range(1, 100)) == pytest.approx(50.5, abs=3)
    assert median(Range(1, 100, "log")) == pytest.approx(10, rel=0.15)
    assert median(Range(1, 100, "normal")) == pytest.approx(50.5, abs=2)


def test_counts_reach_both_ends_equally() -> None:
    random = Random(0)
    counts = [Range(1, 4).draw_count(random) for _ in range(4000)]
    for count in (1, 2, 3, 4):
        assert counts.count(count) == pytest.approx(1000, abs=120)


def test_weights_of_zero_are_never_chosen() -> None:
    random = Random(0)
    chosen = [choose(random, {"a": 0.0, "b": 3.0, "c": 1.0}) for _ in range(4000)]
    assert "a" not in chosen
    assert chosen.count("b") == pytest.approx(3000, abs=120)


def test_weights_that_are_left_out_are_zero() -> None:
    assert SceneRecipe(kinds={"wall": 2.0}).kinds == {"room": 0.0, "outdoor": 0.0, "wall": 2.0}


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        [camera]
        fov_deg = 60
        height_m = [1, 2]
        roll_deg = [1, 2, "log"]
        [scene]
        kinds.wall = 0
        [light]
        shadows = 1
        """
    )
    recipe = Recipe.read(path)
    assert recipe.camera.fov_deg == Range(60, 60, "uniform")
    assert recipe.camera.height_m == Range(1, 2, "log")
    assert recipe.camera.roll_deg == Range(1, 2, "log")
    assert recipe.camera.pitch_deg == Recipe().camera.pitch_deg
    assert recipe.scene.kinds == {"room": 0.6, "outdoor": 0.25, "wall": 0.0}
    assert recipe.light.shadows == 1
    assert recipe.clutter == Recipe().clutter


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[sea]", r"no \[sea\]; it has scene, camera"),
        ("camera = 3", r"write \[camera\]"),
        ("[camera]\nfov = 3", r"\[camera\] has no 'fov'; it has fov_deg"),
        ("[camera]\nfov_deg = [80, 40]", r"fov_deg: a range from 80 to 40"),
        ("[camera]\nfov_deg = [1, 2, 3]", "write \\[low, high\\]"),
        ("[camera]\nfov_deg = true", "True is not a number"),
        ("[camera]\nfov_deg = [nan, 2]", "a range from nan"),
        ('[camera]\nfov_deg = [1, 2, "cauchy"]', "no kind 'cauchy'; it is one of uniform, log, normal"),
        ("[camera]\nheight_m = [0, 2]", "starts above 0"),
        ("[scene]\nkinds.sea = 1", "no 'sea'; it has room, outdoor, wall"),
        ("[scene]\nkinds.room = -1", "weights are 0 or more"),
        ("[scene]\nkinds = {room = 0, outdoor = 0, wall = 0}", "all weights are 0"),
        ("[scene]\nkinds = 1", "room = 0.5"),
        ("[light]\nshadows = 1.5", "a share between 0 and 1"),
        ("[light]\nshadows = [0, 1]", "is not a number"),
        ("[light", "is not a TOML file"),
    ],
)
def test_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(WrongFile, match=sentence) as error:
        Recipe.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="no recipe"):
        Recipe.read(tmp_path / "none.toml")


def test_sections_check_themselves() -> None:
    with pytest.raises(WrongInput, match="no 'cube'"):
        ShapesRecipe(kinds={"cube": 1.0})
    with pytest.raises(WrongInput, match="a range from"):
        Range(0, math.inf)


def test_sections_have_the_names_of_their_tables() -> None:
    for each in fields(Recipe):
        assert type(getattr(Recipe(), each.name)).__name__ == f"{each.name.title()}Recipe"
