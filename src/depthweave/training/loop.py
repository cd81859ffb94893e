"""The training loop: any recipe, on a CPU, a GPU, or many of them on many machines."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from depthweave import io, runtime
from depthweave.errors import MissingLibrary, NotFinite, WrongInput
from depthweave.training import checkpoint as checkpoints
from depthweave.training.average import Average
from depthweave.training.checkpoint import Checkpoint
from depthweave.training.logs import Logs
from depthweave.training.mixture import Batch, Mixture, batches
from depthweave.training.objective import Outcome
from depthweave.training.recipe import TrainingRecipe
from depthweave.training.schedule import learning_rate
from depthweave.training.sheet import SheetRow, write_sheet
from depthweave.training.start import open_sources, starting_network, starting_trainee
from depthweave.training.validation import Validation

RECIPE_NAME, NETWORK_FOLDER, SHEETS_FOLDER = "recipe.toml", "network", "sheets"
_SHEET_ROWS = 4
_PRECISIONS = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


def train(
    recipe: TrainingRecipe,
    folder: io.files.AnyPath,
    *,
    device: str = "auto",
    tensorboard: bool = False,
    show_progress: bool | None = None,
) -> Path:
    """Train a network, or go on where an earlier call with the same folder was stopped.

    A resumed run takes the samples, and makes the updates, of one that was never stopped. Started by `torchrun` it
    shares each batch among all processes; without it there is one.

    Args:
        recipe: everything that decides what is learnt.
        folder: of the run: checkpoints, logs, sheets, the resolved recipe, and at the end the network.
        device: auto, cpu, cuda or mps; launched processes take the devices that they were launched for.
        tensorboard: write event files, too.
        show_progress: a line on stderr; by default only in a terminal.

    Returns:
        The folder of the trained network (the running average, if there is one), which `depthweave.load` takes.

    Raises:
        DifferentConfiguration: the folder holds a run of another recipe.
        NotFinite: loss or gradient are not finite; batch and weights are saved, the sentence says where.
        MissingLibrary: accelerate is not installed.
        DepthweaveError: what sources, checkpoints and logs raise.
    """
    return _Run(recipe, Path(folder), device).train(tensorboard=tensorboard, show_progress=show_progress)


class _Run:
    """The state of a run: network, average, optimizer, and how far it has come."""

    def __init__(self, recipe: TrainingRecipe, folder: Path, device: str) -> None:
        self.recipe, self.folder = recipe, folder
        self.accelerator = _accelerator(recipe, device)
        ranks = self.accelerator.num_processes
        if recipe.data.batch % (ranks * recipe.run.accumulate):
            raise WrongInput(
                f"a batch of {recipe.data.batch} cannot be shared by {ranks} processes in {recipe.run.accumulate} "
                "parts each; set data.batch to a multiple."
            )
        last = checkpoints.latest(folder, recipe)
        runtime.seed_everything(recipe.run.seed)
        self.network = starting_network(recipe.model, fresh=last is None)
        self.step, self.samples = (0, 0) if last is None else (last.step, last.samples)
        self.unlogged: list[dict[str, float]] = [] if last is None else list(last.more.get("unlogged", ()))
        if last is not None:
            self.network.load_state_dict(last.network)
        trainee = starting_trainee(recipe, self.network).train()
        self.columns = trainee.columns
        self.parameters = [parameter for parameter in trainee.parameters() if parameter.requires_grad]
        optimizer = _optimizer(self.parameters, recipe)
        if recipe.run.compile:
            trainee.compile()
        self.trainee, self.optimizer = self.accelerator.prepare(trainee, optimizer)
        self.average = Average(self.network, recipe.run.ema) if recipe.run.ema else None
        if last is not None:
            if self.average is not None:
                self.average.load_state_dict(last.average)
            self.optimizer.load_state_dict(dict(last.optimizer))
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(dict(last.more["scaler"]))
            checkpoints.set_random_states(last.random)

    def train(self, *, tensorboard: bool, show_progress: bool | None) -> Path:
        """All steps that are left."""
        recipe, is_main = self.recipe, self.accelerator.is_main_process
        with self.accelerator.main_process_first():  # it renders what the others only read
            sources = open_sources(recipe.data.located, show_progress=show_progress)
        weights = [source.weight for source in recipe.data.sources]
        mixture = Mixture(sources, weights, augment=recipe.augment, crop=recipe.data.crop, seed=recipe.run.seed)
        if is_main:
            checkpoints.remove_leftovers(self.folder)
            with io.atomic_path(self.folder / RECIPE_NAME) as temporary:
                temporary.write_text(recipe.to_toml(), encoding="utf-8")
            logs = Logs(
                self.folder,
                ("loss", *self.columns, "norm"),
                steps=recipe.run.steps,
                start=self.step,
                tensorboard=tensorboard,
                show_progress=show_progress,
            )
            with logs:
                self._steps(mixture, _Reports(self, logs))
            self._finish()
        else:
            self._steps(mixture, None)
        self.accelerator.wait_for_everyone()
        return self.folder / NETWORK_FOLDER

    def _steps(self, mixture: Mixture, reports: "_Reports | None") -> None:
        recipe = self.recipe
        stream = batches(
            mixture,
            batch=recipe.data.batch,
            start=self.samples,
            steps=recipe.run.steps - self.step,
            workers=recipe.data.workers,
            rank=self.accelerator.process_index,
            ranks=self.accelerator.num_processes,
            device=self.accelerator.device,
        )
        for batch in stream:
            outcomes, norm = self._update(batch)
            if reports is not None:
                reports.after_step(batch, outcomes, norm)

    def _update(self, batch: Batch) -> tuple[list[Outcome], float]:
        """One update of the weights; what the network said of each part of the batch, and the gradient's norm."""
        recipe = self.recipe
        rate = learning_rate(self.step, recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        outcomes = []
        parts: Sequence[Batch] = batch.split(recipe.run.accumulate)
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(self.trainee):
                outcome = self.trainee(*part.inputs, self.step)
                self._require_finite(outcome.loss, "loss", batch)
                self.accelerator.backward(outcome.loss / len(parts))
            outcomes.append(outcome)
        norm = self.accelerator.clip_grad_norm_(self.parameters, recipe.optimizer.clip or float("inf"))
        if self.accelerator.scaler is None:  # a scaler leaves out such updates by itself
            self._require_finite(norm, "gradient", batch)
        self.optimizer.step()
        self.step += 1
        self.samples += recipe.data.batch
        if self.average is not None:
            self.average.update(self.network)
        return outcomes, float(norm)

    def save(self) -> None:
        """A checkpoint of this moment."""
        scaler = self.accelerator.scaler
        checkpoints.save(
            self.folder,
            Checkpoint(
                self.step,
                self.samples,
                self.recipe,
                self.network.state_dict(),
                self.optimizer.state_dict(),
                {} if self.average is None else self.average.state_dict(),
                checkpoints.random_states(),
                {"unlogged": self.unlogged, **({} if scaler is None else {"scaler": scaler.state_dict()})},
            ),
        )
        checkpoints.prune(self.folder, self.recipe.run.keep)

    def validate(self, validation: Validation, logs: Logs) -> None:
        """Measure the average (or the weights), and log it."""
        with nullcontext() if self.average is None else self.average.swap(self.network):
            try:
                logs.validation(self.step, validation.name, validation.measure(self.network))
            finally:
                self.network.train()

    def _finish(self) -> None:
        state = self.network.state_dict() if self.average is None else self.average.network_state()
        network = type(self.network).from_state(
            self.network.config, {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        )
        network.save_pretrained(self.folder / NETWORK_FOLDER)

    def _require_finite(self, value: Tensor, what: str, batch: Batch) -> None:
        if bool(torch.isfinite(value)):
            return
        place = self.folder / f"not-finite-step-{self.step:06d}-{self.accelerator.process_index}"
        place.mkdir(parents=True, exist_ok=True)
        for name, content in (("batch", batch.tensors()), ("network", self.network.state_dict())):
            with io.atomic_path(place / f"{name}.safetensors") as temporary:
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in content.items()}, temporary)
        raise NotFinite(
            f"the {what} of step {self.step} is not finite; its batch and the weights are in {place}. Lower "
            "optimizer.lr or choose run.dtype = 'float32', and start the run again: it goes on from its last "
            "checkpoint."
        )


class _Reports:
    """What the first process writes after a step: rows, sheets, checkpoints and validations, each in its rhythm."""

    def __init__(self, run: _Run, logs: Logs) -> None:
        self.run, self.logs = run, logs
        self.validations = [Validation(each) for each in run.recipe.validation]

    def after_step(self, batch: Batch, outcomes: list[Outcome], norm: float) -> None:
        """Write what is due."""
        run, every = self.run, self.run.recipe.run
        rows = run.unlogged
        rows += [
            {"loss": float(o.loss.detach()), **{n: float(v.detach()) for n, v in o.terms.items()}, "norm": norm}
            for o in outcomes
        ]
        ends = run.step == every.steps
        if ends or run.step % every.log_every == 0:
            means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
            self.logs.step(run.step, run.samples, learning_rate(run.step - 1, run.recipe), means)
            rows.clear()
        if every.sheet_every and (ends or run.step % every.sheet_every == 0):
            path = run.folder / SHEETS_FOLDER / f"step-{run.step:06d}.png"
            write_sheet(path, _sheet_rows(batch, outcomes[0]))
        if ends or (every.validate_every and run.step % every.validate_every == 0):
            for validation in self.validations:
                run.validate(validation, self.logs)
        if ends or run.step % every.checkpoint_every == 0:
            run.save()


def _accelerator(recipe: TrainingRecipe, device: str) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise MissingLibrary('training needs the library accelerate; run `pip install "depthweave[train]"`.') from error
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not launched:  # accelerate keeps device and precision of the first run for all others of a process
        AcceleratorState._reset_state(reset_partial_state=True)
    kind = runtime.choose_device(device)
    if kind.type == "cuda" and kind.index is not None:
        torch.cuda.set_device(kind)
    dtype = runtime.choose_dtype(recipe.run.dtype, kind)
    # Unless it is told that this is a CPU, accelerate takes each launched process on one for a run of its own.
    return Accelerator(cpu=kind.type == "cpu", mixed_precision=_PRECISIONS[dtype])


def _optimizer(parameters: list[torch.nn.Parameter], recipe: TrainingRecipe) -> torch.optim.Optimizer:
    options = recipe.optimizer
    return torch.optim.AdamW(
        parameters, lr=options.lr, betas=options.betas, eps=options.eps, weight_decay=options.weight_decay
    )


def _sheet_rows(batch: Batch, outcome: Outcome) -> list[SheetRow]:
    rows = []
    for number in range(min(_SHEET_ROWS, len(outcome.disparity))):
        image, truth, known, teacher = batch.shown(number)
        confidence = None if outcome.confidence is None else outcome.confidence[number]
        rows.append(SheetRow(f"sample {number}", image, truth, known, outcome.disparity[number], confidence, teacher))
    return rows
