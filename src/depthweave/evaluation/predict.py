"""First pass: predictions of one configuration on one benchmark, on disk."""

import json
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import depthweave
from depthweave import io, runtime
from depthweave.data import StereoItem, open_benchmark
from depthweave.errors import DepthweaveError, DifferentConfiguration, WrongFile
from depthweave.pipelines.stereo import StereoMatcher

_RUN_FILE = "run.json"


@dataclass(frozen=True)
class Run:
    """A folder of predictions: ``run.json``, and below ``items/`` a map and its facts for every key."""

    folder: Path
    benchmark: str
    benchmark_options: dict[str, Any]
    root: Path
    model: dict[str, Any]

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
            configuration = data["configuration"]
            benchmark, options = configuration["benchmark"], configuration["benchmark_options"]
            return cls(Path(folder), benchmark, options, Path(data["root"]), configuration["model"])
        except (ValueError, KeyError) as error:
            raise WrongFile(f"{path} is damaged ({error}); delete the folder and predict again.") from error

    def items(self, root: str | Path | None = None) -> list[StereoItem]:
        """The benchmark's items, at the recorded root or another one."""
        return open_benchmark(self.benchmark, root or self.root, **self.benchmark_options)

    def map_path(self, key: str) -> Path:
        """Where the prediction of an item is."""
        return self.folder / "items" / f"{key}.npz"

    def facts_path(self, key: str) -> Path:
        """Where an item's facts are; they are written last, so their presence says that the item is done."""
        return self.folder / "items" / f"{key}.json"

    def facts(self, key: str) -> dict[str, Any]:
        """Seconds and warnings of a finished item."""
        found: dict[str, Any] = json.loads(self.facts_path(key).read_text(encoding="utf-8"))
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
        matcher: configured matcher; its own pair checks are left out here.
        benchmark: name as in `depthweave.data.BENCHMARKS`.
        root: the benchmark's folder.
        output: run folder; it may hold an unfinished run of the same configuration.
        benchmark_options: of the reader, e.g. ``{"split": "training"}``.
        limit: only the first so many items.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds predictions of another model, options, data or version.
        UnknownBenchmark, WrongFile: the benchmark cannot be opened.
    """
    options = benchmark_options or {}
    items = open_benchmark(benchmark, root, **options)
    run = _open_run(matcher, benchmark, options, Path(root), Path(output), items)
    wanted = items[:limit]
    failed: dict[str, str] = {}
    done = reused = 0
    for item in runtime.progress(wanted, label=f"{run.model['model']} on {benchmark}", show=show_progress):
        if run.facts_path(item.key).is_file():
            reused += 1
            continue
        try:
            _predict_item(matcher, item, run)
            done += 1
        except DepthweaveError as error:
            failed[item.key] = str(error)
    return Progress(run, done, reused, failed)


def _predict_item(matcher: StereoMatcher, item: StereoItem, run: Run) -> None:
    pair = item.read_pair()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runtime.synchronize(matcher.device)
        start = time.perf_counter()
        result = matcher(pair)
        runtime.synchronize(matcher.device)
        seconds = time.perf_counter() - start
    result.save(run.map_path(item.key))
    facts = {
        "seconds": seconds,
        "valid_share": float(result.valid.float().mean()),
        "height": result.height,
        "width": result.width,
        "warnings": [str(w.message) for w in caught],
    }
    _write_json(run.facts_path(item.key), facts)


def _open_run(
    matcher: StereoMatcher,
    benchmark: str,
    options: dict[str, Any],
    root: Path,
    output: Path,
    items: Sequence[StereoItem],
) -> Run:
    configuration = {
        "model": matcher.facts(),
        "benchmark": benchmark,
        "benchmark_options": options,
        "data": _fingerprint(items),
        "version": depthweave.__version__,
    }
    path = output / _RUN_FILE
    if path.is_file():
        Run.read(output)
        before = json.loads(path.read_text(encoding="utf-8"))["configuration"]
        # Through JSON, so that tuples and lists compare equal.
        now = json.loads(json.dumps(configuration))
        changed = [key for key in now if now[key] != before.get(key)]
        if changed:
            raise DifferentConfiguration(
                f"{output} holds predictions with another {' and '.join(changed)}; choose another folder with -o, or "
                "delete this one."
            )
    else:
        _write_json(path, {"format": "depthweave-run", "root": str(root.resolve()), "configuration": configuration})
    return Run.read(output)


def _fingerprint(items: Iterable[StereoItem]) -> dict[str, Any]:
    """Count and hash of keys and picture sizes in bytes: the same data at another place compare equal."""
    import hashlib

    digest = hashlib.sha256()
    count = 0
    for item in items:
        digest.update(f"{item.key} {item.left.stat().st_size} {item.right.stat().st_size}\n".encode())
        count += 1
    return {"items": count, "sha256": digest.hexdigest()}


def _write_json(path: Path, data: Any) -> None:
    with io.atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
