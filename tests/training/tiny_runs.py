"""Training runs of a few seconds, and what they leave."""

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from depthweave.models.stereo.compact import CompactConfig
from depthweave.models.stereo.raft import RaftConfig
from depthweave.training import loop
from depthweave.training.checkpoint import load
from depthweave.training.loop import train
from depthweave.training.recipe import TrainingRecipe

PLAIN = dict.fromkeys(
    ["mirror", "flip", "zoom", "stretch", "shift", "color", "permute", "grey", "noise", "blur", "erase"], 0
)
"""Of `[augment]`: nothing is varied."""


def tiny_recipe(pairs: Path, *changes: str, model: Mapping[str, Any] | None = None) -> TrainingRecipe:
    """Six steps of a nano network on crops of rendered pairs; `changes` are as of `TrainingRecipe.changed`."""
    tables = {
        "model": model or {"family": "compact", "config": asdict(CompactConfig.nano())},
        "data": {
            "crop": [32, 64],
            "batch": 2,
            "workers": 0,
            "sources": [{"kind": "prerendered", "path": str(pairs)}],
        },
        "loss": {"max_disparity": 32, "iterations": 1},
        "run": {
            "steps": 6,
            "dtype": "float32",
            "ema": 0.9,
            "log_every": 1,
            "checkpoint_every": 2,
            "sheet_every": 0,
            "validate_every": 0,
            "keep": 10,
        },
    }
    return TrainingRecipe.from_tables(tables).changed(changes)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are interrupted before this update, until the patch is undone."""
    update = loop._Run._update

    def stopped(run: Any, batch: Any) -> Any:
        if run.step == step:
            raise KeyboardInterrupt
        return update(run, batch)

    monkeypatch.setattr(loop._Run, "_update", stopped)


def smooth_recipe(pairs: Path, *changes: str) -> TrainingRecipe:
    """Two steps whose sum over pairs does not depend on how these are shared out.

    The network has no statistics over a batch, every pixel weighs the same, and updates are nearly the gradient (eps is
    large), so that rounding stays as small as it is.
    """
    config = {**asdict(RaftConfig.nano()), "norm": "instance"}
    steady = (
        "data.batch=4",
        "loss.hidden=1.0",
        "loss.max_disparity=64",
        "optimizer.eps=1.0",
        "optimizer.lr=1.0",
        "optimizer.clip=0",
        "optimizer.weight_decay=0.0",
        "schedule.kind='constant'",
        "schedule.warm_up=0.0",
        "run.steps=2",
    )
    return tiny_recipe(pairs, *steady, *changes, model={"family": "raft", "config": config})


def run_tiny(recipe: TrainingRecipe, folder: Path) -> Path:
    """Train without a word."""
    return train(recipe, folder, device="cpu", show_progress=False)


def run_written(toml: str, folder: str) -> None:
    """The same for another process."""
    run_tiny(TrainingRecipe.from_tables(tomllib.loads(toml)), Path(folder))


def rows(folder: Path, name: str = "log.csv") -> list[dict[str, str]]:
    """A log without the times, which differ from run to run."""
    with (folder / name).open(newline="") as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def state_of(folder: Path, step: int) -> dict[str, Any]:
    """Everything in a checkpoint that decides how a run goes on."""
    found = load(folder / "checkpoints" / f"step-{step:06d}")
    return {
        "step": found.step,
        "samples": found.samples,
        "network": dict(found.network),
        "average": dict(found.average),
        "optimizer": dict(found.optimizer),
        # The checks of annotations during the tests draw from Python's own generator.
        "random": {name: found.random[name] for name in ("numpy", "torch", "cuda")},
    }


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Names of what is not the same bit by bit in nested values."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [name for key in one for name in differences(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            name for n, (a, b) in enumerate(zip(one, other, strict=True)) for name in differences(a, b, f"{where}.{n}")
        ]
    return [] if type(one) is type(other) and one == other else [where]
