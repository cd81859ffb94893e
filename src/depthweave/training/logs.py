"""What a run says while it runs: `log.csv`, `validation.csv`, TensorBoard if asked for, a line on a terminal."""

import csv
import io as streams
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from depthweave import io
from depthweave.errors import MissingLibrary, NotWritable, WrongFile, WrongInput
from depthweave.metrics import Measurement

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch.utils.tensorboard import SummaryWriter

LOG_NAME, VALIDATION_NAME, BOARD_NAME = "log.csv", "validation.csv", "tensorboard"
_FIRST_COLUMNS = ("step", "samples", "seconds", "lr")
_VALIDATION_COLUMNS = ("step", "set", "metric", "value", "count")


class Logs:
    """The logs of one run; use it in a ``with`` block.

    Rows that stand beyond the step at which a run goes on are taken away, as is a row that was cut short, so that the
    files are those of a run that was never interrupted. Every row is on its way to the disk when a call returns.

    Args:
        folder: of the run; made if it is missing.
        columns: names of the values of `step`, such as the terms of the loss; columns that the file has besides stay.
        steps: of the whole run, for the time that is left.
        start: the step at which the run goes on; 0 begins anew.
        tensorboard: write event files, too.
        show_progress: a line on stderr; by default only in a terminal.

    Raises:
        NotWritable: the folder cannot be written.
        WrongFile: the run goes on and the folder holds a file of another kind under the name of a log.
        MissingLibrary: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        folder: io.files.AnyPath,
        columns: Sequence[str],
        *,
        steps: int,
        start: int = 0,
        tensorboard: bool = False,
        show_progress: bool | None = None,
    ) -> None:
        self._board = _open_board(Path(folder) / BOARD_NAME, start) if tensorboard else None
        self._log = _Rows(Path(folder) / LOG_NAME, (*_FIRST_COLUMNS, *columns), start)
        self._validation = _Rows(Path(folder) / VALIDATION_NAME, _VALIDATION_COLUMNS, start)
        self._shown = (sys.stderr.isatty() if show_progress is None else show_progress) and _open_progress(steps, start)
        self._before_s = float(self._log.last.get("seconds") or 0)
        self._since_s = time.perf_counter()
        self._first: tuple[int, float] | None = None  # samples and seconds at the first row of this call

    @property
    def seconds(self) -> float:
        """Time that the run has taken, that before it was resumed included."""
        return self._before_s + time.perf_counter() - self._since_s

    def step(self, step: int, samples: int, lr: float, values: Mapping[str, float | int]) -> None:
        """Write a row of `log.csv`.

        Args:
            step: updates so far.
            samples: pairs taken so far.
            lr: learning rate of the last update.
            values: by column; those left out are empty, and NaN is written as it is.

        Raises:
            WrongInput: a value without a column.
            NotWritable: the disk is full.
        """
        seconds = self.seconds
        self._log.add({"step": step, "samples": samples, "seconds": f"{seconds:.2f}", "lr": lr, **values})
        if self._board:
            for name, value in {"lr": lr, **values}.items():
                self._board.add_scalar(f"training/{name}", value, step)
        if self._shown:
            self._first = self._first or (samples, seconds)
            taken, past_s = samples - self._first[0], seconds - self._first[1]
            pace = f"{taken / past_s:.1f} pairs/s" if past_s else ""
            loss = next(iter(values.values()), math.nan)
            self._shown.update(self._shown.task_ids[0], completed=step, loss=f"loss {loss:.4g}", pace=pace)

    def validation(self, step: int, name: str, measured: Mapping[str, Measurement]) -> None:
        """Write rows of `validation.csv`, one per metric.

        Args:
            step: updates so far.
            name: of the set.
            measured: values and the pixels they stand on, by metric.

        Raises:
            NotWritable: the disk is full.
        """
        for metric, (value, count) in measured.items():
            self._validation.add({"step": step, "set": name, "metric": metric, "value": value, "count": count})
            if self._board:
                self._board.add_scalar(f"{name}/{metric}", value, step)

    def close(self) -> None:
        """Close the files and take the line away."""
        self._log.close()
        self._validation.close()
        if self._board:
            self._board.close()
        if self._shown:
            self._shown.stop()

    def __enter__(self) -> "Logs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Rows:
    """A CSV file to which rows are added.

    Attributes:
        last: the row that stood last when the file was opened, by column.
    """

    def __init__(self, path: Path, columns: Sequence[str], start: int) -> None:
        self.path = path
        old_columns, rows = _read_rows(path, start)
        self.columns = [*columns, *(name for name in old_columns if name not in columns)]
        self.last: dict[str, str] = rows[-1] if rows else {}
        with io.atomic_path(path) as temporary:
            temporary.write_text(_lines([self.columns, *map(self._cells, rows)]), encoding="utf-8")
        try:
            self._stream: TextIO = path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise _not_writable(path, error) from error

    def add(self, row: Mapping[str, Any]) -> None:
        unknown = [name for name in row if name not in self.columns]
        if unknown:
            raise WrongInput(f"{self.path} has no column {', '.join(unknown)}; it has {', '.join(self.columns)}.")
        try:
            self._stream.write(_lines([self._cells(row)]))
            self._stream.flush()
        except OSError as error:
            raise _not_writable(self.path, error) from error

    def close(self) -> None:
        self._stream.close()

    def _cells(self, row: Mapping[str, Any]) -> list[Any]:
        return [row.get(name, "") for name in self.columns]


def _read_rows(path: Path, start: int) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and whole rows up to a step; a last line without its end was cut short."""
    if not path.is_file() or start == 0:
        return [], []
    whole = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
    header, *lines = list(csv.reader(whole.splitlines())) or [[]]
    if "step" not in header:
        raise WrongFile(f"{path} is no log of training (it has no column step); move it away.")
    rows = [dict(zip(header, line, strict=True)) for line in lines if len(line) == len(header)]
    return header, [row for row in rows if row["step"].isdigit() and int(row["step"]) <= start]


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = streams.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _not_writable(path: Path, error: OSError) -> NotWritable:
    return NotWritable(f"{path} cannot be written ({error.strerror}); make room or choose another folder.")


def _open_board(folder: Path, start: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingLibrary(
            'event files need the library tensorboard; run `pip install "depthweave[train]"` or train without them.'
        ) from error
    return SummaryWriter(str(folder), purge_step=start + 1)


def _open_progress(steps: int, start: int) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=600)
    shown.add_task("training", total=steps, completed=start, loss="", pace="")
    shown.start()
    return shown
