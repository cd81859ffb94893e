"""First pass on single pictures whose truth is an order of points: a map of every picture, on disk."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from depthweave.data import OrdinalItem, open_pictures
from depthweave.errors import WrongInput
from depthweave.evaluation.predict import Progress, open_run, predict_each, save_map, timed
from depthweave.types import DepthMap, InverseDepthMap, Picture


@runtime_checkable
class PictureModel(Protocol):
    """A model for single pictures that can say what it is, such as a `MonoEstimator`."""

    def facts(self) -> dict[str, Any]:
        """What makes a result, for its manifest: ``model``, ``options`` and more."""

    def __call__(self, image: Picture) -> DepthMap | InverseDepthMap:
        """Depth or inverse depth of a picture."""


def predict_pictures(
    model: Any,
    benchmark: str,
    root: str | Path,
    output: str | Path,
    *,
    benchmark_options: dict[str, Any] | None = None,
    limit: int | None = None,
    show_progress: bool | None = None,
) -> Progress:
    """Run a model over the pictures of a benchmark and keep every map; finished ones of an earlier call stay.

    A picture that fails is reported and the rest goes on; the next call tries it again.

    Args:
        model: a `PictureModel`, such as `depthweave.load("depth-anything-v2-small")`.
        benchmark: name as in `depthweave.data.PICTURE_BENCHMARKS`.
        root: the benchmark's folder.
        output: run folder; it may hold an unfinished run of the same configuration.
        benchmark_options: of the reader, e.g. ``{"split": "val"}``.
        limit: only the first so many pictures.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds predictions of another model, options, data or version.
        UnknownBenchmark, WrongFile: the benchmark cannot be opened.
        WrongInput: the model does not say what it is.
        NotWritable: the run folder cannot be written.
    """
    if not isinstance(model, PictureModel):
        raise WrongInput(f"{type(model).__name__} has no facts() to say what it is; give a model of depthweave.load.")
    options = benchmark_options or {}
    items = open_pictures(benchmark, root, **options)
    run = open_run(model.facts(), benchmark, options, Path(root), Path(output), items, _input_bytes)
    device = getattr(model, "device", torch.device("cpu"))

    def predict_item(item: OrdinalItem) -> None:
        picture = item.read_picture()
        with timed(device) as facts:
            found = model(picture)
        save_map(run, item.key, found, {**facts, "input_bytes": _input_bytes(item)})

    return predict_each(run, items[:limit], predict_item, lambda item: run.is_finished(item.key), show=show_progress)


def _input_bytes(item: OrdinalItem) -> list[int | None]:
    """Size of the picture."""
    return [item.picture.stat().st_size]
