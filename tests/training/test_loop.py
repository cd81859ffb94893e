"""Whole runs of tiny networks: they learn, go on where they were stopped, and say so when they cannot."""

import multiprocessing
import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import PLAIN, differences, rows, run_tiny, run_written, smooth_recipe, state_of, stop_at, tiny_recipe
from torch import Tensor

import depthweave
from depthweave import io
from depthweave.errors import DifferentConfiguration, NotFinite, WrongInput
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.training import loop
from depthweave.training.augment import Augment
from depthweave.training.mixture import Mixture
from depthweave.training.objective import VolumeTrainee
from depthweave.training.prerendered import Prerendered
from depthweave.training.recipe import SourceRecipe, TrainingRecipe
from depthweave.training.sources import PrerenderedSource

KILLS = 5


def mean_error(network: CompactStereo, pairs: Path) -> float:
    """EPE of visible pixels in px, mean over the pairs."""
    found = []
    for number in range(8):
        pair = Prerendered(pairs)[number]
        left, right = (view.image.permute(2, 0, 1)[None].float() for view in (pair.left, pair.right))
        disparity, _, visible = pair.left.truth()
        with torch.inference_mode():
            answer = network.eval()(left, right, iterations=1, max_disparity=32)[0, 0]
        found.append(float((answer - disparity).abs()[visible].mean()))
    return sum(found) / len(found)


def test_a_tiny_network_learns_eight_pairs_by_heart(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        pairs,
        "data.crop=[64, 96]",
        "data.batch=4",
        "optimizer.lr=6e-3",
        "run.steps=60",
        "run.ema=0.0",
        "run.log_every=20",
        "run.checkpoint_every=60",
    )
    trained = run_tiny(replace(recipe, augment=Augment(**PLAIN)), tmp_path / "run")
    torch.manual_seed(recipe.run.seed)
    before = mean_error(CompactStereo(CompactConfig.nano()), pairs)
    after = mean_error(CompactStereo.from_pretrained(trained), pairs)
    truths = [(disparity, seen) for disparity, _, seen in (Prerendered(pairs)[n].left.truth() for n in range(8))]
    best = torch.cat([disparity[seen] for disparity, seen in truths]).median()
    constant = sum(float((disparity - best).abs()[seen].mean()) for disparity, seen in truths) / 8
    assert after < before / 10
    assert after < 0.6 * constant, "no better than to say the same of every pixel"
    logged = [float(row["epe"]) for row in rows(tmp_path / "run")]
    assert len(logged) == 3
    assert logged[-1] < logged[0] / 3


def test_a_run_leaves_what_is_needed_to_judge_it(pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = tiny_recipe(pairs, "run.steps=5", "run.sheet_every=2", "run.log_every=2", "run.keep=2", "data.batch=6")
    assert run_tiny(recipe, folder) == folder / "network"
    assert TrainingRecipe.read(folder / "recipe.toml") == recipe
    assert [(row["step"], row["samples"]) for row in rows(folder)] == [("2", "12"), ("4", "24"), ("5", "30")]
    assert list(rows(folder)[0]) == [
        "step", "samples", "lr", "loss", "volume", "start", "sequence", "rating", "epe", "bad-2.0", "norm",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000004", "step-000005"]
    assert sorted(path.name for path in (folder / "sheets").iterdir()) == [
        f"step-00000{step}.png" for step in (2, 4, 5)
    ]
    sheet = io.read_image(folder / "sheets" / "step-000004.png")
    assert sheet.shape == (4 * (32 + 18 + 2) - 2, 5 * (64 + 2) - 2, 3)
    assert sheet.std() > 20
    last = state_of(folder, 5)
    average = {name: tensor for name, tensor in last["average"].items() if " " not in name}
    assert differences(load_file(folder / "network" / "model.safetensors"), average) == []
    assert differences(last["network"], average) != []
    with torch.no_grad():
        found = depthweave.load(folder / "network", device="cpu")(depthweave.StereoPair(*torch.rand(2, 3, 40, 70)))
    assert found.values.shape == (40, 70)


def test_rows_are_means_of_the_steps_since_the_last_one(pairs: Path, tmp_path: Path) -> None:
    run_tiny(tiny_recipe(pairs), tmp_path / "each")
    run_tiny(tiny_recipe(pairs, "run.log_every=4"), tmp_path / "fourth")
    each, fourth = rows(tmp_path / "each"), rows(tmp_path / "fourth")
    assert [row["step"] for row in fourth] == ["4", "6"]
    for name in ("loss", "volume", "epe", "norm"):
        values = [float(row[name]) for row in each]
        assert float(fourth[0][name]) == pytest.approx(sum(values[:4]) / 4)
        assert float(fourth[1][name]) == pytest.approx(sum(values[4:]) / 2)
    assert [float(row["lr"]) for row in fourth] == [float(each[3]["lr"]), float(each[5]["lr"])]
    assert sum(float(each[0][name]) for name in ("volume", "start", "sequence", "rating")) == pytest.approx(
        float(each[0]["loss"])
    )


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(pairs, "run.checkpoint_every=3")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_tiny(recipe, whole)
    stop_at(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(recipe, cut)
    monkeypatch.undo()
    assert [row["step"] for row in rows(cut)] == ["1", "2", "3", "4", "5"]
    assert not (cut / "network").exists()
    torch.manual_seed(99)
    random.seed(99)
    run_tiny(recipe, cut)
    assert differences(state_of(cut, 6), state_of(whole, 6)) == []
    assert differences(state_of(cut, 3)["network"], state_of(cut, 6)["network"]) != []
    assert rows(cut) == rows(whole)
    trained = (whole / "network" / "model.safetensors").read_bytes()
    assert (cut / "network" / "model.safetensors").read_bytes() == trained
    run_tiny(recipe, cut)  # nothing is left to do
    assert rows(cut) == rows(whole)
    assert (cut / "network" / "model.safetensors").read_bytes() == trained


def test_a_row_may_begin_before_a_run_is_stopped(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(pairs, "run.steps=5", "run.checkpoint_every=3", "run.log_every=4", "run.accumulate=2")
    run_tiny(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-000005")
    run_tiny(recipe, tmp_path / "cut")
    assert [row["step"] for row in rows(tmp_path / "cut")] == ["4", "5"]
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_a_run_may_be_made_longer(pairs: Path, tmp_path: Path) -> None:
    constant = ("schedule.kind='constant'", "schedule.warm_up=0.0", "run.checkpoint_every=3")
    run_tiny(tiny_recipe(pairs, *constant), tmp_path / "whole")
    run_tiny(tiny_recipe(pairs, *constant, "run.steps=3"), tmp_path / "longer")
    run_tiny(tiny_recipe(pairs, *constant, "run.steps=6"), tmp_path / "longer")
    assert differences(state_of(tmp_path / "longer", 6), state_of(tmp_path / "whole", 6)) == []
    assert rows(tmp_path / "longer") == rows(tmp_path / "whole")
    with pytest.raises(DifferentConfiguration, match=r"differs in optimizer\.lr;"):
        run_tiny(tiny_recipe(pairs, *constant, "optimizer.lr=1e-4"), tmp_path / "longer")


def newest_step(folder: Path) -> int:
    names = [path.name for path in (folder / "checkpoints").glob("step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def test_a_run_that_is_killed_again_and_again_ends_like_any_other(pairs: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(pairs, "run.steps=9", "run.checkpoint_every=1", "run.keep=2", "run.sheet_every=3")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["accelerate", "depthweave.training.loop"])
    moments = random.Random(4)
    kills = 0
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder, killed in ((whole, 0), (cut, KILLS)):
        for life in range(killed + 1):
            child = context.Process(target=run_written, args=(recipe.to_toml(), str(folder)))
            child.start()
            reached = newest_step(folder)
            if life < killed:
                while child.is_alive() and newest_step(folder) == reached:
                    time.sleep(0.002)
                time.sleep(moments.uniform(0, 0.12))
                child.kill()
            child.join()
            kills += child.exitcode == -9
    assert child.exitcode == 0
    assert kills >= 3
    assert differences(state_of(cut, 9), state_of(whole, 9)) == []
    assert rows(cut) == rows(whole)
    for path in ("network/model.safetensors", "sheets/step-000009.png", "recipe.toml"):
        assert (cut / path).read_bytes() == (whole / path).read_bytes()
    assert sorted(path.name for path in (cut / "checkpoints").iterdir()) == ["step-000008", "step-000009"]


def assert_same_updates(folder: Path, other: Path) -> None:
    """The same gradients but for rounding, and more than rounding has changed."""
    for mine, its in zip(rows(folder), rows(other), strict=True):
        assert (mine["step"], mine["samples"], mine["lr"]) == (its["step"], its["samples"], its["lr"])
        assert float(mine["norm"]) == pytest.approx(float(its["norm"]), rel=1e-3)
    before, one, two = (state_of(place, step)["network"] for place, step in ((folder, 1), (folder, 2), (other, 2)))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-4)
    assert max(float((one[name] - before[name]).abs().max()) for name in one) > 0.01


def test_parts_of_a_batch_add_up_to_the_whole(pairs: Path, tmp_path: Path) -> None:
    run_tiny(smooth_recipe(pairs, "run.checkpoint_every=1"), tmp_path / "whole")
    run_tiny(smooth_recipe(pairs, "run.checkpoint_every=1", "run.accumulate=2"), tmp_path / "parts")
    assert_same_updates(tmp_path / "whole", tmp_path / "parts")
    losses = [[float(row["loss"]) for row in rows(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_two_processes_take_the_samples_of_one(pairs: Path, tmp_path: Path) -> None:
    recipe = smooth_recipe(pairs, "run.checkpoint_every=1")
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    # On a CPU `accelerate launch --num_processes 2` would start one process only, without a word.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, "-m", "depthweave", "train", str(tmp_path / "recipe.toml"), "-o", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_tiny(recipe, tmp_path / "one")
    assert_same_updates(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "network" / "model.safetensors").is_file()
    shared, whole = (float(rows(tmp_path / name)[0]["loss"]) for name in ("two", "one"))
    assert shared != pytest.approx(whole, rel=1e-3), "the first process has met all samples"


def test_a_batch_that_cannot_be_shared_is_refused(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Many:
        num_processes = 2

    monkeypatch.setattr(loop, "_accelerator", lambda *_: Many())
    with pytest.raises(WrongInput, match="batch of 2 cannot be shared by 2 processes in 2 parts each"):
        run_tiny(tiny_recipe(pairs, "run.accumulate=2"), tmp_path / "run")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_the_run_and_is_kept(
    what: str, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(pairs)
    calls = 0
    compare = VolumeTrainee.compare

    def broken(trainee: VolumeTrainee, *inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        terms, *others = compare(trainee, *inputs)
        if calls == 4:
            start: Tensor = terms["start"]
            if what == "loss":
                terms["start"] = start / 0
            else:
                start.register_hook(lambda gradient: gradient * torch.inf)
        return terms, *others

    monkeypatch.setattr(VolumeTrainee, "compare", broken)
    with pytest.raises(
        NotFinite, match=f"^the {what} of step 3 is not finite; its batch and the weights are in"
    ) as seen:
        run_tiny(recipe, tmp_path / "run")
    monkeypatch.undo()
    place = tmp_path / "run" / "not-finite-step-000003-0"
    assert str(place) in str(seen.value)
    batch, weights = (load_file(place / f"{name}.safetensors") for name in ("batch", "network"))
    mixture = Mixture([PrerenderedSource(pairs)], augment=recipe.augment, crop=(32, 64))
    wanted = torch.stack([mixture[number].left.image for number in (6, 7)])
    assert torch.equal(batch["left.image"], wanted)
    assert set(batch) == {
        f"{side}.{name}"
        for side in ("left", "right")
        for name in ("image", "disparity", "known", "visible", "has_visibility")
    }
    network = CompactStereo.from_state(CompactConfig.nano(), weights)
    assert bool(network(batch["left.image"], batch["right.image"]).isfinite().all())
    assert newest_step(tmp_path / "run") == 2
    run_tiny(recipe, tmp_path / "run")
    assert rows(tmp_path / "run")[-1]["step"] == "6"


def test_sources_are_met_in_proportion_to_their_weights(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(pairs, tmp_path / "other"))
    recipe = tiny_recipe(pairs, "data.crop=[32, 32]", "data.batch=8", "run.checkpoint_every=6")
    sources = tuple(SourceRecipe("prerendered", str(place), weight) for place, weight in ((pairs, 3), (other, 1)))
    recipe = replace(recipe, data=replace(recipe.data, sources=sources))
    taken = []
    raw = PrerenderedSource.raw
    monkeypatch.setattr(
        PrerenderedSource, "raw", lambda source, index: taken.append((source.name, index)) or raw(source, index)
    )
    run_tiny(recipe, tmp_path / "run")
    mixture = Mixture([PrerenderedSource(pairs), PrerenderedSource(other)], [3, 1])
    draws = [mixture.draw(number) for number in range(6 * 8)]
    assert taken == [(str((pairs, other)[draw.source]), draw.pair) for draw in draws]
    share = sum(name == str(pairs) for name, _ in taken) / len(taken)
    assert 0.75 - 0.2 < share < 0.75 + 0.2
    assert len({index for _, index in taken}) == 8


def test_runs_of_one_process_may_differ_in_their_numbers(pairs: Path, tmp_path: Path) -> None:
    run_tiny(tiny_recipe(pairs, "run.steps=1"), tmp_path / "full")
    run_tiny(tiny_recipe(pairs, "run.steps=1", "run.dtype='bfloat16'"), tmp_path / "half")
    full, half = (float(rows(tmp_path / name)[0]["loss"]) for name in ("full", "half"))
    assert full != half
    assert half == pytest.approx(full, rel=0.2)


def test_frozen_parts_stay_as_they_are(pairs: Path, tmp_path: Path) -> None:
    run_tiny(tiny_recipe(pairs, "model.frozen=['encoder.', 'to_match']", "run.checkpoint_every=1"), tmp_path / "run")
    first, last = (state_of(tmp_path / "run", step)["network"] for step in (1, 6))
    still = {name for name in first if torch.equal(first[name], last[name])}
    frozen = {name for name in first if re.match(r"(encoder\.|to_match)", name)}
    statistics = {name for name in first if "running" in name or "batches" in name}
    assert still - statistics == frozen - statistics
