"""Work in several processes, with results in the order of the jobs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from depthweave.errors import DepthweaveError

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_in_workers(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Results of `work` over the jobs, which may be without end.

    Args:
        work: can be pickled, as can its results.
        jobs: in order; up to two per worker are taken ahead.
        workers: processes, each with one thread of torch; 0 = this process.

    Raises:
        DepthweaveError: what `work` raised, when its turn comes.
    """
    if workers == 0:
        yield from map(work, jobs)
        return
    # A generator of its own, or else the loader would draw from the caller's global one.
    loader = DataLoader(
        _Jobs(work),
        batch_size=None,
        sampler=jobs,
        num_workers=workers,
        collate_fn=_untouched,
        generator=torch.Generator(),
    )
    for result in loader:
        if isinstance(result, _Failure):
            raise result.error
        yield result


@dataclass(frozen=True)
class _Failure:
    """The loader would wrap an error's sentence in a traceback, so that errors come as results."""

    error: DepthweaveError


class _Jobs(Dataset[Result | _Failure], Generic[Job, Result]):
    def __init__(self, work: Callable[[Job], Result]) -> None:
        self.work = work

    def __getitem__(self, job: Job) -> Result | _Failure:
        try:
            return self.work(job)
        except DepthweaveError as error:
            return _Failure(error)


def _untouched(result: Result) -> Result:
    return result
