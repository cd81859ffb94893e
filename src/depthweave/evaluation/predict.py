"""First pass: predictions of one configuration on one benchmark, on disk."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

import depthweave
from depthweave import io, runtime
from depthweave.data import ClipItem, OrdinalItem, StereoItem, open_benchmark, open_clips, open_pictures
from depthweave.errors import DifferentConfiguration, NotWritable, WrongFile, sentence_of
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import DepthMap, DisparityMap, InverseDepthMap

_RUN_FILE = "run.json"
Item = TypeVar("Item", StereoItem, ClipItem, OrdinalItem)


@dataclass(frozen=True)
class Run:
    """A folder of predictions: ``run.json``, and below ``items/`` a map and its facts for every key."""

    folder: Path
    root: Path
    configuration: dict[str, Any]

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return str(self.configuration["benchmark"])

    @property
    def benchmark_options(self) -> dict[str, Any]:
        """Options of its reader."""
        return dict(self.configuration["benchmark_options"])

    @property
    def model(self) -> dict[str, Any]:
        """Facts of the model, as in `StereoMatcher.facts`."""
        return dict(self.configuration["model"])

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.folder.resolve().name

    @classmethod
    def read(cls, folder: str | Path) -> "Run":
        """Open a run folder.

        Raises:
            WrongFile: the folder holds no run.
        """
        path = Path(folder) / _RUN_FILE
        if not path.is_file():
            raise WrongFile(f"{folder} holds no run; make one with `depthweave predict MODEL BENCHMARK -o {folder}`.")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            run = cls(Path(folder), Path(data["root"]), dict(data["configuration"]))
            # Read once, so that what is missing is missed here.
            _ = run.benchmark, run.benchmark_options, run.model
            return run
        except (ValueError, KeyError, TypeError) as error:
            raise WrongFile(f"{path} is damaged ({error}); delete the folder and predict again.") from error

    def items(self, root: str | Path | None = None) -> list[StereoItem]:
        """The benchmark's items, at the recorded root or another one."""
        place = self.root if root is None else Path(root).resolve()
        return open_benchmark(self.benchmark, place, **self.benchmark_options)

    def clips(self, root: str | Path | None = None) -> list[ClipItem]:
        """The benchmark's clips, at the recorded root or another one, for a run on a benchmark of clips."""
        place = self.root if root is None else Path(root).resolve()
        return open_clips(self.benchmark, place, **self.benchmark_options)

    def pictures(self, root: str | Path | None = None) -> list[OrdinalItem]:
        """The benchmark's pictures, at the recorded root or another one, for a run on ordered points."""
        place = self.root if root is None else Path(root).resolve()
        return open_pictures(self.benchmark, place, **self.benchmark_options)

    def map_path(self, key: str) -> Path:
        """Where the prediction of an item is."""
        return self.folder / "items" / f"{key}.npz"

    def facts_path(self, key: str) -> Path:
        """Where an item's facts are; they are written last."""
        return self.folder / "items" / f"{key}.json"

    def is_finished(self, key: str) -> bool:
        """Whether an item has both its map and its facts."""
        return self.facts_path(key).is_file() and self.map_path(key).is_file()

    def facts(self, key: str) -> dict[str, Any]:
        """Seconds and warnings of a finished item.

        Raises:
            WrongFile: there are none, or they are damaged.
        """
        path = self.facts_path(key)
        if not path.is_file():
            raise WrongFile(
                f'{path} does not exist; run `depthweave predict` again, or write {{"seconds": 1.0}} there.'
            )
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found["seconds"] = float(found["seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise WrongFile(f"{path} is damaged ({error}); delete it and run `depthweave predict` again.") from error
        return found


@dataclass(frozen=True)
class Progress:
    """How a call of `predict` ended."""

    run: Run
    done: int
    reused: int
    failed: dict[str, str]


def predict(
    matcher: StereoMatcher,
    benchmark: str,
    root: str | Path,
    output: str | Path,
    *,
    benchmark_options: dict[str, Any] | None = None,
    limit: int | None = None,
    show_progress: bool | None = None,
) -> Progress:
    """Run a matcher over a benchmark and keep every prediction; finished items of an earlier call are not run again.

    An item that fails is reported and the rest goes on; the next call tries it again.

    Args:
        matcher: configured matcher; its own pair checks are left out, since benchmark pairs are known to be rectified
            and in order, and the check would count as matching time.
        benchmark: name as in `depthweave.data.BENCHMARKS`.
        root: the benchmark's folder.
        output: run folder; it may hold an unfinished run of the same configuration.
        benchmark_options: of the reader, e.g. ``{"split": "training"}``.
        limit: only the first so many items.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds predictions of another model, options, data or version.
        UnknownBenchmark, WrongFile: the benchmark cannot be opened.
        NotWritable: the run folder cannot be written.
    """
    matcher = copy(matcher)
    matcher.check = False
    options = benchmark_options or {}
    items = open_benchmark(benchmark, root, **options)
    run = open_run(matcher.facts(), benchmark, options, Path(root), Path(output), items, _input_bytes)

    def predict_item(item: StereoItem) -> None:
        pair = item.read_pair()
        with timed(matcher.device) as facts:
            result = matcher(pair)
        save_map(run, item.key, result, {**facts, "input_bytes": _input_bytes(item)})

    return predict_each(run, items[:limit], predict_item, lambda item: run.is_finished(item.key), show=show_progress)


def predict_each(
    run: Run,
    items: Sequence[Item],
    predict_item: Callable[[Item], None],
    is_finished: Callable[[Item], bool],
    *,
    show: bool | None = None,
) -> Progress:
    """Predict the items that are not finished; one that fails is reported and the rest goes on.

    Args:
        run: to write to.
        items: wanted ones.
        predict_item: keeps the prediction of an item, and its facts last.
        is_finished: whether an earlier call has kept it.
        show: a bar on stderr; by default only in a terminal.

    Raises:
        NotWritable: the run folder cannot be written.
    """
    failed: dict[str, str] = {}
    done = reused = 0
    label = f"{run.model.get('model', 'model')} on {run.benchmark}"
    for item in runtime.progress(items, label=label, show=show):
        if is_finished(item):
            reused += 1
            continue
        try:
            predict_item(item)
            done += 1
        except NotWritable:
            raise
        except Exception as error:  # whatever it is, one item must not cost the others; it is reported
            failed[item.key] = sentence_of(error)
    return Progress(run, done, reused, failed)


@contextmanager
def timed(device: torch.device) -> Iterator[dict[str, Any]]:
    """Facts of what is done inside: ``seconds`` on the device, and the ``warnings`` heard."""
    facts: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runtime.synchronize(device)
        start = time.perf_counter()
        yield facts
        runtime.synchronize(device)
        facts["seconds"] = time.perf_counter() - start
    facts["warnings"] = [str(w.message) for w in caught]


def save_map(run: Run, key: str, found: DisparityMap | DepthMap | InverseDepthMap, facts: dict[str, Any]) -> None:
    """Keep the map of an item, and then its facts with its size."""
    found.save(run.map_path(key))
    size = {"valid_share": float(found.valid.float().mean()), "height": found.height, "width": found.width}
    write_facts(run, key, {**facts, **size})


def write_facts(run: Run, key: str, facts: dict[str, Any]) -> None:
    """Keep the facts of an item, which make it finished."""
    _write_json(run.facts_path(key), facts)


def open_run(
    model: dict[str, Any],
    benchmark: str,
    options: dict[str, Any],
    root: Path,
    output: Path,
    items: Sequence[Item],
    input_bytes: Callable[[Item], list[int | None]],
) -> Run:
    """Start a run in a folder, or find the unfinished one of the same configuration that is there.

    Args:
        model: facts of it.
        benchmark, options: name and options of the reader.
        root: the benchmark's folder.
        output: the run folder.
        items: of the benchmark.
        input_bytes: sizes of an item's files, which must be those of finished predictions.

    Raises:
        DifferentConfiguration: the folder holds predictions of another model, options, data or version.
        NotWritable: the run folder cannot be written.
    """
    keys = [item.key for item in items]
    configuration = {
        "model": model,
        "benchmark": benchmark,
        "benchmark_options": options,
        "data": {"items": len(keys), "sha256": hashlib.sha256("\n".join(keys).encode()).hexdigest()},
        "version": depthweave.__version__,
    }
    # Through JSON, so that tuples and lists compare equal.
    now = json.loads(json.dumps(configuration, default=os.fspath))
    path, place = output / _RUN_FILE, root.resolve()
    run = None
    if path.is_file():
        run = Run.read(output)
        changed = _changed(run.configuration, now) or _changed_inputs(run, items, input_bytes)
        if changed:
            raise DifferentConfiguration(
                f"{output} holds predictions of another configuration: {', '.join(changed)}; choose another folder "
                "with -o, or delete this one."
            )
    if run is None or run.root != place:
        _write_json(path, {"format": "depthweave-run", "root": str(place), "configuration": now})
    return Run.read(output)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, in words such as "model (max_disparity)"."""
    words = []
    for key, value in now.items():
        old = before.get(key)
        if old == value:
            continue
        parts = []
        if isinstance(old, dict) and isinstance(value, dict):
            parts = [part for part in old | value if old.get(part) != value.get(part)]
        words.append(key.replace("_", " ") + (f" ({', '.join(parts)})" if parts else ""))
    return words


def _changed_inputs(run: Run, items: Iterable[Item], input_bytes: Callable[[Item], list[int | None]]) -> list[str]:
    """The first finished item whose files have another size now; the same data at another place compare equal."""
    for item in items:
        if run.is_finished(item.key) and run.facts(item.key).get("input_bytes") != input_bytes(item):
            return [f"input files of {item.key}"]
    return []


def _input_bytes(item: StereoItem) -> list[int | None]:
    """Sizes of the two pictures and of the calibration."""
    return [None if path is None else path.stat().st_size for path in (item.left, item.right, item.calibration)]


def _write_json(path: Path, data: Any) -> None:
    with io.atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
