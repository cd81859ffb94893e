"""What a training run is made of: one TOML file, checked word by word before anything starts."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from depthweave.data import BENCHMARKS, CLIP_BENCHMARKS
from depthweave.errors import UnknownModel, WrongFile, WrongInput
from depthweave.metrics import disparity_metric
from depthweave.models.families import find_family
from depthweave.training.augment import Augment
from depthweave.training.clip_sources import CLIPS, opens_clips
from depthweave.training.distill import DistillRecipe
from depthweave.training.mono import MonoRecipe
from depthweave.training.objective import LossRecipe
from depthweave.training.self_supervised import SelfSupervisionRecipe
from depthweave.training.tables import Bounds, Table, as_tables, flat, read_table, set_value, write_toml

SOURCE_KINDS = ("prerendered", "worlds", "pairs", *BENCHMARKS, CLIPS, *CLIP_BENCHMARKS)
"""What `[[data.sources]]` can be: pairs rendered before, worlds rendered on the way, pairs without truth, a
benchmark's reader, a folder of clips, or a benchmark of clips."""

_FREE = ("run.steps", "run.checkpoint_every", "run.log_every", "run.sheet_every", "run.validate_every", "run.keep")
_APART = ("shift", "color_apart", "noise", "blur", "erase")
"""Of [augment]: what makes the two pictures of a pair differ."""
_FREE_TABLES = ("validation", "data.workers")


@dataclass(frozen=True)
class ModelRecipe(Table):
    """The network."""

    family: Annotated[str, "Key of depthweave.models.families.FAMILIES."] = "compact"
    start: Annotated[str, 'Folder or name of weights to start from; "" starts from scratch.'] = ""
    frozen: Annotated[tuple[str, ...], "Parameters whose names begin so are not trained."] = ()
    config: Annotated[Mapping[str, Any], "Fields of the family's configuration; those left out keep their default."] = (
        field(default_factory=dict)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.network_config()
        except UnknownModel as error:
            raise WrongInput(f"family: {error}") from error

    def network_config(self) -> Any:
        """The configuration that the family's network is built from.

        Raises:
            UnknownModel: there is no such family.
            WrongInput: the family's configuration has no such field, or it takes no such value.
        """
        return read_table(find_family(self.family).network_class().config_class, self.config, "model.config")


@dataclass(frozen=True)
class SourceRecipe(Table):
    """Pairs to learn from."""

    kind: Annotated[str, "prerendered, worlds, pairs (no truth), folder, clips or the name of a benchmark."]
    path: Annotated[str, 'Folder, seen from where training is started; of worlds a recipe, "" is the default one.'] = ""
    weight: Annotated[float | int, "Samples are drawn from the sources in proportion to their weights.", Bounds(0)] = (
        1.0
    )
    seed: Annotated[int, "Of worlds, prerendered or not.", Bounds(0)] = 0
    size: Annotated[
        tuple[int, int], "Of worlds, prerendered or not: height and width, px. Clips are resized to it.", Bounds(16)
    ] = (384, 768)
    count: Annotated[
        int | None,
        "Of prerendered and of clips with a recipe: the first so many, rendered before training where they are "
        "missing; all that there are if left out.",
        Bounds(1),
    ] = None
    sparse: Annotated[bool | None, "Of benchmarks: truth is single points; what is known of each if left out."] = None
    teacher: Annotated[
        str,
        "Of benchmarks, for [distill]: folder with a monocular map of each left picture, named by the pair's key.",
    ] = ""
    options: Annotated[
        Mapping[str, Any],
        'Of a benchmark\'s reader, such as { split = "training" }; of pairs also { reader = "kitti-2015" }; of '
        'prerendered { recipe = "worlds.toml" }; of clips { recipe = "worlds-driving", rendered = 4, fps = 10 } to '
        "render some, and { frames = 3, step = 1, stereo = false } for what a sample is.",
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_one_of("kind", self.kind, SOURCE_KINDS)
        if self.teacher and self.kind not in BENCHMARKS:
            raise WrongInput(f"teacher is '{self.teacher}', but pairs of '{self.kind}' have no names to find maps by.")
        if not self.path and self.kind != "worlds":
            raise WrongInput(f"path is empty; name the folder of the source '{self.kind}'.")


@dataclass(frozen=True)
class DataRecipe(Table):
    """What is read."""

    crop: Annotated[tuple[int, int], "Height and width of what the network sees, px.", Bounds(16)] = (192, 384)
    batch: Annotated[int, "Pairs per step, over all processes and accumulation.", Bounds(1)] = 4
    workers: Annotated[int, "Processes that load; 0 loads in the training process.", Bounds(0)] = 1
    root: Annotated[str, "Folder that the paths of sources start from, instead of where training is started."] = ""
    sources: Annotated[tuple[SourceRecipe, ...], "A mixture."] = field(
        default_factory=lambda: (SourceRecipe("worlds"),)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not sum(source.weight for source in self.sources) > 0:
            raise WrongInput("sources: there is none with a weight above 0; write [[data.sources]] with kind and path.")

    @property
    def located(self) -> tuple[SourceRecipe, ...]:
        """The sources, with paths that start from the root."""

        def below(path: str) -> str:
            return str(Path(self.root) / path) if path and self.root else path

        return tuple(replace(source, path=below(source.path), teacher=below(source.teacher)) for source in self.sources)


@dataclass(frozen=True)
class OptimizerRecipe(Table):
    """How weights change."""

    name: Annotated[Literal["adamw"], "AdamW (Loshchilov and Hutter, ICLR 2019)."] = "adamw"
    lr: Annotated[float | int, "Largest learning rate; the schedule scales it.", Bounds(1e-9, 10)] = 1e-3
    weight_decay: Annotated[float | int, "Of weights; not coupled to the gradient.", Bounds(0, 10)] = 1e-4
    eps: Annotated[float | int, "Added to the denominator.", Bounds(1e-16, 1)] = 1e-8
    betas: Annotated[
        tuple[float | int, float | int], "Decay of the mean of gradients and of their squares.", Bounds(0, 1)
    ] = (0.9, 0.999)
    clip: Annotated[float | int, "Gradients are scaled down to this norm; 0 leaves them.", Bounds(0)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.betas) == 1:
            raise WrongInput("betas hold a 1, a mean that never moves; they are below 1.")


@dataclass(frozen=True)
class ScheduleRecipe(Table):
    """How the learning rate changes; shares are of optimizer.lr."""

    kind: Annotated[
        Literal["one-cycle", "cosine", "constant"],
        "After the warm-up the rate falls along a line, falls along half a cosine, or stays.",
    ] = "cosine"
    warm_up: Annotated[float | int, "Share of the steps in which the rate rises along a line.", Bounds(0, 1)] = 0.06
    start: Annotated[float | int, "Share of the rate at the first step, if there is a warm-up.", Bounds(0, 1)] = 0.04
    final: Annotated[float | int, "Share of the rate at the last step; constant has no use for it.", Bounds(0, 1)] = (
        0.01
    )


@dataclass(frozen=True)
class RunRecipe(Table):
    """How long, how exactly, and what is kept."""

    steps: Annotated[int, "Updates of the weights.", Bounds(1)] = 100_000
    seed: Annotated[int, "Of first weights and samples.", Bounds(0, 2**63 - 1)] = 0
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        "Of activations; weights are float32. auto is bfloat16 (float16 on older cards) on cuda, else float32.",
    ] = "auto"
    accumulate: Annotated[int, "A step's pairs are taken in so many parts, to save memory.", Bounds(1)] = 1
    ema: Annotated[
        float | int,
        "Decay of the running average of the weights, which is what is validated and saved; 0 has none.",
        Bounds(0, 1),
    ] = 0.999
    compile: Annotated[bool, "Compile the network with torch.compile."] = False
    checkpoint_every: Annotated[int, "Steps.", Bounds(1)] = 500
    log_every: Annotated[int, "Steps.", Bounds(1)] = 10
    sheet_every: Annotated[int, "Steps between pictures of predictions; 0 draws none.", Bounds(0)] = 500
    validate_every: Annotated[int, "Steps; 0 validates at the end only.", Bounds(0)] = 1000
    keep: Annotated[int, "Checkpoints that stay; older ones go.", Bounds(1)] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ema == 1:
            raise WrongInput("ema is 1, an average that never moves; it is below 1.")


@dataclass(frozen=True)
class ValidationRecipe(Table):
    """Pairs to measure on."""

    name: Annotated[str, "What rows and sheets call it."]
    reader: Annotated[str, "Name of a benchmark, or folder."]
    root: Annotated[str, "Its folder, seen from where training is started."]
    options: Annotated[Mapping[str, Any], 'Of the reader, such as { split = "training" }.'] = field(
        default_factory=dict
    )
    every: Annotated[int, "1 takes all pairs, 2 every other one, ...", Bounds(1)] = 1
    limit: Annotated[int, "No more pairs than that; 0 has no limit.", Bounds(0)] = 0
    scale: Annotated[float | int, "Pictures are matched at that scale and measured at their own.", Bounds(0.05, 4)] = (
        1.0
    )
    metrics: Annotated[tuple[str, ...], "Names of depthweave.metrics.disparity_metric."] = ("epe", "bad-1.0", "bad-2.0")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_one_of("reader", self.reader, tuple(BENCHMARKS))
        for metric in self.metrics:
            disparity_metric(metric)


@dataclass(frozen=True)
class TrainingRecipe(Table):
    """Everything that a training run depends on."""

    model: Annotated[ModelRecipe, "The network."] = field(default_factory=ModelRecipe)
    data: Annotated[DataRecipe, "What is read."] = field(default_factory=DataRecipe)
    augment: Annotated[Augment, "How samples are varied."] = field(default_factory=Augment)
    loss: Annotated[LossRecipe, "What is made small."] = field(default_factory=LossRecipe)
    distill: Annotated[DistillRecipe, "What the teachers of sources add to the loss."] = field(
        default_factory=DistillRecipe
    )
    self_supervision: Annotated[SelfSupervisionRecipe, "What is learnt without truth."] = field(
        default_factory=SelfSupervisionRecipe
    )
    mono: Annotated[MonoRecipe, "How a network for single pictures learns from pairs and clips."] = field(
        default_factory=MonoRecipe
    )
    optimizer: Annotated[OptimizerRecipe, "How weights change."] = field(default_factory=OptimizerRecipe)
    schedule: Annotated[ScheduleRecipe, "How the learning rate changes; shares are of optimizer.lr."] = field(
        default_factory=ScheduleRecipe
    )
    run: Annotated[RunRecipe, "How long, how exactly, and what is kept."] = field(default_factory=RunRecipe)
    validation: Annotated[tuple[ValidationRecipe, ...], "Pairs to measure on."] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.batch % self.run.accumulate:
            raise WrongInput(
                f"[data] batch is {self.data.batch} and cannot be taken in {self.run.accumulate} equal parts; "
                "change it or [run] accumulate."
            )
        if self.distill.is_on and not any(source.teacher for source in self.data.sources):
            raise WrongInput("[distill] has a weight above 0, but no source names a teacher; add one, or take it back.")
        if self.self_supervision.is_on and (apart := [name for name in _APART if getattr(self.augment, name) > 0]):
            raise WrongInput(
                f"[self_supervision] compares the two pictures, which [augment] {', '.join(apart)} changes apart; set "
                "these to 0 and take self_supervision.jitter, which only the network sees."
            )
        if not self.self_supervision.is_on and all(source.kind == "pairs" for source in self.data.sources):
            raise WrongInput("all sources are pairs without truth; turn on [self_supervision], or add one with truth.")
        clips = [opens_clips(source.kind) for source in self.data.sources]
        if any(clips) and not all(clips):
            raise WrongInput("some sources are clips and some are pairs; a run learns from one kind.")
        if self.mono.is_on and not all(clips):
            raise WrongInput(f"[mono] {self.mono.method} learns from clips; give sources of the kind {CLIPS}.")
        if self.validation and any(clips):
            raise WrongInput("[[validation]] measures matchers of pairs; leave it out where sources are clips.")
        names = [each.name for each in self.validation]
        if len(set(names)) < len(names):
            raise WrongInput(f"[[validation]] has a name twice among {', '.join(names)}; give each its own.")

    @classmethod
    def read(cls, path: str | PathLike[str], overrides: Sequence[str] = ()) -> "TrainingRecipe":
        """The default recipe with what a TOML file changes, and after it each override.

        Args:
            path: the file; `TrainingRecipe().to_toml()` shows all there is.
            overrides: such as ``optimizer.lr=2e-4`` or ``data.sources.0.weight=2``; see `tables.set_value`.

        Raises:
            WrongFile: no such file, no TOML, an unknown key or a value that cannot be.
            WrongInput: the same of an override.
        """
        try:
            recipe = cls.from_tables(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise WrongFile(
                f"There is no recipe {path}; `TrainingRecipe().to_toml()` shows what stands in one."
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise WrongFile(f"{path} is not a TOML file: {error}.") from error
        except WrongInput as error:
            raise WrongFile(f"{path}: {error}") from error
        return recipe.changed(overrides)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> "TrainingRecipe":
        """The default recipe with other values.

        Args:
            tables: nested dictionaries, as TOML gives them.

        Raises:
            WrongInput: an unknown key or a value that cannot be; the sentence names its table.
        """
        return read_table(cls, tables, "")

    def to_tables(self) -> dict[str, Any]:
        """Nested dictionaries and lists of texts and numbers; `from_tables` of them is this recipe."""
        tables: dict[str, Any] = as_tables(self)
        return tables

    def to_toml(self) -> str:
        """The whole recipe; `read` of it is this recipe."""
        return write_toml(self, ("What `depthweave train` does. Keep the lines that you change, leave out the rest.",))

    def changed(self, overrides: Sequence[str]) -> "TrainingRecipe":
        """This recipe with other values.

        Args:
            overrides: as of `read`.

        Raises:
            WrongInput: an override names nothing that there is, or a value that cannot be.
        """
        tables = self.to_tables()
        for override in overrides:
            set_value(tables, override)
        return self.from_tables(tables)

    def differences(self, other: "TrainingRecipe") -> tuple[str, ...]:
        """Dotted names of the values that decide what is learnt and are not the same in both.

        How long a run is, what it writes and when, what it validates on and how many processes load decide nothing.
        """
        mine, its = flat(self.to_tables()), flat(other.to_tables())
        return tuple(
            name
            for name in sorted(mine.keys() | its.keys())
            if (name not in mine or name not in its or mine[name] != its[name]) and not _is_free(name)
        )


def _is_free(name: str) -> bool:
    return name in _FREE or any(name == table or name.startswith(f"{table}.") for table in _FREE_TABLES)


def _require_one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise WrongInput(f"{name} is '{value}'{hint}; there are {', '.join(known)}.")
