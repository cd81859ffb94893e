"""Checkpoints: folders that are there whole or not at all, and from which a run goes on as if nothing had happened.

| file of `checkpoints/step-000500/` | holds |
|---|---|
| `network.safetensors` | the weights |
| `average.safetensors` | their running average, where there is one |
| `optimizer.pt` | the optimizer's state |
| `state.json` | step, samples, random states, recipe, versions, and the SHA-256 of the other files |
"""

import hashlib
import json
import os
import pickle
import platform
import random
import re
import shutil
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import depthweave
from depthweave import io
from depthweave.errors import DepthweaveWarning, DifferentConfiguration, NotWritable, WrongFile, WrongInput
from depthweave.models.pretrained import read_checkpoint
from depthweave.training.recipe import TrainingRecipe

FOLDER_NAME = "checkpoints"
NETWORK_NAME, AVERAGE_NAME = "network.safetensors", "average.safetensors"
OPTIMIZER_NAME, STATE_NAME = "optimizer.pt", "state.json"
_FORMAT = 1
_STEP = re.compile(r"step-(\d+)")
_LEFTOVER = re.compile(r"\.(?P<name>step-\d+)\.(?P<kind>new|old)-(?P<process>\d+)-[0-9a-f]+")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run needs to go on.

    Attributes:
        step: updates of the weights so far.
        samples: pairs taken so far; which comes next follows from that number alone.
        recipe: of the run.
        network: state of the network, on any device; loaded ones are on the CPU.
        optimizer: state of the optimizer.
        average: of `Average.state_dict`; empty without an average.
        random: of `random_states`.
        more: anything else that JSON holds, such as the state of a gradient scaler.
    """

    step: int
    samples: int
    recipe: TrainingRecipe
    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    average: Mapping[str, Tensor] = field(default_factory=dict)
    random: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


def random_states() -> dict[str, Any]:
    """Where the global generators of Python, numpy, torch and each cuda device stand, as JSON holds it."""
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - libraries that we call draw from it
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
        "cuda": [state.numpy().tobytes().hex() for state in devices],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Put the global generators back to where they stood.

    Args:
        states: of `random_states`, also after a journey through JSON; cuda devices that this machine lacks, and those
            that the other one lacked, are left out.
    """
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(_bytes(states["torch"]))
    for device, state in zip(range(torch.cuda.device_count()), states["cuda"], strict=False):
        torch.cuda.set_rng_state(_bytes(state), device)


def save(folder: io.files.AnyPath, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below a run's folder; killed at any moment, it leaves a whole one or none.

    The files are written under a temporary name, brought to the disk and renamed. What writers have left that died
    before is removed. A checkpoint of the same step is replaced.

    Args:
        folder: of the run.
        checkpoint: what to write.

    Returns:
        Its own folder, ``checkpoints/step-000500``.

    Raises:
        NotWritable: the folder cannot be written, or the disk is full; older checkpoints stay.
    """
    remove_leftovers(folder)
    target = _place(folder) / f"step-{checkpoint.step:06d}"
    temporary = _beside(target, "new")
    try:
        temporary.mkdir(parents=True)
        _write_files(temporary, checkpoint)
        if target.exists():
            old = _beside(target, "old")
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old)
        else:
            temporary.rename(target)
        _to_disk(target.parent)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save says RuntimeError when the disk is full
        reason = getattr(error, "strerror", None) or error
        raise NotWritable(f"{target} cannot be written ({reason}); make room or choose another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def load(path: io.files.AnyPath) -> Checkpoint:
    """Read one checkpoint, every file of it checked against its SHA-256.

    Args:
        path: ``checkpoints/step-000500``.

    Raises:
        WrongFile: a file is missing or damaged.
        DifferentConfiguration: it is of another version, or its recipe is.
    """
    folder = io.require_folder(path)
    remedy = "use another checkpoint"
    state = io.read_json(folder / STATE_NAME, remedy=remedy)
    try:
        if state["format"] != _FORMAT:
            raise DifferentConfiguration(f"{folder} has the format {state['format']}, not {_FORMAT}; train anew.")
        recipe = TrainingRecipe.from_tables(state["recipe"])
    except (KeyError, TypeError) as error:
        raise WrongFile(f"{folder / STATE_NAME} is damaged ({error!r}); {remedy}.") from error
    except WrongInput as error:
        raise DifferentConfiguration(f"the recipe of {folder} is of another version: {error}") from error
    try:
        for name, digest in state["sha256"].items():
            if _digest(io.require_file(folder / name)) != digest:
                raise WrongFile(f"{folder / name} is damaged (its SHA-256 is another); {remedy}.")
        with_average = AVERAGE_NAME in state["sha256"]
        return Checkpoint(
            state["step"],
            state["samples"],
            recipe,
            read_checkpoint(folder / NETWORK_NAME),
            torch.load(folder / OPTIMIZER_NAME, map_location="cpu", weights_only=True),
            read_checkpoint(folder / AVERAGE_NAME) if with_average else {},
            state["random"],
            state["more"],
        )
    except (KeyError, TypeError, AttributeError, RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise WrongFile(f"{folder} is damaged ({error!r}); {remedy}.") from error


def latest(folder: io.files.AnyPath, recipe: TrainingRecipe | None = None) -> Checkpoint | None:
    """The newest checkpoint of a run that can be read, or None where there is none.

    A damaged one is set aside as ``damaged-step-000500``, with a warning, and the one before is taken.

    Args:
        folder: of the run.
        recipe: of the run that is to go on; None = any.

    Raises:
        DifferentConfiguration: the checkpoint is of a recipe that decides otherwise; the sentence names the values.
        WrongFile: there are checkpoints and all are damaged.
    """
    _put_back(folder)
    found = _steps(folder)
    for path in reversed(found):
        try:
            checkpoint = load(path)
        except WrongFile as error:
            aside = path.with_name(f"damaged-{path.name}")
            _set_aside(path, aside)
            reason = str(error).removesuffix(".")
            warnings.warn(f"{reason}: it is set aside as {aside.name}, the one before is taken.", DepthweaveWarning, 2)
            continue
        different = () if recipe is None else checkpoint.recipe.differences(recipe)
        if different:
            raise DifferentConfiguration(
                f"{path} is of another recipe, which differs in {', '.join(different)}; set these back, or train into "
                "another folder with model.start naming weights of this one."
            )
        return checkpoint
    if found:
        raise WrongFile(
            f"none of the {len(found)} checkpoints in {_place(folder)} can be read; train into a new folder."
        )
    return None


def prune(folder: io.files.AnyPath, keep: int) -> None:
    """Remove all checkpoints of a run but the newest.

    Args:
        folder: of the run.
        keep: how many stay, at least 1.

    Raises:
        WrongInput: none would stay.
    """
    if keep < 1:
        raise WrongInput(f"of the checkpoints {keep} would stay; keep at least 1.")
    for path in _steps(folder)[:-keep]:
        doomed = _beside(path, "new")  # half removed it must not look whole
        path.rename(doomed)
        shutil.rmtree(doomed)


def remove_leftovers(folder: io.files.AnyPath) -> None:
    """Remove what writers have left in a run's folder that died while they wrote; call it when a run starts.

    Args:
        folder: of the run; it need not exist.
    """
    _put_back(folder)
    for path, match in _leftovers(folder):
        if not _is_alive(int(match["process"])):
            shutil.rmtree(path, ignore_errors=True)


def _put_back(folder: io.files.AnyPath) -> None:
    """Give checkpoints their name back that a writer had moved away, but died before it put the new one there."""
    for path, match in _leftovers(folder):
        target = path.with_name(match["name"])
        if match["kind"] == "old" and not target.exists() and not _is_alive(int(match["process"])):
            path.rename(target)


def _leftovers(folder: io.files.AnyPath) -> list[tuple[Path, re.Match[str]]]:
    place = _place(folder)
    names = sorted(os.listdir(place)) if place.is_dir() else []
    return [(place / name, match) for name in names if (match := _LEFTOVER.fullmatch(name))]


def _steps(folder: io.files.AnyPath) -> list[Path]:
    place = _place(folder)
    found = (
        [(int(match[1]), place / match[0]) for name in os.listdir(place) if (match := _STEP.fullmatch(name))]
        if (place.is_dir())
        else []
    )
    return [path for _, path in sorted(found)]


def _place(folder: io.files.AnyPath) -> Path:
    return Path(folder) / FOLDER_NAME


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # a save of this process that is over; it saves one after the other
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _set_aside(path: Path, aside: Path) -> None:
    try:
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
    except FileNotFoundError:
        return  # another process of the same run has done it
    except OSError as error:
        raise NotWritable(f"{path} is damaged and cannot be set aside ({error.strerror}); delete it.") from error


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    _write_tensors(folder / NETWORK_NAME, checkpoint.network)
    if checkpoint.average:
        _write_tensors(folder / AVERAGE_NAME, checkpoint.average)
    torch.save(dict(checkpoint.optimizer), folder / OPTIMIZER_NAME)
    for path in folder.iterdir():
        _to_disk(path)
    state = {
        "format": _FORMAT,
        "step": checkpoint.step,
        "samples": checkpoint.samples,
        "versions": {
            "depthweave": depthweave.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "sha256": {path.name: _digest(path) for path in sorted(folder.iterdir())},
        "recipe": checkpoint.recipe.to_tables(),
        "more": dict(checkpoint.more),
        "random": dict(checkpoint.random),
    }
    (folder / STATE_NAME).write_text(json.dumps(state) + "\n", encoding="utf-8")
    _to_disk(folder / STATE_NAME)
    _to_disk(folder)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """With storage of their own each: safetensors refuses one tensor under two names."""
    save_file({name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}, path)


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytes.fromhex(text), np.uint8).copy())
