"""Many pictures to a folder of pairs that training takes: with a manifest each, in workers, and resumable."""

import hashlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from depthweave import images, io, runtime
from depthweave.errors import DepthweaveWarning, NotWritable, WrongFile, sentence_of
from depthweave.pipelines.depth_sources import AnyMap, DepthSource, Shot
from depthweave.pipelines.synthesize import Synthesizer, View, generator_of, usable_depth
from depthweave.types import Camera, DisparityMap, InverseDepthMap, read_picture
from depthweave.worlds.workers import run_in_workers

MANIFESTS = "manifest"


@dataclass(frozen=True)
class Synthesized:
    """How a call of `synthesize_folder` ended.

    Attributes:
        done: pairs that it has made.
        reused: pairs that stood before.
        failed: sentences by name.
    """

    done: int
    reused: int
    failed: dict[str, str]


@dataclass(frozen=True)
class Task:
    """What is asked of every picture, and decides on what a folder holds.

    Attributes:
        source: of the depth.
        maker: of the pairs.
        seed: with a picture's name it decides on everything that is drawn, whatever the order and the workers.
        per_image: pairs of each picture, with ranges of disparity and fillings of their own.
        max_size: shrink pictures whose longer side is above this, px.
        calibration: file of the one camera of all pictures.
        baseline_m: of the camera pair to be imitated, for metric depth.
        filler_settings: with which the maker's filler was made, in words.
    """

    source: DepthSource
    maker: Synthesizer
    seed: int = 0
    per_image: int = 1
    max_size: int | None = None
    calibration: Path | None = None
    baseline_m: float | int | None = None
    filler_settings: Sequence[str] = ()

    def facts(self) -> dict[str, Any]:
        """In plain values."""
        return {
            **self.source.facts(),
            **self.maker.facts(),
            "seed": self.seed,
            "per_image": self.per_image,
            "max_size": self.max_size,
            "calibration": None if self.calibration is None else _digest(self.calibration),
            "baseline_m": self.baseline_m,
            "filler_settings": list(self.filler_settings),
        }

    def depth(self, name: str, image: Float[Tensor, "3 h w"], path: Path | None) -> "Prepared":
        """A picture with its depth, shrunk if it is too large; sentences of warnings come along."""
        size = (image.shape[-2], image.shape[-1])
        camera = None
        if self.calibration is not None:
            camera = Camera.read(self.calibration, width=size[1], height=size[0])
        small = fit(image, self.max_size)
        if camera is not None:
            camera = camera.resized(*small.shape[-2:])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DepthweaveWarning)
            found = self.source(Shot(name, small, path, size, camera))
        if camera is not None and (found.height, found.width) == (camera.height, camera.width):
            found = replace(found, camera=camera)
        sentences = [str(each.message) for each in caught if issubclass(each.category, DepthweaveWarning)]
        for sentence in sentences:
            warnings.warn(f"{name}: {sentence}", DepthweaveWarning, stacklevel=2)
        return Prepared(small, found, usable_depth(found, baseline_m=self.baseline_m), sentences)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture and its depth.

    Attributes:
        image: R, G, B in [0, 1].
        found: as the source gives it.
        depth: as `Synthesizer` takes it.
        warnings: sentences of the source.
    """

    image: Float[Tensor, "3 h w"]
    found: AnyMap
    depth: DisparityMap | InverseDepthMap
    warnings: list[str]


def synthesize_folder(
    pictures: Mapping[str, Path],
    task: Task,
    folder: str | Path,
    *,
    also: Collection[View] = (),
    overwrite: bool = False,
    workers: int = 0,
    show_progress: bool | None = None,
) -> Synthesized:
    """Make pairs of pictures, in the layout of `SynthesizedPair.save`, with `manifest/NAME.json` for each.

    What stands there from an earlier call, made of the same bytes, is kept. A picture that fails is reported and the
    rest goes on; the next call tries it again.

    Args:
        pictures: files by name.
        task: what is asked.
        folder: made if it is missing.
        also: further views to write.
        overwrite: do finished pairs again.
        workers: processes that make and write pairs, while this one finds depth; 0 = this one does both.
        show_progress: a bar on stderr; by default only in a terminal.

    Raises:
        DifferentConfiguration: the folder holds pairs of another source, with other settings or another seed.
        NotWritable: the folder cannot be written.
    """
    folder = Path(folder)
    names = {name: _pair_names(name, task.per_image) for name in pictures}
    count = len(pictures) * task.per_image
    io.claim_folder(folder, {"type": "stereo_pairs", **task.facts()})
    jobs = _jobs(pictures, names, task, folder, also, overwrite)
    results = run_in_workers(_Writer(task.maker, folder, tuple(also)), jobs, min(workers, count))
    done = reused = 0
    failed: dict[str, str] = {}
    for outcome in runtime.progress(results, label="synthesizing", total=count, show=show_progress):
        done += outcome.state == "done"
        reused += outcome.state == "reused"
        if outcome.state == "failed":
            failed[outcome.name] = outcome.sentence
    return Synthesized(done, reused, failed)


def fit(image: Float[Tensor, "3 h w"], max_size: int | None) -> Float[Tensor, "3 h2 w2"]:
    """The picture, shrunk so that its longer side is at most `max_size` px."""
    height, width = image.shape[-2:]
    if max_size is None or max(height, width) <= max_size:
        return image
    return images.resize_image(image, *images.fit_size(height, width, max_size)).clamp(0, 1)


@dataclass(frozen=True)
class _Outcome:
    name: str
    state: str
    sentence: str = ""


@dataclass(frozen=True, eq=False)
class _Job:
    name: str
    image: Tensor
    depth: DisparityMap | InverseDepthMap
    rng: np.random.Generator
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Writer:
    """Makes one pair and writes it, in whatever process; outcomes pass through."""

    maker: Synthesizer
    folder: Path
    also: tuple[View, ...]

    def __call__(self, job: _Job | _Outcome) -> _Outcome:
        if isinstance(job, _Outcome):
            return job
        try:
            made = self.maker(job.image, job.depth, job.rng, name=job.name)
            manifest = self.folder / MANIFESTS / f"{job.name}.json"
            manifest.unlink(missing_ok=True)
            made.save(self.folder, also=self.also)
            facts = {
                "type": "stereo_pair",
                **job.facts,
                **made.facts,
                "width": made.pair.width,
                "height": made.pair.height,
                "camera": None if made.pair.camera is None else made.pair.camera.to_dict(),
                "visible_share": float(made.visible.float().mean()),
                "inpainted_share": float(made.inpainted.float().mean()),
            }
            # The manifest comes last: a pair that has one is complete.
            io.write_manifest(manifest.parent, facts, name=manifest.name)
        except NotWritable:
            raise
        except Exception as error:  # whatever it is, one picture must not cost the others; it is reported
            return _Outcome(job.name, "failed", sentence_of(error))
        return _Outcome(job.name, "done")


def _jobs(
    pictures: Mapping[str, Path],
    names: Mapping[str, list[str]],
    task: Task,
    folder: Path,
    also: Collection[View],
    overwrite: bool,
) -> Iterator[_Job | _Outcome]:
    """Depth of one picture after the other, found in this process, and outcomes where there is nothing to do."""
    shared = task.facts()
    for name, path in pictures.items():
        missing = names[name]
        try:
            files = {"image": io.require_file(path), **task.source.files(name)}
            inputs = {role: {"path": str(file.resolve()), **_digest(file)} for role, file in files.items()}
            if not overwrite:
                missing = [pair for pair in missing if not _is_finished(folder, pair, inputs, also)]
            yield from (_Outcome(pair, "reused") for pair in names[name] if pair not in missing)
            if not missing:
                continue
            prepared = task.depth(name, read_picture(path), path)
        except NotWritable:
            raise
        except Exception as error:  # reported by the name of the picture, and the rest goes on
            yield from (_Outcome(pair, "failed", sentence_of(error)) for pair in missing)
            continue
        for pair in missing:
            facts = {**shared, "inputs": inputs, "warnings": prepared.warnings}
            yield _Job(pair, prepared.image, prepared.depth, generator_of(task.seed, pair), facts)


def _pair_names(name: str, per_image: int) -> list[str]:
    return [name] if per_image == 1 else [f"{name}-{number}" for number in range(per_image)]


def _is_finished(folder: Path, name: str, inputs: Mapping[str, Any], also: Collection[View]) -> bool:
    """Whether a pair stands whole, made of files with the same bytes, wherever they lie now."""
    try:
        before = io.read_manifest(folder / MANIFESTS, name=f"{name}.json").get("inputs", {})
    except WrongFile:
        return False
    same = {role: each["sha256"] for role, each in inputs.items()}
    views = all((folder / view / f"{name}.png").is_file() for view in ("left", *also))
    return views and {role: each.get("sha256") for role, each in before.items()} == same


def _digest(path: Path) -> dict[str, Any]:
    with io.require_file(path).open("rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
