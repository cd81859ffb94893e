"""Checkpoints: exact, whole after a kill, and honest about damage and other recipes."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from depthweave.errors import DepthweaveWarning, DifferentConfiguration, NotWritable, WrongFile, WrongInput
from depthweave.training import checkpoint as checkpoints
from depthweave.training.average import Average
from depthweave.training.checkpoint import Checkpoint, latest, load, prune, random_states, save, set_random_states
from depthweave.training.recipe import ModelRecipe, SourceRecipe, TrainingRecipe

RECIPE = TrainingRecipe(model=ModelRecipe(config={"hidden": 32}))


def made(step: int, recipe: TrainingRecipe = RECIPE, **values: Any) -> Checkpoint:
    torch.manual_seed(step)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.randn(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    average = Average(net, 0.9).state_dict()
    return Checkpoint(
        step, 4 * step, recipe, net.state_dict(), optimizer.state_dict(), average, random_states(), **values
    )


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "checkpoints"))


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def test_everything_comes_back(tmp_path: Path) -> None:
    saved = made(500, more={"scaler": {"scale": 65536.0}})
    path = save(tmp_path, saved)
    assert path == tmp_path / "checkpoints" / "step-000500"
    assert sorted(os.listdir(path)) == ["average.safetensors", "network.safetensors", "optimizer.pt", "state.json"]
    loaded = load(path)
    for name in ("step", "samples", "recipe", "network", "optimizer", "average", "random", "more"):
        assert_same(getattr(saved, name), getattr(loaded, name))
    assert json.loads((path / "state.json").read_text())["versions"]["torch"] == torch.__version__
    optimizer = torch.optim.AdamW(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).parameters())
    optimizer.load_state_dict(dict(loaded.optimizer))
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_without_an_average_and_with_a_shared_tensor(tmp_path: Path) -> None:
    weight = torch.randn(3)
    saved = replace(made(1), network={"a": weight, "b": weight, "c": torch.randn(4, 6).t()}, average={})
    loaded = load(save(tmp_path, saved))
    assert loaded.average == {}
    assert_same(loaded.network, dict(saved.network))


def test_random_numbers_go_on() -> None:
    def draw() -> list[float]:
        numbers = [random.random(), random.gauss(), np.random.rand(), np.random.randn()]  # noqa: NPY002
        return [*numbers, *torch.randn(3).tolist()]

    draw()  # normal numbers come in pairs; the second ones are part of the state
    states = json.loads(json.dumps(random_states()))
    expected = draw()
    assert draw() != expected
    set_random_states(states)
    assert draw() == expected


def test_the_newest_counts_by_number(tmp_path: Path) -> None:
    assert latest(tmp_path / "none") is None
    for step in (999_999, 1_000_000, 5):
        save(tmp_path, made(step))
    newest = latest(tmp_path, RECIPE)
    assert newest is not None
    assert newest.step == 1_000_000


def test_pruning(tmp_path: Path) -> None:
    for step in (1, 2, 10, 30):
        save(tmp_path, made(step))
    prune(tmp_path, 5)
    assert len(names(tmp_path)) == 4
    prune(tmp_path, 2)
    assert names(tmp_path) == ["step-000010", "step-000030"]
    with pytest.raises(WrongInput, match="at least 1"):
        prune(tmp_path, 0)


def test_what_is_half_removed_does_not_look_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save(tmp_path, made(step))
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)  # killed before anything is gone
    prune(tmp_path, 1)
    assert [name for name in names(tmp_path) if not name.startswith(".")] == ["step-000002"]


def test_the_same_step_again(tmp_path: Path) -> None:
    save(tmp_path, made(7))
    again = replace(made(8), step=7)
    assert_same(load(save(tmp_path, again)).network, dict(again.network))
    assert names(tmp_path) == ["step-000007"]


@pytest.mark.parametrize("name", ["network.safetensors", "average.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_seen_and_the_one_before_is_taken(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, made(1))
    file = save(tmp_path, made(2)) / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[-5 if name != "state.json" else 3] ^= 0xFF
        file.write_bytes(content)
    with pytest.warns(DepthweaveWarning, match="it is set aside as damaged-step-000002, the one before is taken"):
        found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert names(tmp_path) == ["damaged-step-000002", "step-000001"]
    save(tmp_path, made(2))
    prune(tmp_path, 1)
    again = latest(tmp_path)
    assert again is not None
    assert again.step == 2, "a damaged one must not crowd out a whole one"


def test_all_damaged(tmp_path: Path) -> None:
    (save(tmp_path, made(1)) / "network.safetensors").write_bytes(b"")
    with pytest.warns(DepthweaveWarning), pytest.raises(WrongFile, match="none of the 1 checkpoints"):
        latest(tmp_path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{}", WrongFile),
        ("[]", WrongFile),
        ('{"format": 1, "recipe": {}}', WrongFile),
        ('{"format": 2}', DifferentConfiguration),
        ('{"format": 1, "recipe": {"sea": 1}}', DifferentConfiguration),
    ],
)
def test_foreign_states(tmp_path: Path, content: str, error: type[Exception]) -> None:
    path = save(tmp_path, made(1))
    (path / "state.json").write_text(content)
    with pytest.raises(error, match="step-000001"):
        load(path)


def test_an_unreadable_recipe_is_no_damage(tmp_path: Path) -> None:
    state = save(tmp_path, made(1)) / "state.json"
    state.write_text(state.read_text().replace('"optimizer"', '"optimiser"'))
    with pytest.raises(DifferentConfiguration, match=r"another version: a recipe has no 'optimiser'"):
        latest(tmp_path)
    assert names(tmp_path) == ["step-000001"]


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    save(tmp_path, made(1))
    longer = RECIPE.changed(["run.steps=7", "run.keep=1", "data.workers=3"])
    assert latest(tmp_path, longer) is not None
    other = replace(
        longer.changed(["optimizer.lr=0.5"]), data=replace(RECIPE.data, sources=(SourceRecipe("folder", "a"),))
    )
    with pytest.raises(
        DifferentConfiguration, match=r"differs in data.sources.0.kind, data.sources.0.path, optimizer.lr; set these"
    ):
        latest(tmp_path, other)
    assert latest(tmp_path) is not None


def test_code_in_an_optimizer_file_is_not_run(tmp_path: Path) -> None:
    path = save(tmp_path, made(1))

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"state": Trap()}, path / "optimizer.pt")
    state = json.loads((path / "state.json").read_text())
    state["sha256"]["optimizer.pt"] = checkpoints._digest(path / "optimizer.pt")
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(WrongFile, match="is damaged"):
        load(path)
    assert not (tmp_path / "trapped").exists()


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    save(tmp_path, made(1))
    broken = replace(made(2), more={"what": object()})
    with pytest.raises(TypeError):
        save(tmp_path, broken)
    assert names(tmp_path) == ["step-000001"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(NotWritable, match="step-000001 cannot be written"):
        save(blocked, made(1))


def test_leftovers_of_dead_writers_go(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    save(tmp_path, made(1))
    place = tmp_path / "checkpoints"
    half, alive = place / f".step-000002.new-{int(dead.stdout)}-00aa", place / f".step-000003.new-{os.getppid()}-00aa"
    for folder in (half, alive):
        folder.mkdir()
        (folder / "network.safetensors").write_bytes(b"half")
    # Died between moving the old one away and giving its name to the new one.
    (place / "step-000001").rename(place / f".step-000001.old-{int(dead.stdout)}-00bb")
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    checkpoints.remove_leftovers(tmp_path)
    assert names(tmp_path) == [alive.name, "step-000001"]


KILLER = """
import os, random, signal, sys, time, warnings
from pathlib import Path
import torch
from depthweave.errors import DepthweaveWarning
from depthweave.training.checkpoint import Checkpoint, latest, prune, remove_leftovers, save
from depthweave.training.recipe import TrainingRecipe

warnings.simplefilter("error", DepthweaveWarning)  # no checkpoint may be found damaged
folder, recipe, dice = Path(sys.argv[1]), TrainingRecipe(), random.Random(0)

def made(step):
    value = torch.full((50_000,), float(step))
    return Checkpoint(step, 4 * step, recipe, {"a": value}, {"state": {0: value}}, {"b": value})

save(folder, made(1))
before, caught = 1, 0
for round in range(20):
    child = os.fork()
    if child == 0:
        step = before
        while True:
            step += round % 4 > 0  # every fourth writer replaces the same step again and again
            save(folder, made(step))
            prune(folder, 2)
    time.sleep(dice.uniform(0.02, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    caught += any(name.startswith(".") for name in os.listdir(folder / "checkpoints"))
    found = latest(folder)
    whole = {found.step} == {*found.network["a"].tolist()} == {*found.average["b"].tolist()}
    assert whole and {found.step} == {*found.optimizer["state"][0].tolist()}
    assert found.step >= before, (found.step, before)
    before = found.step
    remove_leftovers(folder)
    assert all(name.startswith("step-") for name in os.listdir(folder / "checkpoints"))
print(before, caught)
"""


def test_a_killed_writer_leaves_whole_checkpoints(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    last, caught = map(int, finished.stdout.split())
    assert last > 10, "writers got far enough to be interrupted"
    assert caught > 3, "some were killed in the middle of a checkpoint"
