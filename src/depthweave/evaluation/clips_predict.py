"""First pass on clips: the depth of every frame of one configuration on one benchmark, on disk."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from depthweave import io
from depthweave.data import ClipItem, open_clips
from depthweave.errors import WrongFile, WrongInput
from depthweave.evaluation.predict import Progress, Run, open_run, predict_each, timed, write_facts
from depthweave.io.manifest import MANIFEST_NAME
from depthweave.pipelines.mono import MonoEstimator
from depthweave.types import Clip, DepthMap, DepthVideo, InverseDepthMap, Reconstruction, Scale
from depthweave.types.reconstruction import frame_file

_KINDS: dict[str, type[DepthMap] | type[InverseDepthMap]] = {"depth": DepthMap, "inverse_depth": InverseDepthMap}


@runtime_checkable
class Describing(Protocol):
    """A model that can say what it is."""

    def facts(self) -> dict[str, Any]:
        """What makes a result, for its manifest: ``model``, ``options`` and more."""


@runtime_checkable
class ClipWriter(Protocol):
    """A model that writes the depth of a clip into a result folder, such as a `Reconstructor`."""

    def write(self, clip: Clip, folder: Path) -> Any:
        """Write `frames/000000.npz` and so on, and `result.json`; go on where a stopped call has ended."""


def predict_clips(
    model: Any,
    benchmark: str,
    root: str | Path,
    output: str | Path,
    *,
    benchmark_options: dict[str, Any] | None = None,
    limit: int | None = None,
    show_progress: bool | None = None,
) -> Progress:
    """Run a model over the clips of a benchmark and keep every map; finished clips of an earlier call stay.

    The run folder gets a folder per clip, ``items/<key>/frames/000000.npz`` and so on. A clip that fails is reported
    and the rest goes on; the next call tries it again.

    Args:
        model: what `depthweave.load` gives for a clip: a pipeline with `write(clip, folder)`, a callable that takes a
            `Clip` and gives a `DepthVideo` or a `Reconstruction`, or a `MonoEstimator`, which sees frame by frame. Its
            `facts()` say what it is.
        benchmark: name as in `depthweave.data.CLIP_BENCHMARKS`.
        root: the benchmark's folder.
        output: run folder; it may hold an unfinished run of the same configuration.
        benchmark_options: of `depthweave.data.open_clips`, e.g. ``{"choice": "depthcrafter"}``.
        limit: only the first so many clips.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds predictions of another model, options, data or version.
        UnknownBenchmark, WrongFile: the benchmark cannot be opened.
        WrongInput: the model does not say what it is.
        NotWritable: the run folder cannot be written.
    """
    if not isinstance(model, Describing):
        raise WrongInput(f"{type(model).__name__} has no facts() to say what it is; give a model of depthweave.load.")
    options = benchmark_options or {}
    items = open_clips(benchmark, root, **options)
    run = open_run(model.facts(), benchmark, options, Path(root), Path(output), items, _input_bytes)

    def is_finished(item: ClipItem) -> bool:
        return run.facts_path(item.key).is_file() and len(ClipMaps(run, item.key)) == len(item)

    work = partial(_predict_item, model, run)
    return predict_each(run, items[:limit], work, is_finished, show=show_progress)


class ClipMaps:
    """Predicted maps of one clip of a run, read when they are asked for.

    Args:
        run: the run.
        key: of the clip.
    """

    def __init__(self, run: Run, key: str) -> None:
        self.folder = clip_folder(run, key)
        self.key = key
        manifest = io.read_manifest(self.folder) if (self.folder / MANIFEST_NAME).is_file() else {}
        self.own_space = {"depth": "depth", "disparity": "disparity"}.get(str(manifest.get("space")))
        self._component: list[int] | None = manifest.get("component")

    def __len__(self) -> int:
        return sum(1 for path in (self.folder / "frames").glob("*.npz") if path.stem.isdigit())

    def __call__(self, index: int) -> DepthMap | InverseDepthMap | None:
        """The map of a frame; None for one that a reconstruction could not bring under the scale of the others.

        Raises:
            WrongFile: there is no map, or it is damaged or something else than depth.
        """
        path = self.folder / frame_file(index)
        if not path.is_file():
            raise WrongFile(f"{path} does not exist; run `depthweave predict` again to finish {self.key}.")
        if self._component is not None and self._component[index] != 0:
            return None
        found = io.read_npz(path)
        if found.kind not in _KINDS:
            raise WrongFile(f"{path} holds {found.kind}, not depth or inverse depth; predict with a model for clips.")
        made = _KINDS[found.kind](torch.from_numpy(found.values), torch.from_numpy(found.valid))
        return made if found.scale is None else replace(made, scale=Scale(found.scale))


def clip_folder(run: Run, key: str) -> Path:
    """Where the maps of a clip are."""
    return run.folder / "items" / key


def _predict_item(model: Any, run: Run, item: ClipItem) -> None:
    folder = clip_folder(run, item.key)
    clip = item.clip
    with timed(getattr(model, "device", torch.device("cpu"))) as facts:
        if isinstance(model, MonoEstimator):
            for index, picture in enumerate(clip):
                model(picture, camera=clip.camera).save(folder / frame_file(index))
        elif isinstance(model, ClipWriter):
            model.write(clip, folder)
        else:
            _save(model(clip), folder)
    written = len(ClipMaps(run, item.key))
    if written != len(item):
        raise WrongInput(f"{item.key} has {len(item)} frames, but the model gave {written} maps.")
    write_facts(run, item.key, {**facts, "frames": written, "input_bytes": _input_bytes(item)})


def _save(found: Any, folder: Path) -> None:
    if not isinstance(found, DepthVideo | Reconstruction):
        raise WrongInput(f"a model for clips gives a DepthVideo or a Reconstruction, not {type(found).__name__}.")
    shutil.rmtree(folder, ignore_errors=True)
    found.save(folder)


def _input_bytes(item: ClipItem) -> list[int | None]:
    """Sizes of the pictures."""
    return [path.stat().st_size for path in item.frames]
